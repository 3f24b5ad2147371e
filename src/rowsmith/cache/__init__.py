"""Caches: a repository that is given one reads by key through it, and what it writes ends the entries.

::

    groups = GroupRepository(db, cache_source=MemoryCacheSource(GroupData, ttl=60.0))

``get``, ``find`` and ``batch_get`` outside of sessions and units of work come from the cache where they can. Never is a
row given as it was before a write that was acknowledged, nor to a scope that it is not in.
"""

from __future__ import annotations

from rowsmith.cache.broadcast import Broadcast
from rowsmith.cache.memory import MemoryCacheSource
from rowsmith.cache.redis import RedisCacheSource
from rowsmith.cache.source import CacheCounts, CacheSource, Lease

__all__ = ["Broadcast", "CacheCounts", "CacheSource", "Lease", "MemoryCacheSource", "RedisCacheSource"]
