"""Text, and enums, which are text to SQLAlchemy."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine, UserDefinedType

from rowsmith.mapping.types.column_type import (
    NONE,
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
    converted,
    instances,
    itself,
    unchanged,
)
from rowsmith.mapping.types.unknown import by_python_type


def text_complaint(value: str) -> str | None:
    """Say why PostgreSQL's ``text`` cannot hold this string: a NUL byte, or a lone surrogate (not UTF-8)."""
    if "\x00" in value:
        return "cannot hold a NUL character: remove it"
    return None if is_unicode(value) else "cannot hold a lone surrogate: the text is not valid Unicode"


def is_unicode(text: str) -> bool:
    """Say whether UTF-8 has a form of this text, which it has for all but lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _string(declared: sqltypes.String) -> ColumnType:
    limit = declared.length
    folds = declared.collation is not None or isinstance(declared, postgresql.CITEXT)

    def fits(values: Any) -> bool:
        if limit is not None and max(map(len, values), default=0) > limit:
            return False
        text = "".join(values)
        return "\x00" not in text and is_unicode(text)

    return ColumnType(
        wraps=None,
        check=_text_check(limit),
        operand=_text_check(None),  # a longer text is a fair question with the answer "none"
        taken=itself if limit is None else partial(_taken_text, limit),
        quick=Quick(str, fits),
        echo=converted(str, str.__str__),
        travel=Travel.PLAIN,
        cursor=instances(str),
        gives=(str,),
        compared=Comparison.TEXT,
        beside=Beside(family=Family.TEXT, folds=folds),
        is_condition=False,
    )


def _taken_text(limit: int, value: Any) -> Any:
    """Leave a text that is too long to PostgreSQL, which says so, unless blanks are all that it would cut off."""
    is_refused = isinstance(value, str) and value[limit:].strip(" ")
    return None if is_refused else value


def _text_check(limit: int | None) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "holds text: give a str"
        if limit is not None and len(value) > limit:
            return f"holds at most {limit} characters"
        return None if value.isascii() and "\x00" not in value else text_complaint(value)

    return check


def unlimited(declared: TypeEngine[Any]) -> TypeEngine[Any]:
    """Give a type of text without the limit of its length; any other type as it is."""
    if not isinstance(declared, sqltypes.String) or isinstance(declared, sqltypes.Enum) or declared.length is None:
        return declared
    return Blanks() if isinstance(declared, sqltypes.CHAR) else sqltypes.String()


class Blanks(UserDefinedType[str]):
    """PostgreSQL's CHAR of any length: blanks at the end count as little as in any other."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Give its name in PostgreSQL."""
        return "BPCHAR"


def _enum(declared: sqltypes.Enum) -> ColumnType:
    if declared.enum_class is not None:
        return _members(declared, declared.enum_class)
    names = frozenset(declared.enums)
    complaint = f"holds one of {sorted(names)}"
    return ColumnType(
        wraps=None,
        check=lambda value: None if isinstance(value, str) and value in names else complaint,
        operand=anything,  # SQLAlchemy refuses the rest on every backend
        taken=_taken_member(declared),
        quick=Quick(str, lambda values: names.issuperset(values)),
        echo=unchanged,
        travel=Travel.PLAIN,
        cursor=InCursor(str, lambda value: isinstance(value, str) and value in names),
        gives=(str,),
        compared=Comparison.NAMES,
        beside=_beside(declared),
        is_condition=False,
    )


def _beside(declared: sqltypes.Enum) -> Beside:
    return Beside(family=Family.TEXT, alone=declared.name if declared.native_enum else None)


def _taken_member(declared: sqltypes.Enum) -> Take:
    """Give what takes for a member what SQLAlchemy takes for one: its name, and what is equal to it."""
    known: Any = declared

    def taken(value: Any) -> Any:
        with suppress(LookupError, TypeError):  # what has no hash is none
            return known._object_value_for_elem(known._db_value_for_elem(value))
        return value

    return taken


def _members(declared: sqltypes.Enum, members: type[object]) -> ColumnType:
    return ColumnType(
        wraps=None,
        check=lambda value: None if isinstance(value, members) else f"holds members of {members.__name__}",
        operand=anything,  # SQLAlchemy also takes a member's name here, and refuses the rest on every backend
        taken=_taken_member(declared),
        quick=Quick(members, always),
        echo=unchanged,
        travel=Travel.PLAIN,
        cursor=instances(members),
        gives=(members,),
        compared=Comparison.MEMBERS,
        beside=_beside(declared),
        is_condition=False,
    )


def _lexemes(declared: postgresql.TSVECTOR) -> ColumnType:
    return ColumnType(
        wraps=None,
        check=anything,
        operand=anything,
        taken=itself,
        quick=Quick(NONE, None),
        echo=None,
        travel=Travel.SINGLY,
        cursor=by_python_type(declared),
        gives=(str,),
        compared=Comparison.LEXEMES,
        beside=Beside(family=None),
        is_condition=False,
    )


ROWS: Final[tuple[Row, ...]] = (
    (sqltypes.Enum, _enum),
    (sqltypes.CHAR, lambda declared: replace(_string(declared), echo=None)),  # it pads with blanks
    (sqltypes.String, _string),
    (postgresql.TSVECTOR, _lexemes),
)
