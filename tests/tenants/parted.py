"""Things in tables that PostgreSQL keeps in partitions: by the tenant's hash, and by time. Their keys say which."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import Condition, OptionalState, Patch, Repository, SearchScope, SoftDelete, Spec
from tenants.base import Base
from tenants.things import NameTaken, OfATenant, ThingData, live_names


class ShareRow(OfATenant, Base):
    __tablename__ = "shares"
    __table_args__ = (
        sa.PrimaryKeyConstraint("tenant", "id"),
        live_names("uq_shares_live", "tenant", "name"),
        {"postgresql_partition_by": "HASH (tenant)", "info": {"distributed_by": "tenant"}},
    )

    id: Mapped[int] = mapped_column(autoincrement=False, sort_order=-1)


class EntryRow(OfATenant, Base):
    __tablename__ = "entries"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", "made_at"),
        live_names("uq_entries_live", "tenant", "name", "made_at"),
        {"postgresql_partition_by": "RANGE (made_at)"},
    )

    id: Mapped[int] = mapped_column(autoincrement=False, sort_order=-1)
    made_at: Mapped[dt.date] = mapped_column(sort_order=-1)


def keep_in_parts(row: Any, *bounds: str) -> None:
    """Have a table's partitions made with it, where tables have any."""
    for number, bound in enumerate(bounds):
        sql = f"CREATE TABLE {row.__tablename__}_{number} PARTITION OF {row.__tablename__} {bound}"
        event.listen(row.__table__, "after_create", sa.DDL(sql).execute_if(dialect="postgresql"))


keep_in_parts(ShareRow, *(f"FOR VALUES WITH (MODULUS 3, REMAINDER {number})" for number in range(3)))
keep_in_parts(
    EntryRow,
    "FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    "FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    "DEFAULT",
)


@dataclass(frozen=True)
class ShareCreate(Spec[ShareRow], filled={"tenant"}):
    id: int
    name: str


@dataclass(frozen=True)
class SharePatch(Patch[ShareRow]):
    uses: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class SharesOf(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [ShareRow.tenant == self.tenant]


class ShareRepository(Repository[ShareRow, ThingData, tuple[str, int]]):
    violations = {"uq_shares_live": NameTaken}
    soft_delete = SoftDelete(ShareRow.deleted_at)
    scope_required = True


@dataclass(frozen=True)
class EntryCreate(Spec[EntryRow], filled={"tenant"}):
    id: int
    made_at: dt.date
    name: str


@dataclass(frozen=True)
class EntryPatch(Patch[EntryRow]):
    uses: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class EntriesOf(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [EntryRow.tenant == self.tenant]


class EntryRepository(Repository[EntryRow, ThingData, tuple[int, dt.date]]):
    violations = {"uq_entries_live": NameTaken}
    soft_delete = SoftDelete(EntryRow.deleted_at)
    scope_required = True


def year_of(id: int) -> dt.date:
    """Give a day for each id: odd ones are in another partition."""
    return dt.date(2024 + id % 2, 1, 1)
