"""A small world for tests: domains, groups in them, members of those; and a wide table of every kind of column."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NewType

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Condition,
    Database,
    EntityAlreadyExists,
    EntityNotFound,
    ExistenceCheck,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
    StillReferenced,
    TriState,
)
from rowsmith.testing import WithTables

GroupId = NewType("GroupId", int)


class Base(DeclarativeBase):
    pass


class DomainRow(Base):
    __tablename__ = "domains"

    name: Mapped[str] = mapped_column(sa.String(20), primary_key=True)


class GroupRow(Base):
    __tablename__ = "groups"
    __table_args__ = (
        sa.Index(
            "uq_groups_live",
            "domain_name",
            "name",
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        ),
        sa.CheckConstraint("size >= 0", name="ck_groups_size"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_name: Mapped[str] = mapped_column(sa.String(20))
    name: Mapped[str]
    size: Mapped[int] = mapped_column(server_default="0")
    note: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(True), server_default=sa.func.now())
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))


class MemberRow(Base):
    __tablename__ = "members"

    group_id: Mapped[int] = mapped_column(sa.ForeignKey("groups.id", name="fk_members_group"), primary_key=True)
    email: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[int] = mapped_column(server_default="1")


@dataclass(frozen=True)
class GroupData:
    id: GroupId
    domain_name: str
    name: str
    size: int
    note: str | None
    created_at: dt.datetime


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    domain_name: str
    name: str
    size: int = 0
    note: str | None = None


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    domain_name: OptionalState[str] = OptionalState.nop()
    name: OptionalState[str] = OptionalState.nop()
    size: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


class GroupNotFound(EntityNotFound):
    pass


class GroupNameTaken(EntityAlreadyExists):
    pass


class GroupHasMembers(StillReferenced):
    pass


class DomainNotFound(EntityNotFound):
    pass


@dataclass(frozen=True)
class DomainScope(SearchScope):
    domain_name: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name]


@dataclass(frozen=True)
class CheckedScope(DomainScope):
    """A domain's groups, where the domain itself must be there."""

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        return [ExistenceCheck(DomainRow.name == self.domain_name, DomainNotFound, "no such domain")]


class GroupRepository(Repository[GroupRow, GroupData, GroupId]):
    not_found = GroupNotFound
    violations = {"uq_groups_live": GroupNameTaken, "fk_members_group": GroupHasMembers}
    soft_delete = SoftDelete(GroupRow.deleted_at)


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


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class WideRow(Base):
    """A column of each kind that both databases have."""

    __tablename__ = "wide"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    small: Mapped[int | None] = mapped_column(sa.SmallInteger)
    normal: Mapped[int | None]
    big: Mapped[int | None] = mapped_column(sa.BigInteger)
    ratio: Mapped[float | None]
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(10, 2))
    flag: Mapped[bool | None]
    label: Mapped[str | None] = mapped_column("label_text", sa.String(10))
    colour: Mapped[Colour | None] = mapped_column(sa.Enum(Colour, name="colour"))
    document: Mapped[Any | None] = mapped_column(sa.JSON)
    key: Mapped[uuid.UUID | None]
    seen_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    local_time: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(False))
    day: Mapped[dt.date | None]
    clock: Mapped[dt.time | None]
    span: Mapped[dt.timedelta | None] = mapped_column(sa.Interval)
    blob: Mapped[bytes | None]


@dataclass(frozen=True)
class WideData:
    id: uuid.UUID
    small: int | None
    normal: int | None
    big: int | None
    ratio: float | None
    price: Decimal | None
    flag: bool | None
    label: str | None
    colour: Colour | None
    document: Any
    key: uuid.UUID | None
    seen_at: dt.datetime | None
    local_time: dt.datetime | None
    day: dt.date | None
    clock: dt.time | None
    span: dt.timedelta | None
    blob: bytes | None


@dataclass(frozen=True)
class WideCreate(Spec[WideRow]):
    small: Any = None
    normal: Any = None
    big: Any = None
    ratio: Any = None
    price: Any = None
    flag: Any = None
    label: Any = None
    colour: Any = None
    document: Any = None
    key: Any = None
    seen_at: Any = None
    local_time: Any = None
    day: Any = None
    clock: Any = None
    span: Any = None
    blob: Any = None


class WideRepository(Repository[WideRow, WideData, uuid.UUID]):
    pass


WIDE_VALUES: dict[str, Any] = {
    "small": -32768,
    "normal": 2**31 - 1,
    "big": -(2**63),
    "ratio": 0.1,
    "price": Decimal("99999999.99"),
    "flag": True,
    "label": "äö\U0001f600%_\\",
    "colour": Colour.BLUE,
    "document": {"a": [1, None, "x", {"b": 1.5}]},
    "key": uuid.UUID(int=7),
    "seen_at": dt.datetime(2024, 2, 29, 23, 59, 59, 999999, dt.timezone(dt.timedelta(hours=2))),
    "local_time": dt.datetime(2024, 2, 29, 12, 0),
    "day": dt.date(2024, 2, 29),
    "clock": dt.time(1, 2, 3),
    "span": dt.timedelta(days=1, seconds=2),
    "blob": b"\x00\xff",
}


@asynccontextmanager
async def groups_in(made: WithTables) -> AsyncGenerator[GroupRepository]:
    """Give a repository over four groups: ids 1 and 2 in domain a, 3 in b, and 4 in a, deleted."""
    async with made(DomainRow, GroupRow, MemberRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(DomainRow), [{"name": "a"}, {"name": "b"}])
        groups = GroupRepository(db)
        for domain, name in [("a", "one"), ("a", "two"), ("b", "one"), ("a", "gone")]:
            await groups.create(GroupCreate(domain, name))
        await groups.delete(GroupId(4))
        yield groups


async def stored(db: Database, statement: sa.Select[Any] | None = None) -> list[tuple[Any, ...]]:
    """Give what the database holds, past every repository: by default each group's domain, name and size."""
    wanted = sa.select(GroupRow.id, GroupRow.domain_name, GroupRow.name, GroupRow.size, GroupRow.deleted_at)
    async with db.engine.connect() as connection:
        rows = await connection.execute(wanted.order_by(GroupRow.id) if statement is None else statement)
        return [tuple(row) for row in rows]
