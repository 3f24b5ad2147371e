"""Reading one row by its key on a plan: what is sent for a call, and what the answer means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeAlias

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect
from typing_extensions import TypeVar

from rowsmith.conditions import Condition, given_conditions
from rowsmith.execution import Origin
from rowsmith.mapping.layout import AnySelect, Record
from rowsmith.operations.entity import Entity
from rowsmith.operations.plans import Operand, Plan, Plans, compile_plan
from rowsmith.scope import NO_LIMITS, Limits, SearchScope, Settled, is_unchecked, resolve_scope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TAnswer = TypeVar("TAnswer")

Selecting: TypeAlias = Callable[[Sequence[ColumnElement[bool]], Limits, bool], AnySelect]
"""Makes the SELECT of a key's conditions under a scope; says whether deleted rows are seen."""

Absent: TypeAlias = Callable[[Sequence[object]], Exception]


class Asked(Generic[TAnswer]):
    """A row that is asked for.

    ``plan`` and its ``values`` are what is sent; ``absent`` makes the error where no row is there, and is None where
    that is an answer; ``given`` is what ``scope`` said, as it may say otherwise the next time.
    """

    __slots__ = ("_entity", "absent", "given", "operation", "pk", "plan", "scope", "values")

    def __init__(
        self, entity: Entity[Any, TAnswer], operation: str, pk: object, plan: Plan, values: Sequence[Any]
    ) -> None:
        self._entity, self.operation, self.pk, self.plan, self.values = entity, operation, pk, plan, values
        self.absent: Absent | None = None
        self.scope: SearchScope | None = None
        self.given: Sequence[Condition] = ()

    def origin(self) -> Origin:
        """Say whose call it is."""
        return self._entity.origin(self.operation)

    def settle(self, kwargs: dict[str, Any]) -> None:
        """Have the scope say again what it said, where the call is made in a session after all."""
        if self.scope is not None:
            kwargs["scope"] = Settled(self.scope, self.given)

    def answer(self, records: Sequence[Record]) -> TAnswer | None:
        """Give the data of the row.

        Raises:
            EntityNotFound: absent, deleted or outside the scope, all alike; or ``not_found``'s error.
        """
        if records:
            data: TAnswer = self._entity.shape.layout.make(records, ())[0]
            return data
        if self.absent is None:
            return None
        raise self.absent([self.pk])


class ByKey(Generic[TRow, TData]):
    """The plans of the reads of one row: of each shape that a scope has, with and without deleted rows.

    Args:
        entity: whose rows are read.
        select: makes the statement that SQLAlchemy is given for the same call.
    """

    def __init__(self, entity: Entity[TRow, TData], select: Selecting) -> None:
        info, layout = entity.info, entity.shape.layout
        self._entity, self._select = entity, select
        self._plans = Plans(info)
        self._key = [Operand(info.attribute(name), info.columns[name], info.check(name)) for name in info.primary_key]
        self._sole = self._key[0] if len(self._key) == 1 else None
        self._is_flat = not entity.shape.is_row and bool(layout.names) and not (layout.joins or layout.collections)

    def ask(
        self, operation: str, dialect: Dialect, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Asked[TData] | None:
        """Say what a call has to send; None where it is not plainly a read of columns by a key that can be one.

        Args:
            operation: the verb's name.
            dialect: whose SQL it is to be.
            args, kwargs: the verb's arguments. A scope that was asked in vain is put back with what it said.
        """
        key, scope = self._key_of(args, kwargs), kwargs.get("scope")
        if key is None:
            return None
        if scope is None:
            return None if self._entity.scope_required else self._ask(operation, dialect, key, (), kwargs)
        if not is_unchecked(type(scope)):
            return None
        given = given_conditions(scope)
        asked = self._ask(operation, dialect, key, given, kwargs) if given else None
        if asked is None:
            kwargs["scope"] = Settled(scope, given)
        else:
            asked.scope, asked.given = scope, given
        return asked

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
        """Give the key's parts, if the arguments are those of a plain call, and the key is one."""
        if not self._is_flat or not args or args[1:] or not _UNDERSTOOD.issuperset(kwargs):
            return None
        if self._sole is not None:
            return args if self._sole.takes(args[0]) else None
        is_tuple, parts = isinstance(args[0], tuple), args[0]
        if not is_tuple or len(parts) != len(self._key):
            return None
        fits = all(operand.takes(part) for operand, part in zip(self._key, parts, strict=True))
        return tuple(parts) if fits else None

    def _ask(
        self, operation: str, dialect: Dialect, key: tuple[Any, ...], given: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Asked[TData] | None:
        deleted = kwargs.get("include_deleted", False)
        shape = self._plans.shape(given, deleted)
        if shape is None:
            return None
        plan = self._plans.find(shape, dialect, lambda: self._plan(key, given, kwargs, dialect))
        values = None if plan is None else plan.values(key, given)
        if plan is None or values is None:
            return None
        return Asked(self._entity, operation, key if self._sole is None else key[0], plan, values)

    def _plan(
        self, key: tuple[Any, ...], given: tuple[Any, ...], kwargs: dict[str, Any], dialect: Dialect
    ) -> Plan | None:
        info, scope = self._entity.info, kwargs.get("scope")
        compared: list[Any] = info.key_condition(key)
        limits = NO_LIMITS if scope is None else resolve_scope(Settled(scope, given), info)
        statement = self._select(compared, limits, kwargs.get("include_deleted", False))
        return compile_plan(statement, info, [each.right for each in (*compared, *given)], dialect)


_UNDERSTOOD: Final = frozenset({"scope", "include_deleted"})
