"""Checking a whole column at once: the answer of ``ColumnType.check``, at a tenth of its cost.

A quick check looks at all values together and says only whether they *surely* fit (``set(map(type, column))`` is
one call into C for a thousand values). Where it cannot be sure, the check of single values decides and finds the
index. So the two can never disagree about what is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rowsmith.mapping import RowInfo
from rowsmith.mapping.types import NONE, column_type
from rowsmith.mapping.writes import FOREIGN
from rowsmith.sql import are_sql, is_sql


def check_column(
    info: RowInfo[object],
    name: str,
    column: Sequence[object],
    types: set[type[Any]],
    first: int = 0,
    *,
    noun: str = "spec",
) -> None:
    """Refuse a column with a value that it cannot hold, or with a SQL expression.

    Args:
        info: whose column it is.
        name: the attribute.
        column: the values, None included.
        types: the exact types among the values.
        first: the index in the caller's input of the first value, for the message.
        noun: what the values come from, for the message.

    Raises:
        InvalidValue: the message names the index and the column, never the value.
    """
    keep_class(info, name, column, first, noun=noun)
    if any(map(are_sql, types)):
        index = first + next(place for place, value in enumerate(column) if is_sql(value))
        raise info.refusal(name, f"is a SQL expression: {_INSTEAD.get(noun, 'give a value')}", noun=noun, index=index)
    quick = column_type(info.columns[name].type).quick
    filled = column if NONE not in types else [value for value in column if value is not None]
    if quick.fits is None or (types <= {quick.exact, NONE} and quick.fits(filled)):
        return
    check = info.checks[name]
    for index, value in enumerate(column):
        if value is not None and (complaint := check(value)) is not None:
            raise info.refusal(name, complaint, noun=noun, index=first + index)


_INSTEAD: Final = {
    "spec": "batches and upserts take values; give one, or call create(spec)",
    "version": "give the version last seen",
}


def keep_class(
    info: RowInfo[object], name: str, column: Sequence[object], first: int = 0, *, noun: str = "spec"
) -> None:
    """Refuse a column that would make a row another class's; arguments as for :func:`check_column`."""
    changes = noun == "patch"
    if info.is_foreign(name, column, changes=changes):
        each = (info.is_foreign(name, [value], changes=changes) for value in column)
        index = first + next(place for place, foreign in enumerate(each) if foreign)
        raise info.refusal(name, FOREIGN, noun=noun, index=index)
