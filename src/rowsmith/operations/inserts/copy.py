"""The COPY lane: rows streamed in binary while the next ones are being read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect

from rowsmith.errors import InvalidValue, RefusedByTrigger
from rowsmith.execution import DATABASE_ERRORS
from rowsmith.execution.refusals import Refusal, argument_of, copied, kinds_of, note, unfit_among
from rowsmith.mapping import RowInfo
from rowsmith.operations.arrays.binding import not_taken, unbindable
from rowsmith.operations.arrays.wire import bound
from rowsmith.operations.blocks.block import Block

_SAVEPOINT = "rowsmith_copy"

RECENT = 50_000
"""How many rows are kept that were sent: what the server can say of a value is of these, the others it has taken."""


class Copy:
    """One COPY into a table, fed block by block; each block is handed to ``take`` once it is sent.

    Blocks are read while PostgreSQL works on those before; so a bad value shows when some rows are sent already.
    A savepoint takes them back then, and the transaction goes on as if the value had been found first.
    """

    def __init__(
        self,
        info: RowInfo[object],
        dialect: Dialect,
        names: Sequence[str],
        blocks: AsyncGenerator[Block],
        take: Callable[[Block], None],
    ) -> None:
        self.info, self.dialect, self.names = info, dialect, names
        self._blocks, self._take = blocks, take
        self._fault: Exception | None = None
        self._open: tuple[Block, Sequence[Sequence[Any]], Iterator[tuple[Any, ...]]] | None = None
        self._sent: list[Sequence[int]] = []
        self._recent = deque[Block]()
        self._kept = 0

    async def send(self, driver: Any) -> Exception | None:
        """Send all blocks on asyncpg's connection, in its transaction; ``take`` is called with each one sent.

        Returns:
            An error that is not the database's, nothing having been written then: what reading the blocks raised, which
            may be an application's own; InvalidValue where asyncpg could not write a value in the type of its column;
            RefusedByTrigger where fewer rows were written than sent.
        """
        table = self.info.table
        await driver.execute(f"SAVEPOINT {_SAVEPOINT}")
        fault: Exception | None = None
        try:
            async with aclosing(self._blocks), aclosing(self._rows()) as rows:
                status = await driver.copy_records_to_table(
                    table.name,
                    schema_name=table.schema,
                    columns=[self.info.columns[name].name for name in self.names],
                    records=rows,
                )
        except Exception as exc:
            if (refusal := copied(exc, table)) is not None and refusal.row is not None:
                note(exc, replace(refusal, row=self._place(refusal.row)))
            elif (refusal := self._unfit(exc)) is not None:
                note(exc, refusal)
            of_values = isinstance(exc, (TypeError, ValueError, ArithmeticError, LookupError))
            is_of_encoder = of_values or not isinstance(exc, DATABASE_ERRORS)  # asyncpg's, whose words quote the value
            if self._fault is None and not is_of_encoder:
                raise
            fault = self._fault or InvalidValue(_UNFIT)
        else:
            if status == f"COPY {sum(map(len, self._sent))}":
                await driver.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
                return None
        await driver.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        if fault is not None and self._fault is None:
            fault = await self._refused(driver) or fault
            await driver.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        await driver.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        return fault or RefusedByTrigger.at(None)

    def _unfit(self, failure: Exception) -> Refusal | None:
        """Give the value that is too large, where the server does not say in English which one it is."""
        kinds, context = kinds_of(failure), str(getattr(failure, "context", None) or "")
        if kinds is None or "\n" in context:  # of a function, which a trigger calls
            return None
        blocks = [*self._recent, *([self._open[0]] if self._open else [])]
        return unfit_among(chain.from_iterable(map(self._values, blocks)), kinds, self.dialect)

    def _values(self, block: Block) -> Iterator[tuple[ColumnElement[Any], int | None, Any]]:
        for name, column in zip(self.names, self._bound(block), strict=True):
            for place, value in zip(block.places, column, strict=True):
                yield self.info.columns[name], place, value

    def _place(self, row: int) -> int | None:
        """Give the index in the caller's input of one of the rows in the order in which they were sent."""
        for places in (*self._sent, *([self._open[0].places] if self._open else [])):
            if row < len(places):
                return places[row]
            row -= len(places)
        return None

    async def _refused(self, driver: object) -> Exception | None:
        """Give the error for the row that asyncpg could not write, the last one that it took."""
        if self._open is None:
            return None
        block, sent, rows = self._open
        row = block.size - 1 - sum(1 for _ in rows)
        name = await self._column_refused(driver, [column[row] for column in sent])
        error = InvalidValue(_UNFIT) if name is None else not_taken(self.info, name)
        return InvalidValue.at(block.places[row], str(error), facts=error.facts)

    async def _column_refused(self, driver: Any, values: Sequence[Any]) -> str | None:
        """Have asyncpg refuse a row once more, as the parameters of an INSERT, whose places it tells."""
        preparer = self.dialect.identifier_preparer
        columns = ", ".join(preparer.quote(self.info.columns[name].name) for name in self.names)
        marks = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        table = preparer.format_table(self.info.table)
        try:
            await driver.fetch(f"INSERT INTO {table} ({columns}) VALUES ({marks})", *values)  # noqa: S608 - quoted names
        except Exception as exc:  # noqa: BLE001 - which is what is asked for
            found = argument_of(exc)
            return None if found is None else self.names[found[0]]
        return None

    async def _rows(self) -> AsyncGenerator[tuple[Any, ...]]:
        try:
            async for block in self._blocks:
                sent = self._bound(block)
                self._open = block, sent, zip(*sent, strict=True)
                for row in self._open[2]:
                    yield row
                self._open = None
                self._sent.append(block.places)
                self._recent.append(block)
                self._kept += block.size
                while self._kept - self._recent[0].size > RECENT:
                    self._kept -= self._recent.popleft().size
                self._take(block)
                await asyncio.sleep(0)  # lets the event loop send what PostgreSQL is ready for
        except Exception as exc:
            self._fault = exc
            raise

    def _bound(self, block: Block) -> list[Sequence[Any]]:
        columns = {name: block.columns[name] for name in self.names}
        try:
            return [bound(self.info.columns[name].type, column, self.dialect) for name, column in columns.items()]
        except Exception:
            fault = unbindable(self.info, columns, self.dialect, block.places)
            if fault is None:
                raise
        raise fault


_UNFIT = "a value does not fit the type of its column in the database"
