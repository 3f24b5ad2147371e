"""What a mapped table is in a database: a table, or a view. It is asked once for each engine, and kept.

Where names may lead elsewhere (:mod:`rowsmith.execution.elsewhere`) it is asked each time.

A row of a table has a place (``ctid``), by which it is found at once again; one of a view has a key alone. It cannot
be locked either, unless the view takes each row from one of a table, as those do that PostgreSQL's manual calls
automatically updatable ("CREATE VIEW"), with or without ``INSTEAD OF`` triggers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Table
from sqlalchemy.engine import Dialect

from rowsmith.mapping.layout import AnySelect


@dataclass(frozen=True)
class Standing:
    """What can be done with the rows: whether they have places, can be locked, and new ones can come.

    ``can_lock_doomed``: those that may be removed can be, too. A lock asks row security whether they may be changed.
    """

    has_places: bool = True
    can_lock: bool = True
    can_lock_doomed: bool = True
    takes_rows: bool = True

    @property
    def doomed(self) -> Standing:
        """What can be done with rows that are to be removed."""
        return self if self.can_lock_doomed else replace(self, can_lock=False)

    def locked(self, statement: AnySelect, **lock: Any) -> AnySelect:
        """Give a SELECT that locks its rows, as ``with_for_update`` takes it, where they can be locked."""
        return statement.with_for_update(**lock) if self.can_lock else statement


TABLE: Final = Standing()
"""What nearly all are, and everything on SQLite, whose statements neither lock nor look for places."""

OUTDATED: Final = frozenset({"0A000", "42703"})
"""The SQLSTATEs of a statement that fits what is there no longer: it locks what cannot be, or asks for a column."""

_ASK: Final = """
SELECT relkind NOT IN ('v', 'm'), relkind NOT IN ('v', 'm') OR pg_relation_is_updatable(oid, false) & 16 = 16
    AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = pg_class.oid AND ev_type <> '1'),
    NOT (relrowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polcmd IN ('w', 'd'))),
    relkind NOT IN ('v', 'm') OR pg_relation_is_updatable(oid, true) & 8 = 8
FROM pg_class WHERE oid = to_regclass($1::text)
"""
# It has bits, of which 8 is INSERT and 16 DELETE (PostgreSQL's nodes.h, CmdType), but those of rules, too, of any view.

_known: Final[WeakKeyDictionary[Dialect, dict[tuple[Table, str | None], Standing]]] = WeakKeyDictionary()


def known(dialect: Dialect, table: Table, schema: str | None) -> Standing | None:
    """Give what an engine's table is, in the schema where it is; None where that was not asked yet."""
    return _known.get(dialect, {}).get((table, schema))


async def ask(driver: Any, dialect: Dialect, table: Table, schema: str | None) -> Standing:
    """Ask on asyncpg's connection, and keep what it says; of what is not there the statement itself will tell."""
    found = await ask_again(driver, dialect, table, schema)
    return TABLE if found is None else _known.setdefault(dialect, {}).setdefault((table, schema), found)


async def ask_again(driver: Any, dialect: Dialect, table: Table, schema: str | None) -> Standing | None:
    """Ask, and keep nothing; None of what is not there."""
    preparer = dialect.identifier_preparer
    name = preparer.format_table(table, use_schema=False)
    found = await driver.fetchrow(_ASK, name if schema is None else f"{preparer.quote_schema(schema)}.{name}")
    return None if found is None else Standing(*found)


def forget(table: Table) -> None:
    """Have it asked anew, once a statement has failed by that: a view may have come in a table's place."""
    for found in _known.values():
        for place in [place for place in found if place[0] is table]:
            del found[place]
