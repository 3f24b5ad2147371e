"""What users do with groups. It is given repositories, and knows neither tables nor sessions."""

from __future__ import annotations

from collections.abc import Callable

from examples.domain.repository import DomainRepository
from examples.domain.types import DomainCreate, DomainData
from examples.group.adapter import GroupAdapter, GroupsWanted
from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupData, GroupId, GroupPatch
from rowsmith import OptionalState, Page, SearchScope


class GroupService:
    """One call of a repository needs no transaction around it; several that stand or fall together have a unit of work.

    Args:
        groups, domains: on one database.
        announce: is told of each new domain, once it is committed.
    """

    def __init__(
        self, groups: GroupRepository, domains: DomainRepository, announce: Callable[[DomainData], None]
    ) -> None:
        self._groups, self._domains, self._announce = groups, domains, announce

    async def find(self, scope: SearchScope, wanted: GroupsWanted) -> Page[GroupData]:
        """Give the page that a form asks for."""
        return await self._groups.search(scope, GroupAdapter.to_query(wanted))

    async def open_domain(self, domain: DomainCreate, capital: str) -> GroupData:
        """Make a domain together with its capital, and tell of it."""
        async with self._groups.db.unit_of_work() as unit:
            opened = await self._domains.create(domain)
            spec = GroupCreate(opened.name, capital, GroupKind.CAPITAL)
            group = await self._groups.create(spec, scope=DomainScope(opened.name))
            unit.after_commit(lambda: self._announce(opened))
            return group

    async def merge(self, id: GroupId, into: GroupId, scope: SearchScope) -> GroupData:
        """Have one group end and its people count to another, both of them in the scope."""
        async with self._groups.db.unit_of_work():
            ended = await self._groups.delete(id, scope=scope)
            grown = OptionalState.expression(lambda: GroupRow.population + ended.population)
            return await self._groups.update(into, GroupPatch(population=grown), scope=scope)
