"""Numbers and booleans."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import partial
from numbers import Number
from typing import Any, Final, cast

from sqlalchemy import types as sqltypes
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from typing_extensions import override

from rowsmith.mapping.types.column_type import (
    NUMBERS,
    Beside,
    Check,
    ColumnType,
    Comparison,
    Family,
    InCursor,
    Quick,
    Row,
    Travel,
    always,
    converted,
    instances,
    is_int,
    is_number,
    unchanged,
)


def finite_complaint(value: float | Decimal) -> str | None:
    """Say that a number is none that every database holds: NaN, or infinite."""
    try:
        finite = math.isfinite(value)
    except (ValueError, OverflowError):  # a signalling NaN, or an int past the largest float
        finite = False
    return None if finite else "holds finite numbers: not NaN, not infinity"


def _integer(bits: int) -> Callable[[sqltypes.Integer], ColumnType]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    complaint = f"holds integers from {low} to {high}"

    def check(value: object) -> str | None:
        # Of every key of every call: not by is_int, which would be a call more.
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if fits else complaint

    return lambda _: ColumnType(
        wraps=None,
        check=check,
        operand=check,
        taken=_taken_whole,
        quick=Quick(int, lambda values: not values or (min(values) >= low and max(values) <= high)),
        echo=converted(int, int),
        travel=Travel.PLAIN,
        cursor=InCursor(int, is_int),
        gives=(int,),
        compared=Comparison.INTEGER,
        beside=Beside(family=Family.NUMBERS),
        is_condition=False,
    )


def _taken_whole(value: Any) -> Any:
    """Take for a whole number what is equal to one, and what only says as which number it counts."""
    if is_int(value) or not hasattr(value, "__int__"):
        return value
    with suppress(TypeError, ValueError, OverflowError):  # NaN, infinity, and what is not one number
        number = int(value)
        return number if number == value or not isinstance(value, Number) else value
    return value


def _float(declared: sqltypes.Float[Any]) -> ColumnType:
    # PostgreSQL keeps REAL and FLOAT(24) in four bytes, as its manual has it ("Numeric Types").
    is_short = 0 < (declared.precision or _BITS_OF_DOUBLE) <= _BITS_OF_SINGLE
    is_single = isinstance(declared, sqltypes.REAL) or (is_short and not isinstance(declared, sqltypes.Double))
    return ColumnType(
        wraps=None,
        check=_check_single if is_single else _check_float,
        operand=_check_float,
        taken=_taken_float,
        quick=Quick(float, _singles_fit if is_single else _floats_fit),
        echo=converted(float, float) if declared.precision is None else None,  # a precision rounds
        travel=Travel.PLAIN,
        cursor=InCursor(float, is_number),
        gives=(Decimal if declared.asdecimal else float,),
        compared=Comparison.FLOAT,
        beside=_SINGLES if is_single else Beside(family=Family.NUMBERS, one=_one_float),
        is_condition=False,
    )


def _taken_float(value: Any) -> Any:
    """Take for a float whatever gives the nearest one; every database keeps infinity, too."""
    if is_number(value) or not hasattr(value, "__float__"):
        return _unless_infinite(value)
    with suppress(TypeError, OverflowError):
        return float(value)
    return value


def _one_float(value: Any) -> Any:
    """Give a number as it is stored, and what is none, or no finite one, as it is."""
    return float(value) if is_number(value) and finite_complaint(value) is None else value


def _unless_infinite(value: Any) -> Any:
    is_infinite = value.is_infinite() if isinstance(value, Decimal) else isinstance(value, float) and math.isinf(value)
    return None if is_infinite else value


def is_kept_single(value: float | Decimal) -> bool:
    """Say whether a number is a float of single precision, or the shortest text of one, as 0.1 is."""
    number = float(value)
    if not number or not _NEAREST_SINGLE < abs(number) < _FIRST_BEYOND_SINGLES:
        return not number
    single = to_single(number)
    texts = (f"{single:.{digits}g}" for digits in range(1, _DIGITS_OF_SINGLE + 1))
    return number in (single, next(float(text) for text in texts if to_single(float(text)) == single))


def to_single(value: float | Decimal) -> float:
    """Round to single precision, as the driver does it."""
    return array("f", [float(value)])[0]


_DIGITS_OF_SINGLE: Final = 9
"""So many tell every float of single precision from all others (PostgreSQL writes as few as do)."""


def _check_kept_single(value: Any) -> str | None:
    if complaint := _check_single(value):
        return complaint
    return None if is_kept_single(value) else "holds floats of single precision, and this has more digits: round it"


_BITS_OF_SINGLE, _BITS_OF_DOUBLE = 24, 53


def _floats_fit(values: Sequence[Any]) -> bool:
    # NaN and infinity stay what they are in a sum; a sum that overflows only costs the slower check.
    return math.isfinite(sum(map(abs, values)))


def _check_float(value: Any) -> str | None:
    if not is_number(value):
        return "holds numbers: give a float"
    if complaint := finite_complaint(value):
        return complaint
    return None if float(value) or not value else "holds floats, none of which is so near to 0: give 0"


def _check_single(value: Any) -> str | None:
    if complaint := _check_float(value):
        return complaint
    fits = not value or _NEAREST_SINGLE < abs(float(value)) < _FIRST_BEYOND_SINGLES
    return None if fits else "holds floats of single precision: give 0, or from 1E-45 to 3.4E+38, of either sign"


_NEAREST_SINGLE: Final = 2.0**-150
"""Half of the least single, which is rounded to 0, as all is that is nearer to it."""

_FIRST_BEYOND_SINGLES: Final = 2.0**128 - 2.0**103
"""What is rounded to infinity, as all beyond it."""


_SINGLES: Final = Beside(
    family=Family.NUMBERS,
    wider=sqltypes.Double(),
    keeps=_check_kept_single,
    is_of_single_precision=True,
    one=lambda value: to_single(value) if is_number(value) and finite_complaint(value) is None else value,
)


def _singles_fit(values: Sequence[Any]) -> bool:
    singles = array("f", values)
    return math.isfinite(sum(map(abs, singles))) and singles.count(0.0) == values.count(0.0)


class OfSingles(TypeDecorator[float]):
    """What a column of single precision is compared with: PostgreSQL sends a float as one of double precision.

    0.1 is not what the column has for it there. A number that no float of single precision stands for stays as it is.
    """

    impl = sqltypes.Double
    cache_ok = True

    @override
    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Give the float that the column would have."""
        if value is None or dialect.name != "postgresql" or not is_kept_single(value):
            return value
        return to_single(value)


OF_SINGLES: Final = OfSingles()


def _numeric(declared: sqltypes.Numeric[Any]) -> ColumnType:
    precision, scale = declared.precision, declared.scale or 0
    check, is_limited = _numeric_check(precision, scale), precision is not None
    operand = _unrounded(check, precision, scale) if is_limited else check
    # Nine tenths of what fits: who comes near the limit is looked at alone.
    bound = min(_LARGE, Decimal((0, (9,), (precision or 400) - scale - 1)))

    def fits(values: Any) -> bool:
        return all(map(Decimal.is_finite, values)) and (not values or (max(values) < bound and min(values) > -bound))

    return ColumnType(
        wraps=None,
        check=check,
        operand=operand,
        taken=partial(_taken_by_digits, check) if is_limited else lambda value: _unless_infinite(_taken_decimal(value)),
        quick=Quick(Decimal, fits),
        echo=None,  # it rounds to its scale
        travel=Travel.PLAIN,
        cursor=InCursor(Decimal, is_number),
        gives=(Decimal if declared.asdecimal else float,),
        compared=Comparison.DECIMAL,
        beside=Beside(
            family=Family.NUMBERS,
            wider=sqltypes.Numeric(asdecimal=cast("Any", declared.asdecimal)) if is_limited else None,
            keeps=operand if is_limited else None,
            one=partial(_one_number, scale if is_limited else None),
        ),
        is_condition=False,
    )


def _numeric_check(precision: int | None, scale: int) -> Check:
    bound: Decimal | None = None
    if precision is not None:  # the least number that would be rounded out of its digits, in exact arithmetic
        exact = Context(prec=precision + abs(scale) + 5)
        bound = exact.subtract(Decimal((0, (1,), precision - scale)), Decimal((0, (5,), -scale - 1)))

    def check(value: Any) -> str | None:
        if not is_number(value):
            return "holds numbers: give a Decimal"
        if complaint := finite_complaint(value):
            return complaint
        too_big = bound is not None and Decimal(value).copy_abs() >= bound
        return f"holds at most {precision} digits, {scale} of them after the point" if too_big else None

    return check


def _one_number(scale: int | None, value: Any) -> Any:
    """Give a number as it is stored: a float as all of its digits, rounded to the scale."""
    if not is_number(value) or finite_complaint(value):
        return value
    return Decimal(value) if scale is None else _STORED.quantize(Decimal(value), Decimal((0, (1,), -scale)))


_STORED: Final = Context(prec=2_000, rounding=ROUND_HALF_UP)


def _taken_decimal(value: Any) -> Any:
    """Take for a number what the driver makes one of, as it does of a text."""
    with suppress(TypeError, ValueError, ArithmeticError):
        return value if is_number(value) else Decimal(value)
    return value


def _taken_by_digits(check: Check, value: Any) -> Any:
    """Leave a number that is too large to PostgreSQL, which says so."""
    number = _taken_decimal(value)
    is_refused = is_number(number) and finite_complaint(number) is None and check(number) is not None
    return None if is_refused else number


def _unrounded(check: Check, precision: int | None, scale: int) -> Check:
    """Refuse what has more digits after the point, too, which PostgreSQL would round without a word."""

    def checked(value: Any) -> str | None:
        if complaint := check(value):
            return complaint
        number = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
        digits, exponent = number.as_tuple().digits, cast("int", number.as_tuple().exponent)
        is_finer = exponent < -scale and any(digits[max(len(digits) + exponent + scale, 0) :])
        return f"holds at most {precision} digits, {scale} of them after the point" if is_finer else None

    return checked


_LARGE: Final = Decimal("1E300")
"""More than this a float cannot hold, which SQLite keeps numbers as."""


def _boolean(_: sqltypes.Boolean) -> ColumnType:
    return ColumnType(
        wraps=None,
        check=_check_boolean,
        operand=_check_boolean,
        taken=_taken_boolean,
        quick=Quick(bool, always),
        echo=unchanged,
        travel=Travel.PLAIN,
        cursor=instances(bool),
        gives=(bool,),
        compared=Comparison.BOOLEAN,
        beside=Beside(family=Family.BOOLEANS),
        is_condition=True,
    )


def _taken_boolean(value: Any) -> Any:
    return bool(value) if isinstance(value, NUMBERS) and value in (0, 1) else value


def _check_boolean(value: object) -> str | None:
    return None if isinstance(value, bool) else "holds booleans: give True or False"


ROWS: Final[tuple[Row, ...]] = (
    (OfSingles, lambda _: _float(sqltypes.Double())),
    (sqltypes.SmallInteger, _integer(16)),
    (sqltypes.BigInteger, _integer(64)),
    (sqltypes.Integer, _integer(32)),
    (sqltypes.REAL, lambda declared: replace(_float(declared), echo=None)),
    (sqltypes.Float, _float),
    (sqltypes.Numeric, _numeric),
    (sqltypes.Boolean, _boolean),
)
