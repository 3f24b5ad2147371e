"""Chapters: filters, orders, cursors both ways; counts, keys and streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from examples.demo.sql import laid_out
from examples.demo.tour import EVERYTHING, GERMANY, JAPAN, Tour, bar, names, page_table
from examples.group.rows import GroupRow
from examples.group.search import GroupFilter, GroupSearch
from examples.group.types import GroupData
from examples.group.views import DomainStats, GroupCard
from rowsmith import Count, CursorBackwardPagination, CursorForwardPagination, InvalidCursor, OffsetPagination, Page
from rowsmith.filters import NumberFilter

BIG = GroupFilter(population=NumberFilter(gte=100_000))
REQUEST = GroupSearch.model_validate(
    {
        "filter": {
            "population": {"gte": 1_000_000},
            "domain": {"exists": {"continent": {"in": ["EU", "AF"]}}},
            "NOT": {"kind": {"equals": "capital"}},
        },
        "order": [{"field": "population", "direction": "desc"}],
        "first": 8,
        "count": "exact",
    }
)


async def searching(tour: Tour) -> None:
    """A request from outside, paged forwards and back."""
    tour.stage.open(
        "Searching",
        "A request from outside (JSON) becomes one statement, and one more for an exact count. A cursor holds the\n"
        "place in the order, not a number of rows to skip, and is worth nothing in another search.",
    )
    await _page_by_page(tour)
    await _far_away(tour)
    tour.stage.close()


async def _page_by_page(tour: Tour) -> None:
    stage, search = tour.stage, tour.groups.search
    call = "groups.search(EVERYTHING, request.to_query())"
    first = await stage.act(call, search(EVERYTHING, REQUEST.to_query()), told, sql=laid_out)
    stage.below(page_table(first, "Cities of a million in Europe and Africa that are no capital"))
    onwards = REQUEST.model_copy(update={"after": first.end_cursor, "count": "none"})
    call = "groups.search(EVERYTHING, page_2.to_query())  # after=page.end_cursor"
    second = await stage.act(call, search(EVERYTHING, onwards.to_query()), told)
    back = REQUEST.model_copy(update={"first": None, "last": 8, "before": second.start_cursor, "count": "none"})
    await stage.act(
        "groups.search(EVERYTHING, back.to_query())  # last=8, before=page.start_cursor",
        search(EVERYTHING, back.to_query()),
        lambda page: f"{told(page)}\n[dim]the very rows of page 1:[/] [green]{page.items == first.items}[/]",
    )
    call = "groups.search(GERMANY, back.to_query())  # the same cursor"
    await stage.refuse(call, search(GERMANY, back.to_query()), InvalidCursor)


async def _far_away(tour: Tour) -> None:
    stage, search, orders = tour.stage, tour.groups.search, [GroupRow.name]
    skip = await tour.groups.count(EVERYTHING) - 2_000
    call = f"groups.search(EVERYTHING, None, OffsetPagination(50, offset={skip}), orders=[GroupRow.name])"
    far = await stage.act(call, search(EVERYTHING, None, OffsetPagination(50, skip), orders=orders), told)
    call = "groups.search(EVERYTHING, None, CursorForwardPagination(50, after=page.end_cursor), orders=[...])"
    onwards = CursorForwardPagination(50, far.end_cursor)
    await stage.act(call, search(EVERYTHING, None, onwards, orders=orders), told, sql=laid_out)
    call = "groups.search(EVERYTHING, None, CursorBackwardPagination(3), orders=[...])"
    await stage.act(call, search(EVERYTHING, None, CursorBackwardPagination(3), orders=orders), told)


async def reading(tour: Tour) -> None:
    """Counts of each kind, existence, a list of keys, and everything through a stream."""
    stage, groups = tour.stage, tour.groups
    stage.open(
        "Counting, streaming, other shapes",
        "Nothing is counted unless asked for. Keys travel as one array parameter, however many they are.\n"
        "A stream goes through a cursor of the server, a thousand rows in memory at a time. A call may ask for\n"
        "another shape: related rows come with it, without one statement a row, and aggregates from the database.",
    )
    await stage.act("groups.count(EVERYTHING, big)", groups.count(EVERYTHING, BIG))
    await stage.act("groups.exists(JAPAN, big)", groups.exists(JAPAN, BIG))
    for count in (Count.EXACT, Count.capped(1_000), Count.ESTIMATED):
        call = f"groups.search(EVERYTHING, big, CursorForwardPagination(1), count={count})"
        page = groups.search(EVERYTHING, BIG, CursorForwardPagination(1), count=count)
        await stage.act(call, page, lambda page: f"total_count = [green]{page.total_count:,}[/]")
    keys = [group.id for group in await groups.search(JAPAN, BIG, CursorForwardPagination(200))]
    call = f"groups.batch_get(keys, scope=JAPAN)  # {len(keys)} of them"
    await stage.act(call, groups.batch_get(keys, scope=JAPAN), names, sql=laid_out)
    call = "async for group in groups.stream(EVERYTHING): ..."
    await stage.act(call, _census(groups.stream(EVERYTHING)), lambda found: f"{found.people / 1e9:.2f} billion people")
    await _other_shapes(tour)
    stage.close()


async def _other_shapes(tour: Tour) -> None:
    stage, groups = tour.stage, tour.groups
    call = "groups.search(JAPAN, big, CursorForwardPagination(3), into=GroupCard)"
    cards = groups.search(JAPAN, BIG, CursorForwardPagination(3), into=GroupCard)
    await stage.act(call, cards, lambda page: "\n".join(map(_card, page)), sql=laid_out)
    call = "groups.aggregate(EVERYTHING, big, group_by=[GroupRow.domain_name], into=DomainStats)"
    stats = groups.aggregate(EVERYTHING, BIG, group_by=[GroupRow.domain_name], into=DomainStats)
    found = await stage.act(call, stats, lambda stats: f"{len(stats)} domains", sql=laid_out)
    stage.below(_ranking(found))


def _card(card: GroupCard) -> str:
    return f"{escape(card.name)} [dim]of {card.domain.title}, {card.tag_count} tags, {len(card.members)} members[/]"


def _ranking(found: Sequence[DomainStats]) -> Table:
    """Give the domains with the most people in big cities."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "groups", "people", "mean", ""):
        table.add_column(name, justify="right" if name else "left")
    ranked = sorted(found, key=lambda stats: -stats.people)[:6]
    for stats in ranked:
        share = bar(stats.people / ranked[0].people)
        table.add_row(stats.domain_name, f"{stats.groups:,}", f"{stats.people:,}", f"{stats.mean or 0:,.0f}", share)
    return table


@dataclass(frozen=True)
class _Census:
    rows: int
    people: int


async def _census(groups: AsyncIterator[GroupData]) -> _Census:
    rows = people = 0
    async for group in groups:
        rows, people = rows + 1, people + group.population
    return _Census(rows, people)


def told(page: Page[GroupData]) -> str:
    """Give a page in one line, with marks for what lies before and after it."""
    total = "" if page.total_count is None else f" [dim]of[/] [green]{page.total_count:,}[/]"
    before, after = ("◀" if page.has_previous_page else "·"), ("▶" if page.has_next_page else "·")
    return f"{before} {names(page, 3)} {after}{total}"
