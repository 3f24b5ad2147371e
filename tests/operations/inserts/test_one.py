"""Creating one row."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import AnyOf, Creator, MappingError, Querier, Repository, Spec
from rowsmith.mapping import row_info
from rowsmith.scope import NO_LIMITS, resolve_scope
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    Base,
    DomainScope,
    GroupCreate,
    GroupData,
    GroupNameTaken,
    GroupRow,
    MemberCreate,
    MemberData,
    MemberRow,
    groups_in,
)


def test_a_statement_can_be_looked_at_without_a_database() -> None:
    """The INSERT is plain: the spec's and the scope's values, and what the data needs comes back."""
    creator = Creator(GroupRow, into=GroupData)
    statement = creator.statement(GroupCreate("a", "x"), NO_LIMITS)
    sql = " ".join(str(statement).split())
    assert sql.startswith("INSERT INTO groups (domain_name, name, size, note) VALUES")
    assert sql.endswith(
        "RETURNING groups.id, groups.domain_name, groups.name, groups.size, groups.note, groups.created_at"
    )

    @dataclass(frozen=True)
    class BareCreate(Spec[GroupRow], filled={"domain_name"}):
        name: str

    limits = resolve_scope(DomainScope("b"), row_info(GroupRow))
    assert creator.statement(BareCreate("x"), limits).compile().params == {"name": "x", "domain_name": "b"}


async def test_what_comes_back_is_what_the_database_holds(any_tables: WithTables) -> None:
    """Server defaults and the key are in the data, and it is equal to what is read afterwards."""
    async with groups_in(any_tables) as groups:
        made = await groups.create(GroupCreate("a", "new", 7, "n"))
        assert type(made) is GroupData
        assert (made.id, made.size, made.note) == (5, 7, "n")
        assert made.created_at.tzinfo is not None
        assert await groups.get(made.id) == made


async def test_any_session_will_do(any_tables: WithTables) -> None:
    """An operation object works in a plain session of the application's own, whose transaction it leaves alone."""
    async with groups_in(any_tables) as groups:
        make = async_sessionmaker(groups.db.engine)
        creator = Creator(GroupRow, into=GroupData, violations={"uq_groups_live": GroupNameTaken})
        async with make() as db_sess:
            await creator.create(db_sess, GroupCreate("a", "new"))
            await db_sess.rollback()
        assert await groups.count() == 3
        async with make.begin() as db_sess:
            await creator.create(db_sess, GroupCreate("a", "new"), scope=AnyOf(DomainScope("a"), DomainScope("b")))
        assert await groups.count() == 4
        with pytest.raises(GroupNameTaken):
            async with make.begin() as db_sess:
                await creator.create(db_sess, GroupCreate("a", "new"))


async def test_rows_for_private_methods(any_tables: WithTables) -> None:
    """Without ``into`` the ORM object comes back, attached to the session."""
    async with groups_in(any_tables) as groups, groups.db.begin_session() as db_sess:
        row = await Creator(GroupRow).create(db_sess, GroupCreate("a", "new"))
        assert isinstance(row, GroupRow)
        assert row in db_sess
        assert await Querier(GroupRow).query(db_sess, row.id) is row


async def test_composite_keys(any_tables: WithTables) -> None:
    """A row whose key is composite is made and found by its tuple."""
    async with groups_in(any_tables) as groups, groups.db.begin_session() as db_sess:
        made = await Creator(MemberRow, into=MemberData).create(db_sess, MemberCreate(1, "x"))
        assert made == MemberData(1, "x", 1)
        assert await Querier(MemberRow, into=MemberData).query(db_sess, (1, "x")) == made


class KindOfDefault(enum.Enum):
    CLIENT = "client"


class DefaultsRow(Base):
    __tablename__ = "defaults"

    id: Mapped[int] = mapped_column("defaults_id", primary_key=True)
    client: Mapped[KindOfDefault] = mapped_column("client_kind", default=KindOfDefault.CLIENT)
    called: Mapped[int] = mapped_column(default=lambda: 6 * 7)
    worked_out: Mapped[int] = mapped_column(default=sa.select(sa.literal(5)).scalar_subquery())
    server: Mapped[str] = mapped_column(server_default="s")
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class DefaultsCreate(Spec[DefaultsRow]):
    pass


class DefaultsRepository(Repository[DefaultsRow]):
    pass


async def test_every_kind_of_default(any_tables: WithTables) -> None:
    """A spec may be empty: defaults of Python, SQL and the server fire, and the first version is written."""
    async with any_tables(DefaultsRow) as db:
        made = await DefaultsRepository(db).create(DefaultsCreate())
        values = (made.id, made.client, made.called, made.worked_out, made.server, made.version)
        assert values == (1, KindOfDefault.CLIENT, 42, 5, "s", 1)


class AnimalBase(DeclarativeBase):
    pass


class AnimalRow(AnimalBase):
    __tablename__ = "animals"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]


class DogRow(AnimalRow):
    __mapper_args__ = {"polymorphic_identity": "dog"}


@dataclass(frozen=True)
class DogCreate(Spec[DogRow]):
    name: str


class DogRepository(Repository[DogRow]):
    pass


class AnimalRepository(Repository[AnimalRow]):
    pass


async def test_a_class_that_shares_its_table(any_tables: WithTables) -> None:
    """Single-table inheritance: the discriminator is written, and a repository sees its own kind only."""
    async with any_tables(AnimalRow) as db:
        dogs, animals = DogRepository(db), AnimalRepository(db)
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(AnimalRow.__table__).values(kind="animal", name="cat"))
        dog = await dogs.create(DogCreate("rex"))
        assert (dog.kind, dog.id) == ("dog", 2)
        assert (await dogs.search()).items[0].name == "rex"
        assert await dogs.count() == 1
        assert await dogs.find(1) is None
        assert await animals.count() == 2


async def test_a_tree_is_refused_here() -> None:
    """A spec with children is not half written: create says that it makes one row."""

    class LeafBase(DeclarativeBase):
        pass

    class LeafRow(LeafBase):
        __tablename__ = "leaves"

        id: Mapped[int] = mapped_column(primary_key=True)
        tree_id: Mapped[int] = mapped_column(sa.ForeignKey("trees.id"))

    class TreeRow(LeafBase):
        __tablename__ = "trees"

        id: Mapped[int] = mapped_column(primary_key=True)
        leaves: Mapped[list[LeafRow]] = sa.orm.relationship()

    @dataclass(frozen=True)
    class TreeCreate(Spec[TreeRow]):
        leaves: tuple[Any, ...] = ()

    with pytest.raises(MappingError, match="leaves"):
        Creator(TreeRow).statement(TreeCreate(), NO_LIMITS)


async def test_an_object_already_in_the_session_is_refreshed(any_tables: WithTables) -> None:
    """What comes back is the database's truth even where the session holds an older state of the row."""
    async with groups_in(any_tables) as groups, groups.db.begin_session() as db_sess:
        row = await Querier(GroupRow).query(db_sess, 1)
        await db_sess.execute(sa.text("UPDATE groups SET name = 'behind' WHERE id = 1"))
        assert row.name == "one"
        assert await Querier(GroupRow).query(db_sess, 1) is row
        assert row.name == "behind"


async def test_one_statement(any_tables: WithTables) -> None:
    """With a scope that can be stamped or without one: one INSERT."""
    async with groups_in(any_tables) as groups:
        for scope in (None, DomainScope("a")):
            with count_statements(groups.db) as sent:
                await groups.create(GroupCreate("a", f"new {scope}"), scope=scope)
            assert len(sent) == 1
            assert sent[0].startswith("INSERT")
