"""Deadlines: by when a piece of work is over, whatever the server or the network do."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar, Token
from types import TracebackType

from rowsmith.errors import DeadlineExceeded, InvalidValue, kind_of
from rowsmith.outcome import commit_outcome, tell

_deadline: ContextVar[float | None] = ContextVar("rowsmith_deadline", default=None)
"""When the running work must be over, by its event loop's clock."""


def remaining() -> float | None:
    """Give how many seconds are left, 0 if none are; None without a deadline."""
    when = _deadline.get()
    return None if when is None else max(0.0, when - asyncio.get_running_loop().time())


def check_seconds(given: object, noun: str = "seconds") -> float:
    """Give a length of time once it is known to be one.

    Raises:
        InvalidValue: it is not a finite number above 0.
    """
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise InvalidValue(f"{noun} is a number of seconds, not {kind_of(given)}: write {noun}=5.0")
    if not 0 < given < math.inf:
        raise InvalidValue(f"{noun} is a finite number of seconds above 0: write {noun}=5.0")
    return float(given)


class Within:
    """Ends what happens inside after some seconds, or when an earlier deadline around it says so.

    The task is cancelled where it stands, and ``DeadlineExceeded`` is raised instead of the cancellation; it carries
    what became of the transaction (:func:`rowsmith.commit_outcome`).
    """

    _timeout: asyncio.Timeout
    _token: Token[float | None]

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @property
    def is_over(self) -> bool:
        """Whether the time ran out while the block was inside."""
        return self._timeout.expired()

    async def __aenter__(self) -> None:
        when, around = asyncio.get_running_loop().time() + self._seconds, _deadline.get()
        self._timeout = asyncio.timeout_at(when if around is None or when < around else None)
        await self._timeout.__aenter__()
        self._token = _deadline.set(when if around is None else min(when, around))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _deadline.reset(self._token)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError as exc:
            failure = DeadlineExceeded(f"the operation was not over in {self._seconds:g} seconds")
            tell(failure, commit_outcome(exc))
            failure.report = getattr(error, "report", None)
        else:
            return
        raise failure
