"""Sending a statement whose parameters are arrays, its results column-wise: straight to asyncpg, or by SQLAlchemy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, CompoundSelect, Select
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import UpdateBase

from rowsmith.errors import InvalidValue
from rowsmith.execution import Origin
from rowsmith.execution.apart import apart
from rowsmith.execution.driver import use_driver
from rowsmith.execution.postgresql import leaves
from rowsmith.execution.records import fetch_records
from rowsmith.execution.refusals import Refusal, note_refused_by
from rowsmith.execution.translate import stored_value
from rowsmith.execution.undone import note_write

Statement: TypeAlias = UpdateBase | Select[Any] | CompoundSelect[Any]


def compile_statement(statement: Statement, dialect: Dialect) -> Any:
    """Compile a statement, its parameters apart from the columns of an application's."""
    try:
        return statement.compile(dialect=dialect)
    except CompileError:
        return apart(statement).compile(dialect=dialect)


@dataclass(frozen=True)
class ArrayStatement:
    """A statement that gives rows, and whose large parameters are arrays, bound already, by parameter name.

    ``compiled`` is the statement where that was compiled before, or None; ``values`` are those of its other parameters
    that may be others by now, by name.
    """

    statement: Statement
    compiled: Any
    arrays: Mapping[str, list[Any]]
    dialect: Dialect
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])

    async def send(self, driver: Any, origin: Origin) -> list[Sequence[Any]]:
        """Send it on asyncpg's connection, and give one sequence of values for each expression that it gives.

        Raises:
            InvalidValue: a stored value is none of its column's type.
        """
        compiled = self.compiled or compile_statement(self.statement, self.dialect)
        expanded = compiled.construct_expanded_state({**self.values, **self.arrays})
        # Without a name, so that nothing of it stays behind on the server's side of a connection pooler.
        prepared = await driver.prepare(expanded.statement, name="")
        processors, parameters = {**compiled._bind_processors, **expanded.processors}, expanded.parameters
        arguments = [
            parameters[name] if name in self.arrays else _processed(processors.get(name), parameters[name])
            for name in expanded.positiontup or ()
        ]
        try:
            records: Sequence[Any] = await prepared.fetch(*arguments)
        except Exception as exc:
            await note_refused_by(exc, prepared, arguments, compiled, expanded)
            raise
        items = list(self.statement.exported_columns)
        if not records:
            return [()] * len(items)
        oids = [attribute.type.oid for attribute in prepared.get_attributes()]
        columns = zip(*records, strict=True)
        return [self._read(*column, origin) for column in zip(items, oids, columns, strict=True)]

    def _read(self, item: ColumnElement[Any], oid: int, column: Sequence[object], origin: Origin) -> Sequence[Any]:
        process: Any = item.type.dialect_impl(self.dialect).result_processor(self.dialect, oid)
        if process is None or leaves(process, column):
            return column
        with suppress(Exception):  # a type may raise anything, and quotes the value
            return [process(value) for value in column]
        raise stored_value(Refusal([item]), origin)


Fetching: TypeAlias = Callable[[AsyncSession, Origin, ArrayStatement], Awaitable[Sequence[Sequence[Any]]]]
"""Sends a statement and gives its results, column by column."""


async def fetch_underneath(db_sess: AsyncSession, origin: Origin, sent: ArrayStatement) -> Sequence[Sequence[Any]]:
    """Send a statement on asyncpg's own connection."""
    columns = await use_driver(db_sess, origin, lambda driver: sent.send(driver, origin))
    if columns and columns[0]:
        note_write(db_sess)
    return columns


async def fetch_columns(db_sess: AsyncSession, origin: Origin, sent: ArrayStatement) -> Sequence[Sequence[Any]]:
    """Have SQLAlchemy send it: what listens to the session and the engine sees it."""
    records = await fetch_records(db_sess, sent.statement, origin, sent.arrays)
    return list(zip(*records, strict=True)) or [()] * len(list(sent.statement.exported_columns))


def _processed(processor: Any, value: object) -> Any:
    if processor is None:
        return value
    with suppress(Exception):  # a type may raise anything, and quotes the value
        return processor(value)
    raise InvalidValue
