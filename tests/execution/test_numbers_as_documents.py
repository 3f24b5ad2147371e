"""JSON documents of SQLite's that are no more than a number, which its column takes for one of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import JSON
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Conflict, Database, InvalidValue, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables, tables


class Base(DeclarativeBase):
    pass


class SheetRow(Base):
    __tablename__ = "sheets"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    doc: Mapped[Any] = mapped_column(JSON)


@dataclass(frozen=True)
class Sheet:
    id: int
    name: str
    doc: Any


@dataclass(frozen=True)
class New(Spec[SheetRow]):
    name: str
    doc: Any


@dataclass(frozen=True)
class Kept(Patch[SheetRow]):
    doc: OptionalState[Any] = OptionalState.nop()


class Sheets(Repository[SheetRow, Sheet, int]):
    conflict = Conflict(columns=[SheetRow.name])


def kept(doc: Any) -> Kept:
    return Kept(doc=OptionalState.update(doc))


LONG = 10**400

WRITES: dict[str, Callable[[Sheets, Any], Awaitable[Any]]] = {
    "create": lambda sheets, doc: sheets.create(New("b", doc)),
    "batch_create": lambda sheets, doc: sheets.batch_create([New("b", 1), New("c", doc)]),
    "load": lambda sheets, doc: sheets.load([New("b", 1), New("c", doc)]),
    "update": lambda sheets, doc: sheets.update(1, kept(doc)),
    "batch_update": lambda sheets, doc: sheets.batch_update([1], kept(doc)),
    "batch_update_each": lambda sheets, doc: sheets.batch_update_each({1: kept(doc)}),
    "update_where": lambda sheets, doc: sheets.update_where([SheetRow.id == 1], kept(doc)),
    "upsert": lambda sheets, doc: sheets.upsert(New("a", doc)),
    "batch_upsert": lambda sheets, doc: sheets.batch_upsert([New("a", doc), New("b", 1)]),
}


@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize("doc", [LONG, -LONG, 10**308, 2**64 + 1])
async def test_what_would_come_back_as_another_is_refused(sqlite_database: Database, verb: str, doc: int) -> None:
    """By name, with the index in batches; nothing is stored, which JSON's functions could not read."""
    async with tables(sqlite_database, SheetRow) as db:
        sheets = Sheets(db)
        await sheets.create(New("a", {"a": 1}))
        with pytest.raises(InvalidValue, match=r"SheetRow\.doc holds a value that its type does not take") as caught:
            await WRITES[verb](sheets, doc)
        if verb in ("batch_create", "load"):
            assert caught.value.index == 1
        assert [sheet.doc for sheet in await sheets.search()] == [{"a": 1}]


@pytest.mark.parametrize("verb", ["batch_create_partial", "batch_upsert_partial"])
async def test_it_is_the_fault_of_its_item(sqlite_database: Database, verb: str) -> None:
    async with tables(sqlite_database, SheetRow) as db:
        sheets = Sheets(db)
        result = await getattr(sheets, verb)([New("a", 1), New("b", LONG), New("c", [LONG])])
        assert [failure.index for failure in result.failed] == [1]
        assert [sheet.doc for sheet in await sheets.search()] == [1, [LONG]]


@pytest.mark.parametrize(
    "doc", [[LONG], {"a": LONG}, 2**63 - 1, -(2**63), 2**63, 2**1000, 0, True, False, 1.5, 1e300, "1"]
)
async def test_what_comes_back_equal_is_taken(any_tables: WithTables, doc: Any) -> None:
    """Long integers inside of a document are kept digit by digit."""
    async with any_tables(SheetRow) as db:
        sheets = Sheets(db)
        made = await sheets.batch_create([New("a", doc), New("b", doc)])
        assert [sheet.doc for sheet in made] == [doc] * 2
        assert (await sheets.create(New("c", doc))).doc == doc
        assert (await sheets.get(made[0].id)).doc == doc
