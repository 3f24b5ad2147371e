"""Bindings: which part of the row each field of a filter class compares, worked out when the class is made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

from pydantic.fields import FieldInfo
from sqlalchemy import ColumnElement
from sqlalchemy import inspect as sqlalchemy_inspect
from sqlalchemy.orm import InstrumentedAttribute, Mapper, RelationshipProperty

from rowsmith.errors import MappingError, kind_of
from rowsmith.filters.fields import FieldFilter
from rowsmith.filters.operands import On, Operand
from rowsmith.mapping import RowInfo, nearest
from rowsmith.mapping.annotations import marks, options, private_annotations
from rowsmith.sql import as_sql, calls_for_values, instead, own_parameters, parts_of


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """One field of a filter class and what it compares."""

    name: str
    operand: Operand


def bind(owner: type[object], name: str, field: FieldInfo, info: RowInfo[object]) -> Binding:
    """Find what a field compares.

    Raises:
        MappingError: nothing, something of another table, or something of a type its operators do not fit.
    """
    kinds = (each for each in options(field.annotation) if isinstance(each, type) and issubclass(each, FieldFilter))
    kind, found = next(kinds, None), (*field.metadata, *marks(field.annotation))
    on = next((mark for mark in found if isinstance(mark, On)), None)
    where = f"{owner.__name__}.{name}"
    if kind is None:
        raise MappingError(f"{where} must be a filter such as StringFilter | None, over {info.row.__name__}")
    if on is None and not info.mapper.has_property(name) and name not in info.mapper.all_orm_descriptors:
        known = [each for base in info.row.__mro__ for each, value in vars(base).items() if hasattr(value, "impl")]
        raise MappingError(
            f"{where} is no attribute of {info.row.__name__}{nearest(name, known) or ';'} "
            f"write Annotated[..., On(expression)] where names differ"
        )
    on = on or On(getattr(info.row, name))
    key = getattr(on.expression, "key", None)
    place = f"{where} ({info.row.__name__}.{key})" if isinstance(key, str) else f"{where} ({info.row.__name__})"
    return Binding(name, kind.aim(_comparable(on.expression, kind, info, place), on, place))


def refuse_private(owner: type[object], info: RowInfo[object], own: Collection[str]) -> None:
    """Refuse a field that pydantic would take for none, because its name begins with an underscore.

    Raises:
        MappingError: it is called like an attribute of the row, and is not in ``own``.
    """
    for name in private_annotations(owner):
        if info.mapper.has_property(name) and name not in own:
            raise MappingError(
                f"{owner.__name__}.{name} is no field, for pydantic takes an underscore for private: write "
                f"{name.lstrip('_')}: Annotated[..., On({info.row.__name__}.{name})]"
            )


def _comparable(given: Any, kind: type[FieldFilter], info: RowInfo[object], place: str) -> Any:
    """Give the relationship's attribute, or the SQL expression, whichever these operators take."""
    is_relationship = False
    if isinstance(cast("object", given), InstrumentedAttribute):
        # By way of the mapper, because the attribute's own .property would configure every mapper there is.
        mapper: Mapper[Any] = given.parent.mapper
        is_relationship = isinstance(mapper.get_property(given.key), RelationshipProperty)
    if kind.over_relationship:
        if not is_relationship:
            raise MappingError(f"{place} is no relationship, and {kind.__name__} searches one")
        return given
    if is_relationship:
        raise MappingError(f"{place} is a relationship: write Related[...] of the other row's filter")
    return expression_over(given, info, place)


def expression_over(given: Any, info: RowInfo[object], place: str) -> ColumnElement[Any]:
    """Give an attribute or expression as SQL over the row's own table.

    Raises:
        MappingError: it is neither, or belongs to another table, which would come into FROM and multiply rows.
    """
    expression = as_sql(given)
    if parts := parts_of(given):
        raise MappingError(f"{place} is made of several columns: compare one of them, such as {parts[0]}")
    if not isinstance(expression, ColumnElement):
        raise MappingError(f"{place} must be a column or SQL expression, not {kind_of(given)}{instead(given, 'Text')}")
    for source in expression._from_objects:  # pyright: ignore[reportPrivateUsage] - no public name
        if not info.owns(source):
            raise MappingError(f"{place} belongs to another table than {info.row.__name__}: write Related[...]")
    if calls_for_values(expression):
        raise MappingError(f"{place} has a parameter whose value a callable gives: have the database say it")
    return cast("ColumnElement[Any]", own_parameters(expression))


def row_of(cls: type[Any]) -> Any:
    """Give the row among the type arguments of a model's bases; None while it is still a type variable."""
    for base in cls.__mro__:
        for argument in getattr(base, "__pydantic_generic_metadata__", {}).get("args", ()):
            if isinstance(argument, type) and isinstance(sqlalchemy_inspect(argument, raiseerr=False), Mapper):
                return argument
    return None
