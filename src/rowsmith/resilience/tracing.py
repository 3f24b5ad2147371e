"""Spans and measures of calls, through OpenTelemetry's API."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from rowsmith.errors import InvalidValue, MissingExtra, kind_of
from rowsmith.resilience.metrics import MetricArgs, check_args, error_code
from rowsmith.resilience.policy import Opening, Operation, Policy, Work

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

T = TypeVar("T")


class TracePolicy(Policy):
    """Makes a span of each call, and measures it.

    Names are those of OpenTelemetry's semantic conventions for database clients: a span ``{operation} {layer}`` with
    ``db.system.name``, ``db.operation.name`` and, where it fails, ``error.type`` (the error's code, never its words); a
    histogram ``db.client.operation.duration`` in seconds. What they have no name for is ``rowsmith.operation.active``
    and ``rowsmith.operation.retries``.

    Args:
        args: whose calls.
        system: ``db.system.name``.
        tracer_provider, meter_provider: by default the process's own.

    Raises:
        MissingExtra: opentelemetry-api is not installed.
        InvalidValue: ``args`` is no MetricArgs, or something else is of another kind.
    """

    def __init__(
        self,
        args: MetricArgs,
        *,
        system: str = "postgresql",
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra, found at the edge
        except ImportError:
            raise MissingExtra("spans need opentelemetry-api: pip install 'rowsmith[otel]'") from None
        check_args(args, TracePolicy)
        for name, each, kind, words in (
            ("system", system, str, '"postgresql"'),
            ("tracer_provider", tracer_provider, trace.TracerProvider | None, "TracerProvider()"),
            ("meter_provider", meter_provider, metrics.MeterProvider | None, "MeterProvider()"),
        ):
            if not isinstance(cast("Any", each), kind):
                raise InvalidValue(f"{name} is {kind_of(each)}: write {name}={words}")
        self._known = {"db.system.name": system, "rowsmith.domain": args.domain, "rowsmith.layer": args.layer}
        self._layer = args.layer
        given = tracer_provider is not None or meter_provider is not None
        is_named = bool(os.environ.keys() & _NAMED_BY)
        self._tracers = _SOMEBODY if given or is_named else _behind(trace.get_tracer_provider, "_TRACER_PROVIDER")
        self._meters = _SOMEBODY if given or is_named else _behind(metrics.get_meter_provider, "_METER_PROVIDER")
        self._span_kind, self._status = trace.SpanKind.CLIENT, trace.StatusCode.ERROR
        # Neither records what is raised: its words and frames may be made of a row.
        self._within: Any = partial(
            trace.use_span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )
        self._tracer = trace.get_tracer("rowsmith", tracer_provider=tracer_provider)
        meter = metrics.get_meter("rowsmith", meter_provider=meter_provider)
        self._duration: Any = meter.create_histogram(
            "db.client.operation.duration", unit="s", description="Duration of database client operations."
        )
        self._active: Any = meter.create_up_down_counter("rowsmith.operation.active", description="Calls under way.")
        self._retries: Any = meter.create_counter("rowsmith.operation.retries", description="Tries after the first.")

    def run(self, operation: Operation, work: Work[T]) -> CoroutineType[Any, Any, T]:
        """Have a call stand under a span, where anybody listens; where nobody does, it is the work itself."""
        is_heard = self._tracers["_TRACER_PROVIDER"] is not None or self._meters["_METER_PROVIDER"] is not None
        begun: Any = super().run(operation, work) if is_heard else work()
        run: CoroutineType[Any, Any, T] = begun
        return run

    async def stream(self, operation: Operation, opening: Opening[T]) -> AsyncGenerator[T, None]:
        """Have a stream stand under a span, which is no item's: what is done between two of them is the reader's."""
        with self._measured(operation):
            async with aclosing(opening()) as items:
                async for item in items:
                    yield item

    @asynccontextmanager
    async def around(self, operation: Operation) -> AsyncGenerator[None]:
        """Have what happens inside stand under a span."""
        with self._measured(operation) as span, self._within(span):
            yield

    @contextmanager
    def _measured(self, operation: Operation) -> Generator[Any]:
        """Make a span, without entering it, and measure what happens inside the block."""
        told = self._attributes(operation)
        failed: dict[str, str] = {}
        span = self._tracer.start_span(f"{operation.name} {self._layer}", kind=self._span_kind, attributes=told)
        self._active.add(1, told)
        started = time.perf_counter()
        try:
            yield span
        except GeneratorExit:  # a stream whose reader has enough
            raise
        except BaseException as exc:
            failed["error.type"] = error_code(exc)
            span.set_attribute("error.type", failed["error.type"])
            span.set_status(self._status)
            raise
        finally:
            self._active.add(-1, told)
            self._duration.record(time.perf_counter() - started, {**told, **failed})
            span.end()

    def retried(self, operation: Operation) -> None:
        """Count a try after the first."""
        self._retries.add(1, self._attributes(operation))

    def _attributes(self, operation: Operation) -> dict[str, str]:
        return {**self._known, "db.operation.name": operation.name}


_NAMED_BY: Final = {"OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PYTHON_METER_PROVIDER"}
"""The variables of an environment that name an SDK, which is then set up when somebody first asks for it."""


_SOMEBODY: Final = {"_TRACER_PROVIDER": True, "_METER_PROVIDER": True}
"""What stands for the variables of OpenTelemetry where they cannot be asked: somebody may listen."""


def _behind(provider: Any, name: str) -> Mapping[str, Any]:
    """Give where the variable is kept that a function of OpenTelemetry's looks at: None while no SDK is set up.

    Without one, spans and measures go nowhere. It is looked at by each call, and the function takes ten times as long.
    """
    found: dict[str, Any] = provider.__globals__
    return found if name in found else _SOMEBODY
