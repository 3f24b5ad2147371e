"""Reading one row by its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement

from rowsmith.conditions import limited
from rowsmith.execution import NativeLane
from rowsmith.lock import Lock
from rowsmith.mapping.layout import AnySelect
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.entity import by_entity
from rowsmith.operations.present import present
from rowsmith.operations.reads.by_key import AskedRow, ByKey
from rowsmith.scope import Limits, SearchScope


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

    def _find(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        return self._ask("find", lane, args, kwargs)

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

    @verb("find", native=_find)
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
        entity = self.entity
        return limited(entity.shape.select(), *key, *limits.conditions, *entity.live(include_deleted))
