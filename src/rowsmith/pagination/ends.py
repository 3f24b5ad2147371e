"""The ends of Python's calendar as sort keys, which asyncpg gives for PostgreSQL's infinities, and takes for those.

Other programs store them for "none" and "for ever". So the database says of each timestamp that is sorted by whether it
is finite, and what a cursor carries of a finite end is a text.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine, UserDefinedType
from typing_extensions import override

from rowsmith.mapping.types import ENDS_OF_TIME, Comparison, column_type

_TEXTS: Final = ("0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00")
"""The two as PostgreSQL reads them whatever a session's settings are; of a ``timestamp`` it passes over the zone."""

_NAMES: Final = {
    Comparison.MOMENT: "TIMESTAMP WITH TIME ZONE",
    Comparison.LOCAL_TIME: "TIMESTAMP WITHOUT TIME ZONE",
}
_BOOLEAN: Final = Boolean()


def has_ends(kind: TypeEngine[Any]) -> bool:
    """Say whether a type holds timestamps, with a zone or without."""
    return column_type(kind).compared in _NAMES


def is_end(value: object, kind: TypeEngine[Any]) -> bool:
    """Say whether a value is what :func:`carried` gives for an end of time, and a type one that has it."""
    return isinstance(value, str) and value in _TEXTS and has_ends(kind)


def carried(value: Any, *, is_finite: object) -> Any:
    """Give what a cursor carries of a timestamp."""
    if is_finite and isinstance(value, dt.datetime) and value in ENDS_OF_TIME:
        return _TEXTS[value.year == dt.MAXYEAR]
    return value


def end_bound(value: object, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """Give the parameter for a value that :func:`is_end`."""
    return literal(value, _End(_NAMES[column_type(kind).compared]))


class Finite(ColumnElement[bool]):
    """Whether a timestamp is none of PostgreSQL's infinities; the cheapest there is to ask of each row of a page."""

    __visit_name__ = "rowsmith_finite"
    _traverse_internals = [("moment", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 - SQLAlchemy's own form
    type = _BOOLEAN

    def __init__(self, moment: ColumnElement[Any]) -> None:
        self.moment: Any = moment

    @property
    def _from_objects(self) -> Any:
        return self.moment._from_objects


@compiles(Finite)
def _is_finite(element: Finite, compiler: SQLCompiler, **options: Any) -> str:
    return f"isfinite({compiler.process(element.moment, **options)})"


class _End(UserDefinedType[str]):
    """An end of time, which is sent as text.

    The cast from it stands in the type's name, for a type that has an expression around its values has no native plan.
    """

    cache_ok = True
    render_bind_cast = True

    def __init__(self, stored: str) -> None:
        self.stored = stored

    @override
    def get_col_spec(self, **_: Any) -> str:
        return f"TEXT::{self.stored}"
