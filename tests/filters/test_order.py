"""Orders from a request: an allow-list, directions, null placement."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import ValidationError, create_model
from sqlalchemy import insert, select

from company import LabelRow, ThingOrder, ThingRow
from rowsmith.errors import InvalidFilter, MappingError
from rowsmith.filters import OrderBy, to_orders
from rowsmith.orders import order_terms
from rowsmith.testing import WithTables


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"field": "text"}, "filter_things.the_text ASC"),
        ({"field": "text", "direction": "desc"}, "filter_things.the_text DESC"),
        ({"field": "small", "nulls": "first"}, "filter_things.small ASC NULLS FIRST"),
        ({"field": "small", "direction": "desc", "nulls": "last"}, "filter_things.small DESC NULLS LAST"),
        ({"field": "length", "nulls": None}, "length(filter_things.the_text) ASC"),
    ],
)
def test_terms_become_order_expressions(given: Any, expected: str) -> None:
    """A name is looked up, never written into SQL; direction and null placement are said."""
    assert str(ThingOrder.model_validate(given).to_order()) == expected


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"field": "big"},
        {"field": "the_text"},
        {"field": "text; DROP TABLE x"},
        {"field": "__class__"},
        {"field": "TEXT"},
        {"field": "text", "direction": "DESC"},
        {"field": "text", "nulls": "middle"},
        {"field": "text", "by": "id"},
        {"field": ["text"]},
        "text",
    ],
)
def test_whatever_is_not_on_the_list_is_refused(given: Any) -> None:
    """Names from outside are held against the allow-list, exactly."""
    with pytest.raises(ValidationError):
        ThingOrder.model_validate(given)


def test_a_field_is_named_once() -> None:
    """The second mention could never count, in whatever direction."""
    terms = [ThingOrder.model_validate({"field": "text", "direction": each}) for each in ("asc", "desc")]
    with pytest.raises(InvalidFilter, match="twice"):
        to_orders(terms)


def test_the_allow_list_stands_in_the_schema() -> None:
    """A client reads what it may sort by."""
    schema = ThingOrder.model_json_schema()
    assert schema["properties"]["field"]["enum"] == ["id", "text", "small", "moment", "length"]
    assert schema["required"] == ["field"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({}, "must list what it sorts by"),
        ({"field": (str, ...)}, "must list what it sorts by"),
        ({"field": (Literal[1], ...)}, "must list what it sorts by"),
        ({"field": (Literal["txet"], ...)}, "no column of ThingRow; did you mean 'text'?"),
        ({"field": (Literal["labels"], ...)}, "no column of ThingRow"),
    ],
)
def test_a_wrong_declaration_fails_when_the_class_is_made(fields: dict[str, Any], complaint: str) -> None:
    """The allow-list is a Literal of names that mean something."""
    with pytest.raises(MappingError, match=complaint):
        create_model("Wrong", __base__=OrderBy[ThingRow], **fields)


def test_another_table_is_no_expression_of_the_row() -> None:
    """An expression over another table would multiply rows."""
    with pytest.raises(MappingError, match="another table"):

        class Wrong(OrderBy[ThingRow]):
            field: Literal["name"]
            expressions = {"name": LabelRow.name}


async def test_nulls_go_where_the_order_says_on_each_backend(any_tables: WithTables) -> None:
    """Last when ascending, first when descending, else as told; the same on PostgreSQL and SQLite."""
    async with any_tables(ThingRow) as db, db.engine.connect() as connection:
        await connection.execute(insert(ThingRow), [{"id": n, "small": small} for n, small in enumerate((2, None, 1))])
        for given, expected in (
            ({}, [1, 2, None]),
            ({"direction": "desc"}, [None, 2, 1]),
            ({"nulls": "first"}, [None, 1, 2]),
            ({"direction": "desc", "nulls": "last"}, [2, 1, None]),
        ):
            order = to_orders([ThingOrder.model_validate({"field": "small", **given})])
            clauses = [term.clause() for term in order_terms(order, [ThingRow.__table__.c.id])]
            assert list(await connection.scalars(select(ThingRow.small).order_by(*clauses))) == expected
