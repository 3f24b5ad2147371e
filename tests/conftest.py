"""Fixtures for rowsmith's own tests: both databases, so that one test can hold on each; and a Redis."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis
from sqlalchemy import URL, event

from pooler import pooler
from redis_server import Server, redis_server
from rowsmith import database, touched
from rowsmith.database import Database
from rowsmith.testing import WithTables, tables
from standby import Pair, pair_of_servers
from support import spare_the_disk

# Thousands of tests are objects that stay; to look through them again and again takes an eighth of the time.
gc.set_threshold(20_000, 50, 100)

# The time of one example says nothing on a machine that does other work too.
settings.register_profile("rowsmith", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rowsmith")


# Programs that tests start elsewhere find the packages that this process finds.
if "PYTHONPATH" in os.environ:
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, os.environ["PYTHONPATH"].split(os.pathsep)))


def pytest_collection_finish() -> None:
    """Have the collector look no more at what all tests are made of, which stays."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Keep what was measured of this process: pytest-xdist gives a worker some seconds to end, and then ends it."""
    measured = sys.modules.get("coverage")
    current = None if measured is None else measured.Coverage.current()
    if current is not None:
        current.save()


POOLER = int(os.environ.get("ROWSMITH_TEST_POOLER", "0"))
"""How many connections a PgBouncer in transaction mode has for all tests on PostgreSQL; 0 for none in between."""


if os.environ.get("ROWSMITH_TEST_LANE") == "sqlalchemy":
    # The lane that the native one is held against has to keep every promise by itself.
    database.native_lane = lambda *_: None  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def keepers_of_one_test() -> Iterator[None]:
    """Have the caches of a test be told of nothing after it: they live until the collector comes."""
    before = dict(touched.KEEPERS)
    yield
    touched.KEEPERS.clear()
    touched.KEEPERS.update(before)


@pytest.fixture(scope="session")
def rowsmith_url(rowsmith_url: URL) -> Iterator[URL]:
    """Give the URL of this process's own database, behind a pooler if that is asked for."""
    if not POOLER:
        yield rowsmith_url
        return
    with pooler(rowsmith_url, connections=POOLER) as behind:
        yield behind


@pytest.fixture(scope="session")
def rowsmith_engine_options() -> Mapping[str, Any]:
    """Give the options of ``database``; its connections outlive a test, as all of them run in one event loop."""
    return {"pooler": True} if POOLER else {}


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """Give a server and its standby, for all tests that leave them as they were."""
    with pair_of_servers() as servers:
        yield servers


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    """Give a ``Database`` on an SQLite file of this test's own, which needs not outlive the machine.

    SQLite lets those who wait for its lock have it in no order, so that on a busy machine one of many may wait for
    longer than the five seconds after which Python's driver gives up.
    """
    db = Database.from_url(f"sqlite+aiosqlite:///{tmp_path / 'rowsmith.sqlite'}?timeout=60")
    event.listen(db.engine.sync_engine, "connect", spare_the_disk)
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
def lane_tables(each_lane: Database, request: pytest.FixtureRequest) -> WithTables:
    """Do what ``with_tables`` does, for each way that a call takes."""
    return tables_in(each_lane, request)


@pytest.fixture
def any_tables(any_database: Database, request: pytest.FixtureRequest) -> WithTables:
    """Do what ``with_tables`` does, on PostgreSQL and on SQLite."""
    return tables_in(any_database, request)


def tables_in(target: Database, request: pytest.FixtureRequest) -> WithTables:
    is_sqlite = target.engine.dialect.name == "sqlite"
    door = None if is_sqlite else request.getfixturevalue("rowsmith_door")

    def made(*rows: type[Any]) -> Any:
        return tables(target, *rows, door=door)

    return made


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[Server]:
    """Give a Redis for all tests of a process."""
    with redis_server() as started:
        yield started
    gc.collect()  # connections that cancelled calls lost close themselves, as long as there is a loop to do it in


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    """Give a client of the Redis, which is empty."""
    async with server.client() as client:
        await client.flushall()
        yield client


@pytest.fixture
def little_to_collect() -> None:
    """Have the collector look at no more than what a test makes: at all that a process has it looks for seconds."""
    gc.freeze()
