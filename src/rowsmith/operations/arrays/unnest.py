"""The UNNEST lane: a block of rows as one array parameter for each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Select, bindparam, column, func, select
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.selectable import TableValuedAlias

from rowsmith.execution.parameters import about_all
from rowsmith.mapping import RowInfo
from rowsmith.names import sql_name
from rowsmith.operations.arrays.binding import unbindable
from rowsmith.operations.arrays.wire import array_type, array_values, unpacked

PLACE = sql_name("place")
"""The column of ``unnest ... WITH ORDINALITY`` that numbers the rows of the input, from one."""


class Unnested:
    """Columns of values as a table of PostgreSQL's: ``unnest($1::type[], ...) WITH ORDINALITY``."""

    def __init__(self, info: RowInfo[object], names: Sequence[str]) -> None:
        self.info, self.names = info, tuple(names)
        self.parameters = {name: sql_name(f"column_{place}") for place, name in enumerate(self.names)}

    @cached_property
    def table(self) -> TableValuedAlias:
        """The table."""
        items = ((self.parameters[name], self.info.columns[name]) for name in self.names)
        arrays = [about_all(bindparam(parameter, None, array_type(item.type)), item) for parameter, item in items]
        columns: list[Any] = [column(self.info.columns[name].name) for name in self.names]
        rows = func.unnest(*arrays).table_valued(*columns, with_ordinality=PLACE)
        return rows.render_derived(name=sql_name("given"))

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        """Give the expression of one attribute's values, in the type of its column."""
        item: Column[Any] = self.info.columns[name]
        return unpacked(self.table.c[item.name], item.type)

    def select(self) -> Select[Any]:
        """Give the SELECT of all columns, in input order: sequences then count in that order too."""
        return select(*(self[name] for name in self.names)).order_by(self.place)

    @property
    def place(self) -> ColumnElement[int]:
        """Give the number of the row in the input, from one."""
        return column(PLACE, BigInteger)

    def arrays(
        self,
        columns: Mapping[str, Sequence[object]],
        types: Mapping[str, set[type[Any]]],
        dialect: Dialect,
        places: Sequence[int],
    ) -> dict[str, list[Any]]:
        """Give the parameters for these values.

        Args:
            columns: the values by attribute name.
            types: the exact types of each column's values.
            dialect: of the database.
            places: the indexes of the values in the caller's input, for messages.

        Raises:
            InvalidValue: a type refuses to bind one; the message names the index and the column.
        """
        known = self.info.columns
        try:
            return {
                self.parameters[name]: array_values(known[name].type, columns[name], dialect, types[name])
                for name in self.names
            }
        except Exception:
            fault = unbindable(self.info, {name: columns[name] for name in self.names}, dialect, places)
            if fault is None:
                raise
        raise fault
