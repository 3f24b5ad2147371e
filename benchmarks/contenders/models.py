"""The tables as SQLAlchemy's mapped classes, for all that build on it."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, DateTime, Identity, MetaData, UniqueConstraint, func
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.data import Server


class Base(DeclarativeBase):
    metadata = MetaData()


class Shared:
    domain_name: Mapped[str]
    name: Mapped[str]
    weight: Mapped[int]
    description: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    deleted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))


class GroupRow(Shared, Base):
    __tablename__ = "bench_groups"
    __table_args__ = (UniqueConstraint("domain_name", "name", name="uq_bench_groups_domain_name_name"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)


class NumberedRow(Shared, Base):
    __tablename__ = "bench_numbered"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)


class PlainRow(Shared, Base):
    __tablename__ = "bench_plain"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, sort_order=-1)


class EventRow(Shared, Base):
    __tablename__ = "bench_events"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)


def engine_on(server: Server) -> AsyncEngine:
    """Make an engine with as many connections as everybody has."""
    return create_async_engine(server.url, pool_size=server.pool, max_overflow=0)
