"""The client source: in place of a db_source, it speaks HTTP with the store, and knows no groups."""

from __future__ import annotations

from collections.abc import Mapping

from httpx import AsyncClient, HTTPError
from pydantic import BaseModel, ValidationError

from examples.metric_store.errors import MetricStoreFault, MetricStoreUnavailable


class Sample(BaseModel):
    """One series at one time."""

    metric: Mapping[str, str]
    value: tuple[float, float]


class Vector(BaseModel):
    result: list[Sample]


class Answer(BaseModel):
    data: Vector


class MetricClientSource:
    """Asks a Prometheus, or what speaks as one does, for the present samples of a query.

    Args:
        client: knows the store's address; its owner closes it.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def samples(self, promql: str) -> list[Sample]:
        """Give the samples of a query.

        Raises:
            MetricStoreUnavailable: the store was not reached, or is not up to it.
            MetricStoreFault: it refused the query, or its answer is none.
        """
        status, body = await self._ask({"query": promql})
        if status >= 500:
            raise MetricStoreUnavailable
        if status != 200:
            raise MetricStoreFault
        try:
            return Answer.model_validate_json(body).data.result
        except ValidationError:
            failure = MetricStoreFault("the metric store answered something else than samples")
        raise failure  # outside, for pydantic's error quotes what was answered

    async def _ask(self, form: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            answer = await self._client.post("/api/v1/query", data=form)  # an address may be too short for it
        except HTTPError:
            failure = MetricStoreUnavailable()
        else:
            return answer.status_code, answer.content
        raise failure
