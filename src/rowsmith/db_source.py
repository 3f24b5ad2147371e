"""DBSource: operations and transactions put together. The only layer of a repository that opens sessions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from rowsmith.database import Database
from rowsmith.errors import TransactionError
from rowsmith.mapping import Patch, Spec
from rowsmith.operations import Aggregator, BatchQuerier, Creator, Entity, Purger, Querier, SoftDeleter, Updater
from rowsmith.operations.batch_creator import LOAD_CHUNK, BatchCreator, Many
from rowsmith.operations.batch_purger import BatchPurger
from rowsmith.operations.batch_soft_deleter import BatchSoftDeleter
from rowsmith.operations.batch_updater import BatchUpdater
from rowsmith.operations.batch_upserter import BatchUpserter
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.creation import Progress
from rowsmith.operations.entity import located, locating
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.purge_where import Pace, WherePurger
from rowsmith.operations.results import BatchResult, PartialResult, PurgeReport, Upserted
from rowsmith.operations.search import Filters
from rowsmith.operations.stream import Stream
from rowsmith.operations.upserter import Upserter
from rowsmith.orders import Order
from rowsmith.pagination import Count, Page, Pagination
from rowsmith.query import Query
from rowsmith.scope import SearchScope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TId = TypeVar("TId", default=Any)
TOther = TypeVar("TOther")


class DBSource(Generic[TRow, TData, TId]):
    """Every operation on one entity, each in a transaction of its own or in the unit of work around it."""

    def __init__(
        self,
        db: Database,
        entity: Entity[TRow, TData],
        *,
        conflict: Conflict | None = None,
        next_value: NextValue | None = None,
    ) -> None:
        self.db, self.entity = db, entity
        self._others: dict[type[Any], DBSource[Any, Any, Any]] = {}
        self.aggregator = Aggregator[TRow, TData].of(entity)
        self.creator = Creator[TRow, TData].of(entity)
        self.batch_creator = BatchCreator[TRow, TData].by(entity, next_value)
        self.upserter = Upserter[TRow, TData].by(entity, conflict)
        self.batch_upserter = BatchUpserter[TRow, TData].by(entity, conflict)
        self.querier = Querier[TRow, TData].of(entity)
        self.batch_querier = BatchQuerier[TRow, TData].of(entity)
        self.updater = Updater[TRow, TData].of(entity)
        self.soft_deleter = SoftDeleter[TRow, TData].of(entity)
        self.purger = Purger[TRow, TData].of(entity)
        self.batch_updater = BatchUpdater[TRow, TData].of(entity)
        self.batch_soft_deleter = BatchSoftDeleter[TRow, TData].of(entity)
        self.batch_purger = BatchPurger[TRow, TData].of(entity)
        self.where_purger = WherePurger[TRow, TData].of(entity)

    def into(self, into: type[TOther] | None) -> DBSource[TRow, TOther, TId]:
        """Give the same with another data class; None keeps this one.

        Raises:
            MappingError: it does not fit the row.
        """
        if into is None:
            return cast("DBSource[TRow, TOther, TId]", self)
        if into not in self._others:
            self._others[into] = DBSource[Any, Any, Any](self.db, self.entity.into(into))
        return self._others[into]

    @property
    def _is_many(self) -> bool:
        """Whether a read is several statements, which must see the same."""
        return bool(self.entity.shape.layout.collections)

    @located("create")
    async def create(self, spec: Spec[TRow], *, scope: SearchScope | None = None) -> TData:
        """Insert one row, and the rows below it in a tree; see :meth:`Creator.create`."""
        async with self.db.begin_session() as db_sess:
            if self.batch_creator.next_value is not None or getattr(type(spec), "__rowsmith_children__", None):
                return (await self.batch_creator.create(db_sess, [spec], scope=scope))[0]
            return await self.creator.create(db_sess, spec, scope=scope)

    @located("batch_create")
    async def batch_create(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None, progress: Progress | None = None
    ) -> list[TData]:
        """Insert many rows; see :meth:`BatchCreator.create`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_creator.create(db_sess, specs, scope=scope, progress=progress)

    @located("load")
    async def load(
        self,
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        progress: Progress | None = None,
        chunk_size: int = LOAD_CHUNK,
    ) -> int:
        """Insert the rows of an iterator; see :meth:`BatchCreator.load`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_creator.load(db_sess, specs, scope=scope, progress=progress, chunk_size=chunk_size)

    @located("batch_create")
    async def batch_create_partial(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Insert the rows that can be; see :meth:`BatchCreator.create_partial`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_creator.create_partial(db_sess, specs, scope=scope)

    @located("upsert")
    async def upsert(
        self, spec: Spec[TRow], *, scope: SearchScope | None = None, conflict: Conflict | None = None
    ) -> Upserted[TData]:
        """Insert or change one row; see :meth:`Upserter.upsert`."""
        async with self.db.begin_session() as db_sess:
            return await self.upserter.upsert(db_sess, spec, scope=scope, conflict=conflict)

    @located("batch_upsert")
    async def batch_upsert(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None, conflict: Conflict | None = None
    ) -> BatchResult[Upserted[TData], TId]:
        """Insert or change many rows; see :meth:`BatchUpserter.upsert`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_upserter.upsert(db_sess, specs, scope=scope, conflict=conflict)

    @located("get")
    async def get(self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False) -> TData:
        """Read one row; see :meth:`Querier.query`."""
        async with self.db.reading(snapshot=self._is_many) as db_sess:
            return await self.querier.query(db_sess, id, scope=scope, include_deleted=include_deleted)

    @located("find")
    async def find(self, id: TId, scope: SearchScope | None = None, *, include_deleted: bool = False) -> TData | None:
        """Read one row or None; see :meth:`Querier.find`."""
        async with self.db.reading(snapshot=self._is_many) as db_sess:
            return await self.querier.find(db_sess, id, scope=scope, include_deleted=include_deleted)

    @located("search")
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
        counts = (filters.count if isinstance(filters, Query) else count) != Count.NONE
        async with self.db.reading(snapshot=self._is_many or counts) as db_sess:
            return await self.batch_querier.search(
                db_sess, scope, filters, pagination, orders=orders, count=count, include_deleted=include_deleted
            )

    @located("count")
    async def count(
        self, scope: SearchScope | None = None, filters: Filters[TRow] = None, *, include_deleted: bool = False
    ) -> int:
        """Count rows; see :meth:`BatchQuerier.count`."""
        async with self.db.reading() as db_sess:
            return await self.batch_querier.count(db_sess, scope, filters, include_deleted=include_deleted)

    @located("exists")
    async def exists(
        self, scope: SearchScope | None = None, filters: Filters[TRow] = None, *, include_deleted: bool = False
    ) -> bool:
        """Say whether there is any row; see :meth:`BatchQuerier.exists`."""
        async with self.db.reading() as db_sess:
            return await self.batch_querier.exists(db_sess, scope, filters, include_deleted=include_deleted)

    @located("aggregate")
    async def aggregate(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        into: type[TOther],
        group_by: Sequence[Order] = (),
        include_deleted: bool = False,
    ) -> list[TOther]:
        """Compute over rows; see :meth:`Aggregator.aggregate`."""
        async with self.db.reading() as db_sess:
            return await self.aggregator.aggregate(
                db_sess, scope, filters, into=into, group_by=group_by, include_deleted=include_deleted
            )

    def stream(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
    ) -> Stream[TData]:
        """Read row after row; see :meth:`BatchQuerier.stream`."""
        return Stream(self._chunks(scope, filters, orders=orders, include_deleted=include_deleted))

    async def _chunks(
        self, scope: SearchScope | None, filters: Filters[TRow], *, orders: Sequence[Order], include_deleted: bool
    ) -> AsyncGenerator[Sequence[TData], None]:
        with locating(self.entity, "stream"):
            async with self.db.reading(snapshot=self._is_many) as db_sess:
                chunks = self.batch_querier.chunks(
                    db_sess, scope, filters, orders=orders, include_deleted=include_deleted
                )
                async with aclosing(chunks):
                    async for chunk in chunks:
                        yield chunk

    @located("update")
    async def update(
        self, id: TId, patch: Patch[TRow], *, scope: SearchScope | None = None, expected_version: Any = None
    ) -> TData:
        """Change one row; see :meth:`Updater.update`."""
        async with self.db.begin_session() as db_sess:
            return await self.updater.update(db_sess, id, patch, scope=scope, expected_version=expected_version)

    @located("delete")
    async def delete(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Mark one row as deleted; see :meth:`SoftDeleter.delete`."""
        async with self.db.begin_session() as db_sess:
            return await self.soft_deleter.delete(db_sess, id, scope=scope)

    @located("restore")
    async def restore(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Bring one deleted row back; see :meth:`SoftDeleter.restore`."""
        async with self.db.begin_session() as db_sess:
            return await self.soft_deleter.restore(db_sess, id, scope=scope)

    @located("purge")
    async def purge(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Remove one row for good; see :meth:`Purger.purge`."""
        async with self.db.begin_session() as db_sess:
            return await self.purger.purge(db_sess, id, scope=scope)

    @located("batch_get")
    async def batch_get(
        self, ids: Sequence[TId], *, scope: SearchScope | None = None, include_deleted: bool = False
    ) -> list[TData]:
        """Read rows by key, in the keys' order; see :meth:`BatchQuerier.query`."""
        async with self.db.reading(snapshot=self._is_many) as db_sess:
            return await self.batch_querier.query(db_sess, ids, scope=scope, include_deleted=include_deleted)

    @located("batch_update")
    async def batch_update(
        self,
        ids: Sequence[TId],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> BatchResult[TData, TId]:
        """Write one patch into many rows; see :meth:`BatchUpdater.update`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_updater.update(
                db_sess, ids, patch, scope=scope, expected_versions=expected_versions
            )

    @located("batch_update_each")
    async def batch_update_each(
        self,
        patches: Mapping[TId, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> BatchResult[TData, TId]:
        """Write a patch of its own into each row; see :meth:`BatchUpdater.update_each`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_updater.update_each(
                db_sess, patches, scope=scope, expected_versions=expected_versions
            )

    @located("batch_update_partial")
    async def batch_update_partial(
        self,
        patches: Mapping[TId, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> PartialResult[TData]:
        """Write the patches that can be written; see :meth:`BatchUpdater.update_partial`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_updater.update_partial(
                db_sess, patches, scope=scope, expected_versions=expected_versions
            )

    @located("update_where")
    async def update_where(
        self,
        filters: Filters[TRow],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
    ) -> int:
        """Write one patch into every row that matches; see :meth:`BatchUpdater.update_where`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_updater.update_where(db_sess, filters, patch, scope=scope, all_rows=all_rows)

    @located("batch_delete")
    async def batch_delete(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Mark many rows as deleted; see :meth:`BatchSoftDeleter.delete`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_soft_deleter.delete(db_sess, ids, scope=scope)

    @located("batch_restore")
    async def batch_restore(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Bring many deleted rows back; see :meth:`BatchSoftDeleter.restore`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_soft_deleter.restore(db_sess, ids, scope=scope)

    @located("batch_purge")
    async def batch_purge(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Remove many rows for good; see :meth:`BatchPurger.purge`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_purger.purge(db_sess, ids, scope=scope)

    @located("batch_purge_partial")
    async def batch_purge_partial(
        self, ids: Sequence[TId], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Remove the rows that can be removed; see :meth:`BatchPurger.purge_partial`."""
        async with self.db.begin_session() as db_sess:
            return await self.batch_purger.purge_partial(db_sess, ids, scope=scope)

    @located("purge_where")
    async def purge_where(
        self,
        filters: Filters[TRow],
        pace: Pace,
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PurgeReport:
        """Remove every row that matches, chunk by chunk; see :meth:`WherePurger.purge`."""
        begin, purger = self.db.begin_session, self.where_purger
        if self.db.in_unit_of_work:
            raise TransactionError(
                "purge_where commits chunk by chunk and cannot join a unit of work: call it outside, or batch_purge ids"
            )
        if dry_run:
            return await purger.count(begin, filters, scope=scope, all_rows=all_rows, pace=pace)
        return await purger.purge(begin, filters, scope=scope, all_rows=all_rows, pace=pace, progress=progress)
