"""Related rows that are sorted by what asks about others (``order_by`` of a relationship): of those inside alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship

from rowsmith import (
    Condition,
    Conflict,
    Database,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    Spec,
    related,
)
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answer
from says import Says


class Base(DeclarativeBase):
    pass


class OwnerRow(Base):
    __tablename__ = "orders_owners"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class GroupRow(Base):
    __tablename__ = "orders_groups"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    title: Mapped[str] = mapped_column(server_default="")


class NoteRow(Base):
    __tablename__ = "orders_notes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    group_id: Mapped[int] = mapped_column(sa.ForeignKey("orders_groups.id", ondelete="CASCADE"))
    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("orders_owners.id"))
    owner: Mapped[OwnerRow | None] = relationship(viewonly=True)
    group: Mapped[GroupRow] = relationship(viewonly=True)


class LinkRow(Base):
    __tablename__ = "orders_links"

    start: Mapped[int] = mapped_column(sa.ForeignKey("orders_notes.id", ondelete="CASCADE"), primary_key=True)
    end: Mapped[int] = mapped_column(sa.ForeignKey("orders_notes.id", ondelete="CASCADE"), primary_key=True)
    rank: Mapped[int] = mapped_column(server_default="1")


NOTE: Any = NoteRow
HOT = related(NoteRow.owner, OwnerRow.tenant == "b")
NOTE.is_hot = column_property(HOT, deferred=True)
NOTE.beside = relationship(
    NoteRow,
    secondary="orders_links",
    primaryjoin=NoteRow.id == LinkRow.start,
    secondaryjoin=NoteRow.id == LinkRow.end,
    order_by=[LinkRow.rank, NOTE.is_hot.desc()],
    viewonly=True,
)
GROUP: Any = GroupRow
ORDERS: dict[str, Any] = {
    "computed": lambda: NOTE.is_hot.desc(),
    "related": lambda: HOT.desc(),
    "several": lambda: [sa.func.coalesce(NoteRow.group_id, 0), sa.case((HOT, 0), else_=1)],
}
for name, order in ORDERS.items():
    setattr(GROUP, name, relationship(NoteRow, order_by=order, viewonly=True, uselist=True))
GROUP.first = relationship(NoteRow, order_by=ORDERS["related"], viewonly=True, uselist=False)


@dataclass(frozen=True)
class Leaf:
    id: int


@dataclass(frozen=True)
class Note:
    id: int
    beside: tuple[Leaf, ...]


@dataclass(frozen=True)
class Group:
    id: int
    computed: tuple[Note, ...]
    related: tuple[Leaf, ...]
    several: tuple[Leaf, ...]
    first: Leaf | None


@dataclass(frozen=True)
class WithGroup:
    group: Group


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow], filled={"tenant"}):
    id: int


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    title: OptionalState[str] = OptionalState.nop()


class Groups(Repository[GroupRow, Group, int]):
    conflict = Conflict([GroupRow.id])


class Notes(Repository[NoteRow, Leaf, int]):
    pass


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Notes 1 and 2 of a's group 1; the owner of 2 is b's."""
    async with any_tables(OwnerRow, GroupRow, NoteRow, LinkRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([OwnerRow(id=1, tenant="a"), OwnerRow(id=2, tenant="b"), GroupRow(id=1, tenant="a")])
            await db_sess.flush()
            db_sess.add_all([NoteRow(id=id, group_id=1, owner_id=id) for id in (1, 2)])
            await db_sess.flush()
            db_sess.add_all([LinkRow(start=1, end=1), LinkRow(start=1, end=2)])
        yield db


OWN = GroupRow.tenant == "a"
MINE: dict[str, Condition] = {
    "column": OwnerRow.tenant == "a",
    "subquery": OwnerRow.id.in_(sa.select(OwnerRow.id).where(OwnerRow.tenant == "a")),
    "text": sa.type_coerce(sa.text("orders_owners.tenant = 'a'"), sa.Boolean),
}
A, SILENT = Says(OWN, {OwnerRow: [MINE["column"]]}), Says(OWN)


def _sorted(*ids: int) -> Group:
    leaves = tuple(map(Leaf, ids))
    notes = tuple(Note(id, leaves if id == 1 else ()) for id in ids)
    return Group(1, notes, leaves, leaves, leaves[0])


@pytest.mark.parametrize("form", MINE)
async def test_nested_data_is_sorted_by_what_may_be_seen(db: Database, form: str) -> None:
    """Who is sorted first tells nothing of a row that is hidden, wherever the order stands."""
    groups, notes = Groups(db, resilience=None), Notes(db, resilience=None)
    narrow = Says(OWN, {OwnerRow: [MINE[form]]})
    about = Says(NoteRow.id > 0, {OwnerRow: [MINE[form]]})
    for scope, other, ids in (
        (narrow, about, (1, 2)),
        (SILENT, None, (2, 1)),
        (None, None, (2, 1)),
        (narrow, about, (1, 2)),
    ):
        data = _sorted(*ids)
        assert await groups.get(1, scope) == data
        assert [*await groups.search(scope)] == await groups.batch_get([1], scope=scope) == [data]
        assert [each async for each in groups.stream(scope)] == [data]
        assert await notes.get(1, other, into=WithGroup) == WithGroup(data)


@pytest.mark.parametrize("verb", VERBS)
async def test_no_verb_sorts_by_more(db: Database, verb: str) -> None:
    """What a write gives is sorted as a read."""
    if VERBS[verb].does in (Does.MARK, Does.UNMARK, Does.MAKE):
        return  # without soft deletion, or of rows that have no others yet
    call = VerbCall(Groups(db, resilience=None), A, [1], GroupPatch(OptionalState.update("new")), [GroupCreate(1)])
    outcome = await answer(verb, call)
    assert (outcome.error, outcome.number) == (None, 1)
    assert "Leaf(id=2), Leaf(id=1)" not in str(outcome.rows)


class Eager(GroupRow):
    """Loads notes of itself."""

    eager: Mapped[list[NoteRow]] = relationship(order_by=ORDERS["related"], viewonly=True, lazy="selectin")


def loading(*attributes: Any) -> Any:
    """Give a repository of whole rows."""

    class Rows(Repository[GroupRow]):
        loads = attributes

    return Rows


class Eagers(Repository[Eager]):
    pass


@pytest.mark.parametrize("chain", [(GROUP.computed,), (GROUP.related,), ((GROUP.several, NOTE.beside),)])
async def test_whole_rows_are_refused(db: Database, chain: Any) -> None:
    """What is loaded with whole rows cannot be sorted otherwise: an error that says what to write."""
    rows = loading(*chain)(db, resilience=None)
    words = (
        r"(GroupRow|NoteRow)\.\w+ is sorted by what asks about OwnerRow, of which the scope says something.*data class"
    )
    async with db.begin_session():
        with pytest.raises(MappingError, match=words):
            await rows.get(1, A)
        with pytest.raises(MappingError, match=words):
            await rows.search(A)
        assert await rows.get(1, SILENT) is await rows.get(1)
        assert await rows.count(A) == 1


async def test_what_the_mapping_loads_of_itself(db: Database) -> None:
    """So is what comes without having been asked for."""
    rows = Eagers(db, resilience=None)
    async with db.begin_session():
        with pytest.raises(MappingError, match=r"Eager\.eager is sorted by what asks about OwnerRow"):
            await rows.get(1, Says(Eager.tenant == "a", A.others))
        assert [each.id for each in (await rows.get(1, Says(Eager.tenant == "a"))).eager] == [2, 1]
