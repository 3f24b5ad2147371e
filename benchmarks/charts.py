"""Pictures of a run, drawn by matplotlib: a line for each job, a dot for each contender, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.contenders import VARIANTS
from benchmarks.report import CHARTS, of_kind
from benchmarks.results import OURS, Measured, Results

LEFT_OUT = ("hand", *VARIANTS)
"""The measure itself, and variants that would hide the dots of others."""

INK = {"": ("#1f2328", "#d0d7de"), "-dark": ("#e6edf3", "#3d444d")}
"""By the end of a file's name: the colours of text and of lines."""

# After Okabe and Ito, whose colours can be told apart whatever colours one sees; each with a form of its own.
OTHERS = ["#56b4e9", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#c2a000", "#999999", "#8c6bb1"]
FORMS = ["v", "s", "D", "^", "P", "X", "<", ">"]
OUR_COLOUR = "#d55e00"

# Text stays text, and the same run gives the same bytes.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rowsmith", "font.family": "sans-serif"})


def draw_all(results: Results, folder: Path) -> list[str]:
    """Draw all pictures into a folder, and give the names of the light ones."""
    return [name for name, kinds in CHARTS.items() if draw(of_kind(results, *kinds), results, folder / name)]


def draw(jobs: Sequence[Measured], results: Results, path: Path) -> bool:
    """Draw a picture and its dark twin; False if there is nothing to draw."""
    if not any(job.seconds for job in jobs):
        return False
    for end, (ink, faint) in INK.items():
        figure = chart(jobs, results.contenders, ink, faint)
        figure.savefig(path.with_stem(path.stem + end), transparent=True, metadata={"Date": None})
    return True


def chart(jobs: Sequence[Measured], contenders: Sequence[str], ink: str, faint: str) -> Figure:
    """Draw times beside hand's, which is the line at one."""
    figure = Figure(figsize=(9, 1.4 + 0.34 * len(jobs)), layout="constrained")
    axes = figure.subplots()
    for name, colour, form in looks(contenders):
        dots = [(ratio, place) for place, job in enumerate(jobs) if (ratio := job.ratio(name)) is not None]
        size, level = (90, 4) if name == OURS else (34, 3)
        across, down = [ratio for ratio, _ in dots], [place for _, place in dots]
        axes.scatter(across, down, s=size, c=colour, marker=form, label=name, zorder=level)
    axes.axvline(1, color=ink, linewidth=1, zorder=2)
    axes.set_xscale("log")
    axes.set_yticks(range(len(jobs)), [job.name for job in jobs])
    axes.invert_yaxis()
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], ["0.1", "0.2", "0.5", "by hand", "2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.set_xlim(*limits(jobs, contenders))
    axes.set_xlabel("time beside asyncpg by hand; further left is faster", color=ink)
    axes.tick_params(colors=ink, length=0)
    axes.grid(color=faint, linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, labelcolor=ink)
    return figure


def looks(contenders: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Give each contender that is drawn its colour and form."""
    others = [name for name in contenders if name not in (*LEFT_OUT, OURS)]
    yield from zip(others, OTHERS, FORMS, strict=False)
    yield OURS, OUR_COLOUR, "o"


def limits(jobs: Sequence[Measured], contenders: Sequence[str]) -> tuple[float, float]:
    """Say from where to where the picture goes."""
    found = [ratio for job in jobs for name in contenders if (ratio := job.ratio(name)) is not None]
    return min(*found, 1) / 1.3, max(*found, 1) * 1.3
