"""Whether a function can be called, known before it is."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from rowsmith.signatures import takes


@pytest.mark.parametrize(
    "function, given, expected",
    [
        (lambda: None, (), True),
        (lambda: None, (1,), False),
        (lambda one: one, (), False),
        (lambda one, two=2: one, (1,), True),
        (partial(lambda one, two: one, 1), (2,), True),
        (str, (1,), True),  # written in C, and nothing is known of it
        (itertools.count, (), True),
    ],
)
def test_what_a_function_can_be_called_with(function: object, given: tuple[object, ...], expected: bool) -> None:
    """As Python would bind the arguments; where it cannot tell, the call is left to say so."""
    assert takes(function, *given) is expected  # type: ignore[arg-type]
