"""Numbers that count up within a parent, and rows created in a tree."""

from __future__ import annotations

import asyncio
import types
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    BatchCreator,
    Conflict,
    Creator,
    EntityAlreadyExists,
    InvalidValue,
    MappingError,
    NextValue,
    ReferenceNotFound,
    Repository,
    Spec,
)
from rowsmith.testing import WithTables
from support import count_statements
from tenants import stored


class Base(DeclarativeBase):
    pass


class ProjectRow(Base):
    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    tickets: Mapped[list[TicketRow]] = relationship(back_populates="project")


class TicketRow(Base):
    __tablename__ = "tickets"
    __table_args__ = (sa.UniqueConstraint("project_id", "number", name="uq_tickets_number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(sa.ForeignKey("projects.id", name="fk_tickets_project"))
    number: Mapped[int]
    title: Mapped[str]
    project: Mapped[ProjectRow] = relationship(back_populates="tickets")
    notes: Mapped[list[NoteRow]] = relationship()


class NoteRow(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = mapped_column(sa.ForeignKey("tickets.id"))
    text: Mapped[str]


@dataclass(frozen=True)
class Project:
    id: int
    name: str


@dataclass(frozen=True)
class Ticket:
    project_id: int
    number: int
    title: str


@dataclass(frozen=True)
class NoteCreate(Spec[NoteRow], filled={"ticket_id"}):
    text: str


@dataclass(frozen=True)
class TicketTree(Spec[TicketRow], filled={"project_id"}):
    number: int
    title: str
    notes: tuple[NoteCreate, ...] = ()


@dataclass(frozen=True)
class ProjectTree(Spec[ProjectRow]):
    name: str
    tickets: tuple[TicketTree, ...] = ()


@dataclass(frozen=True)
class TicketCreate(Spec[TicketRow], filled={"number"}):
    project_id: int
    title: str


class ProjectNotFound(ReferenceNotFound):
    pass


class Projects(Repository[ProjectRow, Project, int]):
    pass


class Tickets(Repository[TicketRow, Ticket, int]):
    next_value = NextValue(TicketRow.number, within=TicketRow.project_id)
    violations = {"fk_tickets_project": ProjectNotFound}


async def test_numbers_count_up_within_the_parent(any_tables: WithTables) -> None:
    """Each parent has its own numbers, from one, in input order; single creates go on from there."""
    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:
        await Projects(db).batch_create([ProjectTree("p"), ProjectTree("q")])
        tickets = Tickets(db)
        made = await tickets.batch_create([TicketCreate(place, "t") for place in (1, 2, 1, 1, 2)])
        assert [(ticket.project_id, ticket.number) for ticket in made] == [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)]
        assert (await tickets.create(TicketCreate(2, "t"))).number == 3


@dataclass(frozen=True)
class TicketWithId(Spec[TicketRow], filled={"number"}):
    id: int
    project_id: int
    title: str


@pytest.mark.parametrize("verb", ["batch_create", "batch_create_partial"])
async def test_numbers_follow_the_input(any_tables: WithTables, verb: str) -> None:
    """Whatever the order of the keys, in which rows are inserted."""
    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:
        project = (await Projects(db).create(ProjectTree("p"))).id
        made = await getattr(Tickets(db), verb)([TicketWithId(9 - n, project, str(n)) for n in range(1, 4)])
        data = made.data if verb == "batch_create_partial" else made
        assert [(item.number, item.title) for item in data] == [(1, "1"), (2, "2"), (3, "3")]


async def test_numbers_have_no_gaps_whoever_creates_at_once(any_tables: WithTables) -> None:
    """Concurrent creates, some of which are rolled back, leave every number there once."""

    class Rollback(Exception):
        pass

    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:
        await Projects(db).batch_create([ProjectTree("p"), ProjectTree("q")])
        tickets = Tickets(db)

        async def work(place: int) -> None:
            for turn in range(4):
                specs = [TicketCreate(1 + (place + turn + item) % 2, "t") for item in range(3)]
                if place % 3:
                    await tickets.batch_create(specs)
                    continue
                with pytest.raises(Rollback):
                    async with db.unit_of_work():
                        await tickets.batch_create(specs)
                        raise Rollback

        await asyncio.gather(*map(work, range(8)))
        held = await stored(db, sa.select(TicketRow.project_id, TicketRow.number))
        for project, count in Counter(project for project, _ in held).items():
            assert sorted(number for owner, number in held if owner == project) == list(range(1, count + 1))


async def test_an_absent_parent_is_told_clearly(any_tables: WithTables) -> None:
    """The error declared for the foreign key comes before anything is written; the transaction goes on."""
    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:
        await Projects(db).create(ProjectTree("p"))
        tickets = Tickets(db)
        async with db.unit_of_work():
            with pytest.raises(ProjectNotFound, match="the projects row to count within does not exist") as caught:
                await tickets.batch_create([TicketCreate(1, "t"), TicketCreate(99, "t")])
            assert caught.value.error_code == "ticket_batch-create_reference-not-found"
            assert (await tickets.create(TicketCreate(1, "t"))).number == 1


async def test_a_number_is_not_given(any_tables: WithTables) -> None:
    """A spec that numbers itself is refused, where the repository does it."""
    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:

        @dataclass(frozen=True)
        class Own(Spec[TicketRow]):
            project_id: int
            number: int
            title: str

        with pytest.raises(InvalidValue, match=r"TicketRow.number is numbered here"):
            await Tickets(db).create(Own(1, 7, "t"))


def declared_with(**attributes: Any) -> None:
    types.new_class("Wrong", (Repository[TicketRow, Ticket, int],), {}, lambda body: body.update(attributes))


def test_a_wrong_declaration_fails_with_the_class() -> None:
    """A number within what is no foreign key, or of another row, is an error when the class is made."""
    for next_value in (NextValue(TicketRow.number, within=TicketRow.title), NextValue(NoteRow.text, TicketRow.id)):
        with pytest.raises(MappingError, match="NextValue"):
            types.new_class(
                "Wrong", (Repository[TicketRow, Ticket, int],), {}, lambda body, n=next_value: body.update(next_value=n)
            )


# Trees


def forest(count: int) -> list[ProjectTree]:
    notes = (NoteCreate("n1"), NoteCreate("n2"))
    return [
        ProjectTree(f"p{place}", tuple(TicketTree(number, f"{place}.{number}", notes) for number in range(place % 3)))
        for place in range(count)
    ]


async def test_a_tree_is_created_level_by_level(any_tables: WithTables) -> None:
    """Rows below get the key of their row; each level is one statement, however many rows it has."""
    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:
        projects, counts = Projects(db), list[int]()
        for size in (6, 300):
            with count_statements(db) as sent:
                made = await projects.batch_create(
                    [ProjectTree(f"{size} {tree.name}", tree.tickets) for tree in forest(size)]
                )
            counts.append(len([sql for sql in sent if "SAVEPOINT" not in sql]))
            assert len(made) == size
        assert counts[0] == counts[1] <= 4
        joined = sa.select(ProjectRow.name, TicketRow.title, sa.func.count(NoteRow.id)).join(ProjectRow.tickets)
        rows = await stored(db, joined.join(TicketRow.notes).group_by(ProjectRow.name, TicketRow.title))
        assert len(rows) == 6 + 300
        assert all(name.split("p")[1] == title.split(".")[0] and notes == 2 for name, title, notes in rows)


async def test_a_single_tree(any_tables: WithTables) -> None:
    """``create`` takes a tree too, and gives the data of the row at its top."""
    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:
        made = await Projects(db).create(forest(3)[2])
        assert made == Project(1, "p2")
        assert len(await stored(db, sa.select(NoteRow.id))) == 4


async def test_a_tree_is_created_whole_or_not_at_all(any_tables: WithTables) -> None:
    """What is wrong far below undoes the rows above, even where the error is swallowed."""
    bad_value = ProjectTree("p", (TicketTree(1, "t", (NoteCreate("ok"), NoteCreate("\x00"))),))
    twice = ProjectTree("q", (TicketTree(1, "t"), TicketTree(1, "t")))
    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:
        projects = Projects(db)
        async with db.unit_of_work():
            with pytest.raises(InvalidValue, match=r"index 0: NoteRow.text"):
                await projects.batch_create([bad_value])
            with pytest.raises(EntityAlreadyExists) as caught:
                await projects.batch_create([twice])
            assert caught.value.facts.constraint == "uq_tickets_number"
            await projects.create(ProjectTree("kept"))
        assert await stored(db, sa.select(ProjectRow.name)) == [("kept",)]
        assert await stored(db, sa.select(TicketRow.id)) == []


async def test_an_upsert_takes_no_tree(any_tables: WithTables) -> None:
    """Rows below would be dropped in silence, or doubled; so a tree is refused."""
    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:
        with pytest.raises(MappingError, match="create the tickets by themselves"):
            await Projects(db).upsert(forest(3)[2], conflict=Conflict(columns=[ProjectRow.name]))


async def test_a_tree_does_not_grow_upwards(any_tables: WithTables) -> None:
    """A spec cannot bring the row that its own row refers to."""

    @dataclass(frozen=True)
    class Upwards(Spec[TicketRow], filled={"project_id"}):
        number: int
        title: str
        project: ProjectTree

    async with any_tables(ProjectRow, TicketRow, NoteRow) as db:

        class Plain(Repository[TicketRow, Ticket, int]):
            pass

        with pytest.raises(MappingError, match="not rows that it refers to"):
            await Plain(db).batch_create([Upwards(1, "t", ProjectTree("p"))])


async def test_an_absent_parent_is_the_declared_error_of_a_nameless_foreign_key(any_tables: WithTables) -> None:
    """A foreign key without a name goes by the one that PostgreSQL gives to it, here as everywhere."""

    class NamelessBase(DeclarativeBase):
        pass

    class ShelfRow(NamelessBase):
        __tablename__ = "nameless_shelves"
        id: Mapped[int] = mapped_column(primary_key=True)

    class BookRow(NamelessBase):
        __tablename__ = "nameless_books"
        id: Mapped[int] = mapped_column(primary_key=True)
        shelf_id: Mapped[int] = mapped_column(sa.ForeignKey("nameless_shelves.id"))
        number: Mapped[int]

    class NoShelf(ReferenceNotFound):
        pass

    @dataclass(frozen=True)
    class BookCreate(Spec[BookRow], filled={"number"}):
        shelf_id: int

    async with any_tables(ShelfRow, BookRow) as db, db.begin_session() as db_sess:
        rules = {"nameless_books_shelf_id_fkey": NoShelf}
        books = Creator(BookRow, violations=rules, next_value=NextValue(BookRow.number, within=BookRow.shelf_id))
        with pytest.raises(NoShelf):
            await books.create(db_sess, BookCreate(7))


# Classes that share a table

NUMBERED: dict[str, Callable[[], Any]] = {
    "parent": lambda: sa.UniqueConstraint("project_id", "number"),
    "more than the parent": lambda: sa.UniqueConstraint("tenant", "project_id", "number"),
    "index": lambda: sa.Index("ix_kinds_number", "tenant", "project_id", "number", unique=True),
    "partial index": lambda: sa.Index(
        *("ix_kinds_number", "project_id", "number"),
        unique=True,
        postgresql_where=sa.text("id > 0"),
        sqlite_where=sa.text("id > 0"),
    ),
    "none": lambda: sa.Index("ix_kinds_number", "number"),
}


@pytest.mark.parametrize("declared", NUMBERED)
async def test_classes_count_together_where_a_unique_key_has_the_number_in_it(
    any_tables: WithTables, declared: str
) -> None:
    """Whatever else is in the key, which knows no classes; without one each class counts for itself."""

    class KindBase(DeclarativeBase):
        pass

    class OwnerRow(KindBase):
        __tablename__ = "kind_owners"
        id: Mapped[int] = mapped_column(primary_key=True)

    class KindRow(KindBase):
        __tablename__ = "kinds"
        __table_args__ = (NUMBERED[declared](),)
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "base"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        tenant: Mapped[str] = mapped_column(server_default="a")
        project_id: Mapped[int] = mapped_column(sa.ForeignKey("kind_owners.id"))
        number: Mapped[int]

    class StoryRow(KindRow):
        __mapper_args__ = {"polymorphic_identity": "story"}

    class BugRow(KindRow):
        __mapper_args__ = {"polymorphic_identity": "bug"}

    @dataclass(frozen=True)
    class StoryCreate(Spec[StoryRow], filled={"number"}):
        project_id: int

    @dataclass(frozen=True)
    class BugCreate(Spec[BugRow], filled={"number"}):
        project_id: int

    async with any_tables(OwnerRow, KindRow) as db, db.begin_session() as db_sess:
        await db_sess.execute(sa.insert(OwnerRow).values(id=1))
        stories = Creator(StoryRow, next_value=NextValue(StoryRow.number, within=StoryRow.project_id))
        bugs = BatchCreator(BugRow, next_value=NextValue(BugRow.number, within=BugRow.project_id))
        first = await stories.create(db_sess, StoryCreate(1))
        made = await bugs.create(db_sess, [BugCreate(1), BugCreate(1)])
        last = await stories.create(db_sess, StoryCreate(1))
        numbers = [first.number, *(bug.number for bug in made), last.number]
        assert numbers == ([1, 1, 2, 2] if declared == "none" else [1, 2, 3, 4])
