"""What became of a transaction whose block was left by an exception."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, Final, cast

from rowsmith.errors import AfterCommitFailed, CommitOutcomeUnknown, MappingError, RepositoryError, kind_of


class CommitOutcome(Enum):
    """Whether the work of a transaction is in the database."""

    COMMITTED = "committed"
    NOT_COMMITTED = "not_committed"
    UNKNOWN = "unknown"


_OUTCOME: Final = "_rowsmith_outcome"


def tell(failure: BaseException, outcome: CommitOutcome) -> None:
    """Have an exception carry an outcome, unless it carries one already: the innermost knows best."""
    failure.__dict__.setdefault(_OUTCOME, outcome)


def tell_of_all(failure: BaseException, outcome: CommitOutcome) -> None:
    """Have an exception carry the outcome of all that it ended, whatever it carries of a part or of what came later."""
    failure.__dict__[_OUTCOME] = outcome


def commit_outcome(exc: BaseException) -> CommitOutcome:
    """Say what became of the transaction that an exception ended.

    A call that is cancelled while COMMIT is under way may be committed all the same; the ``CancelledError`` carries
    what was found out, and so does whatever is made of it: the ``TimeoutError`` of ``asyncio.timeout`` or of anyio.

    ::

        try:
            async with asyncio.timeout(1):
                await groups.create(spec, scope=scope)
        except TimeoutError as exc:
            if commit_outcome(exc) is CommitOutcome.COMMITTED: ...

    Args:
        exc: what was caught; it is looked for in its causes, contexts and, of a group, members.

    Returns:
        ``COMMITTED`` or ``NOT_COMMITTED`` where it is known. ``UNKNOWN`` where it is not, or where nothing of
        rowsmith's is behind the exception. Of several transactions it is about the last one; but of ``purge_where`` in
        chunks it is about all of them: ``COMMITTED`` where rows were removed, ``NOT_COMMITTED`` where none was, and
        ``UNKNOWN`` where nobody knows it of the last ones.

    Raises:
        MappingError: it is no exception, as the None of ``task.exception()`` of a task that did not fail.
    """
    if not isinstance(cast("object", exc), BaseException):
        raise MappingError(
            f"commit_outcome takes the exception that was caught, not {kind_of(exc)}: call it in an except block, and "
            "where task.exception() is not None"
        )
    waiting, seen = deque([exc]), set[int]()
    while waiting:
        failure = waiting.popleft()
        if id(failure) in seen:
            continue
        seen.add(id(failure))
        if isinstance(failure, BaseExceptionGroup):
            members: Any = cast("Any", failure).exceptions
            found = {commit_outcome(member) for member in members}
            return found.pop() if len(found) == 1 else CommitOutcome.UNKNOWN
        if isinstance(failure, CommitOutcomeUnknown):
            return CommitOutcome.UNKNOWN
        if isinstance(failure, AfterCommitFailed):
            return CommitOutcome.COMMITTED
        told: CommitOutcome | None = failure.__dict__.get(_OUTCOME)
        if told is not None or isinstance(failure, RepositoryError):
            return told or CommitOutcome.NOT_COMMITTED
        waiting += [each for each in (failure.__cause__, failure.__context__) if each is not None]
    return CommitOutcome.UNKNOWN
