"""Statements that touch several partitions are found, and a scope keeps every verb to one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from rowsmith import Database, InvalidValue, MappingError, OptionalState, StaleVersion
from rowsmith.testing import SeveralShards, WithTables, one_shard
from rowsmith.testing.contract.verbs import Does
from tenants.parted import ShareCreate, SharePatch, ShareRepository, ShareRow, SharesOf
from verbs import VERBS, World, world_in

SEVEN = SharePatch(uses=OptionalState.update(7))
BOTH = [("a", 1), ("b", 3)]


class Unscoped(ShareRepository):
    scope_required = False


@pytest.fixture
async def world(with_tables: WithTables) -> AsyncIterator[World]:
    async with world_in(with_tables, "shares") as made:
        yield made


async def test_every_verb_under_a_tenants_scope_needs_one_shard(world: World) -> None:
    """Wherever the table stands in a statement its tenant is named, for rows that are there and for new ones."""
    rows, scope = await world.stored(), world.owner("a")
    for name, verb in VERBS.items():
        with one_shard(world.things.db):
            await verb.call(world, 4 if "restore" in name else 5 if verb.makes else 1, scope)
        assert verb.does is Does.READ or await world.stored() != rows, name  # no row's own error either
        await world.reset(rows)


async def many(things: Any, verb: str) -> Any:
    """Call a batch with several rows of one tenant."""
    ids, scope = [("a", 1), ("a", 2)], SharesOf("a")
    match verb:
        case "batch_create" | "batch_upsert" | "load" | "batch_create_partial" | "batch_upsert_partial":
            return await getattr(things, verb)([ShareCreate(id, f"new {id}") for id in (7, 8, 9)], scope=scope)
        case "batch_update":
            return await things.batch_update(ids, SEVEN, scope=scope)
        case "batch_update_each":
            return await things.batch_update_each(dict.fromkeys(ids, SEVEN), scope=scope)
        case _:
            return await getattr(things, verb)(ids, scope=scope)


@pytest.mark.parametrize(
    "verb",
    [
        *("batch_get", "batch_create", "batch_create_partial", "load", "batch_upsert", "batch_upsert_partial"),
        *("batch_update", "batch_update_each", "batch_delete", "batch_purge", "batch_purge_partial"),
    ],
)
async def test_several_rows_of_a_tenant_need_one_shard(world: World, verb: str) -> None:
    """Their keys come as arrays, of which no planner knows what is in them."""
    before = await world.stored()
    with one_shard(world.things.db):
        await many(world.things, verb)
        if "upsert" in verb:  # of rows that are there now
            await many(world.things, verb)
    assert verb == "batch_get" or await world.stored() != before


@pytest.mark.parametrize(
    "call",
    [
        lambda things: things.batch_get(BOTH),
        lambda things: things.count(),
        lambda things: things.search(None, [ShareRow.id == 1]),
        lambda things: things.update_where([ShareRow.id == 1], SEVEN),
    ],
    ids=["batch_get", "count", "search", "update_where"],
)
async def test_a_statement_on_several_shards_fails(world: World, call: Callable[[Any], Awaitable[Any]]) -> None:
    """Before it is sent; the error names the table and the statement."""
    things = Unscoped(world.things.db)
    with one_shard(world.things.db), pytest.raises(SeveralShards, match="shares are touched by"):
        await call(things)
    await call(things)


async def test_new_rows_on_several_shards_fail(world: World) -> None:
    """Which the plan of an INSERT does not say: they are looked at afterwards."""
    db = world.things.db
    before = await world.stored()
    values = [{"tenant": tenant, "id": 9, "name": "n", "version": 1} for tenant in "abcd"]
    with one_shard(db), pytest.raises(SeveralShards):
        async with db.begin_session() as session:
            await session.execute(sa.insert(ShareRow.__table__).values(values))
    assert await world.stored() == before


async def test_names_that_need_quotes_are_found(database: Database) -> None:
    """Of a schema, a table and its partitions; the error says them as SQL has them."""
    made = [
        'CREATE SCHEMA "Odd Ones"',
        'CREATE TABLE "Odd Ones"."The Table" (id int) PARTITION BY HASH (id)',
        *(
            f'CREATE TABLE "Odd Ones"."Part {n}" PARTITION OF "Odd Ones"."The Table" '
            f"FOR VALUES WITH (MODULUS 2, REMAINDER {n})"
            for n in range(2)
        ),
    ]
    found = pytest.raises(SeveralShards, match=r'"Odd Ones"\."The Table"')
    for sql in (
        'SELECT FROM "Odd Ones"."The Table"',
        'INSERT INTO "Odd Ones"."The Table" SELECT generate_series(1, 9)',
    ):
        with one_shard(database), found:
            async with database.begin_session() as session:
                for statement in (*made, sql):
                    await session.execute(sa.text(statement))


@pytest.mark.parametrize(
    "call",
    [
        lambda things: things.batch_update(BOTH, SEVEN),
        lambda things: things.batch_update_each(dict.fromkeys(BOTH, SEVEN)),
        lambda things: things.batch_update_partial(dict.fromkeys(BOTH, SEVEN)),
        lambda things: things.batch_delete(BOTH),
        lambda things: things.batch_purge(BOTH),
        lambda things: things.batch_purge_partial(BOTH),
        lambda things: things.purge_where([ShareRow.id == 1]),
    ],
    ids=[
        *("batch_update", "batch_update_each", "batch_update_partial"),
        *("batch_delete", "batch_purge", "batch_purge_partial", "purge_where"),
    ],
)
async def test_a_batch_of_several_tenants_is_refused(world: World, call: Callable[[Any], Awaitable[Any]]) -> None:
    """Of rows that are distributed: before anything is sent, and it says what to do instead."""
    things, before = Unscoped(world.things.db), await world.stored()
    with pytest.raises(InvalidValue, match="make a call for each"):
        await call(things)
    assert await world.stored() == before


async def test_keys_of_one_tenant_need_no_scope(world: World) -> None:
    """They say it themselves, of rows that are not there, too, or in another version."""
    things, nine = Unscoped(world.things.db), ("a", 9)
    with one_shard(things.db):
        done = await things.batch_update([("a", 1), nine, ("a", 2)], SEVEN)
        assert (len(done.succeeded), done.missing) == (2, [nine])
        with pytest.raises(StaleVersion):
            await things.batch_update([("a", 1), nine], SEVEN, expected_versions={("a", 1): 77, nine: 1})
        done = await things.batch_purge([("a", 1), ("a", 2), nine])
        assert (len(done.succeeded), done.missing) == (2, [nine])


def test_sqlite_has_no_shards(sqlite_database: Database) -> None:
    """It is refused."""
    with pytest.raises(MappingError, match="PostgreSQL"), one_shard(sqlite_database):
        pass
