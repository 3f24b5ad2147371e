"""Names as long as PostgreSQL takes them (63 letters): where SQLAlchemy makes labels of them, it takes a part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    Condition,
    Conflict,
    CursorForwardPagination,
    Database,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    Spec,
)
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answer

LONGEST = 63


def long(start: str, end: str = "") -> str:
    return start.ljust(LONGEST - len(end), "x") + end


class Base(DeclarativeBase):
    pass


class OwnerRow(Base):
    __tablename__ = long("owners")

    id: Mapped[int] = mapped_column(long("id"), primary_key=True, autoincrement=False)


class ItemRow(Base):
    """The names of some columns differ at their ends alone."""

    __tablename__ = long("items")

    id: Mapped[int] = mapped_column(long("id"), primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(long("name"), unique=True)
    number: Mapped[int] = mapped_column(long("number", "_1"))
    other: Mapped[int] = mapped_column(long("number", "_2"), server_default="0")
    tenant: Mapped[str] = mapped_column(long("tenant"))
    version: Mapped[int] = mapped_column(long("version"))
    owner_id: Mapped[int | None] = mapped_column(long("owner_id"), sa.ForeignKey(OwnerRow.id))
    owner: Mapped[OwnerRow | None] = relationship(viewonly=True)
    __mapper_args__ = {"version_id_col": version}


class PlaceRow(Base):
    """Two columns are its key."""

    __tablename__ = long("places")

    id: Mapped[int] = mapped_column(long("key", "_1"), primary_key=True, autoincrement=False)
    second: Mapped[int] = mapped_column(long("key", "_2"), primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(long("name"), unique=True)
    number: Mapped[int] = mapped_column(long("number", "_1"))
    other: Mapped[int] = mapped_column(long("number", "_2"), server_default="0")


@dataclass(frozen=True)
class Owner:
    id: int


@dataclass(frozen=True)
class Item:
    id: int
    name: str
    number: int
    other: int
    owner: Owner | None


@dataclass(frozen=True)
class Place:
    id: int
    second: int
    number: int
    other: int


@dataclass(frozen=True)
class ItemCreate(Spec[ItemRow], filled={"tenant"}):
    id: int
    name: str
    number: int
    owner_id: int | None = None


@dataclass(frozen=True)
class ItemDraft(Spec[ItemRow], filled={"tenant", "number"}):
    """Sets other fields."""

    id: int
    name: str
    number: int
    other: int


@dataclass(frozen=True)
class ItemPatch(Patch[ItemRow]):
    number: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class PlaceCreate(Spec[PlaceRow]):
    id: int
    second: int
    name: str
    number: int


@dataclass(frozen=True)
class PlacePatch(Patch[PlaceRow]):
    number: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class OfA(SearchScope):
    @override
    def to_conditions(self) -> list[Condition]:
        return [ItemRow.tenant == "a"]


class Items(Repository[ItemRow, Item, int]):
    conflict = Conflict([ItemRow.id])


class NamedItems(Repository[ItemRow, Item, int]):
    conflict = Conflict([ItemRow.name])


class Places(Repository[PlaceRow, Place, Any]):
    conflict = Conflict([PlaceRow.id, PlaceRow.second])


class NamedPlaces(Repository[PlaceRow, Place, Any]):
    conflict = Conflict([PlaceRow.name])


SEVEN = OptionalState.update(7)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", [Items, NamedItems, Places, NamedPlaces])
async def test_every_verb_takes_them(any_tables: WithTables, kind: Any, *, native: bool) -> None:
    """Of tables, keys, values, versions, and of what a scope speaks of; a batch of each."""
    are_items = kind in (Items, NamedItems)
    scope, patch = (OfA(), ItemPatch(SEVEN)) if are_items else (None, PlacePatch(SEVEN))
    ids: list[Any] = [1, 2] if are_items else [(1, 1), (2, 1)]

    def specs(first: int) -> list[Any]:
        if not are_items:
            return [PlaceCreate(first + at, 1, f"name {first + at}", 5) for at in range(3)]
        given = [ItemCreate(first + at, f"name {first + at}", 5, 1) for at in range(2)]
        return [*given, ItemDraft(first + 2, f"name {first + 2}", 5, 6)]

    async with any_tables(OwnerRow, ItemRow, PlaceRow) as made:
        things = kind(Database(made.engine, native=native), resilience=None)
        async with made.begin_session() as db_sess:
            db_sess.add(OwnerRow(id=1))
        for verb, told in VERBS.items():
            if told.does is Does.UNMARK or told.does is Does.MARK:
                continue
            await things.batch_purge(
                [thing.id if are_items else (thing.id, thing.second) for thing in await things.search()]
            )
            await things.batch_create(specs(0), scope=scope)
            new = specs(1) if told.does is Does.PUT else specs(3)
            outcome = await answer(verb, VerbCall(things, scope, ids if "batch" in verb else ids[:1], patch, new))
            assert outcome.error is None, (verb, outcome.words)
        await things.batch_purge(
            [thing.id if are_items else (thing.id, thing.second) for thing in await things.search()]
        )
        await things.batch_upsert(specs(0), scope=scope)
        row = ItemRow if are_items else PlaceRow
        orders = [row.number.desc(), row.id]
        first = await things.search(scope, orders=orders, pagination=CursorForwardPagination(2))
        rest = await things.search(scope, orders=orders, pagination=CursorForwardPagination(2, after=first.cursors[-1]))
        assert [(thing.id, thing.number, thing.other) for thing in (*first, *rest)] == [
            (0, 5, 0),
            (1, 5, 0),
            (2, 5, 6 if are_items else 0),
        ]
