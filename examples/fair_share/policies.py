"""What stands around every call: it is measured, and tried again where nothing of it was kept."""

from __future__ import annotations

from examples.fair_share.errors import FairShareError
from rowsmith.resilience import (
    BackoffStrategy,
    DomainType,
    LayerType,
    MetricArgs,
    MetricPolicy,
    Resilience,
    RetryArgs,
    RetryPolicy,
)


def policies(layer: LayerType, entity: str) -> Resilience:
    """Give the policies of an entity's repository or db_source, which goes by that name in the metrics."""
    return Resilience(
        policies=[
            MetricPolicy(MetricArgs(DomainType.REPOSITORY, layer.of(entity))),
            RetryPolicy(
                RetryArgs(
                    max_retries=10,
                    retry_delay=0.1,
                    backoff_strategy=BackoffStrategy.FIXED,
                    non_retryable_exceptions=(FairShareError,),
                )
            ),
        ]
    )
