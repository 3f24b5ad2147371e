"""What both caches do alike: entries of a class of data are kept for a time, and what becomes of them is counted."""

from __future__ import annotations

import logging
import random
from typing import Any, Final, Generic, cast

from rowsmith.cache.source import CacheCounts, TData
from rowsmith.deadline import check_seconds
from rowsmith.errors import MappingError, kind_of

logger = logging.getLogger("rowsmith.cache")

JITTER: Final = 0.1
"""By how much of it an entry's time may be shorter, so that those filled together do not end together."""


class TimedCache(Generic[TData]):
    """Knows for how long data is kept, and counts.

    Raises:
        MappingError: ``data`` is no class.
        InvalidValue: a time is no number of seconds.
    """

    def __init__(self, data: type[TData], ttl: float, negative_ttl: float | None) -> None:
        if not isinstance(cast("Any", data), type):
            kind = type(self).__name__
            raise MappingError(
                f"{kind}(...) takes the data class that it keeps, not {kind_of(data)}: write {kind}(GroupData)"
            )
        self.data = data
        self.counts = CacheCounts()
        self._ttl = check_seconds(ttl, "ttl")
        self._negative_ttl = None if negative_ttl is None else check_seconds(negative_ttl, "negative_ttl")

    def _seconds_of(self, data: TData | None) -> float | None:
        """Give for how long an entry is kept, by chance a little shorter than asked for; None: not at all."""
        ttl = self._negative_ttl if data is None else self._ttl
        return None if ttl is None else ttl * random.uniform(1 - JITTER, 1)  # noqa: S311 - no secret

    def _count(self, found: int, asked: int) -> None:
        """Count entries that were there, and those that were not."""
        self.counts.hits += found
        self.counts.misses += asked - found

    def _refuse(self, why: str) -> None:
        """Tell of data that cannot be kept."""
        self.counts.failures += 1
        logger.warning("%s %s, and is not kept in the cache", self.data.__name__, why)
