"""Writes of one statement that is its own transaction: one round trip, and told as honestly as three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import Context
from typing import Any

import pytest
import sqlalchemy as sa

from columns import COLUMNS
from lanes import world
from native import FOREIGN, ONE, A, ended_by, hasty, plain_of, renamed, taken, three_in, told, triggered
from rowsmith import (
    CommitOutcome,
    CommitOutcomeUnknown,
    Database,
    DeadlineExceeded,
    EntityNotFound,
    InvalidValue,
    MappingError,
    OptionalState,
    ReferenceNotFound,
    Repository,
    commit_outcome,
)
from rowsmith.idempotency import IdempotencyKeyRow
from rowsmith.testing import WithFaults, WithTables
from support import is_waited_for
from tenants import DomainRow, GroupCreate, GroupId, GroupPatch, GroupRepository, GroupRow

pytestmark = pytest.mark.of_the_native_lane


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=2, max_overflow=0, writes="statement")
        yield await three_in(db)
        await db.dispose()


async def test_one_round_trip(with_faults: WithFaults) -> None:
    """Once a connection knows it, a write is one statement and no more."""
    async with with_faults(DomainRow, GroupRow, writes="statement") as (db, proxy):
        groups = await three_in(db)
        for name in ("first", "second"):
            proxy.seen.clear()
            made = await groups.create(GroupCreate("a", name), scope=A)
        assert len(proxy.seen) == 1
        for call in (
            lambda: groups.update(made.id, renamed("third"), scope=A),
            lambda: groups.batch_update([made.id, ONE], GroupPatch(size=OptionalState.update(3)), scope=A),
            lambda: groups.batch_delete([made.id, ONE]),
            lambda: groups.batch_restore([made.id, ONE], scope=A),
            lambda: groups.batch_purge([ONE]),
            lambda: groups.delete(made.id),
            lambda: groups.restore(made.id),
            lambda: groups.purge(made.id, scope=A),
        ):
            proxy.seen.clear()
            assert await taken(groups, call) == 1
            assert not {"BEGIN;", "COMMIT;"} & set(proxy.seen)
        assert await plain_of(groups).find(made.id, include_deleted=True) is None


@pytest.mark.parametrize("chosen", ["statement", "transaction"])
async def test_chosen_for_a_block(with_faults: WithFaults, chosen: Any) -> None:
    """A block's choice holds inside of it, whatever the database's own is, and for that database only."""
    other = {"statement": "transaction", "transaction": "statement"}[chosen]
    async with with_faults(DomainRow, GroupRow, writes=other) as (db, proxy):
        groups, another = await three_in(db), Database(db.engine, writes=other)
        await groups.update(ONE, renamed("x"))
        with db.writes_as(chosen), another.writes_as(other):
            await groups.update(ONE, renamed("y"))
            proxy.seen.clear()
            await groups.update(ONE, renamed("z"))
        assert len(proxy.seen) == {"statement": 1, "transaction": 3}[chosen]
        proxy.seen.clear()
        await groups.update(ONE, renamed("x"))
        assert len(proxy.seen) == {"statement": 3, "transaction": 1}[chosen]


async def test_another_word(any_database: Database) -> None:
    """What is neither of the two is refused when it is said, on every backend."""
    with pytest.raises(InvalidValue):
        Database(any_database.engine, writes="fast")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        any_database.writes_as("fast")  # type: ignore[arg-type]
    with any_database.writes_as("statement"):
        pass


async def test_a_value_that_the_driver_cannot_write(with_tables: WithTables) -> None:
    """Nothing was sent then, and that is what is said: of a type too of which only the driver knows the values."""
    vectors = world("alone", COLUMNS["tsvector"])

    class Vectors(Repository[vectors.row, vectors.made, int]):  # type: ignore[name-defined]
        pass

    async with with_tables(vectors.row) as made:
        alone, plain = (Vectors(Database(made.engine, native=native, writes="statement")) for native in (True, False))
        for call in (
            lambda of: of.create(vectors.spec(1, {1, 2})),
            lambda of: of.upsert(vectors.spec(1, 3)),
            lambda of: of.update(1, vectors.patch(b"a")),
        ):
            with pytest.raises(InvalidValue) as caught:
                await call(alone)
            assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
            assert await told(call(alone)) == await told(call(plain))


async def test_triggers_of_statements_on_absent_rows(groups: GroupRepository) -> None:
    """A trigger that fires for a statement leaves nothing where there was no row to be written."""
    trace = "INSERT INTO domains (name) VALUES ('trace') ON CONFLICT DO NOTHING; RETURN NULL;"
    async with triggered(groups, trace, "AFTER UPDATE ON groups"):
        with pytest.raises(EntityNotFound):
            await groups.update(FOREIGN, renamed("x"), scope=A)
        async with groups.db.begin_session() as db_sess:
            assert await db_sess.get(DomainRow, "trace") is None
        await groups.update(ONE, renamed("x"), scope=A)
        async with groups.db.begin_session() as db_sess:
            assert await db_sess.get(DomainRow, "trace") is not None


async def test_twins(groups: GroupRepository) -> None:
    """Of a table that is not unique over its key, no row is written where several are found."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE groups DROP CONSTRAINT groups_pkey CASCADE")
        await connection.exec_driver_sql("UPDATE groups SET id = 1")
    with pytest.raises(MappingError):
        await groups.update(ONE, GroupPatch(size=OptionalState.update(7)))
    for ids in ([ONE], [ONE, GroupId(2)], [ONE, GroupId(2), GroupId(3)]):  # there are three rows
        with pytest.raises(MappingError):
            await groups.batch_update(ids, GroupPatch(size=OptionalState.update(7)))
        with pytest.raises(MappingError):
            await groups.batch_purge(ids)
    async with groups.db.begin_session() as db_sess:
        sizes = (await db_sess.scalars(sa.select(GroupRow.size))).all()
        assert (len(sizes), 7 in sizes) == (3, False)


async def test_constraints_that_are_looked_at_last(groups: GroupRepository) -> None:
    """A deferred constraint is looked at as the statement ends, and its error is an answer."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql(
            "ALTER TABLE groups ADD CONSTRAINT fk_late FOREIGN KEY (name) REFERENCES domains (name) "
            "DEFERRABLE INITIALLY DEFERRED NOT VALID"
        )
    with pytest.raises(ReferenceNotFound) as caught:
        await groups.create(GroupCreate("a", "nowhere"))
    assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
    assert await plain_of(groups).count(None, [GroupRow.name == "nowhere"]) == 0


# What goes wrong


@pytest.mark.parametrize("is_done", [True, False])
async def test_an_answer_that_is_lost(with_faults: WithFaults, is_done: bool) -> None:
    """Nobody can be asked: it is unknown, said to be, and not sent again."""
    async with with_faults(DomainRow, GroupRow, writes="statement") as (db, proxy):
        await three_in(db)
        groups = GroupRepository(db)
        await groups.update(ONE, renamed("new"))
        (proxy.drop_answer if is_done else proxy.drop_request)("UPDATE groups")
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await groups.update(ONE, renamed("newer"))
        assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN
        assert (caught.value.facts.domain, caught.value.facts.operation) == ("group", "update")
        assert (await groups.get(ONE)).name == ("newer" if is_done else "new")


async def test_a_connection_that_is_lost_before(groups: GroupRepository) -> None:
    """It is not taken: what could not be sent on it is sent on another."""
    driver = await _driver(groups)
    driver.terminate()
    assert (await groups.update(ONE, renamed("new"))).name == "new"


async def _driver(groups: GroupRepository) -> Any:
    async with groups.db.engine.connect() as connection:
        return (await connection.get_raw_connection()).driver_connection


async def test_a_server_that_ends_the_connection(groups: GroupRepository) -> None:
    """It may have committed before: where the server says no more than that it ends, it is unknown."""
    async with triggered(groups, "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW;"):
        with pytest.raises(CommitOutcomeUnknown):
            await groups.update(ONE, renamed("new"))
        assert (await groups.get(ONE)).name == "one"


async def test_with_a_key_it_is_resolved(with_faults: WithFaults) -> None:
    """A write with an idempotency key is a transaction, whose outcome can be asked for."""
    async with with_faults(DomainRow, GroupRow, IdempotencyKeyRow, writes="statement") as (db, proxy):
        groups = await three_in(db)
        proxy.seen.clear()
        proxy.drop_answer("COMMIT")
        assert (await groups.create(GroupCreate("a", "x"), idempotency_key="k")).name == "x"
        assert "COMMIT;" in proxy.seen


async def test_cancelled_while_it_waits_for_a_lock(groups: GroupRepository) -> None:
    """The server is told to stop, and says that it did: nothing is kept, then or later."""
    async with groups.db.begin_session() as other:
        await other.execute(sa.update(GroupRow).values(size=2))
        task = asyncio.create_task(groups.update(ONE, renamed("new")), context=Context())
        assert await is_waited_for(other, task)
        task.cancel()
        carried = await ended_by(task)
        assert carried is not None
        assert commit_outcome(carried) is CommitOutcome.NOT_COMMITTED
    assert (await groups.get(ONE)).name == "one"


async def test_a_deadline(with_faults: WithFaults) -> None:
    """It holds where no answer comes, and nobody says that nothing was kept."""
    async with hasty(with_faults, writes="statement") as (groups, proxy):
        proxy.hold_answer("UPDATE groups")
        with pytest.raises(DeadlineExceeded) as caught:
            await groups.update(ONE, renamed("newer"))
        assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN
