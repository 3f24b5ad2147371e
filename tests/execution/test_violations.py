"""Real refusals of real databases, as their callers meet them."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INET, ExcludeConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import (
    CheckViolation,
    Creator,
    Database,
    DatabaseFault,
    DeadlineExceeded,
    DeadlockDetected,
    EntityAlreadyExists,
    ErrorFacts,
    ExclusionViolation,
    InvalidValue,
    LockNotAvailable,
    NotNullViolation,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    RepositoryError,
    SerializationFailure,
    Spec,
    StillReferenced,
    TriState,
)
from rowsmith.testing import WithTables, tables
from tenants import (
    Base,
    GroupCreate,
    GroupHasMembers,
    GroupId,
    GroupNameTaken,
    GroupPatch,
    GroupRepository,
    GroupRow,
    MemberCreate,
    MemberPatch,
    MemberRepository,
    groups_in,
    stored,
)

EMAIL = "jane.doe@example.org"


class NodeRow(Base):
    """A tree, with every kind of constraint both databases know."""

    __tablename__ = "nodes"
    __table_args__ = (
        sa.UniqueConstraint("email", name="uq_nodes_email"),
        sa.CheckConstraint("rank > 0", name="ck_rank"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("nodes.id", name="fk_nodes_parent"))
    email: Mapped[str] = mapped_column(server_default="x")
    code: Mapped[int | None] = mapped_column(unique=True)
    rank: Mapped[int] = mapped_column(server_default="1")
    later_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("nodes.id", name="fk_nodes_later", deferrable=True, initially="DEFERRED")
    )


@dataclass(frozen=True)
class NodeCreate(Spec[NodeRow]):
    id: int
    email: Any
    parent_id: int | None = None
    code: int | None = None
    rank: int = 1
    later_id: int | None = None


@dataclass(frozen=True)
class NodePatch(Patch[NodeRow]):
    id: OptionalState[int] = OptionalState.nop()
    parent_id: TriState[int] = TriState.nop()
    rank: OptionalState[int] = OptionalState.nop()


class CodeTaken(EntityAlreadyExists):
    pass


class LaterMissing(ReferenceNotFound):
    pass


class NodeRepository(Repository[NodeRow]):
    violations = {"nodes_code_key": CodeTaken, "fk_nodes_later": LaterMissing}


@pytest.fixture
async def nodes(any_tables: WithTables) -> AsyncIterator[NodeRepository]:
    async with any_tables(NodeRow) as db:
        made = NodeRepository(db)
        await made.create(NodeCreate(1, EMAIL, code=7))
        await made.create(NodeCreate(2, "two", parent_id=1))
        yield made


async def failure_of(call: Any) -> RepositoryError:
    with pytest.raises(RepositoryError) as caught:
        await call
    return caught.value


async def test_unique(nodes: NodeRepository) -> None:
    """Both backends name the constraint, its table and columns; an unnamed one has PostgreSQL's name on both."""
    error = await failure_of(nodes.create(NodeCreate(3, EMAIL)))
    assert type(error) is EntityAlreadyExists
    assert (error.facts.constraint, error.facts.table, error.facts.columns) == ("uq_nodes_email", "nodes", ("email",))
    assert error.error_code == "node_create_already-exists"
    assert type(await failure_of(nodes.create(NodeCreate(3, "y", code=7)))) is CodeTaken
    key = await failure_of(nodes.create(NodeCreate(1, "y")))
    assert (type(key), key.facts.constraint, key.facts.columns) == (EntityAlreadyExists, "nodes_pkey", ("id",))


async def test_not_null_is_not_mistaken_for_unique(nodes: NodeRepository) -> None:
    """A column that is unique and NOT NULL fails as what it was refused for."""
    error = await failure_of(nodes.create(NodeCreate(3, None)))
    assert type(error) is NotNullViolation
    assert (error.facts.constraint, error.facts.columns) == (None, ("email",))


async def test_check(nodes: NodeRepository) -> None:
    """A CHECK is named on insert and on update."""
    for call in (nodes.create(NodeCreate(3, "z", rank=0)), nodes.update(2, NodePatch(rank=OptionalState.update(-1)))):
        error = await failure_of(call)
        assert (type(error), error.facts.constraint) == (CheckViolation, "ck_rank")


async def test_a_self_referencing_foreign_key_from_both_ends(nodes: NodeRepository) -> None:
    """Pointing nowhere, being removed while pointed at, and changing a key that others point at."""
    assert type(await failure_of(nodes.create(NodeCreate(3, "z", parent_id=9)))) is ReferenceNotFound
    assert type(await failure_of(nodes.update(2, NodePatch(parent_id=TriState.update(9))))) is ReferenceNotFound
    assert type(await failure_of(nodes.purge(1))) is StillReferenced
    assert type(await failure_of(nodes.update(1, NodePatch(id=OptionalState.update(5))))) is StillReferenced


async def test_a_deferred_constraint_fails_at_commit_as_the_calls_own_error(nodes: NodeRepository) -> None:
    """COMMIT's refusal is the error of the call that caused it, and nothing is there afterwards."""
    error = await failure_of(nodes.create(NodeCreate(3, "z", later_id=9)))
    assert isinstance(error, ReferenceNotFound)
    assert error.error_code == "node_create_reference-not-found"
    await nodes.create(NodeCreate(3, "z", later_id=2))
    error = await failure_of(nodes.purge(2))
    assert type(error) is StillReferenced  # and not what is declared for the other end of the key
    with pytest.raises(ReferenceNotFound):
        async with nodes.db.unit_of_work():
            await nodes.create(NodeCreate(4, "q", later_id=9))
            await nodes.update(1, NodePatch(rank=OptionalState.update(2)))
    assert await nodes.count() == 3
    async with nodes.db.unit_of_work():
        await nodes.create(NodeCreate(4, "q", later_id=5))
        await nodes.create(NodeCreate(5, "r"))
    assert await nodes.count() == 5


async def test_a_foreign_key_between_tables(any_tables: WithTables) -> None:
    """The referenced side meets StillReferenced, or what it declares for a constraint of the other table."""
    async with groups_in(any_tables) as groups:
        members = MemberRepository(groups.db)
        assert type(await failure_of(members.create(MemberCreate(99, "x")))) is ReferenceNotFound
        await members.create(MemberCreate(1, "x"))
        move = MemberPatch(group_id=OptionalState.update(99))
        assert type(await failure_of(members.update((1, "x"), move))) is ReferenceNotFound
        purged = await failure_of(groups.purge(GroupId(1)))
        assert type(purged) is GroupHasMembers
        assert purged.error_code == "group_purge_still-referenced"
        assert (purged.facts.constraint, purged.facts.table) == ("fk_members_group", "members")
        missing = await failure_of(members.create(MemberCreate(99, "x")))
        assert (missing.facts.constraint, missing.facts.columns) == ("fk_members_group", ("group_id",))


class RestrictRow(Base):
    __tablename__ = "restricted"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    node_id: Mapped[int] = mapped_column(sa.ForeignKey("nodes.id", ondelete="RESTRICT"))


async def test_restrict(any_tables: WithTables) -> None:
    """ON DELETE RESTRICT (23001 since PostgreSQL 18) reads the same."""
    async with any_tables(NodeRow, RestrictRow) as db:
        nodes = NodeRepository(db)
        await nodes.create(NodeCreate(1, "x"))
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(RestrictRow).values(id=1, node_id=1))
        assert type(await failure_of(nodes.purge(1))) is StillReferenced


class BookingRow(Base):
    __tablename__ = "bookings"
    __table_args__ = (ExcludeConstraint(("during", "&&"), name="ex_bookings", using="gist"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    during: Mapped[Any] = mapped_column(sa.dialects.postgresql.INT4RANGE)
    address: Mapped[str | None] = mapped_column(INET)


@dataclass(frozen=True)
class BookingCreate(Spec[BookingRow]):
    during: Any = None
    address: Any = None


async def test_exclusion_and_values_that_only_the_driver_can_judge(with_tables: WithTables) -> None:
    """An exclusion constraint is named; a value the driver cannot encode is InvalidValue, without the value."""
    from sqlalchemy.dialects.postgresql import Range

    async with with_tables(BookingRow) as db:
        bookings = Creator(BookingRow)
        async with db.begin_session() as db_sess:
            await bookings.create(db_sess, BookingCreate(Range(1, 5)))
        for spec, kind in [
            (BookingCreate(Range(2, 3)), ExclusionViolation),
            (BookingCreate(Range(7, 8), "secret"), InvalidValue),
            (BookingCreate(Range(2**40, 2**41)), InvalidValue),
            (BookingCreate("secret"), InvalidValue),
        ]:
            with pytest.raises(kind) as caught:
                async with db.begin_session() as db_sess:
                    await bookings.create(db_sess, spec)
            assert "secret" not in repr(caught.value)
            assert caught.value.facts.domain == "booking"


async def test_serialization_failure(with_tables: WithTables) -> None:
    """Two snapshots that both write the row: the second is told to run again."""
    async with groups_in(with_tables) as groups:
        engine = groups.db.engine.execution_options(isolation_level="REPEATABLE READ")
        async with AsyncSession(engine) as db_sess:
            await groups.db_source.querier.query(db_sess, 1)
            await groups.update(GroupId(1), GroupPatch(size=OptionalState.update(5)))
            with pytest.raises(SerializationFailure):
                await groups.db_source.updater.update(db_sess, 1, GroupPatch(size=OptionalState.update(6)))


async def test_deadlock(with_tables: WithTables) -> None:
    """Two units that lock in opposite order: one is broken with DeadlockDetected, the other commits."""
    async with groups_in(with_tables) as groups:
        both = asyncio.Barrier(2)

        async def lock(first: int, second: int) -> None:
            async with groups.db.unit_of_work() as unit:
                await unit.session.execute(sa.text("SET LOCAL deadlock_timeout = '20ms'"))
                for id in (first, second):
                    await groups.update(GroupId(id), GroupPatch(size=OptionalState.update(first)))
                    if id == first:
                        await both.wait()

        results = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["DeadlockDetected", "NoneType"]
        assert any(isinstance(result, DeadlockDetected) for result in results)


async def test_locks_and_time_limits(with_tables: WithTables) -> None:
    """lock_timeout is LockNotAvailable, statement_timeout DeadlineExceeded, NOWAIT as the former."""
    async with groups_in(with_tables) as groups, Database(groups.db.engine).begin_session() as holder:
        await groups.db_source.querier.query(holder, 1, for_update=True)
        for setting, kind in [("lock_timeout", LockNotAvailable), ("statement_timeout", DeadlineExceeded)]:
            with pytest.raises(kind) as caught:
                async with groups.db.unit_of_work() as unit:
                    await unit.session.execute(sa.text(f"SET LOCAL {setting} = '20ms'"))
                    await groups.update(GroupId(1), GroupPatch(size=OptionalState.update(1)))
            assert caught.value.facts.domain == "group"
        with pytest.raises(LockNotAvailable):
            async with groups.db.begin_session() as db_sess:
                await db_sess.execute(sa.select(GroupRow).with_for_update(nowait=True))


async def test_a_drivers_time_limit(with_tables: WithTables) -> None:
    """The driver's command_timeout is a bare TimeoutError; through a session it is DeadlineExceeded."""
    async with groups_in(with_tables) as groups:
        url = groups.db.engine.url
        hasty = Database.from_url(url, connect_args={"command_timeout": 0.05})
        with pytest.raises(DeadlineExceeded):
            async with hasty.begin_session() as db_sess:
                await db_sess.execute(sa.text("SELECT pg_sleep(5)"))
        await hasty.dispose()


async def test_a_fault_of_the_statement(any_tables: WithTables) -> None:
    """Wrong SQL is DatabaseFault and says what PostgreSQL says, where that quotes nothing."""
    async with groups_in(any_tables) as groups:
        for sql in ("SELECT no_such_column FROM groups", "SELEC 'secret'"):
            with pytest.raises(DatabaseFault) as caught:
                async with groups.db.begin_session() as db_sess:
                    await db_sess.execute(sa.text(sql))
            assert "secret" not in str(caught.value)
            if groups.db.engine.dialect.name == "postgresql" and "column" in sql:
                assert "no_such_column" in str(caught.value)


async def test_a_stored_value_of_no_use(any_tables: WithTables) -> None:
    """A row that its mapping cannot read (an enum's member that is gone) is InvalidValue, without the value."""

    class Loose(sa.types.TypeDecorator[str]):
        impl = sa.String
        cache_ok = True

        def process_result_value(self, value: Any, dialect: Any) -> str:
            raise LookupError(f"{value!r} is no member")

    class OddBase(sa.orm.DeclarativeBase):
        pass

    class OddRow(OddBase):
        __tablename__ = "odd"

        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[str] = mapped_column(Loose)

    class OddRepository(Repository[OddRow]):
        pass

    async with any_tables(OddRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(OddRow).values(id=1, value="secret"))
        for call in (OddRepository(db).get(1), OddRepository(db).search()):
            error = await failure_of(call)
            assert type(error) is InvalidValue
            assert error.facts.domain == "odd"
            assert_says_nothing(error, "secret")


def assert_says_nothing(error: BaseException, secret: str) -> None:
    """Assert that a value is in no part of an error that a log or a person could meet."""
    printed = "".join(traceback.format_exception(error))
    assert secret not in printed + str(error) + repr(error) + repr(vars(error))
    link: BaseException | None = error
    while link is not None:
        assert secret not in str(link) + repr(link.args) + repr(getattr(link, "detail", ""))
        link = link.__cause__ or link.__context__


async def test_no_value_in_what_a_repository_raises(nodes: NodeRepository, caplog: pytest.LogCaptureFixture) -> None:
    """A duplicate e-mail is in no message, repr, traceback, cause, context or log."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it prints each statement's parameters
        error = await failure_of(nodes.create(NodeCreate(3, EMAIL)))
        logging.getLogger("test").error("failed", exc_info=error)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert_says_nothing(error, EMAIL)
    assert EMAIL not in caplog.text


async def test_no_value_in_the_log_of_statements(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """An engine that is told to log its statements hides their parameters."""
    async with tables(database, NodeRow):
        talking = Database.from_url(database.engine.url, echo=True)
        nodes = NodeRepository(talking)
        await nodes.create(NodeCreate(1, EMAIL))
        await failure_of(nodes.create(NodeCreate(2, EMAIL)))
        await nodes.search(None, [NodeRow.email == EMAIL])
        await talking.dispose()
    assert "INSERT INTO nodes" in caplog.text
    assert EMAIL not in caplog.text


@pytest.mark.parametrize("how", ["session", "unit", "flush", "wrapped", "while handling", "cancelled", "nested"])
async def test_no_value_in_what_a_session_raises(
    nodes: NodeRepository, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """The same for an application's own statements, in every kind of block, even wrapped by its own error."""
    db = nodes.db
    duplicate = sa.insert(NodeRow).values(id=3, email=EMAIL)
    with pytest.raises(BaseException) as caught, caplog.at_level(logging.INFO):  # noqa: PT011 - three kinds
        if how == "session":
            async with db.begin_session() as db_sess:
                await db_sess.execute(duplicate)
        elif how == "unit":
            async with db.unit_of_work() as unit:
                await unit.session.execute(duplicate)
        elif how == "flush":
            async with db.begin_session() as db_sess:
                db_sess.add(NodeRow(id=3, email=EMAIL))
        elif how == "nested":
            async with db.unit_of_work() as unit, db.unit_of_work():
                await unit.session.execute(duplicate)
        else:
            async with db.begin_session() as db_sess:
                try:
                    await db_sess.execute(duplicate)
                except sa.exc.IntegrityError as exc:
                    if how == "cancelled":
                        raise asyncio.CancelledError  # noqa: B904 - its context is what is looked at
                    raise RuntimeError("mine") from (exc if how == "wrapped" else None)
    error = caught.value
    assert isinstance(error, EntityAlreadyExists) == (how in ("session", "unit", "flush", "nested"))
    logging.getLogger("test").error("failed", exc_info=error)
    assert_says_nothing(error, EMAIL)
    assert EMAIL not in caplog.text


async def test_facts_of_a_sessions_own_statement(nodes: NodeRepository) -> None:
    """Without a call of ours behind it, an error still names the constraint where the driver does."""
    with pytest.raises(EntityAlreadyExists) as caught:
        async with nodes.db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(NodeRow).values(id=3, email=EMAIL))
    facts = caught.value.facts
    assert caught.value.error_code == "repository_call_already-exists"
    if nodes.db.engine.dialect.name == "postgresql":
        assert facts == ErrorFacts(sqlstate="23505", constraint="uq_nodes_email", table="nodes")
    else:
        assert (facts.table, facts.columns) == ("nodes", ("email",))


async def test_every_error_of_a_call_is_located(any_tables: WithTables) -> None:
    """Bad values, scopes and a closed pool carry the call's domain and operation as well."""
    async with groups_in(any_tables) as groups:
        for call, code in [
            (groups.get(GroupId(2**40)), "group_get_invalid-value"),
            (groups.create(GroupCreate("\x00", "x")), "group_create_invalid-value"),
            (groups.update(GroupId(1), GroupPatch(name=OptionalState.update("\x00"))), "group_update_invalid-value"),
            (groups.purge(GroupId(2**40)), "group_purge_invalid-value"),
            (groups.create(GroupCreate("a", "one")), "group_create_already-exists"),
            (groups.find(GroupId(2**40)), "group_find_invalid-value"),
            (groups.batch_get([GroupId(2**40)]), "group_batch-get_invalid-value"),
            (groups.count(None, [GroupRow.id == 2**40]), "group_count_invalid-value"),
        ]:
            assert (await failure_of(call)).error_code == code


async def test_an_error_before_the_first_statement_is_located() -> None:
    """Where no connection is to be had, the code still says which call failed."""
    groups = GroupRepository(Database.from_url("postgresql://x@127.0.0.1:1/x"))
    assert (await failure_of(groups.get(GroupId(1)))).error_code == "group_get_database-unavailable"
    assert (await failure_of(groups.create(GroupCreate("a", "x")))).error_code == "group_create_database-unavailable"
    with pytest.raises(RepositoryError) as caught:
        async for _ in groups.stream():
            pass
    assert caught.value.error_code == "group_stream_database-unavailable"


async def test_a_restore_onto_a_taken_place(any_tables: WithTables) -> None:
    """Restoring meets the same constraint as creating, under its own operation."""
    async with groups_in(any_tables) as groups:
        await groups.create(GroupCreate("a", "gone"))
        error = await failure_of(groups.restore(GroupId(4)))
        assert type(error) is GroupNameTaken
        assert error.error_code == "group_restore_already-exists"
        assert len(await stored(groups.db)) == 5
