"""A column of every type that rowsmith knows, with values for it: what the law of the lanes is tried on.

A class of types that is missing here fails ``tests/operations/blocks/test_lane_law.py``.
"""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.dialects.postgresql.ranges import MultiRange
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

Strategy = st.SearchStrategy[Any]


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flags(enum.IntFlag):
    READ = 1
    WRITE = 2


class Text(str):
    """A subclass of ``str``, as an enum of strings is."""

    __slots__ = ()


class Upper(TypeDecorator[str]):
    """A decorator that stores something else than it is given."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.upper()


class Folded(TypeDecorator[str]):
    """A decorator whose texts are small in the database, so that equal ones may be given in other letters."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.lower()


class Hidden(TypeDecorator[str]):
    """A decorator that keeps None as a value."""

    impl = sa.String(6)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return "" if value is None else value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value or None


class Cents(TypeDecorator[Decimal]):
    """A decorator whose values are of another type than it stores, and which refuses some."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else Decimal(value) / 100


class Point(TypeDecorator[Any]):
    """A decorator over JSON."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else {"x": value[0], "y": value[1]}

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else (value["x"], value["y"])


class Local(TypeDecorator[dt.datetime]):
    """A decorator over points in time."""

    impl = sa.DateTime(True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.replace(tzinfo=dt.UTC)


class Tags(TypeDecorator[Any]):
    """A decorator over an array."""

    impl = pg.ARRAY(sa.Text)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else sorted(value)


class Sealed(TypeDecorator[str]):
    """Wrapped in SQL on its way in and out."""

    impl = sa.String
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return sa.literal_column("'enc:'", sa.String).concat(sa.type_coerce(bindparam, sa.String))

    def column_expression(self, column: Any) -> Any:
        return sa.func.substr(column, 5, type_=self)


class Vector(UserDefinedType[str]):
    """A type of a team's own, of which SQLAlchemy knows only the name."""

    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return "int4range"


class Own(sa.String):
    """A class derived from SQLAlchemy's, which binds in its own way."""

    def bind_processor(self, dialect: Any) -> Any:
        return lambda value: None if value is None else value.strip()


@dataclass(frozen=True)
class Kind:
    """A type of columns, values that fit it, and whether SQLite has it too."""

    declared: Callable[[], TypeEngine[Any]]
    values: Strategy
    everywhere: bool = True


def postgresql(declared: Callable[[], TypeEngine[Any]], values: Strategy) -> Kind:
    """A type that only PostgreSQL has."""
    return Kind(declared, values, everywhere=False)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6) | st.sampled_from(
    ["", " a ", "NULL", "null", '"', "\\", "{a,b}", "\\N", "\t\n", "é\U0001f600", Text("sub")]
)
SHORT = st.text("ab éß", max_size=3)
WORDS = st.sampled_from(["a", "b"])
ZONES = st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-7)), dt.timezone(dt.timedelta(hours=5, minutes=30))])
LOCAL = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
MOMENTS = st.builds(lambda time, zone: time.replace(tzinfo=zone), LOCAL, ZONES)
TIMES = st.times()
LASTS = st.timedeltas(dt.timedelta(days=-10_000), dt.timedelta(days=10_000))
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 1e300, 1, -3])
NUMBERS = st.decimals(-(10**6), 10**6, allow_nan=False, allow_infinity=False, places=4)
DECIMALS = NUMBERS | st.sampled_from([Decimal("1.50"), Decimal("-0"), Decimal("1E+3"), 0.1, 7, Level.HIGH])
ATOMS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS.filter(lambda x: abs(x) < 1e15) | SHORT
JSON = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SHORT, inner, max_size=2), max_leaves=4
)
DOCUMENTS = JSON | st.sampled_from([(1, (2,)), {"a": None}, [], {}, sa.JSON.NULL])
INTEGERS = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([Level.LOW, Flags.READ | Flags.WRITE, 0, -1])
KEYS = st.uuids()
SPANS = st.builds(lambda low, size: Range(low, low + size), st.integers(-9, 9), st.integers(1, 5))
RANGES = SPANS | st.sampled_from([Range(None, 3), Range(3, None, bounds="()"), Range(None, None), Range(empty=True)])
SEVERAL = st.lists(RANGES, max_size=3).map(MultiRange)
V4 = st.ip_addresses(v=4)
ADDRESSES = st.ip_addresses() | st.builds(lambda a: ipaddress.ip_interface((a, 24)), V4)
NETWORKS = st.builds(lambda a, bits: ipaddress.ip_network((a, bits), strict=False), V4, st.integers(0, 32))


MISTAKEN = st.sampled_from(["12", "", "red", ["1"], [1, "2"], {"1": 1}, {"a": 1}, ["x"], 5])
"""What is no array, or holds what is none of its items, though a JSON document may be so."""


def lists(values: Strategy) -> Strategy:
    """Lists of values, some of them NULL."""
    return st.lists(st.none() | values, max_size=3)


def grids(values: Strategy) -> Strategy:
    """Arrays of arrays, of two by one to two by three."""
    return st.integers(1, 3).flatmap(
        lambda n: st.lists(st.lists(values, min_size=n, max_size=n), min_size=2, max_size=2)
    )


COLUMNS: dict[str, Kind] = {
    "text": Kind(sa.Text, TEXTS),
    "string": Kind(sa.String, TEXTS),
    "string_of_3": Kind(lambda: sa.String(3), SHORT),
    "unicode": Kind(sa.Unicode, TEXTS),
    "char": Kind(lambda: sa.CHAR(4), SHORT),
    "own_text": Kind(Own, TEXTS),
    "enum": Kind(lambda: sa.Enum(Colour, name="lane_colour"), st.sampled_from(Colour)),
    "enum_of_text": Kind(lambda: sa.Enum(Colour, native_enum=False), st.sampled_from(Colour)),
    "names": Kind(lambda: sa.Enum("a", "b", name="lane_letters"), WORDS),
    "names_of_text": Kind(lambda: sa.Enum("a", "b", native_enum=False, create_constraint=True, name="w"), WORDS),
    "enum_values": Kind(
        lambda: sa.Enum(Colour, name="lane_values", values_callable=lambda kind: [item.value for item in kind]),
        st.sampled_from(Colour),
    ),
    "tsvector": postgresql(pg.TSVECTOR, st.sampled_from(["'a':1 'b':2", "a b", ""])),
    "smallint": Kind(sa.SmallInteger, st.integers(-(2**15), 2**15 - 1)),
    "integer": Kind(sa.Integer, INTEGERS),
    "bigint": Kind(sa.BigInteger, st.integers(-(2**63), 2**63 - 1)),
    "wider_on_postgresql": postgresql(
        lambda: sa.Integer().with_variant(sa.BigInteger(), "postgresql"), INTEGERS | st.integers(2**31, 2**40)
    ),
    "real": postgresql(sa.REAL, st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, 3])),
    "float": Kind(sa.Float, FLOATS),
    "float_of_5": postgresql(lambda: sa.Float(5), st.sampled_from([0.1, 1.5, -3, 0.0])),
    "double": Kind(sa.Double, FLOATS),
    "numeric": postgresql(sa.Numeric, DECIMALS),
    "numeric_of_2": postgresql(lambda: sa.Numeric(10, 2), DECIMALS),
    "numeric_as_float": postgresql(lambda: sa.Numeric(10, 2, asdecimal=False), DECIMALS),
    "boolean": Kind(sa.Boolean, st.booleans()),
    "interval": Kind(sa.Interval, LASTS.filter(lambda lasts: lasts > dt.timedelta(0))),
    "interval_of_postgresql": postgresql(pg.INTERVAL, LASTS),
    "interval_of_days": postgresql(lambda: pg.INTERVAL(fields="DAY TO SECOND", precision=2), LASTS),
    "timestamp": Kind(sa.DateTime, LOCAL),
    "timestamptz": postgresql(lambda: sa.DateTime(True), MOMENTS),
    "timestamp_of_3": postgresql(lambda: pg.TIMESTAMP(precision=3), LOCAL),
    "timestamptz_of_0": postgresql(lambda: pg.TIMESTAMP(True, 0), MOMENTS),
    "date": Kind(sa.Date, st.dates()),
    "time": Kind(sa.Time, TIMES),
    "timetz": postgresql(lambda: sa.Time(True), st.builds(lambda t, z: t.replace(tzinfo=z), TIMES, ZONES)),
    "time_of_0": postgresql(lambda: pg.TIME(precision=0), TIMES),
    "bytes": Kind(sa.LargeBinary, st.binary(max_size=4) | st.sampled_from([bytearray(b"x"), memoryview(b"yz")])),
    "pickle": Kind(sa.PickleType, JSON),
    "uuid": Kind(sa.Uuid, KEYS),
    "uuid_as_text": Kind(
        lambda: sa.Uuid(as_uuid=False),
        KEYS.map(str) | KEYS.map(lambda key: str(key).upper()) | KEYS.map(lambda key: key.hex),
    ),
    "json": Kind(sa.JSON, DOCUMENTS),
    "json_without_null": Kind(lambda: sa.JSON(none_as_null=True), DOCUMENTS),
    "jsonb": postgresql(pg.JSONB, DOCUMENTS),
    "json_by_variant": Kind(lambda: sa.Text().with_variant(pg.JSONB(), "postgresql"), TEXTS),
    "integers_or_json": Kind(
        lambda: sa.ARRAY(sa.Integer).with_variant(sa.JSON(), "sqlite"), lists(st.integers(-9, 9)) | MISTAKEN
    ),
    "texts_or_json": Kind(lambda: sa.ARRAY(sa.String).with_variant(sa.JSON(), "sqlite"), lists(SHORT) | MISTAKEN),
    "json_or_integers": Kind(
        lambda: sa.JSON().with_variant(sa.ARRAY(sa.Integer), "postgresql"), lists(st.integers(-9, 9)) | MISTAKEN
    ),
    "text_or_texts": postgresql(
        lambda: sa.Text().with_variant(sa.ARRAY(sa.Text), "postgresql"), lists(SHORT) | MISTAKEN
    ),
    "uuid_by_variant": postgresql(lambda: sa.String(36).with_variant(sa.Uuid(), "postgresql"), KEYS | KEYS.map(str)),
    "integers": postgresql(lambda: sa.ARRAY(sa.Integer), lists(st.integers(-9, 9))),
    "bigints": postgresql(lambda: pg.ARRAY(sa.BigInteger), lists(st.integers(-(2**63), 2**63 - 1))),
    "texts": postgresql(lambda: sa.ARRAY(sa.Text), lists(TEXTS)),
    "shorts": postgresql(lambda: sa.ARRAY(sa.String(3)), lists(SHORT)),
    "colours": postgresql(lambda: sa.ARRAY(sa.Enum(Colour, name="lane_colour")), lists(st.sampled_from(Colour))),
    "floats": postgresql(lambda: sa.ARRAY(sa.Float), lists(FLOATS)),
    "booleans": postgresql(lambda: sa.ARRAY(sa.Boolean), lists(st.booleans())),
    "decimals": postgresql(lambda: sa.ARRAY(sa.Numeric(10, 2)), lists(NUMBERS)),
    "moments": postgresql(lambda: sa.ARRAY(sa.DateTime(True)), lists(MOMENTS)),
    "days": postgresql(lambda: sa.ARRAY(sa.Date), lists(st.dates())),
    "intervals": postgresql(lambda: sa.ARRAY(sa.Interval), lists(LASTS)),
    "keys": postgresql(lambda: sa.ARRAY(sa.Uuid), lists(KEYS)),
    "binaries": postgresql(lambda: sa.ARRAY(sa.LargeBinary), lists(st.binary(max_size=3))),
    "documents": postgresql(lambda: sa.ARRAY(pg.JSONB), lists(JSON.filter(lambda item: item is not None))),
    "grid": postgresql(lambda: sa.ARRAY(sa.Integer, dimensions=2), grids(st.integers(0, 9))),
    "grid_of_texts": postgresql(lambda: sa.ARRAY(sa.Text, dimensions=2), grids(SHORT)),
    "ranges": postgresql(lambda: sa.ARRAY(pg.INT4RANGE), lists(RANGES)),
    "addresses": postgresql(lambda: sa.ARRAY(pg.INET), lists(V4)),
    "inet": postgresql(pg.INET, ADDRESSES | ADDRESSES.map(str)),
    "cidr": postgresql(pg.CIDR, NETWORKS | NETWORKS.map(str)),
    "macaddr": postgresql(pg.MACADDR, st.sampled_from(["08:00:2b:01:02:03", "08002b:010203"])),
    "macaddr8": postgresql(pg.MACADDR8, st.just("08:00:2b:01:02:03:04:05")),
    "int4range": postgresql(pg.INT4RANGE, RANGES),
    "int8range": postgresql(pg.INT8RANGE, RANGES),
    "numrange": postgresql(pg.NUMRANGE, RANGES.map(lambda span: span)),
    "daterange": postgresql(pg.DATERANGE, st.builds(lambda day: Range(day, None), st.dates())),
    "tstzrange": postgresql(pg.TSTZRANGE, st.builds(lambda moment: Range(moment, None), MOMENTS)),
    "int4multirange": postgresql(pg.INT4MULTIRANGE, SEVERAL | st.lists(RANGES, max_size=2)),
    "nummultirange": postgresql(pg.NUMMULTIRANGE, st.just(MultiRange([Range(Decimal(1), Decimal("2.5"))]))),
    "bit": postgresql(lambda: pg.BIT(4), st.sampled_from(["0101", "1111"])),
    "varbit": postgresql(lambda: pg.BIT(varying=True), st.sampled_from(["", "1", "0101"])),
    "money": postgresql(pg.MONEY, st.sampled_from(["$1.50", "2"])),
    "oid": postgresql(pg.OID, st.integers(0, 2**32 - 1)),
    "jsonpath": postgresql(pg.JSONPATH, st.sampled_from(["$.a", "$"])),
    "domain": postgresql(lambda: pg.DOMAIN("lane_positive", sa.Integer, check="VALUE > 0"), st.integers(1, 9)),
    "vector": postgresql(Vector, RANGES),
    "upper": Kind(Upper, TEXTS),
    "hidden": Kind(Hidden, SHORT),
    "cents": Kind(Cents, st.integers(-99, 99).map(Decimal)),
    "point": Kind(Point, st.tuples(st.integers(0, 9), st.integers(0, 9))),
    "local": postgresql(Local, LOCAL),
    "tags": postgresql(Tags, st.lists(SHORT, max_size=3)),
    "sealed": Kind(Sealed, TEXTS),
}
"""By a name that is a table's too."""

ANYTHING: list[Any] = [0, 2**15, 2**31, 2**63, True, 1.5, float("nan"), float("inf"), "", "a", "abcdefgh", "\x00"]
ANYTHING += [
    "\ud800",
    b"x",
    Colour.RED,
    Level.LOW,
    Flags.WRITE,
    Decimal("999999999.995"),
    Decimal("NaN"),
    Decimal("1e400"),
]
ANYTHING += [uuid.UUID(int=1), str(uuid.UUID(int=1)), {"a": 1}, {1: 2}, [1], ["a", None], [[1], [2, 3]], [[1], 2]]
ANYTHING += [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.date(2024, 1, 1), dt.time(1), (1, 2)]
ANYTHING += [dt.time(1, tzinfo=dt.UTC), dt.timedelta(1), Range(1, 3), MultiRange([Range(1, 3)]), {1, 2}, object()]
ANYTHING += [ipaddress.ip_address("10.0.0.1"), "10.0.0.1", "01011", [Range(1, 2)], float("-inf"), -1, [float("nan")]]
"""Values of which most columns can hold only a few."""
