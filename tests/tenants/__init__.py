"""The world of tenants: domains with groups and members, things, counters, tokens, and a row of every kind of column.

A row belongs to a tenant by a column of its own; groups, things and counters are deleted softly, and the latter two
carry versions. Tests import from here: ``from tenants import GroupRow, groups_in``.
"""

from __future__ import annotations

from tenants.base import Base
from tenants.content import groups_in, stored
from tenants.counters import (
    CounterData,
    CounterPatch,
    CounterRepository,
    CounterRow,
    TenantScope,
    UsedScope,
    counters_in,
    used,
    uses,
)
from tenants.groups import (
    CheckedScope,
    DomainNotFound,
    DomainRow,
    DomainScope,
    GroupCreate,
    GroupData,
    GroupHasMembers,
    GroupId,
    GroupNameTaken,
    GroupNotFound,
    GroupPatch,
    GroupRepository,
    GroupRow,
)
from tenants.members import MemberCreate, MemberData, MemberPatch, MemberRepository, MemberRow
from tenants.model import Model, Thing, changed
from tenants.things import (
    NameTaken,
    OwnedBy,
    ThingCreate,
    ThingData,
    ThingDraft,
    ThingPatch,
    ThingRepository,
    ThingRow,
)
from tenants.tokens import TokenCreate, TokenPatch, TokenRepository, TokenRow
from tenants.wide import WIDE_VALUES, Colour, WideCreate, WideData, WideRepository, WideRow

__all__ = [
    "WIDE_VALUES",
    "Base",
    "CheckedScope",
    "Colour",
    "CounterData",
    "CounterPatch",
    "CounterRepository",
    "CounterRow",
    "DomainNotFound",
    "DomainRow",
    "DomainScope",
    "GroupCreate",
    "GroupData",
    "GroupHasMembers",
    "GroupId",
    "GroupNameTaken",
    "GroupNotFound",
    "GroupPatch",
    "GroupRepository",
    "GroupRow",
    "MemberCreate",
    "MemberData",
    "MemberPatch",
    "MemberRepository",
    "MemberRow",
    "Model",
    "NameTaken",
    "OwnedBy",
    "TenantScope",
    "Thing",
    "ThingCreate",
    "ThingData",
    "ThingDraft",
    "ThingPatch",
    "ThingRepository",
    "ThingRow",
    "TokenCreate",
    "TokenPatch",
    "TokenRepository",
    "TokenRow",
    "UsedScope",
    "WideCreate",
    "WideData",
    "WideRepository",
    "WideRow",
    "changed",
    "counters_in",
    "groups_in",
    "stored",
    "used",
    "uses",
]
