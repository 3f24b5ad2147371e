"""SQL among what an application gives: expressions, and what stands for one, as a mapped attribute does. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import BindParameter, Column, ColumnElement, inspect
from sqlalchemy.orm import CompositeProperty
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import AbstractTextClause, ClauseElement


def is_sql(value: object) -> bool:
    """Say whether a value is SQL, or stands for some."""
    return isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")


def is_compared_as_sql(value: object) -> bool:
    """Say whether SQLAlchemy compares a column with something else than a value: with SQL, or with what is mapped."""
    return is_sql(value) or inspect(value, raiseerr=False) is not None


def are_sql(kind: type[object]) -> bool:
    """Say whether all values of a class are."""
    return issubclass(kind, ClauseElement) or hasattr(kind, "__clause_element__")


def as_sql(value: Any) -> Any:
    """Give the SQL that a value stands for; any other value as it is."""
    return value.__clause_element__() if hasattr(value, "__clause_element__") else value


def own_parameters(expression: Any) -> Any:
    """Give SQL whose parameters are its own: no name ties them to others, and they have their values from now on.

    Of two parameters with one name in a statement SQLAlchemy sends one value, the later one's. And one whose value a
    callable gives is NULL, where the statement was compiled for one with a value: its cache takes both for the same.
    """
    if all(map(_is_own, visitors.iterate(expression))):
        return expression
    told: Any = {"maintain_key": True, "detect_subquery_cols": True}
    return visitors.cloned_traverse(expression, told, {"bindparam": _make_own})


def calls_for_values(expression: Any) -> bool:
    """Say whether SQL has parameters whose values callables give."""
    parts: Iterator[Any] = visitors.iterate(expression)
    return any(part.__class__ is BindParameter and part.callable is not None for part in parts)


def _is_own(part: Any) -> bool:
    return part.__class__ is not BindParameter or part.required or (part.unique and part.callable is None)


def _make_own(copy: Any) -> None:
    if not _is_own(copy):
        copy.value, copy.callable = copy.effective_value, None
        copy.unique = False  # so that it gets a name of its own
        copy._convert_to_unique()


def typed(value: object, kind: str) -> str:
    """Say how SQL given as text, which has no type, becomes an expression of one; nothing of what is no text."""
    is_text = isinstance(value, AbstractTextClause)
    return f", which has no type by itself: write type_coerce(text(...), {kind})" if is_text else ""


def parts_of(value: Any) -> list[str]:
    """Give the attributes of the columns that a composite attribute is made of; none of anything else."""
    attribute: Any = getattr(value, "property", None)
    if not isinstance(attribute, CompositeProperty):
        return []
    return [f"{attribute.parent.class_.__name__}.{part.key}" for part in attribute.props]


def are_same(left: ColumnElement[Any], right: ColumnElement[Any]) -> bool:
    """Say whether two expressions are the same; a column of a table's alias is another one than the table's."""
    if isinstance(left, Column) or isinstance(right, Column):
        return hash(left) == hash(right)  # a mapped attribute's column is the table's with annotations around it
    # Without use_proxies=False a table's column and its alias's column would count as one.
    try:
        return left.compare(right, use_proxies=False)
    except AttributeError:  # SQLAlchemy compares no subqueries over two aliases of mapped classes
        ours, theirs = left._generate_cache_key(), right._generate_cache_key()  # pyright: ignore[reportPrivateUsage]
    if ours is None or theirs is None or ours.key != theirs.key:
        return False
    values = zip(ours.bindparams, theirs.bindparams, strict=True)
    return all(one.compare(other) for one, other in values)
