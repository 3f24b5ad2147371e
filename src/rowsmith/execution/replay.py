"""Running a transaction once more, where a table was altered under prepared statements or others came in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import chain, islice
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import RepositoryError, StalePlan
from rowsmith.execution.transactions import connections_of

R = TypeVar("R")

MOST_KEPT = 10_000
"""How many items of an iterator are kept for a second run, which more do not get: a plan is found stale early."""


async def transact(
    begin: Callable[[], AbstractAsyncContextManager[AsyncSession]],
    work: Callable[[AsyncSession], Awaitable[R]],
    is_lost: Callable[[RepositoryError], bool] | None = None,
) -> R:
    """Do some work in a session, and once more in another where what undid the whole transaction would not do so again.

    Args:
        begin: opens the session.
        work: is given the session.
        is_lost: says of a failure, but a stale plan, that the transaction is undone as others came in between.

    Raises:
        StalePlan: the session is one that was joined; or it was stale again.
    """
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


async def forget_plans(db_sess: AsyncSession) -> None:
    """Have the session's connections prepare their statements anew, those of the driver's own cache included."""
    for connection in connections_of(db_sess):
        dialect: Any = connection.dialect
        if dialect.driver == "asyncpg":
            dialect._invalidate_schema_cache()
            driver: Any = connection.connection.driver_connection
            await driver.reload_schema_state()


def repeatable(given: object) -> Any:
    """Give what can be iterated over a second time; anything but an iterator as it is."""
    if hasattr(given, "__next__"):
        return _Kept(given)
    return _KeptAsync(given) if hasattr(given, "__anext__") else given


class _Kept:
    """An iterator that begins again with what it gave before, unless that was too much to keep."""

    def __init__(self, source: Any) -> None:
        self._source = self.__wrapped__ = source
        self._kept: list[Any] | None = []

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._parts())

    def _parts(self) -> Iterator[Iterable[Any]]:
        kept = self._again()
        yield list(kept)
        yield self._keeping(kept)
        if self._kept is not None and len(kept) == MOST_KEPT:
            self._kept = None
            yield self._source  # as it is: what passes here is every row of a large load

    def _keeping(self, kept: list[Any]) -> Iterator[Any]:
        try:
            for item in islice(self._source, MOST_KEPT - len(kept)):
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
            if self._kept is not None and len(self._kept) < MOST_KEPT:
                self._kept.append(item)
            else:
                self._kept = None
            yield item

    __iter__: Any = None
