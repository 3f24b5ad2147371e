"""Where a contender's time goes: what runs is looked at by a timer, so that nothing is slowed down by being counted.

The time since the last look is given to the innermost code whose place is known. What a driver does in C counts as
that of the Python that called it: for a statement of rowsmith's native lane a part of binding its values, no more.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from benchmarks.contenders.contender import Contender
from benchmarks.goals import missed_times
from benchmarks.jobs import Job, Stage
from benchmarks.results import Results
from benchmarks.world import World

INTERVAL = 0.0005
"""Seconds between two looks: less than most calls take, and far more than a look."""
WAITING = "waiting for the server"
ASYNCIO = "asyncio and its sockets, and answers taken apart"
CALLER = "the caller and its objects"
OURS = "rowsmith"
ELSEWHERE = "elsewhere"
PLACES = {"selectors": WAITING, "asyncio": ASYNCIO, "asyncpg": "asyncpg", "benchmarks": CALLER}
PLACES |= {"sqlalchemy": "SQLAlchemy", "pydantic": "pydantic", "prometheus_client": "prometheus_client"}
PLACES |= dict.fromkeys(("stamina", "tenacity"), "retries")


def place_of(frame: FrameType | None) -> str:
    """Say whose code runs: of the innermost frame that is in a package which is told apart."""
    while frame is not None:
        parts = str(frame.f_globals.get("__name__", "")).split(".")
        if parts[0] == OURS:
            return ".".join(parts[:2])
        if parts[0] in PLACES:
            return PLACES[parts[0]]
        frame = frame.f_back
    return ELSEWHERE


@contextmanager
def looking(found: dict[str, float]) -> Iterator[None]:
    """Add the seconds of the block to the places where they go."""
    last = time.perf_counter()

    def look(_: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.perf_counter()
        place = place_of(frame)
        found[place] = found.get(place, 0.0) + now - last
        last = now

    before: Any = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def shares(job: Job, contender: Contender, world: World, enough: float) -> dict[str, float]:
    """Give the part of a job's time that goes to each place."""
    found, stop, seed = dict[str, float](), time.perf_counter() + enough, 0
    while not found or time.perf_counter() < stop:
        seed += 1
        given = await job.arguments(Stage(contender, world, world.sizes, seed))
        with looking(found):
            await job.run(job, contender, given)
    whole = sum(found.values())
    return {place: seconds / whole for place, seconds in found.items()}


async def profile_missed(
    results: Results, jobs: Sequence[Job], contenders: Mapping[str, Contender], world: World, enough: float
) -> None:
    """Look at the jobs whose time missed its goal, by the contenders that are held against each other there."""
    missed = missed_times(results)
    for job, measured in zip(jobs, results.jobs, strict=True):
        for name in missed.get(job.name, ()):
            measured.places[name] = await shares(job, contenders[name], world, enough)
