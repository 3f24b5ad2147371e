"""A run: rowsmith alone, agreement, counts, then rounds in which every job has everybody's turn."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.alone import proofs
from benchmarks.calls import count, peak
from benchmarks.contenders import Entry
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.rowsmith import Rowsmith
from benchmarks.data import Server
from benchmarks.goals import REFERENCE
from benchmarks.jobs import Job, Stage, in_turn
from benchmarks.profile import profile_missed
from benchmarks.race import agree, all_opened, opened, reasons, sample
from benchmarks.results import ROUNDS_OF_BATCHES, Counts, Measured, Results, machine
from benchmarks.turns import counted_turns
from benchmarks.world import COUNTED, Sizes, World, world

STARTS = 3
IMPORTS = "import"
COLD = "cold start: import and a first get"
COLD_JOBS = (IMPORTS, COLD)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a run is to do."""

    jobs: Sequence[Job]
    entries: Sequence[Entry]
    sizes: Sizes
    rounds: int = 7
    size: float = 1.0
    cold: Sequence[str] = COLD_JOBS
    has_proofs: bool = True
    look_for: float = 2.0
    """Seconds for which each contender is looked at, of a job that missed its goal; at least one sample."""
    say: Say = lambda text: None


async def measure(asked: Asked, server: Server) -> Results:
    """Do it all, on a server of one's own."""
    there = [entry for entry in asked.entries if entry.version is not None]
    versions = {entry.name: entry.version for entry in asked.entries}
    async with world(server, asked.sizes) as tables:
        about = await tables.connection.fetchval("SHOW server_version")
        results = Results(versions, f"PostgreSQL {about.split()[0]}", machine(), asked.rounds, asked.size)
        if asked.has_proofs:
            asked.say("rowsmith alone")
            async with opened(Entry("rowsmith", "rowsmith:Rowsmith", "rowsmith", ()), server) as ours:
                assert isinstance(ours, Rowsmith)
                results.proofs = await proofs(ours, tables)
        async with all_opened(there, server) as contenders:
            results.jobs = [await prepared(job, contenders, tables, asked.say) for job in asked.jobs]
            with frozen():
                await count_calls(asked, results, contenders, tables)
                await time_all(asked, results, contenders, tables)
                asked.say("where the time goes")
                await profile_missed(results, asked.jobs, contenders, tables, asked.look_for)
        await count_trips(asked, results, there, tables)
        results.jobs += [await started(name, there, server, asked) for name in asked.cold]
    return results


@contextmanager
def frozen() -> Iterator[None]:
    """Keep what everybody has imported out of the collections before each sample, which would take longer than most."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def prepared(job: Job, contenders: dict[str, Contender], tables: World, say: Say) -> Measured:
    """Have everybody's results agree, and say who cannot do the job."""
    say(f"results of {job.name}")
    missing = reasons(job, contenders)
    remarks = await agree(job, able(contenders, missing), tables)
    return Measured(job.name, job.kind, missing=missing, remarks=remarks)


def able(contenders: dict[str, Contender], missing: Iterable[str]) -> dict[str, Contender]:
    """Leave out those that cannot do a job."""
    return {name: contender for name, contender in contenders.items() if name not in missing}


# Counts


def countable(asked: Asked, results: Results) -> list[tuple[Job, Measured]]:
    """Give the jobs of which one call can be looked at by itself."""
    jobs = zip(asked.jobs, results.jobs, strict=True)
    return [(job, found) for job, found in jobs if job.kind != "concurrent"]


async def count_calls(asked: Asked, results: Results, contenders: dict[str, Contender], tables: World) -> None:
    """Count calls and memory of one call of each job."""
    sizes = COUNTED.within(tables.sizes)
    for job, found in countable(asked, results):
        asked.say(f"counts of {job.name}")
        for name, contender in able(contenders, found.missing).items():
            stage = Stage(contender, tables, sizes)
            seen = await count(await one_call(job, stage, warm_up=2), warm_up=0)
            kib = await peak(await one_call(job, stage)) / 1024
            found.counts[name] = Counts(seen.calls, 0, kib, len(seen.functions), len(seen.files))


async def count_trips(asked: Asked, results: Results, entries: Sequence[Entry], tables: World) -> None:
    """Count round trips, each contender behind a proxy, when no other is open: some can be opened once only."""
    sizes, jobs = COUNTED.within(tables.sizes), countable(asked, results)
    for entry in entries:
        asked.say(f"round trips of {entry.name}")
        async with counted_turns(tables.server) as turns, opened(entry, turns.server) as contender:
            for job, found in jobs:
                if entry.name in found.counts:
                    call = await one_call(job, Stage(contender, tables, sizes), warm_up=2)
                    before = turns.count
                    await call()
                    found.counts[entry.name].trips = turns.count - before


async def one_call(job: Job, stage: Stage, warm_up: int = 0) -> Callable[[], object]:
    """Give one call of a job to be made, all caches warm."""
    for _ in range(warm_up):
        await job.run(job, stage.contender, await job.arguments(stage))
    given = await job.arguments(stage)
    if job.run is in_turn:
        return partial(getattr(stage.contender, job.method), *given[0])
    return partial(job.run, job, stage.contender, given)


# Time


async def time_all(asked: Asked, results: Results, contenders: dict[str, Contender], tables: World) -> None:
    """Time all jobs in rounds, each beginning with another contender, so that a slow minute is everybody's."""
    # One round more warms up connections, prepared statements and caches, where times are to mean anything.
    for round_ in range(-1 if asked.rounds > 1 else 0, asked.rounds):
        await tables.renew()
        for job, found in zip(asked.jobs, results.jobs, strict=True):
            if job.kind == "batch" and round_ >= ROUNDS_OF_BATCHES:
                continue
            asked.say(f"round {round_ + 1} of {asked.rounds}: {job.name}")
            await time_round(job, found, able(contenders, found.missing), tables, round_)


async def time_round(job: Job, found: Measured, contenders: dict[str, Contender], tables: World, round_: int) -> None:
    """Have everybody's turn at one job."""
    names = list(contenders)
    turn = round_ % len(names)
    sizes = tables.sizes if round_ >= 0 else COUNTED.within(tables.sizes)
    for name in names[turn:] + names[:turn]:
        seconds = await sample(job, Stage(contenders[name], tables, sizes, seed=round_ + 1))
        if round_ >= 0:
            found.seconds.setdefault(name, []).append(seconds)


# Cold


async def started(name: str, entries: Sequence[Entry], server: Server, asked: Asked) -> Measured:
    """Time processes that start, each contender's in turn."""
    asked.say(name)
    children = {entry.name: arguments_of(name, entry, server) for entry in entries}
    if name == IMPORTS:
        children[REFERENCE] = ("import", "sqlalchemy.ext.asyncio", "pydantic")
    found = Measured(name, "cold", seconds={child: [] for child in children})
    for _ in range(min(asked.rounds, STARTS)):
        for child, arguments in children.items():
            found.seconds[child].append(await start(*arguments))
    return found


def arguments_of(name: str, entry: Entry, server: Server) -> tuple[str, ...]:
    """Say how a process is to start."""
    return ("import", *entry.imports) if name == IMPORTS else ("get", entry.name, json.dumps(vars(server)))


async def start(*arguments: str) -> float:
    """Start a process, and give the seconds that it tells."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.cold", *arguments, stdout=pipe, stderr=pipe
    )
    told, complaint = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} did not start: {complaint.decode()}")
    return float(told)
