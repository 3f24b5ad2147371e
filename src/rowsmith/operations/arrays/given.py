"""Values that differ from row to row, sent as a table of their own: ``UPDATE ... FROM given``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Text, bindparam, column, func, literal_column, null, select, values
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.engine import Dialect
from sqlalchemy.types import NullType, TypeEngine

from rowsmith.conditions import limited
from rowsmith.execution.parameters import about, about_all
from rowsmith.mapping.types import stored_form
from rowsmith.names import PARAMETER, sql_name
from rowsmith.operations.arrays.wire import (
    BoundItem,
    array_type,
    array_values,
    bound,
    is_json,
    travels_as_text,
    unpacked,
)

NAME = sql_name("given")


@dataclass(frozen=True)
class Parameter:
    """One column of the table: its name there, the type of its values, and one value for each row.

    ``of`` is the column of the row that they are values of, for errors.
    """

    name: str
    type: TypeEngine[Any]
    values: Sequence[Any]
    of: ColumnElement[Any] | None = None

    def part(self, places: Sequence[int]) -> Parameter:
        """Give the column for some of the rows."""
        return replace(self, values=[self.values[place] for place in places])

    def reference(self, *, arrays: bool) -> ColumnElement[Any]:
        """Give the expression that stands for the row's value in a statement that has the table in FROM."""
        name = f"{NAME}.{self.name}"
        if not arrays:
            return literal_column(name, self.type)
        return unpacked(literal_column(name, Text() if travels_as_text(self.type) else self.type), self.type)


def given_arrays(
    parameters: Sequence[Parameter], dialect: Dialect, arrays: Mapping[str, object] | None = None, name: str = NAME
) -> FromClause:
    """Give the table on PostgreSQL: one array a column, taken apart by ``unnest``.

    ``arrays`` are further columns, by name: array parameters that stand elsewhere in the statement too.

    Source: PostgreSQL's manual, "Array Functions", on ``unnest`` of several arrays.
    """
    made = dict(arrays or {})
    for parameter in parameters:
        items = array_values(parameter.type, parameter.values, dialect)
        array = bindparam(PARAMETER, items, type_=array_type(parameter.type), unique=True)
        made[parameter.name] = about_all(array, parameter.of)
    return func.unnest(*made.values()).table_valued(*map(column, made)).render_derived(name=name)


def given_values(parameters: Sequence[Parameter], dialect: Dialect, name: str = NAME) -> FromClause:
    """Give the table as ``VALUES``, each value bound by itself; no value of the first column is None.

    PostgreSQL takes a parameter of no known type (MONEY, BIT) for text, unless another row says of which type a column
    is: a row of NULLs does, and is left out again. A cast of each value would cut what is too long.
    """
    # JSON is bound beforehand: SQLAlchemy would make the JSON literal ``null`` of None.
    made = [
        replace(one, type=BoundItem(), values=bound(one.type, one.values, dialect))
        if is_json(one.type, dialect)
        else one
        for one in parameters
    ]
    rows = list(zip(*map(_parameters, made), strict=True))
    columns = [column(parameter.name, parameter.type) for parameter in made]
    if dialect.name != "postgresql":
        return values(*columns, name=name).data(rows).cte(name)
    nulls = tuple(null() if isinstance(one.type, NullType) else sql_cast(null(), one.type) for one in made)
    typed = values(*columns, name=sql_name("typed")).data([nulls, *rows])
    return limited(select(*typed.c), typed.c[made[0].name].is_not(None)).cte(name)


def _parameters(parameter: Parameter) -> list[Any]:
    """Bind each value by itself, None too: SQLAlchemy would write NULL, past what the type makes of None."""
    binds = (bindparam(PARAMETER, value, type_=parameter.type, unique=True) for value in parameter.values)
    told = [about(bind, parameter.of, row) for row, bind in enumerate(binds)]
    if not isinstance(stored_form(parameter.type), DOMAIN):
        return told
    # Else they were of the type beneath, and what the domain does not take would be found of no parameter.
    return [sql_cast(bind, parameter.type) for bind in told]
