"""Which classes a table is mapped to, whatever base they are declared on: an application may have several.

SQLAlchemy asks for no name of the class where a foreign key leads to a table, or a relationship goes over one, so
nothing there tells of the bases that others are declared on.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.mapper import _all_registries  # pyright: ignore[reportPrivateUsage] - there is no public name


@cache
def mappers_by_table() -> dict[Any, list[Mapper[Any]]]:
    """Give the mappers of all that is mapped, by the table that each maps itself."""
    found = dict[Any, list[Mapper[Any]]]()
    for registry in _all_registries():
        for mapper in registry.mappers:
            found.setdefault(mapper.local_table, []).append(mapper)
    return found


def mapped_to(tables: Collection[Any]) -> list[type[Any]]:
    """Give the classes that tables are mapped to, but for those below others of them."""
    known = mappers_by_table() if tables else {}
    mappers = {mapper for table in tables for mapper in known.get(table, ())}
    rows = [mapper.class_ for mapper in mappers if mapper.inherits not in mappers]
    return sorted(rows, key=lambda row: row.__qualname__)


@event.listens_for(Mapper, "after_mapper_constructed")
def _is_mapped(*_: object) -> None:
    mappers_by_table.cache_clear()
