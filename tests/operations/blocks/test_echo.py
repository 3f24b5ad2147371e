"""What COPY says was stored: exactly what a SELECT gives."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import BatchCreator, Spec
from rowsmith.testing import WithTables


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Word(enum.StrEnum):
    HELLO = "hello"


class Number(enum.IntEnum):
    ONE = 1


class Base(DeclarativeBase):
    pass


class EchoRow(Base):
    __tablename__ = "echoes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[Any] = mapped_column(sa.BigInteger, nullable=True)
    ratio: Mapped[Any] = mapped_column(sa.Float, nullable=True)
    flag: Mapped[Any] = mapped_column(sa.Boolean, nullable=True)
    text: Mapped[Any] = mapped_column(sa.Text, nullable=True)
    colour: Mapped[Any] = mapped_column(sa.Enum(Colour, name="echo_colour"), nullable=True)
    seen_at: Mapped[Any] = mapped_column(sa.DateTime(True), nullable=True)
    local: Mapped[Any] = mapped_column(sa.DateTime(False), nullable=True)
    day: Mapped[Any] = mapped_column(sa.Date, nullable=True)
    key: Mapped[Any] = mapped_column(sa.Uuid, nullable=True)
    blob: Mapped[Any] = mapped_column(sa.LargeBinary, nullable=True)
    unset: Mapped[Any] = mapped_column(sa.Text, nullable=True)


@dataclass(frozen=True)
class Written:
    id: int
    number: Any
    ratio: Any
    flag: Any
    text: Any
    colour: Any
    seen_at: Any
    local: Any
    day: Any
    key: Any
    blob: Any


@dataclass(frozen=True)
class Echo(Written):
    unset: Any


@dataclass(frozen=True)
class EchoCreate(Written, Spec[EchoRow]):
    pass


zones = st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-3)), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")])
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
years = (dt.datetime(1800, 1, 1), dt.datetime(2200, 1, 1))
specs = st.builds(
    EchoCreate,
    id=st.integers(0, 1000),
    number=st.none() | st.integers(-(2**63), 2**63 - 1) | st.just(Number.ONE),
    ratio=st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000),
    flag=st.none() | st.booleans(),
    text=st.none() | texts | st.just(Word.HELLO),
    colour=st.none() | st.sampled_from(Colour),
    seen_at=st.none() | st.datetimes(*years, timezones=zones),
    local=st.none() | st.datetimes(*years),
    day=st.none() | st.dates(),
    key=st.none() | st.uuids(),
    blob=st.none() | st.binary(max_size=4) | st.binary(max_size=4).map(bytearray),
)


@pytest.fixture
async def db_sess(with_tables: WithTables) -> AsyncIterator[AsyncSession]:
    """A session on an empty table."""
    async with with_tables(EchoRow) as db, db.begin_session() as made:
        yield made


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch=st.lists(specs, min_size=1, max_size=4, unique_by=lambda spec: spec.id))
async def test_the_data_of_a_copy_is_what_a_select_gives(db_sess: AsyncSession, batch: list[EchoCreate]) -> None:
    """For random rows: the same values, of the same types."""
    columns = [getattr(EchoRow, name) for name in Echo.__dataclass_fields__]
    async with db_sess.begin_nested() as example:
        made = await BatchCreator(EchoRow, into=Echo).create(db_sess, batch)
        rows = {row[0]: tuple(row) for row in await db_sess.execute(sa.select(*columns))}
        for data in made:
            values = tuple(getattr(data, name) for name in Echo.__dataclass_fields__)
            assert values == rows[data.id]
            kinds = [
                type(value) for value, name in zip(values, Echo.__dataclass_fields__, strict=True) if name != "key"
            ]
            assert kinds == [
                type(v) for v, n in zip(rows[data.id], Echo.__dataclass_fields__, strict=True) if n != "key"
            ]
            assert data.seen_at is None or data.seen_at.tzinfo is dt.UTC
        await example.rollback()
