"""Search requests: the adapter between a client's JSON and a query."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from company import ThingFilter, ThingOrder, ThingSearch
from rowsmith.errors import InvalidValue
from rowsmith.filters import SearchRequest
from rowsmith.pagination import (
    MAX_CURSOR_LENGTH,
    Count,
    CursorBackwardPagination,
    CursorForwardPagination,
    OffsetPagination,
)
from rowsmith.query import Query


def test_a_whole_request_becomes_a_query() -> None:
    """Filter, order, page and count arrive as one frozen value."""
    query = ThingSearch.model_validate_json(
        '{"filter": {"small": {"equals": 1}}, "order": [{"field": "text", "direction": "desc"}, {"field": "id"}],'
        ' "first": 10, "after": "abc", "count": "exact"}'
    ).to_query()
    assert [str(condition) for condition in query.conditions] == ["filter_things.small = :small_1"]
    assert [str(order) for order in query.orders] == ["filter_things.the_text DESC", "filter_things.id ASC"]
    assert query.pagination == CursorForwardPagination(first=10, after="abc")
    assert query.count == Count.EXACT


def test_the_empty_request_is_the_first_page() -> None:
    """Nothing asked for is a page of the default size, uncounted; never everything."""
    assert ThingSearch().to_query() == Query((), (), None, Count.NONE)
    nulls = dict.fromkeys(["filter", "first", "after", "last", "before", "limit", "offset"])
    assert ThingSearch.model_validate(nulls).to_query() == ThingSearch().to_query()


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"first": 1}, CursorForwardPagination(first=1)),
        ({"first": 1_000, "after": "x"}, CursorForwardPagination(first=1_000, after="x")),
        ({"last": 3}, CursorBackwardPagination(last=3)),
        ({"last": 3, "before": "x"}, CursorBackwardPagination(last=3, before="x")),
        ({"limit": 3}, OffsetPagination(limit=3)),
        ({"limit": 3, "offset": 2**63 - 1}, OffsetPagination(limit=3, offset=2**63 - 1)),
        ({"limit": 3, "offset": 0}, OffsetPagination(limit=3)),
    ],
)
def test_modes(given: Any, expected: Any) -> None:
    """Each mode of paging, with its place or without."""
    assert ThingSearch.model_validate(given).to_query().pagination == expected


@pytest.mark.parametrize(
    "given, expected",
    [
        ("none", Count.NONE),
        ("exact", Count.EXACT),
        ({"capped": 100}, Count.capped(100)),
    ],
)
def test_counts(given: Any, expected: Count) -> None:
    """Each kind of count; a capped one says its cap."""
    assert ThingSearch(count=given).to_query().count == expected


def test_an_estimate_is_given_where_the_class_allows_it() -> None:
    """The planner's numbers are made of every tenant's rows: no client has them unasked, nor reads of them."""

    class Estimating(SearchRequest[ThingFilter, ThingOrder]):
        allow_estimated_count: ClassVar[bool] = True

    class Below(Estimating):
        pass

    def kinds(cls: type[SearchRequest[Any, Any]]) -> list[str]:
        return next(form["enum"] for form in cls.model_json_schema()["properties"]["count"]["anyOf"] if "enum" in form)

    for cls in (Estimating, Below):
        assert cls(count="estimated").to_query().count == Count.ESTIMATED
        assert kinds(cls) == ["none", "exact", "estimated"]
    for cls in (ThingSearch, SearchRequest[ThingFilter, ThingOrder]):
        with pytest.raises(ValidationError, match="exact or capped"):
            cls.model_validate_json('{"count": "estimated"}')
        with pytest.raises(ValidationError, match="allow_estimated_count"):
            cls.model_validate({"count": "estimated", "allow_estimated_count": True})
        assert kinds(cls) == ["none", "exact"]


@pytest.mark.parametrize(
    "given",
    [
        *(
            {size: value}
            for size in ("first", "last", "limit")
            for value in (0, -1, 1_001, 10**9, 2**63, True, "5", 5.0)
        ),
        {"after": "x"},
        {"before": "x"},
        {"offset": 1},
        {"offset": 0},
        {"first": 1, "before": "x"},
        {"first": 1, "last": 1},
        {"first": 1, "limit": 1},
        {"first": 1, "offset": 0},
        {"last": 1, "limit": 1},
        {"last": 1, "after": "x"},
        {"first": 1, "after": "x", "last": 1, "before": "y"},
        {"limit": 1, "offset": -1},
        {"limit": 1, "offset": 2**63},
        {"first": 1, "after": ""},
        {"first": 1, "after": "x" * (MAX_CURSOR_LENGTH + 1)},
        {"first": 1, "after": 1},
        {"page": 1},
        {"count": "all"},
        {"count": True},
        {"count": {"capped": 0}},
        {"count": {"capped": 2**63}},
        {"count": {"capped": 1, "exact": True}},
        {"order": [{"field": "text"}, {"field": "text", "direction": "desc"}]},
        {"order": [{"field": "password"}]},
        {"order": {"field": "text"}},
        {"order": None},
        {"filter": {"unknown": {}}},
        {"filter": []},
        [],
        None,
    ],
)
def test_what_cannot_be_is_a_validation_error(given: Any) -> None:
    """Mixed modes, a place without its size, sizes out of range and whatever is unknown."""
    with pytest.raises(ValidationError):
        ThingSearch.model_validate(given)


def test_a_subclass_sets_its_own_sizes() -> None:
    """The maximum is checked, said in the JSON schema, and the default is used."""

    class Small(SearchRequest[ThingFilter, ThingOrder]):
        max_page_size: ClassVar[int] = 20
        default_page_size: ClassVar[int] = 7

    assert Small().to_query().pagination == CursorForwardPagination(first=7)
    with pytest.raises(ValidationError, match="at most 20"):
        Small(first=21)
    assert Small.model_json_schema()["properties"]["limit"]["anyOf"][0]["maximum"] == 20
    assert ThingSearch.model_json_schema()["properties"]["limit"]["anyOf"][0]["maximum"] == 1_000


def test_a_value_beyond_its_column_is_found_when_the_query_is_made() -> None:
    """What only the column can tell is an InvalidValue."""
    with pytest.raises(InvalidValue, match="small"):
        ThingSearch.model_validate({"filter": {"small": {"equals": 2**31}}}).to_query()


def test_the_schema_stands_alone() -> None:
    """Every reference in the JSON schema is to be found in it, and nothing beyond the named fields is allowed."""
    schema = ThingSearch.model_json_schema()
    assert schema["additionalProperties"] is False
    references = set[str]()

    def collect(node: Any) -> None:
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            collect(part)
        if isinstance(node, dict) and "$ref" in node:
            references.add(node["$ref"].removeprefix("#/$defs/"))

    collect(schema)
    assert references <= set(schema["$defs"])
    assert {"ThingFilter", "ThingOrder", "CappedCount"} <= references


def test_a_request_is_a_value() -> None:
    """Frozen, equal by content."""
    one, two = ThingSearch(first=1), ThingSearch(first=1)
    assert one == two
    with pytest.raises(ValidationError):
        one.first = 2  # type: ignore[misc]
