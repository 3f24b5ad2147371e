"""Connections on which a table's name may lead to another table than on those of the engine's others.

Without a schema of its own a name is looked up on the ``search_path``, of which ``"$user"`` is the role, and among the
connection's temporary tables first. Who sets any of that by a statement of his own has nothing taken for known there of
such a table: what it is, and which triggers it has, is asked each time and kept for nobody, and the native lane, whose
plans hold for what was looked at once, is not taken. It ends when the connection is given back.

Statements are looked at where SQLAlchemy gives them to the driver; of the driver's own connection, which is asked of
SQLAlchemy for that, nobody sees what is sent on it. A function of the database that sets the path says nothing of it
there either; the server does, from PostgreSQL 18 on.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy.pool.base import _ConnectionFairy  # pyright: ignore[reportPrivateUsage]

from rowsmith.execution.triggers import Quietness

ELSEWHERE: Final = "rowsmith_names_lead_elsewhere"
"""In the ``info`` of such a connection."""

PATH: Final = "rowsmith_search_path"
"""Where a connection's ``info`` has the path that it was given out with, as :func:`told_path` gives it."""

_LEADS: Final = re.compile(
    r"search_path|\b(?:re)?set\s+(?:local\s+|session\s+)?(?:role|schema|(?:session\s+)?authorization)\b"
    r"|\b(?:reset|discard)\s+all\b|\b(?:create|into)\s+(?:or\s+replace\s+)?(?:local\s+|global\s+)?temp(?:orary)?\b",
    re.IGNORECASE,
)
_SETS_ANY: Final = re.compile(r"\b(?:set_config|pg_settings)\b", re.IGNORECASE)
_SETTING: Final = re.compile(r"'(?:search_path|role|session_authorization)'", re.IGNORECASE)
# As Python quotes a string; a JSON document, of which a setting may have one, has other quotes.


def note_path(context: Any, statement: str) -> None:
    """Remember a connection on which a statement of the application's has set where names lead, once it is done."""
    pooled = context.root_connection.connection
    is_lent = isinstance(pooled, _ConnectionFairy)  # SQLAlchemy's own questions to a new connection come before that
    if is_lent and (_sets_path(statement, context.parameters) or _is_told(pooled)):
        forget_learned(pooled.info)


def forget_learned(info: dict[Any, Any], *, is_lent: bool = False) -> None:
    """Have nothing be known of a connection's tables, nor anything kept, until it is given back.

    What was known is so again then of one that was lent only, unless the server tells that its path was left changed.
    """
    learned = {name: info.pop(name) for name in [name for name in info if isinstance(name, Quietness)]}
    info[ELSEWHERE] = {**info.get(ELSEWHERE, {}), **learned} if is_lent else {}


def give_back(dbapi_connection: Any, record: Any) -> None:
    """Be told by a pool that nobody has a connection any more: where its names lead is not changed until it is lent."""
    if record is not None and ELSEWHERE in record.info:
        learned = record.info.pop(ELSEWHERE)
        if learned and told_path(dbapi_connection._connection) == record.info.get(PATH):
            record.info.update(learned)


def told_path(driver: Any) -> str | None:
    """Give the path that the server has told asyncpg's connection last; None from those that do not tell."""
    protocol = driver._protocol  # None of one that is closed
    path: str | None = None if protocol is None else getattr(protocol.get_settings(), "search_path", None)
    return path


def _sets_path(statement: str, parameters: Any) -> bool:
    if _LEADS.search(statement):
        return True
    return _SETS_ANY.search(statement) is not None and _SETTING.search(f"{statement} {parameters!r}") is not None


def _is_told(pooled: Any) -> bool:
    return PATH in pooled.info and told_path(pooled.dbapi_connection._connection) != pooled.info[PATH]
