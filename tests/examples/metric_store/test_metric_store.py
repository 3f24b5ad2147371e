"""The example of a repository over HTTP: scope, filter, data, resilience and errors are as everywhere."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import pytest
import sqlalchemy as sa
from httpx import AsyncClient
from prometheus_client import REGISTRY

from examples.domain.types import DomainName
from examples.group.types import GroupId
from examples.metric_store.errors import MetricStoreFault, MetricStoreUnavailable, UsageNotFound
from examples.metric_store.promql import matcher
from examples.metric_store.repository import UsageRepository
from examples.metric_store.source import MetricClientSource
from examples.metric_store.types import UsageData, UsageFilter, UsageScope, UsageSeries
from rowsmith import Condition, EmptyScope, InvalidFilter, InvalidValue
from rowsmith.filters import NumberFilter, StringFilter

DE, FR = DomainName("DE"), DomainName("FR")
RACK = sa.Column("rack", sa.String())
SAMPLES = [(DE, 1, "a", 5.0), (DE, 1, "b", 2.0), (DE, 2, "a", 9.0), (FR, 3, "a", 1.0)]


class FakePrometheus:
    """Answers instant queries of one form, on a free port; and badly, as often as it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bad_answers: list[tuple[int, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(re.findall(r"content-length: (\d+)", head, re.IGNORECASE)[0])
        (promql,) = parse_qs((await reader.readexactly(length)).decode())["query"]
        self.asked.append(promql)
        status, body = self.bad_answers.pop() if self.bad_answers else (200, json.dumps(self.answer(promql)))
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}{body}".encode())
        await writer.drain()
        writer.close()

    def answer(self, promql: str) -> dict[str, Any]:
        inner = re.fullmatch(r"sum by \(domain_name, group_id\) \(group_cpu_seconds\{(.*)\}\)", promql)
        assert inner, promql
        matchers = re.findall(r'(\w+)(=~|!=|=)("(?:[^"\\]|\\.)*")', inner[1])
        assert ",".join("".join(each) for each in matchers) == inner[1]
        sums: dict[tuple[str, int], float] = {}
        for domain, group, host, value in SAMPLES:
            labels = {"domain_name": domain, "group_id": str(group), "host": host}
            if all(holds(labels.get(name, ""), sign, json.loads(text)) for name, sign, text in matchers):
                sums[domain, group] = sums.get((domain, group), 0.0) + value
        result = [
            {"metric": {"domain_name": domain, "group_id": str(group)}, "value": [1.0, str(value)]}
            for (domain, group), value in sums.items()
        ]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


def holds(label: str, sign: str, given: str) -> bool:
    if sign == "=~":
        return re.fullmatch(given, label) is not None
    return (label == given) is (sign == "=")


@pytest.fixture
async def prometheus() -> AsyncIterator[tuple[FakePrometheus, UsageRepository]]:
    """Give a store, and the repository over it."""
    fake = FakePrometheus()
    async with await asyncio.start_server(fake.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncClient(base_url=url, timeout=60.0) as client:
            yield fake, UsageRepository(MetricClientSource(client))


Store = tuple[FakePrometheus, UsageRepository]


async def test_data_is_plain(prometheus: Store) -> None:
    """One group's, all series of it together; those of a domain, the largest first."""
    _, usage = prometheus
    assert await usage.get(GroupId(1), UsageScope(DE)) == UsageData(DE, GroupId(1), 7.0)
    assert await usage.search(UsageScope(DE)) == [UsageData(DE, GroupId(2), 9.0), UsageData(DE, GroupId(1), 7.0)]


async def test_another_domain_and_nothing_are_one_answer(prometheus: Store) -> None:
    """The scope stands in the same query."""
    fake, usage = prometheus
    codes = list[str]()
    for id in (1, 4):
        with pytest.raises(UsageNotFound) as missing:
            await usage.get(GroupId(id), UsageScope(FR))
        codes.append(f"{missing.value.error_code}: {missing.value}")
    assert codes == ["usage_get_not-found: the usage was not found"] * 2
    assert len(fake.asked) == 2


async def test_a_scope_that_limits_nothing_is_found(prometheus: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a condition that holds for all, the test above fails."""
    monkeypatch.setattr(UsageScope, "to_conditions", lambda _: [UsageSeries.host != ""])
    with pytest.raises(pytest.fail.Exception):
        await test_another_domain_and_nothing_are_one_answer(prometheus)


@dataclass(frozen=True)
class Careless(UsageScope):
    def to_conditions(self) -> Sequence[Condition]:
        return []


async def test_a_scope_that_limits_nothing_is_refused(prometheus: Store) -> None:
    """As every repository does."""
    for call in (prometheus[1].search(Careless(DE)), prometheus[1].get(GroupId(1), Careless(DE))):
        with pytest.raises(EmptyScope):
            await call
    assert prometheus[0].asked == []


@pytest.mark.parametrize(
    "filters, groups",
    [
        (UsageFilter(host=StringFilter(equals="b")), [1]),
        (UsageFilter(host=StringFilter(not_equals="b")), [2, 1]),
        (UsageFilter(group_id=NumberFilter(in_=[2, 3])), [2]),
        (UsageFilter(group_id=NumberFilter(equals=1), host=StringFilter(in_=["a", "b.*"])), [1]),
        (UsageFilter(host=StringFilter(in_=[".*"])), []),
        (UsageFilter(host=StringFilter(in_=[])), []),
    ],
)
async def test_filters_are_the_same(prometheus: Store, filters: UsageFilter, groups: Sequence[int]) -> None:
    """What labels can answer is asked of them; a pattern is a plain text."""
    found = await prometheus[1].search(UsageScope(DE), filters)
    assert [usage.group_id for usage in found] == groups


async def test_a_filter_that_labels_cannot_answer_is_refused(prometheus: Store) -> None:
    """Before the store is asked."""
    fake, usage = prometheus
    for filters in (
        UsageFilter(host=StringFilter(contains="a")),
        UsageFilter(NOT=UsageFilter(group_id=NumberFilter(equals=1))),
    ):
        with pytest.raises(InvalidFilter, match="equals, not_equals or in_") as refused:
            await usage.search(UsageScope(DE), filters)
        assert refused.value.error_code == "usage_search_invalid-filter"
    assert fake.asked == []


@pytest.mark.parametrize("name", ['DE"} or vector(1) #', "D\\", 'D"', "D\nE", "é"])
async def test_no_value_leaves_its_quotes(prometheus: Store, name: str) -> None:
    """A domain's name is a value, whatever is in it."""
    fake, usage = prometheus
    assert await usage.search(UsageScope(DomainName(name))) == []
    assert json.loads(matcher(UsageSeries.domain_name == name).partition("=")[2]) == name
    assert len(fake.asked) == 1


async def test_a_filter_may_be_long(prometheus: Store) -> None:
    """Longer than any address may be."""
    hosts = [f"a host of {'l' * 500}ong name, {n}" for n in range(200)]
    found = await prometheus[1].search(UsageScope(DE), UsageFilter(host=StringFilter(in_=[*hosts, "b"])))
    assert [each.group_id for each in found] == [1]


@pytest.mark.parametrize("condition", [RACK == "", RACK.in_([""]), RACK.in_([])])
async def test_a_label_that_is_not_there_is_no_empty_value(
    prometheus: Store, monkeypatch: pytest.MonkeyPatch, condition: Condition
) -> None:
    """To the store it is; a tenant without a name would be given what belongs to none."""
    _, usage = prometheus
    monkeypatch.setattr(UsageScope, "to_conditions", lambda _: [condition])
    assert await usage.search(UsageScope(DE)) == []


async def test_what_is_no_text_is_refused(prometheus: Store) -> None:
    """Before it is sent, which would quote it."""
    with pytest.raises(InvalidValue) as refused:
        await prometheus[1].search(UsageScope(DomainName("secret\ud800")))
    assert "secret" not in f"{refused.value!r}{refused.value.__context__!r}"


def retries() -> float:
    labels = {"domain": "client", "layer": "usage_client", "operation": "get"}
    return REGISTRY.get_sample_value("rowsmith_layer_retry_count_total", labels) or 0.0


async def test_a_store_that_is_not_up_to_it_is_asked_again(prometheus: Store) -> None:
    """By the policy that knows databases, and counted by the same metrics."""
    fake, usage = prometheus
    before, fake.bad_answers = retries(), [(503, "secret"), (500, "secret")]
    assert await usage.get(GroupId(1), UsageScope(DE))
    assert (len(fake.asked), retries() - before) == (3, 2)


async def test_a_store_that_stays_away_is_an_error(prometheus: Store) -> None:
    """Of a kind that handlers of errors know, without what was answered."""
    fake, usage = prometheus
    fake.bad_answers = [(503, "secret")] * 3
    with pytest.raises(MetricStoreUnavailable) as failed:
        await usage.get(GroupId(1), UsageScope(DE))
    assert failed.value.error_code == "usage_get_metric-store-unavailable"
    async with AsyncClient(base_url="http://127.0.0.1:1") as nobody:
        with pytest.raises(MetricStoreUnavailable):
            await UsageRepository(MetricClientSource(nobody)).get(GroupId(1), UsageScope(DE))


def one_series(**labels: str) -> str:
    return json.dumps({"data": {"result": [{"metric": labels, "value": [1.0, "1"]}]}})


@pytest.mark.parametrize(
    "answer",
    [
        (400, "secret"),
        (200, "secret"),
        (200, '{"data": {"result": ["secret"]}}'),
        (200, one_series(domain_name="DE", group_id="secret")),
        (200, one_series(group_id="1")),
    ],
)
async def test_an_answer_that_is_none_is_an_error(prometheus: Store, answer: tuple[int, str]) -> None:
    """It is not asked for again, and not quoted."""
    fake, usage = prometheus
    fake.bad_answers = [answer]
    with pytest.raises(MetricStoreFault) as failed:
        await usage.get(GroupId(1), UsageScope(DE))
    assert "secret" not in f"{failed.value!r}{failed.value.__context__!r}"
    assert len(fake.asked) == 1
