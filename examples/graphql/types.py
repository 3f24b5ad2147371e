"""A group as GraphQL has it, and what a request brings with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

import strawberry
from strawberry.scalars import JSON

from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind
from examples.group.types import DomainScope, GroupData

strawberry.enum(GroupKind)


@dataclass(frozen=True)
class Caller:
    """The context of a request: who asks, and where groups are. The scope comes, in earnest, from a token."""

    groups: GroupRepository
    scope: DomainScope


Info = strawberry.Info[Caller, None]


@strawberry.type
class Group:
    id: int
    domain_name: str
    name: str
    kind: GroupKind
    description: str | None
    population: int
    tags: list[str]
    place: JSON
    created_at: datetime

    @classmethod
    def of(cls, group: GroupData) -> Self:
        """Give a group as a client gets it."""
        return cls(
            id=group.id,
            domain_name=group.domain_name,
            name=group.name,
            kind=group.kind,
            description=group.description,
            population=group.population,
            tags=group.tags,
            place=JSON(group.place),
            created_at=group.created_at,
        )
