"""Tables for the length of a block: all that they need comes with them, and nothing of it stays."""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool

from rowsmith.database import Database
from rowsmith.errors import MappingError
from rowsmith.testing import LeftOpenWarning, WithTables, tables
from rowsmith.testing.catalogue import Objects, catalogue


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s", "ix": "ix_%(column_0_label)s"}
    )


class CountryRow(Base):
    __tablename__ = "countries"
    code: Mapped[str] = mapped_column(primary_key=True)


class CityRow(Base):
    __tablename__ = "cities"
    __table_args__ = (sa.CheckConstraint("name <> ''", name="name_given"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    country_code: Mapped[str] = mapped_column(sa.ForeignKey("countries.code"))
    name: Mapped[str] = mapped_column(index=True)


class ManRow(Base):
    __tablename__ = "men"
    id: Mapped[int] = mapped_column(primary_key=True)
    wife_id: Mapped[int | None] = mapped_column(sa.ForeignKey("women.id"))
    father_id: Mapped[int | None] = mapped_column(sa.ForeignKey("men.id"))


class WomanRow(Base):
    __tablename__ = "women"
    id: Mapped[int] = mapped_column(primary_key=True)
    husband_id: Mapped[int | None] = mapped_column(sa.ForeignKey("men.id"))


class UnnamedBase(DeclarativeBase):
    pass


class EggRow(UnnamedBase):
    __tablename__ = "eggs"
    id: Mapped[int] = mapped_column(primary_key=True)
    hen_id: Mapped[int | None] = mapped_column(sa.ForeignKey("hens.id"))


class HenRow(UnnamedBase):
    __tablename__ = "hens"
    id: Mapped[int] = mapped_column(primary_key=True)
    egg_id: Mapped[int | None] = mapped_column(sa.ForeignKey("eggs.id"))


class ForeignRow(UnnamedBase):
    """Refers to a table that its own metadata does not know."""

    __tablename__ = "strangers"
    id: Mapped[int] = mapped_column(primary_key=True)
    country_code: Mapped[str] = mapped_column(sa.String, sa.ForeignKey("countries.code"))


class PaintRow(Base):
    """All that a PostgreSQL table may bring with it."""

    __tablename__ = "paints"
    __table_args__ = {"schema": "workshop", "comment": "what is on the shelf"}
    id: Mapped[int] = mapped_column(sa.Sequence("paint_numbers", schema="workshop"), primary_key=True)
    colour: Mapped[Colour] = mapped_column(sa.Enum(Colour, name="colour"))
    shade: Mapped[str] = mapped_column(sa.Enum("light", "dark", name="shade", metadata=Base.metadata))
    mix: Mapped[list[str]] = mapped_column(ARRAY(sa.Enum("wet", "dry", name="mix")))
    size: Mapped[int] = mapped_column(sa.Integer, sa.Identity())


class LidRow(Base):
    """Shares an enum type with another table."""

    __tablename__ = "lids"
    id: Mapped[int] = mapped_column(primary_key=True)
    colour: Mapped[Colour] = mapped_column(sa.Enum(Colour, name="colour"))


class AnimalRow(Base):
    __tablename__ = "animals"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind"}


class DogRow(AnimalRow):
    __tablename__ = "dogs"
    id: Mapped[int] = mapped_column(sa.ForeignKey("animals.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "dog"}


class StampedRow(Base):
    """Its DDL event makes a function and a trigger."""

    __tablename__ = "stamped"
    id: Mapped[int] = mapped_column(primary_key=True)


for ddl in (
    "create function stamp() returns trigger language plpgsql as 'begin return new; end'",
    "create trigger stamping before insert on stamped for each row execute function stamp()",
    "create view stamps as select id from stamped",
):
    sa.event.listen(StampedRow.__table__, "after_create", sa.DDL(ddl))


class SplitRow(Base):
    __tablename__ = "split"
    __table_args__ = {"postgresql_partition_by": "HASH (id)"}
    id: Mapped[int] = mapped_column(primary_key=True)


async def what_is_there(db: Database) -> Objects:
    async with db.engine.connect() as connection:
        return await catalogue(connection)


async def run(db: Database, *statements: str) -> Any:
    async with db.engine.begin() as connection:
        results = [await connection.exec_driver_sql(statement) for statement in statements]
        return results[-1].scalar() if results[-1].returns_rows else None


@pytest.fixture
def watched(request: pytest.FixtureRequest) -> Database | None:
    """The database that the test uses, if it uses a fixture's."""
    name = next((name for name in ("any_database", "database") if name in request.fixturenames), None)
    return request.getfixturevalue(name) if name else None


@pytest.fixture(autouse=True)
async def nothing_stays(watched: Database | None) -> AsyncIterator[None]:
    """Whatever a test here does, the catalogue afterwards is the one before."""
    before = await what_is_there(watched) if watched else None
    yield
    if watched:
        assert await what_is_there(watched) == before


async def test_tables_are_there_inside_and_gone_after(any_tables: WithTables, any_database: Database) -> None:
    """Inside the block the row's table takes rows; after it there is no such table."""
    async with any_tables(CountryRow) as db:
        await run(db, "insert into countries values ('PE')")
        assert await run(db, "select count(*) from countries") == 1
    with pytest.raises(DBAPIError):
        await run(any_database, "select count(*) from countries")


async def test_rows_may_come_in_any_order(any_tables: WithTables) -> None:
    """A child named before its parent still gets its foreign key, index and check."""
    async with any_tables(CityRow, CountryRow) as db:
        async with db.engine.connect() as connection:
            found = await connection.run_sync(
                lambda sync: (sa.inspect(sync).get_foreign_keys("cities"), sa.inspect(sync).get_indexes("cities"))
            )
        assert [key["name"] for key in found[0]] == ["fk_cities_country_code"]
        assert [index["name"] for index in found[1]] == ["ix_cities_name"]
        with pytest.raises(IntegrityError):
            await run(db, "insert into countries values ('PE')", "insert into cities values (1, 'PE', '')")


async def test_foreign_keys_that_lead_out_are_left_out(any_tables: WithTables) -> None:
    """Without the parent's table the child's is made all the same, and the class keeps its foreign key."""
    async with any_tables(CityRow) as db:
        await run(db, "insert into cities values (1, 'nowhere', 'Atlantis')")
    assert len(CityRow.__table__.foreign_key_constraints) == 1


async def test_a_foreign_key_to_another_metadata(any_tables: WithTables) -> None:
    """A reference that the row's own metadata cannot resolve is left out alone, and kept when its table comes too."""
    async with any_tables(ForeignRow) as db:
        await run(db, "insert into strangers values (1, 'nowhere')")
    async with any_tables(ForeignRow, CountryRow) as db:
        async with db.engine.connect() as connection:
            keys = await connection.run_sync(lambda sync: sa.inspect(sync).get_foreign_keys("strangers"))
        assert [key["referred_table"] for key in keys] == ["countries"]


@pytest.mark.parametrize("pair", [(ManRow, WomanRow), (HenRow, EggRow)], ids=["named", "unnamed"])
@pytest.mark.filterwarnings("ignore:Cannot correctly sort tables")
async def test_circles_of_foreign_keys(any_tables: WithTables, pair: tuple[type[Any], type[Any]]) -> None:
    """Tables that refer to each other, and hold rows that do, are made and dropped."""
    first, second = (row.__tablename__ for row in pair)
    async with any_tables(*pair) as db:
        column = {"men": "wife_id", "hens": "egg_id"}[first], {"women": "husband_id", "eggs": "hen_id"}[second]
        await run(
            db,
            f"insert into {first} (id) values (1)",
            f"insert into {second} (id, {column[1]}) values (1, 1)",
            f"update {first} set {column[0]} = 1",
        )
        with pytest.raises(IntegrityError):
            await run(db, f"insert into {second} (id, {column[1]}) values (2, 99)")


async def test_inherited_tables_come_with_the_child(any_tables: WithTables) -> None:
    """A row by joined-table inheritance needs its parent's table, so naming the child is enough."""
    async with any_tables(DogRow) as db:
        await run(db, "insert into animals values (1, 'dog')", "insert into dogs values (1)")


async def test_types_sequences_and_schemas(with_tables: WithTables) -> None:
    """Enum types (shared, in arrays, owned by the metadata), sequences and a schema are made and go again."""
    for _ in range(2):
        async with with_tables(PaintRow, LidRow) as db:
            number = await run(
                db,
                "insert into workshop.paints (id, colour, shade, mix) "
                "values (nextval('workshop.paint_numbers'), 'RED', 'light', '{wet,dry}') returning id",
            )
            assert number == 1
            async with db.begin_session() as session:
                assert (await session.scalars(sa.select(PaintRow.colour))).one() is Colour.RED


async def test_what_ddl_events_make_goes_too(with_tables: WithTables) -> None:
    """A team's trigger, its function and a view on the table are dropped with it."""
    async with with_tables(StampedRow) as db:
        await run(db, "insert into stamped values (1)")
        assert await run(db, "select count(*) from stamps") == 1


async def test_a_partitioned_table_goes_too(with_tables: WithTables) -> None:
    """PostgreSQL has it depend on itself, on the columns of its partition key."""
    async with with_tables(SplitRow) as db:
        before = await what_is_there(db)
    assert ("TABLE", "split") in before - await what_is_there(db)


async def test_nothing_stays_when_the_block_fails(any_tables: WithTables) -> None:
    """The block's own error arrives, and the tables are gone."""
    with pytest.raises(ZeroDivisionError):
        async with any_tables(CityRow, CountryRow):
            raise ZeroDivisionError


async def test_nothing_stays_when_creation_fails(any_tables: WithTables, any_database: Database) -> None:
    """If one table cannot be made, none is."""
    metadata = sa.MetaData()

    class Bad(DeclarativeBase):
        pass

    Bad.metadata = metadata

    class GoodRow(Bad):
        __tablename__ = "a_good"
        id: Mapped[int] = mapped_column(primary_key=True)

    class BadRow(Bad):
        __tablename__ = "b_bad"
        __table_args__ = (sa.CheckConstraint("no such thing"),)
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(DBAPIError):
        async with any_tables(GoodRow, BadRow):
            pytest.fail("the block must not be entered")


async def test_nothing_stays_when_the_task_is_cancelled(any_tables: WithTables) -> None:
    """A cancelled test cleans up before the cancellation goes on."""
    entered = asyncio.Event()

    async def stay() -> None:
        async with any_tables(CountryRow):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stay())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_tables_that_were_there_stay(any_tables: WithTables) -> None:
    """A nested block uses the outer one's table and leaves it, rows included."""
    async with any_tables(CountryRow) as db:
        await run(db, "insert into countries values ('PE')")
        async with any_tables(CountryRow, CityRow):
            await run(db, "insert into cities values (1, 'PE', 'Lima')")
        assert await run(db, "select count(*) from countries") == 1


async def test_a_transaction_left_open_is_ended_and_told(with_tables: WithTables) -> None:
    """A session that still holds the table is cut off after the block, with a warning that counts as an error here."""
    with pytest.warns(LeftOpenWarning, match="close every session inside the block"):
        async with with_tables(CountryRow) as db:
            engine = create_async_engine(db.engine.url, poolclass=NullPool)
            left = await engine.connect()
            await left.exec_driver_sql("insert into countries values ('PE')")
    with pytest.raises(DBAPIError):
        await left.exec_driver_sql("select 1")
    await left.invalidate()
    await left.close()


async def test_a_used_up_pool_does_not_keep_the_tables(database: Database) -> None:
    """Dropping needs no connection of the pool under test."""
    engine = create_async_engine(database.engine.url, pool_size=1, max_overflow=0, pool_timeout=1)
    async with engine.connect() as only:
        async with tables(engine, CountryRow):
            pass
        await only.invalidate()
    await engine.dispose()


async def test_an_open_session_on_sqlite_is_told(sqlite_database: Database) -> None:
    """SQLite cannot end another connection: the error says what to do."""
    engine = create_async_engine(sqlite_database.engine.url, connect_args={"timeout": 0.1}, poolclass=NullPool)
    other = create_async_engine(sqlite_database.engine.url, poolclass=NullPool)
    async with other.connect() as left:
        with pytest.raises(RuntimeError, match="close it before the block ends"):
            async with tables(engine, CountryRow):
                await left.exec_driver_sql("begin immediate")
                await left.exec_driver_sql("insert into countries values ('PE')")


async def test_a_changed_table_is_no_stale_plan(with_tables: WithTables) -> None:
    """A table of the same name but other columns and a new enum type works at once on the same engine."""
    for name in ("first", "second"):

        class Fresh(DeclarativeBase):
            pass

        columns = {
            "__tablename__": "changing",
            "id": mapped_column(sa.Integer, primary_key=True),
            name: mapped_column(sa.Enum("on", "off", name="switch")),
        }
        row = type("ChangingRow", (Fresh,), columns)
        async with with_tables(row) as db, db.begin_session() as session:
            session.add(row(id=1, **{name: "on"}))
            await session.flush()
            assert (await session.execute(sa.text("select * from changing"))).one() == (1, "on")


async def test_it_takes_an_engine_and_leaves_it_usable() -> None:
    """As a plain context manager it takes any engine, SQLite in memory too, and does not dispose of it."""
    engine = create_async_engine("sqlite+aiosqlite://")
    async with tables(engine, CountryRow) as db:
        assert db.engine is engine
        await run(db, "insert into countries values ('PE')")
    async with engine.connect() as connection:
        assert await catalogue(connection) == set()
    await engine.dispose()


async def test_it_gives_back_the_database_it_was_given(any_database: Database) -> None:
    """Given a ``Database`` it yields that very one."""
    async with tables(any_database, CountryRow) as db:
        assert db is any_database


async def test_a_stranger_among_the_rows_is_refused(any_tables: WithTables) -> None:
    """What is no mapped class is refused with the right call."""
    with pytest.raises(MappingError, match=r"with_tables\(DomainRow, GroupRow\)"):
        async with any_tables(CountryRow, CountryRow.__table__):
            pytest.fail("the block must not be entered")


async def test_the_database_has_a_name_of_its_own(database: Database) -> None:
    """Neither two workers nor two test runs on one server share a database."""
    name = await run(database, "select current_database()")
    assert name == database.engine.url.database
    assert name.startswith("rowsmith_")
    assert name.endswith(os.environ.get("PYTEST_XDIST_WORKER", ""))
