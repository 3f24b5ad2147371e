"""Which constraint an error is about: what the database names, found again in the mapping.

A name tells constraints apart within one table only, so the table that the error names comes first. A partition
reports its own name, and of an index its own index's; what it has of the table's is found by name, or by columns. A
worker of Citus says the name in its words alone, with the number of its shard.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, field, replace
from typing import Any, cast

from sqlalchemy import Constraint, Index, Table

from rowsmith.errors import EntityAlreadyExists
from rowsmith.execution.kinds import kind_of_sqlite
from rowsmith.execution.origin import Origin
from rowsmith.mapping.constraints import (
    column_names,
    item_named,
    key_listed,
    key_with,
    name_of,
    names_around,
    names_in,
    names_of,
    only_reference_to,
    refers_to,
    table_named,
)


@dataclass(frozen=True)
class Broken:
    """A constraint that refused a statement.

    ``name``, ``owner`` (its table, or the domain type it belongs to) and ``columns`` are names in the schema;
    ``table`` and ``item`` are what the mapping has by them, if anything. ``is_on_shard``: it was named in a worker's
    words, and the SQLSTATE may say nothing.
    """

    name: str | None = None
    owner: str | None = None
    columns: tuple[str, ...] = ()
    table: Table | None = field(default=None, repr=False)
    item: Constraint | Index | None = field(default=None, repr=False)
    is_on_shard: bool = field(default=False, repr=False)

    @classmethod
    def of(cls, item: Constraint | Index) -> Broken:
        """Give a constraint of the mapping as one that was broken."""
        table = cast("Table", item.table)
        return cls(name_of(item), table.name, column_names(item), table, item)

    def is_of(self, table: Table | None) -> bool:
        """Say whether it stands on a table, as far as that is known."""
        return self.table is not None and self.table is table

    def names_for(self, table: Table | None) -> list[str]:
        """Give what it may be called by calls about a table: with its own table's name first.

        By its bare name only where the calls' table has none of that name itself, which would be meant.
        """
        names = dict.fromkeys([self.name, *(() if self.item is None else names_of(self.item))])
        known = [name for name in names if name is not None]
        owners = dict.fromkeys([self.owner, None if self.table is None else self.table.name])
        others = frozenset[str]() if table is None or self.is_of(table) else names_in(table)
        qualified = [f"{owner}.{name}" for owner in owners if owner for name in known]
        return [*qualified, *(name for name in known if self.table is None or name not in others)]


def broken_by(driver: BaseException, origin: Origin) -> Broken:
    """Give the constraint that a driver's error is about, as a call sees it."""
    if isinstance(driver, sqlite3.Error):
        return _broken_in_sqlite(driver, origin)
    name, owner = _name(driver, "constraint_name", origin), _name(driver, "table_name", origin)
    column = _name(driver, "column_name", origin)
    columns = (column,) if column else ()
    if name is None and (item := _on_shard(driver, origin)) is not None:
        return replace(Broken.of(item), is_on_shard=True)
    if name is None:
        named = table_named(origin.table, owner, getattr(driver, "schema_name", None))
        own = origin.table if named is None and column and _is_direct(driver) else named
        return Broken(None, owner if own is None else own.name, columns, own)
    found = _found(driver, name, owner, origin)
    if found.item is None or found.table is None:
        return replace(found, columns=columns)
    return replace(found, columns=columns or column_names(found.item))


def _on_shard(driver: object, origin: Origin) -> Constraint | Index | None:
    """Give what a worker of Citus says in its words: a name that the mapping knows, and the number of a shard."""
    state = getattr(driver, "sqlstate", None) or ""
    if origin.table is None or not (state == _INTERNAL or state.startswith("23")):
        return None
    said = [match["name"] for match in _ON_SHARD.finditer(str(getattr(driver, "message", None) or ""))]
    known = [table for table in origin.table.metadata.tables.values() if table.name in said]
    others = [table for table in origin.table.metadata.tables.values() if table not in known]
    for tables in ([origin.table], known, others):
        found = [item for table in tables for name in said if (item := item_named(table, name)) is not None]
        if found:
            return found[0] if len(set(found)) == 1 else None
    return None


_INTERNAL = "XX000"
_ON_SHARD = re.compile(r'"(?P<name>[^"]+)_\d+"')


def _found(driver: BaseException, name: str, owner: str | None, origin: Origin) -> Broken:
    table = table_named(origin.table, owner, getattr(driver, "schema_name", None))
    if table is not None:
        item = item_named(table, name)
        if item is None and table is not origin.table and origin.table is not None and _is_of_a_key(driver):
            item = only_reference_to(origin.table, [table])
        return Broken(name, owner, table=table, item=item)
    if owner is None or origin.table is None or not _is_direct(driver):
        return Broken(name, owner or getattr(driver, "data_type_name", None))
    item = _of_a_partition(driver, name, origin)
    if item is None:
        return Broken(name, owner)
    return Broken.of(item)


def _of_a_partition(driver: Any, name: str, origin: Origin) -> Any:
    """Give what a table that the mapping does not know has of one that it knows, in whose place it stands."""
    assert origin.table is not None  # noqa: S101 - asked for calls about a table only
    own = item_named(origin.table, name)
    if own is not None and (not origin.deletes or refers_to(own, origin.table)):
        return own
    if not _is_of_a_key(driver):
        return key_listed(origin.table, getattr(driver, "detail", None))
    others = (item_named(table, name) for table in origin.table.metadata.tables.values())
    return next((item for item in others if refers_to(item, origin.table)), None)


def _is_of_a_key(driver: BaseException) -> bool:
    return getattr(driver, "server_source_filename", None) == "ri_triggers.c"


def _is_direct(driver: object) -> bool:
    """Say whether the statement itself failed, and none that a trigger sent: COPY alone has a context then."""
    context = getattr(driver, "context", None)
    return context is None or str(context).startswith("COPY ")


def _name(driver: BaseException, field: str, origin: Origin) -> str | None:
    """Give a name from a field of PostgreSQL's error, where it is known to be one: RAISE can put anything there."""
    name: str | None = getattr(driver, field, None)
    if name is None or getattr(driver, "server_source_filename", None) in _CONSTRAINT_SOURCES:
        return name
    declared = {part for key in origin.violations if isinstance(key, str) for part in (key, *key.split("."))}
    return name if name in declared or name in names_around(origin.table) else None


_CONSTRAINT_SOURCES = frozenset(
    {"domains.c", "execExprInterp.c", "execIndexing.c", "execMain.c", "nbtinsert.c", "ri_triggers.c"}
)
"""The files of PostgreSQL 14 to 18 that report violated constraints."""


_SQLITE_COLUMNS = re.compile(r"constraint failed: (?P<columns>\w+\.\w+(?:, \w+\.\w+)*)$")
_SQLITE_NAME = re.compile(r"constraint failed: (?:index ')?(?P<name>\w+)'?$")


def _broken_in_sqlite(driver: sqlite3.Error, origin: Origin) -> Broken:
    code = getattr(driver, "sqlite_errorcode", None)
    if code is None or code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:  # the words of a RAISE
        return Broken()
    text = str(driver)
    if match := _SQLITE_COLUMNS.search(text):
        pairs = [pair.split(".") for pair in match["columns"].split(", ")]
        owner, columns = pairs[0][0], tuple(column for _, column in pairs)
        table = table_named(origin.table, owner)
        key = key_with(table, columns) if kind_of_sqlite(code) is EntityAlreadyExists else None
        return Broken(None if key is None else name_of(key), owner, columns, table, key)
    if match := _SQLITE_NAME.search(text):
        item = None if origin.table is None else item_named(origin.table, match["name"])
        return Broken(match["name"], None, column_names(item), None if item is None else origin.table, item)
    return Broken()
