"""What a call makes the interpreter do: calls of functions, of which some are our own, and memory.

Counted by ``sys.setprofile``, exact on any machine. Greenlets of SQLAlchemy's carry the profile along with them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncpg.connection import _StatementCache
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_cursor as _SQLAlchemys

import rowsmith

OURS = str(Path(rowsmith.__file__).parent)
SENDING: dict[Any, Callable[[dict[str, Any]], str]] = {
    _StatementCache.get.__code__: lambda given: given["query"][0],
    _SQLAlchemys._prepare_and_execute.__code__: lambda given: given["operation"],
}
"""Where asyncpg looks whether a statement is prepared, and where SQLAlchemy gives it one: the last steps before it is
sent. Each has the function that gives the statement's text of its variables."""
AFTER_A_PAUSE = 3
"""Those bits of RESUME's argument that are all 0 where a function begins."""


@dataclass
class Counted:
    """What one call did: ``calls`` of Python and C functions in all; ``functions`` and ``files`` are our own.

    ``own`` are those calls that are of our functions or made in them, whatever an event loop happens to do meanwhile
    and however often a coroutine has to wait: that it goes on is no call.
    ``until`` is how a statement begins with which that ends: from then on nothing is counted, once the driver has it.
    """

    until: str | None = None
    calls: int = 0
    own: int = 0
    functions: set[Any] = field(default_factory=set[Any])
    is_over: bool = False

    @property
    def files(self) -> set[str]:
        """The files that our own functions stand in."""
        return {code.co_filename for code in self.functions}

    def note(self, frame: Any, event: str, argument: object) -> None:
        """Take one event of the profiler."""
        if self.is_over or event not in ("call", "c_call"):
            return
        self.calls += 1
        code = frame.f_code
        if self.until is not None and code in SENDING and SENDING[code](frame.f_locals).startswith(self.until):
            self.is_over = True
        if code.co_filename.startswith(OURS) and not (event == "call" and goes_on(frame)):
            self.own += 1
            if event == "call" and not code.co_name.startswith("<"):
                self.functions.add(code)


def goes_on(frame: Any) -> bool:
    """Say whether a coroutine or generator that waited goes on: what its RESUME says of itself (docs of ``dis``)."""
    return bool(frame.f_code.co_code[frame.f_lasti + 1] & AFTER_A_PAUSE)


@contextmanager
def counting(until: str | None = None) -> Iterator[Counted]:
    """Count what happens inside the block, ``until`` a statement is sent."""
    counted = Counted(until)
    sys.setprofile(counted.note)
    try:
        yield counted
    finally:
        sys.setprofile(None)


async def count(call: Callable[[], Awaitable[object]], warm_up: int = 3, until: str | None = None) -> Counted:
    """Count one call, once every cache is warm; in a task of its own, as the event loop would run it."""

    async def alone() -> Counted:
        with counting(until) as counted:
            await call()
        return counted

    for _ in range(warm_up):
        await call()
    return await asyncio.create_task(alone())


async def peak(call: Callable[[], Awaitable[object]]) -> int:
    """Give how many bytes Python took at most for one call; what a driver takes in C is not in that."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
