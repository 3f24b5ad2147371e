"""DBSource: the operations on one row, and the one seam that opens sessions for whatever verb it is handed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import (
    BatchCreator,
    Conflict,
    Count,
    Creator,
    Database,
    DBSource,
    EntityAlreadyExists,
    MappingError,
    NextValue,
    OptionalState,
    ReadOnlyViolation,
    Repository,
    Spec,
    TransactionError,
    Upserter,
)
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    DomainRow,
    GroupCreate,
    GroupData,
    GroupId,
    GroupNotFound,
    GroupPatch,
    GroupRepository,
    GroupRow,
    MemberRow,
    groups_in,
)

Source = DBSource[GroupRow, GroupData, GroupId]


@dataclass(frozen=True)
class GroupName:
    id: int
    name: str


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


@pytest.fixture
def source(groups: GroupRepository) -> DBSource[GroupRow, GroupData, GroupId]:
    return DBSource(groups.db, GroupRow, into=GroupData, not_found=GroupNotFound)


async def test_a_source_is_made_of_public_names(source: DBSource[GroupRow, GroupData, GroupId]) -> None:
    """Row, data and rules are all it takes, and its verbs run in transactions of their own."""
    created = await source.write(source.creator.create, GroupCreate("a", "new"))
    assert (await source.read(source.querier.query, created.id)).name == "new"
    with pytest.raises(GroupNotFound):
        await source.read(source.querier.query, 99)


async def test_a_function_of_a_teams_own_is_a_verb(source: DBSource[GroupRow, GroupData, GroupId]) -> None:
    """Its name is the operation's in the code of an error."""

    async def rename_all(db_sess: AsyncSession, name: str, *, domain: str) -> int:
        statement = sa.update(GroupRow).where(GroupRow.domain_name == domain).values(name=name)
        return int(cast("Any", await db_sess.execute(statement)).rowcount)

    assert await source.write(rename_all, "same", domain="b") == 1
    with pytest.raises(EntityAlreadyExists) as caught:
        await source.write(rename_all, "same", domain="a")
    assert caught.value.error_code == "group_rename-all_already-exists"
    with pytest.raises(ReadOnlyViolation) as refused:
        await source.read(rename_all, "x", domain="b")
    assert refused.value.error_code == "group_rename-all_read-only"


LIVE = Conflict([GroupRow.domain_name, GroupRow.name], where=GroupRow.deleted_at.is_(None))
WRITES: dict[str, Callable[[Source], Awaitable[Any]]] = {
    "create": lambda source: source.read(source.creator.create, GroupCreate("a", "new")),
    "update": lambda source: source.read(
        source.updater.update, GroupId(1), GroupPatch(name=OptionalState.update("new"))
    ),
    "upsert": lambda source: source.read(source.upserter.upsert, GroupCreate("a", "new"), conflict=LIVE),
    "delete": lambda source: source.read(source.soft_deleter.delete, GroupId(1)),
    "restore": lambda source: source.read(source.soft_deleter.restore, GroupId(1)),
    "purge": lambda source: source.read(source.purger.purge, GroupId(1)),
    "batch_create": lambda source: source.read(source.batch_creator.create, [GroupCreate("a", "new")]),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_verb_that_writes_is_none_to_read(groups: GroupRepository, name: str) -> None:
    """Whichever way it takes; nothing of it is kept."""
    before = list(await groups.search(include_deleted=True))
    with pytest.raises(ReadOnlyViolation) as refused:
        await WRITES[name](groups.db_source)
    assert refused.value.error_code == f"group_{name.replace('_', '-')}_read-only"
    assert list(await groups.search(include_deleted=True)) == before


def test_each_way_without_a_session_says_whether_it_writes(database: Database) -> None:
    """A verb of another room than that of reads does."""
    operations = vars(DBSource(database, GroupRow)).values()
    verbs = [getattr(type(made), name) for made in operations for name in dir(type(made)) if not name.startswith("_")]
    ways = {each for each in verbs if getattr(each, "native", None) is not None}
    assert len(ways) >= 14
    for way in ways:
        assert way.native.writes is not way.__module__.startswith("rowsmith.operations.reads"), way


async def test_what_cannot_be_called_is_no_verb(source: DBSource[GroupRow, GroupData, GroupId]) -> None:
    """Nor is what takes no session, or other arguments: nothing is sent, and the message says what to write."""

    async def bare() -> None: ...

    async def of_one(db_sess: AsyncSession, one: int) -> int:
        return one

    async def first(db_sess: AsyncSession, *given: int, **named: int) -> int:
        return given[0]

    async def own(db_sess: AsyncSession) -> None:
        raise TypeError("own")

    untyped: Any = source
    for way in (untyped.write, untyped.read, untyped.in_chunks):
        name = "begin" if way == untyped.in_chunks else "db_sess"
        for verb, given, advice in ((5, (), rf"own\({name}\)"), (bare, (), name), (of_one, (1, 2), "argument_2")):
            with count_statements(source.db) as sent, pytest.raises(MappingError, match=f"write async def.*{advice}"):
                await way(verb, *given)
            assert sent == []
        assert await way(of_one, one=3) == await way(first, 3, two=1) == 3
        with pytest.raises(TypeError, match="own"):
            await way(own)


async def test_what_cannot_be_called_is_no_stream(source: DBSource[GroupRow, GroupData, GroupId]) -> None:
    """It is told as the stream is read, before anything is sent."""

    async def rows(db_sess: AsyncSession, one: int) -> AsyncGenerator[Sequence[int], None]:
        yield [one]

    untyped: Any = source
    for verb, given in ((None, ()), (rows, ()), (rows, (1, 2))):
        with count_statements(source.db) as sent, pytest.raises(MappingError, match="write async def"):
            _ = [item async for item in untyped.stream(verb, *given)]
        assert sent == []
    assert [item async for item in untyped.stream(rows, 7)] == [7]


async def test_a_function_of_another_kind_is_no_verb(source: DBSource[GroupRow, GroupData, GroupId]) -> None:
    """One that waits for nothing, or yields where it should return, or the other way round: the message says which."""

    def plain(db_sess: AsyncSession) -> int:
        return 1

    async def rows(db_sess: AsyncSession) -> AsyncGenerator[Sequence[int], None]:
        yield [1]

    async def value(db_sess: AsyncSession) -> int:
        return 1

    untyped: Any = source
    for way in (untyped.write, untyped.read, untyped.in_chunks):
        with pytest.raises(MappingError, match="plain gives int, which cannot be awaited: write async def plain"):
            await way(plain)
        with pytest.raises(MappingError, match=r"rows gives .* call it by db_source\.stream"):
            await way(rows)
        assert await way(lambda db_sess: value(db_sess)) == 1
    for verb in (plain, value):
        with pytest.raises(MappingError, match=f"{verb.__name__} gives .* no stream: write async def"):
            _ = [item async for item in untyped.stream(verb)]
    assert [item async for item in untyped.stream(lambda db_sess: rows(db_sess))] == [1]


async def test_a_stream_of_a_teams_own(source: DBSource[GroupRow, GroupData, GroupId]) -> None:
    """What a verb yields in lists comes one by one, in one session."""

    async def names(db_sess: AsyncSession, domain: str) -> AsyncGenerator[Sequence[str], None]:
        yield (await db_sess.scalars(sa.select(GroupRow.name).where(GroupRow.domain_name == domain))).all()
        yield ["the end"]

    found = [name async for name in source.stream(names, "b")]
    assert found == ["one", "the end"]


async def test_chunks_cannot_join_a_unit_of_work(source: DBSource[GroupRow, GroupData, GroupId]) -> None:
    """A verb that commits by itself is refused there, by its name; nothing is removed."""

    async def tidy(begin: object) -> None:
        raise AssertionError

    async with source.db.unit_of_work():
        with pytest.raises(TransactionError, match=r"purge_where commits chunk by chunk .*chunk_size=None$") as caught:
            await source.in_chunks(source.where_purger.purge, [GroupRow.id > 0])
        with pytest.raises(TransactionError, match=r"tidy commits chunk by chunk .*: call it outside$"):
            await source.in_chunks(tidy)
    assert caught.value.error_code == "group_purge-where_transaction-error"
    assert await source.read(source.batch_querier.count) > 0


async def test_a_count_and_its_page_are_read_in_one_snapshot(with_tables: WithTables) -> None:
    """What is several statements is read in REPEATABLE READ, what is one is not."""
    async with groups_in(with_tables) as groups:
        seen: list[str] = []

        async def level(db_sess: AsyncSession, count: Count = Count.NONE) -> None:
            seen.append(str(await db_sess.scalar(sa.text("SHOW transaction_isolation"))))

        await groups.db_source.read(level)
        await groups.db_source.read(level, Count.EXACT)
        await groups.db_source.read(level, count=Count.capped(2))
    assert seen == ["read committed", "repeatable read", "repeatable read"]


async def test_a_repository_on_a_source_of_its_own(groups: GroupRepository) -> None:
    """``Repository(db_source=...)`` needs no database, and the source's rules hold."""
    source = DBSource[GroupRow, GroupData, GroupId](groups.db, GroupRow, into=GroupData, not_found=GroupNotFound)
    mine = GroupRepository(db_source=source)
    assert mine.db_source is source
    assert mine.db is groups.db
    assert await mine.count() == 4  # the source says nothing of soft deletion
    bare = Repository[GroupRow, GroupData, GroupId](db_source=source)
    assert (await bare.get(GroupId(1))).name == "one"


def test_what_is_no_database_or_source_is_told(source: DBSource[GroupRow, GroupData, GroupId]) -> None:
    """When the repository is made, and with what to write instead."""
    make: Any = GroupRepository
    with pytest.raises(MappingError, match=r"write GroupRepository\(Database\(engine\)\)"):
        make(source.db.engine)
    with pytest.raises(MappingError, match="write GroupRepository"):
        make()
    with pytest.raises(MappingError, match="not both"):
        make(source.db, db_source=source)
    with pytest.raises(MappingError, match="db_source=DBSource"):
        make(db_source=source.db)
    with pytest.raises(MappingError, match="GroupRow as GroupData, and its source for DomainRow"):
        make(db_source=DBSource(source.db, DomainRow))


async def test_another_data_class_keeps_the_rules(groups: GroupRepository) -> None:
    """``into`` changes what comes out and nothing else; it is made once, and not kept without end."""

    class Ruled(GroupRepository):
        conflict = Conflict([GroupRow.id])

    ruled = Ruled(groups.db)
    named = ruled.db_source.into(GroupName)
    assert named is ruled.db_source.into(GroupName)
    assert named.entity.conflict == Ruled.conflict
    assert named.entity.soft_delete is Ruled.soft_delete
    for _ in range(250):
        ruled.db_source.into(dataclass(frozen=True)(type("Made", (), {"__annotations__": {"id": int}})))
    assert len(ruled.db_source._others) <= 100
    with count_statements(groups.db) as sent:
        assert await named.read(named.querier.query, 1) == GroupName(1, "one")
    assert len(sent) == 1


def test_every_operation_object_takes_the_rules(database: Database) -> None:
    """However it is made, it knows the keys and numbers that were declared; wrong ones are refused when it is made."""
    conflict = Conflict([GroupRow.id])
    assert Upserter(GroupRow, conflict=conflict).entity.conflict == conflict
    assert BatchCreator(GroupRow).entity.next_value is None
    assert DBSource(database, GroupRow, conflict=conflict).upserter.entity.conflict == conflict
    for made in (Creator, BatchCreator, Upserter):
        with pytest.raises(MappingError, match="no column"):
            made(GroupRow, conflict=Conflict([DomainRow.name]))
        with pytest.raises(MappingError, match="no foreign key"):
            made(GroupRow, next_value=NextValue(GroupRow.size, within=GroupRow.domain_name))


async def test_a_single_row_is_numbered_by_its_operation_too(any_tables: WithTables) -> None:
    """``Creator.create`` and ``BatchCreator.create`` count alike, made any way."""

    @dataclass(frozen=True)
    class NewMember(Spec[MemberRow], filled={"weight"}):
        group_id: int
        email: str

    async with groups_in(any_tables) as groups:
        numbers = NextValue(MemberRow.weight, within=MemberRow.group_id)
        async with groups.db.begin_session() as db_sess:
            one = await Creator(MemberRow, next_value=numbers).create(db_sess, NewMember(1, "a"))
            (two,) = await BatchCreator(MemberRow, next_value=numbers).create(db_sess, [NewMember(1, "b")])
            assert (one.weight, two.weight) == (1, 2)
