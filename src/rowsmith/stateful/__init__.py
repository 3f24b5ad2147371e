"""State that lives in Redis or Valkey alone: counters, locks with a fencing number, who is present.

A cache may be away, and has nothing then; this is no cache. What Redis does not answer is ``StateUnavailable``, in
bounded time, and never a zero, an empty set or a lock that nobody holds.

::

    class PresenceStatefulSource(StatefulSource):
        def __init__(self, client: Redis) -> None:
            super().__init__(client, prefix="presence")
            self.visits = Counter(self, "visits", ttl=60.0)
            self.members = Presence(self, "members", UserId, ttl=30.0)
            self.recording = TokenLock(self, "recording", ttl=10.0)
"""

from __future__ import annotations

from rowsmith.stateful.counter import Counter
from rowsmith.stateful.lock import Held, TokenLock
from rowsmith.stateful.presence import Presence
from rowsmith.stateful.source import StatefulSource

__all__ = ["Counter", "Held", "Presence", "StatefulSource", "TokenLock"]
