"""Whose value a parameter of a statement carries: its place leads to its name, and that to its column and its row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import BindParameter, Column, ColumnElement
from sqlalchemy.engine.interfaces import ExecuteStyle
from sqlalchemy.sql.compiler import ExpandedState

from rowsmith.conditions import compared_with

COLUMN: Final[Any] = Column
"""The class, as type checkers take no generic one for ``isinstance``."""

TParameter = TypeVar("TParameter", bound=BindParameter[Any])


@dataclass(frozen=True)
class Subject:
    """What a parameter is for: ``column`` is what its value goes into, or is compared with; None where nobody knows.

    ``row`` is the place of its row among those of a statement for several; ``is_array`` says that it carries the
    values of all of them, and ``is_operand`` that it is but compared, or stands in an expression.
    """

    column: ColumnElement[Any] | None
    row: int | None = None
    is_array: bool = False
    is_operand: bool = False


def about(parameter: TParameter, column: ColumnElement[Any] | None, row: int | None = None) -> TParameter:
    """Have a parameter say whose value it carries, where the statement around it does not.

    Args:
        parameter: one value, that of a row.
        column: of the value.
        row: the place of the row among those of the statement.
    """
    return _marked(parameter, Subject(column, row))


def about_all(parameter: TParameter, column: ColumnElement[Any] | None) -> TParameter:
    """Have a parameter say that it carries a column's values of all rows, as an array."""
    return _marked(parameter, Subject(column, is_array=True))


_SUBJECT: Final = "_rowsmith_subject"


def _marked(parameter: TParameter, subject: Subject) -> TParameter:
    parameter.__dict__[_SUBJECT] = subject  # which its copies have, too
    return parameter


Named: TypeAlias = tuple[str, int | None]
"""The name of a parameter, or that of a list and the place of the parameter in it."""


def named_at(run: Any, place: int, given: Any) -> tuple[Named, int | None]:
    """Give the name of a parameter by its place, and the place of its row where one statement carries many."""
    names = _names(run)
    many = run.compiled._insertmanyvalues
    if run.execute_style is not ExecuteStyle.INSERTMANYVALUES or many is None:
        return names[place], None
    repeated = {name for _, _, _, binds in many.insert_crud_params for name in binds}
    first = next(at for at, (name, _) in enumerate(names) if name in repeated)
    width: int = many.num_positional_params_counted
    all_rows = len(given) - (len(names) - width)
    if place < first:
        return names[place], None
    if place >= first + all_rows:
        return names[place - all_rows + width], None
    at = first + (place - first) % width
    # Of several rows that have the very same object there, the first is the one that was met.
    return names[at], next(row for row, values in enumerate(run.parameters) if values[at] is given[place])


def _names(run: Any) -> Sequence[Named]:
    """Give the names of a statement's parameters in their order."""
    compiled = run.compiled
    if not (compiled.literal_execute_params or compiled.post_compile_params):
        return [(name, None) for name in compiled.positiontup]
    given = dict(run.compiled_parameters[0])  # in which the items of lists stand instead of the lists
    for name, items in run._expanded_parameters.items():
        values, width = [given[item] for item in items], _width(compiled.binds[name])
        given[name] = values if width == 1 else list(zip(*[iter(values)] * width, strict=True))
    return in_lists(compiled._process_parameters_for_postcompile(given))


def in_lists(state: ExpandedState) -> Sequence[Named]:
    """Give the names of the parameters of a statement whose lists were written out."""
    lists = lists_of(state.parameter_expansion)
    return [lists.get(name, (name, None)) for name in state.positiontup or ()]


def lists_of(expanded: Mapping[str, Sequence[str]]) -> dict[str, Named]:
    """Give the names of lists by those of the parameters that stand for their items."""
    return {item: (name, place) for name, items in expanded.items() for place, item in enumerate(items)}


def _width(bind: Any) -> int:
    """Give the number of parameters that each item of a list takes: a tuple's as many as it has parts."""
    return len(bind.type.types) if bind.type._is_tuple_type else 1


def subject_of(compiled: Any, named: Named) -> Subject:
    """Say what a parameter of a compiled statement is for."""
    name, item = named
    bind = compiled.binds[name]
    if (found := written_by(compiled, name)) is not None:
        return found
    columns, width = compared_with(compiled.statement, bind), _width(bind)
    row, part = (None, 0) if item is None else divmod(item, width)
    return Subject(columns[part] if len(columns) == width else None, row, is_operand=True)


def written_by(compiled: Any, name: str) -> Subject | None:
    """Say which column a parameter of a compiled statement is written into; None where it is not plainly into one."""
    bind = compiled.binds[name]
    marked: Subject | None = bind.__dict__.get(_SUBJECT)
    if marked is not None:
        return marked
    if not (compiled.isinsert or compiled.isupdate):
        return None
    columns = compiled.compile_state.dml_table.c  # SQLAlchemy calls a parameter as its column, and after its row
    if (column := columns.get(name)) is not None:
        return Subject(column, 0 if compiled.isinsert else None) if column.type is bind.type else None
    found = _OF_ROW.fullmatch(name)
    column = None if found is None else columns.get(found["column"])
    if found is None or column is None or column.type is not bind.type:
        return None
    return Subject(column, int(found["row"]))


_OF_ROW: Final = re.compile(r"(?P<column>.+)_m(?P<row>\d+)", re.DOTALL)
