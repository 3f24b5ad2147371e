"""Sessions: they commit on a clean exit, roll back otherwise, and never lose work in silence."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError, NoResultFound
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from rowsmith import (
    CommitOutcome,
    Database,
    DatabaseFault,
    DatabaseUnavailable,
    EntityAlreadyExists,
    InvalidValue,
    LockNotAvailable,
    MappingError,
    MissingExtra,
    OptionalState,
    PoolExhausted,
    ReadOnlyViolation,
    RepositoryError,
    TransactionAborted,
    TransactionError,
    commit_outcome,
)
from rowsmith.testing import WithTables, tables
from support import checked_out
from tenants import DomainRow, GroupCreate, GroupId, GroupPatch, GroupRepository, GroupRow, MemberRow, groups_in, stored

COUNT = sa.select(sa.func.count()).select_from(GroupRow)


def group(name: str, domain: str = "a", **values: Any) -> GroupRow:
    return GroupRow(domain_name=domain, name=name, **values)


def insert(name: str, domain: str = "a") -> sa.Insert:
    return sa.insert(GroupRow).values(domain_name=domain, name=name)


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with any_tables(DomainRow, GroupRow, MemberRow) as made:
        yield made


async def names(db: Database) -> list[str]:
    return [row[0] for row in await stored(db, sa.select(GroupRow.name).order_by(GroupRow.id))]


async def test_a_session_commits_on_exit(db: Database) -> None:
    """begin_session gives a real AsyncSession; what it was given is there afterwards, flushed or not."""
    async with db.begin_session() as db_sess:
        assert isinstance(db_sess, AsyncSession)
        await db_sess.execute(insert("core"))
        row = group("orm")
        db_sess.add(row)
    assert row.name == "orm"  # still usable: nothing expires on commit
    assert await names(db) == ["core", "orm"]
    assert checked_out(db) == 0


async def test_a_session_rolls_back_on_an_exception(db: Database) -> None:
    """Any exception, of whatever kind, undoes the block and leaves it as it is."""
    for failure in (ValueError("mine"), KeyboardInterrupt(), asyncio.CancelledError()):
        with pytest.raises(type(failure)) as caught:
            async with db.begin_session() as db_sess:
                db_sess.add(group("lost"))
                await db_sess.flush()
                raise failure
        assert caught.value is failure
    assert await names(db) == []
    assert checked_out(db) == 0


async def test_what_is_not_the_databases_passes_as_it_is(db: Database) -> None:
    """Misuse of SQLAlchemy, a lost file, or a time-out of one's own keep their own types."""
    with pytest.raises(NoResultFound):
        async with db.begin_session() as db_sess:
            (await db_sess.execute(sa.select(GroupRow))).scalar_one()
    for mine in (FileNotFoundError(), TimeoutError(), ConnectionResetError()):
        with pytest.raises(type(mine)) as caught:
            async with db.begin_session():
                raise mine
        assert caught.value is mine


async def swallow(db_sess: AsyncSession) -> None:
    with pytest.raises(sa.exc.SQLAlchemyError):
        await db_sess.execute(insert("first"))


async def test_a_swallowed_error_is_no_silent_rollback(db: Database) -> None:
    """Leaving the block raises TransactionAborted, on both backends, and nothing was committed."""
    async with db.begin_session() as db_sess:
        db_sess.add(group("first"))
    with pytest.raises(TransactionAborted, match="swallowed") as caught:
        async with db.begin_session() as db_sess:
            await db_sess.execute(insert("before"))
            await swallow(db_sess)
    assert caught.value.__cause__ is None
    assert await names(db) == ["first"]


async def test_a_swallowed_flush_error(db: Database) -> None:
    """The ORM's flush is a statement like any other, inside the block or at its end."""
    async with db.begin_session() as db_sess:
        db_sess.add(group("first"))
    with pytest.raises(TransactionAborted):
        async with db.begin_session() as db_sess:
            db_sess.add(group("first"))
            with pytest.raises(sa.exc.IntegrityError):
                await db_sess.flush()
    with pytest.raises(EntityAlreadyExists):
        async with db.begin_session() as db_sess:
            db_sess.add(group("first"))
    assert await names(db) == ["first"]


async def test_a_swallowed_flush_error_after_a_commit_by_hand(db: Database) -> None:
    """Nobody is told that nothing was committed."""
    async with db.begin_session() as db_sess:
        db_sess.add(group("first"))
    with pytest.raises(TransactionError) as ended:
        async with db.begin_session() as db_sess:
            await db_sess.execute(insert("before"))
            await db_sess.execute(sa.text("COMMIT"))
            db_sess.add(group("first"))
            with pytest.raises(sa.exc.IntegrityError):
                await db_sess.flush()
    assert commit_outcome(ended.value) is CommitOutcome.UNKNOWN
    assert await names(db) == ["first", "before"]


async def test_a_swallowed_error_inside_a_savepoint_undoes_the_savepoint_only(db: Database) -> None:
    """The savepoint raises TransactionAborted; whoever catches that outside may go on, and commits the rest."""
    async with db.begin_session() as db_sess:
        db_sess.add(group("first"))
    async with db.begin_session() as db_sess:
        await db_sess.execute(insert("before"))
        with pytest.raises(TransactionAborted):
            async with db_sess.begin_nested():
                await db_sess.execute(insert("inside"))
                await swallow(db_sess)
        await db_sess.execute(insert("after"))
    assert await names(db) == ["first", "before", "after"]


async def test_a_handled_error_of_a_savepoint_is_no_failure(db: Database) -> None:
    """The try around a savepoint is the right way: the transaction goes on and commits."""
    async with db.begin_session() as db_sess:
        db_sess.add(group("first"))
    async with db.begin_session() as db_sess:
        with pytest.raises(sa.exc.IntegrityError):
            async with db_sess.begin_nested():
                await db_sess.execute(insert("first"))
        await db_sess.execute(insert("after"))
    assert await names(db) == ["first", "after"]


async def test_a_transaction_that_was_ended_by_hand(db: Database) -> None:
    """commit() and rollback() on the session mean what they say, and the block goes on with a new transaction."""
    async with db.begin_session() as db_sess:
        await db_sess.execute(insert("kept"))
        await db_sess.commit()
    async with db.begin_session() as db_sess:
        with pytest.raises(sa.exc.IntegrityError):
            await db_sess.execute(insert("kept"))
        await db_sess.rollback()
        await db_sess.execute(insert("second"))
    with pytest.raises(TransactionAborted):
        async with db.begin_session() as db_sess:
            await db_sess.commit()
            await db_sess.execute(insert("lost"))
            with pytest.raises(sa.exc.IntegrityError):
                await db_sess.execute(insert("kept"))
    async with db.begin_session() as db_sess:
        await db_sess.commit()
        db_sess.add(group("third"))
    assert await names(db) == ["kept", "second", "third"]


WRITES = [
    sa.insert(GroupRow).values(domain_name="a", name="x"),
    sa.update(GroupRow).values(size=1),
    sa.delete(GroupRow),
    sa.text("DROP TABLE members"),
]


async def test_a_readonly_session_refuses_writes(db: Database) -> None:
    """The database itself refuses, also inside a unit of work, and the connection writes again afterwards."""
    for write in WRITES:
        with pytest.raises(ReadOnlyViolation):
            async with db.begin_readonly_session() as db_sess:
                assert await db_sess.scalar(COUNT) == 0
                await db_sess.execute(write)
        async with db.unit_of_work():
            with pytest.raises(ReadOnlyViolation):
                async with db.begin_readonly_session() as db_sess:
                    await db_sess.execute(write)
            await GroupRepository(db).create(GroupCreate("a", f"made {WRITES.index(write)}"))
        with pytest.raises(TransactionAborted):
            async with db.begin_readonly_session() as db_sess:
                with pytest.raises(sa.exc.DBAPIError):
                    await db_sess.execute(write)
                await db_sess.execute(COUNT)
                raise TransactionAborted  # SQLite could go on reading here
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.delete(GroupRow))


async def test_a_readonly_session_stays_so_after_a_rollback_or_commit(db: Database) -> None:
    """A second transaction of the same session is read-only too."""
    for end in (AsyncSession.rollback, AsyncSession.commit):
        with pytest.raises(ReadOnlyViolation):
            async with db.begin_readonly_session() as db_sess:
                await end(db_sess)
                await db_sess.execute(insert("x"))
    assert await names(db) == []


async def test_a_readonly_session_cannot_be_talked_round(with_tables: WithTables) -> None:
    """SET TRANSACTION READ WRITE is refused as the first statement, after a rollback, and in a unit of work."""
    ways = ["SET TRANSACTION READ WRITE", "SET transaction_read_only = off"]
    async with with_tables(GroupRow) as db:
        for way in ways:
            with pytest.raises(DatabaseFault, match="25001"):
                async with db.begin_readonly_session() as db_sess:
                    await db_sess.execute(sa.text(way))
            with pytest.raises(DatabaseFault, match="25001"):
                async with db.begin_readonly_session() as db_sess:
                    await db_sess.rollback()
                    await db_sess.execute(sa.text(way))
            async with db.unit_of_work():
                with pytest.raises(DatabaseFault, match="25001"):
                    async with db.begin_readonly_session() as db_sess:
                        await db_sess.execute(sa.text(way))


async def test_unflushed_changes_in_a_readonly_session_raise(db: Database) -> None:
    """ORM changes are not dropped silently: new, changed and deleted objects all raise at the end."""
    async with db.begin_session() as db_sess:
        db_sess.add(group("first"))

    async def change(db_sess: AsyncSession, kind: str) -> None:
        row = (await db_sess.scalars(sa.select(GroupRow))).one()
        if kind == "new":
            db_sess.add(group("new"))
        elif kind == "changed":
            row.name = "changed"
        else:
            await db_sess.delete(row)

    for kind in ("new", "changed", "deleted"):
        with pytest.raises(ReadOnlyViolation, match="begin_session"):
            async with db.begin_readonly_session() as db_sess:
                await change(db_sess, kind)
        async with db.unit_of_work() as unit:
            with pytest.raises(ReadOnlyViolation, match="begin_session"):
                async with db.begin_readonly_session() as db_sess:
                    await change(db_sess, kind)
            await unit.session.execute(insert(f"after {kind}", "b"))
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.delete(GroupRow).where(GroupRow.domain_name == "b"))
    assert await names(db) == ["first"]


async def test_an_untouched_object_in_a_readonly_session_is_fine(db: Database) -> None:
    """Reading objects, or writing the value they have, is no change."""
    async with db.begin_session() as db_sess:
        db_sess.add(group("first"))
    async with db.begin_readonly_session() as db_sess:
        row = (await db_sess.scalars(sa.select(GroupRow))).one()
        row.name = "first"


async def test_the_reading_session_of_a_repository_is_read_only(db: Database) -> None:
    """What repositories read in refuses writes as well, with a snapshot or without."""
    for snapshot in (False, True):
        with pytest.raises(ReadOnlyViolation):
            async with db.reading(snapshot=snapshot) as db_sess:
                await db_sess.execute(insert("x"))


async def test_a_snapshot_does_not_move(database: Database, with_tables: WithTables) -> None:
    """Two statements of one snapshot see the same rows, whatever is committed in between."""
    async with with_tables(GroupRow) as db, db.reading(snapshot=True) as db_sess:
        before = await db_sess.scalar(COUNT)
        async with db.begin_session() as writing:
            writing.add(group("new"))
        assert await db_sess.scalar(COUNT) == before == 0


async def test_cancellation_leaves_no_connection_checked_out(db: Database) -> None:
    """A task cancelled at any await gives its connection back, and the pool goes on working."""
    groups = GroupRepository(db)

    async def work(number: int) -> None:
        async with db.unit_of_work():
            await groups.create(GroupCreate("a", f"n{number}"))
            async with db.unit_of_work():
                await groups.search()

    for number in range(12):
        task = asyncio.create_task(work(number))
        for _ in range(3 * number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert checked_out(db) == 0
    assert (await groups.create(GroupCreate("a", "last"))).name == "last"


async def test_cancellation_among_rivals_leaves_no_lock(any_tables: WithTables) -> None:
    """Tasks that are cancelled while they wait for each other's locks leave neither a lock nor a transaction."""
    async with groups_in(any_tables) as groups:
        bump = GroupPatch(size=OptionalState.expression(lambda: GroupRow.size + 1))

        async def work() -> None:
            async with groups.db.unit_of_work():
                await groups.update(GroupId(1), bump)
                await asyncio.sleep(0.001)
                await groups.update(GroupId(2), bump)

        for turn in range(6):
            tasks = [asyncio.create_task(work()) for _ in range(8)]
            for number, task in enumerate(tasks):
                await asyncio.sleep(0.0005 * (turn + number % 3))
                task.cancel()
            await asyncio.wait(tasks)
            assert checked_out(groups.db) == 0
            async with asyncio.timeout(4):
                await work()
        one, two = await groups.batch_get([GroupId(1), GroupId(2)])
        assert one.size == two.size >= 6


async def test_two_databases_at_once(database: Database, sqlite_database: Database) -> None:
    """A unit of work belongs to one database; calls to another have their own transactions."""
    async with (
        groups_in(lambda *rows: tables(database, *rows)) as left,
        groups_in(lambda *rows: tables(sqlite_database, *rows)) as right,
    ):
        with pytest.raises(ValueError, match="stop"):
            async with database.unit_of_work():
                await left.create(GroupCreate("a", "lost"))
                async with sqlite_database.unit_of_work():
                    await right.create(GroupCreate("a", "kept"))
                assert await right.count() == 4
                raise ValueError("stop")
        assert await left.count() == 3
        assert await right.count() == 4


async def test_two_database_objects_on_one_engine(database: Database) -> None:
    """Making a Database twice on an engine is harmless, and an error is still noticed once."""
    again = Database(database.engine)
    with pytest.raises(TransactionAborted):
        async with again.begin_session() as db_sess:
            with pytest.raises(sa.exc.ProgrammingError):
                await db_sess.execute(sa.text("SELECT no_such_column"))


async def enter(db: Database) -> None:
    async with db.begin_session():
        pass


async def test_a_task_does_not_wait_for_itself(tmp_path: Path, database: Database) -> None:
    """Where every connection is held by tasks that wait for another one, they are told at once, and no others."""
    for url in (database.engine.url, f"sqlite:///{tmp_path / 'x.db'}"):
        db = Database.from_url(url, pool_size=2, max_overflow=0, pool_timeout=60)
        other = Database(db.engine)
        entered = asyncio.Barrier(2)

        async def hold_one_and_take_another(db: Database, other: Database, entered: asyncio.Barrier) -> None:
            async with db.begin_readonly_session():
                await entered.wait()
                async with other.begin_readonly_session():
                    pass

        async with asyncio.timeout(20):
            both = (hold_one_and_take_another(db, other, entered) for _ in range(2))
            ended = await asyncio.gather(*both, return_exceptions=True)
            assert [type(end) for end in ended].count(PoolExhausted) == 1  # then there is one for the other
            async with db.begin_readonly_session(), other.begin_readonly_session():
                with pytest.raises(PoolExhausted, match="held by tasks that wait"):
                    async with Database(db.engine).begin_readonly_session():
                        pass
        assert checked_out(db) == 0
        await db.dispose()


async def test_an_exhausted_pool(tmp_path: Path, database: Database) -> None:
    """No free connection in time is PoolExhausted, not a driver's error."""
    for url in (database.engine.url, f"sqlite:///{tmp_path / 'x.db'}"):
        small = Database.from_url(url, pool_size=1, max_overflow=0, pool_timeout=0.05)
        async with Database(small.engine).begin_readonly_session():
            with pytest.raises(PoolExhausted):
                await asyncio.create_task(enter(small))
        assert checked_out(small) == 0
        await small.dispose()


async def test_an_unreachable_server() -> None:
    """A refused connection is DatabaseUnavailable, and the message names neither host nor password."""
    db = Database.from_url("postgresql://someone:secret@127.0.0.1:1/nowhere")
    for opened in (db.begin_session, db.begin_readonly_session, db.unit_of_work, db.reading):
        with pytest.raises(DatabaseUnavailable) as caught:
            async with opened():
                pass
        assert "secret" not in repr(caught.value)
        assert caught.value.__cause__ is None
    await db.dispose()


async def test_a_connection_that_takes_too_long() -> None:
    """A server that does not answer is unavailable, rather than a statement out of time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"
        db = Database.from_url(url, connect_args={"timeout": 0.05, "ssl": False})
        with pytest.raises(DatabaseUnavailable):
            async with db.begin_session():
                pass
        await db.dispose()


def test_a_url_gets_its_asynchronous_driver() -> None:
    """postgresql://, postgres:// and sqlite:// are enough; a missing driver says what to install."""
    assert Database.from_url("postgresql://h/d").engine.dialect.driver == "asyncpg"
    assert Database.from_url("postgres://h/d").engine.dialect.driver == "asyncpg"
    assert Database.from_url("sqlite://").engine.dialect.driver == "aiosqlite"
    with pytest.raises(MissingExtra, match="pip install"):
        Database.from_url("mysql+aiomysql://h/d")


@pytest.mark.parametrize(
    "url", ["", "secret", "postgresql://u:secret@h:port/d", "nothing://u:secret@h/d", "sqlite+pysqlite://", None, 3]
)
def test_what_is_no_url_is_told(url: Any) -> None:
    """Without the URL, which may hold a password; of a replica's likewise."""
    for make in (lambda: Database.from_url(url), lambda: Database.from_url("postgresql://h/d", replicas=[url])):
        with pytest.raises(MappingError, match="write postgresql") as caught:
            make()
        assert caught.value.__context__ is None
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "query", ["host=secret,b,c&port=1,2", "host=secret:1,b:x", "port=secret", "host=secret&host=b&port=1"]
)
def test_hosts_and_ports_that_do_not_go_together_are_told(query: str) -> None:
    """Without quoting them; of a replica's likewise."""
    url = f"postgresql://u@/d?{query}"
    for make in (lambda: Database.from_url(url), lambda: Database.from_url("postgresql://h/d", replicas=[url])):
        with pytest.raises(MappingError, match="host=one:5432&host=other:5432") as caught:
            make()
        assert caught.value.__context__ is None
        assert "secret" not in str(caught.value)


def test_an_engine_without_transactions_is_refused() -> None:
    """A unit of work that failed would have been half done: each statement is committed by itself."""
    plain = create_async_engine("postgresql+asyncpg://h/d")
    engines = [
        create_async_engine("postgresql+asyncpg://other/d", isolation_level="AUTOCOMMIT"),
        create_async_engine("postgresql+asyncpg://other/d").execution_options(isolation_level="AUTOCOMMIT"),
    ]
    for engine in engines:
        for make in (lambda of=engine: Database(of), lambda of=engine: Database(plain, replicas=[of])):
            with pytest.raises(MappingError, match='writes="statement"'):
                make()
        for given in ({"bind": engine}, {"binds": {DomainRow: engine}}):
            with pytest.raises(MappingError, match="commits each statement"):
                Database.from_session(AsyncSession(**given))
    with pytest.raises(MappingError, match="commits each statement"):
        Database.from_url("postgresql://h/d", isolation_level="AUTOCOMMIT")


async def test_an_engine_of_sqlites_has_transactions_whatever_its_driver_does(tmp_path: Path) -> None:
    """They are begun by rowsmith there, so that what fails is undone."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'a.db'}"
    chosen = create_async_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    for db in (Database.from_url(url, isolation_level="AUTOCOMMIT"), Database(chosen)):
        async with db.begin_session() as session:
            await session.execute(sa.text("CREATE TABLE IF NOT EXISTS t (id int)"))
        with pytest.raises(ZeroDivisionError):
            async with db.unit_of_work() as unit:
                await unit.session.execute(sa.text("INSERT INTO t VALUES (1)"))
                raise ZeroDivisionError
        async with db.begin_readonly_session() as session:
            assert (await session.execute(sa.text("SELECT count(*) FROM t"))).scalar_one() == 0
        await db.dispose()


async def test_what_an_application_commits_by_itself_is_kept(any_database: Database) -> None:
    """A statement beside rowsmith on a connection, or an engine, without transactions."""
    engine = any_database.engine
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE kept_alone (id int)"))
    async with engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(sa.text("INSERT INTO kept_alone VALUES (1)"))
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(sa.text("INSERT INTO kept_alone VALUES (2)"))
    async with engine.begin() as connection:
        assert (await connection.execute(sa.text("SELECT count(*) FROM kept_alone"))).scalar_one() == 2
        await connection.execute(sa.text("DROP TABLE kept_alone"))


@pytest.mark.parametrize("option", ["native", "pooler"])
def test_a_choice_is_true_or_false(option: str) -> None:
    """A word would be taken for True, also where it is "no"."""
    for wrong in ("no", 1, None):
        given: Any = {option: wrong}
        with pytest.raises(InvalidValue, match=f"{option} is True or False"):
            Database.from_url("postgresql://h/d", **given)


async def test_a_database_in_memory_is_shared_by_its_sessions() -> None:
    """sqlite:// is one database for all sessions, which wait for each other."""
    db = Database.from_url("sqlite://")
    async with groups_in(lambda *rows: tables(db, *rows)) as groups:
        await asyncio.gather(*(groups.create(GroupCreate("a", f"n{i}")) for i in range(10)))
        assert await groups.count() == 13
    await db.dispose()


async def test_sqlite_enforces_foreign_keys(sqlite_database: Database) -> None:
    """Off by default in SQLite, on in every connection of ours."""
    async with tables(sqlite_database, DomainRow, GroupRow, MemberRow) as db:
        with pytest.raises(RepositoryError):
            async with db.begin_session() as db_sess:
                await db_sess.execute(sa.insert(MemberRow).values(group_id=1, email="x"))


async def test_sqlite_gives_up_on_a_lock_in_time(tmp_path: Path) -> None:
    """A writer that waits too long gets LockNotAvailable, and its connection is given back."""
    db = Database.from_url(f"sqlite:///{tmp_path / 'x.db'}", connect_args={"timeout": 0.05})
    async with Database(db.engine).begin_session():
        with pytest.raises(LockNotAvailable):
            await enter(db)
        assert checked_out(db) == 1
    assert checked_out(db) == 0
    await db.dispose()


async def test_a_commit_that_sqlite_refuses(tmp_path: Path) -> None:
    """A reader in the way makes COMMIT fail in time; nothing is kept, and the connection is clean afterwards."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    db = Database.from_url(url, connect_args={"timeout": 0.05}, pool_size=2, max_overflow=0)
    async with tables(db, GroupRow):
        async with Database(db.engine).begin_readonly_session() as reading:
            await reading.execute(sa.select(GroupRow))
            with pytest.raises(LockNotAvailable):
                await GroupRepository(db).create(GroupCreate("a", "lost"))
        for number in range(3):
            await GroupRepository(db).create(GroupCreate("a", f"n{number}"))
        assert await GroupRepository(db).count() == 3
    await db.dispose()


async def test_a_backend_that_is_killed(with_tables: WithTables) -> None:
    """The error is typed wherever it is met, the pool heals, and a nested unit does not hide it."""
    kill = sa.text("SELECT pg_terminate_backend(:pid)")
    async with with_tables(GroupRow) as db:

        async def kill_backend(of: AsyncSession) -> None:
            pid = await of.scalar(sa.text("SELECT pg_backend_pid()"))
            async with db.engine.connect() as other:
                await other.execute(kill, {"pid": pid})

        with pytest.raises(DatabaseUnavailable):
            async with db.begin_session() as db_sess:
                await kill_backend(db_sess)
                await db_sess.execute(COUNT)
        with pytest.raises(DatabaseUnavailable):
            async with db.unit_of_work() as unit, db.unit_of_work():
                await kill_backend(unit.session)
                await GroupRepository(db).count()
        with pytest.raises(RepositoryError) as caught:
            async with db.begin_session() as db_sess:
                await db_sess.execute(insert("lost"))
                await kill_backend(db_sess)
        assert caught.value.detail in ("commit_outcome_unknown", "database_unavailable")
        assert checked_out(db) == 0
        assert await GroupRepository(db).count() == 0


class Wire:
    """A wire to a server that can be cut, as a network does it: with a reset, in the middle of anything."""

    def __init__(self, url: sa.URL) -> None:
        self._folder, self._port = url.query.get("host"), url.query.get("port") or url.port or 5432
        self._host = url.host
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.cut()
        self._server.close()
        await asyncio.sleep(0.01)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._folder:
            there = await asyncio.open_unix_connection(f"{self._folder}/.s.PGSQL.{self._port}")
        else:
            there = await asyncio.open_connection(self._host, int(str(self._port)))
        self._writers += [writer, there[1]]
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            linger = struct.pack("ii", 1, 0)  # close() then sends RST
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        self._writers.clear()


async def test_a_network_that_is_cut(with_tables: WithTables) -> None:
    """A reset in the middle of a statement is typed for an application's own statements too, and the pool heals."""
    async with with_tables(GroupRow) as db, Wire(db.engine.url) as wire:
        url = db.engine.url.set(host="127.0.0.1", port=wire.port, query={})
        remote = Database.from_url(url, pool_size=2)

        async def cut_soon() -> None:
            await asyncio.sleep(0.05)
            wire.cut()

        for opened in (remote.begin_session, remote.begin_readonly_session):
            with pytest.raises(DatabaseUnavailable):
                async with opened() as db_sess:
                    await asyncio.gather(db_sess.execute(sa.text("SELECT pg_sleep(5)")), cut_soon())
        with pytest.raises(DatabaseUnavailable):
            async with remote.unit_of_work() as unit:
                await asyncio.gather(unit.session.execute(sa.text("SELECT pg_sleep(5)")), cut_soon())
        with pytest.raises(RepositoryError) as caught:
            async with remote.begin_session() as db_sess:
                await db_sess.execute(insert("perhaps"))
                wire.cut()
        assert caught.value.detail in ("commit_outcome_unknown", "database_unavailable")
        assert checked_out(remote) == 0
        assert await GroupRepository(remote).count() in (0, 1)
        await remote.dispose()


async def test_a_session_closed_inside(db: Database) -> None:
    """A session that the block closed itself commits nothing more, and says nothing wrong."""
    async with db.begin_session() as db_sess:
        await db_sess.execute(insert("lost"))
        await db_sess.close()
    assert await names(db) == []
    with pytest.raises(InvalidRequestError):
        async with db.begin_session() as db_sess:
            await db_sess.begin()


def test_an_engine_is_watched_whose_address_another_one_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy tells engines by their address: it says of the later one that what listened to the other does so."""
    monkeypatch.setattr("sqlalchemy.event.contains", lambda *_: True)
    engine = create_async_engine("postgresql+asyncpg://h/d")
    for _ in range(2):
        Database(engine, pooler=True)
    told: Any = engine.dialect.dispatch
    listeners = told.handle_error, told.do_connect, engine.pool.dispatch.reset
    assert [len(list(each)) for each in listeners] == [1, 1, 1]
