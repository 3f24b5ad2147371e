"""Shapes: data classes held against rows, before any database is there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship

from company import (
    BadgeData,
    RegionData,
    RegionRow,
    TagData,
    TeamData,
    TeamRow,
    UserData,
    UserRow,
)
from rowsmith import Expr, InvalidValue, MappingError, Repository, count
from rowsmith.mapping import data_shape, row_info

TEAM = row_info(TeamRow)


@dataclass(frozen=True, kw_only=True)
class ByKeyword:
    name: str
    size: int


class Model(BaseModel):
    size: int
    title: Annotated[str, Expr(TeamRow.name)]


@pydantic_dataclass(frozen=True)
class Checked:
    size: int


@dataclass(frozen=True)
class Computed:
    title: Annotated[str, Expr(TeamRow.name)]
    double: Annotated[int, Expr(TeamRow.size * 2)]
    later: Annotated[int, Expr(lambda: sa.func.length(TeamRow.name))]


def test_plain_data_selects_its_columns_in_order() -> None:
    """What is selected is what the class names, and a record becomes an object."""
    shape = data_shape(TEAM, TeamData)
    assert shape.names == ("id", "region_code", "name", "size")
    assert shape.selects == (TeamRow.id, TeamRow.region_code, TeamRow.name, TeamRow.size)
    assert shape.build((1, "eu", "x", 2)) == TeamData(1, "eu", "x", 2)
    assert shape.returnable


def test_a_shape_is_worked_out_once() -> None:
    """The same pair of classes has the same shape."""
    assert data_shape(TEAM, TeamData) is data_shape(TEAM, TeamData)


def test_keyword_only_dataclasses_and_pydantic_models() -> None:
    """Values go to fields by name wherever they cannot go by place."""
    assert data_shape(TEAM, ByKeyword).build(("x", 1)) == ByKeyword(name="x", size=1)
    assert data_shape(TEAM, Model).build((1, "x")) == Model(size=1, title="x")
    assert data_shape(TEAM, Checked).build((1,)) == Checked(1)


@pytest.mark.parametrize("into", [Model, Checked])
def test_a_record_that_does_not_fit_is_refused_without_its_values(into: type[Any]) -> None:
    """What pydantic says of a row never quotes the row."""
    with pytest.raises(InvalidValue) as caught:
        data_shape(TEAM, into).build(("secret", "secret")[: len(dataclasses.fields(into)) if into is Checked else 2])
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_computed_fields() -> None:
    """``Expr`` takes a column of another name, an expression, or a callable that makes one at first use."""
    shape = data_shape(TEAM, Computed)
    assert " ".join(str(shape.select()).split()).startswith(
        "SELECT teams.name AS rowsmith$title_0, teams.size * :size_1 AS rowsmith$double_1, "
        "length(teams.name) AS rowsmith$later_2 FROM"
    )
    assert shape.returnable
    assert shape.names == ()


def test_a_field_that_is_no_attribute_is_an_error_of_the_class() -> None:
    """The message names the class, the row, the field, and the one that was meant."""

    @dataclass(frozen=True)
    class Misspelt:
        nmae: str

    with pytest.raises(MappingError, match=r"Misspelt\.nmae is no column of TeamRow; did you mean 'name'"):

        class _Teams(Repository[TeamRow, Misspelt, int]):
            pass


@dataclass(frozen=True)
class ManyAsOne:
    users: UserData


@dataclass(frozen=True)
class OneAsMany:
    region: tuple[RegionData, ...]


@dataclass(frozen=True)
class MaybeAsCertain:
    lead: UserData


@dataclass(frozen=True)
class BadgeAsCertain:
    badge: BadgeData


@dataclass(frozen=True)
class OfNothing:
    users: tuple[int, ...]


@dataclass(frozen=True)
class OfTwo:
    users: tuple[UserData, TagData]


@dataclass(frozen=True)
class OfWrongRow:
    users: tuple[BadgeData, ...]


@dataclass(frozen=True)
class OfRow:
    users: tuple[UserRow, ...]


@dataclass(frozen=True)
class Endless:
    children: tuple[Endless, ...]


@dataclass(frozen=True)
class Counting:
    number: Annotated[int, count()]


@dataclass(frozen=True)
class NoExpression:
    size: Annotated[int, Expr(lambda: 3)]


@dataclass(frozen=True)
class Empty:
    pass


@dataclass(frozen=True)
class Unresolved:
    users: tuple[Nowhere, ...]  # noqa: F821 # pyright: ignore[reportUndefinedVariable]


@pytest.mark.parametrize(
    "into, complaint",
    [
        (ManyAsOne, r"leads to many rows: write tuple\[UserData, ...\]"),
        (OneAsMany, r"leads to one row: write RegionData"),
        (MaybeAsCertain, r"may lead to no row: write UserData | None"),
        (BadgeAsCertain, r"may lead to no row: write BadgeData | None"),
        (OfNothing, r"no data class"),
        (OfTwo, r"annotate it with the data class of its rows"),
        (OfWrongRow, r"BadgeData\.motto is no column of UserRow"),
        (OfRow, r"UserRow is no data class"),
        (Endless, r"Endless nests itself through TeamRow\.children"),
        (Counting, r"Counting\.number is an aggregate"),
        (NoExpression, r"needs a SQL expression such as GroupRow\.name, not int"),
        (Empty, r"no data class"),
        (Unresolved, r"cannot be resolved \(name 'Nowhere' is not defined\)"),
        (TeamRow, r"no data class"),
        (int, r"no data class"),
    ],
)
def test_what_does_not_fit_its_relationship_is_refused(into: type[Any], complaint: str) -> None:
    """How many rows there may be, and of which row, is held against the annotation before anything is read."""
    with pytest.raises(MappingError, match=complaint):
        _ = data_shape(TEAM, into).layout


def test_relationships_wait_for_the_classes_they_name() -> None:
    """A repository may be declared before the row at the other end is; it is checked when it is made."""

    class Base(DeclarativeBase):
        pass

    class AuthorRow(Base):
        __tablename__ = "authors"
        id: Mapped[int] = mapped_column(primary_key=True)
        books = relationship("BookRow", viewonly=True)

    class Authors(Repository[AuthorRow, AuthorData, int]):
        pass

    shape = Authors.entity.shape
    assert "layout" not in vars(shape)

    class BookRow(Base):
        __tablename__ = "books"
        id: Mapped[int] = mapped_column(primary_key=True)
        author_id: Mapped[int] = mapped_column(sa.ForeignKey("authors.id"))

    assert len(shape.layout.collections) == 1
    assert not shape.returnable
    with pytest.raises(MappingError, match="present"):
        _ = shape.build_all


@dataclass(frozen=True)
class BookData:
    id: int


@dataclass(frozen=True)
class AuthorData:
    id: int
    books: tuple[BookData, ...]


def test_a_column_property_is_read_and_not_returned() -> None:
    """A mapped expression with a subquery is selected, but RETURNING is not trusted with it."""

    class Base(DeclarativeBase):
        pass

    class ItemRow(Base):
        __tablename__ = "items"
        id: Mapped[int] = mapped_column(primary_key=True)
        doubled: Mapped[int] = column_property(id * 2)
        others: Mapped[int] = column_property(sa.select(sa.func.count()).select_from(sa.table("x")).scalar_subquery())

    @dataclass(frozen=True)
    class Doubled:
        doubled: int

    @dataclass(frozen=True)
    class Others:
        others: int

    assert data_shape(row_info(ItemRow), Doubled).returnable
    assert not data_shape(row_info(ItemRow), Others).returnable


def test_an_annotation_that_only_type_checkers_know_is_refused() -> None:
    """Behind a name that is not there may stand an ``Expr``: the plain column would be another value, in silence."""

    @dataclass(frozen=True)
    class Odd:
        size: Hidden  # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    @dataclass(frozen=True)
    class Computed:
        size: Annotated[Hidden, Expr(TeamRow.size * 100)]  # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    for into in (Odd, Computed):
        shape = data_shape(TEAM, into)  # it may be there later
        with pytest.raises(MappingError, match=r"\.size cannot be resolved \(name 'Hidden' is not defined\): import"):
            _ = shape.layout


def test_nested_pydantic_models() -> None:
    """Models nest like dataclasses do."""

    class Region(BaseModel):
        code: str

    class Team(BaseModel):
        name: str
        region: Region

    shape = data_shape(TEAM, Team)
    record = tuple("eu" if "code" in str(part) else "x" for part in shape.selects)
    assert shape.build(record) == Team(name="x", region=Region(code="eu"))


def test_a_computed_field_of_a_joined_row_is_over_that_row() -> None:
    """Its expression is moved to the join's alias; one with a subquery keeps its own names."""

    @dataclass(frozen=True)
    class Shout:
        title: Annotated[str, Expr(sa.func.upper(RegionRow.title))]

    nested = dataclasses.make_dataclass("nested", [("region", Shout)], frozen=True)
    assert "upper(regions_1.title)" in str(data_shape(TEAM, nested).select())

    @dataclass(frozen=True)
    class Sized:
        teams: Annotated[
            int,
            Expr(lambda: sa.select(sa.func.count()).where(TeamRow.region_code == RegionRow.code).scalar_subquery()),
        ]

    nested = dataclasses.make_dataclass("nested", [("region", Sized)], frozen=True)
    sql = " ".join(str(data_shape(TEAM, nested).select()).split())
    assert "WHERE teams.region_code = regions.code" in sql
    assert "FROM regions WHERE (regions.code = regions_1.code)" in sql


def test_pydantic_is_asked_for_its_own_annotations() -> None:
    """A model whose annotations cannot be resolved yet is refused once it is used, and not before."""

    class Waiting(BaseModel):
        size: int
        name: Later  # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    shape = data_shape(TEAM, Waiting)
    with pytest.raises(MappingError, match=r"Waiting\.size cannot be resolved"):
        _ = shape.layout

    class Soon(BaseModel):
        name: Sooner  # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    soon = data_shape(TEAM, Soon)
    Soon.model_rebuild(_types_namespace={"Sooner": Annotated[str, Expr(sa.func.upper(TeamRow.name))]})
    assert "upper(teams.name)" in str(soon.select())
