"""Removing every row that matches, chunk by chunk, each chunk its own transaction; or all in one, if so asked.

A chunk takes the next rows in key order that nobody has locked (PostgreSQL's ``FOR UPDATE SKIP LOCKED``), so it
waits for no writer and no writer waits for more than a chunk. A pass walks the key once, from chunk to chunk. Passes
follow each other until a look without locks finds no row that matches: what was locked, or written meanwhile, is
not left behind.

Where rows of a table keep each other, or take each other along (a foreign key to the table itself, with ``ON DELETE
CASCADE`` or without), a chunk leaves those in place that are still referred to by one that is to go as well; passes
then walk the key down and up by turns, so that children go first whichever way their keys grow. What refers to each
other in a circle is longer than a chunk if a whole pass removes none: chunks grow until one takes all of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Delete, Select, func, select
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.conditions import limited
from rowsmith.errors import (
    CommitOutcomeUnknown,
    DatabaseUnavailable,
    InvalidValue,
    LockNotAvailable,
    RefusedByTrigger,
    RepositoryError,
    StillReferenced,
    kind_of,
)
from rowsmith.execution import execute, flush, transact
from rowsmith.execution.driver import give_up
from rowsmith.mapping.constraints import takes_its_own_along
from rowsmith.operations.arrays.keys import MAX_CHUNK, Key, check_chunk_size, dialect_of, key_chunks, keys_condition
from rowsmith.operations.call import Call, Operation, TData, TRow, chunked_verb, verb
from rowsmith.operations.deletes.joined import remove_parts
from rowsmith.operations.deletes.statement import Doomed, Walk
from rowsmith.operations.in_step import forget
from rowsmith.operations.reads.narrowing import narrowing
from rowsmith.operations.reads.search import Filters
from rowsmith.operations.results import PurgeReport
from rowsmith.outcome import CommitOutcome, commit_outcome, tell_of_all
from rowsmith.scope import SearchScope

R = TypeVar("R")

BeginSession: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncSession]]
"""Opens a session that commits on a clean exit, such as ``Database.begin_session``."""

PURGE_WHERE = "purge_where"

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
"""Seconds between two passes that met nothing but locked rows: doubled from the one up to the other."""

LONGEST_PAUSE = 86_400
"""Seconds between two chunks at most: a day."""

TOO_FEW = (
    "rows that refer to each other in a circle are removed together, and these are more than max_rows lets go: give "
    "a larger max_rows, or none"
)

KEPT = "a trigger or policy of the database keeps the rows that are left: leave them out by a condition"

PATIENCE = 30.0
"""Seconds without any progress, all that is left being locked by others, after which a purge gives up."""


@dataclass(frozen=True)
class Pace:
    """How a purge over conditions goes about it.

    ``chunk_size`` rows a transaction; ``max_rows`` at most in all; ``pause`` seconds between chunks;
    ``patience`` seconds without progress, for locked rows.
    """

    chunk_size: int = 1000
    max_rows: int | None = None
    pause: float = 0.005
    patience: float = PATIENCE

    def check(self) -> None:
        """Refuse numbers that have no meaning here.

        Raises:
            InvalidValue: one is out of range, or no number.
        """
        check_chunk_size(self.chunk_size)
        if self.max_rows is not None:
            _keep_between("max_rows", self.max_rows, int, math.inf, "a whole number of rows, 0 or more, or None")
        _keep_between("pause", self.pause, (int, float), LONGEST_PAUSE, f"seconds, from 0 to {LONGEST_PAUSE}")
        _keep_between("patience", self.patience, (int, float), math.inf, "seconds, 0 or more")

    def next_chunk(self, done: int) -> int:
        """Give how many rows the next chunk may have."""
        return self.chunk_size if self.max_rows is None else min(self.chunk_size, self.max_rows - done)


def _keep_between(name: str, given: Any, kind: Any, most: float, instead: str) -> None:
    """Refuse what is no number of a kind, or is below 0 or above the most."""
    if isinstance(given, bool) or not isinstance(given, kind):
        raise InvalidValue(f"{name} is {kind_of(given)}: give {instead}")
    if not 0 <= given <= most:
        raise InvalidValue(f"{name} is {'negative' if given < 0 else 'out of range'}: give {instead}")


DEFAULT_PACE = Pace()


@dataclass(frozen=True)
class Met:
    """What came of a chunk: how many rows went, of how many that were tried, of how many that were met; the last key.

    That is None where there was no more.
    """

    gone: int = 0
    tried: int = 0
    rows: int = 0
    last: Key | None = None


@dataclass
class Tally:
    """What was done so far; the clock runs from its making.

    ``under_way`` is a chunk of which it is not known yet that it is committed.
    """

    rows: int = 0
    chunks: int = 0
    under_way: Met = Met()
    started: float = field(default_factory=time.monotonic)

    def keep(self) -> Met:
        """Count the chunk that was under way, which is committed, and give it."""
        met, self.under_way = self.under_way, Met()
        self.rows += met.gone
        self.chunks += 1 if met.tried else 0
        return met

    def report(self, *, complete: bool) -> PurgeReport:
        """Give it as a report."""
        return PurgeReport(self.rows, self.chunks, time.monotonic() - self.started, complete)

    def tell(self, ended: BaseException) -> None:
        """Have what ended a purge say what became of all of it, and what was done and committed before."""
        last = commit_outcome(ended) if self.under_way.gone else CommitOutcome.NOT_COMMITTED
        if last is CommitOutcome.COMMITTED:
            self.keep()
        known = CommitOutcome.COMMITTED if self.rows else CommitOutcome.NOT_COMMITTED
        tell_of_all(ended, last if last is CommitOutcome.UNKNOWN else known)
        if self.rows:
            ended.add_note(f"{self.rows} rows were removed before, in {self.chunks} chunks: they stay removed")
        if isinstance(ended, (RepositoryError, asyncio.CancelledError)):
            cast("Any", ended).report = self.report(complete=False)


class WherePurger(Operation[TRow, TData]):
    """Removes all rows that match, soft-deleted or not: in chunks that are transactions of their own, or at once."""

    @chunked_verb(PURGE_WHERE)
    async def purge(
        self,
        begin: BeginSession,
        filters: Filters[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
        pace: Pace = DEFAULT_PACE,
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> PurgeReport:
        """Remove the rows, until a look finds none that is left or ``max_rows`` are gone.

        It may be cancelled or fail after any chunk: what is committed stays committed, and another call goes on.

        Args:
            begin: opens the session of each chunk.
            filters: which rows: a filter model, or conditions in code.
            scope: who removes. It says who asks, not which rows are meant: it does not stand in for filters.
            all_rows: all rows that the scope reaches are meant, should no filter tell them apart.
            pace: sizes and pauses.
            dry_run: only count what would be removed.
            progress: is told after each chunk how many rows are gone.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said.
            InvalidValue: a number in ``pace`` is out of range.
            StillReferenced: other rows point at one; the chunks before it are gone.
            LockNotAvailable: others kept all that is left locked for ``pace.patience`` seconds.
            RefusedByTrigger: a trigger or policy of the database keeps what is left; the others are gone.
            RepositoryError: any error carries in ``report`` what was removed before it.
            asyncio.CancelledError: so does a cancellation.
        """
        pace.check()
        meant = narrowing(self.entity.info, filters, all_rows=all_rows)

        async def admit(db_sess: AsyncSession) -> tuple[Doomed, PurgeReport | None]:
            call = await Call(self.entity, PURGE_WHERE, db_sess).removing(scope)
            doomed = await Doomed.of(call, meant(call.limits))
            return doomed, await _count(db_sess, doomed, pace) if dry_run else None

        tally = Tally()
        try:
            doomed, counted = await _transact(begin, admit, tally)
            return counted or await _Purge(begin, doomed, pace, progress, tally).purge()
        except BaseException as exc:
            tally.tell(exc)
            raise

    @verb(PURGE_WHERE)
    async def purge_at_once(
        self,
        call: Call[TRow, TData],
        filters: Filters[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
        pace: Pace = DEFAULT_PACE,
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> PurgeReport:
        """Remove the rows in the one transaction of a session, locked in the order of their keys.

        Rows that others have locked are waited for, but for those that came after it began: these may be left, and
        the report is not ``complete`` then.

        Args:
            db_sess: the session whose transaction is written in.
            filters, scope, all_rows, dry_run, progress: as for :meth:`purge`.
            pace: of it ``max_rows`` alone counts: the first ones go, in the order of their keys.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said.
            InvalidValue: a number in ``pace`` is out of range.
            StillReferenced: other rows point at one; nothing is removed.
            RefusedByTrigger: a trigger or policy of the database keeps some; nothing is removed.
        """
        pace.check()
        meant = narrowing(self.entity.info, filters, all_rows=all_rows)
        call = await call.removing(scope)
        doomed = await Doomed.of(call, meant(call.limits))
        if dry_run:
            return await _count(call.db_sess, doomed, pace)
        report = await _remove_at_once(call, doomed, pace.max_rows)
        if progress is not None:
            progress(report.rows)
        return report


class _Purge:
    """One purge on its way: passes of chunks, and the waits between them."""

    def __init__(
        self, begin: BeginSession, doomed: Doomed, pace: Pace, progress: Callable[[int], None] | None, tally: Tally
    ) -> None:
        self.begin, self.doomed, self.pace, self.progress = begin, doomed, pace, progress
        self.tally, self._is_kept = tally, False
        self._down, self._size, self._whole = bool(doomed.ties), pace.chunk_size, False

    async def purge(self) -> PurgeReport:
        """Make passes until nothing is left, or no more rows may go."""
        wait, moved = FIRST_WAIT, time.monotonic()
        while True:
            before, self._is_kept = self.tally.rows, False
            met = await self._pass()
            left = await self._transact(partial(_is_any_left, doomed=self.doomed))
            if not left or self._limit() == 0:
                return self.tally.report(complete=not left)
            if self.tally.rows > before:
                wait, moved = FIRST_WAIT, time.monotonic()
                if self.doomed.ties:
                    continue
            elif self._is_kept or await self._is_hidden():
                raise RefusedByTrigger(KEPT)
            elif bool(self.doomed.ties) and await self._transact(partial(self._is_circle, met=met)):
                continue
            elif time.monotonic() - moved > self.pace.patience:
                raise LockNotAvailable("others hold the rows that are left: call purge_where again later to go on")
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def _transact(self, work: Callable[[AsyncSession], Awaitable[R]]) -> R:
        return await _transact(self.begin, work, self.tally)

    async def _pass(self) -> int:
        """Walk the keys once, a transaction for each chunk; give how many rows were met."""
        after: Key | None = None
        rows = 0
        while limit := self._limit():
            await self._remove(Walk(after is None, self._down, self._whole), after, limit)
            met = self.tally.keep()
            self._is_kept = self._is_kept or met.gone == 0 < met.tried
            if met.last is None:
                break
            after, rows = met.last, rows + met.rows
            if met.tried and self.progress is not None:
                self.progress(self.tally.rows)
            await asyncio.sleep(self.pace.pause)
        self._down, self._whole = bool(self.doomed.ties) and not self._down, False
        return rows

    def _limit(self) -> int:
        return replace(self.pace, chunk_size=self._size).next_chunk(self.tally.rows)

    async def _remove(self, walk: Walk, after: Key | None, limit: int) -> None:
        async def remove(db_sess: AsyncSession) -> None:
            self.tally.under_way = Met()
            self.tally.under_way = await _remove(db_sess, self.doomed, walk, after, limit)

        try:
            return await self._transact(remove)
        except StillReferenced:
            if not self.doomed.ties:
                raise
        # A row that is to go as well may have come since the statement began: the next one sees it.
        return await self._transact(remove)

    async def _is_hidden(self) -> bool:
        try:
            return await self._transact(partial(_is_hidden, doomed=self.doomed))
        except LockNotAvailable:
            return False

    async def _is_circle(self, db_sess: AsyncSession, met: int) -> bool:
        """Say whether it was no lock that kept a pass from removing anything, and have larger chunks then.

        A chunk that cannot grow any more is removed as it is: the database says what it has against it.
        """
        if met < int((await execute(db_sess, self.doomed.count(), self.doomed.origin)).scalar_one()):
            return False
        before = self._limit()
        self._size = min(2 * self._size, MAX_CHUNK)
        self._whole = self._limit() == before
        if self._whole and self.pace.max_rows is not None and self.doomed.ties.go_unasked:
            raise InvalidValue(TOO_FEW)
        return True


async def _transact(begin: BeginSession, work: Callable[[AsyncSession], Awaitable[R]], tally: Tally) -> R:
    """Do some work in a transaction; where it removes no row, nothing is at stake in a COMMIT that nobody answers."""
    try:
        return await transact(begin, work)
    except CommitOutcomeUnknown:
        if tally.under_way.gone:
            raise
    raise DatabaseUnavailable


async def _is_any_left(db_sess: AsyncSession, doomed: Doomed) -> bool:
    return bool((await execute(db_sess, doomed.any(), doomed.origin)).scalar_one())


async def _count(db_sess: AsyncSession, doomed: Doomed, pace: Pace) -> PurgeReport:
    """Count what would be removed, and remove nothing."""
    tally = Tally()
    origin = replace(doomed.origin, deletes=False)
    found = int((await execute(db_sess, doomed.count(), origin)).scalar_one())
    tally.rows = found if pace.max_rows is None else min(found, pace.max_rows)
    return replace(tally.report(complete=tally.rows == found), dry_run=True)


async def _remove_at_once(call: Call[object, object], doomed: Doomed, max_rows: int | None) -> PurgeReport:
    """Remove all rows, or the first ones, by statements of one transaction."""
    tally, remove = Tally(), _remove_locked if doomed.in_parts else _remove_rows
    tally.rows = await remove(call, doomed, max_rows)
    left = await _is_any_left(call.db_sess, doomed)
    is_open = max_rows is None
    while left and is_open:
        # They came meanwhile, or a trigger keeps them. Locks are held, so the order of keys no longer helps: what
        # others have locked is left to them.
        again = await _remove(call.db_sess, doomed, Walk(first=True), None, MAX_CHUNK)
        if again.gone == 0 < again.tried:
            await give_up(call.db_sess)
            raise RefusedByTrigger(KEPT)
        tally.rows += again.gone
        left = await _is_any_left(call.db_sess, doomed)
        is_open = again.gone < again.tried
    if left and max_rows is None and await _is_hidden_now(call, doomed):
        await give_up(call.db_sess)
        raise RefusedByTrigger(KEPT)
    tally.chunks = 1 if tally.rows else 0
    return tally.report(complete=not left)


async def _is_hidden_now(call: Call[object, object], doomed: Doomed) -> bool:
    try:
        async with call.savepoint():
            return await _is_hidden(call.db_sess, doomed)
    except LockNotAvailable:
        return False


async def _is_hidden(db_sess: AsyncSession, doomed: Doomed) -> bool:
    """Say whether there is a row that is seen and cannot be locked, though nobody has it: a policy hides it from that.

    Raises:
        LockNotAvailable: others have the first one that cannot be locked.
    """
    stuck = (await execute(db_sess, doomed.stuck(), doomed.origin)).first()
    if stuck is None:
        return False
    here = doomed.at(tuple(stuck), dialect_of(db_sess, doomed.info))
    locking = here.with_for_update(of=doomed.info.tables, nowait=True)
    is_free = (await execute(db_sess, locking, doomed.origin)).first() is not None
    return not is_free and (await execute(db_sess, here, doomed.origin)).first() is not None


async def _remove_locked(call: Call[object, object], doomed: Doomed, max_rows: int | None) -> int:
    async with call.savepoint():
        return len(await _remove_parts(call, doomed.first(max_rows)))


async def _remove_rows(call: Call[object, object], doomed: Doomed, max_rows: int | None) -> int:
    if doomed.ties and (max_rows is not None or doomed.ties.go_one_by_one(call.dialect)):
        return await _remove_free(call, doomed, max_rows)
    # A row that others have changed meanwhile would be taken along by the one that it refers to, or keep that.
    is_held = bool(doomed.ties) and call.dialect.name == "postgresql"
    if is_held:
        await flush(call.db_sess, doomed.origin)
        await call.execute(doomed.lock())
    if call.dialect.name == "postgresql" or (max_rows is None and not takes_its_own_along(call.info.table)):
        return await _number_of(call, doomed.everything(call.dialect, max_rows, held=is_held), doomed)
    keys, rows = [tuple(row) for row in (await call.execute(doomed.first(max_rows))).all()], 0
    for part in filter(None, key_chunks(keys, call.dialect, call.info.key_columns)):
        rowcount = await _number_of(call, doomed.remove(part, call.dialect), doomed)
        rows += await _gone(call.db_sess, doomed, part, rowcount)
    return rows


async def _remove_free(call: Call[object, object], doomed: Doomed, max_rows: int | None) -> int:
    """Remove as many rows that no other one keeps, the last ones in the order of their keys first, then by turns."""
    done, walk = 0, Walk(first=True, down=True, waits=True)
    is_limited, limit = max_rows is not None, MAX_CHUNK if max_rows is None else max_rows
    while done < limit:
        after, before = None, done
        while done < limit:
            given = doomed.given(after, limit - done)
            rows = (await call.execute(doomed.next(replace(walk, first=after is None)), parameters=given)).all()
            if not rows:
                break
            began: tuple[int, Key | None] = (done, after)
            for part in _layers(doomed, rows, call.dialect):
                rowcount = await _number_of(call, doomed.remove(part, call.dialect), doomed)
                done += await _gone(call.db_sess, doomed, part, rowcount)
            after = doomed.key_of(rows[-1])
            if began == (done, after):  # an end of time, which is bound as infinity and begins it again
                break
        if after is None or (walk.whole and done == before):
            break
        walk = replace(walk.backwards, whole=done == before)
        if walk.whole and is_limited and doomed.ties.go_unasked:
            await give_up(call.db_sess)
            raise InvalidValue(TOO_FEW)
    return done


def _layers(doomed: Doomed, rows: Sequence[Any], dialect: Dialect) -> Iterator[Sequence[Key]]:
    """Give the keys of the rows that are not kept back, cut into what one statement takes, children first."""
    for layer in doomed.ties.layers([row[:-1] for row in rows if not row[-1]], dialect):
        yield from key_chunks(layer, dialect, doomed.info.key_columns)


async def _number_of(call: Call[object, object], statement: Delete, doomed: Doomed) -> int:
    """Send a DELETE and give how many rows went; objects that the session holds of them go too."""
    if len(call.db_sess.identity_map) or doomed.may_come_back:
        returning: Any = cast("Any", statement).returning(*call.info.key_attributes)
        keys = [tuple(row) for row in (await call.execute_writing(returning, doomed.origin)).all()]
        if doomed.may_come_back:
            await _keep_away(call, keys)
        return len(keys)
    result: Any = await call.execute_writing(statement, doomed.origin)
    return int(result.rowcount)


async def _keep_away(call: Call[object, object], keys: Sequence[Key]) -> None:
    if await call.first_back(keys) is not None:
        raise RefusedByTrigger(KEPT)


async def _gone(db_sess: AsyncSession, doomed: Doomed, keys: Sequence[Key], rowcount: int) -> int:
    """Say how many of some keys a DELETE removed: SQLite counts no row that another one of them took along."""
    dialect = dialect_of(db_sess, doomed.info)
    if dialect.name != "sqlite" or not takes_its_own_along(doomed.info.table):
        return rowcount
    left = limited(select(func.count()).select_from(doomed.source), keys_condition(doomed.info, keys, dialect))
    return len(keys) - int((await execute(db_sess, left, doomed.origin)).scalar_one())


async def _remove(db_sess: AsyncSession, doomed: Doomed, walk: Walk, after: Key | None, limit: int) -> Met:
    """Remove the next chunk; where none of its rows goes though they were tried, a trigger keeps them."""
    met = await _attempt(db_sess, doomed, walk, after, limit)
    if met.gone == 0 < met.tried:  # or others changed them before they were locked; they are ours now
        return await _attempt(db_sess, doomed, walk, after, limit)
    return met


async def _attempt(db_sess: AsyncSession, doomed: Doomed, walk: Walk, after: Key | None, limit: int) -> Met:
    """Remove the next chunk by one statement for its rows, if they are as that statement found them."""
    dialect, given = dialect_of(db_sess, doomed.info), doomed.given(after, limit)
    call = Call(doomed.entity, PURGE_WHERE, db_sess, may_come_back=doomed.may_come_back)
    if doomed.in_parts:
        gone = await _remove_parts(call, doomed.free(walk), given)
        return Met(len(gone), len(gone), len(gone), gone[-1] if gone else None)
    if dialect.name == "postgresql" and not doomed.may_come_back:
        if doomed.ties.take_along:  # a row that others have changed meanwhile, which no statement would count
            await execute(db_sess, doomed.free(walk), replace(doomed.origin, deletes=False), parameters=given)
        answer = await execute(db_sess, doomed.chunk(walk), doomed.origin, parameters=given)
        found: Any = answer.one_or_none()
        return Met() if found is None else Met(found[0], found[1], found[2], tuple(found[3:]))
    rows: Sequence[Any] = (await execute(db_sess, doomed.next(walk), doomed.origin, parameters=given)).all()
    tried = removed = 0
    for part in _layers(doomed, rows, dialect):
        rowcount = await _number_of(call, doomed.remove(part, dialect), doomed)
        tried, removed = tried + len(part), removed + await _gone(db_sess, doomed, part, rowcount)
    return Met(removed, tried, len(rows), doomed.key_of(rows[-1])) if rows else Met()


async def _remove_parts(
    call: Call[object, object], locking: Select[*tuple[Any, ...]], given: Mapping[str, object] | None = None
) -> list[Key]:
    """Remove the rows that a SELECT of keys locks, from all tables that they may be kept in; gives their keys."""
    keys = [tuple(row) for row in (await call.execute(locking, parameters=given)).all()]
    await remove_parts(call, keys)
    await _keep_away(call, keys)
    forget(call, keys)
    return keys
