"""Objects in a session and what the verbs write beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rowsmith import OptionalState
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingCreate, ThingPatch, ThingRepository, ThingRow

A = OwnedBy("a")
NEW = ThingPatch(name=OptionalState.update("new"))
SPEC = ThingCreate(1, "new", 5, None)
WRITES: dict[str, Callable[[ThingRepository], Awaitable[Any]]] = {
    "update": lambda things: things.update(1, NEW, scope=A),
    "upsert": lambda things: things.upsert(SPEC, scope=A),
    "batch_upsert": lambda things: things.batch_upsert([SPEC], scope=A),
    "batch_update": lambda things: things.batch_update([1], NEW, scope=A),
    "batch_update_each": lambda things: things.batch_update_each({1: NEW}, scope=A),
    "batch_update_partial": lambda things: things.batch_update_partial({1: NEW}, scope=A),
    "update_where": lambda things: things.update_where([ThingRow.id == 1], NEW, scope=A),
}


@pytest.mark.parametrize("verb", WRITES)
async def test_an_object_is_in_step_after_a_write_of_its_row(any_tables: WithTables, verb: str) -> None:
    """It can be read without a load of its own, and its version is the one to flush with."""
    async with any_tables(ThingRow) as db:
        things = ThingRepository(db)
        await things.create(ThingCreate(1, "old", 1, None), scope=A)
        async with db.unit_of_work() as unit:
            held = await unit.session.get_one(ThingRow, 1)
            held.note = "pending"
            await WRITES[verb](things)
            assert (held.name, held.version) == ("new", 3)
            held.note = "late"
        assert (await things.get(1, A)).note == "late"


@pytest.mark.parametrize("verb", ["batch_update", "batch_upsert", "batch_purge", "batch_delete"])
async def test_pending_objects_are_there_for_every_verb(any_tables: WithTables, verb: str) -> None:
    """An object that is added and not flushed is a row like any other."""
    async with any_tables(ThingRow) as db:
        things = ThingRepository(db)
        async with db.unit_of_work() as unit:
            unit.session.add(ThingRow(id=1, tenant="a", name="old", uses=0))
            if verb == "batch_upsert":
                (upserted,) = (await things.batch_upsert([SPEC], scope=A)).succeeded
                assert not upserted.inserted
            elif verb == "batch_update":
                assert (await things.batch_update([1], NEW, scope=A)).missing == []
            else:
                assert (await getattr(things, verb)([1], scope=A)).missing == []


@pytest.mark.parametrize("verb", ["purge", "batch_purge"])
async def test_an_object_leaves_the_session_with_its_row(any_tables: WithTables, verb: str) -> None:
    """After a purge the session knows the object no longer."""
    async with any_tables(ThingRow) as db:
        things = ThingRepository(db)
        await things.create(ThingCreate(1, "old", 1, None), scope=A)
        async with db.unit_of_work() as unit:
            held = await unit.session.get_one(ThingRow, 1)
            await getattr(things, verb)(1 if verb == "purge" else [1], scope=A)
            assert await unit.session.get(ThingRow, 1) is None
            assert held not in unit.session
