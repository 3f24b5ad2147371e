"""Upserts of rows that are spread over shards: what they send can be worked out on a worker."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Condition, MappingError, Repository, SearchScope, Spec
from rowsmith.testing import WithTables
from support import count_statements
from tenants import Base


class NoteRow(Base):
    __tablename__ = "distributed_notes"
    __table_args__ = (sa.PrimaryKeyConstraint("tenant", "id"), {"info": {"distributed_by": "tenant"}})

    tenant: Mapped[str]
    id: Mapped[int] = mapped_column(autoincrement=False)
    text: Mapped[str]
    changed_at: Mapped[dt.datetime] = mapped_column(
        sa.DateTime(True), server_default=sa.func.now(), onupdate=sa.func.now()
    )


class OddRow(Base):
    __tablename__ = "distributed_odds"
    __table_args__ = (sa.PrimaryKeyConstraint("tenant", "id"), {"info": {"distributed_by": "tenant"}})

    tenant: Mapped[str]
    id: Mapped[int] = mapped_column(autoincrement=False)
    text: Mapped[str]
    changed_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True), onupdate=sa.func.now())


@dataclass(frozen=True)
class NoteData:
    id: int
    text: str
    changed_at: dt.datetime


@dataclass(frozen=True)
class NoteCreate(Spec[NoteRow], filled={"tenant"}):
    id: int
    text: str


@dataclass(frozen=True)
class OddCreate(Spec[OddRow]):
    tenant: str
    id: int
    text: str


@dataclass(frozen=True)
class NotesOf(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.tenant == self.tenant]


class NoteRepository(Repository[NoteRow, NoteData, tuple[str, int]]):
    pass


class OddRepository(Repository[OddRow, OddRow, tuple[str, int]]):
    pass


async def test_a_row_that_is_there_gets_what_a_new_one_would(with_tables: WithTables) -> None:
    """A function in DO UPDATE is for the coordinator alone, and parameters of which some stay there, too."""
    async with with_tables(NoteRow) as db:
        notes, scope = NoteRepository(db), NotesOf("a")
        for upsert in (
            lambda text: notes.upsert(NoteCreate(1, text), scope=scope),
            lambda text: notes.batch_upsert([NoteCreate(1, text), NoteCreate(2, text)], scope=scope),
        ):
            await upsert("old")
            before = await notes.get(("a", 1), scope)
            with count_statements(db) as sent:
                await upsert("new")
            after = await notes.get(("a", 1), scope)
            assert (after.text, after.changed_at > before.changed_at) == ("new", True)
            changes = [statement for statement in sent if "DO UPDATE" in statement]
            assert changes
            for statement in changes:
                assert "excluded.changed_at" in statement
                assert not re.search(r"unnest|now\(", statement)


async def test_an_update_that_no_new_row_has_is_refused(with_tables: WithTables) -> None:
    """It says what to write instead, and nothing is written."""
    async with with_tables(OddRow) as db:
        odds = OddRepository(db)
        with pytest.raises(MappingError, match=r"OddRow\.changed_at cannot be worked out on a shard"):
            await odds.upsert(OddCreate("a", 1, "x"))
        assert await odds.count() == 0


def test_what_a_table_is_distributed_by_is_in_its_key() -> None:
    """Else a key says of no row where it is: it is refused as the repository's class is made."""

    class Apart(DeclarativeBase):
        pass

    class LooseRow(Apart):
        __tablename__ = "distributed_loose"
        __table_args__ = {"info": {"distributed_by": "tenant"}}
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant: Mapped[str]

    with pytest.raises(MappingError, match="no column of its primary key"):

        class LooseRepository(Repository[LooseRow, LooseRow, int]):
            pass
