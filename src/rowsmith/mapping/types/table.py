"""The table itself: which record a SQL type has."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import Any, Final, cast

from sqlalchemy import ARRAY, ClauseElement, Integer
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from rowsmith.mapping.types import binary, documents, numbers, ranges, text, times, unknown
from rowsmith.mapping.types.column_type import NONE, Check, ColumnType, Comparison, Family, InCursor, Quick, Row, never


@lru_cache(maxsize=1024)
def column_type(declared: TypeEngine[Any]) -> ColumnType:
    """Give what is known of a SQL type.

    A class of somebody else's may bind, read or wrap its values in any way, so it has no echo.
    """
    if variants := declared._variant_mapping:  # pyright: ignore[reportPrivateUsage]
        known = {name: column_type(variant) for name, variant in variants.items()}
        held_alone = column_type(_alone(declared))
        first, held = known.get("postgresql", held_alone), _of_all(held_alone, list(known.values()))
        return replace(
            held,
            operand=first.operand if first.beside.rounds else held.operand,
            compared=first.compared,
            beside=replace(first.beside, splits=any(one.beside.splits for one in (held_alone, *known.values()))),
            travel=first.travel,
            is_condition=first.is_condition,
        )
    make = next((make for kind, make in TABLE if isinstance(declared, kind)), unknown.unknown)
    record = make(declared)
    if is_sqlalchemys(declared):
        return record
    own = replace(record, echo=None, gives=() if reads_itself(declared) else record.gives)
    return own if own.wraps is not None else replace(own, beside=replace(own.beside, wider=None, splits=True))


def _decorator(declared: TypeDecorator[Any]) -> ColumnType:
    """Give the record of a decorator: it holds what it makes values of, or what it wraps where it makes nothing."""
    record = replace(unknown.unknown(declared), wraps=declared.impl_instance, is_condition=None)
    if binds_itself(declared):
        is_of_whole_numbers = isinstance(stored_form(declared.impl_instance), Integer)
        return _of_whole_numbers(record, declared) if is_of_whole_numbers else record
    inner = column_type(declared.impl_instance)
    own, rounding = record.beside, inner.beside
    beside = replace(
        own,
        wider=rounding.wider,
        keeps=rounding.keeps,
        is_of_single_precision=rounding.is_of_single_precision,
        splits=rounding.splits or reads_itself(declared),
    )
    return replace(record, check=inner.check, operand=inner.operand, quick=inner.quick, beside=beside)


def _of_whole_numbers(record: ColumnType, declared: TypeDecorator[Any]) -> ColumnType:
    """Give the record of a decorator over whole numbers: of a fraction that it makes the driver would cut a part."""

    def check(value: object) -> str | None:
        try:
            # With what the decorators beneath make of it: one that rounds leaves nothing to cut.
            bind = declared._cached_bind_processor(_POSTGRESQL)  # pyright: ignore[reportPrivateUsage]
            made = None if bind is None or isinstance(value, ClauseElement) else bind(value)
            is_cut = isinstance(made, float | Decimal) and made != made // 1
        except Exception:  # noqa: BLE001 - a team's code; it says so once more, where the value is bound
            return None
        return "is bound by its type as a fraction, of which a column of whole numbers keeps a part" if is_cut else None

    return replace(record, check=check, operand=check, quick=Quick(NONE, never))


_POSTGRESQL: Final[Dialect] = cast("Any", postgresql).dialect()


def _domain(declared: postgresql.DOMAIN) -> ColumnType:
    """Give the record of a domain: the database checks what it holds, and rounds that as the type that it is of.

    Of times and arrays it would store without a word what cannot be read again, or is another one.
    """
    record, of = unknown.unknown(declared), column_type(declared.data_type)
    kinds = _KEPT_IN_DOMAINS.get(of.beside.family, ())

    def check(value: object) -> str | None:
        return of.check(value) if isinstance(value, kinds) else None  # others may be values to the driver, too

    beside = replace(record.beside, keeps=of.beside.keeps)
    return replace(record, check=check, quick=Quick(NONE, never), is_condition=of.is_condition, beside=beside)


_KEPT_IN_DOMAINS: Final[Mapping[Family | None, tuple[type[Any], ...]]] = {
    Family.TIMES: (dt.date,),
    Family.TIMES_OF_DAY: (dt.time,),
    Family.DURATIONS: (dt.timedelta,),
    Family.ARRAYS: (list, tuple),
}


def _of_all(record: ColumnType, variants: Sequence[ColumnType]) -> ColumnType:
    """Give what is known of a type that another one stands in for on some databases, where it is not said on which.

    A column holds what any of them holds; once it is known to be PostgreSQL's, what :func:`on_postgresql` does. Filters
    compare it, and arrays carry it, as PostgreSQL's variant, if it has one, and else as the type itself.
    """
    records = (record, *variants)
    return replace(
        record,
        check=_any_of([one.check for one in records]),
        operand=_any_of([one.operand for one in records]),
        quick=Quick(NONE, never),
        echo=None,
        cursor=InCursor(object, lambda value: any(one.cursor.holds(value) for one in records)),
        gives=tuple(dict.fromkeys(chain(*(one.gives for one in records)))) if all(one.gives for one in records) else (),
    )


def _any_of(checks: Sequence[Check]) -> Check:
    def check(value: object) -> str | None:
        complaints = [one(value) for one in checks]
        return None if None in complaints else complaints[-1]

    return check


def on_postgresql(declared: TypeEngine[Any]) -> TypeEngine[Any]:
    """Give a type as PostgreSQL has it: without variants, and without those of what it wraps or is an array of."""
    variants = declared._variant_mapping  # pyright: ignore[reportPrivateUsage]
    own = variants["postgresql"] if "postgresql" in variants else _alone(declared)
    form: Any = own
    if isinstance(own, _DECORATOR):
        inner = on_postgresql(form.impl_instance)
        if inner is not form.impl_instance:
            form = form.copy()
            form.impl = form.impl_instance = inner
    elif isinstance(own, ARRAY):
        item = on_postgresql(form.item_type)
        if item is not form.item_type:
            form = form.copy()
            form.item_type = item
    return cast("TypeEngine[Any]", form)


def _alone(declared: TypeEngine[Any]) -> TypeEngine[Any]:
    """Give a type without what stands in for it on some databases."""
    if not (variants := declared._variant_mapping):  # pyright: ignore[reportPrivateUsage]
        return declared
    alone = declared.copy()
    alone._variant_mapping = type(variants)()  # pyright: ignore[reportPrivateUsage]
    return alone


def stores_none(declared: TypeEngine[Any], dialect: Dialect | None = None) -> bool:
    """Say whether a type's own code makes a value of None, which is then no NULL."""
    value: Any = None
    while (wrapped := column_type(declared).wraps) is not None:
        decorator = cast("TypeDecorator[Any]", declared)
        binds = any("process_bind_param" in vars(kind) for kind in _own_classes(decorator))
        with suppress(Exception):  # a team's code may raise anything; it is asked again when it binds
            value = decorator.process_bind_param(value, dialect or DIALECTS[0]) if binds else value
        declared = wrapped
    return value is not None


def is_sqlalchemys(declared: TypeEngine[Any]) -> bool:
    """Say whether a type is as SQLAlchemy made it: anybody else's may bind, read or wrap its values in any way."""
    return type(declared).__module__.startswith(("sqlalchemy.", "rowsmith."))


def is_moment(declared: TypeEngine[Any]) -> bool:
    """Say whether a type holds points in time, as they are; see :func:`rowsmith.mapping.types.in_utc`."""
    return column_type(declared).compared is Comparison.MOMENT and is_sqlalchemys(declared)


def binds_itself(declared: TypeEngine[Any]) -> bool:
    """Say whether code of a team's may make something else of the values that are written."""
    if not isinstance(declared, _DECORATOR):
        return not is_sqlalchemys(declared)
    return any(name in vars(kind) for kind in _own_classes(declared) for name in _BINDING)


def read_as(declared: TypeEngine[Any]) -> tuple[type[Any], ...]:
    """Give the classes of the values that are read of a type, on whatever database; none where nobody here knows."""
    record = column_type(declared)
    return record.gives if record.wraps is None or reads_itself(declared) else read_as(record.wraps)


def reads_itself(declared: TypeEngine[Any]) -> bool:
    """Say whether code of a team's makes the values that are read."""
    return any(name in vars(kind) for kind in _own_classes(declared) for name in _READING)


def _own_classes(declared: TypeEngine[Any]) -> list[type[Any]]:
    return [kind for kind in type(declared).__mro__ if not kind.__module__.startswith(("sqlalchemy.", "builtins"))]


_DECORATOR: Final[Any] = TypeDecorator
_BINDING: Final = (
    "process_bind_param",
    "bind_processor",
    "bind_expression",
    "load_dialect_impl",
    "coerce_compared_value",
)
_READING: Final = ("process_result_value", "result_processor", "column_expression", "load_dialect_impl", "python_type")


DIALECTS: Final[tuple[Dialect, ...]] = (cast("Any", asyncpg.dialect)(), cast("Any", sqlite.dialect)())
"""Those of the databases that rowsmith is for."""


def stored_form(declared: TypeEngine[Any], dialect: Dialect | None = None) -> TypeEngine[Any]:
    """Give the type that values are stored as: what TypeDecorators wrap, and the variant for the dialect, if given."""
    form = _on(declared, dialect)
    while (wrapped := column_type(form).wraps) is not None:
        form = _on(wrapped, dialect)
    return form


def constraint_names(declared: TypeEngine[Any]) -> tuple[str, ...]:
    """Give the names that the constraints of a domain may have: the one declared, and PostgreSQL's own for it."""
    form: Any = stored_form(declared)
    if not isinstance(form, postgresql.DOMAIN):
        return ()
    return tuple(name for name in (form.constraint_name, f"{form.name}_check") if name is not None)


def _on(declared: TypeEngine[Any], dialect: Dialect | None) -> TypeEngine[Any]:
    return declared if dialect is None else declared.dialect_impl(dialect)


# The first class that fits decides, so one stands before its bases; Interval and PickleType before TypeDecorator.
TABLE: Final[tuple[Row, ...]] = (
    *text.ROWS,
    *numbers.ROWS,
    *times.ROWS,
    *binary.ROWS,
    *documents.ROWS,
    documents.array_row(column_type),
    *ranges.range_rows(column_type),
    (postgresql.DOMAIN, _domain),
    (TypeDecorator, _decorator),
    *unknown.ROWS,
)
