"""The guides are true: their Python runs, each block after those before it, after the domain of the README."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from pages import python_of, run
from rowsmith import Database
from rowsmith.testing import tables


@pytest.fixture
def guide() -> Iterator[ModuleType]:
    """Give a module for a page's Python to run in."""
    module = ModuleType("guide")
    sys.modules["guide"] = module
    yield module
    del sys.modules["guide"]


@pytest.mark.parametrize("page", ["queries.md", "troubleshooting.md"])
async def test_its_python_runs(page: str, guide: Any, database: Database) -> None:
    """Each assertion in it holds, and each error that it tells of is raised."""
    await run(python_of("README.md")[0], guide)
    async with tables(database, guide.GroupRow):
        guide.db, guide.groups, guide.emea = database, guide.GroupRepository(database), guide.DomainScope("emea")
        for code in python_of(f"docs/guides/{page}"):
            await run(code, guide)


def test_there_is_something_to_run() -> None:
    """What finds the blocks finds them."""
    assert min(len(python_of(f"docs/guides/{page}.md")) for page in ("queries", "troubleshooting")) >= 5
