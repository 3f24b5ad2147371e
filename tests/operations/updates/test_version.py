"""What becomes of versions that an application's own type or generator makes, in every verb that changes rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import InvalidValue, MappingError, OptionalState, Patch, Repository, Spec, StaleVersion
from rowsmith.mapping import row_info
from rowsmith.operations.updates.version import next_version
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingPatch, ThingRow
from verbs import things_in


class Base(DeclarativeBase):
    pass


@dataclass(frozen=True)
class Edition:
    """A version that is no number to Python."""

    number: int


class Editions(sa.TypeDecorator[Edition]):
    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Edition | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else value.number

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> Edition | None:
        return None if value is None else Edition(value)


def next_edition(before: Edition | None) -> Edition:
    return Edition(1 if before is None else before.number + 1)


class BookRow(Base):
    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    edition: Mapped[Edition] = mapped_column(Editions)
    __mapper_args__ = {"version_id_col": edition, "version_id_generator": next_edition}


@dataclass(frozen=True)
class BookData:
    id: int
    title: str
    edition: Edition


@dataclass(frozen=True)
class BookCreate(Spec[BookRow]):
    id: int
    title: str


@dataclass(frozen=True)
class BookPatch(Patch[BookRow]):
    title: OptionalState[str] = OptionalState.nop()


class BookRepository(Repository[BookRow, BookData, int]):
    pass


class DraftRow(Base):
    __tablename__ = "drafts"

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(default=lambda: 5)
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class DraftCreate(Spec[DraftRow]):
    id: int


class Drafts(Repository[DraftRow, DraftRow, int]):
    pass


PATCH = BookPatch(OptionalState.update("x"))

CHANGES: dict[str, Callable[[BookRepository], Awaitable[Any]]] = {
    "update": lambda books: books.update(1, PATCH),
    "update_where": lambda books: books.update_where([BookRow.id == 1], PATCH),
    "upsert": lambda books: books.upsert(BookCreate(1, "x")),
    "batch_update": lambda books: books.batch_update([1], PATCH),
    "batch_update_each": lambda books: books.batch_update_each({1: PATCH}),
    "batch_update_partial": lambda books: books.batch_update_partial({1: PATCH}),
    "batch_upsert": lambda books: books.batch_upsert([BookCreate(1, "x"), BookCreate(2, "y")]),
    "batch_upsert_partial": lambda books: books.batch_upsert_partial([BookCreate(1, "x")]),
}


async def test_a_version_of_an_own_type_counts_up(any_tables: WithTables) -> None:
    """As its generator says, whichever verb changes the row; and who has the one before is late."""
    async with any_tables(BookRow) as db:
        books = BookRepository(db)
        assert (await books.create(BookCreate(1, "a"))).edition == Edition(1)
        for number, (name, change) in enumerate(CHANGES.items(), 2):
            await change(books)
            assert (await books.get(1)).edition == Edition(number), name
        number = 1 + len(CHANGES)
        assert (await books.update(1, PATCH, expected_version=Edition(number))).edition == Edition(number + 1)
        with pytest.raises(StaleVersion):
            await books.update(1, PATCH, expected_version=Edition(number))
        with pytest.raises(StaleVersion):
            await books.batch_update_each({1: PATCH}, expected_versions={1: Edition(number)})


def versioned(kind: Any, generate: Any = None) -> Any:
    """Give a class with a version of some type, that is made by some generator."""

    class Own(DeclarativeBase):
        pass

    class VersionRow(Own):
        __tablename__ = "versions"

        id: Mapped[int] = mapped_column(primary_key=True)
        version: Mapped[Any] = mapped_column(kind)
        __mapper_args__ = {"version_id_col": version, "version_id_generator": generate}

    return VersionRow


@pytest.mark.parametrize(
    "kind, generate, step",
    [
        (sa.Integer, None, 1),
        (sa.BigInteger, lambda before: (before or 0) + 10, 10),
        (sa.Numeric(10, 0), None, 1),
        (Editions, next_edition, 1),
    ],
)
def test_versions_that_are_counted_are_counted_in_the_database(kind: Any, generate: Any, step: int) -> None:
    """By the step that the generator takes: nobody has to know the version before."""
    row = versioned(kind, generate)
    (made,) = next_version(row_info(row)).values()
    assert str(made) == "versions.version + :param_1"
    assert made.right.value == step


def test_a_version_that_does_not_look_at_the_one_before_is_made_anew() -> None:
    """It may be a token, a time, or a number."""
    tokens = count()
    for kind in (sa.String, sa.Integer):
        info = row_info(versioned(kind, lambda _: next(tokens)))
        assert next_version(info)["version"] < next_version(info)["version"]


@pytest.mark.parametrize(
    "kind, generate",
    [
        (sa.String, None),
        (sa.String, lambda before: f"v{int(before[1:]) + 1}" if before else "v1"),
        (sa.Integer, lambda before: (before or 1) * 2),
        (sa.Integer, lambda before: f"{before}"),
        (sa.Integer, lambda before: hash(before)),
        (sa.String, lambda before: "even" if before == "odd" else "odd"),
    ],
)
def test_a_version_that_needs_the_one_before_is_refused(kind: Any, generate: Any) -> None:
    """It would be the same each time, and a change in between would stay unseen."""
    with pytest.raises(MappingError, match=r"VersionRow.version is made of the version before"):
        next_version(row_info(versioned(kind, generate)))


def test_what_a_generator_raises_is_its_own() -> None:
    """An application's error passes unchanged."""
    row = versioned(sa.String, lambda _: next(iter(())))
    with pytest.raises(StopIteration):
        next_version(row_info(row))


async def test_an_expected_version_is_a_value(any_tables: WithTables) -> None:
    """An SQL expression could be the version that the row has, whichever that is."""
    patch = ThingPatch(OptionalState.update("x"))
    async with things_in(any_tables) as things:
        for expected in (ThingRow.version, sa.literal(1) == 1, sa.select(ThingRow.id).scalar_subquery(), sa.null()):
            with pytest.raises(InvalidValue, match=r"ThingRow.version is a SQL expression: give the version last seen"):
                await things.update(1, patch, scope=OwnedBy("a"), expected_version=expected)


async def test_the_first_version_is_the_generators(any_tables: WithTables) -> None:
    """Whatever the column has for a default, and whichever verb makes the row: so does SQLAlchemy's session."""
    async with any_tables(DraftRow) as db:
        drafts = Drafts(db)
        made = [
            await drafts.create(DraftCreate(1)),
            *await drafts.batch_create([DraftCreate(2)]),
            (await drafts.upsert(DraftCreate(3))).data,
            *(item.data for item in (await drafts.batch_upsert([DraftCreate(4)])).succeeded),
        ]
        await drafts.load([DraftCreate(5)])
        made.append(await drafts.get(5))
        async with db.begin_session() as db_sess:
            db_sess.add(DraftRow(id=6))
        made.append(await drafts.get(6))
        assert [row.version for row in made] == [1] * 6
