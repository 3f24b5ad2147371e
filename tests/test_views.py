"""Rows that are mapped to a view of PostgreSQL: every verb does to them what it does to the rows of a table."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rowsmith import (
    Database,
    DatabaseFault,
    DBSource,
    EntityAlreadyExists,
    EntityNotFound,
    ErrorCode,
    Lock,
    MappingError,
    OptionalState,
    RefusedByTrigger,
    Repository,
    ScopeMismatch,
    Spec,
)
from rowsmith.execution import WriteMode
from rowsmith.execution import native as native_lane
from rowsmith.execution.pooler import is_behind_pooler
from rowsmith.execution.standing import ask
from rowsmith.operations.blocks import gate
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import Does
from support import is_waited_for, until
from tenants import (
    Base,
    CounterRepository,
    CounterRow,
    OwnedBy,
    TenantScope,
    ThingCreate,
    ThingPatch,
    ThingRepository,
    ThingRow,
    UsedScope,
    counters_in,
    used,
    uses,
)
from tenants.things import OfATenant
from test_verbs import a_sessions_event, a_tracer, place_of
from verbs import VERBS, Verb, World, outcome, world_in
from views import OF_ALL, as_view, run

A = OwnedBy("a")
WRITING = {name: verb for name, verb in VERBS.items() if verb.does is not Does.READ}

INSTEAD = """
CREATE FUNCTION kept.instead() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO kept.{name} VALUES (new.*);
            RETURN new;
        ELSIF TG_OP = 'UPDATE' THEN
            UPDATE kept.{name} SET ({columns}) = (SELECT new.*) WHERE ({keys}) = (SELECT {old_keys});
        ELSE
            DELETE FROM kept.{name} WHERE ({keys}) = (SELECT {old_keys});
        END IF;
        RETURN CASE WHEN FOUND THEN coalesce(new, old) END;
    END
$$;
CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION kept.instead()
"""
NUMBERED = "(SELECT *, row_number() OVER () FROM kept.{name}) numbered"
UPDATABLE = {
    "updatable": OF_ALL,
    "checked": OF_ALL + " WHERE ({keys}) IS NOT NULL WITH CHECK OPTION",
}
INSTEAD_OF = {
    "instead of": f"{OF_ALL}; {INSTEAD}",
    "unlockable": f"CREATE VIEW {{name}} AS SELECT {{columns}} FROM {NUMBERED}; {INSTEAD}",
}
KINDS = UPDATABLE | INSTEAD_OF
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


@asynccontextmanager
async def things_shown(made: WithTables, view: str) -> AsyncIterator[World]:
    """Give the world of things in a view."""
    async with world_in(made, "things") as world, as_view(world.things.db, ThingRow, view) as db:
        yield replace(world, things=ThingRepository(db))


@contextmanager
def nothing(_: World) -> Iterator[None]:
    yield


LANES: dict[str, tuple[Any, WriteMode]] = {
    "asyncpg": (nothing, "transaction"),
    "asyncpg, a statement alone": (nothing, "statement"),
    "SQLAlchemy": (a_tracer, "transaction"),
    "the mapped class": (a_sessions_event, "transaction"),
}


Ids = Callable[[str], set[int]]
Came = dict[tuple[str, int], tuple[str, Any]]
"""What came of a verb on a row: what was given, and what is stored then."""


async def all_tried(world: World, rows: Any, verbs: Mapping[str, Verb], ids: Ids, lane: Any = nothing) -> Came:
    """Give what came of each verb on some rows of tenant a, by one lane.

    Of points in time it is only said that there are any, and of an error not which constraint it was: behind a trigger
    it is not the mapped table's.
    """
    came: Came = {}
    with lane(world):
        for name, id in [(each, id) for each in verbs for id in sorted(ids(each))]:
            await world.reset(rows)
            seen = await outcome(verbs[name].call(world, id, A))
            left = (await world.stored()).items()
            stored = {key: [isinstance(part, dt.datetime) or part for part in row] for key, row in left}
            came[name, id] = re.sub(r" \((?:constraint|table) .*?\)", "", seen), stored
    return came


async def check_as_table(made: WithTables, view: str, verbs: Mapping[str, Verb], ids: Ids) -> None:
    """By every lane verbs give and store in a view what they do in a table."""
    async with world_in(made, "things") as world:
        rows = await world.stored()
        expected = await all_tried(world, rows, verbs, ids)
        async with as_view(world.things.db, ThingRow, view) as db:
            for lane, (watched, writes) in LANES.items():
                shown = replace(world, things=ThingRepository(Database(db.engine, writes=writes)))
                came = await all_tried(shown, rows, verbs, ids, watched)
                assert {(lane, *call): it for call, it in came.items() if it != expected[call]} == {}


@EACH_KIND
async def test_every_verb_that_writes_does_the_same_as_in_a_table(with_tables: WithTables, kind: str) -> None:
    """To a row of its own tenant; another tenant's is as if absent, and stays as it was; and nobody has the last one.

    An upsert needs a unique index of what it writes to, which a view with triggers has not.
    """
    verbs = {name: verb for name, verb in WRITING.items() if kind in UPDATABLE or "upsert" not in name}
    await check_as_table(with_tables, KINDS[kind], verbs, lambda name: {place_of(name), 3, 99})


SEVEN = ThingPatch(uses=OptionalState.update(7))
NAMED = ThingPatch(name=OptionalState.update("new"), uses=OptionalState.update(8))
TAKEN = ThingPatch(name=OptionalState.update("name 2"))
SEVERAL: dict[str, Callable[[World, Any], Awaitable[Any]]] = {
    "batch_update": lambda w, a: w.things.batch_update([99, 2, 3, 1, 4], SEVEN, scope=a),
    "batch_update of versions": lambda w, a: w.things.batch_update(
        [2, 1], SEVEN, scope=a, expected_versions={1: 1, 2: 1}
    ),
    "batch_update of stale versions": lambda w, a: w.things.batch_update(
        [2, 1], SEVEN, scope=a, expected_versions={1: 1, 2: 5}
    ),
    "batch_update of nothing": lambda w, a: w.things.batch_update([2, 3, 1], ThingPatch(), scope=a),
    "batch_update that a constraint refuses": lambda w, a: w.things.batch_update([2, 1], TAKEN, scope=a),
    "batch_update_each, alike": lambda w, a: w.things.batch_update_each(
        {2: SEVEN, 99: SEVEN, 1: replace(SEVEN, uses=OptionalState.update(6)), 3: SEVEN}, scope=a
    ),
    "batch_update_each, other fields": lambda w, a: w.things.batch_update_each({2: SEVEN, 1: NAMED, 3: NAMED}, scope=a),
    "batch_update_each of versions": lambda w, a: w.things.batch_update_each(
        {2: SEVEN, 1: NAMED}, scope=a, expected_versions={1: 1, 2: 1}
    ),
    "batch_update_partial": lambda w, a: w.things.batch_update_partial({2: SEVEN, 1: NAMED, 3: NAMED}, scope=a),
    "batch_update_partial with a culprit": lambda w, a: w.things.batch_update_partial({2: SEVEN, 1: TAKEN}, scope=a),
    "update_where": lambda w, a: w.things.update_where([ThingRow.id > 0], SEVEN, scope=a),
    "batch_delete": lambda w, a: w.things.batch_delete([2, 4, 3, 1, 99], scope=a),
    "batch_restore": lambda w, a: w.things.batch_restore([2, 4, 3], scope=a),
    "delete_where": lambda w, a: w.things.delete_where([ThingRow.id > 0], scope=a),
    "batch_purge": lambda w, a: w.things.batch_purge([2, 4, 3, 99], scope=a),
    "batch_purge_partial": lambda w, a: w.things.batch_purge_partial([2, 4, 3, 99], scope=a),
    "purge_where": lambda w, a: w.things.purge_where([ThingRow.id > 0], scope=a, chunk_size=2, pause=0),
    "purge_where of some": lambda w, a: w.things.purge_where([ThingRow.id > 0], scope=a, max_rows=2, pause=0),
    "purge_where at once": lambda w, a: w.things.purge_where([ThingRow.id > 0], scope=a, chunk_size=None),
    "purge_where of the first": lambda w, a: w.things.purge_where(
        [ThingRow.id > 0], scope=a, chunk_size=None, max_rows=2
    ),
}


def of_several(call: Callable[[World, Any], Awaitable[Any]], *, in_unit: bool = False) -> Verb:
    """Give what does something to several rows as a verb, in a unit of work if so asked."""

    async def done(world: World, _: int, scope: Any) -> Any:
        async with world.things.db.unit_of_work() if in_unit else nullcontext():
            return await call(world, scope)

    return Verb(done)


@EACH_KIND
async def test_batches_do_the_same_as_in_a_table(with_tables: WithTables, kind: str) -> None:
    """To several rows at once, some of which are another tenant's or nobody's, in versions and with other fields."""
    verbs = {name: of_several(call) for name, call in SEVERAL.items()}
    await check_as_table(with_tables, KINDS[kind], verbs, lambda _: {0})


@EACH_KIND
async def test_batches_in_a_unit_do_the_same_as_in_a_table(with_tables: WithTables, kind: str) -> None:
    """The first call on an engine, too, whatever is asked of the view meanwhile, and the unit goes on."""
    in_chunks = {"purge_where", "purge_where of some"}
    verbs = {name: of_several(call, in_unit=True) for name, call in SEVERAL.items() if name not in in_chunks}
    await check_as_table(with_tables, KINDS[kind], verbs, lambda _: {0})


LOCKABLE = pytest.mark.parametrize("kind", ["updatable", "checked", "instead of"])


@LOCKABLE
@pytest.mark.parametrize("name", ["batch_update", "batch_update_each, alike", "batch_delete", "batch_purge"])
async def test_a_batch_waits_for_a_row_that_others_have_locked(with_tables: WithTables, kind: str, name: str) -> None:
    """And does to it then what was asked for."""
    async with things_shown(with_tables, KINDS[kind]) as world:
        async with Database(world.things.db.engine).begin_session() as db_sess:
            await db_sess.execute(sa.text("UPDATE kept.things SET note = 'seen' WHERE id = 2"))
            call = asyncio.ensure_future(SEVERAL[name](world, A))
            assert await is_waited_for(db_sess, call)
        assert 2 in {thing.id for thing in (await call).succeeded}


@LOCKABLE
async def test_batches_lock_the_rows_of_a_view_in_one_order(with_tables: WithTables, kind: str) -> None:
    """Those of other batches and of those on the table, in whatever order their ids are given."""
    async with things_shown(with_tables, KINDS[kind]) as world:
        seven, other = [*range(10, 40)], [*range(39, 9, -1)]
        await world.things.batch_create([ThingCreate(id, f"name {id}", 1, None) for id in seven], scope=A)

        async def change(ids: list[int]) -> None:
            for _ in range(5):
                assert not (await world.things.batch_update(ids, SEVEN, scope=A)).missing
                assert not (await world.things.batch_update_each(dict.fromkeys(ids, SEVEN), scope=A)).missing

        await asyncio.gather(*(change(ids) for ids in (seven, other, seven, other)))


async def test_a_purge_leaves_out_rows_of_a_view_that_others_have_locked(with_tables: WithTables) -> None:
    """And comes back to them."""
    async with things_shown(with_tables, OF_ALL) as world:
        removed: list[int] = []
        async with Database(world.things.db.engine).begin_session() as db_sess:
            await db_sess.execute(sa.text("SELECT FROM kept.things WHERE id = 1 FOR UPDATE"))
            purge = world.things.purge_where([ThingRow.id > 0], scope=A, progress=removed.append, pause=0)
            call = asyncio.ensure_future(purge)
            await until(lambda: asyncio.sleep(0, removed))
            assert removed == [2]
        assert ((await call).rows, removed) == (3, [2, 3])


@EACH_KIND
async def test_keys_of_several_columns(with_tables: WithTables, kind: str) -> None:
    """Find a view's rows as they do those of a table, with values and versions of each row's own."""
    async with counters_in(with_tables) as made, as_view(made.db, CounterRow, KINDS[kind]) as db:
        counters, of_a = CounterRepository(db), TenantScope("a")
        keys = [("a", 3), ("a", 0), ("b", 1), ("a", 9)]
        updated = await counters.batch_update(keys, uses(4), scope=of_a)
        each = {("a", 3): used(2), ("a", 0): used(3), ("b", 1): used(4)}
        counted = await counters.batch_update_each({key: each[key] for key in each if key[0] == "a"}, scope=of_a)
        purged = await counters.batch_purge([("b", 2), ("a", 1)], scope=of_a)
        report = await counters.purge_where([CounterRow.uses > 5], scope=of_a, chunk_size=1, pause=0)
        assert [(counter.place, counter.uses) for counter in updated.succeeded] == [(3, 4), (0, 4)]
        assert [(counter.place, counter.uses) for counter in counted.succeeded] == [(3, 6), (0, 7)]
        assert ([counter.place for counter in purged.succeeded], report.rows) == ([1], 2)
        assert (updated.missing, purged.missing) == (keys[2:], [("b", 2)])
        assert [counter.uses for counter in (await made.search(TenantScope("b"))).items] == [0] * 4


@EACH_KIND
async def test_a_scope_that_no_value_can_be_stamped_for(with_tables: WithTables, kind: str) -> None:
    """Is held against what a batch has made of a view's rows."""
    async with counters_in(with_tables) as made, as_view(made.db, CounterRow, KINDS[kind]) as db:
        counters, few = CounterRepository(db), UsedScope(5)
        assert not (await counters.batch_update([("a", 1), ("b", 2)], uses(5), scope=few)).missing
        for call in (
            counters.batch_update([("a", 1), ("b", 2)], uses(6), scope=few),
            counters.batch_update_each({("a", 1): used(0), ("b", 2): used(1)}, scope=few),
            counters.update_where([CounterRow.place == 2], used(1), scope=few),
        ):
            with pytest.raises(ScopeMismatch):
                await call
        assert sorted([counter.uses for counter in (await made.search()).items]) == [0] * 6 + [5] * 2


@pytest.mark.parametrize("kind", INSTEAD_OF)
@pytest.mark.parametrize("native", [True, False])
async def test_a_row_that_a_views_trigger_skips_is_an_error(with_tables: WithTables, kind: str, native: bool) -> None:
    """As one is that a table's trigger skips: it is never told as written, removed or absent."""
    skipping = "ELSIF old.note = 'firm' THEN RETURN NULL; ELSIF TG_OP = 'UPDATE'"
    view = KINDS[kind].replace("ELSIF TG_OP = 'UPDATE'", skipping)
    firm = "UPDATE kept.{name} SET note = 'firm' WHERE id IN (1, 4)"
    async with things_shown(with_tables, f"{view}; {firm}") as world:
        shown = replace(world, things=ThingRepository(Database(world.things.db.engine, native=native)))
        before = await world.stored()
        for name, verb in WRITING.items():
            is_meant = verb.does not in (Does.MAKE, Does.PUT) and name not in OF_THEIR_NUMBER
            if is_meant and name.endswith("_partial"):
                (failed,) = (await verb.call(shown, place_of(name), A)).failed
                assert type(failed.error) is RefusedByTrigger, name
            elif is_meant:
                with pytest.raises(RefusedByTrigger):
                    await verb.call(shown, place_of(name), A)
        assert await world.stored() == before


OF_THEIR_NUMBER = {"update_where", "delete_where", "restore_where"}
"""The verbs that only say how many rows they have written."""


class ShownNoteRow(Base):
    __tablename__ = "shown_notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str]
    above_id: Mapped[int | None] = mapped_column(sa.ForeignKey("shown_notes.id"))
    below: Mapped[list[ShownNoteRow]] = relationship(viewonly=True)


@dataclass(frozen=True)
class NoteData:
    id: int
    word: str


class Notes(Repository[ShownNoteRow, NoteData, int]):
    pass


@dataclass(frozen=True)
class Thread:
    """Data that RETURNING cannot give."""

    id: int
    below: tuple[NoteData, ...]


@asynccontextmanager
async def thread_of_notes(made: WithTables, view: str) -> AsyncIterator[Database]:
    """Give a database with eight notes in a view, each below the one before it."""
    async with made(ShownNoteRow) as db:
        async with db.begin_session() as db_sess:
            rows = [{"id": id, "word": f"w{id}", "above_id": id - 1 or None} for id in range(1, 9)]
            await db_sess.execute(sa.insert(ShownNoteRow), rows)
        async with as_view(db, ShownNoteRow, view) as shown:
            yield shown


@EACH_KIND
async def test_rows_of_a_view_are_read_before_they_go(with_tables: WithTables, kind: str) -> None:
    """Where the data has more than RETURNING can give; what cannot be locked is only read."""
    async with thread_of_notes(with_tables, KINDS[kind]) as db:
        threads = DBSource(db, ShownNoteRow, into=Thread)
        assert await threads.write(threads.purger.purge, 8) == Thread(8, ())
        purged = await threads.write(threads.batch_purger.purge, [99, 7])
        assert (purged.succeeded, purged.missing) == ([Thread(7, ())], [99])
        with pytest.raises(EntityNotFound):
            await threads.write(threads.purger.purge, 8)


@pytest.mark.parametrize("kind", UPDATABLE)
async def test_rows_of_a_view_that_keep_each_other(with_tables: WithTables, kind: str) -> None:
    """Go before the rows that they hang on, as those of a table do."""
    async with thread_of_notes(with_tables, KINDS[kind]) as db:
        notes = Notes(db)
        report = await notes.purge_where([ShownNoteRow.id > 2], chunk_size=2, pause=0)
        assert (report.rows, report.complete, await notes.count()) == (6, True, 2)
        assert (await notes.purge_where([], all_rows=True, chunk_size=None)).rows == 2


class OldRow(OfATenant, Base):
    """Rows of a table whose name hides what PostgreSQL 18 calls the row before, so that it is told as before it."""

    __tablename__ = "old"
    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-1)


@dataclass(frozen=True)
class OldCreate(Spec[OldRow]):
    id: int
    tenant: str
    name: str


class Olds(Repository[OldRow, OldRow, int]):
    pass


@pytest.mark.parametrize("native", [True, False])
async def test_upserts_of_a_view_before_postgresql_18_say_what_to_call(with_tables: WithTables, native: bool) -> None:
    """It has no system column by which new rows could be told from others."""
    async with with_tables(OldRow) as made, as_view(made, OldRow, OF_ALL) as db:
        rows = Olds(Database(db.engine, native=native))
        specs = [OldCreate(1, "a", "one"), OldCreate(2, "a", "two")]
        for upsert in (rows.upsert(specs[0]), rows.batch_upsert(specs), rows.batch_upsert_partial(specs)):
            with pytest.raises(MappingError, match=r"call find, then create\(spec\) or update\(id, patch\)"):
                await upsert
        assert await rows.count() == 0


OLD_ONLY_READ = {
    "not updatable": f"CREATE VIEW {{name}} AS SELECT {{columns}} FROM {NUMBERED}",
    "materialized": "CREATE MATERIALIZED VIEW {name} AS SELECT * FROM kept.{name}",
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("view", OLD_ONLY_READ.values(), ids=OLD_ONLY_READ)
async def test_upserts_of_a_view_that_is_only_read_say_so_before_postgresql_18(
    with_tables: WithTables, view: str, native: bool
) -> None:
    """As a create and an update of its rows do, which are no way out."""
    async with with_tables(OldRow) as made, as_view(made, OldRow, view) as db:
        rows = Olds(Database(db.engine, native=native))
        specs = [OldCreate(1, "a", "one"), OldCreate(2, "a", "two")]
        for upsert in (rows.upsert(specs[0]), rows.batch_upsert(specs), rows.batch_upsert_partial(specs)):
            with pytest.raises(
                DatabaseFault, match="old is a view that takes no rows: write by a repository"
            ) as caught:
                await upsert
            assert "call find" not in str(caught.value)
        assert await rows.count() == 0


@pytest.mark.parametrize("kind", UPDATABLE)
async def test_a_key_that_rows_of_several_tenants_have(with_tables: WithTables, kind: str) -> None:
    """Leads to the caller's own alone: a view has no places by which they could be told apart."""
    twins = "ALTER TABLE kept.{name} DROP CONSTRAINT {name}_pkey; INSERT INTO kept.{name} SELECT id, 'b', name || '!', "
    twins += "uses, note, deleted_at, version FROM kept.{name} WHERE tenant = 'a'"
    async with things_shown(with_tables, f"{KINDS[kind]}; {twins}") as world:
        others = await others_of(world)
        for name in [name for name in SEVERAL if "version" not in name and "refuses" not in name]:
            await SEVERAL[name](world, A)
            assert await others_of(world) == others, name
        assert (len(others), await world.things.count(A, include_deleted=True)) == (4, 0)


HIDDEN = "CREATE VIEW {name} AS SELECT * FROM kept.{name} WHERE note IS DISTINCT FROM 'hidden'"
HIDING = "UPDATE kept.{name} SET note = 'hidden' WHERE id IN (2, 4)"
UPSERTS = [name for name in WRITING if "upsert" in name]


@pytest.mark.parametrize("lane", LANES)
async def test_an_upsert_leaves_rows_alone_that_a_view_does_not_show(with_tables: WithTables, lane: str) -> None:
    """Others have them, as they have those outside of a scope: the database itself would write into them."""
    async with things_shown(with_tables, f"{HIDDEN}; {HIDING}") as world:
        watched, writes = LANES[lane]
        things = ThingRepository(Database(world.things.db.engine, writes=writes))
        stored = sa.text("SELECT * FROM kept.things ORDER BY id")
        async with things.db.engine.connect() as connection:
            before = (await connection.execute(stored)).all()
        shown, hidden = ThingCreate(1, "name 1", 7, None), ThingCreate(2, "name 2", 7, None)
        with watched(replace(world, things=things)):
            for call in (things.upsert(hidden, scope=A), things.batch_upsert([shown, hidden], scope=A)):
                with pytest.raises(EntityAlreadyExists):
                    await call
            async with things.db.unit_of_work():
                partial = await things.batch_upsert_partial([hidden, shown, ThingCreate(9, "new", 1, None)], scope=A)
        assert [(failure.index, type(failure.error)) for failure in partial.failed] == [(0, EntityAlreadyExists)]
        assert [(success.data.inserted, success.data.data.id) for success in partial.succeeded] == [
            (False, 1),
            (True, 9),
        ]
        async with things.db.engine.connect() as connection:
            after = (await connection.execute(stored)).all()
        assert [row for row in after if row.id not in (1, 9)] == before[1:]


async def others_of(world: World) -> Any:
    async with world.things.db.engine.connect() as connection:
        rows = sa.text("SELECT * FROM kept.things WHERE tenant = 'b' ORDER BY id")
        return (await connection.execute(rows)).all()


FOR_SOME = "CREATE RULE for_some AS ON UPDATE TO {name} WHERE false DO INSTEAD NOTHING"
READ_ONLY = {
    "not updatable": (f"CREATE VIEW {{name}} AS SELECT {{columns}} FROM {NUMBERED}", "INSTEAD OF triggers"),
    "with a rule for some rows": (
        f"CREATE VIEW {{name}} AS SELECT {{columns}} FROM {NUMBERED}; {FOR_SOME}",
        "INSTEAD OF triggers",
    ),
    "materialized": (
        "CREATE MATERIALIZED VIEW {name} AS SELECT * FROM kept.{name}; CREATE UNIQUE INDEX ON {name} ({keys})",
        "write by a repository of the tables beneath, which the view shows once it is refreshed",
    ),
    "materialized, without an index": (
        "CREATE MATERIALIZED VIEW {name} AS SELECT * FROM kept.{name}",
        "which the view shows once it is refreshed|of a materialized view no row is written",
    ),
}


@pytest.mark.parametrize("view, what_to_do", READ_ONLY.values(), ids=READ_ONLY)
async def test_a_view_that_is_only_read_says_so_in_every_verb_that_writes(
    with_tables: WithTables, view: str, what_to_do: str
) -> None:
    """Of rows that are there and of none, in words that say what to do; nothing is written."""
    async with world_in(with_tables, "things") as world:
        before = await world.stored()
        async with as_view(world.things.db, ThingRow, view) as db:
            for native in (True, False):
                shown = replace(world, things=ThingRepository(Database(db.engine, native=native)))
                for name, verb in WRITING.items():
                    with pytest.raises(DatabaseFault, match=what_to_do) as caught:
                        await verb.call(shown, place_of(name), A)
                    assert caught.value.error_code == str(ErrorCode("thing", name, "database_fault"))
        assert await world.stored() == before


class TicketNumbers(Base):
    """What a sequence shows of itself."""

    __tablename__ = "ticket_numbers"
    last_value: Mapped[int] = mapped_column(primary_key=True)
    is_called: Mapped[bool]


@dataclass(frozen=True)
class NumberCreate(Spec[TicketNumbers]):
    last_value: int
    is_called: bool


class Numbers(Repository[TicketNumbers, TicketNumbers, int]):
    pass


async def test_a_sequence_is_only_read(with_tables: WithTables) -> None:
    """And no advice for views is given."""
    async with with_tables() as db:
        await run(db, "CREATE SEQUENCE ticket_numbers")
        try:
            with pytest.raises(DatabaseFault, match="nobody writes rows of a materialized view or a sequence"):
                await Numbers(db).create(NumberCreate(2, True))
        finally:
            await run(db, "DROP SEQUENCE ticket_numbers")


@pytest.mark.parametrize("kind", INSTEAD_OF)
async def test_upserts_of_a_view_with_triggers_say_what_to_call(with_tables: WithTables, kind: str) -> None:
    """It has no unique index by which PostgreSQL could tell new rows from others."""
    async with things_shown(with_tables, KINDS[kind]) as world:
        before = await world.stored()
        for name in ("upsert", "batch_upsert", "batch_upsert_partial"):
            with pytest.raises(DatabaseFault, match=r"call find, then create\(spec\) or update\(id, patch\)"):
                await VERBS[name].call(world, 5, A)
        assert await world.stored() == before


async def test_locking_rows_of_a_view_that_has_none_says_so(with_tables: WithTables) -> None:
    """A read with a lock asks for what the view cannot give."""
    async with things_shown(with_tables, KINDS["unlockable"]) as world:
        with pytest.raises(DatabaseFault, match="are read without a lock: lock those of the table beneath"):
            async with world.things.db.unit_of_work():
                await world.things.get(1, A, lock=Lock())


async def test_a_rule_that_writes_instead_says_so(with_tables: WithTables) -> None:
    """Without RETURNING it cannot give the rows that it wrote."""
    rule = "CREATE RULE instead AS ON DELETE TO {name} DO INSTEAD DELETE FROM kept.{name} WHERE id = old.id"
    async with things_shown(with_tables, f"{OF_ALL}; {rule}") as world:
        with pytest.raises(DatabaseFault, match="use triggers in their place"):
            await world.things.batch_purge([1, 2], scope=A)


@pytest.mark.parametrize("native", [True, False])
async def test_a_view_that_comes_in_a_tables_place_is_found(with_tables: WithTables, native: bool) -> None:
    """By the call that meets it, or by the one after that, in units of work, too, and so the other way round."""
    async with world_in(with_tables, "things") as world:
        engine = world.things.db.engine
        db = Database.from_url(engine.url, native=native, pooler=is_behind_pooler(engine.sync_engine))
        things = ThingRepository(db)
        await things.batch_update([1, 2], SEVEN, scope=A)
        async with as_view(world.things.db, ThingRow, OF_ALL):
            with suppress(DatabaseFault):
                async with db.unit_of_work():
                    await things.batch_update([1, 2], SEVEN, scope=A)
            async with db.unit_of_work():
                assert not (await things.batch_update([1, 2], SEVEN, scope=A)).missing
            assert not (await things.batch_update([1, 2], SEVEN, scope=A)).missing
        assert not (await things.batch_update([1, 2], SEVEN, scope=A)).missing
        await db.dispose()


@pytest.mark.parametrize("native", [True, False])
async def test_what_a_table_is_is_asked_once(
    with_tables: WithTables, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many calls there are, of whatever verbs; of an engine that has met it before never."""
    async with world_in(with_tables, "things") as world:
        engine = world.things.db.engine
        db = Database.from_url(engine.url, native=native, pooler=is_behind_pooler(engine.sync_engine))
        shown, asked = replace(world, things=ThingRepository(db)), list[Any]()

        async def noted(*given: Any) -> Any:
            asked.append(given)
            return await ask(*given)

        for module in (gate, native_lane):
            monkeypatch.setattr(module, "ask", noted)
        rows = await world.stored()
        for call in SEVERAL.values():
            await world.reset(rows)
            await outcome(call(shown, A))
        assert len(asked) == 1
        await db.dispose()


async def test_a_view_in_the_schema_that_is_translated_to(with_tables: WithTables) -> None:
    """Is told apart from a table of its name in another one."""
    async with world_in(with_tables, "things") as world:
        db = world.things.db
        await run(db, "CREATE SCHEMA shown; CREATE VIEW shown.things AS SELECT * FROM things")
        try:
            engine = db.engine.execution_options(schema_translate_map={None: "shown"})
            for things in (ThingRepository(Database(engine)), world.things):
                assert (await things.batch_update([3, 1, 2], SEVEN, scope=A)).missing == [3]
        finally:
            await run(db, "DROP SCHEMA shown CASCADE")
