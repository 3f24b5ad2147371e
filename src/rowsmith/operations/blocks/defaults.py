"""Column defaults that Python makes (``Column.default``), a column at a time.

SQLAlchemy fills them in while it makes an INSERT of its own; COPY and arrays have to bring them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from types import CodeType
from typing import Any, cast

from sqlalchemy import ClauseElement, Column, Connection, Engine
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import schema
from sqlalchemy.sql.elements import BindParameter, Null

from rowsmith.mapping import RowInfo


def fill_defaults(info: RowInfo[object], columns: Mapping[str, Sequence[Any]], size: int) -> dict[str, Sequence[Any]]:
    """Give the columns that no spec sets and that Python knows: scalar and callable defaults, first versions.

    Args:
        info: the row.
        columns: what is set already, by attribute name.
        size: the number of rows.
    """
    filled: dict[str, Sequence[Any]] = {}
    for name in client_defaults(info, columns):
        default: Any = info.columns[name].default
        if is_version_made(info, name) or default.is_scalar:
            filled[name] = [default_of(info, name)] * size
        else:
            filled[name] = [default.arg(None) for _ in range(size)]
    return filled


def default_of(info: RowInfo[object], name: str) -> Any:
    """Give what Python makes of one of the :func:`client_defaults` for a new row."""
    if is_version_made(info, name):
        generate: Any = info.mapper.version_id_generator
        return generate(None)  # the first version, whatever else the column has for a default
    default: Any = info.columns[name].default
    return default.arg if default.is_scalar else default.arg(None)


def update_of(info: RowInfo[object], name: str) -> Any:
    """Give what one of the :func:`client_updates` writes into a row."""
    update: Any = info.columns[name].onupdate
    return update.arg if update.is_scalar else update.arg(None)


def client_defaults(info: RowInfo[object], written: Mapping[str, Any] | Sequence[str]) -> Iterator[str]:
    """Give the names, among those not written, whose value Python makes."""
    for name, column in info.columns.items():
        default: Any = column.default
        by_default = default is not None and (default.is_scalar or default.is_callable) and not _takes_context(default)
        if name not in written and (by_default or is_version_made(info, name)):
            yield name


def server_expressions(info: RowInfo[object], written: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Give the names, among those not written, whose ``Column.default`` is SQL: only an INSERT can evaluate it."""
    return [name for name, column in info.columns.items() if name not in written and _is_sql(column)]


def is_version_made(info: RowInfo[object], name: str) -> bool:
    """Say whether an attribute is the version, and that is made here and not by the database."""
    return name == info.version and callable(info.mapper.version_id_generator)


def _is_sql(column: Column[Any]) -> bool:
    """An optional sequence is none on a database that numbers rows itself."""
    default: Any = column.default
    if default is None or default.is_scalar or default.is_callable:
        return False
    return not (default.is_sequence and getattr(default, "optional", False))


def fill_contextual(
    connection: Connection, info: RowInfo[object], columns: Mapping[str, Sequence[Any]], size: int
) -> dict[str, list[Any]]:
    """Give the columns that no spec sets and whose defaults ask for a context; arguments as :func:`fill_defaults`."""
    names = contextual(info, columns)
    values = zip(*columns.values(), strict=True) if columns else repeat((), size)
    rows = [dict(zip(columns, row, strict=True)) for row in values]
    for row in rows:
        for name in names:
            default: Any = info.columns[name].default
            row[name] = default.arg(Context.of_row(connection, info, row, name, isinsert=True))
    return {name: [row[name] for row in rows] for name in names}


def contextual(info: RowInfo[object], written: Collection[str]) -> list[str]:
    """Give the names, among those not written, whose default asks for the context of the statement that it is in."""
    return [name for name, column in info.columns.items() if name not in written and _takes_context(column.default)]


def contextual_updates(info: RowInfo[object], written: Collection[str]) -> list[str]:
    """Give the names, among those not written, whose ``onupdate`` asks for a context."""
    return [name for name in python_updates(info, written) if _takes_context(info.columns[name].onupdate)]


def python_updates(info: RowInfo[object], written: Collection[str]) -> list[str]:
    """Give the names, among those not written, whose ``onupdate`` is a Python function."""
    updates: Any = {name: column.onupdate for name, column in info.columns.items() if name not in written}
    return [name for name, update in updates.items() if update is not None and update.is_callable]


def client_updates(info: RowInfo[object], written: Collection[str]) -> list[str]:
    """Give the names, among those not written, whose ``onupdate`` Python knows without a context."""
    updates: Any = {name: column.onupdate for name, column in info.columns.items() if name not in written}
    known = {name: update for name, update in updates.items() if update is not None and not _takes_context(update)}
    return [name for name, update in known.items() if update.is_scalar or update.is_callable]


def _takes_context(default: Any) -> bool:
    """SQLAlchemy wraps callables that take nothing in a lambda of its own."""
    if default is None or not default.is_callable:
        return False
    code: CodeType | None = getattr(default.arg, "__code__", None)
    return code is None or code.co_filename != schema.__file__


def _given(value: Any) -> Any:
    """Give what SQLAlchemy sends of an expression that is no more than a value."""
    if isinstance(value, BindParameter):
        return cast("Any", value).effective_value
    return None if isinstance(value, Null) else value


@dataclass
class Context:
    """What an ``onupdate`` that takes a context may ask of it, where SQLAlchemy has none for each single row."""

    connection: Connection
    current_parameters: Mapping[str, Any]
    isinsert: bool
    current_column: Column[Any]

    @classmethod
    def of_row(
        cls, connection: Connection, info: RowInfo[object], row: Mapping[str, object], name: str, *, isinsert: bool
    ) -> Context:
        """Give the context of one row's values, by attribute name, for the default of one attribute.

        A value that the database works out is not among the parameters, as with SQLAlchemy.
        """
        columns = info.columns
        known = {key: _given(value) for key, value in row.items()}
        plain = {columns[key].key: value for key, value in known.items() if not isinstance(value, ClauseElement)}
        return cls(connection, plain, isinsert, columns[name])

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> dict[str, Any]:
        """Give the values of the row by the keys of their columns, as SQLAlchemy's own context does."""
        return dict(self.current_parameters)

    @property
    def isupdate(self) -> bool:
        """Whether the statement is an UPDATE."""
        return not self.isinsert

    @property
    def root_connection(self) -> Connection:
        """The connection."""
        return self.connection

    @property
    def engine(self) -> Engine:
        """The connection's engine."""
        return self.connection.engine

    @property
    def dialect(self) -> Dialect:
        """The connection's dialect."""
        return self.connection.dialect

    @property
    def execution_options(self) -> Mapping[str, Any]:
        """The connection's options."""
        return self.connection.get_execution_options()
