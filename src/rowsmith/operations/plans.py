"""Plans: a call's statement worked out once for its pattern, so that only values change from call to call.

A plan is made of the very statement that SQLAlchemy would be given, by SQLAlchemy's own compiler, with the bind and
result processors of its types; so it cannot say anything else. What is left for each call is to see that it has the
pattern, and that its values are such as the pattern's columns take: what is not plainly so has no plan, and goes
SQLAlchemy's way, which says what is wrong with it. Nothing here talks to a database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeAlias, cast

from sqlalchemy import Column, ColumnElement, Select, Table, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.cache_key import CacheKey
from sqlalchemy.sql.elements import (
    AsBoolean,
    BinaryExpression,
    BindParameter,
    ClauseElement,
    ClauseList,
    ExpressionClauseList,
    False_,
    Grouping,
    Label,
    Null,
    True_,
    Tuple,
    TypeCoerce,
    UnaryExpression,
    _label_reference,  # pyright: ignore[reportPrivateUsage]
)
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.selectable import Exists, ScalarSelect, Subquery
from sqlalchemy.types import TypeEngine
from typing_extensions import TypeVar

from rowsmith.execution import ID_OF_TRANSACTION, NativeLane, Origin, alone, alone_for_each, read_within
from rowsmith.execution.native import SUITS
from rowsmith.execution.parameters import subject_of
from rowsmith.execution.postgresql import Processor, read_by_column
from rowsmith.execution.refusals import Refusal, argument_of, is_of_codec, results_of, unfit, unread_by, unread_of
from rowsmith.execution.triggers import Quietness
from rowsmith.filters.sql import PerBackend, TextMatch
from rowsmith.mapping import RowInfo
from rowsmith.mapping.layout import Record
from rowsmith.mapping.types import Check, column_type
from rowsmith.mapping.writes import PLAIN
from rowsmith.operations.arrays.wire import members
from rowsmith.operations.entity import Entity
from rowsmith.pagination.ends import Finite
from rowsmith.relations import led_to
from rowsmith.sql import is_compared_as_sql

TPlan = TypeVar("TPlan")
TAnswer = TypeVar("TAnswer")
CallPattern: TypeAlias = list[Hashable]
"""What calls have in common that are the same but for their values; a tuple of it is a key."""
Binds: TypeAlias = list[BindParameter[Any]]
"""The parameters in conditions, in the order in which a plan is given their values."""

MOST_PLANS: Final = 200
"""How many patterns of calls a verb keeps plans for; then it begins anew."""

MOST_DIALECTS: Final = 8
"""Of how many engines plans are kept: repositories of one class have them in common, whatever databases they are of."""

FEW: Final = 3
"""Up to how many records are read one by one; more of them column by column, in half the time."""

_COMPARISONS: Final = frozenset(
    {operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge},
)


class Plan:
    """A statement on one table, compiled.

    Attributes:
        sql: the statement, as the driver takes it.
        alone: the same of one that writes, for a transaction of its own; see :func:`rowsmith.execution.alone`.
        table: what it reads; None where it writes.
        is_ready: the types of what the server gives are known.
        has_processors: SQLAlchemy's types make something else of some of it.
    """

    checks: Sequence[tuple[int, Check]] = ()
    """By place, what says of a value that its column could not be compared with it."""
    alone = ""
    columns: Sequence[ColumnElement[Any] | None] = ()
    """What it gives, None for what is no column; for errors."""
    compiled: Any = None
    """The statement as SQLAlchemy has compiled it; for errors, too."""
    makers: Sequence[Callable[[], Any]] = ()
    """Make what Python fills in for each call, whose places are the last ones."""
    placed: Table | None = None
    """Of one that would do otherwise, or nothing, to a view, as it asks for the places of rows: of which table."""
    removes = False
    """Of one with :attr:`placed`: it removes rows, once it has locked them."""
    written: Table | None = None
    """Of one that writes: the table, whose triggers may do more to its rows."""
    presumes: Hashable = SUITS
    """What has to be known of a connection that it is sent on; of one with :attr:`written` that the table is quiet."""
    doubt: Plan | None = None
    """Of one that writes to rows with some keys: what finds those of the keys not written to that are there."""

    def __init__(
        self, sql: str, table: Table | None, binds: Sequence[Bind], results: Sequence[TypeEngine[Any]], dialect: Dialect
    ) -> None:
        self.sql, self.table, self.is_ready = sql, table, False
        self._results, self._dialect = results, dialect
        self._bind_by(binds)
        self.has_processors = False
        self._processors: Sequence[tuple[int, Processor]] = ()
        self._oids: Sequence[int] = ()

    @property
    def width(self) -> int:
        """How many columns it gives."""
        return len(self._results)

    def leave(self, place: int, processor: Processor) -> None:
        """Have the value at a place go as it is, where nothing else than that was to be done with it."""
        self._bind_by(
            [replace(b, processor=None) if (b.place, b.processor) == (place, processor) else b for b in self._binds]
        )

    def _bind_by(self, binds: Sequence[Bind]) -> None:
        self._binds = binds
        self._given_as_they_are = [bind.place for bind in binds] == list(range(len(binds))) and not any(
            bind.processor for bind in binds
        )

    def number(self, place: int | None) -> int:
        """Give the number that the parameter at a place has in the statement."""
        return 1 + next(number for number, bind in enumerate(self._binds) if bind.place == place)

    def values(self, given: Sequence[Any]) -> Sequence[Any] | None:
        """Give what the driver takes for a call's values; None where a column or a type refuses one."""
        for place, check in self.checks:
            if (value := given[place]) is not None and check(value):
                return None
        try:
            if self.makers:
                made = [make() for make in self.makers]
                if any(value is None or isinstance(value, ClauseElement) for value in made):
                    return None  # types make this or that of None
                given = [*given, *made]
            return given if self._given_as_they_are else [bind.value(given) for bind in self._binds]
        except Exception:  # noqa: BLE001 - types and defaults may raise anything; SQLAlchemy's way says what it means
            return None

    def ready(self, oids: Sequence[int]) -> bool:
        """Be told the types that the server gives; says whether they are as many as the statement asks for."""
        oids = oids if self.table is not None else oids[:-1]  # the last one is the id of the transaction
        if len(oids) != len(self._results):
            return False
        processors = [
            kind._cached_result_processor(self._dialect, oid)  # pyright: ignore[reportPrivateUsage]
            for kind, oid in zip(self._results, oids, strict=True)
        ]
        self._processors = [(place, process) for place, process in enumerate(processors) if process is not None]
        self.has_processors, self.is_ready, self._oids = bool(self._processors), True, oids
        return True

    def read(self, records: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Make of the driver's records what SQLAlchemy makes of them."""
        if len(records) > FEW:
            return read_by_column(records, self._processors)
        read: list[Any] = []
        for record in records:
            values = list(record)
            for place, process in self._processors:
                values[place] = process(values[place])
            read += (values,)
        return read

    def unread(self, failure: Exception) -> Refusal:
        """Say which column's type has raised that while it was reading."""
        return unread_by(failure, self._processors, self.columns)

    def refused(self, failure: Exception, values: Sequence[Any]) -> Refusal | None:
        """Say which column the value is of that the driver or the server cannot take or give, if that can be told."""
        if is_of_codec(failure):
            return unread_of(self.columns, self._oids)
        names = self.compiled.positiontup
        found = argument_of(failure)
        if found is None:
            return unfit(failure, self.compiled, [dict(zip(names, values, strict=True))], many=False, are_bound=True)
        return Refusal.of(subject_of(self.compiled, (names[found[0]], None)))


Resume: TypeAlias = Callable[[Mapping[Any, Any]], Awaitable[Any]]
"""Goes on with a call SQLAlchemy's way, whose statement was sent and wrote these rows, by their keys."""


class Asked(Generic[TAnswer]):
    """A call that is asked for: its plan and the values of its parameters are what is sent."""

    __slots__ = ("entity", "operation", "plan", "values")

    def __init__(self, entity: Entity[Any, Any], operation: str, plan: Plan, values: Sequence[Any]) -> None:
        self.entity, self.operation, self.plan, self.values = entity, operation, plan, values

    def origin(self) -> Origin:
        """Say whose call it is."""
        return self.entity.origin(self.operation)

    def send(self, lane: NativeLane) -> Awaitable[Any]:
        """Have it sent; gives the answer, or :data:`rowsmith.execution.UNTOLD` where SQLAlchemy's way has to tell.

        Raises:
            RepositoryError: what the database said, or what the answer means.
        """
        return lane.read(self)

    def send_within(self, lane: NativeLane, db_sess: AsyncSession, resume: Resume) -> Awaitable[Any]:
        """Have it sent in a session that is open, as :meth:`send` does without one.

        Args:
            lane, db_sess: whose connection it is sent on.
            resume: what goes on with it, where it is a write and did less than was asked for.
        """
        return read_within(lane, db_sess, self)

    def answer(self, records: Sequence[Record]) -> TAnswer:
        """Say what the records mean; :data:`rowsmith.execution.UNTOLD` where that is not for a plan to say.

        Raises:
            RepositoryError: they mean that something is not there.
        """
        raise NotImplementedError

    def meant(self, failure: Exception) -> Exception:
        """Give what an error of the database means for the call."""
        return failure


@dataclass(frozen=True, slots=True)
class Bind:
    """A parameter of a plan: the place of its value among those of a call, or None and the value itself."""

    place: int | None
    constant: Any
    processor: Processor | None

    def value(self, given: Sequence[Any]) -> Any:
        """Give what the driver takes."""
        value = self.constant if self.place is None else given[self.place]
        return value if self.processor is None else self.processor(value)


class KeyPart:
    """A column that a call's value is compared with."""

    def __init__(self, attribute: Any, column: Column[Any], check: Check) -> None:
        self._attribute, self._column, self._check = attribute, column, check
        self._kinds: set[type[Any]] = set()
        decides = type(column.type).coerce_compared_value
        self._asks_kind_only = decides.__module__.startswith("sqlalchemy.")  # an application's may look at the value

    def takes(self, value: Any) -> bool:
        """Say that a value is bound as one of the column, and that the column can hold it."""
        return (type(value) in self._kinds or self._is_plain(value)) and not self._check(value)

    def _is_plain(self, value: Any) -> bool:
        """Look at a value of a new type: SQLAlchemy compares some as values of another type than the column's."""
        if value is None or self._check(value) or is_compared_as_sql(value):
            return False
        compared: Any = self._attribute == value
        if not is_comparison(compared) or compared.right.type is not self._column.type:
            return False
        if self._asks_kind_only and len(self._kinds) < MOST_PLANS:
            kind: Any = value.__class__
            self._kinds.add(kind)
        return True


class Keys:
    """The key of a row as it is given to a verb, and the version that it was last seen in."""

    def __init__(self, info: RowInfo[object]) -> None:
        self._info = info
        self._parts = [
            KeyPart(info.attribute(name), info.columns[name], info.checks[name]) for name in info.primary_key
        ]
        self._sole = self._parts[0] if len(self._parts) == 1 and not info.has_rounded_key else None
        self._is_rounded = info.has_rounded_key  # which SQLAlchemy's way sees to
        name = info.version
        self._version = None if name is None else KeyPart(info.attribute(name), info.columns[name], info.checks[name])

    def of(self, given: Any) -> tuple[Any, ...] | None:
        """Give the key's parts, if it is one."""
        if self._sole is not None:
            return (given,) if self._sole.takes(given) else None
        parts: tuple[Any, ...] = (*given,) if isinstance(given, tuple) else ()  # pyright: ignore[reportUnknownVariableType]
        if len(parts) != len(self._parts) or self._is_rounded:
            return None
        return parts if all(own.takes(part) for own, part in zip(self._parts, parts, strict=True)) else None

    def in_version(self, key: tuple[Any, ...] | None, version: Any) -> tuple[Any, ...] | None:
        """Give a key's parts and the version, if both are such."""
        is_one = key is not None and self._version is not None and self._version.takes(version)
        return (*key, version) if key is not None and is_one else None

    def compared(self, given: Sequence[Any]) -> list[Any]:
        """Give the comparisons with what :meth:`of` and :meth:`in_version` give."""
        info, width = self._info, len(self._parts)
        versions = [info.attribute(cast("str", info.version)) == version for version in given[width:]]
        return [*info.key_condition(tuple(given[:width])), *versions]


class ManyKeys:
    """The keys of many rows, which are one array: those of one column."""

    def __init__(self, info: RowInfo[object]) -> None:
        self._quick = column_type(info.columns[info.primary_key[0]].type).quick
        self.are_of_one_column = len(info.primary_key) == 1 and not (info.has_rounded_key or info.moments)

    def spare(self, plan: Plan | None) -> None:
        """Have keys that :meth:`are` such go as they are, where none can be an array in the array; they come first."""
        if plan is not None and self._quick.exact in PLAIN:
            plan.leave(0, members)

    def are(self, ids: Any) -> bool:
        """Say whether these surely are keys: one look at all together."""
        if ids.__class__ not in (list, tuple) or set(map(type, ids)) != {self._quick.exact}:
            return False
        return self._quick.fits is None or self._quick.fits(ids)


class Plans(Generic[TPlan]):
    """What is worked out for one verb's entity, by the pattern of a call."""

    def __init__(self, info: RowInfo[object]) -> None:
        self._info = info
        self._plans: dict[Dialect, dict[Hashable, TPlan | None]] = {}
        self._own: dict[int, tuple[Any, str, Check]] = {}
        self._attributes: dict[int, Any] = {}

    def narrowed(self, given: Sequence[Any], pattern: CallPattern, binds: Binds) -> bool:
        """Add conditions to a pattern, by SQLAlchemy's own key; says whether each has one.

        Of their values nothing is known but what :attr:`Plan.checks` says.
        """
        for condition in given:
            if self.compares(condition, pattern, binds):
                continue
            key = _key_of(condition)
            if key is None or not all(bind.unique and bind.callable is None for bind in key.bindparams):
                return False
            pattern.append(key.key)
            binds += key.bindparams
        return True

    def ordered(self, orders: Sequence[Any], pattern: CallPattern) -> bool:
        """Add orders to a pattern; says whether each has a key, and no values."""
        for order in orders:
            if order.__class__ is InstrumentedAttribute:
                if id(order) not in self._attributes:
                    if len(self._attributes) == MOST_PLANS:
                        return False
                    self._attributes[id(order)] = order  # kept, so that its id stays its own
                pattern.append(id(order))
                continue
            key = _key_of(order)
            if key is None or key.bindparams:
                return False
            pattern.append(key.key)
        return True

    def find(self, key: Hashable, dialect: Dialect, make: Callable[[], TPlan | None]) -> TPlan | None:
        """Give the plan of a pattern, made at its first call; None where it has none."""
        try:
            return self._plans[dialect][key]
        except KeyError:
            pass  # outside of the block, so that what is raised as it is made has no context
        plan = make()
        if dialect not in self._plans and len(self._plans) >= MOST_DIALECTS:
            self._plans = {}
        plans = self._plans.setdefault(dialect, {})
        if len(plans) >= MOST_PLANS:
            plans.clear()
        plans[key] = plan
        return plan

    def compares(self, condition: Any, pattern: CallPattern, binds: Binds) -> bool:
        """Add a comparison of a column with a value that it takes; says whether the condition is one."""
        if not is_comparison(condition):
            return False
        left, right = condition.left, condition.right
        if right.type is not left.type or not self.takes(left, condition.operator, right.value, pattern):
            return False
        binds.append(right)
        return True

    def takes(self, left: Any, operator: Any, value: object, pattern: CallPattern) -> bool:
        """Add a comparison to a pattern; says whether it is one of a column of the row's with a value that fits."""
        own: tuple[Any, str, Check] | None
        try:
            own = self._own[id(left)]
        except KeyError:
            own = self._known(left)
        if own is None or own[2](value):
            return False
        pattern += own[1], operator
        return True

    def _known(self, left: Any) -> tuple[Any, str, Check] | None:
        """Look at what is compared, once: whether it is a column of the row's own."""
        info, is_column = self._info, isinstance(left, Column)
        given: Any = left
        bare = given._deannotate() if is_column else None
        name = next((name for name, column in info.columns.items() if column is bare), None)
        if name is None or given._annotations.get("parententity", info.mapper) is not info.mapper:
            return None
        if len(self._own) == MOST_PLANS:
            self._own.clear()
        own = self._own[id(left)] = (given, name, column_type(given.type).operand)  # kept, so that its id stays its own
        return own


def _key_of(given: Any) -> CacheKey | None:
    """Give what SQLAlchemy's own cache knows an expression by, apart from its values; None where it has nothing."""
    if not isinstance(given, ColumnElement):
        return None
    return given._generate_cache_key()  # pyright: ignore[reportPrivateUsage] - there is no public name


def is_comparison(condition: Any) -> bool:
    """Say whether a condition is no more than a comparison with a value that is bound by itself."""
    if condition.__class__ is not BinaryExpression or condition.operator not in _COMPARISONS or condition.modifiers:
        return False
    right: Any = condition.right
    return (
        right.__class__ is BindParameter
        and right.value is not None
        and right.callable is None
        and right.unique
        and not (right.expanding or right.literal_execute or right.isoutparam)
    )


def compile_plan(
    statement: Select[*tuple[Any, ...]], info: RowInfo[object], places: Sequence[BindParameter[Any]], dialect: Dialect
) -> Plan | None:
    """Compile a statement; None where it is more than columns of a table compared with values.

    So it is where it steps over a relationship, if only to rows of the same table: whoever calls sees some of them.

    Args:
        statement: what SQLAlchemy would be given.
        info: the row that it reads.
        places: the parameters whose values change from call to call, in the order in which they are given.
        dialect: whose SQL it is to be.
    """
    is_pure = has_plain_rows(info) and all(_is_pure(part, info.table) for part in visitors.iterate(statement))
    if not is_pure or led_to(cast("Any", statement)):
        return None
    return make_plan(statement, info.table, places, dialect)


def compile_write(
    statement: Any,
    info: RowInfo[object],
    places: Sequence[BindParameter[Any]],
    dialect: Dialect,
    expected: Sequence[BindParameter[Any] | None],
    makers: Sequence[Callable[[], Any]] = (),
    key: int | None = None,
    *,
    marks: bool = False,
) -> Plan | None:
    """Compile an INSERT, UPDATE or DELETE as :func:`compile_plan` does, with the id of its transaction at the end.

    None where something has to be asked or made for each call before it is sent.

    Args:
        statement, info, places, dialect: as there.
        expected: what the last columns that it gives have to be: the value of a parameter, or true.
        makers: see :attr:`Plan.makers`.
        key: of a statement for each of some keys, which are the first parameter: where the key stands in its answer.
        marks: it is for a mark alone, which a trigger that runs before the row is written may keep as it was.
    """
    plan = make_plan(statement, None, places, dialect) if has_plain_rows(info) else None
    if plan is not None:
        given = [None if bind is None else plan.number(_place(bind, places)) for bind in expected]
        holds = ["{} IS TRUE" if number is None else f"{{}} = ${number}" for number in given]
        sql, table = plan.sql.removesuffix(ID_OF_TRANSACTION), dialect.identifier_preparer.format_table(info.table)
        if key is None:
            plan.alone = alone(sql, plan.width, holds, table)
        else:
            plan.alone = alone_for_each(sql, plan.width, holds, plan.number(0), key)
        plan.makers = makers
        removes = getattr(statement, "is_delete", False)
        several = marks or removes or key is not None
        plan.written, plan.presumes = info.table, Quietness(info.table, info.table.schema, several, removes)
    return plan


def make_plan(
    statement: Any, table: Table | None, places: Sequence[BindParameter[Any]], dialect: Dialect
) -> Plan | None:
    """Compile a statement; None where something of it has to be asked or made for each call before it is sent.

    Args:
        statement, places, dialect: as for :func:`compile_plan`.
        table: what it reads; None where it writes.
    """
    cache: Any = {}
    found = statement._compile_w_cache(dialect, compiled_cache=cache, column_keys=[])
    made, extracted = found[0], found[1]
    if extracted is None or made.literal_execute_params or made.post_compile_params:
        return None
    if table is None and (made.insert_prefetch or made.update_prefetch):
        return None
    marked = [_marked(bind, _place(bind, places)) for bind in extracted]
    given = made.construct_params(extracted_parameters=marked, escape_names=False)
    sent = [(given[name], made._bind_processors.get(name)) for name in made.positiontup]
    binds = [
        Bind(value.index, None, process) if isinstance(value, _Mark) else Bind(None, value, process)
        for value, process in sent
    ]
    results = [entry.type for entry in made._result_columns]
    is_whole = {bind.place for bind in binds}.issuperset(range(len(places)))
    kinds: list[Any] = [kind.dialect_impl(dialect) for kind in (*results, *(bind.type for bind in extracted))]
    # A type may put SQL of its own around values.
    if not is_whole or any(kind._has_bind_expression or kind._has_column_expression for kind in kinds):
        return None
    sql = made.string if table is not None else made.string + ID_OF_TRANSACTION
    plan = Plan(sql, table, binds, results, dialect)
    plan.columns, plan.compiled = results_of(made), made
    return plan


def placed(condition: ColumnElement[bool], binds: Binds, first: int) -> ColumnElement[bool]:
    """Give a condition whose parameters say themselves which places they have, for where it is copied on its way.

    Args:
        condition: with some of the parameters in it.
        binds: those parameters, in the order of their places.
        first: the place of the first one.
    """

    def mark(element: Any, **_: Any) -> Any:
        index = _place(element, binds)
        return None if index is None else _marked(element, first + index)

    traverse: Callable[..., ColumnElement[bool]] = cast("Any", visitors).replacement_traverse
    return traverse(condition, {}, mark)


def mark(kind: TypeEngine[Any], place: int) -> BindParameter[Any]:
    """Give a parameter that says itself which place its value has."""
    return bindparam(None, _Mark(place), kind, unique=True)


def places_of(compiled: Any) -> dict[str, int]:
    """Give the places of the parameters of a compiled statement that say theirs, by their names in it."""
    marks: dict[str, Any] = {name: bind.value for name, bind in compiled.binds.items()}
    return {name: mark.index for name, mark in marks.items() if isinstance(mark, _Mark)}


def checks_of(binds: Binds) -> list[tuple[int, Check]]:
    """Give, by place, what says of a value that it cannot be compared as one of its parameter's type."""
    return [(place, _check_of(bind)) for place, bind in enumerate(binds)]


def _check_of(bind: BindParameter[Any]) -> Check:
    operand = column_type(bind.type).operand
    # The values of a list were looked at as it was made.
    return (lambda value: None if isinstance(value, tuple) else operand(value)) if bind.expanding else operand


def has_plain_rows(info: RowInfo[object]) -> bool:
    """Say whether a class's rows are all rows of its table, and in it alone."""
    mapper: Any = info.mapper
    is_alone = mapper.inherits is None and mapper.polymorphic_on is None and mapper.with_polymorphic is None
    return is_alone and mapper.selectable is info.table


@dataclass(frozen=True, slots=True)
class _Mark:
    """Stands for a value while it is found out where it goes."""

    index: int


def _place(bind: BindParameter[Any], places: Sequence[BindParameter[Any]]) -> int | None:
    return next((index for index, one in enumerate(places) if one is bind), None)


def _marked(bind: Any, index: int | None) -> Any:
    if index is None:
        return bind
    marked = bind._clone(maintain_key=True)
    marked.value = _Mark(index)
    return marked


_PURE: Final = (
    *(Select, Subquery, ScalarSelect, Exists, Column, BindParameter, Null, True_, False_),
    *(Grouping, Label, Tuple, ClauseList, TypeCoerce, TextMatch, PerBackend, Finite, _label_reference),
)
_PURE_FUNCTIONS: Final = frozenset({"count", "lower", "upper"})
_PURE_OPERATORS: Final = _COMPARISONS | {
    *(operators.is_, operators.is_not, operators.is_distinct_from, operators.is_not_distinct_from),
    *(operators.and_, operators.or_, operators.between_op, operators.not_between_op),
    *(operators.is_true, operators.is_false, operators.inv, operators.any_op),
}
_PURE_MODIFIERS: Final = frozenset(
    {operators.asc_op, operators.desc_op, operators.nulls_first_op, operators.nulls_last_op}
)


def _is_pure(element: Any, table: Table) -> bool:
    """Say whether a part of a statement calls nothing that could write; text may say anything, as may other tables."""
    if isinstance(element, Table):
        return element is table
    if isinstance(element, Function):
        return element.name in _PURE_FUNCTIONS and not element.packagenames
    if isinstance(element, (BinaryExpression, ExpressionClauseList, AsBoolean)):
        return element.operator in _PURE_OPERATORS
    if isinstance(element, UnaryExpression) and not isinstance(element, Exists):
        return (element.operator or element.modifier) in _PURE_OPERATORS | _PURE_MODIFIERS
    if getattr(element, "is_literal", False):
        return str(element.name) == "*"  # of count(*)
    return isinstance(element, _PURE)
