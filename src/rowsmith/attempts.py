"""One try at a piece of work: whether something of it was committed, so that it must not be done again."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final


class Attempt:
    """One try, in which it is watched what is committed, by this task and those that it starts.

    ``has_committed`` says that a transaction inside it was committed, or may have been: one of rowsmith's, or any of
    SQLAlchemy's on an engine that rowsmith knows, as that of a session that is lent.
    """

    has_committed = False


attempt: Final[ContextVar[Attempt | None]] = ContextVar("rowsmith_attempt", default=None)
"""The running try, by which somebody further out watches this work, and may do it again."""


def note_commit() -> None:
    """Say that COMMIT is about to be sent for what was written, in whatever attempt this is."""
    this = attempt.get()
    if this is not None:
        this.has_committed = True
