"""The statements of a purge over conditions: how many rows there are, which come next, and their removal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Delete,
    Integer,
    Select,
    bindparam,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeEngine

from rowsmith.conditions import limited
from rowsmith.execution import Origin
from rowsmith.execution.standing import TABLE, Standing
from rowsmith.names import sql_name
from rowsmith.operations.arrays.keys import Key, keys_condition
from rowsmith.operations.call import Call
from rowsmith.operations.deletes.self_references import SelfReferences
from rowsmith.operations.entity import Entity
from rowsmith.operations.updates.statement import found_again, locking_in_key_order, marks_of
from rowsmith.pagination.sort_keys import leading_back

_LIMIT: Final = sql_name("limit")
_AFTER: Final = sql_name("after_")


@dataclass(frozen=True)
class Walk:
    """How the next chunk is come by: whether it is the first one, and whether keys are walked from the last one down.

    ``whole`` has all of it removed, whatever refers to it; ``waits`` has rows waited for that others have locked.
    """

    first: bool
    down: bool = False
    whole: bool = False
    waits: bool = False

    def ordered(self, columns: Sequence[Any]) -> list[Any]:
        """Give the ORDER BY of the walk."""
        return [column.desc() if self.down else column for column in columns]

    @property
    def backwards(self) -> Walk:
        """The same walk in the other direction."""
        return replace(self, down=not self.down)


class Doomed:
    """The statements about rows that are to be removed: count, look, and remove a chunk.

    ``origin`` says whose call they are; ``shard`` on which shard the rows are, if their table is spread over several;
    ``standing`` what that table is; ``named`` has the class named, for what listens to statements about it.
    ``may_come_back`` says that triggers may put back what is removed, so that it has to be looked for by its keys: not
    where a value that was read may stand for another key, as the ends of Python's calendar do.
    """

    def __init__(
        self,
        entity: Entity[object, object],
        origin: Origin,
        conditions: Sequence[ColumnElement[bool]],
        shard: Sequence[ColumnElement[bool]] = (),
        standing: Standing = TABLE,
        *,
        named: bool = False,
        may_come_back: bool = False,
    ) -> None:
        self.entity, self.info, self.origin, self.conditions = entity, entity.info, origin, list(conditions)
        self.shard, self.standing = shard, standing
        self.may_come_back = may_come_back and all(
            leading_back(column.type) is column.type for column in self.info.key_columns
        )
        self.in_parts = len(self.info.all_parts) > 1
        # Where it need not be the class is not named: SQLAlchemy has more to do for it.
        self.source: Any = self.info.row if self.in_parts or named else self.info.table
        self.key: Sequence[Any] = self.info.key_attributes if self.in_parts else self.info.key_columns
        self.ties = SelfReferences(self.info, self.info.all_parts)
        self.chunk = cache(self._chunk)
        self.next = cache(self._next)

    @classmethod
    async def of(cls, call: Call[Any, Any], conditions: Sequence[ColumnElement[bool]]) -> Doomed:
        """Give those of a call, under its scope."""
        conditions = [*call.limits.conditions, *conditions]
        named, standing = bool(call.db_sess.sync_session.dispatch.do_orm_execute), await call.standing()
        return cls(
            *(call.entity, call.origin(deletes=True), conditions, call.on_shard(), standing),
            named=named,
            may_come_back=call.may_come_back,
        )

    def count(self) -> Select[Any]:
        """Give the SELECT of how many there are."""
        return limited(select(func.count()).select_from(self.source), *self.conditions)

    def stuck(self) -> Select[*tuple[Any, ...]]:
        """Give the SELECT of the first key whose row is seen, and cannot be locked now."""
        found = limited(select(*self.key).select_from(self.source), *self.conditions)
        free = found.with_for_update(of=self.info.tables, skip_locked=True).cte(sql_name("free"))
        key = tuple_(*self.key) if len(self.key) > 1 else self.key[0]
        return limited(found, key.not_in(select(free))).order_by(*self.key).limit(1)

    def at(self, key: Key, dialect: Dialect) -> Select[*tuple[Any, ...]]:
        """Give the SELECT of the row with a key, if it is one of them."""
        here = keys_condition(self.info, [key], dialect)
        return limited(select(*self.key).select_from(self.source), here, *self.conditions)

    def any(self) -> Select[Any]:
        """Give the SELECT of whether there is one."""
        return select(exists(limited(select(literal(1)).select_from(self.source), *self.conditions)))

    def keys(self, walk: Walk, kinds: Sequence[TypeEngine[Any]] | None = None) -> Select[*tuple[Any, ...]]:
        """Give the SELECT of the next keys in the order of a walk. See :meth:`given`, whose key is of these types."""
        columns = self.key
        kinds = kinds or [column.type for column in columns]
        last = [bindparam(f"{_AFTER}{place}", type_=kind) for place, kind in enumerate(kinds)]
        beyond: Any = operators.lt if walk.down else operators.gt
        rest = beyond(tuple_(*columns), tuple_(*last)) if len(columns) > 1 else beyond(columns[0], last[0])
        chosen = limited(select(*columns).select_from(self.source), *self.conditions, *([] if walk.first else [rest]))
        return chosen.order_by(*walk.ordered(columns)).limit(bindparam(_LIMIT, type_=Integer))

    @staticmethod
    def given(after: Key | None, limit: int) -> dict[str, Any]:
        """Give the parameters of :meth:`keys` and :meth:`chunk`."""
        return {_LIMIT: limit, **{f"{_AFTER}{place}": part for place, part in enumerate(after or ())}}

    def free(self, walk: Walk) -> Select[*tuple[Any, ...]]:
        """Give PostgreSQL's SELECT of the next keys whose rows nobody has, which it locks."""
        return self.standing.locked(self.keys(walk), of=self.info.tables, skip_locked=True)

    def lock(self) -> Select[Any]:
        """Give PostgreSQL's SELECT that locks all in key order, and says how many there are."""
        locking = locking_in_key_order(self.info, self.standing, self.conditions, source=self.source)
        return select(func.count()).select_from(locking.cte(sql_name("locked")))

    def everything(self, dialect: Dialect, limit: int | None = None, *, held: bool = False) -> Delete:
        """Give the DELETE of all; on PostgreSQL it has them, or the first ones, locked in key order beforehand.

        There it leaves out those that others have changed since it began: they are held. ``held`` is for rows that are
        locked already: it does not wait for one that has come since.
        """
        removing = delete(self.info.row)
        if dialect.name != "postgresql":
            return limited(removing, *self.conditions)
        locking = locking_in_key_order(self.info, self.standing, self.conditions, limit, self.source, skip_locked=held)
        locked = locking.cte(sql_name("locked"))
        return limited(removing, *found_again(self.info, self.standing, locked, self.conditions), *self.shard)

    def first(self, limit: int | None) -> Select[*tuple[Any, ...]]:
        """Give the SELECT of the first keys, locked in their order."""
        columns = self.info.key_attributes
        chosen = limited(select(*columns), *self.conditions).order_by(*columns).limit(limit)
        return self.standing.locked(chosen, of=self.info.tables)

    def _chunk(self, walk: Walk) -> Select[*tuple[Any, ...]]:
        """Give PostgreSQL's statement that removes the next chunk.

        It says how many rows went, were tried and were met, and the last key; nothing where there is nothing more. The
        places alone lead to the rows, for the planner could take conditions to be the better way; those of another
        partition are told apart by a look into a hash table.
        """
        info, marks = self.info, marks_of(self.info, self.standing)
        kinds = [leading_back(column.type) for column in info.key_columns]
        keys = self.keys(walk, kinds).add_columns(*marks, *self.ties.columns)
        locked = self.standing.locked(keys, skip_locked=True).cte(sql_name("locked"))
        free = (
            [] if walk.whole or not self.ties else [~self.ties.among(locked, self.ties.kept(locked, self.conditions))]
        )
        these = found_again(info, self.standing, locked, self.conditions, only=free)
        gone = limited(delete(info.table), *these, *self.shard).returning(marks[0]).cte(sql_name("gone"))
        last = [locked.c[column.name] for column in info.key_columns]
        counted = func.count()
        tried = limited(select(counted).select_from(locked), *free)
        numbers = [select(counted).select_from(gone), tried, select(counted).select_from(locked)]
        return (
            select(*(number.scalar_subquery() for number in numbers), *map(type_coerce, last, kinds))
            .order_by(*walk.backwards.ordered(last))
            .limit(1)
        )

    def _next(self, walk: Walk) -> Select[*tuple[Any, ...]]:
        """Give the SELECT of the next chunk: the rows' keys, what ties them, and whether they are kept back."""
        keys = self.keys(walk).add_columns(*self.ties.columns)
        if walk.waits or self.may_come_back:
            keys = self.standing.locked(keys, of=self.info.tables, skip_locked=not walk.waits)
        if not self.ties:
            return keys.add_columns(false())
        locked = keys.cte(sql_name("locked"))
        kept = false() if walk.whole else self.ties.among(locked, self.ties.kept(locked, self.conditions))
        last = [locked.c[column.name] for column in self.info.key_columns]
        return select(*locked.c, kept).order_by(*walk.ordered(last))

    def key_of(self, row: Sequence[object]) -> Key:
        """Give the key of what :meth:`next` gave."""
        return tuple(row[: len(self.info.primary_key)])

    def remove(self, keys: Sequence[Key], dialect: Dialect) -> Delete:
        """Give the DELETE of some keys."""
        return limited(delete(self.info.row), keys_condition(self.info, keys, dialect), *self.conditions)
