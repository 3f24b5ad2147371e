"""Reading many rows: search, count, exists, stream, and by a list of keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.execution import DATABASE_ERRORS, execute, translate
from rowsmith.operations.admission import admit
from rowsmith.operations.entity import Operation, TData, TRow
from rowsmith.operations.explain import estimated_rows
from rowsmith.operations.keys import Key, dialect_of, key_chunks, keys_condition
from rowsmith.operations.search import Filters, Search, as_query
from rowsmith.orders import Order
from rowsmith.pagination import Count, CursorCodec, Page, Pagination
from rowsmith.query import Query
from rowsmith.scope import SearchScope

CODEC = "rowsmith_cursor_codec"
"""Where a session made by a Database carries the codec for its cursors (``AsyncSession.info``)."""


def codec_of(db_sess: AsyncSession) -> CursorCodec:
    """Give the session's cursor codec; a session of nobody's has one without keys, which signs nothing."""
    codec = db_sess.info.get(CODEC)
    return codec if isinstance(codec, CursorCodec) else CursorCodec()


class BatchQuerier(Operation[TRow, TData]):
    """Reads many rows; one statement each, and one more for a count."""

    async def search(
        self,
        db_sess: AsyncSession,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
    ) -> Page[TData]:
        """Give a page of the rows that scope and filters let through.

        Args:
            db_sess: the session to read in.
            scope: who asks.
            filters: a filter model, conditions in code, or a whole :class:`Query`.
            pagination: the page; without one, every row.
            orders: what to sort by; the primary key always follows.
            count: whether ``total_count`` is wanted, and how exactly. It agrees with the page where the
                session's isolation is REPEATABLE READ or stricter, as a repository's own is.
            include_deleted: also give soft-deleted rows.

        Raises:
            InvalidCursor: the cursor is cut, changed, or of another order, filter or scope.
            InvalidFilter, InvalidPagination, ScopeError: what was given has no meaning.
        """
        limits = await admit(db_sess, self.entity, scope, "search")
        query = as_query(filters, pagination, orders, count)
        search = Search.of(self.entity, limits, query, include_deleted=include_deleted)
        codec = codec_of(db_sess)
        fetched = (await execute(db_sess, search.statement(codec), self.entity.origin("search"))).all()
        return search.page(fetched, codec, await self._total(db_sess, search, query.count))

    async def count(
        self,
        db_sess: AsyncSession,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
    ) -> int:
        """Give how many rows scope and filters let through, exactly."""
        limits = await admit(db_sess, self.entity, scope, "count")
        search = Search.of(self.entity, limits, as_query(filters), include_deleted=include_deleted)
        return int((await execute(db_sess, search.counted(), self.entity.origin("count"))).scalar_one())

    async def exists(
        self,
        db_sess: AsyncSession,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
    ) -> bool:
        """Say whether scope and filters let any row through."""
        limits = await admit(db_sess, self.entity, scope, "exists")
        search = Search.of(self.entity, limits, as_query(filters), include_deleted=include_deleted)
        found = select(exists(search.selected(*self.entity.info.key_attributes)))
        return bool((await execute(db_sess, found, self.entity.origin("exists"))).scalar_one())

    async def stream(
        self,
        db_sess: AsyncSession,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        chunk_size: int = 1000,
        include_deleted: bool = False,
    ) -> AsyncIterator[TData]:
        """Give every row, through a cursor of the server: ``chunk_size`` of them in memory at a time."""
        limits = await admit(db_sess, self.entity, scope, "stream")
        search = Search.of(self.entity, limits, as_query(filters, None, orders), include_deleted=include_deleted)
        async for chunk in _partitions(db_sess, search, chunk_size):
            for item in self.entity.shape.build_all(chunk):
                yield item

    async def query(
        self,
        db_sess: AsyncSession,
        pks: Sequence[Any],
        *,
        scope: SearchScope | None = None,
        include_deleted: bool = False,
    ) -> list[TData]:
        """Give the rows with these keys, in the order of the keys.

        Raises:
            EntityNotFound: some are absent, deleted or outside the scope; ``missing`` holds their keys.
            InvalidValue: one is no key of the row.
        """
        limits = await admit(db_sess, self.entity, scope, "batch_get")
        search = Search.of(self.entity, limits, Query(), include_deleted=include_deleted)
        keys = [self.entity.info.key(pk) for pk in pks]
        found = await self._by_key(db_sess, search, list(dict.fromkeys(keys)))
        missing = [pk for pk, key in zip(pks, keys, strict=True) if key not in found]
        if missing:
            raise self.entity.absent("batch_get", missing)
        return [found[key] for key in keys]

    async def _by_key(
        self, db_sess: AsyncSession, search: Search[TRow, TData], keys: Sequence[Key]
    ) -> dict[Key, TData]:
        entity, attributes, found = self.entity, self.entity.info.key_attributes, dict[Key, TData]()
        dialect = dialect_of(db_sess)
        for chunk in key_chunks(keys, dialect):
            wanted = search.selected(*entity.shape.selects, *attributes)
            statement = wanted.where(keys_condition(entity.info, chunk, dialect))
            rows = (await execute(db_sess, statement, entity.origin("batch_get"))).all()
            data = entity.shape.build_all([row[: -len(attributes)] for row in rows])
            found.update(zip((tuple(row[-len(attributes) :]) for row in rows), data, strict=True))
        return found

    async def _total(self, db_sess: AsyncSession, search: Search[TRow, TData], count: Count) -> int | None:
        if count == Count.NONE:
            return None
        origin = self.entity.origin("search")
        if count == Count.ESTIMATED and dialect_of(db_sess).name == "postgresql":
            return await estimated_rows(db_sess, search.selected(*self.entity.info.key_attributes), origin)
        return int((await execute(db_sess, search.counted(count.cap), origin)).scalar_one())


async def _partitions(
    db_sess: AsyncSession, search: Search[Any, Any], chunk_size: int
) -> AsyncIterator[Sequence[Any]]:
    origin = search.entity.origin("stream")
    options = {"yield_per": chunk_size, "populate_existing": True}
    try:
        result = await db_sess.stream(search.everything(), execution_options=options)
        try:
            async for chunk in result.partitions():
                yield chunk
        finally:
            await result.close()
        return
    except DATABASE_ERRORS as exc:
        failure = translate(exc, origin)
    raise failure
