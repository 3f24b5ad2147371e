"""Iterators that can be read a second time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

from rowsmith.errors import StalePlan
from rowsmith.execution import repeatable, replay

MOST = 3


@pytest.fixture(autouse=True)
def little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST_KEPT", MOST)


async def later(items: Iterable[int]) -> AsyncIterator[int]:
    for item in items:
        yield item


def at_hand(items: Iterable[int]) -> Iterator[int]:
    return iter(items)


SOURCES = pytest.mark.parametrize("source", [at_hand, later])


async def read(given: Any, most: int = 99) -> list[int]:
    """Read some items, and let go of the rest."""
    if not hasattr(given, "__aiter__"):
        return list(islice(given, most))
    found = list[int]()
    async for item in given:
        found.append(item)
        if len(found) == most:
            break
    return found


@SOURCES
async def test_an_iterator_begins_again(source: Any) -> None:
    """Wherever the first reader stopped; nothing is taken from it before it is asked for."""
    for stopped in range(1, MOST + 1):
        taken = list[int]()
        given = repeatable(source(taken.append(item) or item for item in range(MOST)))
        assert (await read(given, stopped), taken) == (list(range(stopped)), list(range(stopped)))
        assert await read(given) == list(range(MOST))


@SOURCES
async def test_what_cannot_be_given_again_is_refused(source: Any) -> None:
    """It was too much to keep, all of which is given the first time; or it failed, and would begin in the middle."""

    def failing() -> Iterator[int]:
        yield 0
        raise ZeroDivisionError

    much, broken = repeatable(source(range(99))), repeatable(source(failing()))
    assert await read(much) == list(range(99))
    with pytest.raises(ZeroDivisionError):
        await read(broken)
    for given in (much, broken):
        with pytest.raises(StalePlan):
            await read(given)


def test_what_is_no_iterator_is_given_as_it_is() -> None:
    """A list can be read again as it is."""
    assert repeatable(items := [1, 2]) is items
