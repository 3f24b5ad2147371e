"""What documents, arrays and ranges are asked for: what they can hold is found, and what they cannot is refused."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import InvalidValue, Repository, Spec
from rowsmith.testing import WithTables
from support import count_statements


class Base(DeclarativeBase):
    pass


class BoxRow(Base):
    __tablename__ = "boxes"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    doc: Mapped[Any] = mapped_column(pg.JSONB, nullable=True)
    tags: Mapped[list[str] | None] = mapped_column(pg.ARRAY(sa.Text))
    span: Mapped[Any] = mapped_column(pg.INT4RANGE, nullable=True)
    days: Mapped[Any] = mapped_column(pg.DATERANGE, nullable=True)


@dataclass(frozen=True)
class BoxCreate(Spec[BoxRow]):
    name: str
    doc: Any
    tags: list[str]
    span: Any
    days: Any


class Boxes(Repository[BoxRow, BoxRow, int]):
    pass


DAY = dt.date(2024, 1, 2)
BOX = BoxCreate("a", {"a": 1}, ["a"], pg.Range(1, 9), pg.Range(dt.date(2024, 1, 1), dt.date(2024, 2, 1)))
SCALARS: list[Any] = [1, 1.5, True, "a", Decimal("1.5"), dt.datetime(2024, 1, 1), b"x", uuid.UUID(int=1)]

HELD: list[sa.ColumnElement[bool]] = [
    BoxRow.doc.contains({"a": 1}),
    BoxRow.doc["a"].contains(sa.cast(1, pg.JSONB)),
    BoxRow.doc.contained_by({"a": 1, "b": 2}),
    BoxRow.doc.has_key("a"),
    BoxRow.doc.has_key(BoxRow.name),
    BoxRow.doc.has_any(pg.array(["a", "b"])),
    BoxRow.doc.has_all(sa.cast(["a"], pg.ARRAY(sa.Text))),
    BoxRow.doc.contains(BoxRow.doc),
    BoxRow.tags.contains(["a"]),
    BoxRow.tags.overlap(["a", "b"]),
    BoxRow.tags.contained_by(["a", "b"]),
    BoxRow.span.contains(3),
    BoxRow.span.contains(BoxRow.id),
    BoxRow.span.overlaps(pg.Range(8, 20)),
    BoxRow.span.contained_by(pg.Range(0, 20)),
    BoxRow.days.contains(DAY),
]
UNHELD: list[tuple[sa.ColumnElement[bool], str]] = [
    *((BoxRow.doc.contains(value), r"give a list or a dict, or write cast\(value, JSONB\)") for value in SCALARS),
    *((BoxRow.doc.contained_by(value), "give a list or a dict") for value in SCALARS),
    (BoxRow.doc["a"].contains(1), "give a list or a dict"),
    (BoxRow.doc.contains(BoxRow.name), "give a list or a dict"),
    *((BoxRow.doc.has_key(value), "give one as a str") for value in (*SCALARS, ["a"]) if value != "a"),
    *((BoxRow.doc.has_any(value), r"write array\(\[...\]\)") for value in ("a", 1, ["a"])),
    *((BoxRow.doc.has_all(value), r"write array\(\[...\]\)") for value in ("a", 1, ["a"])),
    *((BoxRow.tags.contains(value), "give a list") for value in SCALARS),
    *((BoxRow.tags.overlap(value), "give a list") for value in SCALARS),
    *((BoxRow.span.contains(value), "give a Range") for value in SCALARS if value is not True and value != 1),
    *((BoxRow.span.overlaps(value), "give a Range") for value in SCALARS),
    *((BoxRow.span.strictly_left_of(value), "give a Range") for value in SCALARS),
    (BoxRow.days.contains(1), "give a Range"),
]


async def test_what_can_be_held_is_looked_for(with_tables: WithTables) -> None:
    """Values of the kind, and expressions of it."""
    async with with_tables(BoxRow) as db:
        boxes = Boxes(db)
        await boxes.create(BOX)
        for condition in HELD:
            assert await boxes.count(None, [condition]) == 1


async def test_what_cannot_be_held_is_refused_before_anything_is_sent(with_tables: WithTables) -> None:
    """By the attribute, with what to write; PostgreSQL has no operator for it, and says so of the statement alone."""
    async with with_tables(BoxRow) as db:
        boxes = Boxes(db)
        with count_statements(db) as sent:
            for condition, instead in UNHELD:
                with pytest.raises(InvalidValue, match=rf"BoxRow\.(doc|tags|span|days), which .*{instead}"):
                    await boxes.count(None, [condition])
        assert sent == []
