"""The table itself: which record a SQL type has."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, reduce
from itertools import chain
from numbers import Number
from typing import Any, Final, cast

from sqlalchemy import ARRAY, Numeric
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine
from typing_extensions import override

from rowsmith.mapping.types import binary, documents, numbers, ranges, text, times, unknown
from rowsmith.mapping.types.column_type import (
    NONE,
    Check,
    ColumnType,
    Comparison,
    Family,
    InCursor,
    Quick,
    Row,
    Take,
    itself,
    never,
)
from rowsmith.sql import is_sql


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
            taken=first.taken,
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
    if isinstance(declared, Unrounded):
        check = column_type(declared.decorator).check
        return replace(record, check=check, operand=check)
    if binds_itself(declared):
        return record if is_sqlalchemys(declared) else _held(record, declared)
    inner = column_type(declared.impl_instance)
    own, rounding = record.beside, inner.beside
    beside = replace(
        own,
        wider=rounding.wider,
        keeps=rounding.keeps,
        is_of_single_precision=rounding.is_of_single_precision,
        splits=rounding.splits or reads_itself(declared),
    )
    return replace(
        record, check=inner.check, operand=inner.operand, taken=inner.taken, quick=inner.quick, beside=beside
    )


def _held(record: ColumnType, declared: TypeDecorator[Any]) -> ColumnType:
    """Give the record of a decorator that binds: what it makes of values is held against what stores them."""

    def held(check_of: Callable[[ColumnType], Check]) -> Check:
        def check(value: object) -> str | None:
            if is_sql(value) or isinstance(value, Iterator):  # which would be read to its end, that some SQL has not
                return None
            try:
                bind, stored = _bound(declared)
                made = bind(value)
                taken = None if made is None or _is_opaque(made) else stored.taken(made)
                complaint = None if taken is None else check_of(stored)(taken)
            except Exception:  # noqa: BLE001 - a team's code, or class; it says so once more, where the value is bound
                return None
            return complaint and f"has a type that binds what its column does not take: it {complaint}"

        return check

    rounding = column_type(declared.impl_instance).beside
    wider = None if _has_own(declared, "load_dialect_impl", "bind_processor", "bind_expression") else rounding.wider
    if wider is not None and _has_own(declared, "process_bind_param"):
        wider = Unrounded(declared, wider)
    keeps = held(lambda stored: stored.beside.keeps or stored.check) if rounding.rounds else None
    beside = replace(record.beside, wider=wider, keeps=keeps)
    check, operand = held(lambda stored: stored.check), held(lambda stored: stored.operand)
    return replace(record, check=check, operand=operand, quick=Quick(NONE, never), beside=beside)


@lru_cache(maxsize=1024)
def _bound(declared: TypeDecorator[Any]) -> tuple[Take, ColumnType]:
    """Give what makes of a value what is stored, with all decorators that stand above each other, and what stores it.

    As PostgreSQL has it, for the answer is to be the same on every database. Around some values there is SQL, of which
    nobody here knows what it makes.
    """
    form: Any = on_postgresql(declared)
    if form._has_bind_expression:
        return itself, unknown.unknown(form)
    steps: list[Take] = []
    while column_type(form).wraps is not None:
        if _has_own(form, "bind_processor"):  # with whatever else there is below
            steps.append(form.dialect_impl(_POSTGRESQL).bind_processor(_POSTGRESQL) or itself)
            form = stored_form(form)
        else:
            steps += [_binder(form)] * _has_own(form, "process_bind_param")
            form = on_postgresql(form.load_dialect_impl(_POSTGRESQL))
    return lambda value: reduce(lambda made, step: step(made), steps, value), column_type(form)


def _is_opaque(value: object) -> bool:
    """Say whether a value is nothing that a driver could take for another one: it refuses it by itself."""
    return not any(hasattr(value, name) for name in _READ_BY_DRIVERS)


_READ_BY_DRIVERS: Final = ("__len__", "__int__", "__float__", "toordinal", "hour", "days", "lower_inc")
"""What asyncpg makes numbers, dates, times, durations, ranges, and with SQLAlchemy arrays of; texts have a length."""


def _binder(declared: TypeDecorator[Any]) -> Take:
    return lambda value: declared.process_bind_param(value, _POSTGRESQL)


class Unrounded(TypeDecorator[Any]):
    """What a column is compared with whose decorator stands above a type that rounds: as it binds, but as ``wider``."""

    impl = Numeric
    cache_ok = True

    def __init__(self, decorator: TypeDecorator[Any], wider: TypeEngine[Any]) -> None:
        super().__init__()
        self.decorator, self.wider = decorator, wider
        self.impl = self.impl_instance = cast("Any", wider)

    @override
    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Bind as the decorator does."""
        return self.decorator.process_bind_param(value, dialect)


def _domain(declared: postgresql.DOMAIN) -> ColumnType:
    """Give the record of a domain: the database checks what it holds, and rounds that as the type that it is of.

    Of numbers, times and arrays it would store without a word what cannot be read again, or is another one.
    """
    record, of = unknown.unknown(declared), column_type(declared.data_type)
    kinds = _KEPT_IN_DOMAINS.get(of.beside.family, ())

    def check(value: object) -> str | None:
        taken = of.taken(value) if isinstance(value, kinds) else None  # others may be values to the driver, too
        return None if taken is None else of.check(taken)

    beside = replace(record.beside, keeps=of.beside.keeps)
    return replace(record, check=check, quick=Quick(NONE, never), is_condition=of.is_condition, beside=beside)


_KEPT_IN_DOMAINS: Final[Mapping[Family | None, tuple[type[Any], ...]]] = {
    Family.NUMBERS: (Number,),
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
        binds = _has_own(decorator, "process_bind_param")
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
    return _has_own(declared, *_BINDING)


def are_bound_alike(one: TypeEngine[Any], other: TypeEngine[Any], value: object) -> bool:
    """Say whether a value surely is the same in the database, as one of this type and as one of that."""
    kinds: list[Any] = [kind.decorator if isinstance(kind, Unrounded) else kind for kind in (one, other)]
    making = [layer for layer in chain(*map(layers, kinds)) if _has_own(layer, *_MAKING)]
    if not making or kinds[0] is kinds[1]:
        return True
    if any(not isinstance(layer, _DECORATOR) or _has_own(layer, "bind_expression") for layer in making):
        return False
    try:
        return bool(_bound(kinds[0])[0](value) == _bound(kinds[1])[0](value))
    except Exception:  # noqa: BLE001 - a team's code
        return False


def layers(declared: TypeEngine[Any]) -> Iterator[TypeEngine[Any]]:
    """Give a type, and all that decorators wrap beneath it."""
    yield declared
    while (wrapped := column_type(declared).wraps) is not None:
        yield wrapped
        declared = wrapped


def read_as(declared: TypeEngine[Any]) -> tuple[type[Any], ...]:
    """Give the classes of the values that are read of a type, on whatever database; none where nobody here knows."""
    record = column_type(declared)
    return record.gives if record.wraps is None or reads_itself(declared) else read_as(record.wraps)


def reads_itself(declared: TypeEngine[Any]) -> bool:
    """Say whether code of a team's makes the values that are read."""
    return _has_own(declared, *_READING)


def _has_own(declared: TypeEngine[Any], *names: str) -> bool:
    """Say whether a team's code overrides one of some methods."""
    return any(name in vars(kind) for kind in _own_classes(declared) for name in names)


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
_MAKING: Final = ("process_bind_param", "bind_processor", "bind_expression")
_READING: Final = ("process_result_value", "result_processor", "column_expression", "load_dialect_impl", "python_type")


DIALECTS: Final[tuple[Dialect, ...]] = (cast("Any", asyncpg.dialect)(), cast("Any", sqlite.dialect)())
"""Those of the databases that rowsmith is for."""

_POSTGRESQL: Final = DIALECTS[0]


def stored_form(declared: TypeEngine[Any], dialect: Dialect | None = None) -> TypeEngine[Any]:
    """Give the type that values are stored as: what TypeDecorators wrap, and the variant for the dialect, if given."""
    form = _on(declared, dialect)
    while (wrapped := column_type(form).wraps) is not None:
        form = _on(wrapped, dialect)
    return form


@lru_cache(maxsize=1024)
def compared_type(declared: TypeEngine[Any]) -> ColumnType:
    """Give what is known of what PostgreSQL compares values of a type as: what is stored, and what a domain is of."""
    form = stored_form(declared, _POSTGRESQL)
    return compared_type(form.data_type) if isinstance(form, postgresql.DOMAIN) else column_type(form)


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
