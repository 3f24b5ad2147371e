"""How many rows PostgreSQL handles for a batch: as many for each id, however many ids and whatever it believes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import Database, ScopeMismatch
from rowsmith.operations import BatchQuerier, make_entity
from rowsmith.operations.call import Call
from rowsmith.operations.present import present_keys
from rowsmith.operations.updates.patches import Patches
from rowsmith.operations.updates.statement import Changes, Targets
from rowsmith.testing import WithTables
from tenants import CounterData, CounterRepository, CounterRow, TenantScope, used

IDS = 800


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


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(
    "statement",
    [update_each, lambda db: target(db).update(Changes({"label": "x"})), lambda db: target(db).delete()],
    ids=["update each", "update", "delete"],
)
async def test_the_work_grows_with_the_ids_alone(
    db: Database, statement: Callable[[Database], Any], plans: str
) -> None:
    """Not with their square: rows given on and rows thrown away by a filter, over all nodes of the plan."""
    async with db.begin_session() as db_sess:
        await db_sess.execute(sa.text(f"SET LOCAL plan_cache_mode = {plans}"))
        plan = await explained(db_sess, statement(db))
    assert plan["Actual Rows"] == IDS
    assert work(plan) < 40 * IDS


ONE_TENANT = [("a", n) for n in range(IDS)]
TWO_TENANTS = [*ONE_TENANT[1:], ("b", 0)]
OF_A = CounterRow.tenant == "a"
"""What is not to be looked at row by row for each of the keys, though PostgreSQL may think that it leaves one."""


async def get(db_sess: AsyncSession) -> None:
    querier = BatchQuerier(CounterRow, into=CounterData, soft_delete=CounterRepository.soft_delete)
    assert len(await querier.query(db_sess, ONE_TENANT, scope=TenantScope("a"))) == IDS


async def read(db_sess: AsyncSession, into: type[Any] | None = CounterData, *, lock: bool = False) -> None:
    call = Call(make_entity(CounterRow, into), "batch_get", db_sess)
    assert len(await present_keys(call, TWO_TENANTS, [OF_A], lock=lock)) == IDS - 1


async def confirm(db_sess: AsyncSession) -> None:
    call = Call(make_entity(CounterRow, CounterData), "batch_update", db_sess)
    with pytest.raises(ScopeMismatch):
        await replace(call, limits=replace(call.limits, others=[OF_A])).confirm(TWO_TENANTS)


@pytest.mark.parametrize(
    "reading",
    [get, read, partial(read, into=None), partial(read, lock=True), confirm],
    ids=["get", "data", "rows", "lock", "confirm"],
)
async def test_the_work_of_a_read_grows_with_the_ids_alone(
    db: Database, reading: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    """Whether the keys have a part in common or not, and whatever the conditions beside them."""
    async with db.begin_session() as db_sess:
        assert await work_of_reads(db_sess, partial(reading, db_sess)) < 40 * IDS


async def work_of_reads(db_sess: AsyncSession, reading: Callable[[], Awaitable[None]]) -> float:
    """Have all SELECTs explained that a call sends."""
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, text: str, parameters: Any, *rest: Any) -> None:
        sent.append((f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", parameters))

    connection = await db_sess.connection()
    sa.event.listen(connection.sync_connection, "before_cursor_execute", note)
    await reading()
    sa.event.remove(connection.sync_connection, "before_cursor_execute", note)
    told = [(await connection.exec_driver_sql(*statement)).scalar_one() for statement in sent]
    plans = [(json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"] for plan in told]
    return max(map(work, plans))


async def explained(db_sess: AsyncSession, statement: Any) -> Any:
    """Send the statement, undo it, and have it explained as it was sent."""
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, text: str, parameters: Any, *rest: Any) -> None:
        sent.append((f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", parameters))

    connection = await db_sess.connection()
    async with connection.begin_nested() as undone:
        sa.event.listen(connection.sync_connection, "before_cursor_execute", note)
        await db_sess.execute(statement)
        sa.event.remove(connection.sync_connection, "before_cursor_execute", note)
        await undone.rollback()
    told = (await connection.exec_driver_sql(*sent[0])).scalar_one()
    return (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]


def work(node: dict[str, Any]) -> float:
    kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    here = sum(node.get(kind, 0) for kind in kinds) * node["Actual Loops"]
    return float(here + sum(work(child) for child in node.get("Plans", ())))
