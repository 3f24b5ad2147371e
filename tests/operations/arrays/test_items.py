"""Values that travel in an array are one each: what has members of its own is no array in the array.

asyncpg takes what has a length and can be walked through for an array, so that ``[(1,)]`` would be the array of 1.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from ipaddress import ip_address
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import CIDR, INET, INT4MULTIRANGE, INT4RANGE, MACADDR, Range, asyncpg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Database, InvalidValue, OptionalState, Patch, Repository, Spec
from rowsmith.mapping import row_info
from rowsmith.operations.arrays.binding import unbindable
from rowsmith.testing import WithTables


class Base(DeclarativeBase): ...


class AsGiven(sa.TypeDecorator[Any]):
    """Lets everything through that the driver may take for a number."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return value


class Bare(sa.TypeDecorator[Any]):
    """Makes nothing of what it is given."""

    impl = sa.Integer
    cache_ok = True


class Point(sa.TypeDecorator[tuple[int, int]]):
    """Keeps two numbers as one text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[int, int] | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else f"{value[0]}/{value[1]}"

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> tuple[int, int] | None:
        if value is None:
            return None
        first, second = map(int, value.split("/"))
        return first, second


class NumberRow(Base):
    __tablename__ = "item_numbers"
    id: Mapped[Any] = mapped_column(AsGiven, primary_key=True, autoincrement=False)
    size: Mapped[Any] = mapped_column(AsGiven)


class HostRow(Base):
    __tablename__ = "item_hosts"
    id: Mapped[Any] = mapped_column(INET, primary_key=True)
    net: Mapped[Any] = mapped_column(CIDR)
    mac: Mapped[Any] = mapped_column(MACADDR)


class PlaceRow(Base):
    __tablename__ = "item_places"
    id: Mapped[tuple[int, int]] = mapped_column(Point, primary_key=True)
    size: Mapped[int]


class LegRow(Base):
    __tablename__ = "item_legs"
    start: Mapped[tuple[int, int]] = mapped_column(Point, primary_key=True)
    end: Mapped[tuple[int, int]] = mapped_column(Point, primary_key=True)
    size: Mapped[int]


class Even(sa.TypeDecorator[int]):
    """Takes even numbers only."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> int | None:
        if value is not None and value % 2:
            raise ValueError(value)
        return value


class TaggedRow(Base):
    __tablename__ = "item_tagged"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tags: Mapped[Any] = mapped_column(sa.ARRAY(sa.Text).with_variant(sa.JSON, "sqlite"))
    even: Mapped[int] = mapped_column(Even)


@dataclass(frozen=True)
class Sized:
    id: Any
    size: Any


@dataclass(frozen=True)
class Host:
    id: Any
    net: Any
    mac: Any


@dataclass(frozen=True)
class Leg:
    start: tuple[int, int]
    end: tuple[int, int]
    size: int


@dataclass(frozen=True)
class NumberCreate(Spec[NumberRow]):
    id: Any
    size: Any


@dataclass(frozen=True)
class HostCreate(Spec[HostRow]):
    id: Any
    net: Any = "10.0.0.0/8"
    mac: Any = "08:00:2b:01:02:03"


@dataclass(frozen=True)
class PlaceCreate(Spec[PlaceRow]):
    id: tuple[int, int]
    size: int


@dataclass(frozen=True)
class LegCreate(Spec[LegRow]):
    start: tuple[int, int]
    end: tuple[int, int]
    size: int


@dataclass(frozen=True)
class NumberPatch(Patch[NumberRow]):
    size: OptionalState[Any] = OptionalState.nop()


@dataclass(frozen=True)
class PlacePatch(Patch[PlaceRow]):
    size: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class LegPatch(Patch[LegRow]):
    size: OptionalState[int] = OptionalState.nop()


class Numbers(Repository[NumberRow, Sized, Any]): ...


class Hosts(Repository[HostRow, Host, Any]): ...


class Places(Repository[PlaceRow, Sized, tuple[int, int]]): ...


class Legs(Repository[LegRow, Leg, tuple[tuple[int, int], tuple[int, int]]]): ...


@pytest.fixture(params=[True, False], ids=["native", "sqlalchemy"])
async def db(request: pytest.FixtureRequest, database: Database, with_tables: WithTables) -> AsyncIterator[Database]:
    """Make the tables, and have calls go by either lane."""
    async with with_tables(NumberRow, HostRow, PlaceRow, LegRow):
        yield Database(database.engine, native=request.param)


BY_KEYS: dict[str, Callable[[Numbers, Sequence[Any]], Awaitable[Any]]] = {
    "batch_get": lambda numbers, ids: numbers.batch_get(ids),
    "batch_update": lambda numbers, ids: numbers.batch_update(ids, NumberPatch(OptionalState.update(9))),
    "batch_update_each": lambda numbers, ids: numbers.batch_update_each(
        {id_: NumberPatch(OptionalState.update(9)) for id_ in ids}
    ),
    "batch_purge": lambda numbers, ids: numbers.batch_purge(ids),
}


@pytest.mark.parametrize("verb", BY_KEYS)
@pytest.mark.parametrize("key", [(1,), ((1,),), ((1,), (2,)), frozenset({1})], ids=str)
async def test_a_key_with_members_is_no_key(db: Database, verb: str, key: Any) -> None:
    """Neither is the row found whose key is its only member, nor is it written or removed."""
    numbers = Numbers(db)
    await numbers.batch_create([NumberCreate(1, 1), NumberCreate(2, 2)])
    for ids in ([key], [2, key]):
        with pytest.raises(InvalidValue, match="does not take"):
            await BY_KEYS[verb](numbers, ids)
    refused = await numbers.batch_purge_partial([key])
    assert [type(failure.error) for failure in refused.failed] == [InvalidValue]
    assert await numbers.batch_get([1, 2]) == [Sized(1, 1), Sized(2, 2)]


@pytest.mark.parametrize("wrong", [[7], [[7]], [[7], [8]], (7,)], ids=str)
async def test_a_list_is_not_stored_as_its_member(db: Database, wrong: Any) -> None:
    """Nor do several of equal length become one table of values."""
    numbers = Numbers(db)
    await numbers.create(NumberCreate(1, 1))
    patch = NumberPatch(OptionalState.update(wrong))
    for call in (
        lambda: numbers.batch_create([NumberCreate(2, wrong)]),
        lambda: numbers.batch_create([NumberCreate(2, wrong), NumberCreate(3, wrong)]),
        lambda: numbers.batch_update_each({1: patch}),
        lambda: numbers.batch_update([1], patch),
        lambda: numbers.load([NumberCreate(2, wrong)]),
    ):
        with pytest.raises(InvalidValue, match="does not take"):
            await call()
    assert (await numbers.batch_create_partial([NumberCreate(2, wrong)])).succeeded == []
    assert await numbers.count() == 1
    assert await numbers.get(1) == Sized(1, 1)


class Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize("wrong", [("10.0.0.1", 24), ["10.0.0.1"], [1], (), 1, Number.ONE, b"1234"], ids=repr)
async def test_an_address_is_a_text_or_an_object(db: Database, wrong: Any) -> None:
    """To asyncpg a tuple is address and prefix where it stands alone, and an array among others."""
    hosts = Hosts(db)
    spec = HostCreate(wrong)
    for call in (lambda: hosts.create(spec), lambda: hosts.batch_create([spec]), lambda: hosts.upsert(spec)):
        with pytest.raises(InvalidValue, match=r"HostRow\.id holds addresses"):
            await call()
    for by_key in (lambda: hosts.get(wrong), lambda: hosts.batch_get([wrong]), lambda: hosts.batch_purge([wrong])):
        with pytest.raises(InvalidValue):
            await by_key()
    for column in ("net", "mac"):
        with pytest.raises(InvalidValue, match=f"at index 1: HostRow.{column} holds (hardware )?addresses"):
            await hosts.batch_create([HostCreate("10.0.0.1"), HostCreate("10.0.0.2", **{column: wrong})])
    if not isinstance(wrong, int):  # which PostgreSQL adds to an address
        with pytest.raises(InvalidValue, match="holds addresses"):
            await hosts.search(None, [HostRow.id == wrong])
    assert await hosts.count() == 0


async def test_addresses_of_both_kinds_are_taken(db: Database) -> None:
    """Texts and objects, beside each other."""
    hosts = Hosts(db)
    ids = [host.id for host in await hosts.batch_create([HostCreate("10.0.0.1"), HostCreate(ip_address("10.0.0.2"))])]
    assert ids == [ip_address("10.0.0.1"), ip_address("10.0.0.2")]
    assert [host.id for host in await hosts.batch_get([ids[1], "10.0.0.1"])] == ids[::-1]
    assert await hosts.count(None, [HostRow.id.op("<<", is_comparison=True)(HostRow.net)]) == 2
    for condition in (HostRow.id == sa.cast(HostRow.mac, sa.Text), HostRow.net == HostRow.mac):
        with pytest.raises(InvalidValue, match=r"HostRow\.(id|net), which holds addresses: write cast"):
            await hosts.count(None, [condition])


async def test_keys_may_be_tuples_that_a_type_makes_one_value_of(db: Database) -> None:
    """SQLAlchemy's array would have the type process each of the tuple's members."""
    places = Places(db)
    await places.batch_create([PlaceCreate((1, 2), 1), PlaceCreate((3, 4), 2), PlaceCreate((5, 6), 3)])
    assert await places.batch_get([(3, 4), (1, 2)]) == [Sized((3, 4), 2), Sized((1, 2), 1)]
    seven = PlacePatch(OptionalState.update(7))
    assert (await places.batch_update([(1, 2)], seven)).succeeded == [Sized((1, 2), 7)]
    assert (await places.batch_update_each({(3, 4): seven})).succeeded == [Sized((3, 4), 7)]
    assert (await places.batch_purge([(5, 6), (1, 2)])).succeeded == [Sized((5, 6), 3), Sized((1, 2), 7)]
    assert (await places.search()).items == (Sized((3, 4), 7),)


async def test_so_may_the_parts_of_a_key_of_several(db: Database) -> None:
    """The same, of keys of two columns."""
    legs, (a, b, c) = Legs(db), ((1, 2), (3, 4), (5, 6))
    await legs.batch_create([LegCreate(a, b, 1), LegCreate(a, c, 2), LegCreate(b, c, 3)])
    assert await legs.batch_get([(b, c), (a, b)]) == [Leg(b, c, 3), Leg(a, b, 1)]
    seven = LegPatch(OptionalState.update(7))
    assert (await legs.batch_update([(a, c), (b, c)], seven)).succeeded == [Leg(a, c, 7), Leg(b, c, 7)]
    assert (await legs.batch_purge([(a, b), (a, c)])).succeeded == [Leg(a, b, 1), Leg(a, c, 7)]
    assert await legs.count() == 1


@pytest.mark.parametrize("dialect", [sqlite.dialect(), asyncpg.dialect()], ids=["sqlite", "postgresql"])
def test_the_value_that_is_refused_is_the_one_that_is_named(dialect: Any) -> None:
    """None beside it, which is an array on one backend and a document on the other."""
    fault = unbindable(row_info(TaggedRow), {"tags": [["a"], []], "even": [2, 3]}, dialect, range(2))
    assert str(fault) == "the spec at index 1: TaggedRow.even holds a value that its type does not take"


async def test_an_index_is_told_of_what_the_server_cannot_read(db: Database) -> None:
    """It would say nothing of which of an array's items it was, so such values go by themselves."""
    hosts = Hosts(db)
    for macs in (["x", None], ["08:00:2b:01:02:03", "x", None]):
        specs = [HostCreate(f"10.0.0.{place}", mac=mac) for place, mac in enumerate(macs)]
        for verb in (hosts.batch_create, hosts.load, hosts.batch_upsert):
            with pytest.raises(InvalidValue, match=r"HostRow\.mac holds a value") as refused:
                await verb(specs)
            assert (refused.value.index, refused.value.facts.columns) == (macs.index("x"), ("mac",))
        partial = await hosts.batch_create_partial(specs[:-1])
        assert [failure.index for failure in partial.failed] == [macs.index("x")]
        await hosts.batch_purge([item.data.id for item in partial.succeeded])
    assert await hosts.count() == 0


@pytest.mark.parametrize("key", [("a",), (), 5], ids=str)
async def test_a_key_that_its_type_cannot_bind_is_none_that_is_stored(db: Database, key: Any) -> None:
    """Whatever the type raises: an IndexError, a TypeError."""
    places = Places(db)
    await places.create(PlaceCreate((1, 2), 1))
    calls = [
        lambda: places.get(key),
        lambda: places.find(key),
        lambda: places.batch_get([key]),
        lambda: places.update(key, PlacePatch(OptionalState.update(7))),
        lambda: places.batch_purge([key]),
        lambda: places.search(None, [PlaceRow.id == key]),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match="holds a value that its type does not take") as refused:
            await call()
        assert (refused.value.is_stored, refused.value.facts.columns) == (False, ("id",))
    assert await places.get((1, 2)) == Sized((1, 2), 1)


async def test_a_number_is_added_to_an_address(db: Database) -> None:
    """As PostgreSQL does."""
    hosts = Hosts(db)
    await hosts.batch_create([HostCreate("10.0.0.1"), HostCreate("10.0.0.2")])
    following = HostRow.id.op("+")(1) == sa.cast("10.0.0.2", INET)
    assert [host.id for host in await hosts.search(None, [following])] == [ip_address("10.0.0.1")]


class SpanRow(Base):
    __tablename__ = "item_spans"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    span: Mapped[Any] = mapped_column(INT4RANGE)
    spans: Mapped[Any] = mapped_column(INT4MULTIRANGE)


@dataclass(frozen=True)
class SpanCreate(Spec[SpanRow]):
    id: int
    span: Any = Range(1, 2)
    spans: Any = ()


@dataclass(frozen=True)
class SpanPatch(Patch[SpanRow]):
    span: OptionalState[Any] = OptionalState.nop()


@dataclass(frozen=True)
class SpanData:
    id: int
    span: Any
    spans: Any


class Spans(Repository[SpanRow, SpanData, int]): ...


@pytest.mark.parametrize("wrong", [Range(1.5, 2.5), Range(True, 5), Range(5, 1), Range(2**40)], ids=str)
async def test_the_bounds_of_a_range_are_not_cut(with_tables: WithTables, wrong: Any) -> None:
    """Neither is a row stored that was not meant, nor found, nor removed."""
    async with with_tables(SpanRow) as db:
        spans = Spans(db)
        await spans.create(SpanCreate(1))
        patch = SpanPatch(OptionalState.update(wrong))
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: spans.create(SpanCreate(2, wrong)),
            lambda: spans.create(SpanCreate(2, spans=[wrong])),
            lambda: spans.batch_create([SpanCreate(2), SpanCreate(3, wrong)]),
            lambda: spans.batch_create([SpanCreate(2, spans=[wrong])]),
            lambda: spans.load([SpanCreate(2, wrong)]),
            lambda: spans.upsert(SpanCreate(1, wrong)),
            lambda: spans.update(1, patch),
            lambda: spans.update_where([SpanRow.id == 1], patch),
            lambda: spans.batch_update_each({1: patch}),
            lambda: spans.count(None, [SpanRow.span == wrong]),
            lambda: spans.purge_where([SpanRow.span == wrong]),
            lambda: spans.purge_where([SpanRow.spans == [wrong]]),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match="range"):
                await call()
        assert await spans.count(None, [SpanRow.span == Range(1, 2)]) == 1
        assert await spans.count(None, [SpanRow.span.contains(1)]) == 1


class BareRow(Base):
    __tablename__ = "item_bare"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[Any] = mapped_column(Bare)


@dataclass(frozen=True)
class BareCreate(Spec[BareRow]):
    id: int
    size: Any


class Bares(Repository[BareRow, Sized, int]): ...


@pytest.mark.parametrize("wrong", [1.9, True, Decimal("1.5"), "1"], ids=repr)
async def test_a_bare_decorator_cuts_nothing(any_tables: WithTables, wrong: Any) -> None:
    """It holds what it wraps: no row is stored, changed or removed over what the driver would make of a value."""
    async with any_tables(BareRow) as db:
        bares = Bares(db)
        await bares.create(BareCreate(1, 1))
        for call in (
            lambda: bares.create(BareCreate(2, wrong)),
            lambda: bares.batch_create([BareCreate(2, wrong), BareCreate(3, 1)]),
            lambda: bares.count(None, [BareRow.size == wrong]),
            lambda: bares.purge_where([BareRow.size == wrong]),
        ):
            with pytest.raises(InvalidValue, match=r"BareRow\.size"):
                await call()
        assert list(await bares.search()) == [Sized(1, 1)]
