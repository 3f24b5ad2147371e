"""What calls have written in a session and not undone: nothing of it is committed where the call raises.

It does not matter what is raised. An application's class may refuse the data by an error of rowsmith's, and whoever
swallows that would have a write committed that was reported as failed.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.execution.transactions import connections_of, mark_failed

_WRITES: Final = "rowsmith_writes"


def writes_of(db_sess: AsyncSession) -> int:
    """Say how many statements of calls have written in the session, and are not undone."""
    count: int = db_sess.info.get(_WRITES, 0)
    return count


def note_write(db_sess: AsyncSession) -> None:
    """Note in the session that a statement has written: some row, or it is not known how many."""
    info = db_sess.info
    info[_WRITES] = info.get(_WRITES, 0) + 1


def note_undone(db_sess: AsyncSession, before: int) -> None:
    """Note in the session that what was written is undone, but for so many statements."""
    db_sess.info[_WRITES] = before


def give_up_since(db_sess: AsyncSession, before: int | None) -> None:
    """Have nothing of the innermost transaction committed, where a call that raises has written, and not undone it.

    Args:
        db_sess: the call's session.
        before: how many statements had written when the call began; None where it did not come to that.
    """
    if before is not None and writes_of(db_sess) != before:
        for connection in connections_of(db_sess):
            mark_failed(connection)
