"""Writes of one statement that is its own transaction: one round trip, and told as honestly as three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import Context
from typing import Any

import pytest
import sqlalchemy as sa

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
    RefusedByTrigger,
    ScopeMismatch,
    commit_outcome,
)
from rowsmith.testing import WithFaults, WithTables
from tenants import DomainRow, GroupCreate, GroupPatch, GroupRepository, GroupRow
from test_native_writes import (
    FOREIGN,
    ONE,
    REFUSED,
    WRITES,
    A,
    ended_by,
    filled,
    plain_of,
    renamed,
    taken,
    told,
    triggered,
)


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=2, max_overflow=0, writes="statement")
        yield await filled(db)
        await db.dispose()


async def test_one_round_trip(with_faults: WithFaults) -> None:
    """Once a connection knows it, a write is one statement and no more."""
    async with with_faults(DomainRow, GroupRow, writes="statement") as (db, proxy):
        groups = await filled(db)
        for name in ("first", "second"):
            proxy.seen.clear()
            made = await groups.create(GroupCreate("a", name), scope=A)
        assert len(proxy.seen) == 1
        for call in (
            lambda: groups.update(made.id, renamed("third"), scope=A),
            lambda: groups.delete(made.id),
            lambda: groups.restore(made.id),
            lambda: groups.purge(made.id, scope=A),
        ):
            proxy.seen.clear()
            assert await taken(groups, call) == 1
            assert not {"BEGIN;", "COMMIT;"} & set(proxy.seen)
        assert await plain_of(groups).find(made.id, include_deleted=True) is None


async def test_what_is_given_is_what_is_there(groups: GroupRepository) -> None:
    """Every write that the lane takes is taken, and gives what the table has."""
    for call in WRITES.values():
        assert await taken(groups, lambda call=call: call(groups)) == 1  # type: ignore[misc]
    made = await groups.create(GroupCreate("b", "named", size=4, note="n"))
    assert made == await plain_of(groups).get(made.id)


async def test_what_is_refused_is_refused_alike(groups: GroupRepository) -> None:
    """Errors, their codes, facts and outcomes are those of a transaction, and the table stays as it is."""
    plain = plain_of(groups)
    before = (await plain.search(include_deleted=True)).items
    for name, call in REFUSED.items():
        assert await told(call(groups)) == await told(call(plain)), name
    assert (await plain.search(include_deleted=True)).items == before


@pytest.mark.parametrize("chosen", ["statement", "transaction"])
async def test_chosen_for_a_block(with_faults: WithFaults, chosen: Any) -> None:
    """A block's choice holds inside of it, whatever the database's own is, and for that database only."""
    other = {"statement": "transaction", "transaction": "statement"}[chosen]
    async with with_faults(DomainRow, GroupRow, writes=other) as (db, proxy):
        groups, another = await filled(db), Database(db.engine, writes=other)
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


async def test_a_unit_of_work_undoes_it(groups: GroupRepository) -> None:
    """Inside of a unit of work a write is a part of it."""
    with pytest.raises(ZeroDivisionError):
        async with groups.db.unit_of_work():
            await groups.update(ONE, renamed("new"))
            raise ZeroDivisionError
    assert (await groups.get(ONE)).name == "one"


@pytest.mark.parametrize(
    "body, error",
    [
        ("NEW.domain_name := 'b'; RETURN NEW;", ScopeMismatch),
        ("NEW.domain_name := NULL; RETURN NEW;", ScopeMismatch),
        ("INSERT INTO domains (name) VALUES ('trace') ON CONFLICT DO NOTHING; RETURN NULL;", RefusedByTrigger),
    ],
    ids=["moves", "forgets", "skips"],
)
async def test_triggers(groups: GroupRepository, body: str, error: type[Exception]) -> None:
    """What a trigger did to a row that was not written, or was taken out of its scope, is undone with it."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE groups ALTER domain_name DROP NOT NULL")
    async with triggered(groups, body):
        before = (await groups.search(include_deleted=True)).items
        for call in (
            lambda: groups.create(GroupCreate("a", "new"), scope=A),
            lambda: groups.update(ONE, renamed("new"), scope=A),
        ):
            with pytest.raises(error) as caught:
                await call()
            assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
        assert (await groups.search(include_deleted=True)).items == before
        async with groups.db.begin_session() as db_sess:
            assert await db_sess.get(DomainRow, "trace") is None


async def test_triggers_of_statements_on_absent_rows(groups: GroupRepository) -> None:
    """A trigger that fires for a statement leaves nothing where there was no row to be written."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql(
            "CREATE FUNCTION rowsmith_trace() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO domains (name) VALUES ('trace') ON CONFLICT DO NOTHING; RETURN NULL; END $$"
        )
        await connection.exec_driver_sql(
            "CREATE TRIGGER rowsmith_trace AFTER UPDATE ON groups EXECUTE FUNCTION rowsmith_trace()"
        )
    with pytest.raises(EntityNotFound):
        await groups.update(FOREIGN, renamed("x"), scope=A)
    async with groups.db.begin_session() as db_sess:
        assert await db_sess.get(DomainRow, "trace") is None


async def test_twins(groups: GroupRepository) -> None:
    """Of a table that is not unique over its key, no row is written where several are found."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE groups DROP CONSTRAINT groups_pkey CASCADE")
        await connection.exec_driver_sql("UPDATE groups SET id = 1")
    with pytest.raises(MappingError):
        await groups.update(ONE, GroupPatch(size=OptionalState.update(7)))
    async with groups.db.begin_session() as db_sess:
        assert 7 not in (await db_sess.scalars(sa.select(GroupRow.size))).all()


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
        await filled(db)
        groups = GroupRepository(db)
        await groups.update(ONE, renamed("new"))
        (proxy.drop_answer if is_done else proxy.drop_request)("UPDATE groups")
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await groups.update(ONE, renamed("newer"))
        assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN
        assert (caught.value.facts.domain, caught.value.facts.operation) == ("group", "update")
        assert (await groups.get(ONE)).name == ("newer" if is_done else "new")


async def test_a_connection_that_is_lost_before(groups: GroupRepository) -> None:
    """What could not be sent is not committed."""
    driver = await _driver(groups)
    driver.terminate()
    assert (await groups.update(ONE, renamed("new"))).name == "new"


async def _driver(groups: GroupRepository) -> Any:
    async with groups.db.engine.connect() as connection:
        return (await connection.get_raw_connection()).driver_connection


async def test_a_server_that_ends_the_connection(groups: GroupRepository) -> None:
    """It may have committed before: where the server says no more than that it ends, it is unknown."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql(
            "CREATE FUNCTION rowsmith_end() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        await connection.exec_driver_sql(
            "CREATE TRIGGER rowsmith_end BEFORE UPDATE ON groups FOR EACH ROW EXECUTE FUNCTION rowsmith_end()"
        )
    with pytest.raises(CommitOutcomeUnknown):
        await groups.update(ONE, renamed("new"))
    assert (await groups.get(ONE)).name == "one"


async def test_with_a_key_it_is_resolved(with_faults: WithFaults) -> None:
    """A write with an idempotency key is a transaction, whose outcome can be asked for."""
    async with with_faults(DomainRow, GroupRow, writes="statement") as (db, proxy):
        groups = await filled(db)
        await told(groups.create(GroupCreate("a", "x"), idempotency_key="k"))
        assert any(text.startswith("BEGIN") for text in proxy.seen)


@pytest.mark.parametrize("steps", range(1, 9))
async def test_cancelled_at_each_step(groups: GroupRepository, steps: int) -> None:
    """Wherever a write is cancelled, what it carries is true; no connection is lost."""
    pool: Any = groups.db.engine.sync_engine.pool
    for name in (f"x{steps}", f"y{steps}"):
        task = asyncio.ensure_future(groups.create(GroupCreate("a", name), scope=A))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        carried = await ended_by(task)
        assert pool.checkedout() == 0
        is_there = await plain_of(groups).count(A, [GroupRow.name == name]) == 1
        if carried is not None:
            assert commit_outcome(carried) is (CommitOutcome.COMMITTED if is_there else CommitOutcome.NOT_COMMITTED)
        else:
            assert is_there


async def test_cancelled_while_it_waits_for_a_lock(groups: GroupRepository) -> None:
    """The server is told to stop, and says that it did: nothing is kept, then or later."""
    async with groups.db.begin_session() as other:
        await other.execute(sa.update(GroupRow).values(size=2))
        pid = (await other.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
        task = asyncio.create_task(groups.update(ONE, renamed("new")), context=Context())
        waiting = sa.text(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {pid} = ANY (pg_blocking_pids(pid))")
        while not (await other.execute(waiting)).scalar_one():  # noqa: ASYNC110 - another backend has no Event
            await asyncio.sleep(0.001)
        task.cancel()
        carried = await ended_by(task)
        assert carried is not None
        assert commit_outcome(carried) is CommitOutcome.NOT_COMMITTED
    assert (await groups.get(ONE)).name == "one"


async def test_a_deadline(with_faults: WithFaults) -> None:
    """It holds where no answer comes, and nobody says that nothing was kept."""
    async with with_faults(DomainRow, GroupRow, deadline=0.3, writes="statement") as (db, proxy):
        groups = await filled(db)
        await groups.update(ONE, renamed("new"))
        proxy.hold_answer("UPDATE groups")
        with pytest.raises(DeadlineExceeded) as caught:
            await groups.update(ONE, renamed("newer"))
        assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN


async def test_a_table_that_is_altered(groups: GroupRepository) -> None:
    """Statements that were prepared before are prepared anew, and the write is done once."""
    await groups.update(ONE, renamed("new"))
    async with groups.db.engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE groups ALTER size TYPE BIGINT"))
    assert (await groups.update(ONE, renamed("newer"))).name == "newer"
    assert (await groups.create(GroupCreate("a", "after"))).name == "after"


async def test_many_writers_on_a_small_pool(groups: GroupRepository) -> None:
    """Each writes its own row, and all connections are given back."""
    made = await asyncio.gather(*(groups.create(GroupCreate("ab"[n % 2], f"many {n}")) for n in range(30)))
    assert [group.name for group in made] == [f"many {n}" for n in range(30)]
    assert groups.db.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
