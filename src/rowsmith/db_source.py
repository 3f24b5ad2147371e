"""DBSource: operations and transactions put together. The only layer of a repository that opens sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Generic

from typing_extensions import TypeVar

from rowsmith.database import Database
from rowsmith.mapping import Patch, Spec
from rowsmith.operations import BatchQuerier, Creator, Entity, Purger, Querier, SoftDeleter, Updater
from rowsmith.operations.search import Filters, as_query
from rowsmith.orders import Order
from rowsmith.pagination import Count, Page, Pagination
from rowsmith.scope import SearchScope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TId = TypeVar("TId", default=Any)


class DBSource(Generic[TRow, TData, TId]):
    """Every operation on one entity, each in a transaction of its own or in the unit of work around it."""

    def __init__(self, db: Database, entity: Entity[TRow, TData]) -> None:
        self.db, self.entity = db, entity
        self.creator = Creator[TRow, TData].of(entity)
        self.querier = Querier[TRow, TData].of(entity)
        self.batch_querier = BatchQuerier[TRow, TData].of(entity)
        self.updater = Updater[TRow, TData].of(entity)
        self.soft_deleter = SoftDeleter[TRow, TData].of(entity)
        self.purger = Purger[TRow, TData].of(entity)

    async def create(self, spec: Spec[TRow], *, scope: SearchScope | None = None) -> TData:
        """Insert one row; see :meth:`Creator.create`."""
        async with self.db.begin_session() as db_sess:
            return await self.creator.create(db_sess, spec, scope=scope)

    async def get(self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False) -> TData:
        """Read one row; see :meth:`Querier.query`."""
        async with self.db.reading() as db_sess:
            return await self.querier.query(db_sess, id, scope=scope, include_deleted=include_deleted)

    async def find(self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False) -> TData | None:
        """Read one row or None; see :meth:`Querier.find`."""
        async with self.db.reading() as db_sess:
            return await self.querier.find(db_sess, id, scope=scope, include_deleted=include_deleted)

    async def search(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
    ) -> Page[TData]:
        """Read a page; see :meth:`BatchQuerier.search`. A count is taken in the page's own snapshot."""
        query = as_query(filters, pagination, orders, count)
        async with self.db.reading(snapshot=query.count != Count.NONE) as db_sess:
            return await self.batch_querier.search(db_sess, scope, query, include_deleted=include_deleted)

    async def count(
        self, scope: SearchScope | None = None, filters: Filters[TRow] = None, *, include_deleted: bool = False
    ) -> int:
        """Count rows; see :meth:`BatchQuerier.count`."""
        async with self.db.reading() as db_sess:
            return await self.batch_querier.count(db_sess, scope, filters, include_deleted=include_deleted)

    async def exists(
        self, scope: SearchScope | None = None, filters: Filters[TRow] = None, *, include_deleted: bool = False
    ) -> bool:
        """Say whether there is any row; see :meth:`BatchQuerier.exists`."""
        async with self.db.reading() as db_sess:
            return await self.batch_querier.exists(db_sess, scope, filters, include_deleted=include_deleted)

    async def stream(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
    ) -> AsyncIterator[TData]:
        """Read row after row; see :meth:`BatchQuerier.stream`."""
        async with self.db.reading() as db_sess:
            rows = self.batch_querier.stream(db_sess, scope, filters, orders=orders, include_deleted=include_deleted)
            async for item in rows:
                yield item

    async def update(
        self, id: TId, patch: Patch[TRow], *, scope: SearchScope | None = None, expected_version: Any = None
    ) -> TData:
        """Change one row; see :meth:`Updater.update`."""
        async with self.db.begin_session() as db_sess:
            return await self.updater.update(db_sess, id, patch, scope=scope, expected_version=expected_version)

    async def delete(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Mark one row as deleted; see :meth:`SoftDeleter.delete`."""
        async with self.db.begin_session() as db_sess:
            return await self.soft_deleter.delete(db_sess, id, scope=scope)

    async def restore(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Bring one deleted row back; see :meth:`SoftDeleter.restore`."""
        async with self.db.begin_session() as db_sess:
            return await self.soft_deleter.restore(db_sess, id, scope=scope)

    async def purge(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Remove one row for good; see :meth:`Purger.purge`."""
        async with self.db.begin_session() as db_sess:
            return await self.purger.purge(db_sess, id, scope=scope)

    async def batch_get(
        self, ids: Sequence[TId], *, scope: SearchScope | None = None, include_deleted: bool = False
    ) -> list[TData]:
        """Read rows by key, in the keys' order; see :meth:`BatchQuerier.query`."""
        async with self.db.reading() as db_sess:
            return await self.batch_querier.query(db_sess, ids, scope=scope, include_deleted=include_deleted)
