"""Who is due what: a pure computation over shares and usage, tested without a database.

Usage of a day counts half after each half-life. Weights and decayed usage add up from users to groups
to domains. At each of the three levels a node's *share* is its weight among its siblings, its *usage* what it
used of what they used, and its *factor* ``2 ** -(usage / share)``: 1 for who used nothing, 1/2 for who used just
what it was due (the classic fair-share formula of Slurm's multifactor plugin).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeAlias

from examples.domain.types import DomainName
from examples.fair_share.errors import STANDING, FairShareNotFound
from examples.fair_share.types import FairShareData, FairShareKey, Usage
from examples.group.types import GroupId

Path: TypeAlias = tuple[Hashable, ...]
"""A node: ``(domain,)``, ``(domain, group)`` or ``(domain, group, user)``."""


@dataclass(frozen=True)
class Decay:
    """How fast usage is forgotten, seen from one day."""

    today: date
    half_life: timedelta = timedelta(days=7)

    def remaining(self, day: date) -> float:
        """Give what is left of a day's usage, from 1 for today towards 0."""
        return float(0.5 ** max((self.today - day) / self.half_life, 0.0))


@dataclass(frozen=True)
class Standing:
    """One node's weight and decayed usage, and both as fractions of its siblings'."""

    weight: float
    used: float
    share: float
    usage: float

    @property
    def factor(self) -> float:
        """Give the priority: 1 is owed everything, 1/2 is even, towards 0 has used more than its due."""
        return float(2.0 ** -(self.usage / self.share))


@dataclass(frozen=True)
class Standings:
    """The standings of every domain, group and user."""

    nodes: Mapping[Path, Standing]
    rows: int = 0
    """How many rows of shares and usage went into them."""

    def domains(self) -> dict[DomainName, Standing]:
        """Give the first level."""
        return {DomainName(str(path[0])): node for path, node in self.nodes.items() if len(path) == 1}

    def group(self, domain_name: DomainName, group_id: GroupId) -> Standing:
        """Give one group among those of its domain."""
        return self._node((domain_name, group_id))

    def user(self, key: FairShareKey) -> Standing:
        """Give one user among those of the group."""
        return self._node(tuple(key))

    def _node(self, path: Path) -> Standing:
        if (node := self.nodes.get(path)) is None:
            raise FairShareNotFound(facts=STANDING)
        return node


def standings(shares: Iterable[FairShareData], usage: Iterable[Usage], decay: Decay) -> Standings:
    """Work out every node's standing in one pass over each input; who has no share any more used nothing."""
    weights, shared = _totals((share.key, float(share.weight)) for share in shares)
    counted = (entry for entry in usage if entry.key in weights)
    used, noted = _totals((entry.key, float(entry.used) * decay.remaining(entry.day)) for entry in counted)
    nodes = {path: _standing(path, weights, used) for path in weights if path}
    return Standings(nodes, shared + noted)


def _totals(leaves: Iterable[tuple[FairShareKey, float]]) -> tuple[dict[Path, float], int]:
    """Add each leaf's amount to its own node and to all above it, the root ``()`` included; also count them."""
    totals, count = defaultdict[Path, float](float), 0
    for key, amount in leaves:
        count += 1
        for depth in range(len(key) + 1):
            totals[key[:depth]] += amount
    return totals, count


def _standing(path: Path, weights: Mapping[Path, float], used: Mapping[Path, float]) -> Standing:
    own, siblings = used.get(path, 0.0), used.get(path[:-1], 0.0)
    share = weights[path] / weights[path[:-1]]
    return Standing(weights[path], own, share, own / siblings if siblings else 0.0)
