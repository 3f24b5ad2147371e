"""The example web application: handlers of one line, errors as HTTP, and an OpenAPI document that is true."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import NullPool

import rowsmith
from examples.api.app import make_app
from examples.api.errors import STATUS, status_of
from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from rowsmith import Database, ErrorCode

ROOT = Path(__file__).parents[2]
ONE_CITY = """
from runpy import run_module
from examples.demo.world import World

country = {"name": "Germany", "capital": "Berlin", "continentcode": "EU", "languages": "de"}
city = {"countrycode": "DE", "name": "Berlin", "admin1code": "16", "geonameid": 1, "population": 1, "timezone": "UTC"}
World.load = lambda: World(
    {"DE": {**country, "currencycode": "EUR", "areakm2": 1}}, ({**city, "latitude": 52.5, "longitude": 13.4},)
)
run_module("examples.api", run_name="__main__")
"""
"""``python -m examples.api`` on a world that takes no time to load."""
DE, FR = {"X-Domain": "DE"}, {"X-Domain": "FR"}


@pytest.fixture
async def db(with_tables):
    """Give a database with two domains, whose connections any event loop may use."""
    async with with_tables(GroupMemberRow, GroupRow, DomainRow) as database:
        domains = DomainRepository(database)
        await domains.create(DomainCreate(DomainName("DE"), "Germany", Continent.EUROPE))
        await domains.create(DomainCreate(DomainName("FR"), "France", Continent.EUROPE))
        db = Database.from_url(database.engine.url, poolclass=NullPool)
        yield db
        await db.dispose()


@pytest.fixture
async def client(db):
    """Give a client that talks to the application without a socket."""
    transport = httpx.ASGITransport(make_app(db))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def make(client: httpx.AsyncClient, name: str, **more) -> int:
    response = await client.post("/groups", json={"name": name, **more}, headers=DE)
    assert response.status_code == 201
    return response.json()["id"]


async def test_a_group_is_made_in_the_callers_domain_and_read_back(client) -> None:
    """The domain comes from the header, the defaults from the database."""
    made = (await client.post("/groups", json={"name": "Berlin"}, headers=DE)).json()
    assert (made["domain_name"], made["kind"], made["population"]) == ("DE", "regular", 0)
    got = await client.get(f"/groups/{made['id']}", headers=DE)
    assert (got.status_code, got.json()) == (200, made)


@pytest.mark.parametrize(
    "body", [{"name": "x", "id": 7}, {"name": "x", "domain_name": "FR"}, {"name": "x", "deleted_at": None}, {}]
)
async def test_a_body_cannot_reach_columns_the_spec_does_not_name(client, body) -> None:
    """Mass assignment is refused, not ignored."""
    assert (await client.post("/groups", json=body, headers=DE)).status_code == 422


@pytest.mark.parametrize(
    "body, description, name",
    [
        ({}, "old", "Berlin"),
        ({"name": "Cölln"}, "old", "Cölln"),
        ({"description": None}, None, "Berlin"),
        ({"description": "new"}, "new", "Berlin"),
    ],
)
async def test_a_patch_tells_absent_null_and_value_apart(client, body, description, name) -> None:
    """A field absent from the body is left, null is NULL, a value is a value."""
    id = await make(client, "Berlin", description="old")
    patched = (await client.patch(f"/groups/{id}", json=body, headers=DE)).json()
    assert (patched["description"], patched["name"]) == (description, name)


async def test_null_for_a_field_that_is_never_null_is_refused(client) -> None:
    """An OptionalState takes no null, and an unknown field is no patch."""
    id = await make(client, "Berlin")
    for body in ({"name": None}, {"nmae": "x"}):
        assert (await client.patch(f"/groups/{id}", json=body, headers=DE)).status_code == 422


async def test_a_search_pages_forwards_and_back(client) -> None:
    """Cursors from one page open the next, in both directions."""
    for name, population in (("Berlin", 3), ("Hamburg", 2), ("Munich", 1)):
        await make(client, name, population=population)
    asked = {"order": [{"field": "population", "direction": "desc"}], "count": "exact"}
    first = (await client.post("/groups/search", json={**asked, "first": 2}, headers=DE)).json()
    assert ([g["name"] for g in first["items"]], first["total_count"]) == (["Berlin", "Hamburg"], 3)
    after = {**asked, "first": 2, "after": first["end_cursor"]}
    second = (await client.post("/groups/search", json=after, headers=DE)).json()
    assert ([g["name"] for g in second["items"]], second["has_next_page"]) == (["Munich"], False)
    before = {**asked, "last": 1, "before": second["start_cursor"]}
    back = (await client.post("/groups/search", json=before, headers=DE)).json()
    assert ([g["name"] for g in back["items"]], back["has_previous_page"]) == (["Hamburg"], True)


async def test_a_search_is_filtered(client) -> None:
    """Operators, groups and literal text, as the body says."""
    for name in ("Berlin", "Bonn", "Hamburg", "100%"):
        await make(client, name)
    for wanted, names in (
        ({"name": {"starts_with": "B"}}, ["Berlin", "Bonn"]),
        ({"OR": [{"name": {"equals": "Bonn"}}, {"name": {"ends_with": "burg"}}]}, ["Bonn", "Hamburg"]),
        ({"name": {"contains": "%"}}, ["100%"]),
        ({"NOT": {"name": {"in": ["Bonn", "100%"]}}}, ["Berlin", "Hamburg"]),
    ):
        body = {"filter": wanted, "order": [{"field": "name"}]}
        found = (await client.post("/groups/search", json=body, headers=DE)).json()
        assert [group["name"] for group in found["items"]] == names


async def test_deleted_restored_and_purged(client) -> None:
    """Each does what it says, and get follows."""
    id = await make(client, "Berlin")
    for method, path, then in (
        ("DELETE", f"/groups/{id}", 404),
        ("POST", f"/groups/{id}/restore", 200),
        ("POST", f"/groups/{id}/purge", 404),
    ):
        assert (await client.request(method, path, headers=DE)).status_code == 200
        assert (await client.get(f"/groups/{id}", headers=DE)).status_code == then


@pytest.mark.parametrize(
    "method, path", [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/restore"), ("POST", "/purge")]
)
async def test_another_tenants_group_is_not_found(client, method, path) -> None:
    """Foreign and absent give the same answer byte for byte, and the group stays as it is."""
    id = await make(client, "Berlin")
    body = {"json": {"name": "stolen"}} if method == "PATCH" else {}
    foreign = await client.request(method, f"/groups/{id}{path}", headers=FR, **body)
    absent = await client.request(method, f"/groups/{id + 1}{path}", headers=FR, **body)
    assert (foreign.status_code, foreign.content) == (404, absent.content)
    assert (await client.get(f"/groups/{id}", headers=DE)).json()["name"] == "Berlin"


@pytest.mark.parametrize(
    "method, path, body, place",
    [
        ("POST", "", {"Berlin": 1, "Berlin too": 2}, "body: Unexpected"),
        ("POST", "", {"name": "Nice", "population": "Berlin"}, "body.population: "),
        ("PATCH", "/1", {"Berlin": 1}, "body: Unexpected"),
        ("GET", "/Berlin", None, "path.id: "),
        ("POST", "/search", {"filter": {"Berlin": 1}}, "body.filter: Extra"),
        ("POST", "/search", {"filter": {"name": {"Berlin": "Berlin"}}}, "body.filter.name: Extra"),
        ("POST", "/search", {"order": [{"field": "Berlin"}]}, "body.order.0.field: "),
        ("POST", "/search", {"count": "Berlin"}, "body.count"),
    ],
)
async def test_what_does_not_fit_is_named_and_not_quoted(client, method, path, body, place) -> None:
    """Neither a value nor the name of a field that there is not."""
    response = await client.request(method, f"/groups{path}", json=body, headers=DE)
    assert (response.status_code, response.json()["error_code"]) == (422, "http_request_422")
    assert place in response.json()["message"]
    assert "Berlin" not in response.text


async def test_errors_have_a_status_and_a_code(client) -> None:
    """The class decides the status; the body has a code and no value of a row."""
    id = await make(client, "Berlin")
    for method, path, body, headers, status, code in (
        ("POST", "/groups", {"name": "Berlin"}, DE, 409, "group_create_name-taken"),
        ("POST", "/groups", {"name": "x"}, {"X-Domain": "XX"}, 404, "group_create_domain-not-found"),
        ("PATCH", f"/groups/{id}", {"population": -1}, DE, 409, "group_update_check-violated"),
        ("PATCH", f"/groups/{id}", {"name": "x" * 201}, DE, 400, "group_update_invalid-value"),
        ("POST", "/groups/search", {"first": 2, "after": "abc"}, DE, 400, "group_search_invalid-cursor"),
        ("GET", "/nowhere", None, DE, 404, "http_request_404"),
        ("POST", "/groups", {"nam": "Berlin"}, DE, 422, "http_request_422"),
    ):
        response = await client.request(method, path, json=body, headers=headers)
        assert (response.status_code, response.json()["error_code"]) == (status, code)
        assert str(ErrorCode.read(code)) == code
        assert "Berlin" not in response.text


def test_every_error_has_a_status() -> None:
    """Whatever rowsmith raises is answered, the nearest class in the tree deciding."""
    kinds = [kind for kind in vars(rowsmith).values() if isinstance(kind, type)]
    errors = [kind for kind in kinds if issubclass(kind, rowsmith.RepositoryError)]
    assert {status_of(kind()) for kind in errors} <= set(STATUS.values())


@pytest.mark.parametrize(
    "kind", [rowsmith.PoolExhausted, rowsmith.StateUnavailable, rowsmith.StalePlan, rowsmith.LockNotAvailable]
)
def test_what_only_time_helps_against_is_unavailable(kind: type[rowsmith.RepositoryError]) -> None:
    """A client may ask again, and no operator is called."""
    assert status_of(kind()) == 503


@pytest.fixture
async def served() -> AsyncIterator[Process]:
    """Give the application as it is started, in a process of its own and on any port."""
    command = (sys.executable, "-c", ONE_CITY, "0")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def test_ctrl_c_ends_it_without_a_traceback(served: Process) -> None:
    """It is how one ends it: the database is left before, and nothing is written but what uvicorn tells of itself."""
    address = None
    while not address:
        line = await served.stderr.readline()
        assert line, "it ended by itself"
        address = re.search(rb"running on (http://[\d.:]+)", line)
    async with httpx.AsyncClient(base_url=address[1].decode(), timeout=600) as client:
        answer = await client.post("/groups/search", json={"first": 1}, headers=DE)
    assert (answer.status_code, len(answer.json()["items"])) == (200, 1)

    served.send_signal(signal.SIGINT)
    _, said = await served.communicate()
    assert [line for line in said.decode().splitlines() if not line.startswith("INFO:")] == []
    assert served.returncode == 0


async def test_the_document_describes_filters_orders_and_states(client) -> None:
    """Operators stand in the schema by their JSON names, and a patch needs no field."""
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert {"equals", "in", "i_contains"} <= schemas["StringFilter"]["properties"].keys()
    assert schemas["GroupOrder"]["properties"]["field"]["enum"][0] == "name"
    assert not schemas["GroupPatch"].get("required")
    assert schemas["NewGroup"]["additionalProperties"] is False


PROMISES = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# The document is read when tests are collected, before there is a database; the repository follows in the test.
app = make_app(Database.from_url("sqlite://"))
document = schemathesis.openapi.from_asgi("/openapi.json", app)
document.config.phases.coverage.enabled = False  # goes through thousands of forms of a filter, one by one


@document.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_application_keeps_to_its_document(case, db) -> None:
    """Whatever is sent, the answer is one that the document promises, and never a 500.

    Not everything the document lets through is taken: a cursor of another search fits its schema too.
    """
    app.state.groups = GroupRepository(db)
    if "X-Domain" in (case.headers or {}):
        case.headers["X-Domain"] = "DE"
    case.call_and_validate(checks=PROMISES)
