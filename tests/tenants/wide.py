"""A column of each kind that both databases have, and a value for each."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import Repository, Spec
from tenants.base import Base


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
