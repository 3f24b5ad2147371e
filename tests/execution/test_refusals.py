"""A value that cannot be written or read is named by its column, and in a batch by its index; never by what it is."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from asyncpg import exceptions as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    Database,
    EntityAlreadyExists,
    InvalidValue,
    Patch,
    Repository,
    RepositoryError,
    Spec,
    TriState,
)
from rowsmith.execution.refusals import argument_of
from rowsmith.testing import WithTables
from support import count_statements

CANARY = "".join(("c4n", "ary"))


class Strange:
    """What no driver can write; its words say what a driver's do."""

    def __repr__(self) -> str:
        return f"{CANARY} query argument $1: invalid input for query argument $1: "

    __str__ = __repr__


STRANGE: Any = Strange()


class Loose(sa.types.TypeDecorator[Any]):
    """Hands everything on to the driver; its values travel as arrays, and by COPY."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value


class Strict(Loose):
    """Refuses the same itself."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        if isinstance(value, Strange):
            raise RuntimeError(value)  # noqa: TRY004 - a type may raise anything
        return value


class Alone(sa.types.UserDefinedType[Any]):
    """A type that nothing is known of; each value travels by itself."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "integer"


class Long(sa.types.TypeDecorator[Any]):
    """Makes a text longer than its column takes."""

    impl = sa.String(4)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value * 4


class Fewer(enum.Enum):
    low = "low"
    high = "high"


class Base(DeclarativeBase):
    pass


class HomeRow(Base):
    __tablename__ = "refused_homes"
    id: Mapped[int] = mapped_column(primary_key=True)
    given_in_python: Mapped[Any] = mapped_column("loose", Loose(), nullable=True)


class GuestRow(Base):
    __tablename__ = "refused_guests"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    other: Mapped[int | None]
    loose: Mapped[Any] = mapped_column("Loose one", Loose(), nullable=True)
    strict: Mapped[Any] = mapped_column(Strict(), nullable=True)
    alone: Mapped[Any] = mapped_column(Alone(), nullable=True)
    text: Mapped[Any] = mapped_column(Long(), nullable=True)
    made: Mapped[int] = mapped_column(server_default="7")
    home_id: Mapped[int | None] = mapped_column(sa.ForeignKey(HomeRow.id))
    home: Mapped[HomeRow | None] = relationship()


@dataclass(frozen=True)
class Guest:
    id: int
    made: int


@dataclass(frozen=True)
class LooseGuest(Spec[GuestRow]):
    id: int
    loose: Any = None
    other: int | None = 1


@dataclass(frozen=True)
class StrictGuest(Spec[GuestRow]):
    id: int
    strict: Any = None


@dataclass(frozen=True)
class LoneGuest(Spec[GuestRow]):
    id: int
    alone: Any = None
    other: int | None = 1


@dataclass(frozen=True)
class LooseChange(Patch[GuestRow]):
    loose: TriState[Any] = TriState.nop()


@dataclass(frozen=True)
class StrictChange(Patch[GuestRow]):
    strict: TriState[Any] = TriState.nop()


@dataclass(frozen=True)
class LoneChange(Patch[GuestRow]):
    alone: TriState[Any] = TriState.nop()


class Guests(Repository[GuestRow, Guest, int]):
    pass


KINDS = {
    "loose": (LooseGuest, LooseChange),
    "strict": (StrictGuest, StrictChange),
    "alone": (LoneGuest, LoneChange),
}


async def refusal(work: Awaitable[Any]) -> tuple[str, tuple[str, ...]]:
    """What an error says of a value, which nothing of it may quote."""
    try:
        result = await work
    except RepositoryError as exc:
        error: Any = exc
    else:
        (failure,) = result.failed
        error = failure.error
        assert f"at index {failure.index}: " in str(error)
    assert isinstance(error, InvalidValue)
    assert CANARY not in f"{error} {error!r} {vars(error)} {error.__cause__} {error.__context__}"
    return str(error), error.facts.columns


def verbs(guests: Guests, name: str) -> dict[str, tuple[Callable[[], Awaitable[Any]], str]]:
    """Every verb that takes a value, given one that is refused, and what it says in front of the column."""
    made, change = KINDS[name]
    spec: Any = lambda id_, bad=False: made(id_, STRANGE if bad else 5)  # noqa: E731
    patch: Any = lambda bad=True: change(TriState.update(STRANGE if bad else 5))  # noqa: E731
    column: Any = getattr(GuestRow, name)
    there = {1: patch(bad=False), 2: patch()}
    return {
        "create": (lambda: guests.create(spec(9, bad=True)), ""),
        "batch_create": (lambda: guests.batch_create([spec(19), spec(8), spec(7, bad=True)]), "the spec at index 2: "),
        "load": (lambda: guests.load([spec(19), spec(7, bad=True), spec(18)]), "the spec at index 1: "),
        "in chunks": (lambda: guests.load(map(spec, [19, 18, 17], [0, 0, 1]), chunk_size=2), "the spec at index 2: "),
        "create_partial": (
            lambda: guests.batch_create_partial([spec(19), spec(8), spec(7, bad=True), spec(6)]),
            "the spec at index 2: ",
        ),
        "batch_upsert": (lambda: guests.batch_upsert([spec(9), spec(2, bad=True)]), "the spec at index 1: "),
        "upsert_partial": (
            lambda: guests.batch_upsert_partial([spec(5), spec(4, bad=True), spec(1)]),
            "the spec at index 1: ",
        ),
        "update": (lambda: guests.update(1, patch()), ""),
        "batch_update": (lambda: guests.batch_update([1, 2], patch()), ""),
        "update_each": (lambda: guests.batch_update_each(there), "the patch at index 1: "),
        "update_partial": (lambda: guests.batch_update_partial(there), "the patch at index 1: "),
        "update_where": (lambda: guests.update_where([GuestRow.id > 0], patch()), ""),
        "search": (lambda: guests.search(None, [column == STRANGE]), ""),
        "in a list": (lambda: guests.count(None, [column.in_([1, STRANGE])]), ""),
        "turned around": (lambda: guests.exists(None, [sa.or_(GuestRow.id == 1, column + 1 > STRANGE)]), ""),
        "purge_where": (lambda: guests.purge_where([column == STRANGE], chunk_size=None), ""),
    }


@pytest.mark.parametrize("name", KINDS)
async def test_a_value_that_is_refused_is_named(lane_tables: WithTables, name: str) -> None:
    """By its column in every verb, and by its index in every batch, whether its type refuses it or the driver."""
    async with lane_tables(HomeRow, GuestRow) as db:
        guests = Guests(db)
        await guests.batch_create([LooseGuest(1), LooseGuest(2)])
        given = verbs(guests, name)
        said = {verb: await refusal(work()) for verb, (work, _) in given.items()}
        columns = (GuestRow.__table__.c[getattr(GuestRow, name).expression.name].name,)
    words = f"GuestRow.{name} holds a value that its type does not take"
    assert said == {verb: (f"{before}{words}", columns) for verb, (_, before) in given.items()}


async def test_arrays_that_somebody_listens_to(with_tables: WithTables) -> None:
    """A batch that SQLAlchemy itself sends as arrays names the item as well."""
    async with with_tables(HomeRow, GuestRow) as db:
        guests = Guests(db)
        with count_statements(db) as sent:
            said = await refusal(guests.batch_create([LooseGuest(2), LooseGuest(1, STRANGE)]))
    assert said[0].startswith("the spec at index 1: GuestRow.loose ")
    assert any("unnest" in statement for statement in sent)


async def test_an_engine_made_of_another(with_tables: WithTables) -> None:
    """Each of the two is listened to, and what one has heard is not taken for a value that is stored."""
    async with with_tables(HomeRow, GuestRow) as db:
        other = Database(db.engine.execution_options(told_apart=True))
        for each in (Database(db.engine, native=False), other):
            said = await refusal(Guests(each).create(LooseGuest(1, STRANGE)))
            assert said[0] == "GuestRow.loose holds a value that its type does not take"


async def test_several_statements_of_one_batch(any_tables: WithTables) -> None:
    """The index counts through all statements that SQLAlchemy makes of a batch."""
    async with any_tables(HomeRow, GuestRow) as db:
        rows = [LoneGuest(2_000 - n, STRANGE if n == 1_050 else None) for n in range(1_100)]
        said = await refusal(Guests(db).batch_create(rows))
    assert said[0].startswith("the spec at index 1050: GuestRow.alone ")


async def test_a_value_of_another_table(any_tables: WithTables) -> None:
    """What is compared with a related row's column is named by that row's class, whatever its column is called."""
    async with any_tables(HomeRow, GuestRow) as db:
        condition = GuestRow.home.has(HomeRow.given_in_python == STRANGE)
        said = await refusal(Guests(db).search(None, [condition]))
    assert said == ("guest: HomeRow.given_in_python holds a value that its type does not take", ("loose",))


class Odd(Exception):
    pass


async def test_the_domains_own_error(any_tables: WithTables) -> None:
    """``violations`` may name the kind; its error is told the same words."""
    async with any_tables(HomeRow, GuestRow) as db:

        class Own(Repository[GuestRow, Guest, int]):
            violations = {InvalidValue: Odd}

        guests = Own(db)
        with pytest.raises(Odd, match=r"^the spec at index 1: GuestRow\.alone holds"):
            await guests.batch_create([LoneGuest(2), LoneGuest(1, STRANGE)])
        partial = await guests.batch_create_partial([LoneGuest(2), LoneGuest(1, STRANGE)])
    assert [str(failure.error)[:35] for failure in partial.failed] == ["the spec at index 1: GuestRow.alone"]


class KeyedRow(Base):
    __tablename__ = "refused_keys"
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[Any] = mapped_column("k", Loose(), primary_key=True)
    note: Mapped[str | None]


class NamedRow(Base):
    __tablename__ = "refused_names"
    key: Mapped[Any] = mapped_column(Loose(), primary_key=True)
    note: Mapped[str | None]


@pytest.mark.parametrize("row, of", [(KeyedRow, lambda key: (key, key)), (NamedRow, lambda key: key)])
@pytest.mark.parametrize("native", [True, False])
async def test_a_key_that_is_refused_is_named(with_tables: WithTables, row: Any, of: Any, native: bool) -> None:
    """By its column, and in a batch by its index among the ids."""

    @dataclass(frozen=True)
    class Change(Patch[row]):
        note: TriState[str] = TriState.nop()

    class Keyed(Repository[row, row, Any]):  # type: ignore[type-arg]
        pass

    def key(value: Any) -> Any:
        return of(value) if value is not STRANGE or row is NamedRow else (3, STRANGE)

    async with with_tables(row) as made:
        async with made.engine.begin() as connection:
            parts = dict.fromkeys((column.name for column in row.__table__.primary_key), 1)
            await connection.execute(sa.insert(row.__table__).values(parts))
        keyed, change = Keyed(Database(made.engine, native=native)), Change(TriState.update("x"))
        bad, ids = key(STRANGE), [key(1), key(1), key(STRANGE)]
        said = [
            await refusal(keyed.get(bad)),
            await refusal(keyed.find(bad)),
            await refusal(keyed.update(bad, change)),
            await refusal(keyed.purge(bad)),
            await refusal(keyed.batch_get(ids)),
            await refusal(keyed.batch_update(ids[1:], change)),
            await refusal(keyed.batch_update_each(dict.fromkeys(ids, change))),
            await refusal(keyed.batch_update_partial(dict.fromkeys(ids, change))),
            await refusal(keyed.batch_purge(ids[1:])),
            await refusal(keyed.batch_purge_partial(ids[1:])),
        ]
    where = [
        *4 * [""],
        "the id at index 2: ",
        *("the id at index 1: " if by_id else "the patch at index 1: " for by_id in (1, 0, 0, 1, 1)),
    ]
    words = f"{row.__name__}.key holds a value that its type does not take"
    assert [text for text, _ in said] == [f"{before}{words}" for before in where]


@dataclass(frozen=True)
class NamedCreate(Spec[NamedRow]):
    key: Any
    note: str | None = None


async def test_a_key_that_is_refused_is_the_fault_of_one_upsert(any_tables: WithTables) -> None:
    """The others are written, those that are there, too."""

    class Keyed(Repository[NamedRow, NamedRow, Any]):
        pass

    async with any_tables(NamedRow) as db:
        keyed = Keyed(db)
        await keyed.create(NamedCreate(1))
        done = await keyed.batch_upsert_partial([NamedCreate(2), NamedCreate(STRANGE), NamedCreate(1, "new")])
        assert [(item.index, item.data.inserted) for item in done.succeeded] == [(0, True), (2, False)]
        [(index, error)] = [(item.index, item.error) for item in done.failed]
        assert (index, type(error), str(error)[:20]) == (1, InvalidValue, "the spec at index 1:")
        assert (await keyed.get(1)).note == "new"


async def test_a_key_that_is_refused_keeps_nobody_from_telling_whose_fault_another_error_is(
    with_tables: WithTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it takes several statements, one of them may fail for another item before that key is sent."""
    monkeypatch.setattr("rowsmith.operations.inserts.insertion.CHUNK_BLOCKS", 1)

    class Keyed(Repository[NamedRow, NamedRow, Any]):
        pass

    async with with_tables(NamedRow) as db:
        keyed = Keyed(db)
        await keyed.create(NamedCreate(0))
        done = await keyed.batch_create_partial([*map(NamedCreate, range(1000)), NamedCreate(STRANGE)])
    assert len(done.succeeded) == 999
    assert [(item.index, type(item.error)) for item in done.failed] == [(0, EntityAlreadyExists), (1000, InvalidValue)]


async def test_the_index_of_a_key_counts_from_the_first_of_all(
    any_tables: WithTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it takes several statements to ask for them."""
    monkeypatch.setattr("rowsmith.operations.arrays.keys.SQLITE_PARAMETERS", 2)

    class Keyed(Repository[NamedRow, NamedRow, Any]):
        pass

    async with any_tables(NamedRow) as db:
        said, _ = await refusal(Keyed(db).batch_get([1, 2, 3, STRANGE]))
    assert said.startswith("the id at index 3: ")


@dataclass(frozen=True)
class LongGuest(Spec[GuestRow]):
    id: int
    text: str


async def test_a_row_that_the_server_refuses_of_a_copy(with_tables: WithTables) -> None:
    """PostgreSQL says which row of a COPY it refuses, and the index is that of the caller's input."""
    async with with_tables(HomeRow, GuestRow) as db:
        said = await refusal(Guests(db).load([LongGuest(3, "x"), LongGuest(1, CANARY), LongGuest(2, "y")]))
    assert said == ("the spec at index 1: GuestRow.text holds a value that its type does not take", ("text",))


class DayRow(Base):
    __tablename__ = "refused_days"
    id: Mapped[int] = mapped_column(primary_key=True)
    first: Mapped[dt.date | None]
    last: Mapped[dt.date | None]
    at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    mood: Mapped[Fewer | None] = mapped_column(sa.Enum(Fewer, name="refused_mood"))
    before: Mapped[Fewer | None] = mapped_column(sa.Enum(Fewer, name="refused_mood"))
    note: Mapped[str | None]


@dataclass(frozen=True)
class Day:
    id: int
    first: dt.date | None
    last: dt.date | None
    at: dt.datetime | None
    mood: Fewer | None
    before: Fewer | None


@dataclass(frozen=True)
class DayChange(Patch[DayRow]):
    note: TriState[str] = TriState.nop()


class Days(Repository[DayRow, Day, int]):
    pass


class DayRows(Repository[DayRow, DayRow, int]):
    pass


async def unread(work: Awaitable[Any]) -> tuple[str, ...]:
    with pytest.raises(InvalidValue) as caught:
        await work
    error = caught.value
    named = " or ".join(f"DayRow.{name}" for name in error.facts.columns)
    item = "" if error.index is None else f"the id at index {error.index}: "  # of a batch
    assert str(error) == f"{item}a stored value of {named} is none of its column's type"
    assert error.is_stored
    return error.facts.columns


async def streamed(days: Any, *conditions: Any) -> None:
    async for _ in days.stream(None, conditions):
        pass


@pytest.mark.parametrize("native", [True, False])
async def test_a_stored_value_that_cannot_be_read_is_named(with_tables: WithTables, native: bool) -> None:
    """An enum's label that Python lacks, a day before its calendar: by its column, in every verb that reads."""
    async with with_tables(DayRow) as made:
        db = Database(made.engine, native=native)
        async with made.engine.begin() as connection:
            await connection.execute(sa.text("ALTER TYPE refused_mood ADD VALUE 'odd'"))
        columns = ["first", "last", "at", "mood", "before"]
        async with made.engine.begin() as connection:
            for key, name in enumerate(columns):
                value = "odd" if key > 2 else "0044-03-15 BC"
                await connection.execute(sa.text(f"INSERT INTO refused_days (id, {name}) VALUES ({key}, '{value}')"))
        change = DayChange(TriState.update("x"))
        for repository in (Days(db), DayRows(db)):
            for key, name in enumerate(columns):
                assert await unread(repository.get(key)) == (name,)
                assert await unread(repository.batch_get([key])) == (name,)
                assert await unread(repository.search(None, [DayRow.id == key])) == (name,)
                assert name in await unread(streamed(repository, DayRow.id == key))
                assert name in await unread(repository.update(key, change))
                assert name in await unread(repository.purge(key))
        assert await Days(db).count() == len(columns)


class Mood(enum.Enum):
    low = "low"
    odd = "odd"


class OtherBase(DeclarativeBase):
    pass


class MoodRow(OtherBase):
    __tablename__ = "refused_days"
    id: Mapped[int] = mapped_column(primary_key=True)
    mood: Mapped[Mood | None] = mapped_column(sa.Enum(Mood, name="refused_mood"))
    before: Mapped[Mood | None] = mapped_column(sa.Enum(Mood, name="refused_mood"))


@dataclass(frozen=True)
class NewMood(Spec[MoodRow]):
    id: int
    mood: Mood | None = None
    before: Mood | None = None


class Moods(Repository[MoodRow, MoodRow, int]):
    pass


@pytest.mark.parametrize("native", [True, False])
async def test_a_parameter_that_the_server_cannot_read(with_tables: WithTables, native: bool) -> None:
    """A label that the database lacks is refused as PostgreSQL reads the parameter, which it names."""
    async with with_tables(DayRow) as made:
        moods = Moods(Database(made.engine, native=native))
        said = [
            await refusal(moods.create(NewMood(1, Mood.low, Mood.odd))),
            await refusal(moods.batch_create([NewMood(1, Mood.low, Mood.odd)])),
            await refusal(moods.batch_create_partial([NewMood(1), NewMood(2, Mood.low, Mood.odd)])),
            await refusal(moods.search(None, [MoodRow.before == Mood.odd])),
        ]
    assert {columns for _, columns in said} == {("before",)}
    assert said[0][0] == "MoodRow.before holds a value that its type does not take"


def server_error(words: str, context: str | None, sqlstate: str = "22P02") -> Any:
    return pg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": words, **({"W": context} if context else {})})


@pytest.mark.parametrize(
    "error, place",
    [
        (pg.DataError(f"invalid input for query argument $3: '{CANARY} $9: ' (no)"), (2, None)),
        (pg.InterfaceError("query argument $2: a sized iterable container expected (got type 'int')"), (1, None)),
        (pg.DataError("invalid input for query argument $1 in element #7 of executemany() sequence: 'x' (no)"), (0, 7)),
        (pg.DataError("oh: invalid input for query argument $3: 'x' (no)"), None),
        (server_error("invalid input for query argument $3: 'x' (no)", None, "22000"), None),
        (server_error("no", "unnamed portal parameter $4 = 'unnamed portal parameter $5'"), (3, None)),
        (server_error("no", "PL/pgSQL function x()\nunnamed portal parameter $4"), None),
        (server_error("no", "unnamed portal parameter $4", "P0001"), None),
        (ValueError("invalid input for query argument $3: 'x' (no)"), None),
    ],
)
def test_where_a_driver_says_that_it_was(error: Any, place: Any) -> None:
    """Only what stands in front of the value is read, and only of the driver, or of the server's own reading."""
    assert argument_of(error) == place
