"""Which of SQLAlchemy's events somebody listens to: asked by every call, of some twenty of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from sqlalchemy.event.attr import _EmptyListener, _ListenerCollection  # pyright: ignore[reportPrivateUsage]

_KNOWN: Final[Any] = (_EmptyListener, _ListenerCollection)
"""What SQLAlchemy keeps of an event where nobody listens to it, and where somebody does or did."""


class Hearing:
    """Looks at events, always the same ones, and knows them again where nobody listens who matters.

    A new listener of one object's takes the place of what stood for the event, or is put into its list; one of a whole
    class is put into the list that its objects have in common.

    Args:
        is_harmless: says of a listener that it is as if nobody listened; without it, each matters.
    """

    __slots__ = ("_events", "_heard", "_is_harmless", "_lists")

    def __init__(self, is_harmless: Callable[[object], bool] = lambda _: False) -> None:
        self._is_harmless = is_harmless
        self._events: tuple[Any, ...] | None = None
        self._lists: tuple[Any, ...] = ()
        self._heard: list[object] = []

    def heard(self, events: tuple[Any, ...]) -> str | None:
        """Give the name of an event that somebody who matters listens to; None where nobody does to any."""
        if events == self._events and [*_all_of(self._lists)] == self._heard:
            return None
        for event in events:
            if not all(map(self._is_harmless, event)):
                return str(event.name)
        self._events = events if all(event.__class__ in _KNOWN for event in events) else None
        own = [event.listeners for event in events if event.__class__ is _ListenerCollection]
        self._lists = (*[event.parent_listeners for event in events], *own)
        self._heard = [*_all_of(self._lists)]
        return None


_all_of: Final = chain.from_iterable
