"""The table of column types: whole, in order, and the only place that knows SQL types."""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import enum
import importlib
import uuid
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.sqltypes import TableValueType
from sqlalchemy.types import NullType, PickleType, TypeDecorator, TypeEngine

from columns import Cents
from rowsmith.mapping.types import TABLE, ColumnType, Comparison, Travel, column_type, constraint_names, stored_form
from rowsmith.mapping.types.column_type import NONE


class Colour(enum.Enum):
    RED = 1


class Own(TypeDecorator[Any]):
    impl = sa.Integer
    cache_ok = True


class Twice(TypeDecorator[Any]):
    impl = Own
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value


class OwnText(sa.String):
    pass


MADE: dict[type[Any], TypeEngine[Any]] = {
    sa.Enum: sa.Enum(Colour),
    postgresql.DOMAIN: postgresql.DOMAIN("short", sa.String),
    sa.ARRAY: sa.ARRAY(sa.Integer),
    TypeDecorator: Own(),
}
DECLARED = [MADE.get(kind) or kind() for kind, _ in TABLE]
VARIED = [
    sa.Enum("a", "b", name="letters"),
    sa.String(3),
    sa.Numeric(5, 2),
    sa.Float(53),
    sa.DateTime(True),
    sa.Time(True),
    sa.Uuid(as_uuid=False),
    postgresql.TIMESTAMP(precision=3),
    sa.ARRAY(sa.JSON),
    NullType(),
]
VALUES: list[Any] = [0, 2**31, 2**63, True, 1.5, float("nan"), "", "a", "abcd", "\x00", "\ud800", b"x", Colour.RED]
VALUES += [Decimal("999.995"), Decimal("NaN"), Decimal("1e400"), uuid.UUID(int=1), str(uuid.UUID(int=1)), {"a": 1}, [1]]
VALUES += [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.date(2024, 1, 1)]
VALUES += [dt.time(1), dt.time(1, tzinfo=dt.UTC), dt.timedelta(1)]

every_type = pytest.mark.parametrize("declared", [*DECLARED, *VARIED], ids=repr)


def test_no_part_of_a_record_has_a_default() -> None:
    """So a new type that leaves one out cannot be made, and a new part has to be said for every type."""
    for part in dataclasses.fields(ColumnType):
        assert (part.default, part.default_factory) == (dataclasses.MISSING, dataclasses.MISSING), part.name


def test_no_row_of_the_table_is_out_of_reach() -> None:
    """The first row that fits decides: one behind a base of its own class would never be asked."""
    kinds = [kind for kind, _ in TABLE]
    hidden = [(kind, base) for i, kind in enumerate(kinds) for base in kinds[:i] if issubclass(kind, base)]
    assert hidden == []


@every_type
def test_a_whole_column_fits_only_where_each_value_does(declared: TypeEngine[Any]) -> None:
    """For each type of the table: the quick check is sure of nothing that the full one refuses."""
    kind = column_type(declared)
    of_type = [value for value in VALUES if type(value) is kind.quick.exact]
    sure = [value for value in of_type if kind.quick.fits is None or kind.quick.fits([value])]
    assert [value for value in sure if kind.check(value) is not None] == []


@every_type
def test_what_is_refused_in_a_question_is_refused_in_a_column(declared: TypeEngine[Any]) -> None:
    """For each type of the table: a value that may be stored may be asked for."""
    kind = column_type(declared)
    assert [value for value in VALUES if kind.check(value) is None and kind.operand(value) is not None] == []


@every_type
def test_what_is_echoed_is_known_and_taken_by_copy(declared: TypeEngine[Any]) -> None:
    """For each type of the table: rows that never come back are of types whose values Python has checked."""
    kind = column_type(declared)
    if kind.echo is None:
        return
    assert kind.quick.fits is not None
    assert kind.travel in {Travel.PLAIN, Travel.BYTES}
    for value in VALUES:
        if type(value) is kind.quick.exact and kind.check(value) is None:
            assert list(kind.echo([value, None], {type(value), type(None)})) == [value, None]


@every_type
def test_a_cursor_holds_what_the_column_holds(declared: TypeEngine[Any]) -> None:
    """For each type of the table: what fits and is of the Python type that cursors have of it, stands in one."""
    kind = column_type(declared)
    if kind.compared in {Comparison.ARRAY, Comparison.NEVER}:
        return
    fitting = [value for value in VALUES if type(value) is kind.cursor.python and kind.check(value) is None]
    assert [value for value in fitting if not kind.cursor.holds(value)] == []


def test_a_decorator_is_opaque_and_tells_what_it_wraps() -> None:
    """Whatever a team's type makes of values is its own matter; the type below is found through any number of them.

    Over whole numbers each value is looked at all the same, for a fraction that would be cut.
    """
    kind = column_type(Twice())
    assert isinstance(kind.wraps, Own)
    assert (kind.check(object()), kind.quick.exact, kind.echo) == (None, NONE, None)
    assert type(stored_form(Twice())) is sa.Integer
    assert column_type(stored_form(Twice())).compared is Comparison.INTEGER


class Halves(TypeDecorator[Decimal]):
    """Makes a fraction, of which the decorator beneath makes a whole number."""

    impl = Cents
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value * Decimal("0.005")


def test_of_decorators_over_whole_numbers_all_have_their_say() -> None:
    """What is bound at last is a whole number, whatever one of them makes on the way."""
    assert column_type(Halves()).check(Decimal("1.01")) is None


@pytest.mark.parametrize("declared", [sa.Interval(), PickleType()], ids=repr)
def test_sqlalchemys_own_decorators_are_no_teams(declared: TypeEngine[Any]) -> None:
    """Interval and PickleType are TypeDecorators of known values: nothing lies below, no filter compares them."""
    assert column_type(declared).wraps is None
    assert stored_form(declared) is declared
    assert column_type(declared).compared is Comparison.NEVER


def test_the_constraints_of_a_domain_have_names() -> None:
    """The one declared, and PostgreSQL's own; a decorator's are those of what it wraps, and no other type has any."""

    class Short(TypeDecorator[str]):
        impl = postgresql.DOMAIN("short", sa.String, constraint_name="is_short")
        cache_ok = True

    assert constraint_names(Short()) == ("is_short", "short_check")
    assert constraint_names(postgresql.DOMAIN("short", sa.String)) == ("short_check",)
    assert constraint_names(sa.String()) == ()


def test_a_stored_form_is_the_dialects_variant() -> None:
    """On a database a type is what its variant there says, below a decorator, too."""

    class Address(TypeDecorator[Any]):
        impl = sa.String(50).with_variant(postgresql.INET(), "postgresql")
        cache_ok = True

    dialect: Any = asyncpg.dialect
    assert type(stored_form(Address())) is sa.String
    for declared in (Address(), sa.String(50).with_variant(postgresql.INET(), "postgresql")):
        assert isinstance(stored_form(declared, dialect()), postgresql.INET)


def test_a_class_of_somebody_elses_has_no_echo() -> None:
    """It may bind, read or wrap its values in any way; what it can hold is that of its base."""
    assert column_type(OwnText(3)).echo is None
    assert column_type(sa.String(3)).echo is not None
    assert column_type(OwnText(3)).check("abcd") == "holds at most 3 characters"


READERS = [
    "rowsmith.mapping.row",
    "rowsmith.scope",
    "rowsmith.mapping.comparisons",
    *(f"rowsmith.pagination.{name}" for name in ("key_values", "keyset", "sort_keys")),
    *(f"rowsmith.filters.{name}" for name in ("documents", "fields", "operands", "scalars", "text", "times")),
    *(f"rowsmith.operations.blocks.{name}" for name in ("checks", "defaults", "echo", "lanes")),
    "rowsmith.operations.arrays.keys",
    "rowsmith.operations.arrays.same",
    "rowsmith.operations.arrays.wire",
    "rowsmith.operations.entity",
    "rowsmith.operations.soft_delete",
]


def asked_types(module: Any, source: str) -> list[str]:
    """The SQL types that a module asks by ``isinstance``; what is no type, as NullType is, may be asked for."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    asked = [call.args[1] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "isinstance"]
    names = [part for kinds in asked for part in ast.walk(kinds) if isinstance(part, (ast.Name, ast.Attribute))]
    return [ast.unparse(name) for name in names if is_sql_type(resolved(module, ast.unparse(name)))]


def resolved(module: Any, name: str) -> Any:
    try:
        return attrgetter(name)(module)
    except AttributeError:  # a function's own variable
        return None


def is_sql_type(kind: Any) -> bool:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    none = {NullType, TableValueType}
    return any(isinstance(one, type) and issubclass(one, TypeEngine) and one not in none for one in kinds)


@pytest.mark.parametrize("name", READERS)
def test_who_reads_the_table_asks_for_no_sql_type_itself(name: str) -> None:
    """What is to know of a type stands in its record; a chain of isinstance elsewhere would forget the next one."""
    module = importlib.import_module(name)
    assert asked_types(module, Path(str(module.__file__)).read_text()) == []


def test_the_rule_itself_is_able_to_fail() -> None:
    """A question for a SQL type is found, alone and among others."""
    source = (
        "isinstance(x, sa.String)\nisinstance(x, (int, Own))\nisinstance(x, NullType | sa.Date)\nisinstance(x, KINDS)"
    )
    module = SimpleNamespace(sa=sa, Own=Own, NullType=NullType, KINDS=(sa.Integer, sa.Date))
    assert asked_types(module, source) == ["sa.String", "Own", "sa.Date", "KINDS"]
