"""The constraints of a table by name: the declared ones, and those that PostgreSQL makes up."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Conflict, MappingError, Repository
from rowsmith.mapping import row_info
from rowsmith.mapping.constraints import (
    column_names,
    item_named,
    key_named,
    key_with,
    name_of,
    names_of,
    tells_all_apart,
    unique_keys_of,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class SeatRow(Base):
    """A table whose constraints have no names, and indexes that need theirs."""

    __tablename__ = "seats"
    __table_args__ = (
        sa.UniqueConstraint("hall", "number"),
        sa.ForeignKeyConstraint(["next_hall", "next_number"], ["seats.hall", "seats.number"]),
        sa.Index("ix_seats_label", "label", unique=True),
        sa.Index("ix_seats_lower", sa.text("lower(label)"), unique=True),
        sa.Index("ix_seats_free", "number", unique=True, postgresql_where=sa.text("next_hall IS NULL")),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    hall: Mapped[int]
    number: Mapped[int]
    label: Mapped[str] = mapped_column(unique=True)
    next_hall: Mapped[int | None]
    next_number: Mapped[int | None]


TABLE = row_info(SeatRow).table


async def test_a_constraint_without_a_name_has_the_one_that_postgresql_gives(with_tables: WithTables) -> None:
    """The names worked out from the mapping are those that stand in the catalogue."""
    asked = sa.text("SELECT conname FROM pg_constraint WHERE conrelid = 'seats'::regclass AND contype IN ('p','u','f')")
    async with with_tables(SeatRow) as db, db.begin_session() as db_sess:
        standing = set((await db_sess.execute(asked)).scalars())
    assert {name_of(item) for item in TABLE.constraints} == standing


def test_a_key_is_found_by_its_name_if_its_columns_alone_are_what_it_goes_by() -> None:
    """An index with a predicate or an expression does not tell rows apart by its columns' values."""
    names = ("seats_pkey", "seats_hall_number_key", "seats_next_hall_next_number_fkey", "ix_seats_label")
    found = [key_named(TABLE, name) for name in names]
    assert [None if key is None else [column.name for column in key.columns] for key in found] == [
        ["id"],
        ["hall", "number"],
        ["next_hall", "next_number"],
        ["label"],
    ]
    assert [key_named(TABLE, name) for name in ("ix_seats_free", "ix_seats_lower", "seats_x_key", None)] == [None] * 4


def test_a_key_in_any_direction_tells_all_rows_apart_and_a_partial_one_of_any_database_does_not() -> None:
    """Over whole columns, descending ones too, and no predicate; one that a single database knows makes it partial."""
    table = sa.Table(
        "desks",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String, unique=True),
        sa.Column("label", sa.String),
    )
    for name, expression, options in (
        ("down", table.c.label.desc().nulls_last(), {}),
        ("lower", sa.func.lower(table.c.label), {}),
        ("words", sa.text("label"), {}),
        ("in_sqlite", table.c.label, {"sqlite_where": table.c.code.is_(None)}),
        ("in_postgresql", table.c.label, {"postgresql_where": table.c.code.is_(None)}),
    ):
        sa.Index(name, expression, unique=True, **options)
    assert {name_of(key) for key in unique_keys_of(table) if tells_all_apart(key)} == {
        "desks_pkey",
        "desks_code_key",
        "down",
    }
    assert key_named(table, "down") is not None
    assert [key_named(table, name) for name in ("lower", "words", "in_sqlite", "in_postgresql")] == [None] * 4


def test_columns_and_names_are_found_by_one_another() -> None:
    """Of a unique key both ways; of what the mapping does not know nothing is said."""
    key = key_with(TABLE, ("hall", "number"))
    assert key is not None
    assert (name_of(key), column_names(key)) == ("seats_hall_number_key", ("hall", "number"))
    assert item_named(TABLE, "seats_hall_number_key") is key
    assert item_named(TABLE, "seats_x_key") is None
    assert (key_with(TABLE, ("number", "hall")), key_with(None, ("id",))) == (None, None)


def test_a_conflict_names_a_constraint_as_the_database_does() -> None:
    """A key declared without a name goes by PostgreSQL's own, as it does in an error."""
    info = row_info(SeatRow)
    for name, columns in (("seats_hall_number_key", ("hall", "number")), ("seats_pkey", ("id",))):
        assert Conflict(constraint=name).resolve(info).names == columns
    with pytest.raises(MappingError, match="did you mean 'seats_hall_number_key'"):
        Conflict(constraint="seats_hal_number_key").resolve(info)


LONG = "a_table_with_a_name_that_is_about_as_long_as_they_get_in_real_1"


class LongBase(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={"uq": "uq_%(table_name)s_%(column_0_N_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s"}
    )


class LongRow(LongBase):
    """Names that a convention makes too long, and one of its own, in two bytes a letter."""

    __tablename__ = LONG
    __table_args__ = (
        sa.UniqueConstraint("hall", "number_of_the_seat"),
        sa.Index("ix_" + "ü" * 40, "hall", "label", unique=True),
        sa.CheckConstraint("hall > 0 AND label > ''"),
        sa.CheckConstraint("hall < 99"),
        sa.CheckConstraint(sa.column("hall") != 7),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    hall: Mapped[int]
    number_of_the_seat: Mapped[int]
    label: Mapped[str]
    next_id: Mapped[int | None] = mapped_column(sa.ForeignKey(f"{LONG}.id"))


async def test_a_name_that_is_too_long_is_known_by_what_is_left_of_it(with_tables: WithTables) -> None:
    """Every name in PostgreSQL's catalogue leads to the constraint or index that it was made of."""
    asked = sa.text(
        "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid"
        " WHERE indrelid = CAST(:name AS regclass)"
        " UNION SELECT conname FROM pg_constraint WHERE conrelid = CAST(:name AS regclass) AND contype <> 'n'"
    )
    table = row_info(LongRow).table
    async with with_tables(LongRow) as db, db.begin_session() as db_sess:
        standing = set((await db_sess.execute(asked, {"name": LONG})).scalars())
    assert len(standing) == 7
    found = {name: item_named(table, name) for name in standing}
    assert None not in found.values()
    assert {type(item) for item in found.values()} == {
        sa.PrimaryKeyConstraint,
        sa.UniqueConstraint,
        sa.ForeignKeyConstraint,
        sa.CheckConstraint,
        sa.Index,
    }
    unique = next(item for item in table.constraints if isinstance(item, sa.UniqueConstraint))
    assert name_of(unique) == f"uq_{LONG}_hall_number_of_the_seat"
    assert item_named(table, f"uq_{LONG}_hall_number_of_the_seat") is unique


class EmailBase(DeclarativeBase):
    pass


class MailRow(EmailBase):
    __tablename__ = "mails"
    __table_args__ = (
        sa.UniqueConstraint("place", name="uq_mails_place", deferrable=True, initially="DEFERRED"),
        sa.Index("uq_mails_lower", sa.text("lower(email)"), unique=True),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int]
    email: Mapped[str]
    serial: Mapped[int]


@dataclass(frozen=True)
class Mail:
    id: int


sa.Index("uq_mails_upper", sa.func.upper(MailRow.email), unique=True)
sa.Index("uq_mails_serial", MailRow.serial.desc(), unique=True)


def test_a_conflict_that_no_upsert_can_go_by_is_refused() -> None:
    """A deferrable constraint, by name or by columns, and an index over expressions; a direction does no harm."""
    info = row_info(MailRow)
    for conflict in (Conflict(constraint="uq_mails_place"), Conflict(columns=[MailRow.place])):
        with pytest.raises(MappingError, match="uq_mails_place of mails is deferrable"):
            conflict.resolve(info)
    for name in ("uq_mails_lower", "uq_mails_upper"):
        with pytest.raises(MappingError, match="over expressions"):
            Conflict(constraint=name).resolve(info)
    assert Conflict(constraint="uq_mails_serial").resolve(info).names == ("serial",)


@pytest.mark.parametrize("name", ["uq_mails_place", "uq_mails_lower", "uq_mails_upper"])
def test_it_is_refused_when_the_class_is_made(name: str) -> None:
    """Not at the first upsert."""
    with pytest.raises(MappingError, match=name):

        class Mails(Repository[MailRow, Mail, int]):
            conflict = Conflict(constraint=name)


def test_a_conflict_goes_by_a_long_name_either_way() -> None:
    """As the mapping has it, and as PostgreSQL has kept it."""
    info = row_info(LongRow)
    whole = f"uq_{LONG}_hall_number_of_the_seat"
    kept = names_of(next(item for item in info.table.constraints if isinstance(item, sa.UniqueConstraint)))[-1]
    assert len(kept) <= 63
    for name in (whole, kept):
        assert Conflict(constraint=name).resolve(info).names == ("hall", "number_of_the_seat")


def test_a_deferrable_primary_key_is_refused_by_upserts_only() -> None:
    """A repository that never upserts does not care."""

    class LateRow(EmailBase):
        __tablename__ = "lates"
        __table_args__ = (sa.PrimaryKeyConstraint("id", deferrable=True),)
        id: Mapped[int]

    class LateRepository(Repository[LateRow]):
        pass

    with pytest.raises(MappingError, match="lates_pkey of lates is deferrable"):
        LateRepository.entity.conflict.resolve(row_info(LateRow))
