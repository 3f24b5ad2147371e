"""Every method of a repository passes its policies, and what they do is right under real faults."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import (
    CommitOutcome,
    CommitOutcomeUnknown,
    Database,
    DatabaseUnavailable,
    DBSource,
    EntityNotFound,
    MappingError,
    Unset,
    commit_outcome,
)
from rowsmith.idempotency import IdempotencyKeyRow
from rowsmith.resilience import Policy, Resilience, RetryArgs, RetryPolicy, default_resilience
from rowsmith.testing import FaultProxy, WithFaults, WithTables
from tenants import OwnedBy, ThingRepository, ThingRow
from verbs import VERBS, public_methods, spec, things_in, world_of

Pair = tuple[ThingRepository, FaultProxy]
A = OwnedBy("a")
AT_ONCE = Resilience([RetryPolicy(RetryArgs(retry_delay=0))])


class Told(Policy):
    """Writes down which operations pass."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def run(self, operation: Any, work: Any) -> Any:
        self.names.append(operation.name)
        return await work()

    async def stream(self, operation: Any, opening: Any) -> Any:
        self.names.append(operation.name)
        async for item in opening():
            yield item


@pytest.fixture
async def pair(with_faults: WithFaults) -> AsyncIterator[Pair]:
    async with with_faults(ThingRow, IdempotencyKeyRow) as (db, proxy):
        yield ThingRepository(db, resilience=AT_ONCE), proxy


@pytest.mark.parametrize("name", sorted(VERBS))
async def test_every_verb_passes_the_policies(name: str, with_tables: WithTables) -> None:
    """Once a call, under the name that its error codes have."""
    told = Told()
    async with things_in(with_tables) as things:
        watched = ThingRepository(things.db, resilience=Resilience([told]))
        id = 5 if VERBS[name].makes else 4 if name == "restore" else 1
        await VERBS[name].call(world_of(watched), id, A)
    assert len(told.names) == 1
    assert set(VERBS) == public_methods()


async def test_a_call_whose_connection_is_lost_before_commit_is_made_again(pair: Pair) -> None:
    """Whatever statement it is that is lost, the caller sees one row and no error."""
    things, proxy = pair
    for id, statement in enumerate(["BEGIN", "INSERT INTO"], start=1):
        proxy.drop_request(statement)
        await things.create(spec(id), scope=A)
    proxy.drop_answer("INSERT INTO")
    await things.create(spec(3), scope=A)
    proxy.drop_answer("SELECT things")
    assert (await things.get(1, A)).id == 1
    assert await things.count(A) == 3


async def test_a_commit_whose_answer_is_lost_is_never_made_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One COMMIT is sent: the call ends well where it is found committed, and is told where nobody can know."""
    things, proxy = pair
    await things.count(A)
    proxy.seen.clear()
    proxy.drop_answer("COMMIT")
    await things.create(spec(1), scope=A)
    assert sum("COMMIT" in statement for statement in proxy.seen) == 1
    monkeypatch.setattr("rowsmith.execution.committing.RESOLVING", 0)
    proxy.drop_answer("COMMIT")
    with pytest.raises(CommitOutcomeUnknown):
        await things.create(spec(2), scope=A)
    assert sum("COMMIT" in statement for statement in proxy.seen) == 2
    assert await things.count(A) == 2


@pytest.mark.parametrize("drop", [FaultProxy.drop_answer, FaultProxy.drop_request])
async def test_with_a_key_a_call_whose_outcome_nobody_knows_is_made_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, drop: Callable[[FaultProxy, str], None]
) -> None:
    """Whether it was committed or not: there is one row, and the caller is given it."""
    things, proxy = pair
    monkeypatch.setattr("rowsmith.execution.committing.RESOLVING", 0)
    drop(proxy, "COMMIT")
    assert (await things.create(spec(1), scope=A, idempotency_key="k")).id == 1
    drop(proxy, "COMMIT")
    assert len(await things.batch_create([spec(2), spec(3)], scope=A, idempotency_key="l")) == 2
    assert await things.count(A) == 3


async def test_a_try_that_fails_after_one_of_unknown_outcome(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What became of the call is not known, whatever is of the last try."""
    things, proxy = pair
    monkeypatch.setattr("rowsmith.execution.committing.RESOLVING", 0)
    assert await things.count(A) == 0  # there is a connection, and no other can be had
    proxy.drop_answer("COMMIT")
    await proxy.refuse()
    with pytest.raises(DatabaseUnavailable) as caught:
        await things.create(spec(1), scope=A, idempotency_key="k")
    assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN
    await proxy.accept()
    assert await things.count(A) == 1


async def test_a_key_makes_no_unit_of_work_repeatable(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other writes of the same transaction have none, so its outcome is told."""
    things, proxy = pair
    monkeypatch.setattr("rowsmith.execution.committing.RESOLVING", 0)
    proxy.drop_answer("COMMIT")
    with pytest.raises(CommitOutcomeUnknown):
        async with things.db.unit_of_work():
            await things.create(spec(1), scope=A, idempotency_key="k")
    assert await things.count(A) == 1


async def test_a_verb_of_the_applications_own_is_not_taken_for_keyed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what it does with an argument that is called like a key."""
    things, proxy = pair
    monkeypatch.setattr("rowsmith.execution.committing.RESOLVING", 0)

    async def write(db_sess: AsyncSession, *, idempotency_key: str) -> None:
        await things.db_source.creator.create(db_sess, spec(1), scope=A)

    proxy.drop_answer("COMMIT")
    with pytest.raises(CommitOutcomeUnknown):
        await things.db_source.write(write, idempotency_key="k")
    assert await things.count(A) == 1


async def test_a_commit_that_never_arrived_is_made_again(pair: Pair) -> None:
    """The server says that nothing was committed, so the whole call is."""
    things, proxy = pair
    proxy.drop_request("COMMIT")
    await things.create(spec(1), scope=A)
    assert await things.count(A) == 1


async def test_without_policies_a_lost_connection_is_told(with_faults: WithFaults) -> None:
    """``resilience=None`` takes them away."""
    async with with_faults(ThingRow) as (db, proxy):
        things = ThingRepository(db, resilience=None)
        assert things.db_source.resilience is None
        await things.count(A)
        proxy.drop_request("INSERT INTO")
        with pytest.raises(DatabaseUnavailable):
            await things.create(spec(1), scope=A)


async def test_a_class_may_have_its_own(with_tables: WithTables) -> None:
    """The class's holds where the instance is given none, and the instance's before it."""

    class Own(ThingRepository):
        resilience: ClassVar[Resilience | Unset | None] = AT_ONCE

    async with with_tables(ThingRow) as db:
        assert Own(db).db_source.resilience is AT_ONCE
        assert Own(db, resilience=None).db_source.resilience is None
        other = DBSource[ThingRow, Any, Any](db, Own.entity, resilience=AT_ONCE)
        assert Own(db_source=other).db_source.resilience is AT_ONCE
        assert other.into(ThingRow).resilience is AT_ONCE


def measured(operation: str, success: str) -> float:
    labels = {"domain": "repository", "layer": "thing_repository", "operation": operation, "success": success}
    return REGISTRY.get_sample_value("rowsmith_layer_operation_count_total", labels) or 0


async def test_by_default_calls_are_measured(with_tables: WithTables) -> None:
    """A repository that says nothing counts in Prometheus's own registry, by its class's name."""
    async with things_in(with_tables) as things:
        good, bad = measured("get", "true"), measured("get", "false")
        await things.get(1, A)
        with pytest.raises(EntityNotFound):
            await things.get(99, A)
        assert (measured("get", "true"), measured("get", "false")) == (good + 1, bad + 1)


def test_what_is_no_resilience_is_refused(database: Database) -> None:
    """Each mistake is told when the repository is made, with what to write."""
    with pytest.raises(MappingError, match="policies="):
        ThingRepository(database, resilience=RetryPolicy())  # type: ignore[arg-type]
    for wrong in (None, RetryPolicy(RetryArgs()), iter([])):
        with pytest.raises(MappingError, match=r"policies=\["):
            Resilience(policies=wrong)  # type: ignore[arg-type]
    with pytest.raises(MappingError, match="RetryPolicy"):
        Resilience([RetryArgs()])  # type: ignore[list-item]
    source = ThingRepository(database).db_source
    with pytest.raises(MappingError, match="DBSource"):
        ThingRepository(db_source=source, resilience=None)
    with pytest.raises(MappingError, match="DBSource: resilience is a Resilience or None, not list: write Resilience"):
        DBSource(database, ThingRow, resilience=[RetryPolicy()])  # type: ignore[arg-type]

    def plain() -> None: ...

    for apply in (AT_ONCE.apply(), AT_ONCE.apply):
        with pytest.raises(MappingError, match="async def"):
            apply(plain)


class Nobody:
    """Whose calls are counted."""


async def test_the_default_policies_cost_few_calls() -> None:
    """Metrics, spans that nobody listens to, and the retry: what they add to each call is counted, not timed."""
    policies, made = default_resilience(Nobody), list[str]()

    async def nothing() -> None: ...

    def note(frame: Any, event: str, _: object) -> None:
        made.append(event)

    await policies.call("get", nothing)
    sys.setprofile(note)
    try:
        await policies.call("get", nothing)
    finally:
        sys.setprofile(None)
    assert 10 < sum(event.endswith("call") for event in made) < 65
