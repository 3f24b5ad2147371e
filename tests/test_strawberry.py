"""GraphQL: what is sent becomes the same request as over JSON, and a page becomes a connection."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import strawberry
from graphql import GraphQLInputObjectType, get_named_type
from strawberry.permission import BasePermission
from strawberry.schema.config import StrawberryConfig

from company import Color, PaperFilter, ThingFilter, ThingOrder, ThingRow, ThingSearch
from rowsmith import EntityNotFound, InvalidFilter, MappingError, MissingExtra, Page
from rowsmith.filters import Filter, NumberFilter, OrderBy, SearchRequest
from rowsmith.strawberry import SCALARS, ErrorCodes, input_type, search_field

KEY = "00000000-0000-0000-0000-000000000001"
MOMENT, DAY = "2024-05-01T12:00:00+02:00", "2024-05-01"


@strawberry.type
class Thing:
    id: int


class PaperSearch(SearchRequest[PaperFilter, OrderBy[Any]]):
    allow_estimated_count = True


@dataclass
class Asked:
    """What resolvers were asked, and what they answer."""

    requests: list[Any] = field(default_factory=list)
    page: Page[Thing] = Page(())
    error: Exception | None = None

    def answer(self, request: Any) -> Page[Thing]:
        self.requests.append(request)
        if self.error:
            raise self.error
        return self.page


@strawberry.type
class Query:
    @search_field
    async def things(self, info: strawberry.Info, request: ThingSearch, size: int = 1) -> Page[Thing]:
        """Find things.

        Of any size.
        """
        assert size == 1
        return info.context.answer(request)

    @search_field
    async def papers(self, info: strawberry.Info, asked: PaperSearch) -> Page[Thing]:
        return info.context.answer(asked)

    @strawberry.field
    async def lost(self, info: strawberry.Info) -> Thing:
        raise EntityNotFound


schema = strawberry.Schema(Query, config=StrawberryConfig(scalar_map={**SCALARS}), extensions=[ErrorCodes])


async def ask(text: str, asked: Asked | None = None, **variables: Any) -> Any:
    return await schema.execute(text, variables, context_value=asked or Asked())


async def requested(kind: str, given: dict[str, Any], model: type[Any] = ThingFilter, name: str = "things") -> Any:
    """Send a filter as a variable, and give the request that the resolver had."""
    asked = Asked()
    result = await ask(
        f"query Find($given: {kind}) {{ {name}(filter: $given) {{ edges {{ cursor }} }} }}", asked, given=given
    )
    assert result.errors is None, result.errors
    return asked.requests[0]


@pytest.mark.parametrize(
    "given, body",
    [
        ({"text": {"iContains": "100%"}}, {"text": {"i_contains": "100%"}}),
        ({"text": {"in": ["a", "b"]}}, {"text": {"in": ["a", "b"]}}),
        ({"text": {"isNull": False}}, {"text": {"is_null": False}}),
        ({"big": {"equals": 2**62}}, {"big": {"equals": 2**62}}),
        ({"big": {"between": ["1", 2**62]}}, {"big": {"between": [1, 2**62]}}),
        ({"price": {"gt": 0.1}}, {"price": {"gt": "0.1"}}),
        ({"price": {"lte": "12345678901234567.25"}}, {"price": {"lte": "12345678901234567.25"}}),
        ({"flag": {"equals": True}}, {"flag": {"equals": True}}),
        ({"color": {"in": ["RED", "BLUE"]}}, {"color": {"in": ["red", "blue"]}}),
        ({"key": {"equals": KEY}}, {"key": {"equals": KEY}}),
        ({"moment": {"atOrAfter": MOMENT}}, {"moment": {"at_or_after": MOMENT}}),
        ({"day": {"notBetween": [DAY, DAY]}}, {"day": {"not_between": [DAY, DAY]}}),
        ({"document": {"hasKey": "a"}}, {"document": {"has_key": "a"}}),
        (
            {"document": {"pathEquals": {"path": ["a", 0], "value": None}}},
            {"document": {"path_equals": {"path": ["a", 0], "value": None}}},
        ),
        ({"labels": {"none": {}}}, {"labels": {"none": {}}}),
        (
            {"parent": {"exists": {"labels": {"exists": {"name": {"equals": "x"}}}}}},
            {"parent": {"exists": {"labels": {"exists": {"name": {"equals": "x"}}}}}},
        ),
        (
            {"AND": [{"OR": [{"small": {"lt": 1}}, {"NOT": {"small": {"lt": 5}}}]}]},
            {"AND": [{"OR": [{"small": {"lt": 1}}, {"NOT": {"small": {"lt": 5}}}]}]},
        ),
    ],
)
async def test_a_filter_is_the_same_as_over_json(given, body) -> None:
    """Each kind of operator and each group, with values that are exact."""
    assert (await requested("ThingFilter", given)).filter == ThingFilter.model_validate(body)


@pytest.mark.parametrize(
    "given, body",
    [
        ({"tags": {"overlaps": ["a"]}}, {"tags": {"overlaps": ["a"]}}),
        ({"numbers": {"containedBy": [1, 2]}}, {"numbers": {"contained_by": [1, 2]}}),
        ({"document": {"contains": {"a": [1]}}}, {"document": {"contains": {"a": [1]}}}),
        ({"words": {"matches": "x", "language": "GERMAN"}}, {"words": {"matches": "x", "language": "german"}}),
    ],
)
async def test_what_only_postgresql_has_is_there_too(given, body) -> None:
    """Arrays, documents and full text."""
    assert (await requested("PaperFilter", given, name="papers")).filter == PaperFilter.model_validate(body)


@pytest.mark.parametrize("written, exact", [("0.1", "0.1"), ("9223372036854775807", 2**63 - 1), ('"0.10"', "0.10")])
async def test_a_number_in_the_text_of_a_query_is_exact(written, exact) -> None:
    """As one in a variable is."""
    asked = Asked()
    await ask(f"{{ things(filter: {{price: {{equals: {written}}}}}) {{ totalCount }} }}", asked)
    assert asked.requests[0].filter == ThingFilter.model_validate({"price": {"equals": exact}})


@pytest.mark.parametrize(
    "arguments, body",
    [
        ("", {}),
        ("first: 2, after: null, filter: null", {"first": 2}),
        ('last: 3, before: "abc"', {"last": 3, "before": "abc"}),
        ("count: EXACT", {"count": "exact"}),
        ("countUpTo: 50", {"count": {"capped": 50}}),
        (
            "order: [{field: MOMENT, direction: DESC, nulls: LAST}, {field: ID}]",
            {"order": [{"field": "moment", "direction": "desc", "nulls": "last"}, {"field": "id"}]},
        ),
    ],
)
async def test_a_search_is_the_same_as_over_json(arguments, body) -> None:
    """Order, page and count; what is null or left out is absent."""
    asked = Asked()
    result = await ask(f"{{ things{f'({arguments})' if arguments else ''} {{ totalCount }} }}", asked)
    assert result.errors is None
    assert asked.requests == [ThingSearch.model_validate(body)]


@pytest.mark.parametrize(
    "arguments, place",
    [
        ("filter: {text: {}}", "filter.text"),
        ("filter: {text: {equals: null}}", "filter.text.equals"),
        ("filter: {OR: [{small: {lt: 1}}, {}]}", "filter"),
        ('filter: {big: {equals: "secret"}}', "filter.big.equals"),
        ("first: 2, last: 2", "request"),
        ("first: 100000", "request"),
        ("order: [{field: ID}, {field: ID}]", "request"),
        ("count: ESTIMATED", "count"),
        ("count: EXACT, countUpTo: 5", "count"),
        ("countUpTo: 0", "count"),
    ],
)
async def test_what_the_request_refuses_is_an_error_of_the_response(arguments, place) -> None:
    """With its place, its code, and nothing of what was sent."""
    asked = Asked()
    result = await ask(f"{{ things({arguments}) {{ totalCount }} }}", asked)
    (error,) = result.errors
    assert place in error.message
    assert "secret" not in error.message
    assert error.extensions == {"error_code": InvalidFilter().error_code}
    assert asked.requests == []


async def test_an_estimate_is_given_where_the_request_allows_it() -> None:
    """As over JSON, and a mark of the class says so."""
    asked = Asked()
    await ask("{ papers(count: ESTIMATED) { totalCount } }", asked)
    assert asked.requests[0].count == "estimated"


@pytest.mark.parametrize("arguments", ["filter: {txt: {}}", "limit: 5", "order: [{field: SECRET}]", "order: [{}]"])
async def test_what_is_not_declared_is_not_in_the_schema(arguments) -> None:
    """Nothing unknown reaches a resolver."""
    asked = Asked()
    assert (await ask(f"{{ things({arguments}) {{ totalCount }} }}", asked)).errors
    assert asked.requests == []


async def test_a_page_is_a_connection() -> None:
    """Every item has its cursor, and the page says what lies around it."""
    page = Page((Thing(id=1), Thing(id=2)), True, False, 7, ("a", "b"))
    asked = Asked(page=page)
    around = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
    result = await ask(f"{{ things {{ totalCount edges {{ cursor node {{ id }} }} {around} }} }}", asked)
    assert result.data == {
        "things": {
            "totalCount": 7,
            "edges": [{"cursor": "a", "node": {"id": 1}}, {"cursor": "b", "node": {"id": 2}}],
            "pageInfo": {"hasNextPage": True, "hasPreviousPage": False, "startCursor": "a", "endCursor": "b"},
        }
    }


@pytest.mark.parametrize("name", ["things { totalCount }", "lost { id }"])
async def test_errors_of_every_field_have_their_code(name) -> None:
    """Of a search as of any other field."""
    (error,) = (await ask(f"{{ {name} }}", Asked(error=EntityNotFound()))).errors
    assert error.extensions == {"error_code": EntityNotFound().error_code}


async def test_other_errors_are_left_as_they_are() -> None:
    """They have no code."""
    (error,) = (await ask("{ things { totalCount } }", Asked(error=ValueError()))).errors
    assert not error.extensions


def test_every_field_and_operator_of_a_filter_is_in_the_schema() -> None:
    """By its JSON name in camel case, with its description."""
    found = schema._schema.type_map["ThingFilter"]
    assert isinstance(found, GraphQLInputObjectType)
    assert found.fields.keys() == set(ThingFilter.model_fields)
    for name, operators in {name: get_named_type(given.type) for name, given in found.fields.items()}.items():
        if isinstance(operators, GraphQLInputObjectType) and name not in ("AND", "OR", "NOT"):
            assert all(operator.description for operator in operators.fields.values()), name
    assert schema._schema.type_map["StringFilter"].description.startswith("Operators on a text field.")
    assert schema._schema.type_map["ThingFilter"].description is None
    assert schema._schema.query_type.fields["things"].description == "Find things.\n\nOf any size."


def test_inputs_are_made_once() -> None:
    """So that two searches over one filter share its type; an enum that is one of GraphQL already is kept."""
    assert input_type(ThingFilter) is input_type(ThingFilter)
    assert input_type(ThingOrder) is not input_type(ThingFilter)
    assert Color.__strawberry_definition__.name == "Color"


async def no_request(info: strawberry.Info) -> Page[Thing]: ...
async def two_requests(one: ThingSearch, other: PaperSearch) -> Page[Thing]: ...
async def no_page(request: ThingSearch) -> Sequence[Thing]: ...
async def nothing(request: ThingSearch): ...  # type: ignore[no-untyped-def]
async def twice(request: ThingSearch, first: int) -> Page[Thing]: ...
async def unknown(request: NotThere) -> Page[Thing]: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "resolver, told",
    [
        (no_request, "must take one SearchRequest"),
        (two_requests, "must take one SearchRequest"),
        (no_page, r"must give a page: write -> Page\[Group\]"),
        (nothing, "must give a page"),
        (twice, "first is an argument of the search already"),
        (unknown, "NotThere must be known"),
    ],
)
def test_a_field_that_is_no_search_is_refused_when_it_is_made(resolver, told) -> None:
    """The message says what to write."""
    with pytest.raises(MappingError, match=told):
        search_field(resolver)


class Nobody(BasePermission):
    message = "not you"

    async def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return False


async def test_a_field_takes_what_strawberrys_do() -> None:
    """Who may ask, a name, a description."""
    asked = Asked()

    @strawberry.type
    class Closed:
        @search_field(permission_classes=[Nobody], name="find", description="Closed.")
        async def things(self, info: strawberry.Info, request: ThingSearch) -> Page[Thing]:
            return info.context.answer(request)

    closed = strawberry.Schema(Closed, config=StrawberryConfig(scalar_map={**SCALARS}))
    (error,) = (await closed.execute("{ find { totalCount } }", context_value=asked)).errors
    assert (error.message, asked.requests) == ("not you", [])
    assert closed._schema.query_type.fields["find"].description == "Closed."


class OwnFilter(Filter[ThingRow]):
    tiny: bool
    level: Literal["low", "very-high"] = "low"
    size: NumberFilter | None = None

    def to_conditions(self):
        return super().to_conditions()


class OwnSearch(SearchRequest[OwnFilter, ThingOrder]):
    text: str


async def test_fields_of_ones_own_are_arguments_too() -> None:
    """Of a request and of a filter: required ones are, choices are enums."""
    asked = Asked()

    @strawberry.type
    class Own:
        @search_field
        async def find(self, info: strawberry.Info, request: OwnSearch) -> Page[Thing]:
            return info.context.answer(request)

    own = strawberry.Schema(Own, config=StrawberryConfig(scalar_map={**SCALARS}))
    text = '{ find(text: "x", filter: {tiny: true, level: VERY_HIGH}) { totalCount } }'
    assert (await own.execute(text, context_value=asked)).errors is None
    assert asked.requests == [OwnSearch(text="x", filter=OwnFilter(tiny=True, level="very-high"))]
    assert (await own.execute("{ find { totalCount } }", context_value=asked)).errors


def test_without_the_extra_the_error_names_it(monkeypatch) -> None:
    """It comes when the module is imported."""
    monkeypatch.setitem(sys.modules, "strawberry", None)
    monkeypatch.delitem(sys.modules, "rowsmith.strawberry")
    with pytest.raises(MissingExtra, match=r"pip install 'rowsmith\[strawberry\]'"):
        importlib.import_module("rowsmith.strawberry")
