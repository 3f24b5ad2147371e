"""The law of the lanes: what is stored, given back and refused is what ``create`` stores, gives back and refuses.

On random rows of every type of column, whatever hangs on the session.
"""

from __future__ import annotations

import datetime as dt
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from columns import ANYTHING, COLUMNS, Kind, Level
from lanes import LANES, NOTHING_BACK, SINGLE, Lane, Values, World, create, world
from rowsmith import Database, ErrorCode, RepositoryError
from rowsmith.mapping.types import TABLE
from rowsmith.mapping.types.numbers import OfSingles
from rowsmith.mapping.types.unknown import AsStored

ROWS = int(os.environ.get("ROWSMITH_LANE_ROWS", "6"))
"""How many random rows of each type to try; the nox session ``lanes`` raises it."""

MANY = 100
ROWS_AT_A_TIME = 200 if ROWS >= MANY else 6
ONE_BY_ONE = 5
"""How many rows go by the lanes that send a statement for each."""

# What hangs on the session


OTHER = "lane_other"
TRIGGER = [
    "CREATE OR REPLACE FUNCTION lane_same() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION lane_same()",
]
HOOKS = ("nothing", "a tracer", "a session's event", "a translated schema", "a trigger")
SQLITE_HOOKS = HOOKS[:3]


@dataclass
class Bench:
    """A world's tables on one connection, in a transaction that is undone in the end."""

    world: World[Any]
    connection: AsyncConnection

    @property
    def hooks(self) -> Sequence[str]:
        return HOOKS if self.connection.dialect.name == "postgresql" else SQLITE_HOOKS

    @asynccontextmanager
    async def session(self, hook: str = "nothing") -> AsyncIterator[AsyncSession]:
        """A session with something that hangs on it; what it writes is undone."""
        bind: Any = self.connection
        if hook == "a translated schema":
            bind = await bind.execution_options(schema_translate_map={None: OTHER})
        async with AsyncSession(bind, join_transaction_mode="create_savepoint") as db_sess:
            if hook == "a session's event":
                event.listen(db_sess.sync_session, "do_orm_execute", ignore)
            if hook == "a tracer":
                event.listen(bind.sync_connection, "before_cursor_execute", ignore)
            if hook == "a trigger":
                for statement in TRIGGER:
                    await db_sess.execute(sa.text(statement.format(table=self.world.table.name)))
            try:
                yield db_sess
            finally:
                if hook == "a tracer":
                    event.remove(bind.sync_connection, "before_cursor_execute", ignore)
        if hook == "a translated schema":
            await bind.execution_options(schema_translate_map=None)

    async def outcome(self, lane: Lane, values: Values, hook: str = "nothing") -> tuple[Any, Any]:
        """Write rows by a lane, and give what is stored and what was given back; or the error's class and code."""
        async with self.session(hook) as db_sess:
            given = await self.attempt(db_sess, lane, values)
            place = f"{OTHER}." if hook == "a translated schema" else ""
            return (await self.stored(db_sess, place), given) if isinstance(given, list) else given

    async def attempt(self, db_sess: AsyncSession, lane: Lane, values: Values) -> Any:
        """Write rows by a lane, or none of them, and give what was given back; or the error's class and code."""
        try:
            async with db_sess.begin_nested():
                given = await lane(self.world, db_sess, values)
        except RepositoryError as exc:
            return type(exc), ErrorCode.read(exc.error_code).detail
        return [(item.id, seen(item.value), *rest(item)) for item in given]

    async def alone(self, values: Values) -> dict[int, Any]:
        """Give what ``create`` makes of each row alone, by its id."""
        async with self.session() as db_sess:
            given = {id: await self.attempt(db_sess, create, [(id, value)]) for id, value in values}
            held = {line[0]: line for line in await self.stored(db_sess)}
        return {id: (held[id], made[0]) if isinstance(made, list) else made for id, made in given.items()}

    async def stored(self, db_sess: AsyncSession, place: str = "") -> list[tuple[Any, ...]]:
        """Give what the table holds, as text, past the type."""
        kind = "text" if self.connection.dialect.name == "postgresql" else "blob"
        columns = f"id, CAST(value AS {kind}), made, doubled"
        rows = await db_sess.execute(sa.text(f"SELECT {columns} FROM {place}{self.world.table.name} ORDER BY id"))
        return [tuple(row) for row in rows]


def ignore(*args: Any) -> None:
    """Listen and do nothing."""


def seen(value: Any) -> str:
    """Give a value so that alike is the same, NaN too, and the types are; a bare object, when pickled, is another."""
    return f"{type(value).__name__} {'' if type(value) is object else repr(value)}"


def rest(item: Any) -> tuple[Any, ...]:
    return (item.made, item.doubled) if hasattr(item, "made") else ()


@pytest.fixture
def on(request: pytest.FixtureRequest, backend: str) -> Database:
    """The database of the case."""
    return request.getfixturevalue({"postgresql": "database", "sqlite": "sqlite_database"}[backend])


@pytest.fixture
async def bench(on: Database, name: str) -> AsyncIterator[Bench]:
    """Make the world's table on a connection of its own, whose transaction never commits."""
    w = world(name, COLUMNS[name])
    sync = on.engine.sync_engine
    engine = AsyncEngine(sa.Engine(sync.pool.recreate(), sync.dialect, sync.url))
    async with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        await connection.run_sync(w.table.metadata.create_all)
        if connection.dialect.name == "postgresql":
            await connection.execute(sa.text(f"CREATE SCHEMA {OTHER}"))
            await connection.execution_options(schema_translate_map={None: OTHER})
            await connection.run_sync(w.table.metadata.create_all)
            await connection.execution_options(schema_translate_map=None)
        try:
            yield Bench(w, connection)
        finally:
            await connection.rollback()
    await engine.dispose()


def rows_of(kind: Kind) -> st.SearchStrategy[list[tuple[int, Any]]]:
    """Draw rows whose ids are in no order; most values fit, some are NULL, some are anything."""
    common = [kind.values] * 4
    values = st.one_of(st.none(), *common, st.sampled_from(ANYTHING))
    return st.lists(
        st.tuples(st.integers(-9999, 9999), values),
        min_size=ROWS_AT_A_TIME // 2,
        max_size=ROWS_AT_A_TIME,
        unique_by=lambda r: r[0],
    )


def some_lanes() -> st.SearchStrategy[list[Lane]]:
    """Draw lanes: a few in the suite, all of them where many rows are tried."""
    every = list(chain(*LANES.values()))
    return st.just(every) if ROWS >= MANY else st.lists(st.sampled_from(every), min_size=4, max_size=4, unique=True)


CASES = [
    pytest.param(name, backend, id=f"{name}-{backend}")
    for name, kind in COLUMNS.items()
    for backend in ("postgresql", "sqlite")
    if backend == "postgresql" or kind.everywhere
]


# Of some types of its own SQLAlchemy does not say which operators they have, and warns of that.
@pytest.mark.filterwarnings("ignore:Type object .* does not refer to an OperatorClass")
@pytest.mark.parametrize("name, backend", CASES)
@settings(
    max_examples=max(2, 2 * ROWS // ROWS_AT_A_TIME),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # the rows that fail are few as they are
)
@given(data=st.data())
async def test_every_lane_gives_what_create_gives(bench: Bench, name: str, data: st.DataObject) -> None:
    """What is stored and given back of rows that fit is the same, and so is the error of one that does not."""
    drawn, hook = data.draw(rows_of(COLUMNS[name])), data.draw(st.sampled_from(bench.hooks))
    await check(bench, drawn, hook, data.draw(some_lanes()))


async def check(bench: Bench, rows: Values, hook: str, lanes: Sequence[Lane]) -> None:
    alone = await bench.alone(rows)
    fitting = [row for row in rows if not is_error(alone[row[0]])]
    others = [row for row in rows if is_error(alone[row[0]])]
    for lane in lanes:
        sent = fitting[:ONE_BY_ONE] if lane in SINGLE else fitting
        held, back = await bench.outcome(lane, sent, hook)
        width = min(map(len, back), default=0)
        given_back = [] if lane in NOTHING_BACK else [alone[id][1][:width] for id, _ in sent]
        assert (held, back) == (sorted(alone[id][0] for id, _ in sent), given_back), (lane.__name__, hook)
        for row in others[:3]:
            assert await bench.outcome(lane, [*fitting[:3], row], hook) == alone[row[0]], (lane.__name__, hook, row)


ASTRAY = {
    "hidden-sqlite": [(1, None), (2, "a")],
    "hidden-postgresql": [(1, None), (2, "a"), (3, ["a", None])],
    "json_by_variant-postgresql": [(1, "a"), (2, None)],
    "macaddr8-postgresql": [(1, None), (2, "08:00:2b:01:02:03:04:05")],
    "money-postgresql": [(1, "$1.50"), (2, None)],
    "bit-postgresql": [(1, "0101"), (2, "01011")],
    "numrange-postgresql": [(255, Range(-1, 3)), (3679, [math.nan]), (7, (1, 2))],
    "timestamptz-postgresql": [(1, dt.datetime(2024, 4, 30, tzinfo=dt.UTC, fold=1))],
    "timestamp-postgresql": [(1, None), (2, dt.datetime(2024, 10, 27, 2, 30, fold=1))],
    "inet-postgresql": [(1, None), (2, [1])],
    "cidr-postgresql": [(1, [1]), (2, "10.0.0.0/8"), (3, Level.LOW), (4, 1)],
    "pickle-sqlite": [(1, object())],
    "macaddr-postgresql": [(1, ["08:00:2b:01:02:03"])],
    "tags-postgresql": [(1, [["a"], ["b", "c"]]), (2, [["a"], None]), (300, []), (-159, [Range(1, 2)]), (-109, None)],
}


@pytest.mark.filterwarnings("ignore:Type object .* does not refer to an OperatorClass")
@pytest.mark.parametrize("name, backend", [pytest.param(*case.split("-"), id=case) for case in ASTRAY])
async def test_rows_that_went_astray(bench: Bench, name: str, backend: str) -> None:
    """A None that its type makes something of, and values that PostgreSQL would take for text, by every lane."""
    await check(bench, ASTRAY[f"{name}-{backend}"], "nothing", list(chain(*LANES.values())))


def is_error(outcome: tuple[Any, Any]) -> bool:
    return isinstance(outcome[0], type)


def test_every_type_of_the_table_is_tried() -> None:
    """A new row of the table of types fails here until it stands in ``tests/columns.py``."""
    tried = [kind.declared() for kind in COLUMNS.values()]
    untried = [kind for kind, _ in TABLE if not any(isinstance(declared, kind) for declared in tried)]
    assert untried == [OfSingles, AsStored]  # no column's: what is compared with one, and what a sort key is read as
