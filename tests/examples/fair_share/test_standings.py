"""The fair-share computation by itself, without a database."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from math import isclose
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.domain.types import DomainName
from examples.fair_share.standings import Decay, standings
from examples.fair_share.types import FairShareData, FairShareKey, Usage
from examples.group.types import GroupId, UserId

TODAY = date(2024, 5, 1)
WEEK = Decay(TODAY, half_life=timedelta(days=7))
KEYS = st.builds(
    FairShareKey,
    st.sampled_from(["DE", "FR", "PE"]).map(DomainName),
    st.integers(1, 3).map(GroupId),
    st.integers(1, 3).map(lambda n: UserId(UUID(int=n))),
)
AMOUNTS = st.decimals("0.01", "1000000", places=2)
WEIGHTS = st.dictionaries(KEYS, AMOUNTS, min_size=1)
USAGE = st.lists(st.tuples(KEYS, st.integers(0, 60), AMOUNTS))


def computed(weights, used):
    shares = [FairShareData(*key, weight=weight, version=1) for key, weight in weights.items()]
    usage = [Usage(*key, day=TODAY - timedelta(days=days), used=amount) for key, days, amount in used if key in weights]
    return standings(shares, usage, WEEK)


@given(WEIGHTS, USAGE)
def test_fractions_of_siblings_add_up_to_one(weights, used) -> None:
    """At each level shares add up to 1, and usage too where anything was used; every factor is in 0..1."""
    shares, usages = defaultdict(float), defaultdict(float)
    for path, node in computed(weights, used).nodes.items():
        shares[path[:-1]] += node.share
        usages[path[:-1]] += node.usage
        assert 0 <= node.factor <= 1
    assert all(isclose(total, 1) for total in shares.values())
    assert all(total == 0 or isclose(total, 1) for total in usages.values())


@given(WEIGHTS, USAGE)
def test_a_parent_weighs_and_used_what_its_children_did(weights, used) -> None:
    """Sums pass from users to groups to domains."""
    nodes = computed(weights, used).nodes
    for path, node in nodes.items():
        children = [child for below, child in nodes.items() if below[:-1] == path]
        if children:
            assert isclose(node.weight, sum(child.weight for child in children))
            assert isclose(node.used, sum(child.used for child in children), abs_tol=1e-9)


@pytest.mark.parametrize("days, left", [(0, 1.0), (7, 0.5), (14, 0.25), (-3, 1.0)])
def test_usage_halves_with_each_half_life(days, left) -> None:
    """A week's half-life halves in a week; usage dated later than today counts in full."""
    assert WEEK.remaining(TODAY - timedelta(days=days)) == left
