"""Loads: what an overridden ``to_data`` needs beside columns is loaded in every operation, or named where it is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.util import await_only, greenlet_spawn

from rowsmith import (
    Conflict,
    Creator,
    CursorForwardPagination,
    Database,
    DBSource,
    MappingError,
    OptionalState,
    Patch,
    Querier,
    Repository,
    Spec,
)
from rowsmith.testing import WithTables
from support import count_statements, share


class Base(DeclarativeBase):
    pass


class FirmRow(Base):
    __tablename__ = "load_firms"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class SpeakerRow(Base):
    __tablename__ = "load_speakers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    firm_id: Mapped[int] = mapped_column(ForeignKey("load_firms.id"))

    firm: Mapped[FirmRow] = relationship(lazy="raise")
    talks: Mapped[list[TalkRow]] = relationship(back_populates="speaker")


class TalkRow(Base):
    __tablename__ = "load_talks"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    speaker_id: Mapped[int] = mapped_column(ForeignKey("load_speakers.id"))
    paper: Mapped[str] = mapped_column(server_default="-", deferred=True)
    slides: Mapped[str] = mapped_column(server_default="-", deferred=True, deferred_raiseload=True)

    speaker: Mapped[SpeakerRow] = relationship(back_populates="talks")
    comments: Mapped[list[CommentRow]] = relationship(order_by="CommentRow.id", cascade="all, delete-orphan")

    @property
    def siblings(self) -> Any:
        """Counts talks, by SQL of its own."""
        session: Any = sa.orm.object_session(self)
        return session.scalar(sa.select(sa.func.count()).select_from(TalkRow))


class CommentRow(Base):
    __tablename__ = "load_comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    talk_id: Mapped[int] = mapped_column(ForeignKey("load_talks.id", ondelete="CASCADE"))
    text: Mapped[str]


@dataclass(frozen=True)
class Talk:
    title: str
    speaker: str
    firm: str
    comments: tuple[str, ...]


@dataclass(frozen=True)
class TalkCreate(Spec[TalkRow]):
    id: int
    title: str
    speaker_id: int = 1


@dataclass(frozen=True)
class TalkPatch(Patch[TalkRow]):
    title: OptionalState[str] = OptionalState.nop()
    speaker_id: OptionalState[int] = OptionalState.nop()


def talk_of(row: TalkRow) -> Talk:
    return Talk(row.title, row.speaker.name, row.speaker.firm.title, tuple(item.text for item in row.comments))


class TalkRepository(Repository[TalkRow, Talk, int]):
    loads = [(TalkRow.speaker, SpeakerRow.firm), TalkRow.comments]

    def to_data(self, row: TalkRow) -> Talk:
        return talk_of(row)


TABLES = (FirmRow, SpeakerRow, TalkRow, CommentRow)
FIRST, SECOND = Talk("a", "ann", "acme", ("x", "y")), Talk("b", "bob", "acme", ())


async def fill(db: Database) -> None:
    async with db.begin_session() as session:
        await session.execute(sa.insert(FirmRow), [{"id": 1, "title": "acme"}])
        people = [{"id": 1, "name": "ann", "firm_id": 1}, {"id": 2, "name": "bob", "firm_id": 1}]
        await session.execute(sa.insert(SpeakerRow), people)
        talks = [{"id": 1, "title": "a", "speaker_id": 1}, {"id": 2, "title": "b", "speaker_id": 2}]
        await session.execute(sa.insert(TalkRow), talks)
        await session.execute(
            sa.insert(CommentRow), [{"id": n, "talk_id": 1, "text": t} for n, t in ((1, "x"), (2, "y"))]
        )


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with any_tables(*TABLES) as db:
        await fill(db)
        yield db


async def test_reads_load_what_to_data_needs(db: Database) -> None:
    """Every read gives whole data: to-one by a join, to-many by one statement for all rows together."""
    talks = TalkRepository(db)
    for read in (lambda: talks.get(1), lambda: talks.find(1)):
        with count_statements(db) as sent:
            assert await read() == FIRST
        assert len(sent) == 2
    with count_statements(db) as sent:
        page = await talks.search(None, None, CursorForwardPagination(5), orders=[TalkRow.title.desc()])
        assert page.items == (SECOND, FIRST)
        assert await talks.batch_get([2, 1]) == [SECOND, FIRST]
        assert [item async for item in talks.stream(orders=[TalkRow.title])] == [FIRST, SECOND]
    assert len(sent) == 6


async def test_writes_load_what_to_data_needs(db: Database) -> None:
    """Created, changed and upserted rows are given whole."""
    talks = TalkRepository(db)
    with count_statements(db) as sent:
        assert await talks.create(TalkCreate(3, "c")) == Talk("c", "ann", "acme", ())
    assert len(sent) == 3
    moved = TalkPatch(speaker_id=OptionalState.update(2))
    assert await talks.update(1, moved) == Talk("a", "bob", "acme", ("x", "y"))
    assert await talks.update(1, TalkPatch()) == Talk("a", "bob", "acme", ("x", "y"))
    assert (await talks.upsert(TalkCreate(1, "d"))).data == Talk("d", "ann", "acme", ("x", "y"))
    assert (await talks.upsert(TalkCreate(9, "e"))).data == Talk("e", "ann", "acme", ())


async def test_batches_load_what_to_data_needs(db: Database) -> None:
    """Batches too, in a number of statements that does not grow with the rows."""
    talks, new = TalkRepository(db), Talk("n", "ann", "acme", ())
    with count_statements(db) as sent:
        assert await talks.batch_create([TalkCreate(n, "n") for n in range(10, 60)]) == [new] * 50
    assert len(sent) < 6
    ids, changed = list(range(10, 60)), Talk("m", "ann", "acme", ())
    patch = TalkPatch(title=OptionalState.update("m"))
    with count_statements(db) as sent:
        assert (await talks.batch_update(ids, patch)).succeeded == [changed] * 50
    assert len(sent) < 6
    assert (await talks.batch_update_each({1: patch})).succeeded == [Talk("m", "ann", "acme", ("x", "y"))]
    partial = await talks.batch_create_partial([TalkCreate(70, "n"), TalkCreate(1, "n")])
    assert [item.data for item in partial.succeeded] == [new]
    upserted = (await talks.batch_upsert([TalkCreate(1, "u"), TalkCreate(71, "n")])).succeeded
    assert [item.data for item in upserted] == [Talk("u", "ann", "acme", ("x", "y")), new]
    partial = await talks.batch_update_partial({1: patch})
    assert [item.data for item in partial.succeeded] == [Talk("m", "ann", "acme", ("x", "y"))]


async def test_removed_rows_are_given_as_they_were(db: Database) -> None:
    """Purged rows are read, with what belongs to them, while they are still there; no object of them stays."""
    talks = TalkRepository(db)
    async with db.unit_of_work() as unit:
        assert await talks.purge(1) == FIRST
        assert not [item for item in unit.session.identity_map.values() if isinstance(item, TalkRow)]
        assert (await talks.batch_purge([2, 3])).succeeded == [SECOND]
        assert await unit.session.get(TalkRow, 2) is None
    assert await talks.count() == 0


async def test_operation_objects_take_the_rule_too(db: Database) -> None:
    """``Querier(TalkRow, loads=[...])`` gives rows with their related ones, and a flat list of them is a chain."""
    rules: Any = {"loads": [TalkRow.speaker, SpeakerRow.firm, TalkRow.paper]}
    async with db.begin_session() as session:
        row = await Querier(TalkRow, **rules).query(session, 1)
        assert (row.speaker.firm.title, row.paper) == ("acme", "-")
    async with db.begin_session() as session:
        made = await Creator(TalkRow, **rules).create(session, TalkCreate(5, "e"))
        assert (made.speaker.firm.title, made.paper) == ("acme", "-")
    source = DBSource(db, TalkRow, **rules)
    assert (await source.read(source.querier.query, 2)).speaker.name == "bob"


class Touching(Repository[TalkRow, Talk, int]):
    touch: ClassVar[Any] = staticmethod(lambda row: row.speaker)

    def to_data(self, row: TalkRow) -> Talk:
        return self.touch(row)


@pytest.mark.parametrize(
    "touch, named, declared",
    [
        (lambda row: row.speaker.name, "TalkRow.speaker", "[TalkRow.speaker]"),
        (lambda row: list(row.comments), "TalkRow.comments", "[TalkRow.comments]"),
        (lambda row: row.paper, "TalkRow.paper", "[TalkRow.paper]"),
        (lambda row: row.slides, "TalkRow.slides", "[TalkRow.slides]"),
    ],
)
async def test_what_is_not_loaded_is_named(db: Database, touch: Any, named: str, declared: str) -> None:
    """Whatever the verb, the error says what was touched and what to declare; nothing is written."""

    class Careless(Touching):
        pass

    Careless.touch = staticmethod(touch)
    talks = Careless(db)
    calls: list[Any] = [
        lambda: talks.get(1),
        lambda: talks.search(),
        lambda: talks.batch_get([1]),
        lambda: talks.create(TalkCreate(5, "e")),
        lambda: talks.update(1, TalkPatch(title=OptionalState.update("z"))),
        lambda: talks.batch_update([1], TalkPatch(title=OptionalState.update("z"))),
        lambda: talks.batch_create([TalkCreate(5, "e")]),
        lambda: talks.upsert(TalkCreate(5, "e")),
        lambda: talks.purge(2),
        lambda: talks.batch_purge([2]),
        lambda: anext(aiter(talks.stream())),
    ]
    for call in calls:
        with pytest.raises(MappingError) as told:
            await call()
        assert f"to_data reads {named}, which is not loaded" in str(told.value)
        assert f"loads = {declared}" in str(told.value)
        assert told.value.__cause__ is told.value.__context__ is None
    assert await talks.count() == 2


async def test_the_way_to_what_is_not_loaded_is_named(db: Database) -> None:
    """What is missing further away is named as a chain; ``lazy="raise"`` is such a thing too."""

    class Near(Repository[TalkRow, Talk, int]):
        loads = [TalkRow.speaker, TalkRow.comments]

        def to_data(self, row: TalkRow) -> Talk:
            return talk_of(row)

    with pytest.raises(MappingError, match=r"SpeakerRow.firm.*loads = \[\(TalkRow.speaker, SpeakerRow.firm\)\]"):
        await Near(db).get(1)


class SpeakerModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str


class SentModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    siblings: int


class TalkModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    title: str
    speaker: SpeakerModel


async def test_pydantic_that_reads_the_row_is_understood(db: Database) -> None:
    """``model_validate(row)`` gets what is declared, and what is not is named although pydantic keeps the error."""

    class Declared(Repository[TalkRow, TalkModel, int]):
        loads = [TalkRow.speaker]

        def to_data(self, row: TalkRow) -> TalkModel:
            return TalkModel.model_validate(row)

    class Forgotten(Repository[TalkRow, TalkModel, int]):
        def to_data(self, row: TalkRow) -> TalkModel:
            return TalkModel.model_validate(row)

    assert (await Declared(db).get(1)).speaker.name == "ann"
    with pytest.raises(MappingError, match=r"reads TalkRow.speaker.*loads = \[TalkRow.speaker\]"):
        await Forgotten(db).get(1)


@pytest.mark.parametrize(
    "send",
    [
        lambda row: sa.orm.object_session(row).execute(sa.text("select 1")),
        lambda row: sa.orm.object_session(row).scalar(sa.text("select 1")),
        lambda row: sa.orm.object_session(row).scalars(sa.text("select 1")),
        lambda row: sa.orm.object_session(row).connection().exec_driver_sql("select 1"),
        lambda row: sa.orm.object_session(row).get(FirmRow, 7),
        lambda row: sa.orm.object_session(row).query(FirmRow).all(),
        lambda row: sa.orm.object_session(row).refresh(row),
        lambda row: sa.orm.object_session(row).commit(),
        lambda row: SentModel.model_validate(row),
        lambda row: await_only(asyncio.sleep(0)),  # as a driver does, behind a connection of another session
    ],
)
async def test_what_sends_sql_of_its_own(db: Database, send: Any) -> None:
    """A ``to_data`` that asks the database itself is told what to declare, in every operation, and nothing is left."""

    class Asking(Repository[TalkRow, Talk, int]):
        def to_data(self, row: TalkRow) -> Talk:
            send(row)
            return Talk(row.title, "", "", ())

    talks = Asking(db)
    calls: list[Any] = [
        lambda: talks.get(1),
        lambda: talks.search(),
        lambda: talks.create(TalkCreate(5, "e")),
        lambda: talks.update(1, TalkPatch(title=OptionalState.update("z"))),
        lambda: talks.batch_create([TalkCreate(5, "e")]),
        lambda: anext(aiter(talks.stream())),
    ]
    for call in calls:
        with pytest.raises(MappingError, match=r"^to_data sends SQL.*loads = \[TalkRow\.some_relationship\]") as told:
            await call()
        assert told.value.__cause__ is told.value.__context__ is None
    assert await talks.count() == 2
    async with db.begin_session() as session:
        row = await session.get(TalkRow, 1)
        assert row is not None
        assert row.title == "a"
        with pytest.raises(MappingError, match="sends SQL"):
            await talks.get(1)
        assert await session.scalar(sa.text("select 3")) == 3


async def test_errors_of_its_own_pass_unchanged(db: Database) -> None:
    """An error that has nothing to do with loading is the application's."""

    class Failing(Repository[TalkRow, Talk, int]):
        def to_data(self, row: TalkRow) -> Talk:
            raise sa.exc.InvalidRequestError("mine")

    with pytest.raises(sa.exc.InvalidRequestError, match="mine"):
        await Failing(db).get(1)


@pytest.mark.parametrize(
    "wrong, told",
    [
        ([TalkRow.title], "neither a relationship nor a deferred column"),
        ([SpeakerRow.firm], "nothing of TalkRow"),
        ([TalkRow.comments, FirmRow.title], "neither a relationship"),
        (["speaker"], "loads holds"),
        ("speaker", "loads is a list"),
        (TalkRow.speaker, "loads is a list"),
        ([()], "at least one"),
    ],
)
def test_wrong_loads_are_refused_when_the_class_is_made(wrong: Any, told: str) -> None:
    """A repository, and an operation object, says at once what of ``loads`` is none."""
    with pytest.raises(MappingError, match=told):

        class Wrong(Repository[TalkRow, Talk, int]):
            loads = wrong

            def to_data(self, row: TalkRow) -> Talk:
                return talk_of(row)

    with pytest.raises(MappingError, match=told):
        Querier(TalkRow, loads=wrong)


async def test_wrong_chains_are_refused_when_the_repository_is_made(db: Database) -> None:
    """What only complete mappers can tell is told before the first call."""
    for wrong in ([(TalkRow.comments, SpeakerRow.firm)], [TalkRow.comments, SpeakerRow.firm]):

        class Wrong(Repository[TalkRow, Talk, int]):
            loads = wrong

            def to_data(self, row: TalkRow) -> Talk:
                return talk_of(row)

        with pytest.raises(MappingError, match=r"SpeakerRow\.firm"):
            Wrong(db)


def test_loads_are_for_whole_rows() -> None:
    """A data class selects columns, so that ``loads`` beside it would do nothing."""

    @dataclass(frozen=True)
    class Plain:
        title: str

    with pytest.raises(MappingError, match="override to_data"):

        class Wrong(Repository[TalkRow, Plain, int]):
            loads = [TalkRow.speaker]


class EagerBase(DeclarativeBase):
    pass


class NodeRow(EagerBase):
    __tablename__ = "load_nodes"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("load_nodes.id"))

    joined: Mapped[list[LeafRow]] = relationship(lazy="joined", order_by="LeafRow.id", viewonly=True)
    inner: Mapped[list[LeafRow]] = relationship(lazy="joined", innerjoin=True, viewonly=True)
    selected: Mapped[list[LeafRow]] = relationship(lazy="selectin", order_by="LeafRow.id", viewonly=True)
    subquery: Mapped[list[LeafRow]] = relationship(lazy="subquery", order_by="LeafRow.id", viewonly=True)
    at_once: Mapped[list[LeafRow]] = relationship(lazy="immediate", order_by="LeafRow.id", viewonly=True)
    parent: Mapped[NodeRow | None] = relationship(
        remote_side=id, lazy="joined", join_depth=2, innerjoin=True, viewonly=True
    )
    children: Mapped[list[NodeRow]] = relationship(lazy="joined", viewonly=True)  # which leads back: not followed


class LeafRow(EagerBase):
    __tablename__ = "load_leaves"

    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int] = mapped_column(ForeignKey("load_nodes.id"))

    veins: Mapped[list[VeinRow]] = relationship(lazy="joined", order_by="VeinRow.id", viewonly=True)


class VeinRow(EagerBase):
    __tablename__ = "load_veins"

    id: Mapped[int] = mapped_column(primary_key=True)
    leaf_id: Mapped[int] = mapped_column(ForeignKey("load_leaves.id"))

    leaf: Mapped[LeafRow] = relationship(lazy="joined", viewonly=True)


@dataclass(frozen=True)
class Node:
    id: int
    veins: tuple[tuple[int, ...], ...]
    others: tuple[int, ...]
    parent: str | None


@dataclass(frozen=True)
class NodeCreate(Spec[NodeRow]):
    id: int
    name: str
    parent_id: int | None = None


@dataclass(frozen=True)
class NodePatch(Patch[NodeRow]):
    name: OptionalState[str] = OptionalState.nop()


class NodeRepository(Repository[NodeRow, Node, int]):
    def to_data(self, row: NodeRow) -> Node:
        others = (len(row.inner), len(row.selected), len(row.subquery), len(row.at_once))
        veins = tuple(tuple(vein.id for vein in leaf.veins) for leaf in row.joined)
        return Node(row.id, veins, others, None if row.parent is None else row.parent.name)


async def test_what_the_mapping_loads_of_itself_neither_multiplies_nor_loses_rows(any_tables: WithTables) -> None:
    """Rows with ``lazy="joined"`` relationships to many, and others, are one row each in every verb."""
    async with any_tables(NodeRow, LeafRow, VeinRow) as db:
        nodes = NodeRepository(db)
        async with db.begin_session() as session:
            await session.execute(sa.insert(NodeRow), [{"id": 1, "name": "a", "parent_id": None}])
            await session.execute(sa.insert(NodeRow), [{"id": 2, "name": "b", "parent_id": 1}])
            await session.execute(sa.insert(LeafRow), [{"id": n, "node_id": 1} for n in (1, 2, 3)])
            await session.execute(sa.insert(VeinRow), [{"id": n, "leaf_id": 1} for n in (1, 2)])
        first, second = Node(1, ((1, 2), (), ()), (3, 3, 3, 3), None), Node(2, (), (0, 0, 0, 0), "a")
        assert await nodes.get(1) == await nodes.find(1) == first
        assert await nodes.batch_get([2, 1]) == [second, first]
        assert (await nodes.search(None, None, CursorForwardPagination(1))).items == (first,)
        page = await nodes.search(None, None, CursorForwardPagination(5), orders=[NodeRow.name.desc()])
        assert page.items == (second, first)
        assert [node async for node in nodes.stream()] == [first, second]
        renamed = NodePatch(OptionalState.update("c"))
        assert await nodes.update(1, renamed) == first
        assert await nodes.update(1, NodePatch()) == first
        assert (await nodes.batch_update([1], renamed)).succeeded == [first]
        assert (await nodes.batch_update_each({1: renamed})).succeeded == [first]
        made = await nodes.create(NodeCreate(3, "d", 1))
        assert made == Node(3, (), (0, 0, 0, 0), "c")
        assert (await nodes.batch_create([NodeCreate(4, "e"), NodeCreate(5, "f", 4)]))[1].parent == "e"
        assert (await nodes.upsert(NodeCreate(1, "g"))).data == first
        assert (await nodes.batch_upsert([NodeCreate(1, "h"), NodeCreate(9, "i")])).succeeded[0].data == first
        assert (await nodes.purge(3)).parent == "h"
        assert (await nodes.batch_purge([5, 4])).succeeded[0].parent == "e"
        async with db.begin_session() as session:
            locked = await Querier(NodeRow).query(session, 1, for_update=True)
            assert len(locked.joined) == 3


class StaffRow(EagerBase):
    __tablename__ = "load_staff"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "staff", "with_polymorphic": "*"}


class ManagerRow(StaffRow):
    cars: Mapped[list[CarRow]] = relationship(lazy="joined", viewonly=True)
    __mapper_args__ = {"polymorphic_identity": "manager"}


class DirectorRow(StaffRow):
    cars: Mapped[list[CarRow]] = relationship(lazy="joined", viewonly=True)
    __mapper_args__ = {"polymorphic_identity": "director"}


class CarRow(EagerBase):
    __tablename__ = "load_cars"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("load_staff.id"))
    owner: Mapped[StaffRow] = relationship(viewonly=True)


def cars_of(row: Any) -> list[int]:
    return sorted(car.id for car in getattr(row, "cars", ()))


@dataclass(frozen=True)
class Cars:
    id: int
    cars: list[int]


class StaffRepository(Repository[StaffRow, Cars, int]):
    def to_data(self, row: StaffRow) -> Cars:
        return Cars(row.id, cars_of(row))


class CarRepository(Repository[CarRow, Cars, int]):
    loads = [CarRow.owner]

    def to_data(self, row: CarRow) -> Cars:
        return Cars(row.id, cars_of(row.owner))


async def test_what_subclasses_load_of_themselves_neither_multiplies_nor_loses_rows(any_tables: WithTables) -> None:
    """Where their rows come with those of the base (``with_polymorphic``), read themselves or by way of others."""
    async with any_tables(StaffRow, CarRow) as db:
        async with db.begin_session() as session:
            staff = enumerate(("staff", "manager", "director"), 1)
            await session.execute(sa.insert(StaffRow.__table__), [{"id": id, "kind": kind} for id, kind in staff])
            cars = [{"id": id, "owner_id": owner} for id, owner in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 1))]
            await session.execute(sa.insert(CarRow), cars)
        expected = {
            StaffRepository: [Cars(1, []), Cars(2, [1, 2]), Cars(3, [3, 4])],
            CarRepository: [Cars(1, [1, 2]), Cars(2, [1, 2]), Cars(3, [3, 4]), Cars(4, [3, 4]), Cars(5, [])],
        }
        for kind, rows in expected.items():
            read = kind(db)
            assert [await read.get(row.id) for row in rows] == rows
            assert await read.batch_get([row.id for row in rows]) == rows
            assert [*(await read.search()).items] == rows
            assert [row async for row in read.stream()] == rows


def ranks(kind: str, is_joined: bool) -> tuple[Any, ...]:
    """Give a firm, its staff in three classes, each below the one before, and their notes."""

    class RankBase(DeclarativeBase):
        pass

    how: Any = {"polymorphic_load": kind} if kind else {}

    class RankFirm(RankBase):
        __tablename__ = "rank_firms"

        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        staff: Mapped[list[Any]] = relationship(
            lambda: RankStaff, viewonly=True, foreign_keys=lambda: RankStaff.firm_id, order_by=lambda: RankStaff.id
        )
        first: Mapped[Any] = relationship(
            lambda: RankStaff,
            viewonly=True,
            uselist=False,
            primaryjoin=lambda: sa.and_(RankFirm.id == RankStaff.firm_id, RankStaff.is_first),
        )

    class RankStaff(RankBase):
        __tablename__ = "rank_staff"

        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        rank: Mapped[str]
        name: Mapped[str] = mapped_column(default="-")
        is_first: Mapped[bool] = mapped_column(default=False)
        firm_id: Mapped[int] = mapped_column(ForeignKey("rank_firms.id"))
        story: Mapped[str | None] = mapped_column(deferred=True)
        firm: Mapped[RankFirm] = relationship(foreign_keys=[firm_id])
        __mapper_args__ = {"polymorphic_on": "rank", "polymorphic_identity": "staff"}

    class RankLead(RankStaff):
        if is_joined:
            __tablename__ = "rank_leads"
            id: Mapped[int] = mapped_column(ForeignKey("rank_staff.id"), primary_key=True)
        __mapper_args__ = {"polymorphic_identity": "lead", **how}
        level: Mapped[int | None]
        bio: Mapped[str | None] = mapped_column(deferred=True)
        club_id: Mapped[int | None] = mapped_column(ForeignKey("rank_firms.id"))
        club: Mapped[RankFirm | None] = relationship(foreign_keys=[club_id])
        notes: Mapped[list[Any]] = relationship(lambda: RankNote, order_by=lambda: RankNote.id)

    class RankHead(RankLead):
        if is_joined:
            __tablename__ = "rank_heads"
            id: Mapped[int] = mapped_column(ForeignKey("rank_leads.id"), primary_key=True)
        __mapper_args__ = {"polymorphic_identity": "head", **how}
        bank_id: Mapped[int | None] = mapped_column(ForeignKey("rank_firms.id"))
        bank: Mapped[RankFirm | None] = relationship(foreign_keys=[bank_id])

    class RankAide(RankStaff):
        __mapper_args__ = {"polymorphic_identity": "aide", **how}
        bank: Mapped[RankFirm] = relationship(foreign_keys=[RankStaff.firm_id], viewonly=True)

    class RankNote(RankBase):
        __tablename__ = "rank_notes"

        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        by_id: Mapped[int] = mapped_column(ForeignKey(RankLead.id))

    return RankFirm, RankStaff, RankLead, RankHead, RankAide, RankNote


def seen_of_class(item: Any, chain: tuple[Any, ...]) -> Any:
    """Give what a chain leads to, where rows are of the classes that have it."""
    if item is None or not chain:
        return getattr(item, "id", item)
    if not isinstance(item, chain[0].class_):
        return "-"
    found = getattr(item, chain[0].key)
    return (
        [seen_of_class(one, chain[1:]) for one in found] if isinstance(found, list) else seen_of_class(found, chain[1:])
    )


WAYS_OF_SUBCLASSES = share(product(["", "inline", "selectin"], [False, True], [True, False]), 3)


@pytest.mark.parametrize("kind, is_joined, holds", WAYS_OF_SUBCLASSES)
async def test_what_only_subclasses_have_is_loaded_of_their_rows(
    any_tables: WithTables, kind: str, is_joined: bool, holds: bool
) -> None:
    """In a repository of the base and anywhere in a chain, in every operation, however the mapping loads subclasses."""
    firm, staff, lead, head, aide, note = rows = ranks(kind, is_joined)
    told: list[tuple[Any, ...]] = [
        *((lead.club,), (lead.notes,), (lead.bio,), (head.bank,), (head.story,), (head.club,), (head.bio,)),
        *((lead.firm, firm.first, head.bank), (lead.club, firm.staff, lead.club), (lead.club, firm.staff, lead.bio)),
        *((lead.firm, firm.staff, lead.notes), (staff.firm, firm.first, lead.bio), (head.bank, firm.first, lead.club)),
        *((aide.bank,), (lead.firm, firm.staff, aide.bank)),
    ]

    @dataclass(frozen=True)
    class RankPatch(Patch[staff]):
        name: OptionalState[str]

    def staff_with(of: Any, chosen: list[tuple[Any, ...]]) -> Any:
        class Staff(Repository[of, Any, int]):
            loads = chosen

            def to_data(self, row: Any) -> Any:
                return {"id": row.id, **{str(chain): seen_of_class(row, chain) for chain in chosen}}

        return Staff

    ids = [1, 2, 3, 4, 5]
    async with any_tables(*rows) as db:
        async with db.begin_session() as session:
            session.add_all([firm(id=1), firm(id=2)])
            await session.flush()
            session.add(staff(id=1, firm_id=1, story="one"))
            session.add(lead(id=2, firm_id=1, story="two", bio="b", club_id=2, level=2))
            session.add(head(id=3, firm_id=2, bio="c", club_id=1, bank_id=2, is_first=True))
            session.add(head(id=4, firm_id=1, bio="d", club_id=None, bank_id=1, is_first=True))
            session.add(aide(id=5, firm_id=2))
            await session.flush()
            session.add_all([note(id=number, by_id=by) for number, by in ((1, 2), (2, 3), (3, 3))])
        expected = dict[Any, Any]()
        async with db.begin_readonly_session() as session:
            for chain in told:
                for id in ids:
                    row: Any = await session.get_one(staff, id)
                    expected[chain, id] = await greenlet_spawn(seen_of_class, row, chain)

        def as_told(ids: list[int], chosen: list[Any]) -> list[dict[str, Any]]:
            return [{"id": id, **{str(chain): expected[chain, id] for chain in chosen}} for id in ids]

        for chosen in [told, told[1::2], [(head.bank,), (aide.bank,)]]:
            made = staff_with(staff, chosen)(db)
            everything = as_told(ids, chosen)
            patch = RankPatch(OptionalState.update("y"))
            async with db.unit_of_work() if holds else nullcontext() as unit:
                kept = [] if unit is None else list(await unit.session.scalars(sa.select(staff)))
                assert [await made.get(id) for id in ids] == everything
                assert await made.batch_get(ids) == everything
                assert list(await made.search(orders=[staff.id])) == everything
                assert [one async for one in made.stream(orders=[staff.id])] == everything
                assert [await made.update(id, patch) for id in ids] == everything
                assert (await made.batch_update(ids, patch)).succeeded == everything
                assert {row.name for row in kept} <= {"y"}
            own = [chain for chain in chosen if chain[0].class_ is not aide]
            assert list(await staff_with(lead, own)(db).search(orders=[staff.id])) == as_told([2, 3, 4], own)


@pytest.mark.parametrize("holds", [False, True], ids=["alone", "beside objects of a session"])
@pytest.mark.parametrize("is_joined", [False, True], ids=["one table", "joined tables"])
@pytest.mark.parametrize("kind", ["", "inline", "selectin"])
async def test_columns_of_subclasses_come_as_the_mapping_says(
    any_tables: WithTables, kind: str, is_joined: bool, holds: bool
) -> None:
    """In every operation, of rows that are removed too; where it loads none, the error says what to write."""
    firm, staff, lead, *_ = rows = ranks(kind, is_joined)

    @dataclass(frozen=True)
    class RankPatch(Patch[staff]):
        name: OptionalState[str]

    class Staff(Repository[staff, Any, int]):
        def to_data(self, row: Any) -> Any:
            return row.id, getattr(row, "level", None)

    async with any_tables(*rows) as db:
        async with db.begin_session() as session:
            session.add(firm(id=1))
            await session.flush()
            session.add_all([staff(id=1, firm_id=1), lead(id=2, firm_id=1, level=7), lead(id=3, firm_id=1, level=8)])
        made, patch = Staff(db), RankPatch(OptionalState.update("y"))
        calls: list[tuple[Callable[[], Awaitable[Any]], Any]] = [
            (lambda: made.get(2), (2, 7)),
            (lambda: made.batch_get([1, 2]), [(1, None), (2, 7)]),
            (lambda: made.update(2, patch), (2, 7)),
            (lambda: succeeded(made.batch_update([1, 2], patch)), [(1, None), (2, 7)]),
            (lambda: made.purge(2), (2, 7)),
            (lambda: succeeded(made.batch_purge([3])), [(3, 8)]),
        ]
        async with db.unit_of_work() if holds else nullcontext() as unit:
            kept = [] if unit is None else list(await unit.session.scalars(sa.select(staff)))
            for call, expected in calls:
                if kind:
                    assert await call() == expected
                    continue
                with pytest.raises(MappingError, match=r'{"polymorphic_load": "inline"} in __mapper_args__'):
                    async with db.unit_of_work():
                        await call()
            assert len(kept) == (3 if holds else 0)


async def succeeded(call: Awaitable[Any]) -> Any:
    return (await call).succeeded


class CircleBase(DeclarativeBase):
    pass


class OwnerRow(CircleBase):
    __tablename__ = "circle_owners"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bio: Mapped[str] = mapped_column(deferred=True)

    cards: Mapped[list[CardRow]] = relationship(viewonly=True, order_by="CardRow.id")


class CardRow(CircleBase):
    __tablename__ = "circle_cards"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    above_id: Mapped[int | None] = mapped_column(ForeignKey("circle_cards.id"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("circle_owners.id"))

    owner: Mapped[OwnerRow] = relationship(viewonly=True)
    above: Mapped[CardRow | None] = relationship(remote_side=[id], viewonly=True)
    below: Mapped[list[CardRow]] = relationship(viewonly=True, order_by="CardRow.id")


@dataclass(frozen=True)
class CardCreate(Spec[CardRow]):
    id: int
    name: str
    above_id: int | None
    owner_id: int


@dataclass(frozen=True)
class CardPatch(Patch[CardRow]):
    name: OptionalState[str]


CHAINS: list[tuple[Any, ...]] = [
    *((CardRow.owner,), (CardRow.above,), (CardRow.below,), (CardRow.owner, OwnerRow.bio)),
    *((CardRow.owner, OwnerRow.cards), (CardRow.above, CardRow.below), (CardRow.below, CardRow.above)),
    *((CardRow.above, CardRow.owner), (CardRow.below, CardRow.owner, OwnerRow.bio), (CardRow.below, CardRow.below)),
    *((CardRow.owner, OwnerRow.cards, CardRow.owner), (CardRow.above, CardRow.above, CardRow.owner, OwnerRow.cards)),
]


def seen(item: Any, chain: tuple[Any, ...]) -> Any:
    """Give what a chain leads to, by the ids of rows."""
    if item is None or not chain:
        return getattr(item, "id", item)
    found = getattr(item, chain[0].key)
    return [seen(one, chain[1:]) for one in found] if isinstance(found, list) else seen(found, chain[1:])


async def as_it_is(db: Database, id: int, chain: tuple[Any, ...]) -> Any:
    """Give the same by SQLAlchemy alone, in a session of its own."""
    async with db.begin_readonly_session() as session:
        card: Any = await session.get_one(CardRow, id)
        return await session.run_sync(lambda _: seen(card, chain))


def cards_with(chosen: list[tuple[Any, ...]]) -> type[Repository[CardRow, Any, int]]:
    """Give a repository whose data is what some chains lead to."""

    class Cards(Repository[CardRow, Any, int]):
        loads = chosen
        conflict = Conflict([CardRow.id])

        def to_data(self, row: CardRow) -> Any:
            return {"id": row.id, **{str(chain): seen(row, chain) for chain in chosen}}

    return Cards


@pytest.mark.parametrize("holds", [False, True], ids=["alone", "beside objects of a session"])
@pytest.mark.parametrize("seed", range(5))
async def test_a_row_that_is_met_again_keeps_what_was_loaded_of_it(
    any_tables: WithTables, seed: int, holds: bool
) -> None:
    """Whatever is declared, over circles too: each path adds to what others have loaded, in every operation."""
    chosen = random.Random(seed).sample(CHAINS, 3)
    async with any_tables(OwnerRow, CardRow) as db:
        async with db.begin_session() as session:
            await session.execute(sa.insert(OwnerRow), [{"id": 1, "bio": "one"}, {"id": 2, "bio": "two"}])
        cards = cards_with(chosen)(db)
        given = [(1, None, 1), (2, 1, 2), (3, 2, 1), (4, 4, 2), (5, 1, 1)]
        for id, above, owner in given:
            await DBSource(db, CardRow).write(DBSource(db, CardRow).creator.create, CardCreate(id, "x", above, owner))
        expected = {
            id: {"id": id, **{str(chain): await as_it_is(db, id, chain) for chain in chosen}} for id, _, _ in given
        }
        patch = CardPatch(OptionalState.update("y"))
        async with db.unit_of_work() if holds else nullcontext() as unit:
            kept = [] if unit is None else list(await unit.session.scalars(sa.select(CardRow)))
            everything = [expected[id] for id, _, _ in given]
            assert await cards.batch_get(list(expected)) == everything
            assert [await cards.get(id) for id in expected] == everything
            assert list(await cards.search(orders=[CardRow.id])) == everything
            assert [card async for card in cards.stream(orders=[CardRow.id])] == everything
            assert [await cards.update(id, patch) for id in expected] == everything
            assert (await cards.batch_update(list(expected), patch)).succeeded == everything
            assert (await cards.batch_update_each(dict.fromkeys(expected, patch))).succeeded == everything
            upserted = await cards.batch_upsert([CardCreate(id, "z", above, owner) for id, above, owner in given])
            assert [each.data for each in upserted.succeeded] == everything
            assert {card.name for card in kept} <= {"z"}
