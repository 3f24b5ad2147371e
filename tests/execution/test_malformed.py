"""A value that only PostgreSQL can read, and does not, is named by its column and index; and none is cut to fit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DOMAIN, JSONB, JSONPATH, MACADDR, MACADDR8, MONEY, TSQUERY, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    UNSET,
    Conflict,
    Database,
    InvalidFilter,
    InvalidValue,
    Patch,
    Repository,
    RepositoryError,
    Spec,
    TriState,
)
from rowsmith.testing import WithTables
from support import count_statements


class Told(sa.types.UserDefinedType[Any]):
    """A type of PostgreSQL's that SQLAlchemy has no class for."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


class Base(DeclarativeBase):
    pass


class OddRow(Base):
    __tablename__ = "malformed_odds"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[int | None] = mapped_column(unique=True)
    mac: Mapped[Any] = mapped_column(MACADDR(), nullable=True)
    mac8: Mapped[Any] = mapped_column(MACADDR8(), nullable=True)
    money: Mapped[Any] = mapped_column(MONEY(), nullable=True)
    count: Mapped[Any] = mapped_column(DOMAIN("malformed_count", sa.Integer()), nullable=True)
    word: Mapped[Any] = mapped_column(DOMAIN("malformed_word", sa.String(3)), nullable=True)
    short: Mapped[Any] = mapped_column(Told("varchar(3)"), nullable=True)
    point: Mapped[Any] = mapped_column(Told("point"), nullable=True)
    place: Mapped[Any] = mapped_column(Told("regclass"), nullable=True)
    query: Mapped[Any] = mapped_column("Full text", TSQUERY(), nullable=True)
    words: Mapped[Any] = mapped_column(TSVECTOR(), nullable=True)
    path: Mapped[Any] = mapped_column(JSONPATH(), nullable=True)


@dataclass(frozen=True)
class OddCreate(Spec[OddRow]):
    key: Any = UNSET
    mac: Any = UNSET
    mac8: Any = UNSET
    money: Any = UNSET
    count: Any = UNSET
    word: Any = UNSET
    short: Any = UNSET
    point: Any = UNSET
    place: Any = UNSET
    query: Any = UNSET
    words: Any = UNSET
    path: Any = UNSET


@dataclass(frozen=True)
class OddPatch(Patch[OddRow]):
    key: TriState[Any] = TriState.nop()
    mac: TriState[Any] = TriState.nop()
    mac8: TriState[Any] = TriState.nop()
    money: TriState[Any] = TriState.nop()
    count: TriState[Any] = TriState.nop()
    word: TriState[Any] = TriState.nop()
    point: TriState[Any] = TriState.nop()
    place: TriState[Any] = TriState.nop()
    query: TriState[Any] = TriState.nop()
    words: TriState[Any] = TriState.nop()
    path: TriState[Any] = TriState.nop()


@dataclass(frozen=True)
class Odd:
    id: int


class Odds(Repository[OddRow, Odd, int]):
    conflict = Conflict([OddRow.key])


VALUES: dict[str, tuple[Any, Any]] = {
    "mac": ("08:00:2b:01:02:03", "zz"),
    "mac8": ("08:00:2b:01:02:03:04:05", "zz"),
    "money": ("1.50", "x"),
    "count": (5, "x"),
    "word": ("abc", "abcdef"),
    "point": ((1.0, 2.0), "x"),
    "place": ("pg_class", "no_such_table"),
    "query": ("a & b", "a &"),
    "words": ("a b", "a 'x"),
    "path": ("$.a", "$.(("),
}
"""Of each column a value that it takes, and one that it does not."""


@pytest.fixture(params=["native", "sqlalchemy", "statement"])
async def odds(with_tables: WithTables, request: pytest.FixtureRequest) -> AsyncIterator[Odds]:
    async with with_tables(OddRow) as db:
        writes: Any = "statement" if request.param == "statement" else "transaction"
        odds = Odds(Database(db.engine, native=request.param != "sqlalchemy", writes=writes))
        await odds.batch_create([OddCreate(key=1), OddCreate(key=2)])
        yield odds


async def _refused(work: Awaitable[Any]) -> str:
    """What an error says of a value, in whose class and facts it is one of a column."""
    try:
        result = await work
    except RepositoryError as exc:
        error: Any = exc
    else:
        [failure] = result.failed
        error = failure.error
    assert (type(error), len(error.facts.columns)) == (InvalidValue, 1)
    return str(error)


def _verbs(odds: Odds, name: str, good: Any, bad: Any) -> dict[str, tuple[Callable[[], Awaitable[Any]], str]]:
    """Every verb that writes a value, given one that is refused, and what it says in front of the column."""
    alike = [OddCreate(**{name: value}) for value in (good, bad)]
    mixed = [OddCreate(), OddCreate(), OddCreate(**{name: bad})]
    upserted = [OddCreate(key=1, **{name: good}), OddCreate(key=3, **{name: bad})]
    patch, fit = (OddPatch(**{name: TriState.update(value)}) for value in (bad, good))
    one, two = "the spec at index 1: ", "the spec at index 2: "
    return {
        "create": (lambda: odds.create(alike[1]), ""),
        "batch_create": (lambda: odds.batch_create(alike), one),
        "batch_create, others": (lambda: odds.batch_create(mixed), two),
        "load": (lambda: odds.load(alike), one),
        "load, others": (lambda: odds.load(mixed), two),
        "create_partial": (lambda: odds.batch_create_partial(alike), one),
        "upsert": (lambda: odds.upsert(upserted[1]), ""),
        "batch_upsert": (lambda: odds.batch_upsert(upserted), one),
        "upsert_partial": (lambda: odds.batch_upsert_partial(upserted), one),
        "update": (lambda: odds.update(1, patch), ""),
        "batch_update": (lambda: odds.batch_update([1, 2], patch), ""),
        "update_each": (lambda: odds.batch_update_each({1: fit, 2: patch}), "the patch at index 1: "),
        "update_each, others": (lambda: odds.batch_update_each({1: OddPatch(), 2: patch}), "the patch at index 1: "),
        "update_partial": (lambda: odds.batch_update_partial({1: fit, 2: patch}), "the patch at index 1: "),
        "update_where": (lambda: odds.update_where([OddRow.id > 0], patch), ""),
    }


@pytest.mark.parametrize("name", VALUES)
async def test_a_value_that_the_server_cannot_read_is_named(odds: Odds, name: str) -> None:
    """By its column in every verb, and by its index in every batch, whatever the others set; it is no filter's."""
    given = _verbs(odds, name, *VALUES[name])
    said = {verb: await _refused(work()) for verb, (work, _) in given.items()}
    words = f"OddRow.{name} holds a value that its type does not take"
    assert said == {verb: f"{before}{words}" for verb, (_, before) in given.items()}


async def test_no_value_of_a_batch_is_cut_to_fit(odds: Odds) -> None:
    """What a column is too short for is refused among others as alone, whatever is known of its type."""
    for name in ("word", "short"):
        fit, long = OddCreate(**{name: "abc"}), OddCreate(**{name: "abcdef"})
        for work in (odds.create(long), odds.batch_create([fit, long]), odds.load([fit, long])):
            with pytest.raises(InvalidValue):
                await work
    assert await odds.count() == 2


async def test_many_values_of_a_type_that_only_the_server_knows(with_tables: WithTables) -> None:
    """Go in one statement, and what comes back stands in the order of the input."""
    async with with_tables(OddRow) as db:
        odds = Odds(db)
        specs = [OddCreate(key=1000 - n, point=(float(n), 1.0)) for n in range(100)]
        with count_statements(db) as sent:
            made = await odds.batch_create(specs)
        assert len([statement for statement in sent if "INSERT" in statement]) == 1
        assert await odds.load(OddCreate(point=(1.0, 2.0), key=n) for n in range(2000, 4500)) == 2500
        async with db.begin_readonly_session() as session:
            rows = (await session.execute(sa.select(OddRow.id, OddRow.key, OddRow.point))).all()
        stored = {id_: (key, tuple(point)) for id_, key, point in rows if key is not None and key <= 1000}
        assert [stored[odd.id] for odd in made] == [(spec.key, spec.point) for spec in specs]


async def test_an_operand_that_the_server_cannot_read_is_a_filters(odds: Odds) -> None:
    """A query or a path that is but compared has no meaning as a filter, in every verb that takes one."""
    document = sa.cast(sa.literal("{}"), JSONB)
    for condition in (
        OddRow.words.bool_op("@@")(sa.func.to_tsquery("a &")),
        OddRow.query == sa.type_coerce("a &", TSQUERY()),
        document.path_exists("$.(("),
    ):
        works: list[Awaitable[Any]] = [
            odds.search(None, [condition]),
            odds.count(None, [condition]),
            odds.update_where([condition], OddPatch(key=TriState.update(7))),
            odds.purge_where([condition]),
        ]
        for work in works:
            with pytest.raises(InvalidFilter):
                await work
