"""Reading one row by its key on a plan: what is sent for a call, and what the answer means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeAlias

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect
from typing_extensions import TypeVar, override

from rowsmith.conditions import given_conditions
from rowsmith.execution import NativeLane
from rowsmith.mapping.layout import AnySelect, Record
from rowsmith.operations.entity import Entity
from rowsmith.operations.plans import UNTOLD, Asked, Binds, Operand, Plan, Plans, Shape, compile_plan
from rowsmith.scope import NO_LIMITS, Limits, Settled, is_unchecked, resolve_scope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)

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
        super().__init__(entity, operation, plan, values)
        self.missing = missing
        self.absent: Absent | None = None

    @override
    def answer(self, records: Sequence[Record]) -> Any:
        if records:
            return UNTOLD if records[1:] else self.entity.shape.layout.make(records, ())[0]
        if self.absent is None:
            return None
        raise self.absent(self.missing)


class ByKey(Generic[TRow, TData]):
    """The plans of the reads of one row: of each shape that a scope has, with and without deleted rows.

    Args:
        entity: whose rows are read.
        select: makes the statement that SQLAlchemy is given for the same call.
    """

    def __init__(self, entity: Entity[TRow, TData], select: Selecting) -> None:
        info, layout = entity.info, entity.shape.layout
        self._entity, self._select = entity, select
        self._plans = Plans[Plan](info)
        self._key = [Operand(info.attribute(name), info.columns[name], info.check(name)) for name in info.primary_key]
        self._sole = self._key[0] if len(self._key) == 1 else None
        self._is_flat = not entity.shape.is_row and bool(layout.names) and not (layout.joins or layout.collections)

    def ask(self, operation: str, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        """Say what a call has to send; None where it is not plainly a read of columns by a key that can be one.

        Args:
            operation: the verb's name.
            lane: where it is sent.
            args, kwargs: the verb's arguments. A scope that was asked is put back with what it said.
        """
        key, scope = self._key_of(args, kwargs), kwargs.get("scope")
        if key is None:
            return None
        if scope is None:
            return None if self._entity.scope_required else self._ask(operation, lane.dialect, key, (), kwargs)
        if not is_unchecked(type(scope)):
            return None
        given = given_conditions(scope)
        kwargs["scope"] = Settled(scope, given)  # as it may say otherwise the next time
        return self._ask(operation, lane.dialect, key, given, kwargs) if given else None

    def _key_of(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
        """Give the key's parts, if the arguments are those of a plain call, and the key is one."""
        if not self._is_flat or not args or args[1:] or not _UNDERSTOOD.issuperset(kwargs):
            return None
        given = args[0]
        if self._sole is not None:
            return (given,) if self._sole.takes(given) else None
        parts: tuple[Any, ...] = tuple(given) if isinstance(given, tuple) else ()
        if len(parts) != len(self._key):
            return None
        return parts if all(operand.takes(part) for operand, part in zip(self._key, parts, strict=True)) else None

    def _ask(
        self, operation: str, dialect: Dialect, key: tuple[Any, ...], given: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AskedRow | None:
        deleted = kwargs.get("include_deleted", False)
        shape: Shape = [deleted]
        binds: Binds = []
        if (deleted is not True and deleted is not False) or not self._plans.compared(given, shape, binds):
            return None
        plan = self._plans.find(tuple(shape), dialect, lambda: self._plan(key, binds, kwargs, dialect))
        values = None if plan is None else plan.values((*key, *[bind.value for bind in binds]) if binds else key)
        if plan is None or values is None:
            return None
        return AskedRow(self._entity, operation, plan, values, (key,) if self._sole is None else key)

    def _plan(self, key: tuple[Any, ...], binds: Binds, kwargs: dict[str, Any], dialect: Dialect) -> Plan | None:
        info, scope = self._entity.info, kwargs.get("scope")
        compared: list[Any] = info.key_condition(key)
        limits = NO_LIMITS if scope is None else resolve_scope(scope, info)
        statement = self._select(compared, limits, kwargs.get("include_deleted", False))
        return compile_plan(statement, info, [*(each.right for each in compared), *binds], dialect)


_UNDERSTOOD: Final = frozenset({"scope", "include_deleted"})
