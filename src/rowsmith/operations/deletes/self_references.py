"""Rows of a table that keep other rows of it from being removed, or take them along: who goes before whom. Pure.

A chunk may go where none of its rows is referred to by a row outside of it that is to be removed as well: such rows,
and those of the chunk that they hang on, are kept back until their turn comes. So what a foreign key would take along
goes by itself, and is counted. Of rows that are not to be removed nothing is said here: the database itself says that
they still refer to one, or takes them along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, ForeignKeyConstraint, and_, literal, or_, select, tuple_
from sqlalchemy.engine import Dialect

from rowsmith.conditions import limited
from rowsmith.mapping import RowInfo
from rowsmith.mapping.constraints import cascades, keeps, refers_to
from rowsmith.names import sql_name
from rowsmith.operations.arrays.keys import Key

_REFERRING, _REFERRED = 0, 1
"""The sides of a foreign key."""


class SelfReferences:
    """The foreign keys by which rows of a table keep each other, or take each other along.

    ``columns`` are what a chunk of rows must tell of each of them, for the rest to be worked out. ``take_along`` says
    that some of them take rows along, ``go_unasked`` that all do, so that none would keep a part of a circle.
    """

    # Of a row that is kept in several tables the database alone says what keeps it.
    def __init__(self, info: RowInfo[object], parts: Sequence[object]) -> None:
        self.info = info
        keys = info.table.foreign_key_constraints if len(parts) == 1 else ()
        self.keys = [key for key in keys if keeps(key, info.table) or (refers_to(key, info.table) and cascades(key))]
        self.take_along = any(map(cascades, self.keys))
        self.go_unasked = bool(self.keys) and all(map(cascades, self.keys))
        used: list[Column[Any]] = [column for key in self.keys for pair in _pairs(key) for column in pair]
        self._names = {column: sql_name(f"tie_{place}") for place, column in enumerate(dict.fromkeys(used))}

    def __bool__(self) -> bool:
        return bool(self.keys)

    def go_one_by_one(self, dialect: Dialect) -> bool:
        """Say whether a row must be gone before the one that it refers to is: SQLite's RESTRICT waits for nothing.

        Nor does its CASCADE, of whose rows nothing is counted.
        """
        at_once = self.take_along or any((key.ondelete or "").upper() == "RESTRICT" for key in self.keys)
        return dialect.name == "sqlite" and at_once

    @property
    def columns(self) -> list[ColumnElement[Any]]:
        """What a chunk selects for the sake of its ties."""
        return [column.label(name) for column, name in self._names.items()]

    def kept(self, chunk: CTE, conditions: Sequence[ColumnElement[bool]]) -> CTE:
        """Give the keys of those rows of a chunk that are kept back.

        Args:
            chunk: the rows, by their primary keys' names, and :attr:`columns`.
            conditions: what holds of every row that is to be removed.
        """
        table, ours = self.info.table, [chunk.c[name] for name in self._key_names]
        inside = chunk.alias(sql_name("chunk"))
        outside = tuple_(*self.info.key_columns).not_in(select(*(inside.c[name] for name in self._key_names)))
        held = [
            limited(
                select(literal(1)).select_from(table),
                *(referring == self._column_in(chunk, referred) for referring, referred in _pairs(key)),
                *conditions,
                outside,
            ).exists()
            for key in self.keys
        ]
        told = [*ours, *(chunk.c[name] for name in self._names.values())]
        first = limited(select(*told), or_(*held)).cte(sql_name("kept"), recursive=True)
        refers = (
            and_(*(self._column_in(first, one) == self._column_in(chunk, other) for one, other in _pairs(key)))
            for key in self.keys
        )
        return first.union(select(*told).select_from(chunk).join(first, or_(*refers)))

    def among(self, chunk: CTE, kept: CTE) -> ColumnElement[bool]:
        """Give the condition that a row of the chunk is kept back."""
        names = self._key_names
        return tuple_(*(chunk.c[name] for name in names)).in_(select(*(kept.c[name] for name in names)))

    def layers(self, rows: Sequence[object], dialect: Dialect) -> Iterator[list[Key]]:
        """Give the keys of rows that go together, in the order in which they can go, children first.

        All at once, where the database only looks once all are gone.
        """
        left = list(rows)
        while self.go_one_by_one(dialect) and (free := self._leaves(left)):
            yield self._keys_of(free)
            gone = set(map(id, free))
            left = [row for row in left if id(row) not in gone]
        if left:
            yield self._keys_of(left)

    def _leaves(self, rows: Sequence[object]) -> list[Any]:
        """Give the rows that no other one of these refers to."""
        children: dict[tuple[int, Key], set[int]] = {}
        for row in rows:
            for value in self._values(row, _REFERRING):
                children.setdefault(value, set()).add(id(row))
        return [
            row
            for row in rows
            if all(children.get(value, set()) <= {id(row)} for value in self._values(row, _REFERRED))
        ]

    def _column_in(self, source: CTE, column: Column[Any]) -> ColumnElement[Any]:
        return source.c[self._names[column]]

    @property
    def _key_names(self) -> list[str]:
        return [column.name for column in self.info.key_columns]

    def _keys_of(self, rows: Sequence[Any]) -> list[Key]:
        return [tuple(row[: len(self.info.primary_key)]) for row in rows]

    def _values(self, row: Any, side: int) -> set[tuple[int, Key]]:
        """Give the values of one side of each foreign key, beside its place."""
        told = dict(zip(self._names, row[len(self.info.primary_key) :], strict=False))
        values = {(place, tuple(told[pair[side]] for pair in _pairs(key))) for place, key in enumerate(self.keys)}
        return {(place, value) for place, value in values if None not in value}


def _pairs(key: ForeignKeyConstraint) -> list[tuple[Any, Any]]:
    """Give each referring column with the one that it refers to."""
    return [(element.parent, element.column) for element in key.elements]
