"""DBSource: the operations on one kind of row, and the one seam that opens sessions for them."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from copy import copy
from functools import partial
from inspect import isawaitable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Self, Unpack, cast

from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypeVar, override

from rowsmith.database import Database
from rowsmith.deadline import Within
from rowsmith.errors import (
    InvalidValue,
    MappingError,
    ReadOnlyViolation,
    RepositoryError,
    StalePlan,
    TransactionError,
    kind_of,
)
from rowsmith.execution import UNTOLD, NativeLane, forget_plans, repeatable, transact, translated
from rowsmith.failures import log_failure
from rowsmith.lock import Lock
from rowsmith.operations import (
    Aggregator,
    BatchCreator,
    BatchPurger,
    BatchQuerier,
    BatchSoftDeleter,
    BatchUpdater,
    BatchUpserter,
    Creator,
    Entity,
    Operation,
    Purger,
    Querier,
    Rules,
    SoftDeleter,
    Stream,
    Updater,
    Upserter,
    WherePurger,
)
from rowsmith.operations.arguments import CHANGEABLE, check_verb
from rowsmith.operations.arrays.keys import batch_key
from rowsmith.operations.call import Native, is_unread, operation_of
from rowsmith.operations.deletes.where import PURGE_WHERE, BeginSession
from rowsmith.operations.entity import MOST_SHAPES
from rowsmith.operations.plans import Asked
from rowsmith.operations.touching import any_writing, check_ids, noting
from rowsmith.outcome import CommitOutcome, tell
from rowsmith.pagination import Count
from rowsmith.query import Query
from rowsmith.resilience import Resilience, is_repeatable
from rowsmith.resilience.default import checked_resilience
from rowsmith.touched import KEEPERS, Ids, hold_now, is_kept, note, release_all, tell_others, tells_any

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TId = TypeVar("TId", default=Any)
TOther = TypeVar("TOther")
P = ParamSpec("P")
R = TypeVar("R")


class DBSource(Generic[TRow, TData, TId]):
    """The operations on one kind of row, and the transactions that they run in. It has no verb on rows of its own.

    ::

        source = DBSource(db, GroupRow, into=GroupData, not_found=GroupNotFound)
        group = await source.write(source.updater.update, group_id, patch, scope=scope)

    A verb is any coroutine function that takes a session first. It runs in a transaction of its own, or in the unit
    of work around the call; a team's subclass adds methods that hand their own verbs to the same seam.

    Args:
        db: where sessions come from.
        row: the mapped class; or an entity that was read already.
        into: the data class; without it, rows are given.
        resilience: policies around every verb; without any, a verb is called as it is.
        rules: see :class:`Rules`.

    Raises:
        MappingError: row, data and rules do not fit; ``violations`` names a constraint that is not there; or ``db`` is
            no Database.
    """

    def __init__(
        self,
        db: Database,
        row: type[TRow] | Entity[TRow, TData],
        *,
        into: type[TData] | None = None,
        resilience: Resilience | None = None,
        **rules: Unpack[Rules],
    ) -> None:
        if not isinstance(cast("Any", db), Database):
            raise MappingError(
                f"DBSource(...) takes a Database first, not {kind_of(db)}: "
                "write DBSource(Database(engine), GroupRow), or DBSource(Database.from_session(session), GroupRow)"
            )
        self.db = db
        self.resilience = checked_resilience(resilience, type(self).__name__)
        self.entity: Entity[TRow, TData] = Operation[TRow, TData](row, into=into, **rules).entity
        self._others: dict[type[Any], DBSource[Any, Any, Any]] = {}
        self._servers: dict[Database, Self] = {}
        self.creator = Creator[TRow, TData](self.entity)
        self.querier = Querier[TRow, TData](self.entity)
        self.updater = Updater[TRow, TData](self.entity)
        self.soft_deleter = SoftDeleter[TRow, TData](self.entity)
        self.purger = Purger[TRow, TData](self.entity)
        self.upserter = Upserter[TRow, TData](self.entity)
        self.aggregator = Aggregator[TRow, TData](self.entity)
        self.batch_creator = BatchCreator[TRow, TData](self.entity)
        self.batch_querier = BatchQuerier[TRow, TData](self.entity)
        self.batch_updater = BatchUpdater[TRow, TData](self.entity)
        self.batch_soft_deleter = BatchSoftDeleter[TRow, TData](self.entity)
        self.batch_purger = BatchPurger[TRow, TData](self.entity)
        self.batch_upserter = BatchUpserter[TRow, TData](self.entity)
        self.where_purger = WherePurger[TRow, TData](self.entity)

    def into(self, into: type[TOther] | None) -> DBSource[TRow, TOther, TId]:
        """Give the same with another data class; None keeps this one.

        Of a class that does not fit the row each verb raises a ``MappingError`` under its own name.
        """
        if into is None:
            return self  # type: ignore[return-value] # pyright: ignore[reportReturnType] - the data class is its own
        try:
            return self._others[into]
        except (KeyError, TypeError):  # what is no class may have no hash either
            pass
        try:
            made = DBSource[Any, Any, Any](self.db, self.entity.into(into), resilience=self.resilience)
        except MappingError as exc:
            return _Refused(self, exc)
        if len(self._others) == MOST_SHAPES:  # classes made while running must not pile up
            self._others.clear()
        self._others[into] = made
        return made

    async def write(
        self, verb: Callable[Concatenate[AsyncSession, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a verb in a transaction that is committed when it is done, or in the unit of work around it.

        Raises:
            RepositoryError: the verb's own; and those of :meth:`Database.begin_session`.
        """
        if args and args[0].__class__ in CHANGEABLE:
            own: Any = args[0]
            own = (own.copy(), *args[1:])
            args = own
        try:
            if self.resilience is None:
                return await self._write(verb, *args, **kwargs)
            answer: R = await self._resilient(self.resilience, verb, self._write, args, kwargs)
            return answer
        except Exception as exc:
            log_failure(exc, self.entity.domain, operation_of(verb))
            raise

    async def read(
        self, verb: Callable[Concatenate[AsyncSession, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a verb that only reads: in one snapshot, where it takes several statements.

        Raises:
            RepositoryError: the verb's own; ``ReadOnlyViolation`` where it writes.
        """
        if args and args[0].__class__ in CHANGEABLE:
            own: Any = args[0]
            own = (own.copy(), *args[1:])
            args = own
        try:
            if self.resilience is None:
                return await self._read(verb, *args, **kwargs)
            answer: R = await self._resilient(self.resilience, verb, self._read, args, kwargs)
            return answer
        except Exception as exc:
            log_failure(exc, self.entity.domain, operation_of(verb))
            raise

    def stream(
        self,
        verb: Callable[Concatenate[AsyncSession, P], AsyncGenerator[Sequence[R], None]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Stream[R]:
        """Give what a verb yields, item by item; its session stays open until the stream ends.

        Raises:
            RepositoryError: while it is read: the verb's own.
        """

        def opening() -> AsyncGenerator[Sequence[R], None]:
            return self._chunks(verb, *args, **kwargs)

        operation = operation_of(verb)
        if self.resilience is None:
            return Stream(self._logged(operation, opening()))
        may_repeat = not self.db.is_borrowed and is_repeatable(args, kwargs)  # none of somebody else's transaction
        chunks = self.resilience.stream(operation, opening, is_repeatable=may_repeat)
        return Stream(self._logged(operation, chunks))

    async def in_chunks(
        self, verb: Callable[Concatenate[BeginSession, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a verb that opens and commits transactions itself, one after the other.

        Raises:
            TransactionError: inside a unit of work, whose single transaction this would break up.
            RepositoryError: the verb's own.
        """
        try:
            if self.resilience is None:
                return await self._in_chunks(verb, *args, **kwargs)
            answer: R = await self._resilient(self.resilience, verb, self._in_chunks, args, kwargs)
            return answer
        except Exception as exc:
            log_failure(exc, self.entity.domain, operation_of(verb))
            raise

    async def read_once(
        self, verb: Callable[Concatenate[AsyncSession, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a verb as :meth:`read` does, without the policies: in a call that stands under them already."""
        return await self._read(verb, *args, **kwargs)

    async def read_newest(
        self, verb: Callable[Concatenate[AsyncSession, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a verb as :meth:`read_once` does, where nothing that anybody has written is missing: on the primary."""
        replicas = self.db.replicas
        here = self if replicas is None or self.db.is_in_session else self._on(replicas.primary)
        return await here._read(verb, *args, **kwargs)

    async def invalidate(self, ids: Ids = None) -> None:
        """Say that rows were written by SQL of one's own: those with these keys, or any.

        Whoever keeps copies of them lets go of them: at once, or inside a session or unit of work once that is really
        committed.

        Raises:
            InvalidValue: ``ids`` is no list of keys; with the index of one that is none.
            DatabaseUnavailable: it is what tells other processes, and is away.
        """
        with self._naming("invalidate"):
            check_ids(ids)
            for place, id_ in enumerate(ids or ()):
                batch_key(self.entity.info, id_, place)
            writing, around = any_writing(self.entity), self.db.joined()
            if around is not None and not around.is_read_only:
                note(around.db_sess, writing, ids)
                return
            holdings = await hold_now(writing, ids)
            try:
                if tells_any(holdings):
                    async with translated(), self.db.engine.begin() as connection:
                        await connection.run_sync(lambda sync: tell_others(holdings, sync))
            finally:
                await release_all(holdings)

    def has_keepers(self) -> bool:
        """Say whether anybody keeps copies of such rows, or of rows that go with them."""
        return bool(KEEPERS) and is_kept(part.table.fullname for part in self.entity.info.all_parts)

    def _resilient(
        self, resilience: Resilience, verb: Any, way: Callable[..., Awaitable[object]], args: Any, kwargs: Any
    ) -> Awaitable[Any]:
        """Give a call that goes a way to its verb under the policies."""
        is_keyed = "idempotency_key" in kwargs and kwargs["idempotency_key"] is not None and not is_foreign(verb)
        may_repeat = not self.db.is_borrowed and is_repeatable(args, kwargs)
        work = partial(way, verb, *args, **kwargs)
        return resilience.call(operation_of(verb), work, is_repeatable=may_repeat, is_keyed=is_keyed)

    async def _write(
        self, verb: Callable[Concatenate[AsyncSession, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        native, given, lane = native_of(verb), [*args], None
        is_second = False
        try:  # what _naming does, in no calls
            if native is not None and self.db.native is not None and not self.db.is_occupied():
                lane = self.db.native.opened(writes=True, is_kept=self.has_keepers())
                sent = None if lane is None else _sending(native, lane, verb, given, kwargs)
                answer: Any = UNTOLD
                try:
                    if sent is not None:
                        answer = await sent
                except RepositoryError as failure:
                    if not self._is_lost(failure, verb, kwargs):
                        raise
                    is_second = True
                if answer is not UNTOLD:
                    given_back: R = answer
                    return given_back
                lane = None
            late = self._late(verb) if native is None else None
            has_all_at_hand = late is not None or getattr(verb, "lost", None) is not None
            again, named = _repeatable(given, kwargs, sys.maxsize if has_all_at_hand else None)
            is_open_to_all = _is_foreign_once_checked(verb, args, kwargs)
            begin = partial(self.db.writing, is_open_to_all=is_open_to_all)
            within = None if native is None else self.db.lane_within()
            run: Any = partial(_run_own, verb) if is_open_to_all else verb
            if native is not None and within is not None:
                run = partial(_within, within, native, verb)
            call: Any = partial(noting, self.entity, verb, run) if self.has_keepers() else run
            is_lost = None if is_second else partial(self._is_lost, verb=verb, kwargs=kwargs)
            return cast("R", await transact(begin, lambda db_sess: call(db_sess, *again, **named), is_lost, late))
        except BaseException as exc:
            await self._note(exc, verb, args, kwargs, is_by_lane=lane is not None)
            raise

    async def _read(
        self, verb: Callable[Concatenate[AsyncSession, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        native, replicas, lane = native_of(verb), self.db.replicas, None
        native = None if native is not None and native.writes else native  # a write meets the session that takes none
        if native is not None and "lock" in kwargs and kwargs["lock"] is None:
            del kwargs["lock"]  # as if it were left out
        given: Any = [*args]
        again, named = (given, kwargs) if native is not None else _repeatable(args, kwargs)
        try:  # as above
            if "lock" in kwargs or "for_update" in kwargs:
                self._check_lockable(operation_of(verb), kwargs)
            if replicas is not None and not self.db.is_in_session:
                anywhere = replicas.run(lambda db: self._on(db)._read(verb, *again, **named))
                return await (anywhere if self.db.deadline is None else _in_time(self.db.deadline, anywhere))
            if native is not None and self.db.native is not None and not self.db.is_occupied():
                lane = self.db.native.opened()
                sent = None if lane is None else _sending(native, lane, verb, given, kwargs)
                answer: Any = UNTOLD if sent is None else await sent
                if answer is not UNTOLD:
                    given_back: R = answer
                    return given_back
                lane = None
            snapshot = is_several(verb, again, named)
            is_open_to_all = _is_foreign_once_checked(verb, args, kwargs)
            begin = partial(self.db.reading, snapshot=snapshot, is_open_to_all=is_open_to_all)
            within = None if native is None else self.db.lane_within()
            run: Any = partial(_run_own, verb) if is_open_to_all else verb
            if native is not None and within is not None:
                run, again, named = partial(_within, within, native, verb), given, kwargs
            return cast("R", await transact(begin, lambda db_sess: run(db_sess, *again, **named)))
        except BaseException as exc:
            await self._note(exc, verb, args, kwargs, is_by_lane=lane is not None)
            raise

    def _is_lost(self, failure: RepositoryError, verb: Any, kwargs: Mapping[str, object]) -> bool:
        """Say whether others came in between a call that was a transaction of its own, so that it may be made again."""
        lost = getattr(verb, "lost", None)
        if lost is None or self.db.is_in_session or verb.__class__ is not MethodType:
            return False
        return bool(lost(verb.__self__, failure, kwargs))

    def _late(self, verb: Any) -> Callable[[Exception], bool] | None:
        """Give what says of an error at COMMIT that an item is at fault; None in the transaction of a block."""
        late = getattr(verb, "late", None)
        if late is None or self.db.is_in_session or verb.__class__ is not MethodType:
            return None
        return partial(late, verb.__self__)

    async def _note(self, failure: BaseException, verb: Any, args: Any, kwargs: Any, *, is_by_lane: bool) -> None:
        """Have a failure say whose it is; and of one that came without a session, that nothing was kept.

        Where COMMIT was sent, it says already what became of it. Of a stored value that could not be read it is looked
        up which item of a batch has it: in the call's own transaction its row may be there no more, or otherwise.
        """
        if isinstance(failure, RepositoryError):
            failure.locate(self.entity.domain, operation_of(verb))
        if is_by_lane:
            tell(failure, CommitOutcome.NOT_COMMITTED)
        if is_unread(failure) and self._may_tell_more(failure, verb):
            told = partial(verb.tell_item, verb.__self__, failure=failure, args=args, kwargs=kwargs)
            with suppress(RepositoryError):
                await transact(self.db.reading, told)

    def _may_tell_more(self, failure: InvalidValue, verb: Any) -> bool:
        """Say whether a verb can say which item of its batch an error is about, and has not, or not for sure.

        Where it writes, what it saw is there again once its own transaction is over. A function around a verb, which
        has its attributes, is none itself.
        """
        if type(verb) is not MethodType or getattr(verb, "tell_item", None) is None:
            return False
        return failure.index is None or (getattr(verb, "touches", None) is not None and not self.db.is_in_session)

    def _on(self, db: Database) -> Self:
        """Give the same on one of the database's servers."""
        if db not in self._servers:
            self._servers[db] = other = copy(self)
            other.db = db
        return self._servers[db]

    def _check_lockable(self, operation: str, kwargs: Mapping[str, object]) -> None:
        """Refuse to lock rows for a transaction that ends with the call, or in one that only reads.

        Raises:
            TransactionError: no session or unit of work is open around the call.
            ReadOnlyViolation: it takes no writes.
        """
        if not isinstance(kwargs.get("lock"), Lock) and kwargs.get("for_update") is not True:
            return
        around = self.db.joined()
        if around is None:
            raise TransactionError(
                f"a lock ends with its transaction, which here would be over as {operation} gives its rows: call it "
                "inside async with db.unit_of_work(), or db.begin_session()"
            )
        if around.is_read_only:
            raise ReadOnlyViolation("a read-only session locks no rows: call it inside async with db.unit_of_work()")

    async def _in_chunks(
        self, verb: Callable[Concatenate[BeginSession, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        operation = operation_of(verb)
        with self._naming(operation):
            if self.db.is_in_session:
                advice = ", or with chunk_size=None" if operation == PURGE_WHERE else ""
                raise TransactionError(
                    f"{operation} commits chunk by chunk and cannot join a session or unit of work that is open: "
                    f"call it outside{advice}"
                )
            is_open_to_all = _is_foreign_once_checked(verb, args, kwargs, "begin")
            run: Any = partial(_run_own, verb) if is_open_to_all else verb
            return cast("R", await run(partial(self._writing_any, is_open_to_all=is_open_to_all), *args, **kwargs))

    @asynccontextmanager
    async def _writing_any(self, *, is_open_to_all: bool) -> AsyncGenerator[AsyncSession]:
        """Open a session for one of the transactions of a verb, in which it may write any row."""
        async with self.db.writing(is_open_to_all=is_open_to_all) as db_sess:
            if self.has_keepers():
                note(db_sess, any_writing(self.entity), None)
            yield db_sess

    async def _chunks(
        self,
        verb: Callable[Concatenate[AsyncSession, P], AsyncGenerator[Sequence[R], None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncGenerator[Sequence[R], None]:
        replicas, (again, named) = self.db.replicas, _repeatable(args, kwargs)
        with self._naming(operation_of(verb)):
            if replicas is not None and not self.db.is_in_session:
                async with aclosing(replicas.stream(lambda db: self._on(db)._chunks(verb, *again, **named))) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            snapshot, has_begun = is_several(verb, args, kwargs), False
            is_open_to_all = _is_foreign_once_checked(verb, args, kwargs)
            opened: Any = partial(_open_own, verb) if is_open_to_all else verb
            try:
                reading = self.db.reading(snapshot=snapshot, is_open_to_all=is_open_to_all, has_deadline=False)
                async with reading as db_sess, aclosing(opened(db_sess, *again, **named)) as chunks:
                    async for chunk in chunks:
                        has_begun = True
                        yield chunk
                        reading.check()
                return
            except StalePlan as stale:
                if has_begun or not stale.is_undone:
                    raise
            async with self.db.reading(snapshot=snapshot, is_open_to_all=is_open_to_all, has_deadline=False) as db_sess:
                await forget_plans(db_sess)
                async with aclosing(opened(db_sess, *again, **named)) as chunks:
                    async for chunk in chunks:
                        yield chunk

    async def _logged(
        self, operation: str, chunks: AsyncGenerator[Sequence[R], None]
    ) -> AsyncGenerator[Sequence[R], None]:
        """Log what a stream ends with, if it fails."""
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        except Exception as exc:
            log_failure(exc, self.entity.domain, operation)
            raise

    @contextmanager
    def _naming(self, operation: str) -> Generator[None]:
        """Have every error that leaves the block say whose it is and what was done: those of the transaction too."""
        try:
            yield
        except RepositoryError as exc:
            exc.locate(self.entity.domain, operation)
            raise


class _Refused(DBSource[TRow, TData, TId]):
    """Stands for the source of a data class that does not fit: no verb of it is begun."""

    def __init__(self, source: DBSource[TRow, Any, TId], refusal: MappingError) -> None:
        vars(self).update(vars(source))
        self._refusal = refusal

    @override
    async def _write(self, verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        raise self._told(verb)

    @override
    async def _read(self, verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        raise self._told(verb)

    @override
    async def _in_chunks(self, verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        raise self._told(verb)

    @override
    async def _chunks(self, verb: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        for refusal in [self._told(verb)]:  # told as it is read, as by any stream
            raise refusal
        yield []

    def _told(self, verb: Any) -> MappingError:
        self._refusal.locate(self.entity.domain, operation_of(verb))
        return self._refusal


def native_of(verb: Any) -> Native | None:
    """Give the way of a verb that needs no session: of itself, and of no function around it that has its attributes."""
    try:
        native: Native | None = verb.native
    except AttributeError:
        return None
    is_own = native is not None and verb.__class__ is MethodType and verb.__func__ is native.function
    return native if is_own else None


def is_foreign(verb: Any) -> bool:
    """Say whether a verb is the application's own, which may send any statement."""
    return not str(getattr(verb, "__module__", "")).startswith("rowsmith.")


def _is_foreign_once_checked(verb: Any, args: Sequence[Any], kwargs: Mapping[str, Any], first: str = "db_sess") -> bool:
    """Say as :func:`is_foreign` whose a verb is, once one of an application's own is known to be called as it can be.

    Raises:
        MappingError: it is no function, or takes other arguments.
    """
    if not is_foreign(verb):
        return False
    check_verb(verb, first, args, kwargs)
    return True


async def _run_own(verb: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a verb of an application's own.

    Raises:
        MappingError: it gives nothing that can be awaited.
    """
    begun = verb(*args, **kwargs)
    if isawaitable(begun):
        return await begun
    name, kind = getattr(verb, "__name__", "the verb"), kind_of(begun)
    hint = ", and call it by db_source.stream" if isinstance(begun, AsyncGenerator) else ""
    raise MappingError(f"{name} gives {kind}, which cannot be awaited: write async def {name}(...){hint}")


def _open_own(verb: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
    """Open a stream of an application's own.

    Raises:
        MappingError: it is no asynchronous generator.
    """
    begun = verb(*args, **kwargs)
    name, kind = getattr(verb, "__name__", "the verb"), kind_of(begun)
    if isinstance(begun, AsyncGenerator):
        return cast("AsyncGenerator[Any, None]", begun)
    if isinstance(begun, Coroutine):
        begun.close()
    raise MappingError(f"{name} gives {kind}, no stream: write async def {name}(...) with a yield of lists")


def is_several(verb: Any, args: Sequence[Any], kwargs: Any) -> bool:
    """Say whether a read is several statements, which must see the same: it counts too, or data takes more."""
    operation: Any = getattr(verb, "__self__", None)
    if isinstance(operation, Operation) and cast("Any", operation).entity.shape.layout.is_several:
        return True
    counts = (given.count if isinstance(given, Query) else given for given in (*args, *kwargs.values()))
    return any(isinstance(count, Count) and count != Count.NONE for count in counts)


def _sending(
    native: Native, lane: NativeLane, verb: Any, given: list[Any], kwargs: dict[str, Any]
) -> Awaitable[Any] | None:
    """Give what sends a call without a session; None where it has no shape.

    It gives the answer, or ``UNTOLD`` where SQLAlchemy's way has to say what comes of the call. Scopes that were asked
    are put back among the arguments with what they said.
    """
    asked: Asked[Any] | None = native.ask(verb.__self__, lane, given, kwargs)
    if asked is None:
        lane.refuse("shape")
        return None
    sent = asked.send(lane)
    return sent if lane.deadline is None else _in_time(lane.deadline, sent)


async def _within(
    lane: NativeLane, native: Native, verb: Any, db_sess: AsyncSession, /, *args: Any, **kwargs: Any
) -> Any:
    """Run a verb on a session's own connection, or as ever where a call has no shape."""
    given = [*args]
    asked: Asked[Any] | None = native.ask(verb.__self__, lane, given, kwargs)
    if asked is None:
        lane.refuse("shape")
        return await verb(db_sess, *given, **kwargs)

    def resume(written: Mapping[Any, Any]) -> Awaitable[Any]:
        return native.resume(verb.__self__, db_sess, written, *given, **kwargs)

    answer = await asked.send_within(lane, db_sess, resume)
    return await verb(db_sess, *given, **kwargs) if answer is UNTOLD else answer


def _repeatable(args: Sequence[Any], kwargs: Mapping[str, object], most: int | None = None) -> tuple[Any, Any]:
    """Give the arguments of a call such that it can be made again; ``most`` as :func:`repeatable` has it."""
    return [repeatable(each, most) for each in args], {name: repeatable(each, most) for name, each in kwargs.items()}


async def _in_time(seconds: float, work: Awaitable[R]) -> R:
    """Wait for a piece of work until its deadline; where it does not say otherwise, nothing was committed."""
    async with Within(seconds):
        try:
            return await work
        except BaseException as exc:
            tell(exc, CommitOutcome.NOT_COMMITTED)
            raise
