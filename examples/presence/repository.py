"""The repository of who is present: groups say who may ask, Redis knows who is there, a table keeps the peaks."""

from __future__ import annotations

from examples.group.repository import GroupRepository
from examples.group.types import GroupId, UserId
from examples.presence.rows import PeakRow
from examples.presence.stateful_source import PresenceStatefulSource
from examples.presence.types import PeakCreate, PeakData, PeakPatch
from rowsmith import OptionalState, Repository, SearchScope


class PeakRepository(Repository[PeakRow, PeakData, GroupId]):
    """Peaks, which go with their groups."""


class PresenceRepository:
    """Puts the three together. A group that is not in the scope is not found, whoever is in it."""

    def __init__(self, groups: GroupRepository, peaks: PeakRepository, stateful_source: PresenceStatefulSource) -> None:
        self._groups, self._peaks, self._stateful_source = groups, peaks, stateful_source

    async def arrive(self, id: GroupId, user_id: UserId, *, scope: SearchScope) -> int:
        """Say that a user is in a group, or still in it, and give how often that was said since the count began."""
        await self._groups.get(id, scope)
        await self._stateful_source.members.arrive(id, user_id)
        return await self._stateful_source.visits.add(id)

    async def leave(self, id: GroupId, user_id: UserId, *, scope: SearchScope) -> None:
        """Say that a user is no longer there."""
        await self._groups.get(id, scope)
        await self._stateful_source.members.leave(id, user_id)

    async def present(self, id: GroupId, scope: SearchScope) -> frozenset[UserId]:
        """Give who is there."""
        await self._groups.get(id, scope)
        return await self._stateful_source.members.present(id)

    async def record_peak(self, id: GroupId, *, scope: SearchScope) -> PeakData:
        """Note how many are there, if there never were as many. One process at a time does so."""
        await self._groups.get(id, scope)
        async with self._stateful_source.recording.held(id) as held:
            await self._peaks.upsert(PeakCreate(id))
            await self.write_peak(id, await self._stateful_source.members.count(id), held.fence)
            return await self._peaks.get(id)

    async def write_peak(self, id: GroupId, peak: int, fence: int) -> int:
        """Write a higher peak, unless a later holder of the lock has written: this one's may have ended by now."""
        patch = PeakPatch(OptionalState.update(peak), OptionalState.update(fence))
        return await self._peaks.update_where(
            [PeakRow.group_id == id, PeakRow.peak < peak, PeakRow.fence <= fence], patch
        )
