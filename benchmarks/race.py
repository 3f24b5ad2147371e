"""One job, and all who can do it: who cannot and why, whether their results agree, and how one sample is timed."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from benchmarks.contenders import VARIANTS, Entry
from benchmarks.contenders.contender import Contender
from benchmarks.data import COLUMNS, Server
from benchmarks.jobs import Job, Stage
from benchmarks.world import SMALL, World


class Disagreement(AssertionError):
    """A contender did something else than the first one."""


@asynccontextmanager
async def opened(entry: Entry, server: Server) -> AsyncGenerator[Contender]:
    """Have a contender ready for the length of a block."""
    contender = entry.make()
    await contender.open(server)
    try:
        yield contender
    finally:
        await contender.close()


@asynccontextmanager
async def all_opened(entries: Sequence[Entry], server: Server) -> AsyncGenerator[dict[str, Contender]]:
    """Have them all ready."""
    async with AsyncExitStack() as stack:
        yield {entry.name: await stack.enter_async_context(opened(entry, server)) for entry in entries}


def reasons(job: Job, contenders: Mapping[str, Contender]) -> dict[str, str]:
    """Say who does not do a job, and why."""
    found = {name: why_not(job, name, contender) for name, contender in contenders.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def why_not(job: Job, name: str, contender: Contender) -> str | None:
    """Say why a contender does not do a job; None where it does."""
    if job.kind == "concurrent" and contender.is_single:
        return "has one connection"
    if job.is_long and name in VARIANTS:
        return "takes this as rowsmith does by default"
    return contender.why_not(job.method)


# Agreement


async def agree(job: Job, contenders: Mapping[str, Contender], world: World) -> dict[str, str]:
    """Hold everybody's results, and what they left in the table, against the first one's; says what differs and may.

    Raises:
        Disagreement: naming the job and the contender.
    """
    sizes, remarks, first = SMALL.within(world.sizes), dict[str, str](), None
    for name, contender in contenders.items():
        stage = Stage(contender, world, sizes)
        results = await job.run(job, contender, await job.arguments(stage))
        state = [] if job.changes is None else await world.state(job.changes)
        got = [plain(result, job.unlike) for result in results], plain(state, job.unlike)
        if first is None:
            first = got
        if got[1] != first[1]:
            raise Disagreement(f"{name} leaves other rows than the first after {job.name!r}")
        if remark := differs(job, got[0], first[0]):
            if remark == "gives something else":
                raise Disagreement(f"{name} {remark} than the first for {job.name!r}")
            remarks[name] = remark
    return remarks


def differs(job: Job, got: list[Any], expected: list[Any]) -> str | None:
    """Say how results differ; a write may give nothing back, and a batch may give its rows in another order."""
    if got == expected:
        return None
    if job.changes is not None and any(result is None for result in got):
        return "gives nothing back"
    in_order = [sorted(result, key=repr) if isinstance(result, list) else result for result in got]
    if in_order == [sorted(result, key=repr) if isinstance(result, list) else result for result in expected]:
        return "gives rows in another order"
    return "gives something else"


def plain(result: Any, unlike: frozenset[str]) -> Any:
    """Give a result as tuples of the row's fields, whatever it was made of."""
    if result is None or isinstance(result, int):
        return result
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], (list, tuple)):
        return plain(result[0], unlike)  # a page, without what the next one is asked for with
    if isinstance(result, (list, tuple)):
        return [plain(row, unlike) for row in result]
    return tuple(value_of(result, column) for column in COLUMNS if column not in unlike)


def value_of(row: Any, column: str) -> Any:
    """Give a field of a mapping, a record or an object."""
    return getattr(row, column) if hasattr(row, column) else row[column]


# Time


async def sample(job: Job, stage: Stage) -> float:
    """Time one sample, in seconds a call."""
    given = await job.arguments(stage)
    gc.collect()
    start = time.perf_counter()
    await job.run(job, stage.contender, given)
    return (time.perf_counter() - start) / len(given)
