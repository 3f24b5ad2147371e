"""A count is one of four values."""

from __future__ import annotations

from typing import Any

import pytest

from rowsmith.errors import InvalidPagination
from rowsmith.pagination import Count


def test_counts_are_told_apart() -> None:
    """The four counts are different values with a readable representation."""
    counts = [Count.NONE, Count.EXACT, Count.ESTIMATED, Count.capped(5)]
    assert len(set(counts)) == 4
    assert [repr(count) for count in counts] == ["Count.NONE", "Count.EXACT", "Count.ESTIMATED", "Count.capped(5)"]
    assert Count.capped(5) == Count.capped(5) != Count.capped(6)


@pytest.mark.parametrize("cap", [-1, 0, 2**63 - 1, 2**63, True, 1.0, "1", None])
def test_caps_out_of_range_are_refused(cap: Any) -> None:
    """A cap is a positive int, one below the end of bigint."""
    with pytest.raises(InvalidPagination, match="capped count must be"):
        Count.capped(cap)


@pytest.mark.parametrize("arguments", [("other",), ("exact", 5), (True,), ("none", 0)])
def test_other_counts_are_refused(arguments: tuple[Any, ...]) -> None:
    """Nothing else is a count."""
    with pytest.raises(InvalidPagination, match=r"Count\.NONE"):
        Count(*arguments)
