"""Rows that were kept from being written, held against their scope all the same.

What of a scope cannot be stamped is held against a row once it is written. Something else may answer before that, and
would say what there is outside the scope: a constraint itself, or any other fault of a batch, by being met first or
not. So whatever may be the fault of a row is passed on only where all rows would have been inside, and what they refer
to. What they would have been is put together in a subquery named like the table, which the scope's conditions read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

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
from rowsmith.operations.faults import is_of_a_trigger, is_of_an_item
from rowsmith.operations.rebinding import is_table, parts, rebound
from rowsmith.references import Reference
from rowsmith.sql import as_sql

T = TypeVar("T")

Conditions: TypeAlias = Sequence[ColumnElement[bool]]


Refused: TypeAlias = Callable[[Exception], Awaitable[Exception | None]]
"""Gives what the scope says to the rows of a write that failed, had there been nothing else to refuse them."""


class TriedOtherwise(Exception):
    """A write was undone to be done in another way: nothing that anybody would have to answer for."""


async def scope_first(call: Call[object, object], work: Callable[[], Awaitable[T]], refused: Refused) -> T:
    """Do a write, and let its scope answer before whatever else may be the fault of its rows.

    Args:
        call: whose write it is.
        work: the write; it has to be undone when it fails, by a savepoint of its own.
        refused: gives what the scope says to the rows, all of them, also those that were not sent yet.

    Raises:
        ScopeMismatch: a row would have been outside, or that cannot be told.
        ReferenceNotFound: what it refers to is outside.
    """
    try:
        return await work()
    except TriedOtherwise:
        raise
    except Exception as exc:
        if not is_of_an_item(exc, call):
            raise
        failure = exc
    # Out here, so that the first error does not stay attached as context.
    raise await refused(failure) or call.in_one_answer(failure)


def tells_of_other_rows(error: Exception, entity: Entity[object, object]) -> bool:
    """Say whether a row that was written alone may have been refused for others, which may be outside the scope.

    That is by a constraint over more rows than one, or by what a trigger did once such constraints had been met.
    """
    told = [factory for key, factory in entity.violations.items() if issubclass(kind_of_key(key), ConstraintViolation)]
    own = tuple(type(made(factory, "")) for factory in told)
    if isinstance(error, (CheckViolation, NotNullViolation)):
        return error.facts.table not in (None, *(table.name for table in entity.info.tables))
    return isinstance(error, (ConstraintViolation, *own)) or is_of_a_trigger(error)


class Rows(Protocol):
    """Rows that are to be held against what the limits of their call say."""

    @property
    def call(self) -> Call[object, object]:
        """The call under whose limits they are written."""
        ...

    async def refusal_by(
        self, reference: Reference | None, conditions: Conditions, failure: Exception | None
    ) -> Exception | None:
        """Give the refusal of the first row for which these conditions do not hold, or where that cannot be told."""
        ...


async def first_refusal(several: Sequence[Rows], failure: Exception | None) -> Exception | None:
    """Give what the scope says to rows: of all of them that one would be outside, then to what one refers.

    Args:
        several: the rows.
        failure: why they were not written; None where they are asked about beforehand.
    """
    for is_by_reference in (False, True):
        for rows in several:
            for reference, conditions in rows.call.limits.parts:
                if (reference is not None) is is_by_reference:
                    refusal = await rows.refusal_by(reference, conditions, failure)
                    if refusal is not None:
                        return refusal
    return None


@dataclass(frozen=True)
class NewRows:
    """Rows to be created under a scope: ``read`` gives their values once more, ``first`` is the first one's index."""

    call: Call[object, object]
    read: Callable[[], Sequence[Block]]
    first: int = 0

    async def refused(self, failure: Exception | None) -> Exception | None:
        """Give the refusal of the first row that would be outside, or of all where that cannot be told."""
        return await first_refusal([self], failure)

    async def refusal_by(
        self, reference: Reference | None, conditions: Conditions, failure: Exception | None
    ) -> Exception | None:
        """Give it by some of the conditions; a foreign key of which that cannot be told is passed over."""
        if reference is not None and not self._give_keys(reference):
            conditions = (reference.leads_inside,)
        outside, is_whole = list[int](), True
        for block in self._blocks:
            found = None
            if self._are_told(conditions, block):
                found = await self._outside_in(self._led_away(block, reference), conditions)
            outside += found or ()
            is_whole = is_whole and found is not None
        if outside:
            return self.refusal(min(outside) - self.first) if reference is None else self.call.dangling(reference)
        if is_whole or reference is not None or not _answers_untold(failure, self.call, is_one=self._is_one):
            return None
        return self.refusal(None)

    async def _outside_in(self, block: Block, conditions: Conditions) -> list[int] | None:
        """Give the place of the first row that is outside, if one is; None where the database does not take a row."""
        try:
            async with self.call.savepoint():
                return await self._first_outside(block, conditions)
        except DatabaseFault:
            return None
        except BadInput:  # of one of the rows, which says nothing of the others
            if block.size <= 1:
                return None
        half = block.size // 2
        parts = [block.part(0, half), block.part(half, block.size - half)]
        told = [found for part in parts if (found := await self._outside_in(part, conditions)) is not None]
        outside = list(chain.from_iterable(told))
        return outside if outside or len(told) == len(parts) else None

    async def refused_beforehand(self) -> Exception | None:
        """Give the refusal of the first row that would surely be outside."""
        return await self.refused(None)

    def refusal(self, index: int | None) -> ScopeMismatch:
        """Give the error for a row; its index is left out where it would say which rows a constraint met."""
        if self._is_one:
            index = 0
        others = self.call.limits.others
        is_told = self._is_one or all(self._are_told(others, block) for block in self._blocks)
        where = f"the spec at index {self.first + index}" if is_told and index is not None else "a spec"
        return ScopeMismatch(f"{where} would leave its scope")

    @cached_property
    def _blocks(self) -> Sequence[Block]:
        return self.read()

    @cached_property
    def _is_one(self) -> bool:
        return sum(block.size for block in self._blocks) == 1

    def _are_told(self, conditions: Conditions, block: Block) -> bool:
        info = self.call.info
        return _are_told(conditions, info, (*block.columns, *_defaults(info, block.columns)))

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


@dataclass(frozen=True)
class RowsOf:
    """Rows as a write would leave them.

    Attributes:
        call: the call under whose limits they are written.
        row: their values or expressions, by attribute name; what is left out nobody knows.
        source: the table that those read, and the conditions on the rows there; None for a row of values alone.
        is_one: whether it is one row at most.
    """

    call: Call[object, object]
    row: Mapping[str, object]
    source: Callable[[Any], Any] | None = None
    is_one: bool = False

    async def refusal_by(
        self, reference: Reference | None, conditions: Conditions, failure: Exception | None
    ) -> Exception | None:
        """Give it as :meth:`NewRows.refusal_by` does."""
        info, known = self.call.info, _known(self.call.info, self.row)
        if reference is not None and not {info.label(other) for _, other in reference.pairs} <= known:
            conditions = (reference.leads_inside,)
        is_outside = await self._are_outside(conditions) if _are_told(conditions, info, self.row) else None
        if reference is not None:
            return self.call.dangling(reference) if is_outside else None
        if is_outside is None:
            is_outside = _answers_untold(failure, self.call, is_one=self.is_one)
        # Located here, as the error of a row that was written: a partial form has another operation's name.
        return self.call.located(ScopeMismatch()) if is_outside else None

    async def _are_outside(self, conditions: Conditions) -> bool | None:
        info = self.call.info
        rows: Any = select(*_as_columns(info, self.row))
        source = (rows if self.source is None else self.source(rows)).subquery(info.table.name)
        rest = limited(select(literal(1)).select_from(source), _not_inside(conditions, info, source))
        with suppress(DatabaseFault, BadInput):
            async with self.call.savepoint():
                return bool((await self.call.execute(select(exists(rest)))).scalar_one())
        return None


def new_row(call: Call[object, object], values: Mapping[str, object]) -> RowsOf:
    """Give a row to be created with these values or expressions."""
    return RowsOf(call, {**values, **_defaults(call.info, values)}, is_one=True)


def changed_rows(
    call: Call[object, object], values: Mapping[str, object], conditions: Conditions, *, is_one: bool = False
) -> RowsOf:
    """Give what some rows would become."""
    info = call.info
    unknown = {name for name in info.columns if info.changes_unasked(name) or name == info.version} - values.keys()
    row = {name: values.get(name, column) for name, column in info.columns.items() if name not in unknown}
    return RowsOf(call, row, lambda rows: limited(rows.select_from(info.row), *conditions), is_one)


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


def _answers_untold(failure: Exception | None, call: Call[object, object], *, is_one: bool) -> bool:
    """Say whether the scope answers where it cannot be told: not for a row by itself, whose fault is its own surely."""
    if failure is None or not is_one:
        return failure is not None
    return isinstance(failure, ScopeMismatch) or tells_of_other_rows(failure, call.entity)


def _are_told(conditions: Conditions, info: RowInfo[object], names: Iterable[str]) -> bool:
    """Say whether conditions can be put to rows of which these attributes are known."""
    known = _known(info, names)
    return all(_can_be_told(part, info, known) for condition in conditions for part in parts(condition, info))


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
