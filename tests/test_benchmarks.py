"""The benchmarks: everybody does the same work, what was measured is told, and a goal that is missed is said to be."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console
from sqlalchemy import URL

from benchmarks import house
from benchmarks.contenders import ENTRIES, Entry
from benchmarks.contenders import NAMES as NAMES_OF_ALL
from benchmarks.contenders.by_hand import Bare
from benchmarks.data import Change, Group, Server
from benchmarks.goals import REFERENCE, Goal, counted, judged, missed_times, time_of
from benchmarks.jobs import JOBS
from benchmarks.profile import CALLER, WAITING, looking
from benchmarks.race import Disagreement, agree
from benchmarks.report import BEGIN, END, HEADINGS, block, page, places_of, show, with_block
from benchmarks.results import Counts, Measured, Proof, Results, load, save
from benchmarks.run import COLD_JOBS, Asked, measure
from benchmarks.world import SMALL, World, world

ROOT = Path(__file__).parents[1]
NAMES = [job.name for job in JOBS]
OURS = [entry for entry in ENTRIES if entry.name in ("wire", "hand", "rowsmith")]  # the others are in each real run
NOBODY = Entry("nobody", "nobody:Nobody", "a-library-that-is-not-there", ())


@pytest.fixture(scope="module")
def server(rowsmith_url: URL) -> Server:
    return Server.at(rowsmith_url, pool=2)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def results(server: Server) -> Results:
    """Give a whole run in small."""
    return await measure(Asked(JOBS, [*OURS, NOBODY], SMALL, rounds=1, cold=(), has_proofs=False, look_for=0.0), server)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tables(server: Server, results: Results) -> AsyncIterator[World]:
    """Give the tables to one test after the other, once the run has left them."""
    async with world(server, SMALL) as made:
        yield made


@pytest.fixture
def measured() -> Results:
    """Give a run that is made up: rowsmith's get takes half of what it takes by hand."""
    job = Measured("get", "single", seconds={"hand": [2.0, 4.0], "rowsmith": [1.0, 2.0]})
    job.counts = {"hand": Counts(474, 4, 2.0), "rowsmith, resilience=None": Counts(181, 1, 2.0)}
    return Results({"hand": "1", "rowsmith": "1"}, "PostgreSQL", "a machine", 2, 1.0, [job])


# A run


def test_everybody_that_is_installed_does_every_job(results: Results) -> None:
    """One that is not installed is left out, and the wire's one connection out of what several tasks do."""
    dashes = {(name, job.name) for job in results.jobs for name in job.missing}
    assert dashes == {("wire", job.name) for job in JOBS if job.kind == "concurrent"}
    assert results.contenders == [entry.name for entry in OURS]
    assert [(job.name, {*job.seconds, *job.missing}) for job in results.jobs] == [
        (name, set(results.contenders)) for name in NAMES
    ]


def test_rowsmith_gives_what_is_given_by_hand(results: Results) -> None:
    """The same rows in the same order, from every job."""
    assert [job.remarks for job in results.jobs] == [{}] * len(JOBS)


@pytest.mark.of_the_native_lane
def test_round_trips_are_those_of_the_protocol(results: Results) -> None:
    """On the wire there is one; by hand BEGIN and COMMIT are added, and the reset of asyncpg's pool."""
    get = {name: counts.trips for name, counts in results.jobs[NAMES.index("get")].counts.items()}
    assert get == {"wire": 1, "hand": 4, "rowsmith": 1}


def test_a_pool_and_a_transaction_cost_calls(results: Results) -> None:
    """What is counted tells contenders apart, and the same work is the same number."""
    get, scoped = (results.jobs[NAMES.index(name)].counts for name in ("get", "get in a scope"))
    assert 0 < get["wire"].calls < get["hand"].calls
    assert get["hand"].calls == scoped["hand"].calls


def test_own_functions_are_rowsmiths(results: Results) -> None:
    """What a reader of a call passes; by hand there are none."""
    get = results.jobs[NAMES.index("get")].counts
    assert (get["hand"].functions, get["hand"].files) == (0, 0)
    assert get["rowsmith"].functions > get["rowsmith"].files > 0
    assert f"| {get['rowsmith'].functions} in {get['rowsmith'].files} |" in page(results)


def test_memory_grows_with_what_is_read(results: Results) -> None:
    """A page takes more than a row."""
    get, all_of_them = (results.jobs[NAMES.index(name)].counts["hand"].kib for name in ("get", "stream of 1,000,000"))
    assert 0 < get < all_of_them


def test_a_run_is_read_as_it_was_kept(results: Results, tmp_path: Path) -> None:
    """Tables can be made again without another run."""
    save(results, tmp_path / "build" / "run.json")
    assert load(tmp_path / "build" / "run.json") == results


# Agreement


class Wrong(Bare):
    """Does something else than it is asked for."""

    async def get(self, id: int) -> Group:
        return replace(await super().get(id), weight=-1)

    async def update(self, change: Change) -> Group:
        return await super().update(replace(change, weight=-1))

    async def purge(self, id: int) -> Any:
        await super().purge(id)

    async def batch_get(self, ids: Any) -> list[Group]:
        return (await super().batch_get(ids))[::-1]


@pytest.fixture
async def both(server: Server) -> AsyncIterator[dict[str, Bare]]:
    contenders = {"right": Bare(), "wrong": Wrong()}
    for contender in contenders.values():
        await contender.open(server)
    yield contenders
    for contender in contenders.values():
        await contender.close()


@pytest.mark.parametrize("job, what", [("get", "gives something else"), ("update", "leaves other rows")])
async def test_other_results_and_other_rows_are_found(
    job: str, what: str, both: dict[str, Bare], tables: World
) -> None:
    """Nobody is timed whose work is not the work."""
    with pytest.raises(Disagreement, match=f"wrong {what} than the first"):
        await agree(JOBS[NAMES.index(job)], both, tables)


@pytest.mark.parametrize(
    "job, remark", [("purge", "gives nothing back"), ("batch_get of 1,000", "gives rows in another order")]
)
async def test_less_than_the_others_give_is_told(job: str, remark: str, both: dict[str, Bare], tables: World) -> None:
    """A library may give back less; its readers are told so."""
    assert await agree(JOBS[NAMES.index(job)], both, tables) == {"wrong": remark}


# Goals


def test_a_goal_is_kept_or_missed(measured: Results) -> None:
    """What was reached stands beside it."""
    kept = Goal("get", "hand", time_of("get"), 0.5).judge(measured)
    missed = Goal("get", "calls of functions", counted("get", "calls"), 180).judge(measured)
    assert (kept.goal, kept.reached, kept.kept) == ("<= 0.5x hand", "0.50x", True)
    assert (missed.goal, missed.reached, missed.kept) == ("<= 180 calls of functions", "181", False)


def test_a_goal_of_what_was_not_measured_is_neither(measured: Results) -> None:
    """A run of some jobs only says nothing of the others."""
    assert {proof.kept for proof in judged(measured) if not proof.work.startswith("get")} == {None}


def test_every_goal_names_jobs_and_contenders_that_there_are(measured: Results) -> None:
    """A misspelt one would never be measured; of a run by everybody, all goals are."""
    everybody = [*NAMES_OF_ALL, REFERENCE]
    seconds, counts = dict.fromkeys(everybody, [1.0]), dict.fromkeys(everybody, Counts(1, 1, 1.0))
    jobs = [Measured(name, "single", seconds, counts) for name in [*NAMES, *COLD_JOBS]]
    assert [proof.work for proof in judged(replace(measured, jobs=jobs)) if proof.kept is None] == []


# Where the time goes


def spin(seconds: float) -> None:
    """Use the processor."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_time_is_given_to_whose_code_it_is() -> None:
    """Waiting is told apart from work, and the work of a package from what called it."""
    found = dict[str, float]()
    own = FunctionType(spin.__code__, {"__name__": "rowsmith.mapping.record", "time": time})
    with looking(found):
        own(0.02)
        await asyncio.sleep(0.02)
    assert {"rowsmith.mapping", WAITING} <= set(found)
    assert found.get(CALLER, 0) < found["rowsmith.mapping"]  # a look may fall between the two


async def test_all_time_is_given_to_somebody() -> None:
    """As much as went by, but for what came after the last look; and nobody looks any more afterwards."""
    found, start = dict[str, float](), time.perf_counter()
    with looking(found):
        spin(0.02)
    took = time.perf_counter() - start
    assert 0 < sum(found.values()) <= took
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_of_a_goal_that_is_missed_it_is_told_where_the_time_goes(results: Results) -> None:
    """By those who are held against each other, from the start of the call to its end."""
    missed, written = missed_times(results), page(results)
    looked_at = {job.name: list(job.places) for job in results.jobs if job.places}
    assert looked_at == missed
    lines = [[name, *(own for own in results.contenders if own in names)] for name, names in missed.items()]
    assert [line for line in lines if f"\n| {' | '.join(line)} |" not in written] == []
    assert all(sum(parts.values()) == pytest.approx(1) for job in results.jobs for parts in job.places.values())


def test_places_are_told_beside_what_all_takes_by_hand(measured: Results) -> None:
    """They add up to what the job takes; those of no size are together."""
    little = dict.fromkeys("cde", 0.008)
    job = replace(measured.jobs[0], places={"hand": {"a": 0.75, "b": 0.25}, "rowsmith": {"b": 0.976, **little}})
    lines = [list(line) for line in places_of(job, ["hand", "rowsmith"])]
    assert lines == [
        ["a", "0.75", "0.00"],
        ["b", "0.25", "0.49"],
        ["the rest", "0.00", "0.01"],
        ["all of it", "1.00", "0.50"],
    ]


def test_what_rowsmith_does_alone_has_a_reason_too(measured: Results) -> None:
    """And where nobody looked, that is said."""
    proofs = [Proof("purge", "<= 2x", "3x", False, "it waits"), Proof("load", "flat", "9 MiB", False)]
    written = page(replace(measured, proofs=proofs))
    assert "- purge: it waits.\n- load: not looked at." in written


def test_the_page_tells_of_each_goal_that_it_says_is_missed() -> None:
    """As it stands in docs/."""
    written = (ROOT / "docs" / "benchmarks.md").read_text()
    goals, _, looked_at = written.partition("## Goals")[2].partition("## Where the time goes")
    missed = {work.split(", in ")[0] for work in re.findall(r"^\| (.+?) \|.*\*\*missed\*\* \|$", goals, re.MULTILINE)}
    told = set(re.findall(r"^(?:\| |- )(.+?)(?: \||: )", looked_at, re.MULTILINE))
    assert missed - told == set()


# What is written


def test_the_page_has_every_job_and_goal(results: Results) -> None:
    """Beside each stands what every contender took."""
    written = page(results)
    assert [heading for heading in HEADINGS.values() if heading not in written] == ["Processes that start"]
    assert [name for name in NAMES if f"\n| {name} | " not in written] == []
    assert "- wire has one connection: 16 concurrent getters" in written


def test_the_readme_has_a_place_for_the_table(measured: Results) -> None:
    """Only what stands between its markers is written anew."""
    readme = (ROOT / "README.md").read_text()
    written = with_block(readme, block(measured))
    assert "| get | 0.50 |" in written
    assert written.split(BEGIN)[0] == readme.split(BEGIN)[0]
    assert written.split(END)[1] == readme.split(END)[1]


def test_without_markers_nothing_is_written(measured: Results) -> None:
    """It says which are missing."""
    with pytest.raises(ValueError, match="the README needs a line"):
        with_block("# A README", block(measured))


def test_the_terminal_is_shown_the_same(measured: Results) -> None:
    """Times, counts and goals."""
    console = Console(file=io.StringIO(), width=200)
    show(measured, console)
    shown = console.file.getvalue()
    assert "0.50" in shown
    assert "474 / 4 / 2" in shown
    assert "missed" in shown


def test_the_houses_figures_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a folder with functions; of any other it is said that it has none."""
    (tmp_path / "two.py").write_text("def one() -> int:\n    return 1\n\n\ndef two(given: Any) -> int:\n    return 2\n")
    house.main([str(tmp_path)])
    assert re.search(r"^functions +2\n", capsys.readouterr().out, re.MULTILINE)
    with pytest.raises(SystemExit):
        house.main([str(tmp_path / "nowhere")])
    assert "no folder of Python files" in capsys.readouterr().err
