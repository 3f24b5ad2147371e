"""What a mapping computes of related rows (``column_property``): under a scope, of those inside alone."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    Condition,
    Conflict,
    CursorForwardPagination,
    Database,
    Expr,
    MappingError,
    Nested,
    NoPagination,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
    count,
    max_,
    related,
)
from rowsmith.sql import as_sql
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answer
from support import count_statements


class Base(DeclarativeBase):
    pass


class OwnerRow(Base):
    __tablename__ = "computed_owners"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class GroupRow(Base):
    """What is computed of it is loaded where it is asked for."""

    __tablename__ = "computed_groups"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    title: Mapped[str] = mapped_column(server_default="")
    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("computed_owners.id"))
    number: Mapped[int] = mapped_column(server_default="0")
    up_id: Mapped[int | None] = mapped_column(sa.ForeignKey("computed_groups.id"))
    owner: Mapped[OwnerRow | None] = relationship()
    up: Mapped[GroupRow | None] = relationship(remote_side=[id], viewonly=True)
    down: Mapped[list[GroupRow]] = relationship(viewonly=True)
    notes: Mapped[list[NoteRow]] = relationship(viewonly=True)


class NoteRow(Base):
    """``is_hot`` comes with each of its rows."""

    __tablename__ = "computed_notes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    title: Mapped[str] = mapped_column(server_default="")
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    group_id: Mapped[int | None] = mapped_column(sa.ForeignKey("computed_groups.id"))
    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("computed_owners.id"))
    owner: Mapped[OwnerRow | None] = relationship(viewonly=True)


HOT = related(GroupRow.owner, OwnerRow.tenant == "b")
ABOVE = related(GroupRow.up, GroupRow.tenant == "b")
BELOW = related(GroupRow.up, HOT)
ROW: Any = GroupRow
for name, asked in {"is_hot": HOT, "is_above": ABOVE, "is_below": sa.case((BELOW, 1), else_=0)}.items():
    setattr(ROW, name, column_property(asked, deferred=True))
NOTE: Any = NoteRow
NOTE.is_hot = column_property(related(NoteRow.owner, OwnerRow.tenant == "b"))


@dataclass(frozen=True)
class Of(SearchScope):
    """A tenant's rows, and of owners what is said."""

    row: Any
    related: Mapping[type[Any], Sequence[Condition]]

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [self.row.tenant == "a"]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return self.related


MINE: Mapping[type[Any], Sequence[Condition]] = {OwnerRow: [OwnerRow.tenant == "a"]}


@dataclass(frozen=True)
class Group:
    id: int
    is_hot: bool
    is_above: bool
    is_below: int


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: int
    is_hot: bool
    is_above: bool
    is_below: int


@dataclass(frozen=True)
class Flags:
    is_hot: bool
    is_above: bool
    is_below: int


@dataclass(frozen=True)
class Around:
    """The same, by itself, of the row above, of those below, in the same row and by an expression."""

    id: int
    up: Flags | None
    down: tuple[Flags, ...]
    same: Annotated[Flags, Nested(Flags)]
    named: Annotated[bool, Expr(ROW.is_hot)]


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    title: OptionalState[str] = OptionalState.nop()
    number: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow], filled={"tenant"}):
    id: int
    owner_id: int | None = None
    up_id: int | None = None


@dataclass(frozen=True)
class NotePatch(Patch[NoteRow]):
    title: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class NoteCreate(Spec[NoteRow], filled={"tenant"}):
    id: int


class Groups(Repository[GroupRow, Group, int]):
    conflict = Conflict([GroupRow.id])


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Groups 1 and 2 are a's, of b's owner; 2 is below 1, which is below b's 9."""
    async with any_tables(OwnerRow, GroupRow, NoteRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add(OwnerRow(id=2, tenant="b"))
            await db_sess.flush()
            for id, tenant, up in ((9, "b", None), (1, "a", 9), (2, "a", 1)):
                db_sess.add(GroupRow(id=id, tenant=tenant, owner_id=2, up_id=up))
                await db_sess.flush()
            db_sess.add(NoteRow(id=1, tenant="a", owner_id=2, group_id=1))
        yield db


A, SILENT = Of(GroupRow, MINE), Of(GroupRow, {})
SEEN = {1: (False, False, 0), 2: (False, False, 0)}
OWN = {1: (True, False, 0), 2: (True, False, 1)}
"""What is seen under a scope that says nothing of owners."""
ALL = {1: (True, True, 1), 2: (True, False, 1)}
SCOPES: tuple[tuple[SearchScope | None, dict[int, tuple[bool, bool, int]]], ...] = (
    *((A, SEEN), (None, ALL), (SILENT, OWN), (A, SEEN)),
)


@dataclass(frozen=True)
class Figures:
    is_hot: bool
    number: Annotated[int, count()]
    most: Annotated[int | None, max_(ROW.is_below)]


async def test_figures_and_patches_tell_no_more(db: Database) -> None:
    """Nor do groups by what is computed, figures of it, and what a patch writes of it."""
    groups = Groups(db, resilience=None)
    for scope, shown in SCOPES:
        hot, most = shown[2][0], shown[2][2]
        own = [GroupRow.id < 3]
        assert await groups.aggregate(scope, own, group_by=[ROW.is_hot], into=Figures) == [Figures(hot, 2, most)]
        for told in (ROW.is_below, sa.type_coerce(ROW.is_below, sa.Integer)):
            patch = GroupPatch(OptionalState.nop(), OptionalState.expression(partial(as_sql, told)))
            await groups.update(2, patch, scope=scope)
            assert await groups.count(None, [GroupRow.id == 2, GroupRow.number == most]) == 1


@pytest.mark.parametrize("kind", [Group, Model])
async def test_data_shows_what_the_scope_lets_be_seen(db: Database, kind: Any) -> None:
    """A field of what the mapping computes is what a filter by it says, whichever verb reads it."""
    groups: Any = Groups(db, resilience=None)
    own = [GroupRow.tenant == "a"]
    for scope, shown in SCOPES:
        data = [kind(id=id, is_hot=hot, is_above=above, is_below=below) for id, (hot, above, below) in shown.items()]
        assert [await groups.get(id, scope, into=kind) for id in shown] == data
        assert [*await groups.search(scope, own, NoPagination(), orders=[GroupRow.id], into=kind)] == data
        assert await groups.batch_get([*shown], scope=scope, into=kind) == data
        assert sorted([each async for each in groups.stream(scope, own, into=kind)], key=lambda one: one.id) == data
        page = await groups.search(scope, own, CursorForwardPagination(5), orders=[ROW.is_hot, GroupRow.id], into=kind)
        assert [*page] == data
        for name, place in (("is_hot", 0), ("is_above", 1)):
            asked = [*own, getattr(GroupRow, name)]
            assert await groups.count(scope, asked) == len([each for each in shown.values() if each[place]])


async def test_nested_data_shows_no_more(db: Database) -> None:
    """Nor does what is computed of a row above, of those below, of the same row, or by a field's expression."""
    groups = Groups(db, resilience=None)
    for scope, shown in SCOPES:
        above, below = Flags(*shown[1]), Flags(*shown[2])
        assert await groups.get(2, scope, into=Around) == Around(2, above, (), below, named=below.is_hot)
        top = await groups.get(1, scope, into=Around)
        assert (top.down, top.same, top.named) == ((below,), above, above.is_hot)
        assert (top.up is None) is (scope is not None)


GIVING = [verb for verb, told in VERBS.items() if told.does not in (Does.MARK, Does.UNMARK, Does.REMOVE)]


@pytest.mark.parametrize("verb", GIVING)
async def test_no_verb_shows_more(db: Database, verb: str) -> None:
    """What a write gives shows no more than a read."""
    spec = GroupCreate(1 if VERBS[verb].does is Does.PUT else 6, None, 1)
    outcome = await answer(verb, VerbCall(Groups(db, resilience=None), A, [1], PATCH, [spec]))
    assert (outcome.error, outcome.number) == (None, 1)
    assert not [told for told in ("True", "is_below=1") if told in str(outcome.rows)]


PATCH = GroupPatch(OptionalState.update("new"))


class Notes(Repository[NoteRow]):
    soft_delete = SoftDelete(NoteRow.deleted_at)
    conflict = Conflict([NoteRow.id])


@dataclass(frozen=True)
class Told:
    id: int
    told: str


class ToldNotes(Repository[NoteRow, Told, int]):
    soft_delete = SoftDelete(NoteRow.deleted_at)
    conflict = Conflict([NoteRow.id])

    @override
    def to_data(self, row: NoteRow) -> Told:
        return Told(row.id, str(cast("Any", row).is_hot))


NUMBERS = ("count", "exists", "aggregate", "load", "update_where", "delete_where", "restore_where", "purge_where")
"""The verbs that give no data."""
WORDS = r"\.is_hot asks about OwnerRow, of which the scope says something.*deferred=True.*the field is_hot"


@pytest.mark.parametrize("verb", VERBS)
async def test_whole_rows_are_refused(db: Database, verb: str) -> None:
    """Whole rows come with what nothing can narrow: an error that says what to write, before anything is sent."""
    notes, does = ToldNotes(db, resilience=None), VERBS[verb].does
    if does is Does.UNMARK:
        await notes.delete(1)
    spec = NoteCreate(1 if does is Does.PUT else 6)
    call = VerbCall(notes, Of(NoteRow, MINE), [1], NotePatch(OptionalState.update("new")), [spec])
    with count_statements(db) as sent:
        outcome = await answer(verb, call)
    if verb in NUMBERS:
        assert (outcome.error, outcome.number) == (None, 1)
    else:
        assert outcome.error is MappingError
        assert re.search("NoteRow" + WORDS, outcome.words or "")
        assert not [each for each in sent if "SAVEPOINT" not in each]


async def test_whole_rows_of_another_scope(db: Database) -> None:
    """So are those that are given themselves; without a word of owners they are there."""
    async with db.begin_session():
        with pytest.raises(MappingError, match="NoteRow" + WORDS):
            await Notes(db).get(1, Of(NoteRow, MINE))
        assert cast("Any", await Notes(db).get(1, Of(NoteRow, {}))).is_hot
        assert (await Rows(db).get(1, A)).id == 1  # of which what is computed is deferred


class Rows(Repository[GroupRow]):
    pass


class TitledGroups(Repository[GroupRow, Told, int]):
    loads = (ROW.is_hot,)

    @override
    def to_data(self, row: GroupRow) -> Told:
        return Told(row.id, str(cast("Any", row).is_hot))


class NotedGroups(Repository[GroupRow, Told, int]):
    loads = (GroupRow.notes,)

    @override
    def to_data(self, row: GroupRow) -> Told:
        return Told(row.id, str([cast("Any", note).is_hot for note in row.notes]))


@pytest.mark.parametrize(
    "kind, name, told",
    [
        (TitledGroups, "GroupRow", "True"),
        (NotedGroups, "NoteRow", "[True]"),
    ],
)
async def test_what_is_loaded_with_whole_rows(db: Database, kind: Any, name: str, told: str) -> None:
    """Neither what ``loads`` names nor what comes with related rows is shown to who must not see it."""
    groups = kind(db, resilience=None)
    with pytest.raises(MappingError, match=name + WORDS):
        await groups.get(1, A)
    assert await groups.get(1, SILENT) == await groups.get(1) == Told(1, told)
