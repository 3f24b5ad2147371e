"""The example of presence: Redis and the database, put together by a repository."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from redis.asyncio import Redis

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.group.errors import GroupNotFound
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupId, UserId
from examples.presence.repository import PeakRepository, PresenceRepository
from examples.presence.rows import PeakRow
from examples.presence.stateful_source import PresenceStatefulSource
from examples.presence.types import PeakCreate
from redis_server import Server
from rowsmith import StateUnavailable
from rowsmith.testing import WithTables

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
ANN, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))


@dataclass
class World:
    presence: PresenceRepository
    peaks: PeakRepository
    berlin: GroupId


@pytest.fixture
async def world(with_tables: WithTables, client: Redis) -> AsyncIterator[World]:
    """Give two domains, one of them with a group."""
    async with with_tables(DomainRow, GroupRow, GroupMemberRow, PeakRow) as db:
        groups, peaks = GroupRepository(db), PeakRepository(db)
        for scope in (DE, FR):
            await DomainRepository(db).create(DomainCreate(scope.domain_name, scope.domain_name, Continent.EUROPE))
        berlin = await groups.create(GroupCreate(DE.domain_name, "Berlin"), scope=DE)
        presence = PresenceRepository(groups, peaks, PresenceStatefulSource(client, timeout=30.0))
        yield World(presence, peaks, berlin.id)


async def test_who_arrives_is_there_until_they_leave(world: World) -> None:
    """And each arrival counts."""
    presence, berlin = world.presence, world.berlin
    assert [await presence.arrive(berlin, user, scope=DE) for user in (ANN, BOB, ANN)] == [1, 2, 3]
    assert await presence.present(berlin, DE) == {ANN, BOB}
    await presence.leave(berlin, BOB, scope=DE)
    assert await presence.present(berlin, DE) == {ANN}


async def test_another_domain_finds_no_group(world: World) -> None:
    """Nor does anything happen in it."""
    presence, berlin = world.presence, world.berlin
    await presence.arrive(berlin, ANN, scope=DE)
    for refused in (
        lambda: presence.arrive(berlin, BOB, scope=FR),
        lambda: presence.leave(berlin, ANN, scope=FR),
        lambda: presence.present(berlin, FR),
        lambda: presence.record_peak(berlin, scope=FR),
        lambda: presence.present(GroupId(berlin + 1), DE),
    ):
        with pytest.raises(GroupNotFound):
            await refused()
    assert await presence.present(berlin, DE) == {ANN}


async def test_a_scope_that_limits_nothing_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a condition that holds for all, the test above fails."""
    monkeypatch.setattr(DomainScope, "to_conditions", lambda _: [GroupRow.id > 0])
    with pytest.raises(pytest.fail.Exception):
        await test_another_domain_finds_no_group(world)


async def test_a_peak_only_rises(world: World) -> None:
    """It is what was seen at most."""
    presence, berlin = world.presence, world.berlin
    peaks = list[int]()
    for user in (ANN, BOB):
        await presence.arrive(berlin, user, scope=DE)
        peaks.append((await presence.record_peak(berlin, scope=DE)).peak)
    await presence.leave(berlin, BOB, scope=DE)
    peaks.append((await presence.record_peak(berlin, scope=DE)).peak)
    assert peaks == [1, 2, 2]


async def test_who_held_the_lock_before_writes_no_peak(world: World) -> None:
    """Where a later holder has written."""
    presence, berlin = world.presence, world.berlin
    await world.peaks.create(PeakCreate(berlin))
    assert await presence.write_peak(berlin, 5, fence=2) == 1
    assert await presence.write_peak(berlin, 9, fence=1) == 0
    assert (await world.peaks.get(berlin)).peak == 5


async def test_a_redis_that_is_away_is_no_empty_group(world: World, server: Server, client: Redis) -> None:
    """It is an error, with a code of its own."""
    server.stop()
    try:
        world.presence._stateful_source = PresenceStatefulSource(client, timeout=0.01)
        with pytest.raises(StateUnavailable) as failed:
            await world.presence.present(world.berlin, DE)
        assert failed.value.error_code == "presence_present_state-unavailable"
    finally:
        server.go_on()
