"""Of a batch that fails for something else, too, the scope answers first: which fault is met first tells nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from operator import itemgetter
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    CheckViolation,
    Condition,
    Conflict,
    Database,
    OptionalState,
    PartialResult,
    Patch,
    ReferenceNotFound,
    Repository,
    RepositoryError,
    ScopeMismatch,
    SearchScope,
    Spec,
)
from rowsmith.sql import is_sql
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, VERSIONED, Does, VerbCall
from support import WAYS, share, turned
from tenants import stored


class Base(DeclarativeBase):
    pass


class YardRow(Base):
    __tablename__ = "yards"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class ShedRow(Base):
    __tablename__ = "sheds"
    __table_args__ = (
        sa.UniqueConstraint("code", name="uq_sheds_code"),
        sa.CheckConstraint("size > 0", name="ck_sheds_size"),
        sa.ForeignKeyConstraint(["yard_id"], ["yards.id"], name="fk_sheds_yard"),
        sa.ForeignKeyConstraint(["above_id"], ["sheds.id"], name="fk_sheds_above"),
        sa.ForeignKeyConstraint(["maker_id"], ["makers.id"], name="fk_sheds_maker"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    code: Mapped[str]
    size: Mapped[int] = mapped_column(server_default="1")
    note: Mapped[str] = mapped_column(server_default="")
    yard_id: Mapped[int | None]
    above_id: Mapped[int | None]
    maker_id: Mapped[int | None]
    version: Mapped[int] = mapped_column(server_default="1")
    __mapper_args__ = {"version_id_col": version}


class MakerRow(Base):
    """Of which no scope says anything."""

    __tablename__ = "makers"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


@dataclass(frozen=True)
class Shed:
    id: int
    tenant: str
    code: str


@dataclass(frozen=True)
class ShedCreate(Spec[ShedRow]):
    id: int
    tenant: str
    code: str
    size: OptionalState[int] = OptionalState.nop()
    note: OptionalState[str] = OptionalState.nop()
    yard_id: OptionalState[int | None] = OptionalState.nop()
    above_id: OptionalState[int | None] = OptionalState.nop()
    maker_id: OptionalState[int | None] = OptionalState.nop()


@dataclass(frozen=True)
class ShedPatch(Patch[ShedRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    code: OptionalState[str] = OptionalState.nop()
    size: OptionalState[int] = OptionalState.nop()
    note: OptionalState[str] = OptionalState.nop()
    yard_id: OptionalState[int | None] = OptionalState.nop()
    above_id: OptionalState[int | None] = OptionalState.nop()
    maker_id: OptionalState[int | None] = OptionalState.nop()


class Sheds(Repository[ShedRow, Shed, int]):
    conflict = Conflict([ShedRow.id])


@dataclass(frozen=True)
class OfA(SearchScope):
    """The sheds of a, and its yards; it fixes the tenant."""

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [ShedRow.tenant == "a"]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {YardRow: [YardRow.tenant == "a"]}


@dataclass(frozen=True)
class OfAOrC(SearchScope):
    """Says more of the tenant than could be put onto a row; with what only the database makes, it cannot be told."""

    also: tuple[sa.ColumnElement[bool], ...] = ()

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [sa.or_(ShedRow.tenant.in_(("a", "c")), *self.also)]


A, B, OURS, SPARE = "a", "b", 3, 4
THEIRS, NOBODY = 100, 777


@dataclass(frozen=True)
class Probe:
    """What one item sets that the scope refuses, and what may be there or not."""

    scope: SearchScope
    key: str
    there: Any
    absent: Any
    error: type[RepositoryError]
    besides: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def values(self, *, is_there: bool) -> dict[str, Any]:
        return {**self.besides, self.key: self.there if is_there else self.absent}


OUT = {"tenant": B}
PROBES = {
    "a reference": Probe(OfA(), "yard_id", THEIRS, NOBODY, ReferenceNotFound),
    "a reference to its own table": Probe(OfA(), "above_id", THEIRS, NOBODY, ReferenceNotFound),
    "a key": Probe(OfAOrC(), "code", "theirs", "free", ScopeMismatch, OUT),
    "a key under what cannot be told": Probe(
        OfAOrC((ShedRow.version > sa.func.length("three"),)), "code", "theirs", "free", ScopeMismatch, OUT
    ),
}


@dataclass(frozen=True)
class Fault:
    """What is wrong with another item: values that it sets, or a version that nobody has."""

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    version: int = 1
    trigger: str | None = None


NOISY = "AFTER", "RAISE EXCEPTION 'no'", "SELECT RAISE(ABORT, 'no')"
SKIPS = "BEFORE", "RETURN NULL", "SELECT RAISE(IGNORE)"
FAULTS = {
    "nothing": Fault(),
    "a CHECK": Fault({"size": 0}),
    "a key of its own tenant": Fault({"code": "third"}),
    "a reference that nobody holds": Fault({"maker_id": NOBODY}),
    "no value": Fault({"note": sa.func.nullif("x", "x")}),
    "a stale version": Fault({"size": 2}, version=9),
    "a trigger that raises": Fault({"note": "noisy"}, trigger="noisy"),
    "a trigger that skips": Fault({"note": "skipped"}, trigger="skipped"),
}
WRITERS = [verb for verb, told in VERBS.items() if told.does in (Does.MAKE, Does.PUT, Does.CHANGE)]
MANY = [verb for verb in WRITERS if VERBS[verb].many]
OF_ONE_PATCH = ("batch_update", "update_where")


@pytest.fixture
async def sheds(any_tables: WithTables) -> AsyncIterator[Sheds]:
    """Sheds 1 to 4 are a's, 100 is b's; yard 1 is a's and 100 is b's."""
    async with any_tables(YardRow, MakerRow, ShedRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(YardRow), [{"id": 1, "tenant": A}, {"id": THEIRS, "tenant": B}])
            codes = {1: "first", 2: "second", OURS: "third", SPARE: "spare"}
            rows = [{"id": id, "tenant": A, "code": code} for id, code in codes.items()]
            await db_sess.execute(sa.insert(ShedRow), [*rows, {"id": THEIRS, "tenant": B, "code": "theirs"}])
        yield Sheds(db, resilience=None)


async def add_trigger(db: Database, name: str) -> None:
    timing, does, does_on_sqlite = NOISY if name == "noisy" else SKIPS
    await db.engine.dispose()  # connections know what triggers there are
    async with db.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            for event in ("INSERT", "UPDATE"):
                when = f"{timing} {event} ON sheds WHEN NEW.note = '{name}'"
                await connection.exec_driver_sql(f"CREATE TRIGGER {name}_{event} {when} BEGIN {does_on_sqlite}; END")
            return
        body = f"BEGIN IF NEW.note = '{name}' THEN {does}; END IF; RETURN NEW; END"
        await connection.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"
        )
        await connection.exec_driver_sql(
            f"CREATE TRIGGER {name} {timing} INSERT OR UPDATE ON sheds FOR EACH ROW EXECUTE FUNCTION {name}()"
        )


def state(value: Any) -> Any:
    return OptionalState[Any].expression(lambda: value) if is_sql(value) else OptionalState[Any].update(value)


def called(verb: str, sheds: Sheds, probe: Probe, fault: Fault, *, is_there: bool, is_first: bool) -> Awaitable[Any]:
    """Call a verb with two items, of which one is the probe, and the other has a fault."""
    values = probe.values(is_there=is_there)
    if VERBS[verb].does is not Does.CHANGE:
        rows = [{"id": 11, "tenant": A, "code": "n", **values}, {"id": 12, "tenant": A, "code": "m", **fault.values}]
        if not is_first:
            rows = [{**rows[1], "id": 11}, {**rows[0], "id": 12}]
        return VERBS[verb].call(VerbCall(sheds, probe.scope, specs=list(map(new, rows))))
    ids = (1, 2)
    probed, bad = ids if is_first else ids[::-1]
    options: dict[str, Any] = {}
    if fault.version != 1 and verb in VERSIONED:
        options = {VERSIONED[verb]: {probed: 1, bad: fault.version}}
    if verb not in OF_ONE_PATCH:
        patches = {probed: patch(values), bad: patch(fault.values)}
        return VERBS[verb].call(VerbCall(sheds, probe.scope, ids, None, patch_of=patches, options=options))
    both: dict[str, Any] = {}
    for id, part in ((probed, values), (bad, fault.values)):
        for name, value in part.items():
            column = ShedRow.__table__.c[name]
            both[name] = sa.case((ShedRow.id == id, sa.type_coerce(value, column.type)), else_=both.get(name, column))
    return VERBS[verb].call(VerbCall(sheds, probe.scope, ids, patch(both), options=options))


def new(row: Mapping[str, Any]) -> ShedCreate:
    own = ("id", "tenant", "code")
    return ShedCreate(**{name: value if name in own else state(value) for name, value in row.items()})


def patch(values: Mapping[str, Any]) -> ShedPatch:
    return ShedPatch(**{name: state(value) for name, value in values.items()})


async def told(call: Awaitable[Any]) -> list[tuple[Any, ...]]:
    """Give all that a caller can see of an answer, item by item in a partial form."""
    try:
        result = await call
    except RepositoryError as error:
        return [seen(error)]
    if not isinstance(result, PartialResult):
        return [(type(result),)]
    made: PartialResult[Any] = cast("Any", result)
    written: list[tuple[Any, ...]] = [(each.index, "written") for each in made.succeeded]
    return sorted(written + [(each.index, *seen(each.error)) for each in made.failed], key=itemgetter(0))


def seen(error: Any) -> tuple[Any, ...]:
    return error.__class__, error.error_code, str(error), repr(error), error.facts, error.__cause__, error.__context__


@asynccontextmanager
async def borrowed(db: Database) -> AsyncIterator[Any]:
    async with AsyncSession(db.engine) as session, session.begin():
        yield Database.from_session(session)


Block = Callable[[Database], Any]
BLOCKS: dict[str, Block] = {
    "alone": nullcontext,
    "in a session": lambda db: db.begin_session(),
    "in a unit of work": lambda db: db.unit_of_work(),
    "in a session of somebody else's": borrowed,
}


async def rows(sheds: Sheds) -> Any:
    return await stored(sheds.db, sa.select(*ShedRow.__table__.columns).order_by(ShedRow.id))


async def put_back(sheds: Sheds, before: Sequence[Any]) -> None:
    names = ShedRow.__table__.columns.keys()
    async with sheds.db.engine.begin() as connection:
        await connection.execute(sa.delete(ShedRow))
        await connection.execute(sa.insert(ShedRow), [dict(zip(names, row, strict=True)) for row in before])


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_beside_it_tells_nothing_of_a_row_outside(sheds: Sheds, probe: Probe, fault: Fault) -> None:
    """There or not is one answer in every verb over several rows, before the fault and behind it, in every block."""
    if fault.trigger is not None:
        await add_trigger(sheds.db, fault.trigger)
    before, blocks = await rows(sheds), BLOCKS.values() if fault is FAULTS["a CHECK"] else [nullcontext]
    number = [*PROBES.values()].index(probe) + [*FAULTS.values()].index(fault)
    for place, verb in product(range(min(WAYS, 2)), share(turned(MANY, number), 3)):
        is_first = (place + (number + MANY.index(verb)) // 2) % 2 == 0
        if fault is FAULTS["no value"] and VERBS[verb].does is not Does.CHANGE:
            continue  # which a spec cannot ask for
        answers = list[Any]()
        for block, is_there in product(blocks, (True, False)):
            async with block(sheds.db) as inner:
                within = Sheds(inner, resilience=None) if block is borrowed else sheds
                call = called(verb, within, probe, fault, is_there=is_there, is_first=is_first)
                answers.append(await told(call))
            if verb.endswith("_partial"):
                await put_back(sheds, before)
            assert await rows(sheds) == before, (verb, is_first)
        assert all(each == answers[0] for each in answers), (verb, is_first, answers)
        is_partial = verb.endswith("_partial")
        (error, *_) = answers[0][1 if is_partial and not is_first else 0][is_partial:]
        assert error is probe.error, (verb, is_first, answers[0])


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_of_its_own_tells_nothing_of_a_row_outside(sheds: Sheds, probe: Probe, fault: Fault) -> None:
    """Nor does what is wrong with the row itself, in every verb that writes."""
    if fault.trigger is not None:
        await add_trigger(sheds.db, fault.trigger)
    before = await rows(sheds)
    number = [*PROBES.values()].index(probe) + [*FAULTS.values()].index(fault)
    for verb in share(turned(WRITERS, number), 3):
        if fault is FAULTS["no value"] and VERBS[verb].does is not Does.CHANGE:
            continue  # as above
        answers = list[Any]()
        for is_there in (True, False):
            values = {**fault.values, **probe.values(is_there=is_there)}
            spec = {"id": 11, "tenant": A, "code": "n", **values}
            version: Any = fault.version if verb == "update" else {1: fault.version}
            options = {VERSIONED[verb]: version} if verb in VERSIONED else {}
            call = VerbCall(sheds, probe.scope, [1], patch(values), [new(spec)], options=options)
            answers.append(await told(VERBS[verb].call(call)))
            assert await rows(sheds) == before, verb
        assert answers[0] == answers[1], verb


class BoxRow(Base):
    __tablename__ = "boxes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    kind: Mapped[str]
    yard_id: Mapped[int | None] = mapped_column(sa.ForeignKey("yards.id", name="fk_boxes_yard"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "box"}


class CrateRow(BoxRow):
    __tablename__ = "crates"
    __table_args__ = (sa.CheckConstraint("size > 0", name="ck_crates_size"),)

    id: Mapped[int] = mapped_column(sa.ForeignKey("boxes.id"), primary_key=True, autoincrement=False)
    size: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "crate"}


@dataclass(frozen=True)
class CratePatch(Patch[CrateRow]):
    yard_id: OptionalState[int | None] = OptionalState.nop()
    size: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class Crate:
    id: int
    size: int
    yard_id: int | None


@dataclass(frozen=True)
class CratesOfA(SearchScope):
    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [CrateRow.tenant == "a"]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {YardRow: [YardRow.tenant == "a"]}


class Crates(Repository[CrateRow, Crate, int]):
    pass


@pytest.mark.parametrize("probed, bad", [(1, 2), (2, 1)])
async def test_so_it_is_for_rows_that_are_kept_in_several_tables(any_tables: WithTables, probed: int, bad: int) -> None:
    """The fault may be met in another table than the reference."""
    async with any_tables(YardRow, BoxRow, CrateRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([YardRow(id=1, tenant=A), YardRow(id=THEIRS, tenant=B)])
            db_sess.add_all([CrateRow(id=id, tenant=A, size=1) for id in (1, 2)])
        crates = Crates(db, resilience=None)
        for verb in OF_ONE_PATCH:
            answers = list[Any]()
            for yard in (THEIRS, NOBODY):
                led = sa.case((BoxRow.id == probed, sa.literal(yard)), else_=BoxRow.yard_id)
                size = sa.case((CrateRow.id == bad, sa.literal(0)), else_=CrateRow.size)
                both = CratePatch(state(led), state(size))
                answers.append(await told(VERBS[verb].call(VerbCall(crates, CratesOfA(), (1, 2), both))))
            assert answers[0] == answers[1], verb
            assert answers[0][0][0] is ReferenceNotFound, verb
        assert [(each.size, each.yard_id) for each in await crates.search(CratesOfA())] == [(1, None)] * 2


class StickRow(Base):
    __tablename__ = "sticks"
    __table_args__ = (sa.CheckConstraint("size > 0", name="ck_sticks_size"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    bundle_id: Mapped[int] = mapped_column(sa.ForeignKey("bundles.id"))
    tenant: Mapped[str]
    size: Mapped[int] = mapped_column(server_default="1")
    yard_id: Mapped[int | None] = mapped_column(sa.ForeignKey("yards.id", name="fk_sticks_yard"))


class BundleRow(Base):
    __tablename__ = "bundles"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    sticks: Mapped[list[StickRow]] = relationship()


@dataclass(frozen=True)
class StickBelow(Spec[StickRow], filled={"bundle_id", "tenant"}):
    size: OptionalState[int] = OptionalState.nop()
    yard_id: OptionalState[int | None] = OptionalState.nop()


@dataclass(frozen=True)
class BundleCreate(Spec[BundleRow], filled={"tenant"}):
    sticks: tuple[StickBelow, ...] = ()


@dataclass(frozen=True)
class BundlesOfA(SearchScope):
    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [BundleRow.tenant == "a"]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {StickRow: [StickRow.tenant == "a"], YardRow: [YardRow.tenant == "a"]}


@dataclass(frozen=True)
class Bundle:
    id: int


class Bundles(Repository[BundleRow, Bundle, int]):
    pass


@pytest.mark.parametrize("verb", [verb for verb in WRITERS if VERBS[verb].does is Does.MAKE])
@pytest.mark.parametrize("is_first", [True, False])
async def test_so_it_is_for_rows_in_a_tree(any_tables: WithTables, verb: str, is_first: bool) -> None:
    """Those below one row and below others are written together, and one of them may have a fault."""
    async with any_tables(YardRow, BundleRow, StickRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([YardRow(id=1, tenant=A), YardRow(id=THEIRS, tenant=B)])
        bundles, answers = Bundles(db, resilience=None), list[Any]()
        for yard in (THEIRS, NOBODY):
            sticks = [StickBelow(yard_id=state(yard)), StickBelow(size=state(0))]
            sticks = sticks if is_first else sticks[::-1]
            alone = [BundleCreate((stick,)) for stick in sticks]
            specs = alone if VERBS[verb].many else [BundleCreate(tuple(sticks))]
            answers.append(await told(VERBS[verb].call(VerbCall(bundles, BundlesOfA(), specs=specs))))
        assert answers[0] == answers[1]
        errors = [item[-7] for item in answers[0]]
        assert errors[0 if is_first else -1] is ReferenceNotFound
        assert set(errors[1:]) <= {ReferenceNotFound, CheckViolation}
        assert await bundles.count(BundlesOfA()) == 0
