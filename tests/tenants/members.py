"""Members of groups: rows with a key of two columns, one of them foreign."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import OptionalState, Patch, Repository, Spec
from tenants.base import Base


class MemberRow(Base):
    __tablename__ = "members"

    group_id: Mapped[int] = mapped_column(sa.ForeignKey("groups.id", name="fk_members_group"), primary_key=True)
    email: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[int] = mapped_column(server_default="1")


@dataclass(frozen=True)
class MemberData:
    group_id: int
    email: str
    weight: int


@dataclass(frozen=True)
class MemberCreate(Spec[MemberRow]):
    group_id: int
    email: str


@dataclass(frozen=True)
class MemberPatch(Patch[MemberRow]):
    group_id: OptionalState[int] = OptionalState.nop()
    weight: OptionalState[int] = OptionalState.nop()


class MemberRepository(Repository[MemberRow, MemberData, tuple[int, str]]):
    pass
