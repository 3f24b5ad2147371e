"""Read-only sessions: no statement, connection or transaction of theirs writes, whoever begins or ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import islice, product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import Database, DBSource, ReadOnlyViolation, TransactionAborted, TransactionError
from rowsmith.testing import WithTables
from tenants import DomainRow

WRITE = "INSERT INTO domains (name) VALUES ('written')"

Way = Callable[[AsyncSession], Awaitable[object]]


async def driver_of(session: AsyncSession) -> Any:
    return (await (await session.connection()).get_raw_connection()).driver_connection


def sent(*statements: str, is_quiet: bool = True) -> Way:
    """By the session, one after the other."""

    async def send(session: AsyncSession) -> None:
        for statement in statements:
            with suppress(Exception if is_quiet else GeneratorExit):
                await session.execute(sa.text(statement))

    return send


def on_the_connection(*statements: str, is_quiet: bool = True) -> Way:
    async def send(session: AsyncSession) -> None:
        connection = await session.connection()
        for statement in statements:
            with suppress(Exception if is_quiet else GeneratorExit):
                await connection.exec_driver_sql(statement)

    return send


def on_the_driver(*statements: str, method: str = "execute", is_quiet: bool = True) -> Way:
    async def send(session: AsyncSession) -> None:
        driver = await driver_of(session)
        for statement in statements:
            with suppress(Exception if is_quiet else GeneratorExit):
                await getattr(driver, method)(statement)

    return send


def after(end: str, *steps: Way) -> Way:
    """Once the session or its connection has ended the transaction."""

    async def work(session: AsyncSession) -> None:
        with suppress(Exception):
            owner: Any = session if end.startswith("session") else await session.connection()
            await getattr(owner, end.split(".")[1])()
        for step in steps:
            with suppress(Exception):
                await step(session)

    return work


def with_options(**options: Any) -> Way:
    async def take(session: AsyncSession) -> None:
        connection = await session.connection(execution_options=options)
        with suppress(Exception):
            await connection.execution_options(**options)
        await connection.exec_driver_sql(WRITE)

    return take


def ending_nested(end: str) -> Way:
    async def work(session: AsyncSession) -> None:
        for find in (session.get_nested_transaction, (await session.connection()).get_nested_transaction):
            nested: Any = find()
            if nested is not None:
                with suppress(Exception):
                    await getattr(nested, end)()

    return work


async def prepared(session: AsyncSession) -> None:
    statement = await (await driver_of(session)).prepare("COMMIT")
    await statement.fetch()


async def streamed(session: AsyncSession) -> None:
    await (await session.connection()).stream(sa.text("COMMIT"))


def releasing(*release: Way) -> Way:
    """Give the savepoint that the session ends with to one's own writes."""

    async def work(session: AsyncSession) -> None:
        await session.execute(sa.text(SAVEPOINT))
        for step in release:
            with suppress(Exception):
                await step(session)
        with suppress(Exception):
            await session.execute(sa.text(WRITE))
        await session.execute(sa.text(SAVEPOINT))

    return work


async def repeated(session: AsyncSession) -> None:
    await (await session.connection()).execute(sa.text(RELEASE), [{}, {}])


async def streaming_a_release(session: AsyncSession) -> None:
    await session.stream(sa.text(RELEASE))


async def invalidated(session: AsyncSession) -> None:
    connection = await session.connection()
    await connection.invalidate()
    await connection.rollback()
    with suppress(ReadOnlyViolation):
        await connection.exec_driver_sql(WRITE)
        await connection.commit()


async def ignore(_: bytes) -> None:
    """Take what COPY gives."""


async def copied(session: AsyncSession) -> None:
    driver = await driver_of(session)
    for inner in ("SELECT 1) TO STDOUT; COMMIT --", f"SELECT 1) TO STDOUT; COMMIT; {WRITE}; COPY (SELECT 1"):
        with suppress(Exception):
            await driver.copy_from_query(inner, output=ignore)


async def on_another_engine(session: AsyncSession) -> None:
    engine = session.get_bind().engine
    other = {"bind": getattr(engine, "_proxied", engine)}  # what its options were added to
    for _ in range(2):
        with suppress(Exception):
            await session.execute(sa.text(WRITE), bind_arguments=other)
    await session.commit()


async def on_a_savepoint(session: AsyncSession) -> None:
    nested = await session.begin_nested()
    await session.execute(sa.text("SELECT 1"))
    await nested.rollback()
    async with session.begin_nested():
        await session.execute(sa.text("SELECT 1"))
    await session.execute(sa.text(WRITE))


SAVEPOINT, RELEASE = "SAVEPOINT sa_savepoint_1", "RELEASE SAVEPOINT sa_savepoint_1"
READ_WRITE = "SET TRANSACTION READ WRITE"
WRITABLE = "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"
DEFAULT = "SELECT set_config('default_transaction_read_only', 'off', false)"
ENDS = ["COMMIT", "commit", "END", "ROLLBACK", "ABORT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"]
HIDDEN = [
    "/* a /* b */ c */ COMMIT",
    "-- why\n COMMIT",
    "; COMMIT",
    " \n\t;;/**/--\nEND WORK",
    "PREPARE TRANSACTION 'left'",
]
SAVEPOINTS = ["sa_savepoint_1", "sa_savepoint_2", '"sa_savepoint_1"', "SA_SAVEPOINT_1"]

BY_API = ("session.commit", "session.rollback", "session.close", "connection.commit", "connection.rollback")
NAMED = [f"{verb} {name}" for name in SAVEPOINTS for verb in ("ROLLBACK TO SAVEPOINT", "RELEASE")]
PRAGMAS = ("PRAGMA query_only = 0", "pragma Query_Only(OFF)", "PRAGMA main.query_only=0")


def both(*ways: Way) -> Way:
    async def work(session: AsyncSession) -> None:
        for way in ways:
            with suppress(Exception):
                await way(session)

    return work


ON_POSTGRESQL: dict[str, Way] = {
    **{f"text {end!r}": sent(end) for end in [*ENDS, *HIDDEN, "PREPARE TRANSACTION 'left'"]},
    **{f"text {end!r}, begun anew": sent(end, READ_WRITE, "BEGIN READ WRITE") for end in [*ENDS, *HIDDEN]},
    **{f"connection {end!r}": on_the_connection(end, "BEGIN") for end in ENDS},
    **{f"driver {end!r}": on_the_driver(end, "BEGIN") for end in [*ENDS, *HIDDEN]},
    **{f"driver {end!r}, fetched": on_the_driver(end, READ_WRITE, method="fetch") for end in ENDS},
    **{f"driver {end!r}, in one": on_the_driver(f"{end}; BEGIN; {WRITE}; COMMIT") for end in ENDS},
    "driver, behind a statement": on_the_driver(f"SELECT ';'; COMMIT; {WRITE}"),
    "driver, by COPY": on_the_driver(f"COPY ({WRITE} RETURNING name) TO STDOUT"),
    "prepared": prepared,
    "streamed": streamed,
    "copied": copied,
    "set transaction": sent(READ_WRITE, "SET transaction_read_only = off", "BEGIN READ WRITE"),
    "set_config": sent("SELECT set_config('transaction_read_only', 'off', true)"),
    **{f"{end}, characteristics": after(end, sent(WRITABLE, READ_WRITE)) for end in BY_API},
    **{f"{end}, default": after(end, sent(DEFAULT, READ_WRITE)) for end in BY_API},
    **{f"characteristics, {end}": both(sent(WRITABLE), after(end)) for end in BY_API},
    **{f"default, {end}": both(sent(DEFAULT), after(end)) for end in BY_API},
    **{f"text {words}": sent(words) for words in NAMED},
    "driver, savepoints": on_the_driver(*NAMED),
    "invalidated": invalidated,
    "autocommit": with_options(isolation_level="AUTOCOMMIT"),
    "autocommit, later": after("session.commit", with_options(isolation_level="AUTOCOMMIT")),
    "writable, later": after("session.rollback", with_options(postgresql_readonly=False)),
    "reset": sent("RESET ALL", "DISCARD ALL"),
}

ON_SQLITE: dict[str, Way] = {
    **{f"text {end}": sent(end, "BEGIN IMMEDIATE") for end in ("COMMIT", "ROLLBACK", "END")},
    **{f"text {pragma}": sent(pragma) for pragma in PRAGMAS},
    "connection": on_the_connection("PRAGMA query_only = 0"),
    "driver": on_the_driver("PRAGMA query_only = 0"),
    "script": on_the_driver(f"COMMIT; PRAGMA query_only = 0; BEGIN; {WRITE}; COMMIT;", method="executescript"),
}

ON_BOTH: dict[str, Way] = {
    **{f"nested {end}": ending_nested(end) for end in ("rollback", "commit")},
    **{end: after(end, on_the_driver(WRITE)) for end in BY_API},
    "savepoint": on_a_savepoint,
    "another engine": on_another_engine,
}


async def leave_and_write(session: AsyncSession, way: Way) -> None:
    """Try to leave read-only by one way, and then to write by every other."""
    for step in (way, sent(WRITE), on_the_connection(WRITE), on_the_driver(WRITE, "COMMIT")):
        with suppress(Exception):
            await step(session)


@asynccontextmanager
async def outermost(db: Database) -> AsyncIterator[AsyncSession]:
    async with db.begin_readonly_session() as session:
        yield session


@asynccontextmanager
async def in_a_session(db: Database) -> AsyncIterator[AsyncSession]:
    async with db.begin_session(), db.begin_readonly_session() as session:
        yield session


@asynccontextmanager
async def in_a_unit(db: Database) -> AsyncIterator[AsyncSession]:
    async with db.unit_of_work(), db.unit_of_work(), db.begin_readonly_session() as session:
        yield session


@asynccontextmanager
async def in_a_read_only_unit(db: Database) -> AsyncIterator[AsyncSession]:
    async with db.begin_readonly_session(), db.unit_of_work() as unit:
        yield unit.session


@asynccontextmanager
async def in_a_borrowed_session(db: Database) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(db.engine) as owned:
        async with Database.from_session(owned).begin_readonly_session() as session:
            yield session
        await owned.commit()


class DomainSource(DBSource[DomainRow, DomainRow]):
    """What teams write: a method that reads in a session of their own."""

    async def lend(self, db_sess: AsyncSession, given: asyncio.Future[AsyncSession], back: asyncio.Event) -> None:
        given.set_result(db_sess)
        await back.wait()


@asynccontextmanager
async def in_a_verb(db: Database) -> AsyncIterator[AsyncSession]:
    source, given, back = DomainSource(db, DomainRow), asyncio.get_running_loop().create_future(), asyncio.Event()
    task = asyncio.create_task(source.read(source.lend, given, back))
    try:
        yield await given
    finally:
        back.set()
        await task


def some_of(ways: dict[str, Way]) -> dict[str, Way]:
    return dict(islice(ways.items(), 0, None, 5))


@pytest.mark.parametrize(
    "around, chosen",
    [
        (outermost, dict),
        (in_a_session, dict),
        (in_a_unit, some_of),
        (in_a_read_only_unit, some_of),
        (in_a_borrowed_session, some_of),
        (in_a_verb, some_of),
    ],
)
async def test_no_way_leads_out_of_a_read_only_session(any_tables: WithTables, around: Any, chosen: Any) -> None:
    """Whatever it sends, on the session, its connection or the driver's own, nothing is written, then or later."""
    async with any_tables(DomainRow) as db:
        ways = ON_POSTGRESQL if db.engine.dialect.name == "postgresql" else ON_SQLITE
        for name, way in {**chosen(ways), **ON_BOTH}.items():
            with suppress(Exception):
                async with around(db) as session:
                    await leave_and_write(session, way)
            async with db.begin_session() as session:
                assert (await session.scalars(sa.select(DomainRow.name))).all() == [], name
                await session.execute(sa.text(WRITE))  # the connection is as it was
                await session.execute(sa.delete(DomainRow))


async def test_what_ends_a_read_only_session_is_told(any_tables: WithTables) -> None:
    """A statement that would end its transaction raises, and says what does."""
    async with any_tables(DomainRow) as db:
        what_does = r"session\.commit\(\)" if db.engine.dialect.name == "postgresql" else r"begin_session\(\)"
        for send in (sent, on_the_connection, on_the_driver):
            with pytest.raises(ReadOnlyViolation, match=what_does):
                async with db.begin_readonly_session() as session:
                    await send("COMMIT", is_quiet=False)(session)
        with pytest.raises(ReadOnlyViolation):
            async with db.begin_readonly_session() as session:
                await on_the_driver(WRITE, is_quiet=False)(session)


@pytest.mark.filterwarnings("ignore:nested transaction already deassociated")  # SQLAlchemy took it for ended
async def test_nothing_of_the_block_around_ends_in_a_read_only_one(any_tables: WithTables) -> None:
    """What was written around it is undone as a whole, whatever was said inside, where, and swallowed or not."""
    async with any_tables(DomainRow) as db:
        texts = [sent(end, is_quiet=False) for end in ("COMMIT", "ROLLBACK", "RELEASE sa_savepoint_1")]
        others = [after(f"connection.{end}", sent("SELECT 1")) for end in ("commit", "rollback")]
        for is_swallowed, way in product((False, True), (*texts, *others)):
            with suppress(KeyError, TransactionError):
                async with db.begin_session() as session:
                    await session.execute(sa.text(WRITE))
                    with suppress(TransactionError if is_swallowed else GeneratorExit):
                        async with db.begin_readonly_session() as inner:
                            await way(inner)
                    raise KeyError
            async with db.begin_session() as session:
                assert (await session.scalars(sa.select(DomainRow.name))).all() == []


async def test_no_write_outlives_a_savepoint_released_by_other_means(with_tables: WithTables) -> None:
    """What ends the session's own savepoint unseen is refused, also by executemany and by a cursor."""
    async with with_tables(DomainRow) as db:
        for way in (releasing(repeated), releasing(streaming_a_release, sent(RELEASE))):
            with suppress(Exception):
                async with in_a_session(db) as session:
                    await way(session)
            async with db.begin_session() as session:
                assert (await session.scalars(sa.select(DomainRow.name))).all() == []


async def end_by_the_connection(session: AsyncSession, end: str) -> None:
    await getattr(await session.connection(), end)()


async def end_by_the_adapter(session: AsyncSession, end: str) -> None:
    raw = await (await session.connection()).get_raw_connection()
    await session.run_sync(lambda _: getattr(raw.dbapi_connection, end)())


@pytest.mark.filterwarnings("ignore:nested transaction already deassociated")  # SQLAlchemy took it for ended
@pytest.mark.parametrize("is_swallowed", [False, True])
async def test_a_refused_end_leaves_no_transaction_to_the_next(with_tables: WithTables, is_swallowed: bool) -> None:
    """What was written around the block is neither committed, nor read by whoever takes a connection next."""
    async with with_tables(DomainRow) as made:
        db = Database.from_url(made.engine.url, pool_size=1, max_overflow=0)
        ends = product(
            (outermost, in_a_session, in_a_unit), (end_by_the_connection, end_by_the_adapter), ("commit", "rollback")
        )
        for around, way, end in ends:
            is_joined = around is not outermost
            with pytest.raises(ReadOnlyViolation) if is_joined else suppress(ReadOnlyViolation):
                async with around(db) as session:
                    with suppress(ReadOnlyViolation if is_swallowed else GeneratorExit):
                        await way(session, end)
            async with db.begin_session() as session:
                assert (await session.scalars(sa.select(DomainRow.name))).all() == [], (around, way, end)
        await db.dispose()


@pytest.mark.filterwarnings("ignore:nested transaction already deassociated")  # SQLAlchemy took it for ended
async def test_a_refused_end_that_was_swallowed_commits_nothing(with_tables: WithTables) -> None:
    """The block around tells so, and never that it was committed."""
    async with with_tables(DomainRow) as db:
        for way, end in product((end_by_the_connection, end_by_the_adapter), ("commit", "rollback")):
            with pytest.raises(TransactionAborted):
                async with db.begin_session() as session:
                    await session.execute(sa.text(WRITE))
                    with suppress(ReadOnlyViolation):
                        async with db.begin_readonly_session() as inner:
                            await way(inner, end)
            async with db.begin_session() as session:
                assert (await session.scalars(sa.select(DomainRow.name))).all() == [], (way, end)


async def test_whatever_reads_goes_on_in_a_read_only_session(any_tables: WithTables) -> None:
    """Savepoints, whoever makes them, transactions that SQLAlchemy ends, and statements with semicolons."""
    async with any_tables(DomainRow) as db:
        for around in (outermost, in_a_session):
            async with around(db) as session:
                async with session.begin_nested():
                    await session.execute(sa.text("SAVEPOINT a"))
                    await session.execute(sa.text("ROLLBACK TO SAVEPOINT a"))
                    await session.execute(sa.text("release a"))
                nested = await session.begin_nested()
                await session.scalar(sa.select(DomainRow.name))
                await nested.rollback()
                assert (await session.execute(sa.text("SELECT ';' ; "))).scalar_one() == ";"
                if db.engine.dialect.name == "postgresql":
                    driver = await driver_of(session)
                    async with driver.transaction():
                        assert await driver.execute("SELECT ';';") == "SELECT 1"
                        assert [row[0] async for row in driver.cursor("SELECT 'a;' -- COMMIT")] == ["a;"]
        async with db.begin_readonly_session() as session:
            for end in (session.commit, session.rollback):
                await end()
                assert await session.scalar(sa.select(sa.func.count()).select_from(DomainRow)) == 0
