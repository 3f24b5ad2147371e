"""What callers give and get: data, spec and patch of a peak."""

from __future__ import annotations

from dataclasses import dataclass

from examples.group.types import GroupId
from examples.presence.rows import PeakRow
from rowsmith import OptionalState, Patch, Spec


@dataclass(frozen=True)
class PeakData:
    group_id: GroupId
    peak: int


@dataclass(frozen=True)
class PeakCreate(Spec[PeakRow]):
    group_id: GroupId


@dataclass(frozen=True)
class PeakPatch(Patch[PeakRow]):
    peak: OptionalState[int] = OptionalState.nop()
    fence: OptionalState[int] = OptionalState.nop()
