"""What the tests of the desk share: its tables, for all contracts of a file."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from examples.desk.base import Base


@pytest.fixture(scope="module")
async def desk(with_tables):
    """Give a database with all tables of the desk."""
    async with with_tables(*(mapper.class_ for mapper in Base.registry.mappers)) as db:
        yield db


@pytest.fixture(scope="module")
def with_tables(with_tables, desk):
    """Give the tables that are there to whoever wants some of them."""
    return lambda *rows: nullcontext(desk)
