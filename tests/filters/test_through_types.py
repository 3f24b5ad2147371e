"""What is searched for is bound through the type of its column, whatever the operator."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from columns import Cents
from rowsmith import Repository, Spec
from rowsmith.filters import Filter, NumberFilter, StringFilter
from rowsmith.testing import WithTables


class Turned(TypeDecorator[str]):
    """Text with ``a`` and ``b`` exchanged, as it is stored."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value and value.translate(str.maketrans("ab", "ba"))

    process_result_value = process_bind_param


class Loose(Turned):
    cache_ok = False


class Base(DeclarativeBase):
    pass


class WordRow(Base):
    __tablename__ = "through_words"
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(Turned)
    loose: Mapped[str] = mapped_column(Loose)


@dataclass(frozen=True)
class WordCreate(Spec[WordRow]):
    word: str
    loose: str


@dataclass(frozen=True)
class WordData:
    word: str


class WordFilter(Filter[WordRow]):
    word: StringFilter | None = None
    loose: StringFilter | None = None


class Words(Repository[WordRow, WordData, int]):
    pass


WORDS = ["aab", "a%b", "bbx", "xyz"]
WANTED: list[tuple[dict[str, Any], list[str]]] = [
    ({"equals": "aab"}, ["aab"]),
    ({"contains": "aa"}, ["aab"]),
    ({"contains": "%"}, ["a%b"]),
    ({"starts_with": "a"}, ["aab", "a%b"]),
    ({"ends_with": "b"}, ["aab", "a%b"]),
    ({"not_contains": "b"}, ["xyz"]),
    ({"i_equals": "aab"}, ["aab"]),
    ({"i_in": ["aab", "bbx"]}, ["aab", "bbx"]),
    ({"i_contains": "bx"}, ["bbx"]),
    ({"i_starts_with": "bb"}, ["bbx"]),
]


@pytest.mark.filterwarnings("ignore:TypeDecorator Loose")
async def test_every_operator_binds_through_a_decorator(any_tables: WithTables) -> None:
    """What ``equals`` finds, its neighbours find: the pattern is made of the text as it is stored."""
    async with any_tables(WordRow) as db:
        words = Words(db)
        await words.batch_create([WordCreate(word, word) for word in WORDS])
        for given, expected in WANTED:
            for name in ("word", "loose"):
                wanted = WordFilter(**{name: StringFilter(**given)})
                found = await words.search(None, wanted, orders=[WordRow.id])
                assert [item.word for item in found] == expected, (name, given)


class PriceRow(Base):
    __tablename__ = "through_prices"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Decimal] = mapped_column(Cents)


@dataclass(frozen=True)
class PriceCreate(Spec[PriceRow]):
    price: Decimal


@dataclass(frozen=True)
class PriceData:
    price: Decimal


class PriceFilter(Filter[PriceRow]):
    price: NumberFilter | None = None


class Prices(Repository[PriceRow, PriceData, int]):
    pass


@pytest.mark.parametrize(
    "given, number",
    [({"equals": "9.99"}, 1), ({"equals": 0.01}, 1), ({"gte": 1}, 1), ({"in": ["9.99", "0.01"]}, 2), ({"lt": 0.5}, 1)],
)
async def test_a_number_is_asked_for_as_its_type_has_it(
    any_tables: WithTables, given: dict[str, Any], number: int
) -> None:
    """As a condition does; it is not held against the integers that are stored."""
    async with any_tables(PriceRow) as db:
        prices = Prices(db)
        await prices.batch_create([PriceCreate(Decimal("9.99")), PriceCreate(Decimal("0.01"))])
        assert await prices.count(None, PriceFilter.model_validate({"price": given})) == number
