"""Rows of a session that several calls read: each keeps to what it was shown first, whatever else reads the row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from typing_extensions import override

from rowsmith import Condition, Database, OptionalState, Patch, Repository, ScopeMismatch, SearchScope, Unscoped
from rowsmith.testing import WithTables


class Base(AsyncAttrs, DeclarativeBase):
    pass


class UserRow(Base):
    __tablename__ = "twice_users"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class ProjectRow(Base):
    __tablename__ = "twice_projects"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    tasks: Mapped[list[TaskRow]] = relationship(order_by="TaskRow.id", viewonly=True)


class TaskRow(Base):
    __tablename__ = "twice_tasks"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    project_id: Mapped[int] = mapped_column(ForeignKey("twice_projects.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("twice_users.id"))
    project: Mapped[ProjectRow] = relationship(viewonly=True)
    user: Mapped[UserRow | None] = relationship(viewonly=True)
    notes: Mapped[list[NoteRow]] = relationship(order_by="NoteRow.id", viewonly=True)


class NoteRow(Base):
    __tablename__ = "twice_notes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    task_id: Mapped[int] = mapped_column(ForeignKey("twice_tasks.id"))


RELATED = frozenset({"tasks", "project", "user", "notes"})
ROWS: tuple[type[Any], ...] = (UserRow, ProjectRow, TaskRow, NoteRow)


@dataclass(frozen=True)
class TaskPatch(Patch[TaskRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    user_id: OptionalState[int] = OptionalState.nop()


class Tasks(Repository[TaskRow]):
    loads = [TaskRow.user]


class BareTasks(Repository[TaskRow]): ...


class TasksNotes(Repository[TaskRow]):
    loads = [TaskRow.notes]


class TasksBoth(Repository[TaskRow]):
    loads = [TaskRow.notes, TaskRow.user]


class Projects(Repository[ProjectRow]):
    loads = [ProjectRow.tasks]


class ProjectsNotes(Repository[ProjectRow]):
    loads = [(ProjectRow.tasks, TaskRow.notes)]


class ProjectsUsers(Repository[ProjectRow]):
    loads = [(ProjectRow.tasks, TaskRow.user)]


@dataclass(frozen=True)
class Of(SearchScope):
    row: Any
    tenant: str = "a"

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [self.row.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {row: [row.tenant == self.tenant] for row in ROWS}


TASK, PROJECT, ALL = Of(TaskRow), Of(ProjectRow), Unscoped("all of them")
SAME = TaskPatch(OptionalState.update("a"))


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Give a project of two tasks, of which one refers to another tenant's user, and has a note of theirs, too."""
    async with any_tables(*ROWS) as db:
        async with db.begin_session() as session:
            for rows in (
                [UserRow(id=1, tenant="a"), UserRow(id=2, tenant="b"), ProjectRow(id=1, tenant="a")],
                [TaskRow(id=n, tenant="a", project_id=1, user_id=3 - n) for n in (1, 2)],
                [TaskRow(id=3, tenant="b", project_id=1, user_id=2)],
                [NoteRow(id=1, tenant="a", task_id=1), NoteRow(id=2, tenant="b", task_id=1)],
            ):
                session.add_all(rows)
                await session.flush()
        yield db


def members(row: Any) -> dict[str, list[Any]]:
    """What an object has loaded of related rows, without loading anything."""
    loaded: dict[str, Any] = {name: row.__dict__[name] for name in RELATED if name in row.__dict__}
    return {name: [*value] if isinstance(value, list) else [value] for name, value in loaded.items()}


def shown(rows: Sequence[Any]) -> list[dict[str, list[Any]]]:
    return [{name: [each and each.id for each in found] for name, found in members(row).items()} for row in rows]


Reading = Callable[[Database], Awaitable[object]]

AGAIN: Mapping[str, Reading] = {
    "get": lambda db: BareTasks(db).get(1, TASK),
    "search": lambda db: BareTasks(db).search(TASK),
    "as related rows": lambda db: Projects(db).search(PROJECT),
    "related rows of one": lambda db: Projects(db).get(1, PROJECT),
    "another relationship": lambda db: TasksNotes(db).search(TASK),
    "update": lambda db: BareTasks(db).update(1, SAME, scope=TASK),
    "batch_update": lambda db: BareTasks(db).batch_update([1, 2], SAME, scope=TASK),
    "update_where": lambda db: BareTasks(db).update_where([TaskRow.id > 0], SAME, scope=TASK),
    "for all": lambda db: BareTasks(db).search(ALL),
}


@pytest.mark.parametrize("again", AGAIN)
async def test_what_a_row_shows_stays(db: Database, again: str) -> None:
    """Though another call reads the row without it."""
    async with db.begin_session() as session:
        tasks = list(await Tasks(db, resilience=None).search(TASK, orders=[TaskRow.id]))
        await AGAIN[again](db)
        assert [row["user"] for row in shown(tasks)] == [[None], [1]]
        session.expire_all()
        for task, user in zip(tasks, (None, 1), strict=True):
            found = await task.awaitable_attrs.user
            assert (found and found.id) == user


async def test_a_row_that_refers_to_another_shows_it_no_more(db: Database) -> None:
    """What its key led to is not what it leads to now; touched, that is loaded within the scope."""
    async with db.begin_session():
        (task,) = await Tasks(db, resilience=None).search(TASK, [TaskRow.id == 2])
        await BareTasks(db).update(2, TaskPatch(user_id=OptionalState.update(2)), scope=ALL)
        assert task.user_id == 2
        assert await task.awaitable_attrs.user is None


async def _expire(session: AsyncSession) -> None:
    session.expire_all()


async def _undo(session: AsyncSession) -> None:
    savepoint = await session.begin_nested()
    await savepoint.rollback()


@pytest.mark.parametrize("lose", [_expire, _undo])
async def test_rows_that_come_again_as_related_ones(db: Database, lose: Callable[[AsyncSession], Any]) -> None:
    """They load within their scope what those that bring them do not name."""
    async with db.begin_session() as session:
        (project,) = await Projects(db, resilience=None).search(PROJECT)
        tasks = list(await Tasks(db, resilience=None).search(TASK, orders=[TaskRow.id]))
        await lose(session)
        await session.refresh(project)
        for task, user in zip(tasks, (None, 1), strict=True):
            found = await task.awaitable_attrs.user
            assert (found and found.id) == user


# What is read first, for one tenant, and what is read for all of them then.
OTHERS: Mapping[str, tuple[Reading, Reading]] = {
    "another relationship": (lambda db: Tasks(db).search(TASK), lambda db: TasksNotes(db).search(ALL)),
    "both": (lambda db: Tasks(db).search(TASK), lambda db: TasksBoth(db).search(ALL)),
    "as related rows": (lambda db: Tasks(db).search(TASK), lambda db: ProjectsNotes(db).search(ALL)),
    "as related rows, the same": (lambda db: Tasks(db).search(TASK), lambda db: ProjectsUsers(db).search(ALL)),
    "below what is shown": (lambda db: Projects(db).search(PROJECT), lambda db: ProjectsNotes(db).search(ALL)),
    "of what is shown": (lambda db: Projects(db).search(PROJECT), lambda db: TasksNotes(db).search(ALL)),
    "one of them": (lambda db: Tasks(db).search(TASK), lambda db: TasksNotes(db).get(1, ALL)),
    "all, then one tenant": (lambda db: Tasks(db).search(ALL), lambda db: TasksNotes(db).search(TASK)),
}


@pytest.mark.parametrize("case", OTHERS)
async def test_a_row_shows_its_related_rows_to_one_scope(db: Database, case: str) -> None:
    """Whichever of them; a call that is refused leaves all objects as they were."""
    first, then = OTHERS[case]
    async with db.begin_session() as session:
        given: Any = await first(db)
        rows = list(given)
        reached = (
            [task for row in rows for task in getattr(row, "tasks", ())] if isinstance(rows[0], ProjectRow) else []
        )
        before = shown([*rows, *reached])
        with pytest.raises(ScopeMismatch):
            await then(db)
        assert shown([*rows, *reached]) == before
        assert session.in_transaction()


ALIKE: Mapping[str, tuple[Reading, Reading]] = {
    "by another class": (lambda db: Projects(db).search(PROJECT), lambda db: Tasks(db).search(TASK)),
    "the other way": (lambda db: Tasks(db).search(TASK), lambda db: ProjectsNotes(db).search(PROJECT)),
    "another relationship": (lambda db: Tasks(db).search(TASK), lambda db: TasksBoth(db).search(TASK)),
}


@pytest.mark.parametrize("case", ALIKE)
async def test_scopes_on_several_classes_that_say_the_same(db: Database, case: str) -> None:
    """They are one tenant's: rows show more, and no others."""
    first, then = ALIKE[case]
    async with db.begin_session():
        given: Any = await first(db)
        rows = list(given)
        await then(db)
        for row in [*rows, *(task for each in rows for task in (each.tasks if isinstance(each, ProjectRow) else ()))]:
            for found in members(row).values():
                assert {each.tenant for each in found if each is not None} <= {"a"}
