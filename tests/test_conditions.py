"""Pure builders of conditions: two-valued logic on top of SQL's three values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

import rowsmith
from rowsmith import Condition, InvalidFilter
from rowsmith.conditions import (
    conjunction,
    disjunction,
    limited,
    negation,
    resolve,
    resolve_all,
)
from rowsmith.mapping.truth import check_boolean
from tenants import GroupRow, WideRow

ONE, TWO = GroupRow.size == 1, GroupRow.note == "x"


def sql(condition: sa.ColumnElement[bool]) -> str:
    return str(condition.compile(compile_kwargs={"literal_binds": True}))


def test_a_condition_is_an_expression_or_gives_one() -> None:
    """A callable is called when the condition is needed, each time."""
    calls: list[int] = []

    def later() -> sa.ColumnElement[bool]:
        calls.append(1)
        return ONE

    assert resolve(ONE) is ONE
    assert [resolve(later), resolve(later)] == [ONE, ONE] or len(calls) == 2
    assert len(resolve_all([ONE, later])) == 2
    assert len(calls) == 3


@pytest.mark.parametrize(
    "wrong",
    [True, None, "size = 1", 5, sa.text("size = 1"), lambda: True, [ONE]],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_is_no_condition(wrong: Any) -> None:
    """A Python bool is the usual slip; the message says how to compare with None."""
    with pytest.raises(InvalidFilter, match=r"\.is_\(None\)"):
        resolve(wrong)


def test_a_mapped_attribute_is_a_condition() -> None:
    """A boolean column stands for itself."""
    assert sql(resolve(sa.column("flag", sa.Boolean))) == "flag"
    assert sql(resolve(WideRow.flag)) == "wide.flag"
    with pytest.raises(InvalidFilter, match="compare it"):
        check_boolean(resolve(GroupRow.size))  # type: ignore[arg-type]


def test_together() -> None:
    """All of nothing is true, any of nothing is refused, and groups stay groups."""
    assert sql(conjunction([])) == "true"
    with pytest.raises(InvalidFilter, match="OR"):
        disjunction([])
    assert sql(conjunction([ONE, TWO])) == "(groups.size = 1) AND (groups.note = 'x')"
    inner = disjunction([ONE, lambda: TWO])
    assert sql(conjunction([inner, ONE])) == "((groups.size = 1) OR (groups.note = 'x')) AND (groups.size = 1)"


def test_negation_is_the_complement() -> None:
    """What is NULL for a row does not hold, so its negation does."""
    assert sql(negation(TWO)) == "(groups.note = 'x') IS NOT true"
    assert sql(negation(lambda: ONE)) == "(groups.size = 1) IS NOT true"


TORN = sa.literal_column("size = 1 OR size = 2", sa.Boolean)


def test_sql_given_as_text_is_not_taken_apart() -> None:
    """Whatever joins conditions, SQL that SQLAlchemy gives no parentheses gets its own, and only one pair."""
    whole = "(size = 1 OR size = 2)"
    assert sql(conjunction([TORN, ONE])) == f"{whole} AND (groups.size = 1)"
    assert sql(disjunction([TORN, conjunction([TORN])])) == f"{whole} OR {whole}"
    assert sql(negation(TORN)) == f"{whole} IS NOT true"
    assert sql(conjunction([conjunction([TORN]), ONE])) == f"{whole} AND (groups.size = 1)"
    assert str(limited(sa.select(GroupRow.id), TORN, TORN)).endswith(f"WHERE {whole} AND {whole}")
    assert str(limited(sa.delete(GroupRow), TORN).where(TORN)).endswith(f"WHERE {whole} AND size = 1 OR size = 2")


SOURCES = sorted(Path(rowsmith.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_there_is_one_way_to_a_where(path: Path) -> None:
    """No module limits a statement past ``limited``, so that none can forget the parentheses."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    past = [call.lineno for call in calls if isinstance(call, ast.Attribute) and call.attr in ("where", "having")]
    assert len(past) == (1 if path.name == "conditions.py" else 0), f"{path.name}: write limited(statement, ...)"


Leaf = st.sampled_from(["p", "q"]).map(lambda name: sa.column(name, sa.Boolean))
Tree = st.recursive(
    Leaf,
    lambda inner: st.one_of(
        inner.map(negation),
        st.lists(inner, min_size=1, max_size=3).map(disjunction),
        st.lists(inner, max_size=3).map(conjunction),
    ),
    max_leaves=6,
)

VALUES = [True, False, None]
ROWS = sa.union_all(
    *(
        sa.select(sa.literal(p, sa.Boolean).label("p"), sa.literal(q, sa.Boolean).label("q"))
        for p in VALUES
        for q in VALUES
    )
).subquery()


@pytest.fixture(scope="module")
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as made:
        yield made
    engine.dispose()


@given(Tree)
def test_a_negation_takes_exactly_the_rest(connection: sa.Connection, condition: Condition) -> None:
    """The law: for every combination of true, false and NULL a row is in the condition or its negation, not both."""
    wanted = sa.select(sa.column("p", sa.Boolean), sa.column("q", sa.Boolean)).select_from(ROWS)
    kept, rest = (connection.execute(wanted.where(part)).all() for part in (resolve(condition), negation(condition)))
    assert {tuple(row) for row in (*kept, *rest)} == {(p, q) for p in VALUES for q in VALUES}
    assert len(kept) + len(rest) == 9


def test_an_order_is_no_condition() -> None:
    """It would be sent, and the database could not read it."""
    for order in (GroupRow.id.desc(), GroupRow.id.asc().nulls_last()):
        with pytest.raises(InvalidFilter, match="orders="):
            check_boolean(resolve(order))  # type: ignore[arg-type]
