"""Which of SQLAlchemy's events somebody listens to: asked by every call, of some thirty of them.

To look at each would take a tenth of a call, as some hundred objects are touched that a processor has let go of since
the last one. So it is looked once, and a mark is left among the listeners that SQLAlchemy knows, which are in the order
in which they came: as long as it is the last, nobody has begun to listen to anything since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from sqlalchemy.event.registry import _key_to_collection  # pyright: ignore[reportPrivateUsage]

LISTENERS: Final[Any] = _key_to_collection
"""By what SQLAlchemy knows who listens to any event of any object or class; whoever begins to comes last."""

UNMARKED: Final = object()


class Hearing:
    """Knows whether somebody who matters listens to events of something.

    Args:
        events: gives them, of what it is given.
        is_harmless: says of a listener that it is as if nobody listened; without it, each matters.

    Attributes:
        mark: the last of all listeners when it was looked, and nobody listened; see :func:`marked`.
    """

    __slots__ = ("_events", "_is_harmless", "_of", "mark")

    def __init__(
        self, events: Callable[[Any], Iterable[Any]], is_harmless: Callable[[object], bool] = lambda _: False
    ) -> None:
        self._events, self._is_harmless = events, is_harmless
        self._of: object = None
        self.mark: object = UNMARKED

    def heard(self, of: object) -> str | None:
        """Give the name of an event that somebody who matters listens to; None where nobody does to any."""
        try:
            if self.mark is next(reversed(LISTENERS), None) and self._of is of:
                return None
        except RuntimeError:  # another thread begins to listen
            pass
        mark = marked()  # before it is looked, or whoever comes in between would not be seen
        for each in self._events(of):
            if not all(map(self._is_harmless, each)):
                return str(each.name)
        self._of, self.mark = of, mark
        return None


def marked() -> object:
    """Give the mark that is the last among all listeners: the present one, or a new one instead of it.

    It is a key that is nobody's, of as many listeners as one has that were removed.
    """
    if not LISTENERS or _marks[0] is not list(LISTENERS)[-1]:
        LISTENERS.pop(_marks[0], None)
        _marks[0] = object()
        LISTENERS[_marks[0]] = {}
    return _marks[0]


_marks: Final[list[object]] = [UNMARKED]
