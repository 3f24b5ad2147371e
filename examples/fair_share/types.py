"""What callers give and get: keys, data, specs, patches and scopes of fair shares and of usage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from examples.domain.types import DomainName
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.group.types import GroupId, UserId
from rowsmith import Condition, OptionalState, Patch, SearchScope, Spec


class FairShareKey(NamedTuple):
    domain_name: DomainName
    group_id: GroupId
    user_id: UserId


class UsageKey(NamedTuple):
    domain_name: DomainName
    group_id: GroupId
    user_id: UserId
    day: date


@dataclass(frozen=True)
class FairShareData:
    domain_name: DomainName
    group_id: GroupId
    user_id: UserId
    weight: Decimal
    version: int

    @property
    def key(self) -> FairShareKey:
        return FairShareKey(self.domain_name, self.group_id, self.user_id)


@dataclass(frozen=True)
class FairShareCreate(Spec[FairShareRow]):
    domain_name: DomainName
    group_id: GroupId
    user_id: UserId
    weight: Decimal = Decimal(1)


@dataclass(frozen=True)
class FairSharePatch(Patch[FairShareRow]):
    weight: OptionalState[Decimal] = OptionalState.nop()


@dataclass(frozen=True)
class Usage(Spec[UsageRow]):
    """What was used on one day: written and read alike."""

    domain_name: DomainName
    group_id: GroupId
    user_id: UserId
    day: date
    used: Decimal

    @property
    def key(self) -> FairShareKey:
        return FairShareKey(self.domain_name, self.group_id, self.user_id)


@dataclass(frozen=True)
class DomainShareScope(SearchScope):
    """The shares within a domain."""

    domain_name: DomainName

    def to_conditions(self) -> Sequence[Condition]:
        return [FairShareRow.domain_name == self.domain_name]


@dataclass(frozen=True)
class GroupShareScope(SearchScope):
    """The shares within a group, as in other places within a project."""

    domain_name: DomainName
    group_id: GroupId

    def to_conditions(self) -> Sequence[Condition]:
        return [FairShareRow.domain_name == self.domain_name, FairShareRow.group_id == self.group_id]


@dataclass(frozen=True)
class UserShareScope(SearchScope):
    """The shares of a user, in whatever groups."""

    user_id: UserId

    def to_conditions(self) -> Sequence[Condition]:
        return [FairShareRow.user_id == self.user_id]


@dataclass(frozen=True)
class DomainUsageScope(SearchScope):
    """What was used within a domain."""

    domain_name: DomainName

    def to_conditions(self) -> Sequence[Condition]:
        return [UsageRow.domain_name == self.domain_name]
