"""Tables that are spread over shards by their tenant, tried on native partitions: a statement is to need one of them.

Citus sends a statement to one worker if each of its tables is limited to one tenant, and spreads or refuses any other.
PostgreSQL's planner leaves partitions out for the same reason, so its plan says which a statement would reach. Where
new rows go to is known afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, event

from rowsmith.database import Database, check_database
from rowsmith.errors import MappingError


class SeveralShards(AssertionError):
    """A statement touches several partitions of a table."""


@contextmanager
def one_shard(db: Database) -> Iterator[None]:
    """Have every statement fail meanwhile that touches several partitions of one table.

    ::

        with one_shard(db):
            await groups.get(id, DomainScope("emea"))

    All goes through SQLAlchemy meanwhile, as with anybody who looks at an engine's statements.

    Raises:
        MappingError: it is no Database, or one on SQLite, where there are no partitions.
        SeveralShards: inside; by INSERT after it was done, by any other statement before.
    """
    check_database(db, "one_shard")
    engine = db.engine.sync_engine
    if engine.dialect.name != "postgresql":
        raise MappingError("one_shard(...) takes a Database on PostgreSQL, which has partitions: write one_shard(db)")
    listeners = {"before_cursor_execute": _look_at_plan, "after_cursor_execute": _look_at_rows}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


_INSERTED: Final = "rowsmith_inserted"


def _look_at_plan(connection: Connection, cursor: Any, sql: str, given: Any, context: Any, is_many: bool) -> None:
    """Refuse a statement whose plan has several partitions of one table."""
    if not sql.lstrip(" \n(").upper().startswith(_PLANNED):
        return
    for parameters in given if is_many else (given,):
        [(plan,)] = _asked(connection, f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) {sql}", parameters)
        _refuse_several(connection, list(_relations(plan)), sql)
    connection.info[_INSERTED] = dict(_asked(connection, _NEW_ROWS))


def _look_at_rows(connection: Connection, cursor: Any, sql: str, given: Any, context: Any, is_many: bool) -> None:
    """Refuse a statement that has put rows into several partitions of one table."""
    before: dict[Any, int] | None = connection.info.pop(_INSERTED, None)
    if before is not None:
        grown = [name for name, rows in _asked(connection, _NEW_ROWS) if rows > before.get(name, 0)]
        _refuse_several(connection, grown, sql)


_PLANNED: Final = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE")

# In this transaction, by the partition's name.
_NEW_ROWS: Final = "SELECT schemaname || '.' || relname, n_tup_ins FROM pg_stat_xact_user_tables WHERE n_tup_ins > 0"

_ROOTS: Final = """
SELECT nspname || '.' || relname, pg_partition_root(part.oid)::regclass::text
FROM pg_class AS part JOIN pg_namespace AS named ON named.oid = relnamespace
WHERE relispartition AND relkind IN ('r', 'p')
"""


def _asked(connection: Connection, sql: str, parameters: Any = ()) -> list[Any]:
    """Ask past all that listens."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
    finally:
        cursor.close()


def _relations(plan: Any) -> Iterator[str]:
    """Give the tables that a plan names, anywhere."""
    if plan.__class__ is list:
        for each in plan:
            yield from _relations(each)
    if plan.__class__ is dict:
        if "Relation Name" in plan:
            yield f"{plan['Schema']}.{plan['Relation Name']}"
        yield from _relations(list(plan.values()))


def _refuse_several(connection: Connection, names: Collection[str], sql: str) -> None:
    """Refuse partitions that are several of one table."""
    if not names:
        return
    roots, found = dict(_asked(connection, _ROOTS)), defaultdict[str, set[str]](set)
    for name in names:
        if name in roots:
            found[roots[name]].add(name)
    several = [root for root, parts in found.items() if len(parts) > 1]
    if several:
        raise SeveralShards(f"several partitions of {', '.join(sorted(several))} are touched by: {sql}")
