"""Pagination modes refuse numbers that no page can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

import rowsmith
from rowsmith import pagination
from rowsmith.errors import InvalidCursor, InvalidPagination
from rowsmith.pagination import (
    MAX_PAGE_SIZE,
    CursorBackwardPagination,
    CursorForwardPagination,
    NoPagination,
    OffsetPagination,
    Page,
    modes,
)
from rowsmith.pagination.client import PageFields
from rowsmith.pagination.modes import CLIENT_MODES, Around, Fetch, Mode
from rowsmith.query import Query
from rowsmith.testing import WithTables
from tenants import GroupData, groups_in

EACH = pytest.mark.parametrize("mode", CLIENT_MODES)


def sized(mode: type[Any], size: Any) -> object:
    """Make a mode that a client may ask for, with its size and nothing else."""
    return mode(**{CLIENT_MODES[mode][0]: size})


@EACH
@pytest.mark.parametrize("size", [-(2**63), -1, 0, MAX_PAGE_SIZE + 1, 10**9, 2**31, 2**63, True, 1.0, "1", None])
def test_sizes_out_of_range_are_refused(mode: type[Any], size: Any) -> None:
    """A page has 1 to MAX_PAGE_SIZE rows, given as an int."""
    with pytest.raises(InvalidPagination, match="must be"):
        sized(mode, size)


@EACH
@pytest.mark.parametrize("size", [1, MAX_PAGE_SIZE])
def test_sizes_in_range_are_taken(mode: type[Any], size: int) -> None:
    """Both ends of the range are pages; equal modes are equal values."""
    assert sized(mode, size) == sized(mode, size)


@pytest.mark.parametrize("offset", [-1, 2**63, False, 0.0, None])
def test_offsets_out_of_range_are_refused(offset: Any) -> None:
    """An offset is an int that the database's bigint can hold."""
    with pytest.raises(InvalidPagination, match="offset must be"):
        OffsetPagination(limit=1, offset=offset)


def test_the_largest_offset_is_taken() -> None:
    """Skipping more rows than there can be is no error."""
    assert OffsetPagination(limit=1, offset=2**63 - 1).offset == 2**63 - 1


def test_a_page_has_a_number() -> None:
    """Counted from 1, up to the last whose first row an offset can name."""
    assert [OffsetPagination.page(number, 20) for number in (1, 2, 11)] == [
        OffsetPagination(20, offset) for offset in (0, 20, 200)
    ]
    last = 2**63 // 20 + 1
    assert OffsetPagination.page(last, 20).offset == (last - 1) * 20
    for number in (0, -1, last + 1, True, 1.0, "1", None):
        with pytest.raises(InvalidPagination, match="number must be"):
            OffsetPagination.page(cast("Any", number), 20)
    for size in (0, -1, MAX_PAGE_SIZE + 1, True, "1", None):
        with pytest.raises(InvalidPagination, match="size must be"):
            OffsetPagination.page(1, cast("Any", size))


@pytest.mark.parametrize("cursor", [b"abc", 1, True, ("a",)])
def test_a_cursor_is_a_string(cursor: Any) -> None:
    """Anything but a string is no cursor, already before it is read."""
    with pytest.raises(InvalidCursor, match="must be a cursor"):
        CursorForwardPagination(first=1, after=cursor)
    with pytest.raises(InvalidCursor, match="must be a cursor"):
        CursorBackwardPagination(last=1, before=cursor)


@dataclass(frozen=True)
class LatestPagination(Mode):
    """A mode that rowsmith does not know: the newest rows, the newest first to be fetched."""

    latest: int

    def fetch(self) -> Fetch:
        return Fetch(size=self.latest, offset=None, cursor=None, backward=True)

    def around(self, *, more: bool) -> Around:
        return Around(has_next_page=False, has_previous_page=more)


async def test_a_new_mode_needs_nothing_but_its_own_answers(any_tables: WithTables) -> None:
    """Limit, direction and what lies around the page are the mode's; nothing else asks which one it is."""
    async with groups_in(any_tables) as groups:
        page: Page[GroupData] = await groups.search(None, None, cast("Any", LatestPagination(2)))
        assert [group.id for group in page] == [2, 3]
        assert (page.has_next_page, page.has_previous_page) == (False, True)


def test_a_mode_that_leaves_an_answer_out_cannot_be_made() -> None:
    """A forgotten part fails at once; it never means every row."""

    @dataclass(frozen=True)
    class Forgetful(Mode):
        def fetch(self) -> Fetch:
            return Fetch(size=1, offset=None, backward=False)  # type: ignore[call-arg]

    with pytest.raises(TypeError, match="around"):
        Forgetful()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="cursor"):
        Forgetful.fetch(cast("Any", None))


def test_every_mode_is_public() -> None:
    """One whose name is in no list can be asked for by nobody."""
    for package in (rowsmith, pagination):
        assert [mode.__name__ for mode in modes.MODES if getattr(package, mode.__name__, None) is not mode] == []
        assert {mode.__name__ for mode in modes.MODES} <= set(package.__all__)


def test_every_mode_stands_in_the_lists() -> None:
    """The type, and what a client may say of a page, know each mode that the module has."""
    assert set(modes.MODES) == {mode for mode in Mode.__subclasses__() if mode.__module__ == Mode.__module__}
    assert {name for names in CLIENT_MODES.values() for name in names} == set(PageFields.model_fields)
    assert set(modes.MODES) - set(CLIENT_MODES) == {NoPagination}


@pytest.mark.parametrize("given", [{"first": 2}, 2, 0, "first", "", {}, [], False, CursorForwardPagination, object()])
def test_what_is_no_mode_is_refused(given: Any) -> None:
    """By its type, and with every form that there is."""
    with pytest.raises(
        InvalidPagination, match=r"CursorForwardPagination\(first=\.\.\.\), .* or NoPagination\(\), not"
    ):
        Query(pagination=given)
