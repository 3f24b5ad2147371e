"""What an application says in words of its own, SQL or a mapping, cannot mean more than it should."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from rowsmith import InvalidFilter, MappingError, Patch, Spec
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingRow
from verbs import VERBS, World, world_in

BREAKING_OUT = sa.literal_column("things.uses = 1) OR (things.uses > 0", sa.Boolean)


async def test_text_cannot_break_out_of_its_parentheses(any_tables: WithTables) -> None:
    """Another tenant's row is neither found, changed nor removed: such text is refused before anything is sent."""
    async with world_in(any_tables, "things") as world:
        things, before = world.things, await world.stored()
        calls = [
            things.search(OwnedBy("a"), [BREAKING_OUT]),
            things.count(OwnedBy("a"), [sa.literal_column("things.uses = 1 --", sa.Boolean)]),
            things.update_where([BREAKING_OUT], world.patch, scope=OwnedBy("a")),
            things.purge_where([BREAKING_OUT], scope=OwnedBy("a")),
        ]
        for call in calls:
            with pytest.raises(InvalidFilter, match="text"):
                await call
        assert await world.stored() == before


class Nothing(Spec[ThingRow]):
    def to_values(self) -> Any:
        return None


class Pairs(Patch[ThingRow]):
    def to_values(self) -> Any:
        return [("uses", 7)]


@pytest.mark.parametrize("name", ["create", "upsert", "batch_create", "load", "batch_upsert", "update", "update_where"])
async def test_values_are_a_mapping(name: str, any_tables: WithTables) -> None:
    """A spec or patch whose ``to_values`` gives something else says so by name."""
    async with world_in(any_tables, "things") as made:
        world = World(made.things, made.row, lambda _: Nothing(), Pairs(), made.owner)
        with pytest.raises(MappingError, match=r"to_values\(\) gives a mapping"):
            await VERBS[name].call(world, 1, OwnedBy("a"))
