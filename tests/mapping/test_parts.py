"""Which tables a mapped class's rows are kept in, and which mappings are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.declarative import AbstractConcreteBase, ConcreteBase
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, polymorphic_union

from rowsmith import Conflict, MappingError, NextValue, Repository, SoftDelete
from rowsmith.mapping import row_info
from tenants.tools import ClampCreate, ClampRow, HammerRow, LampRow, MeterRow, ToolRow


class Base(DeclarativeBase):
    pass


def test_the_parts_of_a_row() -> None:
    """The root's table first, each with the columns that hold the key, whatever they are called there."""
    info = row_info(ClampRow)
    assert [(part.table.name, [column.name for column in part.key]) for part in info.parts] == [
        ("tools", ["id"]),
        ("meters", ["id"]),
        ("clamps", ["clamp_id"]),
    ]
    assert (info.primary_key, info.version, set(info.copies)) == (("id",), "version", {"clamp_id"})
    assert not info.is_required("clamp_id")
    assert info.is_required("name")


def test_which_classes_are_spread() -> None:
    """Those whose subclasses have further tables; what shares the tables of another class has the same parts."""
    assert [row_info(row).is_spread for row in (ToolRow, HammerRow, MeterRow, LampRow, ClampRow)] == [
        *(True, False, True, False, False)
    ]
    assert row_info(LampRow).parts == row_info(MeterRow).parts
    assert [part.table.name for part in row_info(ToolRow).all_parts] == ["tools", "meters", "clamps"]


def test_a_class_with_a_table_of_its_own_is_nobodys_part() -> None:
    """A concrete one inherits attributes and no columns."""

    class PlainRow(Base):
        __tablename__ = "plain"

        id: Mapped[int] = mapped_column(primary_key=True)
        gone: Mapped[bool]

    class OwnRow(PlainRow):
        __tablename__ = "own"
        __mapper_args__ = {"concrete": True}

        id: Mapped[int] = mapped_column(primary_key=True)
        gone: Mapped[bool]

    assert [part.table.name for part in row_info(OwnRow).parts] == ["own"]
    assert not row_info(PlainRow).is_spread
    assert not row_info(OwnRow).has(PlainRow.gone)
    with pytest.raises(MappingError, match="no column of OwnRow"):

        class OwnRepository(Repository[OwnRow]):
            soft_delete = SoftDelete(PlainRow.gone, deleted=True, restored=False)


def union() -> type[Any]:
    class FirstRow(Base):
        __tablename__ = "first"

        id: Mapped[int] = mapped_column(primary_key=True)

    table: Any = FirstRow.__table__

    class UnionRow(Base):
        __table__ = polymorphic_union({"first": table}, "type", "pjoin_first")
        __mapper_args__ = {"primary_key": [__table__.c.id]}

    return UnionRow


def concrete() -> type[Any]:
    class PaidRow(ConcreteBase, Base):
        __tablename__ = "paid"
        __mapper_args__ = {"polymorphic_identity": "paid", "concrete": True}

        id: Mapped[int] = mapped_column(primary_key=True)

    return PaidRow


def abstract() -> type[Any]:
    class AnyPaidRow(AbstractConcreteBase, Base):
        strict_attrs = True

        id: Mapped[int] = mapped_column(primary_key=True)

    class WeeklyRow(AnyPaidRow):
        __tablename__ = "weekly"
        __mapper_args__ = {"polymorphic_identity": "weekly", "concrete": True}

        id: Mapped[int] = mapped_column(primary_key=True)

    return WeeklyRow


def by_name() -> type[Any]:
    class NamedRow(Base):
        __tablename__ = "named"

        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(unique=True)

    class BadgeRow(NamedRow):
        __tablename__ = "badges"

        badge: Mapped[str] = mapped_column(sa.ForeignKey("named.name"), primary_key=True)

    return BadgeRow


def by_more_than_the_key() -> type[Any]:
    class OpenRow(Base):
        __tablename__ = "open"

        id: Mapped[int] = mapped_column(primary_key=True)
        is_open: Mapped[bool]

    class DoorRow(OpenRow):
        __tablename__ = "doors"

        door_id: Mapped[int] = mapped_column(sa.ForeignKey("open.id"), primary_key=True)
        __mapper_args__ = {"inherit_condition": sa.and_(door_id == OpenRow.id, OpenRow.is_open.is_(True))}

    return DoorRow


@pytest.mark.parametrize(
    "make, told",
    [
        (union, "mapped to a"),
        (concrete, "reads a polymorphic union"),
        (abstract, "reads a polymorphic union"),
        (by_name, "whose keys are equal"),
        (by_more_than_the_key, "whose keys are equal"),
    ],
)
def test_what_cannot_be_written_is_refused(make: Callable[[], type[Any]], told: str) -> None:
    """By the class's name, when a repository of it is made."""
    row = make()
    with pytest.raises(MappingError, match=rf"{row.__name__} .*{told}"):
        row_info(row)


def test_what_goes_by_one_table_is_refused_when_it_is_declared() -> None:
    """Conflicts and numbers on rows of several tables, copies of the key, rows in a tree."""
    with pytest.raises(MappingError, match=r"Conflict writes to one table.* tools, meters, clamps: call find"):

        class Conflicting(Repository[MeterRow]):
            conflict = Conflict(columns=[MeterRow.name])

    with pytest.raises(MappingError, match=r"NextValue writes to one table"):

        class Numbered(Repository[MeterRow]):
            next_value = NextValue(MeterRow.reading, within=MeterRow.id)

    with pytest.raises(MappingError, match=r"KeyedTwice\.clamp_id is a copy of ClampRow's key"):

        @dataclass(frozen=True)
        class KeyedTwice(ClampCreate):
            clamp_id: int = 1

    with pytest.raises(MappingError, match="no constraint of tools, meters; did you mean 'ck_meters_reading'"):

        class Misspelt(Repository[MeterRow]):
            violations = {"ck_meter_reading": MappingError}
