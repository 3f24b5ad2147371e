"""Whatever a verb is given, it answers with a result or an error of rowsmith's, and what it cannot use is not sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import MISSING, dataclass
from dataclasses import fields as fields_of
from decimal import Decimal
from functools import cache, partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from rowsmith import (
    AllOf,
    Conflict,
    Count,
    Database,
    ErrorCode,
    ExistenceCheck,
    InvalidValue,
    Lock,
    MappingError,
    NoPagination,
    OffsetPagination,
    OptionalState,
    Patch,
    Query,
    Repository,
    RepositoryError,
    ScopeError,
    Spec,
    TriState,
    Unscoped,
    operations,
)
from rowsmith.errors import kind_of
from rowsmith.filters import Filter, NumberFilter
from rowsmith.operations.arguments import ARGUMENTS, READ_LATER
from rowsmith.testing import WithTables, tables
from support import checked_out, count_statements, spare_the_disk
from tenants import CounterPatch, CounterRow, OwnedBy, ThingCreate, ThingData, ThingPatch, ThingRepository, ThingRow
from verbs import Number, World, public_methods, read, spec, things_in, world_in

CALLS = int(os.environ.get("ROWSMITH_ARGUMENTS", "150"))
SEED = int(os.environ.get("ROWSMITH_SEED", "1"))
WORLDS = max(1, min(4, CALLS // 1000))
"""How many worlds calls are made in at once: while a server is waited for there is another call to prepare."""
CALLS_ON_ONE_STATE = 16
"""After how many calls a world has its rows again, so that few calls find nothing of what they are about."""


class ThingFilter(Filter[ThingRow]):
    uses: NumberFilter | None = None


@dataclass(frozen=True)
class Checked(OwnedBy):
    """A scope whose check is a statement of its own."""

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        return [ExistenceCheck(sa.literal(1) == 1, ScopeError)]


@dataclass(frozen=True)
class Single(OwnedBy):
    """A scope that forgets the list."""

    given: Any

    def existence_checks(self) -> Any:
        return self.given


PATCH = ThingPatch(uses=OptionalState.update(7))
SCOPE = Checked("a")


def generator() -> Any:
    yield 1


async def told_later(done: int) -> None: ...


RIGHT: dict[str, list[Any]] = {
    "id": [1, 2, 4, 99],
    "ids": [[1], [1, 2, 99], (2,), []],
    "spec": [spec(1), spec(7), spec(8)],
    "specs": [[spec(9)], [], (spec(1), spec(10))],
    "patch": [PATCH, ThingPatch(), ThingPatch(note=TriState.nullify())],
    "patches": [{1: PATCH}, {}, {2: PATCH, 99: PATCH}],
    "scope": [SCOPE, OwnedBy("b"), Unscoped(reason="a test")],
    "filters": [
        [ThingRow.id == 1],
        [ThingRow.id < 3],
        ThingFilter(uses=NumberFilter(gte=1)),
        Query(pagination=NoPagination()),
        None,
    ],
    "pagination": [OffsetPagination(limit=2), NoPagination(), None],
    "orders": [[ThingRow.name], [lambda: ThingRow.uses.desc()], ()],
    "group_by": [()],
    "count": [Count.EXACT, Count.ESTIMATED, Count.capped(2), Count.NONE],
    "include_deleted": [True, False],
    "all_rows": [True, False],
    "dry_run": [True, False],
    "into": [Number],
    "expected_version": [1, 2, None],
    "expected_versions": [{1: 1}, {1: 1, 2: 1, 99: 1}, None],
    "conflict": [Conflict(), Conflict([ThingRow.id], update=False), None],
    "progress": [lambda done: None, [].append, int, None],
    "idempotency_key": [None],
    "lock": [None],
    "chunk_size": [1, 2, 1000],
    "max_rows": [0, 1, None],
    "pause": [0, 0.0],
}

WRONG: dict[str, list[Any]] = {
    "id": ["1", 1.0, True, None, [1], bytearray(b"1"), {}, ThingRow, 2**40],
    "ids": [3, None, generator(), "12", b"12", bytearray(b"12"), {1}, {1: 2}, int, spec(1)],
    "spec": [PATCH, None, {"id": 1}, ThingCreate, [spec(1)], CounterPatch(), ThingData(1, "a", "x", 1, None, 1)],
    "specs": [3, None, "ab", b"ab", spec(1), {1: spec(1)}, ThingCreate, [PATCH], [None], [spec(7), PATCH], ["ab"]],
    "patch": [spec(1), None, {"uses": 1}, ThingPatch, [PATCH], CounterPatch(), OptionalState.update(1)],
    "patches": [3, None, "ab", [PATCH], PATCH, dict, {1: spec(1)}, {1: None}, {1: PATCH, 2: spec(2)}, {1: {"uses": 1}}],
    "scope": [3, "a", OwnedBy, [ThingRow.id == 1], ThingFilter(), Single("a", SCOPE.existence_checks()[0])],
    "filters": [3, "x", {"id": 1}, ThingRow.id == 1, ThingFilter, ["x"], [lambda x: x], [ThingRow]],
    "pagination": [2, "first", {"first": 2}, OffsetPagination, Count.EXACT],
    "orders": [ThingRow.name, "name", 3, ["name"], [lambda row: row], [ThingRow], {"name": 1}, sa.select(ThingRow)],
    "group_by": [ThingRow.name, "name", 3, ["name"]],
    "count": [5, "exact", True, Count],
    "include_deleted": [1, "no", None],
    "all_rows": [1, "yes", None],
    "dry_run": [1, "no", None],
    "into": [3, "ThingData", ThingData(1, "a", "x", 1, None, 1), [Number]],
    "expected_version": ["1", 1.0, [1], {}],
    "expected_versions": [3, "ab", [1], [(1, 1)], dict, {1: "1"}, {1: [1]}, {1: None}],
    "conflict": ["id", 3, [ThingRow.id], Conflict, Conflict(["id"]), Conflict(ThingRow.id), Conflict(constraint=3)],  # type: ignore[list-item, arg-type]
    "progress": [3, "x", lambda: None, told_later, lambda done, more: None],
    "idempotency_key": [3, "", " ", b"x", str, True],
    "lock": ["update", True, Lock, {"nowait": True}],
    "chunk_size": [0, -1, "1", 1.5, True],
    "max_rows": [-1, "1", True, 1.5],
    "pause": [-1, "0", None, True, float("nan"), float("inf"), 10**400],
}

ODD: list[Any] = [
    *(None, 3, -1, 2**70, True, 1.5, float("nan"), Decimal("1.5"), "x", "\x00", "\ud800", b"x", memoryview(b"x")),
    *(bytearray(b"x"), [], [1], [None], [[1]], {}, {1: 2}, {1}, frozenset({1}), (), (1, 2), object(), int, Exception()),
    *(ThingRow, ThingRow.id, ThingRow.id == 1, sa.text("x"), sa.func.now(), sa.select(ThingRow), sa.null(), sa.true()),
    *(lambda: None, lambda given: given, spec(1), PATCH, CounterPatch(), SCOPE, Conflict(), Query(), ThingFilter()),
    *(Count.EXACT, NoPagination(), dt.datetime(2020, 1, 1), dt.timedelta(1), uuid.UUID(int=1), range(3)),
    *([PATCH], [spec(1)], {1: PATCH}, {1: spec(1)}, {None: PATCH}, {"1": PATCH}, {(1,): PATCH}, {1.5: 1}, Number),
    *(CounterRow.uses == 1, [CounterRow.uses == 1], [ThingRow.name == 3], [ThingRow.id == "x"], [ThingRow.deleted_at]),
    *([1, 1], [1, "1"], [bytearray(b"x")], [{}], [2**70], [True], [float("nan")], ["\x00"], ["\ud800"], [[]]),
]


@dataclass(frozen=True)
class SaidSpec(Spec[ThingRow]):
    """A spec that says what it is told to."""

    said: Any

    def to_values(self) -> Any:
        return self.said


@dataclass(frozen=True)
class SaidPatch(Patch[ThingRow]):
    """A patch that does."""

    said: Any

    def to_values(self) -> Any:
        return self.said


NAMES: list[Any] = ["id", "tenant", "name", "uses", "note", "deleted_at", "version"]
ODD_NAMES: list[Any] = [*NAMES, "nothing", "", None, 3, ThingRow.uses, ("uses",), b"uses", sa.column("uses")]
VALUES: list[Any] = [1, 7, "x", "name 1", None, ThingRow.uses + 1, lambda: ThingRow.uses + 1, sa.func.abs(-3)]

NEITHER = sa.literal(1) == 1
"""What is no right argument anywhere, and raises where it is asked whether it is true."""

VERBS = sorted(public_methods())


@cache
def parameters(name: str) -> Mapping[str, inspect.Parameter]:
    """Give what a verb takes."""
    given = inspect.signature(inspect.unwrap(getattr(Repository, name))).parameters
    return {name: parameter for name, parameter in given.items() if name != "self"}


def arguments(name: str, choose: Callable[[str], Any] = lambda name: RIGHT[name][0]) -> dict[str, Any]:
    """Give a right call of a verb: what it needs, the scope, and no pauses."""
    needed = {"scope", "pause"} | ({"filters"} if name in ("get_one", "find_one") else set())
    return {
        name: choose(name)
        for name, parameter in parameters(name).items()
        if parameter.default is parameter.empty or name in needed
    }


async def call(things: ThingRepository, name: str, given: dict[str, Any]) -> Any:
    """Call a verb, and read what it streams."""
    made = getattr(things, name)(**given)
    return await (read(made) if name == "stream" else made)


WRONG_CALLS = [
    pytest.param(name, parameter, wrong, id=f"{name}-{parameter}-{place}")
    for name in VERBS
    for parameter in parameters(name)
    for place, wrong in enumerate([*WRONG[parameter], NEITHER])
]


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[ThingRepository]:
    async with things_in(any_tables) as made:
        yield made


def test_every_parameter_of_every_verb_is_held() -> None:
    """A new parameter fails here until it says how it is held, in the verbs and in the tests below."""
    verbs = [
        verb
        for operation in map(partial(getattr, operations), operations.__all__)
        if inspect.isclass(operation)
        for _, verb in inspect.getmembers(operation, inspect.isfunction)
        if hasattr(verb, "operation")
    ]
    names = {name for verb in verbs for name in list(inspect.signature(verb).parameters)[2:]}
    assert names == ARGUMENTS.keys() | READ_LATER
    assert {name for verb in VERBS for name in parameters(verb)} == RIGHT.keys() == WRONG.keys()


async def test_the_right_calls_are_right(things: ThingRepository) -> None:
    """Of calls that fail anyway, the tests below would say nothing."""
    for id, name in enumerate(sorted(VERBS, key=lambda name: ("delete" in name, "purge" in name)), 100):
        right = {name: given[0] for name, given in RIGHT.items()} | {"id": 2, "spec": spec(id), "specs": [spec(id)]}
        if name not in ("restore", "delete", "purge"):
            await call(things, name, arguments(name, right.__getitem__))


async def test_wrong_arguments_are_told_by_their_kinds_and_nothing_is_sent(things: ThingRepository) -> None:
    """Before a scope's check even; the message never has the value itself."""
    for parameter in WRONG_CALLS:
        name, wrong_name, wrong = parameter.values
        assert isinstance(name, str)
        assert isinstance(wrong_name, str)
        with count_statements(things.db) as sent, pytest.raises(RepositoryError) as caught:
            await call(things, name, {**arguments(name), wrong_name: wrong})
        if {"id": "pk"}.get(wrong_name, wrong_name) in ARGUMENTS:
            assert sent == [], (name, wrong_name, kind_of(wrong))
        assert ErrorCode.read(caught.value.error_code).operation == name.replace("_", "-"), (name, wrong_name)


async def test_wrong_arguments_beside_a_query_are_told_likewise(things: ThingRepository) -> None:
    """By the driver's lane too, which nobody may listen to; an SQL expression does not say whether it is empty."""
    for parameter in WRONG_CALLS:
        name, wrong_name, wrong = parameter.values
        assert isinstance(name, str)
        if wrong_name in ("pagination", "orders", "count") and "filters" in parameters(name):
            with pytest.raises(RepositoryError):
                await call(things, name, {**arguments(name), "filters": Query(), wrong_name: wrong})


async def test_ids_are_a_list(things: ThingRepository) -> None:
    """The message says what was given, and what to write."""
    for name in ("batch_get", "batch_update", "batch_delete", "batch_restore", "batch_purge", "batch_purge_partial"):
        for wrong in (3, generator(), "12", {1}, {1: 2}, None, int):
            with pytest.raises(InvalidValue) as caught:
                await call(things, name, {**arguments(name), "ids": wrong})
            assert str(caught.value) == f"thing: ids are a list of keys, not {kind_of(wrong)}: write [id], or list(ids)"


async def test_a_patch_creates_nothing_and_a_spec_changes_nothing(things: ThingRepository) -> None:
    """Whatever form the verb has; another row's patch is refused likewise."""
    calls = [
        *(things.create(PATCH, scope=SCOPE), things.upsert(PATCH, scope=SCOPE)),  # type: ignore[arg-type]
        *(verb([spec(7), PATCH], scope=SCOPE) for verb in (things.batch_create, things.load, things.batch_upsert)),  # type: ignore[operator]
        things.batch_create_partial([spec(7), PATCH], scope=SCOPE),  # type: ignore[list-item]
        things.load(iter([spec(7), PATCH]), scope=SCOPE, chunk_size=1),  # type: ignore[list-item]
    ]
    for made in calls:
        with pytest.raises(
            MappingError, match=r"ThingPatch is a Patch, which changes one: give a Spec\[ThingRow\] here"
        ):
            await made
    changes = [
        things.update(1, spec(1), scope=SCOPE),  # type: ignore[arg-type]
        things.batch_update([1], spec(1), scope=SCOPE),  # type: ignore[arg-type]
        things.batch_update_each({1: PATCH, 2: spec(2)}, scope=SCOPE),  # type: ignore[dict-item]
        things.batch_update_partial({1: PATCH, 2: spec(2)}, scope=SCOPE),  # type: ignore[dict-item]
        things.update_where([ThingRow.id == 1], spec(1), scope=SCOPE),  # type: ignore[arg-type]
    ]
    for made in changes:
        with pytest.raises(
            MappingError, match=r"ThingCreate is a Spec, which creates a row: give a Patch\[ThingRow\] here"
        ):
            await made
    assert [thing.id for thing in await things.search(Unscoped(reason="a test"))] == [1, 2, 3]


async def test_existence_checks_are_a_list(things: ThingRepository) -> None:
    """One check alone stands in a list, too; in a scope that is part of another one likewise."""
    for given in (SCOPE.existence_checks()[0], 3, None, "x", [3], {}):
        for scope in (Single("a", given), AllOf(Single("a", given), ThingRow.id == 1)):
            with pytest.raises(ScopeError, match=r"Single.existence_checks\(\) gives a list of ExistenceCheck"):
                await things.get(1, scope)


def odd_value(chance: random.Random) -> Any:
    """Give a value for a column, or what is none, or a state of either."""
    value = chance.choice(chance.choice([VALUES, ODD]))
    state = [OptionalState.update, TriState.update, OptionalState.expression, lambda value: value]
    try:
        return chance.choice(state)(value)
    except RepositoryError:  # a state looks at what it is given
        return value


def odd_written(chance: random.Random, parameter: str) -> Any:
    """Give specs or patches of odd values, under names that are odd now and then, or fields without states."""
    said, fields = (SaidSpec, ThingCreate) if "spec" in parameter else (SaidPatch, ThingPatch)

    def one() -> Any:
        if chance.random() < 0.4:
            names = {name: odd_value(chance) for name in parameters_of(fields) if chance.random() < 0.8}
            return fields(**{**dict.fromkeys(needed_of(fields), 8), **names})
        names = chance.sample(chance.choice([NAMES, ODD_NAMES]), chance.randrange(5))
        given = {name: odd_value(chance) for name in names}
        return said({"id": chance.randrange(9), "name": "n", **given} if said is SaidSpec else given)

    if parameter == "patches":
        return {id: one() for id in chance.sample(range(1, 6), chance.randrange(1, 4))}
    return one() if parameter in ("spec", "patch") else [one() for _ in range(chance.randrange(1, 4))]


def parameters_of(kind: Any) -> list[str]:
    """Give the fields of a data class."""
    return [field.name for field in fields_of(kind)]


def needed_of(kind: Any) -> list[str]:
    """Give those without a default."""
    return [field.name for field in fields_of(kind) if field.default is MISSING]


def odd_call(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """Give a verb and arguments of any kind for it, most of them right."""
    name = chance.choice(VERBS)
    given = dict[str, Any]()
    for parameter, declared in parameters(name).items():
        if declared.default is declared.empty or chance.random() < 0.4 or parameter in ("scope", "pause"):
            pool = chance.choices([RIGHT[parameter], WRONG[parameter], ODD], [8, 2, 2])[0]
            given[parameter] = chance.choice(pool)
            if parameter in ("spec", "specs", "patch", "patches") and chance.random() < 0.5:
                given[parameter] = odd_written(chance, parameter)
    if isinstance(given.get("pause"), int | float) and given["pause"] > 1:
        del given["pause"]
    return name, given


@asynccontextmanager
async def place_beside(db: Database, name: str) -> AsyncGenerator[Database]:
    """Give a place of its own in the same server, in which tables of the same names are others."""
    url = db.engine.url
    if db.engine.dialect.name == "sqlite":
        beside = Database.from_url(url.set(database=f"{url.database}.{name}"))
        event.listen(beside.engine.sync_engine, "connect", spare_the_disk)
    else:
        beside = Database.from_url(url, connect_args={"server_settings": {"search_path": name}})
        async with db.engine.begin() as connection:
            await connection.execute(sa.schema.CreateSchema(name))
    yield beside
    await beside.dispose()
    if db.engine.dialect.name != "sqlite":
        async with db.engine.begin() as connection:
            await connection.execute(sa.schema.DropSchema(name, cascade=True))


@pytest.fixture
async def worlds(any_database: Database, any_tables: WithTables) -> AsyncIterator[list[World]]:
    """Give worlds that know nothing of each other: a call in one changes nothing for those in the others."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(world_in(any_tables, "things"))]
        for place in range(1, WORLDS):
            db = await stack.enter_async_context(place_beside(any_database, f"arguments_{place}"))
            made.append(await stack.enter_async_context(world_in(partial(tables, db), "things")))
        yield made


async def raw_errors_of(world: World, chance: random.Random, calls: int) -> Counter[str]:
    """Call verbs one after the other, and give what is raised that is none of rowsmith's."""
    rows, raw = await world.stored(), Counter[str]()
    for turn in range(calls):
        if turn % CALLS_ON_ONE_STATE == 0:
            await world.reset(rows)
        name, given = odd_call(chance)
        try:
            await call(world.things, name, given)
        except RepositoryError:
            pass
        except Exception as exc:  # noqa: BLE001 - all of them are collected
            raw[f"{name}: {type(exc).__name__} {exc} of {given}"] += 1
        assert checked_out(world.things.db) == 0, f"{name} keeps a connection, of {given}"
    return raw


async def test_any_call_has_a_result_or_an_error_of_rowsmiths(worlds: list[World]) -> None:
    """Nothing raw reaches the caller, and no connection is left behind."""
    chances = [random.Random(f"{SEED} {place}") for place in range(WORLDS)]
    calls = [raw_errors_of(world, chance, CALLS // WORLDS) for world, chance in zip(worlds, chances, strict=True)]
    raw = await asyncio.gather(*calls)
    assert not any(raw), "\n".join(error for errors in raw for error in errors)
