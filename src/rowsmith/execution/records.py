"""Many rows at once, as the driver made them: SQLAlchemy's Row objects would cost as much as fetching."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy import CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession
from sqlalchemy.util import greenlet_spawn

from rowsmith.execution.blame import remember
from rowsmith.execution.execute import flush, send
from rowsmith.execution.origin import Origin
from rowsmith.execution.postgresql import read_by_column
from rowsmith.execution.translate import unreadable
from rowsmith.execution.undone import note_write


async def fetch_records(
    db_sess: AsyncSession, statement: Executable, origin: Origin, parameters: Mapping[str, object] | None = None
) -> Sequence[Sequence[Any]]:
    """Send a write on a table, not on its mapped class, and give the records that it returns.

    Values are what their columns' types make of them, as in any result.

    Raises:
        RepositoryError: as :func:`rowsmith.execution.execute`.
    """
    remember(db_sess, origin)
    await flush(db_sess, origin)
    result = cast("CursorResult[Any]", await send(db_sess, statement, origin, parameters=parameters))
    try:
        records: Sequence[Sequence[Any]] = result._fetchall_impl()  # pyright: ignore[reportPrivateUsage]
        if records:
            note_write(db_sess)
        return _read(result, records)
    except Exception as exc:  # noqa: BLE001 - a column's type may raise anything, and quotes the value
        failure = unreadable(exc, origin)
    raise failure


async def records_of(result: AsyncResult[Any], size: int) -> AsyncGenerator[Sequence[Sequence[Any]], None]:
    """Give the records of a result that is read through a cursor, so many at a time.

    Args:
        result: a session's, or a connection's, whose records go past SQLAlchemy's; whoever has opened it closes it.
        size: how many are read at a time.

    Raises:
        Exception: what the driver raises, or a column's type.
    """
    real: Any = cast("Any", result)._real_result
    if not isinstance(real, _CursorResult):
        async for rows in result.partitions(size):
            yield rows
        return
    fetch: Callable[[int], Sequence[Sequence[Any]]] = real._fetchmany_impl
    while records := await greenlet_spawn(fetch, size):
        yield _read(real, records)


_CursorResult: Final[Any] = CursorResult


def _read(result: CursorResult[Any], records: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    processors = result._metadata._effective_processors  # pyright: ignore[reportPrivateUsage]
    if processors is None or not records:
        return records
    return read_by_column(records, [(place, each) for place, each in enumerate(processors) if each is not None])
