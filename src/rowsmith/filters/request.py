"""``SearchRequest``: a whole search from the outside world, the adapter between a web handler and ``search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Generic, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import TypeVar, override

from rowsmith.conditions import given_conditions
from rowsmith.errors import InvalidFilter
from rowsmith.filters.filter import Filter
from rowsmith.filters.order import OrderBy, refuse_duplicates, to_orders
from rowsmith.pagination import Count, CursorForwardPagination, Pagination
from rowsmith.pagination.client import PageFields
from rowsmith.pagination.count import MAX_CAP
from rowsmith.pagination.modes import CLIENT_MODES, DEFAULT_PAGE_SIZE, checked_size
from rowsmith.query import Query

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

F = TypeVar("F", bound=Filter[Any])
O = TypeVar("O", bound=OrderBy[Any])  # noqa: E741 - Filter, Order

MAX_TERMS: Final = 8
"""The most fields one request sorts by."""


class CappedCount(BaseModel):
    """Count up to ``capped`` rows and stop there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    capped: Annotated[int, Field(strict=True, ge=1, le=MAX_CAP)]


class SearchRequest(PageFields, Generic[F, O]):
    """What a client asks of a search: a filter, an order, one mode of paging, and whether to count.

    ::

        @app.post("/groups/search")
        async def search(request: SearchRequest[GroupFilter, GroupOrder]) -> ...:
            page = await groups.search(scope, request.to_query())

    One mode at most: ``first`` and ``after``, ``last`` and ``before``, or ``limit`` and ``offset``; none of
    them is the first ``default_page_size`` rows. A subclass may set ``max_page_size`` and ``default_page_size``, and
    ``allow_estimated_count``, without which ``count`` is no ``"estimated"``.

    Raises:
        MappingError: when a class is made whose sizes are none.
        pydantic.ValidationError: when it is made: an unknown field, mixed modes, a cursor or offset without
            its size, a size over the maximum, a field sorted by twice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    max_page_size: ClassVar[int] = 1_000
    """The most rows a client may ask for at once."""

    default_page_size: ClassVar[int | None] = None
    """How many rows a client gets that asks for no number; None leaves it to the repository, up to the maximum."""

    allow_estimated_count: ClassVar[bool] = False
    """Whether a client may ask for the planner's estimate, which is made of the rows of all tenants."""

    filter: F | None = None
    order: Annotated[list[O], Field(max_length=MAX_TERMS, description="The most significant first.")] = []  # noqa: RUF012 - pydantic copies it
    count: Literal["none", "exact", "estimated"] | CappedCount = "none"

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        most = checked_size("max_page_size", cls.max_page_size)
        if cls.default_page_size is not None:
            checked_size("default_page_size", cls.default_page_size, most)

    @model_validator(mode="after")
    def _one_page(self) -> Self:
        used = self._asked()
        if len(used) > 1:
            *others, last = ("/".join(names) for names in CLIENT_MODES.values())
            raise ValueError(f"give one of {', '.join(others)} and {last}, not several")
        for mode, given in used.items():
            size, *places = CLIENT_MODES[mode]
            if size not in given:
                raise ValueError(f"{next(place for place in places if place in given)} needs {size}: say how many rows")
            if given[size] > self.max_page_size:
                raise ValueError(f"{size} is at most {self.max_page_size}")
        return self

    @field_validator("count", mode="after")
    @classmethod
    def _countable(cls, count: object) -> Any:
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
        conditions = () if self.filter is None else given_conditions(self.filter)
        orders = to_orders(self.order)
        page = next((mode(**given) for mode, given in self._asked().items()), None)
        size = self.default_page_size
        if size is None and self.max_page_size < DEFAULT_PAGE_SIZE:
            size = self.max_page_size
        if page is None and size is not None:
            page = CursorForwardPagination(first=size)
        count = Count.capped(self.count.capped) if isinstance(self.count, CappedCount) else Count(self.count)
        return Query(conditions, orders, page, count)

    def _asked(self) -> dict[type[Pagination], dict[str, Any]]:
        """Give the modes that anything is said of, and what is said."""
        said = {mode: {name: getattr(self, name) for name in names} for mode, names in CLIENT_MODES.items()}
        given = {mode: {name: v for name, v in values.items() if v is not None} for mode, values in said.items()}
        return {mode: values for mode, values in given.items() if values}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        properties = handler.resolve_ref_schema(described).get("properties", {})
        for name, *_ in CLIENT_MODES.values():
            for form in properties.get(name, {}).get("anyOf", ()):
                if form.get("type") == "integer":
                    form["maximum"] = cls.max_page_size
        if not cls.allow_estimated_count:
            for form in properties.get("count", {}).get("anyOf", ()):
                if "enum" in form:
                    form["enum"] = [kind for kind in form["enum"] if kind != "estimated"]
        return described
