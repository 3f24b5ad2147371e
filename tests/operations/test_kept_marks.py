"""Rows whose mark of soft deletion a trigger keeps as it was: no verb says that they are deleted, or restored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Database,
    RefusedByTrigger,
    Repository,
    SoftDelete,
    TransactionAborted,
)
from rowsmith.testing import WithTables
from says import Says
from support import count_statements, share


class Base(DeclarativeBase):
    pass


class PageRow(Base):
    __tablename__ = "kept_pages"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    is_firm: Mapped[bool]
    is_gone: Mapped[bool]


class SheetRow(Base):
    __tablename__ = "kept_sheets"
    __mapper_args__ = {"polymorphic_on": "kind"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    is_firm: Mapped[bool]
    is_gone: Mapped[bool]


class CoverRow(SheetRow):
    __tablename__ = "kept_covers"
    __mapper_args__ = {"polymorphic_identity": "cover"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("kept_sheets.id"), primary_key=True)
    colour: Mapped[str]


@dataclass(frozen=True)
class Page:
    id: int
    is_gone: bool


class Pages(Repository[PageRow, Page, int]):
    soft_delete = SoftDelete(PageRow.is_gone, deleted=True, restored=False)


class WholePages(Repository[PageRow, PageRow, int]):
    soft_delete = SoftDelete(PageRow.is_gone, deleted=True, restored=False)


class Covers(Repository[CoverRow, Page, int]):
    soft_delete = SoftDelete(CoverRow.is_gone, deleted=True, restored=False)


BACK = "UPDATE {} SET is_gone = old.is_gone WHERE id = new.id"
BODIES = {
    "BEFORE": "IF old.is_firm THEN new.is_gone := old.is_gone; END IF; RETURN new;",
    "AFTER": f"IF old.is_firm AND old.is_gone <> new.is_gone AND pg_trigger_depth() = 1 THEN {BACK}; END IF; "
    "RETURN new;",
}
ON_SQLITE = f"CREATE TRIGGER keep_{{0}} AFTER UPDATE ON {{0}} WHEN old.is_firm BEGIN {BACK.format('{0}')}; END"


@pytest.fixture(params=BODIES)
async def db(request: pytest.FixtureRequest, any_tables: WithTables) -> AsyncIterator[Database]:
    """Pages 1 to 3 are live, 4 to 6 are deleted; a trigger keeps the marks of 1 and 4, and those of covers."""
    async with any_tables(PageRow, SheetRow, CoverRow) as made:
        is_sqlite = made.engine.dialect.name == "sqlite"
        async with made.engine.begin() as connection:
            pages = [{"id": n, "owner": "a", "is_firm": n in (1, 4), "is_gone": n > 3} for n in range(1, 7)]
            await connection.execute(sa.insert(PageRow), pages)
            sheets = [{"id": n, "kind": "cover", "is_firm": True, "is_gone": n > 7} for n in (7, 8)]
            tables: list[Any] = [SheetRow.__table__, CoverRow.__table__]
            await connection.execute(sa.insert(tables[0]), sheets)
            await connection.execute(sa.insert(tables[1]), [{"id": n, "colour": "red"} for n in (7, 8)])
            for table in ("kept_pages", "kept_sheets"):
                if is_sqlite:
                    await connection.exec_driver_sql(ON_SQLITE.format(table))
                    continue
                body = BODIES[request.param].format(table)
                await connection.exec_driver_sql(
                    f"CREATE FUNCTION {table}_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
                )
                await connection.exec_driver_sql(
                    f"CREATE TRIGGER keep {request.param} UPDATE ON {table} FOR EACH ROW "
                    f"EXECUTE FUNCTION {table}_keep()"
                )
        await made.engine.dispose()  # what is asked once for each connection is asked again
        yield made
        if not is_sqlite:
            async with made.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION kept_pages_keep(), kept_sheets_keep() CASCADE")


A = Says(PageRow.owner == "a")
Call = Callable[[Any, Says | None, int], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "delete": lambda pages, scope, at: pages.delete(1 + at, scope=scope),
    "batch_delete": lambda pages, scope, at: pages.batch_delete([3, 1 + at], scope=scope),
    "delete_where": lambda pages, scope, at: pages.delete_where([PageRow.id.in_([3, 1 + at])], scope=scope),
    "restore": lambda pages, scope, at: pages.restore(4 + at, scope=scope),
    "batch_restore": lambda pages, scope, at: pages.batch_restore([6, 4 + at], scope=scope),
    "restore_where": lambda pages, scope, at: pages.restore_where([PageRow.id.in_([6, 4 + at])], scope=scope),
}
OF_COVERS: dict[str, Callable[[Covers], Awaitable[Any]]] = {
    "delete": lambda covers: covers.delete(7),
    "batch_delete": lambda covers: covers.batch_delete([7]),
    "delete_where": lambda covers: covers.delete_where([CoverRow.id == 7]),
    "restore": lambda covers: covers.restore(8),
    "batch_restore": lambda covers: covers.batch_restore([8]),
    "restore_where": lambda covers: covers.restore_where([CoverRow.id == 8]),
}
WAYS = ("alone", "statement", "by SQLAlchemy", "session", "objects")


async def called(name: str, db: Database, way: str, scope: Says | None, at: int) -> Any:
    async with AsyncExitStack() as stack:
        if way == "session":
            await stack.enter_async_context(db.unit_of_work())
        if way == "statement":
            stack.enter_context(db.writes_as("statement"))
        if way == "by SQLAlchemy":
            db = Database(db.engine, native=False)
        return await CALLS[name](WholePages(db) if way == "objects" else Pages(db), scope, at)


async def stored(db: Database) -> dict[int, bool]:
    async with db.engine.connect() as connection:
        rows = await connection.execute(
            sa.text("SELECT id, is_gone FROM kept_pages UNION SELECT id, is_gone FROM kept_sheets")
        )
        return {row[0]: bool(row[1]) for row in rows}


@pytest.mark.parametrize("way, scope, name", share(product(WAYS, [A, None], CALLS), 3))
async def test_a_mark_that_a_trigger_keeps_is_refused(db: Database, name: str, scope: Says | None, way: str) -> None:
    """By every verb, with a scope and without, by each way of sending it; nothing of the call is kept."""
    before = await stored(db)
    with pytest.raises(RefusedByTrigger):
        await called(name, db, way, scope, 0)
    with suppress(TransactionAborted):
        async with db.unit_of_work():
            with pytest.raises(RefusedByTrigger):
                await called(name, db, "alone", scope, 0)
    assert await stored(db) == before


@pytest.mark.parametrize("name", CALLS)
async def test_other_rows_of_the_table_are_marked(db: Database, name: str) -> None:
    """A trigger that lets a mark be has nothing refused."""
    await called(name, db, "alone", A, 1)
    changed = {"delete": [2], "batch_delete": [2, 3], "delete_where": [2, 3]}.get(name, [5, 6] if "_" in name else [5])
    rows = await stored(db)
    assert [rows[id_] for id_ in changed] == ["delete" in name] * len(changed)


@pytest.mark.parametrize("name", OF_COVERS)
async def test_rows_of_several_tables_are_refused_too(db: Database, name: str) -> None:
    """Wherever the mark is kept."""
    before = await stored(db)
    with pytest.raises(RefusedByTrigger):
        await OF_COVERS[name](Covers(db))
    assert await stored(db) == before


async def test_a_table_without_triggers_is_not_read_again(with_tables: WithTables) -> None:
    """Its rows are marked by one statement, and one more locks those that conditions find."""
    async with with_tables(PageRow) as db:
        async with db.engine.begin() as connection:
            pages = [{"id": n, "owner": "a", "is_firm": False, "is_gone": False} for n in (1, 2, 3)]
            await connection.execute(sa.insert(PageRow), pages)
        pages_of, scope = Pages(db), A
        for call, number in (
            (lambda: pages_of.delete(1, scope=scope), 1),
            (lambda: pages_of.batch_delete([2], scope=scope), 1),
            (lambda: pages_of.delete_where([PageRow.id == 3], scope=scope), 2),
        ):
            with count_statements(db) as sent:
                await call()
            assert len(sent) == number
