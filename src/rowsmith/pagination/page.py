"""A page of results, and the pure cut that makes one from the rows fetched for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast, get_args, overload

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from rowsmith.errors import InvalidCursor
from rowsmith.pagination.modes import Mode

TData = TypeVar("TData")
TRow = TypeVar("TRow")
TOther = TypeVar("TOther")


class LazyCursors(Sequence[str]):
    """One cursor for each row, made only when it is looked at: a page of 100 signs two, or none.

    Takes the records of the rows in page order and the function that makes a cursor of one.
    """

    __slots__ = ("_encode", "_records")

    def __init__(self, records: Sequence[Sequence[object]], encode: Callable[[Sequence[Any]], str]) -> None:
        self._records = records
        self._encode = encode

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> LazyCursors: ...
    def __getitem__(self, index: int | slice) -> str | LazyCursors:
        if isinstance(index, slice):
            return LazyCursors(self._records[index], self._encode)
        return self._encode(self._records[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)  # pyright: ignore[reportUnknownArgumentType]

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled page carries its cursors, never the values and keys that they are made with.
        return (tuple, (tuple(self),))

    def __repr__(self) -> str:
        return f"<{len(self)} cursors>"


@dataclass(frozen=True)
class OuterCursors(Sequence[str]):
    """The cursors of a page that was read from JSON, where only the first and the last one stand."""

    first: str
    last: str
    size: int

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(self.size)[index]]
        place = range(self.size)[index]
        if 0 < place < self.size - 1:
            raise InvalidCursor("a page read from JSON has its first and its last cursor only")
        return self.first if place == 0 else self.last


class PageJson(BaseModel, Generic[TData]):
    """What a page is as JSON; where pydantic or FastAPI meets a :class:`Page`, it goes by this."""

    __qualname__ = "Page"  # what the components of an OpenAPI document are named after
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    items: tuple[TData, ...] = Field(description="The rows of this page, in display order.")
    total_count: int | None = Field(description="How many rows there are on all pages; null unless they were counted.")
    has_next_page: bool = Field(description="Whether there are rows after this page.")
    has_previous_page: bool = Field(description="Whether there are rows before this page.")
    start_cursor: str | None = Field(description="The first item's cursor: give it as `before` for the page before.")
    end_cursor: str | None = Field(description="The last item's cursor: give it as `after` for the page after.")

    @classmethod
    @override
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Name the schema after what it stands for: ``Page[GroupData]``."""
        return super().model_parametrized_name(params).replace(cls.__name__, Page.__name__, 1)

    @classmethod
    def fields_of(cls, page: Page[Any]) -> dict[str, Any]:
        """Give the values of a page's fields."""
        return {name: getattr(page, name) for name in cls.model_fields}

    def page(self) -> Page[TData]:
        """Give the page."""
        start, end, size = self.start_cursor, self.end_cursor, len(self.items)
        cursors = () if start is None or end is None else OuterCursors(start, end, size)
        return Page(self.items, self.has_next_page, self.has_previous_page, self.total_count, cursors)


@dataclass(frozen=True)
class Page(Generic[TData]):
    """Rows of one page in display order, whichever way it was reached, and what lies around it.

    ``has_next_page``: the forward and offset modes fetch one row more to know it; a backward page has
    one exactly when ``before`` was given, since the row it names lies after.
    ``has_previous_page``: the backward mode fetches one row more to know it; a forward page has one
    exactly when ``after`` was given, since the row it names lies before; an offset page when it skips rows.
    ``total_count`` is None unless a count was asked for. ``cursors`` holds one for each item, for
    ``CursorForwardPagination(after=...)`` and ``CursorBackwardPagination(before=...)`` alike.

    To pydantic, and so as a FastAPI handler's ``-> Page[GroupData]``, a page is a JSON object with ``items``,
    ``total_count``, ``has_next_page``, ``has_previous_page``, ``start_cursor`` and ``end_cursor``.
    """

    items: tuple[TData, ...]
    has_next_page: bool = False
    has_previous_page: bool = False
    total_count: int | None = None
    cursors: Sequence[str] = ()

    @property
    def start_cursor(self) -> str | None:
        """The first item's cursor, for the page before this one; None for an empty page."""
        return self.cursors[0] if self.cursors else None

    @property
    def end_cursor(self) -> str | None:
        """The last item's cursor, for the page after this one; None for an empty page."""
        return self.cursors[-1] if self.cursors else None

    def map(self, function: Callable[[TData], TOther]) -> Page[TOther]:
        """Give the same page with ``function`` applied to every item."""
        items = tuple(function(item) for item in self.items)
        return Page(items, self.has_next_page, self.has_previous_page, self.total_count, self.cursors)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Give pydantic the schema of :class:`PageJson`, read and written as a page."""
        shape: Any = cast("Any", PageJson)[next(iter(get_args(source)), Any)]

        def validated(given: object, validate: Callable[[Any], PageJson[Any]]) -> Page[Any]:
            if not isinstance(given, Page):
                return validate(given).page()
            page: Page[Any] = given  # pyright: ignore[reportUnknownVariableType]
            items = validate(PageJson.fields_of(page)).items
            return Page(items, page.has_next_page, page.has_previous_page, page.total_count, page.cursors)

        def serialized(page: Page[Any], serialize: Callable[[Any], object]) -> Any:
            return serialize(shape.model_construct(**PageJson.fields_of(page)))

        fields = handler.generate_schema(shape)
        written = core_schema.wrap_serializer_function_ser_schema(serialized, schema=fields)
        return core_schema.no_info_wrap_validator_function(validated, fields, serialization=written)

    def __iter__(self) -> Iterator[TData]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


# pydantic never asks a generic dataclass for its schema: it would write the fields, and so the keys behind the cursors.
delattr(Page, "__dataclass_fields__")


class Window(NamedTuple, Generic[TRow]):
    """The rows that belong to a page, in display order, and whether there are others around them."""

    rows: Sequence[TRow]
    has_next_page: bool
    has_previous_page: bool


def fetch_limit(pagination: Mode) -> int | None:
    """Give the LIMIT to send: one row more than the page holds, or None for everything."""
    size = pagination.fetch().size
    return None if size is None else size + 1


def window(pagination: Mode, fetched: Sequence[TRow]) -> Window[TRow]:
    """Cut the page out of the rows fetched with :func:`fetch_limit`, in the order they were fetched.

    A backward page is fetched in reversed order and turned round here.
    """
    asked = pagination.fetch()
    more = asked.size is not None and len(fetched) > asked.size
    rows = fetched[: asked.size] if more else fetched
    return Window(rows[::-1] if asked.backward else rows, *pagination.around(more=more))
