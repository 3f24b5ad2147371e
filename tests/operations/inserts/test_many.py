"""Creating many rows at once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import logging
import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    AnyOf,
    BatchCreator,
    CheckViolation,
    Database,
    DatabaseUnavailable,
    EntityAlreadyExists,
    InvalidValue,
    MappingError,
    OptionalState,
    ReadOnlyViolation,
    ReferenceNotFound,
    Repository,
    ScopeMismatch,
    Spec,
    TransactionAborted,
    TransactionError,
    TriState,
)
from rowsmith.operations.inserts import insertion
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    WIDE_VALUES,
    CheckedScope,
    DomainNotFound,
    DomainScope,
    GroupCreate,
    GroupData,
    GroupNameTaken,
    GroupRow,
    MemberRow,
    WideCreate,
    WideData,
    WideRepository,
    WideRow,
    groups_in,
    stored,
)


def named(count: int, domain: str = "a") -> list[GroupCreate]:
    return [GroupCreate(domain, f"n{place:06}", place) for place in range(count)]


@dataclass(frozen=True)
class GroupName:
    """Data of which nothing is made by the server, so that COPY can be taken."""

    domain_name: str
    name: str
    size: int
    note: str | None


async def test_data_comes_back_in_input_order_as_the_database_holds_it(any_tables: WithTables) -> None:
    """Ids and times that the server makes are in the data, which stands in the order of the specs."""
    async with groups_in(any_tables) as groups:
        specs = named(50)[::-1]
        made = await groups.batch_create(specs)
        assert [data.name for data in made] == [spec.name for spec in specs]
        assert made == await groups.batch_get([data.id for data in made])
        assert all(data.created_at.tzinfo is not None for data in made)


async def test_nothing_is_created_of_no_specs(any_tables: WithTables) -> None:
    """An empty batch is an empty answer, and sends nothing."""
    async with groups_in(any_tables) as groups:
        with count_statements(groups.db) as sent:
            assert await groups.batch_create([]) == []
            assert await groups.load([]) == 0
        assert [sql for sql in sent if "INSERT" in sql] == []


@pytest.mark.parametrize("form", ["list", "generator", "asynchronous"])
async def test_specs_come_in_any_iterable(any_tables: WithTables, form: str) -> None:
    """A list, a generator and an asynchronous one are all taken."""

    async def slowly() -> AsyncGenerator[GroupCreate]:
        for spec in named(5):
            await asyncio.sleep(0)
            yield spec

    async with groups_in(any_tables) as groups:
        given: Any = {"list": named(5), "generator": (spec for spec in named(5)), "asynchronous": slowly()}[form]
        assert len(await groups.batch_create(given)) == 5


@pytest.mark.parametrize("form", ["list", "generator", "asynchronous"])
async def test_none_among_specs_is_refused_with_its_index(any_tables: WithTables, form: str) -> None:
    """It is not the end of an iterator, nor left out, wherever in a chunk it stands: nothing is written."""

    async def slowly(specs: list[Any]) -> AsyncGenerator[Any]:
        for spec in specs:
            yield spec

    make: Any = {"list": list, "generator": iter, "asynchronous": slowly}[form]
    none = re.escape(r"NoneType cannot be written: give an instance of a class that inherits Spec[GroupRow]")
    async with groups_in(any_tables) as groups:
        before = await groups.count()
        for first, size in itertools.product(range(4), (1, 2, 3, 20_000)):
            for count in (1, 2, 3):
                specs: list[Any] = [*named(first), *[None] * count, *named(4, "b")]
                with pytest.raises(MappingError, match=f"the spec at index {first}: {none}"):
                    await groups.load(make(specs), chunk_size=size)
        for verb in (groups.batch_create, groups.batch_create_partial):
            with pytest.raises(MappingError, match=f"the spec at index 1: {none}"):
                await verb(make([*named(1), None]))
        with pytest.raises(MappingError, match=f"the spec at index 0: {none}"):
            await groups.load(make([None]))
        assert await groups.count() == before


async def test_an_insert_of_arrays_is_compiled_once(with_tables: WithTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """For specs that set the same fields, however many they are, and whoever creates."""
    compiled, compile_statement = list[object](), insertion.compile_statement

    def watched(statement: Any, dialect: Any) -> Any:
        compiled.append(statement)
        return compile_statement(statement, dialect)

    monkeypatch.setattr(insertion, "compile_statement", watched)
    insertion._inserting.cache_clear()  # pyright: ignore[reportPrivateUsage]
    async with groups_in(with_tables) as groups:
        for domain, count in (("a", 2), ("b", 3)):
            made = await groups.batch_create(named(count, domain), scope=DomainScope(domain))
            assert [data.name for data in made] == [spec.name for spec in named(count)]
        assert len(compiled) == 1


async def test_rows_for_private_methods(any_tables: WithTables) -> None:
    """Without ``into`` the ORM objects come back, attached to the session, in input order."""
    async with groups_in(any_tables) as groups, groups.db.begin_session() as db_sess:
        rows = await BatchCreator(GroupRow).create(db_sess, named(3)[::-1])
        assert [row.name for row in rows] == ["n000002", "n000001", "n000000"]
        assert all(row in db_sess for row in rows)


async def test_any_session_will_do(any_tables: WithTables) -> None:
    """The operation object works in a plain session of the application's own, and leaves its transaction alone."""
    async with groups_in(any_tables) as groups:
        make = async_sessionmaker(groups.db.engine)
        for into in (GroupData, GroupName):
            async with make() as db_sess:
                assert len(await BatchCreator(GroupRow, into=into).create(db_sess, named(3))) == 3
                await db_sess.rollback()
            assert await groups.count() == 3
        async with make.begin() as db_sess:
            await BatchCreator(GroupRow, into=GroupName).create(db_sess, named(3))
        assert await groups.count() == 6


async def test_pending_objects_are_flushed_first(any_tables: WithTables) -> None:
    """What the session holds unflushed is written before, as any other statement would have it."""
    async with groups_in(any_tables) as groups, groups.db.begin_session() as db_sess:
        db_sess.add(GroupRow(domain_name="a", name="n000000"))
        with pytest.raises(EntityAlreadyExists):
            await BatchCreator(GroupRow, into=GroupName).create(db_sess, named(1))
        await db_sess.rollback()


# Lanes


@pytest.mark.parametrize("count", [1, 3])
async def test_every_kind_of_column_is_stored_alike_in_every_lane(any_tables: WithTables, count: int) -> None:
    """What COPY, arrays and SQLAlchemy's own INSERT store, and give back, is what a single create does."""
    full, empty = WideCreate(**WIDE_VALUES), WideCreate()
    specs = [full, empty, replace(full, label="z", ratio=None)][:count]
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        expected = [replace(await wide.create(spec), id=None) for spec in specs]  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert [replace(data, id=None) for data in await wide.batch_create(specs)] == expected  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.delete(WideRow))
            assert await BatchCreator(WideRow, into=WideData).load(db_sess, specs) == count
        held = sorted((replace(data, id=None) for data in (await wide.search()).items), key=repr)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert held == sorted(expected, key=repr)


async def test_nothing_is_json_null_that_was_given_as_none(any_tables: WithTables) -> None:
    """None is SQL NULL in a JSON column, in every lane."""
    async with any_tables(WideRow) as db:
        await WideRepository(db).batch_create([WideCreate(), WideCreate(document={"a": None})])
        await WideRepository(db).load([WideCreate()])
        nulls = await stored(db, sa.select(sa.func.count()).where(WideRow.document.is_(None)).select_from(WideRow))
        assert nulls == [(2,)]


async def test_the_lane_is_logged(with_tables: WithTables, caplog: pytest.LogCaptureFixture) -> None:
    """A log line says how the rows went; COPY where nothing has to come back but what is known."""
    caplog.set_level(logging.DEBUG, "rowsmith.operations.inserts.many")
    async with groups_in(with_tables) as groups, groups.db.begin_session() as db_sess:
        await BatchCreator(GroupRow, into=GroupName).create(db_sess, named(2))
        await BatchCreator(GroupRow, into=GroupData).create(db_sess, named(2, "b"))
    assert [record.getMessage() for record in caplog.records] == [
        "2 new GroupRow go by COPY",
        "2 new GroupRow go by INSERT FROM unnest",
    ]


async def test_what_copy_says_is_what_is_stored(with_tables: WithTables) -> None:
    """Values that PostgreSQL gives back in another form are in the data in that form."""

    class Number(int):
        pass

    class Text(str):
        __slots__ = ()

    @dataclass(frozen=True)
    class Echo:
        normal: int
        label: str
        ratio: float
        seen_at: dt.datetime
        note: str | None = None

    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    spec = WideCreate(normal=Number(7), label=Text("x"), ratio=3, seen_at=dt.datetime(2024, 1, 1, 3, tzinfo=zone))
    del Echo.__annotations__["note"]

    @dataclass(frozen=True)
    class Known:
        normal: int | None
        label: str | None
        ratio: float | None
        seen_at: dt.datetime | None
        day: dt.date | None

    async with with_tables(WideRow) as db, db.begin_session() as db_sess:
        (made,) = await BatchCreator(WideRow, into=Known).create(db_sess, [spec])
        (read,) = [
            tuple(row)
            for row in await db_sess.execute(sa.select(*(getattr(WideRow, n) for n in Known.__annotations__)))
        ]
        values = (made.normal, made.label, made.ratio, made.seen_at, made.day)
        assert values == read
        assert [type(value) for value in values] == [type(value) for value in read]
        assert made.seen_at is not None
        assert made.seen_at.tzinfo is dt.UTC


async def test_client_defaults_are_made_in_every_lane(any_tables: WithTables) -> None:
    """Scalar, callable and context-reading defaults are as single creates make them, row by row."""

    class Base(DeclarativeBase):
        pass

    numbers = iter(range(1000))

    class ThingRow(Base):
        __tablename__ = "things"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        kind: Mapped[str] = mapped_column(default="plain")
        turn: Mapped[int] = mapped_column(default=lambda: next(numbers))
        shout: Mapped[str] = mapped_column(default=lambda context: context.get_current_parameters()["name"].upper())
        made: Mapped[int] = mapped_column(default=sa.func.abs(-3))

    @dataclass(frozen=True)
    class Thing:
        name: str
        kind: str
        turn: int
        shout: str

    @dataclass(frozen=True)
    class FullThing(Thing):
        made: int

    @dataclass(frozen=True)
    class ThingCreate(Spec[ThingRow]):
        name: str

    specs = [ThingCreate("a"), ThingCreate("b")]
    async with any_tables(ThingRow) as db, db.begin_session() as db_sess:
        assert await BatchCreator(ThingRow, into=Thing).create(db_sess, specs) == [
            Thing("a", "plain", 0, "A"),
            Thing("b", "plain", 1, "B"),
        ]
        assert await BatchCreator(ThingRow, into=FullThing).create(db_sess, specs) == [
            FullThing("a", "plain", 2, "A", 3),
            FullThing("b", "plain", 3, "B", 3),
        ]


async def test_keys_made_by_the_server_find_their_rows(with_tables: WithTables) -> None:
    """Where the server makes random keys, each row of the answer is still the one of its spec."""

    class Base(DeclarativeBase):
        pass

    class TokenRow(Base):
        __tablename__ = "tokens"
        id: Mapped[Any] = mapped_column(sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()"))
        name: Mapped[str]

    @dataclass(frozen=True)
    class Token:
        id: Any
        name: str

    @dataclass(frozen=True)
    class TokenCreate(Spec[TokenRow]):
        name: str

    async with with_tables(TokenRow) as db, db.begin_session() as db_sess:
        made = await BatchCreator(TokenRow, into=Token).create(db_sess, [TokenCreate(f"{i}") for i in range(100)])
        assert [token.name for token in made] == [f"{i}" for i in range(100)]
        held = await db_sess.execute(sa.select(TokenRow.id, TokenRow.name))
        assert {(token.id, token.name) for token in made} == {tuple(row) for row in held}


async def test_a_row_of_nothing_but_defaults(any_tables: WithTables) -> None:
    """Specs without fields make rows of defaults, one each."""

    class Base(DeclarativeBase):
        pass

    class CounterRow(Base):
        __tablename__ = "counters"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[int] = mapped_column(server_default="7")

    @dataclass(frozen=True)
    class Counter:
        id: int
        value: int

    @dataclass(frozen=True)
    class CounterCreate(Spec[CounterRow]):
        pass

    async with any_tables(CounterRow) as db, db.begin_session() as db_sess:
        made = await BatchCreator(CounterRow, into=Counter).create(db_sess, [CounterCreate()] * 3)
        assert made == [Counter(1, 7), Counter(2, 7), Counter(3, 7)]


async def test_models_and_composite_keys(any_tables: WithTables) -> None:
    """Pydantic specs and data go the same ways as dataclasses, with a key of several columns."""

    class MemberModel(BaseModel, Spec[MemberRow]):
        group_id: int
        email: str
        weight: int = 2

    class MemberSeen(BaseModel):
        email: str
        weight: int
        group_id: int

    async with groups_in(any_tables) as groups, groups.db.begin_session() as db_sess:
        specs = [MemberModel(group_id=place % 2 + 1, email=f"{place}@x") for place in range(6)]
        made = await BatchCreator(MemberRow, into=MemberSeen).create(db_sess, specs)
        assert made == [MemberSeen(email=spec.email, weight=2, group_id=spec.group_id) for spec in specs]
        with pytest.raises(ReferenceNotFound):
            await BatchCreator(MemberRow, into=MemberSeen).create(db_sess, [MemberModel(group_id=99, email="x")])
        await db_sess.rollback()


async def test_values_and_data_made_by_hand(any_tables: WithTables) -> None:
    """A spec's own ``to_values`` and a repository's own ``to_data`` are used for every row."""

    @dataclass(frozen=True)
    class Handmade(Spec[GroupRow]):
        path: str

        def to_values(self) -> dict[str, Any]:
            domain, name = self.path.split("/")
            return {"domain_name": domain, "name": name}

    class Paths(Repository[GroupRow, str, int]):
        def to_data(self, row: GroupRow) -> str:
            return f"{row.domain_name}/{row.name}"

    async with groups_in(any_tables) as groups:
        paths = Paths(groups.db)
        specs = [Handmade("a/x"), Handmade("b/y"), Handmade("a/z")]
        assert await paths.batch_create(specs) == ["a/x", "b/y", "a/z"]
        assert await paths.load([Handmade("c/x")]) == 1
        with pytest.raises(MappingError, match="'nonsense' is no column of GroupRow"):
            await paths.batch_create([type("Wrong", (Handmade,), {"to_values": lambda self: {"nonsense": 1}})("a/b")])


async def test_statements_do_not_depend_on_the_number_of_rows(any_tables: WithTables) -> None:
    """Within a chunk, ten rows and a thousand take as many statements."""
    async with groups_in(any_tables) as groups:
        counts: list[int] = []
        for domain, number in (("x", 10), ("y", 1000)):
            with count_statements(groups.db) as sent:
                await groups.batch_create(named(number, domain), scope=DomainScope(domain))
            counts.append(len(sent))
        assert counts[0] == counts[1] <= 2


async def test_forty_thousand_specs_in_one_call(any_tables: WithTables) -> None:
    """No limit of a protocol is met, and every row is there once."""
    async with groups_in(any_tables) as groups:
        seen: list[int] = []
        made = await groups.batch_create(named(40_000), progress=seen.append)
        assert len({data.id for data in made}) == 40_000
        assert [data.size for data in made] == list(range(40_000))
        assert seen[-1] == 40_000
        assert seen == sorted(set(seen))


async def test_row_security_is_obeyed(with_tables: WithTables) -> None:
    """COPY is not possible under row security; the rows go another way, and its policies hold."""
    async with groups_in(with_tables) as groups, groups.db.begin_session() as db_sess:
        for sql in (
            "ALTER TABLE groups ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY own ON groups USING (domain_name = 'a')",
            "CREATE ROLE rowsmith_tenant",
            "GRANT ALL ON groups, groups_id_seq TO rowsmith_tenant",
            "SET LOCAL ROLE rowsmith_tenant",
        ):
            await db_sess.execute(sa.text(sql))
        creator = BatchCreator(GroupRow, into=GroupName)
        assert len(await creator.create(db_sess, named(3))) == 3
        with pytest.raises(CheckViolation, match="row-level security"):
            await creator.create(db_sess, named(3, "b"))
        await db_sess.rollback()


# Bad input


@pytest.mark.parametrize(
    "bad, complaint",
    [
        (GroupCreate("a", "n\x00"), "GroupRow.name cannot hold a NUL character"),
        (GroupCreate("a", "\ud800secret"), "GroupRow.name cannot hold a lone surrogate"),
        (GroupCreate("a", "x", 2**31), "GroupRow.size holds integers"),
        (GroupCreate("a", "x", True), "GroupRow.size holds integers"),
        (GroupCreate("a" * 21, "x"), "GroupRow.domain_name holds at most 20 characters"),
        (GroupCreate("a", b"secret"), "GroupRow.name holds text"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ],
)
@pytest.mark.parametrize("into", [GroupData, GroupName])
async def test_a_bad_value_is_refused_with_its_index(
    any_tables: WithTables, bad: GroupCreate, complaint: str, into: type[Any]
) -> None:
    """The index and the column are named, never the value; nothing is written, and the transaction goes on."""
    async with groups_in(any_tables) as groups:
        before = await stored(groups.db)
        async with groups.db.begin_session() as db_sess:
            specs = [*named(1500), bad, *named(3)]
            with pytest.raises(InvalidValue, match=f"the spec at index 1500: {complaint}") as caught:
                await BatchCreator(GroupRow, into=into).create(db_sess, specs)
            assert "secret" not in repr(caught.value)
            assert caught.value.error_code == "group_batch-create_invalid-value"
            assert await db_sess.scalar(sa.select(sa.func.count()).select_from(GroupRow)) == 4
        assert await stored(groups.db) == before


@dataclass(frozen=True)
class Sparse(Spec[GroupRow]):
    domain_name: str
    name: str
    size: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class Noted(Spec[GroupRow]):
    domain_name: str
    name: str
    note: TriState[str] = TriState.nop()
    created_at: OptionalState[dt.datetime] = OptionalState.nop()


@dataclass(frozen=True)
class Shouted(Sparse):
    def to_values(self) -> dict[str, Any]:
        return {**super().to_values(), "note": "loud"}


async def test_specs_may_set_different_fields(any_tables: WithTables) -> None:
    """Of one class or of several; what they leave out is what the database makes of it; order is the input's."""
    then, size = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), OptionalState.update(3)
    specs: list[Spec[GroupRow]] = [
        Sparse("a", "z"),
        Noted("a", "y", TriState.update("n")),
        Sparse("a", "x", size),
        GroupCreate("a", "w", 4),
        Noted("a", "v", created_at=OptionalState.update(then)),
        Shouted("a", "u"),
        Shouted("a", "t", size),
        Noted("a", "s", TriState.nullify()),
    ]
    async with groups_in(any_tables) as groups:
        for into in (GroupData, GroupName):
            async with groups.db.begin_session() as db_sess:
                told: list[int] = []
                made: list[Any] = await BatchCreator(GroupRow, into=into).create(db_sess, specs, progress=told.append)
                assert [data.name for data in made] == list("zyxwvuts")
                assert told[-1] == len(specs)
                rows = await db_sess.scalars(sa.select(GroupRow).where(GroupRow.name.in_(list("zyxwvuts"))))
                held = {row.name: (row.size, row.note, row.created_at == then) for row in rows}
                await db_sess.rollback()
            assert [held[name] for name in "zyxwvuts"] == [
                (0, None, False),
                (0, "n", False),
                (3, None, False),
                (4, None, False),
                (0, None, True),
                (0, "loud", False),
                (3, "loud", False),
                (0, None, False),
            ]


async def test_specs_of_different_fields_are_written_all_or_none(any_tables: WithTables) -> None:
    """One that breaks a constraint, or that its type refuses, undoes the statements before; its index is named."""
    async with groups_in(any_tables) as groups:
        before = await stored(groups.db)
        bad = GroupCreate("a", "one")
        async with groups.db.unit_of_work():
            with pytest.raises(InvalidValue, match=r"the spec at index 2: GroupRow\.size"):
                await groups.batch_create([Sparse("a", "x"), GroupCreate("a", "y", 1), GroupCreate("a", "z", 2**31)])
        with pytest.raises(GroupNameTaken):
            await groups.batch_create([Sparse("a", "x"), Noted("a", "y"), bad])
        assert await stored(groups.db) == before
        result = await groups.batch_create_partial([bad, Sparse("a", "x"), Noted("a", "y"), Sparse("a", "n\x00"), bad])
        assert [(item.index, item.data.name) for item in result.succeeded] == [(1, "x"), (2, "y")]
        assert [(item.index, type(item.error)) for item in result.failed] == [
            (0, GroupNameTaken),
            (3, InvalidValue),
            (4, GroupNameTaken),
        ]


async def test_rows_go_in_the_order_of_their_key(with_tables: WithTables) -> None:
    """So that batches which clash wait for each other; on a table of several statements, too."""
    async with groups_in(with_tables) as groups:
        names = [f"n{place:02}" for place in range(20)]

        async def send(turn: int) -> None:
            mine = names if turn % 2 else names[::-1]
            kinds: list[Any] = [*[Sparse, Noted, GroupCreate][turn % 3 :], Sparse]
            with contextlib.suppress(GroupNameTaken):
                await groups.batch_create([kinds[place % len(kinds)]("a", name) for place, name in enumerate(mine)])

        for _ in range(5):
            await asyncio.gather(*(send(turn) for turn in range(6)))
            assert await groups.purge_where([GroupRow.name.in_(names)])


async def test_what_is_no_spec_of_the_row_is_refused(any_tables: WithTables) -> None:
    """A spec of another row, or something else, is an error of the programmer's; so is an expression."""

    @dataclass(frozen=True)
    class Timed(Spec[GroupRow]):
        domain_name: str
        name: str
        created_at: Any

    async with groups_in(any_tables) as groups:
        for wrong in (WideCreate(), object()):
            with pytest.raises(MappingError):
                await groups.batch_create([GroupCreate("a", "x"), wrong])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
        now = dt.datetime.now(dt.UTC)
        with pytest.raises(InvalidValue, match=r"index 1: GroupRow.created_at is a SQL expression"):
            await groups.batch_create([Timed("a", "x", now), Timed("a", "y", sa.func.now())])


# Constraints


@pytest.mark.parametrize("into", [GroupData, GroupName])
async def test_a_constraint_refuses_the_whole_batch(any_tables: WithTables, into: type[Any]) -> None:
    """The domain's own error comes, without values or the driver's words; a swallowed one ends the transaction."""
    async with groups_in(any_tables) as groups:
        before = await stored(groups.db)
        creator = BatchCreator(GroupRow, into=into, violations={"uq_groups_live": GroupNameTaken})
        with pytest.raises(TransactionAborted):
            async with groups.db.begin_session() as db_sess:
                with pytest.raises(GroupNameTaken) as caught:
                    await creator.create(db_sess, [*named(3), GroupCreate("a", "one")])
                assert (caught.value.__cause__, caught.value.__context__) == (None, None)
                assert caught.value.facts.constraint == "uq_groups_live"
        with pytest.raises(CheckViolation):
            async with groups.db.begin_session() as db_sess:
                await creator.create(db_sess, [*named(3), GroupCreate("a", "minus", -1)])
        assert await stored(groups.db) == before


async def test_a_savepoint_around_a_failed_batch_saves_the_rest(any_tables: WithTables) -> None:
    """In a nested unit of work only the batch is lost."""
    async with groups_in(any_tables) as groups:
        async with groups.db.unit_of_work():
            await groups.batch_create(named(2))
            with pytest.raises(GroupNameTaken):
                async with groups.db.unit_of_work():
                    await groups.batch_create([*named(2, "b"), GroupCreate("a", "one")])
            await groups.batch_create(named(2, "c"))
        assert await groups.count() == 3 + 4


async def test_a_reading_session_refuses(any_tables: WithTables) -> None:
    """COPY and arrays are refused in a read-only session as any other write."""
    async with groups_in(any_tables) as groups:
        for into in (GroupData, GroupName):
            with pytest.raises(ReadOnlyViolation):
                async with groups.db.begin_readonly_session() as db_sess:
                    await BatchCreator(GroupRow, into=into).create(db_sess, named(1))


# Scopes


async def test_a_scope_is_stamped_onto_every_row(any_tables: WithTables) -> None:
    """Rows take the scope's values; a spec that says otherwise is refused with its index."""

    @dataclass(frozen=True)
    class Bare(Spec[GroupRow], filled={"domain_name"}):
        name: str

    async with groups_in(any_tables) as groups:
        made = await groups.batch_create([Bare("x"), Bare("y")], scope=DomainScope("b"))
        assert {data.domain_name for data in made} == {"b"}
        with pytest.raises(ScopeMismatch, match=r"index 2: GroupRow.domain_name is fixed by the scope"):
            await groups.batch_create([*named(2, "b"), GroupCreate("a", "z")], scope=DomainScope("b"))


async def test_what_cannot_be_stamped_is_verified(any_tables: WithTables) -> None:
    """All rows are held against the scope together, and undone together; the transaction goes on."""
    async with groups_in(any_tables) as groups:
        scope = AnyOf(DomainScope("a"), DomainScope("b"))
        assert len(await groups.batch_create([*named(2), *named(2, "b")], scope=scope)) == 4
        before = await stored(groups.db)
        async with groups.db.begin_session() as db_sess:
            for into in (GroupData, GroupName):
                with pytest.raises(ScopeMismatch, match=r"index 1 would leave its scope"):
                    specs = [GroupCreate("a", "new"), GroupCreate("c", "new")]
                    await BatchCreator(GroupRow, into=into).create(db_sess, specs, scope=scope)
        assert await stored(groups.db) == before


async def test_existence_is_checked_once(any_tables: WithTables) -> None:
    """The scope's checks run in one statement for all rows, and give the declared error."""
    async with groups_in(any_tables) as groups:
        with pytest.raises(DomainNotFound):
            await groups.batch_create(named(2, "zz"), scope=CheckedScope("zz"))
        with count_statements(groups.db) as sent:
            await groups.batch_create(named(20), scope=CheckedScope("a"))
        assert sum("FROM domains" in sql for sql in sent) == 1


# Loading


async def test_an_endless_iterator_is_loaded_in_chunks(any_tables: WithTables) -> None:
    """No more than a chunk is taken from the iterator at a time, and progress is told after each."""
    taken, alive = 0, list[tuple[int, int]]()

    def specs() -> Iterator[GroupCreate]:
        nonlocal taken
        for spec in named(2500):
            taken += 1
            yield spec

    async with groups_in(any_tables) as groups:
        loaded = await groups.load(specs(), chunk_size=1000, progress=lambda done: alive.append((done, taken)))
        assert loaded == 2500
        assert alive == [(1000, 1000), (2000, 2000), (2500, 2500)]
        assert await groups.count() == 3 + 2500
        with pytest.raises(InvalidValue, match="chunk_size is 0"):
            await groups.load([], chunk_size=0)


async def test_chunks_go_in_one_copy(with_tables: WithTables, caplog: pytest.LogCaptureFixture) -> None:
    """As many as set the same fields; where the iterator awaits, each has its own, for it may use the connection."""
    caplog.set_level(logging.DEBUG, "rowsmith.operations.inserts.many")

    async def later() -> AsyncGenerator[GroupCreate]:
        for spec in named(30, "c"):
            yield spec

    async with groups_in(with_tables) as groups:
        assert await groups.load(iter(named(30)), chunk_size=10) == 30
        mixed = [*named(15, "b"), *(Sparse("b", f"s{place}") for place in range(15)), *map(GroupCreate, "bb", "xy")]
        assert await groups.load(mixed, chunk_size=10) == 32
        assert await groups.load(later(), chunk_size=10) == 30
        assert await groups.count() == 3 + 92
    sizes = [int(record.getMessage().partition(" ")[0]) for record in caplog.records]
    assert sizes == [10, 10, 10, 2, 10, 10, 10]


async def test_a_load_is_the_same_in_any_chunks(any_tables: WithTables) -> None:
    """Whatever its specs set, and in whatever order they come."""
    names = [f"n{place * 7 % 20:02}" for place in range(20)]
    kinds: list[Any] = [Sparse, Sparse, Noted, GroupCreate, GroupCreate, Shouted]
    specs = [kinds[place // 2 % len(kinds)]("a", name) for place, name in enumerate(names)]
    async with groups_in(any_tables) as groups:
        for size in (1, 3, 7, 20):
            told = list[int]()
            async with groups.db.begin_session() as db_sess:
                loading = BatchCreator(GroupRow, into=GroupName).load(
                    db_sess, iter(specs), chunk_size=size, progress=told.append
                )
                assert await loading == 20
                held = (
                    await db_sess.execute(sa.select(GroupRow.name, GroupRow.note).where(GroupRow.name.in_(names)))
                ).all()
                await db_sess.rollback()
            assert sorted(tuple(row) for row in held) == sorted(
                (name, "loud" if isinstance(spec, Shouted) else None) for name, spec in zip(names, specs, strict=True)
            )
            assert told == sorted(set(told))
            assert told[-1] == 20


async def test_a_load_names_the_row_of_any_chunk(with_tables: WithTables) -> None:
    """What does not fit, by its index in the whole input; what a constraint refuses leaves nothing either."""
    backwards = [GroupCreate("a", f"n{place:02}") for place in range(20)][::-1]
    async with groups_in(with_tables) as groups, groups.db.unit_of_work():
        for bad, error in {
            GroupCreate("a", "one"): GroupNameTaken,
            GroupCreate("a", "x", 2**31): InvalidValue,
        }.items():
            for place in (3, 12, 19):
                specs = [*backwards[:place], bad, *backwards[place:]]
                with pytest.raises(error) as caught:
                    await groups.load(iter(specs), chunk_size=5)
                assert error is not InvalidValue or f"the spec at index {place}: " in str(caught.value)
        assert await groups.count() == 3


async def test_loading_is_all_or_nothing(any_tables: WithTables) -> None:
    """A bad spec in a late chunk, or an iterator that fails, leaves nothing, even where the error is swallowed."""

    def failing() -> Iterator[GroupCreate]:
        yield from named(1500)
        raise ZeroDivisionError

    async with groups_in(any_tables) as groups:
        async with groups.db.unit_of_work():
            await groups.create(GroupCreate("a", "kept"))
            with pytest.raises(InvalidValue, match=r"index 1500"):
                await groups.load([*named(1500), GroupCreate("a", "\x00")], chunk_size=500)
            with pytest.raises(ZeroDivisionError):
                await groups.load(failing(), chunk_size=500)
        assert await groups.count() == 4


async def test_the_iterator_may_read_in_the_same_transaction(any_tables: WithTables) -> None:
    """Rows read in a unit of work are loaded again in the same one."""
    async with groups_in(any_tables) as groups:
        await groups.batch_create(named(30))

        async def copies() -> AsyncGenerator[GroupCreate]:
            for name in [f"n{place:06}" for place in range(30)]:
                (found,) = (await groups.search(None, [GroupRow.name == name, GroupRow.domain_name == "a"])).items
                yield GroupCreate("copies", found.name, found.size)

        async with groups.db.unit_of_work():
            assert await groups.load(copies(), chunk_size=7) == 30
        assert await groups.count(DomainScope("copies")) == 30


# Faults


async def test_a_batch_cancelled_in_the_middle_leaves_nothing(with_tables: WithTables) -> None:
    """Wherever a COPY is cancelled, nothing is kept, and the pool's connections work."""
    async with groups_in(with_tables) as groups:
        with pytest.raises(TransactionError):
            async with groups.db.begin_session() as db_sess:
                task = asyncio.ensure_future(BatchCreator(GroupRow, into=GroupName).create(db_sess, named(20_000)))
                await asyncio.sleep(0.02)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        for delay in (0, 0.001, 0.003, 0.01, 0.03):
            batch = asyncio.ensure_future(groups.load(named(20_000)))
            await asyncio.sleep(delay)
            batch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await batch
            assert await groups.count() == 3
        assert len(await groups.batch_create(named(10))) == 10


async def test_a_backend_killed_in_the_middle_is_told_as_such(with_tables: WithTables, database: Database) -> None:
    """A lost connection is no constraint's fault: the typed error comes, nothing is kept, and the pool heals."""
    async with groups_in(with_tables) as groups:

        async def killing() -> AsyncGenerator[GroupCreate]:
            for place, spec in enumerate(named(3000)):
                if place == 2500:
                    async with database.engine.connect() as other:
                        await other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
                yield spec

        with pytest.raises(DatabaseUnavailable):
            async with groups.db.begin_session() as db_sess:
                pid = await db_sess.scalar(sa.text("SELECT pg_backend_pid()"))
                await BatchCreator(GroupRow, into=GroupName).load(db_sess, killing(), chunk_size=1000)
        assert await groups.count() == 3


async def test_memory_is_flat_while_rows_are_loaded(any_tables: WithTables) -> None:
    """Of specs that are made one by one only those of a chunk or two are there at any time."""
    there, most = WeakSet[GroupCreate](), 0

    def made() -> Iterator[GroupCreate]:
        nonlocal most
        for place in range(600):
            spec = GroupCreate("a", f"n{place:03}", place)
            there.add(spec)
            most = max(most, len(there))
            yield spec

    async with groups_in(any_tables) as groups, groups.db.begin_session() as db_sess:
        assert await BatchCreator(GroupRow).load(db_sess, made(), chunk_size=50) == 600
    assert most <= 102
