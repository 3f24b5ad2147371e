"""Which way a batch of new rows goes to the database, as far as types and columns decide: pure.

===========  ======================================================================  =============================
lane         what is sent                                                            taken when
===========  ======================================================================  =============================
``COPY``     one ``COPY ... FROM STDIN`` in binary                                   nothing must come back but what
                                                                                     Python knows already
``UNNEST``   ``INSERT ... SELECT ... FROM unnest($1::type[], ...) RETURNING``        the server makes some of it
``SENT``     the same, by SQLAlchemy                                                 somebody listens to it
``MANY``     SQLAlchemy's ``insertmanyvalues``, or on PostgreSQL a list of values    any other driver; values that are
             whose types it is told, where nothing else is known of them             no members of an array
===========  ======================================================================  =============================
"""

from __future__ import annotations

import enum
from collections.abc import Collection

from sqlalchemy import FetchedValue
from sqlalchemy.engine import Dialect

from rowsmith.execution.driver import has_driver
from rowsmith.mapping import RowInfo
from rowsmith.mapping.row import is_filled
from rowsmith.operations.arrays.wire import fits_array, has_sql, is_copyable
from rowsmith.operations.blocks.defaults import server_expressions
from rowsmith.operations.blocks.echo import echo_of


class Lane(enum.Enum):
    """A way for new rows."""

    COPY = "COPY"
    UNNEST = "INSERT FROM unnest"
    SENT = "INSERT FROM unnest, sent by SQLAlchemy"
    MANY = "insertmanyvalues"


def choose_lane(dialect: Dialect, info: RowInfo[object], written: Collection[str], back: Collection[str]) -> Lane:
    """Choose the fastest lane that is exact.

    Args:
        dialect: of the database.
        info: the row.
        written: the attributes whose values Python has.
        back: the attributes that must come back.
    """
    if not has_driver(dialect) or not written:
        return Lane.MANY
    types = [info.columns[name].type for name in written]
    arrays = Lane.UNNEST if all(fits_array(kind, dialect) for kind in types) else Lane.MANY
    if server_expressions(info, list(written)) or not all(is_copyable(kind) for kind in types):
        return arrays
    known = all(is_known(dialect, info, name, written) and is_copyable(info.columns[name].type) for name in back)
    return Lane.COPY if known and not any(has_sql(kind, dialect) for kind in types) else arrays


def is_known(dialect: Dialect, info: RowInfo[object], name: str, written: Collection[str]) -> bool:
    """Say whether Python knows what the database will hold: the value it wrote, or NULL where nobody writes any.

    A column with ``FetchedValue()`` as its server default is one that a trigger may change.
    """
    column = info.columns[name]
    if name in written:
        triggered = type(column.server_default) is FetchedValue
        kinds = (column.type, column.type.dialect_impl(dialect))
        return not triggered and None not in map(echo_of, kinds)
    return bool(column.nullable) and not is_filled(column) and column is not info.table.autoincrement_column
