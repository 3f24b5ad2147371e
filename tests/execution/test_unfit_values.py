"""A value that is too large for its column is named as one that no driver can write; and is never told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Database, InvalidValue, Patch, Repository, RepositoryError, Spec, TriState
from rowsmith.testing import WithTables

CANARY = "".join(("c4n", "ary"))
BIG = Decimal(7654321)


class Long(sa.types.TypeDecorator[Any]):
    """Makes a text longer than its column takes."""

    impl = sa.String(6)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and f"<{value}>"


class Large(sa.types.TypeDecorator[Any]):
    """Hands numbers on, whatever its column takes."""

    impl = sa.Numeric(3, 1)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value


class Base(DeclarativeBase):
    pass


class BoxRow(Base):
    __tablename__ = "unfit_boxes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[Any] = mapped_column("Text one", Long(), nullable=True)
    number: Mapped[Any] = mapped_column(Large(), nullable=True)
    other: Mapped[str | None] = mapped_column(sa.String(6))
    more: Mapped[int | None] = mapped_column(sa.SmallInteger)
    made: Mapped[int] = mapped_column(server_default="7")


@dataclass(frozen=True)
class Box:
    id: int
    made: int


@dataclass(frozen=True)
class BoxCreate(Spec[BoxRow]):
    id: int
    text: Any = "x"
    number: Any = Decimal(1)
    other: str | None = "y"
    more: int | None = 1


@dataclass(frozen=True)
class BoxPatch(Patch[BoxRow]):
    text: TriState[Any] = TriState.nop()
    number: TriState[Any] = TriState.nop()
    other: TriState[str] = TriState.nop()


class Boxes(Repository[BoxRow, Box, int]):
    pass


async def refusal(work: Awaitable[Any]) -> tuple[str, tuple[str, ...]]:
    """What an error says of a value, which nothing of it may quote."""
    try:
        result = await work
    except RepositoryError as exc:
        error: Any = exc
    else:
        [failure] = result.failed
        error = failure.error
    assert isinstance(error, InvalidValue)
    told = f"{error} {error!r} {vars(error)} {error.__cause__} {error.__context__}"
    assert not any(value in told for value in (CANARY, str(BIG)))
    return str(error), error.facts.columns


def verbs(boxes: Boxes, bad: dict[str, Any]) -> dict[str, tuple[Callable[[], Awaitable[Any]], str]]:
    """Every verb that writes a value, given one that is too large, and what it says in front of the column."""
    patch = BoxPatch(other=TriState.update("z"), **{name: TriState.update(value) for name, value in bad.items()})
    good, two = BoxPatch(other=TriState.update("z")), "the spec at index 2: "
    plain = {name: TriState.update("x" if name == "text" else Decimal(2)) for name in bad}
    each = {1: BoxPatch(other=TriState.update("z"), **plain), 2: patch}
    many = [BoxCreate(9), BoxCreate(8), BoxCreate(7, **bad)]
    return {
        "create": (lambda: boxes.create(BoxCreate(9, **bad)), ""),
        "batch_create": (lambda: boxes.batch_create(many), two),
        "load": (lambda: boxes.load(many), two),
        "create_partial": (lambda: boxes.batch_create_partial([*many, BoxCreate(6)]), two),
        "upsert": (lambda: boxes.upsert(BoxCreate(1, **bad)), ""),
        "batch_upsert": (lambda: boxes.batch_upsert([BoxCreate(9), BoxCreate(1), BoxCreate(2, **bad)]), two),
        "upsert_partial": (lambda: boxes.batch_upsert_partial([BoxCreate(9), BoxCreate(1), BoxCreate(2, **bad)]), two),
        "update": (lambda: boxes.update(1, patch), ""),
        "batch_update": (lambda: boxes.batch_update([1, 2], patch), ""),
        "update_each": (lambda: boxes.batch_update_each(each), "the patch at index 1: "),
        "update_partial": (lambda: boxes.batch_update_partial({1: good, 2: patch}), "the patch at index 1: "),
        "update_where": (lambda: boxes.update_where([BoxRow.id > 0], patch), ""),
    }


@pytest.fixture(params=[True, False], ids=["native", "sqlalchemy"])
async def boxes(with_tables: WithTables, request: pytest.FixtureRequest) -> AsyncIterator[Boxes]:
    async with with_tables(BoxRow) as db:
        boxes = Boxes(Database(db.engine, native=request.param))
        await boxes.batch_create([BoxCreate(1), BoxCreate(2)])
        yield boxes


@pytest.mark.parametrize("bad", [{"text": CANARY}, {"number": BIG}], ids=["text", "number"])
async def test_a_value_that_is_too_large_is_named(boxes: Boxes, bad: dict[str, Any]) -> None:
    """By its column in every verb, and by its index in every batch, among others of its kind."""
    given, [name] = verbs(boxes, bad), bad
    said = {verb: await refusal(work()) for verb, (work, _) in given.items()}
    words, columns = (
        f"BoxRow.{name} holds a value that its type does not take",
        ("Text one" if name == "text" else name,),
    )
    assert said == {verb: (f"{before}{words}", columns) for verb, (_, before) in given.items()}


async def test_no_words_of_the_servers_are_read(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are of whatever language it speaks: a COPY is told by the values, too."""
    monkeypatch.setattr("rowsmith.operations.inserts.copy.copied", lambda *_: None)

    class Sent(Repository[BoxRow, Box, int]):
        pass

    said = await refusal(Sent(boxes.db).load([BoxCreate(9), BoxCreate(8, text=CANARY)]))
    assert said == ("the spec at index 1: BoxRow.text holds a value that its type does not take", ("Text one",))


async def test_statements_of_ones_own(boxes: Boxes) -> None:
    """In a session, by whatever way SQLAlchemy sends them."""
    table: Any = BoxRow.__table__
    rows = [{"id": 11 + n, "text": CANARY if n == 1 else "x"} for n in range(3)]
    ways: list[tuple[Any, Any]] = [
        (sa.insert(BoxRow).values(id=9, text=CANARY), None),
        (sa.update(BoxRow).values(text=CANARY), None),
        (sa.insert(BoxRow), rows),
        (sa.insert(table).values([{"id": row["id"], "Text one": row["text"]} for row in rows]), None),
    ]
    for statement, given in ways:
        with pytest.raises(InvalidValue, match=r"BoxRow\.text|unfit_boxes\.Text one"):
            async with boxes.db.begin_session() as session:
                await session.execute(statement, given)


class LooseRow(Base):
    """Whose columns are narrower in the database."""

    __tablename__ = "unfit_loose"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column(sa.String)
    other: Mapped[str | None] = mapped_column(sa.String)
    number: Mapped[int | None]
    double: Mapped[int | None] = mapped_column(sa.Computed("number::bigint * 3"))


@dataclass(frozen=True)
class LooseCreate(Spec[LooseRow]):
    id: int
    text: str | None = None
    other: str | None = None


@dataclass(frozen=True)
class LooseChange(Patch[LooseRow]):
    text: TriState[str] = TriState.nop()
    other: TriState[str] = TriState.nop()
    number: TriState[int] = TriState.nop()


class Loose(Repository[LooseRow, LooseRow, int]):
    pass


@asynccontextmanager
async def narrowed(with_tables: WithTables) -> AsyncIterator[Loose]:
    async with with_tables(LooseRow) as db:
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql("ALTER TABLE unfit_loose ALTER COLUMN text TYPE VARCHAR(3)")
            await connection.exec_driver_sql("ALTER TABLE unfit_loose ALTER COLUMN other TYPE VARCHAR(3)")
        yield Loose(db)


WRITTEN_BY_A_TRIGGER = (
    """
    CREATE FUNCTION unfit_too() RETURNS trigger LANGUAGE plpgsql
    AS $$BEGIN new.other := 'far too long'; RETURN new; END$$
    """,
    "CREATE TRIGGER unfit_too BEFORE UPDATE ON unfit_loose FOR EACH ROW EXECUTE FUNCTION unfit_too()",
)


async def test_a_column_that_is_narrower_than_its_mapping(with_tables: WithTables) -> None:
    """Is named where it can be no other; of several that can be, and of what a trigger writes, none is."""
    async with narrowed(with_tables) as loose:
        told = await refusal(loose.create(LooseCreate(1, text=CANARY)))
        assert told == ("LooseRow.text holds a value that its type does not take", ("text",))
        assert (await refusal(loose.create(LooseCreate(1, text=CANARY, other="x"))))[1] == ()
        await loose.create(LooseCreate(1))
        change = LooseChange(other=TriState.update(CANARY))
        assert (await refusal(loose.update(1, change)))[1] == ("other",)
        assert (await refusal(loose.update_where([LooseRow.text.is_(None)], change)))[1] == ("other",)
        assert (await refusal(loose.update(1, LooseChange(number=TriState.update(2**30)))))[1] == ()
        async with loose.db.begin_session() as session:
            for statement in WRITTEN_BY_A_TRIGGER:
                await session.execute(sa.text(statement))
        assert (await refusal(loose.update(1, LooseChange(text=TriState.update("x")))))[1] == ()
