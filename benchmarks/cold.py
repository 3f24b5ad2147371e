"""A process that starts: ``python -m benchmarks.cold import MODULE ...`` or ``... get CONTENDER SERVER``.

Prints the seconds from its first line until the modules are imported, or until a first group is read.
"""

from __future__ import annotations

import time

START = time.perf_counter()

import asyncio  # noqa: E402 - the clock runs already
import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402


async def first_get(name: str, server: str) -> None:
    """Import a contender, connect, and read one group."""
    from benchmarks.contenders import ENTRIES  # noqa: PLC0415 - that is what takes time
    from benchmarks.data import Server  # noqa: PLC0415

    contender = next(entry for entry in ENTRIES if entry.name == name).make()
    await contender.open(Server(**json.loads(server)))
    await contender.get(1)
    print(time.perf_counter() - START, flush=True)
    await contender.close()


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "get":
        asyncio.run(first_get(*arguments))
        return
    for module in arguments:
        importlib.import_module(module)
    print(time.perf_counter() - START)


if __name__ == "__main__":
    main()
