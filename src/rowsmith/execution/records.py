"""Many rows at once, as the driver made them: SQLAlchemy's Row objects would cost as much as fetching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import RepositoryError
from rowsmith.execution.blame import remember
from rowsmith.execution.origin import Origin
from rowsmith.execution.translate import DATABASE_ERRORS, UNREADABLE, translate


async def fetch_records(
    db_sess: AsyncSession, statement: Executable, origin: Origin, parameters: Mapping[str, Any] | None = None
) -> Sequence[Sequence[Any]]:
    """Send a write on a table, not on its mapped class, and give the records that it returns.

    Values are what their columns' types make of them, as in any result.

    Raises:
        RepositoryError: as :func:`rowsmith.execution.execute`.
    """
    remember(db_sess, origin)
    told: Any = {"bind_arguments": origin.binds}
    try:
        return _records(cast("CursorResult[Any]", await db_sess.execute(statement, parameters, **told)))
    except RepositoryError:
        raise
    except (*DATABASE_ERRORS, *UNREADABLE) as exc:
        failure = translate(exc, origin)
    raise failure


def _records(result: CursorResult[Any]) -> Sequence[Sequence[Any]]:
    records: Sequence[Sequence[Any]] = result._fetchall_impl()  # pyright: ignore[reportPrivateUsage]
    processors = result._metadata._effective_processors  # pyright: ignore[reportPrivateUsage]
    if processors is None or not records:
        return records
    columns = zip(*records, strict=True)
    processed = [
        column if process is None else map(process, column) for process, column in zip(processors, columns, strict=True)
    ]
    return list(zip(*processed, strict=True))
