"""Relationships: how many rows they lead to, and by what. Asked of complete mappers only."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from sqlalchemy import Column, Table
from sqlalchemy.orm import RelationshipDirection, RelationshipProperty
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression

from rowsmith.conditions import bare, conjuncts
from rowsmith.mapping.constraints import tells_all_apart, unique_keys_of
from rowsmith.mapping.row import row_info

Pairs: TypeAlias = list[tuple[Column[Any], Column[Any]]]
"""The columns that are equal on both sides of a relationship: this row's, and the related one's."""


def is_single(relationship: RelationshipProperty[Any]) -> bool:
    """Say whether a join to the related rows cannot multiply: their key, or a unique one, stands in it."""
    if relationship.direction is not RelationshipDirection.MANYTOONE or relationship.uselist:
        return False
    if leads_to_alias(relationship):
        return False
    reached = {remote for _, remote in equal_pairs(relationship)}
    table: Any = relationship.mapper.local_table
    unique = unique_keys_of(cast("Any", table)) if isinstance(table, Table) else []
    keys: list[Any] = [relationship.mapper.primary_key, *(key.columns for key in unique if tells_all_apart(key))]
    return any(map(reached.issuperset, keys))


def is_certain(relationship: RelationshipProperty[Any]) -> bool:
    """Say whether every row has its related one: a NOT NULL foreign key to it, and no further condition."""
    if relationship.direction is not RelationshipDirection.MANYTOONE or not is_plain(relationship):
        return False
    pairs = equal_pairs(relationship)
    if any(local.nullable for local, _ in pairs):
        return False
    keys = {key for local, _ in pairs for key in local.table.foreign_key_constraints}
    return any({(element.parent, element.column) for element in key.elements}.issuperset(pairs) for key in keys)


def is_plain(relationship: RelationshipProperty[Any]) -> bool:
    """Say whether a relationship joins whole tables by nothing but equal columns."""
    if relationship.secondary is not None or leads_to_alias(relationship):
        return False
    # A class that shares its table with others leads to some of the rows only.
    whole = not row_info(relationship.mapper.class_).own_rows
    return whole and len(equal_pairs(relationship)) == len(list(conjuncts(relationship.primaryjoin)))


def leads_to_alias(relationship: RelationshipProperty[Any]) -> bool:
    """Say whether a relationship leads to an ``aliased(...)`` of a class, perhaps over a subquery."""
    return bool(cast("Any", relationship.entity).is_aliased_class)


def equal_pairs(relationship: RelationshipProperty[Any]) -> Pairs:
    """Give the pairs of columns that the relationship has to be equal, without what else it asks."""
    known = cast("Pairs", relationship.local_remote_pairs)
    found: Pairs = []
    for condition in conjuncts(relationship.primaryjoin):
        if isinstance(condition, BinaryExpression) and condition.operator is operators.eq:
            sides = {bare(condition.left), bare(condition.right)}
            found += [pair for pair in known if sides == set(pair)]
    return found
