"""What became of a transaction is read from whatever exception its end was made into."""

from __future__ import annotations

import asyncio

import pytest

from rowsmith import CommitOutcome, CommitOutcomeUnknown, DeadlineExceeded, EntityAlreadyExists, commit_outcome
from rowsmith.errors import AfterCommitFailed, InvalidValue
from rowsmith.outcome import tell
from rowsmith.resilience import Resilience, TimeoutPolicy


def told(outcome: CommitOutcome) -> asyncio.CancelledError:
    failure = asyncio.CancelledError()
    tell(failure, outcome)
    return failure


@pytest.mark.parametrize("outcome", list(CommitOutcome))
def test_it_is_found_behind_what_was_made_of_it(outcome: CommitOutcome) -> None:
    """As the exception itself, as its cause, and as its context."""
    assert commit_outcome(told(outcome)) is outcome
    with pytest.raises(TimeoutError) as from_cause:
        raise TimeoutError from told(outcome)
    assert commit_outcome(from_cause.value) is outcome
    with pytest.raises(TimeoutError) as in_context:
        try:
            raise told(outcome)
        except asyncio.CancelledError:
            raise TimeoutError  # noqa: B904
    assert commit_outcome(in_context.value) is outcome


def test_the_innermost_knows_best() -> None:
    """What was told first stays."""
    failure = told(CommitOutcome.COMMITTED)
    tell(failure, CommitOutcome.NOT_COMMITTED)
    assert commit_outcome(failure) is CommitOutcome.COMMITTED


def test_errors_say_it_by_their_kind() -> None:
    """A failed statement is not committed, a failed callback is, and a lost answer is unknown."""
    assert commit_outcome(EntityAlreadyExists()) is CommitOutcome.NOT_COMMITTED
    assert commit_outcome(AfterCommitFailed()) is CommitOutcome.COMMITTED
    assert commit_outcome(CommitOutcomeUnknown()) is CommitOutcome.UNKNOWN
    assert commit_outcome(KeyError()) is CommitOutcome.UNKNOWN


def test_a_group_says_what_all_of_it_say() -> None:
    """Members that say otherwise than each other leave it unknown."""
    done, undone = told(CommitOutcome.COMMITTED), told(CommitOutcome.NOT_COMMITTED)
    assert commit_outcome(BaseExceptionGroup("", [done, done])) is CommitOutcome.COMMITTED
    assert commit_outcome(BaseExceptionGroup("", [done, undone])) is CommitOutcome.UNKNOWN


def test_exceptions_in_a_circle_end() -> None:
    """A cause that leads back is looked at once."""
    one, other = KeyError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert commit_outcome(one) is CommitOutcome.UNKNOWN


async def test_a_deadline_is_told_with_the_outcome() -> None:
    """Work that does not end is ended; the error is rowsmith's and carries what the work's end knew."""

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as exc:
            tell(exc, CommitOutcome.COMMITTED)
            raise

    with pytest.raises(DeadlineExceeded) as caught:
        await Resilience([TimeoutPolicy(0.01)]).call("create", work)
    assert commit_outcome(caught.value) is CommitOutcome.COMMITTED


async def test_the_earlier_deadline_holds() -> None:
    """A longer one inside does not lengthen it, and says nothing."""
    inner, outer = Resilience([TimeoutPolicy(3600)]), Resilience([TimeoutPolicy(0.01)])
    with pytest.raises(DeadlineExceeded, match=r"0\.01 seconds"):
        await outer.call("create", lambda: inner.call("create", asyncio.Event().wait))


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Only the deadline's own becomes an error."""
    task = asyncio.create_task(Resilience([TimeoutPolicy(3600)]).call("create", asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "5", None])
def test_a_time_that_is_none_is_refused(seconds: object) -> None:
    """When the policy is made, with what to write."""
    with pytest.raises(InvalidValue, match=r"5\.0"):
        TimeoutPolicy(seconds)  # type: ignore[arg-type]
