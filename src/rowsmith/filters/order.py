"""``OrderBy``: what a request may sort by, as an allow-list of field names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement
from typing_extensions import TypeVar

from rowsmith.errors import InvalidFilter, MappingError, kind_of
from rowsmith.filters.bindings import expression_over, row_of
from rowsmith.mapping import RowInfo, nearest, row_info
from rowsmith.mapping.annotations import bare

TRow = TypeVar("TRow")


class OrderBy(BaseModel, Generic[TRow]):
    """Base of order terms: one field, a direction, and where nulls go.

    ::

        class GroupOrder(OrderBy[GroupRow]):
            field: Literal["name", "created_at", "size"]
            expressions = {"size": func.length(GroupRow.description)}

    In JSON ``{"field": "name", "direction": "desc"}``. The names in the ``Literal`` are all there is to
    sort by, so they stand in the JSON schema, and no other name reaches SQL. A name is that of a column of the
    row unless ``expressions`` says what it means. Nulls go last when ascending and first when descending,
    on every backend, unless ``nulls`` says otherwise.

    Raises:
        MappingError: when the class is made: ``field`` is no ``Literal`` of names, or a name is neither an
            attribute of the row nor in ``expressions``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    direction: Literal["asc", "desc"] = "asc"
    nulls: Literal["first", "last"] | None = None

    expressions: ClassVar[Mapping[str, Any]] = {}
    """What a name means where it is no attribute of the row: SQL expressions over it."""

    sorted_by: ClassVar[Mapping[str, ColumnElement[Any]]] = {}
    """The expression of each allowed name."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        row = row_of(cls)
        if row is None or cls.__pydantic_generic_metadata__["origin"] is not None:
            return
        info, field = row_info(row), cls.__pydantic_fields__.get("field")
        given = None if field is None else bare(field.annotation)
        names = get_args(given) if get_origin(given) is Literal else ()
        if not names or not all(isinstance(name, str) for name in names):
            raise MappingError(f'{cls.__name__} must list what it sorts by: field: Literal["name", "created_at"]')
        cls.sorted_by = {name: _expression(cls, name, info) for name in names}

    @property
    def name(self) -> str:
        """The name of the field to sort by."""
        return cast("str", cast("Any", self).field)

    def to_order(self) -> ColumnElement[Any]:
        """Give the term as an order expression."""
        expression = self.sorted_by[self.name]
        ordered = expression.desc() if self.direction == "desc" else expression.asc()
        if self.nulls is None:
            return ordered
        return ordered.nulls_first() if self.nulls == "first" else ordered.nulls_last()


def to_orders(order: Sequence[OrderBy[Any]]) -> tuple[ColumnElement[Any], ...]:
    """Give the terms of a request as orders, the most significant first.

    Raises:
        InvalidFilter: a field is named twice, or it is no list of such terms.
    """
    given: Any = order
    if not isinstance(given, Sequence) or not all(isinstance(term, OrderBy) for term in cast("Any", given)):
        raise InvalidFilter(f"to_orders takes a list of terms, not {kind_of(order)}: write to_orders(request.order)")
    refuse_duplicates(order)
    return tuple(term.to_order() for term in order)


def refuse_duplicates(order: Sequence[OrderBy[Any]]) -> None:
    """Refuse an order that names a field twice, of which only the first could count.

    Raises:
        InvalidFilter: it does.
    """
    if len({id(term.sorted_by[term.name]) for term in order}) < len(order):
        raise InvalidFilter("an order names a field twice: name each field once")


def _expression(cls: type[OrderBy[Any]], name: str, info: RowInfo[object]) -> ColumnElement[Any]:
    place = f"{cls.__name__}.field {name!r}"
    if name in cls.expressions:
        return expression_over(cls.expressions[name], info, place)
    if name not in info.columns:
        raise MappingError(
            f"{place} is no column of {info.row.__name__}{nearest(name, info.columns) or ';'} "
            f"say what it means in expressions = {{{name!r}: ...}}"
        )
    return expression_over(info.attribute(name), info, place)
