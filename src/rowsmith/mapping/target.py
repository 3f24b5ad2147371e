"""What an INSERT names: the mapped class, or its own table where the class stands for a join."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import inspect


def insertable(row: object) -> Any:
    """Give what ``insert()`` takes for a mapped class.

    With ``with_polymorphic`` a class whose subclasses have tables of their own stands for the join of them all,
    into which SQLAlchemy can write nothing. Its own table does then, in the name of the class.
    """
    return _insertable(row)


@cache
def _insertable(row: object) -> Any:
    mapper: Any = inspect(row)
    if mapper.selectable is mapper.local_table:
        return row
    names: dict[str, Any] = {"entity_namespace": mapper, "parententity": mapper, "parentmapper": mapper}
    table: Any = mapper.local_table
    return table._annotate(names)._set_propagate_attrs({"compile_state_plugin": "orm", "plugin_subject": mapper})
