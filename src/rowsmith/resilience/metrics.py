"""Metrics of calls, in Prometheus's form."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from rowsmith.errors import InvalidValue, MissingExtra, RepositoryError, kind_of
from rowsmith.resilience.labels import DomainType, LayerType, cache_beside
from rowsmith.resilience.policy import Operation, Policy, Work

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

T = TypeVar("T")

MOST_VALUES = 200
"""How many operations and error codes a policy tells apart, since a label must not grow; the rest are ``other``."""


@dataclass(frozen=True)
class MetricArgs:
    """Whose calls are measured: the labels ``domain`` (``"repository"``) and ``layer`` (``"group_repository"``).

    ::

        MetricArgs(DomainType.REPOSITORY, LayerType.DB_SOURCE.of("group"))

    Raises:
        InvalidValue: one of them is no text, or an empty one, which to Prometheus is a label that is not there.
    """

    domain: DomainType | str
    layer: LayerType | str

    def __post_init__(self) -> None:
        for name, label in (("domain", self.domain), ("layer", self.layer)):
            if not (isinstance(cast("Any", label), str) and label):
                raise InvalidValue(f'{name} is a text: write MetricArgs("repository", "group_repository")')


def check_args(args: object, policy: type[Policy]) -> None:
    """Refuse what does not say whose calls a policy measures.

    Raises:
        InvalidValue: it is no MetricArgs.
    """
    if not isinstance(args, MetricArgs):
        words = f'write {policy.__name__}(MetricArgs("repository", "group_repository"))'
        raise InvalidValue(f"{policy.__name__} takes MetricArgs, not {kind_of(args)}: {words}")


class MetricPolicy(Policy):
    """Counts and times calls.

    ===================================================  =========================================================
    gauge ``<ns>_layer_operation_triggered_count``       calls under way: up at the start, down at the end
    counter ``<ns>_layer_operation_count``               calls ended, by ``success``: ``"true"`` or ``"false"``
    counter ``<ns>_layer_operation_error_count``         calls failed, by ``error_code``
    counter ``<ns>_layer_retry_count``                   tries after the first
    histogram ``<ns>_layer_operation_duration_sec``      seconds from start to end
    counter ``<ns>_layer_cache_count``                   entries asked of a cache, by ``result``: ``"hit"`` or
                                                         ``"miss"``; and ``"failure"``: calls it did not answer
    ===================================================  =========================================================

    Each has the labels ``domain``, ``layer`` and ``operation``. A call that is cancelled ends without success, and
    counts under its exception's class name, as every error that is not rowsmith's own does. What is counted of a cache
    has the layer's name with ``cache_source`` instead of ``repository`` or ``db_source``: ``group_cache_source``.

    Args:
        args: whose calls.
        namespace: the ``<ns>`` above.
        registry: where the metrics are registered, by default Prometheus's own; policies that share it and the
            namespace share the metrics.

    Raises:
        MissingExtra: prometheus-client is not installed.
        InvalidValue: ``args`` is no MetricArgs, ``namespace`` no name, or ``registry`` none.
    """

    def __init__(
        self, args: MetricArgs, *, namespace: str = "rowsmith", registry: CollectorRegistry | None = None
    ) -> None:
        check_args(args, MetricPolicy)
        self._labels = (args.domain, args.layer)
        self._families = _families(namespace, registry)
        self._measured: dict[str, _Measured] = {}
        self._codes: set[str] = set()
        self._cached: dict[tuple[str, str], Any] = {}

    @asynccontextmanager
    async def around(self, operation: Operation) -> AsyncGenerator[None]:
        """Measure what happens inside."""
        measured = self._of(operation)
        started = measured.begin()
        try:
            yield
        except GeneratorExit:  # a stream whose reader has enough
            measured.succeed(started)
            raise
        except BaseException as exc:
            measured.fail(started, self._code(exc))
            raise
        measured.succeed(started)

    async def run(self, operation: Operation, work: Work[T]) -> T:
        """Measure a call; as :meth:`around` does, without a generator for each."""
        try:
            measured = self._measured[operation.name]
        except KeyError:
            measured = self._of(operation)
        measured.add_running(1)  # as begin() and succeed() do, in no calls of their own
        started = perf_counter()
        try:
            result = await work()
        except BaseException as exc:
            measured.fail(started, self._code(exc))
            raise
        measured.add_success(1)
        measured.observe(perf_counter() - started)
        measured.add_running(-1)
        return result

    def looked_up(self, operation: str, *, hits: int, misses: int, failures: int) -> None:
        """Count what a cache had."""
        for result, count in (("hit", hits), ("miss", misses), ("failure", failures)):
            if not count:
                continue
            counter = self._cached.get((operation, result))
            if counter is None:
                domain, layer = self._labels
                labels = (domain, cache_beside(layer), operation, result)
                counter = self._cached[operation, result] = self._families.cached.labels(*labels)
            counter.inc(count)

    def retried(self, operation: Operation) -> None:
        """Count a try after the first."""
        self._of(operation).retries.inc()

    def _of(self, operation: Operation) -> _Measured:
        """Give what measures an operation; made once for each name."""
        found = self._measured.get(operation.name)
        if found is None:
            name = _bounded(operation.name, self._measured)
            found = self._measured[name] = _Measured(self._families, (*self._labels, name))
        return found

    def _code(self, failure: BaseException) -> str:
        code = _bounded(error_code(failure), self._codes)
        self._codes.add(code)
        return code


class _Measured:
    """What measures one operation: its labels are looked up once."""

    def __init__(self, families: _Families, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self._families = families
        self.add_running = _adding(families.triggered.labels(*labels))
        self.add_success = _adding(families.ended.labels(*labels, "true"))
        self._failed = families.ended.labels(*labels, "false")
        self.observe = _observing(families.duration.labels(*labels))
        self.retries = families.retries.labels(*labels)  # there from the first call on: a rate counts from what was

    def begin(self) -> float:
        """Take note of a call that starts, and give the time."""
        self.add_running(1)
        return perf_counter()

    def succeed(self, started: float) -> None:
        """Take note of a call that ended well."""
        self.add_success(1)
        self.observe(perf_counter() - started)
        self.add_running(-1)

    def fail(self, started: float, code: str) -> None:
        """Take note of a call that failed."""
        self._families.errors.labels(*self.labels, code).inc()
        self._failed.inc()
        self.observe(perf_counter() - started)
        self.add_running(-1)


def _adding(child: Any) -> Callable[[float], None]:
    """Give what adds to a counter or gauge: of its value itself, which is not asked at each call for its labels."""
    value = getattr(child, "_value", child)
    add: Callable[[float], None] = value.inc
    return add


def _observing(child: Any) -> Callable[[float], None]:
    """Give what a histogram's ``observe`` does, without going through all of its buckets."""
    try:
        bounds, add = child._upper_bounds, child._sum.inc
        counts = [bucket.inc for bucket in child._buckets]
    except AttributeError:
        observe: Callable[[float], None] = child.observe
        return observe

    def observe_at_once(amount: float) -> None:
        add(amount)
        counts[bisect_left(bounds, amount)](1)

    return observe_at_once


def _bounded(value: str, known: Collection[str]) -> str:
    return value if value in known or len(known) < MOST_VALUES else "other"


def error_code(failure: BaseException) -> str:
    """Give the code that a failure is counted under: rowsmith's own, or a stranger's class name."""
    return failure.error_code if isinstance(failure, RepositoryError) else type(failure).__name__


@dataclass(frozen=True)
class _Families:
    triggered: Any
    ended: Any
    errors: Any
    retries: Any
    duration: Any
    cached: Any


_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*|")

_made: WeakKeyDictionary[Any, dict[str, _Families]] = WeakKeyDictionary()


def _families(namespace: str, registry: CollectorRegistry | None) -> _Families:
    """Make the metrics of a registry and namespace once: a name can be registered only once."""
    try:
        from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram  # noqa: PLC0415 - an extra, found at the edge
    except ImportError:
        raise MissingExtra("metrics need prometheus-client: pip install 'rowsmith[metrics]'") from None
    if not isinstance(cast("Any", namespace), str) or not _NAME.fullmatch(namespace):
        raise InvalidValue('namespace is what names of metrics begin with, such as namespace="rowsmith"')
    if registry is not None and not isinstance(cast("Any", registry), CollectorRegistry):
        raise InvalidValue(f"registry is a CollectorRegistry, not {kind_of(registry)}: write CollectorRegistry()")
    owner = REGISTRY if registry is None else registry
    made = _made.setdefault(owner, {})
    if namespace not in made:
        labels = ("domain", "layer", "operation")
        place: Any = {"namespace": namespace, "registry": owner}
        made[namespace] = _Families(
            Gauge("layer_operation_triggered_count", "Calls under way", labels, **place),
            Counter("layer_operation_count", "Calls ended", (*labels, "success"), **place),
            Counter("layer_operation_error_count", "Calls failed", (*labels, "error_code"), **place),
            Counter("layer_retry_count", "Tries after the first", labels, **place),
            Histogram("layer_operation_duration_sec", "Seconds that calls took", labels, **place),
            Counter("layer_cache_count", "Entries asked of a cache", (*labels, "result"), **place),
        )
    return made[namespace]
