"""Load the real world into a PostgreSQL of its own and walk through every operation: ``python -m examples.demo``."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime

from rich.console import Console
from rich.panel import Panel
from sqlalchemy import text

from examples.demo.bulk import bulk
from examples.demo.loading import load, make_tables
from examples.demo.one_row import one_row
from examples.demo.scoping import scoping
from examples.demo.searching import reading, searching
from examples.demo.sharing import sharing
from examples.demo.sql import SqlLog
from examples.demo.stage import Stage
from examples.demo.tour import Tour
from examples.demo.transacting import failing, transacting
from examples.demo.world import World
from rowsmith import Database
from rowsmith.embedded import EmbeddedPostgres

WIDTH = 150


def make_console() -> Console:
    """Give a console that is wide enough also where the output is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=WIDTH, highlight=False)


async def walk(console: Console, world: World) -> None:
    """Start a server, load the world into it, and play every chapter."""
    started = time.perf_counter()
    log = SqlLog()
    async with EmbeddedPostgres() as server:
        db = Database.from_url(server.url(), connect_args={"connection_class": log.connection_class()})
        log.watch(db)
        try:
            tour = Tour(Stage(console, log), db, world)
            await _introduce(tour, started)
            await _play(tour)
        finally:
            await db.dispose()
    _sum_up(tour, time.perf_counter() - started)


async def _introduce(tour: Tour, started: float) -> None:
    async with tour.db.begin_readonly_session() as db_sess:
        version = (await db_sess.execute(text("SHOW server_version"))).scalar_one()
    tables = await make_tables(tour.db)
    countries, cities, spent = len(tour.world.countries), len(tour.world.cities), time.perf_counter() - started
    lines = f"""\
[bold]rowsmith[/], shown on the real world
PostgreSQL {version}, a throw-away server of this demo's own, up with {tables} tables after {spent:.1f} s
[dim]{countries} countries as domains, {cities:,} cities as groups, populations as weights (GeoNames, CC BY 4.0)[/]"""
    tour.stage.console.print(Panel(lines, border_style="cyan", padding=(1, 2)))


async def _play(tour: Tour) -> None:
    today = datetime.now(UTC).date()
    await load(tour, today)
    for chapter in (one_row, searching, reading, scoping, transacting, failing, bulk):
        await chapter(tour)
    await sharing(tour, today)


def _sum_up(tour: Tour, seconds: float) -> None:
    totals, statements = tour.stage.totals, len(tour.stage.log.sent)
    tour.stage.console.print()
    tour.stage.console.print(
        Panel(
            f"[bold]{totals.calls}[/] calls shown, {totals.refused} of them refused as they should be · "
            f"{statements:,} statements in all · [bold]{seconds:.1f} s[/] from start to end",
            border_style="green",
        )
    )


def main() -> None:
    """Play it to its end, or until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        asyncio.run(walk(make_console(), World.load()))


if __name__ == "__main__":
    main()
