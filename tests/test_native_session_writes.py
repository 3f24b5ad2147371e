"""The native lane in sessions and units of work that write: as SQLAlchemy's way would, in the session's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from native import FOREIGN, ONE, A, lane_of, plain_of, renamed, taken, three_in, told, triggered
from rowsmith import (
    CommitOutcome,
    ConcurrentUse,
    Condition,
    ConstraintViolation,
    Database,
    DatabaseUnavailable,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    ReferenceNotFound,
    RefusedByTrigger,
    Repository,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    Spec,
    StalePlan,
    TransactionAborted,
    commit_outcome,
)
from rowsmith.cache import MemoryCacheSource
from rowsmith.db_source import DBSource, native_of
from rowsmith.operations.call import operation_of
from rowsmith.testing import WithFaults, WithTables
from support import checked_out, is_waited_for
from tenants import DomainRow, GroupCreate, GroupData, GroupId, GroupPatch, GroupRepository, GroupRow
from test_native_writes import LIVE, REFUSED, SIZED, TWO, WRITES, Placed, Write
from test_two_lanes import methods_of

pytestmark = pytest.mark.of_the_native_lane

POOL = 3


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=POOL, max_overflow=0)
        yield await three_in(db)
        await db.dispose()


async def rows_of(groups: GroupRepository) -> Sequence[GroupData]:
    """Give all rows, as SQLAlchemy reads them."""
    return (await plain_of(groups).search(orders=[GroupRow.id], include_deleted=True)).items


# What it does


async def test_every_write_goes_beneath(groups: GroupRepository) -> None:
    """Of each shape of each verb; what it leaves is what SQLAlchemy's way would."""
    plain, seen = plain_of(groups), list[Any]()
    columns = [column for column in GroupRow.__table__.c if not isinstance(column.type, sa.DateTime)]
    for each in (groups, plain):
        with suppress(ZeroDivisionError):
            async with each.db.unit_of_work() as unit:
                for name, call in WRITES.items():
                    assert (name, await taken(groups, partial(call, each))) == (name, int(each is groups))
                seen.append((await unit.session.execute(sa.select(*columns[1:]).order_by(GroupRow.id))).all())
                raise ZeroDivisionError
    assert seen[0] == seen[1]


async def test_the_statement_alone_is_sent(with_faults: WithFaults) -> None:
    """In the session's own transaction, once it knows it; its id comes along, so that COMMIT needs no question."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0) as (db, proxy):
        groups = await three_in(db)
        for _ in range(2):
            proxy.seen.clear()
            async with db.unit_of_work():
                await groups.update(ONE, renamed("new"), scope=A)
                await groups.get(ONE)
                await groups.delete(ONE)
                await groups.restore(ONE)
        words = [word.split()[0].rstrip(";") for word in proxy.seen]
        assert words == ["BEGIN", "UPDATE", "SELECT", "UPDATE", "UPDATE", "COMMIT"]


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_is_refused_alike(groups: GroupRepository, name: str) -> None:
    """Errors, their codes and facts are the same by both ways, as is whether the transaction goes on."""

    async def inside(of: GroupRepository) -> list[Any]:
        seen: list[Any] = []

        async def block() -> None:
            async with of.db.unit_of_work():
                seen.append(await told(REFUSED[name](of)))
                seen.append(await told(of.count()))

        seen.append(await told(block()))
        return seen

    before = await rows_of(groups)
    assert await inside(groups) == await inside(plain_of(groups))
    assert await rows_of(groups) == before


async def test_a_savepoint_goes_back(groups: GroupRepository) -> None:
    """Over what was written in it, and over what failed in it; the unit around it goes on."""
    async with groups.db.unit_of_work():
        await groups.update(ONE, renamed("kept"))
        with suppress(ZeroDivisionError):
            async with groups.db.unit_of_work():
                assert await taken(groups, lambda: groups.update(ONE, renamed("undone"))) == 1
                raise ZeroDivisionError
        with pytest.raises(ConstraintViolation):
            async with groups.db.unit_of_work():
                await groups.update(TWO, renamed("kept"))
        await groups.update(TWO, renamed("kept too"))
    assert [group.name for group in await rows_of(groups)] == ["kept", "kept too", "two"]


async def test_an_error_that_is_swallowed(groups: GroupRepository) -> None:
    """Nothing of the transaction is committed, and the block says so."""
    with pytest.raises(TransactionAborted):
        async with groups.db.begin_session():
            await groups.update(ONE, renamed("new"))
            with suppress(ConstraintViolation):
                await groups.update(TWO, renamed("new"))
    assert (await groups.get(ONE)).name == "one"


async def test_a_constraint_that_is_looked_at_last(groups: GroupRepository) -> None:
    """The error of COMMIT is that of the call which wrote."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql(
            "ALTER TABLE groups ADD CONSTRAINT fk_late FOREIGN KEY (name) REFERENCES domains (name) "
            "DEFERRABLE INITIALLY DEFERRED NOT VALID"
        )
    with pytest.raises(ReferenceNotFound) as caught:
        async with groups.db.unit_of_work():
            assert await taken(groups, lambda: groups.create(GroupCreate("a", "nowhere"))) == 1
    assert (caught.value.facts.domain, caught.value.facts.operation) == ("group", "create")


async def test_caches_are_told(groups: GroupRepository) -> None:
    """Of what was written beneath, once it is committed."""
    cached = GroupRepository(groups.db, cache_source=MemoryCacheSource(GroupData), resilience=None)
    assert (await cached.get(ONE)).name == "one"
    with suppress(ZeroDivisionError):
        async with groups.db.unit_of_work():
            assert await taken(groups, lambda: cached.update(ONE, renamed("undone"))) == 1
            raise ZeroDivisionError
    assert (await cached.get(ONE)).name == "one"
    async with groups.db.unit_of_work():
        await groups.update(ONE, renamed("new"))
    assert (await cached.get(ONE)).name == "new"


# What stands against it


def ignore(*args: Any) -> None: ...


async def test_objects_that_the_session_holds_stay_in_step(groups: GroupRepository) -> None:
    """SQLAlchemy writes, and sets what it knows; what they hold unflushed is written before."""
    async with groups.db.begin_session() as db_sess:
        row = await db_sess.get_one(GroupRow, ONE)
        row.note = "mine"
        assert await taken(groups, lambda: groups.update(ONE, renamed("new"))) == 0
        assert (row.name, row.note) == ("new", "mine")
        assert await taken(groups, lambda: groups.batch_update([ONE, TWO], SIZED)) == 0
        assert row.size == (await groups.get(TWO)).size
        assert lane_of(groups.db).refused["objects"] == 2


async def test_new_objects_are_flushed_before(groups: GroupRepository) -> None:
    """And then the session holds them."""
    async with groups.db.begin_session() as db_sess:
        db_sess.add(row := GroupRow(domain_name="a", name="new"))
        with pytest.raises(ConstraintViolation):
            await groups.create(GroupCreate("a", "new"))
        assert row.id is not None
        await db_sess.rollback()


async def test_who_listens_to_the_session_sees_it(groups: GroupRepository) -> None:
    """A write goes SQLAlchemy's way from then on, where its events are."""
    async with groups.db.begin_session() as db_sess:
        assert await taken(groups, lambda: groups.update(ONE, renamed("new"))) == 1
        event.listen(db_sess.sync_session, "do_orm_execute", ignore)
        assert await taken(groups, lambda: groups.update(ONE, renamed("newer"))) == 0
        assert lane_of(groups.db).refused["do_orm_execute"] == 1


# What others and the database itself do meanwhile


@pytest.mark.parametrize("changed", [TWO, None], ids=["changed", "as it was"])
async def test_rows_are_written_once_where_others_are_not_there(
    groups: GroupRepository, changed: GroupId | None
) -> None:
    """Also one that another transaction changed while its lock was waited for."""
    log = "INSERT INTO domains VALUES (OLD.id || ' ' || (SELECT count(*) FROM domains)); RETURN NEW;"
    async with triggered(groups, log, "BEFORE UPDATE ON groups FOR EACH ROW"):
        async with plain_of(groups).db.begin_session() as holder:
            if changed is not None:
                await holder.execute(sa.text("SET LOCAL session_replication_role = replica"))  # without the trigger
                await holder.execute(sa.update(GroupRow).where(GroupRow.id == changed).values(note="other"))

            async def batch() -> Any:
                async with groups.db.unit_of_work():
                    return await groups.batch_update([GroupId(99), TWO, FOREIGN, ONE], SIZED, scope=A)

            waiting = asyncio.ensure_future(batch())
            assert changed is None or await is_waited_for(holder, waiting)
        done = await waiting
        assert ([group.id for group in done.succeeded], done.missing) == ([TWO, ONE], [99, FOREIGN])
        assert [group.note for group in done.succeeded] == [None if changed is None else "other", None]
        async with groups.db.begin_session() as db_sess:
            names = (await db_sess.scalars(sa.select(DomainRow.name))).all()
        assert sorted(name.split()[0] for name in names if name[0].isdigit()) == ["1", "2"]


@pytest.mark.parametrize("body", ["NEW.domain_name := 'b'; RETURN NEW;", "RETURN NULL;"], ids=["moves", "skips"])
async def test_triggers(groups: GroupRepository, body: str) -> None:
    """One that takes a row out of its scope is told of, or skips it; nothing of the transaction is kept."""
    calls: list[Write] = [
        lambda of: of.create(GroupCreate("a", "new"), scope=A),
        lambda of: of.update(ONE, renamed("new"), scope=A),
        lambda of: of.batch_update([ONE, FOREIGN], SIZED, scope=A),
        lambda of: of.batch_delete([TWO], scope=A),
        lambda of: of.upsert(GroupCreate("a", "new"), scope=A, conflict=LIVE),
    ]
    before = await rows_of(groups)
    async with triggered(groups, body):
        for call in calls:
            seen = list[Any]()
            for of in (groups, plain_of(groups)):

                async def block(of: GroupRepository = of) -> None:
                    async with of.db.unit_of_work():
                        seen.append(await told(call(of)))  # noqa: B023 - it is awaited at once

                seen.append(await told(block()))
            assert seen[:2] == seen[2:]
            assert seen[0][0] is (RefusedByTrigger if "NULL" in body else ScopeMismatch)
    assert await rows_of(groups) == before


UNREACHED: dict[str, Write] = {
    "update, absent": lambda of: of.update(GroupId(99), SIZED),
    "update, another's": lambda of: of.update(FOREIGN, SIZED, scope=A),
    "update, there": lambda of: of.update(ONE, SIZED),
    "delete, absent": lambda of: of.delete(GroupId(99)),
    "delete, there": lambda of: of.delete(ONE),
    "restore, live": lambda of: of.restore(ONE),
    "purge, another's": lambda of: of.purge(FOREIGN, scope=A),
    "purge, there": lambda of: of.purge(ONE),
    "upsert, another's": lambda of: of.upsert(Placed(3, "x"), scope=A),
    "upsert, there": lambda of: of.upsert(GroupCreate("a", "one"), conflict=LIVE),
    "batch_update, none": lambda of: of.batch_update([GroupId(98), GroupId(99)], SIZED),
    "batch_update, some": lambda of: of.batch_update([GroupId(98), ONE, TWO], SIZED, scope=A),
    "batch_update, all": lambda of: of.batch_update([TWO, ONE], SIZED),
    "batch_delete, some": lambda of: of.batch_delete([FOREIGN, ONE], scope=A),
    "batch_restore, none": lambda of: of.batch_restore([TWO, ONE]),
    "batch_purge, some": lambda of: of.batch_purge([FOREIGN, ONE], scope=A),
}


def test_no_verb_is_forgotten() -> None:
    """Each that writes past SQLAlchemy may reach nothing, but for one that makes rows alone."""
    db, marked = Database.from_url("postgresql://localhost/none"), SoftDelete(GroupRow.deleted_at)
    source = DBSource(db, GroupRow, into=GroupData, soft_delete=marked)
    native = {operation_of(each): native for each in methods_of(source) if (native := native_of(each))}
    writing = {verb for verb, each in native.items() if each.writes}
    assert writing - {"create"} == {name.partition(",")[0] for name in UNREACHED}


@pytest.mark.parametrize("skips", [False, True], ids=["writes", "skips one"])
async def test_triggers_fire_as_often(groups: GroupRepository, skips: bool) -> None:
    """As by SQLAlchemy's way, those of rows and those of statements, where rows are not there or a trigger skips one.

    What they wrote stays in a transaction that goes on.
    """
    log = "INSERT INTO domains SELECT TG_LEVEL || TG_OP || count(*) FROM domains;"
    skip = "IF OLD.id = 1 THEN RETURN NULL; END IF;" if skips else ""
    body = f"{log} {skip} IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW;"
    async with triggered(groups, body, "BEFORE UPDATE OR DELETE ON groups FOR EACH ROW"):
        async with groups.db.engine.begin() as connection:
            await connection.exec_driver_sql(
                "CREATE TRIGGER of_statements AFTER UPDATE OR DELETE ON groups EXECUTE FUNCTION rowsmith_native()"
            )
        for name, call in UNREACHED.items():
            seen = list[Any]()
            for of in (groups, plain_of(groups)):
                with suppress(ZeroDivisionError, TransactionAborted):
                    async with of.db.unit_of_work() as unit:
                        seen.append([await told(call(of))])
                        with suppress(DBAPIError):  # where the call has failed for good
                            names = await unit.session.scalars(sa.select(DomainRow.name).order_by(DomainRow.name))
                            seen[-1].append(names.all())
                        raise ZeroDivisionError
            assert seen[0] == seen[1], name
            assert len(seen[0]) == 1 + (name != "upsert, another's")


async def test_a_new_row_that_a_trigger_refuses_is_sent_once(groups: GroupRepository) -> None:
    """No trigger of the row fires twice."""
    log = "INSERT INTO domains SELECT count(*)::text FROM domains; RETURN NULL;"
    async with triggered(groups, log), groups.db.unit_of_work():
        with pytest.raises(RefusedByTrigger):
            await groups.create(GroupCreate("a", "new"), scope=A)
    async with groups.db.begin_session() as db_sess:
        found = await db_sess.scalars(sa.select(DomainRow.name).where(DomainRow.name.in_(["0", "1", "2", "3", "4"])))
        assert len(found.all()) == 1


async def test_twins(groups: GroupRepository) -> None:
    """Of a table that is not unique over its key, nothing is kept of a transaction in which several were written."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE groups DROP CONSTRAINT groups_pkey CASCADE")
        await connection.exec_driver_sql("UPDATE groups SET id = 1")
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: groups.update(ONE, SIZED),
        lambda: groups.purge(ONE),
        lambda: groups.batch_update([ONE, TWO], SIZED),
        lambda: groups.batch_purge([ONE]),
    ]
    for call in calls:
        with pytest.raises(TransactionAborted):
            async with groups.db.unit_of_work():
                with pytest.raises(MappingError):
                    await call()
    async with groups.db.begin_session() as db_sess:
        assert (await db_sess.scalars(sa.select(GroupRow.size))).all() == [0, 0, 0]


class Base(DeclarativeBase):
    pass


class LabelRow(Base):
    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(sa.CHAR(4))
    word: Mapped[str] = mapped_column(sa.String(40))


@dataclass(frozen=True)
class LabelData:
    id: int
    word: str


@dataclass(frozen=True)
class LabelCreate(Spec[LabelRow], filled={"tenant"}):
    word: str


@dataclass(frozen=True)
class LabelPatch(Patch[LabelRow]):
    word: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class Tenant(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [LabelRow.tenant == self.tenant]


class Labels(Repository[LabelRow, LabelData, int]): ...


async def test_a_scope_whose_value_is_stored_otherwise(with_tables: WithTables) -> None:
    """A CHAR comes back with blanks, of which the database says that they are nothing: one row is made."""
    async with with_tables(LabelRow) as made:
        db = Database.from_url(made.engine.url)
        labels = Labels(db, resilience=None)
        await labels.create(LabelCreate("one"), scope=Tenant("a"))
        async with db.unit_of_work():
            two = await labels.create(LabelCreate("two"), scope=Tenant("a"))
            await labels.update(two.id, LabelPatch(OptionalState.update("too")), scope=Tenant("a"))
        assert lane_of(db).refused.total() == lane_of(db).refused["answer"] + lane_of(db).refused["first connection"]
        assert [label.word for label in (await labels.search(Tenant("a"))).items] == ["one", "too"]
        await db.dispose()


async def test_a_value_that_only_the_server_refuses(groups: GroupRepository) -> None:
    """Its column is named, though the server does not say it: the one in the database is narrower than its mapping."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE groups ALTER size TYPE smallint")
    calls: list[Write] = [
        lambda of: of.create(GroupCreate("a", "new", size=40_000), scope=A),
        lambda of: of.update(ONE, GroupPatch(size=OptionalState.update(40_000))),
        lambda of: of.upsert(GroupCreate("a", "new", size=40_000), conflict=LIVE),
    ]
    for call in calls:
        seen = list[Any]()
        for of in (groups, plain_of(groups)):
            with pytest.raises(InvalidValue, match="size") as caught:
                async with of.db.unit_of_work():
                    await call(of)
            seen.append((str(caught.value), caught.value.error_code, caught.value.facts))
        assert seen[0] == seen[1]


async def test_a_table_that_is_altered(groups: GroupRepository) -> None:
    """The transaction is over, as the driver's statement is stale; the next one goes on."""
    async with groups.db.unit_of_work():
        await groups.update(ONE, renamed("new"))
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE groups ALTER name TYPE varchar(90)")
    with suppress(StalePlan):
        async with groups.db.unit_of_work():
            await groups.update(ONE, renamed("newer"))
    async with groups.db.unit_of_work():
        assert await taken(groups, lambda: groups.update(ONE, renamed("newest"))) == 1
    assert (await groups.get(ONE)).name == "newest"


async def test_a_lost_answer(with_faults: WithFaults) -> None:
    """Nothing of the transaction is kept, and the connection is thrown away."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0) as (db, proxy):
        groups = await three_in(db)
        async with db.unit_of_work():
            await groups.update(ONE, renamed("one"))
        proxy.drop_answer("UPDATE groups")
        with pytest.raises(DatabaseUnavailable) as caught:
            async with db.unit_of_work():
                await groups.create(GroupCreate("a", "before"))
                await groups.update(ONE, renamed("new"))
        assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
        assert [group.name for group in await rows_of(groups)] == ["one", "three", "two"]


async def test_a_lost_answer_to_commit(with_faults: WithFaults) -> None:
    """It is found out what became of it, by the id that came with what was written beneath."""
    async with with_faults(DomainRow, GroupRow, pool_size=2, max_overflow=0) as (db, proxy):
        groups = await three_in(db)
        proxy.drop_answer("COMMIT")
        async with db.unit_of_work():
            assert await taken(groups, lambda: groups.update(ONE, renamed("new"))) == 1
        assert (await groups.get(ONE)).name == "new"


@pytest.mark.parametrize("steps", range(1, 6))
async def test_cancelled_at_each_step(groups: GroupRepository, steps: int) -> None:
    """Nothing is kept, and no connection is left out."""

    async def block() -> None:
        async with groups.db.unit_of_work():
            await groups.update(ONE, renamed("new"))
            await groups.batch_delete([TWO])
            raise ZeroDivisionError

    task = asyncio.ensure_future(block())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError, ZeroDivisionError):
        await task
    assert [group.name for group in await rows_of(groups)] == ["one", "three", "two"]
    assert checked_out(groups.db) == 0


async def test_two_tasks_in_one_session(groups: GroupRepository) -> None:
    """Refused, as ever."""
    with pytest.raises(ConcurrentUse):
        async with groups.db.unit_of_work():
            await asyncio.gather(groups.update(ONE, renamed("new")), groups.update(TWO, renamed("newer")))
    assert [group.name for group in await rows_of(groups)] == ["one", "three", "two"]
