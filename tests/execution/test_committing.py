"""What a server that crashed says of a transaction: an id may have been given again."""

from __future__ import annotations

import pytest

from rowsmith import CommitOutcome
from rowsmith.execution.committing import _after_crash


@pytest.mark.parametrize(
    "is_committed, was_given, is_first, outcome",
    [
        (True, True, True, CommitOutcome.COMMITTED),
        (True, True, False, CommitOutcome.UNKNOWN),
        (True, False, True, CommitOutcome.NOT_COMMITTED),
        (True, False, False, CommitOutcome.NOT_COMMITTED),
        (False, True, True, CommitOutcome.NOT_COMMITTED),
        (False, True, False, CommitOutcome.NOT_COMMITTED),
        (None, False, True, CommitOutcome.NOT_COMMITTED),
    ],
)
def test_only_an_id_that_was_given_before_the_recovery_is_believed(
    is_committed: bool | None, was_given: bool, is_first: bool, outcome: CommitOutcome
) -> None:
    """One that had not been given by the next checkpoint can only be somebody else's by now."""
    assert _after_crash(is_committed, was_given, is_first) is outcome
