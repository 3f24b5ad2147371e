"""Fixtures for rowsmith's own tests: both databases, so that one test can hold on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rowsmith.database import Database
from rowsmith.testing import WithTables, tables

# The time of one example says nothing on a machine that does other work too.
settings.register_profile("rowsmith", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rowsmith")


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    """Give a ``Database`` on an SQLite file of this test's own."""
    db = Database.from_url(f"sqlite+aiosqlite:///{tmp_path / 'rowsmith.sqlite'}")
    yield db
    await db.dispose()


@pytest.fixture(params=["postgresql", "sqlite"])
def any_database(request: pytest.FixtureRequest) -> Database:
    """Run the test once on PostgreSQL and once on SQLite."""
    names = {"postgresql": "database", "sqlite": "sqlite_database"}
    return request.getfixturevalue(names[request.param])


@pytest.fixture(params=["native", "sqlalchemy", "sqlite"])
def each_lane(request: pytest.FixtureRequest) -> Database:
    """Run the test by each way that a call takes: asyncpg beneath SQLAlchemy's pool, SQLAlchemy, and it on SQLite."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_database")
    db: Database = request.getfixturevalue("database")
    return db if request.param == "native" else Database(db.engine, native=False)


@pytest.fixture
def lane_tables(each_lane: Database) -> WithTables:
    """Do what ``with_tables`` does, for each way that a call takes."""

    def made(*rows: type[Any]) -> Any:
        return tables(each_lane, *rows)

    return made


@pytest.fixture
def any_tables(any_database: Database) -> WithTables:
    """Do what ``with_tables`` does, on PostgreSQL and on SQLite."""

    def made(*rows: type[Any]) -> Any:
        return tables(any_database, *rows)

    return made
