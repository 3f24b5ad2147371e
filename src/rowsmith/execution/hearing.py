"""Which of SQLAlchemy's events somebody listens to: asked by every call, of some twenty of them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.event.attr import _EmptyListener, _ListenerCollection  # pyright: ignore[reportPrivateUsage]

_KNOWN: Final[Any] = (_EmptyListener, _ListenerCollection)
"""What SQLAlchemy keeps of an event where nobody listens to it, and where somebody does or did."""


class Hearing:
    """Looks at events, always the same ones, and knows them again where nobody listens.

    A new listener of one object's takes the place of what stood for the event, or is put into its list; one of a whole
    class is put into the list that its objects have in common.
    """

    __slots__ = ("_events", "_lists")

    def __init__(self) -> None:
        self._events: tuple[Any, ...] | None = None
        self._lists: tuple[Any, ...] = ()

    def heard(self, events: tuple[Any, ...]) -> str | None:
        """Give the name of an event that somebody listens to; None where nobody does to any."""
        if events == self._events and not any(self._lists):
            return None
        for event in events:
            if event.parent_listeners or (event.__class__ is not _EmptyListener and event):
                return str(event.name)
        self._events = events if all(event.__class__ in _KNOWN for event in events) else None
        own = [event.listeners for event in events if event.__class__ is _ListenerCollection]
        self._lists = (*[event.parent_listeners for event in events], *own)
        return None
