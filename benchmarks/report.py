"""Tables of a run: for the terminal, for docs/benchmarks.md, and for the README between its two markers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.goals import judged, missed_times
from benchmarks.results import HAND, OURS, ROUNDS_OF_BATCHES, Counts, Measured, Proof, Results

COMMAND = "nox -s bench -- --write"
BEGIN, END = "<!-- speed: written by benchmarks -->", "<!-- /speed -->"
DASH = "-"
HEADINGS = {
    "single": "One row at a time",
    "page": "Pages and counts",
    "batch": "Many rows",
    "concurrent": "Tasks at once",
    "cold": "Processes that start",
}
OWN = "Functions of rowsmith's own that a call passes, and the files that they stand in"
COUNTED: dict[str, Callable[[Counts], str]] = {
    "Calls of Python and C functions (`sys.setprofile`; the same on any machine), batches of 1,000 rows": (
        lambda counts: f"{counts.calls:,}"
    ),
    "Round trips to the server": lambda counts: f"{counts.trips:,}",
    "Memory that Python takes at most, in KiB (`tracemalloc`); asyncio takes 256 for any answer": (
        lambda counts: f"{counts.kib:,.0f}"
    ),
    OWN: lambda counts: f"{counts.functions} in {counts.files}",
}
CHARTS = {"benchmarks-calls.svg": ("single", "page", "concurrent"), "benchmarks-batches.svg": ("batch",)}
IN_README = ["wire", "hand, no transaction", OURS, "SQLAlchemy Core", "SQLAlchemy ORM", "advanced-alchemy", "FastCRUD"]
IN_README += ["Tortoise", "Piccolo"]

INTRODUCTION = """
# How fast it is

Times as multiples of what asyncpg by hand takes, which is 1.00: less is faster. Written by `{command}`, which
measures everything in one process on one embedded PostgreSQL; on another machine it will say other things, so these are
no promises.

- *wire* is one connection that nobody else uses, its statements prepared: nothing can be faster. *hand* is what an
  expert writes: `asyncpg.Pool`, a transaction of the right kind, a frozen dataclass. *hand, no transaction* leaves the
  transaction away, and with it what keeps a read from writing. *rowsmith* is a repository with the policies that it has
  by default, metrics included.
- Everybody starts from the same plain values and may give what its library gives by itself (objects, dictionaries).
  Before anything is timed, everybody's results, and what their writes left in the table, are held against each other.
- For *load* everybody makes an object of each row first, as an application has them: hand a frozen dataclass, as it is
  sent. For *batch_create, all known* hand sends the plain values as they are, and makes the objects that it gives.
- Contenders take turns in {rounds} rounds (batches in {batches}), each beginning with another one. Figures are medians
  of the rounds' ratios, and in parentheses the least and the most of them.
- The server does as little as it can: batches go to tables with a primary key only, and nobody waits for the disk.
  Whatever else it had to do would be equal for all, and make what a library adds look less.
- A dash has its reason below its table.

{server} over a Unix socket, {machine}{size}. {versions}.
"""


LITTLE = 0.005
"""A place where less time goes, as a part of what all takes by hand, is not told by itself."""
LOOKED_AT = """
Of each job whose time missed a goal: in multiples of what all of it takes by hand, what each place takes. A timer looks
two thousand times a second at what runs, and gives the time since its last look to the innermost code of a package
that is told apart; what the driver does in C counts as that of who called it, and the server's time as waiting for it.
"""


def ratio_text(found: float) -> str:
    """Write a ratio with as many digits as it deserves."""
    return f"{found:.1f}" if found >= 10 else f"{found:.2f}"


def spread_text(job: Measured, name: str) -> str:
    """Write a contender's time beside hand's, with its least and most."""
    ratios = job.ratios(name, HAND)
    if not ratios:
        return DASH
    if name == HAND:
        return "1.00"
    least, most = ratio_text(min(ratios)), ratio_text(max(ratios))
    return f"{ratio_text(job.ratio(name) or 0)} ({least} to {most})"


def short_text(job: Measured, name: str) -> str:
    """Write a contender's time beside hand's."""
    found = job.ratio(name)
    return DASH if found is None else ratio_text(found)


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_kind(results: Results, *kinds: str) -> list[Measured]:
    """Give the jobs of some kinds."""
    return [job for job in results.jobs if job.kind in kinds]


# docs/benchmarks.md


def page(results: Results, charts: Sequence[str] = ()) -> str:
    """Write the page."""
    parts = [introduction(results), *map(picture, charts)]
    for kind, heading in HEADINGS.items():
        if jobs := of_kind(results, kind):
            parts += [f"## {heading}", times(results, jobs), *reasons(jobs)]
    proofs = judged(results)
    parts += ["## Beside time", beside_time(results), "## Goals", goals_table(proofs)]
    if any(proof.kept is False for proof in proofs):
        parts += ["## Where the time goes", LOOKED_AT, *profiles(results)]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def introduction(results: Results) -> str:
    """Write what was measured, and how."""
    used = {name: version for name, version in results.versions.items() if version and not name.startswith("rowsmith,")}
    size = "" if results.size == 1 else f", with {results.size:g} times the rows"
    return INTRODUCTION.format(
        command=COMMAND,
        rounds=results.rounds,
        batches=min(results.rounds, ROUNDS_OF_BATCHES),
        server=results.server,
        machine=results.machine,
        size=size,
        versions=", ".join(f"{name} {version}" for name, version in used.items() if not name.startswith("hand")),
    )


def picture(name: str, folder: str = "") -> str:
    """Show a chart, in the colours that the reader's screen asks for."""
    dark = name.replace(".svg", "-dark.svg")
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{folder}{dark}">\n'
        f'  <img alt="times beside asyncpg by hand, the table as a chart" src="{folder}{name}">\n</picture>'
    )


def times(results: Results, jobs: Sequence[Measured]) -> str:
    """Write a table of times; contenders are its lines, for there are more of them than of jobs."""
    rows = [[job.name, *(spread_text(job, name) for name in results.contenders)] for job in jobs]
    return markdown(["", *results.contenders], rows)


def reasons(jobs: Sequence[Measured]) -> Iterator[str]:
    """Say why there are dashes, and what differs in what is given back."""
    found = dict[str, list[str]]()
    for job in jobs:
        for name, why in {**job.missing, **job.remarks}.items():
            found.setdefault(f"{name} {why}", []).append(job.name)
    if found:
        yield "\n".join(f"- {why}: {', '.join(names)}." for why, names in found.items())


def beside_time(results: Results) -> str:
    """Write tables of calls, round trips and memory of one call."""
    jobs = [job for job in results.jobs if job.counts]
    names = [name for name in results.contenders if any(name in job.counts for job in jobs)]
    parts = []
    for title, tell in COUNTED.items():
        theirs = [name for name in names if title != OWN or name.startswith(OURS)]
        rows = ([job.name, *(cell(job, name, tell) for name in theirs)] for job in jobs)
        parts.append(f"{title}:\n\n{markdown(['', *theirs], rows)}")
    return "\n\n".join(parts)


def cell(job: Measured, name: str, tell: Callable[[Counts], str]) -> str:
    """Write what was counted, or a dash."""
    return tell(job.counts[name]) if name in job.counts else DASH


def goals_table(proofs: Iterable[Proof]) -> str:
    """Write goals and what was reached side by side."""
    return markdown(["work", "goal", "reached", ""], ([p.work, p.goal, p.reached, verdict(p)] for p in proofs))


def profiles(results: Results) -> Iterator[str]:
    """Write where the time of each job goes that missed a goal; and of what rowsmith does alone, what was seen."""
    for name in missed_times(results):
        job = results.job(name)
        if job is not None and job.places:
            names = [name for name in results.contenders if name in job.places]
            yield markdown([name, *names], places_of(job, names))
    seen = [proof for proof in results.proofs if proof.kept is False]
    if seen:
        yield "\n".join(f"- {proof.work}: {proof.why or 'not looked at'}." for proof in seen)


def places_of(job: Measured, names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Write how long each place takes, as a multiple of what all takes by hand; the little ones together."""
    took = {
        place: [job.places[name].get(place, 0.0) * (job.ratio(name) or 0.0) for name in names]
        for place in dict.fromkeys(place for name in names for place in job.places[name])
    }
    told = sorted((place for place in took if max(took[place]) >= LITTLE), key=lambda place: -max(took[place]))
    for place in told:
        yield [place, *(f"{time:.2f}" for time in took[place])]
    wholes = [job.ratio(name) or 0.0 for name in names]
    rest = [whole - sum(took[place][at] for place in told) for at, whole in enumerate(wholes)]
    yield ["the rest", *(f"{max(time, 0.0):.2f}" for time in rest)]
    yield ["all of it", *map(ratio_text, wholes)]


def verdict(proof: Proof) -> str:
    """Say in a word what became of a goal."""
    return DASH if proof.kept is None else "kept" if proof.kept else "**missed**"


# The README


def block(results: Results, charts: Sequence[str] = ()) -> str:
    """Write what stands in the README between its markers."""
    names = [name for name in IN_README if name in results.contenders]
    rows = [[job.name, *(short_text(job, name) for name in names)] for job in results.jobs]
    said = (
        "Times as multiples of what asyncpg by hand takes (a pool, a transaction of the right kind, a frozen\n"
        f"dataclass), which is 1.00: less is faster. Written by `{COMMAND}`, in one run ({results.server} over a Unix\n"
        f"socket, {results.machine}). How it is measured, the spread, calls, round trips, memory, what a dash means,\n"
        "and which goals are kept and missed: [docs/benchmarks.md](docs/benchmarks.md)."
    )
    parts = [said, *(picture(name, "docs/") for name in charts), markdown(["", *names], rows)]
    return "\n\n".join(part for part in parts if part)


def with_block(readme: str, written: str) -> str:
    """Give a README with another block between its markers.

    Raises:
        ValueError: it has no markers.
    """
    pattern = re.compile(f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(f"the README needs a line {BEGIN} and a line {END}")
    return pattern.sub(lambda _: f"\n\n{written}\n\n", readme)


# The terminal


def show(results: Results, console: Console) -> None:
    """Print times, counts, and what was reached beside its goals."""
    for kind, heading in HEADINGS.items():
        if jobs := of_kind(results, kind):
            rows = ([job.name, *(short_text(job, name) for name in results.contenders)] for job in jobs)
            print_table(console, f"{heading}: beside hand", ["", *results.contenders], rows)
    rows = ([job.name, *(counts_text(job, name) for name in results.contenders)] for job in results.jobs if job.counts)
    print_table(console, "calls of functions / round trips / KiB", ["", *results.contenders], rows)
    found = [proof for proof in judged(results) if proof.kept is not None]
    goals = ([proof.work, proof.goal, proof.reached, verdict(proof).strip("*")] for proof in found)
    print_table(console, "goals", ["work", "goal", "reached", ""], goals)


def counts_text(job: Measured, name: str) -> str:
    """Write all that was counted."""
    return cell(job, name, lambda found: f"{found.calls:,} / {found.trips:,} / {found.kib:,.0f}")


def print_table(console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write(results: Results, root: Path, charts: Sequence[str]) -> None:
    """Write the page, and the README's block."""
    (root / "docs" / "benchmarks.md").write_text(page(results, charts))
    readme = root / "README.md"
    readme.write_text(with_block(readme.read_text(), block(results, charts)))
