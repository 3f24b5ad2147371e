"""A block: some specs of a batch, read into columns, checked, stamped and filled with what Python knows.

Blocks are how a batch flows: small enough to stay in the processor's cache and to let the event loop send the one
before, large enough that the work of a column is one call into C.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar, cast

from rowsmith.errors import InvalidValue, ScopeMismatch
from rowsmith.mapping import RowInfo, Spec
from rowsmith.mapping.writes import belongs_to, check_writable, own_values, storable
from rowsmith.operations.blocks.checks import check_column
from rowsmith.operations.blocks.defaults import fill_defaults
from rowsmith.scope import Limits
from rowsmith.state import UNSET, OptionalState, TriState, Unset

T = TypeVar("T")

BLOCK = 1_000
"""How many specs are read at once."""

EVERY_PLACE = range(2**62)
"""The places of specs that are read in the order of the input, however many there are."""

_STATES = frozenset({OptionalState, TriState})

_OPEN = _STATES | {Unset}

Columns: TypeAlias = dict[str, Sequence[Any]]
"""Attribute name to one value for each spec, in input order."""


@dataclass(frozen=True)
class Block:
    """Some rows to be written: ``columns`` by attribute name, ``types`` the exact types of each column's values.

    ``places`` are those of the rows in the caller's input; ``given`` are the columns that their specs set.
    """

    columns: Columns
    types: Mapping[str, set[type[Any]]]
    size: int
    places: Sequence[int]
    given: frozenset[str] = frozenset()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Give the rows, each value in the order of ``columns``; empty tuples where nothing is set."""
        return zip(*self.columns.values(), strict=True) if self.columns else repeat((), self.size)

    def beside(self, columns: Mapping[str, Sequence[Any]], types: Mapping[str, set[type[Any]]]) -> Block:
        """Give the rows with further columns."""
        return replace(self, columns={**self.columns, **columns}, types={**self.types, **types})

    def part(self, start: int, size: int) -> Block:
        """Give some of the rows that follow each other, as many as there are of ``size``."""
        columns = {name: column[start : start + size] for name, column in self.columns.items()}
        places = self.places[start : start + size]
        return replace(self, columns=columns, size=len(places), places=places)

    def chosen(self, rows: Sequence[int]) -> Block:
        """Give some of the rows, in another order."""
        if isinstance(rows, range) and rows == range(self.size):
            return self
        columns: Columns = {name: list(map(column.__getitem__, rows)) for name, column in self.columns.items()}
        return replace(self, columns=columns, size=len(rows), places=list(map(self.places.__getitem__, rows)))


class SpecReader:
    """Reads the specs of one batch.

    Args:
        info: the row they are for.
        limits: the scope's; its equalities are stamped onto every row.
        given_too: columns that stand beside the specs (a parent's key), for all of them, by their places.
        places: those of the specs in the caller's input, in the order in which they are read.
    """

    def __init__(
        self,
        info: RowInfo[Any],
        limits: Limits,
        given_too: Mapping[str, Sequence[Any]] | None = None,
        places: Sequence[int] = EVERY_PLACE,
    ) -> None:
        self.info, self.limits, self.given_too, self.places = info, limits, given_too or {}, places
        self.done = 0
        self._known: set[type[Any]] = set()

    def read(self, specs: Sequence[Spec[Any]]) -> list[Block]:
        """Read the next specs: one block for those that set the same fields.

        Raises:
            InvalidValue: a value does not fit its column.
            ScopeMismatch: a spec says otherwise than the scope.
            MappingError: something is no spec of this row. All messages name the index, none a value.
        """
        places = self.places[self.done : self.done + len(specs)]
        self.done += len(specs)
        columns = {name: _settled(column) for name, column in self._fields(specs, places).items()}
        return [self._block(part, [places[row] for row in rows] if rows else places) for rows, part in _parted(columns)]

    def readable(
        self, specs: Sequence[Spec[Any]], is_own: Callable[[Exception], bool]
    ) -> tuple[list[Block], dict[int, Exception]]:
        """Read the next specs, as many as can be: their blocks, and the errors of the others by their places.

        Args:
            specs: what is read.
            is_own: says whether an error is that of a spec; any other is raised.
        """
        read, faults = list[Block](), dict[int, Exception]()
        for part in blocks(specs):
            self._read_what_can_be(part, is_own, read, faults)
        return read, faults

    def _read_what_can_be(
        self,
        specs: Sequence[Spec[Any]],
        is_own: Callable[[Exception], bool],
        read: list[Block],
        faults: dict[int, Exception],
    ) -> None:
        start = self.done
        try:
            read += self.read(specs)
        except Exception as exc:
            if not is_own(exc):
                raise
            if len(specs) == 1:
                self.done = start + 1
                faults[self.places[start]] = exc
                return
        else:
            return
        self.done = start
        middle = len(specs) // 2
        for part in (specs[:middle], specs[middle:]):
            self._read_what_can_be(part, is_own, read, faults)

    def _fields(self, specs: Sequence[Spec[Any]], places: Sequence[int]) -> Columns:
        """Give the columns as the specs have them, with UNSET where one has none."""
        kinds = set(map(type, specs))
        for kind in kinds - self._known:
            belongs_to(next(spec for spec in specs if type(spec) is kind), self.info, Spec)
        self._known |= kinds
        if is_plain(kinds):
            names: tuple[str, ...] = cast("Any", next(iter(kinds))).__rowsmith_fields__
            columns = dict(zip(names, _attributes(specs, names), strict=True))
        else:
            columns = self._rows(list(map(own_values, specs)))
        for name, column in self.given_too.items():
            given, columns[name] = columns.get(name), [column[place] for place in places]
            if given is not None and not all(map(_agree, given, columns[name])):
                raise InvalidValue(f"{self.info.row.__name__}.{name} is given by the row above: leave it out")
        return columns

    def _rows(self, rows: Sequence[Mapping[str, Any]]) -> Columns:
        names = dict.fromkeys(chain.from_iterable(rows))
        for name in names:
            check_writable(self.info, name, repr(name))
        return {name: [row.get(name, UNSET) for row in rows] for name in names}

    def _block(self, columns: Columns, places: Sequence[int]) -> Block:
        """Check, stamp and fill rows that set the same fields."""
        given = frozenset(columns)
        types = {name: set(map(type, column)) for name, column in columns.items()}
        for name, column in columns.items():
            self._check(name, column, types[name], places)
        self._stamp(columns, types, places)
        for name, value in self.info.class_of_new(columns).items():
            if name not in columns:
                columns[name], types[name] = [value] * len(places), {type(value)}
        for name, column in fill_defaults(self.info, columns, len(places)).items():
            columns[name], types[name] = column, set(map(type, column))
        return Block(columns, types, len(places), places, given)

    def _check(self, name: str, column: Sequence[Any], types: set[type[Any]], places: Sequence[int]) -> None:
        if isinstance(places, range) and places.step == 1:
            check_column(self.info, name, column, types, places.start if places else 0)
            return
        try:
            check_column(self.info, name, column, types)
        except InvalidValue:
            for place, value in zip(places, column, strict=True):
                check_column(self.info, name, [value], {type(value)}, place)

    def _stamp(self, columns: Columns, types: dict[str, set[type[Any]]], places: Sequence[int]) -> None:
        for name, value in self.limits.stamps.items():
            storable(self.info, name, value)
            column = columns.get(name)
            if column is not None and column.count(value) != len(places):
                index = next(place for place, given in zip(places, column, strict=True) if given != value)
                raise ScopeMismatch(
                    f"the spec at index {index}: {self.info.row.__name__}.{name} is fixed by the scope: "
                    "leave it out, or give its value"
                )
            columns[name], types[name] = [value] * len(places), {type(value)}


def is_plain(kinds: Collection[type[Any]]) -> bool:
    """Say whether specs of these classes have their values in fields, all in the same ones."""
    return len(kinds) == 1 and cast("Any", next(iter(kinds))).to_values is cast("Any", Spec).to_values


def is_uniform(specs: Sequence[Spec[Any]]) -> bool:
    """Say whether specs surely set the same fields."""
    kinds = set(map(type, specs))
    if not is_plain(kinds):
        return False
    names: tuple[str, ...] = cast("Any", next(iter(kinds))).__rowsmith_fields__
    return all(_OPEN.isdisjoint(map(type, map(attrgetter(name), specs))) for name in names)


def _settled(column: Sequence[Any]) -> Sequence[Any]:
    if _STATES.isdisjoint(map(type, column)):
        return column
    return [value.to_value() if type(value) in _STATES else value for value in column]


def _agree(given: Any, above: Any) -> bool:
    return given is UNSET or given == above


def _parted(columns: Columns) -> Iterator[tuple[list[int] | None, Columns]]:
    """Part rows by the fields that they set: which rows they are, None for all, and their columns."""
    holes = [name for name, column in columns.items() if Unset in set(map(type, column))]
    if not holes:
        yield None, columns
        return
    parts = dict[tuple[bool, ...], list[int]]()
    for row, values in enumerate(zip(*(columns[name] for name in holes), strict=True)):
        parts.setdefault(tuple(value is UNSET for value in values), []).append(row)
    for unset, rows in parts.items():
        left = {name for name, is_unset in zip(holes, unset, strict=True) if is_unset}
        yield rows, {name: [col[row] for row in rows] for name, col in columns.items() if name not in left}


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
    """Put blocks of the same columns together into one."""
    if len(parts) == 1:
        return parts[0]
    columns: Columns = {
        name: list(chain.from_iterable(part.columns[name] for part in parts)) for name in parts[0].columns
    }
    types = {name: set[type[Any]]().union(*(part.types[name] for part in parts)) for name in columns}
    places = list(chain.from_iterable(part.places for part in parts))
    given = frozenset(columns).intersection(*(part.given for part in parts))
    return Block(columns, types, len(places), places, given)


def merged(info: RowInfo[Any], parts: Sequence[Block]) -> list[Block]:
    """Put blocks together into one for each set of columns that a statement can write.

    Of the columns that some leave out, only those stay out that the server fills: the others are NULL then.
    """
    names = dict.fromkeys(chain.from_iterable(part.columns for part in parts))
    groups = dict[frozenset[str], list[Block]]()
    for part in parts:
        nulls = [name for name in names if name not in part.columns and info.is_null_by_default(name)]
        whole = part.beside({name: [None] * part.size for name in nulls}, {name: {type(None)} for name in nulls})
        groups.setdefault(frozenset(whole.columns), []).append(whole)
    return [joined(group) for group in groups.values()]


def in_blocks(block: Block, size: int = BLOCK) -> Iterator[Block]:
    """Cut a block into smaller ones."""
    return (block.part(start, size) for start in range(0, block.size, size))
