"""Removing every row that matches, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    CommitOutcome,
    CommitOutcomeUnknown,
    Database,
    DatabaseUnavailable,
    DeadlineExceeded,
    InvalidFilter,
    InvalidValue,
    LockNotAvailable,
    ReadOnlyViolation,
    RefusedByTrigger,
    Repository,
    StillReferenced,
    TransactionError,
    commit_outcome,
)
from rowsmith.operations.deletes import where as purge_where
from rowsmith.operations.deletes.statement import Doomed, Walk
from rowsmith.operations.deletes.where import Pace, WherePurger
from rowsmith.resilience import Resilience, TimeoutPolicy
from rowsmith.testing import WithFaults, WithTables
from support import count_statements, is_waited_for, until
from tenants import (
    CounterRepository,
    CounterRow,
    GroupId,
    GroupRow,
    MemberCreate,
    MemberRepository,
    MemberRow,
    TenantScope,
    UsedScope,
    counters_in,
    groups_in,
    uses,
)

A, B = TenantScope("a"), TenantScope("b")


@pytest.fixture
async def counters(any_tables: WithTables) -> AsyncIterator[CounterRepository]:
    async with counters_in(any_tables, 25) as made:
        yield made


@pytest.fixture
async def many(with_tables: WithTables) -> AsyncIterator[CounterRepository]:
    async with counters_in(with_tables, 25) as made:
        yield made


def test_a_chunk_is_one_statement_of_postgresql() -> None:
    """It locks what nobody else has, in key order, and tells how many rows went and where to go on."""
    entity = CounterRepository.entity
    doomed = Doomed(entity, entity.origin("purge_where", deletes=True), [CounterRow.uses > 3])
    sql = " ".join(str(doomed.chunk(Walk(first=False)).compile(dialect=sa.dialects.postgresql.dialect())).split())
    assert "ORDER BY counters.tenant, counters.place LIMIT" in sql
    assert "FOR UPDATE SKIP LOCKED" in sql
    assert "(counters.tenant, counters.place) > (" in sql


async def test_all_that_match_go_in_chunks(counters: CounterRepository) -> None:
    """Deleted rows too; the report counts, and progress is told after each chunk."""
    await counters.batch_delete([("a", 3), ("b", 3)])
    told: list[int] = []
    report = await counters.purge_where([CounterRow.place < 11], chunk_size=7, progress=told.append)
    assert (report.rows, report.chunks, report.complete, report.dry_run) == (22, 4, True, False)
    assert told == [7, 14, 21, 22]
    assert report.seconds > 0
    assert await counters.count(include_deleted=True) == 28
    again = await counters.purge_where([CounterRow.place < 11])
    assert (again.rows, again.chunks, again.complete) == (0, 0, True)


async def test_a_purge_stays_in_its_scope(counters: CounterRepository) -> None:
    """Another tenant's rows are neither removed nor counted."""
    assert (await counters.purge_where([CounterRow.place < 5], scope=A, dry_run=True)).rows == 5
    assert (await counters.purge_where([], scope=A, all_rows=True, chunk_size=10)).rows == 25
    assert await counters.count() == await counters.count(B) == 25


async def test_a_purge_needs_a_condition(counters: CounterRepository) -> None:
    """Or all_rows=True; a scope does not count, nor does a Query with a page."""
    for filters in (None, []):
        for dry_run in (False, True):
            with pytest.raises(InvalidFilter, match="all_rows=True"):
                await counters.purge_where(filters, scope=A, dry_run=dry_run)
    assert await counters.count() == 50


async def test_a_dry_run_only_counts(counters: CounterRepository) -> None:
    """And says what a purge with the same arguments would do."""
    report = await counters.purge_where([CounterRow.place < 10], dry_run=True)
    assert (report.rows, report.chunks, report.complete, report.dry_run) == (20, 0, True, True)
    capped = await counters.purge_where([CounterRow.place < 10], max_rows=15, dry_run=True)
    assert (capped.rows, capped.complete) == (15, False)
    assert await counters.count() == 50


async def test_a_dry_run_needs_no_session_that_writes(counters: CounterRepository) -> None:
    """It counts in a read-only session, in a unit of work, in chunks or at once."""
    for around in (counters.db.begin_readonly_session, counters.db.unit_of_work, counters.db.begin_session):
        async with around():
            for chunk_size in (4, None):
                report = await counters.purge_where([CounterRow.place < 10], chunk_size=chunk_size, dry_run=True)
                assert (report.rows, report.dry_run) == (20, True)
    async with counters.db.begin_readonly_session():
        with pytest.raises(ReadOnlyViolation):
            await counters.purge_where([CounterRow.place < 10], chunk_size=None)


async def test_a_purge_may_be_limited_and_goes_on_later(counters: CounterRepository) -> None:
    """``complete`` says whether rows are left over."""
    reports = [await counters.purge_where([CounterRow.place < 10], chunk_size=4, max_rows=9) for _ in range(3)]
    assert [(report.rows, report.chunks, report.complete) for report in reports] == [
        (9, 3, False),
        (9, 3, False),
        (2, 1, True),
    ]
    assert not (await counters.purge_where([CounterRow.place < 20], max_rows=0)).complete
    assert await counters.count() == 30


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"chunk_size": 0}, "chunk_size is 0: give 1 or more"),
        ({"max_rows": -1}, "max_rows is negative: give a whole number of rows, 0 or more, or None"),
        ({"max_rows": "1"}, "max_rows is str: give a whole number of rows"),
        ({"max_rows": True}, "max_rows is bool: give a whole number of rows"),
        ({"pause": -0.1}, "pause is negative: give seconds, from 0 to"),
        ({"pause": 10**9}, "pause is out of range: give seconds, from 0 to"),
        ({"pause": float("nan")}, "pause is out of range: give seconds, from 0 to"),
        ({"pause": None}, "pause is NoneType: give seconds, from 0 to"),
    ],
)
async def test_numbers_out_of_range_are_refused(
    counters: CounterRepository, arguments: dict[str, Any], words: str
) -> None:
    """Before anything is removed, and it is said what they are and what they have to be."""
    with pytest.raises(InvalidValue, match=words):
        await counters.purge_where([], all_rows=True, **arguments)
    assert await counters.count() == 50


async def test_it_does_not_run_inside_a_unit_of_work(counters: CounterRepository) -> None:
    """A single transaction is just what it avoids."""
    async with counters.db.unit_of_work():
        with pytest.raises(TransactionError, match="unit of work") as caught:
            await counters.purge_where([CounterRow.place < 10])
    assert caught.value.error_code == "counter_purge-where_transaction-error"
    assert await counters.count() == 50


async def test_each_chunk_is_committed(counters: CounterRepository) -> None:
    """What is gone stays gone when the purge is cancelled between chunks, and the next call goes on."""

    def stop(done: int) -> None:
        if done >= 12:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await counters.purge_where([CounterRow.place < 10], chunk_size=6, progress=stop)
    assert await counters.count() == 38
    assert (await counters.purge_where([CounterRow.place < 10])).rows == 8


async def test_a_blocking_reference_is_a_typed_error(any_tables: WithTables) -> None:
    """It carries what was removed before; the chunk it stopped is whole."""
    async with groups_in(any_tables) as groups:
        await MemberRepository(groups.db).create(MemberCreate(3, "x@example.org"))
        with pytest.raises(StillReferenced) as caught:
            await groups.purge_where([], all_rows=True, chunk_size=2)
        error = caught.value
        assert (error.report.rows, error.report.chunks, error.report.complete) == (2, 1, False)
        assert error.error_code == "group_purge-where_still-referenced"
        assert "2 rows were removed before" in error.__notes__[0]
        assert await groups.count(include_deleted=True) == 2
        unblocked = [~sa.exists().where(MemberRow.group_id == GroupRow.id)]
        assert (await groups.purge_where(unblocked)).rows == 1
        assert await groups.get(GroupId(3))


async def test_the_number_of_statements_goes_by_chunks(many: CounterRepository) -> None:
    """One a chunk, one that finds no more, and the look at the end."""
    with count_statements(many.db) as sent:
        await many.purge_where([CounterRow.place < 20], chunk_size=10)
    assert len(sent) == 4 + 1 + 1
    with count_statements(many.db) as sent:
        await many.purge_where([CounterRow.place < 25], chunk_size=10)
    assert len(sent) == 1 + 1 + 1


async def until_left(many: CounterRepository, rows: int) -> None:
    """Wait until no more rows than these are left."""

    async def are_gone() -> bool:
        return await many.count() == rows

    await until(are_gone)


async def test_rows_that_are_locked_are_not_left_behind(many: CounterRepository) -> None:
    """The purge goes round them and comes back when they are free."""
    async with Database(many.db.engine).begin_session() as other:
        await other.execute(sa.update(CounterRow).where(CounterRow.place == 3).values(uses=1))
        purge = asyncio.create_task(many.purge_where([CounterRow.place < 20], chunk_size=6))
        await until_left(many, 12)
        assert not purge.done()
    report = await purge
    assert (report.rows, report.complete, await many.count()) == (40, True, 10)


async def test_rows_that_come_to_match_meanwhile_go_too(many: CounterRepository) -> None:
    """The end is a look that finds nothing, not the end of a walk."""
    added = 0

    async def add(_: int) -> None:
        nonlocal added
        if added < 5:
            added += 1
            async with Database(many.db.engine).begin_session() as other:
                row = {"tenant": "a", "place": -added, "uses": 9, "version": 1}
                await other.execute(sa.insert(CounterRow), [row])

    tasks: list[asyncio.Task[None]] = []
    await many.update_where([CounterRow.place < 20], uses(9))
    report = await many.purge_where(
        [CounterRow.uses == 9], chunk_size=6, pause=0.05, progress=lambda n: tasks.append(asyncio.create_task(add(n)))
    )
    await asyncio.gather(*tasks)
    assert report.rows == 40 + added
    assert await many.count(UsedScope(9), [CounterRow.uses == 9]) == 0


async def test_a_row_that_no_longer_matches_stays(many: CounterRepository) -> None:
    """What another transaction changes while it has the row locked decides."""
    async with Database(many.db.engine).begin_session() as other:
        await other.execute(sa.update(CounterRow).where(CounterRow.place == 3).values(uses=50))
        purge = asyncio.create_task(many.purge_where([CounterRow.uses < 10], chunk_size=6))
        await until_left(many, 2)
        assert not purge.done()
    assert (await purge).rows == 48
    assert await many.count() == 2


async def test_patience_ends(many: CounterRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that stay locked end the purge with an error that says what was done."""
    monkeypatch.setattr(purge_where, "LONGEST_WAIT", 0.05)
    purger = WherePurger[Any, Any](many.db_source.entity)
    async with Database(many.db.engine).begin_session() as other:
        await other.execute(sa.update(CounterRow).where(CounterRow.place == 3).values(uses=1))
        with pytest.raises(LockNotAvailable) as caught:
            await purger.purge(many.db.begin_session, [CounterRow.place < 20], pace=Pace(patience=0.2))
    assert caught.value.report.rows == 38


async def test_two_purges_share_the_work(many: CounterRepository) -> None:
    """They do not wait for each other, and each row is counted once."""
    reports = await asyncio.gather(*(many.purge_where([CounterRow.place < 20], chunk_size=3) for _ in range(4)))
    assert sum(report.rows for report in reports) == 40
    assert all(report.complete for report in reports)


async def test_a_killed_connection_ends_it_and_the_next_call_goes_on(many: CounterRepository) -> None:
    """The error carries the report of the chunks before, which are committed."""
    reached = asyncio.Event()
    purge = asyncio.create_task(
        many.purge_where([CounterRow.place < 20], chunk_size=10, pause=0.3, progress=lambda _: reached.set())
    )
    await reached.wait()
    async with Database(many.db.engine).begin_session() as other:
        await other.execute(sa.text("LOCK TABLE counters"))
        assert await is_waited_for(other, purge)
        waiting = "pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        await other.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waiting}"))
        with pytest.raises(DatabaseUnavailable) as caught:
            await purge
    assert caught.value.report.rows == 10
    assert commit_outcome(caught.value) is CommitOutcome.COMMITTED
    assert (await many.purge_where([CounterRow.place < 20])).rows == 30


@pytest.mark.parametrize("chunk, outcome", [(2, CommitOutcome.UNKNOWN), (3, CommitOutcome.COMMITTED)])
async def test_a_commit_that_nobody_answers(
    with_faults: WithFaults, monkeypatch: pytest.MonkeyPatch, chunk: int, outcome: CommitOutcome
) -> None:
    """It leaves open what became of the rows that were to go by it: where there were none, all of them are gone."""
    monkeypatch.setattr("rowsmith.execution.committing.RESOLVING", 0.0)
    async with with_faults(CounterRow) as (db, proxy):
        async with db.begin_session() as session:
            rows = [{"tenant": "a", "place": place, "version": 1} for place in range(2)]
            await session.execute(sa.insert(CounterRow), rows)

        def lose_the_next(done: int) -> None:
            if done == chunk - 1:
                proxy.drop_answer("COMMIT")

        with pytest.raises(DatabaseUnavailable if chunk == 3 else CommitOutcomeUnknown) as caught:
            await CounterRepository(db).purge_where([], all_rows=True, chunk_size=1, progress=lose_the_next)
        assert (commit_outcome(caught.value), caught.value.report.rows) == (outcome, chunk - 1)


async def test_a_deadline_is_that_of_each_chunk(many: CounterRepository) -> None:
    """A database's ends one that waits, and not the wait for rows that others have between two of them."""
    timed = CounterRepository(Database(many.db.engine, deadline=0.3), resilience=None)
    async with Database(many.db.engine).begin_session() as other:
        await other.execute(sa.text("LOCK TABLE counters"))
        with pytest.raises(DeadlineExceeded) as late:
            await timed.purge_where([CounterRow.place < 10])
    assert (commit_outcome(late.value), late.value.report.rows) == (CommitOutcome.NOT_COMMITTED, 0)
    async with Database(many.db.engine).begin_session() as other:
        await other.execute(sa.update(CounterRow).where(CounterRow.place == 3).values(uses=1))
        purge = asyncio.create_task(timed.purge_where([CounterRow.place < 10], chunk_size=6))
        await until_left(many, 32)
        await asyncio.sleep(0.5)
        assert not purge.done()
    assert (await purge).rows == 20


async def test_what_ends_a_purge_between_chunks(counters: CounterRepository) -> None:
    """An application's own error, or a policy's deadline, says that rows are gone; the latter how many."""

    def stop(_: int) -> None:
        raise LookupError

    with pytest.raises(LookupError) as ended:
        await counters.purge_where([CounterRow.place < 10], chunk_size=6, progress=stop)
    assert commit_outcome(ended.value) is CommitOutcome.COMMITTED
    timed = CounterRepository(counters.db, resilience=Resilience(policies=[TimeoutPolicy(0.5)]))
    with pytest.raises(DeadlineExceeded) as late:
        await timed.purge_where([CounterRow.place < 10], chunk_size=6, pause=60)
    assert (commit_outcome(late.value), late.value.report.rows) == (CommitOutcome.COMMITTED, 6)


async def test_a_purge_in_one_transaction(counters: CounterRepository) -> None:
    """``chunk_size=None``: deleted rows too, in the scope, and nothing without a condition."""
    await counters.batch_delete([("a", 3)])
    told: list[int] = []
    with pytest.raises(InvalidFilter, match="all_rows=True"):
        await counters.purge_where([], scope=A, chunk_size=None)
    assert (await counters.purge_where([CounterRow.place < 5], scope=A, chunk_size=None, dry_run=True)).rows == 5
    report = await counters.purge_where([CounterRow.place < 5], scope=A, chunk_size=None, progress=told.append)
    assert (report.rows, report.chunks, report.complete, told) == (5, 1, True, [5])
    report = await counters.purge_where([], all_rows=True, chunk_size=None, max_rows=22)
    assert (report.rows, report.complete) == (22, False)
    assert [data.place for data in (await counters.search(B)).items] == list(range(2, 25))
    assert (await counters.purge_where([CounterRow.uses == 99], chunk_size=None)).chunks == 0


@pytest.mark.parametrize("max_rows", [None, 3])
async def test_a_purge_in_one_transaction_joins_a_unit_of_work(
    counters: CounterRepository, max_rows: int | None
) -> None:
    """It is undone with it, and objects that the unit holds of its rows go."""
    with pytest.raises(ZeroDivisionError):
        async with counters.db.unit_of_work() as unit:
            held = await unit.session.get(CounterRow, ("a", 1))
            report = await counters.purge_where([CounterRow.place < 2], scope=A, chunk_size=None, max_rows=max_rows)
            assert (report.rows, report.complete) == (2, True)
            assert held not in unit.session
            assert await counters.count(A) == 23
            raise ZeroDivisionError
    assert await counters.count() == 50


async def test_a_purge_in_one_transaction_waits_and_looks_again(many: CounterRepository) -> None:
    """A row that another transaction has locked is waited for; what it is afterwards decides."""
    async with Database(many.db.engine).begin_session() as other:
        await other.execute(sa.update(CounterRow).where(CounterRow.place == 3).values(uses=50))
        await other.execute(sa.update(CounterRow).where(CounterRow.place == 4).values(uses=5))
        purge = asyncio.create_task(many.purge_where([CounterRow.uses < 10], chunk_size=None))
        assert await is_waited_for(other, purge)
    assert (await purge).rows == 48
    assert [data.place for data in (await many.search()).items] == [3, 3]


async def test_a_purge_in_one_transaction_leaves_what_came_and_is_locked(many: CounterRepository) -> None:
    """A row that came after it began, locked by who waits for the purge, is left and told: no deadlock."""
    apart = partial(Database, many.db.engine)
    last = sa.update(CounterRow).where(CounterRow.place == 24).values(uses=5)
    first = sa.update(CounterRow).where(CounterRow.place == -1).values(uses=5)
    free = sa.select(CounterRow.place).where(CounterRow.place == 24).with_for_update(skip_locked=True)

    async def is_locked() -> bool:
        async with apart().begin_session() as watcher:
            return not (await watcher.scalars(free)).all()

    async with apart().begin_session() as rival:
        async with apart().begin_session() as holder:
            await holder.execute(last)
            purge = asyncio.create_task(many.purge_where([CounterRow.uses < 10], chunk_size=None))
            assert await is_waited_for(holder, purge)
            async with apart().begin_session() as writer:
                writer.add(CounterRow(tenant="a", place=-1, uses=0))
            await rival.execute(first)
        await until(is_locked)  # by the purge: who comes first when the holder lets go has what it has let go
        waiting = asyncio.create_task(rival.execute(last))
        assert not (await purge).complete
        await waiting
    assert [data.place for data in (await many.search()).items] == [-1]


async def test_a_purge_in_one_transaction_tries_again_what_others_changed(many: CounterRepository) -> None:
    """A row that came after it began, and was changed between a statement's start and its lock, is no trigger's."""
    apart = partial(Database, many.db.engine)
    slowly = sa.case((CounterRow.place == -1, sa.cast(sa.func.pg_sleep(0.1), sa.Text) == ""), else_=True)
    asleep = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%gone%'")
    async with apart().begin_session() as holder:
        await holder.execute(sa.update(CounterRow).where(CounterRow.place == 24).values(uses=5))
        purge = asyncio.create_task(many.purge_where([CounterRow.uses < 10, slowly], chunk_size=None))
        assert await is_waited_for(holder, purge)
        async with apart().begin_session() as writer:
            writer.add(CounterRow(tenant="a", place=-1, uses=0))
    async with apart().engine.connect() as watcher:
        while not (purge.done() or await watcher.scalar(asleep)):
            await watcher.rollback()
    async with apart().begin_session() as rival:
        await rival.execute(sa.update(CounterRow).where(CounterRow.place == -1).values(uses=5))
    report = await purge
    assert (report.rows, report.complete) == (51, True)


class Base(DeclarativeBase):
    pass


class Moment:
    """A key of which asyncpg gives some for others, and takes them for those: the ends of time for the infinities."""

    part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    above: Mapped[int | None]


def moment(name: str, kind: Any, *, tied: bool = True) -> Any:
    """Give a class of such rows, which may refer to each other if they are tied."""
    at, above_at = sa.Column(kind, primary_key=True), sa.Column(kind, nullable=True)
    tie = sa.ForeignKeyConstraint(["above_at", "above"], [f"{name}.at", f"{name}.part"])
    columns = {"at": at, "above_at": above_at, "__table_args__": (tie,) if tied else ()}
    return type(f"{name}Row", (Moment, Base), {"__tablename__": name, **columns})


MOMENTS = {
    "zoned": moment("zoned", sa.DateTime(True)),
    "local": moment("local", sa.DateTime()),
    "days": moment("days", sa.Date()),
    "untied": moment("untied", sa.DateTime(True), tied=False),
}
ENDS = """
INSERT INTO {0} (part, at) SELECT part, at FROM generate_series(1, 2) part, unnest(
'{{infinity,-infinity,0001-01-01 00:00:00+00,9999-12-31 23:59:59.999999+00,2024-01-01 00:00:00+00}}'::timestamptz[]) at
"""


async def purge_of(db: Database, name: str) -> Any:
    """Store the rows, two of each moment, and give the function that purges them."""
    row: Any = MOMENTS[name]

    class Rows(Repository[row]):
        pass

    async with db.engine.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")
        await connection.exec_driver_sql(ENDS.format(name))
    return partial(Rows(db).purge_where, [row.part > 0], pause=0)


KEEP = """
CREATE FUNCTION keep_the_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RETURN CASE WHEN OLD.at = '0001-01-01 00:00:00+00' THEN NULL ELSE OLD END;
END $$
"""


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 1000, None])
@pytest.mark.parametrize("name", MOMENTS)
async def test_keys_at_the_ends_of_time_go_too(with_tables: WithTables, name: str, chunk_size: int | None) -> None:
    """In chunks of any size, and whether they refer to each other or not."""
    async with with_tables(MOMENTS[name]) as db:
        purge = await purge_of(db, name)
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(f"UPDATE {name} SET above_at = '0001-01-01', above = part WHERE part = 2")
        report = await purge(chunk_size=chunk_size)
        assert (report.rows, report.complete) == (10, True)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 1000])
@pytest.mark.parametrize("name", MOMENTS)
async def test_a_key_at_an_end_of_time_that_is_kept(with_tables: WithTables, name: str, chunk_size: int) -> None:
    """What follows it goes, and a chunk of it alone is not met again and again."""
    async with with_tables(MOMENTS[name]) as db:
        purge = await purge_of(db, name)
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(KEEP)
            await connection.exec_driver_sql(
                f"CREATE TRIGGER keep BEFORE DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION keep_the_first()"
            )
        try:
            with pytest.raises(RefusedByTrigger) as caught:
                await asyncio.wait_for(purge(chunk_size=chunk_size), 30)
            assert caught.value.report is not None
            assert caught.value.report.rows == 8
        finally:
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION keep_the_first CASCADE")


async def test_the_first_keys_may_be_at_an_end_of_time(with_tables: WithTables) -> None:
    """No more go at once than asked for; where rows may refer to each other those are left, and it ends."""
    async with with_tables(MOMENTS["untied"], MOMENTS["zoned"]) as db:
        purge = await purge_of(db, "untied")
        reports = [await purge(chunk_size=None, max_rows=3) for _ in range(4)]
        assert [(report.rows, report.complete) for report in reports] == [(3, False)] * 3 + [(1, True)]
        purge = await purge_of(db, "zoned")
        for _ in range(4):
            report = await asyncio.wait_for(purge(chunk_size=None, max_rows=3), 30)
            assert report.rows <= 3
            assert not report.complete
