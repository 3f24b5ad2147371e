"""Policies around calls: metrics, retries, deadlines. They hang on one seam of a repository, and on any function."""

from __future__ import annotations

from rowsmith.resilience.default import chosen_resilience, default_resilience
from rowsmith.resilience.labels import DomainType, LayerType
from rowsmith.resilience.metrics import MetricArgs, MetricPolicy
from rowsmith.resilience.policy import Operation, Policy
from rowsmith.resilience.resilience import Resilience, is_repeatable
from rowsmith.resilience.retry import BackoffStrategy, RetryArgs, RetryBudget, RetryPolicy
from rowsmith.resilience.timeout import TimeoutPolicy
from rowsmith.resilience.tracing import TracePolicy

__all__ = [
    "BackoffStrategy",
    "DomainType",
    "LayerType",
    "MetricArgs",
    "MetricPolicy",
    "Operation",
    "Policy",
    "Resilience",
    "RetryArgs",
    "RetryBudget",
    "RetryPolicy",
    "TimeoutPolicy",
    "TracePolicy",
    "chosen_resilience",
    "default_resilience",
    "is_repeatable",
]
