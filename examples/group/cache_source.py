"""Where groups are kept so that the database is asked less: in Redis for all processes, or in one's own memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.group.types import GroupData, GroupId
from rowsmith.cache import CacheSource, MemoryCacheSource, RedisCacheSource

if TYPE_CHECKING:
    from redis.asyncio import Redis


def group_cache(client: Redis | None = None) -> CacheSource[GroupId, GroupData]:
    """Give the cache_source of groups: ``GroupRepository(db, cache_source=group_cache(client))``.

    The repository asks it first and falls back on the database: where it has no entry, is away, or cannot tell, as of a
    scope that looks at more than the group itself.
    """
    if client is None:
        return MemoryCacheSource(GroupData, ttl=60.0)
    return RedisCacheSource(client, GroupData, prefix="group", ttl=60.0, version=1)
