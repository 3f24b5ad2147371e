"""The COPY lane: rows streamed in binary while the next ones are being read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

from sqlalchemy.engine import Dialect

from rowsmith.errors import InvalidValue
from rowsmith.mapping import RowInfo
from rowsmith.operations.bulk.block import Block
from rowsmith.operations.bulk.wire import bound

_SAVEPOINT = "rowsmith_copy"


class Copy:
    """One COPY into a table, fed block by block; each block is handed to ``take`` once it is sent.

    Blocks are read while PostgreSQL works on those before; so a bad value shows when some rows are sent already.
    A savepoint takes them back then, and the transaction goes on as if the value had been found first.
    """

    def __init__(
        self,
        info: RowInfo[Any],
        dialect: Dialect,
        names: Sequence[str],
        blocks: Iterator[Block],
        take: Callable[[Block], None],
    ) -> None:
        self.info, self.dialect, self.names = info, dialect, names
        self._blocks, self._take = blocks, take
        self._fault: BaseException | None = None

    async def send(self, driver: Any) -> None:
        """Send all blocks on asyncpg's connection, in its transaction; ``take`` is called with each one sent.

        Raises:
            Exception: what reading the blocks raised, nothing of them having been written then.
            InvalidValue: asyncpg could not write a value in the type of its column.
        """
        table = self.info.table
        await driver.execute(f"SAVEPOINT {_SAVEPOINT}")
        try:
            await driver.copy_records_to_table(
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
            await driver.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
            return
        await self._undo(driver)
        raise fault

    async def _undo(self, driver: Any) -> None:
        await driver.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        await driver.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")

    async def _rows(self) -> AsyncGenerator[tuple[Any, ...]]:
        types = [self.info.columns[name].type for name in self.names]
        try:
            for block in self._blocks:
                columns = [block.columns[name] for name in self.names]
                sent = [bound(kind, column, self.dialect) for kind, column in zip(types, columns, strict=True)]
                for row in zip(*sent, strict=True):
                    yield row
                self._take(block)
                await asyncio.sleep(0)  # lets the event loop send what PostgreSQL is ready for
        except Exception as exc:
            self._fault = exc
            raise


def _encoding_fault(failure: Exception) -> Exception | None:
    """Give the error for what asyncpg's encoders raise, whose words quote the value."""
    if isinstance(failure, (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)):
        return InvalidValue("a value does not fit the type of its column in the database")
    return None
