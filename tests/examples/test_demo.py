"""The demo plays to its end on a part of the world, and says what it did."""

from __future__ import annotations

from collections import Counter
from io import StringIO

import pytest
from rich.console import Console

from examples.demo import __main__ as playing
from examples.demo.sql import in_one_line, laid_out
from examples.demo.world import World
from examples.group.rows import GroupKind

CHAPTERS = ("One row", "Searching", "Counting", "Scopes", "Units of work", "Errors", "In bulk", "Fair shares")


@pytest.fixture(scope="module")
def world() -> World:
    """Give the whole world."""
    return World.load()


def test_the_whole_world_has_unique_names(world) -> None:
    """Every city becomes a group whose name is its own in its country, every country a domain."""
    names = Counter((group.domain_name, group.name) for group in world.groups())
    assert max(names.values()) == 1
    assert len(names) > 30_000
    assert {domain for domain, _ in names} <= {domain.name for domain in world.domains()}


def test_a_country_has_at_most_one_capital_by_its_name(world) -> None:
    """Of several cities of the capital's name, the largest is it."""
    capitals = Counter(group.domain_name for group in world.groups() if group.kind is GroupKind.CAPITAL)
    assert max(capitals.values()) == 1
    assert len(capitals) > 200


@pytest.mark.parametrize("is_terminal", [True, False])
async def test_the_demo_plays_to_its_end(world, is_terminal) -> None:
    """Each chapter is there, in a terminal and outside of one."""
    some = tuple(
        city for city in world.cities if city["population"] > 900_000 or city["countrycode"] in ("DE", "FR", "JP")
    )
    console = Console(file=StringIO(), width=150, force_terminal=is_terminal)
    await playing.walk(console, World(world.countries, some))
    text = console.file.getvalue()
    assert all(chapter in text for chapter in CHAPTERS)
    assert "from start to end" in text
    assert ("\x1b[" in text) is is_terminal


def test_ctrl_c_ends_it_without_a_traceback(world, monkeypatch) -> None:
    """Who has seen enough has done nothing wrong."""

    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(playing, "walk", interrupted)
    monkeypatch.setattr(World, "load", lambda: world)
    playing.main()


def test_sql_is_laid_out_by_clauses_and_parentheses() -> None:
    """Each clause has a line, deeper where parentheses are open."""
    assert laid_out("SELECT a FROM t WHERE b = $1 AND EXISTS (SELECT 1 FROM u WHERE u.id = t.id) ORDER BY a").split(
        "\n"
    ) == [
        "SELECT a",
        "FROM t",
        "WHERE b = $1",
        "  AND EXISTS (SELECT 1",
        "  FROM u",
        "  WHERE u.id = t.id)",
        "ORDER BY a",
    ]
    assert in_one_line("SELECT a,\n b FROM t", 14) == "SELECT a, ..."
