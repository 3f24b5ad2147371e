"""Filters over numbers, UUIDs, booleans and enums."""

from __future__ import annotations

import enum
import math
import uuid
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Generic, TypeAlias, TypeVar, cast

from pydantic import Field, PlainSerializer, PlainValidator, StrictBool, WithJsonSchema
from sqlalchemy.types import TypeEngine
from typing_extensions import override

from rowsmith.errors import InvalidValue
from rowsmith.filters.fields import MAX_VALUES, FieldFilter, type_argument
from rowsmith.filters.operands import On, Prepare, as_given, converts, stored, stored_name
from rowsmith.filters.operators import (
    AT_LEAST,
    AT_MOST,
    BETWEEN,
    EQUALS,
    GREATER,
    IN,
    IS_NULL,
    LESS,
    NOT_BETWEEN,
    NOT_EQUALS,
    NOT_IN,
)
from rowsmith.mapping.types import Check, Comparison, reads_itself

MAX_MAGNITUDE: Final = 1_000
"""Numbers from outside lie between 10**-1000 and 10**1000; no column needs more, and arithmetic stays cheap."""

MAX_BITS: Final = int(MAX_MAGNITUDE * math.log2(10))
"""The same bound for an int, which is quick to measure."""


def _number(value: object) -> int | Decimal:
    """Read an int, a finite float, a Decimal or text of one; floats become the decimal they are written as."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueError("give a number")  # noqa: TRY004 - pydantic wants a ValueError
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise ValueError(f"give a number below 10**{MAX_MAGNITUDE}")
        return value
    try:
        number = Decimal(str(value) if isinstance(value, float) else value)
    except ArithmeticError:
        raise ValueError("give a number") from None
    if not number.is_finite():
        raise ValueError("give a finite number: not NaN, not infinity")
    exponent = cast("int", number.as_tuple().exponent)
    if number and (exponent < -MAX_MAGNITUDE or number.adjusted() > MAX_MAGNITUDE):
        raise ValueError(f"give a number between 10**-{MAX_MAGNITUDE} and 10**{MAX_MAGNITUDE}")
    return number


Number: TypeAlias = Annotated[
    int | float | Decimal,
    PlainValidator(_number),
    PlainSerializer(lambda number: str(number) if isinstance(number, Decimal) else number, when_used="json"),
    WithJsonSchema({"type": "number"}),
]
Numbers: TypeAlias = Annotated[list[Number], Field(max_length=MAX_VALUES)]


class NumberFilter(FieldFilter):
    """Operators on an integer, decimal or float field. Numbers are exact and finite.

    Of a JSON document pydantic reads numbers with a point or an exponent as floats, with 15 to 17 digits: have those of
    more digits sent as strings (``{"gt": "123456789012345678.5"}``).

    A number that the column cannot hold (2**31 against an int32, 1.5 against an integer, 0.005 against two digits after
    the point) is refused. Over a type of your own it is for that to say what it takes.
    """

    equals: Annotated[Number | None, EQUALS] = None
    not_equals: Annotated[Number | None, NOT_EQUALS] = None
    gt: Annotated[Number | None, GREATER] = None
    gte: Annotated[Number | None, AT_LEAST] = None
    lt: Annotated[Number | None, LESS] = None
    lte: Annotated[Number | None, AT_MOST] = None
    between: Annotated[tuple[Number, Number] | None, BETWEEN] = None
    not_between: Annotated[tuple[Number, Number] | None, NOT_BETWEEN] = None
    in_: Annotated[Numbers | None, IN] = None
    not_in: Annotated[Numbers | None, NOT_IN] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    @override
    @classmethod
    def _prepare(cls, declared: TypeEngine[Any], on: On, where: str) -> Prepare | str:
        kind = stored(declared)
        if (convert := _CONVERSIONS.get(kind.compared)) is None:
            return f"it compares numbers, and the column is {stored_name(declared)}"
        if reads_itself(declared):  # as money in cents: what is stored says nothing of what may be asked for
            return convert
        return checked(convert, kind.operand, where)


def checked(convert: Prepare, check: Check, where: str) -> Prepare:
    """Give how a value is converted and then held against the column, which may refuse it with InvalidValue."""

    def prepare(value: object) -> Any:
        converted = convert(value)
        if (complaint := check(converted)) is not None:
            raise InvalidValue(f"{where} {complaint}")
        return converted

    return prepare


def _float(value: int | Decimal) -> float | Decimal:
    try:
        return float(value)
    except OverflowError:
        return Decimal("inf") if value > 0 else Decimal("-inf")


_CONVERSIONS: Final[dict[Comparison, Prepare]] = {
    Comparison.INTEGER: lambda value: int(value) if value == int(value) else value,
    Comparison.FLOAT: _float,
    Comparison.DECIMAL: Decimal,
}


Uuids: TypeAlias = Annotated[list[uuid.UUID], Field(max_length=MAX_VALUES)]


class UUIDFilter(FieldFilter):
    """Operators on a UUID field."""

    equals: Annotated[uuid.UUID | None, EQUALS] = None
    not_equals: Annotated[uuid.UUID | None, NOT_EQUALS] = None
    in_: Annotated[Uuids | None, IN] = None
    not_in: Annotated[Uuids | None, NOT_IN] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    @override
    @classmethod
    def _prepare(cls, declared: TypeEngine[Any], on: On, where: str) -> Prepare | str:
        if converts(declared):
            return as_given
        match stored(declared).compared:
            case Comparison.UUID:
                return as_given
            case Comparison.UUID_TEXT:
                return str
            case _:
                return f"it compares UUIDs, and the column is {type(declared).__name__}"


class BoolFilter(FieldFilter):
    """Operators on a boolean field."""

    equals: Annotated[StrictBool | None, EQUALS] = None
    not_equals: Annotated[StrictBool | None, NOT_EQUALS] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    _kind: ClassVar[str] = "booleans"
    _comparisons: ClassVar[tuple[Comparison, ...]] = (Comparison.BOOLEAN,)


E = TypeVar("E", bound=enum.Enum)


class EnumFilter(FieldFilter, Generic[E]):
    """Operators on an enum field; members are spelt by their values in JSON.

    The column is of the same enum, or a text or integer column that keeps the members' values.
    """

    equals: Annotated[E | None, EQUALS] = None
    not_equals: Annotated[E | None, NOT_EQUALS] = None
    in_: Annotated[Annotated[list[E], Field(max_length=MAX_VALUES)] | None, IN] = None
    not_in: Annotated[Annotated[list[E], Field(max_length=MAX_VALUES)] | None, NOT_IN] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    @override
    @classmethod
    def _prepare(cls, declared: TypeEngine[Any], on: On, where: str) -> Prepare | str:
        members = type_argument(cls)
        if members is None or not issubclass(members, enum.Enum):
            return "write EnumFilter[YourEnum]"
        kind = stored(declared)
        if converts(declared) or (kind.compared is Comparison.MEMBERS and kind.cursor.python is members):
            return as_given
        if kind.compared in _OF_VALUES and all(kind.check(member.value) is None for member in members):
            return lambda member: member.value
        return f"it compares members of {members.__name__}, and the column is {declared!r}"


_OF_VALUES: Final = (Comparison.NAMES, Comparison.TEXT, Comparison.INTEGER)
