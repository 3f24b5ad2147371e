"""Reading: what a repository reads with, as its own data or as any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, overload

from typing_extensions import TypeVar

from rowsmith.db_source import DBSource
from rowsmith.operations.search import Filters
from rowsmith.operations.stream import Stream
from rowsmith.orders import Order
from rowsmith.pagination import Count, Page, Pagination
from rowsmith.scope import SearchScope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TId = TypeVar("TId", default=Any)
TOther = TypeVar("TOther")


class Reading(Generic[TRow, TData, TId]):
    """The reading half of a repository.

    ``into=GroupSummary`` gives rows as another data class: only its columns are selected; a field that names
    a relationship nests the data of its rows (to-one by a join, to-many by one more statement for all rows
    together), given as they are, whatever the scope and soft deletion of the rows read; a field annotated
    with ``Expr`` is computed.
    """

    db_source: DBSource[TRow, TData, TId]

    @overload
    async def get(
        self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False, into: None = None
    ) -> TData: ...
    @overload
    async def get(
        self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False, into: type[TOther]
    ) -> TOther: ...
    async def get(
        self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False, into: Any = None
    ) -> Any:
        """Give the row with this key.

        Raises:
            EntityNotFound: absent, deleted or outside the scope, all alike; or ``not_found``'s error.
            MappingError: ``into`` does not fit the row.
        """
        return await self.db_source.into(into).get(id, scope, include_deleted=include_deleted)

    @overload
    async def find(
        self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False, into: None = None
    ) -> TData | None: ...
    @overload
    async def find(
        self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False, into: type[TOther]
    ) -> TOther | None: ...
    async def find(
        self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False, into: Any = None
    ) -> Any:
        """Give the row with this key, or None."""
        return await self.db_source.into(into).find(id, scope, include_deleted=include_deleted)

    @overload
    async def search(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
        into: None = None,
    ) -> Page[TData]: ...
    @overload
    async def search(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
        into: type[TOther],
    ) -> Page[TOther]: ...
    async def search(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
        into: Any = None,
    ) -> Page[Any]:
        """Give a page of rows; without ``pagination``, all of them.

        Raises:
            InvalidCursor, InvalidPagination, InvalidFilter: what was given has no meaning.
            MappingError: ``into`` does not fit the row.
        """
        return await self.db_source.into(into).search(
            scope, filters, pagination, orders=orders, count=count, include_deleted=include_deleted
        )

    async def count(
        self, scope: SearchScope | None = None, filters: Filters[TRow] = None, *, include_deleted: bool = False
    ) -> int:
        """Give the exact number of rows."""
        return await self.db_source.count(scope, filters, include_deleted=include_deleted)

    async def exists(
        self, scope: SearchScope | None = None, filters: Filters[TRow] = None, *, include_deleted: bool = False
    ) -> bool:
        """Say whether there is any row."""
        return await self.db_source.exists(scope, filters, include_deleted=include_deleted)

    async def aggregate(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        into: type[TOther],
        group_by: Sequence[Order] = (),
        include_deleted: bool = False,
    ) -> list[TOther]:
        """Compute over rows in the database: one object a group, in the order of their keys; see :class:`Aggregator`.

        Raises:
            MappingError: a field of ``into`` is neither grouped by nor aggregated.
        """
        return await self.db_source.aggregate(
            scope, filters, into=into, group_by=group_by, include_deleted=include_deleted
        )

    @overload
    def stream(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        into: None = None,
    ) -> Stream[TData]: ...
    @overload
    def stream(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        into: type[TOther],
    ) -> Stream[TOther]: ...
    def stream(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        into: Any = None,
    ) -> Stream[Any]:
        """Give row after row through a cursor of the server, in flat memory.

        The connection is given back at the end, and when the loop is left early; :class:`Stream` says when.
        """
        return self.db_source.into(into).stream(scope, filters, orders=orders, include_deleted=include_deleted)

    @overload
    async def batch_get(
        self, ids: Sequence[TId], *, scope: SearchScope | None = None, include_deleted: bool = False, into: None = None
    ) -> list[TData]: ...
    @overload
    async def batch_get(
        self, ids: Sequence[TId], *, scope: SearchScope | None = None, include_deleted: bool = False, into: type[TOther]
    ) -> list[TOther]: ...
    async def batch_get(
        self, ids: Sequence[TId], *, scope: SearchScope | None = None, include_deleted: bool = False, into: Any = None
    ) -> list[Any]:
        """Give the rows with these keys, in the order of the keys.

        Raises:
            EntityNotFound: some are not there for this caller; ``missing`` holds their keys.
        """
        return await self.db_source.into(into).batch_get(ids, scope=scope, include_deleted=include_deleted)
