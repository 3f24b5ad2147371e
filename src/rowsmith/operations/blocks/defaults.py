"""Column defaults that Python makes (``Column.default``), a column at a time.

SQLAlchemy fills them in while it makes an INSERT of its own; COPY and arrays have to bring them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column

from rowsmith.mapping import RowInfo


def fill_defaults(info: RowInfo[Any], columns: Mapping[str, Sequence[Any]], size: int) -> dict[str, Sequence[Any]]:
    """Give the columns that no spec sets and that Python knows: scalar and callable defaults, first versions.

    Args:
        info: the row.
        columns: what is set already, by attribute name.
        size: the number of rows.
    """
    filled: dict[str, Sequence[Any]] = {}
    for name in client_defaults(info, columns):
        default: Any = info.columns[name].default
        if default is None:
            generate: Any = info.mapper.version_id_generator
            filled[name] = [generate(None)] * size  # the first version
        elif default.is_scalar:
            filled[name] = [default.arg] * size
        else:
            context = Context({**columns, **filled})
            filled[name] = [default.arg(context) for context.index in range(size)]
    return filled


def client_defaults(info: RowInfo[Any], written: Mapping[str, Any] | Sequence[str]) -> Iterator[str]:
    """Give the names, among those not written, whose value Python makes."""
    for name, column in info.columns.items():
        by_default = column.default is not None and (column.default.is_scalar or column.default.is_callable)
        if name not in written and (by_default or (name == info.version and counts_versions(info))):
            yield name


def server_expressions(info: RowInfo[Any], written: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Give the names, among those not written, whose ``Column.default`` is SQL: only an INSERT can evaluate it."""
    return [name for name, column in info.columns.items() if name not in written and _is_sql(column)]


def counts_versions(info: RowInfo[Any]) -> bool:
    """Say whether versions are made here, and not by the database."""
    return info.version is not None and callable(info.mapper.version_id_generator)


def _is_sql(column: Column[Any]) -> bool:
    """An optional sequence is none on a database that numbers rows itself."""
    default: Any = column.default
    if default is None or default.is_scalar or default.is_callable:
        return False
    return not (default.is_sequence and getattr(default, "optional", False))


class Context:
    """What a default that takes a context may ask of it: the other values of its row."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns, self.index = columns, 0

    @property
    def current_parameters(self) -> dict[str, Any]:
        """The values of the row, by attribute name."""
        return {name: column[self.index] for name, column in self._columns.items()}

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> dict[str, Any]:
        """Give the values of the row, as SQLAlchemy's own context does."""
        return self.current_parameters
