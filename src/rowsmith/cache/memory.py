"""The cache in the process's own memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Generic, cast

from rowsmith.cache.broadcast import Broadcast
from rowsmith.cache.copies import Copies, NotCopied
from rowsmith.cache.source import HOLD, LEASE, NO_SCOPE, Lease, TData, TId, Under, check_count
from rowsmith.cache.timed import TimedCache
from rowsmith.errors import MappingError, kind_of


class _Slot:
    """What is kept of one row in its present state: ends with it, and leases that name it end with it."""

    __slots__ = ("entries", "loading")

    def __init__(self) -> None:
        self.entries: dict[Under, tuple[float, Any]] = {}
        self.loading: dict[Under, float] = {}


class MemoryCacheSource(TimedCache[TData], Generic[TId, TData]):
    """Keeps data in the memory of this process; those used longest ago make way for others.

    Callers never share what can be changed: data of a class that is frozen through and through is handed out as it is,
    any other as a copy. It belongs to one event loop, as the database does.

    Args:
        data: the class of the data.
        ttl: seconds for which an entry is kept at most; each by chance up to a tenth shorter.
        max_entries: how many there are at most; rows under several scopes count as often.
        negative_ttl: seconds for which it is remembered that a row is absent; None: not at all.
        broadcast: tells it what other processes write; None: only ``ttl`` ends what they have changed.

    Raises:
        MappingError: ``data`` is no class, or ``broadcast`` none.
        InvalidValue: a number is none of its kind.
    """

    def __init__(
        self,
        data: type[TData],
        *,
        ttl: float = 60.0,
        max_entries: int = 10_000,
        negative_ttl: float | None = None,
        broadcast: Broadcast | None = None,
    ) -> None:
        super().__init__(data, ttl, negative_ttl)
        if broadcast is not None and not isinstance(cast("Any", broadcast), Broadcast):
            raise MappingError(f"broadcast is not {kind_of(broadcast)}: write broadcast=Broadcast(db, secret=...)")
        self.broadcast = broadcast
        self._by_digest: dict[str, TId] = {}
        self._max = check_count(max_entries, "max_entries")
        self._copies = Copies(data)
        self._clock = time.monotonic
        self._slots: OrderedDict[TId, _Slot] = OrderedDict()
        self._size = 0
        self._held: dict[TId | None, dict[object, float]] = {}

    def __len__(self) -> int:
        """Give how many entries there are."""
        return self._size

    async def get_many(self, ids: Collection[TId], *, under: Under = NO_SCOPE) -> dict[TId, TData | None]:
        """Give the entries that are there; None of a row that is known to be absent."""
        found: dict[TId, TData | None] = {}
        now, slots = self._clock(), self._slots
        for id in ids:
            slot = slots.get(id)
            entry = None if slot is None else slot.entries.get(under)
            if entry is not None and entry[0] > now:
                slots.move_to_end(id)
                with suppress(NotCopied):
                    found[id] = self._copies.of(entry[1])
        self._count(len(found), len(ids))
        return found

    async def lease(self, ids: Collection[TId], *, under: Under = NO_SCOPE) -> dict[TId, Lease]:
        """Give the leave to fill entries."""
        if self.broadcast is not None:
            if len(self._by_digest) > 4 * self._max:  # of rows that are gone, mostly
                self._by_digest = {self.broadcast.digest(id): id for id in self._slots}
            if not self.broadcast.is_listening:  # nobody would tell what others write
                return {}
        now = self._clock()
        if self._held and self._holds(None, now):
            return {}
        return {id: self._lease(id, under, now) for id in ids if not self._holds(id, now)}

    async def set_many(
        self, entries: Mapping[TId, TData | None], leases: Mapping[TId, Lease], *, under: Under = NO_SCOPE
    ) -> None:
        """Take entries whose lease is still good."""
        now = self._clock()
        for id, lease in leases.items():
            slot = self._slots.get(id)
            if slot is None or slot is not lease.token:
                continue
            slot.loading.pop(under, None)
            if id in entries:
                self._put(slot, under, now, entries[id])
            if not (slot.entries or slot.loading):
                del self._slots[id]
        while self._size > self._max or len(self._slots) > 2 * self._max:  # leases that nobody came back with, too
            self._drop(next(iter(self._slots)))

    async def hold(self, ids: Collection[TId] | None) -> object:
        """Drop entries and take none until they are released."""
        held, until = object(), self._clock() + HOLD
        await self.invalidate(ids)
        for id in (None,) if ids is None else ids:
            self._held.setdefault(id, {})[held] = until
        return held

    async def release(self, held: object, ids: Collection[TId] | None) -> None:
        """Take entries again."""
        await self.invalidate(ids)
        for id in (None,) if ids is None else ids:
            holders = self._held.get(id, {})
            holders.pop(held, None)
            if not holders:
                self._held.pop(id, None)

    async def invalidate(self, ids: Collection[TId] | None = None) -> None:
        """Drop entries; what was read before is not taken any more."""
        self._invalidate(ids)

    def forget(self, digests: Collection[str] | None) -> None:
        """Drop entries that another process has told of; see :class:`rowsmith.cache.Broadcast`."""
        known = self._by_digest
        self._invalidate(None if digests is None else [known.pop(each) for each in digests if each in known])

    def _invalidate(self, ids: Collection[TId] | None) -> None:
        """Drop entries, and end the leases for them."""
        if ids is None:
            self._slots.clear()
            self._by_digest.clear()
            self._size = 0
            return
        for id in ids:
            self._drop(id)

    def _lease(self, id: TId, under: Under, now: float) -> Lease:
        """Give the leave to fill an entry of a row; the first to ask for it is to load the row."""
        slot = self._slots.get(id)
        if slot is None:
            slot = self._slots[id] = _Slot()
            if self.broadcast is not None:
                self._by_digest[self.broadcast.digest(id)] = id
        is_first = slot.loading.get(under, 0.0) <= now
        if is_first:
            slot.loading[under] = now + LEASE
        return Lease(slot, is_first)

    def _put(self, slot: _Slot, under: Under, now: float, data: TData | None) -> None:
        """Keep an entry of a row, for its time."""
        seconds = self._seconds_of(data)
        if seconds is None:
            return
        try:
            kept = self._copies.of(data)
        except NotCopied:
            self._refuse("cannot be copied")
            return
        self._size += under not in slot.entries
        slot.entries[under] = (now + seconds, kept)

    def _drop(self, id: TId) -> None:
        """Forget a row and its entries."""
        slot = self._slots.pop(id, None)
        if slot is not None:
            self._size -= len(slot.entries)

    def _holds(self, id: TId | None, now: float) -> bool:
        """Say whether somebody holds a row, or all of them (None), and may still come back."""
        holders = self._held.get(id)
        if holders is None:
            return False
        if max(holders.values()) > now:
            return True
        del self._held[id]  # nobody came back to release it
        return False
