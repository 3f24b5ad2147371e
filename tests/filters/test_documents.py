"""Arrays, JSON documents and full text: on PostgreSQL, and what SQLite answers or refuses."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from company import LabelRow, PaperFilter, PaperRow, ThingFilter, ThingRow
from rowsmith.database import Database
from rowsmith.errors import InvalidFilter, InvalidValue
from rowsmith.execution import execute
from rowsmith.filters.filter import expressions_of
from rowsmith.pagination import fingerprint
from rowsmith.testing import WithTables, tables

TAGS = st.lists(st.sampled_from(["a", "b", "A", "{", '"', "\\", "null", "é", ""]), max_size=3)


@pytest_asyncio.fixture
async def connection(with_tables: WithTables) -> Any:
    """A connection on an empty table of papers, whose transaction is never committed."""
    async with with_tables(PaperRow) as db, db.engine.connect() as made:
        yield made


async def found(connection: AsyncConnection, papers: list[dict[str, Any]], tree: Any) -> list[int]:
    """The ids of the papers that a filter finds, ids given in order from 1."""
    savepoint = await connection.begin_nested()
    try:
        for number, paper in enumerate(papers, 1):
            await connection.execute(insert(PaperRow).values(id=number, **paper))
        wanted = PaperFilter.model_validate(tree)
        return sorted(await connection.scalars(select(PaperRow.id).where(*expressions_of(wanted))))
    finally:
        await savepoint.rollback()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.none() | TAGS, max_size=5), values=TAGS)
async def test_arrays_compare_as_sets(
    connection: AsyncConnection, rows: list[list[str] | None], values: list[str]
) -> None:
    """Containment and overlap go by members; complements take NULL along."""
    given = set(values)
    laws: dict[str, Any] = {
        "contains": lambda tags: tags is not None and given <= set(tags),
        "not_contains": lambda tags: tags is None or not given <= set(tags),
        "contained_by": lambda tags: tags is not None and set(tags) <= given,
        "overlaps": lambda tags: tags is not None and bool(given & set(tags)),
        "not_overlaps": lambda tags: tags is None or not given & set(tags),
    }
    papers = [{"tags": tags} for tags in rows]
    for operator, law in laws.items():
        expected = [number for number, tags in enumerate(rows, 1) if law(tags)]
        assert await found(connection, papers, {"tags": {operator: values}}) == expected


DOCUMENT = {"a": {"b": [1, {"c": None}]}, "flag": True, "é": "x", "0": "zero"}


@pytest.mark.parametrize(
    "operators, expected",
    [
        ({"contains": {"flag": True}}, [1]),
        ({"contains": {"a": {"b": [1]}}}, [1]),
        ({"contains": {"a": {"b": [2]}}}, []),
        ({"contains": ["x"]}, [2]),
        ({"not_contains": {"flag": True}}, [2, 3, 4]),
        ({"has_key": "a"}, [1]),
        ({"has_key": "é"}, [1]),
        ({"has_key": "x"}, []),
        ({"not_has_key": "a"}, [2, 3, 4]),
        ({"path_equals": {"path": ["a", "b", 0], "value": 1}}, [1]),
        ({"path_equals": {"path": ["a", "b", 0], "value": 1.0}}, [1]),
        ({"path_equals": {"path": ["a", "b", 0], "value": True}}, []),
        ({"path_equals": {"path": ["a", "b", 1, "c"], "value": None}}, [1]),
        ({"path_equals": {"path": ["a", "b", 1], "value": {"c": None}}}, [1]),
        ({"path_equals": {"path": ["a", "nowhere"], "value": None}}, []),
        ({"path_equals": {"path": ["0"], "value": "zero"}}, [1]),
        ({"path_equals": {"path": [0], "value": "zero"}}, []),
        ({"path_equals": {"path": [0], "value": "x"}}, [2]),
        ({"path_equals": {"path": ["0"], "value": "x"}}, []),
        ({"path_equals": {"path": ["é"], "value": "x"}}, [1]),
        ({"path_equals": {"path": ["a", "b", 0], "value": 10**30}}, []),
        ({"not_path_equals": {"path": ["flag"], "value": True}}, [2, 3, 4]),
        ({"is_null": True}, [4]),
    ],
)
async def test_json_on_postgresql(connection: AsyncConnection, operators: Any, expected: list[int]) -> None:
    """Containment, keys and places; keys are text and array places numbers, never one for the other."""
    papers = [{"document": each} for each in (DOCUMENT, ["x", 1], "x", None)]
    assert await found(connection, papers, {"document": operators}) == expected


@pytest.mark.parametrize(
    "operators, expected",
    [
        ({"matches": "cats"}, [1]),
        ({"matches": "cat -dog"}, [1]),
        ({"matches": '"ran dogs"'}, []),
        ({"matches": "cat or dog"}, [1, 2]),
        ({"matches": "cats", "language": "simple"}, []),
        ({"not_matches": "cat"}, [2, 3]),
        ({"matches": "it's ' \\ & | ! : * ((("}, []),
    ],
)
async def test_full_text(connection: AsyncConnection, operators: Any, expected: list[int]) -> None:
    """The words of a web search, stemmed by the language; its syntax cannot be made to fail."""
    papers = [{"body": body} for body in ("The cat sat", "A dog ran", None)]
    assert await found(connection, papers, {"words": operators}) == expected


@pytest.mark.parametrize("words", ["-" * 64, "cat or " + "- " * 64, "-!(&|" * 40, "a -" + "-\u3000" * 40])
def test_more_negations_than_postgresql_takes(words: str) -> None:
    """PostgreSQL has no room for them and calls that an internal error; the filter says it before."""
    with pytest.raises(InvalidFilter, match="dashes"):
        PaperFilter.model_validate({"words": {"matches": words}}).to_conditions()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from([*'-"!&|():*<>\\ ', "--", "- ", " or ", "cat", "é", "1", "and", "-cat"]), max_size=200))
async def test_any_full_text_query_has_a_meaning_or_none(connection: AsyncConnection, parts: list[str]) -> None:
    """Whatever is typed, the database answers, or the filter says that it is none."""
    try:
        await found(connection, [{"body": "The cat sat"}], {"words": {"matches": "".join(parts)}})
    except InvalidFilter:
        assert "".join(parts).count("-") > 20


async def test_a_query_of_an_applications_own(database: Database) -> None:
    """What PostgreSQL's reader of queries refuses is InvalidFilter, whoever wrote the condition."""
    async with database.begin_session() as db_sess:
        with pytest.raises(InvalidFilter):
            async with db_sess.begin_nested():
                await execute(db_sess, select(func.websearch_to_tsquery("-" * 64)))


def test_a_language_is_one_of_a_list() -> None:
    """The language's name goes into SQL, so nothing but the list's own spelling may be given."""
    with pytest.raises(ValueError, match="language"):
        PaperFilter.model_validate({"words": {"matches": "x", "language": "english'; DROP TABLE x"}})


def test_array_members_fit_the_column() -> None:
    """A member that the column's type cannot hold is refused before anything is sent."""
    with pytest.raises(InvalidValue, match="numbers"):
        PaperFilter.model_validate({"numbers": {"contains": [2**31]}}).to_conditions()


@pytest.mark.parametrize(
    "tree",
    [
        {"document": {"contains": {"a": 1}}},
        {"document": {"has_key": 'a"b'}},
        {"document": {"has_key": "é"}},
        {"document": {"path_equals": {"path": ["a"], "value": [1]}}},
        {"document": {"path_equals": {"path": ["a\\b"], "value": 1}}},
        {"NOT": {"document": {"path_equals": {"path": ["a"], "value": 2**63}}}},
    ],
)
async def test_what_sqlite_cannot_answer_is_refused(sqlite_database: Database, tree: Any) -> None:
    """Rather an error that names PostgreSQL than an answer that is not quite it."""
    async with tables(sqlite_database, ThingRow, LabelRow) as db, db.engine.connect() as connection:
        statement = select(ThingRow.id).where(*expressions_of(ThingFilter.model_validate(tree)))
        with pytest.raises(InvalidFilter, match="needs PostgreSQL"):
            await connection.execute(statement)


def test_every_condition_has_a_fingerprint_of_its_own() -> None:
    """Cursors tell searches apart by their conditions, those of PostgreSQL alone included."""
    given = [
        *({"tags": {operator: ["a"]}} for operator in ("contains", "contained_by", "overlaps", "not_overlaps")),
        *({"body": {place: "a"}} for place in ("contains", "starts_with", "ends_with", "i_contains", "equals")),
        *({"words": {"matches": "a", "language": language}} for language in ("english", "simple")),
        *({"document": {"has_key": key}} for key in ("a", "b", '"')),
        *({"document": {"path_equals": {"path": ["a"], "value": value}}} for value in (1, "1", True, None, [1])),
    ]
    prints = {fingerprint((), expressions_of(PaperFilter.model_validate(tree))) for tree in given}
    assert len(prints) == len(given)


def test_an_index_on_an_expression_can_answer() -> None:
    """The configuration is a constant, as in an index on to_tsvector('english', body)."""
    [condition] = expressions_of(PaperFilter.model_validate({"words": {"matches": "x"}}))
    text = str(condition.compile(dialect=postgresql.asyncpg.dialect()))
    assert "to_tsvector('english'::regconfig, filter_papers.body)" in text
