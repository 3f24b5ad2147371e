"""Rules that every verb of a repository keeps, tried on each verb of the register, so that none is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from rowsmith import ScopeError, SearchScope
from rowsmith.testing import WithTables
from support import count_statements
from tenants import OwnedBy, ThingData, ThingPatch, ThingRepository
from verbs import VERBS, Verb, outcome, public_methods, stored, things_in

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
