"""Reading through a cache: what it has is given, what it has not is read from the database once, and put there.

What is put there was read from the primary: a replica may lack what another process has written, and told the cache of.
Only calls outside of sessions and units of work come here; inside, the database is asked, and the cache is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, Final, Generic, TypeVar, cast

from rowsmith.cache.asking import Asking
from rowsmith.cache.copies import Copies, NotCopied
from rowsmith.cache.keeping import CacheKeeper, keeper_of
from rowsmith.cache.source import LEASE, CacheSource, Lease, Under, check_cache
from rowsmith.db_source import DBSource
from rowsmith.deadline import Within, remaining
from rowsmith.errors import RepositoryError
from rowsmith.failures import log_failure
from rowsmith.operations.call import operation_of
from rowsmith.resilience import Resilience
from rowsmith.scope import Unscoped, resolve_scope

TRow = TypeVar("TRow")
TData = TypeVar("TData")
TId = TypeVar("TId")
T = TypeVar("T")

POLL: Final = 0.01
"""Seconds between looks for an entry that another process is about to fill."""


class ReadThrough(Generic[TRow, TData, TId]):
    """Reads by key through a cache.

    Args:
        source: reads what the cache has not.
        cache: keeps data.
        maker: what makes the data of a row, where field names alone don't do.

    Raises:
        MappingError: the cache keeps something else, or rows of this kind cannot be kept.
    """

    def __init__(self, source: DBSource[TRow, TData, TId], cache: CacheSource[Any, TData], maker: object) -> None:
        check_cache(cache)
        self._source, self._cache, self._entity = source, cache, source.entity
        self._asking = Asking(source.entity, source.db.engine.sync_engine)
        self._copies, self._deadline = Copies(source.entity.shape.into), source.db.deadline
        self._keeper: CacheKeeper = keeper_of(cache, source.entity, source.db, maker, self._asking)

    def one(self, id: TId, scope: Any, include_deleted: bool, *, is_needed: bool) -> Awaitable[Any]:
        """Give the row with this key; see :meth:`rowsmith.Repository.get`. None of none, unless it is needed."""
        source, key = self._source, self._asking.key_of(id)
        verb: Any = source.querier.query if is_needed else source.querier.find
        if key is None or source.db.is_in_session:
            return source.read(verb, id, scope=scope, include_deleted=include_deleted)
        if source.resilience is None:
            single = self._single(verb, key, scope, include_deleted, is_needed)
            return single if self._deadline is None else _ended(self._deadline, single)
        work = partial(self._single, verb, key, scope, include_deleted, is_needed)
        return self._resilient(source.resilience, verb, work)

    async def batch_get(self, ids: Sequence[TId], scope: Any, include_deleted: bool) -> list[TData]:
        """Give the rows with these keys, in their order; see :meth:`rowsmith.Repository.batch_get`."""
        source, verb = self._source, self._source.batch_querier.query
        is_list = isinstance(ids, (list, tuple))
        asked = list(map(self._asking.key_of, ids)) if is_list else []  # the caller's own may change meanwhile
        if not is_list or None in asked or source.db.is_in_session:
            return await source.read(verb, ids, scope=scope, include_deleted=include_deleted)
        if source.resilience is None:
            return await self._in_time(self._many(asked, scope, include_deleted))
        work = partial(self._many, asked, scope, include_deleted)
        many: list[TData] = await self._resilient(source.resilience, verb, work)
        return many

    async def _resilient(self, resilience: Resilience, verb: object, work: Callable[[], Awaitable[object]]) -> Any:
        """Run a read under the policies, which may fail it, too."""
        try:
            return await resilience.call(operation_of(verb), lambda: self._in_time(work()))
        except Exception as exc:
            self._failed(verb, exc, is_final=True)
            raise

    def _failed(self, verb: object, failure: Exception, *, is_final: bool) -> None:
        """Have a failure say where it was, before any policy sees it; one that the caller sees is logged."""
        if isinstance(failure, RepositoryError):
            failure.locate(self._entity.domain, operation_of(verb))
        if is_final:
            log_failure(failure, self._entity.domain, operation_of(verb))

    async def _single(self, verb: Any, id: TId, scope: Any, include_deleted: bool, is_needed: bool) -> TData | None:
        """Give what the cache has of a row, or load it; None where it is absent, or its error if it is needed."""
        try:
            under, scope = self._asking.under(scope, include_deleted)
            if under is None:
                data: TData | None = await self._source.read_once(
                    verb, id, scope=scope, include_deleted=include_deleted
                )
                return data
            found = await self._cache.get_many((id,), under=under)
            if self._source.resilience is not None:
                self._tell(self._source.resilience, verb, len(found), 1)
            if id in found:
                self._note(scope)
                data = found[id]
            else:
                data = await self._filled(id, under, partial(self._load, verb, id, scope, include_deleted))
            if data is None and is_needed:
                raise self._entity.absent([id])
            return data
        except Exception as exc:
            self._failed(verb, exc, is_final=self._source.resilience is None)
            raise

    def _in_time(self, work: Awaitable[T]) -> Awaitable[T]:
        """Have a call end by the deadline of the database, wherever it waits."""
        return work if self._deadline is None else _ended(self._deadline, work)

    async def _load(self, verb: Any, id: TId, scope: Any, include_deleted: bool) -> TData | None:
        """Read a row in the database that a cache may keep; None where it is absent, which it may keep, too."""
        try:
            await self._asking.keep_spelt_once(self._source.db)
            data: TData | None = await self._source.read_newest(verb, id, scope=scope, include_deleted=include_deleted)
            return data
        except Exception as exc:
            if type(exc) is not self._kind_of_absence:
                raise
            return None

    async def _filled(self, id: TId, under: Under, load: Callable[[], Awaitable[TData | None]]) -> TData | None:
        """Have one of all callers load the row, and the others wait for that; each loads it itself in the end.

        Where that one fails or is cancelled, one of the others takes the lead.
        """
        loop = asyncio.get_running_loop()
        left = remaining()
        until = loop.time() + (LEASE if left is None else min(LEASE, left / 2))  # by then it has time to load it itself
        while True:
            lease = (await self._cache.lease((id,), under=under)).get(id)
            if lease is None:
                return await load()
            key = (id, under, lease.token)
            flight = self._keeper.flights.get(key)
            if loop.time() >= until or (lease.is_first and flight is None):
                return await self._loaded(key, lease, load)
            if flight is not None:
                found = await self._awaited(id, flight, until)
            else:
                found = await self._cache.get_many((id,), under=under)
                if not found:
                    self._cache.counts.misses -= 1  # which was counted when it was looked for at first
                    await asyncio.sleep(POLL)
            if found is None:
                until = 0.0
            elif id in found:
                data: TData | None = found[id]
                return data

    async def _awaited(self, id: TId, flight: asyncio.Future[object], until: float) -> dict[TId, Any] | None:
        """Give what another task loads; nothing where it fails or is late, None where it is that task's alone."""
        await asyncio.wait((flight,), timeout=until - asyncio.get_running_loop().time())
        if not flight.done() or flight.cancelled():
            return {}
        try:
            return {id: self._copies.of(flight.result())}
        except NotCopied:
            return None

    async def _loaded(self, key: Any, lease: Lease, load: Callable[[], Awaitable[TData | None]]) -> TData | None:
        """Load a row for all who wait for it, put it in the cache and give the lease back."""
        id, under, _ = key
        flights = self._keeper.flights
        flight = flights[key] = asyncio.get_running_loop().create_future()
        entries: dict[Any, TData | None] = {}
        try:
            entries[id] = await load()
            flight.set_result(entries[id])
            with suppress(NotCopied):
                return self._copies.of(entries[id])
            return entries[id]
        finally:
            try:
                await self._cache.set_many(entries, {id: lease}, under=under)
            finally:  # a call that is cancelled meanwhile must not leave its answer to all who come later
                if flights.get(key) is flight:
                    del flights[key]
                flight.cancel()  # does nothing to one that has a result; the lease is free for one of those who wait

    async def _many(self, ids: Sequence[TId], scope: object, include_deleted: bool) -> list[TData]:
        """Give rows from the cache, and those that it has not by one statement."""
        verb = self._source.batch_querier.query
        try:
            under, scope = self._asking.under(scope, include_deleted)
            if under is None:
                return await self._source.read_once(verb, ids, scope=scope, include_deleted=include_deleted)
            asked = dict.fromkeys(ids)
            found = await self._cache.get_many(asked, under=under)
            if self._source.resilience is not None:
                self._tell(self._source.resilience, verb, len(found), len(asked))
            rest = [id for id in ids if found.get(id) is None]
            if rest:
                leases = await self._cache.lease(dict.fromkeys(rest), under=under)
                loaded: dict[Any, TData] = {}
                try:
                    await self._asking.keep_spelt_once(self._source.db)
                    data = await self._source.read_newest(verb, rest, scope=scope, include_deleted=include_deleted)
                    loaded = dict(zip(rest, data, strict=True))
                finally:
                    await self._cache.set_many({id: loaded[id] for id in leases if id in loaded}, leases, under=under)
                found.update(loaded)
            else:
                self._note(scope)
            return [cast("TData", found[id]) for id in ids]
        except Exception as exc:
            self._failed(verb, exc, is_final=self._source.resilience is None)
            raise

    def _tell(self, resilience: Resilience, verb: object, hits: int, asked: int) -> None:
        """Have policies told what the cache had."""
        failures = self._keeper.new_failures(self._cache.counts.failures)
        resilience.looked_up(operation_of(verb), hits=hits, misses=asked - hits, failures=failures)

    def _note(self, scope: Any) -> None:
        """Have what is logged of a scope logged where the database, which does so, is not asked."""
        if scope.__class__ is Unscoped:
            resolve_scope(scope, self._entity.info)

    @cached_property
    def _kind_of_absence(self) -> type[Exception]:
        """The class of that error."""
        return type(self._entity.absent(()))


async def _ended(seconds: float, work: Awaitable[T]) -> T:
    async with Within(seconds):
        return await work
