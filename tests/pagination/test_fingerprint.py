"""Fingerprints tell searches apart, and are the same in every process."""

from __future__ import annotations

import datetime as dt
import enum
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from rowsmith import OptionalState, TriState
from rowsmith.orders import order_terms
from rowsmith.pagination import fingerprint
from rowsmith.pagination.fingerprint import Untellable, stable_text


class Picky(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        raise ValueError("of the team's")


class Colour(enum.Enum):
    RED = 1


T = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String),
    Column("tags", ARRAY(String)),
    Column("doc", JSONB),
    Column("json", JSON),
)
TERMS = order_terms([T.c.name], tuple(T.primary_key))
OTHERS = T.alias()

CONDITIONS: list[Callable[[], ColumnElement[bool]]] = [
    lambda: T.c.name == "a",
    lambda: T.c.name == "b",
    lambda: T.c.name != "a",
    lambda: T.c.name.is_(None),
    lambda: T.c.id == 1,
    lambda: T.c.id.in_([1, 2]),
    lambda: T.c.id.in_([1, 23]),
    lambda: T.c.id.in_([12]),
    lambda: T.c.name.in_(["1", "2"]),
    lambda: T.c.name.in_(["1,2"]),
    lambda: T.c.name.like("a%"),
    lambda: or_(T.c.name == "a", T.c.id == 1),
    lambda: T.c.doc.contains({"a": 1, "b": 2}),
    lambda: T.c.doc.contains({"a": 1, "b": "2"}),
    lambda: T.c.doc.contains({"a": (1, 2)}),
    lambda: T.c.tags.contains(["x"]),
    lambda: T.c.tags.op("&&")(["x"]),
    lambda: select(OTHERS.c.id).where(OTHERS.c.name == T.c.name, OTHERS.c.id > 5).exists(),
    lambda: select(OTHERS.c.id).where(OTHERS.c.name == T.c.name, OTHERS.c.id > 6).exists(),
    lambda: T.c.name == bindparam("late", callable_=lambda: "x", type_=String()),
    lambda: T.c.name == func.current_setting("app.tenant"),
    lambda: T.c.name == "\ud800",
]


def test_each_search_has_its_own() -> None:
    """Conditions that differ in SQL or in a value, or in nothing but its type, differ in their fingerprints."""
    marks = [fingerprint(TERMS, [condition()]) for condition in CONDITIONS]
    assert len({fingerprint(TERMS), *marks}) == len(CONDITIONS) + 1
    assert {len(mark) for mark in marks} == {16}


@pytest.mark.parametrize("index", range(len(CONDITIONS)))
def test_the_same_search_has_the_same(index: int) -> None:
    """A condition made anew, as each request does, has the fingerprint of the one before."""
    assert fingerprint(TERMS, [CONDITIONS[index]()]) == fingerprint(TERMS, [CONDITIONS[index]()])


def test_values_do_not_run_into_each_other() -> None:
    """Two values next to each other cannot pass for two others."""
    split = [[T.c.name == "a", T.c.name == "bc"], [T.c.name == "ab", T.c.name == "c"], [T.c.name == "abc"]]
    assert len({fingerprint(TERMS, conditions) for conditions in split}) == 3


def test_what_cannot_be_cached_is_told_apart_too() -> None:
    """An expression that SQLAlchemy's cache refuses is compiled each time."""

    class Odd(ColumnElement[bool]):
        inherit_cache = False
        __visit_name__ = "grouping"

        def __init__(self, element: ColumnElement[bool]) -> None:
            self.element = element

    marks = {fingerprint(TERMS, [Odd(T.c.name == name)]) for name in ("a", "a", "b")}
    assert len(marks) == 2


PROGRAM = """
import enum
from sqlalchemy import *
from rowsmith import OptionalState, TriState
from rowsmith.orders import order_terms
from rowsmith.pagination import fingerprint
class Tone(enum.Enum):
    RED = 1
T = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("name", String), Column("tone", Enum(Tone)))
wanted = [T.c.name.in_({"a", "b", "c"}), T.c.tone == Tone.RED, func.lower(T.c.name).in_(["x"]), T.c.id > 5]
print(fingerprint(order_terms([T.c.name.desc()], tuple(T.primary_key)), wanted).hex())
"""


def test_every_process_gives_the_same() -> None:
    """A cursor made by one worker is read by the next, whatever its hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    there = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True, env=environment)
    with redirect_stdout(StringIO()) as here:
        exec(PROGRAM, {"__name__": "__main__"})  # noqa: S102 - our own
    assert there.stdout == here.getvalue()
    assert len(there.stdout.strip()) == 32


@dataclass
class Nested:
    names: set[str]
    body: memoryview


class Form(BaseModel):
    word: SecretStr


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


@pytest.mark.parametrize(
    "one, other",
    [
        (Nested({"a"}, memoryview(b"x")), Nested({"a"}, memoryview(b"y"))),
        (bytearray(b"x"), bytearray(b"y")),
        (Form(word=SecretStr("a")), Form(word=SecretStr("b"))),
        (OptionalState.update(1), OptionalState.update(2)),
        (TriState.nullify(), TriState.update("x")),
        ([T.c.id + 1], [T.c.id + 2]),
        (T.c.id, T.c.name),
        (int, str),
        (Open(x=1), Open(x=2)),
    ],
)
def test_what_hides_its_values_is_told_apart(one: object, other: object) -> None:
    """Many a repr shows no value, or an address; the text stands for the value."""
    assert stable_text(one) != stable_text(other)
    assert "0x" not in stable_text(one)


def test_a_field_that_a_patch_leaves_alone_is_as_if_it_were_not_there() -> None:
    """A class that has got another such field since says the same."""

    @dataclass
    class Change:
        size: OptionalState[int] = OptionalState.nop()
        note: TriState[str] = TriState.nop()

    before = make_dataclass("Change", ["size"])
    before.__qualname__ = Change.__qualname__
    assert stable_text(before(OptionalState.update(1))) == stable_text(Change(OptionalState.update(1)))


class Word(str):
    __slots__ = ()


class Octets(bytes):
    __slots__ = ()


class Tone(enum.StrEnum):
    LOW = "low"


class Share(float, enum.Enum):
    HALF = 0.5


class Rank(enum.IntEnum):
    FIRST = 1


NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "one, other",
    [
        ("a", Word("a")),
        ("low", Tone.LOW),
        (Decimal("1.5"), Decimal("1.50")),
        (NOON, NOON.astimezone(dt.timezone(dt.timedelta(hours=2)))),
        ([1, 2], (1, 2)),
        (Decimal("0.0"), Decimal("-0")),
        (1, Rank.FIRST),
        (0.5, Share.HALF),
        (b"x", Octets(b"x")),
        (b"x", bytearray(b"x")),
        (b"x", memoryview(b"x")),
        (1, 1.0),
        (100, Decimal("1e2")),
        (1e16, 10**16),
        (1.5, Decimal("1.50")),
        (0.1, Decimal("0.1")),
        (0.0, -0.0),
        (dt.time(12, tzinfo=dt.UTC), dt.time(12, tzinfo=dt.timezone(dt.timedelta(0), "Z"))),
    ],
)
def test_one_value_in_two_forms_is_one(one: Any, other: Any) -> None:
    """Whatever Python has it in; the fingerprint of what is bound is one, too."""
    assert stable_text({"x": one}) == stable_text({"x": other})
    if not isinstance(one, list):
        column = T.c.id.op("->")
        assert fingerprint((), [column(one)]) == fingerprint((), [column(other)])


class OnlyThere(FunctionElement[str]):
    inherit_cache = True


@compiles(OnlyThere, "postgresql")
def _(element: Any, compiler: Any, **_: Any) -> str:
    return f"there({compiler.process(element.clauses)})"


class OnlyInFiles(FunctionElement[str]):
    inherit_cache = True


@compiles(OnlyInFiles, "sqlite")
def _(element: Any, compiler: Any, **_: Any) -> str:
    return f"in_files({compiler.process(element.clauses)})"


@pytest.mark.parametrize("kind", [OnlyThere, OnlyInFiles])
def test_what_one_database_alone_compiles_is_told_apart(kind: type[FunctionElement[str]]) -> None:
    """By the SQL that it is there."""
    assert fingerprint((), [kind(T.c.id) == 1]) != fingerprint((), [kind(T.c.name) == 1])


@pytest.mark.parametrize(
    "one, other", [("1" * 40, "1" * 39 + "2"), ("1e-2000000", "0"), ("1e2000000", "1e3000000"), ("NaN", "Infinity")]
)
def test_no_digit_is_left_out(one: str, other: str) -> None:
    """However many there are, and however far from the point."""
    assert stable_text(Decimal(one)) != stable_text(Decimal(other))


def test_an_instant_beyond_the_end_of_time_is_told_as_it_is() -> None:
    """One that no year of UTC has."""
    west = dt.timezone(dt.timedelta(hours=-1))
    assert stable_text(dt.datetime.max.replace(tzinfo=west)) != stable_text(dt.datetime.max.replace(tzinfo=dt.UTC))


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


def test_what_does_not_tell_its_values_is_no_text() -> None:
    """Two of a kind are never taken for one; a search goes by what they show."""
    for thing in (Slotted(1), object(), iter([1]), [Slotted(1)], T.c.id == Slotted(1), lambda: 1):
        with pytest.raises(Untellable):
            stable_text(thing)
    assert fingerprint((), [T.c.id == Slotted(1)])


class Broken(dt.tzinfo):
    """A time zone whose own code raises."""

    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        raise ValueError("of the team's")

    def dst(self, _: dt.datetime | None) -> None: ...

    def tzname(self, _: dt.datetime | None) -> None: ...


class BrokenMapping(dict[str, int]):
    def items(self) -> Any:
        raise ValueError("of the team's")


@dataclass
class Unset:
    """Its field has no value yet."""

    name: str = field(init=False)


def let_go() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


@pytest.mark.parametrize(
    "value",
    [dt.datetime(2024, 1, 1, tzinfo=Broken()), dt.time(1, tzinfo=Broken()), BrokenMapping(a=1), Unset(), let_go()],
    ids=lambda value: type(value).__name__,
)
def test_what_raises_as_it_is_looked_at_is_told_from_all_else(value: object) -> None:
    """It has no text, wherever it stands; a fingerprint is made all the same: the database says what is wrong."""
    for whole in (value, [value], {"a": value}):
        with pytest.raises(Untellable, match=type(value).__name__):
            stable_text(whole)
    assert len(fingerprint(TERMS, [T.c.doc == bindparam("doc", value, type_=JSONB)])) == 16


def test_a_type_that_raises_as_it_binds_leaves_a_fingerprint() -> None:
    """What it makes of the value is not known, so it is told by the value itself."""
    made = [fingerprint(TERMS, [T.c.name == bindparam("name", value, type_=Picky())]) for value in ("a", "b", "a")]
    assert made[0] == made[2] != made[1]


def test_a_fraction_of_any_length_has_a_text() -> None:
    """Python writes no integer of more than 4,300 digits."""
    assert stable_text(Fraction(10**5000, 3)) != stable_text(Fraction(10**5000, 7))


def test_stable_texts() -> None:
    """Texts do not depend on the order of sets and mappings or on addresses, and do on types."""

    class Plain:
        def __init__(self, x: Any) -> None:
            self.x = x

    assert stable_text({"a", "b"}) == stable_text({"b", "a"})
    assert stable_text(frozenset("ab")) == stable_text({"b", "a"})
    assert stable_text({"a": 1, "b": 2}) == stable_text(OrderedDict(b=2, a=1))
    assert stable_text(Plain([1])) == stable_text(Plain([1])) != stable_text(Plain([2]))
    assert stable_text(Nested({"a", "b"}, memoryview(b"x"))) == stable_text(Nested({"b", "a"}, memoryview(b"x")))
    told = (1, True, 1.0, "1", b"1", None, [1], {1}, Colour.RED)
    assert len({stable_text(value, as_written=True) for value in told}) == 9
    assert len({stable_text(value) for value in told}) == 8  # 1 and 1.0 are equal
