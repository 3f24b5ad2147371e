"""Rules that every verb of a repository keeps, tried on each verb of the register, so that none is forgotten."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from lanes import LANES
from rowsmith import Database, ErrorCode, MappingError, Repository, ScopeError, SearchScope
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import Does
from support import count_statements
from tenants import ThingRepository
from verbs import OTHERWISE, VERBS, Verb, World, outcome, public_methods, world_in

EACH = pytest.mark.parametrize("name", VERBS)
NOBODY = 99


@pytest.fixture
async def world(any_tables: WithTables) -> AsyncIterator[World]:
    async with world_in(any_tables, "things") as made:
        yield made


def place_of(name: str) -> int:
    """Give a row that the verb does something to."""
    return 4 if "restore" in name else 5 if VERBS[name].makes else 1


def test_every_verb_is_registered() -> None:
    """A new public method fails here until it stands in the contract's register, and so in every test below."""
    assert public_methods() == set(VERBS)
    assert OTHERWISE.keys() <= VERBS.keys()


def test_a_verb_that_is_not_registered_is_found() -> None:
    """The test above is able to fail, for a generator as for a coroutine."""

    class More(ThingRepository):
        async def rename_all(self) -> int:
            return 0

        def each(self) -> None: ...

    assert public_methods(More) - set(VERBS) == {"rename_all", "each"}


async def check_scope(world: World, verb: Verb) -> None:
    """Another tenant's row is as if absent, and stays as it was."""
    before = await world.stored()
    seen = await outcome(verb.call(world, 1, world.owner("b")))
    assert {place: row for place, row in (await world.stored()).items() if place in before} == before
    if not verb.makes:
        assert seen == (await outcome(verb.call(world, NOBODY, world.owner("b")))).replace(str(NOBODY), "1")


@EACH
async def test_the_law_of_scopes_over_every_verb(world: World, name: str) -> None:
    """What another tenant sees of a row is what it sees of none; the row itself does not change."""
    await check_scope(world, VERBS[name])


async def test_a_verb_that_is_blind_to_scopes_breaks_the_law(world: World) -> None:
    """The law is able to fail."""

    async def blind(world: World, id: int, scope: SearchScope | None) -> Any:
        return await world.things.update(id, type(world.patch)(), scope=world.owner("a"))

    with pytest.raises(AssertionError):
        await check_scope(world, Verb(blind))


@EACH
async def test_the_row_itself_is_reached_in_its_own_scope(world: World, name: str) -> None:
    """A verb that reads gives it, one that writes changes it: of one that does nothing the law would hold as well."""
    await check_reach(world, name)


async def check_reach(world: World, name: str) -> None:
    """The owner's call does to a row what the register says: it gives the row, or changes it."""
    verb, id, mine = VERBS[name], place_of(name), world.owner("a")
    before = await world.stored()
    seen = await outcome(verb.call(world, id, mine))
    changed = await world.stored() != before
    nothing = (await outcome(verb.call(world, NOBODY, mine))).replace(str(NOBODY), str(id))
    if verb.does is Does.READ:
        assert seen != nothing
    assert changed is (verb.does is not Does.READ)


@EACH
async def test_every_verb_names_itself_in_its_errors(world: World, name: str) -> None:
    """The code is the domain, the verb and what happened, whoever of the layers found it."""
    await check_name(world, name)


async def check_name(world: World, name: str) -> None:
    """Without a scope the verb says that one is missing, and who it is."""
    with pytest.raises(ScopeError) as caught:
        await VERBS[name].call(world, 1, None)
    assert caught.value.error_code == str(ErrorCode(world.things.entity.domain, name, "scope_required"))


@EACH
async def test_how_many_statements_each_verb_sends(world: World, name: str) -> None:
    """One, wherever one will do; savepoints are not counted."""
    await check_statements(world, name, VERBS[name].statements)


async def check_statements(world: World, name: str, most: int) -> None:
    """The verb sends no more than so many, apart from savepoints."""
    with count_statements(world.things.db) as sent:
        await VERBS[name].call(world, place_of(name), world.owner("a"))
    counted = [statement for statement in sent if "SAVEPOINT" not in statement]
    assert len(counted) <= most, counted


@pytest.mark.parametrize("kind", ["hammers", "clamps"])
async def test_every_rule_holds_for_rows_that_inherit(any_tables: WithTables, kind: str) -> None:
    """For rows that share a table with other classes, and for those that are kept in three.

    A verb that takes none of the latter says so, and what to call instead, before anything is sent.
    """
    async with world_in(any_tables, kind) as world:
        rows = await world.stored()
        for name, verb in VERBS.items():
            if world.in_parts and verb.in_parts is None:
                await check_refusal(world, name)
                continue
            await check_scope(world, verb)
            await world.reset(rows)
            await check_reach(world, name)
            await world.reset(rows)
            await check_name(world, name)
            most = verb.in_parts if world.in_parts and verb.does is not Does.READ else verb.statements
            await check_statements(world, name, most or 0)
            await world.reset(rows)


@pytest.mark.parametrize("kind", ["shares", "entries"])
async def test_every_rule_holds_for_rows_in_partitions(with_tables: WithTables, kind: str) -> None:
    """For those that are told apart by the tenant, and for those by time; a key says which.

    The first two are tried by whichever lane a verb takes, the last by SQLAlchemy's, which alone can be looked at.
    """
    async with world_in(with_tables, kind) as world:
        rows = await world.stored()
        for name, verb in VERBS.items():
            await check_scope(world, verb)
            await world.reset(rows)
            await check_reach(world, name)
            await world.reset(rows)
            await check_statements(world, name, verb.statements)
            await world.reset(rows)


async def check_refusal(world: World, name: str) -> None:
    """The verb refuses rows that are kept in several tables."""
    before = await world.stored()
    with (
        count_statements(world.things.db) as sent,
        pytest.raises(MappingError, match=r"are kept in .*: call ") as caught,
    ):
        await VERBS[name].call(world, place_of(name), world.owner("a"))
    assert [statement for statement in sent if not statement.startswith("BEGIN")] == []
    assert caught.value.error_code == str(ErrorCode(world.things.entity.domain, name, "mapping_error"))
    assert await world.stored() == before


@contextmanager
def a_tracer(world: World) -> Iterator[list[Any]]:
    with count_statements(world.things.db) as sent:
        yield sent


@contextmanager
def a_sessions_event(world: World) -> Iterator[list[Any]]:
    seen: list[Any] = []

    def note(state: Any) -> None:
        seen.append(state)

    event.listen(Session, "do_orm_execute", note)
    try:
        yield seen
    finally:
        event.remove(Session, "do_orm_execute", note)


async def tried(world: World, verb: Verb, id: int) -> tuple[str, Any]:
    """Give what a verb came to, and what the table holds then; of points in time only that there are any."""
    await world.refill()
    seen = await outcome(verb.call(world, id, world.owner("a")))
    rows = await world.stored()
    return seen, {key: [isinstance(part, dt.datetime) or part for part in row] for key, row in rows.items()}


async def check_lanes(world: World, verb: Verb, id: int) -> None:
    """A verb gives and stores the same by every lane, and is seen by whoever asks to see statements."""
    expected = await tried(world, verb, id)
    for hook in (a_tracer, a_sessions_event):
        with hook(world) as seen:
            assert await tried(world, verb, id) == expected, hook.__name__
            await world.refill()
            seen.clear()
            await outcome(verb.call(world, id, world.owner("a")))
        assert seen, hook.__name__
    if world.things.db.engine.dialect.name == "postgresql":
        await check_translated(world, verb, id, expected)


async def check_translated(world: World, verb: Verb, id: int, expected: Any) -> None:
    """A verb keeps to the schema that the engine translates to."""
    async with world.things.db.engine.begin() as connection:
        await connection.execute(sa.text("CREATE SCHEMA verbs_other"))
        await connection.execute(sa.text("CREATE TABLE verbs_other.things (LIKE things INCLUDING ALL)"))
    try:
        await world.refill()
        before = await world.stored()
        engine = world.things.db.engine.execution_options(schema_translate_map={None: "verbs_other"})
        assert await tried(replace(world, things=ThingRepository(Database(engine))), verb, id) == expected
        assert await world.stored() == before
    finally:
        async with world.things.db.engine.begin() as connection:
            await connection.execute(sa.text("DROP SCHEMA verbs_other CASCADE"))


@EACH
async def test_the_law_of_lanes_over_every_verb(world: World, name: str) -> None:
    """What hangs on a session or engine changes the lane, and nothing that a verb gives or stores."""
    await check_lanes(world, VERBS[name], place_of(name))


async def test_a_verb_that_goes_past_the_session_breaks_the_law_of_lanes(world: World) -> None:
    """The law is able to fail: for what nobody sees, and for what nobody translates."""

    async def unseen(world: World, id: int, scope: SearchScope | None) -> None: ...

    async def untranslated(world: World, id: int, scope: SearchScope | None) -> None:
        async with world.things.db.begin_session() as db_sess:
            await db_sess.execute(sa.text("UPDATE things SET uses = 9 WHERE id = 1"))

    for broken in (unseen, untranslated) if world.things.db.engine.dialect.name == "postgresql" else (unseen,):
        with pytest.raises(AssertionError):
            await check_lanes(world, Verb(broken), 1)


def test_the_lane_is_the_one_that_was_asked_for(database: Database) -> None:
    """A run that is to go without the native lane has none."""
    assert (database.native is None) == (os.environ.get("ROWSMITH_TEST_LANE") == "sqlalchemy")


def test_every_verb_that_writes_values_is_in_the_law_of_lanes() -> None:
    """A verb that takes a spec or a patch is tried with values of every type of column."""
    given = {"spec", "specs", "patch", "patches"}
    writing = {name for name in VERBS if given & signature(getattr(Repository, name)).parameters.keys()}
    assert writing == set(LANES)
