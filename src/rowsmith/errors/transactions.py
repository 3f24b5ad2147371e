"""Transactions that fail, whatever is in their statements."""

from __future__ import annotations

import logging

from rowsmith.errors.root import RepositoryError


class TransactionError(RepositoryError):
    """The transaction, not the statement, is what failed."""

    detail = "transaction_error"
    level = logging.WARNING


class ReadOnlyViolation(TransactionError):
    """A write in a read-only session (SQLSTATE 25006, or unflushed changes at its end).

    ``is_demoted`` says that it is the server that takes no writes: the connections to it were given up.
    """

    detail = "read_only"
    default_message = "this session is read-only: open begin_session() to write"
    is_demoted: bool = False


class TransactionAborted(TransactionError):
    """A statement failed, the block swallowed the error, and so nothing of it was committed."""

    detail = "transaction_aborted"
    default_message = (
        "a statement in this block failed and its error was swallowed, so nothing was committed: "
        "let the error leave the block, or put the risky part into a nested unit_of_work()"
    )
    level = logging.ERROR


class CommitOutcomeUnknown(TransactionError):
    """The answer to COMMIT was lost: the work may be there or not. Look before you try again."""

    detail = "commit_outcome_unknown"
    default_message = "the answer to COMMIT was lost: the work may be there or not"
    level = logging.ERROR


class AfterCommitFailed(TransactionError):
    """The transaction is committed; work handed to ``after_commit`` failed afterwards."""

    detail = "after_commit_failed"
    default_message = "the transaction is committed, but work registered with after_commit failed"
    level = logging.ERROR


class SerializationFailure(TransactionError):
    """Concurrent transactions could not be ordered (SQLSTATE 40001): run the whole transaction again."""

    detail = "serialization_failure"
    default_message = "concurrent transactions could not be ordered: run the whole transaction again"


class DeadlockDetected(TransactionError):
    """The database broke a deadlock at our cost (SQLSTATE 40P01): run the whole transaction again."""

    detail = "deadlock_detected"
    default_message = "the database broke a deadlock here: run the whole transaction again"


class LockNotAvailable(TransactionError):
    """A lock was not to be had in the time allowed (SQLSTATE 55P03, or SQLite's busy)."""

    detail = "lock_not_available"
    default_message = "a lock was not available"


class StalePlan(TransactionError):
    """A table was altered under a statement that this connection had prepared: run the whole transaction again.

    A call that is a transaction of its own has done so once by itself. ``is_undone`` says that the whole transaction
    was rolled back; not so in a unit of work, whose block goes on.
    """

    detail = "stale_plan"
    default_message = (
        "a table was altered since this connection prepared its statements: run the whole transaction again"
    )
    is_undone: bool = False


class ConcurrentUse(TransactionError):
    """One unit of work or session was used by two tasks at once; give each task its own."""

    detail = "concurrent_use"
    default_message = "one unit of work is used by two tasks at once: give each task its own"
