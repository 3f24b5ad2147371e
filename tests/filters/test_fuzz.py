"""Fuzz: whatever JSON comes in, a search request gives a result or says what is wrong with it, and nothing else.

``ROWSMITH_FUZZ_COMPILES`` says how many random requests to compile, ``ROWSMITH_FUZZ_EXECUTIONS`` how many to run
on each backend; both are small unless the nox session ``fuzz`` raises them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from pydantic import ValidationError
from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from company import LabelRow, ThingFilter, ThingRow, ThingSearch
from rowsmith.errors import RepositoryError
from rowsmith.orders import order_terms
from rowsmith.query import Query
from rowsmith.testing import WithTables

COMPILES = int(os.environ.get("ROWSMITH_FUZZ_COMPILES", "1500"))
EXECUTIONS = int(os.environ.get("ROWSMITH_FUZZ_EXECUTIONS", "200"))
SEED = os.environ.get("ROWSMITH_FUZZ_SEED", "rowsmith")

SHARDS = range(4)  # so that processes can share the work

JSON: TypeAlias = Any

ODD: list[JSON] = [
    *(None, True, False, 0, 1, -1, 1.5, -0.0, 2**31, 2**31 - 1, -(2**63), 2**63, 2**64, 10**30, 10**400, 1e308, 5e-324),
    *("", "a", "%", "_", "\\", "'", '"', "\x00", "\ud800", "😀", "İ", "x" * 300, "null", "NaN", "-Infinity", "1e999"),
    *("2024-02-29", "2024-02-30", "2024-02-29T12:00:00Z", "2024-02-29T12:00:00", "0001-01-01T00:00:00+14:00", "-1-1-1"),
    *("00000000-0000-0000-0000-000000000001", "not-a-uuid", "red", "RED", "asc", "desc", "first", "last", "exact"),
    *([], {}, [None], [[]], [{}], {"": ""}, [1, "a"], ["a", "b"], [0, 1], {"capped": 3}, {"capped": -1}),
    *("id", "text", "small", "moment", "length", "password", "id; DROP TABLE x", "__class__", "metadata"),
    *({"path": ["a", 0], "value": None}, {"path": ['a"b'], "value": 1}, {"path": ["a"], "value": [1]}),
]
SCHEMAS = ThingFilter.model_json_schema()["$defs"].values()
OPERATORS = sorted({name for schema in SCHEMAS for name in schema.get("properties", ())})
FIELDS = [*ThingFilter.model_fields, "nothing"]
KEYS = ["filter", "order", "first", "after", "last", "before", "limit", "offset", "count", "page"]
PLACE = {"path": ["a", 0], "value": None}
GOOD: dict[str, dict[str, list[JSON]]] = {
    "text": {
        **dict.fromkeys(["equals", "contains", "i_starts_with", "not_ends_with"], ["a", "%", "\\", "ä", ""]),
        **dict.fromkeys(["in", "i_not_in"], [[], ["a"], ["A", "b", "_"]]),
    },
    "number": {
        **dict.fromkeys(["equals", "gt", "lte", "not_equals"], [0, 1, -1, 2]),
        **dict.fromkeys(["between", "not_between"], [[0, 1], [1, -1]]),
    },
    "moment": dict.fromkeys(["before", "at_or_after"], ["2024-02-29T12:00:00Z", "2024-02-29T12:00:00-07:00"]),
    "day": dict.fromkeys(["before", "not_equals"], ["2024-02-29", "0001-01-01"]),
    "flag": dict.fromkeys(["equals", "is_null"], [True, False]),
    "color": {"equals": ["red", "green"], "not_in": [[], ["blue"]]},
    "key": {"equals": ["00000000-0000-0000-0000-000000000001"]},
    "document": {"has_key": ["a", "b c"], "path_equals": [PLACE]},
}
KINDS = {
    **dict.fromkeys(["id", "small", "big", "price", "ratio", "length"], "number"),
    **dict.fromkeys(["text", "name"], "text"),
    **dict.fromkeys(["moment", "naive"], "moment"),
    **{kind: kind for kind in ("day", "flag", "color", "key", "document")},
}
RELATED = ["parent", "children", "labels"]
PAGES: list[dict[str, JSON]] = [{}, {"first": 5}, {"last": 5, "before": "x"}, {"limit": 5, "offset": 1}, {"first": 5}]


class Client:
    """Somebody who writes requests that are mostly sensible, and sometimes anything but."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)

    def query(self) -> Query | None:
        """Send a request; None if it was refused in one of the two ways it may be."""
        request = self.request()
        try:
            return self._send(request).to_query()
        except (ValidationError, RepositoryError):
            return None

    def _send(self, request: JSON) -> ThingSearch:
        if self.random.random() < 0.5:  # as a web framework hands it over, or as JSON text
            return ThingSearch.model_validate(request)
        return ThingSearch.model_validate_json(json.dumps(request))

    def request(self) -> JSON:
        if self._seldom():
            return self._anything()
        request = {"filter": self._filter(3), **self._one(PAGES)}
        if self.random.random() < 0.3:
            request["order"] = [{"field": name} for name in self.random.sample(["id", "text", "length"], 2)]
        if self._seldom():
            request[self._one(KEYS)] = self._anything()
        return request

    def _filter(self, depth: int) -> JSON:
        if self._seldom():
            return self._anything()
        names = [*KINDS, *(RELATED if depth else [])]
        tree: dict[str, JSON] = {name: self._field(name, depth) for name in self.random.sample(names[1:], 2)}
        if depth and self.random.random() < 0.4:
            group = self._one(["AND", "OR", "NOT"])
            groups = [self._filter(depth - 1) for _ in range(self.random.choice([0, 1, 1, 2, 2]))]
            tree[group] = self._filter(depth - 1) if group == "NOT" else groups
        return {name: field for name, field in tree.items() if name != "name"} or tree

    def _field(self, name: str, depth: int) -> JSON:
        if self._seldom():
            return self._anything()
        if name == "labels":
            return {self._one(["exists", "none"]): {"name": self._field("name", 0)}}
        if name in RELATED:
            return {self._one(["exists", "none"]): self._filter(depth - 1)}
        good = GOOD[KINDS[name]]
        return dict(self._operator(good) for _ in range(self.random.choice([1, 1, 2])))

    def _operator(self, good: dict[str, list[JSON]]) -> tuple[str, JSON]:
        name = self._one(sorted(good))
        value = self._anything() if self._seldom() else self._one(good[name])
        return self._one(OPERATORS) if self._seldom() else name, value

    def _anything(self) -> JSON:
        value = self._one(ODD)
        if self.random.random() < 0.2:
            return [value, self._one(ODD)]
        return {self._one([*FIELDS, *OPERATORS, *KEYS]): value} if self.random.random() < 0.2 else value

    def _seldom(self) -> bool:
        return self.random.random() < 0.03

    def _one(self, choices: list[Any]) -> Any:
        return self.random.choice(choices)


def statement(query: Query) -> Any:
    """The SELECT of a query's conditions and orders."""
    terms = order_terms(query.orders, [ThingRow.__table__.c.id])
    return select(ThingRow.id).where(*query.conditions).order_by(*(term.clause() for term in terms)).limit(5)


@pytest.mark.parametrize("shard", SHARDS)
def test_random_requests_compile_or_are_refused(shard: int) -> None:
    """Every random request gives a query, a ValidationError or a RepositoryError; a good part give a query."""
    client, amount = Client(f"{SEED} {shard}"), COMPILES // len(SHARDS)
    accepted = sum(client.query() is not None for _ in range(amount))
    assert amount * 0.2 < accepted < amount * 0.9


def test_accepted_requests_become_sql_on_both_dialects() -> None:
    """What was accepted renders as SQL, with nothing of the request in its text, or is refused as PostgreSQL's."""
    client = Client(f"{SEED} sql")
    for _ in range(COMPILES // 50):
        query = client.query()
        for dialect in () if query is None else (postgresql.asyncpg.dialect(), sqlite.dialect()):
            try:
                sql = str(statement(query).compile(dialect=dialect))
            except RepositoryError:
                continue
            assert "DROP" not in sql


@pytest_asyncio.fixture
async def connection(any_tables: WithTables) -> AsyncIterator[AsyncConnection]:
    """A connection on a few rows, one of them all NULL."""
    async with any_tables(ThingRow, LabelRow) as db, db.engine.connect() as made:
        await made.execute(insert(ThingRow), [{"id": 1}])
        full = {"the_text": "a%", "small": 1, "ratio": 0.5, "flag": True, "document": {"a": [None]}, "parent_id": 1}
        await made.execute(insert(ThingRow), [{"id": 2, **full}])
        await made.execute(insert(LabelRow), [{"id": 1, "name": "a", "thing_id": 2}])
        yield made


@pytest.mark.parametrize("shard", SHARDS)
async def test_random_requests_run_or_are_refused(connection: AsyncConnection, shard: int) -> None:
    """What was accepted runs: the database finds nothing to complain of in any value that came through."""
    client = Client(f"{SEED} run {shard}")
    done = 0
    while done < EXECUTIONS // len(SHARDS):
        if (query := client.query()) is None:
            continue
        try:
            await connection.execute(statement(query))
        except RepositoryError:
            assert connection.dialect.name == "sqlite"
        done += 1
