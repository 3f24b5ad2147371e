"""Fields of a data class: what each is filled from, told from its name and its annotation. Selects nothing yet."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast, get_args, get_origin

from pydantic import BaseModel
from sqlalchemy import Column
from sqlalchemy.orm import CompositeProperty, RelationshipProperty

from rowsmith.errors import MappingError
from rowsmith.mapping.agreement import disagreement, refusal
from rowsmith.mapping.annotations import annotation, bare, options, private_annotations
from rowsmith.mapping.expr import Aggregate, Expr
from rowsmith.mapping.frozen import check_frozen
from rowsmith.mapping.nested import Nested
from rowsmith.mapping.row import RowInfo, nearest


@dataclass(frozen=True)
class Stored:
    """A field that names a column of the row, or a ``column_property``."""

    is_column: bool = True


@dataclass(frozen=True)
class Wanted:
    """How a field gives the rows of a relationship: as which data class, in what, and made into what."""

    into: type[Any]
    container: type[Any] | None
    is_optional: bool
    convert: Callable[[Any], Any] | None = None


class Untold(enum.Enum):
    """The type of :data:`UNTOLD`."""

    UNTOLD = "UNTOLD"


Composed: TypeAlias = CompositeProperty[Any]
Related: TypeAlias = RelationshipProperty[Any]

UNTOLD: Final = Untold.UNTOLD
"""A field whose annotation names what is not there yet."""

Source: TypeAlias = Stored | Expr | Aggregate | Nested[Any] | Composed | Related | Literal[Untold.UNTOLD]
"""What a field is filled from; how a relationship's rows are given is read when mappers are complete."""


def data_fields(into: type[object]) -> tuple[str, ...]:
    """Give the names of the fields that a data class is made from.

    Raises:
        MappingError: it is neither a frozen dataclass nor a pydantic model, or has no field.
    """
    names: tuple[str, ...] = ()
    if dataclasses.is_dataclass(into):
        check_frozen(into)
        names = tuple(entry.name for entry in dataclasses.fields(into) if entry.init)
    elif isinstance(cast("Any", into), type) and issubclass(into, BaseModel):
        names = tuple(into.model_fields)
    if not names:
        name = getattr(into, "__name__", None) or type(into).__name__
        raise MappingError(f"{name} is no data class: make it a frozen dataclass or a pydantic model, with fields")
    return names


def sources(info: RowInfo[object], into: type[object], *, settled: bool = True) -> Mapping[str, Source]:
    """Give what each field of a data class is filled from, without configuring mappers.

    Args:
        info: the row.
        into: the data class.
        settled: every annotation must be told by now; else one may name what is declared further down.

    Raises:
        MappingError: a field is no attribute of the row and not computed either, or nobody can tell what it is;
            the message names both classes, the field and the nearest column.
    """
    for name in private_annotations(into):
        if info.mapper.has_property(name):
            raise MappingError(
                f"{into.__name__}.{name} is no field, for pydantic takes an underscore for private: write "
                f"{name.lstrip('_')}: Annotated[..., Expr({info.row.__name__}.{name})], or a dataclass"
            )
    return {name: _source(info, into, name, settled=settled) for name in data_fields(into)}


def _source(info: RowInfo[object], into: type[object], name: str, *, settled: bool) -> Source:
    try:
        marker = _marker(into, name)
    except NameError as exc:
        if settled:
            raise unresolvable(into, name, exc) from None
        return UNTOLD
    found = info.meant(name)
    if marker is not None and not (isinstance(found, RelationshipProperty) and isinstance(marker, Nested)):
        return marker
    if name in info.columns:
        return Stored()
    if found is None:
        raise MappingError(
            f"{into.__name__}.{name} is no column of {info.row.__name__}{nearest(name, info.columns)}; "
            "where a field has another name or is computed, write Annotated[..., Expr(Row.column)]"
        )
    return found if isinstance(found, (CompositeProperty, RelationshipProperty)) else Stored(is_column=False)


def computed(into: type[object], name: str) -> Expr | Aggregate | None:
    """Give the ``Expr`` or aggregate in a field's annotation; None where the field has none.

    Raises:
        MappingError: the annotation cannot be resolved, so that nobody knows; or it has several.
    """
    try:
        found = _marker(into, name)
    except NameError as exc:
        raise unresolvable(into, name, exc) from None
    return None if isinstance(found, Nested) else found


def _marker(into: type[object], name: str) -> Expr | Aggregate | Nested[Any] | None:
    found: list[Any] = [mark for mark in annotation(into, name)[1] if isinstance(mark, (Expr, Aggregate, Nested))]
    if len(found) > 1:
        raise MappingError(
            f"{into.__name__}.{name} is computed in {len(found)} ways: write one Expr, aggregate or Nested"
        )
    return found[0] if found else None


def unresolvable(into: type[object], name: str, failure: NameError) -> MappingError:
    """Give the error for an annotation that names what is not there."""
    return MappingError(
        f"the annotation of {into.__name__}.{name} cannot be resolved ({failure}): import what it names outside of "
        "TYPE_CHECKING, and declare what it names and data classes that nest others at the top of a module"
    )


def hold(info: RowInfo[object], into: type[object], name: str, source: Stored | Expr) -> None:
    """Hold a field's type against the column that fills it; what is computed has no type that is certain.

    Raises:
        MappingError: it is not what the column gives.
    """
    if isinstance(source, Expr):
        column: object = source.resolve()
    else:
        known = info.synonym(name)
        column = None if known is None else info.columns[known]
    if not isinstance(column, Column):
        return
    found = complaint(into, name, column)
    if found is not None:
        raise MappingError(
            f"{into.__name__}.{name} {found} ({info.row.__name__}.{column.key}); for another type, give the column a "
            "TypeDecorator that makes it, write Annotated[..., Expr(...)] of what computes it, or override to_data()"
        )


def complaint(into: type[object], name: str, column: Column[Any]) -> str | None:
    """Say in which way a field's type is not what a column gives, and what to write; None where it may be."""
    validates = hasattr(into, "__pydantic_validator__")
    return refusal(into, name, column) if validates else disagreement(annotation(into, name)[0], column)


def wanted(into: type[object], name: str, *, is_many: bool) -> Wanted:
    """Read how a field gives a relationship's rows: ``UserData``, ``UserData | None`` or ``tuple[UserData, ...]``.

    With a :class:`Nested` that converts, the field's type may be anything that is made of one row, or a tuple of it.

    Raises:
        MappingError: its annotation cannot be resolved, or is none of these.
    """
    try:
        given, marks = annotation(into, name)
        found = options(given)
    except NameError as exc:
        raise unresolvable(into, name, exc) from None
    nests: list[Any] = [one for one in marks if isinstance(one, Nested)]
    mark = nests[0] if nests else None
    is_optional = type(None) in found
    parts = [part for part in found if part is not type(None)]
    if mark is not None and mark.convert is not None:
        container = _item(parts[0])[1] if len(parts) == 1 and is_many else None
        return Wanted(mark.into, container, is_optional, mark.convert)
    item, container = _item(parts[0]) if parts else (None, None)
    item = item if mark is None else mark.into
    if len(parts) != 1 or not isinstance(item, type) or (is_optional and container):
        raise MappingError(
            f"{into.__name__}.{name} names a relationship: annotate it with the data class of its rows, "
            "as UserData, UserData | None or tuple[UserData, ...]; with anything else made of them as "
            "Annotated[..., Nested(UserData, convert=...)]"
        )
    return Wanted(item, container, is_optional)


def _item(given: object) -> tuple[Any, type[Any] | None]:
    """Give the type of the items and the container; no container for a single one."""
    origin, arguments = get_origin(given), get_args(given)
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return bare(arguments[0]), tuple
    if origin in (list, Sequence) and len(arguments) == 1:
        return bare(arguments[0]), list if origin is list else tuple
    return given, None
