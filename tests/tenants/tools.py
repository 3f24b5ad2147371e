"""Things of tenants that inherit: one table for all, one more for meters, a third for clamp meters, none for hammers.

``HammerRow`` shares the table of ``ToolRow``, ``MeterRow`` has one of its own beside it, ``ClampRow`` a third, whose
key goes by another name, and ``LampRow`` shares those of ``MeterRow``. Version and deletion stand in the first one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rowsmith import Condition, OptionalState, Patch, Repository, SearchScope, SoftDelete, Spec, TriState
from tenants.base import Base
from tenants.things import NameTaken


class ToolRow(Base):
    __tablename__ = "tools"
    __table_args__ = (
        sa.Index(
            "uq_tools_live",
            "tenant",
            "name",
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    kind: Mapped[str]
    name: Mapped[str]
    uses: Mapped[int] = mapped_column(default=0)
    note: Mapped[str | None]
    seen: Mapped[str] = mapped_column(server_default="new", onupdate="changed")
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version, "polymorphic_on": "kind", "polymorphic_identity": "tool"}


class HammerRow(ToolRow):
    __mapper_args__ = {"polymorphic_identity": "hammer"}

    weight: Mapped[int | None]


class MeterRow(ToolRow):
    __tablename__ = "meters"
    __table_args__ = (sa.CheckConstraint("reading >= 0", name="ck_meters_reading"),)
    __mapper_args__ = {"polymorphic_identity": "meter"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("tools.id"), primary_key=True)
    unit: Mapped[str] = mapped_column(server_default="V")
    reading: Mapped[int | None]
    checks: Mapped[list[CheckRow]] = relationship(viewonly=True, order_by="CheckRow.id")


class LampRow(MeterRow):
    __mapper_args__ = {"polymorphic_identity": "lamp"}


class ClampRow(MeterRow):
    __tablename__ = "clamps"
    __mapper_args__ = {"polymorphic_identity": "clamp"}

    clamp_id: Mapped[int] = mapped_column(sa.ForeignKey("meters.id"), primary_key=True)
    width: Mapped[int] = mapped_column(server_default="5")
    turned: Mapped[int] = mapped_column(default=0, onupdate=1)


class CheckRow(Base):
    __tablename__ = "checks"

    id: Mapped[int] = mapped_column(primary_key=True)
    meter_id: Mapped[int] = mapped_column(sa.ForeignKey("meters.id", name="fk_checks_meter"))
    meter: Mapped[MeterRow] = relationship(viewonly=True)


TOOLS: tuple[type[Any], ...] = (ToolRow, MeterRow, ClampRow)
"""The classes that have the tables."""


@dataclass(frozen=True)
class ToolData:
    id: int
    tenant: str
    kind: str
    name: str
    uses: int
    version: int


@dataclass(frozen=True)
class MeterData(ToolData):
    unit: str
    reading: int | None


@dataclass(frozen=True)
class ClampData(MeterData):
    clamp_id: int
    width: int


@dataclass(frozen=True)
class ToolCreate(Spec[ToolRow], filled={"tenant"}):
    id: int
    name: str
    uses: int = 1


@dataclass(frozen=True)
class HammerCreate(Spec[HammerRow], filled={"tenant"}):
    id: int
    name: str
    uses: int = 1


@dataclass(frozen=True)
class MeterCreate(Spec[MeterRow], filled={"tenant"}):
    id: int
    name: str
    uses: int = 1
    reading: int | None = None


@dataclass(frozen=True)
class ClampCreate(Spec[ClampRow], filled={"tenant"}):
    id: int
    name: str
    uses: int = 1
    reading: int | None = None


@dataclass(frozen=True)
class ToolPatch(Patch[ToolRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    kind: OptionalState[str] = OptionalState.nop()
    name: OptionalState[str] = OptionalState.nop()
    uses: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class MeterPatch(Patch[MeterRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    kind: OptionalState[str] = OptionalState.nop()
    uses: OptionalState[int] = OptionalState.nop()
    unit: OptionalState[str] = OptionalState.nop()
    reading: TriState[int] = TriState.nop()


@dataclass(frozen=True)
class ClampPatch(Patch[ClampRow]):
    id: OptionalState[int] = OptionalState.nop()
    kind: OptionalState[str] = OptionalState.nop()
    uses: OptionalState[int] = OptionalState.nop()
    reading: TriState[int] = TriState.nop()
    width: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class ToolsOf(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [ToolRow.tenant == self.tenant]


class ToolRepository(Repository[ToolRow, ToolData, int]):
    violations = {"uq_tools_live": NameTaken}
    soft_delete = SoftDelete(ToolRow.deleted_at)
    scope_required = True


class HammerRepository(Repository[HammerRow, ToolData, int]):
    violations = {"uq_tools_live": NameTaken}
    soft_delete = SoftDelete(HammerRow.deleted_at)
    scope_required = True


class MeterRepository(Repository[MeterRow, MeterData, int]):
    violations = {"uq_tools_live": NameTaken}
    soft_delete = SoftDelete(MeterRow.deleted_at)
    scope_required = True


class ClampRepository(Repository[ClampRow, ClampData, int]):
    violations = {"uq_tools_live": NameTaken}
    soft_delete = SoftDelete(ClampRow.deleted_at)
    scope_required = True
