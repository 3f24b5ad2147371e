"""How many rows PostgreSQL handles for a batch: as many for each id, however many ids and whatever it believes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias, cast

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from rowsmith import BatchUpdater, BatchUpserter, Database, Lock, ScopeMismatch, Spec
from rowsmith.operations import BatchQuerier, make_entity
from rowsmith.operations.arrays.fetch import fetch_columns
from rowsmith.operations.arrays.wire import array_literal
from rowsmith.operations.blocks import gate
from rowsmith.operations.blocks.gate import Gate
from rowsmith.operations.call import Call
from rowsmith.operations.deletes.where import Pace, WherePurger
from rowsmith.operations.present import present_keys
from rowsmith.operations.updates.patches import Patches
from rowsmith.operations.updates.statement import Changes, Targets
from rowsmith.operations.upserts import upsertion
from rowsmith.testing import WithTables
from tenants import CounterData, CounterRepository, CounterRow, TenantScope, used

IDS = 800

Sending: TypeAlias = Callable[[AsyncSession], Awaitable[None]]


@pytest.fixture(params=["no statistics", "statistics of one row", "statistics of an emptied table"])
async def db(request: pytest.FixtureRequest, with_tables: WithTables) -> AsyncIterator[Database]:
    """Rows of two tenants, and what PostgreSQL was told of the table before they came."""
    fill = "INSERT INTO counters SELECT CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, i / 2, 0, NULL, NULL, 'no', NULL, 1"
    async with with_tables(CounterRow) as made:
        async with made.begin_session() as db_sess:
            await db_sess.execute(sa.text("ALTER TABLE counters SET (autovacuum_enabled = off)"))
            await db_sess.execute(sa.text("CREATE INDEX counters_uses ON counters (uses)"))
            await db_sess.execute(sa.text("CREATE INDEX counters_tenant ON counters (tenant)"))
            if request.param != "no statistics":
                rows = 1 if request.param == "statistics of one row" else 4 * IDS
                await db_sess.execute(sa.text(f"{fill} FROM generate_series({-10 - rows}, -11) AS i"))
                if rows > 1:
                    await db_sess.execute(sa.text("DELETE FROM counters"))
                await db_sess.execute(sa.text("ANALYZE counters"))
            await db_sess.execute(sa.text(f"{fill} FROM generate_series(0, {4 * IDS}) AS i"))
        yield made


def target(db: Database) -> Targets[Any, Any]:
    entity = make_entity(CounterRow, CounterData, soft_delete=CounterRepository.soft_delete)
    conditions = [CounterRow.tenant == "a", CounterRow.uses >= 0, *entity.live()]
    return Targets(entity, db.engine.dialect, [("a", place) for place in range(IDS)], conditions)


def update_each(db: Database) -> Any:
    rows = target(db)
    patches = Patches(rows.entity.info, [used(n) for n in range(IDS)])
    (changes,) = patches.changes(arrays=rows.by_arrays)
    return rows.update(changes)


def update(db: Database) -> Any:
    return target(db).update(Changes({"label": "x"}))


def delete(db: Database) -> Any:
    return target(db).delete()


@pytest.mark.parametrize("statement", [update_each, update, delete])
async def test_the_work_grows_with_the_ids_alone(db: Database, statement: Callable[[Database], Any]) -> None:
    """Not with their square: rows given on and rows thrown away by a filter, over all nodes of the plan."""

    async def send(db_sess: AsyncSession) -> None:
        assert len((await db_sess.execute(statement(db))).all()) == IDS

    async with db.begin_session() as db_sess:
        assert max(await works(db_sess, send)) < 40 * IDS


THOSE = [CounterRow.place < IDS]


async def update_where(db_sess: AsyncSession) -> None:
    updater = BatchUpdater(CounterRow, into=CounterData, soft_delete=CounterRepository.soft_delete)
    assert await updater.update_where(db_sess, THOSE, used(1), scope=TenantScope("a")) == IDS


async def purge_at_once(db_sess: AsyncSession) -> None:
    assert (await WherePurger(CounterRow).purge_at_once(db_sess, THOSE, scope=TenantScope("a"))).rows == IDS


async def purge_in_chunks(db_sess: AsyncSession) -> None:
    pace, purger = Pace(chunk_size=IDS - 1, pause=0), WherePurger(CounterRow)
    assert (await purger.purge(lambda: nullcontext(db_sess), THOSE, scope=TenantScope("a"), pace=pace)).rows == IDS


@pytest.mark.parametrize("writing", [update_where, purge_at_once, purge_in_chunks])
async def test_the_work_of_a_write_by_conditions_grows_with_the_rows_alone(db: Database, writing: Sending) -> None:
    """Those that are locked are not held against each row that matches."""
    async with db.begin_session() as db_sess:
        assert max(await works(db_sess, writing)) < 40 * IDS


@dataclass(frozen=True)
class CounterCreate(Spec[CounterRow]):
    tenant: str
    place: int
    label: str


async def test_the_work_of_an_upsert_grows_with_the_rows_alone(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are new, some are there; by the one statement that goes to the driver, here shown to SQLAlchemy."""

    async def pass_gate(*args: Any) -> Gate:
        return replace(await gate.pass_gate(*args), driver=True)

    monkeypatch.setattr(upsertion, "pass_gate", pass_gate)
    monkeypatch.setattr(upsertion, "fetch_underneath", fetch_columns)

    async def send(db_sess: AsyncSession) -> None:
        specs = [CounterCreate("a", 2 * IDS - 100 + place, "x") for place in range(IDS)]
        done = await BatchUpserter(CounterRow, into=CounterData).upsert(db_sess, specs)
        assert [item.inserted for item in done.succeeded] == [False] * 101 + [True] * (IDS - 101)

    async with db.begin_session() as db_sess:
        assert max(await works(db_sess, send)) < 40 * IDS


ONE_TENANT = [("a", n) for n in range(IDS)]
TWO_TENANTS = [*ONE_TENANT[1:], ("b", 0)]
OF_A = CounterRow.tenant == "a"
"""What is not to be looked at row by row for each of the keys, though PostgreSQL may think that it leaves one."""


async def get(db_sess: AsyncSession) -> None:
    querier = BatchQuerier(CounterRow, into=CounterData, soft_delete=CounterRepository.soft_delete)
    assert len(await querier.query(db_sess, ONE_TENANT, scope=TenantScope("a"))) == IDS


async def read(db_sess: AsyncSession, into: type[Any] | None = CounterData, *, lock: Lock | None = None) -> None:
    call = Call(make_entity(CounterRow, into), "batch_get", db_sess)
    assert len(await present_keys(call, TWO_TENANTS, [OF_A], lock=lock)) == IDS - 1


async def confirm(db_sess: AsyncSession) -> None:
    call = Call(make_entity(CounterRow, CounterData), "batch_update", db_sess)
    with pytest.raises(ScopeMismatch):
        await replace(call, limits=replace(call.limits, others=[OF_A])).confirm(TWO_TENANTS)


@pytest.mark.parametrize(
    "reading",
    [get, read, partial(read, into=None), partial(read, lock=Lock()), confirm],
    ids=["get", "data", "rows", "lock", "confirm"],
)
async def test_the_work_of_a_read_grows_with_the_ids_alone(db: Database, reading: Sending) -> None:
    """Whether the keys have a part in common or not, and whatever the conditions beside them."""
    async with db.begin_session() as db_sess:
        assert max(await works(db_sess, reading)) < 40 * IDS


async def works(db_sess: AsyncSession, sending: Sending) -> list[float]:
    """Give the work of each statement that a call sends, by a plan for its values, and by one for any."""
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, text: str, parameters: Any, *rest: Any) -> None:
        if not text.startswith(("SAVEPOINT", "RELEASE")):
            sent.append((text, parameters))

    connection = await db_sess.connection()
    async with undone(connection):
        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await sending(db_sess)
        event.remove(connection.sync_connection, "before_cursor_execute", note)
    found = list[float]()
    for plans in ("force_custom_plan", "force_generic_plan"):
        await connection.exec_driver_sql(f"SET LOCAL plan_cache_mode = {plans}")
        found += [work(await explained(connection, *statement)) for statement in sent]
    return found


async def explained(connection: AsyncConnection, text: str, parameters: Sequence[Any]) -> Any:
    """Prepare a statement and have its execution explained: EXPLAIN itself always plans for the values."""
    values = f"({', '.join(map(literal, parameters))})" if parameters else ""
    async with undone(connection):
        await connection.exec_driver_sql(f"PREPARE explained AS {text}")
        told = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE explained{values}")
        plan = told.scalar_one()
        await connection.exec_driver_sql("DEALLOCATE explained")
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]


@asynccontextmanager
async def undone(connection: AsyncConnection) -> AsyncGenerator[None]:
    async with connection.begin_nested() as nested:
        yield
        await nested.rollback()


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    text = array_literal(cast("Any", value)) if isinstance(value, list) else str(value)
    return "'" + text.replace("'", "''") + "'"


def work(node: dict[str, Any]) -> float:
    kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    here = sum(node.get(kind, 0) for kind in kinds) * node["Actual Loops"]
    return float(here + sum(work(child) for child in node.get("Plans", ())))
