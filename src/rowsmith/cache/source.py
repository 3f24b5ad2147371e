"""What a cache is to a repository: it knows ids and data, and nothing of databases."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from typing_extensions import TypeVar

from rowsmith.errors import InvalidValue, MappingError, kind_of

TId = TypeVar("TId", bound=Hashable, default=Any)
TData = TypeVar("TData", default=Any)

Under: TypeAlias = tuple[Hashable, ...]
"""Under what a row is seen: whether deleted ones are, and each comparison of the scope; part of an entry's key."""

NO_SCOPE: Final[Under] = (False,)
"""Any live row."""

HOLD: Final = 10.0
"""For how many seconds a cache takes no entry of a row whose transaction nobody has heard of again."""

LEASE: Final = 5.0
"""For how many seconds a loader keeps others from loading the same."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The leave to fill an entry.

    ``token`` is that of the row's present state: an entry that was leased before a row changed is never taken.
    ``is_first`` says that nobody else is about to fill it.
    """

    token: Any
    is_first: bool


@dataclass
class CacheCounts:
    """What became of the entries asked for, and of the cache itself.

    ``hits`` were there, ``misses`` were not; ``failures`` are calls that the cache did not answer, ``owed`` those of
    them that were to invalidate, after which old entries may be there until their time is over.
    """

    hits: int = 0
    misses: int = 0
    failures: int = 0
    owed: int = 0


class CacheSource(Protocol[TId, TData]):
    """Keeps data by id. Its methods wait for a bounded time only: a cache that is away has nothing, and takes nothing.

    Attributes:
        data: the class of the data.
        counts: what became of what was asked.
    """

    data: type[TData]
    counts: CacheCounts

    async def get_many(self, ids: Collection[TId], *, under: Under = NO_SCOPE) -> dict[TId, TData | None]:
        """Give the entries that are there; None of a row that is known to be absent."""
        ...

    async def lease(self, ids: Collection[TId], *, under: Under = NO_SCOPE) -> dict[TId, Lease]:
        """Give the leave to fill entries, before the rows are read; without those that may not be filled now."""
        ...

    async def set_many(
        self, entries: Mapping[TId, TData | None], leases: Mapping[TId, Lease], *, under: Under = NO_SCOPE
    ) -> None:
        """Take entries whose lease is still good, and give the leases back; those without an entry, too."""
        ...

    async def hold(self, ids: Collection[TId] | None) -> object:
        """Drop the entries of some rows, or of all, and take none until :meth:`release`, or :data:`HOLD` is over."""
        ...

    async def release(self, held: object, ids: Collection[TId] | None) -> None:
        """Take entries again that are read from now on; gives back what :meth:`hold` gave."""
        ...

    async def invalidate(self, ids: Collection[TId] | None = None) -> None:
        """Drop the entries of some rows, or of all; what was read before is not taken any more."""
        ...


_METHODS: Final = ("get_many", "lease", "set_many", "hold", "release", "invalidate")


def check_cache(given: Any) -> None:
    """Refuse what keeps no data by id.

    Raises:
        MappingError: it is something else, such as what a cache is made with, or the class of one.
    """
    data, is_made = getattr(given, "data", None), not isinstance(given, type)
    if not (is_made and isinstance(data, type) and all(callable(getattr(given, name, None)) for name in _METHODS)):
        raise MappingError(
            f"cache_source is what keeps the data, not {kind_of(given)}: write "
            "cache_source=MemoryCacheSource(GroupData), or RedisCacheSource(client, GroupData, prefix='group')"
        )


def check_count(given: object, noun: str) -> int:
    """Give a number once it is known to be a positive one.

    Raises:
        InvalidValue: it is not.
    """
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InvalidValue(f"{noun} is a whole number above 0: write {noun}=10_000")
    return given
