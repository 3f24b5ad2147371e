"""The repository of usage: the nouns of every other one, and nothing of SQL behind them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from examples.domain.types import DomainName
from examples.group.types import GroupId
from examples.metric_store.errors import MetricStoreFault, UsageNotFound
from examples.metric_store.promql import selector
from examples.metric_store.source import MetricClientSource, Sample
from examples.metric_store.types import UsageData, UsageFilter, UsageScope, UsageSeries
from rowsmith import Condition, EmptyScope, RepositoryError
from rowsmith.resilience import (
    DomainType,
    LayerType,
    MetricArgs,
    MetricPolicy,
    Resilience,
    RetryArgs,
    RetryPolicy,
    TimeoutPolicy,
)

resilience = Resilience(
    policies=[
        MetricPolicy(MetricArgs(DomainType.CLIENT, LayerType.CLIENT.of("usage"))),
        TimeoutPolicy(10.0),
        RetryPolicy(RetryArgs(max_retries=2, retry_delay=0.01)),
    ]
)


class UsageRepository:
    """What groups use. The scope's condition stands in the same query as the group's; nothing is asked twice."""

    def __init__(self, client_source: MetricClientSource) -> None:
        self._client_source = client_source

    @resilience.apply()
    async def get(self, id: GroupId, scope: UsageScope) -> UsageData:
        """Give what one group uses.

        Raises:
            UsageNotFound: nothing is known of it, in the scope: one answer for no such group and for another domain's.
        """
        async with located("get"):
            found = await self._query(scope, [UsageSeries.group_id == id])
            if not found:
                raise UsageNotFound
            return found[0]

    @resilience.apply()
    async def search(self, scope: UsageScope, filters: UsageFilter | None = None) -> Sequence[UsageData]:
        """Give what groups use, those that use most first.

        Raises:
            InvalidFilter: the filters ask for what labels cannot answer.
        """
        async with located("search"):
            found = await self._query(scope, filters.to_conditions() if filters else ())
            return sorted(found, key=lambda usage: (-usage.cpu_seconds, usage.group_id))

    async def _query(self, scope: UsageScope, wanted: Sequence[Condition]) -> list[UsageData]:
        allowed = scope.to_conditions()
        if not allowed:
            raise EmptyScope
        series = selector(UsageSeries.__tablename__, [*allowed, *wanted])
        samples = await self._client_source.samples(f"sum by (domain_name, group_id) ({series})")
        return [to_data(sample) for sample in samples]


def to_data(sample: Sample) -> UsageData:
    """Give what a sample says.

    Raises:
        MetricStoreFault: its labels are no group's.
    """
    labels = sample.metric
    try:
        return UsageData(DomainName(labels["domain_name"]), GroupId(int(labels["group_id"])), sample.value[1])
    except (KeyError, ValueError):
        failure = MetricStoreFault("a series of the metric store has no group's labels")
    raise failure  # outside, for the other error quotes the label


@asynccontextmanager
async def located(operation: str) -> AsyncGenerator[None]:
    """Have errors say whose they are, as ``usage_get_not-found`` does."""
    try:
        yield
    except RepositoryError as exc:
        exc.locate("usage", operation)
        raise
