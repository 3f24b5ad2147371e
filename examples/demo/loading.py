"""Chapter: a hundred thousand rows of the real world go in, in bulk, with a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from sqlalchemy import text

from examples.base import Base
from examples.demo.tour import EVERYTHING, Tour
from examples.demo.world import fair_shares, usage
from examples.fair_share.types import FairShareCreate, FairShareData, Usage
from examples.group.types import GroupCreate, GroupData
from rowsmith import Database

T = TypeVar("T")
TSpec_contra = TypeVar("TSpec_contra", contravariant=True)
TData_co = TypeVar("TData_co", covariant=True)
Progress: TypeAlias = Callable[[int], None]

CHUNK = 10_000


class Create(Protocol[TSpec_contra, TData_co]):
    """What makes many rows and tells how far it is."""

    async def __call__(self, specs: Sequence[TSpec_contra], /, *, progress: Progress) -> Sequence[TData_co]:
        """Create all or none."""
        ...


async def make_tables(db: Database) -> int:
    """Make every example table; gives how many."""
    async with db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return len(Base.metadata.tables)


async def load(tour: Tour, today: date) -> None:
    """Load domains, groups, fair shares and usage."""
    console = tour.stage.console
    console.print()
    with progress_bars(console) as bars:
        loader = _Loader(bars)
        await loader.load("countries as domains", list(tour.world.domains()), tour.domains.batch_create)
        groups = await loader.load("cities as groups", list(tour.world.groups()), partial(_groups, tour))
        shares = await loader.load("populations as weights", list(fair_shares(groups)), partial(_shares, tour))
        await loader.load("two weeks of usage", list(usage(shares, today)), partial(_usage, tour))
    async with tour.db.begin_session() as db_sess:
        await db_sess.execute(text("ANALYZE"))  # the planner's numbers, which Count.ESTIMATED gives
    console.print(loader.report())


async def _groups(tour: Tour, specs: Sequence[GroupCreate], *, progress: Progress) -> list[GroupData]:
    return await tour.groups.batch_create(specs, scope=EVERYTHING, progress=progress)


async def _shares(tour: Tour, specs: Sequence[FairShareCreate], *, progress: Progress) -> list[FairShareData]:
    return await tour.shares.batch_create(specs, scope=EVERYTHING, progress=progress)


async def _usage(tour: Tour, entries: Sequence[Usage], *, progress: Progress) -> list[Usage]:
    noted = list[Usage]()
    for start in range(0, len(entries), CHUNK):
        noted += await tour.usage.record(entries[start : start + CHUNK], EVERYTHING)
        progress(len(noted))
    return noted


class _Loader:
    """Loads one kind after the other, each with a bar, and remembers how fast it was."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._done: list[tuple[str, int, float]] = []

    async def load(self, what: str, specs: Sequence[T], create: Create[T, TData_co]) -> Sequence[TData_co]:
        """Create all specs in one call."""
        bar = self._bars.add_task(what, total=len(specs))
        started = time.perf_counter()
        made = await create(specs, progress=lambda rows: self._bars.update(bar, completed=rows))
        self._done.append((what, len(specs), time.perf_counter() - started))
        return made

    def report(self) -> Table:
        """Give how many rows went in, and how fast."""
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
        for name in ("loaded in bulk", "rows", "seconds", "rows/s"):
            table.add_column(name, justify="right" if table.columns else "left")
        total, spent = sum(rows for _, rows, _ in self._done), sum(spent for _, _, spent in self._done)
        for what, rows, seconds in [*self._done, ("[bold]all[/]", total, spent)]:
            table.add_row(what, f"{rows:,}", f"{seconds:.2f}", f"{rows / seconds:,.0f}")
        return table


def progress_bars(console: Console) -> Bars:
    """Give progress bars, which stay away where the output is no terminal."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Bars(*columns, console=console, transient=True, disable=not console.is_terminal)
