"""Expressions with a string of the application's in them that ends what it did not begin, one for each way in."""

from __future__ import annotations

from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import TString, _TStringText  # pyright: ignore[reportPrivateUsage]
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.types import UserDefinedType

from tenants import GroupRow

TORN = "> 0) OR ("
RAW = sa.quoted_name("x) OR (y", False)


class Torn(sa.ColumnElement[bool]):
    """A condition of somebody's own making, which ends what it did not begin."""

    inherit_cache = True
    type = sa.Boolean()


@compiles(Torn)
def _torn(element: Torn, compiler: Any, **options: Any) -> str:
    return "groups.size > 0) OR (groups.size >= 0"


class TornType(UserDefinedType[Any]):
    """A type whose own name ends what it did not begin."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "integer)) OR ((true"


class TornValue(UserDefinedType[Any]):
    """A type that puts its values into an expression which ends what it did not begin."""

    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return bindvalue.op(TORN)(sa.true())


class TornReading(UserDefinedType[Any]):
    """A type whose values are read by an expression that ends what it did not begin."""

    cache_ok = True

    def column_expression(self, colexpr: Any) -> Any:
        return colexpr.op(TORN)(sa.true())


class TornLiteral(UserDefinedType[Any]):
    """A type that writes its values as they are."""

    cache_ok = True

    def literal_processor(self, dialect: sa.Dialect) -> Any:
        return str


def template(*parts: Any) -> Any:
    """Give what a template string makes, on any Python."""
    made: Any = TString.__new__(TString)
    made.parts = [_TStringText(part) if isinstance(part, str) else part for part in parts]
    return made


def among(subquery: sa.Select[Any]) -> sa.ColumnElement[bool]:
    """Give a condition that a row is among those of a subquery."""
    return GroupRow.id.in_(subquery)


ID: Any = GroupRow.id.expression
MADE, OTHER = GroupRow.created_at, sa.table("domains", sa.column("name", sa.String))
IDS = sa.select(sa.literal(1, sa.Integer))
OPEN: dict[str, Any] = {
    "operator": ID.op(TORN)(sa.true()),
    "comparison": ID.op(TORN, is_comparison=True)(sa.true()),
    "boolean operator": ID.bool_op(TORN)(sa.true()),
    "operator in a group": sa.and_(GroupRow.size >= 0, sa.or_(GroupRow.size < 0, ID.bool_op(TORN)(sa.true()))),
    "operator in a function": sa.func.coalesce(ID.bool_op(TORN)(sa.true()), False),
    "operator before": sa.UnaryExpression(ID, operator=custom_op("0 = 0) OR (0 <="), type_=sa.Boolean()),
    "operator after": sa.UnaryExpression(ID, modifier=custom_op("> 0) OR (true"), type_=sa.Boolean()),
    "operator named by its text": sa.BinaryExpression(ID, sa.true(), cast("Any", TORN), type_=sa.Boolean()),
    "comment": ID.op("> 0 -- ")(sa.true()),
    "comment over lines": ID.op("> 0 /* ")(sa.true()),
    "semicolon": ID.op("> 0; SELECT ")(sa.true()),
    "quote": ID.op("> 0 OR 'a' = '")(sa.true()),
    "field": sa.extract("year FROM now()) > 0) OR (extract(year", MADE) > 0,
    "text": sa.type_coerce(sa.text("groups.id > 0) OR (true"), sa.Boolean),
    "literal column": sa.literal_column("groups.id > 0) OR (true", sa.Boolean),
    "template": sa.type_coerce(template("groups.id > 0) OR (true"), sa.Boolean),
    "unquoted column": among(sa.select(sa.column(RAW, sa.Integer))),
    "unquoted label": among(sa.select(sa.literal(1).label(RAW))),
    "unquoted table": among(sa.select(sa.literal(1)).select_from(sa.table(RAW))),
    "unquoted schema": among(sa.select(sa.literal(1)).select_from(sa.table("t", schema=RAW))),
    "unquoted alias": among(sa.select(sa.literal(1)).select_from(OTHER.alias(RAW))),
    "unquoted name of a CTE": among(sa.select(sa.literal(1)).select_from(IDS.cte(RAW))),
    "unquoted function": getattr(sa.func, RAW)(ID, type_=sa.Boolean),
    "unquoted package": Function("f", ID, packagenames=(RAW,), type_=sa.Boolean()),
    "function of dollars": Function("$$", ID, type_=sa.Boolean()),
    "unquoted collation": GroupRow.name.collate(RAW) > "",
    "unquoted sequence": sa.Sequence(RAW).next_value() > 0,
    "type": sa.cast(ID, TornType()) > 0,
    "fields of an interval": sa.cast(sa.func.now(), postgresql.INTERVAL(fields="YEAR)) OR ((true")) > sa.func.now(),
    "precision": sa.cast(ID, sa.Numeric(cast("Any", "5)) > 0) OR ((true"))) > 0,
    "item of an array": sa.cast(ID, postgresql.ARRAY(TornType())) > 0,
    "type of one backend": sa.cast(ID, sa.Integer().with_variant(TornType(), "postgresql")) > 0,
    "unquoted enum": sa.cast(ID, sa.Enum("a", name=RAW)) > "a",
    "array of nothing": sa.any_(postgresql.array([], type_=TornType())) == ID,
    "value of a type": sa.literal(1, TornValue()) == ID,
    "reading of a type": among(sa.select(sa.type_coerce(ID, TornReading()))),
    "literal of a type": sa.literal("0) OR (0 = 0", TornLiteral(), literal_execute=True) == ID,
    "prefix": among(IDS.prefix_with("1) OR (")),
    "suffix": among(IDS.suffix_with("WHERE true) OR (true")),
    "hint": among(IDS.with_statement_hint(") OR (true")),
    "hint of a table": among(sa.select(OTHER.c.name).with_hint(OTHER, ") OR (true")),
    "prefix of a CTE": among(sa.select(IDS.cte("c").prefix_with("MATERIALIZED (SELECT 1)) OR ("))),
    "values": among(
        sa.select(
            sa.values(sa.column("v", sa.Integer), name="v").data([(sa.literal_column("1)) OR (", sa.Integer),)]).c.v
        )
    ),
    "columns of a function": among(
        sa.select(sa.func.f().table_valued(sa.column("v", TornType())).render_derived(with_types=True).c.v)
    ),
    "share of a table": among(
        sa.select(sa.literal(1)).select_from(sa.tablesample(OTHER, sa.func.f(sa.literal_column("1)) OR ("))))
    ),
    "filter of an aggregate": sa.func.count().filter(ID.bool_op(TORN)(sa.true())) > 0,
    "window": sa.func.count().over(partition_by=ID.op(TORN)(sa.true())) > 0,
    "order within": sa.func.max(ID).within_group(ID.op(TORN)(sa.true())) > 0,
    "order of an aggregate": sa.func.max(postgresql.aggregate_order_by(ID, ID.op(TORN)(sa.true()))) > 0,
    "slice": sa.type_coerce(ID, postgresql.ARRAY(sa.Integer))[sa.literal_column("1]) OR (") : 2].is_not(None),
    "class of somebody's own": Torn(),
}
"""Conditions on a group, by what the text is."""

CLOSED: dict[str, Any] = {
    "words": ID.op("IS DISTINCT FROM")(2),
    "operator with its schema": ID.op("OPERATOR(pg_catalog.=)")(2),
    "time zone": sa.extract("year", MADE.op("AT TIME ZONE")("UTC")) > 0,
    "similar": GroupRow.name.op("SIMILAR TO")("(o|t)%"),
    "regular expression": GroupRow.name.regexp_match("it's) OR (", flags="in"),
    "escaped pattern": GroupRow.name.contains("a'b) OR (", autoescape=True, escape="'"),
    "quoted names": among(sa.select(sa.column("x) OR (y", sa.Integer).label("it's;")).select_from(OTHER.alias("(--"))),
    "quoted function": getattr(sa.func, "it's) OR (")(ID, type_=sa.Boolean),
    "quoted collation": GroupRow.name.collate("it's) OR (") > "",
    "name of a bind": sa.bindparam("it's) OR (", 1) == ID,
    "key in a document": sa.type_coerce(GroupRow.note, postgresql.JSONB)["it's) OR ("].astext == "x",
    "path in a document": sa.type_coerce(GroupRow.note, postgresql.JSONB)[("a)", "'b")].astext == "x",
    "literal": sa.literal("it's) OR (", literal_execute=True) == GroupRow.name,
    "array": sa.any_(postgresql.array([1, 2])) == ID,
    "order": sa.func.max(postgresql.aggregate_order_by(ID, ID.desc().nulls_first())) > 0,
    "sizes of types": sa.cast(ID, sa.Numeric(10, 2)) > sa.cast(1, postgresql.INTERVAL(fields="YEAR TO MONTH")),
}
"""Conditions on a group whose strings are quoted, sent apart, or end what they begin."""
