"""Where the rows of a mapped class are kept: one table, or with joined-table inheritance several, tied by the key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Column, Table
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression

from rowsmith.conditions import conjuncts
from rowsmith.errors import MappingError


@dataclass(frozen=True)
class Part:
    """One of the tables that a row is kept in, and the columns there that hold the row's key, in its order."""

    table: Table
    key: tuple[Column[Any], ...]


def parts_of(mapper: Mapper[Any]) -> tuple[Part, ...]:
    """Give the parts of a class's rows, the one of the class at the root first.

    Raises:
        MappingError: they are read from something else than tables, or their tables are tied by more than the key.
    """
    polymorphic: Any = mapper.with_polymorphic
    if issubclass(mapper.class_, ConcreteBase) or (polymorphic is not None and polymorphic[1] is not None):
        raise MappingError(
            f"{mapper.class_.__name__} reads a polymorphic union, which cannot be written: map its classes with "
            "concrete=True and no ConcreteBase, each with a repository of its own"
        )
    key = cast("tuple[Column[Any], ...]", mapper.primary_key)
    found: list[Part] = []
    places: dict[Any, int] = {}
    for step in reversed(list(lineage(mapper))):
        table: Any = step.local_table
        if not isinstance(table, Table):
            raise MappingError(
                f"{step.class_.__name__} is mapped to a {type(table).__name__}, not to a table: "
                "map it to one table, or have it inherit by joined tables"
            )
        if any(part.table is table for part in found):
            continue
        tied = _tied(mapper, step, places) if found else key
        places.update(zip(tied, range(len(tied)), strict=True))
        found.append(Part(cast("Any", table), tied))
    return tuple(found)


def lineage(mapper: Mapper[Any]) -> Iterator[Mapper[Any]]:
    """Give the mappers from a class up to the one whose table is the first: a concrete one has a table of its own."""
    for step in mapper.iterate_to_root():
        yield step
        if step.concrete:
            return


def _tied(mapper: Mapper[Any], step: Mapper[Any], places: dict[Any, int]) -> tuple[Column[Any], ...]:
    """Give the columns of a table that hold the key of the row."""
    conditions = list(conjuncts(step.inherit_condition))
    equal: list[Any] = [
        each for each in conditions if isinstance(each, BinaryExpression) and each.operator is operators.eq
    ]
    tied = dict[int, Any]()
    for left, right in ((each.left, each.right) for each in equal):
        here, there = (left, right) if left.table is step.local_table else (right, left)
        if here.table is step.local_table and there in places:
            tied.setdefault(places[there], here)
    width = len(mapper.primary_key)
    if len(tied) != width or len(conditions) != width:
        raise MappingError(
            f"{step.class_.__name__} is joined to the class above it by {step.inherit_condition}: "
            "rowsmith takes joined tables whose keys are equal, and nothing more"
        )
    return tuple(tied[place] for place in range(width))
