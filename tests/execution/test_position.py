"""Positions in the write-ahead log: which server has what was there at another one's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowsmith.errors import InvalidValue
from rowsmith.execution.position import Position

positions = st.builds(
    Position, st.sampled_from(["", "7712372877765460735"]), st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1)
)


@given(positions)
def test_a_token_is_read_as_it_was(position: Position) -> None:
    """By whichever process."""
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "other, has",
    [
        (Position("1", 2, 50), True),
        (Position("1", 2, 51), True),
        (Position("1", 3, 50), True),
        (Position("1", 2, 49), False),
        (Position("1", 1, 90), False),
        (Position("2", 2, 90), False),
        (Position("", 2, 90), False),
    ],
)
def test_a_server_has_what_it_has_come_past(other: Position, has: bool) -> None:
    """In a log that goes on from the same promotions, of the same group of servers."""
    assert Position("1", 2, 50).is_reached_by(other) is has


def test_a_token_that_is_none_is_not_quoted() -> None:
    """It came from outside."""
    with pytest.raises(InvalidValue) as caught:
        Position.parse("secret")
    assert "secret" not in str(caught.value)
