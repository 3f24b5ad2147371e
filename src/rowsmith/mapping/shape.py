"""Row to data: which expressions are selected, and how a record of them becomes a data object.

Worked out once per pair of classes. Data is a frozen dataclass or a pydantic model whose fields name
attributes of the row; only those columns are selected, and no ORM object ever leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Generic, TypeVar, cast

from sqlalchemy.orm import RelationshipProperty

from rowsmith.errors import MappingError
from rowsmith.mapping.expr import Aggregate, Expr
from rowsmith.mapping.fields import UNTOLD, Source, sources
from rowsmith.mapping.layout import AnySelect, Conditions, Groups, Layout, Record, layout_of
from rowsmith.mapping.loads import (
    Chain,
    computed,
    meet_themselves,
    naming_what_is_missing,
    options,
    steps,
    takes_more,
    unbidden,
)
from rowsmith.mapping.nested import Nested
from rowsmith.mapping.row import RowInfo, row_info
from rowsmith.relations import Seen

TRow = TypeVar("TRow")
TData = TypeVar("TData")
TRow_co = TypeVar("TRow_co", covariant=True)
TData_co = TypeVar("TData_co", covariant=True)


@dataclass(frozen=True)
class Shape(Generic[TRow_co, TData_co]):
    """What is selected of a row, and what is made of it.

    ``plan`` works out the layout, at the first use where data nests the data of related rows; ``is_row``
    says that what is selected is the mapped class itself.
    """

    info: RowInfo[TRow_co]
    into: Any
    plan: Callable[[], Layout] = field(repr=False, compare=False)
    is_row: bool = False

    @cached_property
    def layout(self) -> Layout:
        """What is selected, joined and collected.

        Raises:
            MappingError: the data class does not fit; what only complete mappers can tell is told here.
        """
        return self.plan()

    @cached_property
    def selects(self) -> tuple[Any, ...]:
        """The expressions of a record."""
        return self.layout.selects

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The attribute names of ``selects``, where each is a column of the row; otherwise nothing."""
        return self.layout.names

    @property
    def is_flat(self) -> bool:
        """Whether a record is some columns of the row, and data is made of them alone."""
        return not self.is_row and bool(self.names) and not (self.layout.joins or self.layout.collections)

    @cached_property
    def returnable(self) -> bool:
        """Whether RETURNING can give a record; if not, a row just written has to be read."""
        return self.layout.returnable

    @cached_property
    def build_all(self) -> Callable[[Sequence[Record]], list[TData_co]]:
        """The function that makes data of many records; for a shape without collections."""
        make = self.layout.make
        if self.layout.collections:
            raise MappingError(f"{self.into.__name__} has collections, which take statements of their own: present()")
        return lambda records: make(records, ())

    def build(self, record: Record) -> TData_co:
        """Make the data of one record."""
        return self.build_all([record])[0]

    def within(self, seen: Seen, own: Conditions) -> Shape[TRow_co, TData_co]:
        """Give the shape that shows no other related rows than those that may be seen.

        Args:
            seen: gives what holds of those of a class.
            own: what holds of the rows themselves.
        """
        said = {row: conditions for row in self.layout.reached if (conditions := seen(row))}
        held = own if self.layout.computes else ()
        if not (said or held):
            return self
        return replace(self, plan=lambda: self.layout.within(said, held))  # which is no error for what gives no data

    def select(self, *extra: Any) -> AnySelect:
        """Give the SELECT of records, each followed by further expressions, with the joins it takes."""
        return self.layout.select_from(self.info.row, *extra)


def key_shape(info: RowInfo[TRow]) -> Shape[TRow, tuple[Any, ...]]:
    """Give the shape of a row's primary key alone, as a tuple."""

    def make(records: Sequence[Record], related: Sequence[Groups]) -> list[Any]:
        return list(map(tuple, records))

    return Shape(info, tuple, lambda: Layout(info.key_attributes, make, info.primary_key))


def keyed_shape(shape: Shape[TRow, TData]) -> Shape[TRow, tuple[tuple[Any, ...], TData]]:
    """Give the shape of the primary key and the data of another one, which RETURNING cannot give."""
    keys = shape.info.key_attributes

    def plan() -> Layout:
        layout = shape.layout

        def make(records: Sequence[Record], related: Sequence[Groups]) -> list[Any]:
            data = layout.make([record[: -len(keys)] for record in records], related)
            return list(zip((tuple(record[-len(keys) :]) for record in records), data, strict=True))

        return replace(layout, selects=(*layout.selects, *keys), make=make, names=(), returnable=False)

    return replace(cast("Any", shape), plan=plan)


def row_shape(info: RowInfo[TRow], loads: Sequence[Chain] = ()) -> Shape[TRow, TRow]:
    """Give the shape of the ORM object itself, for private methods, with what is loaded of the rows around it."""
    return Shape(info, info.row, lambda: _row_layout(cast("Any", info.row), tuple(loads)), is_row=True)


@cache
def _row_layout(row: type[object], loads: tuple[Chain, ...]) -> Layout:
    info = row_info(row)
    loaded, is_own = steps(info, loads), info.mapper.selectable is info.mapper.local_table
    is_whole = not takes_more(info.mapper)
    comes = tuple(computed(info.mapper, loaded))
    is_bare = is_whole and all(step.is_left for step in loaded) and not comes
    return Layout(
        (row,),
        lambda records, related: [record[0] for record in records],
        returnable=is_own and is_bare,  # RETURNING loads columns alone, and those of the row's own table
        options=options(info.mapper, loaded),
        loaded=tuple(loaded),
        computed=comes,
        unbidden=tuple(unbidden(info.mapper, loaded)),
        is_several=not (is_whole and all(step.is_one_statement for step in loaded)),
        meets_itself=meet_themselves(info, loaded),
        is_rows=True,
    )


def converted_shape(shape: Shape[TRow, object], into: object, to_data: Callable[[TRow], TData]) -> Shape[TRow, TData]:
    """Give the shape of what a function makes of the ORM object, with what is loaded of the rows around it.

    What the function raises passes as it is.
    """
    planned = shape.plan

    def plan() -> Layout:
        layout = planned()
        build = naming_what_is_missing(shape.info, layout.loaded, to_data)

        def make(records: Sequence[Record], related: Sequence[Groups]) -> list[Any]:
            return build(records)

        return replace(layout, make=make, keeps_rows=True)

    return Shape(shape.info, into, plan, is_row=True)


def data_shape(info: RowInfo[TRow], into: type[TData]) -> Shape[TRow, TData]:
    """Give the shape of a data class, worked out once for each row.

    Raises:
        MappingError: ``into`` is neither a dataclass nor a pydantic model, or has a field that is no
            attribute of the row; the message names both classes, the field and the nearest column.
    """
    return cast("Shape[TRow, TData]", _data_shape(cast("Any", info.row), cast("Any", into)))


@cache
def _data_shape(row: type[object], into: type[object]) -> Shape[Any, Any]:
    info = row_info(row)
    given = sources(info, into, settled=False)
    for name, source in given.items():
        if isinstance(source, Aggregate):
            raise MappingError(f"{into.__name__}.{name} is an aggregate: give {into.__name__} to aggregate(...)")
    shape = Shape[Any, Any](info, into, lambda: layout_of(info, into))
    if not any(_must_wait(info, source) for source in given.values()):
        _ = shape.layout
    return shape


def _must_wait(info: RowInfo[object], source: Source, around: tuple[type[object], ...] = ()) -> bool:
    """Say whether other classes may have to be declared first."""
    if isinstance(source, Expr):
        return source.is_deferred
    if isinstance(source, Nested) and source.into not in around:
        inside = sources(info, source.into, settled=False).values()
        return any(_must_wait(info, inner, (*around, source.into)) for inner in inside)
    return source is UNTOLD or (isinstance(source, RelationshipProperty) and not info.mapper.configured)
