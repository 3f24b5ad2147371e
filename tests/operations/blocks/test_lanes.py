"""The choice of a lane: pure, without a database."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import CITEXT, INET, asyncpg, psycopg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from rowsmith.mapping import row_info
from rowsmith.operations.blocks.lanes import Lane, choose_lane


class Upper(TypeDecorator[str]):
    impl = sa.String
    cache_ok = True


class Own(sa.String):
    """A class derived from SQLAlchemy's, which may bind and read in any way."""


class Base(DeclarativeBase):
    pass


class LaneRow(Base):
    __tablename__ = "lanes"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[Any] = mapped_column(sa.Numeric(10, 2))
    code: Mapped[str] = mapped_column(sa.CHAR(3))
    rough: Mapped[float] = mapped_column(sa.REAL)
    document: Mapped[Any] = mapped_column(sa.JSON)
    tags: Mapped[Any] = mapped_column(sa.JSON().with_variant(postgresql.ARRAY(sa.Text), "postgresql"))
    shout: Mapped[str] = mapped_column(Upper)
    own: Mapped[str] = mapped_column(Own)
    told: Mapped[str] = mapped_column(sa.Uuid(as_uuid=False))
    spans: Mapped[Any] = mapped_column(postgresql.INT4MULTIRANGE)
    lasts: Mapped[Any] = mapped_column(sa.Interval)
    ranges: Mapped[Any] = mapped_column(postgresql.ARRAY(postgresql.INT4RANGE))
    address: Mapped[Any] = mapped_column(INET)
    mail: Mapped[Any] = mapped_column(CITEXT)
    triggered: Mapped[str] = mapped_column(server_default=sa.FetchedValue())
    made_at: Mapped[Any] = mapped_column(sa.DateTime(True), server_default=sa.func.now())
    computed: Mapped[int] = mapped_column(sa.Computed("id * 2"))
    note: Mapped[str | None]


class ExpressionRow(Base):
    __tablename__ = "expressions"
    id: Mapped[int] = mapped_column(primary_key=True)
    turn: Mapped[int] = mapped_column(default=sa.func.abs(-1))


INFO = row_info(LaneRow)
ASYNCPG: Any = asyncpg.dialect
KEYED = ("id", "name")


@pytest.mark.parametrize(
    "written, back, lane",
    [
        (KEYED, (), Lane.COPY),
        (KEYED, ("id", "name"), Lane.COPY),
        (KEYED, ("id", "note"), Lane.COPY),
        (("name",), ("name",), Lane.COPY),
        (("name",), ("id",), Lane.UNNEST),
        (KEYED, ("made_at",), Lane.UNNEST),
        ((*KEYED, "made_at"), ("made_at",), Lane.COPY),
        (KEYED, ("computed",), Lane.UNNEST),
        *(
            ((*KEYED, name), (), Lane.COPY)
            for name in ("price", "code", "document", "tags", "shout", "rough", "mail", "own", "told", "lasts")
        ),
        *(((*KEYED, name), (name,), Lane.UNNEST) for name in ("price", "code", "document", "tags", "shout")),
        *(((*KEYED, name), (name,), Lane.UNNEST) for name in ("rough", "own", "told", "lasts")),
        *(((*KEYED, name), (name,), Lane.MANY) for name in ("spans", "ranges")),
        ((*KEYED, "spans"), (), Lane.MANY),
        ((*KEYED, "ranges"), (), Lane.COPY),
        ((*KEYED, "mail"), ("mail",), Lane.COPY),
        ((*KEYED, "triggered"), ("triggered",), Lane.UNNEST),
        ((*KEYED, "address"), (), Lane.UNNEST),
        ((), (), Lane.MANY),
    ],
)
def test_copy_is_taken_where_all_that_comes_back_is_known(
    written: tuple[str, ...], back: tuple[str, ...], lane: Lane
) -> None:
    """COPY where nothing has to come back; arrays where the server makes, rounds, pads or changes some of it."""
    assert choose_lane(ASYNCPG(), INFO, written, back) is lane


def test_a_default_in_sql_needs_an_insert() -> None:
    """COPY cannot evaluate the expression of a ``Column.default``; where the column is written, it need not."""
    info = row_info(ExpressionRow)
    assert choose_lane(ASYNCPG(), info, ("id",), ()) is Lane.UNNEST
    assert choose_lane(ASYNCPG(), info, ("id", "turn"), ()) is Lane.COPY


@pytest.mark.parametrize("dialect", [sqlite, psycopg])
def test_other_drivers_take_sqlalchemys_own(dialect: Any) -> None:
    """Without asyncpg there is neither COPY nor an array."""
    assert choose_lane(dialect.dialect(), INFO, KEYED, KEYED) is Lane.MANY
