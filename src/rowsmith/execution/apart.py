"""Parameters of SQLAlchemy's own naming, kept apart from an application's columns.

SQLAlchemy calls what is compared with ``line`` by the name ``line_1``, and what is written into a column by the
column's name. A table that has both columns it refuses to compile an UPDATE for, before anything is sent.
"""

from __future__ import annotations

from typing import TypeVar, cast

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BindParameter, ClauseElement, _anonymous_label  # pyright: ignore[reportPrivateUsage] - no public one

from rowsmith.names import PARAMETER

TStatement = TypeVar("TStatement")


def apart(statement: TStatement) -> TStatement:
    """Give the same statement, no parameter of which has a name that an application's column could have."""
    renamed = visitors.cloned_traverse(cast("ClauseElement", statement), {}, {"bindparam": _rename})
    return cast("TStatement", renamed)


def _rename(parameter: BindParameter[object]) -> None:
    if parameter.unique:
        parameter.key = _anonymous_label.safe_construct(id(parameter), PARAMETER)
