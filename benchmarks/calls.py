"""What a verb makes the interpreter do: calls, and how many of our own functions and files a reader passes.

Counted by ``sys.setprofile``, exact on any machine. Greenlets of SQLAlchemy's carry the profile along with them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

import rowsmith
from benchmarks.common import Arena, benchmark
from benchmarks.groups import NumberedCreate, NumberedRepository, NumberedRow, empty_tables, make_tables
from rowsmith import CursorForwardPagination, OptionalState, Patch, SearchScope

OURS = str(Path(rowsmith.__file__).parent)


@dataclass
class Counted:
    """What one call did: ``calls`` of Python and C functions in all; ``functions`` and ``files`` are our own."""

    calls: int = 0
    functions: set[Any] = field(default_factory=set[Any])

    @property
    def files(self) -> set[str]:
        """The files that our own functions stand in."""
        return {code.co_filename for code in self.functions}

    def note(self, frame: Any, event: str, argument: object) -> None:
        """Take one event of the profiler."""
        if event not in ("call", "c_call"):
            return
        self.calls += 1
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS) and not code.co_name.startswith("<"):
            self.functions.add(code)


@contextmanager
def counting() -> Iterator[Counted]:
    """Count what happens inside the block."""
    counted = Counted()
    sys.setprofile(counted.note)
    try:
        yield counted
    finally:
        sys.setprofile(None)


async def count(call: Callable[[], Awaitable[object]], warm_up: int = 3) -> Counted:
    """Count one call, once every cache is warm; in a task of its own, as the event loop would run it."""

    async def alone() -> Counted:
        with counting() as counted:
            await call()
        return counted

    for _ in range(warm_up):
        await call()
    return await asyncio.create_task(alone())


@dataclass(frozen=True)
class NumberedPatch(Patch[NumberedRow]):
    weight: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class DomainScope(SearchScope):
    domain_name: str

    def to_conditions(self) -> list[Any]:
        return [NumberedRow.domain_name == self.domain_name]


def verbs(groups: NumberedRepository) -> dict[str, Callable[[], Awaitable[object]]]:
    """Give one call of each kind; those that remove or create take a new row each time."""
    names = iter(range(10**9))
    scope, patch = DomainScope("a"), NumberedPatch(OptionalState.update(1))
    ids, pages = list(range(1, 101)), CursorForwardPagination(first=100)

    def spec() -> NumberedCreate:
        return NumberedCreate("a", f"new {next(names)}", 1, None)

    last = iter(range(1_000, 0, -1))
    return {
        "get": lambda: groups.get(1),
        "get with a scope": lambda: groups.get(1, scope),
        "search, 100": lambda: groups.search(scope, None, pages),
        "create": lambda: groups.create(spec()),
        "update": lambda: groups.update(1, patch),
        "purge": lambda: groups.purge(next(last)),
        "upsert": lambda: groups.upsert(spec()),
        "batch_get, 100": lambda: groups.batch_get(ids),
        "batch_create, 100": lambda: groups.batch_create([spec() for _ in range(100)]),
        "batch_update, 100": lambda: groups.batch_update(ids, patch),
        "batch_update with a scope": lambda: groups.batch_update(ids, patch, scope=scope),
        "batch_update_each, 100": lambda: groups.batch_update_each(dict.fromkeys(ids, patch)),
        "batch_purge, 100": lambda: groups.batch_purge([next(last) for _ in range(100)]),
    }


@benchmark
async def calls(arena: Arena) -> None:
    """Count the calls of each verb."""
    await make_tables(arena)
    await empty_tables(arena)
    groups = NumberedRepository(arena.db)
    await groups.batch_create([NumberedCreate("a", f"group {i}", 1, None) for i in range(1_000)])
    table = Table(title="calls", title_justify="left")
    for heading in ("", "calls", "own functions", "own files"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, call in verbs(groups).items():
        counted = await count(call)
        table.add_row(name, f"{counted.calls:,}", str(len(counted.functions)), str(len(counted.files)))
    arena.console.print(table)
