"""Rows that a trigger of the database takes out of the scope that they are written in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    AnyOf,
    Condition,
    Conflict,
    EntityAlreadyExists,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    Spec,
    TransactionAborted,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class CrateRow(Base):
    __tablename__ = "crates"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(sa.CHAR(4))
    word: Mapped[str] = mapped_column(unique=True)
    above_id: Mapped[int | None] = mapped_column(sa.ForeignKey("crates.id"))
    is_deleted: Mapped[bool] = mapped_column(default=False)

    below: Mapped[list[CrateRow]] = relationship(viewonly=True)


@dataclass(frozen=True)
class CrateData:
    id: int
    word: str


@dataclass(frozen=True)
class CrateCreate(Spec[CrateRow], filled={"tenant"}):
    word: str


@dataclass(frozen=True)
class WordCreate(Spec[CrateRow], filled={"tenant"}):
    id: int
    word: str


@dataclass(frozen=True)
class Tree(Spec[CrateRow], filled={"tenant"}):
    word: str
    below: tuple[CrateCreate, ...]


@dataclass(frozen=True)
class Placed(Spec[CrateRow], filled={"tenant"}):
    word: str
    above_id: int


@dataclass(frozen=True)
class CratePatch(Patch[CrateRow]):
    word: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class Within(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [CrateRow.tenant == self.tenant]


class Crates(Repository[CrateRow, CrateData, int]):
    conflict = Conflict(columns=[CrateRow.word])
    soft_delete = SoftDelete(CrateRow.is_deleted, deleted=True, restored=False)


def named(word: str) -> CratePatch:
    return CratePatch(OptionalState.update(word))


Call = Callable[[Crates, Any, str], Awaitable[Any]]


async def first_failure(result: Awaitable[Any]) -> None:
    failed = (await result).failed
    if failed:
        raise failed[0].error


CALLS: dict[str, Call] = {
    "create": lambda crates, scope, word: crates.create(CrateCreate(word), scope=scope),
    "batch_create": lambda crates, scope, word: crates.batch_create(
        [CrateCreate("fine"), CrateCreate(word)], scope=scope
    ),
    "load": lambda crates, scope, word: crates.load([CrateCreate("fine"), CrateCreate(word)], scope=scope),
    "tree": lambda crates, scope, word: crates.create(Tree("fine", (CrateCreate(word),)), scope=scope),
    "batch_create_partial": lambda crates, scope, word: first_failure(
        crates.batch_create_partial([CrateCreate(word)], scope=scope)
    ),
    "upsert": lambda crates, scope, word: crates.upsert(CrateCreate(word), scope=scope),
    "batch_upsert": lambda crates, scope, word: crates.batch_upsert(
        [CrateCreate("fine"), CrateCreate(word)], scope=scope
    ),
    "update": lambda crates, scope, word: crates.update(1, named(word), scope=scope),
    "batch_update": lambda crates, scope, word: crates.batch_update([1], named(word), scope=scope),
    "batch_update_each": lambda crates, scope, word: crates.batch_update_each(
        {1: named(word), 2: named("fine")}, scope=scope
    ),
    "batch_update_partial": lambda crates, scope, word: first_failure(
        crates.batch_update_partial({1: named(word)}, scope=scope)
    ),
    "update_where": lambda crates, scope, word: crates.update_where([CrateRow.id == 1], named(word), scope=scope),
}
DELETES: dict[str, Call] = {
    "delete": lambda crates, scope, word: crates.delete(3, scope=scope),
    "batch_delete": lambda crates, scope, word: crates.batch_delete([3], scope=scope),
    "restore": lambda crates, scope, word: crates.restore(4, scope=scope),
    "delete_where": lambda crates, scope, word: crates.delete_where([CrateRow.id == 3], scope=scope),
    "restore_where": lambda crates, scope, word: crates.restore_where([CrateRow.id == 4], scope=scope),
    "batch_restore": lambda crates, scope, word: crates.batch_restore([4], scope=scope),
}
MOVE = {
    "BEFORE": "IF NEW.word LIKE 'moved%' THEN NEW.tenant = 'b'; END IF; RETURN NEW;",
    "AFTER": "UPDATE crates SET tenant = 'b' WHERE id = NEW.id AND word LIKE 'moved%' AND tenant <> 'b'; RETURN NULL;",
}


@pytest.fixture(params=["BEFORE", "AFTER"])
async def crates(request: pytest.FixtureRequest, with_tables: WithTables) -> AsyncIterator[Crates]:
    """Four crates of a's, the last one deleted; what has a word like "moved" is b's as soon as it is written.

    By a trigger whose change RETURNING gives, and by one that changes the row once that was given.
    """
    async with with_tables(CrateRow) as db:
        async with db.begin_session() as db_sess:
            words = [{"tenant": "a", "word": word} for word in ("one", "two", "moved three", "moved four")]
            await db_sess.execute(sa.insert(CrateRow), words)
            await db_sess.execute(sa.update(CrateRow).where(CrateRow.id == 4).values(is_deleted=True))
            connection = await db_sess.connection()
            body = MOVE[request.param]
            await connection.exec_driver_sql(
                f"CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
            )
            await connection.exec_driver_sql(
                f"CREATE TRIGGER move {request.param} INSERT OR UPDATE ON crates FOR EACH ROW EXECUTE FUNCTION move()"
            )
        yield Crates(db)
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text("DROP FUNCTION move() CASCADE"))


async def kept(crates: Crates) -> list[Any]:
    async with crates.db.engine.connect() as connection:
        return list((await connection.execute(sa.select(CrateRow.__table__).order_by(CrateRow.id))).all())


EQUALITY, ANY_OF = Within("a"), AnyOf(Within("a"), Within("c"))
CHANGES = {name: call for name, call in (CALLS | DELETES).items() if "update" in name or name in DELETES}
EACH = [pytest.param(call, EQUALITY, id=name) for name, call in (CALLS | DELETES).items()]
EACH += [pytest.param(call, ANY_OF, id=f"{name}, any of") for name, call in CHANGES.items()]


@pytest.mark.parametrize("call, scope", EACH)
async def test_a_row_that_a_trigger_takes_away_is_not_written(crates: Crates, call: Call, scope: SearchScope) -> None:
    """By every verb and lane: also where the call stands in a unit of work that goes on."""
    before = await kept(crates)
    with pytest.raises(ScopeMismatch):
        await call(crates, scope, "moved")
    try:
        async with crates.db.unit_of_work():
            with pytest.raises(ScopeMismatch):
                await call(crates, scope, "moved")
    except TransactionAborted:
        pass
    assert await kept(crates) == before


OTHERS = """
CREATE OR REPLACE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NEW.word LIKE 'moving%' THEN UPDATE crates SET tenant = 'b' WHERE id < NEW.id AND tenant = 'a'; END IF;
RETURN NEW; END $$
"""
LATER: dict[str, Callable[[Crates], Awaitable[Any]]] = {
    "batch_create_partial": lambda crates: crates.batch_create_partial(
        [CrateCreate("fine"), CrateCreate("one"), CrateCreate("moving")], scope=EQUALITY
    ),
    "load": lambda crates: crates.load([CrateCreate("fine"), CrateCreate("moving")], scope=EQUALITY, chunk_size=1),
    "batch_upsert": lambda crates: crates.batch_upsert([WordCreate(5, "fine"), CrateCreate("moving")], scope=EQUALITY),
    "batch_upsert_partial": lambda crates: crates.batch_upsert_partial(
        [WordCreate(5, "fine"), CrateCreate("moving")], scope=EQUALITY
    ),
    "batch_update_each": lambda crates: crates.batch_update_each(
        {1: named("fine"), 2: named("moving")}, scope=EQUALITY
    ),
    "batch_update_partial": lambda crates: crates.batch_update_partial(
        {1: named("fine"), 3: named("two"), 2: named("moving")}, scope=EQUALITY
    ),
    "tree": lambda crates: crates.create(Tree("fine", (CrateCreate("moving"),)), scope=EQUALITY),
}


@pytest.mark.parametrize("verb", LATER)
async def test_a_row_that_a_later_one_takes_away_is_not_written(crates: Crates, verb: str) -> None:
    """A statement further on, or an item that is tried by itself, moves rows of the same call: nothing is kept."""
    async with crates.db.engine.begin() as connection:
        await connection.exec_driver_sql(OTHERS)
    before = await kept(crates)
    with pytest.raises(ScopeMismatch):
        await LATER[verb](crates)
    assert await kept(crates) == before


TAKES = """
CREATE OR REPLACE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF pg_trigger_depth() = 1 THEN UPDATE crates SET {} WHERE tenant = 'a' AND word IN ('n3', 'n4'); END IF;
RETURN NULL; END $$
"""
ALIKE = [Placed("n1", 1), Placed("n3", 1), Placed("n2", 1), Placed("n4", 1)]
MIXED = [*ALIKE[:2], *(CrateCreate(each.word) for each in ALIKE[2:])]


@pytest.mark.parametrize("crates", ["AFTER"], indirect=True)
@pytest.mark.parametrize("specs", [ALIKE, MIXED])
@pytest.mark.parametrize(
    "taken, kind", [("tenant = 'b', word = id", ScopeMismatch), ("word = id % 2", EntityAlreadyExists)]
)
async def test_an_item_takes_the_rows_of_others_away(
    crates: Crates, specs: Sequence[Any], taken: str, kind: type[RepositoryError]
) -> None:
    """Those that the caller does not see are held by then: whose they were is told why not, and the good ones stay."""
    async with crates.db.engine.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        await connection.exec_driver_sql("UPDATE crates SET word = 'n' || id, is_deleted = id > 2")
        await connection.exec_driver_sql(TAKES.format(taken))
    with pytest.raises(kind):
        await crates.batch_upsert(specs, scope=EQUALITY)
    result = await crates.batch_upsert_partial(specs, scope=EQUALITY)
    assert [each.index for each in result.succeeded] == [0, 2]
    assert [(each.index, type(each.error)) for each in result.failed] == [(1, kind), (3, kind)]
    assert [row.word for row in await kept(crates) if row.id < 3] == ["n1", "n2"]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_what_stays_inside_is_written(crates: Crates, call: Call) -> None:
    """A CHAR is stored with blanks, which take nothing out of any scope."""
    await call(crates, Within("a"), "own")
    assert "own" in {row.word for row in await kept(crates)}


@pytest.mark.parametrize("hook", ["do_orm_execute", "before_cursor_execute"])
@pytest.mark.parametrize("name", ["batch_create", "load", "batch_upsert", "batch_update_each"])
async def test_the_other_lanes_see_it_too(crates: Crates, name: str, hook: str) -> None:
    """Where somebody listens, SQLAlchemy sends the statement."""

    def listen(*_: Any) -> None:
        pass

    async with crates.db.begin_session() as db_sess:
        sync = db_sess.sync_session if hook == "do_orm_execute" else crates.db.engine.sync_engine
        target: Any = sync
        event.listen(target, hook, listen)
        try:
            with pytest.raises(RepositoryError) as caught:
                await CALLS[name](crates, Within("a"), "moved")
        finally:
            event.remove(target, hook, listen)
        await db_sess.rollback()
    assert isinstance(caught.value, ScopeMismatch)
