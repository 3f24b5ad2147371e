"""What callers give and get: data, spec, patch and scope of a domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from examples.base import JsonObject
from examples.domain.rows import Continent, DomainRow
from rowsmith import Condition, OptionalState, Patch, SearchScope, Spec, TriState

DomainName = NewType("DomainName", str)


@dataclass(frozen=True)
class DomainData:
    name: DomainName
    title: str
    continent: Continent
    description: str | None
    languages: list[str]
    settings: JsonObject
    is_active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class DomainCreate(Spec[DomainRow]):
    name: DomainName
    title: str
    continent: Continent
    description: str | None = None
    languages: list[str] = field(default_factory=list[str])
    settings: JsonObject = field(default_factory=dict[str, object])


@dataclass(frozen=True)
class DomainPatch(Patch[DomainRow]):
    title: OptionalState[str] = OptionalState.nop()
    description: TriState[str] = TriState.nop()
    languages: OptionalState[list[str]] = OptionalState.nop()
    settings: OptionalState[JsonObject] = OptionalState.nop()
    is_active: OptionalState[bool] = OptionalState.nop()


@dataclass(frozen=True)
class ContinentScope(SearchScope):
    """What the administrator of a continent may see and touch."""

    continent: Continent

    def to_conditions(self) -> Sequence[Condition]:
        return [DomainRow.continent == self.continent]
