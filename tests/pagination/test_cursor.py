"""Cursors give back what was put in, for the search they were made for, and are otherwise refused."""

from __future__ import annotations

import base64
import enum
import math
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Time,
    TypeDecorator,
    Uuid,
    func,
)

from rowsmith.errors import InvalidCursor, InvalidPagination, InvalidValue, MappingError
from rowsmith.orders import OrderTerm, order_terms
from rowsmith.pagination import MAX_CURSOR_LENGTH, CursorCodec, fingerprint
from rowsmith.pagination.key_values import pack, unpack

FORGERIES = int(os.environ.get("ROWSMITH_FUZZ_CURSORS", "100"))
"""How many random cursors are tried, and how many forged ones."""


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Tone(enum.Enum):
    RED = 1


class Email:
    """A value object, with a repr that differs from process to process."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Email) and other.address == self.address

    __hash__ = None  # type: ignore[assignment]


class EmailType(TypeDecorator[Email]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: Email | None, dialect: Any) -> str | None:
        return None if value is None else value.address

    def process_result_value(self, value: str | None, dialect: Any) -> Email | None:
        if value is not None and "@" not in value:
            raise RuntimeError("no address")
        return None if value is None else Email(value)


class PlainDecorator(TypeDecorator[str]):
    impl = String
    cache_ok = True


TYPES: dict[str, Any] = {
    "int": Integer(),
    "small": SmallInteger(),
    "big": BigInteger(),
    "text": String(),
    "uuid": Uuid(),
    "uuid_text": Uuid(as_uuid=False),
    "decimal": Numeric(),
    "double": Float(),
    "aware": DateTime(timezone=True),
    "naive": DateTime(),
    "date": Date(),
    "time": Time(),
    "interval": Interval(),
    "bool": Boolean(),
    "enum": Enum(Colour),
    "words": Enum("red", "green"),
    "bytes": LargeBinary(),
    "email": EmailType(),
    "plain": PlainDecorator(),
    "json": JSON(),
}
TABLE = Table(
    "things", MetaData(), Column("id", BigInteger, primary_key=True), *(Column(n, t) for n, t in TYPES.items())
)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
KEY = tuple(TABLE.primary_key)
CODEC = CursorCodec([b"k" * 32])

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
INTS = st.integers(-(2**63), 2**63 - 1)
ZONES = st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": INTS,
    "small": INTS,
    "big": INTS,
    "text": TEXTS,
    "uuid": st.uuids(),
    "uuid_text": st.uuids().map(str),
    "decimal": st.decimals(allow_nan=False) | st.sampled_from([Decimal("1.10"), Decimal("1e-30")]),
    "double": st.floats(allow_nan=False),
    "aware": st.datetimes(timezones=ZONES | st.just(UTC)),
    "naive": st.datetimes(),
    "date": st.dates(),
    "time": st.times(),
    "interval": st.timedeltas(),
    "bool": st.booleans(),
    "enum": st.sampled_from(Colour),
    "words": st.sampled_from(["red", "green"]),
    "bytes": st.binary(max_size=20),
    "email": TEXTS.map(lambda text: Email(f"{text}@x")),
    "plain": TEXTS,
}


def terms_by(*names: str) -> tuple[OrderTerm, ...]:
    return order_terms([TABLE.c[name] for name in names], KEY)


ONE = terms_by("text")
MARK = fingerprint(ONE)


@given(st.data())
def test_every_type_of_key_survives(data: st.DataObject) -> None:
    """Whatever a column of a key can hold comes back equal and of the same type; NULL too."""
    names = data.draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=5))
    values = (*(data.draw(st.none() | VALUES[name]) for name in names), data.draw(INTS))
    terms = terms_by(*names)
    decoded = CODEC.decode(CODEC.encode(values, terms, MARK), terms, MARK)
    assert decoded == values
    assert [type(value) for value in decoded] == [type(value) for value in values]


def test_nan_survives() -> None:
    """NaN is a value like any other where the database sorts it."""
    terms = terms_by("double", "decimal")
    double, number, _ = CODEC.decode(CODEC.encode((math.nan, Decimal("NaN"), 1), terms, MARK), terms, MARK)
    assert math.isnan(double)
    assert number.is_nan()


def test_expressions_take_what_the_database_gives() -> None:
    """SQLAlchemy only guesses what a function gives, so a sum may be a Decimal and lower() anything."""
    terms = order_terms([func.sum(TABLE.c.int), func.lower(TABLE.c.text)], KEY)
    values = (Decimal(7), "x", 1)
    assert CODEC.decode(CODEC.encode(values, terms, MARK), terms, MARK) == values


def test_cursors_are_url_safe_and_opaque() -> None:
    """A cursor goes into a URL as it is, and does not show its values."""
    cursor = CODEC.encode(("visible?/+", 2**62), ONE, MARK)
    assert set(cursor) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert "visible" not in cursor
    assert len(cursor) < 80


@pytest.mark.parametrize("codec", [CODEC, CursorCodec()])
def test_one_character_changed_anywhere_is_refused(codec: CursorCodec) -> None:
    """Signed or not, a cursor that was cut, grown or changed in any place is none."""
    cursor = codec.encode(("abc", 5), ONE, MARK)
    changed = [cursor[:i] + ("A" if c != "A" else "B") + cursor[i + 1 :] for i, c in enumerate(cursor)]
    cut = [cursor[:length] for length in range(len(cursor))]
    for other in [*changed, *cut, cursor + "A", cursor + "=", " " + cursor, cursor + "\n", cursor * 2]:
        with pytest.raises(InvalidCursor):
            codec.decode(other, ONE, MARK)


@pytest.mark.parametrize("cursor", ["", "=", "é", "\ud800", "\0", "AAAA" * 10**6, None, 5, b"AAAA", ["AAAA"], "A" * 40])
def test_what_is_no_cursor_is_refused(cursor: Any) -> None:
    """Empty, over-long, non-ASCII, of another type: refused, and never quoted in the message."""
    with pytest.raises(InvalidCursor, match="start again") as caught:
        CODEC.decode(cursor, ONE, MARK)
    assert caught.value.__cause__ is None


@settings(max_examples=FORGERIES)
@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()))
def test_random_strings_are_refused(cursor: str) -> None:
    """Nothing but InvalidCursor comes of a random string."""
    with pytest.raises(InvalidCursor):
        CODEC.decode(cursor, ONE, MARK)


@settings(max_examples=FORGERIES)
@given(
    st.binary(max_size=40) | st.lists(st.tuples(st.sampled_from(b"nebistdcvumfx?"), st.binary(max_size=9))), st.data()
)
def test_forged_payloads_are_refused_or_fit(payload: Any, data: st.DataObject) -> None:
    """Bytes behind a valid tag (no keys, a forger) give values of the columns' types or InvalidCursor."""
    if not isinstance(payload, bytes):
        payload = b"".join(bytes([tag]) + len(body).to_bytes(4, "big") + body for tag, body in payload)
    names = data.draw(st.lists(st.sampled_from(sorted(TYPES)), unique=True, max_size=3))
    terms = terms_by(*names)
    try:
        values = unpack(payload, terms)
    except InvalidCursor:
        return
    pack(values, terms)


@pytest.mark.parametrize(
    "name, value",
    [
        ("int", "5"),
        ("int", 1.0),
        ("int", True),
        ("int", 2**63),
        ("text", 5),
        ("text", "\0"),
        ("text", b"a"),
        ("uuid", "00000000-0000-0000-0000-000000000000"),
        ("naive", NOON),
        ("date", NOON.replace(tzinfo=None)),
        ("naive", date(2024, 1, 1)),
        ("time", time(1, tzinfo=UTC)),
        ("bool", 1),
        ("words", "blue"),
        ("enum", "RED"),
        ("decimal", Decimal("sNaN")),
        ("decimal", Decimal("1e999999")),
        ("double", True),
        ("email", "no address"),
    ],
)
def test_values_of_another_type_are_refused(name: str, value: Any) -> None:
    """A value that its column cannot hold is no cursor, even behind a valid tag."""
    loose = order_terms([func.anything(TABLE.c.text)], ())
    with pytest.raises(InvalidCursor):
        unpack(pack([value], loose), terms_by(name)[:1])


def test_an_enum_is_read_by_its_columns_class() -> None:
    """The cursor holds a name; which enum it belongs to, only the column says."""
    tones = Table("tones", MetaData(), Column("tone", Enum(Tone), nullable=True))
    other = order_terms([tones.c.tone], ())
    assert unpack(pack([Colour.RED], terms_by("enum")[:1]), other) == (Tone.RED,)
    with pytest.raises(InvalidCursor):
        unpack(pack([Colour.GREEN], terms_by("enum")[:1]), other)
    with pytest.raises(InvalidCursor):
        unpack(pack([Colour.RED], terms_by("enum")[:1]), terms_by("text")[:1])


def test_null_is_refused_where_there_is_none() -> None:
    """A NOT NULL column has no NULL to start after."""
    loose = order_terms([TABLE.c.text], ())
    with pytest.raises(InvalidCursor):
        unpack(pack([None], loose), order_terms([], KEY))


def test_values_without_a_plain_form_cannot_be_sorted_by() -> None:
    """A JSON document is no sort key; the error says what is."""
    with pytest.raises(MappingError, match="OffsetPagination"):
        CODEC.encode(({"a": 1}, 1), terms_by("json"), MARK)


def test_keys_too_long_for_a_cursor_are_refused() -> None:
    """A cursor's length is bounded when it is made, so that none is handed out that would be refused."""
    with pytest.raises(InvalidPagination, match="too long"):
        CODEC.encode(("x" * MAX_CURSOR_LENGTH, 1), ONE, MARK)
    longest = CODEC.encode(("x" * 6_000, 1), ONE, MARK)
    assert CODEC.decode(longest, ONE, MARK) == ("x" * 6_000, 1)


def test_keys_rotate() -> None:
    """The first key signs, all verify; a key taken away takes its cursors along."""
    old, both, new = CursorCodec(["old"]), CursorCodec(["new", "old"]), CursorCodec([b"new"])
    by_old, by_both = old.encode(("a", 1), ONE, MARK), both.encode(("a", 1), ONE, MARK)
    assert both.decode(by_old, ONE, MARK) == both.decode(by_both, ONE, MARK) == new.decode(by_both, ONE, MARK)
    for codec, cursor in [(old, by_both), (new, by_old), (CursorCodec(), by_old), (old, _unsigned())]:
        with pytest.raises(InvalidCursor):
            codec.decode(cursor, ONE, MARK)


def _unsigned() -> str:
    return CursorCodec().encode(("a", 1), ONE, MARK)


@pytest.mark.parametrize("keys", ["secret", b"secret", [""], [b"ok", b""], [None], [1], 5, None, {"secret": 1}])
def test_keys_that_are_none_are_refused(keys: Any) -> None:
    """One string is no sequence of keys, an empty key signs nothing, and a number is no key."""
    with pytest.raises(InvalidValue, match="CursorCodec"):
        CursorCodec(keys)


def test_every_cursor_of_another_search_is_refused() -> None:
    """Another order, direction, NULL placement, filter or tenant: another fingerprint, so no cursor."""
    column = TABLE.c.text
    searches: Sequence[tuple[Any, Any]] = [
        ([column], []),
        ([column.desc()], []),
        ([column.nulls_first()], []),
        ([TABLE.c.plain], []),
        ([column], [TABLE.c.int == 1]),
        ([column], [TABLE.c.int == 2]),
        ([column], [TABLE.c.small == 1]),
    ]
    marks = [fingerprint(order_terms(orders, KEY), conditions) for orders, conditions in searches]
    cursors = [CODEC.encode(("a", 1), ONE, mark) for mark in marks]
    for i, cursor in enumerate(cursors):
        assert CODEC.decode(cursor, ONE, marks[i]) == ("a", 1)
        for mark in (*marks[:i], *marks[i + 1 :]):
            with pytest.raises(InvalidCursor):
                CODEC.decode(cursor, ONE, mark)


def test_a_uuid_of_the_driver_is_a_uuid() -> None:
    """Drivers give UUIDs of their own class, which equal the standard library's."""

    class DriverUUID(UUID):
        pass

    terms = terms_by("uuid")
    assert CODEC.decode(CODEC.encode((DriverUUID(int=5), 1), terms, MARK), terms, MARK) == (UUID(int=5), 1)
