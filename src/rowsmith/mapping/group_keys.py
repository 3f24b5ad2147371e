"""What rows are grouped by: one expression to the database, wherever in a statement it stands.

PostgreSQL takes expressions with other parameters for other expressions, whatever the values are. SQLAlchemy makes
new parameters for what the ORM adds to a subquery over a class that shares its table, each time it renders it, and for
an expression that is written once more. So a key is rendered once, and its text stands in each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Column, ColumnElement, Exists, ScalarSelect, SelectBase
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import _anonymous_label  # pyright: ignore[reportPrivateUsage] - there is no public name
from sqlalchemy.sql.visitors import InternalTraversal

from rowsmith.fallible import may_fail, where_inside
from rowsmith.sql import are_same

T = TypeVar("T")

_MARKS: Final = count()
# Classes that are generic in the type of a value, which nothing here knows.
_ONE: Final[Any] = ColumnElement
_SUBQUERIES: Final[Any] = (Exists, ScalarSelect, SelectBase)


class GroupKey(ColumnElement[T]):
    """What rows are grouped by; what is made of it by a traversal is the same key."""

    __visit_name__ = "rowsmith_group_key"
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own form
        ("expression_of_key", InternalTraversal.dp_clauseelement),
        ("mark", InternalTraversal.dp_anon_name),
    ]

    def __init__(self, expression: ColumnElement[T]) -> None:
        self.expression_of_key: Any = expression
        self.mark = _anonymous_label.safe_construct(next(_MARKS), "key")
        self.type = expression.type

    @property
    def _from_objects(self) -> Any:
        return self.expression_of_key._from_objects


@compiles(GroupKey)
def _rendered_once(element: GroupKey[Any], compiler: SQLCompiler, **options: Any) -> str:
    texts: dict[str, str] = vars(compiler).setdefault("rowsmith_group_keys", {})
    if element.mark not in texts:
        texts[element.mark] = f"({compiler.process(element.expression_of_key, **options)})"
    return texts[element.mark]


def group_key(expression: ColumnElement[Any]) -> ColumnElement[Any]:
    """Give what rows are grouped by as one expression for all places; a column is one by itself."""
    return expression if isinstance(expression, Column) else GroupKey(expression)


def with_keys(expression: ColumnElement[T], keys: Sequence[ColumnElement[Any]]) -> ColumnElement[T]:
    """Give a figure with those keys of its group that it is made of; a subquery does not know them."""
    made = [key for key in keys if isinstance(key, GroupKey)]

    def key_of(part: Any, **_: Any) -> Any:
        same = (key for key in made if isinstance(part, _ONE) and are_same(key.expression_of_key, part))
        return next(same, part if isinstance(part, _SUBQUERIES) else None)

    return cast("Any", visitors).replacement_traverse(expression, {}, key_of) if made else expression


def sorted_inside(expression: ColumnElement[T], inside: Sequence[ColumnElement[bool]]) -> ColumnElement[T]:
    """Give a figure, or a key, so that what PostgreSQL may sort by is evaluated where some conditions hold.

    That is keys, and what is counted once: it may sort by both before rows are joined, and so before some are left out.
    """

    def made_inside(part: Any, **_: Any) -> Any:
        is_key = isinstance(part, GroupKey)
        if not is_key and getattr(part, "operator", None) is not operators.distinct_op:
            return None
        made: Any = cast("Any", part)._clone()
        if is_key:
            made.expression_of_key = where_inside(inside, made.expression_of_key)
        else:
            made.element = where_inside(inside, sorted_inside(made.element, inside))
        return made

    is_fallible = bool(inside) and may_fail(expression)
    return cast("Any", visitors).replacement_traverse(expression, {}, made_inside) if is_fallible else expression
