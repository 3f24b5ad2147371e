"""The cache in Redis: what it keeps, what it takes for its own, and what becomes of calls when it is away."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import math
import pickle
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NewType

import pytest
from pydantic import BaseModel, SecretStr
from redis import Redis as Plain
from redis.asyncio import Redis
from redis.crc import key_slot

from redis_server import Server, redis_server
from rowsmith import Database, InvalidValue, MappingError, OptionalState
from rowsmith.cache import RedisCacheSource
from rowsmith.cache.source import LEASE, NO_SCOPE
from rowsmith.redis_client import text_of_id
from rowsmith.testing import WithTables
from support import count_statements, until
from tenants import OwnedBy, ThingData, ThingPatch, ThingRepository
from verbs import things_in

A = OwnedBy("a")
SEVEN = ThingPatch(uses=OptionalState.update(7))
Key = NewType("Key", int)


@dataclass(frozen=True)
class Data:
    id: Key
    name: str | None = None


def cache_of(client: Redis, **options: Any) -> RedisCacheSource[Any, Any]:
    """Give a cache that no busy machine makes late."""
    given = {"prefix": "data", "timeout": 30.0, **options}
    return RedisCacheSource(client, given.pop("data", Data), **given)


async def fill(cache: RedisCacheSource[Any, Any], *ids: Any, under: Any = (False,)) -> None:
    await cache.set_many({id: Data(id) for id in ids}, await cache.lease(ids, under=under), under=under)


async def keys(client: Redis, kind: str) -> list[bytes]:
    return [key async for key in client.scan_iter(f"*:{kind}:*")]


async def test_entries_are_shared(client: Redis) -> None:
    """By whoever has the same prefix, version and class; they end with their time."""
    await fill(cache_of(client, ttl=100.0), 1, 2)
    assert await cache_of(client).get_many([1, 2, 3]) == {1: Data(Key(1)), 2: Data(Key(2))}
    for (key,) in [await keys(client, "e:i1")]:
        assert 80_000 < await client.pttl(key) <= 100_000
    for other in ({"prefix": "other"}, {"version": 2}):
        assert await cache_of(client, **other).get_many([1]) == {}


@pytest.mark.parametrize("ttl", [1e15, 1e300, sys.float_info.max])
async def test_a_time_longer_than_redis_counts_is_a_long_time(client: Redis, ttl: float) -> None:
    """Entries and what is remembered of absent rows are kept."""
    cache = cache_of(client, ttl=ttl, negative_ttl=ttl)
    await fill(cache, 1)
    await cache.set_many({2: None}, await cache.lease([2], under=(False,)), under=(False,))
    assert await cache.get_many([1, 2]) == {1: Data(Key(1)), 2: None}
    assert cache.counts.failures == 0


@pytest.mark.parametrize("prefix", ["data", "{data}"])
async def test_a_cluster_has_all_of_it_in_one_place(client: Redis, prefix: str) -> None:
    """Whichever of its rows a question is about; what is asked of several places at once is refused there."""
    cache = cache_of(client, prefix=prefix)
    await fill(cache, 1, 2)
    await cache.lease([1, 2], under=(True,))
    await cache.hold([3])
    told = [key async for key in client.scan_iter(f"{prefix}:*")]
    assert len(told) == await client.dbsize() == 8
    assert len(set(map(key_slot, told))) == 1


@pytest.mark.parametrize("under", [NO_SCOPE, (False, "a")], ids=["as it is", "scoped"])
async def test_a_write_with_another_version_ends_entries_of_all(client: Redis, under: Any) -> None:
    """While a new version is rolled out both read and write: neither is given what the other has changed since."""
    versions = [cache_of(client), cache_of(client, version=2), cache_of(client, data=More)]
    for reader in versions:
        for writer in versions:
            await reader.set_many({1: reader.data(1)}, await reader.lease([1], under=under), under=under)
            assert await reader.get_many([1], under=under) == {1: reader.data(1)}
            leases = await reader.lease([2], under=under)
            held = await writer.hold([1, 2])
            await writer.release(held, [1, 2])
            await reader.set_many({2: reader.data(2)}, leases, under=under)
            assert await reader.get_many([1, 2], under=under) == {}


async def test_an_entry_of_another_version_is_loaded_anew(client: Redis) -> None:
    """Nobody waits for one that is there in the other version."""
    old, new = cache_of(client), cache_of(client, version=2)
    await fill(old, 1)
    lease = (await new.lease([1]))[1]
    assert lease.is_first
    await new.set_many({1: Data(Key(1), "new")}, {1: lease})
    assert await new.get_many([1]) == {1: Data(Key(1), "new")}
    assert (await old.get_many([1]), (await old.lease([1]))[1].is_first) == ({}, True)


@dataclass(frozen=True)
class More:
    id: Key
    name: str | None = None
    more: int = 0


async def test_a_lease_whose_answer_does_not_come_is_given_back(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a call that is cancelled as it waits for it, or whose answer is late: nobody else waits for it."""
    cache, other = cache_of(client), cache_of(client)
    own, is_cancelled = cache._lease, False

    async def lost(*given: Any) -> object:
        await own(*given)
        if is_cancelled:
            await asyncio.Event().wait()
        raise TimeoutError

    monkeypatch.setattr(cache, "_lease", lost)
    assert await cache.lease([1, 2]) == {}
    await asyncio.gather(*cache._givers)
    assert all(lease.is_first for lease in (await other.lease([1, 2])).values())
    is_cancelled = True
    task = asyncio.ensure_future(cache.lease([3]))
    await until(lambda: client.exists(cache._entry("l", 3, "")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(*cache._givers)
    assert (await other.lease([3]))[3].is_first


async def test_a_class_with_other_fields_has_other_entries(client: Redis) -> None:
    """Also where the old ones would do, as a field with a default was not there."""

    @dataclass(frozen=True)
    class Wider(Data):
        size: int = 0

    await fill(cache_of(client), 1)
    assert await cache_of(client, data=Wider).get_many([1]) == {}


async def test_an_answer_as_text_is_the_same(server: Server, client: Redis) -> None:
    """A client that decodes is one, too."""
    await fill(cache_of(client), 1)
    async with server.client(decode_responses=True) as decoding:
        cache = cache_of(decoding)
        await fill(cache, 2)
        assert sorted(await cache.get_many([1, 2])) == [1, 2]


@pytest.fixture(
    params=[1, b"OK", "OK", True, [1, 2, 3], [[1], [], 3], [-1, -1, -1], [None] * 3, []],
    ids=repr,
)
def misled(
    client: Redis, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> RedisCacheSource[Any, Any]:
    """Give a cache that is answered what it did not ask for."""
    cache = cache_of(client)

    async def ask(*_: Any) -> Any:
        return request.param

    monkeypatch.setattr(cache, "_ask", ask)
    return cache


async def test_an_answer_of_another_kind_is_none(misled: RedisCacheSource[Any, Any]) -> None:
    """Whatever it is that answers, there is no entry, and no leave to fill one."""
    assert await misled.get_many([1]) == {}
    assert await misled.lease([1]) == {}


async def test_a_change_that_something_else_answers_is_owed(misled: RedisCacheSource[Any, Any]) -> None:
    """Nor is it taken for heard when it is told again."""
    await misled.release(await misled.hold([1]), [1])
    await misled.invalidate()
    assert misled.counts.owed == 3
    assert await misled.get_many([1]) == {}
    assert set(misled._owed) == {1, None}


async def test_a_change_that_is_heard_is_not_owed(server: Server, client: Redis) -> None:
    """By a client that decodes, neither."""
    async with server.client(decode_responses=True) as decoding:
        for cache in (cache_of(client), cache_of(decoding)):
            await cache.release(await cache.hold([1]), [1])
            await cache.invalidate()
            assert cache.counts.owed == 0


@pytest.mark.parametrize("ids", [[1], None])
async def test_what_was_leased_before_a_change_is_never_taken(client: Redis, ids: Any) -> None:
    """Nor what is leased while it is being committed; whoever else is committing holds it further."""
    cache, other = cache_of(client), cache_of(client)
    leases = await cache.lease([1])
    await other.invalidate(ids)
    await cache.set_many({1: Data(Key(1))}, leases)
    assert await cache.get_many([1]) == {}
    await fill(cache, 1)
    first = await other.hold(ids)
    second = await cache.hold(ids)
    assert await cache.get_many([1]) == await cache.lease([1]) == {}
    await other.release(first, ids)
    assert await cache.lease([1]) == {}
    await cache.release(second, ids)
    assert await cache.get_many([1]) == {}
    assert list(await cache.lease([1])) == [1]


@pytest.mark.parametrize("ids", [[1], None])
async def test_who_is_done_first_ends_nobody_elses_hold(client: Redis, ids: Any) -> None:
    """Nothing is taken before the last of all whose COMMITs are under way is done, whoever began first."""
    cache, other = cache_of(client), cache_of(client)
    first, second = await cache.hold(ids), await other.hold(ids)
    await other.release(second, ids)
    await other.invalidate(ids)
    assert await cache.lease([1]) == {}
    await cache.release(first, ids)
    assert list(await cache.lease([1])) == [1]


@pytest.mark.parametrize("ids", [[1], None])
async def test_who_never_comes_back_holds_for_a_time_of_his_own(
    client: Redis, ids: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long others hold after him."""
    cache = cache_of(client)
    monkeypatch.setattr("rowsmith.cache.redis.HOLD", 0.2)
    await cache.hold(ids)
    monkeypatch.setattr("rowsmith.cache.redis.HOLD", 600.0)
    await cache.release(await cache.hold(ids), ids)
    while not await cache.lease([1]):
        pass


async def test_one_is_the_first_to_load(client: Redis) -> None:
    """Of all processes, until it has or gives up."""
    cache, other = cache_of(client), cache_of(client)
    first = await cache.lease([1])
    assert first[1].is_first
    assert not (await other.lease([1]))[1].is_first
    await cache.set_many({}, first)
    assert (await other.lease([1]))[1].is_first


@pytest.mark.parametrize("under", [NO_SCOPE, (False, "a")], ids=["of anybody", "for a scope"])
@pytest.mark.parametrize("pattern", ["*:s", "*:s:i1"])
async def test_what_is_evicted_takes_along_what_it_says(client: Redis, pattern: str, under: Any) -> None:
    """A server that is short of memory drops keys one by one; an entry that is right without one ends by a change."""
    cache = cache_of(client)
    await fill(cache, 1, under=under)
    late = await cache.lease([1], under=under)
    assert list(await cache.get_many([1], under=under)) == [1]
    await client.delete(*[key async for key in client.scan_iter(pattern)])
    if under == NO_SCOPE and pattern == "*:s:i1":
        assert list(await cache.get_many([1])) == [1]
        await cache.release(await cache.hold([1]), [1])
    assert await cache.get_many([1], under=under) == {}
    await cache.set_many({1: Data(Key(1))}, late, under=under)
    assert await cache.get_many([1], under=under) == {}
    await cache.lease([1], under=under)
    assert await cache.get_many([1], under=under) == {}


@pytest.mark.parametrize("given", [[1], None, [2, 1]], ids=repr)
@pytest.mark.parametrize("under", [NO_SCOPE, (False, "a"), (True,)], ids=["of anybody", "for a scope", "deleted, too"])
async def test_a_change_ends_entries_under_whatever_they_are(client: Redis, under: Any, given: Any) -> None:
    """Before it is committed, and also where nobody says that it is."""
    cache = cache_of(client)
    for end in (cache.hold, cache.invalidate):
        await fill(cache, 1, 3, under=under)
        assert list(await cache.get_many([1, 3], under=under)) == [1, 3]
        held = await end(given)
        assert list(await cache.get_many([1, 3], under=under)) == ([] if given is None else [3])
        if held is not None:
            await cache.release(held, given)
            assert list(await cache.get_many([1, 3], under=under)) == ([] if given is None else [3])


@pytest.mark.parametrize("under, most", [(NO_SCOPE, 4), ((False, "a"), 7)], ids=["of anybody", "for a scope"])
async def test_entries_are_read_at_once(client: Redis, under: Any, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one command, with no more keys than it takes: each takes redis-py as long as a tenth of a command."""
    cache, asked, execute = cache_of(client), list[Any](), client.execute_command
    await fill(cache, 1, 2, 3, under=under)

    async def noting(*command: Any, **options: Any) -> Any:
        asked.append(command)
        return await execute(*command, **options)

    monkeypatch.setattr(client, "execute_command", noting)
    assert list(await cache.get_many([1, 2, 3], under=under)) == [1, 2, 3]
    ((name, *read),) = asked
    assert (name, len(read)) == ("MGET", most)


async def test_an_entry_is_json_and_no_pickle(client: Redis) -> None:
    """Who can write into Redis cannot have code run: what is read is JSON of the data's own fields."""
    cache = cache_of(client)
    await fill(cache, 1)
    (key,) = await keys(client, "e:i1")
    data = json.loads((await client.get(key)).rpartition(b"\n")[2])
    assert data["id"] == 1

    await client.set(key, (await client.get(key)).rpartition(b"\n")[0] + b"\n" + pickle.dumps(Bomb()))
    assert await cache.get_many([1]) == {}


class Bomb:
    """What a pickle of it would do when it is read."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was read",)


@pytest.mark.parametrize("garbage", [b"", b"\x80\x04N.", b"{}", b"null", b'{"id": "x"}'], ids=repr)
async def test_garbage_is_a_miss(client: Redis, garbage: bytes) -> None:
    """Alone, and after a head that is right."""
    cache = cache_of(client)
    await fill(cache, 1)
    (key,) = await keys(client, "e:i1")
    entry = await client.get(key)
    await client.set(key, garbage)
    assert await cache.get_many([1]) == {}
    if garbage != b"null":
        await client.set(key, entry[: entry.rindex(b"\n") + 1] + garbage)
        assert await cache.get_many([1]) == {}
        assert (await cache.lease([1]))[1].is_first


async def test_an_entry_of_another_key_is_a_miss(client: Redis) -> None:
    """As an answer to somebody else's question would be."""
    cache = cache_of(client)
    await fill(cache, 1, 2)
    (one,), (two,) = await keys(client, "e:i1"), await keys(client, "e:i2")
    await client.copy(two, one, replace=True)
    assert list(await cache.get_many([1, 2])) == [2]


async def test_keys_of_another_kind_are_taken_over(client: Redis) -> None:
    """Whoever put a list there."""
    cache = cache_of(client)
    await fill(cache, 1)
    for pattern in ("*:s", "*:s:i1", "*:e:i1:"):
        (key,) = [key async for key in client.scan_iter(pattern)]
        await client.delete(key)
        await client.rpush(key, "x")
    assert await cache.get_many([1]) == {}
    await fill(cache, 1)
    assert list(await cache.get_many([1])) == [1]


@dataclass(frozen=True)
class Wide:
    value: Any


@pytest.mark.parametrize("value", ["ß\x00", None, [1, {"a": 1.5}], True, 10**30], ids=repr)
async def test_what_json_keeps_is_kept(client: Redis, value: Any) -> None:
    """It comes back as it was."""
    cache = cache_of(client, data=Wide)
    await cache.set_many({1: Wide(value)}, await cache.lease([1]))
    assert await cache.get_many([1]) == {1: Wide(value)}


@pytest.mark.parametrize("value", [(1, 2), dt.date(2024, 1, 1), b"\xff", math.nan, math.inf, {1: 2}], ids=repr)
async def test_what_json_makes_something_else_of_is_not_kept(
    client: Redis, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told of, without the value."""
    cache = cache_of(client, data=Wide)
    await cache.set_many({1: Wide(value)}, await cache.lease([1]))
    assert await cache.get_many([1]) == {}
    assert cache.counts.failures == 1
    assert caplog.messages == ["Wide is not the same after it was JSON, and is not kept in the cache"]


@dataclass(eq=False)
class User:
    id: int
    word: SecretStr

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and other.id == self.id

    def __hash__(self) -> int:
        return self.id


async def test_what_a_class_takes_for_equal_is_not_enough(client: Redis) -> None:
    """JSON has asterisks for a secret, and entities are equal by their ids."""
    cache = cache_of(client, data=User)
    await cache.set_many({1: User(1, SecretStr("x"))}, await cache.lease([1]))
    assert await cache.get_many([1]) == {}


def test_each_id_has_a_text_of_its_own() -> None:
    """Whatever it is made of; points in time are the same wherever they are told."""
    at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    ids: list[Any] = [
        1,
        11,
        "1",
        "i1",
        "a,b",
        ("a", "b"),
        (1, 1),
        b"1",
        uuid.UUID(int=1),
        "\ud800",
        "x" * 200,
    ]
    ids += ["x" * 201, at, at.replace(tzinfo=None), at.date(), "", "\x00", "%00", ("", "")]
    assert len({text_of_id(id) for id in ids}) == len(ids)
    assert text_of_id(at) == text_of_id(at.astimezone(dt.timezone(dt.timedelta(hours=5))))
    assert max(len(text_of_id(id)) for id in ids) <= 100


async def test_a_client_that_is_none_is_refused(client: Redis) -> None:
    """With what to write; so is data that JSON cannot be made of."""
    with pytest.raises(MappingError, match=r"redis\.asyncio"):
        RedisCacheSource(Plain(), Data, prefix="x")  # type: ignore[arg-type]
    with pytest.raises(MappingError, match="JSON"):

        class Opaque: ...

        @dataclass(frozen=True)
        class Holder:
            inner: Opaque

        cache_of(client, data=Holder)
    with pytest.raises(InvalidValue, match="version"):
        cache_of(client, version=0)
    for prefix in ("", 5, "\ud800"):
        with pytest.raises(MappingError, match=r"RedisCacheSource: prefix is .*: write prefix='group'") as refused:
            cache_of(client, prefix=prefix)
        assert refused.value.__cause__ is None


class Model(BaseModel):
    id: int


async def test_a_model_is_data_too(client: Redis) -> None:
    """It says itself how it is made JSON."""
    cache = cache_of(client, data=Model)
    await cache.set_many({1: Model(id=1)}, await cache.lease([1]))
    assert await cache.get_many([1]) == {1: Model(id=1)}


@pytest.fixture
async def plain(with_tables: WithTables) -> AsyncIterator[ThingRepository]:
    async with things_in(with_tables) as things:
        yield things


def cached(db: Database, client: Redis, **options: Any) -> ThingRepository:
    return ThingRepository(db, cache_source=cache_of(client, data=ThingData, **options))


async def test_another_process_is_told_of_a_write(plain: ThingRepository, client: Redis) -> None:
    """By Redis itself; a hit sends nothing to the database."""
    mine, other = cached(plain.db, client), cached(Database(plain.db.engine), client)
    await mine.get(1, A)
    with count_statements(plain.db) as sent:
        assert (await other.get(1, A)).uses == 1
    assert sent == []
    await other.update(1, SEVEN, scope=A)
    assert (await mine.get(1, A)).uses == 7
    await other.update_where([], ThingPatch(uses=OptionalState.update(8)), scope=A, all_rows=True)
    assert (await mine.get(1, A)).uses == 8


async def test_one_of_many_loads_across_processes(plain: ThingRepository, client: Redis) -> None:
    """The others wait for its entry; what is counted is what they found at first, and not each look for it."""
    all_ = [cached(Database(plain.db.engine), client) for _ in range(3)]
    with count_statements(plain.db) as sent:
        found = await asyncio.gather(*(things.get(1, A) for things in all_ for _ in range(10)))
    assert len(found) == 30
    assert len(sent) == 1
    caches: list[Any] = [things.cache_source for things in all_]
    assert sum(cache.counts.misses for cache in caches) <= 30


async def test_who_has_a_deadline_does_not_wait_for_another_until_it_is_over(
    plain: ThingRepository, client: Redis
) -> None:
    """A process may have died as it was loading: its lease outlasts the deadline, and the row is loaded."""
    things = cached(Database(plain.db.engine, deadline=LEASE / 2), client)
    await cached(plain.db, client).get(1, A)  # so that there is a state, and under what it is asked for is known
    left = [key async for key in client.scan_iter("*:e:*")]
    for key in left:
        await client.delete(key)
        await client.set(key.replace(b":e:", b":l:"), "somebody who died", px=60_000)
    assert (await things.get(1, A)).uses == 1


async def test_a_deadline_leaves_time_for_the_database_where_the_cache_is_silent(plain: ThingRepository) -> None:
    """Also where the cache itself is given more: reads and writes are done, and after some it is left alone."""
    with redis_server() as server:
        async with server.client() as client:
            things = cached(Database(plain.db.engine, deadline=3.0), client, timeout=60.0)
            server.stop()
            assert (await things.get(1, A)).uses == 1
            assert len(await things.batch_get([1, 2], scope=A)) == 2
            assert (await things.update(1, SEVEN, scope=A)).uses == 7
            cache: Any = things.cache_source
            assert (cache.counts.owed > 0, cache._closed_until > 0) == (True, True)
            server.go_on()


async def test_a_cancelled_read_answers_nobody_else(plain: ThingRepository, client: Redis) -> None:
    """Whatever the connection was told last."""
    things = cached(plain.db, client)
    await things.batch_get([1, 2], scope=A)
    for turns in range(12):
        reader = asyncio.create_task(things.get(1, A))
        for _ in range(turns):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert (await things.get(2, A)).id == 2


async def test_calls_go_on_without_the_cache(plain: ThingRepository, caplog: pytest.LogCaptureFixture) -> None:
    """Hung or dead: reads come from the database, writes are done, and the cache hears of them before it is asked."""
    with redis_server() as server:
        async with server.client() as client:
            things = cached(plain.db, client, timeout=0.2)
            await things.get(1, A)
            server.stop()
            assert (await things.get(1, A)).uses == 1
            assert (await things.update(1, SEVEN, scope=A)).uses == 7
            cache: Any = things.cache_source
            assert cache.counts.failures > 0
            assert cache.counts.owed > 0
            server.go_on()
            assert (await things.get(1, A)).uses == 7
            server.kill()
            assert (await things.get(1, A)).uses == 7
            assert (await things.update(1, ThingPatch(uses=OptionalState.update(8)), scope=A)).uses == 8
            server.start()
            assert (await things.get(1, A)).uses == 8
    told = [record.getMessage() for record in caplog.records if record.name == "rowsmith.cache"]
    assert any("does not hear of a change" in message for message in told)
    assert all(record.levelno == logging.WARNING for record in caplog.records if record.name == "rowsmith.cache")


async def test_a_cache_that_fails_is_left_alone_for_a_while(client: Redis) -> None:
    """It is not waited for by each call."""
    cache = cache_of(client)
    asked = 0

    async def fails(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise OSError

    cache._client = type("Client", (), {"execute_command": staticmethod(fails)})
    for _ in range(10):
        assert await cache.get_many([1]) == {}
    assert asked == 3
    assert cache.counts.failures == 10


async def test_a_cancellation_that_is_lost_keeps_nobody_waiting(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may go on as if it had not been cancelled: the read does not."""
    heard = asyncio.Event()

    async def command(*_: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await asyncio.Event().wait()
            finally:
                heard.set()

    monkeypatch.setattr(client, "execute_command", command)
    assert await cache_of(client, timeout=0.01).get_many([1]) == {}
    await heard.wait()
