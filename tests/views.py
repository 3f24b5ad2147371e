"""Views of PostgreSQL in the place of tables that tests declare."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rowsmith import Database
from rowsmith.execution.pooler import is_behind_pooler

OF_ALL = "CREATE VIEW {name} AS SELECT * FROM kept.{name}"


async def run(db: Database, sql: str) -> None:
    """Run a script in a transaction of its own."""
    async with db.engine.begin() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute(sql)


@asynccontextmanager
async def as_view(made: Database, row: Any, view: str) -> AsyncIterator[Database]:
    """Have a view in a table's place, and give a database on an engine that has met neither."""
    table = row.__table__
    keys = [column.name for column in table.primary_key]
    named = {"name": table.name, "columns": ", ".join(column.name for column in table.columns)}
    named |= {"keys": ", ".join(keys), "old_keys": ", ".join(f"old.{key}" for key in keys)}
    await run(made, f"CREATE SCHEMA kept; ALTER TABLE {table.name} SET SCHEMA kept; {view.format(**named)}")
    db = Database.from_url(made.engine.url, pooler=is_behind_pooler(made.engine.sync_engine))
    try:
        yield db
    finally:
        await db.dispose()
        kind = "MATERIALIZED VIEW" if "MATERIALIZED" in view else "VIEW"
        back = f"ALTER TABLE kept.{table.name} SET SCHEMA public; DROP SCHEMA kept CASCADE"
        await run(made, f"DROP {kind} {table.name} CASCADE; {back}")
