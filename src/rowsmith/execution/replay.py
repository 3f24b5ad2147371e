"""Running a transaction once more.

Where a table was altered under prepared statements, others came in between, or COMMIT was refused for what single items
of a batch are at fault.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import chain, islice
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import RepositoryError, StalePlan
from rowsmith.execution.deferred import check_early
from rowsmith.execution.transactions import connections_of

R = TypeVar("R")

MOST_KEPT = 10_000
"""How many items of an iterator are kept for a second run, which more do not get: a plan is found stale early."""


async def transact(
    begin: Callable[[], AbstractAsyncContextManager[AsyncSession]],
    work: Callable[[AsyncSession], Awaitable[R]],
    is_lost: Callable[[RepositoryError], bool] | None = None,
    is_fault: Callable[[Exception], bool] | None = None,
) -> R:
    """Do some work in a session, and once more in another where what undid the whole transaction would not do so again.

    Args:
        begin: opens the session.
        work: is given the session.
        is_lost: says of a failure, but a stale plan, that the transaction is undone as others came in between.
        is_fault: says of what COMMIT was refused with that it can be the fault of single items, which the work finds in
            a session that checks early.

    Raises:
        StalePlan: the session is one that was joined; or it was stale again.
    """
    if is_fault is not None:
        return await _transact_in_items(begin, work, is_lost, is_fault)
    try:
        async with begin() as db_sess:
            return await work(db_sess)
    except RepositoryError as failure:
        is_stale = isinstance(failure, StalePlan)
        if not (failure.is_undone if isinstance(failure, StalePlan) else is_lost is not None and is_lost(failure)):
            raise
    async with begin() as db_sess:
        if is_stale:
            await forget_plans(db_sess)
        return await work(db_sess)


async def _transact_in_items(
    begin: Callable[[], AbstractAsyncContextManager[AsyncSession]],
    work: Callable[[AsyncSession], Awaitable[R]],
    is_lost: Callable[[RepositoryError], bool] | None,
    is_fault: Callable[[Exception], bool],
) -> R:
    is_done = False

    async def work_on(db_sess: AsyncSession) -> R:
        nonlocal is_done
        answer = await work(db_sess)
        is_done = True
        return answer

    async def work_checked(db_sess: AsyncSession) -> R:
        check_early(db_sess)
        return await work(db_sess)

    try:
        return await transact(begin, work_on, is_lost)
    except Exception as exc:
        if not (is_done and is_fault(exc)):
            raise
    return await transact(begin, work_checked, is_lost)


async def forget_plans(db_sess: AsyncSession) -> None:
    """Have the session's connections prepare their statements anew, those of the driver's own cache included."""
    for connection in connections_of(db_sess):
        dialect: Any = connection.dialect
        if dialect.driver == "asyncpg":
            dialect._invalidate_schema_cache()
            driver: Any = connection.connection.driver_connection
            await driver.reload_schema_state()


def repeatable(given: object, most: int | None = None) -> Any:
    """Give what can be iterated over a second time; anything but an iterator as it is.

    ``most`` says how many items are kept for it, where that is not :data:`MOST_KEPT`.
    """
    if hasattr(given, "__next__"):
        return _Kept(given, most)
    return _KeptAsync(given, most) if hasattr(given, "__anext__") else given


class _Kept:
    """An iterator that begins again with what it gave before, unless that was too much to keep."""

    def __init__(self, source: Any, most: int | None) -> None:
        self._source = self.__wrapped__ = source
        self._most = MOST_KEPT if most is None else most
        self._kept: list[Any] | None = []

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._parts())

    def _parts(self) -> Iterator[Iterable[Any]]:
        kept = self._again()
        yield list(kept)
        yield self._keeping(kept)
        if self._kept is not None and len(kept) == self._most:
            self._kept = None
            yield self._source  # as it is: what passes here is every row of a large load

    def _keeping(self, kept: list[Any]) -> Iterator[Any]:
        try:
            for item in islice(self._source, self._most - len(kept)):
                kept.append(item)
                yield item
        except GeneratorExit:  # nobody reads on
            raise
        except BaseException:
            self._kept = None
            raise

    def _again(self) -> list[Any]:
        if self._kept is None:
            raise StalePlan
        return self._kept


class _KeptAsync(_Kept):
    """The same for an asynchronous one."""

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        for item in list(self._again()):
            yield item
        while True:
            try:
                item = await anext(self._source)
            except StopAsyncIteration:
                return
            except BaseException:
                self._kept = None
                raise
            if self._kept is not None and len(self._kept) < self._most:
                self._kept.append(item)
            else:
                self._kept = None
            yield item

    __iter__: Any = None
