"""The fixtures: a server for each pytest process, a database on it, tables in that.

Each pytest-xdist worker starts an embedded server of its own: that takes half a second, needs no agreement
between processes about who stops it, and a test that ends a server disturbs nobody else. With
``ROWSMITH_TEST_URL`` all use the server it names (for example ``postgresql://me@localhost/postgres``; the role must
be allowed to create databases), each with a database of its own.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from pytest_postgresql import factories
from pytest_postgresql.executors import NoopExecutor
from pytest_postgresql.janitor import DatabaseJanitor
from sqlalchemy import URL, NullPool, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from rowsmith.database import Database
from rowsmith.embedded import EmbeddedPostgres
from rowsmith.testing.faults import FaultProxy, WithFaults, through_proxy
from rowsmith.testing.plugin import ONE_SHARD
from rowsmith.testing.shards import one_shard
from rowsmith.testing.tables import WithTables, side_door, tables

TEST_URL = "ROWSMITH_TEST_URL"


@dataclass(frozen=True)
class Server:
    """A server's address, by the names under which pytest-postgresql looks for its parts."""

    url: URL
    options: str = ""
    template_dbname: str | None = None

    @property
    def host(self) -> str:
        """A name, an address, or a Unix socket's folder."""
        return self.url.host or self._from_query("host") or "localhost"

    @property
    def port(self) -> int:
        """5432 unless said otherwise."""
        return self.url.port or int(self._from_query("port") or "5432")

    @property
    def user(self) -> str:
        """The role that makes the databases."""
        return self.url.username or "postgres"

    @property
    def password(self) -> str | None:
        """Nothing where the server trusts us."""
        return self.url.password

    @property
    def maintenance_dbname(self) -> str:
        """The database to be connected to while others are made."""
        return self.url.database or "postgres"

    def _from_query(self, name: str) -> str | None:
        value = self.url.query.get(name)
        return value if isinstance(value, str) or value is None else value[0]


@pytest.fixture(scope="session")
def rowsmith_server() -> Iterator[Server]:
    """Give the server under test: embedded, or the one that ``ROWSMITH_TEST_URL`` names."""
    if given := os.environ.get(TEST_URL):
        url = make_url(given)
        if url.get_backend_name() != "postgresql":
            raise pytest.UsageError(f"{TEST_URL} must name a PostgreSQL server: postgresql://user@host/postgres")
        yield Server(url.set(drivername="postgresql+asyncpg"))
        return
    with EmbeddedPostgres() as embedded:
        yield Server(embedded.url())


# The name is new in each process, so that test runs on one server do not meet.
rowsmith_postgresql = factories.postgresql_noproc(  # pyright: ignore[reportUnknownMemberType]
    depends_on="rowsmith_server", dbname=f"rowsmith_{uuid4().hex[:12]}"
)


@pytest.fixture(scope="session")
def rowsmith_url(rowsmith_server: Server, rowsmith_postgresql: NoopExecutor) -> Iterator[URL]:
    """Give the URL of this process's own database, which is dropped at the end."""
    made = rowsmith_postgresql
    with DatabaseJanitor(
        user=made.user,
        host=made.host,
        port=made.port,
        password=made.password,
        dbname=made.dbname,
        template_dbname=made.template_dbname,
        maintenance_dbname=made.maintenance_dbname,
    ):
        yield rowsmith_server.url.set(database=made.dbname)


@pytest.fixture(scope="session")
def rowsmith_engine_options(pytestconfig: pytest.Config) -> Mapping[str, Any]:
    """Give the keyword arguments for ``database``'s engine; override it to have others.

    A pooled connection belongs to the event loop it was made in. Where each test has a loop of its own
    (the default of pytest-asyncio), connections are therefore not pooled; with
    ``asyncio_default_test_loop_scope = "session"`` they are.
    """
    return {} if _in_one_loop(pytestconfig) else {"poolclass": NullPool}


def _in_one_loop(pytestconfig: pytest.Config) -> bool:
    """Say whether all tests run in one event loop, so that connections may outlive a test."""
    return bool(pytestconfig.getini("asyncio_default_test_loop_scope") == "session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database(
    rowsmith_url: URL, rowsmith_engine_options: Mapping[str, Any], pytestconfig: pytest.Config
) -> AsyncIterator[Database]:
    """Give a ``Database`` on a PostgreSQL database of this process's own, empty at first."""
    db = Database.from_url(rowsmith_url, **rowsmith_engine_options)
    with one_shard(db) if pytestconfig.getini(ONE_SHARD) else nullcontext():
        yield db
    await db.dispose()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rowsmith_door(database: Database, pytestconfig: pytest.Config) -> AsyncIterator[AsyncEngine | None]:
    """Give what tables are made and dropped through: one connection for all tests where they share a loop."""
    if not _in_one_loop(pytestconfig):
        yield None
        return
    async with side_door(database.engine) as door:
        yield door


@pytest.fixture(scope="session")
def with_tables(database: Database, rowsmith_door: AsyncEngine | None) -> WithTables:
    """Give what makes tables in ``database`` for the length of a block: in a test, or in a fixture of any scope.

    ``async with with_tables(DomainRow, GroupRow) as db:``; :func:`rowsmith.testing.tables` says what it does.
    """

    def made(*rows: type[Any]) -> Any:
        return tables(database, *rows, door=rowsmith_door)

    return made


@pytest.fixture
def with_faults(with_tables: WithTables) -> WithFaults:
    """Give what makes tables, and a Database that reaches them through a :class:`FaultProxy`.

    ``async with with_faults(DomainRow, GroupRow) as (db, proxy):``; keyword arguments are the engine's, such as
    ``pool_size=2``.
    """

    @asynccontextmanager
    async def made(*rows: type[Any], **engine_options: Any) -> AsyncGenerator[tuple[Database, FaultProxy]]:
        async with with_tables(*rows) as db, through_proxy(db, **engine_options) as pair:
            yield pair

    return made
