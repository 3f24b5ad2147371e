"""A cache as a keeper of copies: what rowsmith writes, through whichever repository, ends its entries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, cast
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection, ForeignKey, Table
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.orm import Session

from rowsmith.cache.asking import Asking
from rowsmith.cache.broadcast import Broadcast
from rowsmith.cache.place import place_of
from rowsmith.cache.source import CacheSource
from rowsmith.database import Database
from rowsmith.errors import MappingError
from rowsmith.operations import Entity
from rowsmith.touched import Ids, Writing, keep

logger = logging.getLogger("rowsmith.cache")


class CacheKeeper:
    """Tells a cache of what is written into the tables of its rows, and into those that could take rows along."""

    def __init__(
        self, cache: CacheSource[Any, Any], entity: Entity[object, object], kept: Sequence[object], asking: Asking
    ) -> None:
        self._cache, self.kept, self._asking = ref(cache), kept, asking
        self._told = 0
        self._broadcast: Broadcast | None = getattr(cache, "broadcast", None)
        self._mapper, self._topic = entity.info.mapper, entity.info.all_parts[0].table.fullname
        if self._broadcast is not None:
            self._broadcast.add(self._topic, cast("Any", cache))
        self.flights: dict[Any, asyncio.Future[Any]] = {}
        own = frozenset(part.table for part in entity.info.all_parts)
        self._key = entity.info.mapper.primary_key
        rekeying = frozenset(_parents(own, "onupdate"))
        changing = own | rekeying  # a row that is removed may give another one a key that is handed on
        self._own, self._rekeying = _names(own), _names(rekeying)
        self._removing = _names(_parents(changing, "ondelete"))
        keep({*self._own, *self._removing, *self._rekeying}, self)

    def new_failures(self, failures: int) -> int:
        """Say how many of the cache's failures were not asked for yet."""
        told, self._told = self._told, failures
        return failures - told

    def is_concerned(self, writing: Writing) -> bool:
        """Say whether an entry could be of a row that is written."""
        tables = frozenset(writing.tables)  # new rows, too: a reader may be about to tell others that they are absent
        if self._cache() is None:
            return False
        return not self._own.isdisjoint(tables) or self._is_taken_along(writing, tables)

    def ids_of(self, writing: Writing, ids: Ids) -> Ids:
        """Give the ids that entries have; None, for all, where those written are none of them or take others along."""
        tables = frozenset(writing.tables)
        if ids is None or self._own.isdisjoint(tables) or self._is_taken_along(writing, tables):
            return None
        if tuple(writing.key) != self._key:
            return None
        keys = list(map(self._asking.key_of, ids))
        return None if None in keys else keys

    async def hold(self, ids: Ids) -> object:
        """Have the cache let go of entries and take none."""
        cache = self._cache()
        if cache is None:
            return None
        try:
            return await cache.hold(ids)
        except Exception as exc:  # noqa: BLE001 - a cache must not keep anybody from writing
            self._fail(cache, exc)
            return None

    async def release(self, held: object, ids: Ids) -> None:
        """Have it take entries again."""
        cache = self._cache()
        if cache is None:
            return
        try:
            await cache.release(held, ids)
        except Exception as exc:  # noqa: BLE001 - as above
            self._fail(cache, exc)

    @property
    def tells_others(self) -> bool:
        """Whether caches of other processes are told, too."""
        return self._broadcast is not None

    def tell(self, source: Session | Connection, ids: Ids) -> None:
        """Have the caches of other processes told what a transaction writes, once it is committed."""
        if self._broadcast is None:
            return
        if isinstance(source, Session):
            source = source.connection(bind_arguments={"mapper": self._mapper})
        self._broadcast.send(source, self._topic, ids)

    def _is_taken_along(self, writing: Writing, tables: Collection[str]) -> bool:
        """Say whether what is done to other tables may change rows of these by a foreign key."""
        if writing.makes:
            return False
        return (writing.removes and not self._removing.isdisjoint(tables)) or not self._rekeying.isdisjoint(tables)

    def _fail(self, cache: CacheSource[Any, Any], failure: Exception) -> None:
        """Count and log that the cache did not hear of a change."""
        cache.counts.failures += 1
        cache.counts.owed += 1
        logger.warning(
            "%s of %s did not invalidate (%s): entries may be old until their time is over",
            type(cache).__name__,
            cache.data.__name__,
            type(failure).__name__,
        )


_keepers: Final[WeakKeyDictionary[Any, CacheKeeper]] = WeakKeyDictionary()


def keeper_of(
    cache: CacheSource[Any, Any], entity: Entity[object, object], db: Database, maker: object, asking: Asking
) -> CacheKeeper:
    """Give what tells a cache of changes, made once for each.

    Args:
        cache: is to be told.
        entity: whose data it keeps.
        db: where that is read.
        maker: what makes the data of a row, where field names alone don't do.
        asking: knows an id when it sees one.

    Raises:
        MappingError: it keeps other data, or that of other rows, rules or databases.
    """
    if cache.data is not entity.shape.into:
        raise MappingError(
            f"this cache_source keeps {cache.data.__name__}, and the repository gives {entity.shape.into.__name__}"
        )
    mark, kept = entity.soft_delete, [entity.info.row, maker, place_of(db)]
    kept += [] if mark is None else [mark.column.key, repr(mark.deleted), repr(mark.restored)]
    found = _keepers.get(cache)
    if found is None:
        broadcast: Broadcast | None = getattr(cache, "broadcast", None)
        is_asyncpg, database = db.engine.dialect.driver == "asyncpg", db.engine.url.database
        if broadcast is not None and not (is_asyncpg and database == broadcast.database):
            raise MappingError(
                "this cache_source has a broadcast in another database than its rows: write Broadcast(db, ...)"
            )
        found = _keepers[cache] = CacheKeeper(cache, entity, kept, asking)
    if found.kept != kept:
        raise MappingError(
            "this cache_source keeps rows of another class, with other rules or of another database already, "
            "or of connections that are made in another way: make one for each"
        )
    return found


def _parents(tables: Collection[Table], action: str) -> Iterator[Table]:
    """Give the tables whose rows, removed or given other keys, take rows of these along; and those above them."""
    seen, waiting = set[Table](), list(tables)
    while waiting:
        for key in waiting.pop().foreign_keys:
            parent = _parent(key) if str(getattr(key.constraint, action, None)).upper() in _ACTIONS else None
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    yield from seen


def _names(tables: Iterable[Table]) -> frozenset[str]:
    return frozenset(table.fullname for table in tables)


_ACTIONS: Final = ("CASCADE", "SET NULL", "SET DEFAULT")


def _parent(key: ForeignKey) -> Table | None:
    """Give the table that a foreign key points at; None where it is not known."""
    try:
        return key.column.table
    except NoReferenceError:  # its class is not imported
        return None
