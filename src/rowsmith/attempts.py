"""One try at a piece of work: whether something of it was committed, so that it must not be done again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Attempt:
    """One try; ``has_committed`` says that a transaction inside it was committed, or may have been."""

    has_committed: bool = False


_current: ContextVar[Attempt | None] = ContextVar("rowsmith_attempt", default=None)


@contextmanager
def attempt() -> Generator[Attempt]:
    """Watch what is committed inside the block, by this task and those that it starts."""
    this = Attempt()
    token = _current.set(this)
    try:
        yield this
    finally:
        _current.reset(token)


def note_commit() -> None:
    """Say that COMMIT is about to be sent for what was written, in whatever attempt this is."""
    this = _current.get()
    if this is not None:
        this.has_committed = True


def is_attempt() -> bool:
    """Say whether somebody further out watches this work, and may do it again."""
    return _current.get() is not None
