"""Overlapping batches in shuffled order: they queue up for each other, and none is the victim of a deadlock.

What is promised for one table: no mix of batch verbs deadlocks over rows that are there, nor over new ones that clash
in one unique key. Rows that clash in two keys crosswise, or that are given new values of a unique key, have no order.
Nothing here has a policy, which would call again and hide a deadlock.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from random import Random

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from rowsmith import (
    Condition,
    Conflict,
    Database,
    EntityAlreadyExists,
    OptionalState,
    Patch,
    RefusedByTrigger,
    Repository,
    RepositoryError,
    SearchScope,
    Spec,
    TriState,
)
from rowsmith.operations.upserts import upsertion
from rowsmith.testing import WithTables
from support import count_statements, is_waited_for
from tenants import OwnedBy, ThingCreate, ThingDraft, ThingPatch, ThingRepository, ThingRow
from views import OF_ALL, as_view

BATCHES = int(os.environ.get("ROWSMITH_DEADLOCK_BATCHES", "160"))
"""How many batches are sent in all; the full number is 10,000."""

TASKS, ROWS, LARGEST = 8, 300, 60
TENANT = OwnedBy("a")
USED = ThingPatch(uses=OptionalState.expression(lambda: ThingRow.uses + 1))
MARKED = ThingPatch(name=OptionalState.expression(lambda: ThingRow.name + "'"))


class Base(DeclarativeBase):
    pass


class Worker:
    """Sends batches over random rows in random order, and counts how often it has counted a row up."""

    def __init__(self, things: ThingRepository, seed: int) -> None:
        self.things, self.random, self.counted = things, Random(seed), 0

    async def send(self, batches: int) -> None:
        for _ in range(batches):
            ids = self.random.sample(range(ROWS), self.random.randint(2, LARGEST))
            await self.random.choice([self._update, self._each, self._where, self._rename, self._delete])(ids)

    async def _update(self, ids: list[int]) -> None:
        self.counted += len((await self.things.batch_update(ids, USED, scope=TENANT)).succeeded)

    async def _each(self, ids: list[int]) -> None:
        result = await self.things.batch_update_each(dict.fromkeys(ids, USED), scope=TENANT)
        self.counted += len(result.succeeded)

    async def _where(self, ids: list[int]) -> None:
        self.counted += await self.things.update_where([ThingRow.id.in_(ids)], USED, scope=TENANT)

    async def _rename(self, ids: list[int]) -> None:
        """A unique column changes too: PostgreSQL locks such rows harder."""
        await self.things.batch_update(ids, MARKED, scope=TENANT)

    async def _delete(self, ids: list[int]) -> None:
        """Rows that others delete meanwhile are missing here, and come back by whoever marked them."""
        deleted = await self.things.batch_delete(ids, scope=TENANT)
        mine = [data.id for data in deleted.succeeded]
        self.random.shuffle(mine)
        assert (await self.things.batch_restore(mine, scope=TENANT)).missing == []


class Mixer:
    """Sends any batch verb over some of a number of keys, in random order; what is there and what not is left open."""

    rows, largest = ROWS, LARGEST

    def __init__(self, seed: int) -> None:
        self.random, self.failed = Random(seed), Counter[str]()

    def verbs(self) -> list[Callable[[list[int]], Awaitable[None]]]:
        return [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]

    async def send(self, batches: int) -> None:
        verbs = self.verbs()
        for _ in range(batches):
            verb = self.random.choice(verbs)
            try:
                await verb(self.random.sample(range(self.rows), self.random.randint(2, self.largest)))
            except EntityAlreadyExists:
                pass
            except RepositoryError as exc:
                self.failed[exc.error_code] += 1


class MixedThings(Mixer):
    """Things, whose primary key the application gives; upserts go by it."""

    def __init__(self, things: ThingRepository, seed: int) -> None:
        super().__init__(seed)
        self.things = things

    def spec(self, id_: int) -> ThingCreate | ThingDraft:
        name = f"name {id_:03}"
        return self.random.choice([ThingCreate(id_, name, 1, None), ThingDraft(id_, name)])

    def patch(self) -> ThingPatch:
        return self.random.choice([USED, ThingPatch(note=TriState.nullify()), ThingPatch()])

    async def do_create(self, ids: list[int]) -> None:
        await self.things.batch_create([self.spec(id_) for id_ in ids], scope=TENANT)

    async def do_create_partial(self, ids: list[int]) -> None:
        await self.things.batch_create_partial([self.spec(id_) for id_ in ids[:5]], scope=TENANT)

    async def do_upsert(self, ids: list[int]) -> None:
        await self.things.batch_upsert([ThingCreate(id_, f"name {id_:03}", 1, None) for id_ in ids], scope=TENANT)

    async def do_upsert_partial(self, ids: list[int]) -> None:
        """Those marked as deleted are taken, so that their items fail."""
        await self.things.batch_upsert_partial([self.spec(id_) for id_ in ids[:8]], scope=TENANT)

    async def do_update(self, ids: list[int]) -> None:
        await self.things.batch_update(ids, USED, scope=TENANT)

    async def do_update_each(self, ids: list[int]) -> None:
        await self.things.batch_update_each({id_: self.patch() for id_ in ids}, scope=TENANT)

    async def do_update_partial(self, ids: list[int]) -> None:
        await self.things.batch_update_partial({id_: self.patch() for id_ in ids}, scope=TENANT)

    async def do_update_where(self, ids: list[int]) -> None:
        await self.things.update_where([ThingRow.id.in_(ids)], USED, scope=TENANT)

    async def do_delete(self, ids: list[int]) -> None:
        await self.things.batch_delete(ids, scope=TENANT)

    async def do_restore(self, ids: list[int]) -> None:
        await self.things.batch_restore(ids, scope=TENANT)

    async def do_delete_where(self, ids: list[int]) -> None:
        await self.things.delete_where([ThingRow.id.in_(ids)], scope=TENANT)

    async def do_restore_where(self, ids: list[int]) -> None:
        await self.things.restore_where([ThingRow.id.in_(ids)], scope=TENANT)

    async def do_purge(self, ids: list[int]) -> None:
        await self.things.batch_purge(ids, scope=TENANT)

    async def do_purge_partial(self, ids: list[int]) -> None:
        await self.things.batch_purge_partial(ids, scope=TENANT)

    async def do_purge_where(self, ids: list[int]) -> None:
        await self.things.purge_where([ThingRow.id.in_(ids)], scope=TENANT, chunk_size=None)


class FewThings(MixedThings):
    """So few that most are always on the way: new, marked as deleted, which upserts leave out, or about to be gone."""

    rows, largest = 12, 8

    @override
    def verbs(self) -> list[Callable[[list[int]], Awaitable[None]]]:
        return [self.do_create, self.do_upsert, self.do_upsert_partial, self.do_delete, self.do_purge]


class LabelRow(Base):
    __tablename__ = "labels"
    __table_args__ = (sa.CheckConstraint("uses >= 0", name="ck_uses"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    uses: Mapped[int] = mapped_column(server_default="0")


@dataclass(frozen=True)
class LabelCreate(Spec[LabelRow]):
    name: str
    uses: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class LabelPatch(Patch[LabelRow]):
    uses: OptionalState[int] = OptionalState.nop()


class Labels(Repository[LabelRow, LabelRow, int]):
    conflict = Conflict(columns=[LabelRow.name])


class MixedLabels(Mixer):
    """Labels, whose primary key the server counts: names come in any order, and upserts go by them."""

    def __init__(self, labels: Labels, seed: int) -> None:
        super().__init__(seed)
        self.labels = labels

    def spec(self, number: int) -> LabelCreate:
        return LabelCreate(f"{number:03}", self.random.choice([OptionalState.update(1), OptionalState.nop()]))

    async def ids(self, numbers: list[int]) -> list[int]:
        named = [LabelRow.name.in_([f"{number:03}" for number in numbers])]
        return self.random.sample(
            found := [row.id for row in (await self.labels.search(None, named)).items], len(found)
        )

    def any_spec(self, number: int) -> LabelCreate:
        """Give one that cannot be written, sometimes."""
        uses = self.random.choice([None, *range(12), -1])
        return LabelCreate(f"{number:03}", OptionalState.nop() if uses is None else OptionalState.update(uses))

    async def do_create(self, numbers: list[int]) -> None:
        await self.labels.batch_create([self.spec(number) for number in numbers[:6]])

    async def do_create_partial(self, numbers: list[int]) -> None:
        await self.labels.batch_create_partial([self.any_spec(number) for number in numbers[:5]])

    async def do_upsert(self, numbers: list[int]) -> None:
        await self.labels.batch_upsert([self.spec(number) for number in numbers])

    async def do_upsert_partial(self, numbers: list[int]) -> None:
        await self.labels.batch_upsert_partial([self.any_spec(number) for number in numbers[:8]])

    async def do_upsert_kept(self, numbers: list[int]) -> None:
        kept = Conflict(columns=[LabelRow.name], update=False)
        await self.labels.batch_upsert([self.spec(number) for number in numbers], conflict=kept)

    async def do_update(self, numbers: list[int]) -> None:
        await self.labels.batch_update(await self.ids(numbers), LabelPatch(OptionalState.update(2)))

    async def do_update_each(self, numbers: list[int]) -> None:
        patches = [LabelPatch(OptionalState.update(3)), LabelPatch(OptionalState.expression(lambda: LabelRow.uses + 1))]
        await self.labels.batch_update_each({id_: self.random.choice(patches) for id_ in await self.ids(numbers)})

    async def do_update_where(self, numbers: list[int]) -> None:
        named = LabelRow.name.in_([f"{number:03}" for number in numbers])
        await self.labels.update_where([named], LabelPatch(OptionalState.update(4)))

    async def do_purge(self, numbers: list[int]) -> None:
        await self.labels.batch_purge(await self.ids(numbers))

    async def do_purge_where(self, numbers: list[int]) -> None:
        named = LabelRow.name.in_([f"{number:03}" for number in numbers])
        await self.labels.purge_where([named], chunk_size=None)


class FewLabels(MixedLabels):
    """So few that upserts whose items fail meet each other, and what is about to be gone."""

    rows, largest = 12, 8

    @override
    def verbs(self) -> list[Callable[[list[int]], Awaitable[None]]]:
        return [self.do_upsert, self.do_upsert_partial, self.do_purge, self.do_purge_where]


@pytest.mark.parametrize("kind", ["things", "few", "labels", "few labels"])
async def test_batch_verbs_mixed_at_random_never_deadlock(with_tables: WithTables, kind: str) -> None:
    """Eight tasks send every verb that writes many rows, over rows that come and go."""
    async with with_tables(ThingRow, LabelRow) as db:
        kinds: dict[str, Callable[[int], Mixer]] = {
            "things": partial(MixedThings, ThingRepository(db, resilience=None)),
            "few": partial(FewThings, ThingRepository(db, resilience=None)),
            "labels": partial(MixedLabels, Labels(db, resilience=None)),
            "few labels": partial(FewLabels, Labels(db, resilience=None)),
        }
        mixers = [kinds[kind](seed) for seed in range(TASKS)]
        each = BATCHES // TASKS if kind.startswith("few") else BATCHES // TASKS // 3  # small ones take little
        await asyncio.gather(*(mixer.send(each) for mixer in mixers))
        assert [mixer.failed for mixer in mixers if mixer.failed] == [], await who_waited(db)


async def test_a_second_try_waits_for_no_row_that_came_since(with_tables: WithTables) -> None:
    """Nor where its patches set different fields, and so take several statements."""
    async with with_tables(ThingRow) as db:
        things, others = ThingRepository(db, resilience=None), create_async_engine(db.engine.url, poolclass=sa.NullPool)
        named = {id_: f"name {id_}" for id_ in range(1, 6)} | {9: "x"}
        await things.batch_create([ThingCreate(id_, name, 0, None) for id_, name in named.items()], scope=TENANT)
        await things.delete(1, scope=TENANT)
        patches = {3: ThingPatch(name=SET_NAME("x")), 4: ThingPatch(name=SET_NAME("y")), 2: USED}
        patches[1] = ThingPatch(note=TriState.update("n"))
        async with others.connect() as holder:
            await holder.execute(sa.insert(ThingRow).values(id=10, tenant="a", name="y", uses=0, version=1))
            partial_ = asyncio.ensure_future(things.batch_update_partial(patches, scope=TENANT))
            assert await is_waited_for(holder, partial_)
            await things.restore(1, scope=TENANT)
            batch = asyncio.ensure_future(things.batch_update([1, 2], USED, scope=TENANT))
            assert await is_waited_for(holder, partial_, batch)
            await holder.rollback()
            assert [item.index for item in (await partial_).failed] == [0, 3]
            assert (await batch).missing == []


async def who_waited(db: Database) -> str:
    """Give what the log of an embedded server says of deadlocks: which statements waited for each other."""
    async with db.engine.connect() as connection:
        lines = ((await connection.scalar(sa.text("SELECT pg_read_file('log', true)"))) or "").splitlines()
    places = [place for place, line in enumerate(lines) if "deadlock detected" in line]
    return "\n".join(line for place in places for line in lines[place : place + 30])


async def test_overlapping_batches_never_deadlock(with_tables: WithTables) -> None:
    """Eight tasks, every verb that locks rows; no count is lost either."""
    async with with_tables(ThingRow) as db:
        things = ThingRepository(db, resilience=None)
        await things.batch_create([ThingCreate(id_, f"name {id_}", 0, None) for id_ in range(ROWS)], scope=TENANT)
        workers = [Worker(things, seed) for seed in range(TASKS)]
        await asyncio.gather(*(worker.send(BATCHES // TASKS) for worker in workers))
        async with db.engine.connect() as connection:
            total = await connection.scalar(sa.select(sa.func.sum(ThingRow.uses)))
        assert total == sum(worker.counted for worker in workers)


async def test_shuffled_purges_never_deadlock(with_tables: WithTables) -> None:
    """Each row is removed by exactly one of eight overlapping purges."""
    async with with_tables(ThingRow) as db:
        things = ThingRepository(db, resilience=None)
        for round_ in range(max(BATCHES // 200, 1)):
            await things.batch_create([ThingCreate(id_, f"name {id_}", 0, None) for id_ in range(ROWS)], scope=TENANT)
            orders = [Random(seed + round_).sample(range(ROWS), ROWS) for seed in range(TASKS)]
            results = await asyncio.gather(*(things.batch_purge(ids, scope=TENANT) for ids in orders))
            assert sorted(data.id for result in results for data in result.succeeded) == list(range(ROWS))
            assert all(len(result.succeeded) + len(result.missing) == ROWS for result in results)


@pytest.mark.parametrize("view", ["", OF_ALL], ids=["table", "view"])
@pytest.mark.parametrize("verb", ["update_where", "delete_where", "batch_update", "batch_delete"])
async def test_who_keeps_a_key_has_nobody_wait_in_a_circle(with_tables: WithTables, verb: str, view: str) -> None:
    """A row that others change while a call waits is met once, as it is then.

    Where anybody keeps its key, PostgreSQL has whoever meets its old version queue up there, behind one who waits for
    the row itself.
    """
    async with with_tables(ThingRow) as made, as_view(made, ThingRow, view) if view else nullcontext(made) as db:
        things = ThingRepository(db, resilience=None)
        await things.batch_create([ThingCreate(id_, f"name {id_}", 0, None) for id_ in range(10)], scope=TENANT)
        meant = [ThingRow.id.in_([1, 3, 9])]
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "update_where": lambda: things.update_where(meant, USED, scope=TENANT),
            "delete_where": lambda: things.delete_where(meant, scope=TENANT),
            "batch_update": lambda: things.batch_update([1, 3, 9], USED, scope=TENANT),
            "batch_delete": lambda: things.batch_delete([1, 3, 9], scope=TENANT),
        }
        async with AsyncExitStack() as stack:
            others = create_async_engine(db.engine.url, poolclass=sa.NullPool)
            keeper, first, second, last = [await stack.enter_async_context(others.connect()) for _ in range(4)]
            await keeper.execute(
                sa.select(ThingRow.id).where(ThingRow.id == 3).with_for_update(key_share=True, read=True)
            )
            for holder, id_ in ((first, 1), (second, 2), (last, 9)):
                await holder.execute(sa.select(ThingRow.id).where(ThingRow.id == id_).with_for_update())
            call = asyncio.ensure_future(calls[verb]())
            assert await is_waited_for(first, call)
            batch = asyncio.ensure_future(things.batch_update([2, 3], USED, scope=TENANT))
            assert await is_waited_for(second, batch)
            await things.update(3, USED, scope=TENANT)
            await first.rollback()
            assert await is_waited_for(last, call)
            await second.rollback()
            assert await is_waited_for(last, call, batch)  # for row 3, which the call has
            await last.rollback()
            await asyncio.gather(call, batch)


SET, SET_NAME = OptionalState[int].update, OptionalState[str].update


@pytest.mark.parametrize("specs", ["alike", "unlike", "kept"])
@pytest.mark.parametrize("is_sought", [False, True], ids=["alone", "sought"])
async def test_a_row_that_goes_while_an_upsert_waits_for_it_is_made(
    with_tables: WithTables, monkeypatch: pytest.MonkeyPatch, specs: str, *, is_sought: bool
) -> None:
    """Or, where others make it meanwhile, in the order of the key, and wait in turn, is changed once they have.

    Also by who takes it for a trigger's doing: nobody is waited for then.
    """
    monkeypatch.setattr(upsertion, "TURNS", 1)
    async with with_tables(LabelRow) as db:
        labels, others = Labels(db, resilience=None), create_async_engine(db.engine.url, poolclass=sa.NullPool)
        await labels.create(LabelCreate("a"))
        unlike = OptionalState[int].nop() if specs == "unlike" else SET(7)
        given = [LabelCreate("c", unlike), LabelCreate("a", SET(7))]
        conflict = Conflict(columns=[LabelRow.name], update=specs != "kept")
        async with others.connect() as remover, others.connect() as maker:
            await remover.execute(sa.delete(LabelRow).where(LabelRow.name == "a"))
            call = asyncio.ensure_future(labels.batch_upsert(given, conflict=conflict))
            assert await is_waited_for(remover, call)
            making = [asyncio.ensure_future(make(maker, "ac"))] if is_sought else []
            assert await is_waited_for(remover, call, *making)
            await remover.commit()
            inserted = sum(item.inserted for item in (await call).succeeded)
            assert inserted + sum([await made for made in making]) == 2
        assert sorted(row.name for row in (await labels.search()).items) == ["a", "c"]


@dataclass(frozen=True)
class Used(SearchScope):
    """Of no value that could be stamped onto new rows: they are asked about once they are written."""

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [LabelRow.uses >= 0]


@pytest.mark.parametrize("kind", ["all", "scoped", "partial"])
async def test_who_waits_for_a_row_goes_on_once_it_is_undone(with_tables: WithTables, kind: str) -> None:
    """An upsert that begins anew leaves nothing that others wait for, whatever was asked about its rows.

    Also where an item fails, so that the others are tried apart from it.
    """
    async with with_tables(LabelRow) as db:
        labels, others = Labels(db, resilience=None), create_async_engine(db.engine.url, poolclass=sa.NullPool)
        rows = [await labels.create(LabelCreate(name)) for name in "abe"]
        unlike = [LabelCreate("c"), *(LabelCreate(name, SET(7)) for name in "eba")]

        async def upserted() -> list[bool]:
            if kind == "partial":
                apart = await labels.batch_upsert_partial([*unlike, LabelCreate("d", SET(-1))])
                return [item.data.inserted for item in apart.succeeded]
            together = await labels.batch_upsert(unlike, scope=Used() if kind == "scoped" else None)
            return [item.inserted for item in together.succeeded]

        async with others.connect() as remover, others.connect() as maker, others.connect() as holder:
            await holder.execute(sa.update(LabelRow).where(LabelRow.id == rows[2].id).values(uses=1))
            await remover.execute(sa.delete(LabelRow).where(LabelRow.name.in_([*"ab"])))
            call = asyncio.ensure_future(upserted())
            assert await is_waited_for(remover, call)
            making = asyncio.ensure_future(make(maker, "bc"))
            assert await is_waited_for(remover, call, making)
            await remover.commit()
            assert await is_waited_for(holder, call, making)  # the one for a row, the other for a new row before it
            await holder.commit()
            assert (await making, await call) == (2, [False, False, False, True])


async def test_a_row_that_a_trigger_keeps_away_is_told_after_some_turns(with_tables: WithTables) -> None:
    """Of specs that set different fields, whose new rows are made apart from those that are there."""
    async with with_tables(LabelRow) as db:
        async with db.engine.begin() as connection:
            for statement in (
                "CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
                "CREATE TRIGGER t BEFORE INSERT ON labels FOR EACH ROW WHEN (NEW.name = 'a') EXECUTE FUNCTION away()",
            ):
                await connection.exec_driver_sql(statement)
        given = [LabelCreate("c"), LabelCreate("b", SET(1)), LabelCreate("a", SET(1))]
        with count_statements(db) as sent, pytest.raises(RefusedByTrigger) as failure:
            await Labels(db).batch_upsert(given)
        assert failure.value.index == 2
        assert sum(each.startswith("SAVEPOINT") for each in sent) == upsertion.TURNS
        assert await Labels(db).count() == 0


async def make(connection: AsyncConnection, names: str) -> int:
    """Insert those of some labels that are not there, one after the other; gives how many."""
    made = 0
    for name in names:
        new = postgresql.insert(LabelRow).values(name=name).on_conflict_do_nothing()
        made += (await connection.execute(new)).rowcount
    await connection.commit()
    return made


@pytest.mark.parametrize("verb", ["batch_update", "batch_purge"])
async def test_a_batch_beside_single_writes(with_tables: WithTables, verb: str) -> None:
    """Units of work that hold one row each make a batch wait, never fail."""
    async with with_tables(ThingRow) as db:
        things = ThingRepository(db, resilience=None)
        await things.batch_create([ThingCreate(id_, f"name {id_}", 0, None) for id_ in range(ROWS)], scope=TENANT)

        async def single(id_: int) -> None:
            async with db.unit_of_work():
                await things.update(id_, USED, scope=TENANT)
                await asyncio.sleep(0.01)

        ids = Random(1).sample(range(ROWS), ROWS)
        is_update = verb == "batch_update"
        call = things.batch_update(ids, USED, scope=TENANT) if is_update else things.batch_purge(ids, scope=TENANT)
        singles = [asyncio.create_task(single(id_)) for id_ in range(4)]
        await asyncio.sleep(0.005)
        assert (await call).missing == []
        await asyncio.gather(*singles, return_exceptions=not is_update)
