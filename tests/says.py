"""A scope of whatever a test has it say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from rowsmith import Condition, SearchScope


@dataclass(frozen=True)
class Says(SearchScope):
    """A condition on the rows, and what is said of others."""

    own: Condition
    others: Mapping[type[Any], Sequence[Condition]] = field(default_factory=dict[Any, Any])

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [self.own]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return self.others
