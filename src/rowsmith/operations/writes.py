"""Writes of one row on plans: what is sent for a call, and what the answer means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Generic

from sqlalchemy import BindParameter, ColumnElement, bindparam, literal_column, true
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ClauseElement
from typing_extensions import TypeVar, override

from rowsmith.conditions import conjunction
from rowsmith.errors import RefusedByTrigger, RepositoryError
from rowsmith.execution import (
    UNTOLD,
    Made,
    NativeLane,
    Origin,
    give_up_since,
    write,
    write_within,
    writes_of,
)
from rowsmith.identity import all_one, are_one
from rowsmith.mapping import row_info
from rowsmith.mapping.layout import Record
from rowsmith.mapping.row import is_filled
from rowsmith.mapping.writes import PLAIN
from rowsmith.names import sql_name
from rowsmith.operations.arrays.same import as_told
from rowsmith.operations.blocks.defaults import client_defaults, client_updates, default_of, update_of
from rowsmith.operations.call import Call
from rowsmith.operations.entity import Entity
from rowsmith.operations.faults import is_own_fault
from rowsmith.operations.plans import (
    Asked,
    Binds,
    CallPattern,
    Keys,
    Plan,
    Plans,
    Resume,
    compile_write,
    has_plain_rows,
    placed,
)
from rowsmith.operations.rebinding import rebound
from rowsmith.operations.settled import ask_scope
from rowsmith.outcome import CommitOutcome, commit_outcome
from rowsmith.references import Reference
from rowsmith.scope import (
    NO_LIMITS,
    Limits,
    RelatedScope,
    SearchScope,
    Unscoped,
    resolve_scope,
    speaks_of_others,
)

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TPlan = TypeVar("TPlan", default=Plan)

UNDERSTOOD: Final = frozenset({"scope", "idempotency_key"})
"""The arguments of verbs that every plan knows of."""

_IN_VERSION: Final = object()
"""Stands in the pattern of a call that expects a version."""

Values = Mapping[str, Any]
"""What is written, by attribute name."""


Statement = Callable[[Values, Sequence[ColumnElement[bool]], Limits], Any]
"""Makes what is sent, of parameters for the values, the conditions of the key and the scope."""


class AskedWrite(Asked[Any]):
    """A write to a row that is there: ``expected`` is what has to stand after the data for it to be kept.

    With ``guards`` the last of it is whether these foreign keys lead inside. In a transaction that goes on, a write
    whose keys do not has to be undone by a savepoint, which is for SQLAlchemy's way.
    """

    __slots__ = ("_deletes", "_expected", "_guards", "_writes")

    def __init__(
        self,
        entity: Entity[object, object],
        operation: str,
        plan: Plan,
        values: Sequence[object],
        expected: tuple[object, ...],
        writes: Values | None,
        *,
        deletes: bool = False,
        guards: Sequence[Reference] = (),
    ) -> None:
        super().__init__(entity, operation, plan, values)
        self._expected, self._writes, self._deletes, self._guards = expected, writes, deletes, guards

    @override
    def origin(self) -> Origin:
        return self.entity.origin(self.operation, deletes=self._deletes, writes=self._writes)

    @override
    async def send(self, lane: NativeLane) -> Any:
        try:
            made = await write(lane, self)
        except Exception as exc:
            is_undone = commit_outcome(exc) is CommitOutcome.NOT_COMMITTED
            if self._guards and is_undone and is_own_fault(exc, self.entity):
                return UNTOLD  # whose answer may be another one, by what its foreign keys lead to
            if not isinstance(exc, RefusedByTrigger):
                raise
            failure = self.meant(exc)
        else:
            return UNTOLD if made is None else made[0]
        raise failure

    @override
    async def send_within(self, lane: NativeLane, db_sess: AsyncSession, resume: Resume) -> Any:
        if self._guards:
            lane.refuse("savepoint")
            return UNTOLD
        before = writes_of(db_sess)
        try:
            records = await write_within(lane, db_sess, self)
            if records is None:
                return UNTOLD
            made = self.made(records) or await self.otherwise(Call(self.entity, self.operation, db_sess), records)
        except BaseException as exc:
            give_up_since(db_sess, before)
            if not isinstance(exc, RepositoryError):
                raise
            failure = self.meant(exc)
        else:
            if isinstance(made, tuple):
                lane.taken += 1
                return made[0]
            lane.refuse("answer")
            return await resume(made)
        raise failure

    @override
    def meant(self, failure: Exception) -> Exception:
        if not isinstance(failure, RepositoryError):
            return failure
        failure.locate(self.entity.domain, self.operation)
        return self.entity.own(failure)

    async def otherwise(self, call: Call[Any, Any], records: Sequence[Record]) -> Made | Mapping[Any, Any]:
        """Say what it means in a transaction that goes on that this was written, and not what was asked for.

        The rows that were written, by their keys, where SQLAlchemy's way has to go on; nothing is undone.

        Raises:
            MappingError: several rows have the key.
            ScopeMismatch: the row has left its scope.
        """
        if not records:
            return {}
        if len(records) > 1:
            await call.refuse_twins(undo=True)
        raise await call.left()

    def made(self, records: Sequence[Record]) -> Made | None:
        """Make the data of the row written; None where another number was written than one, or not what was asked."""
        if len(records) != 1:
            return None
        if tuple(records[0][len(self.entity.shape.layout.names) :]) != self._expected:
            return None
        return self.data(records)

    def data(self, records: Sequence[Record]) -> Made:
        """Make the data of the row written, which is what was asked for."""
        layout = self.entity.shape.layout
        return (layout.make([record[: len(layout.names)] for record in records], ())[0],)

    def doubt(self, records: Sequence[Record]) -> tuple[str, Sequence[Any]] | None:
        """Give None: of one row its absence is the answer, which SQLAlchemy's way gives."""


class AskedInsert(AskedWrite):
    """A new row that is asked for: ``stamps`` are what the scope fixes of it, which comes back after its data."""

    __slots__ = ("_stamps", "_told")

    def __init__(
        self,
        entity: Entity[object, object],
        operation: str,
        plan: Plan,
        values: Sequence[object],
        stamps: Values,
        *,
        guards: Sequence[Reference] = (),
    ) -> None:
        self._told = as_told(entity.info, stamps, plan.compiled.dialect)
        expected = (*self._told.values(), True) if guards else tuple(self._told.values())
        super().__init__(entity, operation, plan, values, expected, None, guards=guards)
        self._stamps = stamps

    @override
    def made(self, records: Sequence[Record]) -> Made | None:
        """Make the data of the row written; None where it is not what was asked for, or the database has to say so.

        Raises:
            RefusedByTrigger: it was not written, which nothing else can be the reason of.
        """
        if not records:
            raise RefusedByTrigger
        if not (self.entity.info.split.isdisjoint(self._stamps) or self._is_kept(records[0])):
            return None
        return super().made(records)

    def _is_kept(self, record: Record) -> bool:
        """Say whether what the scope fixes surely is as it was given, where Python holds more to be equal."""
        stored, columns = record[len(record) - len(self._expected) :], self.entity.info.columns
        fixed = zip(self._told.items(), stored, strict=False)
        return all(are_one(columns[name].type, value, other) for (name, value), other in fixed)

    @override
    async def otherwise(self, call: Call[Any, Any], records: Sequence[Record]) -> Made | Mapping[Any, Any]:
        """Have the database say whether what it made of the scope's values is the same as these."""
        if not records:
            return {}
        stored = records[0][-len(self._stamps) :]
        limited = replace(call, limits=Limits(stamps=self._stamps))
        await limited.keep_stamps({name: [value] for name, value in zip(self._stamps, stored, strict=True)})
        return self.data(records)


class PlannedWrites(Generic[TRow, TData, TPlan]):
    """What the plans of writes of one row have in common.

    Args:
        entity: whose rows are written.
        operation: the verb's name.
        understood: the arguments of the verb that plans know of.
    """

    def __init__(self, entity: Entity[TRow, TData], operation: str, understood: frozenset[str] = UNDERSTOOD) -> None:
        info, layout = entity.info, entity.shape.layout
        self._entity, self._operation, self._understood = entity, operation, understood
        self._plans = Plans[TPlan](info)
        self._referring, self._unasked = info.referring, info.referring_unasked
        self._related: dict[type[Any], Plans[Any]] = {}
        self.is_plain = (
            bool(layout.names)
            and not entity.shape.is_row
            and layout.returnable
            and len(info.all_parts) == 1
            and has_plain_rows(info)
        )

    def scoped(self, kwargs: dict[str, Any], pattern: CallPattern, binds: Binds) -> Limits | None:
        """Add the scope to a pattern, and give what it fixes; None where it is more than equalities of columns.

        It is put back among the arguments with what it said.
        """
        scope = kwargs.get("scope")
        if kwargs.get("idempotency_key") is not None or not self._understood.issuperset(kwargs):
            return None
        if scope is None:
            return None if self._entity.scope_required else NO_LIMITS
        compared: CallPattern = []
        kwargs["scope"], is_plain = ask_scope(self._plans, scope, compared, binds)
        if not is_plain:
            return None
        pattern += compared
        stamps: dict[str, Any] = {}
        names: Any = compared[::2]
        for name, bind in zip(names, binds, strict=True):
            if name in stamps and not all_one(bind.type, [bind.value], stamps[name]):
                return None  # a plan made for equal ones sees one
            stamps[name] = bind.value
        return Limits(stamps=stamps)

    def plain_values(
        self,
        values_of: Callable[[Limits], Values],
        limits: Limits,
        pattern: CallPattern,
        kwargs: Mapping[str, Any],
        held: list[Reference] | None = None,
        said: Binds | None = None,
        others: frozenset[str] = frozenset(),
    ) -> Values | None:
        """Add what is to be written to a pattern, and give it, if it is nothing but values.

        What is wrong with it SQLAlchemy's way says. Foreign keys that have to lead to rows inside the scope are added
        to ``held``, and to ``said`` the values by which it says so; without those they are for that way, too.
        ``others`` are those that defaults fill where they are not given.
        """
        try:
            values = values_of(limits)
        except RepositoryError:
            return None
        for value in values.values():
            if value.__class__ not in PLAIN and isinstance(value, ClauseElement):
                return None
        if others or (values and (self._unasked or not self._referring.isdisjoint(values))):
            found = self._held(
                values, others | self._unasked, kwargs.get("scope"), limits, pattern, [] if said is None else said
            )
            if found is None or (found and held is None):
                return None
            if held is not None:
                held += found
        pattern += (*values, *[value is None for value in values.values()])
        return values

    def _held(
        self,
        values: Values,
        others: frozenset[str],
        scope: SearchScope | None,
        limits: Limits,
        pattern: CallPattern,
        binds: Binds,
    ) -> list[Reference] | None:
        """Give the foreign keys that have to lead inside, and add what is said of that to a pattern.

        None where that is more than comparisons of columns with values, or what it is SQLAlchemy's way has to say.
        """
        if scope is None or isinstance(scope, Unscoped):
            return []
        info, given = self._entity.info, {name for name, value in values.items() if value is not None}
        given |= others - values.keys()
        if given.isdisjoint(self._referring if speaks_of_others(scope) else info.referring_itself):
            return []
        try:
            held = RelatedScope(scope, info).leads(info, given, limits.stamps)
        except RepositoryError:
            return None
        for reference in held:
            pattern.append(reference.key)
            related = self._related.setdefault(reference.row, Plans(row_info(reference.row)))
            if not all(related.compares(condition, pattern, binds) for condition in reference.conditions):
                return None
        return held

    def moves(self, names: Iterable[str], kwargs: Mapping[str, object]) -> bool:
        """Say whether a write moves rows to parents that have to be found under a scope, as SQLAlchemy's way does."""
        number = self._entity.next_value
        return number is not None and kwargs.get("scope") is not None and number.is_within(names)

    def marks(self, values: Values) -> dict[str, BindParameter[Any]]:
        """Give a parameter for each value."""
        columns = self._entity.info.columns
        return {name: bindparam(None, value, columns[name].type, unique=True) for name, value in values.items()}


class Writes(PlannedWrites[TRow, TData, Plan]):
    """The plans of the writes of one row: of each pattern that a scope has, by the names of what is written.

    Args:
        entity, operation: as for :class:`PlannedWrites`.
        statement: makes the statement that SQLAlchemy is given for the same call, with what is to be expected of it
            after the data.
        constants: what is written the same each time, SQL among it.
        understood: as for :class:`PlannedWrites`.
    """

    def __init__(
        self,
        entity: Entity[TRow, TData],
        operation: str,
        statement: Statement,
        constants: Values | None = None,
        understood: frozenset[str] = UNDERSTOOD,
    ) -> None:
        super().__init__(entity, operation, understood)
        self._statement, self._constants = statement, constants or {}
        self._keys = Keys(entity.info)
        columns = entity.info.columns
        self._filled = frozenset(name for name in entity.info.referring if is_filled(columns[name]))

    def create(
        self, lane: NativeLane, kwargs: dict[str, Any], values_of: Callable[[Limits], Values]
    ) -> AskedInsert | None:
        """Say what a new row takes; None where it is not plainly one statement."""
        pattern: CallPattern = []
        binds: Binds = []
        held: list[Reference] = []
        said: Binds = []
        limits = self.scoped(kwargs, pattern, binds) if self.is_plain else None
        values = (
            None if limits is None else self.plain_values(values_of, limits, pattern, kwargs, held, said, self._filled)
        )
        if limits is None or values is None:
            return None
        dialect, stamps = lane.dialect, limits.stamps
        plan = self._plans.find(
            tuple(pattern), dialect, lambda: self._plan_new(values, kwargs, stamps, held, said, dialect)
        )
        beside = [bind.value for bind in said] if said else ()
        sent = None if plan is None else plan.values([*values.values(), *beside])
        if plan is None or sent is None:
            return None
        return AskedInsert(self._entity, self._operation, plan, sent, stamps, guards=held)

    def change(
        self,
        lane: NativeLane,
        id: Any,
        kwargs: dict[str, Any],
        values_of: Callable[[Limits], Values],
        *,
        deletes: bool = False,
    ) -> AskedWrite | None:
        """Say what is written to a row that is there, or that it is removed; None as for :meth:`create`."""
        pattern: CallPattern = []
        binds: Binds = []
        key, version = self._keys.of(id) if self.is_plain else None, kwargs.get("expected_version")
        if version is not None:
            key = self._keys.in_version(key, version)
            pattern.append(_IN_VERSION)
        held: list[Reference] = []
        said: Binds = []
        limits = None if key is None else self.scoped(kwargs, pattern, binds)
        values = None if limits is None else self.plain_values(values_of, limits, pattern, kwargs, held, said)
        if key is None or limits is None or values is None or not limits.stamps.keys().isdisjoint(values):
            return None
        written = None if deletes else {**values, **self._constants}
        if written is not None and not written:
            return None
        dialect = lane.dialect
        plan = self._plans.find(
            tuple(pattern), dialect, lambda: self._plan_change(key, values, binds, held, said, kwargs, dialect)
        )
        given = [*key, *[bind.value for bind in (*binds, *said)], *values.values()]
        sent = None if plan is None else plan.values(given)
        if plan is None or sent is None:
            return None
        expected: tuple[bool, ...] = (True,) if binds and not deletes else ()
        if held:
            expected += (True,)
        return AskedWrite(self._entity, self._operation, plan, sent, expected, written, deletes=deletes, guards=held)

    def _plan_new(
        self,
        values: Values,
        kwargs: dict[str, Any],
        stamps: Values,
        held: Sequence[Reference],
        said: Binds,
        dialect: Dialect,
    ) -> Plan | None:
        info = self._entity.info
        limits = resolve_scope(kwargs.get("scope"), info)
        if limits.others or limits.stamps.keys() != stamps.keys():
            return None
        defaults = [*client_defaults(info, values)]
        given, made = self.marks(values), self.marks(dict.fromkeys(defaults))
        # What an INSERT gives back is no FROM to SQLAlchemy, that a subquery could be tied to.
        naming = partial(dialect.identifier_preparer.format_column, use_table=True)
        inside = [
            rebound(each, info, lambda own: literal_column(naming(own), own.type))
            for each in _marked(held, said, len(given))
        ]
        statement = _guarded(self._statement({**given, **made}, (), limits), inside)
        makers = [partial(default_of, info, name) for name in defaults]
        expected = [*(given[name] for name in limits.stamps), *([None] if held else [])]
        places = [*given.values(), *said, *made.values()]
        return compile_write(statement, info, places, dialect, expected, makers)

    def _plan_change(
        self,
        key: Sequence[object],
        values: Values,
        binds: Binds,
        held: Sequence[Reference],
        said: Binds,
        kwargs: dict[str, Any],
        dialect: Dialect,
    ) -> Plan | None:
        info = self._entity.info
        limits = resolve_scope(kwargs.get("scope"), info)
        marks = self.marks(values)
        written = {**marks, **self._constants}
        if self.moves(marks, kwargs):
            return None
        if written and not limits.is_guarded(written, info):
            return None
        updates = client_updates(info, written) if written else []
        made = self.marks(dict.fromkeys(updates))
        compared: list[Any] = self._keys.compared(key)
        first = [*(each.right for each in compared), *binds]
        inside = _marked(held, said, len(first))
        statement = _guarded(self._statement({**written, **made}, compared, limits), inside)
        places = [*first, *said, *marks.values(), *made.values()]
        makers = [partial(update_of, info, name) for name in updates]
        expected = [*([None] if binds and written else []), *([None] if held else [])]
        return compile_write(statement, info, places, dialect, expected, makers, marks=bool(self._constants))


def _marked(held: Sequence[Reference], said: Binds, first: int) -> list[ColumnElement[bool]]:
    """Give the conditions that foreign keys lead inside, of parameters that have their places from ``first`` on."""
    marked = [replace(each, conditions=[placed(one, said, first) for one in each.conditions]) for each in held]
    return [reference.is_inside for reference in marked]


def _guarded(statement: Any, inside: Sequence[ColumnElement[bool]]) -> Any:
    """Give a statement that gives back last whether some conditions hold, if there are any."""
    return statement.returning(conjunction(inside).is_(true()).label(sql_name("leads_inside"))) if inside else statement
