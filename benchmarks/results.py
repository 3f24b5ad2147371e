"""What a run measured, as values: kept as JSON, so that tables and pictures can be made again without another run."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

HAND = "hand"
OURS = "rowsmith"

ROUNDS_OF_BATCHES = 3
"""As many at most, for they take long and vary little."""


@dataclass
class Counts:
    """What one call took beside time."""

    calls: int
    trips: int
    kib: float
    functions: int = 0
    """Functions of rowsmith's own that it passed, each once."""
    files: int = 0
    """The files that those stand in."""


@dataclass
class Measured:
    """One job: seconds of a call by contender and round, counts, and who cannot do it, or does it differently."""

    name: str
    kind: str
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    counts: dict[str, Counts] = field(default_factory=dict[str, Counts])
    missing: dict[str, str] = field(default_factory=dict[str, str])
    remarks: dict[str, str] = field(default_factory=dict[str, str])
    places: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    """Where its time goes, by contender: the part of each place. Only of work that missed a goal."""

    def ratios(self, name: str, reference: str) -> list[float]:
        """Give a contender's time as a multiple of another's, round by round; nothing where either is missing."""
        pairs = zip(self.seconds.get(name, []), self.seconds.get(reference, []), strict=False)
        return [own / other for own, other in pairs]

    def ratio(self, name: str, reference: str = HAND) -> float | None:
        """Give the median of those."""
        found = self.ratios(name, reference)
        return median(found) if found else None


@dataclass
class Proof:
    """What is promised of rowsmith alone, and what was found."""

    work: str
    goal: str
    reached: str
    kept: bool | None
    why: str = ""
    """Where the time goes, where that was looked at."""


@dataclass
class Results:
    """A run."""

    versions: dict[str, str | None]
    """By contender; None for one that is not installed."""
    server: str
    machine: str
    rounds: int
    size: float
    jobs: list[Measured] = field(default_factory=list[Measured])
    proofs: list[Proof] = field(default_factory=list[Proof])

    def job(self, name: str) -> Measured | None:
        """Give a job by its name; None where it was not asked for."""
        return next((job for job in self.jobs if job.name == name), None)

    @property
    def contenders(self) -> list[str]:
        """Those that were there."""
        return [name for name, version in self.versions.items() if version is not None]


FORM = TypeAdapter(Results)


def machine() -> str:
    """Say what the run was made on, as far as that matters for ratios."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def save(results: Results, path: Path) -> None:
    """Write a run as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(FORM.dump_json(results, indent=1))


def load(path: Path) -> Results:
    """Read one."""
    return FORM.validate_json(path.read_bytes())
