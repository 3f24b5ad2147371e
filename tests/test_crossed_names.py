"""Attributes that are called as the columns of others are: every verb reads and writes each by its own column."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Condition, OptionalState, Patch, Repository, SearchScope, SoftDelete, Spec
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import Does
from tenants import ThingData, ThingRepository, ThingRow
from verbs import VERBS, Verb, World, outcome, world_of


class Base(DeclarativeBase):
    pass


class CrossedRow(Base):
    """A thing, with each column under the name of another."""

    __tablename__ = "crossed_things"

    id: Mapped[int] = mapped_column("uses", primary_key=True, autoincrement=False)
    uses: Mapped[int] = mapped_column("version")
    version: Mapped[int] = mapped_column("id")
    tenant: Mapped[str] = mapped_column("name")
    name: Mapped[str] = mapped_column("note")
    note: Mapped[str | None] = mapped_column("tenant")
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class CrossedCreate(Spec[CrossedRow], filled={"tenant"}):
    id: int
    name: str
    uses: int
    note: str | None


@dataclass(frozen=True)
class CrossedPatch(Patch[CrossedRow]):
    uses: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class CrossedOf(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [CrossedRow.tenant == self.tenant]


class CrossedRepository(Repository[CrossedRow, ThingData, int]):
    soft_delete = SoftDelete(CrossedRow.deleted_at)


NAMES = ("id", "tenant", "name", "uses", "note", "version")


async def test_every_verb_does_to_crossed_names_what_it_does_to_others(any_tables: WithTables) -> None:
    """On one's own row, live or deleted, and on an absent one."""
    async with any_tables(ThingRow, CrossedRow) as db:
        crossed = World(
            CrossedRepository(db),
            CrossedRow,
            lambda id: CrossedCreate(id, f"name {id}", 1, None),
            CrossedPatch(uses=OptionalState.update(7)),
            CrossedOf,
        )
        told: list[dict[tuple[str, int], Any]] = []
        for world in (world_of(ThingRepository(db)), crossed):
            await world.refill()
            rows = await world.stored()
            tries = [
                (name, id) for name, verb in VERBS.items() for id in (DELETED if verb.does is Does.UNMARK else 1, 99)
            ]
            told.append({(name, id): await came_of(world, VERBS[name], id, rows) for name, id in tries})
        assert told[0] == told[1]


DELETED = 4


async def came_of(world: World, verb: Verb, id: int, rows: Mapping[Any, Any]) -> tuple[str, list[tuple[Any, ...]]]:
    """Give how a call answers, up to the names of classes, and all that is stored then."""
    await world.reset(rows)
    answer = await outcome(verb.call(world, id, world.owner("a")))
    kept = [getattr(world.row, name) for name in NAMES]
    async with world.things.db.engine.connect() as connection:
        found = await connection.execute(sa.select(*kept, world.row.deleted_at.is_(None)).order_by(world.row.id))
        return _of_any(answer), list(map(tuple, found))


def _of_any(answer: str) -> str:
    """Give an answer without what it says of the class, its table and its columns."""
    return re.sub(r" \((constraint|table)[^)]*\)", "", answer).replace("crossed", "thing")
