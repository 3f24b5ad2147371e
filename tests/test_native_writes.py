"""The native lane of writes: one row in three round trips or one, as SQLAlchemy's way would, and as honestly told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from native import FOREIGN, ONE, A, ended_by, hasty, lane_of, plain_of, renamed, taken, three_in, told, triggered
from rowsmith import (
    CommitOutcome,
    CommitOutcomeUnknown,
    Condition,
    Conflict,
    Count,
    Database,
    DatabaseUnavailable,
    DeadlineExceeded,
    EntityAlreadyExists,
    EntityNotFound,
    OptionalState,
    Patch,
    RefusedByTrigger,
    Repository,
    RepositoryError,
    ScopeMismatch,
    SearchScope,
    Spec,
    TriState,
    Upserted,
    commit_outcome,
)
from rowsmith.cache import MemoryCacheSource
from rowsmith.idempotency import IdempotencyKeyRow
from rowsmith.testing import WithFaults, WithTables, tables
from support import is_waited_for
from tenants import (
    CounterData,
    CounterRepository,
    DomainRow,
    GroupCreate,
    GroupData,
    GroupId,
    GroupPatch,
    GroupRepository,
    GroupRow,
    TenantScope,
    counters_in,
    uses,
)

pytestmark = pytest.mark.of_the_native_lane


@pytest.fixture(params=["transaction", "statement"])
async def groups(with_tables: WithTables, request: pytest.FixtureRequest) -> AsyncIterator[GroupRepository]:
    """Give groups that are written in three round trips, and such that are in one."""
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=2, max_overflow=0, writes=request.param)
        yield await three_in(db)
        await db.dispose()


LIVE = Conflict(columns=(GroupRow.domain_name, GroupRow.name), where=GroupRow.deleted_at.is_(None))


@dataclass(frozen=True)
class Whole(Spec[GroupRow]):
    id: int
    domain_name: str
    name: str
    size: int


@dataclass(frozen=True)
class Placed(Spec[GroupRow], filled={"domain_name"}):
    id: int
    name: Any
    size: int = 0


Write = Callable[[GroupRepository], Awaitable[Any]]
WRITES: dict[str, Write] = {
    "create": lambda of: of.create(GroupCreate("a", "new")),
    "create in a scope": lambda of: of.create(GroupCreate("a", "newer", note="x"), scope=A),
    "update": lambda of: of.update(ONE, renamed("other")),
    "update in a scope": lambda of: of.update(
        ONE, GroupPatch(note=TriState.nullify(), size=OptionalState.update(3)), scope=A
    ),
    "batch_update": lambda of: of.batch_update(BOTH, GroupPatch(size=OptionalState.update(4))),
    "batch_update in a scope": lambda of: of.batch_update((ONE, TWO), GroupPatch(note=TriState.nullify()), scope=A),
    "batch_delete": lambda of: of.batch_delete(BOTH),
    "batch_restore in a scope": lambda of: of.batch_restore(BOTH, scope=A),
    "batch_purge in a scope": lambda of: of.batch_purge([TWO], scope=A),
    "delete": lambda of: of.delete(ONE, scope=A),
    "restore": lambda of: of.restore(ONE),
    "purge": lambda of: of.purge(ONE, scope=A),
    "purge without a scope": lambda of: of.purge(FOREIGN),
    "upsert of a new row": lambda of: of.upsert(GroupCreate("a", "put"), conflict=LIVE),
    "upsert of a row that is there": lambda of: of.upsert(GroupCreate("a", "put", size=7, note="x"), conflict=LIVE),
    "upsert in a scope": lambda of: of.upsert(GroupCreate("a", "put too"), scope=A, conflict=LIVE),
    "upsert by the id": lambda of: of.upsert(Placed(2, "three again"), scope=A),
}
"""A call of each shape of each verb that the lane takes, such as can be made one after the other."""

TWO = GroupId(2)
BOTH = [TWO, ONE]

STAMP = ", groups.domain_name AS domain_name__1"
"""What of an upsert SQLAlchemy's way finds among the data."""


async def test_three_round_trips(with_faults: WithFaults) -> None:
    """What is sent is what SQLAlchemy's way sends, word for word, with the transaction's id in the answer."""
    sent: list[list[str]] = []
    for way in (lambda groups: groups, plain_of):
        async with with_faults(DomainRow, GroupRow) as (db, proxy):
            groups = way(await three_in(db))
            for call in WRITES.values():
                proxy.seen.clear()
                await call(groups)
                sent.append([text.rstrip(";") for text in proxy.seen])
    half = len(WRITES)
    for own, theirs in zip(sent[:half], sent[half:], strict=True):
        written = next(text for text in theirs if " RETURNING " in text)
        begin, sent_by_lane, end = own[-3:]  # before that the statement is prepared, once
        assert (begin, sent_by_lane.replace(STAMP, ""), end) == ("BEGIN", written.replace(STAMP, ""), "COMMIT")


async def test_what_is_given_is_what_is_there(groups: GroupRepository) -> None:
    """The data, and the rows of the table, are the same by both ways."""
    for call in WRITES.values():
        assert await taken(groups, lambda call=call: call(groups)) == 1  # type: ignore[misc]
    made = await groups.create(GroupCreate("b", "named", size=4, note="n"))
    assert made == await plain_of(groups).get(made.id)
    changed = await groups.update(made.id, GroupPatch(note=TriState.nullify(), size=OptionalState.update(5)))
    assert changed == await plain_of(groups).get(made.id)
    assert (changed.size, changed.name) == (5, "named")
    assert (await groups.delete(made.id)).id == made.id
    assert await plain_of(groups).find(made.id) is None
    assert await groups.restore(made.id) == await plain_of(groups).get(made.id)
    assert (await groups.purge(made.id)).id == made.id
    assert await plain_of(groups).find(made.id, include_deleted=True) is None


async def test_writes_of_rows_that_a_cache_keeps_are_sessions_and_counted_so(groups: GroupRepository) -> None:
    """By a word of their own, though their own repository has no cache; reads stay in the lane."""
    cached = GroupRepository(Database(groups.db.engine), cache_source=MemoryCacheSource(GroupData))
    await cached.get(ONE)
    for call in WRITES.values():
        before = lane_of(groups.db).refused["cache"]
        assert await taken(groups, lambda call=call: call(groups)) == 0  # type: ignore[misc]
        assert lane_of(groups.db).refused["cache"] == before + 1
    assert await taken(groups, lambda: groups.find(ONE)) == 1


SIZED = GroupPatch(size=OptionalState.update(5))
SOME: dict[str, Write] = {
    "batch_update": lambda of: of.batch_update([GroupId(99), TWO, FOREIGN, ONE], SIZED, scope=A),
    "batch_delete": lambda of: of.batch_delete([GroupId(99), TWO, FOREIGN, ONE], scope=A),
    "batch_restore": lambda of: of.batch_restore([GroupId(99), TWO, FOREIGN, ONE], scope=A),
    "batch_purge": lambda of: of.batch_purge([GroupId(99), TWO, FOREIGN, ONE], scope=A),
}


async def test_rows_that_are_not_there(groups: GroupRepository) -> None:
    """They are missing, whoever's they are, and the others are written; by the lane, where it may ask once more."""
    foreign = await groups.get(FOREIGN)
    for name, call in SOME.items():
        before = lane_of(groups.db).taken
        done = await call(groups)
        assert lane_of(groups.db).taken - before == (not lane_of(groups.db).is_alone()), name
        assert ([group.id for group in done.succeeded], done.missing) == ([TWO, ONE], [99, FOREIGN]), name
    assert (await plain_of(groups).search(include_deleted=True)).items == (foreign,)


OF_IDS: dict[str, Callable[[GroupRepository, list[GroupId]], Awaitable[Any]]] = {
    "batch_get": lambda of, ids: of.batch_get(ids),
    "batch_update": lambda of, ids: of.batch_update(ids, SIZED),
    "batch_delete": lambda of, ids: of.batch_delete(ids),
    "batch_restore": lambda of, ids: of.batch_restore(ids),
    "batch_purge": lambda of, ids: of.batch_purge(ids),
}


@pytest.mark.parametrize("way", [lambda groups: groups, plain_of], ids=["native", "plain"])
async def test_the_callers_list_may_change_meanwhile(
    groups: GroupRepository, way: Callable[[GroupRepository], GroupRepository]
) -> None:
    """What is sent and told is what was given."""
    for name, call in OF_IDS.items():
        ids = [TWO, ONE]
        calling = asyncio.ensure_future(call(way(groups), ids))
        await asyncio.sleep(0)
        ids[:] = [FOREIGN]
        done = await calling
        assert [group.id for group in (done if name == "batch_get" else done.succeeded)] == [TWO, ONE], name
    assert (await groups.get(FOREIGN)).size == 0


@pytest.mark.parametrize("name", ["batch_update", "batch_delete", "batch_purge"])
async def test_a_row_that_another_changed_while_its_lock_was_waited_for(groups: GroupRepository, name: str) -> None:
    """It is written all the same, in the state that the other left it in."""
    async with plain_of(groups).db.begin_session() as holder:
        await holder.execute(sa.update(GroupRow).where(GroupRow.id == TWO).values(note="other"))
        waiting = asyncio.ensure_future(SOME[name](groups))
        assert await is_waited_for(holder, waiting)
    done = await waiting
    assert [(group.id, group.note) for group in done.succeeded] == [(TWO, "other"), (ONE, None)]
    assert done.missing == [99, FOREIGN]


async def test_a_row_that_left_while_its_lock_was_waited_for(groups: GroupRepository) -> None:
    """It is missing, and is as the other left it."""
    async with plain_of(groups).db.begin_session() as holder:
        await holder.execute(sa.update(GroupRow).where(GroupRow.id == TWO).values(domain_name="b"))
        waiting = asyncio.ensure_future(groups.batch_update([ONE, TWO], SIZED, scope=A))
        assert await is_waited_for(holder, waiting)
    done = await waiting
    assert ([group.id for group in done.succeeded], done.missing) == ([ONE], [TWO])
    assert (await groups.get(TWO)).size == 0


REFUSED: dict[str, Write] = {
    "taken": lambda of: of.create(GroupCreate("a", "one")),
    "taken in a scope": lambda of: of.create(GroupCreate("a", "one"), scope=A),
    "another domain": lambda of: of.create(GroupCreate("b", "x"), scope=A),
    "too large": lambda of: of.create(GroupCreate("a", "x", size=2**40)),
    "no spec": lambda of: of.create(renamed("x")),  # type: ignore[arg-type]
    "no scope": lambda of: of.create(GroupCreate("a", "x"), scope="a"),  # type: ignore[arg-type]
    "absent": lambda of: of.update(GroupId(99), renamed("x")),
    "another's": lambda of: of.update(FOREIGN, renamed("x"), scope=A),
    "taken by another": lambda of: of.update(ONE, renamed("three")),
    "no version": lambda of: of.update(ONE, renamed("x"), expected_version=1),
    "no key": lambda of: of.update("one", renamed("x")),  # type: ignore[arg-type]
    "live": lambda of: of.restore(ONE),
    "another's to delete": lambda of: of.delete(FOREIGN, scope=A),
    "another's to purge": lambda of: of.purge(FOREIGN, scope=A),
    "absent to purge": lambda of: of.purge(GroupId(99)),
    "absent, all of them": lambda of: of.batch_update([GroupId(99), GroupId(98)], renamed("x")),
    "another's, all of them": lambda of: of.batch_update([FOREIGN], renamed("x"), scope=A),
    "both to one name": lambda of: of.batch_update([ONE, TWO], renamed("x")),
    "both to another's name": lambda of: of.batch_update([TWO], renamed("one"), scope=A),
    "too large for some": lambda of: of.batch_update([ONE], GroupPatch(size=OptionalState.update(2**40))),
    "nothing set for some": lambda of: of.batch_update([ONE], GroupPatch()),
    "none": lambda of: of.batch_update([], renamed("x")),
    "one twice": lambda of: of.batch_update([ONE, TWO, ONE], renamed("x")),
    "no keys": lambda of: of.batch_update(["one"], renamed("x")),  # type: ignore[list-item]
    "no list": lambda of: of.batch_update(ONE, renamed("x")),  # type: ignore[arg-type]
    "no versions": lambda of: of.batch_update([ONE], renamed("x"), expected_versions={ONE: 1}),
    "no patch for some": lambda of: of.batch_update([ONE], GroupCreate("a", "x")),  # type: ignore[arg-type]
    "live, all of them": lambda of: of.batch_restore([ONE, TWO]),
    "another's to delete, all of them": lambda of: of.batch_delete([FOREIGN], scope=A),
    "another's to purge, all of them": lambda of: of.batch_purge([FOREIGN], scope=A),
    "put into another domain": lambda of: of.upsert(GroupCreate("b", "x"), scope=A, conflict=LIVE),
    "another's to put": lambda of: of.upsert(Placed(3, "x"), scope=A),
    "another's to keep": lambda of: of.upsert(Placed(3, "x"), scope=A, conflict=Conflict(update=False)),
    "taken by another to put": lambda of: of.upsert(Placed(1, "three"), scope=A),
    "too small to put": lambda of: of.upsert(Placed(1, "one", -1), scope=A),
    "too large to put": lambda of: of.upsert(Placed(1, "one", 2**40), scope=A),
    "nothing to put": lambda of: of.upsert(Placed(1, None), scope=A),
    "not said where": lambda of: of.upsert(Placed(9, "new")),
    "no key to put by": lambda of: of.upsert(GroupCreate("a", "x")),
    "by no key": lambda of: of.upsert(GroupCreate("a", "x"), conflict=Conflict(columns=[GroupRow.name])),
    "by no conflict": lambda of: of.upsert(GroupCreate("a", "x"), conflict="id"),  # type: ignore[arg-type]
    "by NULL": lambda of: of.upsert(Placed(None, "x"), scope=A),  # type: ignore[arg-type]
    "by SQL": lambda of: of.upsert(Placed(sa.literal(1), "x"), scope=A),  # type: ignore[arg-type]
    "no spec to put": lambda of: of.upsert(renamed("x")),  # type: ignore[arg-type]
}


async def test_what_is_refused_is_refused_alike(groups: GroupRepository) -> None:
    """Errors, their codes, facts and outcomes are the same by both ways, and the table stays as it is."""
    plain = plain_of(groups)
    before = (await plain.search(include_deleted=True)).items
    for name, call in REFUSED.items():
        assert await told(call(groups)) == await told(call(plain)), name
    assert (await plain.search(include_deleted=True)).items == before
    assert await groups.update(ONE, GroupPatch()) == await plain.update(ONE, GroupPatch())


@dataclass(frozen=True)
class Both(SearchScope):
    """What somebody may see, and what of that was asked for."""

    own: str
    asked: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.own, GroupRow.domain_name == self.asked]


async def test_scopes_that_contradict_themselves(groups: GroupRepository) -> None:
    """A row satisfies all that they say or it is not made, also where that was possible before."""
    before = await groups.count(include_deleted=True)
    for call in (
        lambda name, scope: groups.create(GroupCreate(name, f"new {name}"), scope=scope),
        lambda name, scope: groups.upsert(GroupCreate(name, f"put {name}"), scope=scope, conflict=LIVE),
        lambda name, scope: groups.upsert(Placed(9, f"placed {name}"), scope=scope),
    ):
        await call("a", Both("a", "a"))
        for name in "ab":
            with pytest.raises(ScopeMismatch):
                await call(name, Both("a", "b"))
    assert await groups.count(include_deleted=True) == before + 3


TRACE = "INSERT INTO domains (name) VALUES ('trace') ON CONFLICT DO NOTHING;"


@pytest.mark.parametrize(
    "body, error",
    [
        ("NEW.domain_name := 'b'; RETURN NEW;", ScopeMismatch),
        ("NEW.domain_name := NULL; RETURN NEW;", ScopeMismatch),
        (f"{TRACE} RETURN NULL;", RefusedByTrigger),
    ],
    ids=["moves", "forgets", "skips"],
)
async def test_triggers(groups: GroupRepository, body: str, error: type[Exception]) -> None:
    """One that takes a row out of its scope, or has it not written, is told of, and what it did is undone with it."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE groups ALTER domain_name DROP NOT NULL")
    async with triggered(groups, body):
        before = (await groups.search(include_deleted=True)).items
        for call in (
            lambda: groups.create(GroupCreate("a", "new"), scope=A),
            lambda: groups.update(ONE, renamed("new"), scope=A),
            lambda: groups.batch_update([ONE, FOREIGN], GroupPatch(size=OptionalState.update(2)), scope=A),
            lambda: groups.batch_delete([GroupId(2)], scope=A),
            lambda: groups.upsert(GroupCreate("a", "new"), scope=A, conflict=LIVE),
            lambda: groups.upsert(Placed(1, "new"), scope=A),
        ):
            with pytest.raises(error) as caught:
                await call()
            assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
        assert (await groups.search(include_deleted=True)).items == before
        async with groups.db.begin_session() as db_sess:
            assert await db_sess.get(DomainRow, "trace") is None


@pytest.mark.parametrize("groups", ["transaction"], indirect=True)  # alone, it is undone and asked for again
@pytest.mark.parametrize("body", ["RETURN NULL;", "RAISE 'no';", "RAISE 'no' USING ERRCODE = 'ZZ123';"])
async def test_a_new_row_that_a_trigger_refuses_is_sent_once(groups: GroupRepository, body: str) -> None:
    """What it says is certain at once, and is what SQLAlchemy's way says: no trigger of the row fires twice."""
    lane, plain = lane_of(groups.db), plain_of(groups)
    async with triggered(groups, body):
        before = lane.refused.total()
        assert await told(groups.create(GroupCreate("a", "new"))) == await told(plain.create(GroupCreate("a", "new")))
        assert lane.refused.total() == before


class Forbidden(Exception):
    """A domain's own, and nothing of rowsmith's."""


class RefusedThere(RefusedByTrigger):
    """The same, and still what it is."""


@pytest.mark.parametrize("kind", [Forbidden, RefusedThere])
async def test_a_trigger_is_told_of_by_the_domains_own_error(groups: GroupRepository, kind: type[Exception]) -> None:
    """Whichever way the row went, and whatever the error is derived from."""

    class Groups(GroupRepository):
        violations = {RefusedByTrigger: kind}

    async with triggered(groups, "RETURN NULL;"):
        for db in (groups.db, plain_of(groups).db):
            with pytest.raises(kind) as caught:
                await Groups(db, resilience=None).create(GroupCreate("a", "new"))
            assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
            assert (caught.value.__cause__, caught.value.__context__) == (None, None)


CONFLICTS: dict[str, tuple[Callable[[], Conflict], int]] = {
    "columns and a predicate": (lambda: LIVE, 1),
    "the same, made anew": (lambda: replace(LIVE, columns=[*LIVE.columns], where=GroupRow.deleted_at.is_(None)), 1),
    "a name": (lambda: Conflict(constraint="uq_groups_live"), 1),
    "the id": (Conflict, 1),
    "a predicate made later": (lambda: replace(LIVE, where=lambda: GroupRow.deleted_at.is_(None)), 0),
    "left as it is": (lambda: replace(LIVE, update=False), 0),
}
"""Keys that an upsert is told to go by, and how many statements go by the lane."""


@pytest.mark.parametrize("name", CONFLICTS)
async def test_keys_of_upserts(groups: GroupRepository, name: str) -> None:
    """Each key has its own plan, however it is said; the row is found by it, and is what SQLAlchemy's way makes it."""
    conflict, statements = CONFLICTS[name]
    for size in (5, 6):
        spec = Whole(1, "a", "one", size)
        call = lambda spec=spec: groups.upsert(spec, scope=A, conflict=conflict())  # noqa: E731
        assert await taken(groups, call) == statements
        done = await call()
        assert done == await plain_of(groups).upsert(spec, scope=A, conflict=conflict())
        assert (done.inserted, done.data.size) == (False, size if conflict().update else 0)


async def test_upserts_of_the_same_row(groups: GroupRepository) -> None:
    """Of many at once each says of itself whether it made the row, and one did."""
    done = await asyncio.gather(*(groups.upsert(GroupCreate("a", "x", n), conflict=LIVE) for n in range(20)))
    assert sum(item.inserted for item in done) == 1
    assert {item.data.size for item in done} == {*range(20)}
    assert groups.db.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_deleted_rows_are_not_there_for_an_upsert(groups: GroupRepository) -> None:
    """Under its id there is one that is not seen; where names are unique among live rows, another one is made."""
    await groups.delete(ONE)
    with pytest.raises(EntityAlreadyExists):
        await groups.upsert(Placed(1, "one"), scope=A)
    done = await groups.upsert(GroupCreate("a", "one"), conflict=LIVE)
    assert (done.inserted, done.data.id != ONE) == (True, True)


class Base(DeclarativeBase):
    pass


class MadeRow(Base):
    """What Python makes of new rows and of changed ones."""

    __tablename__ = "native_made"
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str | None]
    kind: Mapped[str] = mapped_column(default="plain")
    number: Mapped[int] = mapped_column(default=lambda: next(NUMBERS))
    changed: Mapped[int | None] = mapped_column(onupdate=lambda: next(NUMBERS))
    twice: Mapped[int] = mapped_column(default=0, onupdate=sa.text("native_made.twice + 2"))
    document: Mapped[Any | None] = mapped_column(sa.JSON, default=lambda: {"n": 1})
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


class ToldRow(Base):
    """What Python makes of a row's other values."""

    __tablename__ = "native_told"
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str | None]
    double: Mapped[int] = mapped_column(
        default=lambda context: context.get_current_parameters()["id"] * 2,
        onupdate=lambda context: context.get_current_parameters()["id"] * 3,
    )


NUMBERS = count(1)


@dataclass(frozen=True)
class Made:
    id: int
    note: str | None
    kind: str
    number: int
    changed: int | None
    twice: int
    document: Any
    version: int


@dataclass(frozen=True)
class Told:
    id: int
    double: int


@dataclass(frozen=True)
class MadeCreate(Spec[MadeRow]):
    id: int
    note: str | None


@dataclass(frozen=True)
class ToldCreate(Spec[ToldRow]):
    id: int
    note: str | None


@dataclass(frozen=True)
class MadePatch(Patch[MadeRow]):
    note: TriState[str]


class MadeRepository(Repository[MadeRow, Made, int]): ...


class ToldRepository(Repository[ToldRow, Told, int]): ...


@pytest.mark.parametrize("is_native", [True, False])
async def test_what_python_makes_is_made_for_each_write(with_tables: WithTables, is_native: bool) -> None:
    """Defaults, what is written into rows that are there, and versions; what asks for other values too."""
    async with with_tables(MadeRow, ToldRow) as made:
        db = Database(made.engine, native=is_native)
        rows, told = MadeRepository(db), ToldRepository(db)
        before, first = db.native.taken if db.native else 0, next(NUMBERS)
        for id in (1, 2):
            number = first + 2 * id - 1
            assert await rows.upsert(MadeCreate(id, "x")) == Upserted(
                Made(id, "x", "plain", number, None, 0, {"n": 1}, 1), inserted=True
            )
        changed = Made(2, None, "plain", first + 3, first + 6, 2, {"n": 1}, 2)
        assert await rows.upsert(MadeCreate(2, None)) == Upserted(changed, inserted=False)
        for id in (3, 4):
            new = Made(id, "x", "plain", first + 4 + id, None, 0, {"n": 1}, 1)
            assert await rows.create(MadeCreate(id, "x")) == new
        for id in (3, 4):
            again = Made(id, "y", "plain", first + 4 + id, first + 6 + id, 2, {"n": 1}, 2)
            assert await rows.update(id, MadePatch(TriState.update("y"))) == again
        both = await rows.batch_update([4, 3], MadePatch(TriState.nullify()))
        assert both.succeeded == [Made(id, None, "plain", first + 4 + id, first + 11, 4, {"n": 1}, 3) for id in (4, 3)]
        assert not db.native or db.native.taken - before == 8, db.native.refused
        assert await told.upsert(ToldCreate(4, "x")) == Upserted(Told(4, 8), inserted=True)
        assert await told.upsert(ToldCreate(4, "y")) == Upserted(Told(4, 12), inserted=False)
        assert await told.create(ToldCreate(5, "x")) == Told(5, 10)


class FailingRow(Base):
    __tablename__ = "native_failing"
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str | None] = mapped_column(onupdate=lambda: 1 // 0)
    size: Mapped[int] = mapped_column(default=lambda: 1 // 0)


@dataclass(frozen=True)
class FailingData:
    id: int


@dataclass(frozen=True)
class FailingCreate(Spec[FailingRow]):
    id: int


@dataclass(frozen=True)
class FailingPatch(Patch[FailingRow]):
    size: OptionalState[int]


class FailingRepository(Repository[FailingRow, FailingData, int]): ...


async def test_what_python_fails_to_make(with_tables: WithTables) -> None:
    """What a default raises is told as without the lane."""
    async with with_tables(FailingRow) as db:
        rows, plain = FailingRepository(db), FailingRepository(Database(db.engine, native=False))
        for call in (
            lambda of: of.create(FailingCreate(1)),
            lambda of: of.upsert(FailingCreate(1)),
            lambda of: of.update(1, FailingPatch(OptionalState.update(2))),
            lambda of: of.batch_update([1], FailingPatch(OptionalState.update(2))),
        ):
            errors = []
            for way in (rows, plain):
                with pytest.raises((RepositoryError, ZeroDivisionError)) as caught:
                    await call(way)
                errors.append((type(caught.value), str(caught.value), caught.value.__cause__))
            assert errors[0] == errors[1]


async def test_an_upsert_without_the_lane(with_faults: WithFaults) -> None:
    """It is one statement all the same, which SQLAlchemy prepares once, and which brings the transaction's id."""
    async with with_faults(DomainRow, GroupRow, native=False, pool_size=1, max_overflow=0) as (db, proxy):
        groups = GroupRepository(db)
        for scope in (None, A):
            for _ in range(2):
                proxy.seen.clear()
                await groups.upsert(GroupCreate("a", "x"), scope=scope, conflict=LIVE)
            assert [text.split()[0] for text in proxy.seen] == ["BEGIN;", "INSERT", "COMMIT;"]


# What is not taken


@pytest.mark.parametrize("name", ["commit", "begin", "before_cursor_execute", "do_execute"])
async def test_who_listens_to_an_engine_sees_every_write(groups: GroupRepository, name: str) -> None:
    """With a listener SQLAlchemy writes; without it again, the lane does."""

    def listener(*args: Any, **kwargs: Any) -> None: ...

    event.listen(groups.db.engine.sync_engine, name, listener)
    assert await taken(groups, lambda: groups.update(ONE, renamed("new"))) == 0
    event.remove(groups.db.engine.sync_engine, name, listener)
    assert await taken(groups, lambda: groups.update(ONE, renamed("newer"))) == 1


@pytest.mark.parametrize("name", ["after_commit", "before_commit", "before_flush", "after_bulk_update"])
async def test_who_listens_to_all_sessions_sees_every_write(groups: GroupRepository, name: str) -> None:
    """A listener on SQLAlchemy's class of sessions is one on rowsmith's."""

    def listener(*args: Any, **kwargs: Any) -> None: ...

    event.listen(Session, name, listener)
    try:
        assert await taken(groups, lambda: groups.update(ONE, renamed("new"))) == 0
    finally:
        event.remove(Session, name, listener)


async def test_inside_of_a_unit_of_work(groups: GroupRepository) -> None:
    """A write in a unit of work is a part of it, and undone with it."""
    with pytest.raises(ZeroDivisionError):
        async with groups.db.unit_of_work():
            assert await taken(groups, lambda: groups.update(ONE, renamed("new"))) == 1
            raise ZeroDivisionError
    assert (await groups.get(ONE)).name == "one"


async def test_engines_of_another_isolation(with_tables: WithTables) -> None:
    """Where the engine chooses the isolation of its transactions, SQLAlchemy begins them."""
    async with with_tables(DomainRow, GroupRow) as made:
        for level in ("REPEATABLE READ", "SERIALIZABLE"):
            db = Database.from_url(made.engine.url, isolation_level=level)
            groups = GroupRepository(db, resilience=None)
            made_group = await groups.create(GroupCreate("a", level))
            assert (await groups.purge(made_group.id), lane_of(groups.db).taken) == (made_group, 0)
            await db.dispose()


async def test_a_count_before(groups: GroupRepository) -> None:
    """A connection that had the isolation of a snapshot is as before, also for statements that are new to it."""
    assert (await groups.search(A, count=Count.EXACT)).total_count == 2
    assert await taken(groups, lambda: groups.update(ONE, renamed("new"))) == 1


VERSIONS: dict[str, Any] = {
    "seen": 1,
    "another": 7,
    "no number": "1",
    "true": True,
    "SQL": sa.literal(1),
    "huge": 2**40,
}
KEPT: dict[str, tuple[tuple[str, int], TenantScope | None]] = {
    "there": (("a", 0), None),
    "there in the scope": (("a", 1), TenantScope("a")),
    "absent": (("a", 99), None),
    "another's": (("b", 0), TenantScope("a")),
}


@pytest.mark.parametrize("way", ["transaction", "statement", "in a unit"])
async def test_expected_versions(with_tables: WithTables, way: str) -> None:
    """An update of a row that is as it was last seen goes past SQLAlchemy; of any other it is told the same."""
    seen: list[Any] = []
    for is_native in (True, False):
        async with counters_in(with_tables) as made:
            db = Database.from_url(made.db.engine.url, native=is_native, writes=_WRITES[way == "statement"])
            counters = CounterRepository(db, resilience=None)
            await counters.count()
            seen.append([])
            for place, (key, scope) in KEPT.items():
                for name, version in VERSIONS.items():
                    taken_before = lane_of(db).taken if is_native else 0
                    async with AsyncExitStack() as stack:
                        if way == "in a unit":
                            await stack.enter_async_context(db.unit_of_work())
                        call = counters.update(key, uses(5), scope=scope, expected_version=version)
                        seen[-1].append((place, name, await told(call)))
                    if is_native:
                        goes = name == "seen" and place.startswith("there")
                        assert (place, name, lane_of(db).taken - taken_before) == (place, name, int(goes))
            await db.dispose()
    assert seen[0] == seen[1]
    assert [type(came) for *_, came in seen[0]].count(CounterData) == 2


_WRITES: tuple[Literal["transaction"], Literal["statement"]] = ("transaction", "statement")


async def test_a_statement_that_the_driver_gives_up(with_tables: WithTables) -> None:
    """The driver's own limit is a deadline; nobody takes the server for gone and tries again."""
    async with with_tables(DomainRow, GroupRow) as made:
        groups = await three_in(made)
        db = Database.from_url(made.engine.url, connect_args={"command_timeout": 0.3})
        async with made.begin_session() as other:
            await other.execute(sa.update(GroupRow).values(size=2))
            with pytest.raises(DeadlineExceeded):
                await GroupRepository(db).update(ONE, renamed("new"))
        assert (await groups.get(ONE)).name == "one"
        await db.dispose()


async def test_keys_of_idempotency(groups: GroupRepository) -> None:
    """A write that is done once for its key goes SQLAlchemy's way."""
    async with tables(groups.db, IdempotencyKeyRow):
        made = await groups.create(GroupCreate("a", "once"), idempotency_key="k")
        assert await taken(groups, lambda: groups.create(GroupCreate("a", "once"), idempotency_key="k")) == 0
        assert await groups.get(made.id) == made


# What goes wrong


async def test_a_lost_answer_to_the_statement(with_faults: WithFaults) -> None:
    """Nothing was committed, and it is known."""
    async with with_faults(DomainRow, GroupRow) as (db, proxy):
        groups = await three_in(db)
        await groups.update(ONE, renamed("new"))
        proxy.drop_answer("UPDATE groups")
        with pytest.raises(DatabaseUnavailable) as caught:
            await groups.update(ONE, renamed("newer"))
        assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
        assert (caught.value.facts.domain, caught.value.facts.operation) == ("group", "update")
        assert (await groups.get(ONE)).name == "new"


async def test_a_lost_answer_to_commit(with_faults: WithFaults) -> None:
    """It is found out what became of it: the call succeeds."""
    async with with_faults(DomainRow, GroupRow) as (db, proxy):
        groups = await three_in(db)
        await groups.update(ONE, renamed("new"))
        before = lane_of(groups.db).taken
        proxy.drop_answer("COMMIT")
        assert (await groups.update(ONE, renamed("newer"))).name == "newer"
        assert lane_of(groups.db).taken == before + 1
        assert (await groups.get(ONE)).name == "newer"


async def test_an_answer_to_commit_that_nobody_can_find(with_faults: WithFaults) -> None:
    """Where the server is away it is unknown, and said to be."""
    async with hasty(with_faults) as (groups, proxy):
        proxy.drop_answer("COMMIT")
        await proxy.refuse()
        with pytest.raises((CommitOutcomeUnknown, DeadlineExceeded)) as caught:
            await groups.update(ONE, renamed("newer"))
        assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN
        await proxy.accept()


async def test_a_deadline(with_faults: WithFaults) -> None:
    """A write whose statement is not answered is over in time, and nothing of it stays."""
    async with hasty(with_faults) as (groups, proxy):
        proxy.hold_answer("UPDATE groups")
        with pytest.raises(DeadlineExceeded) as caught:
            await groups.update(ONE, renamed("newer"))
        assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED


@pytest.mark.parametrize("steps", range(1, 15))
async def test_cancelled_at_each_step(groups: GroupRepository, steps: int) -> None:
    """Wherever a write is cancelled, what it carries is true; no connection is lost, or used with an answer to come."""
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


async def test_a_table_that_is_altered(groups: GroupRepository) -> None:
    """Statements that were prepared before are prepared anew, without an error, and the write is done once."""
    await groups.update(ONE, renamed("new"))
    async with groups.db.engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE groups ALTER size TYPE BIGINT"))
    assert (await groups.update(ONE, renamed("newer"))).name == "newer"
    assert (await groups.create(GroupCreate("a", "after"))).name == "after"
    with pytest.raises(EntityAlreadyExists):
        await groups.create(GroupCreate("a", "after"))
    with pytest.raises(EntityNotFound):
        await groups.update(FOREIGN, renamed("x"), scope=A)


async def test_many_writers_on_a_small_pool(groups: GroupRepository) -> None:
    """Each writes its own row, and all connections are given back."""
    made = await asyncio.gather(*(groups.create(GroupCreate("ab"[n % 2], f"many {n}")) for n in range(30)))
    assert [group.name for group in made] == [f"many {n}" for n in range(30)]
    assert groups.db.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
