"""What callers give and get: data, spec, patch and scopes of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType
from uuid import UUID

from examples.base import JsonObject
from examples.domain.rows import DomainRow
from examples.domain.types import DomainName
from examples.group.errors import GroupDomainNotFound
from examples.group.rows import GroupKind, GroupMemberRow, GroupRow
from rowsmith import Condition, ExistenceCheck, OptionalState, Patch, SearchScope, Spec, TriState

GroupId = NewType("GroupId", int)
UserId = NewType("UserId", UUID)


@dataclass(frozen=True)
class GroupData:
    id: GroupId
    domain_name: DomainName
    name: str
    kind: GroupKind
    description: str | None
    population: int
    tags: list[str]
    place: JsonObject
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    domain_name: DomainName
    name: str
    kind: GroupKind = GroupKind.REGULAR
    description: str | None = None
    population: int = 0
    tags: list[str] = field(default_factory=list[str])
    place: JsonObject = field(default_factory=dict[str, object])


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()
    kind: OptionalState[GroupKind] = OptionalState.nop()
    description: TriState[str] = TriState.nop()
    population: OptionalState[int] = OptionalState.nop()
    tags: OptionalState[list[str]] = OptionalState.nop()


@dataclass(frozen=True)
class MemberCreate(Spec[GroupMemberRow]):
    group_id: GroupId
    user_id: UserId


@dataclass(frozen=True)
class DomainScope(SearchScope):
    """The groups of one domain, which must be there."""

    domain_name: DomainName

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name]

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        live = (DomainRow.name == self.domain_name) & DomainRow.deleted_at.is_(None)
        return [ExistenceCheck(live, GroupDomainNotFound, "the domain does not exist")]


@dataclass(frozen=True)
class UserScope(SearchScope):
    """The groups that a user is in."""

    user_id: UserId

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.members.any(GroupMemberRow.user_id == self.user_id)]
