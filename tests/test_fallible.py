"""Filters, orders and groups that fail for some row: under a scope, for no row but those inside."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, column_property, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    AnyOf,
    Condition,
    Count,
    CursorForwardPagination,
    Database,
    Expr,
    InvalidValue,
    OptionalState,
    Patch,
    PurgeReport,
    Repository,
    SearchScope,
    SoftDelete,
    Unscoped,
    count,
    related,
)
from rowsmith.fallible import may_fail
from rowsmith.filters import Filter, NumberFilter, On
from rowsmith.scope import Limits
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, Outcome, VerbCall, answered
from support import share


class Base(DeclarativeBase):
    pass


class PlanRow(Base):
    __tablename__ = "plans"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    spent: Mapped[int]
    seats: Mapped[int]
    accounts: Mapped[list[AccountRow]] = relationship(viewonly=True)


class MemberRow(Base):
    __tablename__ = "members"

    user: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class AccountRow(Base):
    __tablename__ = "accounts"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "account"}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    tenant: Mapped[str]
    plan_id: Mapped[int | None] = mapped_column(sa.ForeignKey("plans.id"))
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    plan: Mapped[PlanRow | None] = relationship(viewonly=True)


class TeamRow(AccountRow):
    """An account whose own columns are in another table than its tenant."""

    __tablename__ = "teams"
    __mapper_args__ = {"polymorphic_identity": "team"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), primary_key=True)
    spent: Mapped[int]
    seats: Mapped[int]
    digits: Mapped[str]


class SpaceRow(Base):
    """The same in one table."""

    __tablename__ = "spaces"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    spent: Mapped[int]
    seats: Mapped[int]
    digits: Mapped[str]


ACCOUNTS, TEAMS, SPACES = (cast("sa.Table", row.__table__) for row in (AccountRow, TeamRow, SpaceRow))


@dataclass(frozen=True)
class Data:
    id: int
    spent: int


@dataclass(frozen=True)
class TeamPatch(Patch[TeamRow]):
    digits: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class SpacePatch(Patch[SpaceRow]):
    digits: OptionalState[str] = OptionalState.nop()


class TeamRepository(Repository[TeamRow, Data, int]):
    soft_delete = SoftDelete(TeamRow.deleted_at)


class SpaceRepository(Repository[SpaceRow, Data, int]):
    soft_delete = SoftDelete(SpaceRow.deleted_at)


Row = type[TeamRow] | type[SpaceRow]


@dataclass(frozen=True)
class Of(SearchScope):
    """What some tenants have."""

    row: Row
    tenants: tuple[str, ...]

    @override
    def to_conditions(self) -> Sequence[Condition]:
        if len(self.tenants) == 1:
            return [self.row.tenant == self.tenants[0]]
        return [self.row.tenant.in_(self.tenants)]


@dataclass(frozen=True)
class Member(SearchScope):
    """What a user is a member of."""

    row: Row
    user: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [sa.exists().where(MemberRow.account_id == self.row.id, MemberRow.user == self.user)]


SCOPES: dict[str, Callable[[Row], SearchScope]] = {
    "equality": lambda row: Of(row, ("a",)),
    "in": lambda row: Of(row, tuple("acdefgh")),
    "any of": lambda row: AnyOf(Of(row, ("a",)), Of(row, ("c",)), Of(row, ("d",))),
    "exists": lambda row: Member(row, "a"),
    "its own or exists": lambda row: AnyOf(Of(row, ("a",)), Member(row, "a")),
}
BAD = {"spent": 2**31 - 1, "seats": 0, "digits": "none"}
GOOD = {"spent": 20, "seats": 5, "digits": "7"}
LESS = {"spent": 10, "seats": 4, "digits": "8"}
ASKED: dict[str, Callable[[Row], sa.ColumnElement[bool]]] = {
    "division": lambda row: row.spent // row.seats == 4,
    "overflow": lambda row: row.spent * row.spent == 400,
    "cast": lambda row: sa.cast(row.digits, sa.Integer) == 7,
}


async def analyze(db: Database) -> None:
    """Have the planner know how many rows there are."""
    async with db.engine.begin() as connection:
        await connection.execute(sa.text("ANALYZE"))


@dataclass
class World:
    """Rows of a class: 2 is tenant a's and asked for, as is 4, which is deleted; 3 and 6, deleted, are b's."""

    things: Any
    row: Row
    patch: Any
    others: range = range(1_000, 3_000)

    async def fill(self) -> None:
        async with self.things.db.engine.begin() as connection:
            await self._add(connection, {id: "az"[id % 2] for id in self.others}, LESS)
        await self.refill(GOOD)
        await analyze(self.things.db)

    async def refill(self, theirs: Mapping[str, Any]) -> None:
        async with self.things.db.engine.begin() as connection:
            for table in reversed(self._tables):
                await connection.execute(sa.delete(table).where(table.c.id < self.others.start))
            await connection.execute(sa.delete(MemberRow).where(MemberRow.account_id < self.others.start))
            await self._add(connection, dict.fromkeys((2, 4), "a"), GOOD)
            await self._add(connection, {1: "a", 5: "a"}, LESS)
            await self._add(connection, {3: "b", 6: "b"}, theirs)
            table = self._tables[0]
            deleted = sa.update(table).where(table.c.id.in_([4, 6])).values(deleted_at=dt.datetime.now(dt.UTC))
            await connection.execute(deleted)

    async def _add(self, connection: AsyncConnection, tenants: Mapping[int, str], values: Mapping[str, Any]) -> None:
        given = [{"kind": "team", **values, "id": id, "tenant": tenant} for id, tenant in tenants.items()]
        for table in self._tables:
            names = [column.name for column in table.c if column.name in given[0]]
            await connection.execute(sa.insert(table), [{name: each[name] for name in names} for each in given])
        members = [{"user": tenant, "account_id": id} for id, tenant in tenants.items()]
        await connection.execute(sa.insert(MemberRow), members)

    @property
    def _tables(self) -> list[sa.Table]:
        return [SPACES] if self.row is SpaceRow else [ACCOUNTS, TEAMS]


@dataclass(frozen=True)
class Asking(VerbCall):
    """A call whose filters are conditions of the test's own."""

    asked: Sequence[sa.ColumnElement[bool]] = ()

    @property
    @override
    def these(self) -> list[sa.ColumnElement[bool]]:
        return list(self.asked)


WITH_FILTERS = [name for name in VERBS if "filters" in inspect.signature(getattr(Repository, name)).parameters]


@pytest.fixture(params=["teams", "spaces"])
async def world(any_tables: WithTables, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with any_tables(PlanRow, MemberRow, AccountRow, TeamRow, SpaceRow) as db:
        seven: Any = OptionalState.update("7")
        made = {
            "teams": World(TeamRepository(db), TeamRow, TeamPatch(digits=seven)),
            "spaces": World(SpaceRepository(db), SpaceRow, SpacePatch(digits=seven)),
        }[request.param]
        await made.fill()
        yield made


async def _answers(world: World, theirs: Mapping[str, Any]) -> dict[tuple[str, str, str], Outcome]:
    """Give what every verb that takes filters answers in every scope, with another tenant's row of these values."""
    await world.refill(theirs)
    found: dict[tuple[str, str, str], Outcome] = {}
    for name, scope, asked in share(product(WITH_FILTERS, SCOPES, ASKED)):
        conditions = [ASKED[asked](world.row)]
        call = Asking(world.things, SCOPES[scope](world.row), [2], world.patch, asked=conditions)
        found[name, scope, asked] = await answered(VERBS[name].call(call), [2])
        if VERBS[name].does is not Does.READ:
            await world.refill(theirs)
    return found


async def test_no_verb_fails_by_rows_outside(world: World) -> None:
    """Whatever it is asked for, and whatever its scope is made of: it answers what it does without such a row."""
    answers = await _answers(world, GOOD)
    assert await _answers(world, BAD) == answers
    assert {call for call, answer in answers.items() if answer.error is not None or not answer.number} == set()


CALLS: dict[str, Callable[[Any, Row, SearchScope], Awaitable[Any]]] = {
    "a filter": lambda things, row, scope: things.search(scope, FILTERS[row](per_seat=NumberFilter(equals=4))),
    "exists": lambda things, row, scope: things.exists(scope, [row.spent // row.seats == 9]),
    "its opposite": lambda things, row, scope: things.search(scope, [sa.not_(sa.cast(row.digits, sa.Integer) != 7)]),
    "a subquery": lambda things, row, scope: things.search(scope, [_of_itself(row)]),
    "include_deleted": lambda things, row, scope: things.count(scope, [-row.spent * 2**26 < 0], include_deleted=True),
    "a total": lambda things, row, scope: things.search(scope, [row.spent % row.seats == 0], count=Count.EXACT),
    "a capped total": lambda things, row, scope: things.search(
        scope, [row.spent % row.seats == 0], count=Count.capped(9)
    ),
    "all pages": lambda things, row, scope: _pages(things, scope, [row.spent // row.seats]),
    "all pages, downwards": lambda things, row, scope: _pages(
        things, scope, [sa.desc(row.seats), row.spent * row.spent]
    ),
    "groups": lambda things, row, scope: things.aggregate(
        scope, into=STATISTICS[row], group_by=[row.spent // row.seats]
    ),
    "a dry run": lambda things, row, scope: things.purge_where([row.spent // row.seats > 0], scope=scope, dry_run=True),
    "at once": lambda things, row, scope: things.purge_where(
        [row.spent // row.seats == 9], scope=scope, chunk_size=None
    ),
}


class TeamFilter(Filter[TeamRow]):
    per_seat: Annotated[NumberFilter | None, On(TeamRow.spent // TeamRow.seats)] = None


class SpaceFilter(Filter[SpaceRow]):
    per_seat: Annotated[NumberFilter | None, On(SpaceRow.spent // SpaceRow.seats)] = None


FILTERS: Mapping[Row, Any] = {TeamRow: TeamFilter, SpaceRow: SpaceFilter}


@dataclass(frozen=True)
class TeamsPerSeat:
    per_seat: Annotated[int, Expr(TeamRow.spent // TeamRow.seats)]
    rows: Annotated[int, count()]
    squares: Annotated[int, count(TeamRow.spent * TeamRow.spent, distinct=True)]


@dataclass(frozen=True)
class SpacesPerSeat:
    per_seat: Annotated[int, Expr(SpaceRow.spent // SpaceRow.seats)]
    rows: Annotated[int, count()]
    squares: Annotated[int, count(SpaceRow.spent * SpaceRow.spent, distinct=True)]


STATISTICS: Mapping[Row, Any] = {TeamRow: TeamsPerSeat, SpaceRow: SpacesPerSeat}


def _of_itself(row: Row) -> sa.ColumnElement[bool]:
    return sa.exists().where(aliased(row).id == row.id, row.spent // row.seats == 4)


async def _pages(things: Any, scope: SearchScope, orders: Sequence[Any]) -> list[Any]:
    found, after = list[Any](), None
    while True:
        page = await things.search(scope, None, CursorForwardPagination(400, after=after), orders=orders)
        found += page.items
        if not page.has_next_page:
            return found
        after = page.end_cursor


async def test_no_call_fails_by_rows_outside(world: World) -> None:
    """Neither by a filter model, nor by the place of a cursor, by groups, or by what is counted once."""
    told: list[Any] = []
    for theirs in (GOOD, BAD):
        await world.refill(theirs)
        told.append(
            {
                (call, scope): await _told(CALLS[call](world.things, world.row, SCOPES[scope](world.row)))
                for call, scope in product(CALLS, SCOPES)
            }
        )
    assert told[1] == told[0]
    assert {call for call, answer in told[0].items() if isinstance(answer, InvalidValue)} == set()


async def _told(call: Awaitable[Any]) -> Any:
    try:
        told = await call
    except InvalidValue as error:
        return error
    return repr(replace(told, seconds=0.0) if isinstance(told, PurgeReport) else told)


EARLY = (
    *("enable_hashjoin = off", "enable_mergejoin = off", "parallel_setup_cost = 0", "parallel_tuple_cost = 0"),
    *("min_parallel_table_scan_size = 0", "min_parallel_index_scan_size = 0"),
)
"""What has PostgreSQL sort many rows before it joins them, and so before it knows of which tenant they are."""


async def test_no_order_fails_by_rows_outside(with_tables: WithTables) -> None:
    """Though PostgreSQL sorts before it joins."""
    async with with_tables(PlanRow, MemberRow, AccountRow, TeamRow) as db:
        world = World(TeamRepository(db), TeamRow, None, range(1_000, 100_000))
        await world.fill()
        await world.refill(BAD)
        for scope in (Of(TeamRow, ("z",)), Of(TeamRow, tuple("zcdefgh")), Member(TeamRow, "z")):
            async with db.begin_session() as session:
                for setting in EARLY:
                    await session.execute(sa.text(f"SET LOCAL {setting}"))
                found = await world.things.first(scope, orders=[TeamRow.spent // TeamRow.seats])
            assert found.id == 1_001


@dataclass(frozen=True)
class PlansOf(Of):
    """What a tenant has, and of plans those of its own."""

    @override
    def to_related(self) -> Any:
        return {PlanRow: [PlanRow.tenant.in_(self.tenants)]}


@pytest.mark.parametrize("kind", [Of, PlansOf])
async def test_no_step_fails_by_rows_that_it_does_not_lead_to(any_tables: WithTables, kind: type[Of]) -> None:
    """Neither by those that hang on other rows, nor by those that the scope keeps from being seen."""
    async with any_tables(PlanRow, MemberRow, AccountRow, TeamRow) as db:
        things = TeamRepository(db)
        plans = [{"id": 1, "tenant": "a", **PLAN}, {"id": 2, "tenant": "b", **PLAN}, {"id": 3, "tenant": "b", **PLAN}]
        async with db.engine.begin() as connection:
            await connection.execute(sa.insert(PlanRow), [*plans[:2], {**plans[2], "seats": 0}])
            rows = [(1, "a", 1), (2, "a", 2 if kind is Of else 3), (3, "b", 3)]
            accounts = [dict(zip(("id", "tenant", "plan_id"), row, strict=True), kind="team") for row in rows]
            await connection.execute(sa.insert(ACCOUNTS), accounts)
            await connection.execute(sa.insert(TEAMS), [{"id": id, **GOOD} for id, *_ in rows])
        await analyze(db)
        asked = related(TeamRow.plan, PlanRow.spent // PlanRow.seats == 4)
        deeper = related(
            TeamRow.plan, related(PlanRow.accounts, related(AccountRow.plan, PlanRow.spent / PlanRow.seats == 4))
        )
        as_text = related(TeamRow.plan, sa.literal_column("plans.spent / plans.seats", sa.Integer) == 4)
        both = {1, 2} if kind is Of else {1}
        for tenants in (("a",), tuple("acdefgh")):
            for condition in (asked, deeper, as_text):
                found = await things.search(kind(TeamRow, tenants), [condition])
                assert {data.id for data in found.items} == both


PLAN = {"spent": 20, "seats": 5}


async def test_what_fails_inside_is_told(with_tables: WithTables) -> None:
    """Of a row that the caller may see, as of any under no scope."""
    async with with_tables(MemberRow, SpaceRow) as db:
        world = World(SpaceRepository(db), SpaceRow, None)
        await world.refill(BAD)
        for scope in (None, Unscoped(reason="a test"), Of(SpaceRow, ("b",)), Of(SpaceRow, ("a", "b"))):
            with pytest.raises(InvalidValue, match="divides by zero"):
                await world.things.count(scope, [SpaceRow.spent // SpaceRow.seats == 4])


class PaperRow(Base):
    __tablename__ = "papers"

    id: Mapped[int] = mapped_column(primary_key=True)
    plan_id: Mapped[int] = mapped_column(sa.ForeignKey("plans.id"))
    uses: Mapped[int]
    least: Mapped[int]
    flag: Mapped[bool]
    day: Mapped[dt.date]
    text: Mapped[str] = mapped_column(sa.Text)
    words: Mapped[str] = mapped_column(sa.Text)
    title: Mapped[str] = mapped_column(sa.Text)
    document: Mapped[Any] = mapped_column(JSONB)
    written: Mapped[Any] = mapped_column(sa.JSON)
    lexemes: Mapped[Any] = mapped_column(TSVECTOR)
    tags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    virtual: Mapped[int] = mapped_column(sa.Computed("uses / least", persisted=False))
    plan: Mapped[PlanRow] = relationship()


P: Any = PaperRow
P.share = column_property(P.uses / P.least)
sa.Index("ix_words", sa.func.to_tsvector(sa.text("'english'"), P.__table__.c.words))
sa.Index("ix_title", sa.text("to_tsvector('english', title)"), _table=P.__table__)
sa.Index("ix_thrice", P.uses * 3)
sa.Index("ix_twice", P.uses * 2, postgresql_where=P.uses < 9)
PLANS = sa.select(PlanRow.id).where(PlanRow.seats == P.uses)
SOUGHT = sa.func.websearch_to_tsquery("english", "x")
SAFE: list[Any] = [
    *(
        P.uses == 1,
        P.uses.in_([1, 2]),
        P.uses.between(1, 2),
        P.uses.is_(None),
        P.uses.is_distinct_from(3),
        P.flag.expression,
    ),
    *(P.text.like("a%"), P.text.not_ilike("%x"), P.text.contains("x\\y"), P.text.startswith("x", autoescape=True)),
    *(sa.and_(P.uses == 1, sa.or_(P.least < 2, sa.not_(P.flag))), (P.uses == 1).is_not(sa.true()), sa.true()),
    *(P.uses.in_(PLANS), PLANS.exists(), sa.exists().where(PlanRow.id == P.uses), P.plan.has(PlanRow.seats == 1)),
    *(related(P.plan, PlanRow.seats == 1), sa.tuple_(P.uses, P.least) > (1, 2), P.uses.desc(), sa.null()),
    P.uses == sa.select(sa.func.max(PlanRow.seats)).scalar_subquery(),
    P.uses == PLANS.limit(1).scalar_subquery(),
    *(sa.func.lower(P.text) == "x", sa.func.coalesce(P.uses, 0) == 0, sa.cast(P.uses, sa.Text) == "1"),
    *(P.document["x"].astext == "1", P.document.contains({"a": 1}), P.document.has_key("a")),
    *(P.tags.contains(["x"]), P.tags.overlap(["x"]), sa.literal("x") == sa.any_(P.tags), P.tags[1] == "x"),
    *(sa.case((P.uses == 1, P.flag), else_=sa.false()), P.text + P.title == "x", P.text.collate("C") == "x"),
    *(P.lexemes.bool_op("@@")(SOUGHT), sa.literal_column("'x'::text") == P.text, P.uses * 3 == 9),
    *(sa.func.to_tsvector("english", of).bool_op("@@")(SOUGHT) for of in (P.words, P.title)),
]
FALLIBLE: list[Any] = [
    *(P.uses / P.least > 1, P.uses // 2 > 1, P.uses % 2 == 1, P.uses + 1 > 1, P.uses + P.uses + 1 > 2, -P.uses > 1),
    *(sa.cast(P.text, sa.Integer) > 1, sa.func.sqrt(P.uses) > 1, P.uses.op("~~~")(1), P.text.regexp_match("x")),
    *(P.text.like(P.title), P.text.like("x\\"), P.text.like("x/", escape="/"), P.day + dt.timedelta(1) > P.day),
    *(P.document["x"].as_integer() > 1, P.written["x"].as_string() == "1", sa.cast(P.written, JSONB).has_key("a")),
    *(P.uses.in_(sa.select(PlanRow.spent / PlanRow.seats)), sa.exists().where(PlanRow.spent / PlanRow.seats > 1)),
    *(related(P.plan, PlanRow.spent / PlanRow.seats > 1), P.uses == PLANS.scalar_subquery()),
    P.uses == sa.select(sa.func.sum(PlanRow.seats)).scalar_subquery(),
    sa.select((P.uses / P.least).label("share")).subquery().c.share > 1,
    *(P.share > 1, P.virtual > 1, sa.literal_column("uses / least") > 1, sa.text("uses / least > 1")),
    *(sa.not_(sa.or_(P.flag, P.uses / P.least > 1)), (P.uses / P.least).desc(), P.uses * 2 == 9),
    *(sa.func.to_tsvector("english", P.text).bool_op("@@")(SOUGHT), P.text.bool_op("@@")(SOUGHT)),
    P.lexemes.bool_op("@@")(sa.func.plainto_tsquery(P.text)),
    sa.cast(P.text, sa.Enum("a", name="letter")) == "a",
]


def test_what_may_fail_for_a_row() -> None:
    """Whatever is not seen to be certain; not what an index of all rows is over, which has been evaluated for each."""
    assert [str(each) for each in SAFE if may_fail(each)] == []
    assert [str(each) for each in FALLIBLE if not may_fail(each)] == []


def test_what_cannot_fail_stays_as_it_is() -> None:
    """So that an index answers it."""
    search = str(sa.select(SpaceRow.id).where(*Limits((SpaceRow.tenant == "a",)).inside([SpaceRow.spent == 4])))
    assert search.endswith("WHERE spaces.spent = :spent_1")
    (condition,) = Limits((SpaceRow.tenant == "a",)).inside([SpaceRow.spent + 1 == 4])
    assert str(condition) == "CASE WHEN (spaces.tenant = :tenant_1) THEN (spaces.spent + :spent_1 = :param_1) END"


class OwnerRow(Base):
    __tablename__ = "fallible_owners"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class PartRow(Base):
    __tablename__ = "fallible_parts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner_id: Mapped[int] = mapped_column(sa.ForeignKey("fallible_owners.id"))
    of: Mapped[str]
    share: Mapped[int]
    owner: Mapped[OwnerRow] = relationship(viewonly=True)


class WholeRow(Base):
    __tablename__ = "fallible_wholes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    number: Mapped[int]
    parts: Mapped[list[PartRow]] = relationship(
        primaryjoin=lambda: sa.cast(sa.orm.remote(sa.orm.foreign(PartRow.of)), sa.Integer) == WholeRow.id, viewonly=True
    )
    share: Mapped[list[PartRow]] = relationship(
        primaryjoin=lambda: 100 / sa.orm.remote(sa.orm.foreign(PartRow.share)) == WholeRow.number, viewonly=True
    )


@dataclass(frozen=True)
class Whole:
    id: int


@dataclass(frozen=True)
class WholePatch(Patch[WholeRow]):
    tenant: OptionalState[str] = OptionalState.nop()


class Wholes(Repository[WholeRow, Whole, int]): ...


@dataclass(frozen=True)
class OfOwner(SearchScope):
    """What is said of parts asks about their owners."""

    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [WholeRow.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        inside = sa.select(OwnerRow.id).where(OwnerRow.tenant == self.tenant)
        return {PartRow: [PartRow.owner_id.in_(inside)], OwnerRow: [OwnerRow.tenant == self.tenant]}


async def test_no_step_fails_by_what_a_relationship_computes_of_rows_outside(any_tables: WithTables) -> None:
    """A cast, a division in the condition of the relationship itself: of rows inside alone, in filters and orders."""
    async with any_tables(OwnerRow, PartRow, WholeRow) as db:
        wholes, scope = Wholes(db, resilience=None), OfOwner("a")
        async with db.begin_session() as session:
            await session.execute(sa.insert(OwnerRow), [{"id": 1, "tenant": "a"}, {"id": 9, "tenant": "b"}])
            both = [{"id": n, "tenant": "a", "number": 100 // (2 * n)} for n in (1, 2)]
            await session.execute(sa.insert(WholeRow), both)
            mine = [{"id": n, "owner_id": 1, "of": "1", "share": 2 * n} for n in (1, 2, 3)]
            theirs = [{"id": 100 + n, "owner_id": 9, "of": "zz", "share": 0} for n in range(200)]
            await session.execute(sa.insert(PartRow), [*mine, *theirs])
        for step, those in ((WholeRow.parts, [1]), (WholeRow.share, [1, 2])):
            asked = related(step, 100 / PartRow.share > 1)
            rest = [n for n in (1, 2) if n not in those]
            for condition, expected in ((related(step), those), (asked, those), (~asked, rest), (~related(step), rest)):
                assert [whole.id for whole in await wholes.search(scope, [condition])] == expected
                assert await wholes.exists(scope, [condition]) is bool(expected)
                assert (await wholes.purge_where([condition], scope=scope, dry_run=True)).rows == len(expected)
                patch = WholePatch(OptionalState.update("a"))
                assert await wholes.update_where([condition], patch, scope=scope) == len(expected)
            ordered = await wholes.search(scope, orders=[sa.case((asked, 0), else_=1), WholeRow.id])
            assert [whole.id for whole in ordered] == [*those, *rest]
