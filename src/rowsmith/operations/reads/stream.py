"""Streams: row after row in flat memory, and the connection given back however the reading ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from typing import Generic, Self

from typing_extensions import TypeVar

TData = TypeVar("TData")


class Stream(AsyncIterator[TData], Generic[TData]):
    """Data, one after the other, read through a cursor of the server.

    ::

        async for group in groups.stream(scope):
            ...

    Left by ``break``, by an exception or by cancellation, it gives its connection back in the next turn of
    the event loop. Where it must be back before the next line, use it as a context manager, or close it::

        async with groups.stream(scope) as stream:
            async for group in stream:
                break
    """

    def __init__(self, chunks: AsyncGenerator[Sequence[TData], None]) -> None:
        self._items = _flat(chunks)

    def __aiter__(self) -> AsyncIterator[TData]:  # noqa: PYI034 - not self: see below
        """Give what a loop goes over: the generator itself, a call less for each row."""
        return self._items

    def __anext__(self) -> Awaitable[TData]:
        """Give the next one, reading the next chunk where this one is used up."""
        return self._items.__anext__()

    async def aclose(self) -> None:
        """End the reading and give the connection back; does nothing the second time."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


# No method: the generator must not hold the stream, so that a dropped stream is closed at once, not by the collector.
async def _flat(chunks: AsyncGenerator[Sequence[TData], None]) -> AsyncGenerator[TData, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            for item in chunk:
                yield item
