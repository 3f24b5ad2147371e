"""``SearchRequest``: a whole search from the outside world, the adapter between a web handler and ``search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Generic, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from typing_extensions import TypeVar

from rowsmith.errors import InvalidFilter
from rowsmith.filters.filter import Filter
from rowsmith.filters.order import OrderBy, refuse_duplicates, to_orders
from rowsmith.pagination import (
    MAX_CURSOR_LENGTH,
    Count,
    CursorBackwardPagination,
    CursorForwardPagination,
    OffsetPagination,
    Pagination,
)
from rowsmith.pagination.count import MAX_CAP
from rowsmith.pagination.modes import MAX_OFFSET
from rowsmith.query import Query

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

F = TypeVar("F", bound=Filter[Any])
O = TypeVar("O", bound=OrderBy[Any])  # noqa: E741 - Filter, Order

MAX_TERMS: Final = 8
"""The most fields one request sorts by."""

Size: TypeAlias = Annotated[int, Field(strict=True, ge=1)]
CursorText: TypeAlias = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=MAX_CURSOR_LENGTH)]

_MODES: Final = (("first", "after"), ("last", "before"), ("limit", "offset"))


class CappedCount(BaseModel):
    """Count up to ``capped`` rows and stop there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    capped: Annotated[int, Field(strict=True, ge=1, le=MAX_CAP)]


class SearchRequest(BaseModel, Generic[F, O]):
    """What a client asks of a search: a filter, an order, one mode of paging, and whether to count.

    ::

        @app.post("/groups/search")
        async def search(request: SearchRequest[GroupFilter, GroupOrder]) -> ...:
            page = await groups.search(scope, request.to_query())

    One mode at most: ``first`` and ``after``, ``last`` and ``before``, or ``limit`` and ``offset``; none of
    them is the first ``default_page_size`` rows. A subclass may set ``max_page_size`` and ``default_page_size``, and
    ``allow_estimated_count``, without which ``count`` is no ``"estimated"``.

    Raises:
        pydantic.ValidationError: when it is made: an unknown field, mixed modes, a cursor or offset without
            its size, a size over the maximum, a field sorted by twice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    max_page_size: ClassVar[int] = 1_000
    """The most rows a client may ask for at once."""

    default_page_size: ClassVar[int] = 50
    """How many rows a client gets that asks for no number."""

    allow_estimated_count: ClassVar[bool] = False
    """Whether a client may ask for the planner's estimate, which is made of the rows of all tenants."""

    filter: F | None = None
    order: Annotated[list[O], Field(max_length=MAX_TERMS, description="The most significant first.")] = []
    first: Annotated[Size | None, Field(description="This many rows from the start, or after a cursor.")] = None
    after: Annotated[CursorText | None, Field(description="The cursor to start after; needs first.")] = None
    last: Annotated[Size | None, Field(description="This many rows up to the end, or before a cursor.")] = None
    before: Annotated[CursorText | None, Field(description="The cursor to end before; needs last.")] = None
    limit: Annotated[Size | None, Field(description="This many rows, the offset skipped.")] = None
    offset: Annotated[
        Annotated[int, Field(strict=True, ge=0, le=MAX_OFFSET)] | None,
        Field(description="How many rows to skip; needs limit. Cursors do not slow down with depth."),
    ] = None
    count: Literal["none", "exact", "estimated"] | CappedCount = "none"

    @model_validator(mode="after")
    def _one_page(self) -> Self:
        used = [size for size, place in _MODES if not self._is_absent(size, place)]
        if len(used) > 1:
            raise ValueError("give one of first/after, last/before and limit/offset, not several")
        for size in used:
            self._check_size(size)
        return self

    @field_validator("count", mode="after")
    @classmethod
    def _countable(cls, count: Any) -> Any:
        if count == "estimated" and not cls.allow_estimated_count:
            raise ValueError("no estimate is given here: ask for an exact or capped count")
        return count

    @model_validator(mode="after")
    def _sorted_once(self) -> Self:
        try:
            refuse_duplicates(self.order)
        except InvalidFilter as error:
            raise ValueError(str(error)) from None
        return self

    def to_query(self) -> Query:
        """Give the search as one frozen value, which ``search`` takes as it is.

        Raises:
            InvalidValue: a value of the filter does not fit its column.
        """
        conditions = () if self.filter is None else tuple(self.filter.to_conditions())
        return Query(conditions, to_orders(self.order), self._pagination(), self._count())

    def _is_absent(self, size: str, place: str) -> bool:
        return getattr(self, size) is None and getattr(self, place) is None

    def _check_size(self, name: str) -> None:
        size = getattr(self, name)
        if size is None:
            raise ValueError(f"{dict(_MODES)[name]} needs {name}: say how many rows")
        if size > self.max_page_size:
            raise ValueError(f"{name} is at most {self.max_page_size}")

    def _pagination(self) -> Pagination:
        if self.last is not None:
            return CursorBackwardPagination(last=self.last, before=self.before)
        if self.limit is not None:
            return OffsetPagination(limit=self.limit, offset=self.offset or 0)
        return CursorForwardPagination(first=self.first or self.default_page_size, after=self.after)

    def _count(self) -> Count:
        return Count.capped(self.count.capped) if isinstance(self.count, CappedCount) else Count(self.count)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        properties = handler.resolve_ref_schema(described).get("properties", {})
        for name, _ in _MODES:
            for form in properties.get(name, {}).get("anyOf", ()):
                if form.get("type") == "integer":
                    form["maximum"] = cls.max_page_size
        if not cls.allow_estimated_count:
            _leave_out_estimated(properties.get("count", {}))
        return described


def _leave_out_estimated(count: dict[str, Any]) -> None:
    for form in count.get("anyOf", ()):
        if "enum" in form:
            form["enum"] = [kind for kind in form["enum"] if kind != "estimated"]
