"""A page as JSON: to pydantic, as a FastAPI handler's answer, and read again."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel, TypeAdapter, ValidationError

from rowsmith import InvalidCursor, Page
from rowsmith.pagination import LazyCursors

T = TypeVar("T")


@dataclass(frozen=True)
class TierData:
    id: int
    at: dt.date
    note: str = "s"


class TierModel(BaseModel):
    id: int
    at: dt.date


class Shelf(BaseModel, Generic[T]):
    page: Page[T]


DAY = dt.date(2026, 1, 2)


def page_of(*items: Any, total: int | None = None) -> Page[Any]:
    cursors = LazyCursors([(item.id,) for item in items], lambda key: f"c{key[0]}")
    return Page(items, True, False, total, cursors)


TIERS = page_of(TierData(1, DAY), TierData(2, DAY), TierData(3, DAY), total=9)
JSON = {
    "items": [{"id": n, "at": "2026-01-02", "note": "s"} for n in (1, 2, 3)],
    "total_count": 9,
    "has_next_page": True,
    "has_previous_page": False,
    "start_cursor": "c1",
    "end_cursor": "c3",
}


def test_a_page_is_a_json_object() -> None:
    """Of dataclasses, of pydantic models, of nothing; by itself and inside a model."""
    assert TypeAdapter(Page[TierData]).dump_python(TIERS, mode="json") == JSON
    assert TypeAdapter(Page[TierData]).dump_python(TIERS)["items"][0] == {"id": 1, "at": DAY, "note": "s"}
    models = page_of(TierModel(id=1, at=DAY))
    written = TypeAdapter(Page[TierModel]).dump_json(models)
    assert written.startswith(b'{"items":[{"id":1,"at":"2026-01-02"}],"total_count":null')
    empty = TypeAdapter(Page[TierData]).dump_python(Page(()), mode="json")
    assert (empty["items"], empty["start_cursor"], empty["end_cursor"]) == ([], None, None)
    assert TypeAdapter(Page).dump_python(TIERS, mode="json") == JSON
    assert Shelf[TierData](page=TIERS).model_dump(mode="json") == {"page": JSON}
    assert TypeAdapter(list[Page[int]]).dump_python([Page((1, 2))], mode="json")[0]["items"] == [1, 2]


def test_a_page_is_read_again_from_its_json() -> None:
    """All that stands in it; of the cursors those at the ends."""
    read = TypeAdapter(Page[TierData]).validate_python(JSON)
    assert (read.items, read.total_count, read.has_next_page) == (TIERS.items, 9, True)
    assert (read.start_cursor, read.end_cursor, len(read.cursors)) == ("c1", "c3", 3)
    assert TypeAdapter(Page[TierData]).dump_python(read, mode="json") == JSON
    with pytest.raises(InvalidCursor, match="first and its last"):
        read.cursors[1]
    with pytest.raises(IndexError):
        read.cursors[3]
    assert read.cursors[:1] == ["c1"]
    assert TypeAdapter(Page[int]).validate_json(TypeAdapter(Page[int]).dump_json(Page(()))) == Page(())
    assert Shelf[TierData].model_validate({"page": JSON}).page.items == TIERS.items


def test_a_page_itself_passes_with_all_its_cursors() -> None:
    """And its items are what is asked for, or the page is refused."""
    read = TypeAdapter(Page[TierData]).validate_python(TIERS)
    assert (read.items, list(read.cursors)) == (TIERS.items, ["c1", "c2", "c3"])
    with pytest.raises(ValidationError):
        TypeAdapter(Page[int]).validate_python(TIERS)


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_schema_says_what_is_there(mode: Any) -> None:
    """Every field is required, the items are what they are, and the schema has the page's name."""
    schema = TypeAdapter(Page[TierData]).json_schema(mode=mode)
    assert schema["title"] == "Page[TierData]"
    assert set(schema["required"]) == set(schema["properties"]) == set(JSON)
    assert schema["properties"]["items"]["items"] == {"$ref": "#/$defs/TierData"}
    assert schema["properties"]["end_cursor"]["anyOf"] == [{"type": "string"}, {"type": "null"}]


async def test_a_handler_gives_a_page() -> None:
    """As its return type, or as another shape of what it returns; OpenAPI says so."""
    app = FastAPI()

    @app.get("/tiers")
    async def tiers() -> Page[TierData]:
        return TIERS

    @app.get("/public", response_model=Page[TierModel])
    async def public() -> Any:
        return TIERS

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/tiers")).json() == JSON
        assert (await client.get("/public")).json()["items"][0] == {"id": 1, "at": "2026-01-02"}
        components = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert set(components["Page_TierData_"]["required"]) == set(JSON)
