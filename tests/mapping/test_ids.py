"""The type of a repository's ids is its key's: another one is told when the class is made."""

from __future__ import annotations

import datetime as dt
import enum
import types
import uuid
from collections.abc import Hashable
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import MappingError, Repository
from tenants import CounterRow, GroupData, GroupId, GroupRow


class Base(DeclarativeBase):
    pass


class NumberedRow(Base):
    __tablename__ = "id_numbered"
    id: Mapped[int] = mapped_column(primary_key=True)


class NamedRow(Base):
    __tablename__ = "id_named"
    id: Mapped[str] = mapped_column(sa.String(9), primary_key=True)


class UuidRow(Base):
    __tablename__ = "id_uuids"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class DayRow(Base):
    __tablename__ = "id_days"
    day: Mapped[dt.date] = mapped_column(primary_key=True)


class MomentRow(Base):
    __tablename__ = "id_moments"
    at: Mapped[dt.datetime] = mapped_column(primary_key=True)


class PriceRow(Base):
    __tablename__ = "id_prices"
    price: Mapped[Decimal] = mapped_column(primary_key=True)


class Rank(enum.IntEnum):
    HIGH = 1


Tenant = NewType("Tenant", str)
Key = NewType("Key", tuple[Tenant, int])
T = TypeVar("T")


class CounterKey(NamedTuple):
    tenant: Tenant
    place: int


class SwappedKey(NamedTuple):
    place: int
    tenant: Tenant


class PlacedKey(NamedTuple, Generic[T]):
    tenant: Tenant
    place: T


class MarkedKey(NamedTuple):
    tenant: Annotated[Tenant, ["a mark that has no hash"]]
    place: int


def repository(row: type[Any], given: Any) -> Any:
    return types.new_class("Rows", (Repository[row, row, given],))  # type: ignore[valid-type]


@pytest.mark.parametrize(
    "row, given",
    [
        *(
            (NumberedRow, given)
            for given in (int, GroupId, Any, object, Hashable, Rank, Annotated[int, "id"], int | str)
        ),
        *((NumberedRow, given) for given in (Literal[1, 2], GroupId | None, T)),
        *((NamedRow, given) for given in (str, Tenant, Literal["a"])),
        *((UuidRow, uuid.UUID), (DayRow, dt.date), (PriceRow, Decimal), (PriceRow, int)),
        *((CounterRow, given) for given in (tuple[str, int], Key, CounterKey, tuple, tuple[Any, ...], Any, Hashable)),
        *((CounterRow, given) for given in (MarkedKey, tuple[Tenant, Any], PlacedKey, PlacedKey[int], PlacedKey[Any])),
    ],
)
def test_ids_that_are_keys(row: type[Any], given: Any) -> None:
    """What a NewType, an alias or a NamedTuple is of counts; one of several is enough."""
    assert repository(row, given).entity.info.row is row


@pytest.mark.parametrize(
    "row, given, words",
    [
        *((NumberedRow, given, "write int$") for given in (uuid.UUID, str, Tenant, float, bool, Decimal, tuple[int])),
        *((NumberedRow, given, "write int$") for given in (str | None, Literal["a"], tuple, CounterKey)),
        *((NamedRow, given, "write str$") for given in (int, GroupId, uuid.UUID, bytes)),
        *((UuidRow, given, "write UUID$") for given in (int, str)),
        (DayRow, dt.datetime, "write date$"),
        (MomentRow, dt.date, "write datetime$"),
        *(
            (CounterRow, given, r"write tuple\[str, int\]$")
            for given in (int, str, tuple[int, str], tuple[str, int, int])
        ),
        *(
            (CounterRow, given, r"write tuple\[str, int\]$")
            for given in (SwappedKey, PlacedKey[str], tuple[int, ...], list[int])
        ),
    ],
)
def test_ids_that_are_none(row: type[Any], given: Any, words: str) -> None:
    """The message names the classes, the key, and what to write."""
    with pytest.raises(MappingError, match=f"^the id of Rows, a Repository of {row.__name__}, .*{words}"):
        repository(row, given)


def test_without_a_type_any_is_taken_and_a_base_is_held_when_it_is_settled() -> None:
    """A base class may leave it open; the class that says it is held."""

    class Bare(Repository[GroupRow]):
        pass

    class Open(Repository[GroupRow, GroupData, T]):
        pass

    with pytest.raises(MappingError, match="the id of Settled"):

        class Settled(Open[uuid.UUID]):
            pass

    assert Bare.entity.info.row is Open.entity.info.row
