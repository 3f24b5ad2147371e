"""The law of the two lanes: every verb, in every kind of block, says and stores what it does by SQLAlchemy's way.

On random rows of every type of column; what goes wrong is told alike as well.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from inspect import getmembers, ismethod
from itertools import chain
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from columns import ANYTHING, COLUMNS, Kind
from lanes import World, world
from native import lane_of
from rowsmith import (
    Condition,
    CursorForwardPagination,
    Database,
    Lock,
    OffsetPagination,
    PurgeReport,
    Repository,
    SearchScope,
    SoftDelete,
    commit_outcome,
    count,
)
from rowsmith.db_source import native_of
from rowsmith.execution.direct import fetch
from rowsmith.operations import Operation
from rowsmith.operations.call import operation_of
from rowsmith.testing import tables
from rowsmith.testing.contract.verbs import VERBS as REGISTER
from rowsmith.testing.contract.verbs import Does, VerbCall
from verbs import VERBS, read

pytestmark = pytest.mark.of_the_native_lane

ROWS = int(os.environ.get("ROWSMITH_LANE_ROWS", "6"))
"""How much is tried on each type of column; the nox session ``lanes`` raises it."""

IS_WHOLE = ROWS >= 100
SOME = 6
"""How many calls are tried on each type in the suite; else all of them."""

# What is called


@dataclass(frozen=True)
class Holding(SearchScope):
    """The rows with a value."""

    column: Any
    value: Any

    def to_conditions(self) -> Sequence[Condition]:
        return [self.column == self.value]


@dataclass(frozen=True)
class Drawn:
    """What a call is made with."""

    id: Any
    others: tuple[Any, ...]
    value: Any
    other: Any
    scope: Holding | None


@dataclass(frozen=True)
class Number:
    rows: Annotated[int, count()]


Call = Callable[[Any, World[Any], Drawn], Awaitable[Any]]
FIRST, SECOND = CursorForwardPagination(1), OffsetPagination(1, 1)


def like(w: World[Any], d: Drawn) -> list[Any]:
    return [w.row.value == d.value]


def specs(w: World[Any], d: Drawn) -> list[Any]:
    return [w.spec(d.id, d.value), *(w.spec(id, d.other) for id in d.others)]


def patches(w: World[Any], d: Drawn) -> dict[Any, Any]:
    return {id: w.patch(value) for id, value in zip((d.id, *d.others), (d.value, d.other, None), strict=False)}


def ids(d: Drawn) -> list[Any]:
    return [d.id, *d.others]


IN_OTHER_SHAPES: dict[str, tuple[Call, ...]] = {
    "get": (
        lambda of, w, d: of.get(d.id, d.scope, include_deleted=True),
        lambda of, w, d: of.get(d.id, d.scope, lock=Lock()),
    ),
    "find": (lambda of, w, d: of.find(d.id, include_deleted=True),),
    "get_one": (lambda of, w, d: of.get_one(d.scope, like(w, d)),),
    "find_one": (lambda of, w, d: of.find_one(d.scope, like(w, d), include_deleted=True),),
    "first": (lambda of, w, d: of.first(d.scope, like(w, d), orders=[w.row.value.desc()]),),
    "search": (
        lambda of, w, d: of.search(d.scope, like(w, d)),
        lambda of, w, d: of.search(d.scope, None, FIRST, orders=[w.row.value], include_deleted=True),
        lambda of, w, d: of.search(None, [w.row.value != d.value], SECOND),
    ),
    "count": (lambda of, w, d: of.count(d.scope, like(w, d)),),
    "exists": (lambda of, w, d: of.exists(d.scope, like(w, d)), lambda of, w, d: of.exists(d.scope, id=d.id)),
    "aggregate": (lambda of, w, d: of.aggregate(d.scope, like(w, d), into=Number),),
    "stream": (lambda of, w, d: read(of.stream(d.scope, like(w, d), include_deleted=True)),),
    "batch_get": (lambda of, w, d: of.batch_get([d.id, d.id], include_deleted=True),),
    "update_where": (lambda of, w, d: of.update_where(like(w, d), w.patch(d.other), scope=d.scope),),
    "delete_where": (lambda of, w, d: of.delete_where(like(w, d), scope=d.scope),),
    "restore_where": (lambda of, w, d: of.restore_where(like(w, d), scope=d.scope),),
    "purge_where": (
        lambda of, w, d: of.purge_where(like(w, d), scope=d.scope, pause=0),
        lambda of, w, d: of.purge_where(like(w, d), scope=d.scope, chunk_size=None),
    ),
}
"""The shapes of verbs in which their lanes differ, besides that of the register."""


def registered(name: str) -> Call:
    """Give the call of a verb that its line of the register makes."""
    call = REGISTER[name].call
    return lambda of, w, d: call(VerbCall(of, d.scope, ids(d), w.patch(d.value), specs(w, d), patches(w, d)))


CALLS = {name: (registered(name), *IN_OTHER_SHAPES.get(name, ())) for name in REGISTER}

# Where it is called

Place = Callable[[Any], AbstractAsyncContextManager[Any]]


def block(opening: Callable[[Database], AbstractAsyncContextManager[Any]]) -> Place:
    """Give a place in a block of the repository's own database."""

    @asynccontextmanager
    async def place(of: Any) -> AsyncIterator[Any]:
        async with opening(of.db):
            yield of

    return place


@asynccontextmanager
async def alone(of: Any) -> AsyncIterator[Any]:
    yield of


@asynccontextmanager
async def as_one_statement(of: Any) -> AsyncIterator[Any]:
    with of.db.writes_as("statement"):
        yield of


@asynccontextmanager
async def nested(of: Any) -> AsyncIterator[Any]:
    async with of.db.unit_of_work(), of.db.unit_of_work():
        yield of


@asynccontextmanager
async def borrowed(of: Any) -> AsyncIterator[Any]:
    async with AsyncSession(of.db.engine) as db_sess:
        yield type(of)(Database.from_session(db_sess), resilience=None)
        await db_sess.commit()


in_a_unit = block(lambda db: db.unit_of_work())
PLACES: dict[str, tuple[Place, Place]] = {
    "alone": (alone, alone),
    "alone, as one statement": (as_one_statement, alone),
    "in a session": (block(lambda db: db.begin_session()),) * 2,
    "in a session that reads": (block(lambda db: db.begin_readonly_session()),) * 2,
    "in a snapshot": (block(lambda db: db.begin_readonly_session(snapshot=True)),) * 2,
    "in a unit of work": (in_a_unit, in_a_unit),
    "in a nested unit": (nested, nested),
    "in somebody else's session": (borrowed, in_a_unit),
}
"""Where the one repository is called, and where the other one that says what comes of it."""

# What comes of it


async def heard(call: Awaitable[Any]) -> tuple[Any, Any]:
    """Give all that a caller can learn: the values with their types; or an error's words, and all else of it."""
    try:
        return seen(await call), None
    except Exception as exc:  # noqa: BLE001 - what leaks from one lane leaks from the other
        told = [getattr(exc, name, None) for name in ("error_code", "facts", "missing")]
        return (type(exc), str(exc), *told), (commit_outcome(exc), type(exc.__cause__), type(exc.__context__))


def seen(given: Any) -> Any:
    """Give a value so that alike is the same, NaN too, and the types are."""
    if isinstance(given, PurgeReport):
        return repr(replace(given, seconds=0.0))
    if isinstance(given, BaseException):
        return type(given), str(given)
    if is_dataclass(given):
        return type(given), [seen(getattr(given, each.name)) for each in fields(given)]
    if isinstance(given, (list, tuple)) or type(given).__name__.endswith("Cursors"):
        return [seen(each) for each in given]
    return type(given), repr(given)


@dataclass(frozen=True)
class Pair:
    """A repository whose calls go by the native lane where they can, and one whose calls never do."""

    world: World[Any]
    native: Any
    plain: Any

    async def fill(self, values: Iterable[Any]) -> None:
        """Put rows there, the last one deleted; and keep what is there."""
        await self.send("DELETE FROM {table}", "DELETE FROM {table}_kept")
        for id, value in enumerate(values, 1):
            await heard(self.plain.create(self.world.spec(id, value)))
            last = id
        await heard(self.plain.delete(last))
        await self.send(f"INSERT INTO {{table}}_kept SELECT {_WRITTEN} FROM {{table}}")

    async def reset(self) -> None:
        """Have the table hold what :meth:`fill` has put there."""
        await self.send(
            "DELETE FROM {table}", f"INSERT INTO {{table}} ({_WRITTEN}) SELECT {_WRITTEN} FROM {{table}}_kept"
        )

    async def send(self, *statements: str) -> None:
        async with self.plain.db.engine.begin() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement.format(table=self.world.table.name))

    async def stored(self) -> list[Any]:
        """Give what the table holds, as text, past the type."""
        columns = "id, value::text, made, doubled, deleted_at IS NULL"
        async with self.plain.db.engine.connect() as connection:
            rows = await connection.exec_driver_sql(f"SELECT {columns} FROM {self.world.table.name} ORDER BY id")
            return [tuple(row) for row in rows]

    async def come_to(self, of: Any, place: Place, call: Call, drawn: Drawn) -> list[Any]:
        """Give what a call came to in a place, what is read there after it, how the place ended and what is stored."""
        told: list[Any] = []

        async def called(here: Any) -> Any:
            return await call(here, self.world, drawn)

        async def inside() -> None:
            async with place(of) as here:
                told.append(await heard(called(here)))
                told.append(await heard(here.search(orders=[self.world.row.id], include_deleted=True)))

        told.append(await heard(inside()))
        return [*told, await self.stored()]

    async def agree(self, verb: str, where: str, call: Call, drawn: Drawn) -> None:
        """Make the call by both; says that nobody can tell them apart."""
        here, there = PLACES[where]
        told: list[Any] = []
        for of, place in ((self.native, here), (self.plain, there)):
            told.append(await self.come_to(of, place, call, drawn))
            if VERBS[verb].does is not Does.READ:
                await self.reset()
        if here is borrowed:  # an error there ends a savepoint, and elsewhere the transaction
            told = [(words, stored) for (words, _), *_, stored in told]
        assert told[0] == told[1], (verb, where, drawn)


_WRITTEN = "id, value, made, deleted_at"


@pytest.fixture
async def pair(database: Database, name: str) -> AsyncIterator[Pair]:
    w = world(name, COLUMNS[name])

    class Lanes(Repository[w.row, w.made, int]):  # type: ignore[name-defined]
        soft_delete = SoftDelete(w.row.deleted_at)

    async with tables(database, w.row) as made:
        db = Database.from_url(made.engine.url)
        made_pair = Pair(w, Lanes(db, resilience=None), Lanes(Database(db.engine, native=False), resilience=None))
        await made_pair.send(f"CREATE TABLE {{table}}_kept AS SELECT {_WRITTEN} FROM {{table}}")
        try:
            yield made_pair
        finally:
            await made_pair.send("DROP TABLE {table}_kept")
            await db.dispose()


IDS = st.sampled_from([1, 2, 3, 9])


def drawn_of(kind: Kind, column: Any, held: Sequence[Any]) -> st.SearchStrategy[Drawn]:
    """Draw what a call is made with; most of it fits, or is there."""
    value = st.one_of(st.sampled_from(held), kind.values, kind.values, st.none(), st.sampled_from(ANYTHING))
    scope = st.none() | st.none() | value.map(lambda given: Holding(column, given))
    id = st.one_of(IDS, IDS, IDS, st.sampled_from(ANYTHING))
    return st.builds(Drawn, id, st.lists(IDS, max_size=2).map(tuple), value, value, scope)


EVERY = list(chain(*([(verb, call) for call in calls] for verb, calls in CALLS.items())))


def law(test: Any) -> Any:
    """Have random examples of a law tried, of which the first one is always the simplest there is."""
    phases = [Phase.explicit, Phase.reuse, Phase.generate]  # those that fail are few as they are
    most = 2 + ROWS // 1000
    tried = settings(max_examples=most, deadline=None, suppress_health_check=list(HealthCheck), phases=phases)
    # Of some types of its own SQLAlchemy does not say which operators they have, and warns of that.
    warns = pytest.mark.filterwarnings("ignore:Type object .* does not refer to an OperatorClass")
    return warns(tried(given(data=st.data())(test)))


async def check(pair: Pair, name: str, where: str, data: st.DataObject, calls: Iterable[tuple[str, Call]]) -> None:
    kind = COLUMNS[name]
    held = data.draw(st.lists(st.none() | kind.values, min_size=3, max_size=3))
    drawn = drawn_of(kind, pair.world.row.value, held)
    await pair.fill(held)
    for verb, call in calls:
        await pair.agree(verb, where, call, data.draw(drawn))


@pytest.mark.parametrize("name", COLUMNS)
@law
async def test_no_type_of_column_tells_the_lanes_apart(pair: Pair, name: str, data: st.DataObject) -> None:
    """Some calls in some place, or all of them where much is tried."""
    some = st.lists(st.sampled_from(EVERY), min_size=SOME, max_size=SOME, unique=True)
    calls = EVERY if IS_WHOLE else data.draw(some)
    await check(pair, name, data.draw(st.sampled_from(list(PLACES))), data, calls)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", ["integer"])
@law
async def test_no_verb_tells_the_lanes_apart_anywhere(pair: Pair, name: str, where: str, data: st.DataObject) -> None:
    """Every verb in every place, whatever values it is given."""
    await check(pair, name, where, data, EVERY)


# That the law is about something


def test_other_shapes_are_of_verbs() -> None:
    """Those of a verb that has another name by now would be no part of the law."""
    assert IN_OTHER_SHAPES.keys() <= REGISTER.keys()


def fitting(verb: str) -> Drawn:
    """Give what a verb can be called with on the numbers 1 to 3, such that it does something."""
    id = 9 if VERBS[verb].makes else 3 if VERBS[verb].does is Does.UNMARK else 1
    return Drawn(id, (), 1, 1, None)


@pytest.mark.parametrize("name", ["integer"])
@pytest.mark.parametrize("where", PLACES)
async def test_every_verb_that_has_the_lane_takes_it(pair: Pair, where: str) -> None:
    """Where nothing is refused, one that writes takes it too; in a session that somebody else owns there is none."""
    lane, (place, _) = lane_of(pair.native.db), PLACES[where]
    has_lane = {operation_of(each): native for each in methods_of(pair.native.db_source) if (native := native_of(each))}
    reads = {verb for verb, native in has_lane.items() if not native.writes}
    expected = reads if "reads" in where or "snapshot" in where else set(has_lane)
    went: set[str] = set()
    for verb, call in EVERY:
        await pair.fill([1, 2, 3])
        async with place(pair.native) as of:
            before = lane.taken
            await heard(call(of, pair.world, fitting(verb)))
            went |= {verb} if lane.taken > before else set()
    assert went == (set() if place is borrowed else expected)


def methods_of(source: Any) -> list[Any]:
    """Give the methods of all operations of a source."""
    operations = [each for each in vars(source).values() if isinstance(each, Operation)]
    return [method for each in operations for _, method in getmembers(each, ismethod)]


@pytest.mark.parametrize("name", ["integer"])
@pytest.mark.parametrize(
    "module, where, verb",
    [
        ("native", "alone", "get"),
        ("within", "in a unit of work", "count"),
        ("within", "in a session", "create"),
        ("writing", "alone", "create"),
    ],
)
async def test_a_lane_that_says_something_else_breaks_the_law(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, module: str, where: str, verb: str
) -> None:
    """The law is able to fail: of a lane's own statements each is sent for another row."""
    await pair.fill([1, 2, 3])
    await pair.agree(verb, where, CALLS[verb][0], fitting(verb))
    own = fetch

    def astray(driver: Any, sql: str, values: Sequence[Any]) -> Any:
        return own(driver, sql, [7 for _ in values])

    monkeypatch.setattr(f"rowsmith.execution.{module}.fetch", astray)
    with pytest.raises(AssertionError):
        await pair.agree(verb, where, CALLS[verb][0], fitting(verb))
