"""Rows that transactions write, and the keepers of copies of them, who are told before COMMIT and when it is over.

A transaction notes in its session what it is going to write. Before COMMIT is sent each keeper of copies lets go of
them and takes no new ones; once it is known what became of COMMIT, it may again. So no copy of a row as it was can be
there after COMMIT, whoever read it when. Where nobody comes to know, the keeper begins again by itself after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from weakref import WeakKeyDictionary, WeakSet, finalize

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import await_only

Ids: TypeAlias = Collection[Any] | None
"""The ids of rows that are written; None: it is not known which."""


class Keeper(Protocol):
    """Who keeps copies of rows. Its methods wait for a bounded time only, and never fail, but for :meth:`tell`."""

    @property
    def tells_others(self) -> bool:
        """Whether others who keep copies are to be told in the transaction that writes."""
        ...

    def tell(self, source: Session | Connection, ids: Ids) -> None:
        """Send a statement in that transaction by which the others come to know, once it is committed."""
        ...

    def is_concerned(self, writing: Writing) -> bool:
        """Say whether a copy could be of a row that is written."""
        ...

    def ids_of(self, writing: Writing, ids: Ids) -> Ids:
        """Give the ids, as the keeper knows them, of the copies that are no longer right."""
        ...

    async def hold(self, ids: Ids) -> object:
        """Let go of copies, and take none; gives what :meth:`release` is to be given."""
        ...

    async def release(self, held: object, ids: Ids) -> None:
        """Take copies again."""
        ...


@dataclass(frozen=True)
class Writing:
    """What a verb, or a flush, does to rows.

    ``tables`` are theirs, by their full names, as several classes may be mapped to one table; ``key`` is what their ids
    are values of, the root's columns where classes inherit; ``makes`` says that it only makes new ones, ``removes``
    that it may take some away.
    """

    tables: Sequence[str]
    key: Sequence[Any]
    makes: bool = False
    removes: bool = True


KEEPERS: Final[dict[str, WeakSet[Any]]] = {}
"""Of each table, by its full name, the keepers who live; a table that has none is not in it."""


def keep(tables: Iterable[str], keeper: Keeper) -> None:
    """Have a keeper told from now on of what is written into some tables, for as long as it lives."""
    kept = list(tables)
    for table in kept:
        # A new set each time: one that is there may be let go of before it is added to.
        KEEPERS[table] = WeakSet([*KEEPERS.get(table, ()), keeper])
    finalize(keeper, _let_go, kept).atexit = False


def _let_go(tables: Iterable[str]) -> None:
    """Forget those tables whose last keeper is gone."""
    for table in tables:
        # Asked for a keeper: its length may count one yet that is gone.
        if next(iter(KEEPERS.get(table, ())), None) is None:
            KEEPERS.pop(table, None)


def is_kept(tables: Iterable[str]) -> bool:
    """Say whether anybody is told of what is written into some tables."""
    return any(KEEPERS.get(table) for table in tables)


def note(db_sess: AsyncSession, writing: Writing, ids: Ids) -> None:
    """Note what the session's transaction writes, for all keepers whom it concerns, until it or its savepoint ends."""
    note_within(db_sess.sync_session, writing, ids)


def note_within(session: Session, writing: Writing, ids: Ids) -> None:
    """Do as :func:`note` in the session below."""
    found = _concerned(writing, ids)
    if not found:
        return
    savepoint = session.get_nested_transaction()
    if savepoint is not None and _after_soft_rollback not in session.dispatch.after_soft_rollback:
        event.listen(session, "after_soft_rollback", _after_soft_rollback)
    noted = session.info.setdefault(_NOTED, [])
    noted += found if savepoint is None else [each._replace(savepoint=savepoint) for each in found]
    if not getattr(session, "tells", False):
        await_commit(session)
        _await_end(session)
    if _HELD in session.info:  # its COMMIT is on its way, which this is flushed for
        _hold(session)


def await_commit(session: Session) -> None:
    """Have keepers told of the COMMIT of a session that somebody else owns, also what is flushed for it; idempotent."""
    if _before_commit not in session.dispatch.before_commit:
        event.listen(session, "before_commit", _before_commit)


def _await_end(session: Session) -> None:
    if _after_end not in session.dispatch.after_transaction_end:
        event.listen(session, "after_commit", _after_commit)
        event.listen(session, "after_transaction_end", _after_end)


_NOTED: Final = "rowsmith_touched"
_HELD: Final = "rowsmith_held"


class _Noted(NamedTuple):
    """Rows that are written, as a keeper knows them, after a savepoint if there is one."""

    keeper: Any
    ids: Ids
    savepoint: SessionTransaction | None = None

    def is_after(self, savepoint: SessionTransaction) -> bool:
        """Say whether it is undone by going back to a savepoint."""
        inner = self.savepoint
        while inner is not None and inner is not savepoint:
            inner = inner.parent
        return inner is savepoint


def forget_noted(db_sess: AsyncSession) -> None:
    """Forget what was noted: it is undone."""
    db_sess.info.pop(_NOTED, None)


def _after_soft_rollback(session: Session, ended: SessionTransaction) -> None:
    """Forget what was noted since a savepoint."""
    noted: list[_Noted] = session.info.get(_NOTED, [])
    noted[:] = [each for each in noted if not each.is_after(ended)]


@dataclass(frozen=True)
class Holding:
    """A keeper that takes no copies of some rows until a COMMIT is over."""

    keeper: Keeper
    ids: Ids
    held: object

    async def release(self) -> None:
        """Have it take copies again."""
        await self.keeper.release(self.held, self.ids)


async def hold_noted(info: dict[Any, Any]) -> Sequence[Holding]:
    """Have keepers let go of what a session has noted, before its COMMIT."""
    noted: list[_Noted] | None = info.pop(_NOTED, None)
    return await _held(_merged(noted)) if noted else ()


@contextmanager
def holding(info: dict[Any, Any], holdings: list[Holding]) -> Generator[None]:
    """Have what is flushed in a block, which sends COMMIT, held before that as well, and added to what is held."""
    info[_HELD] = holdings
    try:
        yield
    finally:
        del info[_HELD]


def tells_any(holdings: Sequence[Holding]) -> bool:
    """Say whether others are to be told of a transaction before its COMMIT."""
    return any(holding.keeper.tells_others for holding in holdings)


def tell_others(holdings: Sequence[Holding], source: Session | Connection) -> None:
    """Have others told of what is held, by statements of the transaction that writes it."""
    for holding in holdings:
        holding.keeper.tell(source, holding.ids)


async def hold_now(writing: Writing, ids: Ids) -> Sequence[Holding]:
    """Have keepers let go of rows that are written outside of any session."""
    return await _held(_concerned(writing, ids))


async def release_all(holdings: Sequence[Holding]) -> None:
    """Have keepers take copies again, whatever became of COMMIT; to the end, however often the task is cancelled."""
    if not holdings:
        return
    work, cancelled = asyncio.ensure_future(_released(holdings)), None
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    work.result()
    if cancelled is not None:
        raise cancelled


MOST_IDS: Final = 10_000
"""Of a transaction that writes more rows, a keeper is told that it may be any."""


def _concerned(writing: Writing, ids: Ids) -> list[_Noted]:
    """Give the keepers that a write concerns, with the ids as they know them."""
    told = {keeper for table in writing.tables for keeper in KEEPERS.get(table, ())}
    return [_Noted(keeper, keeper.ids_of(writing, ids)) for keeper in told if keeper.is_concerned(writing)]


async def _held(noted: Iterable[_Noted]) -> Sequence[Holding]:
    """Have keepers let go of rows."""
    return [Holding(keeper, ids, await keeper.hold(ids)) for keeper, ids, _ in noted]


def _merged(noted: Iterable[_Noted]) -> Iterator[_Noted]:
    """Give for each keeper all ids that were noted; None, for any, where they are too many or not known."""
    merged: dict[Any, set[Any] | None] = {}
    for keeper, ids, _ in noted:
        known = merged.setdefault(keeper, set())
        if known is not None:
            merged[keeper] = None if ids is None or len(known) + len(ids) > MOST_IDS else known.union(ids)
    yield from starmap(_Noted, merged.items())


async def _released(holdings: Sequence[Holding]) -> None:
    """Have keepers take copies again, one after the other."""
    for holding in holdings:
        await holding.release()


# A session that somebody else owns says by its events what becomes of it. They are plain functions, and wait as
# SQLAlchemy's own driver does.


def _before_commit(session: Session) -> None:
    """Let go of copies before COMMIT, or leave that to the transaction around."""
    if not KEEPERS or session.in_nested_transaction():
        return
    _await_end(session)
    session.info.setdefault(_HELD, [])
    _hold(session)


def _hold(session: Session) -> None:
    """Let go of copies of what is noted, where COMMIT is on its way."""
    if not session.info.get(_NOTED):
        return
    # The connection whose transaction this is only a part of, as that of a test that undoes everything.
    transaction: Any = session.get_transaction()
    entries = () if transaction is None else transaction._connections.values()
    parts = (entry[0] for entry in entries if not entry[2] or entry[1] is not entry[0].get_transaction())
    outer: Connection | None = next(parts, None)
    if outer is None:
        holdings = await_only(hold_noted(session.info))
        session.info[_HELD] += holdings
        tell_others(holdings, session)
        return
    _waiting.setdefault(outer, []).extend(session.info.pop(_NOTED))
    if _before_outer_commit not in outer.dispatch.commit:
        event.listen(outer, "commit", _before_outer_commit)
        event.listen(outer, "rollback", _after_outer_rollback)


def _after_commit(session: Session) -> None:
    """Have keepers take copies again."""
    if not session.in_nested_transaction():
        await_only(_to_the_end(_released(session.info.pop(_HELD, ()))))


def _after_end(session: Session, transaction: Any) -> None:
    """Forget what was noted for a transaction that is over."""
    if transaction.parent is None:
        session.info.pop(_NOTED, None)
        session.info.pop(_HELD, None)  # nobody knows what became of COMMIT: they begin again by themselves


_waiting: WeakKeyDictionary[Connection, list[_Noted]] = WeakKeyDictionary()


def _before_outer_commit(connection: Connection) -> None:
    """Let go of copies; there is no event for what comes after, so that keepers begin again by themselves."""
    tell_others(await_only(hold_noted({_NOTED: _waiting.pop(connection, [])})), connection)


def _after_outer_rollback(connection: Connection) -> None:
    """Forget what is undone."""
    _waiting.pop(connection, None)


async def _to_the_end(work: Awaitable[None]) -> None:
    """Wait for work; a cancellation meanwhile comes at the next point where the task waits."""
    done, task = asyncio.ensure_future(work), asyncio.current_task()
    while not done.done():
        try:
            await asyncio.wait((done,))
        except asyncio.CancelledError:
            assert task is not None  # noqa: S101 - it was cancelled
            task.uncancel()
            asyncio.get_running_loop().call_soon(task.cancel)
            await done
