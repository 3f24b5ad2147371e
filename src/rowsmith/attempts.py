"""One try at a piece of work: whether something of it was committed, so that it must not be done again."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Self


class Attempt:
    """One try: a block in which it is watched what is committed, by this task and those that it starts.

    ``has_committed`` says that a transaction inside it was committed, or may have been.
    """

    has_committed = False
    _token: Token[Attempt | None]

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _current.reset(self._token)


_current: ContextVar[Attempt | None] = ContextVar("rowsmith_attempt", default=None)


def note_commit() -> None:
    """Say that COMMIT is about to be sent for what was written, in whatever attempt this is."""
    this = _current.get()
    if this is not None:
        this.has_committed = True


def is_attempt() -> bool:
    """Say whether somebody further out watches this work, and may do it again."""
    return _current.get() is not None
