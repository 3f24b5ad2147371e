"""Savepoints of a session: where one is undone, the objects that the session holds are as the database has them.

SQLAlchemy expires what was changed since a savepoint that is undone, and an expired attribute cannot load itself in
asyncio. What was read since then, after a write that is undone with it, SQLAlchemy leaves as it was read. Both are read
again, at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any, cast
from warnings import catch_warnings, simplefilter

from sqlalchemy import event, select
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import InstanceState, Mapper, Session, SessionTransaction, lazyload, undefer
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.loading import _new_runid  # pyright: ignore[reportPrivateUsage] - what numbers reads

from rowsmith.conditions import limited
from rowsmith.errors import TransactionAborted
from rowsmith.execution import (
    DATABASE_ERRORS,
    UNDONE,
    connections_of,
    give_up_all,
    has_failed,
    is_over,
    is_undone,
    writes_of,
)
from rowsmith.operations.arrays.keys import columns_condition, key_chunks
from rowsmith.operations.given_rows import Under, keep_within, shown_under


@asynccontextmanager
async def savepoint(
    db_sess: AsyncSession, *, stays: bool = False, only_reads: bool = False
) -> AsyncGenerator[AsyncSessionTransaction]:
    """Undo the block if it fails, and have the session's objects be then as the database has them.

    Where the database has undone more, the whole transaction, the error is the cause of a TransactionAborted.
    Where it cannot be undone, nothing is committed of what the session is in by then, unless it ``only_reads``.

    One that ``stays`` is released with the one around it. If that is undone instead, whoever came to rows of the block
    is told at once; where it had been released before, they would wait for the whole transaction, rows or no rows.
    """
    held = _Held(db_sess)
    nested = await db_sess.begin_nested()
    try:
        with held.noting_flushes():
            yield nested
            if not stays:
                await nested.commit()
    except BaseException as exc:
        held.note(db_sess.identity_map.all_states())
        is_lost = any(connection.invalidated for connection in connections_of(db_sess))
        is_there = not (is_lost or is_over(cast("SessionTransaction", nested.sync_transaction)))
        try:
            with nullcontext() if is_there else _unwarned():
                await nested.rollback()
        except DATABASE_ERRORS:  # a lost connection cannot roll back: the first error says why
            is_there = False
        if not (is_there or only_reads):
            give_up_all(db_sess)
        with suppress(*DATABASE_ERRORS):  # as above
            await held.restore()
        is_told = isinstance(exc, TransactionAborted) or not isinstance(exc, Exception)
        if not is_told and any(map(is_undone, connections_of(db_sess))):
            raise TransactionAborted(UNDONE) from exc
        raise


@contextmanager
def _unwarned() -> Generator[None]:
    """Have SQLAlchemy not warn that a savepoint was ended before, or is on a connection that is lost."""
    with catch_warnings():
        simplefilter("ignore", SAWarning)
        yield


class _Held:
    """The objects of a session, as they are known to have been since a savepoint."""

    def __init__(self, db_sess: AsyncSession) -> None:
        self._db_sess, self._writes, self._read = db_sess, writes_of(db_sess), _new_runid()
        self._values: dict[InstanceState[Any], dict[str, Any]] = {}

    @contextmanager
    def noting_flushes(self) -> Generator[None]:
        """Note what is flushed in a block: where that fails, SQLAlchemy has undone and expired it already."""
        session = self._db_sess.sync_session

        def note(session: Session, *_: object) -> None:
            self.note(session.identity_map._modified)  # pyright: ignore[reportPrivateUsage] - only the rows are public

        event.listen(session, "before_flush", note)
        try:
            yield
        finally:
            event.remove(session, "before_flush", note)

    def note(self, states: Collection[InstanceState[Any]]) -> None:
        """Note what is loaded of objects."""
        for state in states:
            self._values.setdefault(state, {}).update(state.dict)

    async def restore(self) -> None:
        """Read again what the savepoint's end has made unknown, or untrue."""
        db_sess = self._db_sess
        if not (db_sess.in_transaction() and db_sess.is_active) or any(map(has_failed, connections_of(db_sess))):
            return
        kinds = dict[tuple[Mapper[Any], frozenset[tuple[str, Under]]], list[InstanceState[Any]]]()
        for state in db_sess.identity_map.all_states():
            lost = self._lost(state)
            if state.obj() is not None and (self._is_untrue(state) or lost):
                related = lost.intersection(state.mapper.relationships.keys())
                shown = frozenset((name, shown_under(state, name)) for name in related)
                kinds.setdefault((state.mapper, shown), []).append(state)
        for (mapper, shown), states in kinds.items():
            await self._read_again(mapper, dict(shown), states)

    def _is_untrue(self, state: InstanceState[Any]) -> bool:
        """Say whether an object was read since the savepoint, after a call had written."""
        return writes_of(self._db_sess) != self._writes and (state.runid or 0) > self._read

    def _lost(self, state: InstanceState[Any]) -> set[str]:
        """Give the attributes that were loaded and are no more; of an object never noted, those of its columns."""
        known = self._values.get(state) or (dict.fromkeys(state.mapper.column_attrs.keys()) if state.expired else {})
        return known.keys() - state.dict.keys()

    async def _read_again(
        self, mapper: Mapper[Any], shown: Mapping[str, Under], states: Sequence[InstanceState[Any]]
    ) -> None:
        """Read objects of one class, and what each of these relationships showed of related rows."""
        rows = [state.obj() for state in states]
        columns = mapper.column_attrs.keys()
        for state, row in zip(states, rows, strict=True):
            if self._is_untrue(state) and (loaded := [name for name in columns if name in state.dict]):
                self._db_sess.expire(row, loaded)
        lost = set[str]().union(*map(self._lost, states))
        loads: list[Any] = [under.option(mapper, name) for name, under in shown.items()]
        loads += [undefer(getattr(mapper.class_, name)) for name in lost.intersection(columns)]
        dialect = self._db_sess.get_bind(mapper).dialect
        for keys in key_chunks([state.key[1] for state in states if state.key], dialect, mapper.primary_key):
            there = limited(select(mapper), columns_condition(mapper.primary_key, keys, dialect))
            (await self._db_sess.execute(there.options(lazyload("*"), *loads))).unique().all()
        for state, row in zip(states, rows, strict=True):  # what is there no more keeps what it had
            for name in self._lost(state) & self._values.get(state, {}).keys():
                set_committed_value(row, name, self._values[state][name])
        keep_within(self._db_sess.sync_session, states)
