"""A deadline for calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

from rowsmith.deadline import Within, check_seconds
from rowsmith.resilience.policy import Opening, Operation, Policy, Work

T = TypeVar("T")


class TimeoutPolicy(Policy):
    """Ends a call after some seconds, whatever the server or the network do.

    The deadline holds for waiting for a connection and for connecting, for every statement, for COMMIT and for the
    way out, all together; a retry inside of it has no time of its own. A stream has it anew for each item that is
    waited for.

    Args:
        seconds: the time; finite and above 0.

    Raises:
        InvalidValue: it is not.
        DeadlineExceeded: from the call; :func:`rowsmith.commit_outcome` says what became of its transaction.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_seconds(seconds)

    @asynccontextmanager
    async def around(self, operation: Operation) -> AsyncGenerator[None]:
        """Hold a block to the deadline."""
        async with Within(self.seconds):
            yield

    async def run(self, operation: Operation, work: Work[T]) -> T:
        """Hold a call to the deadline."""
        async with Within(self.seconds):
            return await work()

    async def stream(self, operation: Operation, opening: Opening[T]) -> AsyncGenerator[T, None]:
        """Hold each item to the deadline."""
        items = opening()
        try:
            while True:
                try:
                    async with Within(self.seconds):
                        item = await anext(items)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            async with Within(self.seconds):
                await items.aclose()
