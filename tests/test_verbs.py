"""Rules that every verb of a repository keeps, tried on each verb of the register, so that none is forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from lanes import LANES
from rowsmith import Database, Repository, ScopeError, SearchScope
from rowsmith.testing import WithTables
from support import count_statements
from tenants import OwnedBy, ThingData, ThingPatch, ThingRepository
from verbs import VERBS, Verb, outcome, public_methods, refill, stored, things_in

EACH = pytest.mark.parametrize("name", VERBS)
NOBODY = 99


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[ThingRepository]:
    async with things_in(any_tables) as made:
        yield made


def place_of(name: str) -> int:
    """Give a row that the verb does something to."""
    return 4 if "restore" in name else 5 if VERBS[name].makes else 1


def test_every_verb_is_registered() -> None:
    """A new public method fails here until it stands in ``tests/verbs.py``, and so in every test below."""
    assert public_methods() == set(VERBS)


def test_a_verb_that_is_not_registered_is_found() -> None:
    """The test above is able to fail, for a generator as for a coroutine."""

    class More(ThingRepository):
        async def rename_all(self) -> int:
            return 0

        def each(self) -> None: ...

    assert public_methods(More) - set(VERBS) == {"rename_all", "each"}


async def check_scope(things: ThingRepository, verb: Verb) -> None:
    """Another tenant's row is as if absent, and stays as it was."""
    before = await stored(things)
    seen = await outcome(verb.call(things, 1, OwnedBy("b")))
    assert {id: row for id, row in (await stored(things)).items() if id in before} == before
    if not verb.makes:
        assert seen == (await outcome(verb.call(things, NOBODY, OwnedBy("b")))).replace(str(NOBODY), "1")


@EACH
async def test_the_law_of_scopes_over_every_verb(things: ThingRepository, name: str) -> None:
    """What another tenant sees of a row is what it sees of none; the row itself does not change."""
    await check_scope(things, VERBS[name])


async def test_a_verb_that_is_blind_to_scopes_breaks_the_law(things: ThingRepository) -> None:
    """The law is able to fail."""

    async def blind(things: Any, id: int, scope: SearchScope | None) -> ThingData:
        return await ThingRepository.update(things, id, ThingPatch(), scope=OwnedBy("a"))

    with pytest.raises(AssertionError):
        await check_scope(things, Verb(blind, 1))


@EACH
async def test_the_row_itself_is_reached_in_its_own_scope(things: ThingRepository, name: str) -> None:
    """The owner's call gives or changes something: of a verb that does nothing the law would hold as well."""
    verb, id = (
        VERBS[name],
        place_of(name),
    )
    before = await stored(things)
    mine = await outcome(verb.call(things, id, OwnedBy("a")))
    changed = await stored(things) != before
    nothing = (await outcome(verb.call(things, NOBODY, OwnedBy("a")))).replace(str(NOBODY), str(id))
    assert changed or mine != nothing


@EACH
async def test_every_verb_names_itself_in_its_errors(things: ThingRepository, name: str) -> None:
    """The code is the domain, the verb and what happened, whoever of the layers found it."""
    with pytest.raises(ScopeError) as caught:
        await VERBS[name].call(things, 1, None)
    assert caught.value.error_code == f"thing_{name}_scope_required"


@EACH
async def test_how_many_statements_each_verb_sends(things: ThingRepository, name: str) -> None:
    """One, wherever one will do; savepoints are not counted."""
    id = place_of(name)
    with count_statements(things.db) as sent:
        await VERBS[name].call(things, id, OwnedBy("a"))
    counted = [statement for statement in sent if "SAVEPOINT" not in statement]
    assert len(counted) <= VERBS[name].statements, counted


@contextmanager
def a_tracer(things: ThingRepository) -> Iterator[list[Any]]:
    with count_statements(things.db) as sent:
        yield sent


@contextmanager
def a_sessions_event(things: ThingRepository) -> Iterator[list[Any]]:
    seen: list[Any] = []

    def note(state: Any) -> None:
        seen.append(state)

    event.listen(Session, "do_orm_execute", note)
    try:
        yield seen
    finally:
        event.remove(Session, "do_orm_execute", note)


async def tried(things: ThingRepository, verb: Verb, id: int) -> tuple[str, Any]:
    """Give what a verb came to, and what the table holds then; of points in time only that there are any."""
    await refill(things)
    seen = await outcome(verb.call(things, id, OwnedBy("a")))
    rows = await stored(things)
    return seen, {key: [isinstance(part, dt.datetime) or part for part in row] for key, row in rows.items()}


async def check_lanes(things: ThingRepository, verb: Verb, id: int) -> None:
    """A verb gives and stores the same by every lane, and is seen by whoever asks to see statements."""
    expected = await tried(things, verb, id)
    for hook in (a_tracer, a_sessions_event):
        with hook(things) as seen:
            assert await tried(things, verb, id) == expected, hook.__name__
            await refill(things)
            seen.clear()
            await outcome(verb.call(things, id, OwnedBy("a")))
        assert seen, hook.__name__
    if things.db.engine.dialect.name == "postgresql":
        await check_translated(things, verb, id, expected)


async def check_translated(things: ThingRepository, verb: Verb, id: int, expected: Any) -> None:
    """A verb keeps to the schema that the engine translates to."""
    async with things.db.engine.begin() as connection:
        await connection.execute(sa.text("CREATE SCHEMA verbs_other"))
        await connection.execute(sa.text("CREATE TABLE verbs_other.things (LIKE things INCLUDING ALL)"))
    try:
        await refill(things)
        before = await stored(things)
        engine = things.db.engine.execution_options(schema_translate_map={None: "verbs_other"})
        assert await tried(ThingRepository(Database(engine)), verb, id) == expected
        assert await stored(things) == before
    finally:
        async with things.db.engine.begin() as connection:
            await connection.execute(sa.text("DROP SCHEMA verbs_other CASCADE"))


@EACH
async def test_the_law_of_lanes_over_every_verb(things: ThingRepository, name: str) -> None:
    """What hangs on a session or engine changes the lane, and nothing that a verb gives or stores."""
    await check_lanes(things, VERBS[name], place_of(name))


async def test_a_verb_that_goes_past_the_session_breaks_the_law_of_lanes(things: ThingRepository) -> None:
    """The law is able to fail: for what nobody sees, and for what nobody translates."""

    async def unseen(things: Any, id: int, scope: SearchScope | None) -> None: ...

    async def untranslated(things: Any, id: int, scope: SearchScope | None) -> None:
        async with things.db.begin_session() as db_sess:
            await db_sess.execute(sa.text("UPDATE things SET uses = 9 WHERE id = 1"))

    for broken in (unseen, untranslated) if things.db.engine.dialect.name == "postgresql" else (unseen,):
        with pytest.raises(AssertionError):
            await check_lanes(things, Verb(broken, 1), 1)


def test_every_verb_that_writes_values_is_in_the_law_of_lanes() -> None:
    """A verb that takes a spec or a patch is tried with values of every type of column."""
    given = {"spec", "specs", "patch", "patches"}
    writing = {name for name in VERBS if given & signature(getattr(Repository, name)).parameters.keys()}
    assert writing == set(LANES)
