"""What has failed, looked at again: its frames, and what comes of sending it once more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from traceback import walk_tb
from types import FrameType
from typing import Any

from sqlalchemy.engine import ExceptionContext


def frames_of(failure: BaseException) -> list[FrameType]:
    """Give the frames that an error came through, from where it was caught to where it was raised."""
    return [frame for frame, _ in walk_tb(failure.__traceback__)]


def failure_of(context: ExceptionContext, statement: str, parameters: Sequence[object]) -> Exception | None:
    """Send a statement on the connection on which one has failed, and give its error."""
    connection: Any = context.connection
    try:
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(statement, parameters)
    except Exception as exc:  # noqa: BLE001 - which is what is asked for
        return exc
    except BaseException:
        connection.invalidate()  # nobody knows what is still on the wire
        raise
    return None
