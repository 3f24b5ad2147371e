"""``python -m benchmarks [--smoke] [--repetitions N] [NAME ...]``: run all benchmarks, or those named."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil

import benchmarks
from benchmarks.common import BENCHMARKS, arena

MEMORY_FIRST = ("purge_where", "load_memory")
"""What measures memory runs before others have made the process large, or its growth would be hidden."""


def main() -> None:
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if not module.name.startswith("__"):
            importlib.import_module(f"benchmarks.{module.name}")
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(sorted(BENCHMARKS)))
    parser.add_argument("--smoke", action="store_true", default=None, help="a hundredth of the rows, once")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    asyncio.run(
        run(
            options.names or [*MEMORY_FIRST, *sorted(BENCHMARKS.keys() - set(MEMORY_FIRST))],
            smoke=options.smoke,
            repetitions=options.repetitions,
        )
    )


async def run(names: list[str], *, smoke: bool | None, repetitions: int) -> None:
    async with arena(smoke=smoke, repetitions=repetitions) as here:
        for name in names:
            await BENCHMARKS[name](here)
        here.print_verdicts()


if __name__ == "__main__":
    main()
