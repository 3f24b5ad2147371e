"""A search, prepared: what to ask for, and how a page is made of the answer. Pure; nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeAlias, cast

from sqlalchemy import ColumnElement, Select, exists, func, literal, select
from sqlalchemy.engine import Dialect

from rowsmith.conditions import Condition, Narrowing, condition_list, given_conditions, limited, resolve_all
from rowsmith.errors import InvalidPagination
from rowsmith.mapping.layout import AnySelect, Record
from rowsmith.names import sql_name
from rowsmith.operations.call import TData, TRow
from rowsmith.operations.entity import Entity
from rowsmith.orders import Order, OrderTerm, order_list, order_terms
from rowsmith.pagination import (
    Count,
    CursorCodec,
    LazyCursors,
    Page,
    Pagination,
    fetch_limit,
    window,
)
from rowsmith.pagination.ends import carried
from rowsmith.pagination.fingerprint import Imprint
from rowsmith.pagination.keyset import after_bounds, bounds
from rowsmith.pagination.modes import Fetch
from rowsmith.pagination.page import Window
from rowsmith.pagination.sort_keys import beside, check_sortable, stored_terms
from rowsmith.query import Query
from rowsmith.scope import Limits, check_conditions, check_order

Filters: TypeAlias = Narrowing[TRow] | Sequence[Condition] | Query | None
"""What narrows a search: a filter model, conditions in code, or a whole prepared query."""


def as_query(
    filters: Filters[Any], pagination: Pagination | None = None, orders: Sequence[Order] = (), count: Count = Count.NONE
) -> Query:
    """Give one query of the separate arguments of a search.

    Raises:
        InvalidPagination: ``filters`` is a Query already and something else is given beside it; or the pagination
            is no mode, or the count no count.
        InvalidFilter: ``filters`` is neither a filter nor a list of conditions, or the orders are no list.
    """
    sorted_by = order_list(orders)
    if isinstance(filters, Query):
        if pagination is not None or sorted_by or count is not Count.NONE:
            raise InvalidPagination("a Query carries its own pagination, orders and count: give them there only")
        return filters
    conditions: tuple[Condition, ...] = ()
    if isinstance(filters, Narrowing):
        conditions = given_conditions(cast("Any", filters))
    elif filters is not None:
        conditions = condition_list(filters, "filters are a Filter, a Query or a list of conditions")
    return Query(conditions, sorted_by, pagination, count)


class _Placed(NamedTuple):
    """Where in a fetched row each term's value stands, and whether it is finite; and what is selected for that."""

    places: tuple[tuple[int, int | None], ...]
    extra: tuple[Any, ...]

    def key(self, row: Record) -> tuple[Any, ...]:
        """Give the values that a row's cursor carries."""
        return tuple(
            row[place] if finite is None else carried(row[place], is_finite=row[finite])
            for place, finite in self.places
        )


@dataclass(frozen=True)
class Search(Generic[TRow, TData]):
    """One search on one entity: every condition in one place, so that page, count and cursor agree."""

    entity: Entity[TRow, TData]
    conditions: tuple[ColumnElement[bool], ...]
    terms: tuple[OrderTerm, ...]
    pagination: Pagination
    dialect: Dialect

    def selected(self, *expressions: Any) -> AnySelect:
        """Give the SELECT of some expressions over all rows that the search is about."""
        statement: AnySelect = select(*expressions).select_from(self.entity.info.row)
        return limited(statement, *self.conditions)

    def records(self, *extra: Any) -> AnySelect:
        """Give the SELECT of the data, and of further expressions after it, over the same rows."""
        return limited(self.entity.shape.select(*extra), *self.conditions)

    def everything(self) -> AnySelect:
        """Give the SELECT of all rows in order, for a stream."""
        return self.records().order_by(*(term.clause() for term in self.terms))

    def first(self) -> AnySelect:
        """Give the SELECT of the first row."""
        return self.everything().limit(1)

    def two(self) -> AnySelect:
        """Give the SELECT of two rows: enough to know of more than one."""
        return self.records().limit(2)

    def statement(self, codec: CursorCodec) -> AnySelect:
        """Give the SELECT of one page and the row after it.

        Raises:
            InvalidCursor: the pagination's cursor was not made for this search.
        """
        fingerprint = self.fingerprint  # of what is sent, whatever becomes of it until a cursor is made
        if self._wanted.cursor is None:
            return self.statement_after(None)
        return self.statement_after(self.bounds(codec.decode(self._wanted.cursor, self.keys, fingerprint())))

    def bounds(self, values: Sequence[object]) -> list[Any]:
        """Give the parameters for the values that a cursor carries."""
        return bounds(self.keys, values)

    def statement_after(self, bounds: Sequence[Any] | None) -> AnySelect:
        """Give the SELECT of the page after the row that a cursor names, or of the first; and the row after it."""
        statement = self.records(*self._extra_keys)
        if self._wanted.offset is not None:
            statement = statement.offset(self._wanted.offset)
        if bounds is not None:
            statement = limited(statement, after_bounds(self._directed(self.keys), bounds))
        return statement.order_by(*(term.clause() for term in self._directed(self.terms))).limit(
            fetch_limit(self.pagination)
        )

    @property
    def size(self) -> int | None:
        """How many rows the page holds; None for all."""
        return self._wanted.size

    def following(self, last: Record) -> AnySelect:
        """Give the SELECT of the row after the last one of a whole page that was fetched."""
        if self._wanted.offset is not None:
            return self.statement_after(None).offset(self._wanted.offset + (self.size or 0)).limit(1)
        return self.statement_after(self.bounds(self._placed.key(last))).limit(1)

    def counted(self, cap: int | None = None) -> Select[int]:
        """Give the SELECT of how many rows the search is about, over the whole of it as a subquery."""
        rows = self.selected(literal(1).label(sql_name("one")))
        return select(func.count()).select_from((rows if cap is None else rows.limit(cap)).subquery())

    def any_row(self, *conditions: ColumnElement[bool]) -> Select[bool]:
        """Give the SELECT of whether the search is about any row that further conditions hold for."""
        info = self.entity.info
        rows: AnySelect = select(*info.key_attributes).select_from(info.row)
        return select(exists(limited(rows, *conditions, *self.conditions)))

    def cut(self, fetched: Sequence[Record]) -> Window[Record]:
        """Cut the page out of what :meth:`statement` gave, in display order."""
        return window(self.pagination, fetched)

    def without_keys(self, rows: Sequence[Record]) -> Sequence[Record]:
        """Give the records of fetched rows, which carry the values for their cursors as well."""
        if not self._extra_keys:
            return rows
        own: Callable[[Record], Record] = itemgetter(slice(len(self.entity.shape.selects)))
        return list(map(own, rows))

    def page(self, cut: Window[Record], items: Sequence[TData], codec: CursorCodec, total: int | None) -> Page[TData]:
        """Make the page of the rows cut out and of the data made of them."""
        cursors = LazyCursors(cut.rows, self.encoder(codec, self.fingerprint))
        return Page(tuple(items), cut.has_next_page, cut.has_previous_page, total, cursors)

    def encoder(self, codec: CursorCodec, fingerprint: Callable[[], bytes]) -> Callable[[Record], str]:
        """Give what makes the cursor of a fetched row; the fingerprint is made when the first one is looked at."""
        keys, key, known = self.keys, self._placed.key, cache(fingerprint)
        return lambda row: codec.encode(key(row), keys, known())

    @cached_property
    def imprint(self) -> Imprint:
        """What the fingerprint of the search is made of."""
        return Imprint(self.terms, self.conditions)

    @cached_property
    def fingerprint(self) -> Callable[[], bytes]:
        """What makes the fingerprint of the search, as it was when this was first looked at."""
        return self.imprint.later()

    @cached_property
    def _wanted(self) -> Fetch:
        return self.pagination.fetch()

    @cached_property
    def keys(self) -> tuple[OrderTerm, ...]:
        """The terms over what the database stores, which cursors carry."""
        return stored_terms(self.terms, self.dialect)

    def _directed(self, terms: tuple[OrderTerm, ...]) -> tuple[OrderTerm, ...]:
        """Give terms as fetched: a backward page is fetched in reversed order."""
        return tuple(term.reversed() for term in terms) if self._wanted.backward else terms

    @property
    def has_cursor(self) -> bool:
        """Whether the page starts at a place that the caller named by a cursor."""
        return self._wanted.cursor is not None

    @property
    def _extra_keys(self) -> tuple[Any, ...]:
        return self._placed.extra

    @cached_property
    def _placed(self) -> _Placed:
        """Where in a fetched row each term's value stands, and what is selected for it: data often has it already."""
        selects = () if self.entity.shape.is_row else self.entity.shape.selects
        # By hash: an attribute's column and the table's, whatever annotations are around them, have the same one.
        own = {hash(chosen.expression): place for place, chosen in enumerate(selects)}
        extra, places = list[Any](), list[tuple[int, int | None]]()

        def added(expression: ColumnElement[Any]) -> int:
            extra.append(expression.label(sql_name(f"key_{len(extra)}")))
            return len(self.entity.shape.selects) + len(extra) - 1

        for term in self.keys:
            place, finite = own.get(hash(term.expression)), beside(term, self.dialect)
            place = added(term.expression) if place is None else place
            places.append((place, None if finite is None else added(finite)))
        return _Placed(tuple(places), tuple(extra))


def prepare(
    entity: Entity[TRow, TData], limits: Limits, dialect: Dialect, query: Query, *, include_deleted: bool = False
) -> Search[TRow, TData]:
    """Prepare a query under a scope; without a page it is for the first one.

    Raises:
        InvalidFilter, InvalidValue: a condition or order means something else than it looks like.
    """
    own = resolve_all(query.conditions)
    check_conditions(own, entity.info)
    live = entity.live(include_deleted)
    conditions = (*limits.conditions, *limits.inside(own, live), *live)
    keys = [attribute.expression for attribute in entity.info.key_attributes]
    terms = order_terms(query.orders, keys)
    for term in terms:
        check_order(term.expression, entity.info)
    if query.orders:
        check_sortable(terms[: len(query.orders)], dialect)
        # PostgreSQL may sort before it joins, and a cursor's place is a condition.
        expressions = limits.inside([term.expression for term in terms], live)
        terms = tuple(replace(term, expression=each) for term, each in zip(terms, expressions, strict=True))
    pagination = entity.default_page if query.pagination is None else query.pagination
    return Search(entity, conditions, terms, pagination, dialect)
