"""Rows of a view that INSTEAD OF triggers write: what these say of a row is not always what they have written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Database,
    OptionalState,
    Patch,
    RefusedByTrigger,
    Repository,
    ScopeMismatch,
    SoftDelete,
    Spec,
)
from rowsmith.execution.pooler import is_behind_pooler
from rowsmith.testing import WithTables
from says import Says
from support import share


class Base(DeclarativeBase):
    pass


class BoxRow(Base):
    __tablename__ = "boxes"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    size: Mapped[int]
    kind: Mapped[str] = mapped_column(server_default="plain")
    is_gone: Mapped[bool] = mapped_column(server_default=sa.false())


@dataclass(frozen=True)
class Box:
    id: int
    size: int
    kind: str
    is_gone: bool


@dataclass(frozen=True)
class NewBox(Spec[BoxRow], filled={"owner"}):
    id: int
    size: int


@dataclass(frozen=True)
class OwnedBox(Spec[BoxRow]):
    id: int
    owner: str
    size: int


@dataclass(frozen=True)
class Sized(Patch[BoxRow]):
    size: OptionalState[int] = OptionalState.nop()


class Boxes(Repository[BoxRow, Box, int]):
    soft_delete = SoftDelete(BoxRow.is_gone, deleted=True, restored=False)


class WholeBoxes(Repository[BoxRow, BoxRow, int]):
    soft_delete = SoftDelete(BoxRow.is_gone, deleted=True, restored=False)


INSERT = "INSERT INTO all_boxes (id, owner, size) VALUES (new.id, new.owner, new.size)"
UPDATE = "UPDATE all_boxes SET owner = new.owner, size = new.size, is_gone = new.is_gone WHERE id = old.id"
DELETE = "DELETE FROM all_boxes WHERE id = old.id"
SHOWN = "ALTER TABLE boxes RENAME TO all_boxes; CREATE VIEW boxes AS SELECT * FROM all_boxes"
# The table's own trigger doubles a size, and gives away what is 6 large.
ON_POSTGRESQL = """
CREATE FUNCTION box() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN {INSERT}; ELSIF TG_OP = 'UPDATE' THEN {UPDATE}; ELSE {DELETE}; RETURN old; END IF;
    RETURN new;
END $$;
CREATE TRIGGER boxed INSTEAD OF INSERT OR UPDATE OR DELETE ON boxes FOR EACH ROW EXECUTE FUNCTION box();
CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF new.size = 6 THEN new.owner = 'b'; ELSIF new.size < 10 THEN new.size = 2 * new.size; END IF; RETURN new;
END $$;
CREATE TRIGGER owned BEFORE INSERT OR UPDATE OF size ON all_boxes FOR EACH ROW EXECUTE FUNCTION own()
"""
_OWN = (
    "BEGIN UPDATE all_boxes SET owner = CASE WHEN new.size = 6 THEN 'b' ELSE owner END, "
    "size = CASE WHEN new.size IN (5, 7) THEN 2 * new.size ELSE new.size END WHERE id = new.id; END"
)
ON_SQLITE = f"""
CREATE TRIGGER inserted INSTEAD OF INSERT ON boxes BEGIN {{INSERT}}; END|
CREATE TRIGGER updated INSTEAD OF UPDATE ON boxes BEGIN {{UPDATE}}; END|
CREATE TRIGGER deleted INSTEAD OF DELETE ON boxes BEGIN {{DELETE}}; END|
CREATE TRIGGER own_new AFTER INSERT ON all_boxes {_OWN}|
CREATE TRIGGER own_changed AFTER UPDATE OF size ON all_boxes {_OWN}
"""


@asynccontextmanager
async def shown(made: WithTables, **does: str) -> AsyncIterator[Database]:
    """Have three boxes of one owner in a view, the last one deleted; triggers do what is said in place of the usual."""
    said = {"INSERT": INSERT, "UPDATE": UPDATE, "DELETE": DELETE} | does
    async with made(BoxRow) as table:
        is_sqlite = table.engine.dialect.name == "sqlite"
        async with table.engine.begin() as connection:
            rows = [{"id": n, "owner": "a", "size": 1, "is_gone": n == 3} for n in (1, 2, 3)]
            await connection.execute(sa.insert(BoxRow), rows)
            texts = [*SHOWN.split(";"), *ON_SQLITE.split("|")] if is_sqlite else [SHOWN, ON_POSTGRESQL]
            driver: Any = (await connection.get_raw_connection()).driver_connection
            for text in texts:
                await driver.execute(text.format(**said))
        own = (
            table
            if is_sqlite
            else Database.from_url(table.engine.url, pooler=is_behind_pooler(table.engine.sync_engine))
        )
        try:
            yield own
        finally:
            if not is_sqlite:
                await own.dispose()
            async with table.engine.begin() as connection:
                await connection.exec_driver_sql("DROP VIEW boxes")
                await connection.exec_driver_sql("ALTER TABLE all_boxes RENAME TO boxes")
                for name in () if is_sqlite else ("box", "own"):
                    await connection.exec_driver_sql(f"DROP FUNCTION {name}() CASCADE")


async def stored(db: Database) -> dict[int, tuple[Any, ...]]:
    async with db.engine.connect() as connection:
        rows = await connection.execute(sa.text("SELECT id, owner, size, kind, is_gone FROM all_boxes ORDER BY id"))
        return {row[0]: (row[1], row[2], row[3], bool(row[4])) for row in rows}


def sized(size: int) -> Sized:
    return Sized(OptionalState.update(size))


Call = Callable[[Any, Says | None, int], Awaitable[Any]]
MAKING: dict[str, Call] = {
    "create": lambda boxes, scope, size: boxes.create(NewBox(5, size), scope=scope),
    "batch_create": lambda boxes, scope, size: boxes.batch_create([NewBox(5, size), NewBox(6, 20)], scope=scope),
    "batch_create_partial": lambda boxes, scope, size: boxes.batch_create_partial([NewBox(5, size)], scope=scope),
    "load": lambda boxes, scope, size: boxes.load([NewBox(5, size), NewBox(6, 20)], scope=scope),
}
CHANGING: dict[str, Call] = {
    "update": lambda boxes, scope, size: boxes.update(1, sized(size), scope=scope),
    "batch_update": lambda boxes, scope, size: boxes.batch_update([1, 2], sized(size), scope=scope),
    "batch_update_each": lambda boxes, scope, size: boxes.batch_update_each({1: sized(size)}, scope=scope),
    "batch_update_partial": lambda boxes, scope, size: boxes.batch_update_partial(
        {1: sized(size), 2: sized(30)}, scope=scope
    ),
    "update_where": lambda boxes, scope, size: boxes.update_where([BoxRow.id == 1], sized(size), scope=scope),
}
MARKING: dict[str, Call] = {
    "delete": lambda boxes, scope, _: boxes.delete(1, scope=scope),
    "batch_delete": lambda boxes, scope, _: boxes.batch_delete([1, 2], scope=scope),
    "restore": lambda boxes, scope, _: boxes.restore(3, scope=scope),
    "batch_restore": lambda boxes, scope, _: boxes.batch_restore([3], scope=scope),
}
WRITING = MAKING | CHANGING | MARKING
WAYS = ("alone", "statement", "by SQLAlchemy", "session", "objects")
A = Says(BoxRow.owner == "a")


async def called(name: str, db: Database, way: str, scope: Says | None, size: int) -> Any:
    """Call a verb one way, and raise the failure of the one item of a partial form."""
    async with AsyncExitStack() as stack:
        if way == "session":
            await stack.enter_async_context(db.unit_of_work())
        if way == "statement":
            stack.enter_context(db.writes_as("statement"))
        if way == "by SQLAlchemy":
            db = Database(db.engine, native=False)
        result = await WRITING[name](WholeBoxes(db) if way == "objects" else Boxes(db), scope, size)
        if failed := getattr(result, "failed", ()):
            raise failed[0].error
        return result


def data_in(result: Any) -> list[Any]:
    if type(result) is int:
        return []
    given = result if hasattr(result, "append") else getattr(result, "succeeded", [result])
    return [getattr(each, "data", each) for each in given]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MAKING)
async def test_the_data_made_is_what_the_table_beneath_holds(any_tables: WithTables, name: str, way: str) -> None:
    """Defaults and triggers of that table are seen, which the view's own trigger says nothing of."""
    await keep_true(any_tables, name, way, A)


@pytest.mark.parametrize("way, scope, name", share(product(WAYS, [A, None], CHANGING | MARKING), 3))
async def test_the_data_is_what_the_table_beneath_holds(
    with_tables: WithTables, name: str, scope: Says | None, way: str
) -> None:
    """Also where rows are changed, which SQLite gives no keys of."""
    await keep_true(with_tables, name, way, scope)


async def keep_true(made: WithTables, name: str, way: str, scope: Says | None) -> None:
    """Hold what a verb gives against what is stored."""
    async with shown(made) as db:
        result = await called(name, db, way, scope, 5)
        rows = await stored(db)
        for each in data_in(result):
            owner, *held = rows[each.id]
            assert (owner, [each.size, each.kind, each.is_gone]) == ("a", held)
        if name not in MARKING:
            assert 10 in {row[1] for row in rows.values()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MAKING)
async def test_a_new_row_that_the_table_beneath_gives_away_is_refused(
    any_tables: WithTables, name: str, way: str
) -> None:
    """By its scope, and nothing of it is kept."""
    await keep_inside(any_tables, name, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CHANGING)
async def test_a_row_that_the_table_beneath_gives_away_is_refused(with_tables: WithTables, name: str, way: str) -> None:
    """As it is when it is changed."""
    await keep_inside(with_tables, name, way)


async def keep_inside(made: WithTables, name: str, way: str) -> None:
    """Have a verb write what leaves the scope by itself; another item of a partial form stays."""
    async with shown(made) as db:
        before = await stored(db)
        with pytest.raises(ScopeMismatch):
            await called(name, db, way, A, 6)
        after = await stored(db)
        assert {key: row for key, row in after.items() if row[1] != 30} == {
            key: row for key, row in before.items() if after[key][1] != 30
        }


@pytest.mark.parametrize("name", MAKING)
async def test_a_row_that_is_made_nowhere_is_refused(any_tables: WithTables, name: str) -> None:
    """Whichever way it is sent: nobody is told of a row that is not there."""
    async with shown(any_tables, INSERT="UPDATE all_boxes SET size = size WHERE id = new.id") as db:
        for way in WAYS:
            with pytest.raises(RefusedByTrigger):
                await called(name, db, way, A, 5)
        assert len(await stored(db)) == 3


async def test_what_is_loaded_nowhere_is_refused_without_a_scope(any_tables: WithTables) -> None:
    """Which gives a number alone, of rows that are there."""
    async with shown(any_tables, INSERT="UPDATE all_boxes SET size = size WHERE id = new.id") as db:
        with pytest.raises(RefusedByTrigger):
            await Boxes(db).load([OwnedBox(5, "a", 5), OwnedBox(6, "a", 5)])
    async with shown(any_tables) as db:
        assert await Boxes(db).load([OwnedBox(5, "a", 5), OwnedBox(6, "a", 5)]) == 2


PURGING: dict[str, Callable[[Boxes], Awaitable[Any]]] = {
    "purge": lambda boxes: boxes.purge(1, scope=A),
    "batch_purge": lambda boxes: boxes.batch_purge([1, 2], scope=A),
    "purge_where at once": lambda boxes: boxes.purge_where([BoxRow.id < 3], scope=A, chunk_size=None),
    "purge_where": lambda boxes: boxes.purge_where([BoxRow.id < 3], scope=A, pause=0),
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", PURGING)
async def test_a_row_that_no_trigger_removes_is_refused(any_tables: WithTables, name: str, native: bool) -> None:
    """It is still there, whatever the view's trigger says of it; and nothing goes on for ever."""
    async with shown(any_tables, DELETE="UPDATE all_boxes SET kind = kind WHERE id = old.id") as db:
        with pytest.raises(RefusedByTrigger):
            async with asyncio.timeout(20):
                await PURGING[name](Boxes(Database(db.engine, native=native)))
        assert len(await stored(db)) == 3
    async with shown(any_tables) as db:
        await PURGING[name](Boxes(Database(db.engine, native=native)))
        assert 1 not in await stored(db)


@pytest.mark.parametrize("name", MARKING)
async def test_a_mark_that_no_trigger_writes_is_refused(with_tables: WithTables, name: str) -> None:
    """The row is not deleted, or restored, which its view's trigger has left as it was."""
    async with shown(with_tables, UPDATE="UPDATE all_boxes SET kind = kind WHERE id = old.id") as db:
        before = await stored(db)
        for way in WAYS:
            with pytest.raises(RefusedByTrigger):
                await called(name, db, way, A, 0)
        assert await stored(db) == before


async def test_a_view_with_a_trigger_for_deletes_alone_hides_none_beneath(with_tables: WithTables) -> None:
    """PostgreSQL writes through it by itself, and what the table's triggers do is seen as it is without that one."""
    async with shown(with_tables) as db:
        async with db.engine.begin() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.execute(
                "DROP TRIGGER boxed ON boxes; DROP TRIGGER owned ON all_boxes;"
                "CREATE TRIGGER boxed INSTEAD OF DELETE ON boxes FOR EACH ROW EXECUTE FUNCTION box();"
                "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "UPDATE all_boxes SET kind = 'odd' WHERE id = new.id AND kind <> 'odd'; RETURN NULL; END $$;"
                "CREATE TRIGGER later AFTER UPDATE ON all_boxes FOR EACH ROW EXECUTE FUNCTION later()"
            )
        try:
            assert (await Boxes(db).update(1, sized(5), scope=A)).kind == "odd"
        finally:
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION later() CASCADE")
