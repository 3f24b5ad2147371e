"""The scopes of the examples have indexes: each column that one compares with a value is the first of an index."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.sql import operators, visitors

import examples
from examples.base import Base
from examples.desk.base import Base as DeskBase
from rowsmith import SearchScope


def scopes() -> Iterator[type[SearchScope]]:
    """Give every scope that an example has over a table."""
    for package in pkgutil.iter_modules(examples.__path__, "examples."):
        if package.ispkg and not package.name.endswith((".alembic", ".demo")):
            for module in pkgutil.iter_modules(importlib.import_module(package.name).__path__, f"{package.name}."):
                if module.name.endswith(".types") or re.match(r"examples\.desk\.(?!base)", module.name):
                    found = vars(importlib.import_module(module.name)).values()
                    yield from (kind for kind in found if is_scope(kind, module.name))


def is_scope(thing: Any, module: str) -> bool:
    return isinstance(thing, type) and issubclass(thing, SearchScope) and thing.__module__ == module


def compared(scope: type[SearchScope]) -> set[sa.Column[Any]]:
    """Give the columns that a scope compares with values, also in what it asks about other rows."""
    conditions: list[Any] = list(scope(*("x" for _ in fields(scope))).to_conditions())  # type: ignore[arg-type]
    found = set[sa.Column[Any]]()
    for element in [each for condition in conditions for each in visitors.iterate(condition)]:
        match element:
            case sa.BinaryExpression(right=sa.BindParameter(), operator=operators.eq | operators.in_op):
                found |= {column for column in element.left.base_columns if isinstance(column, sa.Column)}
    return found


def first_columns(table: sa.Table) -> set[sa.Column[Any]]:
    """Give the columns that an index, or the primary key, begins with."""
    keys = [list(table.primary_key.columns), *(list(index.columns) for index in table.indexes)]
    keys += [list(each.columns) for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    return {key[0] for key in keys if key}


OURS = (Base.metadata, DeskBase.metadata)
SCOPES = [scope for scope in scopes() if all(column.table.metadata in OURS for column in compared(scope))]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: f"{scope.__module__}.{scope.__name__}")
def test_its_columns_have_an_index(scope: type[SearchScope]) -> None:
    """A search in it reads the rows of its tenant, not those of all."""
    columns = compared(scope)
    assert columns
    assert [column for column in columns if column not in first_columns(column.table)] == []


def test_the_scopes_are_found() -> None:
    """The test above is able to fail."""
    assert {"DomainScope", "UserScope", "GroupShareScope", "SettingScope"} <= {scope.__name__ for scope in SCOPES}
    table = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer, index=True), sa.Column("b", sa.Integer))
    assert first_columns(table) == {table.c.a}
