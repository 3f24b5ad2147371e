"""The COPY lane: rows streamed in binary while the next ones are being read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

from sqlalchemy.engine import Dialect

from rowsmith.errors import InvalidValue
from rowsmith.execution import DATABASE_ERRORS
from rowsmith.mapping import RowInfo
from rowsmith.operations.arrays.binding import unbindable
from rowsmith.operations.arrays.wire import bound
from rowsmith.operations.blocks.block import Block

_SAVEPOINT = "rowsmith_copy"


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
        blocks: Iterator[Block],
        take: Callable[[Block], None],
    ) -> None:
        self.info, self.dialect, self.names = info, dialect, names
        self._blocks, self._take = blocks, take
        self._fault: Exception | None = None
        self.sent: list[Block] = []

    async def send(self, driver: Any) -> bool | Exception:
        """Send all blocks on asyncpg's connection, in its transaction; ``take`` is called with each one sent.

        Returns:
            False, all undone, where fewer rows were written than sent. An error that is not the database's, nothing
            having been written then: what reading the blocks raised, which may be an application's own, or
            InvalidValue where asyncpg could not write a value in the type of its column.
        """
        table = self.info.table
        await driver.execute(f"SAVEPOINT {_SAVEPOINT}")
        try:
            status = await driver.copy_records_to_table(
                table.name,
                schema_name=table.schema,
                columns=[self.info.columns[name].name for name in self.names],
                records=self._rows(),
            )
        except Exception as exc:
            fault = self._fault or _encoding_fault(exc)
            if fault is None:
                raise
        else:
            fault = None
            if status == f"COPY {sum(block.size for block in self.sent)}":
                await driver.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
                return True
        await driver.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        await driver.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        return fault or False

    async def _rows(self) -> AsyncGenerator[tuple[Any, ...]]:
        try:
            for block in self._blocks:
                sent = self._bound(block)
                for row in zip(*sent, strict=True):
                    yield row
                self.sent.append(block)
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


def _encoding_fault(failure: Exception) -> Exception | None:
    """Give the error for what asyncpg's encoders raise, whose words quote the value."""
    of_values = isinstance(failure, (TypeError, ValueError, ArithmeticError, LookupError))
    if isinstance(failure, DATABASE_ERRORS) and not of_values:
        return None
    return InvalidValue("a value does not fit the type of its column in the database")
