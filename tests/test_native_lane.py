"""The native lane: reads of one row that go to asyncpg itself, and give what SQLAlchemy would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from native import ONE, A, groups_of, hasty, lane_of, plain_of, renamed, taken, told
from rowsmith import (
    CommitOutcome,
    Condition,
    CursorBackwardPagination,
    CursorForwardPagination,
    Database,
    DatabaseUnavailable,
    DBSource,
    DeadlineExceeded,
    EntityNotFound,
    InvalidCursor,
    InvalidValue,
    OffsetPagination,
    OptionalState,
    PoolExhausted,
    Querier,
    Query,
    Repository,
    SearchScope,
    SeveralFound,
    Unscoped,
    commit_outcome,
)
from rowsmith.filters import Filter, NumberFilter, StringFilter
from rowsmith.testing import WithFaults, WithTables
from tenants import (
    CheckedScope,
    DomainRow,
    DomainScope,
    GroupCreate,
    GroupData,
    GroupId,
    GroupNotFound,
    GroupPatch,
    GroupRepository,
    GroupRow,
)

pytestmark = pytest.mark.of_the_native_lane

POOL = 5
RENAMED = GroupPatch(name=OptionalState.update("new"))


async def filled(db: Database) -> GroupRepository:
    """Give a repository with a group of each of two domains, once a connection is there."""
    return await groups_of(db, GroupCreate("a", "one"), GroupCreate("b", "two"))


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=POOL, max_overflow=0)
        yield await filled(db)
        await db.dispose()


SMALL = [GroupRow.size < 9]
FIRST = CursorForwardPagination(1)


class GroupFilter(Filter[GroupRow]):
    name: StringFilter | None = None
    size: NumberFilter | None = None
    note: StringFilter | None = None


ASKED = GroupFilter.model_validate(
    {"name": {"contains": "n", "i_equals": "ONE"}, "size": {"lt": 9, "not_equals": 7}, "note": {"is_null": True}}
)

Read = Callable[[GroupRepository], Awaitable[Any]]
READS: dict[str, Read] = {
    "get": lambda of: of.get(ONE),
    "get in a scope": lambda of: of.get(ONE, A),
    "find deleted": lambda of: of.find(ONE, include_deleted=True),
    "batch_get": lambda of: of.batch_get([GroupId(2), ONE, GroupId(2)]),
    "batch_get in a scope": lambda of: of.batch_get((ONE,), scope=A, include_deleted=True),
    "search": lambda of: of.search(),
    "page": lambda of: of.search(A, None, FIRST),
    "filtered": lambda of: of.search(A, ASKED, FIRST, orders=[GroupRow.name.desc(), GroupRow.size]),
    "grouped": lambda of: of.search(A, GroupFilter(OR=[ASKED, GroupFilter(NOT=ASKED)])),
    "last": lambda of: of.search(A, SMALL, CursorBackwardPagination(2), include_deleted=True),
    "skipped": lambda of: of.search(None, SMALL, OffsetPagination(1, 1), orders=[sa.func.lower(GroupRow.name)]),
    "query": lambda of: of.search(A, Query((GroupRow.size == 0,), (GroupRow.note,), FIRST)),
    "first": lambda of: of.first(None, SMALL, orders=[GroupRow.name.desc()]),
    "get_one": lambda of: of.get_one(A, ASKED),
    "find_one": lambda of: of.find_one(A),
    "count": lambda of: of.count(A, SMALL),
    "count all": lambda of: of.count(),
    "exists": lambda of: of.exists(A, ASKED),
    "exists by id": lambda of: of.exists(id=ONE),
    "exists by id in a scope": lambda of: of.exists(A, id=GroupId(0), include_deleted=True),
}
"""A call of each shape of each verb that the lane takes."""


async def test_one_round_trip(with_faults: WithFaults) -> None:
    """Nothing is sent but the statement that SQLAlchemy would send, word for word, without BEGIN and ROLLBACK."""
    async with with_faults(DomainRow, GroupRow) as (db, proxy):
        groups = await filled(db)
        plain = GroupRepository(Database(db.engine, native=False))
        for call in READS.values():
            await call(groups)
            proxy.seen.clear()
            assert await call(groups) == await call(plain)
            own, begin, theirs, end = proxy.seen
            assert (own, begin.split()[0], end.rstrip(";")) == (theirs, "BEGIN", "ROLLBACK")


async def pages_of(groups: GroupRepository, orders: Sequence[Any], others: GroupRepository) -> list[Any]:
    """Give all rows page by page, each asked for with the cursor of the other repository's page before."""
    seen, after = list[Any](), None
    while True:
        page = await groups.search(None, SMALL, CursorForwardPagination(2, after), orders=orders)
        seen += [page.items, page.has_next_page, page.has_previous_page, list(page.cursors)]
        if not page.has_next_page:
            return seen
        after = (await others.search(None, SMALL, CursorForwardPagination(2, after), orders=orders)).end_cursor


@pytest.mark.parametrize(
    "orders", [[], [GroupRow.note], [GroupRow.note.desc(), GroupRow.name], [sa.func.lower(GroupRow.name).desc()]]
)
async def test_pages_after_cursors(groups: GroupRepository, orders: Sequence[Any]) -> None:
    """A page and its cursors are the same by both ways, NULLs and columns that data has not among the keys."""
    await groups.batch_create([GroupCreate("a", f"n{number}", note=[None, "x"][number % 2]) for number in range(7)])
    plain = plain_of(groups)
    before = lane_of(groups.db).taken
    told = [await pages_of(each, orders, other) for each, other in ((groups, plain), (plain, groups))]
    assert told[0] == told[1]
    assert lane_of(groups.db).taken - before == 9


async def test_cursors_are_signed_when_they_are_looked_at(groups: GroupRepository) -> None:
    """With the database's keys; and one of another search is refused."""
    signing = GroupRepository(Database(groups.db.engine, cursor_keys=["secret"]), resilience=None)
    page = await signing.search(A, None, FIRST)
    assert await taken(signing, lambda: signing.search(A, None, CursorForwardPagination(1, page.end_cursor))) == 1
    for scope, cursor in ((DomainScope("b"), page.end_cursor), (A, (await groups.search(A, None, FIRST)).end_cursor)):
        with pytest.raises(InvalidCursor):
            await signing.search(scope, None, CursorForwardPagination(1, cursor))


async def test_only_rows(groups: GroupRepository) -> None:
    """One that is not there and one of several are told of as ever."""
    assert await taken(groups, lambda: groups.find_one(A, [GroupRow.size == 5])) == 1
    with pytest.raises(GroupNotFound) as caught:
        await groups.get_one(A, [GroupRow.size == 5])
    assert (caught.value.error_code, caught.value.missing) == ("group_get-one_not-found", ())
    for call in (groups.get_one, groups.find_one):
        with pytest.raises(SeveralFound):
            await call(None, SMALL)
    assert await groups.first(None, [GroupRow.size == 5]) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda of, source: source.read(of.count, orders=[GroupRow.name]),
        lambda of, source: source.read(of.count, None, None, None),
        lambda of, source: source.read(of.search, None, None, None, ()),
        lambda of, source: source.read(of.search, None, scope=None),
        lambda of, source: source.read(of.search, wrong=1),
    ],
)
async def test_arguments_that_a_verb_does_not_take(groups: GroupRepository, call: Any) -> None:
    """They are refused as ever."""
    with pytest.raises((TypeError, InvalidValue)):
        await call(groups.db_source.batch_querier, groups.db_source)


async def test_values_of_filters_that_do_not_fit(groups: GroupRepository) -> None:
    """Each call's are looked at, and not only those of the first."""
    assert await groups.search(None, [sa.or_(GroupRow.size == 0, GroupRow.size == 1)])
    with pytest.raises(InvalidValue):
        await groups.search(None, [sa.or_(GroupRow.size == 0, GroupRow.size == 2**70)])


async def test_found_and_not_found(groups: GroupRepository) -> None:
    """Get raises the domain's error with its code, find gives None; both by the lane."""
    assert await taken(groups, lambda: groups.get(ONE)) == 1
    assert await taken(groups, lambda: groups.find(ONE)) == 1
    assert await groups.find(GroupId(99)) is None
    with pytest.raises(GroupNotFound) as caught:
        await groups.get(GroupId(99))
    assert (caught.value.error_code, caught.value.missing) == ("group_get_not-found", (99,))
    assert "99" not in repr(caught.value)


async def test_many_by_their_keys(groups: GroupRepository) -> None:
    """In the order of the ids, each as often as it is given; those that are not there are named, and no others."""
    assert [group.id for group in await groups.batch_get([GroupId(2), ONE, GroupId(2)])] == [2, 1, 2]
    with pytest.raises(GroupNotFound) as caught:
        await groups.batch_get([GroupId(98), ONE, GroupId(2)], scope=A)
    assert (caught.value.error_code, caught.value.missing) == ("group_batch-get_not-found", (98, 2))
    for ids in ([], [2**70], ["1"], [None], [True], {ONE}):
        assert await told(groups.batch_get(ids)) == await told(plain_of(groups).batch_get(ids))  # type: ignore[arg-type]


async def test_another_tenants_row_is_as_if_absent(groups: GroupRepository) -> None:
    """The identical answer by the lane, and the owner's row to the owner, whichever of them asked first."""
    for scope in (DomainScope("b"), DomainScope("a"), DomainScope("b")):
        told = []
        for id in (ONE, GroupId(99)):
            try:
                told.append((await groups.get(id, scope)).domain_name)
            except EntityNotFound as exc:
                told.append((type(exc), str(exc), exc.error_code))
        assert (told[0] == "a") is (scope.domain_name == "a")
        assert scope.domain_name == "a" or told[0] == told[1]
    assert lane_of(groups.db).taken >= 6


async def test_deleted_rows(groups: GroupRepository) -> None:
    """They are hidden by the lane, and shown where they are asked for."""
    await groups.delete(ONE)
    assert await groups.find(ONE) is None
    assert await taken(groups, lambda: groups.get(ONE, include_deleted=True)) == 1
    assert await groups.find(ONE) is None


# What is not taken


@contextmanager
def listening(target: Any, name: str) -> Iterator[None]:
    def listener(*args: Any, **kwargs: Any) -> None: ...

    event.listen(target, name, listener)
    try:
        yield
    finally:
        event.remove(target, name, listener)


ENGINE_EVENTS = [
    *("before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute"),
    *("begin", "rollback", "engine_connect", "handle_error", "do_execute"),
]


@pytest.mark.parametrize("name", ENGINE_EVENTS)
async def test_who_listens_to_an_engine_sees_every_read(groups: GroupRepository, name: str) -> None:
    """With a listener SQLAlchemy sends it; without it again, the lane does."""
    with listening(groups.db.engine.sync_engine, name):
        assert await taken(groups, lambda: groups.get(ONE)) == 0
        assert lane_of(groups.db).refused[name] == 1
    assert await taken(groups, lambda: groups.get(ONE)) == 1


@pytest.mark.parametrize("name", ["do_orm_execute", "after_begin", "after_transaction_end", "after_soft_rollback"])
async def test_who_listens_to_all_sessions_sees_every_read(groups: GroupRepository, name: str) -> None:
    """A listener on SQLAlchemy's class of sessions is one on rowsmith's."""
    with listening(Session, name):
        assert await taken(groups, lambda: groups.get(ONE)) == 0
    assert await taken(groups, lambda: groups.get(ONE)) == 1


async def test_who_listens_to_all_engines_sees_every_read(groups: GroupRepository) -> None:
    """A listener on the class of engines, as tracers have, is one on each."""
    with listening(sa.Engine, "before_cursor_execute"):
        assert await taken(groups, lambda: groups.get(ONE)) == 0
    assert await taken(groups, lambda: groups.get(ONE)) == 1


async def test_echo(groups: GroupRepository) -> None:
    """A statement that is to be logged is sent by SQLAlchemy, which logs it."""
    groups.db.engine.echo = True
    assert await taken(groups, lambda: groups.get(ONE)) == 0
    groups.db.engine.echo = False
    assert await taken(groups, lambda: groups.get(ONE)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"execution_options": {"schema_translate_map": {None: "public"}}},
        {"isolation_level": "SERIALIZABLE"},
        {"connect_args": {"statement_cache_size": 0}},
        {"connect_args": {"prepared_statement_name_func": lambda: f"own_{id(object())}"}},
    ],
    ids=["schema_translate_map", "isolation_level", "no names", "own names"],
)
async def test_engines_that_are_told_otherwise(with_tables: WithTables, options: dict[str, Any]) -> None:
    """Where the engine chooses schemas, isolation or names of statements, SQLAlchemy sends it."""
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, **options)
        groups = await filled(db)
        assert (await groups.get(ONE, DomainScope("a"))).name == "one"
        assert lane_of(db).taken == 0
        await db.dispose()


async def test_settings_of_the_session_hold(with_tables: WithTables) -> None:
    """A statement by itself is under the defaults that its session has, and under its time limit."""
    options = {"default_transaction_isolation": "serializable", "statement_timeout": "200ms"}
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, connect_args={"server_settings": options})
        groups = await filled(db)
        assert await taken(groups, lambda: groups.get(ONE)) == 1
        async with made.begin_session() as db_sess:
            await db_sess.execute(sa.text("LOCK TABLE groups"))
            with pytest.raises(DeadlineExceeded) as caught:
                await groups.get(ONE)
        assert (caught.value.error_code.partition("_deadline")[0], caught.value.__context__) == ("group_get", None)
        assert await taken(groups, lambda: groups.get(ONE)) == 1
        await db.dispose()


async def test_inside_of_a_session(groups: GroupRepository) -> None:
    """What was written in the block and not committed is read in it."""
    renamed = GroupPatch(name=OptionalState.update("new"))
    for opened in (groups.db.begin_session, groups.db.unit_of_work):
        async with opened():
            assert await taken(groups, lambda: groups.update(ONE, renamed)) == 1
            assert await taken(groups, lambda: groups.get(ONE)) == 1
            assert (await groups.get(ONE)).name == "new"


async def test_a_task_that_has_a_connection_already(with_tables: WithTables) -> None:
    """It is told that it would wait for itself, as ever."""
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=1, max_overflow=0)
        groups = await filled(db)
        async with aclosing(groups.stream()) as stream:
            await anext(stream)
            with pytest.raises(PoolExhausted):
                await groups.get(ONE)
        await db.dispose()


def test_without_the_lane(database: Database) -> None:
    """It is turned off for a database, and there is none where the driver is another."""
    assert Database(database.engine, native=False).native is None
    assert Database.from_url("sqlite://").native is None
    assert Database.from_url(database.engine.url, native=False).native is None


@dataclass(frozen=True)
class Given(SearchScope):
    """A scope of conditions that are made anew each time; it counts how often it was asked."""

    make: Callable[[], Any]
    asked: list[int]

    def to_conditions(self) -> Sequence[Condition]:
        self.asked.append(1)
        return [self.make()]


ODD = [
    lambda: sa.func.lower(GroupRow.domain_name) == "a",
    lambda: GroupRow.domain_name.in_(["a"]),
    lambda: GroupRow.domain_name.like("a"),
    lambda: sa.or_(GroupRow.domain_name == "a", GroupRow.size == 7),
    lambda: sa.literal_column("domain_name = 'a'", sa.Boolean),
    lambda: GroupRow.domain_name == sa.bindparam("mine", "a"),
    lambda: GroupRow.domain_name == sa.bindparam(None, callable_=lambda: "a"),
    lambda: GroupRow.domain_name == sa.literal_column("'a'"),
    lambda: GroupRow.domain_name.op("=")("a"),
    lambda: lambda: GroupRow.domain_name == "a",
    lambda: GroupRow.domain_name == sa.select(sa.literal("a")).scalar_subquery(),
    lambda: GroupRow.size == 0.0,
    lambda: GroupRow.note.is_(None),
    lambda: GroupRow.domain_name == sa.type_coerce("a", sa.Text()),
]


@pytest.mark.parametrize("number", range(len(ODD)))
async def test_conditions_that_have_no_shape(groups: GroupRepository, number: int) -> None:
    """They go SQLAlchemy's way, and the scope is asked once for all that."""
    scope = Given(ODD[number], [])
    assert await taken(groups, lambda: groups.get(ONE, scope)) == 0
    assert len(scope.asked) == 1
    assert (await groups.get(ONE, scope)).name == "one"


@pytest.mark.parametrize(
    "make, holds",
    [
        (lambda: GroupRow.domain_name != "b", True),
        (lambda: GroupRow.size < 1, True),
        (lambda: GroupRow.size >= 1, False),
        (lambda: GroupRow.__table__.c.domain_name == "a", True),
        (lambda: GroupRow.id > 1, False),
    ],
)
async def test_comparisons(groups: GroupRepository, make: Callable[[], Any], holds: bool) -> None:
    """Comparisons of columns with values are taken, and each is its own plan."""
    scope = Given(make, [])
    for _ in range(2):
        assert await taken(groups, lambda: groups.find(ONE, scope)) == 1
        assert (await groups.find(ONE, scope) is not None) is holds
    assert len(scope.asked) == 4


@dataclass(frozen=True)
class Flipping(SearchScope):
    """Conditions whose number and kind differ from call to call."""

    rounds: list[Any]

    def to_conditions(self) -> Sequence[Condition]:
        return self.rounds.pop(0)


async def test_a_scope_that_says_something_else_each_time(groups: GroupRepository) -> None:
    """What is said is what holds, at each call."""
    a, b, small = GroupRow.domain_name == "a", GroupRow.domain_name == "b", GroupRow.size == 0
    scope = Flipping([[a], [b], [a, small], [small, a], [b, small], [a, a], [a]])
    assert [await groups.find(ONE, scope) is not None for _ in range(7)] == [True, False, True, True, False, True, True]


async def test_scopes_of_more_than_conditions(groups: GroupRepository) -> None:
    """One that has checks, and one that is logged, go SQLAlchemy's way."""
    with pytest.raises(EntityNotFound, match="no such domain"):
        await groups.get(ONE, CheckedScope("a"))
    assert await taken(groups, lambda: groups.get(ONE, Unscoped("a test"))) == 0


class Asking(Querier[GroupRow, GroupData]):
    def statement(self, *args: Any, **kwargs: Any) -> Any:
        return super().statement(*args, **kwargs).where(GroupRow.size == 7)


async def test_verbs_that_were_changed(groups: GroupRepository) -> None:
    """An application's own statement, or a function around the verb, is not passed by."""
    source, seen = groups.db_source, list[int]()

    @wraps(source.querier.query)
    async def around(*args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        return await source.querier.query(*args, **kwargs)

    assert await taken(groups, lambda: source.read(around, ONE)) == 0
    assert seen == [1]
    with pytest.raises(EntityNotFound):
        await source.read(Asking(source.entity).query, ONE)
    assert await taken(groups, lambda: source.read(source.querier.query, ONE, for_update=False)) == 0
    assert await taken(groups, lambda: source.read(source.querier.query, ONE)) == 1


async def test_whole_rows(groups: GroupRepository) -> None:
    """Objects of the ORM are made by SQLAlchemy."""
    rows = DBSource(groups.db, GroupRow)
    assert await taken(groups, lambda: rows.read(rows.querier.query, ONE)) == 0


class Base(DeclarativeBase):
    pass


class SecretRow(Base):
    __tablename__ = "native_secrets"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]


@dataclass(frozen=True)
class SecretData:
    id: int
    tenant: str


class SecretRepository(Repository[SecretRow, SecretData, int]):
    pass


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE native_secrets ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE native_secrets RENAME TO native_base; CREATE VIEW native_secrets AS SELECT * FROM native_base",
    ],
    ids=["policies", "a view"],
)
async def test_tables_that_may_call_functions(with_tables: WithTables, statement: str) -> None:
    """Reading a view or a table with policies runs functions, which could write: PostgreSQL is told READ ONLY."""
    async with with_tables(SecretRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text("INSERT INTO native_secrets VALUES (1, 'a')"))
            for each in statement.split(";"):
                await db_sess.execute(sa.text(each))
        secrets, before = SecretRepository(db), lane_of(db).taken
        assert [await secrets.get(1) for _ in range(3)] == [SecretData(1, "a")] * 3
        assert (lane_of(db).taken - before, lane_of(db).refused["table"] >= 2) == (0, True)
        if "VIEW" in statement:
            async with db.begin_session() as db_sess:
                await db_sess.execute(sa.text("DROP VIEW native_secrets"))
                await db_sess.execute(sa.text("ALTER TABLE native_base RENAME TO native_secrets"))


# What goes wrong


async def test_many_getters_on_a_small_pool(groups: GroupRepository) -> None:
    """A hundred at once wait for five connections, and each gets its own row; all connections are given back."""
    ids = [GroupId(1 + number % 2) for number in range(100)]
    found = await asyncio.gather(*(groups.get(id, DomainScope("ab"[id - 1])) for id in ids))
    assert [group.id for group in found] == ids
    pool: Any = groups.db.engine.sync_engine.pool
    assert pool.checkedout() == 0


@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_at_each_step(groups: GroupRepository, steps: int) -> None:
    """Wherever a read is cancelled, no connection is lost or used again with an answer still to come."""
    pool: Any = groups.db.engine.sync_engine.pool
    for id in (1, 2, 1, 2):
        scope = DomainScope("ab"[id - 1])
        work = groups.get(GroupId(id), scope) if steps % 2 else groups.search(scope, SMALL, FIRST)
        task = asyncio.ensure_future(work)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert pool.checkedout() == 0
        assert (await groups.get(GroupId(3 - id))).id == 3 - id


async def test_a_lost_answer(with_faults: WithFaults) -> None:
    """The error is the domain's and says that nothing was committed; the next read has a connection that lives."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0) as (db, proxy):
        groups = await filled(db)
        for name in ("get", "search", "count"):
            call = READS[name]
            await call(groups)
            proxy.drop_answer("SELECT")
            with pytest.raises(DatabaseUnavailable) as caught:
                await call(groups)
            assert (caught.value.facts.domain, caught.value.facts.operation) == ("group", name)
            assert (caught.value.__cause__, caught.value.__context__) == (None, None)
            assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
            assert await taken(groups, lambda: groups.get(ONE)) == 1
        proxy.cut()
        await asyncio.sleep(0.1)  # until the client's socket knows
        assert await taken(groups, lambda: groups.get(ONE)) == 1


class Away(Exception):
    pass


class AwayGroups(GroupRepository):
    violations = {DatabaseUnavailable: Away}


@pytest.mark.parametrize("native", [True, False])
async def test_a_lost_connection_has_the_domains_own_error(with_faults: WithFaults, native: bool) -> None:
    """A statement's, by either lane, a batch's and a stream's too; one that is not to be had is not of any call."""
    async with with_faults(DomainRow, GroupRow) as (db, proxy):
        await filled(db)
        groups = AwayGroups(Database(db.engine, native=native), resilience=None)
        calls: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
            ("SELECT", lambda: groups.get(ONE)),
            ("UPDATE groups", lambda: groups.update(ONE, renamed("new"))),
            ("BEGIN", lambda: groups.update(ONE, renamed("new"))),
            ("INSERT", lambda: groups.create(GroupCreate("a", "new"))),
            ("INSERT", lambda: groups.batch_create([GroupCreate("a", "new")])),
            ("SELECT groups", lambda: anext(aiter(groups.stream()))),
        ]
        for statement, call in calls:
            proxy.drop_answer(statement)
            with pytest.raises(Away):
                await call()
        await proxy.refuse()
        proxy.cut()
        for _, call in calls:
            with pytest.raises(DatabaseUnavailable):
                await call()
        await proxy.accept()


async def test_a_server_that_is_away(with_faults: WithFaults) -> None:
    """No connection is to be had: the error is typed, and carries nothing of the driver's."""
    async with with_faults(DomainRow, GroupRow) as (db, proxy):
        groups = await filled(db)
        await proxy.refuse()
        proxy.cut()
        with pytest.raises(DatabaseUnavailable) as caught:
            await groups.get(ONE)
        assert caught.value.error_code.startswith("group_get_")
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        await proxy.accept()
        assert (await groups.get(ONE)).name == "one"


async def test_a_deadline(with_faults: WithFaults) -> None:
    """A read by the lane is over in time, and its connection is thrown away."""
    async with hasty(with_faults) as (groups, proxy):
        before = lane_of(groups.db).taken
        proxy.hold_answer("SELECT groups")
        with pytest.raises(DeadlineExceeded) as caught:
            await groups.get(ONE)
        assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
        assert lane_of(groups.db).taken == before
        patient = GroupRepository(Database(groups.db.engine), resilience=None)
        assert await taken(patient, lambda: patient.get(ONE)) == 1


@pytest.mark.parametrize("name", ["fetch", "_execute", "execute"])
async def test_who_wraps_the_driver_sees_every_statement(
    groups: GroupRepository, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As instrumentation of asyncpg does; and so does who listens to the queries of a connection."""
    own: Any = vars(asyncpg.Connection)[name]
    seen = list[str]()

    @wraps(own)
    async def wrapper(driver: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        seen.append(query)
        return await own(driver, query, *args, **kwargs)

    await groups.get(ONE)
    await groups.update(ONE, RENAMED)
    monkeypatch.setattr(asyncpg.Connection, name, wrapper)
    await groups.get(ONE)
    await groups.update(ONE, RENAMED)
    words = [query.split()[0] for query in seen]
    assert words == (["BEGIN;", "COMMIT;"] if name == "execute" else ["SELECT", "UPDATE"])


async def test_who_listens_to_queries_sees_every_statement(groups: GroupRepository) -> None:
    """As asyncpg tells them, on the connection that they are sent on."""
    await groups.update(ONE, RENAMED)
    seen = list[str]()
    async with groups.db.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
    driver.add_query_logger(lambda record: seen.append(record.query.split()[0]))
    await groups.get(ONE)
    await groups.update(ONE, RENAMED)
    await asyncio.sleep(0)
    assert seen == ["SELECT", "BEGIN;", "UPDATE", "COMMIT;"]


async def test_a_table_that_is_altered(groups: GroupRepository) -> None:
    """Statements that were prepared before are prepared anew, on each connection, without an error."""
    ids = [GroupId(1)] * 20
    await asyncio.gather(*map(groups.get, ids))
    for kind in ("BIGINT", "INTEGER"):
        async with groups.db.begin_session() as db_sess:
            await db_sess.execute(sa.text(f"ALTER TABLE groups ALTER size TYPE {kind}"))
        found = await asyncio.gather(*map(groups.get, ids))
        assert {group.size for group in found} == {0}
        assert [await groups.count(A, SMALL) for _ in ids] == [1] * 20
        assert [item.size for _ in ids for item in await groups.search(A, SMALL)] == [0] * 20
    assert await taken(groups, lambda: groups.get(ONE)) == 1


async def test_a_table_that_is_dropped(with_tables: WithTables) -> None:
    """The error is SQLAlchemy's way's, with domain and operation."""
    async with with_tables(SecretRow) as made:
        secrets, plain = SecretRepository(made), SecretRepository(Database(made.engine, native=False))
        async with made.begin_session() as db_sess:
            await db_sess.execute(sa.text("INSERT INTO native_secrets VALUES (1, 'a')"))
        assert await secrets.get(1) == await secrets.get(1) == SecretData(1, "a")
        async with made.begin_session() as db_sess:
            await db_sess.execute(sa.text("DROP TABLE native_secrets"))
        assert await told(secrets.get(1)) == await told(plain.get(1))
        async with made.begin_session() as db_sess:
            await db_sess.run_sync(lambda sync: Base.metadata.create_all(sync.connection()))
