"""Bodies under an idempotency key are one where they are stored as one, and two where they are not."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from rowsmith import Conflict, IdempotencyMismatch, OptionalState, Patch, Repository, Spec
from rowsmith.idempotency import IdempotencyKeyRow
from rowsmith.testing import WithTables

SEVEN = uuid.UUID("0123456789abcdef0123456789abcdef")


class AnyUuid(TypeDecorator[Any]):
    """Takes text and objects."""

    impl = sa.Uuid
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return uuid.UUID(value) if isinstance(value, str) else value


class Base(DeclarativeBase):
    pass


class NumberRow(Base):
    __tablename__ = "once_numbers"

    id: Mapped[int] = mapped_column(primary_key=True)
    free: Mapped[Decimal | None] = mapped_column(sa.Numeric)
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(8, 2))
    near: Mapped[float | None]
    single: Mapped[float | None] = mapped_column(sa.REAL)
    text: Mapped[str | None] = mapped_column(sa.Uuid(as_uuid=False))
    any: Mapped[uuid.UUID | None] = mapped_column(AnyUuid)


class AddressRow(Base):
    __tablename__ = "once_addresses"

    id: Mapped[int] = mapped_column(primary_key=True)
    host: Mapped[Any] = mapped_column(pg.INET, nullable=True)
    net: Mapped[Any] = mapped_column(pg.CIDR, nullable=True)
    hosts: Mapped[Any] = mapped_column(pg.ARRAY(pg.INET), nullable=True)
    card: Mapped[str | None] = mapped_column(pg.MACADDR)


@dataclass(frozen=True)
class NumberCreate(Spec[NumberRow]):
    id: int
    free: Any = None
    price: Any = None
    near: Any = None
    single: Any = None
    text: Any = None
    any: Any = None


@dataclass(frozen=True)
class NumberPatch(Patch[NumberRow]):
    free: OptionalState[Any] = OptionalState.nop()
    price: OptionalState[Any] = OptionalState.nop()
    near: OptionalState[Any] = OptionalState.nop()
    single: OptionalState[Any] = OptionalState.nop()
    text: OptionalState[Any] = OptionalState.nop()
    any: OptionalState[Any] = OptionalState.nop()


@dataclass(frozen=True)
class AddressCreate(Spec[AddressRow]):
    id: int
    host: Any = None
    net: Any = None
    hosts: Any = None
    card: Any = None


@dataclass(frozen=True)
class AddressPatch(Patch[AddressRow]):
    host: OptionalState[Any] = OptionalState.nop()
    net: OptionalState[Any] = OptionalState.nop()
    hosts: OptionalState[Any] = OptionalState.nop()
    card: OptionalState[Any] = OptionalState.nop()


@dataclass(frozen=True)
class One:
    id: int


class Numbers(Repository[NumberRow, One, int]):
    conflict = Conflict([NumberRow.id])


class Addresses(Repository[AddressRow, One, int]):
    conflict = Conflict([AddressRow.id])


async def are_one(rows: Any, create: Any, patch: Any, name: str, one: object, other: object) -> bool:
    """Ask for the same by each verb, and say whether all of them took both values for one."""
    calls: list[Callable[[object], Awaitable[object]]] = [
        lambda value: rows.create(create(1, **{name: value}), idempotency_key="create"),
        lambda value: rows.batch_create([create(2, **{name: value})], idempotency_key="batch"),
        lambda value: rows.upsert(create(3, **{name: value}), idempotency_key="upsert"),
        lambda value: rows.update(1, patch(**{name: OptionalState.update(value)}), idempotency_key="update"),
    ]
    told = set[bool]()
    for call in calls:
        await call(one)
        try:
            await call(other)
        except IdempotencyMismatch:
            told.add(False)
        else:
            told.add(True)
    [answer] = told
    return answer


@pytest.mark.parametrize(
    "name, one, other, is_one",
    [
        ("price", Decimal("1.5"), 1.5, True),
        ("price", 0.1, Decimal("0.1"), True),
        ("price", Decimal("1.004"), 1, True),
        ("price", Decimal("1.005"), Decimal("1.01"), True),
        ("price", Decimal("1.00"), Decimal("1.01"), False),
        ("near", Decimal(2**53 + 1), 2**53, True),
        ("near", 0.1, Decimal("0.1"), True),
        ("near", 0.1, 0.2, False),
        ("text", str(SEVEN), SEVEN.hex.upper(), True),
        ("text", str(SEVEN), str(uuid.UUID(int=7)), False),
        ("any", str(SEVEN), SEVEN, True),
        ("any", str(SEVEN), uuid.UUID(int=7), False),
    ],
)
async def test_values_are_one_where_their_column_has_them_be(
    any_tables: WithTables, name: str, one: object, other: object, is_one: bool
) -> None:
    """However they were given, by every verb that takes a key."""
    async with any_tables(NumberRow, IdempotencyKeyRow) as db:
        assert await are_one(Numbers(db, resilience=None), NumberCreate, NumberPatch, name, one, other) is is_one


@pytest.mark.parametrize(
    "name, one, other, is_one",
    [
        ("free", Decimal(10**23), 1e23, False),
        ("free", Decimal("0.1"), 0.1, False),
        ("free", 2.0, 2, True),
        ("single", 0.1, Decimal("0.10000000149011612"), True),
    ],
)
async def test_a_float_is_stored_with_all_of_its_digits(
    with_tables: WithTables, name: str, one: object, other: object, is_one: bool
) -> None:
    """Where a column rounds nothing it is another number than the one that is written so."""
    async with with_tables(NumberRow, IdempotencyKeyRow) as db:
        assert await are_one(Numbers(db, resilience=None), NumberCreate, NumberPatch, name, one, other) is is_one


@pytest.mark.parametrize(
    "name, one, other, is_one",
    [
        ("host", "10.0.0.1", ipaddress.ip_address("10.0.0.1"), True),
        ("host", "10.0.0.1/32", ipaddress.ip_address("10.0.0.1"), True),
        ("host", "2001:DB8::1", ipaddress.ip_address("2001:db8:0::1"), True),
        ("host", "10.0.0.1/24", ipaddress.ip_address("10.0.0.1"), False),
        ("net", "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/8"), True),
        ("net", "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/16"), False),
        ("hosts", ["10.0.0.1"], [ipaddress.ip_address("10.0.0.1")], True),
        ("card", "08:00:2B:01:02:03", "08002b:010203", True),
        ("card", "08:00:2B:01:02:03", "08:00:2b:01:02:04", False),
    ],
)
async def test_addresses_are_one_in_whatever_form(
    with_tables: WithTables, name: str, one: object, other: object, is_one: bool
) -> None:
    """A text, and an object of ipaddress."""
    async with with_tables(AddressRow, IdempotencyKeyRow) as db:
        assert await are_one(Addresses(db, resilience=None), AddressCreate, AddressPatch, name, one, other) is is_one


async def test_so_are_keys_of_rows_to_be_updated(with_tables: WithTables) -> None:
    """Another row's is another body, though Python writes both alike."""

    class KeyBase(DeclarativeBase):
        pass

    class KeyRow(KeyBase):
        __tablename__ = "once_keys"
        id: Mapped[Decimal] = mapped_column(sa.Numeric, primary_key=True)
        note: Mapped[int]

    @dataclass(frozen=True)
    class KeyCreate(Spec[KeyRow]):
        id: Any
        note: int = 0

    @dataclass(frozen=True)
    class KeyPatch(Patch[KeyRow]):
        note: OptionalState[int]

    @dataclass(frozen=True)
    class KeyData:
        id: Decimal

    class Keys(Repository[KeyRow, KeyData, Any]):
        pass

    async with with_tables(KeyRow, IdempotencyKeyRow) as db:
        keys, patch = Keys(db, resilience=None), KeyPatch(OptionalState.update(1))
        await keys.batch_create([KeyCreate(10**23), KeyCreate(int(1e23))])
        first = await keys.update(10**23, patch, idempotency_key="k")
        assert await keys.update(Decimal(10**23), patch, idempotency_key="k") == first
        with pytest.raises(IdempotencyMismatch):
            await keys.update(int(1e23), patch, idempotency_key="k")
        with pytest.raises(IdempotencyMismatch):
            await keys.update(1e23, patch, idempotency_key="k")
