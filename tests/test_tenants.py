"""Two tenants: what one of them can get at of the other's, by any verb, whatever conditions are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased

from open_texts import OPEN
from rowsmith import (
    AllOf,
    AnyOf,
    BatchQuerier,
    Condition,
    Conflict,
    CursorBackwardPagination,
    CursorForwardPagination,
    EntityAlreadyExists,
    EntityNotFound,
    Expr,
    InvalidFilter,
    InvalidValue,
    MappingError,
    Not,
    OptionalState,
    Order,
    RepositoryError,
    SearchScope,
    Spec,
    count,
)
from rowsmith.testing import WithTables
from tenants import DomainRow, GroupId, GroupPatch, GroupRepository, GroupRow, groups_in, stored

FOREIGN = GroupId(3)
RENAMED = GroupPatch(name=OptionalState.update("new"))


@dataclass(frozen=True)
class KeyedCreate(Spec[GroupRow], filled={"domain_name"}):
    id: int
    name: str


@dataclass(frozen=True)
class Names:
    name: str
    groups: Annotated[int, count().filter(sa.literal_column("size = 9 OR size = 0", sa.Boolean))]


class Everything(sa.ColumnElement[bool]):
    """A condition of somebody's own making, which gives itself no parentheses."""

    inherit_cache = True
    type = sa.Boolean()


@compiles(Everything)
def _compile(element: Everything, compiler: Any, **options: Any) -> str:
    return "groups.size = 9 OR groups.size >= 0"


TEXT = "groups.size = 9 OR groups.size >= 0"
TORN: dict[str, Condition] = {
    "literal": sa.literal_column(TEXT, sa.Boolean),
    "untyped": sa.literal_column(TEXT),
    "coerced": sa.type_coerce(sa.text(TEXT), sa.Boolean),
    "operator": GroupRow.size.op("= 9 OR 0 <=", precedence=100, is_comparison=True)(GroupRow.size),
    "own": Everything(),
    "callable": lambda: sa.literal_column(TEXT, sa.Boolean),
    "in and": sa.and_(sa.literal_column(TEXT, sa.Boolean), GroupRow.size >= 0),
    "in a group": sa.or_(sa.and_(GroupRow.size < 0, sa.literal_column(TEXT)), GroupRow.size >= 0),
    "negated": sa.not_(sa.literal_column("groups.size < 0 AND groups.size = 9 OR groups.size < 0", sa.Boolean)),
    "compared": sa.literal_column(TEXT, sa.Boolean).is_not(None),
}


@dataclass(frozen=True)
class Scope(SearchScope):
    conditions: tuple[Condition, ...]

    def to_conditions(self) -> Sequence[Condition]:
        return self.conditions


A = Scope((GroupRow.domain_name == "a",))


def scopes_of(torn: Condition) -> list[SearchScope]:
    """Give scopes of tenant a that a condition on all rows stands in, here or there."""
    return [
        Scope((*A.conditions, torn)),
        Scope((torn, *A.conditions)),
        AllOf(torn, A),
        AllOf(A, AnyOf(torn, A)),
        AnyOf(AllOf(torn, A), AllOf(A, torn)),
        AllOf(A, Not(Not(torn))),
    ]


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        await made.update(FOREIGN, GroupPatch(size=OptionalState.update(9)))
        yield made


async def names(groups: GroupRepository, scope: SearchScope, filters: Sequence[Condition]) -> list[Any]:
    """Give what each read says of the rows: their ids, or how many they are."""
    page = await groups.search(scope, filters)
    streamed = [item.id async for item in groups.stream(scope, filters)]
    stats = await groups.aggregate(scope, filters, group_by=[GroupRow.name], into=Names)
    dry = await groups.purge_where(filters or [GroupRow.size >= 0], scope=scope, dry_run=True)
    return [
        [item.id for item in page.items],
        streamed,
        await groups.count(scope, filters),
        await groups.exists(scope, [*filters, GroupRow.id == FOREIGN]),
        [(group.name, group.groups) for group in stats],
        dry.rows,
    ]


OWN: list[Any] = [[1, 2], [1, 2], 2, False, [("one", 1), ("two", 1)], 3]
"""What tenant a sees: purge_where alone reaches its soft-deleted row."""


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN.keys())
async def test_a_filter_opens_nothing(groups: GroupRepository, torn: Condition) -> None:
    """An OR in a filter's SQL stays the filter's own, beside scope and soft deletion."""
    assert await names(groups, A, [torn]) == OWN
    assert await names(groups, A, [torn, torn]) == OWN
    before = await stored(groups.db)
    assert await groups.update_where([torn], GroupPatch(size=OptionalState.update(1)), scope=A) == 2
    assert [row for row in await stored(groups.db) if row[0] == FOREIGN] == [before[2]]
    assert (await groups.purge_where([torn], scope=A)).rows == 3
    assert await stored(groups.db) == [before[2]]


Call = Callable[[GroupRepository, SearchScope], Awaitable[Any]]
REFUSED: dict[str, Call] = {
    "get": lambda groups, scope: groups.get(FOREIGN, scope),
    "update": lambda groups, scope: groups.update(FOREIGN, RENAMED, scope=scope),
    "update nothing": lambda groups, scope: groups.update(FOREIGN, GroupPatch(), scope=scope),
    "delete": lambda groups, scope: groups.delete(FOREIGN, scope=scope),
    "restore": lambda groups, scope: groups.restore(FOREIGN, scope=scope),
    "purge": lambda groups, scope: groups.purge(FOREIGN, scope=scope),
    "batch_get": lambda groups, scope: groups.batch_get([FOREIGN], scope=scope),
}
MISSING: dict[str, Call] = {
    "batch_update": lambda groups, scope: groups.batch_update([FOREIGN], RENAMED, scope=scope),
    "batch_update_each": lambda groups, scope: groups.batch_update_each({FOREIGN: RENAMED}, scope=scope),
    "batch_delete": lambda groups, scope: groups.batch_delete([FOREIGN], scope=scope),
    "batch_purge": lambda groups, scope: groups.batch_purge([FOREIGN], scope=scope),
}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN.keys())
async def test_a_scopes_parts_open_nothing(groups: GroupRepository, torn: Condition) -> None:
    """An OR in one part of a scope stays that part's own, wherever the scope is put together of it."""
    before = await stored(groups.db)
    for scope in scopes_of(torn):
        assert await names(groups, scope, []) == OWN
        for call in REFUSED.values():
            with pytest.raises(EntityNotFound):
                await call(groups, scope)
        for call in MISSING.values():
            assert (await call(groups, scope)).missing == [FOREIGN]
        partial = await groups.batch_update_partial({FOREIGN: RENAMED}, scope=scope)
        assert [type(item.error) for item in partial.failed] == [groups.not_found]
    assert await stored(groups.db) == before


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN.keys())
async def test_an_upsert_leaves_the_other_tenants_row(groups: GroupRepository, torn: Condition) -> None:
    """What an upsert writes into a row that is there is held to every part of the scope."""
    before = await stored(groups.db)
    for scope in (Scope((*A.conditions, torn)), Scope((torn, *A.conditions)), AllOf(A, AnyOf(torn, A))):
        with pytest.raises(EntityAlreadyExists):
            await groups.upsert(KeyedCreate(3, "mine"), scope=scope)
        with pytest.raises(EntityAlreadyExists):
            await groups.batch_upsert([KeyedCreate(3, "mine")], scope=scope)
    assert await stored(groups.db) == before


ORDERS: list[Order] = [
    sa.literal_column("groups.size = 9 OR (groups.deleted_at IS NULL)", sa.Boolean),
    sa.literal_column("groups.size = 9 OR (groups.deleted_at IS NULL)", sa.Boolean).desc(),
    sa.literal_column("groups.size = 9 OR (groups.note IS NULL)", sa.Boolean).nulls_first(),
]


@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_an_order_opens_nothing(groups: GroupRepository, order: Order) -> None:
    """An OR in what is sorted by stays whole in the condition that a cursor makes of it."""
    first = await groups.search(A, None, CursorForwardPagination(first=1), orders=[order])
    second = await groups.search(A, None, CursorForwardPagination(first=5, after=first.end_cursor), orders=[order])
    back = await groups.search(A, None, CursorBackwardPagination(last=5, before=second.end_cursor), orders=[order])
    pages = [[item.id for item in page.items] for page in (first, second, back)]
    assert sorted(pages[0] + pages[1]) == [1, 2]
    assert pages[2] == pages[0]


@dataclass(frozen=True)
class Beside:
    id: int
    domain: Annotated[str, Expr(DomainRow.name)]


@dataclass(frozen=True)
class BesideLater:
    id: int
    domain: Annotated[str, Expr(lambda: sa.func.lower(DomainRow.name))]


@dataclass(frozen=True)
class BesideAlias:
    id: int
    other: Annotated[str, Expr(aliased(GroupRow).name)]


OWN_DOMAIN = sa.select(DomainRow.name).where(DomainRow.name == GroupRow.domain_name)


@dataclass(frozen=True)
class Within:
    id: int
    domain: Annotated[str, Expr(OWN_DOMAIN.scalar_subquery())]


@pytest.mark.parametrize("into", [Beside, BesideLater, BesideAlias], ids=lambda into: into.__name__)
async def test_a_computed_field_reads_no_other_table(groups: GroupRepository, into: type[Any]) -> None:
    """Another table's column would give each row once for each of that table's rows, whosever those are."""
    async with groups.db.begin_readonly_session() as db_sess:
        with pytest.raises(MappingError, match="another table"):
            await BatchQuerier(GroupRow, into=into).search(db_sess, A)
        page = await BatchQuerier(GroupRow, into=Within, soft_delete=groups.soft_delete).search(db_sess, A)
    assert page.items == (Within(1, "a"), Within(2, "a"))


@dataclass(frozen=True)
class Counted:
    n: Annotated[int, count(DomainRow.name)]


@dataclass(frozen=True)
class CountedWhere:
    n: Annotated[int, count().filter(DomainRow.name == "b")]


@dataclass(frozen=True)
class Computed:
    n: Annotated[int, Expr(sa.func.count(DomainRow.name) + 1)]


@pytest.mark.parametrize("into", [Counted, CountedWhere, Computed], ids=lambda into: into.__name__)
async def test_an_aggregate_reads_no_other_table(groups: GroupRepository, into: type[Any]) -> None:
    """Nor is anything computed over rows that no scope was asked about."""
    with pytest.raises(MappingError, match="another table"):
        await groups.aggregate(A, into=into)


By = Callable[[GroupRepository, Any], Awaitable[Any]]
FILTERED: dict[str, By] = {
    "search": lambda groups, torn: groups.search(A, [torn]),
    "get_one": lambda groups, torn: groups.get_one(A, [torn]),
    "find_one": lambda groups, torn: groups.find_one(A, [torn]),
    "first": lambda groups, torn: groups.first(A, [torn]),
    "count": lambda groups, torn: groups.count(A, [torn]),
    "exists": lambda groups, torn: groups.exists(A, [torn]),
    "exists by key": lambda groups, torn: groups.exists(A, [torn], id=FOREIGN),
    "stream": lambda groups, torn: anext(aiter(groups.stream(A, [torn]))),
    "aggregate": lambda groups, torn: groups.aggregate(A, [torn], group_by=[GroupRow.name], into=Names),
    "update_where": lambda groups, torn: groups.update_where([torn], RENAMED, scope=A),
    "delete_where": lambda groups, torn: groups.delete_where([torn], scope=A),
    "restore_where": lambda groups, torn: groups.restore_where([torn], scope=A),
    "purge_where": lambda groups, torn: groups.purge_where([torn], scope=A),
    "within": lambda groups, torn: groups.count(A, [AnyOf(Not(torn), GroupRow.size >= 0)]),
    "later": lambda groups, torn: groups.count(A, [lambda: torn]),
    "scope": lambda groups, torn: groups.get(FOREIGN, Scope((*A.conditions, torn))),
    "scope of a write": lambda groups, torn: groups.update(FOREIGN, RENAMED, scope=AllOf(torn, A)),
    "order": lambda groups, torn: groups.search(A, None, orders=[torn]),
    "descending": lambda groups, torn: groups.first(A, orders=[torn.desc().nulls_last()]),
    "order of a stream": lambda groups, torn: anext(aiter(groups.stream(A, orders=[torn]))),
    "group": lambda groups, torn: groups.aggregate(A, into=Names, group_by=[GroupRow.name, torn]),
}


SOME_OPEN = [OPEN[name] for name in ("operator", "comment", "field", "prefix", "type", "class of somebody's own")]


@pytest.mark.parametrize("call", FILTERED.values(), ids=FILTERED.keys())
async def test_text_that_ends_more_than_it_began_is_refused(groups: GroupRepository, call: By) -> None:
    """Whatever part of a condition, of a scope or of an order it is in, and before anything is read or written."""
    before = await stored(groups.db)
    for torn in SOME_OPEN:
        with pytest.raises(InvalidFilter, match="does not stand for itself"):
            await call(groups, torn)
    assert await stored(groups.db) == before


@pytest.mark.parametrize("call", [FILTERED["search"], FILTERED["order"]], ids=["filter", "order"])
async def test_each_text_that_ends_more_than_it_began_is_refused(groups: GroupRepository, call: By) -> None:
    """Every way in that SQLAlchemy leaves."""
    for torn in OPEN.values():
        with pytest.raises(InvalidFilter, match="does not stand for itself"):
            await call(groups, torn)


class InWhere(sa.ColumnElement[bool]):
    """A condition of somebody's own making, which is rendered nowhere but in a WHERE."""

    inherit_cache = True
    type = sa.Boolean()


@compiles(InWhere)
def _within(element: InWhere, compiler: Any, *, within_columns_clause: bool = False, **options: Any) -> str:
    if within_columns_clause:
        raise CompileError("a condition is no column")
    return "groups.size > 0) OR (groups.size >= 0"


@pytest.mark.parametrize("call", ["search", "count", "stream", "update_where", "purge_where", "scope"])
async def test_what_cannot_be_rendered_by_itself_opens_nothing(groups: GroupRepository, call: str) -> None:
    """It is found out where its statement is rendered."""
    before = await stored(groups.db)
    with pytest.raises(InvalidFilter, match="does not stand for itself"):
        await FILTERED[call](groups, InWhere())
    assert await stored(groups.db) == before


def _sized(torn: Any) -> GroupPatch:
    return GroupPatch(size=OptionalState.update(torn))


WRITTEN: dict[str, By] = {
    "create": lambda groups, torn: groups.create(KeyedCreate(5, torn), scope=A),
    "update": lambda groups, torn: groups.update(GroupId(1), _sized(torn), scope=A),
    "update_where": lambda groups, torn: groups.update_where([GroupRow.size >= 0], _sized(torn), scope=A),
    "batch_update": lambda groups, torn: groups.batch_update([GroupId(1)], _sized(torn), scope=A),
    "batch_update_each": lambda groups, torn: groups.batch_update_each({GroupId(1): _sized(torn)}, scope=A),
}


async def test_open_text_is_no_value(groups: GroupRepository) -> None:
    """A value that is computed stands beside the scope's conditions, too."""
    before = await stored(groups.db)
    for torn in SOME_OPEN:
        for call in WRITTEN.values():
            with pytest.raises(InvalidValue, match="does not stand for itself"):
                await call(groups, torn)
    assert await stored(groups.db) == before


async def test_open_text_is_no_index_predicate(groups: GroupRepository) -> None:
    """It would end the upsert's ON CONFLICT."""
    for torn in SOME_OPEN:
        conflict = Conflict(columns=[GroupRow.domain_name, GroupRow.name], where=torn)
        with pytest.raises(InvalidFilter, match="does not stand for itself"):
            await groups.upsert(KeyedCreate(1, "x"), scope=A, conflict=conflict)


async def test_open_text_is_no_computed_field(groups: GroupRepository) -> None:
    """Neither of a data class nor of statistics."""
    for torn in SOME_OPEN:
        fields: dict[str, Any] = {"field": Expr(torn), "later": Expr(lambda torn=torn: torn), "sum": count(torn)}
        for place, given in fields.items():
            into = make_dataclass(f"Torn{place}", [("n", Annotated[int, given])], frozen=True)
            with pytest.raises(MappingError, match="does not stand for itself"):
                await (groups.aggregate(A, into=into) if place == "sum" else groups.search(A, into=into))
        filtered = make_dataclass("Filtered", [("n", Annotated[int, count().filter(torn)])], frozen=True)
        with pytest.raises(RepositoryError, match="does not stand for itself"):
            await groups.aggregate(A, into=filtered)
