"""What pytest does with contracts: they are checked when they are collected, and have the tests that apply to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import Any, cast

import pytest
import pytest_asyncio

from rowsmith.testing.contract.contract import RepositoryContract
from rowsmith.testing.contract.declared import check
from rowsmith.testing.contract.laws import applies
from rowsmith.testing.tables import WithTables


def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> list[Any] | None:
    """Refuse a contract that leaves out what it needs, and leave out the tests that do not apply to it."""
    contract = collector.obj
    if not (isinstance(contract, type) and issubclass(contract, RepositoryContract)):
        return None
    _checked(contract)
    return None if applies(obj, contract) else []


_checked: Callable[[Any], None] = lru_cache(check)


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def rowsmith_contract(
    request: pytest.FixtureRequest, with_tables: WithTables
) -> AsyncIterator[RepositoryContract]:
    """Give the contract of a class of tests, its tables made and its rows prepared."""
    contract = cast("RepositoryContract", cast("Any", request).cls())
    async with with_tables(*contract.tables) as db:
        await contract.begin(db)
        yield contract
