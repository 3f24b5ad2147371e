"""Programs of two tenants, every verb at random: a model in Python and the tables agree after every step.

Among the rows are such as inherit: in the table of another class, in two tables, in three. Each verb of the register is
called on one row, through the repository of some class, so that it may be the caller's, the other tenant's, of a class
beside or below, deleted or absent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import URL

from rowsmith import Database
from rowsmith.cache import MemoryCacheSource
from rowsmith.testing import tables
from rowsmith.testing.contract.verbs import Does
from tenants import ThingRow
from tenants.tools import TOOLS, ToolsOf
from verbs import VERBS, Verb, World, outcome, worlds_of

T = TypeVar("T")

NOBODY = 99

SEES = {
    "things": {"things"},
    "tools": {"tools", "hammers", "meters", "clamps"},
    "hammers": {"hammers"},
    "meters": {"meters", "clamps"},
    "clamps": {"clamps"},
}
"""Of which worlds rows are seen by the repository of each: its own class's, and those below."""

KINDS = {"tool": "tools", "hammer": "hammers", "meter": "meters", "clamp": "clamps"}


@dataclass(frozen=True)
class Kept:
    """A row as the model has it."""

    kind: str
    tenant: str
    uses: int = 1
    version: int = 1
    is_deleted: bool = False

    def next(self, **values: object) -> Kept:
        """Give the row after an update."""
        return replace(self, version=self.version + 1, **values)  # type: ignore[arg-type]


Rows = dict[tuple[bool, int], Kept]
"""Rows by whether they are things, and their ids."""


def after(rows: Rows, name: str, verb: Verb, tenant: str, id: int) -> Rows:
    """Give the rows as they are after a call."""
    place = (name == "things", id)
    found = rows.get(place)
    if found is None:
        return {**rows, place: Kept(name, tenant)} if verb.makes else rows
    if found.tenant != tenant or found.kind not in SEES[name]:
        return rows
    match verb.does:
        case Does.REMOVE:
            return {other: row for other, row in rows.items() if other != place}
        case Does.UNMARK if found.is_deleted:
            return {**rows, place: found.next(is_deleted=False)}
        case Does.MARK if not found.is_deleted:
            return {**rows, place: found.next(is_deleted=True)}
        case Does.PUT if not found.is_deleted:
            return {**rows, place: found.next(uses=1)}
        case Does.CHANGE if not found.is_deleted:
            return {**rows, place: found.next(uses=7)}
        case _:
            return rows


class Tenants(RuleBasedStateMachine):
    """Two tenants at work on the same tables."""

    runner: ClassVar[asyncio.Runner]
    db: ClassVar[Database]
    worlds: ClassVar[dict[str, World]]
    plain: ClassVar[dict[str, World]]

    def __init__(self) -> None:
        super().__init__()
        self.rows: Rows = {}
        for name in ("things", "tools"):
            self.run(self.worlds[name].reset({}))
            self.run(self.worlds[name].things.invalidate())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(name=st.sampled_from(list(SEES)), tenant=st.sampled_from("ab"), id=st.integers(1, 4))
    def make(self, name: str, tenant: str, id: int) -> None:
        """So often that there is something for the other verbs."""
        self.call(name, "create", tenant, id)

    @rule(
        name=st.sampled_from(list(SEES)),
        verb=st.sampled_from(list(VERBS)),
        tenant=st.sampled_from("ab"),
        id=st.integers(1, 4),
    )
    def call(self, name: str, verb: str, tenant: str, id: int) -> None:
        """Call a verb, see what it gives, and what it should have done."""
        world, called = self.worlds[name], VERBS[verb]
        seen = self.run(self._outcome(world, called, tenant, id))
        if called.does is Does.READ:  # it changes nothing, so that it can be called by both ways there are
            assert seen == self.run(self._outcome(self.plain[name], called, tenant, id))
        if world.in_parts and called.in_parts is None:
            assert seen.startswith("MappingError")
            return
        before, self.rows = self.rows, after(self.rows, name, called, tenant, id)
        if called.makes:
            return
        found = before.get((name == "things", id))
        is_seen = found is not None and found.tenant == tenant and found.kind in SEES[name] and not found.is_deleted
        reached = self.rows != before or (called.does is Does.READ and is_seen)
        nothing = self.run(self._outcome(world, called, tenant, NOBODY)).replace(str(NOBODY), str(id))
        assert (seen != nothing) is reached

    async def _outcome(self, world: World, verb: Verb, tenant: str, id: int) -> str:
        return await outcome(verb.call(world, id, world.owner(tenant)))

    @invariant()
    def the_tables_are_what_the_model_says(self) -> None:
        """Every row, both tenants'; and each in the tables of its class, no more and no less."""
        assert self.run(self._held()) == self.rows

    async def _held(self) -> Rows:
        thing, (tool, meter, clamp) = ThingRow.__table__, (row.__table__ for row in TOOLS)
        found: Rows = {}
        async with self.db.engine.connect() as connection:
            for table in (thing, tool):
                kind = sa.literal("things") if table is thing else tool.c.kind
                is_deleted = table.c.deleted_at.is_not(None)
                columns = (table.c.id, kind, table.c.tenant, table.c.uses, table.c.version, is_deleted)
                for row in await connection.execute(sa.select(*columns)):
                    found[table is thing, row[0]] = Kept(KINDS.get(row[1], row[1]), *row[2:])
            parts = {
                part.name: set((await connection.execute(sa.select(part.columns.values()[0]))).scalars())
                for part in (meter, clamp)
            }
        for name, sees in (("meters", SEES["meters"]), ("clamps", SEES["clamps"])):
            assert parts[name] == {id for (_, id), row in found.items() if row.kind in sees}
        return found


@contextmanager
def machine(
    url: URL | str, caches: Callable[[type[Any]], Any] = lambda _: None, **options: Any
) -> Iterator[type[Tenants]]:
    """Give the machine over a database, with caches in front of it if any, in an event loop of its own."""
    with asyncio.Runner() as runner:
        db = Database.from_url(url, **options)
        made = tables(db, ThingRow, *TOOLS)
        runner.run(made.__aenter__())
        try:
            plain = worlds_of(Database(db.engine, native=False))
            yield type(
                "Tenants", (Tenants,), {"runner": runner, "db": db, "worlds": worlds_of(db, caches), "plain": plain}
            )
        finally:
            runner.run(made.__aexit__(None, None, None))
            runner.run(db.dispose())


PROGRAMS = int(os.environ.get("ROWSMITH_TENANT_PROGRAMS", "4"))
"""How many random programs of up to 40 calls are run on each backend."""

FEW = settings(
    max_examples=PROGRAMS,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def test_programs_of_two_tenants_on_postgresql(rowsmith_url: URL, rowsmith_engine_options: Mapping[str, Any]) -> None:
    """Whatever two tenants do, to rows of whichever class, results and tables are what the model says."""
    with machine(rowsmith_url, **rowsmith_engine_options) as tenants:
        run_state_machine_as_test(tenants, settings=FEW)


def test_programs_of_two_tenants_on_sqlite(tmp_path: Path) -> None:
    """The same on SQLite."""
    with machine(f"sqlite:///{tmp_path / 'tenants.sqlite'}") as tenants:
        run_state_machine_as_test(tenants, settings=FEW)


def test_programs_of_two_tenants_with_caches(tmp_path: Path) -> None:
    """The same with a cache in front of each class's rows: what one writes ends what others have of it."""

    def cached(kind: type[Any]) -> MemoryCacheSource[Any, Any]:
        return MemoryCacheSource(kind, negative_ttl=60)

    with machine(f"sqlite:///{tmp_path / 'tenants.sqlite'}", cached) as tenants:
        run_state_machine_as_test(tenants, settings=FEW)


def test_a_scope_that_is_another_tenants_is_found(tmp_path: Path) -> None:
    """The programs are able to fail."""
    with machine(f"sqlite:///{tmp_path / 'tenants.sqlite'}") as tenants:
        for worlds in (tenants.worlds, tenants.plain):
            worlds["clamps"] = replace(worlds["clamps"], owner=lambda tenant: ToolsOf("a"))
        with pytest.raises(AssertionError):
            run_state_machine_as_test(tenants, settings=settings(FEW, max_examples=50, phases=[Phase.generate]))
