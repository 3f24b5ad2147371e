"""The repository: it decides what the cache answers, and what a write ends there. The rest it hands on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from examples.by_hand.db_source import DomainDBSource, Overview
from examples.domain.search import DomainFilter
from examples.domain.types import DomainCreate, DomainData, DomainName, DomainPatch
from rowsmith import Page, Pagination, SearchScope
from rowsmith.cache import CacheSource


class DomainRepository:
    """Domains by hand.

    Args:
        db_source: what is asked of the database.
        cache_source: answers ``get`` where it may; without it the database always does.
    """

    def __init__(
        self, db_source: DomainDBSource, cache_source: CacheSource[DomainName, DomainData] | None = None
    ) -> None:
        self._db_source, self._cache_source = db_source, cache_source

    async def create(self, spec: DomainCreate, scope: SearchScope | None = None) -> DomainData:
        """Make a domain; that there was none may be in the cache."""
        async with self._changing(spec.name):
            return await self._db_source.create(spec, scope)

    async def get(self, name: DomainName, scope: SearchScope | None = None) -> DomainData:
        """Give a domain.

        The cache is not asked where a scope says more than the name, nor in a transaction, which sees what it wrote.
        """
        cache = self._cache_source
        if cache is None or scope is not None or self._db_source.db.is_in_session:
            return await self._db_source.get(name, scope)
        found = (await cache.get_many([name])).get(name)
        return await self._load(cache, name) if found is None else found

    async def search(
        self, scope: SearchScope | None, wanted: DomainFilter | None = None, pagination: Pagination | None = None
    ) -> Page[DomainData]:
        """Give a page of domains; a page of a cache would be old after any write."""
        return await self._db_source.search(scope, wanted, pagination)

    async def overview(self, scope: SearchScope | None = None) -> Overview:
        """Count domains."""
        return await self._db_source.overview(scope)

    async def update(self, name: DomainName, patch: DomainPatch, scope: SearchScope | None = None) -> DomainData:
        """Change a domain."""
        async with self._changing(name):
            return await self._db_source.update(name, patch, scope)

    async def purge(self, name: DomainName, scope: SearchScope | None = None) -> DomainData:
        """Remove a domain for good."""
        async with self._changing(name):
            return await self._db_source.purge(name, scope)

    async def succeed(self, name: DomainName, heir: DomainCreate, scope: SearchScope | None = None) -> DomainData:
        """End a domain and have another take its place."""
        async with self._changing(name, heir.name):
            return await self._db_source.succeed(name, heir, scope)

    async def _load(self, cache: CacheSource[DomainName, DomainData], name: DomainName) -> DomainData:
        """Read what the cache has not; it takes it only if nobody wrote the domain meanwhile, as the lease tells."""
        leases = await cache.lease([name])
        loaded: dict[DomainName, DomainData] = {}
        try:
            loaded[name] = await self._db_source.get_newest(name)
        finally:
            await cache.set_many(loaded, leases)
        return loaded[name]

    @asynccontextmanager
    async def _changing(self, *names: DomainName) -> AsyncIterator[None]:
        """Have the cache hold nothing of these domains until what is written of them is really committed.

        Where it never is, the hold ends by itself.
        """
        cache = self._cache_source
        if cache is None:
            yield
            return
        async with self._db_source.db.unit_of_work() as unit:
            held = await cache.hold(names)
            unit.after_commit(partial(cache.release, held, names))
            yield
