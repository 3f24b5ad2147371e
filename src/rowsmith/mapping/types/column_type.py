"""The record of a column type: each thing that some part of rowsmith has to know of it, and none by default."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeGuard

from sqlalchemy.types import TypeEngine

Check: TypeAlias = Callable[[Any], str | None]
"""Takes a value that is not None; gives the complaint, or None if the column can hold it."""

Take: TypeAlias = Callable[[Any], Any]
"""Takes a value that is not None; gives the one that a driver takes it for, where that keeps all of it; else itself."""

Fits: TypeAlias = Callable[[Sequence[Any]], bool]
"""Takes the values of a column that are not None, of one exact type; True: each of them surely fits."""

Echo: TypeAlias = Callable[[Sequence[Any], set[type[Any]]], Sequence[Any]]
"""Takes the values written to a column and their exact types; gives what a SELECT would."""

NONE: Final[type[Any]] = type(None)
NUMBERS: Final = (int, float, Decimal)


@dataclass(frozen=True, slots=True)
class Quick:
    """The check of a whole column at once: the exact type that it is for, and the check."""

    exact: type[Any]
    fits: Fits | None
    """None: the column takes everything."""


@dataclass(frozen=True, slots=True)
class InCursor:
    """How values stand in a cursor: the Python type that they are of, and whether a value is one of them."""

    python: type[Any]
    """``object``: only the database knows."""
    holds: Callable[[Any], bool]


class Travel(enum.Enum):
    """How values go to asyncpg many at a time; COPY needs types that it writes in binary."""

    PLAIN = "by COPY, and as members of an array"
    BYTES = "as PLAIN, without SQLAlchemy's wrapping of bytes for other drivers"
    JSON = "by COPY, and as text in an array; None is no value but NULL"
    ARRAY = "by COPY, and as text in an array, which unnest would take apart"
    MEMBERS = "as members of an array, not by COPY"
    SINGLY = "each value by itself"


class Comparison(enum.Enum):
    """What the filters compare: each filter says which of these it takes."""

    TEXT = "text"
    LEXEMES = "tsvector"
    NAMES = "an enum of texts"
    MEMBERS = "an enum of Python's"
    INTEGER = "integers"
    FLOAT = "floats"
    DECIMAL = "decimals"
    BOOLEAN = "booleans"
    MOMENT = "points in time"
    LOCAL_TIME = "local times"
    DATE = "dates"
    UUID = "UUIDs"
    UUID_TEXT = "UUIDs as text"
    ARRAY = "arrays"
    DOCUMENT = "JSON documents"
    NONE = "nothing, unless a TypeDecorator makes something else of it"
    NEVER = "nothing, whatever a TypeDecorator makes of it"


class Family(enum.Enum):
    """What PostgreSQL compares with each other, and with nothing else; the words say what such types hold."""

    TEXT = "text"
    NUMBERS = "numbers"
    BOOLEANS = "booleans"
    TIMES = "times"
    TIMES_OF_DAY = "times of day"
    DURATIONS = "durations"
    UUIDS = "UUIDs"
    BYTES = "bytes"
    DOCUMENTS = "JSON documents"
    ARRAYS = "arrays"
    RANGES = "ranges"
    ADDRESSES = "addresses"
    HARDWARE_ADDRESSES = "hardware addresses"
    LONG_HARDWARE_ADDRESSES = "hardware addresses of eight bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What PostgreSQL does with values of a type that stand beside others; the answers left out are those of most."""

    family: Family | None
    """None: nobody here knows."""
    alone: str | None = None
    """The type's name, where it is compared with no other type of its family."""
    is_ordered: bool = True
    """Whether rows can be sorted by it, or grouped: PostgreSQL has both of a type or neither."""
    wider: TypeEngine[Any] | None = None
    """What a value is compared as that the type itself would round; None: it rounds nothing."""
    keeps: Check | None = None
    """Whether a value is stored as it is, as a key and what a scope says of new rows have to be; None: all that fit."""
    is_of_single_precision: bool = False
    """Whether it holds such floats, which are compared with those of double precision."""
    one: Take | None = None
    """Gives a value as the one form that stands for all that are stored as the same; None: as it is."""
    folds: bool = False
    """Whether values that Python tells apart may be equal, by the case of letters or what else a collation says."""
    splits: bool = False
    """Whether values that Python holds to be equal may be two; see :func:`rowsmith.identity.are_one`."""

    @property
    def rounds(self) -> bool:
        """Whether a value that is written may be stored as another one."""
        return self.keeps is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """What is known of one SQL type. No part has a default, so a new type cannot be without (see :class:`Beside`)."""

    wraps: TypeEngine[Any] | None
    """What values are stored as, where a TypeDecorator makes something else of them; None: as they are."""
    check: Check
    """Whether the column can hold a value."""
    operand: Check
    """Whether a value that is compared with the column can be sent as one of its type, and stays what it is."""
    taken: Take
    """As what value of the type's own a driver takes one of another class, which no plain column would hold.

    It is asked about what a team's type binds. None: it is kept, though ``check`` would not hold it, or PostgreSQL says
    by itself that it does not fit.
    """
    quick: Quick
    echo: Echo | None
    """What the database gives back for what was written; None where only it knows."""
    travel: Travel
    cursor: InCursor
    gives: tuple[type[Any], ...]
    """The classes of values that are read; none where only the database or a team's code knows."""
    compared: Comparison
    beside: Beside
    is_condition: bool | None
    """Whether a value by itself is true or false, and so a condition; None where only the database knows."""


Row: TypeAlias = tuple[type[Any], Callable[[Any], ColumnType]]
"""A line of the table: a class of types, and what makes the record of one of them."""


def anything(value: object) -> str | None:
    """Complain of nothing: the check of types that nobody here knows."""
    return None


def itself(value: Any) -> Any:
    """Give a value as it is: what is taken for a value of the type's own where no other class is."""
    return value


def is_walked(kind: type[Any]) -> bool:
    """Say whether asyncpg takes values of a class for arrays where they are an array's members.

    It does so with what has a length and can be walked through; a list of one member would be stored as that member.
    """
    is_one = issubclass(kind, (str, bytes, bytearray, memoryview, Mapping))
    return not is_one and issubclass(kind, Sized) and issubclass(kind, Iterable)


def never(values: Sequence[object]) -> bool:
    """Be sure of no value: each is checked by itself."""
    return not values


def always(values: Sequence[object]) -> bool:
    """Be sure of every value of the exact type."""
    return True


def unchanged(values: Sequence[object], types: set[type[Any]]) -> Sequence[Any]:
    """Echo values as they are."""
    return values


def converted(exact: type[object], convert: Callable[[Any], object]) -> Echo:
    """Give the echo of values of derived classes: an IntEnum goes in as its number, a str subclass as its text."""

    def echo(values: Sequence[object], types: set[type[Any]]) -> Sequence[Any]:
        if types <= {exact, NONE}:
            return values
        return [None if value is None else convert(value) for value in values]

    return echo


def instances(python: type[object]) -> InCursor:
    """Give the form in a cursor of types whose values are of one class."""
    return InCursor(python, lambda value: isinstance(value, python))


def is_int(value: object) -> TypeGuard[int]:
    """Say whether a value is a whole number: a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Say whether a value is a number; a bool is none."""
    return isinstance(value, NUMBERS) and not isinstance(value, bool)
