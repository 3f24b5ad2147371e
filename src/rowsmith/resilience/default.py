"""The policies of a repository that says nothing of any."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any, cast

from rowsmith.errors import MappingError, kind_of
from rowsmith.resilience.labels import DomainType
from rowsmith.resilience.metrics import MetricArgs, MetricPolicy
from rowsmith.resilience.policy import Policy
from rowsmith.resilience.resilience import Resilience
from rowsmith.resilience.retry import RetryPolicy
from rowsmith.resilience.tracing import TracePolicy
from rowsmith.state import UNSET


def default_resilience(whose: type[object] | str, system: str = "postgresql") -> Resilience:
    """Give metrics and spans, where prometheus-client and opentelemetry-api are installed, and the safe retry.

    Args:
        whose: the label ``layer``, or the class whose name makes it: ``GroupRepository`` is ``group_repository``.
        system: what answers the calls, by the name that OpenTelemetry has for it (``db.system.name``).

    Raises:
        MappingError: ``whose`` is something else.
    """
    if not isinstance(cast("Any", whose), (str, type)):
        raise MappingError(
            f"whose is a class or a text, not {kind_of(whose)}: write default_resilience(GroupRepository)"
        )
    args = MetricArgs(domain=DomainType.REPOSITORY, layer=whose if isinstance(whose, str) else layer_of(whose))
    measures: list[Policy] = []
    if find_spec("prometheus_client"):
        measures.append(MetricPolicy(args))
    if find_spec("opentelemetry"):
        measures.append(TracePolicy(args, system=system))
    return Resilience([*measures, RetryPolicy()])


def chosen_resilience(given: Any, whose: type[object] | str, name: str, *, system: str) -> Resilience | None:
    """Give the policies that were chosen: those given, the default ones where nothing was, or None.

    Args:
        given: a ``Resilience``, None, or ``UNSET``.
        whose, system: see :func:`default_resilience`.
        name: of the class that they were given to.

    Raises:
        MappingError: they are something else.
    """
    return default_resilience(whose, system) if given is UNSET else checked_resilience(given, name)


def checked_resilience(given: Any, name: str) -> Resilience | None:
    """Give what are the policies of a class of this name, or None.

    Raises:
        MappingError: they are something else.
    """
    if given is not None and not isinstance(given, Resilience):
        raise MappingError(
            f"{name}: resilience is a Resilience or None, not {kind_of(given)}: "
            "write Resilience(policies=[RetryPolicy(RetryArgs())])"
        )
    return given


def layer_of(kind: type[object]) -> str:
    """Give a class's name as a label has it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind.__name__).lower()
