"""A block: some specs of a batch, read into columns, checked, stamped and filled with what Python knows.

Blocks are how a batch flows: small enough to stay in the processor's cache and to let the event loop send the one
before, large enough that the work of a column is one call into C.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar, cast

from rowsmith.errors import InvalidValue, ScopeMismatch
from rowsmith.mapping import RowInfo, Spec
from rowsmith.mapping.writes import belongs_to, check_writable, own_values, storable
from rowsmith.operations.blocks.checks import check_column
from rowsmith.operations.blocks.defaults import fill_defaults
from rowsmith.operations.results import Failure
from rowsmith.scope import Limits
from rowsmith.state import UNSET, OptionalState, TriState

T = TypeVar("T")

BLOCK = 1_000
"""How many specs are read at once."""

_STATES = frozenset({OptionalState, TriState})

Columns: TypeAlias = dict[str, Sequence[Any]]
"""Attribute name to one value for each spec, in input order."""


@dataclass(frozen=True)
class Block:
    """Some rows to be written: ``columns`` by attribute name, ``types`` the exact types of each column's values.

    ``first`` is the place of the first row in the caller's input.
    """

    columns: Columns
    types: Mapping[str, set[type[Any]]]
    size: int
    first: int = 0

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Give the rows, each value in the order of ``columns``; empty tuples where nothing is set."""
        return zip(*self.columns.values(), strict=True) if self.columns else repeat((), self.size)

    def beside(self, columns: Mapping[str, Sequence[Any]], types: Mapping[str, set[type[Any]]]) -> Block:
        """Give the rows with further columns."""
        return replace(self, columns={**self.columns, **columns}, types={**self.types, **types})

    def part(self, start: int, size: int) -> Block:
        """Give some of the rows that follow each other, as many as there are of ``size``."""
        columns = {name: column[start : start + size] for name, column in self.columns.items()}
        return Block(columns, self.types, min(size, self.size - start), self.first + start)


class SpecReader:
    """Reads the specs of one batch, all of which must set the same fields.

    Args:
        info: the row they are for.
        limits: the scope's; its equalities are stamped onto every row.
        given_too: columns that stand beside the specs (a parent's key), for all of them, in input order.
        first: the index of the first spec in the caller's input.
    """

    def __init__(
        self, info: RowInfo[Any], limits: Limits, given_too: Mapping[str, Sequence[Any]] | None = None, first: int = 0
    ) -> None:
        self.info, self.limits, self.given_too = info, limits, given_too or {}
        self.fields: tuple[str, ...] | None = None
        self.done = first
        self._known: set[type[Any]] = set()
        self._own: Exception | None = None

    def read(self, specs: Sequence[Spec[Any]]) -> Block:
        """Read the next specs.

        Raises:
            InvalidValue: a value does not fit its column, or a spec sets other fields than the first one.
            ScopeMismatch: a spec says otherwise than the scope.
            MappingError: something is no spec of this row. All messages name the index, none a value.
        """
        columns = self._fields(specs)
        types = {name: set(map(type, column)) for name, column in columns.items()}
        self._settle(columns, types)
        for name, column in columns.items():
            check_column(self.info, name, column, types[name], self.done)
        self._stamp(columns, types, len(specs))
        for name, value in self.info.class_of_new(columns).items():
            if name not in columns:
                columns[name], types[name] = [value] * len(specs), {type(value)}
        for name, column in fill_defaults(self.info, columns, len(specs)).items():
            columns[name], types[name] = column, set(map(type, column))
        self.done += len(specs)
        return Block(columns, types, len(specs), self.done - len(specs))

    def faults(self, specs: Sequence[Spec[Any]]) -> list[Failure]:
        """Read the next specs and give those that cannot be read, each with its own error.

        What a spec's own ``to_values`` raises is its own error too, and is given as it is.
        """
        try:
            self.read(specs)
        except Exception as exc:
            if not (isinstance(exc, (InvalidValue, ScopeMismatch)) or exc is self._own):
                raise
            if len(specs) == 1:
                self.done += 1
                return [Failure(self.done - 1, exc)]
        else:
            return []
        middle = len(specs) // 2
        return self.faults(specs[:middle]) + self.faults(specs[middle:])

    def _fields(self, specs: Sequence[Spec[Any]]) -> Columns:
        kinds = set(map(type, specs))
        for kind in kinds - self._known:
            belongs_to(next(spec for spec in specs if type(spec) is kind), self.info, Spec)
        self._known |= kinds
        plain = len(kinds) == 1 and cast("Any", next(iter(kinds))).to_values is cast("Any", Spec).to_values
        names = type(specs[0]).__rowsmith_fields__ if plain else ()
        columns = dict(zip(names, _attributes(specs, names), strict=True)) if plain else self._rows(specs)
        for name, column in self.given_too.items():
            given, columns[name] = columns.get(name), column[self.done : self.done + len(specs)]
            if given is not None and list(given) != list(columns[name]):
                raise InvalidValue(f"{self.info.row.__name__}.{name} is given by the row above: leave it out")
        return columns

    def _settle(self, columns: Columns, types: dict[str, set[type[Any]]]) -> None:
        """Take values out of their states, and hold the fields that are set against those of the specs before."""
        for name in [name for name, kinds in types.items() if not _STATES.isdisjoint(kinds)]:
            values = [value.to_value() if type(value) in _STATES else value for value in columns.pop(name)]
            kinds = set(map(type, values))
            if type(UNSET) not in kinds:
                columns[name], types[name] = values, kinds
            elif len(kinds) > 1:
                unset = [value is UNSET for value in values]
                self._refuse_mixture(self.done + unset.index(not unset[0]), {name})
        if self.fields is None:
            for name in columns:
                check_writable(self.info, name, repr(name))
            self.fields = tuple(columns)
        elif other := set(self.fields) ^ columns.keys():
            self._refuse_mixture(self.done, other)

    def _rows(self, specs: Sequence[Spec[Any]]) -> Columns:
        """Read specs that make their own values, or are of several classes."""
        rows = list(map(self._values, specs))
        names = self.fields or tuple(rows[0])
        for index, row in enumerate(rows):
            if other := set(names).symmetric_difference(row) - set(self.given_too):
                self._refuse_mixture(self.done + index, other)
        return {name: [row[name] for row in rows] for name in names if name in rows[0]}

    def _values(self, spec: Spec[Any]) -> dict[str, Any]:
        try:
            return own_values(spec)
        except Exception as exc:
            self._own = exc
            raise

    def _refuse_mixture(self, index: int, other: set[str]) -> None:
        raise InvalidValue(
            f"the spec at index {index} does not set the same fields of {self.info.row.__name__} as those before it "
            f"({', '.join(sorted(other))}): batch specs that set the same fields together"
        )

    def _stamp(self, columns: Columns, types: dict[str, set[type[Any]]], size: int) -> None:
        for name, value in self.limits.stamps.items():
            storable(self.info, name, value)
            column = columns.get(name)
            if column is not None and column.count(value) != size:
                index = self.done + next(i for i, given in enumerate(column) if given != value)
                raise ScopeMismatch(
                    f"the spec at index {index}: {self.info.row.__name__}.{name} is fixed by the scope: "
                    "leave it out, or give its value"
                )
            columns[name], types[name] = [value] * size, {type(value)}


def _attributes(specs: Sequence[Any], names: tuple[str, ...]) -> Iterator[Sequence[Any]]:
    """Read the fields as they are, all of a spec in one call."""
    if len(names) <= 1:  # an attrgetter of one name gives no tuples
        return iter([[getattr(spec, name) for spec in specs] for name in names])
    return zip(*map(attrgetter(*names), specs), strict=True)


def blocks(items: Iterable[T], size: int = BLOCK) -> Iterator[list[T]]:
    """Cut an iterable into lists of at most this size."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block


def joined(parts: Sequence[Block]) -> Block:
    """Put blocks together into one."""
    if len(parts) == 1:
        return parts[0]
    names = parts[0].columns if parts else {}
    return Block(
        {name: list(chain.from_iterable(part.columns[name] for part in parts)) for name in names},
        {name: set[type[Any]]().union(*(part.types[name] for part in parts)) for name in names},
        sum(part.size for part in parts),
        parts[0].first if parts else 0,
    )
