"""What callers give and get: key, data, specs, patch and scope of a fair share."""

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
class GroupShareScope(SearchScope):
    """The shares within one group."""

    group_id: GroupId

    def to_conditions(self) -> Sequence[Condition]:
        return [FairShareRow.group_id == self.group_id]
