"""Partial batches: each item's own outcome."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    BatchCreator,
    CheckViolation,
    Database,
    DatabaseUnavailable,
    EntityAlreadyExists,
    InvalidValue,
    NotNullViolation,
    ReferenceNotFound,
    Repository,
    ScopeMismatch,
    Spec,
)
from rowsmith.operations import make_entity
from rowsmith.operations.call import Call
from rowsmith.operations.partial import Diagnosis, run_partial
from rowsmith.testing import WithTables
from support import count_statements
from tenants import DomainScope, GroupCreate, GroupData, GroupNameTaken, GroupRow, groups_in, stored


class Base(DeclarativeBase):
    pass


class ShelfRow(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)


class BookRow(Base):
    __tablename__ = "books"
    __table_args__ = (sa.CheckConstraint("pages > 0", name="ck_pages"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(unique=True)
    pages: Mapped[int]
    shelf_id: Mapped[int | None] = mapped_column(sa.ForeignKey("shelves.id"))


@dataclass(frozen=True)
class Book:
    id: int
    title: str
    pages: int
    shelf_id: int | None


@dataclass(frozen=True)
class Titled:
    title: str
    pages: int


@dataclass(frozen=True)
class BookCreate(Spec[BookRow]):
    title: str | None
    pages: int = 1
    shelf_id: int | None = None


class PageRow(Base):
    """A page, which may lead to another one, and a number that somebody hands out."""

    __tablename__ = "linked_pages"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_id: Mapped[int | None] = mapped_column(sa.ForeignKey("linked_pages.id"))
    number: Mapped[int] = mapped_column(default=lambda: NUMBERS.pop())


NUMBERS = list[int]()


@dataclass(frozen=True)
class PageCreate(Spec[PageRow]):
    id: int
    next_id: int | None = None


class Pages(Repository[PageRow, PageRow, int]):
    pass


class Books(Repository[BookRow, Book, int]):
    pass


GOOD = st.builds(BookCreate, st.sampled_from([f"t{i}" for i in range(8)]), st.just(1), st.sampled_from([None, 1]))
BAD = st.sampled_from(
    [
        BookCreate("taken"),
        BookCreate(None),
        BookCreate("minus", -1),
        BookCreate("nowhere", 1, 99),
        BookCreate("nul\x00"),
        BookCreate("big", 2**40),
    ]
)
KINDS = {"taken": EntityAlreadyExists, None: NotNullViolation, "minus": CheckViolation, "nowhere": ReferenceNotFound}


def expected(specs: Sequence[BookCreate]) -> list[type[Exception] | None]:
    """The model: a title may stand once, and everything that is bad alone is bad in a batch."""
    seen, outcomes = set[str | None](), list[type[Exception] | None]()
    for spec in specs:
        kind = KINDS.get(spec.title, InvalidValue if spec.title in ("nul\x00", "big") else None)
        if kind is None and spec.title in seen:
            kind = EntityAlreadyExists
        seen.add(spec.title)
        outcomes.append(kind)
    return outcomes


@pytest.fixture
async def db_sess(any_tables: WithTables) -> AsyncIterator[AsyncSession]:
    """A session on one shelf, where one title is taken."""
    async with any_tables(ShelfRow, BookRow) as db, db.begin_session() as made:
        await made.execute(sa.insert(ShelfRow).values(id=1))
        await made.execute(sa.insert(BookRow).values(title="taken", pages=1))
        yield made


@pytest.mark.parametrize("into", [Book, Titled])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(specs=st.lists(st.one_of(GOOD, GOOD, BAD), max_size=12))
async def test_each_item_has_the_outcome_it_would_have_alone(
    db_sess: AsyncSession, into: type[Any], specs: list[BookCreate]
) -> None:
    """For any mixture, every index is in exactly one list, with its own error, and only good rows are there."""
    async with db_sess.begin_nested() as example:
        result = await BatchCreator(BookRow, into=into).create_partial(db_sess, specs)
        outcomes = {item.index: None for item in result.succeeded} | {
            item.index: type(item.error) for item in result.failed
        }
        assert [outcomes[index] for index in range(len(specs))] == expected(specs)
        assert len(result.succeeded) + len(result.failed) == len(specs)
        assert [item.title for item in result.data] == [specs[item.index].title for item in result.succeeded]
        held = set((await db_sess.scalars(sa.select(BookRow.title))).all())
        assert held == {"taken", *(item.title for item in result.data)}
        await example.rollback()


async def test_all_tries_go_through_the_items_in_their_order(db_sess: AsyncSession) -> None:
    """A suspect comes in its turn, for rows are locked and inserted in that order; so do halves."""
    kept = list[int]()

    async def attempt(part: Sequence[int]) -> list[int]:
        if len(part) > 1 and {3, 7} & set(part):
            raise InvalidValue
        if part == [7]:
            raise InvalidValue("seven")
        kept.extend(part)
        return list(part)

    async def diagnose(error: Exception, part: Sequence[int]) -> Diagnosis:
        return Diagnosis(frozenset({part.index(5)}), frozenset({part.index(3)})) if 5 in part else Diagnosis()

    result = await run_partial(Call(make_entity(BookRow), "batch_create", db_sess), range(10), attempt, diagnose)
    assert kept == result.data == [0, 1, 2, 3, 4, 6, 8, 9]
    assert [item.index for item in result.failed] == [5, 7]


async def test_the_errors_name_the_items_and_no_values(any_tables: WithTables) -> None:
    """A failure has its own index in its message, and the domain's own error for its constraint."""
    async with groups_in(any_tables) as groups:
        specs = [
            GroupCreate("a", "new"),
            GroupCreate("a", "one"),
            GroupCreate("a", "secret\x00"),
            GroupCreate("b", "x"),
        ]
        result = await groups.batch_create_partial(specs, scope=DomainScope("a"))
        assert [item.data.name for item in result.succeeded] == ["new"]
        assert [(item.index, type(item.error)) for item in result.failed] == [
            (1, GroupNameTaken),
            (2, InvalidValue),
            (3, ScopeMismatch),
        ]
        assert str(result.failed[1].error).startswith("the spec at index 2: GroupRow.name")
        assert "secret" not in repr(result)
        codes = [getattr(item.error, "error_code", None) for item in result.failed]
        assert codes == [
            f"group_batch-create-partial_{detail}" for detail in ("already-exists", "invalid-value", "scope-mismatch")
        ]


async def test_rows_of_one_batch_may_refer_to_each_other(any_tables: WithTables) -> None:
    """Those that refer to nothing, or to what failed, fail; the others stay together."""
    async with any_tables(PageRow) as db:
        NUMBERS[:] = range(99)
        specs = [PageCreate(1, 4), PageCreate(2, 99), PageCreate(3, 2), PageCreate(4, 5), PageCreate(5)]
        result = await Pages(db).batch_create_partial(specs)
        assert [item.index for item in result.succeeded] == [0, 3, 4]
        assert [(item.index, type(item.error)) for item in result.failed] == [
            (1, ReferenceNotFound),
            (2, ReferenceNotFound),
        ]


@pytest.mark.parametrize("verb", ["batch_create_partial", "batch_upsert_partial"])
async def test_a_default_that_has_no_more_to_give_fails_its_item(any_tables: WithTables, verb: str) -> None:
    """Whichever call of it that is: it is no reason for the others to be lost."""
    async with any_tables(PageRow) as db:
        pages = Pages(db)
        for left in range(8):
            NUMBERS[:] = range(left)
            result = await getattr(pages, verb)([PageCreate(10 * left + place) for place in range(2)])
            assert len(result.succeeded) + len(result.failed) == 2
            assert all(type(item.error) is IndexError for item in result.failed)
        assert await pages.count() > 0


async def test_nothing_and_nothing_good(any_tables: WithTables) -> None:
    """An empty batch is an empty result; one of nothing but bad items writes nothing."""
    async with groups_in(any_tables) as groups:
        empty = await groups.batch_create_partial([])
        assert (empty.succeeded, empty.failed) == ([], [])
        bad = await groups.batch_create_partial([GroupCreate("a", "one")] * 5)
        assert [type(item.error) for item in bad.failed] == [GroupNameTaken] * 5
        assert len(await stored(groups.db)) == 4


async def test_good_batches_cost_two_savepoints_more(any_tables: WithTables) -> None:
    """Where nothing is bad, nothing is tried twice, however many rows there are."""
    async with any_tables(ShelfRow, BookRow) as db:
        books, counts = Books(db), list[int]()
        for number in (10, 500):
            with count_statements(db) as sent:
                result = await books.batch_create_partial([BookCreate(f"{number}-{i}") for i in range(number)])
            counts.append(len([sql for sql in sent if "SAVEPOINT" not in sql]))
            assert len(result.succeeded) == number
        assert counts[0] == counts[1] <= 2


@pytest.mark.parametrize(
    "bad",
    [BookCreate("taken"), BookCreate(None), BookCreate("minus", -1), BookCreate("nowhere", 1, 99)],
    ids=lambda bad: str(bad.title),
)
async def test_bad_items_are_found_by_their_constraint(with_tables: WithTables, bad: BookCreate) -> None:
    """One query finds all rows that a constraint refuses: how many they are, and where, costs nothing."""
    async with with_tables(ShelfRow, BookRow) as db:
        books = Books(db)
        await books.create(BookCreate("taken"))
        counts: list[int] = []
        for step in (500, 100):
            specs = [BookCreate(f"{step} {i}") for i in range(1000)]
            for i in range(step // 2, 1000, step):
                specs[i] = replace(
                    bad, title=f"{bad.title} {step} {i}" if bad.title in ("minus", "nowhere") else bad.title
                )
            with count_statements(db) as sent:
                result = await books.batch_create_partial(specs)
            counts.append(len(sent))
            assert [item.index for item in result.failed] == list(range(step // 2, 1000, step))
            assert {type(item.error) for item in result.failed} == {KINDS[bad.title]}
        assert counts[0] == counts[1]


async def test_a_lost_connection_is_no_items_fault(with_tables: WithTables, database: Database) -> None:
    """It ends the batch, and nothing of it is kept."""
    async with groups_in(with_tables) as groups:

        async def killing(pid: Any) -> AsyncGenerator[GroupCreate]:
            yield GroupCreate("a", "new")
            async with database.engine.connect() as other:
                await other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            yield GroupCreate("a", "one")

        with pytest.raises(DatabaseUnavailable):
            async with groups.db.begin_session() as db_sess:
                pid = await db_sess.scalar(sa.text("SELECT pg_backend_pid()"))
                await BatchCreator(GroupRow, into=GroupData).create_partial(db_sess, killing(pid))
        assert await groups.count() == 3
