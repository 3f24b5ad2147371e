"""What every chapter has at hand: the stage, the repositories, the scopes, and ways to say what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from examples.demo.stage import Stage
from examples.demo.world import World
from examples.domain.repository import DomainRepository
from examples.domain.types import DomainName
from examples.fair_share.repository import FairShareRepository, UsageRepository
from examples.group.repository import GroupRepository
from examples.group.types import DomainScope, GroupData
from rowsmith import Database, Page, Unscoped

DE, FR, JP = DomainName("DE"), DomainName("FR"), DomainName("JP")
GERMANY, FRANCE, JAPAN = DomainScope(DE), DomainScope(FR), DomainScope(JP)
EVERYTHING = Unscoped(reason="the demo shows the whole world")


@dataclass
class Tour:
    """One walk through the repositories."""

    stage: Stage
    db: Database
    world: World

    def __post_init__(self) -> None:
        self.domains = DomainRepository(self.db)
        self.groups = GroupRepository(self.db)
        self.shares = FairShareRepository(self.db)
        self.usage = UsageRepository(self.db)


def names(groups: Sequence[GroupData] | Page[GroupData], most: int = 5) -> str:
    """Give the names of the first few."""
    shown = [escape(group.name) for group in list(groups)[:most]]
    return ", ".join(shown) + (f", … [dim]{len(groups) - most} more[/]" if len(groups) > most else "")


def brief(group: GroupData) -> str:
    """Give a group in one line."""
    about = f" [dim]{escape(group.description)}[/]" if group.description else ""
    return f"[bold]{escape(group.name)}[/] {group.domain_name}, {group.population:,}{about}"


def bar(fraction: float, width: int = 24, style: str = "cyan") -> str:
    """Give a bar of a fraction between 0 and 1, to an eighth of a character."""
    eighths = round(max(0.0, min(fraction, 1.0)) * width * 8)
    text = "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
    return f"[{style}]{text}[/]"


def page_table(page: Page[GroupData], title: str) -> Table:
    """Give a page of groups with a bar for each population."""
    table = Table(
        title=title, title_justify="left", title_style="dim", box=None, padding=(0, 2, 0, 0), show_header=False
    )
    most = max((group.population for group in page), default=1) or 1
    for group in page:
        table.add_row(group.domain_name, escape(group.name), f"{group.population:,}", bar(group.population / most))
    table.columns[2].justify = "right"
    return table
