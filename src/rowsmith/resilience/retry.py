"""Trying a whole transaction again, where nothing of it can have been kept."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar, cast

from tenacity import AsyncRetrying, RetryCallState, stop_before_delay, stop_never
from tenacity.wait import wait_base, wait_exponential, wait_fixed, wait_random_exponential

from rowsmith.attempts import Attempt, attempt
from rowsmith.errors import (
    CommitOutcomeUnknown,
    DatabaseUnavailable,
    DeadlineExceeded,
    DeadlockDetected,
    InvalidValue,
    LockNotAvailable,
    PoolExhausted,
    ReadOnlyViolation,
    SerializationFailure,
    kind_of,
)
from rowsmith.homes import is_inside
from rowsmith.outcome import CommitOutcome, commit_outcome, tell, tell_of_all
from rowsmith.resilience.policy import Opening, Operation, Policy, Work

T = TypeVar("T")

RETRY_DELAY: Final = 0.05
MAX_DELAY: Final = 1.0
DEADLINE: Final = 5.0
TRIES: Final = 3
TRIES_TO_SERIALIZE: Final = 5
OPT_IN: Final = {"55P03": LockNotAvailable, "57014": DeadlineExceeded}
"""What is retried only where ``RetryArgs(also=...)`` names it, by SQLSTATE."""


def _check(name: str, given: Any, *, at_least: float, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(given, bool) or not isinstance(given, kinds) or not at_least <= given < math.inf:
        noun = "a whole number" if whole else "a finite number"
        raise InvalidValue(f"{name} is {noun} of at least {at_least}: write {name}={at_least + 1:g}")


class BackoffStrategy(Enum):
    """How the wait grows from try to try, n counting from 0.

    ``FIXED`` is always ``retry_delay``; ``EXPONENTIAL`` is ``min(max_delay, retry_delay * 2**n)``; ``FULL_JITTER`` is
    drawn evenly from nothing to that, so that those who failed together do not come back together.
    """

    FIXED = "fixed"
    EXPONENTIAL = "exponential"
    FULL_JITTER = "full_jitter"


@dataclass(frozen=True)
class RetryBudget:
    """How much retries may add to the load while the database is away: ``ratio`` of the calls, and ``burst`` at once.

    Failures that say that the database is there (a deadlock, a serialization failure) are not held against it.
    """

    ratio: float = 0.1
    burst: int = 10

    def __post_init__(self) -> None:
        _check("ratio", self.ratio, at_least=0)
        _check("burst", self.burst, at_least=0)


@dataclass(frozen=True)
class RetryArgs:
    """How often and how fast is tried again.

    Args:
        max_retries: tries after the first; None for 2, and 4 where transactions could not be serialized.
        retry_delay: seconds before the first try after the first.
        backoff_strategy: how the wait grows.
        max_delay: the longest wait in seconds; None for 1, or for no limit where the strategy is ``FIXED``.
        non_retryable_exceptions: exceptions that are never retried, whatever else they are.
        also: SQLSTATEs that are retried only when named here: ``"55P03"`` (a lock was not available), ``"57014"`` (the
            statement was cancelled or timed out by the server).
        deadline: seconds after the first try's start when no further try begins; it ends no running one. None for
            no deadline.
        budget: what retries may add to the load; None for no limit.

    Raises:
        InvalidValue: a number is negative, NaN or none, a SQLSTATE is no such choice, or something is of another kind.
    """

    max_retries: int | None = None
    retry_delay: float = RETRY_DELAY
    backoff_strategy: BackoffStrategy = BackoffStrategy.FULL_JITTER
    max_delay: float | None = None
    non_retryable_exceptions: tuple[type[BaseException], ...] = ()
    also: tuple[str, ...] = ()
    deadline: float | None = DEADLINE
    budget: RetryBudget | None = RetryBudget()

    def __post_init__(self) -> None:
        if self.max_retries is not None:
            _check("max_retries", self.max_retries, at_least=0, whole=True)
        _check("retry_delay", self.retry_delay, at_least=0)
        for name in ("max_delay", "deadline"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), at_least=0)
        also = cast("Any", self.also)
        if (
            isinstance(also, str)
            or not isinstance(also, Collection)
            or not all(isinstance(code, str) and code in OPT_IN for code in cast("Any", also))
        ):
            raise InvalidValue("also names SQLSTATEs among ('55P03', '57014'): no others can be retried by choice")
        excluded = cast("Any", self.non_retryable_exceptions)
        if not isinstance(excluded, tuple) or not all(isinstance(kind, type) for kind in cast("Any", excluded)):
            raise InvalidValue("non_retryable_exceptions is a tuple of exception classes: write (GroupNotFound,)")
        for name, kind, words in (
            ("backoff_strategy", BackoffStrategy, "BackoffStrategy.FIXED"),
            ("budget", RetryBudget | None, "RetryBudget(ratio=0.1)"),
        ):
            if not isinstance(getattr(self, name), kind):
                raise InvalidValue(f"{name} is {kind_of(getattr(self, name))}: write {name}={words}")

    @property
    def wait(self) -> wait_base:
        """How long to wait before each try, as tenacity is told."""
        if self.backoff_strategy is BackoffStrategy.FIXED:
            return wait_fixed(self.retry_delay if self.max_delay is None else min(self.retry_delay, self.max_delay))
        longest = MAX_DELAY if self.max_delay is None else self.max_delay
        jittered = self.backoff_strategy is BackoffStrategy.FULL_JITTER
        growing = wait_random_exponential if jittered else wait_exponential
        return growing(multiplier=self.retry_delay, max=longest)


class RetryPolicy(Policy):
    """Tries a call again after a failure of which it is certain that nothing was kept.

    Retried are a serialization failure or a deadlock (also as the answer to COMMIT), and a database that could not be
    reached, or was lost before COMMIT was sent; and once, a write that a server refused because it was demoted. What
    ``also`` names may be. Nothing else ever is: no constraint, no bad input, no exhausted pool, no cancellation, no
    deadline, no error of the application's own, and above all no COMMIT whose answer was lost.

    A try is the whole call, on a session of its own. So nothing is retried inside a unit of work or a session that is
    around the call, nor once a part of the call was committed, nor by the inner one of two policies. A commit of
    SQLAlchemy's counts as one of rowsmith's does, by the owner of a session that is lent (``Database.from_session``) or
    beside it, on the engine of a Database. Not seen is what commits without one: ``AUTOCOMMIT``, the driver's own
    connection, COMMIT as a statement outside of rowsmith's sessions, and engines of others. A call with an
    ``idempotency_key`` is, where the answer to COMMIT was lost and nobody knows what became of it: done again, it gives
    what the first try wrote, or writes it now.
    """

    def __init__(self, args: RetryArgs | None = None) -> None:
        if args is not None and not isinstance(cast("Any", args), RetryArgs):
            raise InvalidValue(f"RetryPolicy takes RetryArgs, not {kind_of(args)}: write RetryPolicy(RetryArgs())")
        self.args = args or RetryArgs()
        budget = self.args.budget
        self._ratio, self._burst = (budget.ratio, float(budget.burst)) if budget else (0.0, math.inf)
        self._tokens = self._burst
        self._wait = self.args.wait
        self._too_late = stop_never if self.args.deadline is None else stop_before_delay(self.args.deadline)

    async def run(self, operation: Operation, work: Work[T]) -> T:
        """Do the work, and do it again where that is safe."""
        if not operation.is_repeatable or attempt.get() is not None or is_inside():
            return await work()
        if self._tokens < self._burst:
            self._tokens = min(self._tokens + self._ratio, self._burst)
        token = attempt.set(first := Attempt())
        try:
            return await work()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is raised as it is or the work done again
            failure = exc
        finally:
            attempt.reset(token)
        if not self._may_go_on(operation, failure, has_committed=first.has_committed):
            raise failure
        return await self._again(_Tries(operation, work, failure))

    async def stream(self, operation: Operation, opening: Opening[T]) -> AsyncGenerator[T, None]:
        """Give what is yielded; it is opened again only before its first item."""
        opened: AsyncGenerator[T, None] | None = None

        async def first() -> list[T]:
            nonlocal opened
            opened = opening()
            async for item in opened:
                return [item]
            return []

        try:
            for item in await self.run(operation, first):
                yield item
            if opened is not None:
                async for item in opened:
                    yield item
        finally:
            if opened is not None:
                await opened.aclose()

    async def _again(self, tries: _Tries[T]) -> T:
        def goes_on(state: RetryCallState) -> bool:
            failure = state.outcome.exception() if state.outcome else None
            return failure is not None and self._may_go_on(tries.operation, failure, has_committed=tries.has_committed)

        retrying = AsyncRetrying(sleep=tries.wait, stop=self._stops, wait=self._wait, retry=goes_on, reraise=True)
        return await retrying(tries)

    def _may_go_on(self, operation: Operation, failure: BaseException, *, has_committed: bool) -> bool:
        """Say whether a call may be made again after a failure: nothing of it was kept, or its key finds what was."""
        if isinstance(failure, self.args.non_retryable_exceptions):
            return False
        if operation.is_keyed and isinstance(failure, CommitOutcomeUnknown):
            return True
        if isinstance(failure, PoolExhausted) or (has_committed and not operation.is_keyed):
            return False
        if isinstance(failure, (SerializationFailure, DeadlockDetected, DatabaseUnavailable)):
            return True
        if isinstance(failure, ReadOnlyViolation):
            return failure.is_demoted
        return isinstance(failure, tuple(OPT_IN[code] for code in self.args.also))

    def _stops(self, state: RetryCallState) -> bool:
        failure = state.outcome.exception() if state.outcome else None
        usual = TRIES_TO_SERIALIZE if isinstance(failure, SerializationFailure) else TRIES
        most = usual if self.args.max_retries is None else self.args.max_retries + 1
        if isinstance(failure, ReadOnlyViolation):
            most = min(most, 2)  # once, on a new connection: the server behind it is another one, or it is not
        return state.attempt_number >= most or self._too_late(state) or not self._spend(failure)

    def _spend(self, failure: BaseException | None) -> bool:
        """Take what one retry costs, if it is there."""
        if not isinstance(failure, (DatabaseUnavailable, CommitOutcomeUnknown)):
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Tries(Generic[T]):
    """The tries after the first; its failure is given once more, since tenacity counts from there."""

    def __init__(self, operation: Operation, work: Work[T], failure: Exception) -> None:
        self.operation, self._work = operation, work
        self._first: Exception | None = failure
        self.has_committed = False
        self._is_open = isinstance(failure, CommitOutcomeUnknown)

    async def wait(self, seconds: float) -> None:
        """Wait for the next try; whoever is cancelled meanwhile is in none that could tell of itself."""
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError as exc:
            tell(exc, CommitOutcome.UNKNOWN if self._is_open else CommitOutcome.NOT_COMMITTED)
            raise

    async def __call__(self) -> T:
        """Do the work once more."""
        first, self._first = self._first, None
        if first is not None:
            raise first
        self.operation.note_retry()
        token = attempt.set(this := Attempt())
        try:
            return await self._work()
        except BaseException as exc:
            self._is_open = self._is_open or isinstance(exc, CommitOutcomeUnknown)
            if self._is_open and commit_outcome(exc) is CommitOutcome.NOT_COMMITTED:
                tell_of_all(exc, CommitOutcome.UNKNOWN)
            raise
        finally:
            attempt.reset(token)
            self.has_committed = this.has_committed
