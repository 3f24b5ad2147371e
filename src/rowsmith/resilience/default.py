"""The policies of a repository that says nothing of any."""

from __future__ import annotations

import re
from importlib.util import find_spec

from rowsmith.resilience.labels import DomainType
from rowsmith.resilience.metrics import MetricArgs, MetricPolicy
from rowsmith.resilience.policy import Policy
from rowsmith.resilience.resilience import Resilience
from rowsmith.resilience.retry import RetryPolicy
from rowsmith.resilience.tracing import TracePolicy


def default_resilience(kind: type[object]) -> Resilience:
    """Give metrics and spans, where prometheus-client and opentelemetry-api are installed, and the safe retry.

    Args:
        kind: whose calls; its name makes the label ``layer``: ``GroupRepository`` is ``group_repository``.
    """
    args = MetricArgs(domain=DomainType.REPOSITORY, layer=layer_of(kind))
    measures: list[Policy] = []
    if find_spec("prometheus_client"):
        measures.append(MetricPolicy(args))
    if find_spec("opentelemetry"):
        measures.append(TracePolicy(args))
    return Resilience([*measures, RetryPolicy()])


def layer_of(kind: type[object]) -> str:
    """Give a class's name as a label has it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind.__name__).lower()
