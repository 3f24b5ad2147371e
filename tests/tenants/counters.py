"""Rows with versions, counters and columns that write themselves: what batches of updates are tried on."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import Condition, OptionalState, Patch, Repository, SearchScope, SoftDelete, TriState
from rowsmith.testing import WithTables
from tenants.base import Base


class CounterRow(Base):
    __tablename__ = "counters"

    tenant: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    uses: Mapped[int] = mapped_column(default=0)
    label: Mapped[str | None] = mapped_column("label_text", sa.String(10))
    document: Mapped[Any | None] = mapped_column(sa.JSON)
    touched: Mapped[str] = mapped_column(default="no", onupdate="yes")
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class CounterData:
    tenant: str
    place: int
    uses: int
    label: str | None
    document: Any
    touched: str
    version: int


@dataclass(frozen=True)
class CounterPatch(Patch[CounterRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    uses: OptionalState[int] = OptionalState.nop()
    label: TriState[str] = TriState.nop()
    document: TriState[Any] = TriState.nop()


@dataclass(frozen=True)
class TenantScope(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [CounterRow.tenant == self.tenant]


@dataclass(frozen=True)
class UsedScope(SearchScope):
    """A scope that no value can be stamped for."""

    at_most: int

    def to_conditions(self) -> Sequence[Condition]:
        return [CounterRow.uses <= self.at_most]


class CounterRepository(Repository[CounterRow, CounterData, tuple[str, int]]):
    soft_delete = SoftDelete(CounterRow.deleted_at)


@asynccontextmanager
async def counters_in(made: WithTables, size: int = 4) -> AsyncGenerator[CounterRepository]:
    """Give a repository over counters 0, 1, ... of tenant a and as many of tenant b, all unused, in version 1."""
    async with made(CounterRow) as db:
        async with db.begin_session() as db_sess:
            rows = [{"tenant": tenant, "place": place, "version": 1} for tenant in "ab" for place in range(size)]
            await db_sess.execute(sa.insert(CounterRow), rows)
        yield CounterRepository(db)


def uses(value: int) -> CounterPatch:
    """Give the patch that sets the counter."""
    return CounterPatch(uses=OptionalState.update(value))


def used(more: int) -> CounterPatch:
    """Give the patch that counts up in the database."""
    return CounterPatch(uses=OptionalState.expression(lambda: CounterRow.uses + more))
