"""A repository that reads through a cache gives what it would give without one, and asks the database less."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Session

from benchmarks.calls import count
from company.things import LabelRow
from company.things import ThingRow as LabelledRow
from rowsmith import (
    AnyOf,
    CommitOutcomeUnknown,
    Condition,
    Database,
    EntityNotFound,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    SearchScope,
    Spec,
    TransactionError,
    Unscoped,
    touched,
)
from rowsmith.cache import MemoryCacheSource
from rowsmith.resilience import LayerType, MetricArgs, MetricPolicy, Resilience
from rowsmith.testing import WithFaults, WithTables
from support import count_statements
from tenants import (
    CheckedScope,
    DomainRow,
    DomainScope,
    GroupCreate,
    GroupData,
    GroupRepository,
    MemberCreate,
    MemberData,
    MemberPatch,
    MemberRepository,
    OwnedBy,
    ThingCreate,
    ThingData,
    ThingPatch,
    ThingRepository,
    ThingRow,
    TokenRepository,
    WideCreate,
    WideData,
    WideRepository,
    WideRow,
    groups_in,
)
from verbs import VERBS, things_in, world_of

A, B = OwnedBy("a"), OwnedBy("b")
SEVEN, EIGHT = (ThingPatch(uses=OptionalState.update(uses)) for uses in (7, 8))
ALL = Unscoped(reason="a test")


@pytest.fixture
async def plain(any_tables: WithTables) -> AsyncIterator[ThingRepository]:
    """Give a repository without a cache."""
    async with things_in(any_tables) as things:
        yield things


@pytest.fixture
def things(plain: ThingRepository) -> ThingRepository:
    """Give one with a cache, over the same rows."""
    return cached(plain.db)


def cached(db: Database, **options: Any) -> ThingRepository:
    return ThingRepository(db, cache_source=MemoryCacheSource(ThingData, **options))


def entries(things: ThingRepository) -> int:
    """How many entries there are."""
    return len(things.cache_source)  # type: ignore[arg-type]


async def reads(things: ThingRepository) -> list[Any]:
    """What callers see of rows of either tenant, of a deleted and an absent one."""
    ways = [(1, A, False), (4, A, False), (5, A, False), (3, B, False), (1, ALL, True), (4, ALL, True)]
    return [await things.find(id, scope, include_deleted=deleted) for id, scope, deleted in ways]


async def test_a_hit_sends_nothing(things: ThingRepository) -> None:
    """Whichever way the row was read before, and is read now."""
    row = await things.get(1, A)
    await things.batch_get([2], scope=A)
    with count_statements(things.db) as sent:
        assert await things.get(1, A) == await things.find(1, A) == row
        assert [one.id for one in await things.batch_get([2, 1, 2], scope=A)] == [2, 1, 2]
    assert sent == []


class MemberKey(NamedTuple):
    group_id: int
    email: str


async def test_a_named_tuple_is_the_key_that_it_is_equal_to(with_tables: WithTables) -> None:
    """It is answered by the same entry as a plain one, and a write by it ends that entry alone."""
    async with groups_in(with_tables) as groups:
        members = MemberRepository(groups.db, cache_source=MemoryCacheSource(MemberData))
        ada, bob = MemberKey(1, "ada"), MemberKey(1, "bob")
        await members.batch_create([MemberCreate(*ada), MemberCreate(*bob)])
        found = [await members.get(key) for key in (ada, bob)]
        with count_statements(members.db) as sent:
            assert [await members.get(ada), await members.find((1, "bob"))] == found
            assert await members.batch_get([bob, tuple(ada)]) == found[::-1]
        assert (sent, len(members.cache_source)) == ([], 2)
        heavier = await members.update(ada, MemberPatch(weight=OptionalState.update(7)))
        assert len(members.cache_source) == 1
        assert await members.get(tuple(ada)) == heavier
        await members.invalidate([bob])
        assert len(members.cache_source) == 1


@dataclass(frozen=True)
class WithId(SearchScope):
    id: uuid.UUID

    def to_conditions(self) -> Sequence[Condition]:
        return [WideRow.id == self.id]


async def test_an_id_from_data_is_the_key_that_it_is_equal_to(with_tables: WithTables) -> None:
    """A UUID is of the driver's class there; in a scope, too, and in what a write ends."""
    async with with_tables(WideRow) as db:
        wide = WideRepository(db, cache_source=MemoryCacheSource(WideData))
        id, other = (await wide.create(WideCreate())).id, (await wide.create(WideCreate())).id
        plain = uuid.UUID(int=id.int)
        assert type(id) is not type(plain)
        found = [await wide.get(id), await wide.get(other), await wide.get(id, WithId(id))]
        with count_statements(db) as sent:
            assert [
                await wide.get(plain),
                *await wide.batch_get([other]),
                await wide.get(plain, WithId(plain)),
            ] == found
        assert (sent, len(wide.cache_source)) == ([], 3)
        await wide.purge(id)
        assert len(wide.cache_source) == 1


async def test_a_batch_asks_once_for_what_is_missing(things: ThingRepository) -> None:
    """For nothing else, and says of all at once which are not there."""
    await things.get(1, A)
    with count_statements(things.db) as sent:
        await things.batch_get([1, 2], scope=A)
        with pytest.raises(EntityNotFound) as caught:
            await things.batch_get([1, 99, 3, 2, 99], scope=A)
    assert len(sent) == 2
    assert caught.value.missing == (99, 3, 99)


async def test_a_batch_is_of_the_ids_it_was_given(things: ThingRepository) -> None:
    """Though the caller's list changes meanwhile."""
    ids = [1]
    read = asyncio.create_task(things.batch_get(ids, scope=A))
    await asyncio.sleep(0)
    ids.append(2)
    assert [one.id for one in await read] == [1]


async def test_the_law_of_caches_over_every_verb(with_tables: WithTables) -> None:
    """After any verb, on any row, every read is what it is without a cache; hit or not."""
    async with things_in(with_tables) as plain:
        things = cached(plain.db, negative_ttl=60)
        before = await world_of(plain).stored()
        for name, verb in VERBS.items():
            await world_of(plain).reset(before)
            await things.invalidate()
            await reads(things)
            for id in (1, 3, 4, 5):
                with suppress(RepositoryError):
                    await verb.call(world_of(things), id, A)
            expected = await reads(plain)
            assert await reads(things) == expected, name
            assert await reads(things) == expected, name


async def test_a_hit_is_seen_by_whoever_may_see_the_row(things: ThingRepository) -> None:
    """Another tenant's row and an absent one are the same answer, hit or not; so it is with a deleted one."""
    await things.get(1, A)
    await things.get(4, A, include_deleted=True)
    for _ in range(2):
        for id, scope in ((1, B), (99, B), (4, A)):
            with pytest.raises(EntityNotFound) as caught:
                await things.get(id, scope)
            assert caught.value.error_code == "thing_get_not-found"
            assert caught.value.missing == (id,)


@dataclass(frozen=True)
class Busy(SearchScope):
    """Those that are used more often than others of their tenant: other rows decide, too."""

    def to_conditions(self) -> Sequence[Condition]:
        most = sa.select(sa.func.max(ThingRow.uses)).scalar_subquery()
        return [ThingRow.uses == most]


@pytest.mark.parametrize("scope", [Busy(), AnyOf(A, B)], ids=["others", "alternatives"])
async def test_what_a_scope_asks_of_the_database_it_is_asked(things: ThingRepository, scope: SearchScope) -> None:
    """More than comparisons of the row's own columns is no part of a key."""
    with count_statements(things.db) as sent:
        for _ in range(2):
            await things.get(1, scope)
    assert len(sent) == 2
    assert entries(things) == 0


async def test_a_scope_with_checks_is_held_to_them(any_tables: WithTables) -> None:
    """Whether its tenant is there is no matter of the row."""
    async with groups_in(any_tables) as plain:
        groups = GroupRepository(plain.db, cache_source=MemoryCacheSource(GroupData))
        async with groups.db.begin_session() as session:
            session.add(DomainRow(name="emea"))
        found = await groups.create(GroupCreate(domain_name="emea", name="x"), scope=DomainScope("emea"))
        with count_statements(groups.db) as sent:
            for _ in range(2):
                await groups.get(found.id, CheckedScope("emea"))
        assert len(sent) == 4


class Tenant(StrEnum):
    """Equal to its text in Python; what the database makes of it is a matter of the column's type."""

    A = "a"


async def test_equal_values_of_other_classes_are_other_keys(things: ThingRepository) -> None:
    """Only the database knows whether they mean the same there."""
    await things.get(1, A)
    with count_statements(things.db) as sent:
        await things.get(1, OwnedBy(Tenant.A))
    assert len(sent) == 1


async def test_a_scope_that_changes_its_mind_is_asked_once_a_call(things: ThingRepository) -> None:
    """The key and the statement are of the same conditions."""
    tenants = iter("abab")

    @dataclass(frozen=True)
    class Fickle(SearchScope):
        def to_conditions(self) -> Sequence[Condition]:
            return [ThingRow.tenant == next(tenants)]

    scope = Fickle()
    found = [await things.find(1, scope) is not None for _ in range(4)]
    assert found == [True, False, True, False]


async def test_unscoped_access_is_logged_on_a_hit_too(
    things: ThingRepository, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a call."""
    with caplog.at_level(logging.INFO, "rowsmith.scope"):
        for _ in range(3):
            await things.get(1, ALL)
    assert [record.getMessage() for record in caplog.records].count("unscoped access to ThingRow: a test") == 3


async def test_absence_is_remembered_if_asked_for(plain: ThingRepository) -> None:
    """Until the row is made, by whatever makes it."""
    things = cached(plain.db, negative_ttl=60)
    assert await things.find(5, A) is None
    with count_statements(things.db) as sent:
        assert await things.find(5, A) is None
        with pytest.raises(EntityNotFound):
            await things.get(5, A)
    assert sent == []
    await plain.load([ThingCreate(5, "five", 1, None)], scope=A)
    assert (await things.get(5, A)).name == "five"


async def test_a_unit_of_work_asks_the_database(things: ThingRepository) -> None:
    """It sees its own writes, and nothing of them lands in the cache; others see them once they are committed."""
    await things.get(1, A)
    async with things.db.unit_of_work():
        await things.update(1, SEVEN, scope=A)
        assert (await things.get(1, A)).uses == 7
        assert (await things.batch_get([1], scope=A))[0].uses == 7
    assert (await things.get(1, A)).uses == 7


async def test_what_is_rolled_back_ends_no_entry(things: ThingRepository) -> None:
    """Not by a failure, nor of a savepoint, nor by hand."""
    await things.get(1, A)
    await things.get(2, A)
    with pytest.raises(ZeroDivisionError):
        async with things.db.unit_of_work():
            await things.update(1, SEVEN, scope=A)
            raise ZeroDivisionError
    async with things.db.unit_of_work():
        with pytest.raises(ZeroDivisionError):
            async with things.db.unit_of_work():
                await things.update(1, SEVEN, scope=A)
                raise ZeroDivisionError
        await things.update(2, SEVEN, scope=A)
    async with things.db.begin_session() as session:
        await things.update(1, SEVEN, scope=A)
        await session.rollback()
    with count_statements(things.db) as sent:
        assert (await things.get(1, A)).uses == 1
    assert sent == []
    assert (await things.get(2, A)).uses == 7


async def test_a_savepoint_of_ones_own_that_is_rolled_back_ends_no_entry(things: ThingRepository) -> None:
    """In an owner's session, in one of the database's and in a unit; what was written beside it does."""
    async with AsyncSession(things.db.engine) as session:
        mine = ThingRepository(Database.from_session(session), cache_source=things.cache_source)
        await writes_around_a_savepoint(mine, session)
        await session.commit()
    assert await cached_ids(things) == [1]
    async with things.db.begin_session() as session:
        await writes_around_a_savepoint(things, session)
    assert await cached_ids(things) == [1]
    async with things.db.unit_of_work() as unit:
        await writes_around_a_savepoint(things, unit.session)
    assert await cached_ids(things) == [1]


async def writes_around_a_savepoint(things: ThingRepository, session: AsyncSession) -> None:
    """Have two things read elsewhere, and write the first after a savepoint that is undone, the second in one kept."""
    other = cached_beside(things)
    async with asyncio.TaskGroup() as group:
        group.create_task(other.get(1, A), context=Context())
        group.create_task(other.get(2, A), context=Context())
    undone = await session.begin_nested()
    async with session.begin_nested():
        await things.update(1, SEVEN, scope=A)
    await undone.rollback()
    async with session.begin_nested():
        await things.update(2, SEVEN, scope=A)


async def cached_ids(things: ThingRepository) -> list[int]:
    """Tell of which of two rows there is an entry, and what the database has of them."""
    assert [(await things.find(id, A, include_deleted=True)).uses for id in (1, 2)] == [1, 7]
    with count_statements(things.db) as sent:
        return [id for id in (1, 2) if await things.get(id, A) and not sent]


async def test_a_commit_by_hand_is_a_commit(things: ThingRepository) -> None:
    """What comes after it is another transaction."""
    await things.get(1, A)
    async with things.db.begin_session() as session:
        await things.update(1, SEVEN, scope=A)
        await session.commit()
        async with asyncio.TaskGroup() as group:
            seen = group.create_task(elsewhere(things))
        assert seen.result() == 7


@pytest.mark.parametrize("failure", [None, ZeroDivisionError])
async def test_a_commit_by_a_statement_ends_entries(with_tables: WithTables, failure: type[Exception] | None) -> None:
    """Of which nobody knows at first what it did: the block finds out when it ends, however that is."""
    async with things_in(with_tables) as plain:
        things = cached(plain.db)
        await things.get(1, A)
        with pytest.raises(failure or TransactionError):
            async with things.db.begin_session() as session:
                await things.update(1, SEVEN, scope=A)
                await session.execute(sa.text("COMMIT"))
                if failure is not None:
                    raise failure
        assert (await things.get(1, A)).uses == 7


async def elsewhere(things: ThingRepository) -> int:
    """Read the first thing as a caller that is in no session."""
    return (await cached_beside(things).get(1, A)).uses


def cached_beside(things: ThingRepository) -> ThingRepository:
    """Give a repository of the same cache in a database of its own object, so that it joins no session."""
    return ThingRepository(Database(things.db.engine), cache_source=things.cache_source)


async def test_an_owners_session_ends_entries_when_it_commits(things: ThingRepository) -> None:
    """Not before, nor where it is rolled back, and where it is only a part of a transaction, with that."""
    other = cached_beside(things)
    await other.get(1, A)
    async with AsyncSession(things.db.engine) as session:
        mine = ThingRepository(Database.from_session(session), cache_source=things.cache_source)
        await mine.update(1, SEVEN, scope=A)
        assert (await mine.get(1, A)).uses == 7
        assert entries(things) == 1
        await session.rollback()
        assert entries(things) == 1
        await mine.update(1, EIGHT, scope=A)
        await session.commit()
        assert (await other.get(1, A)).uses == 8
        assert (await other.get(1, A)).uses == 8
        assert entries(things) == 1


async def test_a_session_inside_of_a_transaction_waits_for_that(with_tables: WithTables) -> None:
    """As a test's that undoes everything: its own commit is none."""
    async with things_in(with_tables) as plain:
        things = cached(plain.db)
        await things.get(1, A)
        async with things.db.engine.connect() as connection:
            for end in ("rollback", "commit"):
                await connection.begin()
                session = AsyncSession(connection, join_transaction_mode="create_savepoint")
                mine = ThingRepository(Database.from_session(session), cache_source=things.cache_source)
                await mine.update(1, SEVEN, scope=A)
                await session.commit()
                await session.close()
                assert entries(things) == 1
                await getattr(connection, end)()
                assert entries(things) == (end == "rollback")
                async with connection.begin():
                    pass
                assert entries(things) == (end == "rollback")
        assert (await things.get(1, A)).uses == 7


async def test_an_outcome_that_nobody_knows_ends_entries(
    with_faults: WithFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been committed; and until then nothing is put there that is read."""
    told = iter(range(9))
    monkeypatch.setattr("rowsmith.execution.committing.server_of", lambda _: (str(next(told)), None))
    async with with_faults(ThingRow) as (db, proxy):
        things = cached(db)
        await things.create(ThingCreate(1, "one", 1, None), scope=A)
        await things.get(1, A)
        proxy.drop_answer("COMMIT")
        with pytest.raises(CommitOutcomeUnknown):
            await things.update(1, SEVEN, scope=A)
        assert entries(things) == 0
        assert (await things.get(1, A)).uses == 7
        assert entries(things) == 0


async def test_sql_of_ones_own_is_said(things: ThingRepository) -> None:
    """At once outside of a transaction, and inside with its commit; rows of any key, too."""
    change = sa.update(ThingRow).values(uses=7)
    await things.get(1, A)
    async with things.db.begin_session() as session:
        await session.execute(change)
        await things.invalidate([1])
        assert entries(things) == 1
    assert (await things.get(1, A)).uses == 7
    await things.invalidate()
    assert entries(things) == 0
    with pytest.raises(InvalidValue, match=r"invalidate\(\[id\]\)"):
        await things.invalidate(1)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match=r"the id at index 1: ThingRow\.id holds integers"):
        await things.invalidate([1, "2"])  # type: ignore[list-item]


async def test_a_verb_of_ones_own_may_have_written_anything(things: ThingRepository) -> None:
    """Through the seam of the repository, it ends all entries."""

    async def change(db_sess: AsyncSession) -> None:
        await db_sess.execute(sa.update(ThingRow).values(uses=7))

    await things.get(1, A)
    await things.db_source.write(change)
    assert (await things.get(1, A)).uses == 7


async def test_another_repository_of_the_rows_ends_entries_too(things: ThingRepository) -> None:
    """One without a cache, on a database of its own object."""
    other = ThingRepository(Database(things.db.engine))
    await things.get(1, A)
    await other.update(1, SEVEN, scope=A)
    assert (await things.get(1, A)).uses == 7


async def test_another_class_of_the_same_table_ends_entries_too(things: ThingRepository) -> None:
    """With a metadata of its own, as another part of the application may have it."""

    class OtherBase(DeclarativeBase):
        pass

    class OtherRow(OtherBase):
        __table__ = ThingRow.__table__.to_metadata(OtherBase.metadata)

    @dataclass(frozen=True)
    class OtherPatch(Patch[OtherRow]):
        uses: OptionalState[int] = OptionalState.nop()

    class OtherRepository(Repository[OtherRow, ThingData, int]):
        pass

    await things.get(1, A)
    await OtherRepository(things.db).update(1, OtherPatch(uses=OptionalState.update(7)))
    assert (await things.get(1, A)).uses == 7


def paused(things: ThingRepository, verb: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Have the first reader, once it has read its row, say so and wait until it may go on."""
    loaded, go_on, read = asyncio.Event(), asyncio.Event(), getattr(things.db_source.querier, verb)

    async def slow(*args: Any, **kwargs: Any) -> Any:
        data = await read(*args, **kwargs)
        if not loaded.is_set():
            loaded.set()
            await go_on.wait()
        return data

    setattr(things.db_source.querier, verb, slow)
    return loaded, go_on


async def test_a_stale_value_never_lands(things: ThingRepository) -> None:
    """What a reader read before a write is not there after it, whenever the reader comes to put it there."""
    loaded, go_on = paused(things, "query")
    reader = asyncio.create_task(things.get(1, A))
    await loaded.wait()
    writer = ThingRepository(Database(things.db.engine))
    if things.db.engine.dialect.name == "sqlite":  # a reader's transaction keeps nobody from writing there either
        await things.invalidate([1])
    else:
        await writer.update(1, SEVEN, scope=A)
    go_on.set()
    assert (await reader).uses == 1
    assert entries(things) == 0


@pytest.mark.parametrize("verb", ["create", "batch_create", "batch_create_partial", "load"])
async def test_an_absence_ends_for_all_with_the_row(with_tables: WithTables, verb: str) -> None:
    """Though a reader that began before, and whom others would wait for, is about to say that there is none."""
    async with things_in(with_tables) as plain:
        things = cached(plain.db)
        loaded, go_on = paused(things, "find")
        reader = asyncio.create_task(things.find(5, A))
        await loaded.wait()
        spec = ThingCreate(5, "five", 1, None)
        await getattr(plain, verb)(spec if verb == "create" else [spec], scope=A)
        late = asyncio.create_task(things.find(5, A))
        await asyncio.wait((late,), timeout=0.2)
        go_on.set()
        assert await late is not None
        assert await reader is None


@dataclass(frozen=True)
class LabelData:
    id: int
    name: str


@dataclass(frozen=True)
class NewLabel(Spec[LabelRow], filled={"thing_id"}):
    id: int
    name: str


@dataclass(frozen=True)
class NewLabelled(Spec[LabelledRow]):
    id: int
    labels: Sequence[NewLabel]


class LabelRepository(Repository[LabelRow, LabelData, int]):
    pass


class LabelledRepository(Repository[LabelledRow, LabelledRow, int]):
    pass


@pytest.mark.parametrize("verb", ["create", "batch_create"])
async def test_rows_that_come_below_others_end_their_absence(any_tables: WithTables, verb: str) -> None:
    """Nobody names them to the verb but their spec."""
    async with any_tables(LabelledRow, LabelRow) as db:
        labels = LabelRepository(db, cache_source=MemoryCacheSource(LabelData, negative_ttl=60))
        assert await labels.find(1) is None
        spec = NewLabelled(1, [NewLabel(1, "red")])
        await getattr(LabelledRepository(db), verb)(spec if verb == "create" else [spec])
        assert await labels.find(1) == LabelData(1, "red")


async def test_one_of_many_loads(things: ThingRepository) -> None:
    """A hundred readers of a cold key send one statement; of one that is not there, too."""
    with count_statements(things.db) as sent:
        found = await asyncio.gather(*(things.get(1, A) for _ in range(100)))
        absent = await asyncio.gather(*(things.get(99, A) for _ in range(20)), return_exceptions=True)
    assert {one.id for one in found} == {1}
    assert all(isinstance(one, EntityNotFound) for one in absent)
    assert len({id(one) for one in absent}) == 20
    assert len(sent) == 2


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "failed"])
async def test_one_of_those_who_wait_for_a_loader_that_fails_loads(things: ThingRepository, is_cancelled: bool) -> None:
    """So it is where it is cancelled, and where the next one fails as well."""
    read, asked, begun = things.db_source.querier.query, 0, asyncio.Event()

    async def third(db_sess: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked < 3:
            begun.set()
            await (asyncio.Event().wait() if is_cancelled else asyncio.sleep(0))
            raise ZeroDivisionError
        return await read(db_sess, *args, **kwargs)

    things.db_source.querier.query = third  # type: ignore[method-assign]
    readers = [asyncio.create_task(things.get(1, A)) for _ in range(100)]
    for _ in range(2 if is_cancelled else 0):
        await begun.wait()
        begun.clear()
        readers[asked - 1].cancel()
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert sum(isinstance(one, ThingData) for one in found) == 98
    assert asked == 3


@dataclass(frozen=True)
class Viewed:
    id: int
    view: Any


class ViewedThings(Repository[ThingRow, Viewed, int]):
    def to_data(self, row: ThingRow) -> Viewed:
        return Viewed(row.id, MappingProxyType({}))


async def test_what_cannot_be_copied_is_read_by_each(plain: ThingRepository) -> None:
    """None shares it with another."""
    things = ViewedThings(plain.db, cache_source=MemoryCacheSource(Viewed))
    found = await asyncio.gather(*(things.get(1) for _ in range(3)))
    assert len({id(one.view) for one in (*found, await things.get(1))}) == 4


class Hung(MemoryCacheSource[Any, Any]):
    """Takes entries for as long as nobody gives up."""

    def __init__(self) -> None:
        super().__init__(ThingData)
        self.asked = asyncio.Event()

    async def set_many(self, *args: Any, **kwargs: Any) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_who_gives_up_leaves_no_answer_behind(plain: ThingRepository) -> None:
    """Though the cache had not yet taken it."""
    cache = Hung()
    things: Any = ThingRepository(plain.db, cache_source=cache)
    reader = asyncio.create_task(things.get(1, A))
    await cache.asked.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert things._cached._keeper.flights == {}


async def test_other_data_is_asked_of_the_database(things: ThingRepository) -> None:
    """The cache keeps data of one class."""

    @dataclass(frozen=True)
    class Name:
        name: str

    await things.get(1, A)
    assert await things.get(1, A, into=Name) == Name("name 1")
    assert await things.batch_get([1], scope=A, into=Name) == [Name("name 1")]


@pytest.mark.parametrize("id", [True, 1.0, "1", None, [1]], ids=repr)
async def test_an_id_that_is_not_plainly_one_is_told_of_as_ever(
    plain: ThingRepository, things: ThingRepository, id: Any
) -> None:
    """Python holds some to be equal that the database does not take."""
    await things.get(1, A)
    told = [await asyncio.gather(one.get(id, A), return_exceptions=True) for one in (plain, things)]
    assert repr(told[0]) == repr(told[1])
    await asyncio.gather(things.update(id, SEVEN, scope=A), return_exceptions=True)
    assert await things.find(1, A) == await plain.find(1, A)


@pytest.mark.parametrize(
    "target, name",
    [
        *((Session, name) for name in ("do_orm_execute", "after_begin")),
        *((None, name) for name in ("before_execute", "begin", "engine_connect", "checkout")),
        (None, "set_connection_execution_options"),
    ],
)
async def test_whoever_could_have_other_rows_seen_is_asked(things: ThingRepository, target: Any, name: str) -> None:
    """A listener may limit statements to a tenant, which no key would say."""
    await things.get(1, A)

    def listener(*args: Any) -> None: ...

    event.listen(target or things.db.engine.sync_engine, name, listener)
    try:
        with count_statements(things.db) as sent:
            await things.get(1, A)
    finally:
        event.remove(target or things.db.engine.sync_engine, name, listener)
    assert len(sent) == 1


@pytest.mark.parametrize("module, asked", [(__name__, 2), ("opentelemetry.instrumentation.sqlalchemy.engine", 0)])
async def test_who_writes_other_sql_is_asked(things: ThingRepository, module: str, asked: int) -> None:
    """A listener that gives back what is to be sent may limit it to a tenant; one that is known to trace does not."""
    await things.get(1, A)
    seen: list[str] = []

    def listener(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> Any:
        seen.append(statement)
        return statement, parameters

    listener.__module__ = module
    event.listen(things.db.engine.sync_engine, "before_cursor_execute", listener, retval=True)
    for _ in range(2):
        await things.get(1, A)
    event.remove(things.db.engine.sync_engine, "before_cursor_execute", listener)
    assert len(seen) == asked


@dataclass(frozen=True)
class DeletedAt(SearchScope):
    moment: dt.datetime

    def to_conditions(self) -> Sequence[Condition]:
        return [ThingRow.deleted_at == self.moment]


async def test_the_two_times_of_an_hour_that_comes_twice_are_two_keys(things: Any) -> None:
    """Python holds them to be equal, and they are an hour apart."""
    first = dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    scopes = [DeletedAt(first.replace(fold=fold)) for fold in (0, 1, 1)]
    keys = [things._cached._asking.under(scope, True)[0] for scope in scopes]
    assert None not in keys
    assert len(set(keys)) == 2


@dataclass(frozen=True)
class Proxied:
    id: int
    view: MappingProxyType[str, int]


class ProxiedThings(Repository[ThingRow, Proxied, int]):
    def to_data(self, row: ThingRow) -> Proxied:
        return Proxied(row.id, MappingProxyType({}))


class Careless(Repository[ThingRow, ThingData, int]):
    scope_required = True


class Rows(Repository[ThingRow]):
    pass


@pytest.mark.parametrize(
    "make, complaint",
    [
        (lambda db, cache: GroupRepository(db, cache_source=cache), "keeps ThingData, and the repository gives"),
        (lambda db, cache: Careless(db, cache_source=cache), "with other rules"),
        (lambda db, cache: ThingRepository(elsewhere_in(db), cache_source=cache), "of another database"),
        (lambda db, cache: Rows(db, cache_source=MemoryCacheSource(ThingRow)), "keeps data, not rows"),
        (lambda db, cache: ProxiedThings(db, cache_source=MemoryCacheSource(Proxied)), "cannot be copied"),
    ],
    ids=["data", "rules", "schema", "rows", "copies"],
)
async def test_a_cache_of_something_else_is_refused(
    plain: ThingRepository, make: Callable[..., Any], complaint: str
) -> None:
    """When the repository is made: it would give what is not this repository's."""
    cache = MemoryCacheSource(ThingData)
    ThingRepository(plain.db, cache_source=cache)
    with pytest.raises(MappingError, match=complaint):
        make(plain.db, cache)


def elsewhere_in(db: Database) -> Database:
    return Database(db.engine.execution_options(schema_translate_map={None: "another"}))


async def test_without_a_cache_there_is_nothing_to_invalidate(plain: ThingRepository) -> None:
    """It may be said all the same."""
    await plain.invalidate([1])


async def test_hits_misses_and_failures_are_counted(plain: ThingRepository) -> None:
    """Under the cache's own layer, by operation."""
    registry = CollectorRegistry()
    policy = MetricPolicy(MetricArgs(domain="repository", layer="thing_repository"), registry=registry)
    cache = MemoryCacheSource(ThingData)
    things = ThingRepository(plain.db, cache_source=cache, resilience=Resilience([policy]))
    await things.get(1, A)
    cache.counts.failures += 2
    await things.get(1, A)
    await things.batch_get([1, 2], scope=A)

    def counted(operation: str, result: str) -> float | None:
        labels = {"domain": "repository", "layer": "thing_cache_source", "operation": operation, "result": result}
        return registry.get_sample_value("rowsmith_layer_cache_count_total", labels)

    assert [counted("get", result) for result in ("hit", "miss", "failure")] == [1, 1, 2]
    assert [counted("batch_get", result) for result in ("hit", "miss", "failure")] == [1, 1, None]


@pytest.mark.parametrize("negative_ttl", [None, 60.0], ids=["asked for", "remembered"])
async def test_a_row_that_is_absent_fails_as_it_does_without_a_cache(
    plain: ThingRepository, negative_ttl: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Each such call is in the log once and counted by its error, whether the database or the cache says so."""
    registry, code = CollectorRegistry(), "thing_get_not-found"
    policies = Resilience([MetricPolicy(MetricArgs("repository", "thing_repository"), registry=registry)])
    cache = MemoryCacheSource(ThingData, negative_ttl=negative_ttl)
    things = ThingRepository(plain.db, cache_source=cache, resilience=policies)
    with caplog.at_level(logging.INFO, "rowsmith.failures"):
        assert await things.find(99, A) is None
        for _ in range(2):
            with pytest.raises(EntityNotFound):
                await things.get(99, A)
    labels = {"domain": "repository", "layer": "thing_repository", "operation": "get", "error_code": code}
    assert registry.get_sample_value("rowsmith_layer_operation_error_count_total", labels) == 2
    told: list[Any] = [record for record in caplog.records if record.name == "rowsmith.failures"]
    assert [record.error_code for record in told] == [code, code]


@pytest.mark.parametrize(
    "layer, counted_under",
    [
        ("thing_repository", "thing_cache_source"),
        (LayerType.DB_SOURCE.of("thing"), "thing_cache_source"),
        (LayerType.REPOSITORY, "cache_source"),
        (LayerType.DB_SOURCE, "cache_source"),
        ("things", "things_cache_source"),
    ],
)
def test_what_is_counted_of_a_cache_has_a_layer_of_its_own(layer: str, counted_under: str) -> None:
    """It stands beside the repository's or the source's, whichever of the two the policies are of."""
    registry = CollectorRegistry()
    MetricPolicy(MetricArgs("repository", layer), registry=registry).looked_up("get", hits=1, misses=0, failures=0)
    labels = {"domain": "repository", "layer": counted_under, "operation": "get", "result": "hit"}
    assert registry.get_sample_value("rowsmith_layer_cache_count_total", labels) == 1


@pytest.mark.parametrize("scope, calls", [(ALL, 100), (A, 110)], ids=["all", "scope"])
async def test_a_hit_in_memory_takes_few_calls(plain: ThingRepository, scope: SearchScope, calls: int) -> None:
    """Of Python and of C; more than half of those with a scope are SQLAlchemy's, for its comparison."""
    things = ThingRepository(plain.db, cache_source=MemoryCacheSource(ThingData), resilience=None)
    assert (await count(lambda: things.get(1, scope))).calls <= calls


async def test_keepers_go_with_their_cache(plain: ThingRepository) -> None:
    """Writes are as they were once nobody keeps copies of such rows any more; of other rows they always are."""
    touched.KEEPERS.clear()
    things = cached(plain.db)
    await things.get(1, A)
    assert things.db_source.has_keepers()
    assert not TokenRepository(plain.db).db_source.has_keepers()
    table = things.db_source.entity.info.table.fullname
    assert table in touched.KEEPERS
    del things
    gc.collect()
    assert table not in touched.KEEPERS
    assert not plain.db_source.has_keepers()
