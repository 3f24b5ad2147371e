"""What is written elsewhere ends the entries that it changes, by whichever actions of foreign keys."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Repository
from rowsmith.cache import MemoryCacheSource
from rowsmith.operations import Call, Operation, verb
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class TopRow(Base):
    __tablename__ = "keeping_top"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)


class MiddleRow(Base):
    __tablename__ = "keeping_middle"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str | None] = mapped_column(ForeignKey("keeping_top.code", ondelete="SET NULL"), unique=True)


class LeafRow(Base):
    __tablename__ = "keeping_leaf"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str | None] = mapped_column(ForeignKey("keeping_middle.code", onupdate="CASCADE"))


@dataclass(frozen=True)
class Coded:
    id: int
    code: str | None


class TopRepository(Repository[TopRow, Coded, int]):
    pass


class LeafRepository(Repository[LeafRow, Coded, int]):
    pass


@pytest.mark.parametrize("verb", ["purge", "batch_purge"])
async def test_a_key_that_a_removal_sets_is_handed_on(any_tables: WithTables, verb: str) -> None:
    """A row that is set to NULL as another goes hands that on to those whose keys follow its own."""
    async with any_tables(TopRow, MiddleRow, LeafRow) as db:
        async with db.begin_session() as session:
            for row in (TopRow, MiddleRow, LeafRow):
                await session.execute(sa.insert(row).values(id=1, code="x"))
        leaves = LeafRepository(db, cache_source=MemoryCacheSource(Coded))
        assert await leaves.get(1) == Coded(1, "x")
        await getattr(TopRepository(db), verb)(1 if verb == "purge" else [1])
        assert await leaves.get(1) == Coded(1, None)


class Eraser(Operation[TopRow]):
    """A team's own, with a verb named as they speak."""

    @verb("erase", touches="id")
    async def erase(self, call: Call[TopRow, TopRow], id: int) -> None:
        await call.execute(sa.delete(TopRow).where(TopRow.id == id))


async def test_a_verb_of_ones_own_may_remove_rows_whatever_its_name(any_tables: WithTables) -> None:
    """Unless it says that it removes none; what hangs on the rows by foreign keys is let go of."""
    async with any_tables(TopRow, MiddleRow, LeafRow) as db:
        async with db.begin_session() as session:
            for row in (TopRow, MiddleRow, LeafRow):
                await session.execute(sa.insert(row).values(id=1, code="x"))
        leaves = LeafRepository(db, cache_source=MemoryCacheSource(Coded))
        assert await leaves.get(1) == Coded(1, "x")
        await TopRepository(db).db_source.write(Eraser(TopRow).erase, 1)
        assert await leaves.get(1) == Coded(1, None)
