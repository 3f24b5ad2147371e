"""An expression that gives what its column does not take is refused before it is sent, and no other is."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from rowsmith import InvalidValue, Patch, Repository, Spec, TriState
from rowsmith.mapping import row_info
from rowsmith.mapping.writes import tied
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class Colour(enum.Enum):
    RED = "red"


class Size(enum.Enum):
    RED = "red"


class Raised(sa.types.TypeDecorator[Any]):
    """A number that is a text here."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and int(value)


KINDS: dict[str, Any] = {
    "text": sa.Text(),
    "short": sa.String(3),
    "fixed": sa.CHAR(3),
    "colour": sa.Enum(Colour, name="assigned_colour"),
    "size": sa.Enum(Size, name="assigned_size"),
    "label": sa.Enum(Size, native_enum=False),
    "small": sa.SmallInteger(),
    "integer": sa.Integer(),
    "big": sa.BigInteger(),
    "number": sa.Numeric(9, 2),
    "float": sa.Double(),
    "flag": sa.Boolean(),
    "day": sa.Date(),
    "moment": sa.DateTime(timezone=True),
    "local": sa.DateTime(),
    "hour": sa.Time(),
    "duration": sa.Interval(),
    "uuid": sa.Uuid(),
    "bytes": sa.LargeBinary(),
    "json": sa.JSON(),
    "jsonb": pg.JSONB(),
    "array": pg.ARRAY(sa.Integer),
    "range": pg.INT4RANGE(),
    "inet": pg.INET(),
    "cidr": pg.CIDR(),
    "mac": pg.MACADDR(),
    "mac8": pg.MACADDR8(),
    "raised": Raised(),
    "vector": pg.TSVECTOR(),
}
KindRow: Any = type(
    "KindRow",
    (Base,),
    {
        "__tablename__": "assigned_kinds",
        "id": mapped_column(sa.Integer, primary_key=True),
        **{name: mapped_column(kind, nullable=True) for name, kind in KINDS.items()},
    },
)


def _complaint(name: str, expression: Any) -> str | None:
    with suppress(InvalidValue):
        tied(row_info(KindRow), name, expression)
        return None
    with pytest.raises(InvalidValue) as caught:
        tied(row_info(KindRow), name, expression)
    assert caught.value.facts.columns == (name,)
    return str(caught.value)


async def test_what_is_refused_is_what_postgresql_does_not_assign(with_tables: WithTables) -> None:
    """Of each kind of column to each other, but for those of which only the database knows what they hold."""
    taken = """
        CREATE FUNCTION pg_temp.is_taken(into_ text, given text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            EXECUTE format('EXPLAIN UPDATE assigned_kinds SET %I = %I', into_, given);
            RETURN true;
        EXCEPTION WHEN datatype_mismatch THEN RETURN false;
        END $$
    """
    pairs = list(product(KINDS, KINDS))
    refused = {pair for pair in pairs if _complaint(pair[0], getattr(KindRow, pair[1])) is not None}
    async with with_tables(KindRow) as db, db.engine.begin() as connection:
        await connection.exec_driver_sql(taken)
        ask = sa.select(sa.func.pg_temp.is_taken(sa.bindparam("into"), sa.bindparam("given")))
        untaken = {
            pair
            for pair in pairs
            if not (await connection.execute(ask, dict(zip(("into", "given"), pair, strict=True)))).scalar()
        }
    told = {pair for pair in untaken if {"raised", "vector"}.isdisjoint(pair)}
    assert refused <= untaken
    assert told - refused == {("hour", "day")}  # a date is of one kind with points in time, which have an hour


K, other = KindRow, aliased(KindRow)
WRONG = {
    "a text": ("integer", lambda: K.text),
    "a text's part": ("integer", lambda: K.jsonb["a"].as_string()),
    "texts put together": ("integer", lambda: K.text + "x"),
    "a literal": ("integer", lambda: sa.literal("5")),
    "a comparison": ("integer", lambda: K.integer > 1),
    "several conditions": ("number", lambda: sa.and_(K.integer > 1, K.text == "x")),
    "a cast": ("flag", lambda: sa.cast(K.text, sa.Integer)),
    "a sum": ("flag", lambda: K.integer + 1),
    "a subquery": ("moment", lambda: sa.select(other.id).where(other.id == K.id).scalar_subquery()),
    "the first that is there": ("day", lambda: sa.func.coalesce(K.integer, K.big)),
    "a label": ("uuid", lambda: K.text.label("x")),
}
RIGHT = {
    "a number in a text": ("text", lambda: K.integer),
    "a wider number": ("small", lambda: K.big),
    "arithmetic": ("integer", lambda: K.integer * 2 + 1),
    "a difference of days": ("integer", lambda: sa.cast(dt.date(2024, 1, 2), sa.Date) - K.day),
    "a function": ("integer", lambda: sa.func.length(K.text)),
    "one with a type": ("moment", lambda: sa.func.now()),
    "a part of a document": ("integer", lambda: K.jsonb["a"].as_integer()),
    "a cast": ("integer", lambda: sa.cast(K.text, sa.Integer)),
    "a comparison": ("flag", lambda: K.integer > 1),
    "a literal": ("uuid", lambda: sa.literal(uuid.UUID(int=1))),
    "a member": ("colour", lambda: sa.literal(Colour.RED, K.colour.type)),
    "what SQL is written for": ("integer", lambda: sa.literal_column("1")),
    "a type that is a team's own": ("raised", lambda: K.integer),
}


@pytest.mark.parametrize("name, make", WRONG.values(), ids=WRONG)
def test_what_surely_does_not_fit_is_refused(name: str, make: Any) -> None:
    """By the name of its field, and with what to write instead."""
    complaint = _complaint(name, make())
    assert complaint is not None
    assert complaint.startswith(f"KindRow.{name} holds ")
    assert "write cast(expression, " in complaint


@pytest.mark.parametrize("name, make", RIGHT.values(), ids=RIGHT)
def test_what_may_fit_is_sent(name: str, make: Any) -> None:
    """What PostgreSQL assigns, and what nobody knows the type of."""
    assert _complaint(name, make()) is None


class CountRow(Base):
    __tablename__ = "assigned_counts"
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str | None]
    hits: Mapped[int | None]


@dataclass(frozen=True)
class Count:
    id: int
    hits: int | None


@dataclass(frozen=True)
class CountCreate(Spec[CountRow]):
    id: int
    word: str | None = None
    hits: TriState[int] = TriState.nop()


@dataclass(frozen=True)
class CountPatch(Patch[CountRow]):
    hits: TriState[int] = TriState.nop()


class Counts(Repository[CountRow, Count, int]):
    pass


async def test_every_verb_refuses_it_before_anything_is_sent(any_tables: WithTables) -> None:
    """On every database, those that make rows too; and what was there stays."""
    async with any_tables(CountRow) as db:
        counts = Counts(db)
        await counts.batch_create([CountCreate(1, "q5", TriState.update(1)), CountCreate(2)])
        patch = CountPatch(TriState.expression(lambda: CountRow.word))
        new = CountCreate(9, "x", TriState.expression(lambda: sa.func.coalesce(sa.literal("a"), "b")))
        words = (
            r"CountRow\.hits holds numbers, and gets an expression of text: write cast\(expression, Integer\) around it"
        )
        for work in (
            lambda: counts.update(1, patch),
            lambda: counts.batch_update([1, 2], patch),
            lambda: counts.batch_update_each({1: patch}),
            lambda: counts.update_where([CountRow.id > 0], patch),
            lambda: counts.create(new),
        ):
            with pytest.raises(InvalidValue, match=words) as caught:
                await work()
            assert caught.value.facts.sqlstate is None
        [failure] = (await counts.batch_update_partial({1: patch})).failed
        assert type(failure.error) is InvalidValue
        assert [item.hits for item in (await counts.search()).items] == [1, None]
