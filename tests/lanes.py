"""The register of lanes: for each verb that writes values, the ways to the database that it has.

A verb that takes a spec or a patch and is missing here fails ``tests/test_verbs.py``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from columns import Kind
from rowsmith import (
    BatchCreator,
    BatchUpdater,
    BatchUpserter,
    Creator,
    Patch,
    Spec,
    TriState,
    Updater,
    Upserter,
)

Row = TypeVar("Row")


@dataclass(frozen=True)
class World(Generic[Row]):
    """A row with a column of one type, and what is said about it.

    ``known`` is data of which Python may know what the database holds, ``made`` needs what the server makes.
    """

    row: type[Row]
    known: type[Any]
    made: type[Any]
    spec: Callable[[int, Any], Spec[Row]]
    patch: Callable[[Any], Patch[Row]]

    @property
    def table(self) -> Any:
        return self.row.__table__  # type: ignore[attr-defined]


def world(name: str, kind: Kind) -> World[Any]:
    """Give a world of its own to a type of column."""

    class Base(DeclarativeBase):
        pass

    class LaneRow(Base):
        __tablename__ = f"lane_{name}"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[Any] = mapped_column(kind.declared(), nullable=True)
        made: Mapped[int] = mapped_column(server_default="7")
        doubled: Mapped[int] = mapped_column(sa.Computed("id * 2"))
        deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))

    @dataclass(frozen=True)
    class Known:
        id: int
        value: Any

    @dataclass(frozen=True)
    class Made(Known):
        made: int
        doubled: int

    @dataclass(frozen=True)
    class LaneCreate(Spec[LaneRow]):
        id: int
        value: Any

    @dataclass(frozen=True)
    class LanePatch(Patch[LaneRow]):
        value: TriState[Any]

    def patch(value: Any) -> LanePatch:
        return LanePatch(TriState.nullify() if value is None else TriState.update(value))

    return World(LaneRow, Known, Made, LaneCreate, patch)


def data_of(result: Any) -> list[Any]:
    """Give the data that a verb gave back, of whatever is around it."""
    items = getattr(result, "succeeded", result)
    return [getattr(item, "data", item) for item in (items if isinstance(items, list) else [items])]


Values = Sequence[tuple[int, Any]]
"""Ids and values of new rows, or of rows that are there."""
Lane = Callable[[World[Any], AsyncSession, Values], Awaitable[list[Any]]]


def specs(w: World[Any], values: Values) -> list[Any]:
    return [w.spec(id, value) for id, value in values]


async def create(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    return [await Creator(w.row, into=w.made).create(s, spec) for spec in specs(w, values)]


async def batch_create_known(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    return await BatchCreator(w.row, into=w.known).create(s, specs(w, values))


async def batch_create_made(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    return await BatchCreator(w.row, into=w.made).create(s, specs(w, values))


async def batch_create_partial(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    made = await BatchCreator(w.row, into=w.made).create_partial(s, specs(w, values))
    for failed in made.failed:
        raise failed.error
    return data_of(made)


async def load(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    assert await BatchCreator(w.row).load(s, specs(w, values)) == len(values)
    return []


async def upsert_new(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    return [(await Upserter(w.row, into=w.made).upsert(s, spec)).data for spec in specs(w, values)]


async def batch_upsert_new(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    return data_of(await BatchUpserter(w.row, into=w.made).upsert(s, specs(w, values)))


async def empty_rows(w: World[Any], s: AsyncSession, values: Values) -> None:
    """Put the rows there without a value, past the type."""
    if values:
        await s.execute(sa.insert(w.table).inline(), [{"id": id} for id, _ in values])


async def upsert_there(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    await empty_rows(w, s, values)
    return await upsert_new(w, s, values)


async def batch_upsert_there(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    await empty_rows(w, s, values)
    return await batch_upsert_new(w, s, values)


async def batch_upsert_partial(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    await empty_rows(w, s, values[::2])
    made = await BatchUpserter(w.row, into=w.made).upsert_partial(s, specs(w, values))
    for failed in made.failed:
        raise failed.error
    return [item.data.data for item in made.succeeded]


async def update(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    await empty_rows(w, s, values)
    return [await Updater(w.row, into=w.made).update(s, id, w.patch(value)) for id, value in values]


async def update_where(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    await empty_rows(w, s, values)
    for id, value in values:
        assert await BatchUpdater(w.row).update_where(s, [w.row.id == id], w.patch(value)) == 1
    return []


async def batch_update(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    await empty_rows(w, s, values)
    updater = BatchUpdater(w.row, into=w.made)
    return [data_of(await updater.update(s, [id], w.patch(value)))[0] for id, value in values]


async def batch_update_each(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    await empty_rows(w, s, values)
    return data_of(await BatchUpdater(w.row, into=w.made).update_each(s, {id: w.patch(v) for id, v in values}))


async def batch_update_partial(w: World[Any], s: AsyncSession, values: Values) -> list[Any]:
    await empty_rows(w, s, values)
    made = await BatchUpdater(w.row, into=w.made).update_partial(s, {id: w.patch(value) for id, value in values})
    for failed in made.failed:
        raise failed.error
    return data_of(made)


LANES: dict[str, tuple[Lane, ...]] = {
    "create": (create,),
    "batch_create": (batch_create_known, batch_create_made),
    "batch_create_partial": (batch_create_partial,),
    "load": (load,),
    "upsert": (upsert_new, upsert_there),
    "batch_upsert": (batch_upsert_new, batch_upsert_there),
    "batch_upsert_partial": (batch_upsert_partial,),
    "update": (update,),
    "update_where": (update_where,),
    "batch_update": (batch_update,),
    "batch_update_each": (batch_update_each,),
    "batch_update_partial": (batch_update_partial,),
}

NOTHING_BACK = frozenset({load, update_where})
"""Lanes that give only a number."""

SINGLE = frozenset({create, upsert_new, upsert_there, update, update_where, batch_update})
"""Lanes that send a statement for each row."""
