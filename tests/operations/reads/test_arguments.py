"""What a read cannot use is refused with a typed error that says what to write, before anything is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import sqlalchemy as sa

from rowsmith import (
    BatchQuerier,
    CursorForwardPagination,
    ErrorCode,
    InvalidFilter,
    InvalidPagination,
    InvalidValue,
    Query,
    RepositoryError,
    ScopeError,
)
from rowsmith.conditions import resolve
from rowsmith.filters import Filter, StringFilter
from rowsmith.orders import order_terms
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    CheckedScope,
    DomainScope,
    GroupCreate,
    GroupRow,
    WideRepository,
    WideRow,
    groups_in,
)


class GroupFilter(Filter[GroupRow]):
    name: StringFilter | None = None


class Single(Filter[GroupRow]):
    """A filter whose override forgets the list."""

    def to_conditions(self) -> Any:
        return GroupRow.size == 1


class SingleScope(DomainScope):
    """A scope whose conditions are no list."""

    def to_conditions(self) -> Any:
        return GroupRow.domain_name == self.domain_name


def by_row(row: Any) -> Any:
    return row.name


SCOPE = CheckedScope("a")  # its check is a statement of its own, which is not sent either
CONDITION = GroupRow.name == "ops"
NO_MODE = r"pagination is CursorForwardPagination\(first=\.\.\.\), .* or NoPagination\(\), not "
NO_COUNT = r"a count is Count\.NONE, Count\.EXACT, Count\.ESTIMATED or Count\.capped\(n\), not "
NO_FILTERS = "filters are a Filter, a Query or a list of conditions, not "
FILTERS_LATER = r"filters come after the scope, .* search\(None, filters\)"

WRONG: list[tuple[dict[str, Any], type[RepositoryError], str]] = [
    ({"pagination": {"first": 2}}, InvalidPagination, NO_MODE + "dict"),
    ({"pagination": 2}, InvalidPagination, NO_MODE + "int"),
    ({"pagination": 0}, InvalidPagination, NO_MODE + "int"),
    ({"pagination": "first"}, InvalidPagination, NO_MODE + "str"),
    ({"pagination": ""}, InvalidPagination, NO_MODE + "str"),
    ({"pagination": CursorForwardPagination}, InvalidPagination, NO_MODE + "the class CursorForwardPagination"),
    ({"count": 5}, InvalidPagination, NO_COUNT + "int"),
    ({"count": True}, InvalidPagination, NO_COUNT + "bool"),
    ({"count": "exact"}, InvalidPagination, NO_COUNT + "str"),
    ({"count": None}, InvalidPagination, NO_COUNT + "NoneType"),
    ({"orders": GroupRow.name}, InvalidFilter, r"orders are a list .*not InstrumentedAttribute: write orders=\["),
    ({"orders": GroupRow.name.desc()}, InvalidFilter, "orders are a list .*not UnaryExpression"),
    ({"orders": "name"}, InvalidFilter, "orders are a list .*not str"),
    ({"orders": None}, InvalidFilter, "orders are a list .*not NoneType"),
    ({"filters": CONDITION}, InvalidFilter, NO_FILTERS + "BinaryExpression"),
    ({"filters": GroupFilter}, InvalidFilter, NO_FILTERS + "the class GroupFilter"),
    ({"filters": 5}, InvalidFilter, NO_FILTERS + "int"),
    (
        {"filters": Single()},
        InvalidFilter,
        r"Single\.to_conditions\(\) gives a list of conditions, not BinaryExpression",
    ),
    ({"scope": [CONDITION]}, ScopeError, FILTERS_LATER),
    ({"scope": CONDITION}, ScopeError, FILTERS_LATER),
    ({"scope": GroupFilter()}, ScopeError, FILTERS_LATER),
    ({"scope": Query()}, ScopeError, FILTERS_LATER),
    ({"scope": DomainScope}, ScopeError, "not the class DomainScope$"),
    ({"scope": "a"}, ScopeError, r"not str: a key is no scope, and stands as in get\(id, scope\)"),
    ({"scope": SingleScope("a")}, InvalidFilter, r"SingleScope\.to_conditions\(\) gives a list"),
]


@pytest.mark.parametrize("given, kind, words", WRONG, ids=[f"{next(iter(w[0]))}-{n}" for n, w in enumerate(WRONG)])
async def test_a_search_says_what_to_write(
    any_tables: WithTables, given: dict[str, Any], kind: type[RepositoryError], words: str
) -> None:
    """Nothing that means something else, or nothing, is taken for everything, and nothing is sent."""
    async with groups_in(any_tables) as groups:
        with count_statements(groups.db) as sent, pytest.raises(kind, match=words) as caught:
            await groups.search(**{"scope": SCOPE, **given})
        assert sent == []
        assert caught.value.error_code == str(ErrorCode("group", "search", kind.detail))
        assert len(await groups.search(DomainScope("a"))) == 2


READS: list[Callable[[Any, Any], Awaitable[Any]]] = [
    lambda groups, filters: groups.count(SCOPE, filters),
    lambda groups, filters: groups.exists(SCOPE, filters),
    lambda groups, filters: groups.aggregate(SCOPE, filters, into=GroupCreate),
    lambda groups, filters: anext(groups.stream(SCOPE, filters)),
    lambda groups, filters: groups.purge_where(filters),
]


@pytest.mark.parametrize("read", READS, ids=["count", "exists", "aggregate", "stream", "purge_where"])
async def test_other_reads_say_the_same(any_tables: WithTables, read: Callable[[Any, Any], Awaitable[Any]]) -> None:
    """One condition alone, a class and a plain value are no filters anywhere."""
    async with groups_in(any_tables) as groups:
        with count_statements(groups.db) as sent:
            for filters in (CONDITION, GroupFilter, 5, "name", Single()):
                with pytest.raises(InvalidFilter, match="list of conditions, not"):
                    await read(groups, filters)
        assert sent == []


@pytest.mark.parametrize(
    "orders, words",
    [
        ([by_row], "an order that is a callable takes no arguments"),
        ([lambda: by_row], "an order must be a column or SQL expression .*not function"),
        ([GroupRow], "an order must be .*not the class GroupRow"),
        ([5], "an order must be .*not int"),
    ],
)
async def test_an_order_of_a_wrong_kind(any_tables: WithTables, orders: Any, words: str) -> None:
    """In a search, in a stream and where groups are made."""
    async with groups_in(any_tables) as groups:
        for read in (
            groups.search(orders=orders),
            groups.search(None, Query(orders=tuple(orders))),
            anext(groups.stream(orders=orders)),
            groups.aggregate(into=GroupCreate, group_by=orders),
        ):
            with pytest.raises(InvalidFilter, match=words):
                await cast("Awaitable[Any]", read)
        with pytest.raises(InvalidFilter, match=r"group_by are a list .*write group_by=\["):
            await groups.aggregate(into=GroupCreate, group_by=cast("Any", GroupRow.name))


def test_a_builder_takes_nothing_and_its_own_error_passes() -> None:
    """Only its arguments are the caller's slip; what goes wrong inside is the application's."""

    def failing() -> Any:
        return len(cast("Any", 5))

    with pytest.raises(InvalidFilter, match="a condition that is a callable takes no arguments"):
        resolve(cast("Any", by_row))
    for use in (lambda: resolve(failing), lambda: order_terms([failing], ())):
        with pytest.raises(TypeError, match="has no len"):
            use()


def test_a_query_by_hand_is_held_to_the_same() -> None:
    """Whoever makes the value is told, not whoever runs it."""
    with pytest.raises(InvalidFilter, match=r"conditions are a list, not BinaryExpression: write \[condition\]"):
        Query(cast("Any", CONDITION))
    with pytest.raises(InvalidFilter, match="orders are a list"):
        Query(orders=cast("Any", GroupRow.name))
    with pytest.raises(InvalidPagination, match="a count is"):
        Query(count=cast("Any", 5))


async def test_a_boolean_attribute_is_a_condition(any_tables: WithTables) -> None:
    """By itself, by a callable, in a combination; a NULL does not hold."""
    async with any_tables(WideRow) as db, db.begin_session() as db_sess:
        db_sess.add_all([WideRow(flag=True, label="yes"), WideRow(flag=False, label="no"), WideRow(label="null")])
        await db_sess.flush()
        wide = BatchQuerier(WideRow)
        for filters in ([WideRow.flag], [lambda: WideRow.flag], Query((WideRow.flag,))):
            assert [row.label for row in await wide.search(db_sess, None, filters)] == ["yes"]
        assert await wide.count(db_sess, None, [~WideRow.flag]) == 1
        assert await wide.count(db_sess, None, [sa.not_(WideRow.flag), WideRow.flag]) == 0


@pytest.mark.parametrize("column", [WideRow.label, WideRow.normal, WideRow.seen_at, WideRow.span, WideRow.document])
async def test_another_attribute_alone_is_none(any_tables: WithTables, column: Any) -> None:
    """SQLite would take a number for true, and a text for false."""
    async with any_tables(WideRow) as db:
        with pytest.raises(InvalidFilter, match="compare it with something"):
            await WideRepository(db).search(None, [column])


@pytest.mark.parametrize(
    "size, words",
    [
        (0, "chunk_size is 0: give 1 or more"),
        (-3, "chunk_size is -3: give 1 or more"),
        (-(10**5000), "chunk_size is -2147483647: give 1 or more"),
        (2**31, "chunk_size is too large: give 2147483647 or less"),
        ("1", "chunk_size is str: give an int, 1 or more"),
        (1.5, "chunk_size is float: give an int, 1 or more"),
        (True, "chunk_size is bool: give an int, 1 or more"),
        (None, "chunk_size is NoneType: give an int, 1 or more"),
    ],
    ids=["0", "-3", "low", "high", "str", "float", "bool", "None"],
)
async def test_a_chunk_has_one_size_and_one_error(any_tables: WithTables, size: Any, words: str) -> None:
    """A stream, a load and a purge say the same."""
    async with groups_in(any_tables) as groups:

        async def stream() -> None:
            async with groups.db.begin_readonly_session() as db_sess:
                await anext(BatchQuerier(GroupRow).stream(db_sess, chunk_size=size))

        calls: list[Any] = [stream(), groups.load([], chunk_size=size)]
        if size is not None:  # which has a purge go in one transaction
            calls.append(groups.purge_where([], all_rows=True, chunk_size=size))
            calls.append(groups.purge_where([], all_rows=True, chunk_size=size, dry_run=True))
        for call in calls:
            with pytest.raises(InvalidValue) as caught:
                await call
            assert str(caught.value) == f"group: {words}"
        assert await groups.count() == 3
