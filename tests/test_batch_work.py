"""How many rows PostgreSQL handles for a batch: as many for each id, however many ids and whatever it believes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import Database
from rowsmith.operations import make_entity
from rowsmith.operations.updates.patches import Patches
from rowsmith.operations.updates.statement import Changes, Targets
from rowsmith.testing import WithTables
from tenants import CounterData, CounterRepository, CounterRow, used

IDS = 800


@pytest.fixture(params=["no statistics", "statistics of one row", "statistics of an emptied table"])
async def db(request: pytest.FixtureRequest, with_tables: WithTables) -> AsyncIterator[Database]:
    """Rows of two tenants, and what PostgreSQL was told of the table before they came."""
    fill = "INSERT INTO counters SELECT CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, i / 2, 0, NULL, NULL, 'no', NULL, 1"
    async with with_tables(CounterRow) as made:
        async with made.begin_session() as db_sess:
            await db_sess.execute(sa.text("ALTER TABLE counters SET (autovacuum_enabled = off)"))
            await db_sess.execute(sa.text("CREATE INDEX counters_uses ON counters (uses)"))
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
    return rows.update(Changes(*patches.assignments(arrays=rows.by_arrays)))


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
