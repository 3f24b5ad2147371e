"""The constraints of a table by name: the declared ones, and those that PostgreSQL makes up."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Conflict, MappingError
from rowsmith.mapping import row_info
from rowsmith.mapping.constraints import columns_behind, is_implicit, key_named, key_with, name_of
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
    assert all(map(is_implicit, standing))


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


def test_columns_and_names_are_found_by_one_another() -> None:
    """Of a unique key both ways; of what the mapping does not know nothing is said."""
    assert columns_behind(TABLE, "seats_hall_number_key") == ("hall", "number")
    assert key_with(TABLE, ("hall", "number")) == "seats_hall_number_key"
    assert (columns_behind(TABLE, "seats_x_key"), columns_behind(None, "seats_pkey")) == ((), ())
    assert (key_with(TABLE, ("number", "hall")), key_with(None, ("id",))) == (None, None)


def test_a_conflict_names_a_constraint_as_the_database_does() -> None:
    """A key declared without a name goes by PostgreSQL's own, as it does in an error."""
    info = row_info(SeatRow)
    for name, columns in (("seats_hall_number_key", ("hall", "number")), ("seats_pkey", ("id",))):
        assert Conflict(constraint=name).resolve(info).names == columns
    with pytest.raises(MappingError, match="did you mean 'seats_hall_number_key'"):
        Conflict(constraint="seats_hal_number_key").resolve(info)
