"""Reading many rows: search, count, exists, stream, and by a list of keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from gc import collect
from typing import Any, cast

from sqlalchemy import BindParameter, inspect
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession
from sqlalchemy.sql import visitors
from typing_extensions import override

from rowsmith.conditions import limited
from rowsmith.errors import DatabaseFault, InvalidCursor, RepositoryError, ScopeMismatch, SeveralFound
from rowsmith.execution import (
    DATABASE_ERRORS,
    UNTOLD,
    NativeLane,
    drivers_of,
    flush,
    translate_any,
    unavailable,
    unreadable,
)
from rowsmith.execution.records import records_of
from rowsmith.execution.transactions import holds_objects
from rowsmith.lock import Lock
from rowsmith.mapping.layout import AnySelect, Record
from rowsmith.operations.arrays.keys import batch_keys, check_chunk_size, columns_condition, key_chunks, keys_condition
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.blocks.gate import asked_by_session
from rowsmith.operations.call import Call, Operation, TData, TRow, stream_verb, verb
from rowsmith.operations.entity import Entity, by_entity
from rowsmith.operations.plans import Asked, ManyKeys, Plan, compile_plan
from rowsmith.operations.present import present, present_keys
from rowsmith.operations.reads.estimate import estimated_rows
from rowsmith.operations.reads.one import KeyReads
from rowsmith.operations.reads.planned import Searches, may_be_the_cursors
from rowsmith.operations.reads.search import Filters, Search, as_query, prepare
from rowsmith.operations.reads.stream import Stream
from rowsmith.operations.unread import tell_id
from rowsmith.orders import Order
from rowsmith.pagination import Count, CursorCodec, Page, Pagination
from rowsmith.pagination.cursor import codec_of
from rowsmith.query import Query
from rowsmith.scope import SearchScope
from rowsmith.state import UNSET, Unset


class ByKeys(KeyReads[TRow, TData]):
    """The plans of the reads of many rows, whose keys are one array; of rows with a key of one column."""

    def __init__(self, entity: Entity[TRow, TData]) -> None:
        super().__init__(entity)
        info = entity.info
        self._column, self._ids = info.key_attributes[0].expression, ManyKeys(info)
        self.is_flat = self.is_flat and self._ids.are_of_one_column

    def ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRows | None:
        """Say what a call has to send; None where it is not plainly a read of columns by keys that can be such."""
        if not self.is_flat or not args or args[1:] or not self._ids.are(args[0]):
            return None
        scoped: list[Any] = []
        pattern = self.pattern(kwargs, scoped)
        if pattern is None:
            return None
        ids = args[0]
        plan = self.plans.find(pattern, lane.dialect, lambda: self._plan(ids, kwargs, lane.dialect))
        values = None if plan is None else plan.values((list(dict.fromkeys(ids)), *scoped))
        return None if plan is None or values is None else AskedRows(self.entity, plan, values, ids)

    def _plan(self, ids: Sequence[Any], kwargs: dict[str, Any], dialect: Dialect) -> Plan | None:
        entity = self.entity
        if not are_exact([self._column], dialect):
            return None
        (limits, binds), live = self.limits(kwargs), entity.live(kwargs.get("include_deleted", False))
        among = columns_condition([self._column], [(id_,) for id_ in ids], dialect)
        arrays: list[Any] = [part for part in visitors.iterate(among) if isinstance(part, BindParameter)]
        selected = limited(entity.shape.select(*entity.info.key_attributes), *limits.conditions, *live)
        plan = compile_plan(limited(selected, among), entity.info, [*arrays, *binds], dialect)
        self._ids.spare(plan)
        return plan if len(arrays) == 1 and not arrays[0].expanding else None


class AskedRows(Asked[list[Any]]):
    """The rows that are asked for by their keys, which stand after the data in each record."""

    __slots__ = ("_ids",)

    def __init__(self, entity: Entity[Any, Any], plan: Plan, values: Sequence[Any], ids: Sequence[Any]) -> None:
        super().__init__(entity, "batch_get", plan, values)
        self._ids = ids

    @override
    def answer(self, records: Sequence[Record]) -> list[Any]:
        data: list[Any] = self.entity.shape.layout.make([record[:-1] for record in records], ())
        found = dict(zip([record[-1] for record in records], data, strict=True))
        if len(found) < len(records):  # twins, of which SQLAlchemy's way tells
            untold: list[Any] = UNTOLD
            return untold
        missing = [id_ for id_ in self._ids if id_ not in found]
        if missing:
            if len(found) + len(set(missing)) > len(set(self._ids)):  # a key that nobody asked for, as above
                unasked: list[Any] = UNTOLD
                return unasked
            raise self.entity.absent(missing)
        return [found[id_] for id_ in self._ids]


class BatchQuerier(Operation[TRow, TData]):
    """Reads many rows; one statement each, one more for a count, and one for each collection in the data."""

    @by_entity
    def _searches(self) -> Searches[TRow, TData]:
        return Searches(self.entity)

    @by_entity
    def _keys(self) -> ByKeys[TRow, TData]:
        return ByKeys(self.entity)

    def _get_one(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> Asked[Any] | None:
        asked = self._searches.only("get_one", lane, args, kwargs)
        if asked is not None:
            asked.absent = self.entity.absent
        return asked

    @verb("search", native=lambda self, lane, args, kwargs: self._searches.page(lane, args, kwargs))
    async def search(
        self,
        call: Call[TRow, TData],
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
        lock: Lock | None = None,
    ) -> Page[TData]:
        """Give a page of the rows that scope and filters let through.

        Args:
            db_sess: the session to read in.
            scope: who asks.
            filters: a filter model, conditions in code, or a whole :class:`Query`.
            pagination: the page; without one, the first rows, as many as ``default_page_size`` says.
            orders: what to sort by; the primary key always follows.
            count: whether ``total_count`` is wanted, and how exactly. Count, page and collections agree where
                the session's isolation is REPEATABLE READ or stricter, as a repository's own is then.
            include_deleted: also give soft-deleted rows.
            lock: how the rows of the page are locked until the transaction ends; not the one after it, but those that
                an offset passes over, which PostgreSQL locks on its way.

        Raises:
            LockNotAvailable: another transaction has one of them, and the lock does not wait.
            InvalidCursor: the cursor is cut, changed, or of another order, filter or scope.
            InvalidFilter, InvalidPagination, ScopeError: what was given has no meaning.
        """
        query = as_query(filters, pagination, orders, count)
        call, search = await _sought(call, scope, query, include_deleted)
        codec = codec_of(call.db_sess)
        cut = search.cut(await _fetched(call, search, codec, lock))
        items = await present(call, search.without_keys(cut.rows))
        return search.page(cut, items, codec, await _total(call, search, query.count))

    @verb("get_one", native=_get_one)
    async def get_one(
        self,
        call: Call[TRow, TData],
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
    ) -> TData:
        """Give the only row that scope and filters let through.

        Raises:
            EntityNotFound: there is none; or ``not_found``'s error.
            SeveralFound: there are more.
        """
        found = await _only(call, scope, filters, include_deleted, lock)
        if found is None:
            raise call.absent([])
        return found

    @verb("find_one", native=lambda self, lane, args, kwargs: self._searches.only("find_one", lane, args, kwargs))
    async def find_one(
        self,
        call: Call[TRow, TData],
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
    ) -> TData | None:
        """Give the only row that scope and filters let through, or None; otherwise as :meth:`get_one`."""
        return await _only(call, scope, filters, include_deleted, lock)

    @verb("first", native=lambda self, lane, args, kwargs: self._searches.first(lane, args, kwargs))
    async def first(
        self,
        call: Call[TRow, TData],
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        lock: Lock | None = None,
    ) -> TData | None:
        """Give the first row that scope and filters let through, or None; a Query's page does not count.

        Without orders it is the first by its key.
        """
        call, search = await _sought(call, scope, as_query(filters, orders=orders), include_deleted)
        records = (await call.execute(call.locked(search.first(), lock))).all()
        return (await present(call, records))[0] if records else None

    @verb("count", native=lambda self, lane, args, kwargs: self._searches.count(lane, args, kwargs))
    async def count(
        self,
        call: Call[TRow, TData],
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
    ) -> int:
        """Give how many rows scope and filters let through, exactly."""
        call, search = await _sought(call, scope, as_query(filters), include_deleted)
        return int((await call.execute(search.counted())).scalar_one())

    @verb("exists", native=lambda self, lane, args, kwargs: self._searches.exists(lane, args, kwargs))
    async def exists(
        self,
        call: Call[TRow, TData],
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        pk: Any | Unset = UNSET,
        include_deleted: bool = False,
    ) -> bool:
        """Say whether scope and filters let any row through; with ``pk``, whether they let that one."""
        call, search = await _sought(call, scope, as_query(filters), include_deleted)
        keyed = [] if pk is UNSET else call.info.key_condition(call.info.key(pk))
        return bool((await call.execute(search.any_row(*keyed))).scalar_one())

    def stream(
        self,
        db_sess: AsyncSession,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        chunk_size: int = 1000,
        include_deleted: bool = False,
    ) -> Stream[TData]:
        """Give every row, through a cursor of the server: ``chunk_size`` of them in memory at a time.

        The session's transaction has to stay open as long as it is read.

        Raises:
            InvalidValue: at the first row: ``chunk_size`` is no int of 1 or more.
            InvalidFilter, ScopeError: at the first row: what was given has no meaning.
        """
        return Stream(
            self.chunks(db_sess, scope, filters, orders=orders, chunk_size=chunk_size, include_deleted=include_deleted)
        )

    @stream_verb("stream")
    async def chunks(
        self,
        call: Call[TRow, TData],
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        chunk_size: int = 1000,
        include_deleted: bool = False,
    ) -> AsyncGenerator[Sequence[TData], None]:
        """Give every row as :meth:`stream` does, in lists of ``chunk_size``; close it, or read it to its end."""
        with call.locating():
            check_chunk_size(chunk_size)
            call, search = await _sought(call, scope, as_query(filters, None, orders), include_deleted)
        async with aclosing(_partitions(call, search, chunk_size)) as partitions:
            async for records in partitions:
                yield await present(call, records)

    @verb("batch_get", native=lambda self, lane, args, kwargs: self._keys.ask(lane, args, kwargs), tells=tell_id)
    async def query(
        self,
        call: Call[TRow, TData],
        ids: Sequence[Any],
        *,
        scope: SearchScope | None = None,
        include_deleted: bool = False,
        lock: Lock | None = None,
    ) -> list[TData]:
        """Give the rows with these keys, in the order of the keys; ``lock`` locks them in the order of the table's.

        Raises:
            EntityNotFound: some are absent, deleted or outside the scope; ``missing`` holds their keys.
            InvalidValue: one is no key of the row.
        """
        call = await call.under(scope)
        keys = batch_keys(call.info, ids)
        distinct = list(dict.fromkeys(keys))
        places: Sequence[int] = range(len(keys))
        if len(distinct) < len(keys):
            first = dict(zip(reversed(keys), reversed(places), strict=True))
            places = [first[key] for key in distinct]
        found = await present_keys(call, distinct, call.conditions(include_deleted), places=places, lock=lock)
        missing = [id for id, key in zip(ids, keys, strict=True) if key not in found]
        if missing:
            raise call.absent(missing)
        return [found[key] for key in keys]


async def _sought(
    call: Call[TRow, TData], scope: SearchScope | None, query: Query, include_deleted: bool
) -> tuple[Call[TRow, TData], Search[TRow, TData]]:
    """Admit a scope, and prepare a search under it."""
    call = await call.under(scope)
    return call, prepare(call.entity, call.limits, call.dialect, query, include_deleted=include_deleted)


async def _only(
    call: Call[TRow, TData],
    scope: SearchScope | None,
    filters: Filters[TRow],
    include_deleted: bool,
    lock: Lock | None,
) -> TData | None:
    """Give the only row that is let through, if there is any: two of them are enough to know of more."""
    call, search = await _sought(call, scope, as_query(filters), include_deleted)
    records = (await call.execute(call.locked(search.two(), lock))).all()
    if len(records) > 1:
        raise SeveralFound
    return (await present(call, records))[0] if records else None


async def _total(call: Call[object, object], search: Search[Any, Any], count: Count) -> int | None:
    if count == Count.NONE:
        return None
    if count == Count.ESTIMATED and call.dialect.name == "postgresql":
        return await estimated_rows(call, search.selected(*call.info.key_attributes))
    return int((await call.execute(search.counted(count.cap))).scalar_one())


async def _fetched(
    call: Call[object, object], search: Search[Any, Any], codec: CursorCodec, lock: Lock | None
) -> Sequence[Record]:
    """Read the rows of a page; values that the database does not take are the cursor's fault, where there is one."""
    statement = search.statement(codec)
    try:
        if lock is None:
            return (await call.execute(statement)).all()
        rows = (await call.execute(call.locked(statement.limit(search.size), lock))).all()
        if search.size is None or len(rows) < search.size:
            return rows
        # Whether another row follows is seen apart: nobody asked to have that one locked.
        return [*rows, *(await call.execute(search.following(rows[-1]))).all()]
    except RepositoryError as exc:
        if not (search.has_cursor and may_be_the_cursors(exc, search.keys)):
            raise
    raise InvalidCursor(facts=call.origin().facts())


async def _opened(call: Call[object, object], statement: AnySelect, chunk_size: int, *, adds: bool) -> AsyncResult[Any]:
    db_sess, origin = call.db_sess, call.origin()
    options = {"yield_per": chunk_size, "populate_existing": not adds}
    try:
        if call.entity.shape.is_row or any(asked_by_session(db_sess)):
            reader = await call.reader(statement, origin)
            return await reader.stream(statement, execution_options=options)
        # Columns alone need none of what the session does to each row, which would double the time.
        await flush(db_sess)
        connection = await db_sess.connection(bind_arguments=cast("Any", origin.binds))
        return await connection.stream(statement, execution_options=options)
    except Exception as exc:  # noqa: BLE001 - a column's type may raise anything, and quotes the value
        failure = translate_any(exc, origin.reading())
    raise failure


async def _load_again(call: Call[object, object], records: Sequence[Record]) -> None:
    """Load what goes with whole rows of a stream, of which one path may have taken what another had loaded."""
    keys = [tuple(inspect(record[0]).identity) for record in records]
    for chunk in key_chunks(keys, call.dialect, call.info.key_columns):
        await call.execute(limited(call.entity.shape.select(), keys_condition(call.info, chunk, call.dialect)))


async def _settled(
    call: Call[object, object], statement: AnySelect, result: AsyncResult[Any], chunk_size: int
) -> AsyncGenerator[Sequence[Record], None]:
    """Give the records of a result, while what the session's objects show stays as it is."""
    async with aclosing(records_of(result, chunk_size)) as chunks:
        while True:
            given = call.given(statement)
            records = await anext(chunks, None)
            if records is None:
                return
            if given is not None and (refusal := given.settle()) is not None:
                raise refusal
            yield records


async def _partitions(
    call: Call[object, object], search: Search[Any, Any], chunk_size: int
) -> AsyncGenerator[Sequence[Record], None]:
    """Read the rows of a search in lists, through a cursor of the server."""
    layout = search.entity.shape.layout
    meets, own_rows = layout.meets_itself, call.own_rows if layout.keeps_rows else None
    is_held = own_rows is None and len(call.db_sess.identity_map) > 0
    statement = search.everything()
    if (given := call.given(statement)) is not None and given.are_apart:
        del given
        collect()  # what nobody holds any more is in nobody's way
    result = await _opened(call, statement, chunk_size, adds=meets and not is_held)  # see rowsmith.execution.execute
    try:
        async with aclosing(_settled(call, statement, result, chunk_size)) as chunks:
            async for records in chunks:
                if meets and own_rows is None and (is_held or holds_objects(call.db_sess)):
                    await _load_again(call, records)
                yield records
                if own_rows is not None:
                    own_rows.forget()
        return
    except ScopeMismatch:
        raise
    except Exception as exc:  # noqa: BLE001 - as above
        failure = unreadable(exc, call.origin().reading())
        if isinstance(failure, DatabaseFault) and any(driver.is_closed() for driver in drivers_of(call.db_sess)):
            failure = unavailable(call.origin())  # asyncpg says it in words alone
    finally:
        with suppress(*DATABASE_ERRORS):  # the connection may be gone; the first error says why
            await result.close()
    raise failure
