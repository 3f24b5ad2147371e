"""What a policy is, and what it is told of the call that it is put around."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Work: TypeAlias = Callable[[], Awaitable[T]]
"""What a call does; calling it again does it again."""
Opening: TypeAlias = Callable[[], AsyncGenerator[T, None]]
"""What opens a stream; calling it again opens another."""


@dataclass(frozen=True)
class Operation:
    """One call under policies.

    ``name`` is the function's or the verb's; ``policies`` are all that stand around it, the outermost first;
    ``is_repeatable`` says that the work can be begun again: it takes no iterator that is used up by then; ``is_keyed``
    that done again it writes nothing a second time.
    """

    name: str
    policies: Sequence[Policy]
    is_repeatable: bool = True
    is_keyed: bool = False

    def note_retry(self) -> None:
        """Tell every policy that the work is about to be done again."""
        for policy in self.policies:
            policy.retried(self)


class Policy:
    """Base of policies: put around a call, a stream or a block, and by itself nothing but that.

    A subclass gives :meth:`around` where it measures or limits, and :meth:`run` and :meth:`stream` as well where it
    does more than that.
    """

    def around(self, operation: Operation) -> AbstractAsyncContextManager[None]:
        """Give what is entered before the work and left after it; a block's body is never begun twice."""
        return nullcontext()

    async def run(self, operation: Operation, work: Work[T]) -> T:
        """Do the work of a coroutine function."""
        async with self.around(operation):
            return await work()

    async def stream(self, operation: Operation, opening: Opening[T]) -> AsyncGenerator[T, None]:
        """Give what an asynchronous generator yields."""
        async with self.around(operation), aclosing(opening()) as items:
            async for item in items:
                yield item

    def looked_up(self, operation: str, *, hits: int, misses: int, failures: int) -> None:
        """Take note of what a cache had of the entries that an operation asked it for; by default nothing is done."""

    def retried(self, operation: Operation) -> None:
        """Take note that the work is about to be done again; by default nothing is done."""
