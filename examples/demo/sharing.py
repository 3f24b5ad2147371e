"""Chapter: one computation over many rows."""

from __future__ import annotations

from datetime import date, timedelta

from rich.markup import escape
from rich.table import Table

from examples.demo.sql import laid_out
from examples.demo.tour import EVERYTHING, JAPAN, Tour, bar
from examples.fair_share.standings import Decay, Standing, Standings
from examples.fair_share.types import FairShareKey, GroupShareScope
from examples.group.rows import GroupKind
from examples.group.search import GroupFilter
from examples.group.types import GroupData
from rowsmith.filters import EnumFilter


async def sharing(tour: Tour, today: date) -> None:
    """Who is due what, by domain, group and user."""
    stage = tour.stage
    stage.open(
        "Fair shares",
        "Shares and usage are read once, in one snapshot, and the rest is done in memory: usage halves each week,\n"
        "weights and usage add up from users to groups to domains, factor = 2^-(usage / share).",
    )
    found = await stage.act(
        "shares.standings(Decay(today, half_life=timedelta(days=7)), EVERYTHING)",
        tour.shares.standings(Decay(today, half_life=timedelta(days=7)), EVERYTHING),
        lambda standings: f"{len(standings.nodes):,} nodes on three levels",
        sql=laid_out,
    )
    capital = GroupFilter(kind=EnumFilter[GroupKind](equals=GroupKind.CAPITAL))
    tokyo = (await tour.groups.search(JAPAN, capital)).items[0]
    stage.below(_domains(found))
    stage.below(await _users(tour, found, tokyo))
    stage.close()


def _domains(found: Standings) -> Table:
    table = _table("Domains by weight")
    ranked = sorted(found.domains().items(), key=lambda item: -item[1].weight)[:10]
    most = max(max(node.share, node.usage) for _, node in ranked)
    for name, node in ranked:
        _add(table, name, node, most)
    return table


async def _users(tour: Tour, found: Standings, group: GroupData) -> Table:
    table = _table(f"Users of {escape(group.name)}")
    shares = [share async for share in tour.shares.stream(GroupShareScope(group.domain_name, group.id))]
    nodes = [(share.key, found.user(share.key)) for share in shares]
    most = max(max(node.share, node.usage) for _, node in nodes)
    for key, node in sorted(nodes, key=lambda item: -item[1].weight):
        _add(table, _short(key), node, most)
    return table


def _short(key: FairShareKey) -> str:
    return str(key.user_id)[:8]


def _table(title: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="dim", box=None, padding=(0, 2, 0, 0), header_style="dim"
    )
    for name in ("", "weight", "share", "", "usage", "", "factor", ""):
        table.add_column(name, justify="right" if name in ("weight", "share", "usage", "factor") else "left")
    return table


def _add(table: Table, name: str, node: Standing, most: float) -> None:
    """Add a line: what is due in cyan, what was used in yellow, the priority that follows in green or red."""
    style = "green" if node.factor >= 0.5 else "red"
    table.add_row(
        name,
        f"{node.weight:,.0f}",
        f"{node.share:.1%}",
        bar(node.share / most, 20),
        f"{node.usage:.1%}",
        bar(node.usage / most, 20, "yellow"),
        f"{node.factor:.2f}",
        bar(node.factor, 12, style),
    )
