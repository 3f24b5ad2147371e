"""What is asked of the database: a public method opens one session, and private ones work in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from sqlalchemy.ext.asyncio import AsyncSession

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.search import DomainFilter
from examples.domain.types import DomainCreate, DomainData, DomainName, DomainPatch
from rowsmith import (
    Aggregator,
    BatchQuerier,
    Creator,
    Database,
    Page,
    Pagination,
    Purger,
    Querier,
    Rules,
    SearchScope,
    SoftDeleter,
    Updater,
    count,
)

RULES = Rules(
    not_found=DomainRepository.not_found,
    violations=DomainRepository.violations,
    soft_delete=DomainRepository.soft_delete,
)


@dataclass(frozen=True)
class OnContinent:
    continent: Continent
    domains: Annotated[int, count()]


@dataclass(frozen=True)
class Overview:
    """How many domains there are; the parts add up to the whole."""

    domains: int
    by_continent: Mapping[Continent, int]


class DomainDBSource:
    """The operations are made once and keep nothing between calls; a session is open as long as a public method runs.

    Inside of a session or unit of work that its caller opened, each method joins that one.
    """

    def __init__(self, db: Database) -> None:
        self.db = db
        self._creator = Creator(DomainRow, into=DomainData, **RULES)
        self._querier = Querier(DomainRow, into=DomainData, **RULES)
        self._batch_querier = BatchQuerier(DomainRow, into=DomainData, **RULES)
        self._aggregator = Aggregator(DomainRow, into=DomainData, **RULES)
        self._updater = Updater(DomainRow, into=DomainData, **RULES)
        self._soft_deleter = SoftDeleter(DomainRow, into=DomainData, **RULES)
        self._purger = Purger(DomainRow, into=DomainData, **RULES)

    async def create(self, spec: DomainCreate, scope: SearchScope | None = None) -> DomainData:
        """Make a domain."""
        async with self.db.begin_session() as db_sess:
            return await self._creator.create(db_sess, spec, scope=scope)

    async def get(self, name: DomainName, scope: SearchScope | None = None) -> DomainData:
        """Give a domain that is not deleted."""
        async with self.db.begin_readonly_session() as db_sess:
            return await self._querier.query(db_sess, name, scope=scope)

    async def get_newest(self, name: DomainName) -> DomainData:
        """Give a domain as the primary has it; what a replica gives may be older, and is nothing to keep."""
        async with self.db.begin_session() as db_sess:
            return await self._querier.query(db_sess, name)

    async def search(
        self, scope: SearchScope | None, wanted: DomainFilter | None = None, pagination: Pagination | None = None
    ) -> Page[DomainData]:
        """Give a page of domains, by name."""
        async with self.db.begin_readonly_session() as db_sess:
            return await self._batch_querier.search(db_sess, scope, wanted, pagination)

    async def update(self, name: DomainName, patch: DomainPatch, scope: SearchScope | None = None) -> DomainData:
        """Change a domain."""
        async with self.db.begin_session() as db_sess:
            return await self._updater.update(db_sess, name, patch, scope=scope)

    async def purge(self, name: DomainName, scope: SearchScope | None = None) -> DomainData:
        """Remove a domain for good, and give what it was."""
        async with self.db.begin_session() as db_sess:
            return await self._purger.purge(db_sess, name, scope=scope)

    async def succeed(self, name: DomainName, heir: DomainCreate, scope: SearchScope | None = None) -> DomainData:
        """End a domain and have another take its place, title included: both in one transaction, or neither."""
        async with self.db.begin_session() as db_sess:
            ended = await self._end(db_sess, name, scope)
            return await self._begin(db_sess, heir, ended, scope)

    async def overview(self, scope: SearchScope | None = None) -> Overview:
        """Count domains; of one moment, because the statements share a snapshot."""
        async with self.db.begin_readonly_session(snapshot=True) as db_sess:
            return Overview(await self._count(db_sess, scope), await self._by_continent(db_sess, scope))

    async def _end(self, db_sess: AsyncSession, name: DomainName, scope: SearchScope | None) -> DomainData:
        return await self._soft_deleter.delete(db_sess, name, scope=scope)

    async def _begin(
        self, db_sess: AsyncSession, heir: DomainCreate, ended: DomainData, scope: SearchScope | None
    ) -> DomainData:
        spec = DomainCreate(heir.name, ended.title, heir.continent, heir.description, ended.languages, ended.settings)
        return await self._creator.create(db_sess, spec, scope=scope)

    async def _count(self, db_sess: AsyncSession, scope: SearchScope | None) -> int:
        return await self._batch_querier.count(db_sess, scope)

    async def _by_continent(self, db_sess: AsyncSession, scope: SearchScope | None) -> Mapping[Continent, int]:
        by = [DomainRow.continent]
        found = await self._aggregator.aggregate(db_sess, scope, group_by=by, into=OnContinent)
        return {each.continent: each.domains for each in found}
