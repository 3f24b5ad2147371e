"""What holds for all state in Redis: a Redis that is away is an error, metrics and logs say whose."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar, cast

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from redis import Redis as Plain
from redis.asyncio import Redis

from redis_server import Server
from rowsmith import InvalidValue, MappingError, StateUnavailable
from rowsmith.resilience import (
    DomainType,
    LayerType,
    MetricArgs,
    MetricPolicy,
    Operation,
    Policy,
    Resilience,
    RetryArgs,
    RetryPolicy,
)
from rowsmith.stateful import Counter, Held, Presence, StatefulSource, TokenLock

T = TypeVar("T")

DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


class RoomStatefulSource(StatefulSource):
    """One of each."""

    def __init__(self, client: Redis, **options: Any) -> None:
        super().__init__(client, prefix="room", **{"timeout": 30.0, **options})
        self.visits = Counter(self, "visits")
        self.users = Presence(self, "users", str, ttl=600.0)
        self.cleaning = TokenLock(self, "cleaning", ttl=600.0)

    async def clean(self) -> None:
        async with self.cleaning.held(1):
            pass


OPERATIONS: dict[str, Callable[[RoomStatefulSource], Awaitable[Any]]] = {
    "add": lambda room: room.visits.add("secret"),
    "value": lambda room: room.visits.value("secret"),
    "reset": lambda room: room.visits.reset("secret"),
    "arrive": lambda room: room.users.arrive(1, "secret"),
    "leave": lambda room: room.users.leave(1, "secret"),
    "present": lambda room: room.users.present(1),
    "count": lambda room: room.users.count(1),
    "acquire": lambda room: room.clean(),
}


KEYED: dict[str, Callable[[RoomStatefulSource, Any], Awaitable[Any]]] = {
    "value": lambda room, key: room.visits.value(key),
    "arrive": lambda room, key: room.users.arrive(key, "a"),
    "acquire": lambda room, key: room.cleaning.held(key).__aenter__(),
}


@pytest.fixture
async def hung(server: Server, client: Redis) -> AsyncIterator[Redis]:
    """Give a client of a server that hangs."""
    server.stop()
    try:
        yield client
    finally:
        server.go_on()


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_redis_that_hangs_is_an_error(hung: Redis, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """In bounded time, never a zero or nobody; logged once, and no key is quoted anywhere."""
    room = RoomStatefulSource(hung, timeout=0.01)
    with pytest.raises(StateUnavailable, match="may have been done") as failed:
        await OPERATIONS[name](room)
    assert failed.value.error_code == f"room_{name}_state-unavailable"
    (record,) = [record for record in caplog.records if record.name == "rowsmith.failures"]
    assert (record.error_code, record.domain, record.operation) == (failed.value.error_code, "room", name)  # type: ignore[attr-defined]
    assert record.levelno == logging.ERROR
    assert "secret" not in f"{failed.value!r}{failed.value.__context__!r}{caplog.text}"


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_redis_that_is_not_there_is_an_error(name: str) -> None:
    """However often the client tries to connect."""
    async with Redis(unix_socket_path="/nonexistent/redis.sock") as nobody:
        with pytest.raises(StateUnavailable):
            await OPERATIONS[name](RoomStatefulSource(nobody, timeout=0.01))


async def test_a_key_of_something_else_is_an_error(client: Redis) -> None:
    """What Redis refuses is told of as what it does not answer."""
    room = RoomStatefulSource(client)
    await client.set(room.key("users", 1), "x")
    with pytest.raises(StateUnavailable, match="ResponseError"):
        await room.users.present(1)


async def test_a_cancelled_call_is_cancelled(hung: Redis) -> None:
    """It becomes no error of Redis's."""
    asking = asyncio.create_task(RoomStatefulSource(hung).visits.value(1))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    given = {"domain": "repository", "layer": "room_stateful_source", **labels}
    return registry.get_sample_value(f"rowsmith_layer_{name}", given)


async def test_metrics_have_the_layer_of_stateful_sources(client: Redis) -> None:
    """The same families as a repository's, with a label of its own."""
    registry = CollectorRegistry()
    args = MetricArgs(DomainType.REPOSITORY, LayerType.STATEFUL_SOURCE.of("room"))
    room = RoomStatefulSource(client, resilience=Resilience([MetricPolicy(args, registry=registry)]))
    await room.clean()
    await client.set(room.key("visits", 1), "no number")
    with pytest.raises(InvalidValue):
        await room.visits.add(1)
    for operation in ("acquire", "release"):
        assert sample(registry, "operation_count_total", operation=operation, success="true") == 1
    failed = {"operation": "add", "error_code": "room_add_invalid-value"}
    assert sample(registry, "operation_error_count_total", **failed) == 1


async def test_the_default_policies_have_that_label_too(client: Redis) -> None:
    """Where nothing is said of policies; None takes them away."""
    policies = RoomStatefulSource(client).resilience
    assert policies is not None
    (labels,) = [policy._labels for policy in policies.policies if isinstance(policy, MetricPolicy)]
    assert labels == ("repository", "room_stateful_source")
    assert RoomStatefulSource(client, resilience=None).resilience is None


async def test_spans_say_that_it_is_redis(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that OpenTelemetry has for it."""
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", tracers)
    await RoomStatefulSource(client).visits.add(1)
    (span,) = exporter.get_finished_spans()
    assert span.name == "add room_stateful_source"
    assert (span.attributes or {})["db.system.name"] == "redis"


class Tries(Policy):
    """Counts how often work is begun."""

    begun = 0

    async def run(self, operation: Operation, work: Callable[[], Awaitable[T]]) -> T:
        self.begun += 1
        return await work()


async def test_what_may_have_been_done_is_not_done_again() -> None:
    """No retry that knows only rowsmith's own kinds of failure makes a second count of one."""
    tries = Tries()
    policies = Resilience([RetryPolicy(RetryArgs(max_retries=5, retry_delay=0.0)), tries])
    async with Redis(unix_socket_path="/nonexistent/redis.sock") as nobody:
        with pytest.raises(StateUnavailable):
            await RoomStatefulSource(nobody, timeout=0.01, resilience=policies).visits.add(1)
    assert tries.begun == 1


class Kind(Enum):
    A = "a"


@pytest.mark.parametrize(
    "other", [("a", ("b",)), (("a",), "b"), ("a", "b", ()), "a,b", "sra,srb", b"a", 1, 1.0, Kind.A]
)
def test_each_key_has_a_name_of_its_own(client: Redis, other: Any) -> None:
    """However tuples stand in one another, and of whichever kind the parts are."""
    room = RoomStatefulSource(client)
    keys = [("a", "b"), "a", ("a",), 11, True, None, DAY, DAY.date(), Decimal(1)]
    assert len({room.key("visits", key) for key in (*keys, other)}) == len(keys) + 1


class Five:
    """What numpy's ``int64`` is: an object that can be a key, and is no number of Python's."""

    def __str__(self) -> str:
        return "5"


@pytest.mark.parametrize(
    "key", [type("int64", (Five,), {})(), Five(), frozenset({"a"}), ("a", Five()), ["a"], object()]
)
@pytest.mark.parametrize("name", KEYED)
async def test_what_other_processes_may_name_otherwise_is_no_key(client: Redis, key: Any, name: str) -> None:
    """It is refused before Redis is asked, and says what to give."""
    with pytest.raises(InvalidValue, match=r"a key is a text, .*: write") as refused:
        await KEYED[name](RoomStatefulSource(client), key)
    assert "5" not in str(refused.value)


REFUSED: dict[str, Callable[[RoomStatefulSource], Awaitable[Any]]] = {
    "add": lambda room: room.visits.add("secret", cast("Any", "secret")),
    "value": lambda room: room.visits.value(cast("Any", ["secret"])),
    "reset": lambda room: room.visits.reset(cast("Any", ["secret"])),
    "arrive": lambda room: room.users.arrive("secret", cast("Any", 1)),
    "leave": lambda room: room.users.leave("secret", cast("Any", 1)),
    "present": lambda room: room.users.present(cast("Any", ["secret"])),
    "count": lambda room: room.users.count(cast("Any", ["secret"])),
    "acquire": lambda room: room.cleaning.held(cast("Any", ["secret"])).__aenter__(),
    "extend": lambda room: Held(room.cleaning, "key", "token", 1).extend(-1.0),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_says_whose_it_is(client: Redis, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """As what Redis does not answer does: in its words, its code, the log and the metrics."""
    caplog.set_level(logging.INFO, logger="rowsmith.failures")
    registry = CollectorRegistry()
    args = MetricArgs(DomainType.REPOSITORY, LayerType.STATEFUL_SOURCE.of("room"))
    room = RoomStatefulSource(client, resilience=Resilience([MetricPolicy(args, registry=registry)]))
    with pytest.raises(InvalidValue, match=r"^room: ") as refused:
        await REFUSED[name](room)
    code = f"room_{name}_invalid-value"
    (record,) = [record for record in caplog.records if record.name == "rowsmith.failures"]
    assert (refused.value.error_code, record.error_code) == (code, code)  # type: ignore[attr-defined]
    assert sample(registry, "operation_error_count_total", operation=name, error_code=code) == 1
    assert "secret" not in f"{refused.value!r}{caplog.text}"
    assert await client.keys("*") == []


@pytest.mark.parametrize(
    "make",
    [
        lambda client: Counter(client, "visits"),
        lambda client: Presence(client, "users", str, ttl=1.0),
        lambda client: TokenLock(client, "cleaning", ttl=1.0),
        lambda client: Counter(RoomStatefulSource(client), cast("Any", 1)),
    ],
)
def test_what_is_made_of_no_source_is_refused(client: Redis, make: Callable[[Any], Any]) -> None:
    """With what to write."""
    with pytest.raises(MappingError, match=r"write (Counter|Presence|TokenLock)\(source, "):
        make(client)


@pytest.mark.parametrize(
    "given, complaint",
    [
        ({"client": Plain()}, r"RoomStatefulSource\(\.\.\.\) takes a client of redis\.asyncio"),
        ({"resilience": RetryPolicy()}, "resilience is a Resilience or None"),
        ({"prefix": ""}, "prefix is empty: write"),
        ({"prefix": 1}, "prefix"),
        ({"prefix": "\ud800"}, "prefix is no text that can be sent: write"),
    ],
)
def test_a_source_that_is_made_wrongly_is_refused(client: Redis, given: Any, complaint: str) -> None:
    """With what to write."""
    kind = StatefulSource if "prefix" in given else RoomStatefulSource
    with pytest.raises(MappingError, match=complaint):
        kind(given.pop("client", client), **given)


def test_a_time_that_is_none_is_refused(client: Redis) -> None:
    """When the source is made."""
    with pytest.raises(InvalidValue, match="timeout"):
        RoomStatefulSource(client, timeout=0)
