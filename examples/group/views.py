"""What else is read of groups: cards with their domain and members, and statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sqlalchemy import func

from examples.domain.types import DomainName
from examples.group.rows import GroupKind, GroupRow
from examples.group.types import GroupId, UserId
from rowsmith import Expr, avg, count, sum_


@dataclass(frozen=True)
class DomainCard:
    name: DomainName
    title: str


@dataclass(frozen=True)
class Member:
    user_id: UserId


@dataclass(frozen=True)
class GroupCard:
    """A group with its domain and its members, loaded with one statement more for the members of all cards."""

    id: GroupId
    name: str
    tag_count: Annotated[int, Expr(func.coalesce(func.array_length(GroupRow.tags, 1), 0))]
    domain: DomainCard
    members: tuple[Member, ...]


@dataclass(frozen=True)
class DomainStats:
    """What the groups of one domain come to."""

    domain_name: DomainName
    groups: Annotated[int, count()]
    capitals: Annotated[int, count().filter(GroupRow.kind == GroupKind.CAPITAL)]
    people: Annotated[int, sum_(GroupRow.population)]
    mean: Annotated[float | None, avg(GroupRow.population)]
