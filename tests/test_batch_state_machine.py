"""Random batches of two tenants: a model in Python and the database agree after every step."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import URL

from rowsmith import BatchResult, Database, EntityAlreadyExists, EntityNotFound, OptionalState, StaleVersion, TriState
from rowsmith.testing import tables
from tenants import (
    Model,
    NameTaken,
    OwnedBy,
    Thing,
    ThingCreate,
    ThingDraft,
    ThingPatch,
    ThingRepository,
    ThingRow,
    changed,
)

T = TypeVar("T")

TENANTS = st.sampled_from("ab")
IDS = st.lists(st.integers(0, 11), unique=True, max_size=8)
USES = st.integers(0, 9)
NOTES = st.none() | st.sampled_from(["", "x"])
CHUNK_SIZES = st.none() | st.integers(1, 3)
NAMES = st.sampled_from(["ann", "bob", "cid"])
ROWS = st.lists(st.tuples(st.integers(0, 11), USES, NOTES), unique_by=lambda row: row[0], max_size=6)


class Batches(RuleBasedStateMachine):
    """Every batch verb, by either tenant, over ids that are there, deleted, the other's or nobody's."""

    runner: ClassVar[asyncio.Runner]
    db: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.model, self.things, self.names = Model(), ThingRepository(self.db), iter(range(10**9))
        self.run(self._empty())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _empty(self) -> None:
        async with self.db.begin_session() as db_sess:
            await db_sess.execute(sa.delete(ThingRow))

    def fresh(self) -> str:
        return f"name {next(self.names)}"

    def agree(self, result: BatchResult[Any, int], ids: list[int], done: list[Thing]) -> None:
        """Every id is in exactly one list, in input order, and the data is what the model says."""
        assert result.succeeded == [thing.data for thing in done]
        assert result.missing == [id_ for id_ in ids if id_ not in {thing.id for thing in done}]

    @rule(tenant=TENANTS, rows=ROWS, clash=st.booleans())
    def batch_create(self, tenant: str, rows: list[tuple[int, int, str | None]], clash: bool) -> None:
        new = [Thing(id_, tenant, "ann" if clash else self.fresh(), uses, note) for id_, uses, note in rows]
        specs = [_spec(thing, clash=clash) for thing in new]
        call = self.things.batch_create(specs, scope=OwnedBy(tenant))
        if any(thing.id in self.model.things for thing in new) or not self.model.put(new):
            with pytest.raises(EntityAlreadyExists):
                self.run(call)
        else:
            assert self.run(call) == [thing.data for thing in new]

    @rule(tenant=TENANTS, rows=ROWS)
    def batch_upsert(self, tenant: str, rows: list[tuple[int, int, str | None]]) -> None:
        new = [Thing(id_, tenant, self.fresh(), uses, note) for id_, uses, note in rows]
        specs = [_spec(thing, clash=False) for thing in new]
        call = self.things.batch_upsert(specs, scope=OwnedBy(tenant))
        before = {thing.id: self.model.things.get(thing.id) for thing in new}
        if any(thing and (thing.tenant != tenant or thing.is_deleted) for thing in before.values()):
            with pytest.raises(EntityAlreadyExists):
                self.run(call)
            return
        after = [
            thing if (old := before[thing.id]) is None else changed(old, **_said(spec))
            for thing, spec in zip(new, specs, strict=True)
        ]
        assert self.model.put(after)
        result = self.run(call).succeeded
        assert [done.data for done in result] == [thing.data for thing in after]
        assert [done.inserted for done in result] == [old is None for old in before.values()]

    @rule(tenant=TENANTS, ids=IDS, uses=USES, note=NOTES)
    def batch_update(self, tenant: str, ids: list[int], uses: int, note: str | None) -> None:
        patch = ThingPatch(
            uses=OptionalState.update(uses), note=TriState.nullify() if note is None else TriState.update(note)
        )
        result = self.run(self.things.batch_update(ids, patch, scope=OwnedBy(tenant)))
        done = [changed(thing, uses=uses, note=note) for thing in self.model.live(tenant, ids)]
        assert self.model.put(done)
        self.agree(result, ids, done)

    @rule(tenant=TENANTS, ids=IDS, name=NAMES)
    def batch_update_of_a_unique_name(self, tenant: str, ids: list[int], name: str) -> None:
        call = self.things.batch_update(ids, ThingPatch(name=OptionalState.update(name)), scope=OwnedBy(tenant))
        done = [changed(thing, name=name) for thing in self.model.live(tenant, ids)]
        if self.model.put(done):
            self.agree(self.run(call), ids, done)
        else:
            with pytest.raises(NameTaken):
                self.run(call)

    @rule(
        tenant=TENANTS, ids=IDS, more=st.lists(USES, min_size=12, max_size=12), versions=st.none() | st.integers(1, 3)
    )
    def batch_update_each(self, tenant: str, ids: list[int], more: list[int], versions: int | None) -> None:
        patches = {id_: _some_patch(more[id_], self.fresh()) for id_ in ids}
        expected = None if versions is None else dict.fromkeys(ids, versions)
        call = self.things.batch_update_each(patches, scope=OwnedBy(tenant), expected_versions=expected)
        there = self.model.live(tenant, ids)
        stale = {thing.id for thing in there if versions not in (None, thing.version)}
        if stale:
            with pytest.raises(StaleVersion) as caught:
                self.run(call)
            assert set(caught.value.stale) == stale
            return
        result = self.run(call)
        done = [_patched(thing, patches[thing.id], more[thing.id]) for thing in there]
        assert self.model.put([thing for thing in done if thing not in there])
        self.agree(result, ids, done)

    @rule(tenant=TENANTS, rows=ROWS, name=NAMES)
    def batch_upsert_partial(self, tenant: str, rows: list[tuple[int, int, str | None]], name: str) -> None:
        """All want the same name: one at most gets it, and those that another tenant or nobody sees do not."""
        made = [Thing(id_, tenant, name, uses, note) for id_, uses, note in rows]
        specs = [_spec(thing, clash=False) for thing in made]
        was_free = all(thing.name != name for thing in self.model.live(tenant))
        visible = 0
        result = self.run(self.things.batch_upsert_partial(specs, scope=OwnedBy(tenant)))
        done = {success.index: success.data for success in result.succeeded}
        assert sorted([*done, *(failure.index for failure in result.failed)]) == list(range(len(specs)))
        for index, (new, spec) in enumerate(zip(made, specs, strict=True)):
            old = self.model.things.get(spec.id)
            after = new if old is None else changed(old, **_said(spec))
            is_hidden = old is not None and (old.tenant != tenant or old.is_deleted)
            visible += not is_hidden
            if index in done:
                assert not is_hidden
                assert self.model.put([after])
                assert (done[index].data, done[index].inserted) == (after.data, old is None)
        assert len(done) == min(visible, 1) or not was_free
        assert all(isinstance(failure.error, EntityAlreadyExists) for failure in result.failed)

    @rule(tenant=TENANTS, ids=IDS, version=st.integers(1, 3))
    def batch_update_partial(self, tenant: str, ids: list[int], version: int) -> None:
        patches = {id_: ThingPatch(uses=OptionalState.update(id_)) for id_ in ids}
        expected = dict.fromkeys(ids, version)
        result = self.run(self.things.batch_update_partial(patches, scope=OwnedBy(tenant), expected_versions=expected))
        there = self.model.live(tenant, ids)
        done = [changed(thing, uses=thing.id) for thing in there if thing.version == version]
        assert self.model.put(done)
        assert [(s.index, s.data) for s in result.succeeded] == [(ids.index(thing.id), thing.data) for thing in done]
        stale = {ids.index(thing.id) for thing in there} - {success.index for success in result.succeeded}
        for failure in result.failed:
            assert isinstance(failure.error, StaleVersion if failure.index in stale else EntityNotFound)
        assert len(result.succeeded) + len(result.failed) == len(ids)

    @rule(tenant=TENANTS, below=USES)
    def update_where(self, tenant: str, below: int) -> None:
        patch = ThingPatch(uses=OptionalState.expression(lambda: ThingRow.uses + 1))
        count = self.run(self.things.update_where([ThingRow.uses < below], patch, scope=OwnedBy(tenant)))
        done = [changed(thing, uses=thing.uses + 1) for thing in self.model.live(tenant) if thing.uses < below]
        assert self.model.put(done)
        assert count == len(done)

    @rule(tenant=TENANTS, below=USES)
    def delete_where(self, tenant: str, below: int) -> None:
        count = self.run(self.things.delete_where([ThingRow.uses < below], scope=OwnedBy(tenant)))
        done = [changed(thing, is_deleted=True) for thing in self.model.live(tenant) if thing.uses < below]
        assert self.model.put(done)
        assert count == len(done)

    @rule(tenant=TENANTS, below=USES)
    def restore_where(self, tenant: str, below: int) -> None:
        call = self.things.restore_where([ThingRow.uses < below], scope=OwnedBy(tenant))
        deleted = self.model.deleted(tenant, self.model.things)
        done = [changed(thing, is_deleted=False) for thing in deleted if thing.uses < below]
        if self.model.put(done):
            assert self.run(call) == len(done)
        else:
            with pytest.raises(NameTaken):
                self.run(call)

    @rule(tenant=TENANTS, ids=IDS)
    def batch_delete(self, tenant: str, ids: list[int]) -> None:
        result = self.run(self.things.batch_delete(ids, scope=OwnedBy(tenant)))
        done = [changed(thing, is_deleted=True) for thing in self.model.live(tenant, ids)]
        assert self.model.put(done)
        self.agree(result, ids, done)

    @rule(tenant=TENANTS, ids=IDS)
    def batch_restore(self, tenant: str, ids: list[int]) -> None:
        call = self.things.batch_restore(ids, scope=OwnedBy(tenant))
        done = [changed(thing, is_deleted=False) for thing in self.model.deleted(tenant, ids)]
        if self.model.put(done):
            self.agree(self.run(call), ids, done)
        else:
            with pytest.raises(NameTaken):
                self.run(call)

    @rule(tenant=TENANTS, ids=IDS)
    def batch_purge(self, tenant: str, ids: list[int]) -> None:
        result = self.run(self.things.batch_purge(ids, scope=OwnedBy(tenant)))
        done = [thing for id_ in ids if (thing := self.model.things.get(id_)) and thing.tenant == tenant]
        self.agree(result, ids, done)
        self._gone(done)

    @rule(tenant=TENANTS, ids=IDS)
    def batch_purge_partial(self, tenant: str, ids: list[int]) -> None:
        result = self.run(self.things.batch_purge_partial(ids, scope=OwnedBy(tenant)))
        done = [thing for id_ in ids if (thing := self.model.things.get(id_)) and thing.tenant == tenant]
        assert result.data == [thing.data for thing in done]
        assert len(result.succeeded) + len(result.failed) == len(ids)
        self._gone(done)

    @rule(tenant=TENANTS, at_least=USES, chunk_size=CHUNK_SIZES, max_rows=st.none() | st.integers(0, 4))
    def purge_where(self, tenant: str, at_least: int, chunk_size: int | None, max_rows: int | None) -> None:
        report = self.run(
            self.things.purge_where(
                [ThingRow.uses >= at_least], scope=OwnedBy(tenant), chunk_size=chunk_size, max_rows=max_rows
            )
        )
        things = sorted(self.model.things.values(), key=lambda thing: thing.id)
        doomed = [thing for thing in things if thing.tenant == tenant and thing.uses >= at_least]
        assert (report.rows, report.complete) == (len(doomed[:max_rows]), max_rows is None or len(doomed) <= max_rows)
        self._gone(doomed[:max_rows])

    def _gone(self, things: list[Thing]) -> None:
        for thing in things:
            del self.model.things[thing.id]

    @invariant()
    def the_table_is_what_the_model_says(self) -> None:
        """Both tenants' rows, deleted ones too; so no batch of one touched the other's."""
        assert self.run(self._stored()) == sorted(self.model.things.values(), key=lambda thing: thing.id)

    async def _stored(self) -> list[Thing]:
        async with self.db.begin_session() as db_sess:
            rows = await db_sess.scalars(sa.select(ThingRow).order_by(ThingRow.id))
            return [
                Thing(row.id, row.tenant, row.name, row.uses, row.note, row.version, row.deleted_at is not None)
                for row in rows
            ]


def _spec(thing: Thing, *, clash: bool) -> ThingCreate | ThingDraft:
    """Give one of several specs for a new row: it leaves out what the row's defaults say as well."""
    if thing.id % 2 or clash:
        return ThingCreate(thing.id, thing.name, thing.uses, thing.note)
    return ThingDraft(
        thing.id,
        thing.name,
        OptionalState.update(thing.uses) if thing.uses else OptionalState.nop(),
        TriState.nop() if thing.note is None else TriState.update(thing.note),
    )


def _said(spec: ThingCreate | ThingDraft) -> dict[str, object]:
    """Give what a row that is there takes over of a spec."""
    return {name: value for name, value in spec.to_values().items() if name != "id"}


def _some_patch(more: int, name: str) -> ThingPatch:
    """Give one of several patches, which set different fields."""
    counted = OptionalState[int].expression(lambda: ThingRow.uses + more)
    match more % 4:
        case 0:
            return ThingPatch(uses=counted, name=OptionalState.update(name))
        case 1:
            return ThingPatch(uses=OptionalState.update(more))
        case 2:
            return ThingPatch(note=TriState.nullify(), uses=counted)
        case _:
            return ThingPatch()


def _patched(thing: Thing, patch: ThingPatch, more: int) -> Thing:
    match more % 4:
        case 0:
            return changed(thing, uses=thing.uses + more, name=patch.name.to_value())
        case 1:
            return changed(thing, uses=more)
        case 2:
            return changed(thing, uses=thing.uses + more, note=None)
        case _:
            return thing


@contextmanager
def machine(url: URL | str) -> Iterator[type[Batches]]:
    """Give the machine over a database, in an event loop of its own."""
    with asyncio.Runner() as runner:
        db = Database.from_url(url)
        made = tables(db, ThingRow)
        runner.run(made.__aenter__())
        try:
            yield type("Batches", (Batches,), {"runner": runner, "db": db})
        finally:
            runner.run(made.__aexit__(None, None, None))
            runner.run(db.dispose())


PROGRAMS = int(os.environ.get("ROWSMITH_PROGRAMS", "15"))
"""How many random programs of up to 15 calls are run on each backend."""

FEW = settings(
    max_examples=PROGRAMS,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def test_random_batches_on_postgresql(rowsmith_url: URL) -> None:
    """Whatever two tenants do, results, errors and the table are what the model says."""
    with machine(rowsmith_url) as batches:
        run_state_machine_as_test(batches, settings=FEW)


def test_random_batches_on_sqlite(tmp_path: Path) -> None:
    """The same on SQLite."""
    with machine(f"sqlite:///{tmp_path / 'things.sqlite'}") as batches:
        run_state_machine_as_test(batches, settings=FEW)
