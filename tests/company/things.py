"""Rows and filters that the tests of filters share: one column of each kind, a tree, and a to-many relationship."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

from sqlalchemy import JSON, BigInteger, Boolean, Date, DateTime, Enum, ForeignKey, Integer, Numeric, String, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from company.base import Base
from rowsmith.filters import (
    ArrayFilter,
    BoolFilter,
    DateFilter,
    DateTimeFilter,
    EnumFilter,
    Filter,
    FullTextFilter,
    JSONFilter,
    NumberFilter,
    On,
    OrderBy,
    Related,
    SearchRequest,
    StringFilter,
    UUIDFilter,
)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class ThingRow(Base):
    __tablename__ = "filter_things"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str | None] = mapped_column("the_text", String)
    small: Mapped[int | None] = mapped_column(Integer)
    big: Mapped[int | None] = mapped_column(BigInteger)
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    ratio: Mapped[float | None]
    flag: Mapped[bool | None] = mapped_column(Boolean)
    color: Mapped[Color | None] = mapped_column(Enum(Color))
    key: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    moment: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    local: Mapped[dt.datetime | None] = mapped_column(DateTime)
    day: Mapped[dt.date | None] = mapped_column(Date)
    document: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("filter_things.id"))

    parent: Mapped[ThingRow | None] = relationship(remote_side=[id], back_populates="children")
    children: Mapped[list[ThingRow]] = relationship(back_populates="parent")
    labels: Mapped[list[LabelRow]] = relationship(back_populates="thing")


class LabelRow(Base):
    __tablename__ = "filter_labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    thing_id: Mapped[int] = mapped_column(ForeignKey("filter_things.id"))

    thing: Mapped[ThingRow] = relationship(back_populates="labels")


class PaperRow(Base):
    """What only PostgreSQL keeps."""

    __tablename__ = "filter_papers"

    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    numbers: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    document: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    body: Mapped[str | None]


class LabelFilter(Filter[LabelRow]):
    name: StringFilter | None = None
    thing: Related[ThingFilter] | None = None


class ThingFilter(Filter[ThingRow]):
    id: NumberFilter | None = None
    text: StringFilter | None = None
    small: NumberFilter | None = None
    big: NumberFilter | None = None
    price: NumberFilter | None = None
    ratio: NumberFilter | None = None
    flag: BoolFilter | None = None
    color: EnumFilter[Color] | None = None
    key: UUIDFilter | None = None
    moment: DateTimeFilter | None = None
    naive: Annotated[DateTimeFilter | None, On(ThingRow.local, utc=True)] = None
    day: DateFilter | None = None
    document: JSONFilter | None = None
    length: Annotated[NumberFilter | None, On(func.length(ThingRow.text, type_=Integer))] = None
    parent: Related[ThingFilter] | None = None
    children: Related[ThingFilter] | None = None
    labels: Related[LabelFilter] | None = None


class PaperFilter(Filter[PaperRow]):
    tags: ArrayFilter[str] | None = None
    numbers: ArrayFilter[int] | None = None
    document: JSONFilter | None = None
    body: StringFilter | None = None
    words: Annotated[FullTextFilter | None, On(PaperRow.body)] = None


class ThingOrder(OrderBy[ThingRow]):
    field: Literal["id", "text", "small", "moment", "length"]
    expressions = {"length": func.length(ThingRow.text)}


ThingSearch = SearchRequest[ThingFilter, ThingOrder]
