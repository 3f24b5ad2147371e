"""Rows that a constraint kept from being written, held against their scope all the same.

What of a scope cannot be stamped is held against a row once it is written. A constraint may answer before that, and
would say what there is outside the scope. So its answer is passed on only where the row would have been inside. What
it would have been is put together in a subquery named like the table, which the scope's conditions then read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias, TypeVar, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    TableClause,
    exists,
    literal,
    null,
    select,
    type_coerce,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import DefaultClause
from sqlalchemy.sql.elements import ClauseElement, ColumnClause, Null, TableValuedColumn, TextClause
from sqlalchemy.sql.selectable import AliasedReturnsRows, Lateral, TableValuedAlias

from rowsmith.conditions import conjunction, limited, negation
from rowsmith.errors import (
    BadInput,
    CheckViolation,
    ConstraintViolation,
    DatabaseFault,
    NotNullViolation,
    ScopeMismatch,
    made,
)
from rowsmith.execution.kinds import kind_of_key
from rowsmith.mapping import RowInfo
from rowsmith.mapping.types import column_type
from rowsmith.names import sql_name
from rowsmith.operations.arrays.given import Parameter, given_arrays, given_values
from rowsmith.operations.arrays.keys import SQLITE_PARAMETERS, Key
from rowsmith.operations.arrays.unnest import PLACE
from rowsmith.operations.arrays.wire import fits_array
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.call import Call
from rowsmith.operations.entity import Entity
from rowsmith.operations.rebinding import is_table, parts, rebound
from rowsmith.references import Reference
from rowsmith.sql import as_sql

T = TypeVar("T")

Conditions: TypeAlias = Sequence[ColumnElement[bool]]


async def scope_first(
    call: Call[object, object], work: Callable[[], Awaitable[T]], refused: Callable[[], Awaitable[Exception | None]]
) -> T:
    """Do a write, and let its scope answer where a constraint did first.

    Args:
        call: whose write it is.
        work: the write; it has to be undone when it fails, by a savepoint of its own.
        refused: gives what the scope says to the rows, had there been no constraint.

    Raises:
        ScopeMismatch: a row would have been outside, or that cannot be told.
        ReferenceNotFound: what it refers to is outside.
    """
    try:
        return await work()
    except Exception as exc:
        if not tells_of_other_rows(exc, call.entity):
            raise
        failure = exc
    # Out here, so that the constraint's error does not stay attached as context.
    raise await refused() or call.in_one_answer(failure)


def tells_of_other_rows(error: Exception, entity: Entity[object, object]) -> bool:
    """Say whether a constraint over more rows than one refused a write, which may tell of rows outside the scope."""
    told = [factory for key, factory in entity.violations.items() if issubclass(kind_of_key(key), ConstraintViolation)]
    own = tuple(type(made(factory, "")) for factory in told)
    return isinstance(error, (ConstraintViolation, *own)) and not isinstance(error, (CheckViolation, NotNullViolation))


@dataclass(frozen=True)
class NewRows:
    """Rows to be created under a scope: ``read`` gives their values once more, ``first`` is the first one's index."""

    call: Call[object, object]
    read: Callable[[], Sequence[Block]]
    first: int = 0

    async def refused(self) -> Exception | None:
        """Give the refusal of the first row that would be outside, or of all where that cannot be told."""
        for reference, conditions in self.call.limits.parts:
            if refusal := await self._refused(reference, conditions):
                return refusal
        return None

    async def _refused(self, reference: Reference | None, conditions: Conditions) -> Exception | None:
        untold = self.refusal(0) if reference is None else None
        if reference is not None and not self._give_keys(reference):
            conditions = (reference.leads_inside,)
        if not self._are_told(conditions):
            return untold
        outside = list[int]()
        try:
            async with self.call.savepoint():
                for block in self._blocks:
                    outside += await self._first_outside(self._led_away(block, reference), conditions)
        except (DatabaseFault, BadInput):
            return untold
        if not outside:
            return None
        return self.refusal(min(outside) - self.first) if reference is None else self.call.dangling(reference)

    async def refused_beforehand(self) -> Exception | None:
        """Give the refusal of the first row that would surely be outside."""
        return await self.refused() if self._are_told(self.call.limits.others) else None

    def refusal(self, index: int) -> ScopeMismatch:
        """Give the error for a row; its index is left out where it would say which rows a constraint met."""
        is_one = sum(block.size for block in self._blocks) == 1
        is_told = is_one or self._are_told(self.call.limits.others)
        where = f"the spec at index {self.first + index}" if is_told else "a spec"
        return ScopeMismatch(f"{where} would leave its scope")

    @cached_property
    def _blocks(self) -> Sequence[Block]:
        return self.read()

    def _are_told(self, conditions: Conditions) -> bool:
        info = self.call.info
        for block in self._blocks:
            known = _known(info, (*block.columns, *_defaults(info, block.columns)))
            if not all(_is_told(condition, info, known) for condition in conditions):
                return False
        return True

    def _give_keys(self, reference: Reference) -> bool:
        """Say whether all rows are given the key that a foreign key of their own table refers to."""
        names = [self.call.info.name_of(other) for _, other in reference.pairs]
        return all(name in block.columns for block in self._blocks for name in names)

    def _led_away(self, block: Block, reference: Reference | None) -> Block:
        """Leave out the rows that refer to others of the same batch, which are held by themselves."""
        if reference is None or not reference.is_own:
            return block
        names = [(self.call.info.name_of(own), self.call.info.name_of(other)) for own, other in reference.pairs]
        made = {key for each in self._blocks for key in _keys(each, [other for _, other in names])}
        led = enumerate(_keys(block, [own for own, _ in names]))
        return block.chosen([row for row, key in led if key not in made]) if made else block

    async def _first_outside(self, block: Block, conditions: Conditions) -> list[int]:
        dialect = self.call.dialect
        size = block.size if self._fits_arrays(block, dialect) else SQLITE_PARAMETERS // (len(block.columns) + 1)
        for start in range(0, block.size, size) if block.size else ():
            places = range(start, min(start + size, block.size))
            statement = self._outside(block, places, dialect, conditions)
            place = (await self.call.execute(statement)).scalar()
            if place is not None:
                return [block.places[place]]
        return []

    def _fits_arrays(self, block: Block, dialect: Dialect) -> bool:
        types = [self.call.info.columns[name].type for name in block.columns]
        return dialect.name == "postgresql" and all(fits_array(kind, dialect) for kind in types)

    def _outside(self, block: Block, places: Sequence[int], dialect: Dialect, conditions: Conditions) -> Select[Any]:
        info = self.call.info
        given = {
            name: Parameter(sql_name(f"value_{number}"), info.columns[name].type, [values[place] for place in places])
            for number, (name, values) in enumerate(block.columns.items())
        }
        number, arrays = Parameter(PLACE, Integer(), places), self._fits_arrays(block, dialect)
        row = {name: parameter.reference(arrays=arrays) for name, parameter in given.items()}
        columns = _as_columns(info, {**row, **_defaults(info, row)})
        rows = select(number.reference(arrays=arrays).label(PLACE), *columns)
        table = (given_arrays if arrays else given_values)([number, *given.values()], dialect)
        source = rows.select_from(table).subquery(info.table.name)
        place = source.c[PLACE]
        return limited(select(place), _not_inside(conditions, info, source)).order_by(place).limit(1)


def _keys(block: Block, names: Sequence[str | None]) -> Iterable[Key]:
    """Give the values of some attributes of each row; nothing where not all of them are given."""
    given = [block.columns[name] for name in names if name in block.columns]
    return zip(*given, strict=True) if len(given) == len(names) else ()


async def refused_row(call: Call[object, object], values: Mapping[str, object]) -> Exception | None:
    """Give the refusal of a row with these values or expressions, if it would be outside or that cannot be told."""
    info = call.info
    row = {**values, **_defaults(info, values)}
    rows = select(*_as_columns(info, row))
    return await _refused(call, rows, row)


async def refused_change(
    call: Call[object, object], values: Mapping[str, object], conditions: Sequence[ColumnElement[bool]]
) -> Exception | None:
    """Give the refusal of what some rows would become, if one would be outside or that cannot be told."""
    info = call.info
    unknown = {name for name in info.columns if info.changes_unasked(name) or name == info.version} - values.keys()
    row = {name: values.get(name, column) for name, column in info.columns.items() if name not in unknown}
    rows = limited(select(*_as_columns(info, row)).select_from(info.row), *conditions)
    return await _refused(call, rows, row)


async def _refused(
    call: Call[object, object], rows: Select[*tuple[Any, ...]], row: Mapping[str, object]
) -> Exception | None:
    info, known = call.info, _known(call.info, row)
    source = rows.subquery(info.table.name)
    for reference, conditions in call.limits.parts:
        # Located here, as the error of a row that was written: a partial form has another operation's name.
        untold = call.located(ScopeMismatch()) if reference is None else None
        is_new = reference is not None and not {info.label(other) for _, other in reference.pairs} <= known
        held = (reference.leads_inside,) if reference is not None and is_new else conditions
        is_outside: bool | None = None
        if all(_is_told(condition, info, known) for condition in held):
            rest = limited(select(literal(1)).select_from(source), _not_inside(held, info, source))
            with suppress(DatabaseFault, BadInput):
                async with call.savepoint():
                    is_outside = (await call.execute(select(exists(rest)))).scalar_one()
        if is_outside is None and untold is not None:
            return untold
        if is_outside:
            return untold if reference is None else call.dangling(reference)
    return None


def _defaults(info: RowInfo[object], given: Collection[str]) -> dict[str, Any]:
    """Give what the database puts into the columns that are not given, as far as the mapping tells."""
    left = info.stored.keys() - given - info.copies
    found = {name: _default(stored[-1]) for name, stored in info.stored.items() if name in left}
    return {name: default for name, default in found.items() if default is not None}


def _default(column: Column[Any]) -> Any:
    if column is column.table.autoincrement_column or column.identity or column.computed:
        return None
    default: Any = column.default
    if default is not None:
        return _in_type(column, default.arg) if default.is_scalar or default.is_clause_element else None
    server_default = column.server_default
    if isinstance(server_default, DefaultClause):
        given: Any = server_default.arg
        return sql_cast(literal(given) if isinstance(given, str) else given, column.type)
    return _in_type(column, null()) if server_default is None else None


def _known(info: RowInfo[object], names: Iterable[str]) -> set[str]:
    """Give the columns of some attributes, by the names that they have in the subquery."""
    return {info.label(column) for name in names for column in info.stored[name]}


def _as_columns(info: RowInfo[object], row: Mapping[str, object]) -> list[Any]:
    columns = ((column, value) for name, value in row.items() for column in info.stored[name])
    return [_in_type(column, value).label(info.label(column)) for column, value in columns]


def _in_type(column: Column[Any], value: Any) -> Any:
    expression = as_sql(value)
    if expression is None or isinstance(expression, Null):
        return sql_cast(null(), column.type)
    sql: Any = expression if isinstance(expression, ClauseElement) else literal(value, column.type)
    if column_type(column.type).beside.is_of_single_precision:  # a parameter is of double precision
        return sql_cast(sql, column.type)
    return type_coerce(sql, column.type)


def _not_inside(conditions: Conditions, info: RowInfo[object], source: FromClause) -> ColumnElement[bool]:
    def reading(column: Column[Any]) -> ColumnElement[Any]:
        return source.c[info.label(column)]

    return negation(conjunction([rebound(condition, info, reading, source) for condition in conditions]))


def _is_told(condition: ColumnElement[bool], info: RowInfo[object], known: set[str]) -> bool:
    """Say whether a condition can be put to values of these columns, named as in the subquery."""
    return all(_can_be_told(part, info, known) for part in parts(condition, info))


def _can_be_told(part: object, info: RowInfo[object], known: set[str]) -> bool:
    if isinstance(part, Column):
        return not is_table(part.table, info) or info.label(cast("Any", part)) in known
    source: Any = getattr(part, "table", None)
    if isinstance(part, ColumnClause) and isinstance(source, _BY_ITSELF):
        return not isinstance(source, TableValuedAlias)
    if isinstance(part, TextClause) or (isinstance(part, ColumnClause) and part.name not in ("1", "*")):
        return not info.is_joined and _known(info, info.stored) <= known  # it may read any, by its name
    return not isinstance(part, (TableValuedColumn, Lateral))


_BY_ITSELF: Final = (TableClause, AliasedReturnsRows)
"""What stands in a FROM of a subquery's own, light tables included; what a function gives may be made of the row."""
