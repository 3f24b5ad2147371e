"""Which classes a table is mapped to, whatever base they are declared on: an application may have several.

SQLAlchemy asks for no name of the class where a foreign key leads to a table, or a relationship goes over one, so
nothing there tells of the bases that others are declared on.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, cast

from sqlalchemy import event, inspect
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.mapper import _all_registries  # pyright: ignore[reportPrivateUsage] - there is no public name


@cache
def mappers_by_table() -> dict[Any, list[Mapper[Any]]]:
    """Give the mappers of all that is mapped, by the table that each maps itself."""
    found = dict[Any, list[Mapper[Any]]]()
    known: list[Any] = [manager for registry in _all_registries() for manager in [*cast("Any", registry)._managers]]
    for manager in known:
        if manager.is_mapped:  # not a base that is mapped once all its subclasses are known (AbstractConcreteBase)
            found.setdefault(manager.mapper.local_table, []).append(manager.mapper)
    return found


def mapped_to(tables: Collection[Any]) -> list[type[Any]]:
    """Give the classes that tables are mapped to, but for those below others of them."""
    known = mappers_by_table() if tables else {}
    mappers = {mapper for table in tables for mapper in known.get(table, ())}
    rows = [mapper.class_ for mapper in mappers if mapper.inherits not in mappers and _is_in_use(mapper)]
    return sorted(rows, key=lambda row: row.__qualname__)


def _is_in_use(mapper: Mapper[Any]) -> bool:
    """Say whether the class is still mapped by it: a registry may have disposed of it."""
    return inspect(mapper.class_, raiseerr=False) is mapper


@event.listens_for(Mapper, "after_mapper_constructed")
def _is_mapped(*_: object) -> None:
    mappers_by_table.cache_clear()
