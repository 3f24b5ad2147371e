"""Text of the application's in SQL: what ends more than it began is found in every part of an expression."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.compiler import compiles

from open_texts import CLOSED, OPEN
from rowsmith import Conflict, InvalidFilter, InvalidValue, MappingError
from rowsmith.conditions import limited
from rowsmith.mapping import row_info
from rowsmith.mapping.expr import keep_to_row
from rowsmith.mapping.writes import tied
from rowsmith.scope import check_conditions, check_order
from rowsmith.texts import has_open_text, is_closed, is_open_type
from tenants import GroupRow


@pytest.mark.parametrize(
    "text",
    [
        "seats = 1",
        "(a) or (b)",
        "name = ')'",
        'x = "a)("',
        r"e'\')' = x",
        r"x LIKE'\' OR y = 'b'",
        "$$)$$ = x",
        "a->>'b' = $1",
    ],
)
def test_text_that_ends_what_it_begins(text: str) -> None:
    """Parentheses in strings, quoted names and dollar quotes are none."""
    assert is_closed(text)


@pytest.mark.parametrize(
    "text", ["a) OR (b", "(a", "a)", ")(", "a = 'b", "a -- c", "a /* c */", "a; b", "$$ (", 'a = "b', "a$$) OR (b$$"]
)
def test_text_that_does_not(text: str) -> None:
    """What would reach beyond its own parentheses, or swallow what comes after it."""
    assert not is_closed(text)


@pytest.mark.parametrize("expression", OPEN.values(), ids=OPEN.keys())
def test_open_text_is_found(expression: Any) -> None:
    """Wherever SQLAlchemy puts a string into SQL as it is."""
    assert has_open_text(expression)


@pytest.mark.parametrize("expression", CLOSED.values(), ids=CLOSED.keys())
def test_what_is_quoted_or_sent_apart_is_no_text(expression: Any) -> None:
    """Names that are quoted, values, and the words of PostgreSQL's own operators go on working."""
    assert not has_open_text(expression)


class Placed(sa.ColumnElement[str]):
    """An expression that is rendered in some statements only."""

    inherit_cache = True
    type = sa.String()


@compiles(Placed)
def _placed(element: Placed, compiler: Any, **options: Any) -> str:
    if "groups" not in map(str, compiler.statement.columns_clause_froms):
        raise CompileError
    return "groups.name) OR (groups.name"


def test_text_that_nobody_can_look_at_is_refused_where_nobody_looks_again() -> None:
    """An order, a computed field, a value, the predicate of a key; a condition is looked at as it is rendered."""
    info, seen = row_info(GroupRow), Placed() == GroupRow.name
    check_conditions([seen], info)
    with pytest.raises(InvalidFilter, match="made of text that does not stand for itself"):
        limited(sa.select(GroupRow.id), seen).compile(dialect=sa.make_url("postgresql+asyncpg://").get_dialect()())
    with pytest.raises(InvalidFilter, match="an order of GroupRow has a part that @compiles renders"):
        check_order(Placed(), info)
    with pytest.raises(MappingError, match="x has a part that @compiles renders"):
        keep_to_row(sa.func.lower(Placed()), info, "x")
    with pytest.raises(InvalidValue, match=r"GroupRow.name has a part that @compiles renders"):
        tied(info, "name", Placed())
    with pytest.raises(InvalidFilter, match=r"Conflict\(where=...\) on GroupRow has a part that @compiles renders"):
        Conflict([GroupRow.id], where=seen).resolve(info)


@pytest.mark.parametrize(
    "make",
    [sa.Interval, lambda: postgresql.ARRAY(sa.Text), lambda: sa.BigInteger().with_variant(sa.Integer(), "sqlite")],
)
def test_no_type_of_sqlalchemys_is_rendered(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expression may make one each time, and to render it takes far longer than all else that is looked at."""
    rendered = list[Any]()
    monkeypatch.setattr("rowsmith.texts._rendered", rendered.append)
    used = make()
    str(sa.select(sa.cast(sa.null(), used)))  # what a type keeps of its use is no text that it was given
    assert not is_open_type(used)
    assert not rendered
