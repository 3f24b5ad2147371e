"""Reading one row by its key: by the verb in a session, or on a plan, which many rows by their keys have too."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Generic, TypeAlias, cast

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect
from typing_extensions import override

from rowsmith.conditions import limited
from rowsmith.execution import UNTOLD, NativeLane
from rowsmith.lock import Lock
from rowsmith.mapping.layout import AnySelect, Record
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.entity import Entity, by_entity
from rowsmith.operations.plans import Asked, Binds, CallPattern, Keys, Plan, Plans, compile_plan
from rowsmith.operations.present import present
from rowsmith.operations.settled import ask_scope, draw_scope
from rowsmith.scope import Limits, SearchScope, resolve_scope

_UNDERSTOOD: Final = frozenset({"scope", "include_deleted"})

Selecting: TypeAlias = Callable[[Sequence[ColumnElement[bool]], Limits, bool], AnySelect]
"""Makes the SELECT of a key's conditions under a scope; says whether deleted rows are seen."""

Absent: TypeAlias = Callable[[Sequence[object]], Exception]


class AskedRow(Asked[Any]):
    """A row that is asked for; ``absent`` makes the error where it is not there, None where that is an answer."""

    __slots__ = ("absent", "missing")

    def __init__(
        self,
        entity: Entity[Any, Any],
        operation: str,
        plan: Plan,
        values: Sequence[Any],
        missing: Sequence[object] = (),
    ) -> None:
        # Not by super(): one call fewer for each read of a row.
        self.entity, self.operation, self.plan, self.values = entity, operation, plan, values
        self.missing = missing
        self.absent: Absent | None = None

    @override
    def answer(self, records: Sequence[Record]) -> Any:
        if records:
            return UNTOLD if records[1:] else self.entity.shape.layout.make(records, ())[0]
        if self.absent is None:
            return None
        raise self.absent(self.missing)


class KeyReads(Generic[TRow, TData]):
    """The plans of reads by keys: of each pattern that a scope has, with and without deleted rows."""

    def __init__(self, entity: Entity[TRow, TData]) -> None:
        self.entity, self.plans = entity, Plans[Plan](entity.info)
        self.is_flat = entity.shape.is_flat

    def pattern(self, kwargs: dict[str, Any], values: list[Any]) -> Hashable | None:
        """Give the pattern of a call, and its scope's values; None where it has none.

        A scope that had to be asked is put back with what it said.
        """
        scope, deleted = kwargs.get("scope"), kwargs.get("include_deleted", False)
        if not _UNDERSTOOD.issuperset(kwargs) or (deleted is not True and deleted is not False):
            return None
        if scope is None:
            return None if self.entity.scope_required else deleted
        pattern: CallPattern = [deleted]
        kwargs["scope"], is_plain = draw_scope(self.plans, scope, pattern, values)
        return tuple(pattern) if is_plain else None

    def limits(self, kwargs: dict[str, Any]) -> tuple[Limits, Binds]:
        """Give what a scope that has a pattern limits a call to, and its parameters."""
        scope, binds = kwargs.get("scope"), list[Any]()
        if scope is not None:
            scope, _ = ask_scope(self.plans, scope, [], binds)
        return resolve_scope(scope, self.entity.info), binds


class ByKey(KeyReads[TRow, TData]):
    """The plans of the reads of one row.

    Args:
        entity: whose rows are read.
        select: makes the statement that SQLAlchemy is given for the same call.
        asked: makes an answer of what the statement gives.
    """

    def __init__(self, entity: Entity[TRow, TData], select: Selecting, asked: type[AskedRow] = AskedRow) -> None:
        super().__init__(entity)
        self._select, self._keys, self._asked = select, Keys(entity.info), asked

    def ask(self, operation: str, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        """Say what a call has to send; None where it is not plainly a read of columns by a key that can be one.

        Args:
            operation: the verb's name.
            lane: where it is sent.
            args, kwargs: the verb's arguments.
        """
        key = self._keys.of(args[0]) if self.is_flat and args and not args[1:] else None
        if key is None:
            return None
        scoped: list[Any] = []
        pattern = self.pattern(kwargs, scoped)
        if pattern is None:
            return None
        plan = self.plans.find(pattern, lane.dialect, lambda: self._plan(key, kwargs, lane.dialect))
        values = None if plan is None else plan.values((*key, *scoped) if scoped else key)
        if plan is None or values is None:
            return None
        return self._asked(self.entity, operation, plan, values, args)

    def _plan(self, key: tuple[Any, ...], kwargs: dict[str, Any], dialect: Dialect) -> Plan | None:
        info = self.entity.info
        compared: list[Any] = info.key_condition(key)
        limits, binds = self.limits(kwargs)
        statement = self._select(compared, limits, kwargs.get("include_deleted", False))
        return compile_plan(statement, info, [*(each.right for each in compared), *binds], dialect)


class Querier(Operation[TRow, TData]):
    """Reads one row by its primary key; one statement, and one more for each collection in the data."""

    @by_entity
    def _ask(self) -> Callable[..., AskedRow | None]:
        kind: Any = type(self)
        own = kind.statement is cast("Any", Querier).statement  # else nobody knows what a plan would be made of
        return ByKey(self.entity, self._select).ask if own else lambda *_: None

    def _get(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        asked = self._ask("get", lane, args, kwargs)
        if asked is not None:
            asked.absent = self.entity.absent
        return asked

    @verb("get", native=_get)
    async def query(
        self,
        call: Call[TRow, TData],
        pk: Any,
        *,
        scope: SearchScope | None = None,
        for_update: bool = False,
        include_deleted: bool = False,
        lock: Lock | None = None,
    ) -> TData:
        """Give the row with this key.

        Args:
            db_sess: the session to read in.
            pk: the primary key; a tuple where it is composite.
            scope: who asks; its conditions stand in the same statement.
            for_update: lock the row until the transaction ends: ``lock=Lock()``.
            include_deleted: also give a soft-deleted row.
            lock: how the row is locked until the transaction ends.

        Raises:
            EntityNotFound: absent, deleted or outside the scope, or skipped by the lock, all alike; or ``not_found``'s
                error.
            LockNotAvailable: another transaction has the row, and the lock does not wait.
            InvalidValue: the key is no value of its column.
        """
        call = await call.under(scope)
        lock = Lock() if for_update and lock is None else lock
        statement = call.locked(self.statement(pk, call.limits, include_deleted=include_deleted), lock)
        record = await call.sole(await call.execute(statement))
        if record is None:
            raise call.absent([pk])
        return (await present(call, [record]))[0]

    @verb("find", native=lambda self, lane, args, kwargs: self._ask("find", lane, args, kwargs))
    async def find(
        self,
        call: Call[TRow, TData],
        pk: Any,
        *,
        scope: SearchScope | None = None,
        include_deleted: bool = False,
        lock: Lock | None = None,
    ) -> TData | None:
        """Give the row with this key, or None; otherwise as :meth:`query`."""
        call = await call.under(scope)
        statement = call.locked(self.statement(pk, call.limits, include_deleted=include_deleted), lock)
        record = await call.sole(await call.execute(statement))
        return None if record is None else (await present(call, [record]))[0]

    def statement(
        self, pk: Any, limits: Limits, *, for_update: bool = False, include_deleted: bool = False
    ) -> AnySelect:
        """Give the SELECT of a key under a scope, without sending it."""
        info = self.entity.info
        statement = self._select(info.key_condition(info.key(pk)), limits, include_deleted)
        # OF: the rows joined to it are not locked, and behind an outer join could not be.
        return statement.with_for_update(of=info.tables) if for_update else statement

    def _select(self, key: Sequence[ColumnElement[bool]], limits: Limits, include_deleted: bool) -> AnySelect:
        entity = self.entity.within(limits) if self.entity.shape.layout.reached else self.entity
        return limited(entity.shape.select(), *key, *limits.conditions, *entity.live(include_deleted))
