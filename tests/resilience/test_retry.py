"""A try is made again only where nothing can have been kept, and by the outermost policy alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from rowsmith import (
    CommitOutcome,
    CommitOutcomeUnknown,
    Database,
    DatabaseFault,
    DatabaseUnavailable,
    DeadlineExceeded,
    DeadlockDetected,
    EntityAlreadyExists,
    InvalidValue,
    LockNotAvailable,
    PoolExhausted,
    SerializationFailure,
    TransactionAborted,
    TransactionError,
    commit_outcome,
)
from rowsmith.attempts import note_commit
from rowsmith.resilience import BackoffStrategy, Policy, Resilience, RetryArgs, RetryBudget, RetryPolicy
from rowsmith.testing import WithFaults, WithTables
from tenants import DomainRow

NOW = RetryArgs(retry_delay=0, deadline=None)


class Flaky:
    """Fails with what it is given, one after the other, and then works."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.tries = 0

    async def __call__(self) -> int:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.tries


def resilient(**changes: Any) -> Resilience:
    return Resilience([RetryPolicy(RetryArgs(**{"retry_delay": 0, "deadline": None, **changes}))])


@pytest.mark.parametrize(
    "failure, outcome",
    [(DatabaseUnavailable(), CommitOutcome.NOT_COMMITTED), (CommitOutcomeUnknown(), CommitOutcome.UNKNOWN)],
)
async def test_cancelled_between_two_tries(failure: Exception, outcome: CommitOutcome) -> None:
    """What is known of the tries before is known of the call."""
    again = resilient(retry_delay=60, backoff_strategy=BackoffStrategy.FIXED)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await again.call("create", Flaky(failure), is_keyed=True)
    assert commit_outcome(caught.value) is outcome


@pytest.mark.parametrize("kind", [SerializationFailure, DeadlockDetected, DatabaseUnavailable])
async def test_what_is_certainly_undone_is_tried_again(kind: type[Exception]) -> None:
    """Two failures and then success: three tries by default."""
    work = Flaky(kind(), kind())
    assert await resilient().call("create", work) == 3


@pytest.mark.parametrize(
    "kind",
    [
        CommitOutcomeUnknown,
        PoolExhausted,
        EntityAlreadyExists,
        InvalidValue,
        TransactionAborted,
        DatabaseFault,
        LockNotAvailable,
        DeadlineExceeded,
        ValueError,
        KeyboardInterrupt,
    ],
)
async def test_everything_else_is_not(kind: type[BaseException]) -> None:
    """The first failure leaves as it is, after one try."""
    failure = kind()
    work = Flaky(failure)
    with pytest.raises(kind) as caught:
        await resilient(max_retries=5).call("create", work)
    assert caught.value is failure
    assert work.tries == 1


@pytest.mark.parametrize("code, kind", [("55P03", LockNotAvailable), ("57014", DeadlineExceeded)])
async def test_what_is_chosen_is_tried_again(code: str, kind: type[Exception]) -> None:
    """``also`` names it by its SQLSTATE."""
    assert await resilient(also=(code,)).call("update", Flaky(kind())) == 2


async def test_serialization_has_five_tries_and_the_rest_three() -> None:
    """The last failure leaves once they are used up."""
    for kind, tries in ((SerializationFailure, 5), (DatabaseUnavailable, 3)):
        work = Flaky(*(kind() for _ in range(9)))
        last = work.failures[tries - 1]
        with pytest.raises(kind) as caught:
            await resilient().call("create", work)
        assert work.tries == tries
        assert caught.value is last


async def test_max_retries_counts_the_tries_after_the_first() -> None:
    """None leaves one try, ten leave eleven."""
    for retries in (0, 10):
        work = Flaky(*(DeadlockDetected() for _ in range(20)))
        with pytest.raises(DeadlockDetected):
            await resilient(max_retries=retries).call("create", work)
        assert work.tries == retries + 1


async def test_exceptions_that_are_named_are_not_retried() -> None:
    """A domain's own subclass of a retried error can be kept out."""

    class Busy(DeadlockDetected):
        pass

    work = Flaky(Busy())
    with pytest.raises(Busy):
        await resilient(non_retryable_exceptions=(Busy,)).call("create", work)
    assert work.tries == 1


async def test_no_try_begins_after_the_deadline() -> None:
    """A wait that would end after it is not waited for."""
    work = Flaky(*(DeadlockDetected() for _ in range(9)))
    args = RetryArgs(max_retries=8, retry_delay=60, backoff_strategy=BackoffStrategy.FIXED, deadline=5)
    with pytest.raises(DeadlockDetected):
        await Resilience([RetryPolicy(args)]).call("create", work)
    assert work.tries == 1


@pytest.mark.parametrize("first", [0, 1], ids=["in the first try", "in the second"])
async def test_nothing_is_done_twice_once_a_part_was_committed(first: int) -> None:
    """Whatever fails after a commit inside the work is told, not tried again."""
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries > first:
            note_commit()
        raise DeadlockDetected

    with pytest.raises(DeadlockDetected):
        await resilient(max_retries=5).call("create", work)
    assert tries == first + 1


ADD = sa.text("INSERT INTO domains (name) VALUES ('new')")


async def _in_a_borrowed_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        async with Database.from_session(session).unit_of_work() as unit:
            await unit.session.execute(ADD)
        await session.commit()


async def _on_its_connection(engine: AsyncEngine) -> None:
    async with engine.begin() as connection, AsyncSession(connection) as session:
        Database.from_session(session)
        await session.execute(ADD)


async def _in_a_session_beside(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        await session.execute(ADD)


async def _by_the_engine(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(ADD)


@pytest.mark.parametrize("add", [_in_a_borrowed_session, _on_its_connection, _in_a_session_beside, _by_the_engine])
async def test_what_others_committed_inside_is_not_done_twice(
    any_tables: WithTables, add: Callable[[AsyncEngine], Awaitable[None]]
) -> None:
    """A session that is lent commits as its owner says, and what is sent beside rowsmith goes the same way."""
    async with any_tables(DomainRow) as db:
        work = Flaky(*(DeadlockDetected() for _ in range(9)))

        async def adding() -> None:
            await add(db.engine)
            await work()

        with pytest.raises(DeadlockDetected):
            await resilient().call("create", adding)
        assert work.tries == 1


async def test_what_an_owner_commits_on_an_engine_of_his_own_is_not_done_twice(any_tables: WithTables) -> None:
    """One that no Database was made of, and whose session is lent all the same."""
    async with any_tables(DomainRow) as db:
        engine, work = create_async_engine(db.engine.url), Flaky(DeadlockDetected())

        async def adding() -> None:
            await _in_a_borrowed_session(engine)
            await work()

        with pytest.raises(DeadlockDetected):
            await resilient().call("create", adding)
        assert work.tries == 1
        await engine.dispose()


@pytest.mark.parametrize("is_left_by", ["a failure", "its end"])
async def test_what_a_statement_committed_is_not_done_twice(any_tables: WithTables, is_left_by: str) -> None:
    """Nobody knows what became of a session that a COMMIT in it ended, and what comes after may fail as it likes."""
    async with any_tables(DomainRow) as db:
        work = Flaky(DeadlockDetected())

        async def adding() -> None:
            with suppress(TransactionError):
                async with db.begin_session() as session:
                    await session.execute(ADD)
                    await session.execute(sa.text("COMMIT"))
                    if is_left_by == "a failure":
                        raise DeadlockDetected
            await work()

        with pytest.raises(DeadlockDetected):
            await resilient().call("create", adding)
        assert work.tries == 1


async def test_what_an_owner_undid_is_done_again(any_tables: WithTables) -> None:
    """Nothing of it was kept, neither of his session nor of a unit of work."""
    async with any_tables(DomainRow) as db:
        work = Flaky(DeadlockDetected(), DeadlockDetected())

        async def adding() -> None:
            async with AsyncSession(db.engine) as session:
                async with Database.from_session(session).unit_of_work() as unit:
                    await unit.session.execute(ADD)
                await session.rollback()
            async with db.unit_of_work() as unit:
                await unit.session.execute(ADD)
                await work()

        await resilient().call("create", adding)
        assert work.tries == 3


async def test_an_owners_commit_whose_answer_is_lost_is_not_sent_again(with_faults: WithFaults) -> None:
    """It may have been kept, whatever its owner makes of the error."""
    async with with_faults(DomainRow) as (db, proxy):
        tries = 0

        async def adding() -> None:
            nonlocal tries
            tries += 1
            proxy.drop_answer("COMMIT")
            with suppress(DBAPIError):
                await _in_a_borrowed_session(db.engine)
            raise DatabaseUnavailable

        with pytest.raises(DatabaseUnavailable):
            await resilient().call("create", adding)
        assert tries == 1


async def test_a_units_commit_that_never_arrived_is_sent_again(with_faults: WithFaults) -> None:
    """The server says that nothing of it was kept."""
    async with with_faults(DomainRow) as (db, proxy):
        proxy.drop_request("COMMIT")

        async def adding() -> None:
            async with db.unit_of_work() as unit:
                await unit.session.execute(ADD)

        await resilient().call("create", adding)
        async with db.begin_readonly_session() as session:
            assert (await session.execute(sa.select(sa.func.count()).select_from(DomainRow))).scalar_one() == 1


async def test_only_the_outermost_policy_retries() -> None:
    """Two layers of three tries each make three tries, not nine."""
    inner, outer = resilient(), resilient()
    work = Flaky(*(DeadlockDetected() for _ in range(20)))
    with pytest.raises(DeadlockDetected):
        await outer.call("create", lambda: inner.call("create", work))
    assert work.tries == 3


async def test_nothing_is_retried_inside_a_unit_of_work(database: Database) -> None:
    """The transaction is the caller's: only he can begin it again."""
    work = Flaky(DeadlockDetected())
    with pytest.raises(DeadlockDetected):
        async with database.unit_of_work():
            await resilient().call("create", work)
    assert work.tries == 1


async def test_a_total_outage_adds_a_tenth_to_the_load() -> None:
    """A thousand calls that all fail make at most a tenth more tries, and the burst."""
    retrying = resilient(budget=RetryBudget(ratio=0.1, burst=10))
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        raise DatabaseUnavailable

    for _ in range(1_000):
        with pytest.raises(DatabaseUnavailable):
            await retrying.call("get", work)
    assert tries == 1_000 + 100 + 9  # the burst was there, less the ninth tenths that it had no room for


async def test_a_stream_is_opened_again_before_its_first_item_only() -> None:
    """After an item its failure is told; nothing is given twice."""
    opened = 0

    @resilient().apply()
    async def numbers(fails_at: int) -> AsyncGenerator[int]:
        nonlocal opened
        opened += 1
        for number in range(3):
            if number == fails_at and opened == 1:
                raise DatabaseUnavailable
            yield number

    assert [number async for number in numbers(0)] == [0, 1, 2]
    assert opened == 2
    opened, got = 0, list[int]()
    with pytest.raises(DatabaseUnavailable):
        async for number in numbers(1):
            got.append(number)
    assert got == [0]
    assert opened == 1


async def test_an_iterator_is_not_used_twice() -> None:
    """What is used up by the first try cannot be given to a second; a list can."""
    sums: list[int] = []

    @resilient().apply()
    async def total(numbers: Any) -> int:
        sums.append(sum(numbers))
        if len(sums) == 1:
            raise DatabaseUnavailable
        return sums[-1]

    with pytest.raises(DatabaseUnavailable):
        await total(iter([1, 2]))
    sums.clear()
    assert await total([1, 2]) == 3


async def test_a_block_is_never_retried() -> None:
    """It cannot be begun again."""
    with pytest.raises(DeadlockDetected):
        async with resilient().run("rename"):
            raise DeadlockDetected


async def test_the_first_policy_is_outermost() -> None:
    """Policies are entered in their order, and left in reverse; by the decorator alone, too."""
    told: list[str] = []

    class Told(Policy):
        def __init__(self, name: str) -> None:
            self.name = name

        async def run(self, operation: Any, work: Callable[[], Any]) -> Any:
            told.append(f"{self.name} in {operation.name}")
            result = await super().run(operation, work)
            told.append(f"{self.name} out")
            return result

    both = Resilience([Told("a"), Told("b")])

    @both.apply()
    async def rename(name: str) -> str:
        return name

    @both.apply
    async def remove(name: str) -> str:
        return name

    assert await rename("x") == "x"
    assert told == ["a in rename", "b in rename", "b out", "a out"]
    assert await remove("x") == "x"
    assert told[4:] == ["a in remove", "b in remove", "b out", "a out"]


@pytest.mark.parametrize(
    "changes",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_retries": True},
        {"retry_delay": float("nan")},
        {"retry_delay": -1},
        {"max_delay": float("inf")},
        {"deadline": "5"},
        {"also": ("23505",)},
        {"also": "55P03"},
        {"also": 55},
        {"non_retryable_exceptions": ValueError},
        {"backoff_strategy": "fixed"},
        {"budget": 0.5},
    ],
    ids=str,
)
def test_arguments_that_mean_nothing_are_refused(changes: dict[str, Any]) -> None:
    """Each is told when they are made, with what to write."""
    with pytest.raises(InvalidValue):
        RetryArgs(**changes)


def waits(args: RetryArgs) -> Iterator[float]:
    from tenacity import RetryCallState

    for number in range(1, 8):
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        state.attempt_number = number
        yield args.wait(state)


def test_the_waits_grow_as_they_should() -> None:
    """Fixed, doubled up to the longest, or drawn from nothing to that."""
    fixed = RetryArgs(retry_delay=0.1, backoff_strategy=BackoffStrategy.FIXED)
    assert set(waits(fixed)) == {0.1}
    growing = RetryArgs(retry_delay=0.1, backoff_strategy=BackoffStrategy.EXPONENTIAL, max_delay=1)
    assert list(waits(growing)) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1, 1])
    bounds = [0.05, 0.1, 0.2, 0.4, 0.8, 1, 1]
    for _ in range(100):
        assert all(0 <= wait <= bound for wait, bound in zip(waits(RetryArgs()), bounds, strict=True))
