"""Streams: row after row in flat memory, and the connection given back however the reading ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from types import AsyncGeneratorType
from typing import Any, Final, Generic, Self, cast

from typing_extensions import TypeVar

from rowsmith.errors import ConcurrentUse, TransactionError

TData = TypeVar("TData")


class Stream(AsyncIterator[TData], Generic[TData]):
    """Data, one after the other, read through a cursor of the server.

    ::

        async for group in groups.stream(scope):
            ...

    It is read once. Left by ``break``, by an exception or by cancellation, it gives its connection back in the next
    turn of the event loop, unless it has a name: then it could be read on, and keeps the connection for as long as the
    name is there. Where it has one, or must be back before the next line, use it as a context manager, or close it::

        async with groups.stream(scope) as stream:
            async for group in stream:
                break
    """

    def __init__(self, chunks: AsyncGenerator[Sequence[TData], None]) -> None:
        self._items = cast("AsyncGeneratorType[TData, None]", _flat(chunks))

    def __aiter__(self) -> Self:
        """Give what a loop goes over.

        Raises:
            TransactionError: it was read to its end, or closed: of a second reading there would be no rows.
        """
        if cast("Any", self._items.ag_frame) is None:
            raise TransactionError(_READ)
        return self

    def __anext__(self) -> Awaitable[TData]:
        """Give the next one, reading the next chunk where this one is used up.

        Raises:
            ConcurrentUse: another task is waiting for the next chunk.
        """
        if self._items.ag_running:
            raise ConcurrentUse(_ONE_READER)
        return self._items.__anext__()

    async def aclose(self) -> None:
        """End the reading and give the connection back; does nothing the second time.

        Raises:
            ConcurrentUse: another task is waiting for the next chunk.
        """
        if self._items.ag_running:
            raise ConcurrentUse(_ONE_READER)
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


_READ: Final = "this stream was read to its end, or closed: call stream() again, or keep what it gave in a list"
_ONE_READER: Final = "another task is reading this stream: let one read it and hand the rows on, or give each its own"


# No method: the generator must not hold the stream, so that a dropped stream is closed at once, not by the collector.
async def _flat(chunks: AsyncGenerator[Sequence[TData], None]) -> AsyncGenerator[TData, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            for item in chunk:
                yield item
