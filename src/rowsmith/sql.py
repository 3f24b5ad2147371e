"""SQL among what an application gives: expressions, and what stands for one, as a mapped attribute does. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, Column, ColumnElement, SelectBase, inspect
from sqlalchemy.ext.associationproxy import AssociationProxyInstance
from sqlalchemy.orm import CompositeProperty, RelationshipProperty
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
    """Give the SQL that a value stands for; any other value as it is, and so what is of other rows or several columns.

    SQLAlchemy has some for a relationship, which is what ties its rows.
    """
    stands_for_none = not hasattr(value, "__clause_element__") or isinstance(getattr(value, "prop", value), _OF_MORE)
    return value if stands_for_none else value.__clause_element__()


# Classes that are generic in the type of a value, which nothing here knows.
_OF_MORE: Final[Any] = (AssociationProxyInstance, CompositeProperty, RelationshipProperty)
_PROXY: Final[Any] = AssociationProxyInstance
_RELATIONSHIP: Final[Any] = RelationshipProperty


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


def instead(value: Any, kind: str) -> str:
    """Say what is written instead of what is no expression of a type; nothing where there is nothing like it."""
    if isinstance(value, AbstractTextClause):
        return f", which has no type by itself: write type_coerce(text(...), {kind})"
    if isinstance(value, _PROXY):
        way = f"{value.owning_class.__name__}.{value.target_collection}"
        return f", which is of the rows of {way}: write related({way}, ...), or for a value a scalar subquery"
    found = getattr(value, "prop", None)
    if isinstance(found, _RELATIONSHIP):
        return f", which is the relationship {found}: write related({found}), or for a value a column"
    parts = ", ".join(parts_of(value))
    return f", which is made of several columns: write one of {parts}" if parts else ""


def relationship_inside(elements: Sequence[Any]) -> str | None:
    """Say which relationship is among the parts of an expression; a subquery may be over the rows that it leads to.

    SQLAlchemy takes one in an expression for what ties its rows.
    """
    found = {id(each): known for each in elements if (known := _relationship_of(each)) is not None}
    subqueries = (each for each in elements if isinstance(each, SelectBase)) if found else ()
    inside = {id(part) for subquery in subqueries for part in visitors.iterate(subquery)}
    named = next((known for place, known in found.items() if place not in inside), None)
    return named and f"has {named} inside, which is a relationship: write related({named}), or for a value a column"


def _relationship_of(element: Any) -> str | None:
    owner, name = element._annotations.get("proxy_owner"), element._annotations.get("proxy_key")
    if isinstance(element, Column) or owner is None or not owner.mapper.has_property(name):
        return None
    found = getattr(owner.entity, name).prop  # and not the mapper's own, which may be another name for it
    return str(found) if isinstance(found, _RELATIONSHIP) else None


def parts_of(value: Any) -> list[str]:
    """Give the attributes of the columns that a composite attribute is made of; none of anything else."""
    attribute: Any = getattr(value, "prop", None)
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
