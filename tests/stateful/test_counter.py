"""Counters in Redis: what they count, for how long, and once each."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from redis_server import Server, lose_next_answer
from rowsmith import InvalidValue
from rowsmith.stateful import Counter, StatefulSource


def counter_of(client: Redis, prefix: str = "seats", **options: Any) -> Counter:
    """Give a counter that no busy machine makes late."""
    return Counter(StatefulSource(client, prefix=prefix, timeout=30.0), "taken", **options)


async def test_it_counts(client: Redis) -> None:
    """Up and down, from 0, and to 0 when it is reset."""
    seats = counter_of(client)
    assert await seats.value(7) == 0
    assert [await seats.add(7), await seats.add(7, 5), await seats.add(7, -2)] == [1, 6, 4]
    assert await seats.value(7) == 4
    await seats.reset(7)
    assert await seats.value(7) == 0


async def test_a_time_longer_than_redis_counts_is_a_long_time(client: Redis) -> None:
    """What is counted is kept."""
    seats = counter_of(client, ttl=1e300)
    assert [await seats.add(7), await seats.add(7)] == [1, 2]


async def test_each_key_has_a_number_of_its_own(client: Redis) -> None:
    """Whatever keys are made of; and each source's prefix."""
    seats, others = counter_of(client), counter_of(client, "others")
    keys = [1, "1", UUID(int=1), (1, 1), ("1", 1), "a:b", "}"]
    for number, key in enumerate(keys, 1):
        await seats.add(key, number)
    assert [await seats.value(key) for key in keys] == [1, 2, 3, 4, 5, 6, 7]
    assert await others.value(1) == 0


async def test_all_64_bits_are_kept(client: Redis) -> None:
    """Also where Lua's own numbers have 53."""
    assert await counter_of(client).add(1, 2**63 - 1) == await counter_of(client).value(1) == 2**63 - 1


async def test_a_client_that_decodes_is_one_too(server: Server, client: Redis) -> None:
    """What it gives as text is a number."""
    async with server.client(decode_responses=True) as decoding:
        assert await counter_of(decoding).add(1, 3) == await counter_of(decoding).value(1) == 3


async def test_its_time_begins_with_the_first_count(client: Redis) -> None:
    """And is not begun anew by those after it."""
    seats = counter_of(client, ttl=100.0)
    await seats.add(1)
    (kept,) = [key async for key in client.scan_iter("*}")]
    assert 0 < await client.pttl(kept) <= 100_000
    await client.pexpire(kept, 50_000)
    assert await seats.add(1) == 2
    assert await client.pttl(kept) <= 50_000


async def test_it_counts_once_where_an_answer_is_lost(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py asks again by itself, and Redis knows the request."""
    seats = counter_of(client)
    await seats.add(1)
    lose_next_answer(monkeypatch)
    assert await seats.add(1) == 2
    assert await seats.value(1) == 2


@pytest.mark.parametrize("kept", ["secret", "1.5", b"\xff", ""])
async def test_something_else_under_the_key_is_told_of(client: Redis, kept: Any) -> None:
    """Not taken for a number, and not quoted."""
    seats = counter_of(client)
    await client.set(seats._source.key("taken", 1), kept)
    with pytest.raises(InvalidValue, match="no number") as refused:
        await seats.value(1)
    assert refused.value.is_stored
    assert refused.value.error_code == "seats_value_invalid-value"
    assert "secret" not in f"{refused.value!r}{refused.value.__context__!r}"


@pytest.mark.parametrize("kept, by", [(2**63 - 1, 1), (-(2**63) + 1, -2)])
async def test_a_number_of_more_bits_is_refused(client: Redis, kept: int, by: int) -> None:
    """By what Redis answers, and nothing is counted."""
    seats = counter_of(client)
    await seats.add(1, kept)
    with pytest.raises(InvalidValue, match="64 bits") as refused:
        await seats.add(1, by)
    assert not refused.value.is_stored
    assert refused.value.error_code == "seats_add_invalid-value"
    assert await seats.value(1) == kept


@pytest.mark.parametrize("kept", ["secret", "1.5", b"\xff", "", "05", str(2**63)])
async def test_something_else_under_the_key_is_not_counted_on(client: Redis, kept: Any) -> None:
    """Not taken for a number that is too large, and not quoted; a text or anything else that Redis keeps."""
    seats = counter_of(client)
    await client.set(seats._source.key("taken", 1), kept)
    await client.rpush(seats._source.key("taken", 2), kept)
    for key in (1, 2):
        with pytest.raises(InvalidValue, match="no number") as refused:
            await seats.add(key)
        assert refused.value.is_stored
        assert "secret" not in f"{refused.value!r}{refused.value.__context__!r}"


@pytest.mark.parametrize("by", [True, 1.0, "1", None, 2**63, -(2**63)])
async def test_what_is_no_number_is_refused(client: Redis, by: Any) -> None:
    """Before Redis is asked."""
    with pytest.raises(InvalidValue, match=r"whole number|64 bits"):
        await counter_of(client).add(1, by)


@pytest.mark.parametrize("ttl", [0, -1.0, float("inf"), float("nan"), "1"])
async def test_a_time_that_is_none_is_refused(client: Redis, ttl: Any) -> None:
    """When the counter is made."""
    with pytest.raises(InvalidValue, match="ttl"):
        counter_of(client, ttl=ttl)
