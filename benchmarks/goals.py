"""What is promised, and beside it what was reached: ratios of times in one run, calls of functions, round trips.

Times are those of a repository as it is by default; calls are counted without policies, as the budgets are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.results import HAND, OURS, Proof, Results

PLAIN = "rowsmith, resilience=None"
STATEMENT = 'rowsmith, writes="statement"'
ALCHEMY = "advanced-alchemy"
REFERENCE = "sqlalchemy.ext.asyncio and pydantic"
SCOPE_PAGE = "page of 100, keyset, scope"
DEEP = "page at depth 1,000,000"

Measure = Callable[[Results], float | None]


@dataclass(frozen=True)
class Goal:
    """A promise: what ``measure`` gives is at most, or at least, ``bound``."""

    work: str
    words: str
    measure: Measure
    bound: float
    is_least: bool = False
    job: str = ""
    """Whose time is measured, if it is one."""
    contenders: Sequence[str] = ()
    """By whom."""

    def judge(self, results: Results) -> Proof:
        """Hold a run against it; a goal of work that the run left out is neither kept nor missed."""
        found = self.measure(results)
        sign, unit = (">=" if self.is_least else "<="), ("x" if isinstance(self.bound, float) else "")
        goal = f"{sign} {self.bound:,g}{unit} {self.words}"
        if found is None:
            return Proof(self.work, goal, "not measured", None)
        kept = found >= self.bound if self.is_least else found <= self.bound
        return Proof(self.work, goal, f"{found:,.2f}x" if unit else f"{found:,g}", kept)


def time_of(job: str, ours: str = OURS, to: str = "hand") -> Measure:
    """Measure a time as a multiple of another contender's."""

    def measure(results: Results) -> float | None:
        found = results.job(job)
        return found and found.ratio(ours, to)

    return measure


def speed_of(job: str, to: str = "hand") -> Measure:
    """Measure a speed as a multiple of another contender's."""
    slowness = time_of(job, to=to)
    return lambda results: None if (found := slowness(results)) is None else 1 / found


def counted(job: str, what: str, ours: str = PLAIN) -> Measure:
    """Measure what was counted."""

    def measure(results: Results) -> float | None:
        found = results.job(job)
        counts = found and found.counts.get(ours)
        return None if not counts else float(getattr(counts, what))

    return measure


def depth(results: Results) -> float | None:
    """Measure a page at depth as a multiple of the second page, which has a predicate too."""
    deep, second = results.job(DEEP), results.job("second page of all")
    if deep is None or second is None or OURS not in deep.seconds or OURS not in second.seconds:
        return None
    return median(a / b for a, b in zip(deep.seconds[OURS], second.seconds[OURS], strict=False))


def at_most(job: str, bound: float, work: str = "", *, ours: str = OURS, to: str = HAND) -> Goal:
    """Promise a time, as a multiple of another contender's."""
    return Goal(work or job, to, time_of(job, ours, to), bound, job=job, contenders=(to, ours))


def at_least(job: str, bound: float, words: str, *, to: str = HAND) -> Goal:
    """Promise a speed, as a multiple of another contender's."""
    return Goal(job, words, speed_of(job, to), bound, is_least=True, job=job, contenders=(to, OURS))


def goals() -> Iterator[Goal]:
    """Give them all."""
    for job, (hand, wire) in {"get": (0.4, 1.5), "get in a scope": (0.5, 1.8), SCOPE_PAGE: (0.9, 1.3)}.items():
        yield at_most(job, hand)
        yield at_most(job, wire, to="wire")
    yield at_most("page with three filters, keyset", 1.1)
    for job in ("create", "update", "purge"):
        yield at_most(job, 0.8, f"{job}, in one round trip", ours=STATEMENT)
        yield at_most(job, 1.0, f"{job}, in three round trips")
    yield at_most("upsert", 1.2, "upsert, in three round trips")
    yield at_most("16 concurrent getters", 0.5)
    yield at_most("batch_get of 1,000", 1.0)
    for job in ("batch_create, all known", "load"):
        yield at_least(job, 0.85, "the rows/s of COPY by hand")
    for job in ("batch_update_each", "batch_upsert"):
        yield at_least(job, 0.8, "the rows/s of unnest by hand")
    yield Goal(DEEP, "the second page", depth, 1.05, job=DEEP, contenders=(HAND, OURS))
    yield at_least("stream of 1,000,000", 0.9, "the rows/s of an asyncpg cursor")
    for job, times_faster in {"get": 4.0, SCOPE_PAGE: 2.5, "create": 2.5, "update": 2.5}.items():
        yield at_least(job, times_faster, "as fast as advanced-alchemy", to=ALCHEMY)
    yield Goal("import", REFERENCE, time_of("import", to=REFERENCE), 1.2)
    budgets = {"get": 180, "get in a scope": 260, SCOPE_PAGE: 650, "batch_get of 1,000": 4_500}
    for job, most in {**budgets, **dict.fromkeys(("create", "update", "purge"), 450), "upsert": 500}.items():
        yield Goal(job, "calls of functions", counted(job, "calls"), most)
    for job in ("get", SCOPE_PAGE, "batch_get of 1,000"):
        yield Goal(job, "round trips", counted(job, "trips", OURS), 1)


def judged(results: Results) -> list[Proof]:
    """Give every goal, and what was reached."""
    return [*(goal.judge(results) for goal in goals()), *results.proofs]


def missed_times(results: Results) -> dict[str, list[str]]:
    """Give the jobs whose time missed a goal, and whose times are held against each other there."""
    found = dict[str, list[str]]()
    for goal in goals():
        if goal.job and goal.judge(results).kept is False:
            found[goal.job] = list(dict.fromkeys([HAND, *found.get(goal.job, []), *goal.contenders]))
    return found
