"""``python -m benchmarks``: measure rowsmith beside asyncpg by hand and its peers, and show it as tables."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.contenders import ENTRIES, NAMES
from benchmarks.data import Server
from benchmarks.jobs import JOBS
from benchmarks.report import show, write
from benchmarks.results import HAND, Results, load, save
from benchmarks.run import COLD_JOBS, Asked, measure
from benchmarks.world import Sizes
from rowsmith.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "benchmarks.json"

# The disk is spared, as throw-away servers do: waiting for it would be equal for all, and hide what a library adds.
# Large buffers and no vacuum of its own, so that neither falls into a round by chance.
SETTINGS = {
    "max_wal_size": "8GB",
    "shared_buffers": "512MB",
    "autovacuum": "off",
    "max_connections": "400",
}


def main() -> None:
    """Measure, or read what was measured; show it, and write what is asked for."""
    options = arguments()
    console = Console() if sys.stdout.isatty() else Console(width=220)
    results = load(options.read) if options.read else run(options, console)
    if not options.read:
        save(results, KEPT)
    show(results, console)
    if options.write:
        from benchmarks.charts import draw_all  # noqa: PLC0415 - matplotlib is for pictures only

        write(results, ROOT, draw_all(results, ROOT / "docs"))


def arguments() -> Any:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="of the tables and batches, as a part of the full ones")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jobs", default="", metavar="PATTERN", help="only the jobs that it finds")
    parser.add_argument("--contenders", default="", metavar="PATTERN", help=f"only these, beside {HAND}")
    parser.add_argument("--write", action="store_true", help="docs/benchmarks.md, its charts, and the README's block")
    parser.add_argument("--read", type=Path, metavar="FILE", help=f"no run: what one has kept, in {KEPT.name}")
    options = parser.parse_args()
    if not chosen(names := [*(job.name for job in JOBS), *COLD_JOBS], options.jobs):
        parser.error(f"there are only {', '.join(names)}")
    if not chosen(NAMES, options.contenders):
        parser.error(f"there are only {', '.join(NAMES)}")
    return options


def chosen(names: Sequence[str], pattern: str) -> list[str]:
    """Give the names in which a pattern is found."""
    return [name for name in names if re.search(pattern, name)]


def run(options: Any, console: Console) -> Results:
    """Measure on a server of one's own, and say how far it is."""
    with EmbeddedPostgres(settings=SETTINGS) as embedded, console.status("") as status:
        asked = Asked(
            jobs=[job for job in JOBS if chosen([job.name], options.jobs)],
            entries=[entry for entry in ENTRIES if entry.name == HAND or chosen([entry.name], options.contenders)],
            sizes=Sizes().scaled(options.size),
            rounds=options.rounds,
            size=options.size,
            cold=chosen(COLD_JOBS, options.jobs),
            has_proofs=not options.jobs,
            say=status.update,
        )
        return asyncio.run(measure(asked, Server.at(embedded.url())))


if __name__ == "__main__":
    main()
