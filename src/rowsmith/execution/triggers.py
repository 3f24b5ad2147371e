"""Whether triggers of a table may change rows once a statement has given them, which RETURNING does not see.

Of rows that are removed: whether there are any that may put one back.

So does a foreign key of a table to itself with ON UPDATE CASCADE, SET NULL or SET DEFAULT. Triggers of a table that is
written with this one by such a key, or by one with ON DELETE, may write back into it: they count, too, whenever they
run; on SQLite those of tables that refer to this one directly.

It is asked once for each connection and table, as statements are prepared, and kept with the connection: a trigger that
is made while an application runs is heeded on the connections that come after it. On SQLite it is asked each time, and
so it is where names may lead elsewhere (:mod:`rowsmith.execution.elsewhere`).
Triggers of the tables beneath a view count as its own. Where triggers of its own write them (INSTEAD OF), RETURNING
gives what these returned, whatever they have written. Triggers that are deferred run at COMMIT, after which nothing can
be read.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Table
from sqlalchemy.engine import Dialect

_ASK: Final = """
WITH RECURSIVE parts (part) AS (
    SELECT to_regclass($1::text)::oid UNION SELECT below FROM parts, LATERAL (
        SELECT inhrelid FROM pg_inherits WHERE inhparent = part UNION ALL
        SELECT c.oid FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
        WHERE r.ev_class = part AND r.ev_type = '1' AND c.relkind IN ('r', 'p', 'v', 'f')
    ) under (below)
), led (part, writes, removes) AS (
    SELECT part, 16, 8 FROM parts UNION SELECT conrelid,
        CASE WHEN writes & 16 <> 0 AND confupdtype IN ('c', 'n', 'd') THEN 16 ELSE 0 END,
        CASE WHEN removes & 16 <> 0 AND confupdtype IN ('c', 'n', 'd') THEN 16 ELSE 0 END
        | CASE WHEN removes & 8 <> 0 AND confdeltype = 'c' THEN 8 ELSE 0 END
        | CASE WHEN removes & 8 <> 0 AND confdeltype IN ('n', 'd') THEN 16 ELSE 0 END
    FROM led JOIN pg_constraint ON contype = 'f' AND confrelid = part WHERE writes | removes <> 0
)
SELECT coalesce(bool_or(fires_after), false), coalesce(bool_or(fires_after OR fires_between), false),
    coalesce(bool_or(fires_at_deletes), false) FROM (
    SELECT tgtype & 20 <> 0 AND tgtype & 2 = 0, tgtype & 20 <> 0 AND tgtype & 3 = 3, tgtype & 8 <> 0
    FROM pg_trigger JOIN parts ON tgrelid = part
    WHERE NOT tgisinternal AND NOT tginitdeferred AND tgenabled <> 'D' AND tgtype & 28 <> 0
    UNION ALL SELECT tgtype & writes <> 0, tgtype & writes <> 0, tgtype & removes <> 0
    FROM pg_trigger JOIN led ON tgrelid = led.part
    WHERE NOT tgisinternal AND NOT tginitdeferred AND tgenabled <> 'D' AND led.part NOT IN (SELECT part FROM parts)
    UNION ALL SELECT true, true, false FROM pg_constraint WHERE contype = 'f' AND confupdtype IN ('c', 'n', 'd')
    AND conrelid IN (SELECT part FROM parts) AND confrelid IN (SELECT part FROM parts)
) found (fires_after, fires_between, fires_at_deletes)
"""
# A trigger's type has bits (pg_trigger.h): 1 for each row, 2 before, 4 insert, 8 delete, 16 update. One that runs
# before its row is written may change those that were given already.

_ASK_SQLITE: Final = "SELECT 1 FROM {}.sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = :name"
_ASK_SQLITE_FOR_KEYS: Final = """
SELECT 1 FROM pragma_foreign_key_list(:name, :schema)
WHERE lower("table") = :name AND on_update IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
"""
_ASK_SQLITE_FOR_OTHERS: Final = """
SELECT 1 FROM {}.sqlite_master t JOIN pragma_foreign_key_list(t.tbl_name, :schema) k
WHERE t.type = 'trigger' AND lower(k."table") = :name AND k.on_{} IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
"""


class Quietness(NamedTuple):
    """The name under which it is kept that rows of a table stay as they are given: one, or ``several`` at once.

    With ``removes`` it is kept that those that are removed stay away.
    """

    table: Table
    schema: str | None
    several: bool
    removes: bool = False


async def ask_quietness(
    driver: Any, dialect: Dialect, table: Table, schema: str | None, known: MutableMapping[Any, Any]
) -> None:
    """Ask on asyncpg's connection, and keep what it says in ``known``."""
    preparer = dialect.identifier_preparer
    name = preparer.format_table(table, use_schema=False)
    place = name if schema is None else f"{preparer.quote_schema(schema)}.{name}"
    fires_after, fires_between, fires_at_deletes = await driver.fetchrow(_ASK, place)
    known[Quietness(table, schema, several=False)] = not fires_after
    known[Quietness(table, schema, several=True)] = not fires_between
    known[Quietness(table, schema, several=True, removes=True)] = not fires_at_deletes


async def is_quiet_on_sqlite(driver: Any, dialect: Dialect, table: Table, schema: str | None, *, removes: bool) -> bool:
    """Ask on aiosqlite's connection whether a table has none of it; when a trigger runs stands in its text alone."""
    quote = dialect.identifier_preparer.quote_identifier
    places = [quote(schema or "main"), *(() if schema else ("temp",))]
    by_others = _ASK_SQLITE_FOR_OTHERS.format(places[0], "delete" if removes else "update")
    by_keys = () if removes else (_ASK_SQLITE_FOR_KEYS,)
    asked = " UNION ALL ".join([*map(_ASK_SQLITE.format, places), *by_keys, by_others])
    return not await driver.execute_fetchall(asked, {"name": table.name.lower(), "schema": schema})
