"""What callers give and get: the labels of a series as columns, its data, its scope, and what is searched by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from examples.domain.types import DomainName
from examples.group.types import GroupId
from rowsmith import Condition, SearchScope
from rowsmith.filters import Filter, NumberFilter, StringFilter


class Series(DeclarativeBase):
    """Of labels that conditions are made of; no database has such a table."""


class UsageSeries(Series):
    __tablename__ = "group_cpu_seconds"

    domain_name: Mapped[str] = mapped_column(primary_key=True)
    group_id: Mapped[int] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(primary_key=True)


@dataclass(frozen=True)
class UsageData:
    domain_name: DomainName
    group_id: GroupId
    cpu_seconds: float


@dataclass(frozen=True)
class UsageScope(SearchScope):
    """What the groups of one domain use."""

    domain_name: DomainName

    def to_conditions(self) -> Sequence[Condition]:
        return [UsageSeries.domain_name == self.domain_name]


class UsageFilter(Filter[UsageSeries]):
    group_id: NumberFilter | None = None
    host: StringFilter | None = None
