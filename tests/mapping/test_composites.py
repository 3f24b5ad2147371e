"""Fields that a mapping makes of several columns (``composite``), in all that gives data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass as checked_dataclass
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, composite, mapped_column, relationship, synonym

from rowsmith import (
    Condition,
    Conflict,
    CursorBackwardPagination,
    CursorForwardPagination,
    InvalidValue,
    NoPagination,
    OffsetPagination,
    Patch,
    Repository,
    SearchScope,
    Spec,
    TriState,
    Upserted,
)
from rowsmith.cache import MemoryCacheSource
from rowsmith.testing import WithTables

T = TypeVar("T")


class Base(DeclarativeBase):
    pass


@dataclass(frozen=True)
class Address:
    city: str | None
    code: str | None


class Mark:
    """No dataclass, and one column."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __composite_values__(self) -> tuple[str]:
        return (self.word,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and other.word == self.word

    def __hash__(self) -> int:
        return hash(self.word)


@checked_dataclass(frozen=True)
class Strict:
    city: int


class ShopRow(Base):
    __tablename__ = "composed_shops"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    name: Mapped[str]
    city: Mapped[str | None]
    code: Mapped[str | None]
    up_id: Mapped[int | None] = mapped_column(ForeignKey("composed_shops.id"))
    up: Mapped[ShopRow | None] = relationship(remote_side=[id], back_populates="subs")
    subs: Mapped[list[ShopRow]] = relationship(back_populates="up", order_by="ShopRow.id")
    above = synonym("up")
    address: Mapped[Address] = composite("city", "code")
    known: Mapped[Address | None] = composite("city", "code")
    mark: Mapped[Mark] = composite(Mark, "name")
    strict: Mapped[Strict] = composite(Strict, "city")
    place = synonym("address")


@dataclass(frozen=True)
class Shop:
    id: int
    address: Address
    name: str
    mark: Mark
    known: Address | None


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)

    address: Address
    id: int


@dataclass(frozen=True)
class Tree:
    id: int
    up: Shop | None
    subs: tuple[Shop, ...]
    city: str | None
    place: Address


@dataclass(frozen=True)
class ByOtherName:
    id: int
    above: Shop | None


@dataclass(frozen=True)
class ShopCreate(Spec[ShopRow]):
    id: int
    tenant: str
    name: str
    city: str | None = None
    code: str | None = None
    up_id: int | None = None


@dataclass(frozen=True)
class ShopPatch(Patch[ShopRow]):
    city: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class ShopsOf(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [ShopRow.tenant == self.tenant]


class Shops(Repository[ShopRow, Shop, int]):
    conflict = Conflict([ShopRow.id])


A = ShopsOf("a")
SPECS = [
    ShopCreate(1, "a", "one", "Rome", "00100"),
    ShopCreate(2, "a", "two", "Oslo", "0150", 1),
    ShopCreate(3, "a", "three", None, None, 1),
]


def shop(id: int, city: str | None, code: str | None, name: str) -> Shop:
    known = None if city is None and code is None else Address(city, code)
    return Shop(id, Address(city, code), name, Mark(name), known)


ONE, TWO, THREE = shop(1, "Rome", "00100", "one"), shop(2, "Oslo", "0150", "two"), shop(3, None, None, "three")


async def streamed(given: AsyncIterator[T]) -> list[T]:
    return [item async for item in given]


async def test_each_read_gives_what_several_columns_make(lane_tables: WithTables) -> None:
    """Whatever becomes of the records on their way: pages, a cursor of the server, a session that is open."""
    async with lane_tables(ShopRow) as db:
        shops = Shops(db)
        await shops.batch_create(SPECS)

        async def reads() -> None:
            assert await shops.get(2, A) == await shops.find(2, A) == TWO
            assert await shops.get_one(A, [ShopRow.id == 2]) == await shops.first(A, [ShopRow.id == 2]) == TWO
            assert await shops.batch_get([3, 1], scope=A) == [THREE, ONE]
            for page in (
                None,
                NoPagination(),
                OffsetPagination(5),
                CursorForwardPagination(5),
                CursorBackwardPagination(5),
            ):
                for orders in ([], [ShopRow.code], [ShopRow.name.desc()]):
                    found = await shops.search(A, None, page, orders=orders)
                    assert sorted(found, key=lambda one: one.id) == [ONE, TWO, THREE]
            assert await streamed(shops.stream(A, orders=[ShopRow.id])) == [ONE, TWO, THREE]

        await reads()
        async with db.unit_of_work():
            await reads()


async def test_cursors_go_by_a_column_of_it(lane_tables: WithTables) -> None:
    async with lane_tables(ShopRow) as db:
        shops = Shops(db)
        await shops.batch_create(SPECS)
        first = await shops.search(A, None, CursorForwardPagination(1), orders=[ShopRow.city])
        rest = await shops.search(A, None, CursorForwardPagination(2, first.cursors[0]), orders=[ShopRow.city])
        assert [*first, *rest] == [TWO, ONE, THREE]


async def test_each_write_gives_what_several_columns_make(lane_tables: WithTables) -> None:
    async with lane_tables(ShopRow) as db:
        shops, patch = Shops(db), ShopPatch(city=TriState.update("Bonn"))
        one, two = shop(1, "Bonn", "00100", "one"), shop(2, "Bonn", "0150", "two")
        assert await shops.create(SPECS[0], scope=A) == ONE
        assert await shops.batch_create(SPECS[1:]) == [TWO, THREE]
        partial = await shops.batch_create_partial([ShopCreate(4, "a", "four", "Kiel")], scope=A)
        assert [each.data for each in partial.succeeded] == [shop(4, "Kiel", None, "four")]
        assert await shops.update(1, patch, scope=A) == one
        assert (await shops.batch_update([1, 2], patch, scope=A)).succeeded == [one, two]
        assert (await shops.batch_update_each({2: patch}, scope=A)).succeeded == [two]
        assert await shops.upsert(SPECS[0], scope=A) == Upserted(ONE, inserted=False)
        upserted = await shops.batch_upsert([SPECS[1], ShopCreate(5, "a", "five")], scope=A)
        assert upserted.succeeded == [
            Upserted(TWO, inserted=False),
            Upserted(shop(5, None, None, "five"), inserted=True),
        ]
        assert (await shops.batch_purge([3, 5], scope=A)).succeeded == [THREE, shop(5, None, None, "five")]
        assert await shops.purge(2, scope=A) == TWO


async def test_it_nests_and_what_stands_beside_it_is_right(lane_tables: WithTables) -> None:
    """The fields after it, and related rows with it, have columns of their own; other names are as good."""
    async with lane_tables(ShopRow) as db:
        shops = Shops(db)
        await shops.batch_create(SPECS)
        expected = {
            1: Tree(1, None, (TWO, THREE), "Rome", ONE.address),
            2: Tree(2, ONE, (), "Oslo", TWO.address),
            3: Tree(3, ONE, (), None, THREE.address),
        }
        assert {id: await shops.get(id, A, into=Tree) for id in expected} == expected
        assert {one.id: one for one in await shops.search(A, into=Tree)} == expected
        assert {one.id: one async for one in shops.stream(A, into=Tree)} == expected
        assert await shops.batch_get([2, 1], scope=A, into=Tree) == [expected[2], expected[1]]
        assert await shops.get(2, A, into=Model) == Model(id=2, address=TWO.address)
        assert await shops.get(2, A, into=ByOtherName) == ByOtherName(2, ONE)


async def test_a_cache_keeps_it_and_lets_go_of_it(any_tables: WithTables) -> None:
    async with any_tables(ShopRow) as db:
        shops = Shops(db, cache_source=MemoryCacheSource(Shop))
        await shops.batch_create(SPECS)
        assert await shops.get(1) == await shops.get(1) == ONE
        await shops.update(1, ShopPatch(city=TriState.update("Bonn")))
        assert (await shops.get(1)).address == Address("Bonn", "00100")


@dataclass(frozen=True)
class Refused:
    strict: Strict


async def test_what_its_class_refuses_is_a_stored_row_that_does_not_fit(lane_tables: WithTables) -> None:
    """Pydantic's own error quotes the row."""
    async with lane_tables(ShopRow) as db:
        shops = Shops(db)
        await shops.batch_create(SPECS)
        reads: list[Callable[[], Awaitable[Any]]] = [
            lambda: shops.get(1, A, into=Refused),
            lambda: shops.search(A, into=Refused),
            lambda: streamed(shops.stream(A, into=Refused)),
        ]
        for read in reads:
            with pytest.raises(InvalidValue, match=r"a stored row does not fit Strict \(city: int_parsing\)"):
                await read()
