"""What is kept in Redis alone, beside a db_source and a cache_source: a counter, a set of who is there, a lock."""

from __future__ import annotations

from redis.asyncio import Redis

from examples.group.types import UserId
from rowsmith.stateful import Counter, Presence, StatefulSource, TokenLock


class PresenceStatefulSource(StatefulSource):
    """Knows Redis and nothing of groups' rows; each by the group's id."""

    def __init__(self, client: Redis, *, timeout: float = 1.0) -> None:
        super().__init__(client, prefix="presence", timeout=timeout)
        self.visits = Counter(self, "visits", ttl=24 * 60 * 60)
        self.members = Presence(self, "members", UserId, ttl=30.0)
        self.recording = TokenLock(self, "recording", ttl=10.0)
