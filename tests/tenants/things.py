"""Things of tenants, with versions and soft deletion: what every verb and random batches are tried on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import (
    Condition,
    EntityAlreadyExists,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
    TriState,
)
from tenants.base import Base


def live_names(name: str, *columns: str) -> sa.Index:
    """Give the index by which what stands in these columns is unique among live rows."""
    live = sa.text("deleted_at IS NULL")
    return sa.Index(name, *columns, unique=True, postgresql_where=live, sqlite_where=live)


class OfATenant:
    """What rows of things have beside their key."""

    tenant: Mapped[str]
    name: Mapped[str]
    uses: Mapped[int] = mapped_column(default=0)
    note: Mapped[str | None]
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


class ThingRow(OfATenant, Base):
    __tablename__ = "things"
    __table_args__ = (live_names("uq_things_live", "tenant", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-1)


@dataclass(frozen=True)
class ThingData:
    id: int
    tenant: str
    name: str
    uses: int
    note: str | None
    version: int


@dataclass(frozen=True)
class ThingCreate(Spec[ThingRow], filled={"tenant"}):
    id: int
    name: str
    uses: int
    note: str | None


@dataclass(frozen=True)
class ThingDraft(Spec[ThingRow], filled={"tenant"}):
    """Leaves out what is not known yet."""

    id: int
    name: str
    uses: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class ThingPatch(Patch[ThingRow]):
    name: OptionalState[str] = OptionalState.nop()
    uses: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class OwnedBy(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [ThingRow.tenant == self.tenant]


class NameTaken(EntityAlreadyExists):
    pass


class ThingRepository(Repository[ThingRow, ThingData, int]):
    violations = {"uq_things_live": NameTaken}
    soft_delete = SoftDelete(ThingRow.deleted_at)
    scope_required = True
