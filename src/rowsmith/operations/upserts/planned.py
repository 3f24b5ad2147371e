"""Upserts of one row on plans: what is sent for a call, and what the answer means.

The statement is that of SQLAlchemy's way. Its answer says which it was where the row is new, or was there within reach
and is changed. Where nothing comes back nobody knows yet why: the row may be out of reach, or left out by a trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, Final

from sqlalchemy.engine import Dialect
from typing_extensions import TypeVar, override

from rowsmith.errors import RepositoryError
from rowsmith.execution import Made, NativeLane
from rowsmith.mapping import RowInfo, Spec
from rowsmith.mapping.layout import Record
from rowsmith.mapping.writes import checked_values
from rowsmith.operations.arrays.keys import keep_tellable
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.blocks.defaults import (
    client_defaults,
    contextual,
    contextual_updates,
    default_of,
    python_updates,
    update_of,
)
from rowsmith.operations.conflict import Conflict, ConflictKey
from rowsmith.operations.entity import Entity
from rowsmith.operations.plans import Binds, CallPattern, Plan, compile_write, placed
from rowsmith.operations.results import Upserted
from rowsmith.operations.updates.version import is_counted
from rowsmith.operations.upserts.statement import WITHOUT_UPSERT, UpsertStatement
from rowsmith.operations.writes import UNDERSTOOD, AskedInsert, PlannedWrites, Values
from rowsmith.scope import Limits, resolve_scope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)

_FIRST: Final = range(1)
"""The places of a single spec."""


class AskedUpsert(AskedInsert):
    """An upsert that is asked for: whether the row is new comes back after its data."""

    __slots__ = ()

    @override
    def made(self, records: Sequence[Record]) -> Made | None:
        """Make the data of the row written; None where there is none, or a trigger has changed what the scope fixes."""
        width = len(self.entity.shape.layout.names) + 1
        is_one = len(records) == 1 and tuple(records[0][width:]) == self._expected
        if is_one and not self.entity.info.split.isdisjoint(self._stamps):
            is_one = self._is_kept(records[0])
        return self.data(records) if is_one else None

    @override
    def data(self, records: Sequence[Record]) -> Made:
        """Make the data of the row written, and say whether it is new."""
        (made,) = super().data(records)
        return (Upserted(made, records[0][len(self.entity.shape.layout.names)]),)


@dataclass(frozen=True, slots=True)
class UpsertPlan:
    """The plan of a pattern, and what has to be worked out for each call.

    ``key`` gives the values by which the row is told apart, of those of a call.
    """

    plan: Plan
    key: Callable[[Sequence[Any]], Any]


class PlannedUpserts(PlannedWrites[TRow, TData, UpsertPlan]):
    """The plans of upserts: of each key that they go by and each pattern that a scope has, by what a spec sets."""

    def __init__(self, entity: Entity[TRow, TData]) -> None:
        super().__init__(entity, "upsert", UNDERSTOOD | {"conflict"})

    def ask(self, lane: NativeLane, spec: Any, kwargs: dict[str, Any]) -> AskedUpsert | None:
        """Say what an upsert takes; None where it is not plainly one statement."""
        info = self._entity.info.on_postgresql
        pattern: CallPattern = []
        binds: Binds = []
        is_known = self.is_plain and self._entity.next_value is None
        is_known = is_known and not getattr(spec, "__rowsmith_children__", True)
        is_known = is_known and self._keyed(kwargs.get("conflict"), pattern)
        limits = self.scoped(kwargs, pattern, binds) if is_known else None
        given: dict[str, Any] = {}

        def values_of(limits: Limits) -> Values:
            given.update(checked_values(spec, info, Spec))
            return limits.stamp(given, info)

        values = None if limits is None else self.plain_values(values_of, limits, pattern, kwargs)
        if limits is None or values is None:
            return None
        pattern.append(len(given))
        asked = _Asked(given, values, binds, kwargs, lane.dialect)
        known = self._plans.find(tuple(pattern), lane.dialect, lambda: self._planned(asked))
        sent = None if known is None else self._sent(known, [*values.values()], binds)
        if known is None or sent is None:
            return None
        return AskedUpsert(self._entity, self._operation, known.plan, sent, limits.stamps)

    def _keyed(self, conflict: Any, pattern: CallPattern) -> bool:
        """Add the key to a pattern; says whether it is one that may be known again."""
        if conflict is None or conflict is self._entity.conflict:
            pattern.append(None)
            return True
        if conflict.__class__ is not Conflict or conflict.columns.__class__ not in (list, tuple):
            return False
        where = () if conflict.where is None else (conflict.where,)
        pattern += (repr(conflict.constraint), repr(conflict.update), len(conflict.columns))
        return self._plans.ordered((*conflict.columns, *where), pattern)

    def _sent(self, known: UpsertPlan, values: list[Any], binds: Binds) -> Sequence[Any] | None:
        try:
            hash(known.key(values))
        except TypeError:
            return None
        return known.plan.values([*values, *[bind.value for bind in binds]])

    def _planned(self, asked: _Asked) -> UpsertPlan | None:
        try:
            return self._plan(asked)
        except RepositoryError:  # of what is declared
            return None

    def _plan(self, asked: _Asked) -> UpsertPlan | None:
        info, conflict = self._entity.info, asked.kwargs.get("conflict") or self._entity.conflict
        limits, key = resolve_scope(asked.kwargs.get("scope"), info), conflict.resolve(info)
        keep_tellable(info, (*info.primary_key, *key.names), WITHOUT_UPSERT)
        is_whole = all(asked.values.get(name) is not None for name in key.names)
        if limits.others or not is_whole or any(info.is_foreign(name, (), changes=True) for name in asked.given):
            return None
        if contextual(info, asked.values) or contextual_updates(info, asked.changed(info)):
            return None
        if not is_counted(info):
            return None
        return self._compiled(asked, limits, conflict, key)

    def _compiled(self, asked: _Asked, limits: Limits, conflict: Conflict, key: ConflictKey) -> UpsertPlan | None:
        info, names = self._entity.info, [*asked.values]
        defaults, updates = [*client_defaults(info, names)], python_updates(info, asked.changed(info))
        given, made = self.marks(asked.values), self.marks(dict.fromkeys(defaults))
        changed = self.marks(dict.fromkeys(updates))
        conditions = [placed(condition, asked.binds, len(given)) for condition in limits.conditions]
        conditions += self._entity.live()
        back = self._entity.shape.layout.names
        statement = UpsertStatement(
            info, key, (*asked.given,), conditions, back, conflict.update, lambda name, _: changed[name]
        )
        if not statement.changes_rows:
            return None
        row = Block({name: [mark] for name, mark in {**given, **made}.items()}, {}, 1, _FIRST, frozenset(asked.given))
        sent = statement.from_values(row, asked.dialect).returning(*map(info.attribute, limits.stamps))
        stamps = [given[name] for name in limits.stamps]
        places = [*given.values(), *asked.binds, *made.values(), *changed.values()]
        makers = [partial(default_of, info, name) for name in defaults]
        makers += [partial(update_of, info, name) for name in updates]
        plan = compile_write(sent, info, places, asked.dialect, stamps, makers)
        if plan is None:
            return None
        plan.placed = info.table
        return UpsertPlan(plan, itemgetter(*map(names.index, key.names)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a plan is made for: the first call of its pattern."""

    given: Values
    values: Values
    binds: Binds
    kwargs: Mapping[str, Any]
    dialect: Dialect

    def changed(self, info: RowInfo[object]) -> set[str]:
        """Give what a row that is there takes over."""
        return self.given.keys() - {*info.primary_key}
