"""Sending a statement whose parameters are arrays, its results column-wise: straight to asyncpg, or by SQLAlchemy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import CompoundSelect, Select
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.compiler import ExpandedState
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.types import TypeEngine

from rowsmith.errors import InvalidValue
from rowsmith.execution import DATABASE_ERRORS, Origin
from rowsmith.execution.apart import apart
from rowsmith.execution.driver import use_driver
from rowsmith.execution.records import fetch_records


@dataclass(frozen=True)
class ArrayStatement:
    """A statement that gives rows, and whose large parameters are arrays, bound already, by parameter name."""

    statement: UpdateBase | Select[Any] | CompoundSelect[Any]
    arrays: Mapping[str, list[Any]]
    dialect: Dialect

    async def send(self, driver: Any) -> list[Sequence[Any]]:
        """Send it on asyncpg's connection, and give one sequence of values for each expression that it gives.

        Raises:
            InvalidValue: a stored value is none of its column's type.
        """
        compiled = self._compiled()
        expanded = compiled.construct_expanded_state(self.arrays)
        # Without a name, so that nothing of it stays behind on the server's side of a connection pooler.
        prepared = await driver.prepare(expanded.statement, name="")
        records = await _fetched_from(prepared, _arguments(compiled, expanded, self.arrays))
        types = [item.type for item in self.statement.exported_columns]
        if not records:
            return [()] * len(types)
        oids = [attribute.type.oid for attribute in prepared.get_attributes()]
        columns = zip(*records, strict=True)
        return [_read_as(*column, self.dialect) for column in zip(types, oids, columns, strict=True)]

    def _compiled(self) -> Any:
        try:
            return self.statement.compile(dialect=self.dialect)
        except CompileError:
            return apart(self.statement).compile(dialect=self.dialect)


Fetching: TypeAlias = Callable[[AsyncSession, Origin, ArrayStatement], Awaitable[Sequence[Sequence[Any]]]]
"""Sends a statement and gives its results, column by column."""


async def fetch_underneath(db_sess: AsyncSession, origin: Origin, sent: ArrayStatement) -> Sequence[Sequence[Any]]:
    """Send a statement on asyncpg's own connection."""
    return await use_driver(db_sess, origin, sent.send)


async def fetch_columns(db_sess: AsyncSession, origin: Origin, sent: ArrayStatement) -> Sequence[Sequence[Any]]:
    """Have SQLAlchemy send it: what listens to the session and the engine sees it."""
    records = await fetch_records(db_sess, sent.statement, origin, sent.arrays)
    return list(zip(*records, strict=True)) or [()] * len(list(sent.statement.exported_columns))


def _arguments(compiled: Any, expanded: ExpandedState, arrays: Mapping[str, list[Any]]) -> list[Any]:
    """Give the parameters in the order of their numbers; all but the arrays are bound here."""
    processors = {**compiled._bind_processors, **expanded.processors}
    parameters = expanded.parameters
    return [
        parameters[name] if name in arrays else _processed(processors.get(name), parameters[name])
        for name in expanded.positiontup or ()
    ]


def _processed(processor: Any, value: object) -> Any:
    if processor is None:
        return value
    with suppress(Exception):  # a type may raise anything, and quotes the value
        return processor(value)
    raise InvalidValue


async def _fetched_from(prepared: Any, arguments: Sequence[object]) -> Sequence[Any]:
    try:
        records: Sequence[Any] = await prepared.fetch(*arguments)
    except DATABASE_ERRORS:
        raise
    except Exception:  # noqa: BLE001, S110 - a codec's, and quotes the value
        pass
    else:
        return records
    raise InvalidValue("a value does not fit the type of its column in the database")


def _read_as(kind: TypeEngine[Any], oid: int, column: Sequence[Any], dialect: Dialect) -> Sequence[Any]:
    process: Any = kind.dialect_impl(dialect).result_processor(dialect, oid)
    if process is None:
        return column
    with suppress(Exception):  # a type may raise anything, and quotes the value
        return list(map(process, column))
    raise InvalidValue("a stored value is none of its column's type")
