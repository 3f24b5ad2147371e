"""The table that bulk writes are measured on: groups with a unique name in their domain, as most tables have one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Identity, UniqueConstraint, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.common import Arena
from rowsmith import Conflict, Repository, Spec

COLUMNS = ("id", "domain_name", "name", "weight", "description", "created_at")


class Base(DeclarativeBase):
    pass


class GroupRow(Base):
    """A row whose values are all known before it is sent."""

    __tablename__ = "bench_groups"
    __table_args__ = (UniqueConstraint("domain_name", "name", name="uq_bench_groups_domain_name_name"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    domain_name: Mapped[str]
    name: Mapped[str]
    weight: Mapped[int]
    description: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class NumberedRow(Base):
    """The same with an id and a time that the server makes."""

    __tablename__ = "bench_numbered"
    __table_args__ = (UniqueConstraint("domain_name", "name", name="uq_bench_numbered_domain_name_name"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    domain_name: Mapped[str]
    name: Mapped[str]
    weight: Mapped[int]
    description: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


@dataclass(frozen=True)
class GroupData:
    id: uuid.UUID
    domain_name: str
    name: str
    weight: int
    description: str | None
    created_at: datetime


@dataclass(frozen=True)
class NumberedData:
    id: int
    domain_name: str
    name: str
    weight: int
    description: str | None
    created_at: datetime


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    id: uuid.UUID
    domain_name: str
    name: str
    weight: int
    description: str | None
    created_at: datetime


@dataclass(frozen=True)
class NumberedCreate(Spec[NumberedRow]):
    domain_name: str
    name: str
    weight: int
    description: str | None


class GroupRepository(Repository[GroupRow, GroupData, uuid.UUID]):
    conflict = Conflict(constraint="uq_bench_groups_domain_name_name")


class NumberedRepository(Repository[NumberedRow, NumberedData, int]):
    conflict = Conflict(constraint="uq_bench_numbered_domain_name_name")


def records(count: int, first: int = 0) -> Iterator[tuple[Any, ...]]:
    """Give rows as tuples in the order of ``COLUMNS``; the same ones each time, but for their ids."""
    now = datetime.now(UTC)
    for i in range(first, first + count):
        yield uuid.uuid4(), f"domain-{i % 50}", f"group {i}", i, None if i % 3 else f"the {i}th", now


async def make_tables(arena: Arena) -> None:
    """Make the tables, empty."""
    async with arena.db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)


async def empty_tables(arena: Arena) -> None:
    """Empty the tables, the counters of their ids included."""
    await arena.pool.execute("TRUNCATE bench_groups, bench_numbered RESTART IDENTITY")
