"""Sets of who is present: members of one type, who leave by themselves."""

from __future__ import annotations

from typing import Any, NewType
from uuid import UUID

import pytest
from redis.asyncio import Redis

from redis_server import Server
from rowsmith import InvalidValue, MappingError
from rowsmith.stateful import Presence, StatefulSource

UserId = NewType("UserId", UUID)
ANN, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))


def presence_of(client: Redis, member: Any = UserId, **options: Any) -> Presence[Any]:
    """Give a set whose members stay while a busy machine is at it."""
    return Presence(StatefulSource(client, prefix="room", timeout=30.0), "users", member, **{"ttl": 600.0, **options})


async def test_members_arrive_and_leave(client: Redis) -> None:
    """As often as they like, each in the room it is in."""
    room = presence_of(client)
    assert await room.present(1) == frozenset()
    for member in (ANN, BOB, ANN):
        await room.arrive(1, member)
    await room.arrive(2, BOB)
    assert await room.present(1) == {ANN, BOB}
    assert (await room.count(1), await room.count(2), await room.count(3)) == (2, 1, 0)
    await room.leave(1, ANN)
    await room.leave(1, ANN)
    assert await room.present(1) == {BOB}


async def test_who_is_not_heard_of_again_is_gone(client: Redis) -> None:
    """By the clock of Redis, for everybody at once; who is heard of again stays."""
    room = presence_of(client)
    await room.arrive(1, ANN)
    await room.arrive(1, BOB)
    (kept,) = [key async for key in client.scan_iter()]
    assert 0 < await client.pttl(kept) <= 600_000
    await client.zadd(kept, dict.fromkeys(await client.zrange(kept, 0, -1), 1))
    assert (await room.present(1), await room.count(1)) == (frozenset(), 0)
    await room.arrive(1, BOB)
    assert await room.present(1) == {BOB}
    assert await client.zcard(kept) == 1


async def test_a_shorter_time_takes_nobody_along(client: Redis) -> None:
    """Two releases of a program may know different times; each member has the one that it came with."""
    await presence_of(client).arrive(1, ANN)
    await presence_of(client, ttl=100.0).arrive(1, BOB)
    (kept,) = [key async for key in client.scan_iter()]
    assert await client.pttl(kept) > 100_000


@pytest.mark.parametrize("kind, members", [(int, {1, 2**60}), (str, {"", "é", "1"}), (tuple[int, str], {(1, "a")})])
async def test_members_are_of_any_type_that_json_holds(server: Server, client: Redis, kind: Any, members: Any) -> None:
    """They come out as they went in, by a client that decodes, too."""
    async with server.client(decode_responses=True) as decoding:
        for at in (client, decoding):
            room = presence_of(at, kind)
            for member in members:
                await room.arrive(1, member)
            assert await room.present(1) == members


async def test_a_member_of_another_type_is_refused(client: Redis) -> None:
    """Before Redis is asked, and without its value."""
    for verb in ("arrive", "leave"):
        with pytest.raises(InvalidValue, match="str was given") as refused:
            await getattr(presence_of(client), verb)(1, "secret")
        assert "secret" not in f"{refused.value!r}{refused.value.__context__!r}"


async def test_something_else_under_the_key_is_told_of(client: Redis) -> None:
    """Not taken for nobody, and not quoted."""
    await presence_of(client, str).arrive(1, "secret")
    with pytest.raises(InvalidValue, match="no member") as refused:
        await presence_of(client).present(1)
    assert refused.value.is_stored
    assert "secret" not in f"{refused.value!r}{refused.value.__context__!r}"


def test_a_type_that_json_does_not_hold_is_refused(client: Redis) -> None:
    """When the set is made."""

    class Opaque: ...

    with pytest.raises(MappingError, match="JSON of members"):
        presence_of(client, Opaque)
