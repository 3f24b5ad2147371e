"""Fields of data classes held against their columns: what would give another value than it says is refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NewType, Protocol, TypedDict, TypeVar

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model, field_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, synonym
from sqlalchemy.types import TypeDecorator

from rowsmith import Expr, MappingError, Repository
from rowsmith.mapping import data_shape, row_info


class Base(DeclarativeBase):
    pass


class Mood(enum.Enum):
    GOOD = "g"


class Word(enum.StrEnum):
    HELLO = "hello"


@dataclass(frozen=True)
class Email:
    text: str


class AsEmail(TypeDecorator[Email]):
    impl = sa.String
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> Email | None:
        return None if value is None else Email(value)


class Folded(TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value and value.lower()


class DeedRow(Base):
    __tablename__ = "deeds"
    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]
    title: Mapped[str]
    done_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    made_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(True))
    price: Mapped[Decimal] = mapped_column(sa.Numeric(8, 2))
    rough: Mapped[float] = mapped_column(sa.Numeric(8, 2, asdecimal=False))
    ratio: Mapped[float]
    mood: Mapped[Mood]
    word: Mapped[str] = mapped_column(sa.String)
    key: Mapped[uuid.UUID]
    text_key: Mapped[str] = mapped_column(sa.Uuid(as_uuid=False))
    email: Mapped[Email] = mapped_column(AsEmail)
    folded: Mapped[str] = mapped_column(Folded)
    document: Mapped[Any] = mapped_column(sa.JSON, nullable=False)
    tags: Mapped[list[str]] = mapped_column(postgresql.ARRAY(sa.Text))
    grid: Mapped[list[list[int]]] = mapped_column(postgresql.ARRAY(sa.Integer, dimensions=2))
    fixed: Mapped[tuple[str, ...]] = mapped_column(postgresql.ARRAY(sa.Text, as_tuple=True))
    address: Mapped[str] = mapped_column(sa.String().with_variant(postgresql.INET(), "postgresql"))
    wide: Mapped[int] = mapped_column(sa.Integer().with_variant(sa.BigInteger(), "postgresql"))
    due: Mapped[dt.date]
    starts: Mapped[dt.time]
    local: Mapped[dt.datetime] = mapped_column(sa.DateTime)
    moments: Mapped[list[dt.datetime]] = mapped_column(postgresql.ARRAY(sa.DateTime(True)))
    finished = synonym("done_at")


DEED = row_info(DeedRow)
Title = NewType("Title", str)
T = TypeVar("T")
N = TypeVar("N", bound=int)


class Sized(Protocol):
    def __len__(self) -> int: ...


class Form(TypedDict):
    a: int


def shape_of(**fields: Any) -> Any:
    made: Any = dataclasses.make_dataclass("Data", fields.items(), frozen=True)
    return data_shape(DEED, made).layout


RIGHT: list[tuple[str, Any]] = [
    *[("size", kind) for kind in (int, Any, object, T, N, float, int | None, int | str, Literal[1, 2], Final[int])],
    *[("title", kind) for kind in (str, Title, Sequence[str], Hashable, Sized, Literal["a"], Annotated[str, "note"])],
    *[("done_at", kind) for kind in (dt.datetime | None, dt.date | dt.datetime | None, Any, object, T, Hashable)],
    *[("due", dt.date), ("due", dt.date | dt.datetime), ("starts", dt.time), ("moments", list[dt.datetime])],
    *[("finished", dt.datetime | None), ("made_at", dt.datetime | None), ("price", Decimal), ("rough", float)],
    *[("ratio", float), ("mood", Mood), ("mood", Literal[Mood.GOOD]), ("word", str), ("key", uuid.UUID)],
    *[("text_key", str), ("email", Email), ("email", str), ("folded", str), ("address", str), ("wide", int)],
    *[("document", kind) for kind in (dict[str, Any], Mapping[str, Any], list[int], Form, str, Any)],
    *[("tags", kind) for kind in (list[str], Sequence[str], Collection[Title], list[Any], list, list[str | None])],
    *[("grid", list[list[int]]), ("grid", list[Any]), ("fixed", tuple[str, ...])],
]

WRONG: list[tuple[str, Any, str]] = [
    ("done_at", dt.datetime, r"is never None, and the column is nullable: write datetime \| None"),
    ("finished", dt.datetime, "is never None"),
    ("done_at", Sized, "gives datetime"),
    ("done_at", str | None, r"the column gives datetime: write datetime \| None \("),
    ("size", str, r"Data.size is str, and the column gives int: write int \(DeedRow.size\); for another type"),
    ("size", bool, "gives int"),
    ("size", Literal["a"], "gives int"),
    ("title", int, "gives str"),
    ("title", Email, "is Email, and the column gives str"),
    ("title", bytes, "gives str"),
    ("word", Word, "is Word, and the column gives str"),
    ("mood", str, "gives Mood"),
    ("mood", Word, "gives Mood"),
    ("price", float, "gives Decimal"),
    ("rough", Decimal, "gives float"),
    ("ratio", Decimal, "gives float"),
    ("key", str, "gives UUID"),
    ("text_key", uuid.UUID, "gives str"),
    ("folded", Email, "gives str"),
    ("made_at", str, "gives datetime"),
    ("made_at", dt.date, r"is date, and the column gives datetime: write datetime \("),
    ("made_at", NewType("Day", dt.date), "gives datetime"),
    ("made_at", dt.time, "gives datetime"),
    ("done_at", dt.date | None, r"the column gives datetime: write datetime \| None"),
    ("local", dt.date, "gives datetime"),
    ("due", dt.datetime, "the column gives date: write date"),
    ("due", dt.time, "gives date"),
    ("starts", dt.datetime, "gives time"),
    ("starts", dt.date, "gives time"),
    ("moments", list[dt.date], "gives list"),
    ("document", Email, "gives dict or list"),
    ("document", dt.datetime, "gives dict or list"),
    ("tags", tuple[str, ...], "gives list"),
    ("tags", frozenset[str], "gives list"),
    ("tags", list[int], "gives list"),
    ("fixed", list[str], "gives tuple"),
    ("grid", list[list[str]], "gives list"),
    ("wide", str, "gives int"),
    ("size", str | bytes, "gives int"),
    ("title", NewType("Number", int), "gives str"),
]


@pytest.mark.parametrize("name, kind", RIGHT, ids=str)
def test_what_a_column_gives_may_be_said_in_many_ways(name: str, kind: Any) -> None:
    """Wider types, new types, protocols, unions, and whatever a decorator of the column's makes."""
    shape_of(**{name: kind})


@pytest.mark.parametrize("name, kind, complaint", WRONG, ids=str)
def test_a_field_that_would_be_something_else_is_refused(name: str, kind: Any, complaint: str) -> None:
    """The message names the field, the column, and what to write."""
    with pytest.raises(MappingError, match=complaint):
        shape_of(**{name: kind})


def test_a_renamed_column_is_held_too_and_a_computed_one_is_not() -> None:
    """An ``Expr`` of a mere column is that column; of anything else only its author knows the type."""
    with pytest.raises(MappingError, match="gives int"):
        shape_of(other=Annotated[str, Expr(DeedRow.size)])
    with pytest.raises(MappingError, match="is never None"):
        shape_of(other=Annotated[dt.datetime, Expr(DeedRow.done_at)])
    shape_of(other=Annotated[dt.datetime, Expr(sa.func.coalesce(DeedRow.done_at, DeedRow.made_at))])


def test_a_converter_of_the_repositorys_own_makes_what_it_likes() -> None:
    """Where ``to_data`` is overridden, nobody looks at columns."""

    @dataclass(frozen=True)
    class Deed:
        size: str
        done_at: dt.datetime

    class Deeds(Repository[DeedRow, Deed, int]):
        def to_data(self, row: DeedRow) -> Deed:
            return Deed(str(row.size), row.done_at or row.made_at)

    with pytest.raises(MappingError, match=r"Deed.size is str"):

        class _Plain(Repository[DeedRow, Deed, int]):
            pass


def model(config: ConfigDict | None = None, **fields: Any) -> Any:
    made: Any = create_model("Data", __config__=config, **{name: (kind, ...) for name, kind in fields.items()})
    return data_shape(DEED, made).layout


def test_a_model_is_refused_for_what_it_surely_refuses_itself() -> None:
    """Pydantic converts: what it takes of the column's values decides, and of None."""
    model(made_at=str | dt.datetime, title=uuid.UUID, size=bool, word=Word, rough=int, tags=tuple[str, ...])
    model(made_at=dt.date | dt.datetime, due=dt.datetime, local=Annotated[dt.date, BeforeValidator(dt.datetime.date)])
    model(done_at=dt.datetime | None, email=Any, price=float, mood=Mood, size=Annotated[int, "x"])
    model(done_at=Annotated[dt.datetime, BeforeValidator(lambda given: given or dt.datetime.min)])
    for name, kind, complaint in (
        ("size", str, "Data.size takes no int, which is what the column gives"),
        ("done_at", dt.datetime, "takes no None, and the column is nullable"),
        ("done_at", bytes | None, r"takes no datetime, which is what the column gives: write datetime \| None"),
        ("title", Email, "takes no str"),
        ("key", int, "takes no UUID"),
        ("made_at", dt.date, "takes no datetime, which is what the column gives: write datetime"),
        ("local", dt.date, "takes no datetime"),
        ("done_at", dt.date | None, r"takes no datetime, which is what the column gives: write datetime \| None"),
        ("made_at", dt.time, "takes no datetime"),
        ("due", dt.time, "takes no date"),
        ("starts", dt.datetime, "takes no time"),
        ("starts", dt.date, "takes no time"),
    ):
        with pytest.raises(MappingError, match=complaint):
            model(**{name: kind})
    with pytest.raises(MappingError, match="takes no str"):
        model(ConfigDict(strict=True), title=uuid.UUID)

    @pydantic_dataclass(frozen=True)
    class Checked:
        size: str

    with pytest.raises(MappingError, match="takes no int"):
        data_shape(DEED, Checked)


def test_a_model_with_validators_of_its_own_is_trusted() -> None:
    """They may make anything of anything."""

    class Validated(BaseModel):
        size: str

        @field_validator("size", mode="before")
        @classmethod
        def as_text(cls, value: Any) -> str:
            return str(value)

    assert data_shape(DEED, Validated).build((3,)) == Validated(size="3")
