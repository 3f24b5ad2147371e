"""Types of which only the database or a team knows what they hold."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface
from typing import Any, Final

from sqlalchemy.dialects import postgresql
from sqlalchemy.types import JSON, NullType, TypeEngine, UserDefinedType

from rowsmith.mapping.types.column_type import (
    NONE,
    NUMBERS,
    Beside,
    Check,
    ColumnType,
    Comparison,
    Family,
    InCursor,
    Quick,
    Row,
    Take,
    Travel,
    always,
    anything,
    is_int,
    is_number,
    itself,
)


def unknown(declared: TypeEngine[Any]) -> ColumnType:
    """Give the record of a type that has no row in the table: its values are the database's matter."""
    return ColumnType(
        wraps=None,
        check=anything,
        operand=anything,
        taken=itself,
        quick=Quick(NONE, None),
        echo=None,
        travel=Travel.SINGLY,
        cursor=by_python_type(declared),
        gives=(),
        compared=Comparison.NONE,
        beside=Beside(family=None, splits=True),
        is_condition=None if isinstance(declared, (NullType, UserDefinedType)) else False,
    )


def by_python_type(declared: TypeEngine[Any]) -> InCursor:
    """Give the form in a cursor of a type of which nothing is known but what Python type it says it has."""
    python: type[Any] = declared.python_type
    if python is object:  # func.lower(...) and the like: SQLAlchemy does not know, the database does
        return InCursor(python, lambda value: not isinstance(value, enum.Enum))
    if python in NUMBERS:
        return InCursor(python, is_int if python is int else is_number)
    is_datetime = python is dt.datetime
    return InCursor(python, lambda value: isinstance(value, python) and isinstance(value, dt.datetime) == is_datetime)


class AsStored(NullType):
    """The type of what a file of SQLite's holds, whatever the column says: a number, a text, or bytes."""

    cache_ok = True


def _texts_that(
    check: Check, operand: Check, taken: Take, family: Family, one: Take
) -> Callable[[TypeEngine[Any]], ColumnType]:
    """Give what makes the record of a type whose values are texts, for the most part."""
    travel, quick, beside = Travel.MEMBERS, Quick(str, always), Beside(family=family, one=one)
    return lambda declared: replace(
        unknown(declared), travel=travel, check=check, operand=operand, taken=taken, quick=quick, beside=beside
    )


def _beside(beside: Beside) -> Callable[[TypeEngine[Any]], ColumnType]:
    """Give what makes the record of a type of which only that is known."""
    return lambda declared: replace(unknown(declared), beside=beside)


def _check_address(value: object) -> str | None:
    # Of a list, a tuple, a number or bytes asyncpg makes other addresses alone than among others.
    return None if isinstance(value, _ADDRESSES) else "holds addresses: give a text, or an object of ipaddress"


def _check_beside_address(value: object) -> str | None:
    return None if is_int(value) else _check_address(value)  # which PostgreSQL adds to it


def _taken_address(value: Any) -> Any:
    """Take a number, and bytes, for the address that the driver makes of them wherever they stand."""
    with suppress(ValueError):
        return ip_address(value) if is_int(value) or isinstance(value, bytes) else value
    return value


def _one_address(value: Any) -> Any:
    """Give a text or object of an address, or of a network, as the address with its mask, which is what is stored."""
    with suppress(ValueError):
        return ip_interface(str(value))
    return value


def _one_hardware_address(value: Any) -> Any:
    """Give the digits of a hardware address, which may be written with several marks between them."""
    return value.translate(_MARKS).lower() if isinstance(value, str) else value


_MARKS: Final = str.maketrans("", "", ":.-")


def _check_hardware_address(value: object) -> str | None:
    return None if isinstance(value, str) else "holds hardware addresses: give a text"


_PLAIN: Final = InCursor(
    object, lambda value: isinstance(value, (int, float, str, bytes)) and not isinstance(value, (bool, enum.Enum))
)
_ADDRESSES: Final = (str, IPv4Address, IPv6Address, IPv4Network, IPv6Network)


_hardware_address: Final = _texts_that(
    _check_hardware_address, _check_hardware_address, itself, Family.HARDWARE_ADDRESSES, _one_hardware_address
)


_addresses: Final = _texts_that(_check_address, _check_beside_address, _taken_address, Family.ADDRESSES, _one_address)


def _of_hardware(declared: TypeEngine[Any]) -> ColumnType:
    """Give the record of a MACADDR, which the server reads: of an array it does not say which member it could not."""
    return replace(_hardware_address(declared), travel=Travel.SINGLY)


ROWS: Final[tuple[Row, ...]] = (
    (AsStored, lambda declared: replace(unknown(declared), cursor=_PLAIN)),
    (postgresql.INET, _addresses),
    (postgresql.CIDR, _addresses),
    (postgresql.MACADDR, _of_hardware),
    (postgresql.MACADDR8, _beside(Beside(family=Family.LONG_HARDWARE_ADDRESSES))),
    (JSON.JSONPathType, _beside(Beside(family=None, is_ordered=False))),
)
"""Not composites: asyncpg would take what can be walked through for an array in the array."""
