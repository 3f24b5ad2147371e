"""Row to data: which expressions are selected, and how a record of them becomes a data object.

Worked out once per pair of classes. Data is a frozen dataclass or a pydantic model whose fields name
attributes of the row; only those columns are selected, and no ORM object ever leaves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any, Generic, TypeAlias, cast

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import InstrumentedAttribute
from typing_extensions import TypeVar

from rowsmith.errors import InvalidValue, MappingError
from rowsmith.mapping.row import RowInfo, nearest

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)

Record: TypeAlias = Sequence[Any]
"""One row of a result: the values of ``Shape.selects``, in that order."""


@dataclass(frozen=True)
class Shape(Generic[TRow, TData]):
    """What is selected of a row, and what is made of it.

    ``selects`` are the expressions for SELECT or RETURNING; ``build_all`` turns records (of exactly
    those expressions) into data; ``is_row`` says that ``selects`` is the mapped class itself.
    """

    info: RowInfo[TRow]
    into: Any
    selects: tuple[Any, ...] = field(repr=False)
    build_all: Callable[[Sequence[Record]], list[TData]] = field(repr=False)
    is_row: bool = False

    def build(self, record: Record) -> TData:
        """Make the data of one record."""
        return self.build_all([record])[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The attribute names selected, one for each of ``selects``; empty for a shape of whole rows."""
        return () if self.is_row else tuple(attribute.key for attribute in self.selects)


def row_shape(info: RowInfo[TRow]) -> Shape[TRow, TRow]:
    """Give the shape of the ORM object itself, for private methods."""
    return Shape(info, info.row, (info.row,), lambda records: [record[0] for record in records], is_row=True)


def converted_shape(info: RowInfo[TRow], into: Any, to_data: Callable[[TRow], TData]) -> Shape[TRow, TData]:
    """Give the shape of what a function makes of the ORM object."""
    return Shape(info, into, (info.row,), lambda records: [to_data(record[0]) for record in records], is_row=True)


def data_shape(info: RowInfo[TRow], into: type[TData]) -> Shape[TRow, TData]:
    """Give the shape of a data class.

    Raises:
        MappingError: ``into`` is neither a dataclass nor a pydantic model, or has a field that is no
            attribute of the row; the message names both classes, the field and the nearest column.
    """
    names = data_fields(into)
    for name in names:
        _refuse_stranger(info, into, name)
    selects = tuple(info.attribute(name) for name in names)
    return Shape(info, into, selects, builder(into, names))


def data_fields(into: type[Any]) -> tuple[str, ...]:
    """Give the names of the fields that a data class is made from.

    Raises:
        MappingError: it is neither a dataclass nor a pydantic model.
    """
    if dataclasses.is_dataclass(into):
        return tuple(entry.name for entry in dataclasses.fields(into) if entry.init)
    if issubclass(into, BaseModel):
        return tuple(into.model_fields)
    raise MappingError(f"{into.__name__} is no data class: make it a frozen dataclass or a pydantic model")


def builder(into: type[TData], names: tuple[str, ...]) -> Callable[[Sequence[Record]], list[TData]]:
    """Give the function that makes data of many records, whose values stand in the order of ``names``."""
    if isinstance(into, type) and issubclass(into, BaseModel):
        return _model_builder(into, names)
    if any(entry.kw_only for entry in dataclasses.fields(cast("Any", into)) if entry.init):
        return lambda records: [into(**dict(zip(names, record, strict=True))) for record in records]
    return lambda records: list(starmap(into, records))


def _model_builder(into: type[BaseModel], names: tuple[str, ...]) -> Callable[[Sequence[Record]], list[Any]]:
    validate = into.__pydantic_validator__.validate_python

    def build_all(records: Sequence[Record]) -> list[Any]:
        try:
            return [validate(dict(zip(names, record, strict=True)), by_name=True) for record in records]
        except ValidationError as exc:
            complaint = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in exc.errors())
        # Raised outside the except block: pydantic's error quotes the row's values.
        raise InvalidValue(f"a stored row does not fit {into.__name__} ({complaint})")

    return build_all


def _refuse_stranger(info: RowInfo[Any], into: type[Any], name: str) -> None:
    attribute = getattr(info.row, name, None)
    if not (name in info.columns or isinstance(attribute, InstrumentedAttribute)):
        raise MappingError(
            f"{into.__name__}.{name} is no column of {info.row.__name__}{nearest(name, info.columns)}"
        )
