"""What can go wrong: rowsmith's own kinds, so that policies, logs and handlers of errors know them."""

from __future__ import annotations

from rowsmith import DatabaseFault, DatabaseUnavailable, EntityNotFound


class UsageNotFound(EntityNotFound):
    """The store knows nothing of such a group, for this caller."""


class MetricStoreUnavailable(DatabaseUnavailable):
    """The store was not reached, or was not up to it. A read may be tried again, and ``RetryPolicy`` does."""

    detail = "metric_store_unavailable"
    default_message = "the metric store cannot be reached"


class MetricStoreFault(DatabaseFault):
    """The store refused the query, or answered what is no answer."""

    detail = "metric_store_fault"
    default_message = "the metric store refused the query"
