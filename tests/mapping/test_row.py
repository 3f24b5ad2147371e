"""What is read of a mapped class."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from rowsmith import InvalidValue, MappingError
from rowsmith.mapping import nearest, row_info
from tenants import Base, GroupRow, MemberRow, WideRow


def test_attribute_names_are_the_keys() -> None:
    """A column of another name goes by its attribute everywhere."""
    info = row_info(WideRow)
    assert "label" in info.columns
    assert "label_text" not in info.columns
    assert info.attribute("label").expression.name == "label_text"
    assert list(row_info(GroupRow).columns) == [column.key for column in GroupRow.__table__.columns]


def test_it_is_read_once() -> None:
    """The same class gives the same object."""
    assert row_info(GroupRow) is row_info(GroupRow)


class GroupKey(NamedTuple):
    group_id: int
    email: str


def test_keys() -> None:
    """A key is a value, or for a composite one a tuple in the key's order, a NamedTuple too."""
    assert row_info(GroupRow).key(1) == (1,)
    member = row_info(MemberRow)
    assert member.key((1, "x")) == member.key(GroupKey(1, "x")) == (1, "x")
    for wrong in (1, "x", (1,), (1, "x", 2), [1, "x"], None):
        with pytest.raises(InvalidValue, match=r"tuple of 2: \(group_id, email\)"):
            member.key(wrong)
    for wrong in ((1, None), ("x", "x"), (1, "\x00"), (2**31, "x")):
        with pytest.raises(InvalidValue, match="MemberRow"):
            member.key(wrong)


def test_required_columns() -> None:
    """NOT NULL without anybody to fill it: no default, no sequence, no server."""
    info = row_info(GroupRow)
    assert [name for name in info.columns if info.is_required(name)] == ["domain_name", "name"]
    member = row_info(MemberRow)
    assert [name for name in member.columns if member.is_required(name)] == ["group_id", "email"]


class KindsRow(Base):
    __tablename__ = "kinds"
    __mapper_args__ = {"version_id_col": None}

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    total: Mapped[int] = mapped_column(sa.Computed("1 + 1"))
    made: Mapped[int] = mapped_column(default=0)
    filled: Mapped[int] = mapped_column(server_default=sa.FetchedValue())
    touched: Mapped[int] = mapped_column(server_default="0", onupdate=1)


KindsRow.doubled = column_property(KindsRow.__table__.c.total * 2)  # type: ignore[attr-defined]


def test_columns_that_fill_themselves() -> None:
    """Identity, generated, and defaults on either side are nobody's duty; a column_property is no column."""
    info = row_info(KindsRow)
    assert [name for name in info.columns if info.is_required(name)] == []
    assert "doubled" not in info.columns
    assert info.is_computed("total")
    assert info.written_unasked == {"total", "touched"}


def test_names_in_error_codes() -> None:
    """The class without its suffix, in snake case."""
    made = {
        name: type(name, (Base,), {"__tablename__": name, "id": mapped_column(sa.Integer, primary_key=True)})
        for name in ("FairShareRow", "URLModel", "Row", "Thing2Record")
    }
    assert [row_info(row).domain for row in made.values()] == ["fair_share", "url", "row", "thing2"]


def test_what_is_no_row() -> None:
    """A class that is not mapped, or to something else than tables, is refused with its name."""
    with pytest.raises(MappingError, match="int is no mapped class"):
        row_info(int)

    class JoinedBase(DeclarativeBase):  # a foreign key to the world's own tables would stay in its metadata for good
        pass

    class AboveRow(JoinedBase):
        __tablename__ = "above"

        id: Mapped[int] = mapped_column(primary_key=True)

    class BesideRow(JoinedBase):
        __tablename__ = "beside"

        id: Mapped[int] = mapped_column(sa.ForeignKey("above.id"), primary_key=True)

    class JoinedRow(JoinedBase):
        __table__ = sa.join(AboveRow.__table__, BesideRow.__table__)

        id = column_property(AboveRow.__table__.c.id, BesideRow.__table__.c.id)

    with pytest.raises(MappingError, match="JoinedRow is mapped to a Join, not to a table"):
        row_info(JoinedRow)


def test_mappers_are_not_configured() -> None:
    """A row whose relationships name classes that are not imported yet can be read all the same."""

    class LonelyBase(DeclarativeBase):
        pass

    class LonelyRow(LonelyBase):
        __tablename__ = "lonely"

        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        other_id: Mapped[int] = mapped_column(sa.ForeignKey("others.id"))
        other: Mapped[Any] = relationship("NotImportedYetRow")

    assert list(row_info(LonelyRow).columns) == ["id", "other_id"]
    assert row_info(LonelyRow).is_required("other_id")


def test_nearest() -> None:
    """A misspelt name gets a suggestion, a strange one none."""
    assert nearest("nmae", ["name", "size"]) == "; did you mean 'name'?"
    assert nearest("zzz", ["name", "size"]) == ""


def test_a_foreign_key_has_the_type_of_a_target_that_is_mapped_later() -> None:
    """A class that refers to one yet to come is read before; its values are checked all the same."""

    class LateBase(DeclarativeBase):
        pass

    class BelowRow(LateBase):
        __tablename__ = "late_below"
        above_id: Mapped[int] = mapped_column(sa.ForeignKey("late_above.id"), primary_key=True)

    class NoTypeRow(LateBase):
        __tablename__ = "late_no_type"
        above_id: Mapped[Any] = mapped_column(None, sa.ForeignKey("late_above.id"), primary_key=True)

    infos = row_info(BelowRow), row_info(NoTypeRow)

    class AboveRow(LateBase):
        __tablename__ = "late_above"
        id: Mapped[int] = mapped_column(primary_key=True)

    for info in infos:
        assert info.key(1) == (1,)
        for wrong in ("x", 2**31):
            with pytest.raises(InvalidValue):
                info.key(wrong)
    assert AboveRow.__tablename__ == "late_above"


class Document(TypeDecorator[Any]):
    impl = sa.JSON
    cache_ok = True


class Sealed(TypeDecorator[Any]):
    impl = Document
    cache_ok = True


class DocumentsBase(DeclarativeBase):
    pass


class DocumentsRow(DocumentsBase):
    __tablename__ = "row_documents"
    id: Mapped[int] = mapped_column(primary_key=True)
    plain: Mapped[Any] = mapped_column(sa.JSON)
    wrapped: Mapped[Any] = mapped_column(Document)
    twice: Mapped[Any] = mapped_column(Sealed)
    text: Mapped[str]


def test_json_is_seen_below_any_number_of_decorators() -> None:
    """So that None is SQL NULL there, and not the JSON literal that SQLAlchemy would make of it."""
    info = row_info(DocumentsRow)
    assert [name for name in info.columns if info.is_json(name)] == ["plain", "wrapped", "twice"]
