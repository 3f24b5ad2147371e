"""Fields of a data class: what each is filled from, told from its name and its annotation. Selects nothing yet."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from sqlalchemy.orm import RelationshipProperty

from rowsmith.errors import MappingError
from rowsmith.mapping.expr import Aggregate, Expr
from rowsmith.mapping.row import RowInfo, nearest
from rowsmith.mapping.writes import field_annotations


@dataclass(frozen=True)
class Stored:
    """A field that names a column of the row, or a ``column_property``."""

    is_column: bool = True


@dataclass(frozen=True)
class Nested:
    """A field that names a relationship, and the data class its rows are given as."""

    into: type[Any]
    container: type[Any] | None
    is_optional: bool


Source: TypeAlias = Stored | Expr | Aggregate | RelationshipProperty[Any]
"""What a field is filled from; how a relationship's rows are given is read when mappers are complete."""


def data_fields(into: type[Any]) -> tuple[str, ...]:
    """Give the names of the fields that a data class is made from.

    Raises:
        MappingError: it is neither a dataclass nor a pydantic model, or has no field.
    """
    names: tuple[str, ...] = ()
    if dataclasses.is_dataclass(into):
        names = tuple(entry.name for entry in dataclasses.fields(into) if entry.init)
    elif isinstance(cast("Any", into), type) and issubclass(into, BaseModel):
        names = tuple(into.model_fields)
    if not names:
        name = getattr(into, "__name__", None) or type(into).__name__
        raise MappingError(f"{name} is no data class: make it a frozen dataclass or a pydantic model, with fields")
    return names


def sources(info: RowInfo[Any], into: type[Any]) -> Mapping[str, Source]:
    """Give what each field of a data class is filled from, without configuring mappers.

    Raises:
        MappingError: a field is no attribute of the row and not computed either; the message names both
            classes, the field and the nearest column.
    """
    return {name: _source(info, into, name) for name in data_fields(into)}


def _source(info: RowInfo[Any], into: type[Any], name: str) -> Source:
    marker = computed(into, name)
    if marker is not None:
        return marker
    if name in info.columns:
        return Stored()
    if not info.mapper.has_property(name):
        raise MappingError(
            f"{into.__name__}.{name} is no column of {info.row.__name__}{nearest(name, info.columns)}; "
            "where a field has another name or is computed, write Annotated[..., Expr(Row.column)]"
        )
    found: Any = info.mapper.get_property(name)
    is_related = isinstance(found, RelationshipProperty)
    return cast("RelationshipProperty[Any]", found) if is_related else Stored(is_column=False)


def computed(into: type[Any], name: str) -> Expr | Aggregate | None:
    """Give the ``Expr`` or aggregate in a field's annotation; None where the field has none."""
    try:
        _, markers = annotation(into, name)
    except MappingError:
        raise
    except _UNRESOLVED:  # names a class yet to come, or one imported for type checkers only: no marker of ours
        return None
    return next((marker for marker in markers if isinstance(marker, (Expr, Aggregate))), None)


def annotation(into: type[Any], name: str) -> tuple[Any, Sequence[Any]]:
    """Give a field's type and the metadata of its ``Annotated``.

    Raises:
        NameError: it names a class that is not there (yet).
    """
    if not dataclasses.is_dataclass(into) and issubclass(into, BaseModel):
        if not into.__pydantic_complete__ and not into.model_rebuild(raise_errors=False):
            raise NameError(f"an annotation of {into.__name__} cannot be resolved")
        entry = into.model_fields[name]
        return entry.annotation, entry.metadata
    owner, given = field_annotations(into).get(name, (into, Any))
    module = sys.modules.get(owner.__module__)
    holder = types.SimpleNamespace(__annotations__={name: given})
    found: Any = get_type_hints(holder, vars(module) if module else {}, dict(vars(owner)), include_extras=True)[name]
    if get_origin(found) is Annotated:
        return get_args(found)[0], found.__metadata__
    return found, ()


_UNRESOLVED = (NameError, AttributeError, TypeError)


def nested(into: type[Any], name: str) -> Nested:
    """Read how a field gives a relationship's rows: ``UserData``, ``UserData | None`` or ``tuple[UserData, ...]``.

    Raises:
        MappingError: its annotation cannot be resolved, or is none of these.
    """
    try:
        given, _ = annotation(into, name)
    except _UNRESOLVED as exc:
        raise MappingError(
            f"the annotation of {into.__name__}.{name} cannot be resolved ({exc}): declare data classes that nest "
            "others at the top of a module"
        ) from None
    options = [part for part in get_args(given) if part is not type(None)] if _is_union(given) else [given]
    is_optional = type(None) in get_args(given) if _is_union(given) else False
    item, container = _item(options[0])
    if len(options) != 1 or not isinstance(item, type) or (is_optional and container):
        raise MappingError(
            f"{into.__name__}.{name} names a relationship: annotate it with the data class of its rows, "
            "as UserData, UserData | None or tuple[UserData, ...]"
        )
    return Nested(item, container, is_optional)


def _is_union(given: Any) -> bool:
    return get_origin(given) in (Union, types.UnionType)


def _item(given: Any) -> tuple[Any, type[Any] | None]:
    """Give the type of the items and the container; no container for a single one."""
    origin, arguments = get_origin(given), get_args(given)
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return arguments[0], tuple
    if origin in (list, Sequence) and len(arguments) == 1:
        return arguments[0], list if origin is list else tuple
    return given, None
