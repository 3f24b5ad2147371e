"""What callers give and get, and the repositories: a key is the domain and what is unique in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from examples.distributed.rows import GroupMemberRow, GroupRow
from rowsmith import (
    Condition,
    Conflict,
    EntityAlreadyExists,
    EntityNotFound,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
)


class GroupNotFound(EntityNotFound):
    pass


class GroupNameTaken(EntityAlreadyExists):
    pass


class GroupKey(NamedTuple):
    domain_name: str
    id: int


class MemberKey(NamedTuple):
    domain_name: str
    group_id: int
    user_id: UUID


@dataclass(frozen=True)
class GroupData:
    domain_name: str
    id: int
    name: str
    population: int

    @property
    def key(self) -> GroupKey:
        """What the group is got by."""
        return GroupKey(self.domain_name, self.id)


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow], filled={"domain_name"}):
    name: str
    population: int = 0


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()
    population: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class MemberData:
    domain_name: str
    group_id: int
    user_id: UUID


@dataclass(frozen=True)
class MemberCreate(Spec[GroupMemberRow], filled={"domain_name"}):
    group_id: int
    user_id: UUID


@dataclass(frozen=True)
class DomainScope(SearchScope):
    """The groups of one domain, and so of one shard."""

    domain_name: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name]


@dataclass(frozen=True)
class MembersOf(SearchScope):
    """The members of one domain's groups."""

    domain_name: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupMemberRow.domain_name == self.domain_name]


class GroupRepository(Repository[GroupRow, GroupData, GroupKey]):
    not_found = GroupNotFound
    violations = {"uq_spread_groups_domain_name_name_live": GroupNameTaken}
    soft_delete = SoftDelete(GroupRow.deleted_at)
    conflict = Conflict([GroupRow.domain_name, GroupRow.name], where=GroupRow.deleted_at.is_(None))
    scope_required = True


class MemberRepository(Repository[GroupMemberRow, MemberData, MemberKey]):
    scope_required = True
