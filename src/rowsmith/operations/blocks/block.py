"""A block: some specs of a batch, read into columns, checked, stamped and filled with what Python knows.

Blocks are how a batch flows: small enough to stay in the processor's cache and to let the event loop send the one
before, large enough that the work of a column is one call into C.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice, repeat
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar, cast

from rowsmith.errors import InvalidValue
from rowsmith.mapping import RowInfo, Spec, row_info
from rowsmith.mapping.generated import Read, generated_reader
from rowsmith.mapping.types import NONE, column_type
from rowsmith.mapping.writes import all_belong, check_writable, own_values
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

Columns: TypeAlias = dict[str, Sequence[Any]]
"""Attribute name to one value for each spec, in input order."""


@dataclass(frozen=True)
class Block:
    """Some rows to be written: ``columns`` by attribute name, ``types`` the exact types of each column's values.

    None's type stands among them wherever the column takes None, whether or not there is one. ``places`` are those of
    the rows in the caller's input; ``given`` are the columns that their specs set.
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

    def without(self, names: Collection[str]) -> Block:
        """Give the rows without some columns."""
        if not names:
            return self
        columns = {name: column for name, column in self.columns.items() if name not in names}
        types = {name: self.types[name] for name in columns}
        return replace(self, columns=columns, types=types, given=frozenset(columns))

    def part(self, start: int, size: int) -> Block:
        """Give some of the rows that follow each other, as many as there are of ``size``."""
        columns = {name: column[start : start + size] for name, column in self.columns.items()}
        places = self.places[start : start + size]
        return replace(self, columns=columns, size=len(places), places=places)

    def chosen(self, rows: Sequence[int]) -> Block:
        """Give some of the rows, in another order."""
        if isinstance(rows, range) and rows == range(self.size):
            return self
        pick = picking(rows)
        columns: Columns = {name: pick(column) for name, column in self.columns.items()}
        return replace(self, columns=columns, size=len(rows), places=pick(self.places))


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
        info: RowInfo[object],
        limits: Limits,
        given_too: Mapping[str, Sequence[Any]] | None = None,
        places: Sequence[int] = EVERY_PLACE,
    ) -> None:
        self.info, self.limits, self.given_too, self.places = info, limits, given_too or {}, places
        self.done = 0
        self._row: Any = info.row
        self._known: set[type[Any]] = set()

    def read(self, specs: Sequence[Spec[Any]]) -> list[Block]:
        """Read the next specs: one block for those that set the same fields.

        Raises:
            InvalidValue: a value does not fit its column.
            ScopeMismatch: a spec says otherwise than the scope.
            MappingError: something is no spec of this row. All messages name the index, none a value.
        """
        return [self.checked(part) for part in parted(self.given(specs))]

    def given(self, specs: Sequence[Spec[Any]]) -> Block:
        """Read the next specs as they are, with UNSET where one sets nothing; no value is looked at.

        Raises:
            MappingError, InvalidValue: something is no spec of this row, or sets what the row above gives.
        """
        if specs and is_plain(type(specs[0])):
            block, rest = self.alike(iter(specs))
            if not rest:
                return block
            self.done -= block.size
        self._admit(specs)
        rows = list[dict[str, Any]]()
        for place, spec in enumerate(specs):
            try:
                rows.append(own_values(spec))
            except InvalidValue as exc:
                exc.among(self.places[self.done + place], "spec")
                raise
        names = dict.fromkeys(chain.from_iterable(rows))
        for name in names:
            check_writable(self.info, name, repr(name))
        return self._next_block({name: [row.get(name, UNSET) for row in rows] for name in names}, {}, len(rows))

    def alike(self, specs: Iterator[Spec[Any]]) -> tuple[Block, list[Spec[Any]]]:
        """Do as :meth:`given` for those at the beginning that are of one class, whose fields are its values.

        None of them is kept: one is read and let go of before the next one is asked for.

        Returns:
            The rows, and all that follows the first spec of another class.
        """
        first = next(specs)
        self._admit([first])
        kind: Any = type(first)
        read, types = _reader(kind, self._row)
        rows, is_odd, others = read(chain([first], specs))
        columns: Columns = dict(zip(kind.__rowsmith_fields__, zip(*rows, strict=True), strict=True))
        block = self._next_block(columns, {} if is_odd else dict(types), len(rows))
        return block, [*others, *specs]

    def _admit(self, specs: Sequence[Spec[Any]]) -> None:
        if new := set(map(type, specs)) - self._known:
            all_belong(specs, self.info, Spec, self.places[self.done : self.done + len(specs)])
            self._known |= new

    def _next_block(self, columns: Columns, types: dict[str, set[type[Any]]], size: int) -> Block:
        """Make rows of the next specs' fields, what is given beside them included; types are told or looked for."""
        places = self.places[self.done : self.done + size]
        self.done += size
        for name, column in self.given_too.items():
            given, columns[name] = columns.get(name), [column[place] for place in places]
            types.pop(name, None)
            agree = [] if given is None else list(map(_agree, given, columns[name]))
            if not all(agree):
                place = places[agree.index(False)]
                raise self.info.refusal(name, "is given by the row above: leave it out", index=place)
        types = {name: types.get(name) or set(map(type, column)) for name, column in columns.items()}
        for name in [name for name, kinds in types.items() if not _STATES.isdisjoint(kinds)]:
            columns[name] = list(map(_without_state, columns[name]))
            types[name] = set(map(type, columns[name]))
        unset = [name for name, kinds in types.items() if kinds == {Unset}]
        return Block(columns, types, size, places, frozenset(columns)).without(unset)

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

    def checked(self, block: Block) -> Block:
        """Check, stamp and fill rows that set the same fields; raises as :meth:`read`."""
        fit = self.fitting(block)
        filled = fill_defaults(self.info, fit.columns, len(fit.places))
        return fit.beside(filled, {name: set(map(type, column)) for name, column in filled.items()})

    def fitting(self, block: Block) -> Block:
        """Check and stamp rows that set the same fields, and fill nothing; raises as :meth:`read`."""
        columns, types, places = dict(block.columns), dict(block.types), block.places
        for name, column in columns.items():
            self._check(name, column, types[name], places)
        for name, column in self.limits.stamp_columns(columns, places, self.info).items():
            columns[name], types[name] = column, {type(self.limits.stamps[name])}
        for name, value in self.info.class_of_new(columns).items():
            if name not in columns:
                columns[name], types[name] = [value] * len(places), {type(value)}
        return replace(block, columns=columns, types=types)

    def _check(self, name: str, column: Sequence[Any], types: set[type[Any]], places: Sequence[int]) -> None:
        if isinstance(places, range) and places.step == 1:
            check_column(self.info, name, column, types, places.start if places else 0)
            return
        try:
            check_column(self.info, name, column, types)
        except InvalidValue:
            for place, value in zip(places, column, strict=True):
                check_column(self.info, name, [value], {type(value)}, place)


def picking(places: Collection[int]) -> Callable[[Sequence[T]], Sequence[T]]:
    """Give what takes the items at some places out of a sequence."""
    if len(places) > 1:
        return cast("Callable[[Sequence[T]], Sequence[T]]", itemgetter(*places))
    return lambda items: [items[place] for place in places]


def is_plain(kind: type[Spec[Any]]) -> bool:
    """Say whether specs of a class have their values in fields."""
    return getattr(kind, "to_values", None) is cast("Any", Spec).to_values


@lru_cache(maxsize=256)
def _reader(kind: Any, row: Any) -> tuple[Read, Mapping[str, set[type[Any]]]]:
    """Give what reads the specs of a class for a row, and the types of the columns that no value is odd in."""
    columns, exact = row_info(row).columns, dict[str, tuple[type[Any] | None, bool]]()
    for name in kind.__rowsmith_fields__:
        quick = column_type(columns[name].type).quick
        is_told = quick.fits is not None and quick.exact is not NONE
        exact[name] = quick.exact if is_told else None, bool(columns[name].nullable)
    known = {name: {one, NONE} if nullable else {one} for name, (one, nullable) in exact.items() if one is not None}
    return generated_reader(kind, exact), known


def is_uniform(parts: Sequence[Block]) -> bool:
    """Say whether specs that were read as they are set the same fields, all of them."""
    names = set(map(frozenset, (part.columns for part in parts)))
    return len(names) == 1 and not any(Unset in kinds for part in parts for kinds in part.types.values())


def _agree(given: Any, above: Any) -> bool:
    value = _without_state(given)
    return value is UNSET or value == above


def _without_state(value: Any) -> Any:
    """Give what a field that can be left out says: UNSET where it is."""
    return value.to_value() if type(value) in _STATES else value


def parted(block: Block) -> Iterator[Block]:
    """Part rows by the fields that they set: one block for those that leave out the same ones."""
    holes = [name for name, kinds in block.types.items() if Unset in kinds]
    if not holes:
        yield block
        return
    parts = dict[tuple[bool, ...], list[int]]()
    for row, values in enumerate(zip(*(block.columns[name] for name in holes), strict=True)):
        parts.setdefault(tuple(value is UNSET for value in values), []).append(row)
    for unset, rows in parts.items():
        left = {name for name, is_unset in zip(holes, unset, strict=True) if is_unset}
        yield typed(block.without(left).chosen(rows))


def typed(block: Block) -> Block:
    """Give rows with the types of their own values, where some were chosen of more."""
    return replace(block, types={name: set(map(type, column)) for name, column in block.columns.items()})


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


def merged(info: RowInfo[object], parts: Sequence[Block]) -> list[Block]:
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
