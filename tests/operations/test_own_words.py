"""What an application says in words of its own, SQL or a mapping, cannot mean more than it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import aliased

from rowsmith import InvalidFilter, InvalidValue, MappingError, OptionalState, Patch, Spec, TriState
from rowsmith.testing import WithTables
from tenants import CounterRow, OwnedBy, ThingPatch, ThingRow
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


class Keyed(Spec[ThingRow]):
    def __init__(self, key: object) -> None:
        self.key = key

    def to_values(self) -> Any:
        return {"id": 1, "name": "a", self.key: 7}


class KeyedPatch(Patch[ThingRow]):
    def __init__(self, key: object) -> None:
        self.key = key

    def to_values(self) -> Any:
        return {self.key: 7}


KEYS = {
    "number": 1,
    "nothing": None,
    "attribute": ThingRow.uses,
    "column": ThingRow.__table__.c.uses,
    "pair": (1, 2),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_values_are_given_by_names(key: object, any_tables: WithTables) -> None:
    """What is no text is refused in every verb as an unknown name is, and the message says what to write."""
    own = "uses" if key is ThingRow.uses or key is KEYS["column"] else "id"
    async with world_in(any_tables, "things") as made:
        world = World(made.things, made.row, lambda _: Keyed(key), KeyedPatch(key), made.owner)
        before = await world.stored()
        for name in WRITING:
            with pytest.raises(MappingError, match=f"attributes, which are text, .*: write '{own}'$"):
                await VERBS[name].call(world, 1, OwnedBy("a"))
        with pytest.raises(MappingError, match=f"write '{own}'$"):
            await world.things.batch_create_partial([Keyed(key)], scope=OwnedBy("a"))
        assert await world.stored() == before


WRITING = [
    *("create", "upsert", "batch_create", "load", "batch_upsert"),
    *("update", "batch_update", "batch_update_each", "update_where"),
]


@dataclass(frozen=True)
class BareDraft(Spec[ThingRow], filled={"tenant"}):
    id: int
    name: OptionalState[str]
    uses: OptionalState[int]
    note: TriState[str] = TriState.nop()


async def test_a_value_without_its_state_is_written_alike(any_tables: WithTables) -> None:
    """A field that holds the value itself, SQL or NULL among it, is written by every verb as by ``update``."""
    bare: Any = ThingPatch
    async with world_in(any_tables, "things") as world:
        things, a = world.things, OwnedBy("a")

        async def row() -> tuple[Any, ...]:
            found = await things.get(1, scope=a)
            return found.name, found.uses, found.note

        for note in ("b", None):
            for uses, there in ((5, 5), (ThingRow.uses + 1, 6)):
                patch = bare(uses=uses, note=note)
                for write in (
                    lambda patch: things.update(1, patch, scope=a),
                    lambda patch: things.batch_update([1], patch, scope=a),
                    lambda patch: things.batch_update_each({1: patch, 2: ThingPatch(note=TriState.nop())}, scope=a),
                    lambda patch: things.batch_update_partial({1: patch}, scope=a),
                    lambda patch: things.update_where([ThingRow.id == 1], patch, scope=a),
                ):
                    await things.update(1, ThingPatch(uses=OptionalState.update(5)), scope=a)
                    await write(patch)
                    assert (await row())[1:] == (there, note)
        draft: Any = BareDraft
        for number, create in enumerate((things.create, things.upsert), 50):
            await create(draft(number, f"n{number}", 3, None), scope=a)
            assert (await things.get(number, scope=a)).uses == 3
        for number, batch in enumerate((things.batch_create, things.batch_upsert, things.batch_create_partial), 60):
            await batch([draft(number, f"n{number}", 3, "x")], scope=a)
            assert (await things.get(number, scope=a)).note == "x"


async def test_a_value_without_its_state_has_to_fit(any_tables: WithTables) -> None:
    """It is refused by every verb as within its state."""
    bare: Any = ThingPatch
    async with world_in(any_tables, "things") as world:
        things, patch, a = world.things, bare(uses="many"), OwnedBy("a")
        for call in (
            things.update(1, patch, scope=a),
            things.batch_update([1], patch, scope=a),
            things.batch_update_each({1: patch}, scope=a),
            things.update_where([ThingRow.id == 1], patch, scope=a),
        ):
            with pytest.raises(InvalidValue, match=r"ThingRow\.uses "):
                await call
        failed = (await things.batch_update_partial({1: patch}, scope=a)).failed
        assert [type(item.error) for item in failed] == [InvalidValue]


async def test_an_expression_takes_no_arguments(any_tables: WithTables) -> None:
    """One that does is refused by every verb, with what to write; a TypeError of its own passes unchanged."""
    broken: Any = [lambda q: ThingRow.uses, lambda: len(1)]  # type: ignore[arg-type]
    async with world_in(any_tables, "things") as world:
        things, a = world.things, OwnedBy("a")
        for make, error in zip(broken, (InvalidValue, TypeError), strict=True):
            for state in (OptionalState, TriState):
                patch: Any = ThingPatch(**{"uses" if state is OptionalState else "note": state.expression(make)})
                new = BareDraft(70, OptionalState.expression(make), OptionalState.update(1))
                for call in (
                    things.update(1, patch, scope=a),
                    things.batch_update([1], patch, scope=a),
                    things.batch_update_each({1: patch}, scope=a),
                    things.update_where([ThingRow.id == 1], patch, scope=a),
                    things.create(new, scope=a),
                    things.batch_create([new], scope=a),
                ):
                    with pytest.raises(
                        error, match="takes no arguments: write" if error is InvalidValue else "has no len"
                    ):
                        await call


@dataclass(frozen=True)
class Counted(Spec[ThingRow], filled={"tenant"}):
    id: int
    name: str
    uses: OptionalState[int]
    note: str | None = None


other = aliased(ThingRow)
NOTHING_TO_TAKE = {
    "its column": lambda: ThingRow.uses + 1,
    "in a function": lambda: sa.func.coalesce(ThingRow.uses, 0),
    "another's column": lambda: CounterRow.uses + 1,
    "an alias outside of a subquery": lambda: other.uses,
    "in a subquery": lambda: sa.select(other.uses).where(other.id == ThingRow.id).scalar_subquery(),
    "in one that is tied": lambda: (
        sa.select(other.uses).where(other.id == ThingRow.id).correlate(ThingRow).scalar_subquery()
    ),
}


@pytest.mark.parametrize("expression", NOTHING_TO_TAKE.values(), ids=NOTHING_TO_TAKE)
async def test_a_new_row_has_nothing_to_take_from(expression: Any, lane_tables: WithTables) -> None:
    """An expression that names columns is refused before anything is sent, in every verb that makes a row."""
    async with world_in(lane_tables, "things") as world:
        things, before = world.things, await world.stored()
        spec, plain = Counted(9, "new", OptionalState.expression(expression)), Counted(8, "x", OptionalState.update(1))
        calls = [
            *(things.create(spec, scope=OwnedBy("a")), things.upsert(spec, scope=OwnedBy("a"))),
            things.batch_create([plain, spec], scope=OwnedBy("a")),
            things.batch_upsert([plain, spec], scope=OwnedBy("a")),
            things.load([plain, spec], scope=OwnedBy("a")),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match=r"ThingRow\.uses"):
                await call
        assert await world.stored() == before


async def test_what_a_new_row_gets_may_be_worked_out(lane_tables: WithTables) -> None:
    """By functions, and by subqueries that read rows of their own."""
    async with world_in(lane_tables, "things") as world:
        most = sa.select(sa.func.max(ThingRow.uses)).scalar_subquery()
        of_one = sa.select(other.uses).where(other.id == 1).scalar_subquery()
        for id, (expression, expected) in enumerate([(sa.func.abs(-3), 3), (most + 1, None), (of_one, None)], 20):
            spec = Counted(id, f"n{id}", OptionalState.expression(lambda given=expression: given))  # type: ignore[misc]
            made = await world.things.create(spec, scope=OwnedBy("a"))
            assert made.uses == (expected or made.uses)
            assert made.uses > 0


@pytest.mark.parametrize("name", ["its table", "an alias"])
async def test_no_other_table_is_written_from(name: str, lane_tables: WithTables) -> None:
    """Any row of it would be: what is taken from one is said by a subquery that refers to the row."""
    given = {"its table": CounterRow.uses + 1, "an alias": other.uses}[name]
    patch, a = ThingPatch(uses=OptionalState.expression(lambda: given)), OwnedBy("a")
    of_its_own = sa.select(sa.func.count()).where(other.tenant == ThingRow.tenant).scalar_subquery()
    async with world_in(lane_tables, "things") as world:
        things, before = world.things, await world.stored()
        calls = [
            *(things.update(1, patch, scope=a), things.batch_update([1], patch, scope=a)),
            *(things.batch_update_each({1: patch}, scope=a), things.update_where([ThingRow.id == 1], patch, scope=a)),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match=r"ThingRow\.uses .* another table"):
                await call
        assert await world.stored() == before
        right = ThingPatch(uses=OptionalState.expression(lambda: of_its_own))
        assert (await things.update(1, right, scope=a)).uses > 0


NO_VALUES = {
    "table": ThingRow.__table__,
    "alias": ThingRow.__table__.alias(),
    "cte": sa.select(ThingRow.uses).cte(),
    "insert": sa.insert(ThingRow),
    "select": sa.select(sa.func.max(ThingRow.uses)),
}


@pytest.mark.parametrize("given", NO_VALUES.values(), ids=NO_VALUES)
async def test_what_is_no_value_is_told(given: Any, lane_tables: WithTables) -> None:
    """In patches and specs, of every verb, before anything is sent."""
    async with world_in(lane_tables, "things") as world:
        things, before, a = world.things, await world.stored(), OwnedBy("a")
        patch, spec = ThingPatch(uses=given), Counted(9, "new", given)
        calls = [
            *(things.update(1, patch, scope=a), things.batch_update([1], patch, scope=a)),
            *(things.batch_update_each({1: patch}, scope=a), things.update_where([ThingRow.id == 1], patch, scope=a)),
            *(things.create(spec, scope=a), things.batch_create([spec], scope=a), things.upsert(spec, scope=a)),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match=r"ThingRow\.uses "):
                await call
        assert await world.stored() == before
