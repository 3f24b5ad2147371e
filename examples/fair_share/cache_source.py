"""Where fair shares are kept so that the database is asked less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.fair_share.types import FairShareData, FairShareKey
from rowsmith.cache import CacheSource, MemoryCacheSource, RedisCacheSource

if TYPE_CHECKING:
    from redis.asyncio import Redis


def fair_share_cache(client: Redis | None = None) -> CacheSource[FairShareKey, FairShareData]:
    """Give a cache in Redis for all processes, or in one's own memory."""
    if client is None:
        return MemoryCacheSource(FairShareData, ttl=60.0)
    return RedisCacheSource(client, FairShareData, prefix="fair-share", ttl=60.0, version=1)
