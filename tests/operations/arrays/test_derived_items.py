"""Items of arrays that are of classes of an application's: they are stored as what they hold, by every verb."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from rowsmith import Conflict, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class Color(str, enum.Enum):  # noqa: UP042 - whose text is not its value, as StrEnum's is
    RED = 'r"ed'


class Level(int, enum.Enum):
    LOW = 1


class Text(str):
    __slots__ = ()

    @override
    def __str__(self) -> str:
        return "another"


class Whole(int):
    @override
    def __str__(self) -> str:
        return "77"


class Share(float):
    @override
    def __str__(self) -> str:
        return "77"


class Price(Decimal):
    @override
    def __str__(self) -> str:
        return "77"


class Moment(dt.datetime):
    @override
    def __str__(self) -> str:
        return "then"


class ListsRow(Base):
    __tablename__ = "lists_of_derived"

    id: Mapped[int] = mapped_column(primary_key=True)
    texts: Mapped[list[str]] = mapped_column(sa.ARRAY(sa.String))
    wholes: Mapped[list[int]] = mapped_column(sa.ARRAY(sa.Integer))
    shares: Mapped[list[float]] = mapped_column(sa.ARRAY(sa.Float(53)))
    prices: Mapped[list[Decimal]] = mapped_column(sa.ARRAY(sa.Numeric))
    moments: Mapped[list[dt.datetime]] = mapped_column(sa.ARRAY(sa.DateTime(timezone=True)))


@dataclass(frozen=True)
class ListsCreate(Spec[ListsRow]):
    id: int
    texts: list[str]
    wholes: list[int]
    shares: list[float]
    prices: list[Decimal]
    moments: list[dt.datetime]


@dataclass(frozen=True)
class ListsPatch(Patch[ListsRow]):
    texts: OptionalState[list[str]]
    wholes: OptionalState[list[int]]
    shares: OptionalState[list[float]]
    prices: OptionalState[list[Decimal]]
    moments: OptionalState[list[dt.datetime]]


@dataclass(frozen=True)
class Lists:
    texts: list[str]
    wholes: list[int]
    shares: list[float]
    prices: list[Decimal]
    moments: list[dt.datetime]


class ListsRepository(Repository[ListsRow, Lists, int]):
    conflict = Conflict([ListsRow.id])


WHEN = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)
DERIVED: dict[str, list[Any]] = {
    "texts": [Color.RED, Text("b\\lue"), "x"],
    "wholes": [Level.LOW, Whole(5), 3],
    "shares": [Share(1.5), 2.25],
    "prices": [Price("1.50"), Decimal("2.5")],
    "moments": [Moment(2024, 5, 1, 12, 30, tzinfo=dt.UTC), WHEN],
}
HELD = Lists(['r"ed', "b\\lue", "x"], [1, 5, 3], [1.5, 2.25], [Decimal("1.50"), Decimal("2.5")], [WHEN, WHEN])


@pytest.mark.parametrize("verb", ["create", "batch_create", "partial", "load", "upsert", "batch_upsert", "each", "all"])
async def test_items_are_stored_as_what_they_hold(with_tables: WithTables, verb: str) -> None:
    """A class's own text is not what is stored, nor what makes an item be refused."""
    specs = [ListsCreate(id, **DERIVED) for id in (1, 2)]
    patch = ListsPatch(**{name: OptionalState.update(value) for name, value in DERIVED.items()})
    async with with_tables(ListsRow) as db:
        lists = ListsRepository(db, resilience=None)
        match verb:
            case "create":
                await lists.create(specs[0])
            case "batch_create":
                await lists.batch_create(specs)
            case "partial":
                assert not (await lists.batch_create_partial(specs)).failed
            case "load":
                await lists.load(specs)
            case "upsert":
                await lists.upsert(specs[0])
            case "batch_upsert":
                await lists.batch_upsert(specs)
            case _:
                await lists.create(ListsCreate(1, [], [], [], [], []))
                await (lists.batch_update_each({1: patch}) if verb == "each" else lists.batch_update([1], patch))
        assert await lists.get(1) == HELD
