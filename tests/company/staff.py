"""Classes that share one table: staff, managers and executives, engineers; and grades told by an expression."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from company.base import Base
from rowsmith import Database, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class HouseRow(Base):
    __tablename__ = "houses"

    id: Mapped[int] = mapped_column(primary_key=True)
    managers: Mapped[list[ManagerRow]] = relationship(viewonly=True)


class StaffRow(Base):
    __tablename__ = "staff"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "staff"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    house_id: Mapped[int | None] = mapped_column(sa.ForeignKey("houses.id"))
    number: Mapped[int | None]


class ManagerRow(StaffRow):
    __mapper_args__ = {"polymorphic_identity": "manager", "polymorphic_load": "inline"}

    level: Mapped[int | None]


class ExecutiveRow(ManagerRow):
    __mapper_args__ = {"polymorphic_identity": "executive", "polymorphic_load": "selectin"}

    car: Mapped[str | None]


class EngineerRow(StaffRow):
    __mapper_args__ = {"polymorphic_identity": "engineer", "polymorphic_load": "selectin"}

    language: Mapped[str | None]


@dataclass(frozen=True)
class StaffData:
    id: int
    kind: str
    name: str


@dataclass(frozen=True)
class ManagerCreate(Spec[ManagerRow]):
    id: int
    name: str


@dataclass(frozen=True)
class ManagerHired(Spec[ManagerRow]):
    id: int
    name: str
    house_id: int


@dataclass(frozen=True)
class ManagerOfKind(Spec[ManagerRow]):
    id: int
    name: str
    kind: str


@dataclass(frozen=True)
class ManagerPatch(Patch[ManagerRow]):
    name: OptionalState[str] = OptionalState.nop()
    kind: OptionalState[str] = OptionalState.nop()


class StaffRepository(Repository[StaffRow, StaffData, int]):
    pass


class ManagerRepository(Repository[ManagerRow, StaffData, int]):
    pass


class ExecutiveRepository(Repository[ExecutiveRow, StaffData, int]):
    pass


class ExecutiveRowRepository(Repository[ExecutiveRow]):
    pass


class GradedRow(Base):
    """A row whose class follows from its grade."""

    __tablename__ = "graded"

    id: Mapped[int] = mapped_column(primary_key=True)
    grade: Mapped[int] = mapped_column()
    __mapper_args__ = {
        "polymorphic_on": sa.case((grade > 5, "senior"), else_="junior"),
        "polymorphic_identity": "junior",
    }


class SeniorRow(GradedRow):
    __mapper_args__ = {"polymorphic_identity": "senior"}


@dataclass(frozen=True)
class GradedData:
    id: int
    grade: int


@dataclass(frozen=True)
class GradedCreate(Spec[GradedRow]):
    id: int
    grade: int


@dataclass(frozen=True)
class GradedPatch(Patch[GradedRow]):
    grade: OptionalState[int] = OptionalState.nop()


class GradedRepository(Repository[GradedRow, GradedData, int]):
    pass


class SeniorRepository(Repository[SeniorRow, GradedData, int]):
    pass


@asynccontextmanager
async def staff_in(any_tables: WithTables) -> AsyncGenerator[Database]:
    """Staff 1, manager 2, engineer 3, executive 4."""
    async with any_tables(HouseRow, StaffRow) as db:
        kinds = {1: "staff", 2: "manager", 3: "engineer", 4: "executive"}
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(HouseRow.__table__), [{"id": 1}])
            rows = [{"id": pk, "kind": kind, "name": kind, "house_id": 1} for pk, kind in kinds.items()]
            await db_sess.execute(sa.insert(StaffRow.__table__), rows)
        yield db
