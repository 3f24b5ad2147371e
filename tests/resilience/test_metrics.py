"""What is measured of calls, read back as Prometheus and OpenTelemetry read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rowsmith import Database, DeadlockDetected, EntityNotFound, InvalidValue, RepositoryError
from rowsmith.errors import ErrorFacts
from rowsmith.resilience import (
    DomainType,
    LayerType,
    MetricArgs,
    MetricPolicy,
    Resilience,
    RetryArgs,
    RetryPolicy,
    TracePolicy,
)
from tenants import OwnedBy, ThingRepository

ARGS = MetricArgs(domain="repository", layer="group_repository")


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Give one sample as a scrape has it."""
    text = generate_latest(registry).decode()
    found = [one for family in text_string_to_metric_families(text) for one in family.samples if one.name == name]
    wanted = {"domain": "repository", "layer": "group_repository", "operation": "get", **labels}
    return next((one.value for one in found if one.labels == wanted), None)


@pytest.mark.parametrize("labels", [("repository", ""), ("", "group"), (5, "group"), ("repository", None)])
def test_labels_are_texts(labels: tuple[Any, Any]) -> None:
    """A label that is empty is to Prometheus none at all."""
    with pytest.raises(InvalidValue, match=r"(domain|layer) is a text: write MetricArgs\("):
        MetricArgs(*labels)


@pytest.mark.parametrize("policy", [MetricPolicy, TracePolicy])
@pytest.mark.parametrize("wrong", ["group_repository", MetricArgs, None])
def test_whose_calls_are_measured_is_said_by_metric_args(policy: type[MetricPolicy], wrong: Any) -> None:
    """Nothing else says it."""
    with pytest.raises(InvalidValue, match=f"{policy.__name__} takes MetricArgs, not .*: write {policy.__name__}"):
        policy(wrong)


async def missing() -> None:
    raise EntityNotFound(facts=ErrorFacts(domain="group", operation="get"))


async def test_calls_are_counted_and_timed() -> None:
    """Successes, failures by their code, retries, seconds; and those under way while they are."""
    registry = CollectorRegistry()
    policies = Resilience([MetricPolicy(ARGS, registry=registry), RetryPolicy(RetryArgs(retry_delay=0))])
    failures = [DeadlockDetected()]

    async def flaky() -> float | None:
        if failures:
            raise failures.pop()
        return sample(registry, "rowsmith_layer_operation_triggered_count")

    assert await policies.call("get", flaky) == 1
    with pytest.raises(EntityNotFound):
        await policies.call("get", missing)
    assert sample(registry, "rowsmith_layer_operation_triggered_count") == 0
    assert sample(registry, "rowsmith_layer_operation_count_total", success="true") == 1
    assert sample(registry, "rowsmith_layer_operation_count_total", success="false") == 1
    assert sample(registry, "rowsmith_layer_operation_error_count_total", error_code="group_get_not-found") == 1
    assert sample(registry, "rowsmith_layer_retry_count_total") == 1
    assert sample(registry, "rowsmith_layer_operation_duration_sec_count") == 2


async def test_a_cancelled_call_ends_and_a_stranger_counts_by_its_class() -> None:
    """Neither is left under way; a stranger's words are in no label."""
    registry = CollectorRegistry()
    policies = Resilience([MetricPolicy(ARGS, registry=registry)])

    async def strange() -> None:
        raise LookupError("a@example.org")

    with pytest.raises(LookupError):
        await policies.call("get", strange)
    task = asyncio.create_task(policies.call("get", asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sample(registry, "rowsmith_layer_operation_triggered_count") == 0
    for code in ("LookupError", "CancelledError"):
        assert sample(registry, "rowsmith_layer_operation_error_count_total", error_code=code) == 1
    assert b"example.org" not in generate_latest(registry)


async def test_layers_share_a_registry_and_registries_stand_apart() -> None:
    """The same names are registered once in each; namespaces and layers are open."""
    one, other = CollectorRegistry(), CollectorRegistry()
    for registry in (one, one, other):
        await Resilience([MetricPolicy(ARGS, registry=registry)]).call("get", lambda: asyncio.sleep(0))
    assert sample(one, "rowsmith_layer_operation_count_total", success="true") == 2
    assert sample(other, "rowsmith_layer_operation_count_total", success="true") == 1
    shop = MetricPolicy(MetricArgs("client", "shop"), namespace="shop", registry=one)
    async with Resilience([shop]).run("pay"):
        pass
    assert sample(
        one, "shop_layer_operation_count_total", domain="client", layer="shop", operation="pay", success="true"
    )


async def test_error_codes_are_bounded() -> None:
    """A label does not grow without end: what comes after two hundred codes is counted together."""
    registry = CollectorRegistry()
    policies = Resilience([MetricPolicy(ARGS, registry=registry)])
    for number in range(250):
        kind = type(f"Failure{number}", (Exception,), {})

        async def fails(kind: type[Exception] = kind) -> None:
            raise kind

        with pytest.raises(kind):
            await policies.call("get", fails)
    assert sample(registry, "rowsmith_layer_operation_error_count_total", error_code="other") == 50


async def test_a_stream_is_one_call() -> None:
    """From its first item asked for to its end."""
    registry = CollectorRegistry()

    @Resilience([MetricPolicy(ARGS, registry=registry)]).apply()
    async def get() -> AsyncGenerator[int]:
        yield 1
        yield 2

    assert [item async for item in get()] == [1, 2]
    assert sample(registry, "rowsmith_layer_operation_count_total", success="true") == 1


async def test_spans_and_measures_have_the_conventions_names() -> None:
    """A span a call with the operation's name; a failure by its code, and no words of it."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    policy = TracePolicy(ARGS, tracer_provider=tracers, meter_provider=MeterProvider([reader]))
    policies = Resilience([policy, RetryPolicy(RetryArgs(retry_delay=0))])
    failures = [DeadlockDetected()]

    async def flaky() -> None:
        if failures:
            raise failures.pop()

    await policies.call("get", flaky)
    with pytest.raises(EntityNotFound):
        await policies.call("get", missing)
    good, bad = exporter.get_finished_spans()
    assert good.name == bad.name == "get group_repository"
    assert (good.attributes or {})["db.operation.name"] == "get"
    assert good.status.is_ok
    assert (bad.attributes or {})["error.type"] == "group_get_not-found"
    assert not bad.events
    data = reader.get_metrics_data()
    assert data is not None
    told = {metric.name: metric.data.data_points for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert sum(point.count for point in told["db.client.operation.duration"]) == 2  # type: ignore[union-attr]
    assert [point.value for point in told["rowsmith.operation.retries"]] == [1]  # type: ignore[union-attr]
    assert [point.value for point in told["rowsmith.operation.active"]] == [0]  # type: ignore[union-attr]


async def test_spans_say_which_database_it_is(any_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that OpenTelemetry has for it."""
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", tracers)
    with pytest.raises(RepositoryError):  # there is no table
        await ThingRepository(any_database).count(OwnedBy("a"))
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["db.system.name"] == any_database.engine.dialect.name


async def test_a_stream_is_measured_and_enters_no_span() -> None:
    """One span and one duration for it all; between two items, and after a break, no span is the reader's."""
    exporter, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    policy = TracePolicy(ARGS, tracer_provider=tracers, meter_provider=MeterProvider([reader]))

    @Resilience([policy]).apply()
    async def numbers() -> AsyncGenerator[int]:
        yield 1
        yield 2

    stream = numbers()
    assert await anext(stream) == 1
    assert not trace.get_current_span().is_recording()
    await stream.aclose()
    (span,) = exporter.get_finished_spans()
    assert span.name == "numbers group_repository"
    assert span.status.is_ok
    data = reader.get_metrics_data()
    assert data is not None
    told = {metric.name: metric.data.data_points for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert sum(point.count for point in told["db.client.operation.duration"]) == 1  # type: ignore[union-attr]
    assert [point.value for point in told["rowsmith.operation.active"]] == [0]  # type: ignore[union-attr]


async def test_nothing_is_traced_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an SDK no span is made; one that is set up later is heard from then on."""
    policies = Resilience([TracePolicy(ARGS)])
    await policies.call("get", lambda: asyncio.sleep(0))
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", tracers)
    await policies.call("find", lambda: asyncio.sleep(0))
    made = [span.name for span in exporter.get_finished_spans()]
    assert made == ["find group_repository"]


@pytest.mark.parametrize("layer", [LayerType.REPOSITORY, LayerType.DB_SOURCE, LayerType.CACHE_SOURCE])
async def test_layers_have_names_that_plain_strings_stand_in_for(layer: LayerType) -> None:
    """A label each for the layers of one entity; what is counted under an enum is counted under its text."""
    registry = CollectorRegistry()
    for args in (MetricArgs(DomainType.VALKEY, layer.of("group")), MetricArgs("valkey", f"group_{layer.value}")):
        await Resilience([MetricPolicy(args, registry=registry)]).call("get", done)
    labels = {"domain": "valkey", "layer": f"group_{layer}", "operation": "get", "success": "true"}
    assert registry.get_sample_value("rowsmith_layer_operation_count_total", labels) == 2
    assert MetricArgs(DomainType.CLIENT, LayerType.CLIENT) == MetricArgs("client", "client")


async def done() -> None: ...
