"""Which items of a batch need others of it: rows that refer to each other, and keys that pass from row to row.

An item needs those that bring the row it refers to, that leave the key it takes, or that take away what refers to the
row it removes. It is tried together with them or after them, so that what becomes of it depends on nothing else.
What cannot be told from values, such as those that SQL makes, needs nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Column, ForeignKeyConstraint, Index

from rowsmith.identity import told_apart
from rowsmith.mapping import RowInfo
from rowsmith.mapping.constraints import is_over_columns, refers_to, sides, unique_keys_of
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.call import Call
from rowsmith.sql import is_sql
from rowsmith.state import UNSET

Values: TypeAlias = Mapping[Column[Any], Any]
"""What columns of a row hold, as far as that is known."""

Valued: TypeAlias = Iterable[tuple[int, Key]]
"""Items, each with the values of some columns."""


@dataclass(frozen=True)
class Change:
    """What an item does to its row: what that holds before it, where it is there, and what it holds afterwards."""

    before: Values
    after: Values

    @classmethod
    def of(cls, info: RowInfo[object], before: Values, written: Mapping[str, object]) -> Change:
        """Give what writing some attributes does to a row; of what SQL makes of them nothing is known."""
        values = {info.columns[name]: value for name, value in written.items() if value is not UNSET}
        return cls(before, {**before, **{item: None if is_sql(value) else value for item, value in values.items()}})


class Needs:
    """Which of some items need which; each value that one gives and others need is a node between them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._down: list[list[int]] = [[] for _ in range(size)]

    def link(self, needing: Valued, giving: Valued) -> None:
        """Have items need those that give what they need, by its value."""
        nodes = dict[Key, int]()
        for item, value in giving:
            if value not in nodes:
                nodes[value] = len(self._down)
                self._down.append([])
            self._down[nodes[value]].append(item)
        for item, value in needing:
            if value in nodes:
                self._down[item].append(nodes[value])

    def needs_any(self, item: int) -> bool:
        """Say whether an item needs others."""
        return bool(self._down[item])

    def units(self, items: Iterable[int]) -> list[list[int]]:
        """Give those of the items that need each other in a circle together, behind what they need; else in order."""
        chosen = list(items)
        if len(self._down) == self._size:
            return [[item] for item in chosen]
        nodes = range(self._size, len(self._down))
        up: list[list[int]] = [[] for _ in self._down]
        for node in chain(chosen, nodes):
            for needed in self._down[node]:
                up[needed].append(node)
        left, rest = {*chosen, *nodes}, {*chosen, *nodes}
        walk = [node for item in chosen for node in _reached(item, self._down, left)]
        found = [list(_reached(last, up, rest)) for last in reversed(walk)]
        return [unit for nodes in reversed(found) if (unit := sorted(node for node in nodes if node < self._size))]


def _reached(start: int, edges: Sequence[Sequence[int]], left: set[int]) -> Iterator[int]:
    """Give what is left and reached from a node, each behind what it leads to itself, and leave none of it."""
    if start not in left:
        return
    left.discard(start)
    path = [(start, iter(edges[start]))]
    while path:
        node, onward = path[-1]
        following = next((other for other in onward if other in left), None)
        if following is None:
            path.pop()
            yield node
        else:
            left.discard(following)
            path.append((following, iter(edges[following])))


@dataclass(frozen=True)
class SelfKeys:
    """The keys by which rows of one kind can need each other.

    ``references`` are foreign keys from their tables to their tables, ``unique`` the columns of keys that keep them
    apart and that may pass from one to another.
    """

    references: Sequence[ForeignKeyConstraint]
    unique: Sequence[Sequence[Column[Any]]] = field(default=())

    @classmethod
    def of_rows(cls, *infos: RowInfo[Any]) -> SelfKeys:
        """Give those of rows of some classes that are made or removed, in all tables that they may be kept in."""
        tables = dict.fromkeys(part.table for info in infos for part in info.all_parts)
        keys = (key for table in tables for key in table.foreign_key_constraints)
        return cls([key for key in keys if any(refers_to(key, table) for table in tables)])

    @classmethod
    def of_changes(cls, info: RowInfo[object], written: Iterable[str]) -> SelfKeys:
        """Give those that writing some attributes of rows that are there has to do with."""
        columns = {info.columns[name] for name in written}
        plain = (key for key in unique_keys_of(info.table) if not isinstance(key, Index) or is_over_columns(key))
        references = [key for key in cls.of_rows(info).references if not columns.isdisjoint(chain(*sides(key)))]
        return cls(references, [list(key.columns) for key in plain if not columns.isdisjoint(key.columns)])

    @classmethod
    def late(cls, info: RowInfo[object]) -> SelfKeys:
        """Give the keys that may be checked once all rows are written, so that new ones take what others leave."""
        plain = (key for key in unique_keys_of(info.table) if not isinstance(key, Index))
        return cls((), [list(key.columns) for key in plain if key.deferrable])

    @cached_property
    def columns(self) -> list[Column[Any]]:
        """All columns that must be known of a row."""
        keys = chain(self.unique, *(sides(key) for key in self.references))
        return list(dict.fromkeys(chain.from_iterable(keys)))

    async def needs_of_new(self, call: Call[object, object], size: int, rows: Sequence[tuple[int, Values]]) -> Needs:
        """Say which of as many items need which, that only make rows: each may bring several, of several classes."""
        found = Needs(size)
        for key in self.references:
            referring, referred = sides(key)
            await _link(call, referred, found, _holding(rows, referring), _holding(rows, referred))
        return found

    async def needs(self, call: Call[object, object], changes: Sequence[Change]) -> Needs:
        """Say which items need which.

        Args:
            call: whose items they are.
            changes: what each of them does to its row.
        """
        found = Needs(len(changes))
        for key in self.references:
            referring, referred = sides(key)
            await _link(call, referred, found, _new(changes, referring), _new(changes, referred))
            await _link(call, referred, found, _old(changes, referred), _old(changes, referring))
        for columns in self.unique:
            await _link(call, columns, found, _new(changes, columns), _old(changes, columns))
        return found


async def _link(
    call: Call[object, object], columns: Sequence[Column[Any]], needs: Needs, needing: Valued, giving: Valued
) -> None:
    """Link items by values as the database has them, which Python may tell apart."""
    sought, given = list(needing), list(giving)
    if not are_exact(columns, call.dialect):
        stored = await call.as_stored(columns, [value for _, value in sought], {value for _, value in given})
        sought = [(item, stored[value]) for item, value in sought if value in stored]
    needs.link(sought, given)


def _new(changes: Sequence[Change], columns: Sequence[Column[Any]]) -> Valued:
    """Give the items that write some columns, each with the values that are new there."""
    return _differing((_value(change.before, columns), _value(change.after, columns)) for change in changes)


def _old(changes: Sequence[Change], columns: Sequence[Column[Any]]) -> Valued:
    """Give the items that write some columns, each with the values that are there no more."""
    return _differing((_value(change.after, columns), _value(change.before, columns)) for change in changes)


def _holding(rows: Sequence[tuple[int, Values]], columns: Sequence[Column[Any]]) -> Valued:
    """Give the items whose rows have some columns, each with what they hold."""
    return [(item, value) for item, row in rows if (value := _value(row, columns)) is not None]


def _differing(pairs: Iterable[tuple[Key | None, Key | None]]) -> Valued:
    return [(item, value) for item, (other, value) in enumerate(pairs) if value is not None and value != other]


def _value(row: Values, columns: Sequence[Column[Any]]) -> Key | None:
    """Give the values of some columns; None where one is NULL, is not known, or is of those that have no hash."""
    value = tuple(told_apart(column.type, row.get(column)) for column in columns)
    try:
        hash(value)
    except TypeError:
        return None
    return None if None in value else value
