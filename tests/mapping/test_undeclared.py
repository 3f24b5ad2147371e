"""What a ``to_data`` touches without declaring it fails always, whatever the session happens to have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, object_session, relationship

from rowsmith import Database, MappingError, NoPagination, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class PersonRow(Base):
    __tablename__ = "undeclared_people"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("undeclared_people.id"))
    notes: Mapped[str] = mapped_column(server_default="-", deferred=True)

    boss: Mapped[PersonRow | None] = relationship(remote_side=[id])


class TalkRow(Base):
    __tablename__ = "undeclared_talks"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    speaker_id: Mapped[int] = mapped_column(ForeignKey("undeclared_people.id"))
    critic_id: Mapped[int | None] = mapped_column(ForeignKey("undeclared_people.id"))
    before_id: Mapped[int | None] = mapped_column(ForeignKey("undeclared_talks.id"))
    paper: Mapped[str] = mapped_column(server_default="-", deferred=True)

    speaker: Mapped[PersonRow] = relationship(foreign_keys=[speaker_id])
    critic: Mapped[PersonRow | None] = relationship(foreign_keys=[critic_id])
    strict: Mapped[PersonRow | None] = relationship(foreign_keys=[critic_id], lazy="raise_on_sql", viewonly=True)
    before: Mapped[TalkRow | None] = relationship(remote_side=[id])
    comments: Mapped[list[CommentRow]] = relationship(back_populates="talk", order_by="CommentRow.id")


class CommentRow(Base):
    __tablename__ = "undeclared_comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    talk_id: Mapped[int] = mapped_column(ForeignKey("undeclared_talks.id", ondelete="CASCADE"))
    author_id: Mapped[int] = mapped_column(ForeignKey("undeclared_people.id"))

    talk: Mapped[TalkRow] = relationship(back_populates="comments")
    author: Mapped[PersonRow] = relationship()


@dataclass(frozen=True)
class TalkCreate(Spec[TalkRow]):
    id: int
    title: str = "new"
    speaker_id: int = 1
    critic_id: int | None = 1


@dataclass(frozen=True)
class TalkPatch(Patch[TalkRow]):
    title: OptionalState[str] = OptionalState.nop()


class Talks(Repository[TalkRow, Any, int]):
    touch: ClassVar[Any] = staticmethod(lambda row: row.title)

    def to_data(self, row: TalkRow) -> Any:
        return type(self).touch(row)


def touching(read: Callable[[Any], object], *declared: Any) -> type[Talks]:
    class Touching(Talks):
        loads = list(declared)
        touch = staticmethod(read)

    return Touching


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with any_tables(PersonRow, TalkRow, CommentRow) as db:
        async with db.begin_session() as session:
            people = [{"id": 1, "name": "ann", "boss_id": None}, {"id": 2, "name": "bob", "boss_id": 1}]
            await session.execute(sa.insert(PersonRow), people)
            talks = [(1, 1, 1, None), (2, 2, None, 1), (3, 2, 1, 2)]
            names = ("id", "speaker_id", "critic_id", "before_id")
            await session.execute(
                sa.insert(TalkRow), [{"title": "a", **dict(zip(names, talk, strict=True))} for talk in talks]
            )
            await session.execute(sa.insert(CommentRow), [{"id": 1, "talk_id": 1, "author_id": 1}])
        yield db


TITLE = TalkPatch(title=OptionalState.update("z"))
VERBS: dict[str, Callable[[Talks], Awaitable[Any]]] = {
    "get": lambda talks: talks.get(1),
    "find": lambda talks: talks.find(1),
    "get_one": lambda talks: talks.get_one(None, [TalkRow.id == 1]),
    "find_one": lambda talks: talks.find_one(None, [TalkRow.id == 1]),
    "first": lambda talks: talks.first(orders=[TalkRow.id]),
    "search": lambda talks: talks.search(),
    "batch_get": lambda talks: talks.batch_get([1]),
    "stream": lambda talks: anext(aiter(talks.stream())),
    "create": lambda talks: talks.create(TalkCreate(5)),
    "batch_create": lambda talks: talks.batch_create([TalkCreate(5), TalkCreate(6)]),
    "batch_create_partial": lambda talks: talks.batch_create_partial([TalkCreate(5)]),
    "update": lambda talks: talks.update(1, TITLE),
    "update by nothing": lambda talks: talks.update(1, TalkPatch()),
    "batch_update": lambda talks: talks.batch_update([1], TITLE),
    "batch_update_each": lambda talks: talks.batch_update_each({1: TITLE}),
    "batch_update_partial": lambda talks: talks.batch_update_partial({1: TITLE}),
    "upsert": lambda talks: talks.upsert(TalkCreate(1)),
    "upsert anew": lambda talks: talks.upsert(TalkCreate(5)),
    "batch_upsert": lambda talks: talks.batch_upsert([TalkCreate(1), TalkCreate(5)]),
    "batch_upsert_partial": lambda talks: talks.batch_upsert_partial([TalkCreate(1)]),
    "purge": lambda talks: talks.purge(3),
    "batch_purge": lambda talks: talks.batch_purge([3]),
}


async def refusals(call: Awaitable[Any], block: Callable[[], Any] = nullcontext) -> list[str]:
    """Give what a call is refused by, as a whole or in each of its items."""
    try:
        async with block():
            result = await call
    except MappingError as exc:
        failures: list[BaseException] = [exc]
    else:
        failures = [one.error for one in result.failed] if not result.succeeded else []
    return [str(each) for each in failures if each.__cause__ is each.__context__ is None]


CRITIC = (
    "to_data reads TalkRow.critic, which is not loaded with TalkRow: declare loads = [TalkRow.critic] in the repository"
)


@pytest.mark.parametrize("verb", VERBS)
async def test_what_is_there_by_luck_is_refused_by_every_verb(db: Database, verb: str) -> None:
    """Outside of a session, and in ours and somebody else's that have the related row already, it is one error."""
    critical = touching(lambda row: row.critic and row.critic.name)
    assert await refusals(VERBS[verb](critical(db))) == [CRITIC]
    async with db.unit_of_work() as unit:
        kept = (await unit.session.scalars(sa.select(PersonRow))).all()
        assert await refusals(VERBS[verb](critical(db)), db.unit_of_work) == [CRITIC]
        assert [person.name for person in kept] == ["ann", "bob"]
    async with AsyncSession(db.engine) as session:
        kept = (await session.scalars(sa.select(PersonRow))).all()
        assert await refusals(VERBS[verb](critical(Database.from_session(session)))) == [CRITIC]
        assert [person.name for person in kept] == ["ann", "bob"]


def session_of(row: object) -> Any:
    return object_session(row)


@pytest.mark.parametrize(
    "read, declared, told",
    [
        (lambda row: row.critic, [TalkRow.speaker], "[TalkRow.critic]"),  # both may be the same person
        (lambda row: row.strict, [TalkRow.speaker], "[TalkRow.strict]"),
        (lambda row: row.before, [], "[TalkRow.before]"),  # may be on the same page, or be none
        (lambda row: row.before and row.before.before, [TalkRow.before], "[(TalkRow.before, TalkRow.before)]"),
        (
            lambda row: row.before and row.before.paper,
            [TalkRow.before, TalkRow.paper],
            "[(TalkRow.before, TalkRow.paper)]",
        ),
        (
            lambda row: row.critic and row.critic.boss,
            [(TalkRow.speaker, PersonRow.boss), TalkRow.critic],
            "[(TalkRow.critic, PersonRow.boss)]",
        ),
        (lambda row: session_of(row).get(PersonRow, 1), [TalkRow.speaker], "[TalkRow.some_relationship]"),
    ],
)
async def test_whatever_made_it_be_there(db: Database, read: Any, declared: list[Any], told: str) -> None:
    """What other rows, or other ways to the same row, have loaded is not loaded of this one; nor is what is none."""
    talks = touching(read, *declared)(db)
    calls: list[Any] = [
        lambda: talks.search(),
        lambda: talks.search(None, None, NoPagination()),
        lambda: talks.batch_get([1, 2, 3]),
    ]
    calls += [lambda: anext(aiter(talks.stream(orders=[TalkRow.id.desc()]))), lambda: talks.get(3)]
    for call in calls:
        with pytest.raises(MappingError) as refusal:
            await call()
        assert f"loads = {told} in the repository" in str(refusal.value)


class PersonModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    boss: PersonModel | None


class TalkModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    speaker: PersonModel


async def test_pydantic_that_meets_it_by_luck(db: Database) -> None:
    """The way to it is named as the row was read, though classes of several relationships may be the same."""
    with pytest.raises(MappingError, match=r"PersonRow.boss.*loads = \[\(TalkRow.speaker, PersonRow.boss\)\]"):
        await touching(TalkModel.model_validate, TalkRow.speaker)(db).batch_get([1, 2])
    deeper = touching(TalkModel.model_validate, (TalkRow.speaker, PersonRow.boss))(db)
    with pytest.raises(MappingError, match=r"loads = \[\(TalkRow.speaker, PersonRow.boss, PersonRow.boss\)\]"):
        await deeper.get(2)


async def test_what_is_declared_and_what_leads_back_stays_usable(db: Database) -> None:
    """Each row has what its own ways lead to, though other rows have less of it; a part knows what it is part of."""

    def read(row: TalkRow) -> object:
        before = row.before and row.before.id
        return row.speaker.name, before, [(comment.talk.title, comment.talk is row) for comment in row.comments]

    talks = touching(read, TalkRow.speaker, TalkRow.before, TalkRow.comments)(db)
    expected = [("ann", None, [("a", True)]), ("bob", 1, []), ("bob", 2, [])]
    assert await talks.batch_get([1, 2, 3]) == expected
    assert [item async for item in talks.stream(orders=[TalkRow.id])] == expected
    async with db.begin_session() as session:
        kept = (await session.scalars(sa.select(TalkRow).options(joinedload(TalkRow.before)))).all()
        assert list(await talks.search(orders=[TalkRow.id])) == expected
        assert len(kept) == len(expected)


@pytest.mark.parametrize("is_own", [True, False])
async def test_what_a_session_had_is_as_it_was(db: Database, is_own: bool) -> None:
    """Rows that were loaded before keep what was loaded of them, whether data is made or refused."""
    read = touching(lambda row: row.speaker.name, TalkRow.speaker)
    careless = touching(lambda row: row.speaker.boss, TalkRow.speaker)
    async with AsyncSession(db.engine, expire_on_commit=False) as session:
        comment = await session.get_one(
            CommentRow, 1, options=[joinedload(CommentRow.author), joinedload(CommentRow.talk)]
        )
        rows = Database.from_session(session)
        call = read(rows) if is_own else careless(rows)
        for _ in range(2):
            if is_own:
                assert await call.get(1) == "ann"
            else:
                with pytest.raises(MappingError, match=r"PersonRow\.boss"):
                    await call.get(1)
        assert (comment.author.name, comment.talk.title) == ("ann", "a")
        talk = comment.talk
        assert talk.speaker is comment.author
        assert await session.run_sync(lambda _: (talk.critic, talk.before, talk.speaker.boss)) == (
            comment.author,
            None,
            None,
        )
        assert sa.inspect(talk).callables.keys() == sa.inspect(talk.speaker).callables.keys() == set()
        assert not session.dirty


class StaffRow(Base):
    __tablename__ = "undeclared_staff"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "staff", "with_polymorphic": "*"}


class ManagerRow(StaffRow):
    aide_id: Mapped[int | None] = mapped_column(ForeignKey("undeclared_staff.id"))
    house_id: Mapped[int | None] = mapped_column(ForeignKey("undeclared_houses.id"))

    aide: Mapped[StaffRow | None] = relationship(lazy="selectin", remote_side=[StaffRow.id], foreign_keys=[aide_id])
    house: Mapped[HouseRow | None] = relationship(lazy="selectin")
    __mapper_args__ = {"polymorphic_identity": "manager"}


class HouseRow(Base):
    __tablename__ = "undeclared_houses"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class CarRow(Base):
    __tablename__ = "undeclared_cars"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("undeclared_staff.id"))
    owner: Mapped[StaffRow] = relationship()


def cars_with(read: Callable[[Any], object]) -> type[Repository[CarRow, Any, int]]:
    class Cars(Repository[CarRow, Any, int]):
        loads = [CarRow.owner]

        def to_data(self, row: CarRow) -> Any:
            return read(row.owner) if isinstance(row.owner, ManagerRow) else None

    return Cars


async def test_what_a_subclass_loads_of_itself(any_tables: WithTables) -> None:
    """It is usable as far as SQLAlchemy follows it; what it leaves, as it leads back, is refused on every page."""
    async with any_tables(StaffRow, HouseRow, CarRow) as db:
        async with db.begin_session() as session:
            session.add_all([StaffRow(id=1), HouseRow(id=1, name="h")])
            await session.flush()
            session.add(ManagerRow(id=2, aide_id=1, house_id=1))
            await session.flush()
            session.add_all([CarRow(id=1, owner_id=1), CarRow(id=2, owner_id=2)])
        assert await cars_with(lambda row: row.house.name)(db).batch_get([1, 2]) == [None, "h"]
        careless = cars_with(lambda row: row.aide.id)(db)
        told = r"reads ManagerRow\.aide, .* loads = \[\(CarRow\.owner, ManagerRow\.aide\)\]"
        for ids in ([2], [1, 2]):
            with pytest.raises(MappingError, match=told):
                await careless.batch_get(ids)
