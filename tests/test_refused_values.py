"""A value that is refused before anything is sent is named by its column, in the message and in the facts."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal
from itertools import permutations, product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, Range
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from rowsmith import Conflict, Database, InvalidValue, MappingError, OptionalState, Repository, TriState
from rowsmith.filters import Filter, NumberFilter
from rowsmith.mapping import row_info
from rowsmith.mapping.expr import keep_to_row
from rowsmith.mapping.writes import tied
from rowsmith.scope import check_conditions, check_order
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingCreate, ThingPatch, ThingRepository, ThingRow
from verbs import things_in

A = OwnedBy("a")
CANARY = "c4nary"


class ThingFilter(Filter[ThingRow]):
    uses: NumberFilter | None = None


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[ThingRepository]:
    async with things_in(any_tables) as made:
        yield made


def made(id: Any = 100, name: Any = "new", uses: Any = 1, note: Any = None) -> ThingCreate:
    return ThingCreate(id, name, uses, note)


FIVE: Any = 5
TEXT: Any = CANARY
WRONG = OwnedBy(FIVE)
NUL = f"{CANARY}\0"
NAMED: dict[str, tuple[str, Callable[[ThingRepository], Awaitable[Any]]]] = {
    "create": ("name", lambda of: of.create(made(name=5), scope=A)),
    "create, a NUL": ("note", lambda of: of.create(made(note=NUL), scope=A)),
    "batch_create": ("uses", lambda of: of.batch_create([made(), made(101, uses=CANARY)], scope=A)),
    "upsert": ("uses", lambda of: of.upsert(made(uses=CANARY), scope=A)),
    "batch_upsert": ("note", lambda of: of.batch_upsert([made(), made(101, note=7)], scope=A)),
    "update": ("note", lambda of: of.update(1, ThingPatch(note=TriState.update(NUL)), scope=A)),
    "batch_update": ("uses", lambda of: of.batch_update([1], ThingPatch(uses=OptionalState.update(2**40)), scope=A)),
    "batch_update, patches": (
        "uses",
        lambda of: of.batch_update_each({1: ThingPatch(uses=OptionalState.update(2**40))}, scope=A),
    ),
    "get": ("id", lambda of: of.get(TEXT, A)),
    "batch_get": ("id", lambda of: of.batch_get([1, TEXT], scope=A)),
    "delete": ("id", lambda of: of.delete(2**40, scope=A)),
    "a condition": ("uses", lambda of: of.search(A, [ThingRow.uses == CANARY])),
    "a condition with a NUL": ("name", lambda of: of.count(A, [ThingRow.name.in_(["x", NUL])])),
    "a filter": ("uses", lambda of: of.search(A, ThingFilter.model_validate({"uses": {"gt": 2**40}}))),
    "a scope": ("tenant", lambda of: of.search(WRONG)),
    "a scope of a write": ("tenant", lambda of: of.create(made(), scope=WRONG)),
    "a scope of a read by the key": ("tenant", lambda of: of.get(1, OwnedBy(NUL))),
}


async def test_the_column_of_a_refused_value_is_named(things: ThingRepository) -> None:
    """By every verb, for values that are written, keys, conditions, filters and scopes; the value is nowhere."""
    said = {name: await _refused(call(things)) for name, (_, call) in NAMED.items()}
    assert {name: columns for name, (columns, _) in said.items()} == {name: (of,) for name, (of, _) in NAMED.items()}
    for name, (_, words) in said.items():
        assert NAMED[name][0] in words
        assert CANARY not in words


async def _refused(call: Awaitable[Any]) -> tuple[tuple[str, ...], str]:
    with pytest.raises(InvalidValue) as caught:
        await call
    assert caught.value.facts.sqlstate is None  # it was not sent
    return caught.value.facts.columns, f"{caught.value!r} {caught.value}"


async def test_each_refused_item_of_a_partial_batch_is_named(things: ThingRepository) -> None:
    """As that of a batch that is written whole."""
    patches = {1: ThingPatch(uses=OptionalState.update(5)), 2: ThingPatch(uses=OptionalState.update(2**40))}
    made_some = await things.batch_create_partial([made(), made(101, uses=CANARY)], scope=A)
    changed = await things.batch_update_partial(patches, scope=A)
    for result in (made_some, changed):
        [failure] = result.failed
        error: Any = failure.error
        assert (type(error), error.facts.columns) == (InvalidValue, ("uses",))


class Base(DeclarativeBase):
    pass


class Colour(enum.Enum):
    RED = "red"


class KindRow(Base):
    __tablename__ = "kinds_compared"
    id: Mapped[int] = mapped_column(primary_key=True)
    small: Mapped[int] = mapped_column(sa.SmallInteger)
    text: Mapped[str]
    short: Mapped[str] = mapped_column(sa.CHAR(5))
    float: Mapped[float]
    exact: Mapped[Decimal] = mapped_column(sa.Numeric(9, 2))
    flag: Mapped[bool]
    moment: Mapped[dt.datetime] = mapped_column(sa.DateTime(True))
    local: Mapped[dt.datetime]
    day: Mapped[dt.date]
    token: Mapped[uuid.UUID]
    span: Mapped[dt.timedelta]
    hour: Mapped[dt.time]
    blob: Mapped[bytes]
    colour: Mapped[Colour]
    document: Mapped[Any] = mapped_column(sa.JSON)
    binary: Mapped[Any] = mapped_column(sa.JSON().with_variant(JSONB, "postgresql"))


@dataclass(frozen=True)
class Kind:
    id: int


class Kinds(Repository[KindRow, Kind, int]):
    pass


VALUES: list[Any] = [
    *("text", 5, 2.5, Decimal("2.5"), True),
    *(dt.datetime(2024, 5, 1, tzinfo=dt.UTC), dt.datetime(2024, 5, 1), dt.date(2024, 5, 1), uuid.UUID(int=1)),
    *(dt.timedelta(1), dt.time(1), b"bytes", Range(1, 2)),
]


CONDITIONS: list[Callable[[Any, Any], sa.ColumnElement[bool]]] = [
    lambda column, value: column == value,
    lambda column, value: column.in_([value]),
    lambda column, value: column.is_distinct_from(value),
]


OF_KINDS: list[tuple[str, Any]] = [
    *(("id", 5), ("text", "text"), ("flag", True), ("day", dt.date(2024, 5, 1)), ("token", uuid.UUID(int=1))),
    *(("span", dt.timedelta(1)), ("hour", dt.time(1)), ("blob", b"bytes")),
]
"""A column of each kind that is compared with no other one, and a value of its own."""


WHEREVER: dict[str, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "the left": lambda column, value: sa.literal(value) == column,
    "the left of a list": lambda column, value: sa.literal(value).in_([column]),
    "a list": lambda column, value: column.in_([sa.literal(value), column]),
    "a list of what is not": lambda column, value: column.not_in([column, sa.literal(value)]),
    "a lower bound": lambda column, value: ~column.between(value, column),
    "an upper bound": lambda column, value: column.between(column, sa.literal(value)),
    "the left of bounds": lambda column, value: sa.literal(value).between(column, column),
    "a row": lambda column, value: sa.tuple_(KindRow.id, column) == sa.tuple_(1, sa.literal(value)),
    "rows": lambda column, value: sa.tuple_(KindRow.id, column).in_([sa.tuple_(1, sa.literal(value))]),
    "a case": lambda column, value: sa.case((column == value, True), else_=False),
    "cases of a value": lambda column, value: sa.case({sa.literal(value): True}, value=column, else_=False),
    "an expression": lambda column, value: sa.func.nullif(column, sa.literal(value)).is_(None),
    "an array": lambda column, value: column == sa.any_(sa.literal([value], sa.ARRAY(sa.literal(value).type))),
}


def test_wherever_the_value_stands_it_is_refused() -> None:
    """A value of each kind beside a column of each, in whatever stands for a row: a condition, an order, a field."""
    info = row_info(KindRow)
    for (name, _), (_, value), (place, condition) in product(OF_KINDS, OF_KINDS, WHEREVER.items()):
        if (name, value) not in OF_KINDS:
            made = condition(getattr(KindRow, name), value)
            for check in (lambda made: check_conditions([made], info), lambda made: check_order(made, info)):
                with pytest.raises(InvalidValue) as refused:
                    check(made)
                assert refused.value.facts.columns == (name,), (name, value, place)
            with pytest.raises(MappingError, match=rf"Kind.id .*KindRow\.{name}"):
                keep_to_row(made, info, "Kind.id")
            with pytest.raises(InvalidValue, match=rf"written to flag of KindRow compares with KindRow\.{name}"):
                tied(info, "flag", made)
            with pytest.raises(InvalidValue, match=rf"Conflict\(where=...\) on KindRow compares with KindRow\.{name}"):
                Conflict([KindRow.id], where=made).resolve(info)
    for (name, _), (other, _) in permutations(OF_KINDS, 2):
        with pytest.raises(InvalidValue, match=rf"KindRow\.{name}, which holds"):
            check_conditions([getattr(KindRow, name) == getattr(KindRow, other)], info)


CALLS = {
    "times": [sa.func.now(), sa.func.current_timestamp(), sa.func.localtimestamp(), sa.func.current_date()],
    "numbers": [sa.func.char_length("x")],
    "text": [sa.func.concat("x", "y"), sa.func.current_user(), sa.func.session_user()],
}
"""Functions of which SQLAlchemy knows what they give."""


def test_what_a_function_of_the_standard_gives_is_told() -> None:
    """Beside a column of another kind, on whichever side, in a range and in a list; unless a type is given for it."""
    info, held = row_info(KindRow), {"times": KindRow.moment, "numbers": KindRow.id, "text": KindRow.text}
    for (kind, calls), (other, column) in product(CALLS.items(), held.items()):
        for call in calls:
            conditions = [column == call, call == column, column.in_([call]), column.between(call, column)]
            if kind == other:
                check_conditions(conditions, info)
                continue
            for condition in conditions:
                with pytest.raises(InvalidValue, match=rf"KindRow\.{column.key}, which holds") as refused:
                    check_conditions([condition], info)
                assert refused.value.facts.columns == (column.key,)
            with pytest.raises(InvalidValue) if other != "text" else nullcontext():  # anything is made a text
                tied(info, column.key, call)
    check_conditions([KindRow.id == sa.func.now(type_=sa.Integer())], info)


async def test_wherever_the_value_stands_its_own_kind_is_taken(any_tables: WithTables) -> None:
    """The database has an answer for each of them."""
    async with any_tables(KindRow) as db:
        places = [made for name, made in WHEREVER.items() if db.engine.dialect.name != "sqlite" or name != "an array"]
        conditions = [made(getattr(KindRow, name), value) for made, (name, value) in product(places, OF_KINDS)]
        alike = [getattr(KindRow, name) == getattr(KindRow, name) for name, _ in OF_KINDS]
        assert await Kinds(db, resilience=None).count(None, [sa.or_(*conditions, *alike)]) == 0


async def test_what_cannot_be_compared_is_refused_before_it_is_sent(any_tables: WithTables) -> None:
    """A column of each kind with a value of each: the database answers, or the column is named, and nothing between."""
    answered = set[str]()
    async with any_tables(KindRow) as db:
        kinds = Kinds(Database(db.engine, native=False), resilience=None)
        columns = [column.key for column in sa.inspect(KindRow).columns]
        for name, value, condition in product(columns, VALUES, CONDITIONS):
            refused = await _columns_refused(kinds.count(None, [condition(getattr(KindRow, name), value)]))
            assert refused in ((), (name,)), (name, value)
            if not refused:
                answered.add(f"{name} {type(value).__name__}")
    assert {"text str", "id int", "small float", "exact int", "float Decimal", "day date", "token UUID"} <= answered
    assert not {"text int", "id str", "token int", "day str", "text UUID"} & answered


PARTS: list[tuple[Any, str]] = [
    *(
        (5, "as_integer"),
        (2.5, "as_float"),
        (Decimal("2.5"), "as_numeric"),
        ("text", "as_string"),
        (True, "as_boolean"),
    ),
]
"""What a part of a JSON document may be compared with, and what reads it as that."""


def test_a_part_of_a_document_is_compared_as_what_it_is_read_as() -> None:
    """PostgreSQL compares no document with a value, and SQLite its text: what reads the part is named."""
    info = row_info(KindRow)
    for (value, reader), condition, part in product(PARTS, WHEREVER.values(), (KindRow.document, KindRow.binary["a"])):
        with pytest.raises(InvalidValue, match=rf"KindRow\.(document|binary), which .*\.{reader}\(") as refused:
            check_conditions([condition(part, value)], info)
        assert refused.value.facts.columns in (("document",), ("binary",))
    for other in (KindRow.id, sa.cast(KindRow.text, sa.Integer), sa.select(KindRow.id).scalar_subquery()):
        for made in (KindRow.document["a"] == other, other == KindRow.document["a"]):
            with pytest.raises(InvalidValue, match=r"KindRow\.document, which .*\.as_integer\("):
                check_conditions([made], info)


class ApartRow(Base):
    """Columns that are of one kind to SQLAlchemy, and of several types that PostgreSQL does not compare."""

    __tablename__ = "told_apart"
    id: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[Any] = mapped_column(sa.JSON)
    binary: Mapped[Any] = mapped_column(sa.JSON().with_variant(JSONB, "postgresql"))
    other: Mapped[Any] = mapped_column(JSONB().with_variant(sa.JSON, "sqlite"))
    colour: Mapped[Colour] = mapped_column(sa.Enum(Colour, name="apart_colour"))
    again: Mapped[Colour] = mapped_column(sa.Enum(Colour, name="apart_colour"))
    shade: Mapped[Colour] = mapped_column(sa.Enum(Colour, name="apart_shade"))
    spelt: Mapped[Colour] = mapped_column(sa.Enum(Colour, name="apart_spelt", native_enum=False))
    text: Mapped[str]


class Apart(Repository[ApartRow, Kind, int]):
    pass


REFUSED_APART: dict[str, tuple[str, Callable[[], Any]]] = {
    "json and json": ("document", lambda: ApartRow.document != ApartRow.document),
    "json and a value": ("document", lambda: ApartRow.document == {"a": 1}),
    "json and values": ("document", lambda: ApartRow.document.in_([{"a": 1}])),
    "json and JSON's null": ("document", lambda: ApartRow.document == sa.JSON.NULL),
    "json and jsonb": ("document", lambda: ApartRow.document.is_distinct_from(ApartRow.binary)),
    "parts of json": ("document", lambda: ApartRow.document["a"] == ApartRow.document["b"]),
    "an enum and text": ("colour", lambda: ApartRow.colour == ApartRow.text),
    "text and an enum": ("colour", lambda: ApartRow.text.in_([ApartRow.colour])),
    "an enum and a text": ("colour", lambda: sa.literal("red", sa.Text) == ApartRow.colour),
    "an enum and one that is text": ("colour", lambda: ApartRow.spelt == ApartRow.colour),
    "text between enums": ("colour", lambda: ApartRow.text.between(ApartRow.colour, "z")),
}
TAKEN_APART: list[Callable[[], Any]] = [
    lambda: ApartRow.document.is_(None),
    lambda: ApartRow.document == None,  # noqa: E711
    lambda: ApartRow.document["a"].as_string() == "x",
    lambda: ApartRow.binary == ApartRow.other,
    lambda: ApartRow.other == {"a": 1},
    lambda: ApartRow.binary.in_([{"a": 1}, {"b": 2}]),
    lambda: ApartRow.colour == ApartRow.again,
    lambda: ApartRow.colour == Colour.RED,
    lambda: ApartRow.colour.in_([Colour.RED]),
    lambda: sa.cast(ApartRow.colour, sa.Text) == ApartRow.text,
    lambda: ApartRow.spelt == ApartRow.text,
]


async def test_what_postgresql_tells_apart_is_refused_before_it_is_sent(any_tables: WithTables) -> None:
    """json, and enums of its own; what it compares is sent, and what to write instead of the rest is said."""
    async with any_tables(ApartRow) as db:
        apart = Apart(db, resilience=None)
        for name, (column, condition) in REFUSED_APART.items():
            with pytest.raises(InvalidValue, match=rf"ApartRow\.{column}, which is .*: .*cast\(column") as refused:
                await apart.count(None, [condition()])
            assert refused.value.facts.columns == (column,), name
        with pytest.raises(InvalidValue, match=r"ApartRow\.colour or ApartRow\.shade, which is the enum apart_colour"):
            await apart.count(None, [ApartRow.colour == ApartRow.shade])
        for condition in TAKEN_APART:
            assert await apart.count(None, [condition()]) == 0


PATTERNS: list[Callable[[Any], Any]] = [
    lambda of: of.like("1%"),
    lambda of: of.not_like("1%"),
    lambda of: of.ilike("1%"),
    lambda of: of.contains("1"),
    lambda of: of.icontains("1"),
    lambda of: of.startswith("1"),
    lambda of: of.iendswith("1"),
    lambda of: sa.not_(of.istartswith("1")),
    lambda of: of.regexp_match("1"),
    lambda of: sa.literal("1").like(of),
    lambda of: sa.literal("1").contains(of),
]
NO_TEXTS = [KindRow.id, KindRow.small, KindRow.float, KindRow.exact, KindRow.flag, KindRow.moment, ApartRow.colour]


@pytest.mark.filterwarnings("ignore:Type object .* does not include operator")
async def test_a_pattern_is_looked_for_in_texts(any_tables: WithTables) -> None:
    """PostgreSQL has it in nothing else, and SQLite in everything; what to write instead is said, and is taken."""
    async with any_tables(KindRow, ApartRow) as db:
        for column, pattern in product(NO_TEXTS, PATTERNS):
            repository = Apart(db, resilience=None) if column is ApartRow.colour else Kinds(db, resilience=None)
            with pytest.raises(
                InvalidValue, match=rf"{column.key}, which .* patterns are of texts: .*cast\("
            ) as refused:
                await repository.count(None, [pattern(column)])
            assert refused.value.facts.columns == (column.key,)
            assert await repository.count(None, [pattern(sa.cast(column, sa.Text))]) == 0
        for part in (ApartRow.document["a"], ApartRow.binary["a"]):
            with pytest.raises(InvalidValue, match=r"as_string\(\)"):
                await Apart(db, resilience=None).count(None, [part.like("1%")])
        for wrong in (1, 2.5, dt.date(2024, 1, 1)):
            with pytest.raises(
                InvalidValue, match=r"ApartRow\.text, which is looked through .* give the pattern as one"
            ):
                await Apart(db, resilience=None).count(None, [ApartRow.text.like(wrong)])
        for text in (ApartRow.text, ApartRow.spelt, ApartRow.document["a"].as_string()):
            assert await Apart(db, resilience=None).count(None, [text.like("1%")]) == 0


async def test_a_list_of_numbers_of_several_types_finds_what_each_of_them_finds(any_tables: WithTables) -> None:
    """The type of the first is not that of all: as an integer 1.5 would be 1."""
    columns = [KindRow.id, KindRow.small, KindRow.float, KindRow.exact]
    numbers: list[Any] = [0, 1, 1.5, Decimal("1.5"), 2**40]
    async with any_tables(KindRow) as db:
        async with db.begin_session() as session:
            for id, number in enumerate(("1", "1.5", "2")):
                session.add(_row(id=id, small=id, float=float(number), exact=Decimal(number)))
        kinds = Kinds(db, resilience=None)
        for column, (one, other) in product(columns, permutations(numbers, 2)):
            if 2**40 not in (one, other) or column in (KindRow.float, KindRow.exact):
                found = await kinds.search(None, [column.in_([one, other, None])])
                each = await kinds.search(None, [sa.or_(column == one, sa.cast(column, sa.Double) == float(other))])
                assert found.items == each.items, (column.key, one, other)
                outside = await kinds.count(None, [column.not_in([one, other])])
                assert outside == 3 - len(found.items)


def _row(**values: Any) -> KindRow:
    """Give a row of any values but those given."""
    row = KindRow(
        text="", short="", flag=True, moment=dt.datetime(2024, 5, 1, tzinfo=dt.UTC), local=dt.datetime(2024, 5, 1)
    )
    others = {"day": dt.date(2024, 5, 1), "token": uuid.UUID(int=1), "span": dt.timedelta(1), "hour": dt.time(1)}
    for name, value in {**others, "blob": b"", "colour": Colour.RED, "document": {}, "binary": {}, **values}.items():
        setattr(row, name, value)
    return row


def test_a_list_of_several_types_is_refused_as_one() -> None:
    """No type of one of its values is named, whichever is first."""
    info = row_info(KindRow)
    lists: list[list[Any]] = [["a", 1], [True, 5], [uuid.UUID(int=1), "a"], [dt.date(2024, 5, 1), "a"], [2.5, "a"]]
    for column, given in product((KindRow.id, KindRow.text, KindRow.day, KindRow.flag), lists):
        for values in (given, given[::-1], [None, *given]):
            with pytest.raises(
                InvalidValue, match=r"KindRow\.\w+, which stands beside .*of several types: give"
            ) as refused:
                check_conditions([column.in_(values)], info)
            assert refused.value.facts.columns == (column.key,)


def test_each_value_of_a_list_of_rows_is_one_of_its_column() -> None:
    """They are sent as what the columns are, where 1.5 would be 1."""
    info = row_info(KindRow)
    rows = sa.tuple_(KindRow.id, KindRow.text, KindRow.float)
    check_conditions([rows.in_([(1, "a", 1), (2, None, 1.5)])], info)
    for column, row in (("id", (1.5, "a", 1)), ("id", ("1", "a", 1)), ("text", (1, 1, 1)), ("float", (1, "a", "1"))):
        with pytest.raises(InvalidValue, match=rf"KindRow\.{column}, which") as refused:
            check_conditions([rows.in_([(1, "a", 1), row])], info)
        assert refused.value.facts.columns == (column,)


def test_as_many_values_as_there_are_columns_are_compared() -> None:
    """In rows, lists of rows, lists of single values, and subqueries."""
    info, other = row_info(KindRow), aliased(KindRow)
    both, one = sa.select(other.id, other.text), sa.select(other.id)
    rows = sa.tuple_(KindRow.id, KindRow.text)
    in_words = (sa.text("SELECT 1, 'a'"), sa.select(sa.literal_column("*")).select_from(other))
    fitting = [rows.in_(both), rows.in_([(1, "a")]), rows == (1, "a"), KindRow.id.in_(one), KindRow.id.in_([])]
    for fits in (*fitting, *map(rows.in_, in_words)):
        check_conditions([fits], info)
    for made in (
        *(rows == (1,), rows == sa.tuple_(1), rows.in_([(1, "a"), (1,)]), rows.in_([(1, "a", 2)]), rows.in_(one)),
        *(KindRow.id.in_([(1, 2)]), KindRow.id.in_(both), both.scalar_subquery() == KindRow.id),
        *(KindRow.id == both.scalar_subquery(), rows == one.scalar_subquery()),
    ):
        with pytest.raises(InvalidValue, match=r"a condition on KindRow compares with .*, which"):
            check_conditions([made], info)


def test_a_parameter_without_a_value_is_refused() -> None:
    """It would be asked for when the statement is on its way."""
    for made in (KindRow.id == sa.bindparam("x"), KindRow.id.in_(sa.bindparam("x", expanding=True))):
        with pytest.raises(InvalidValue, match=r"KindRow\.id, which stands beside a parameter without a value: write"):
            check_conditions([made], row_info(KindRow))


def test_a_column_of_an_alias_is_named_as_one() -> None:
    """A subquery may be about the row's own table by another name, which SQLAlchemy may make up."""
    other = aliased(KindRow, name="other")
    for made in (other.id == "a", other.document["a"] == 5, sa.select(other.id).scalar_subquery() == "a"):
        with pytest.raises(InvalidValue, match=r"compares with other\.(id|document), which"):
            check_conditions([sa.exists().where(made, other.id == KindRow.id)], row_info(KindRow))
    with pytest.raises(InvalidValue, match=r"compares with kinds_compared\.id, which"):
        check_conditions([sa.exists().where(aliased(KindRow).id == "a")], row_info(KindRow))


async def _columns_refused(call: Awaitable[Any]) -> tuple[str, ...]:
    """Give the columns whose values are refused; whatever else a call fails with is raised."""
    try:
        await call
    except InvalidValue as refused:
        return refused.facts.columns or ("unnamed",)
    return ()
