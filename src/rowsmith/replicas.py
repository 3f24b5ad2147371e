"""Replicas: which server a read goes to, so that it is never older than what this process has written.

Of every commit of this process it is counted that there was one (:mod:`rowsmith.execution.commits`); how far the log
was then is asked by the first read that comes after it, together with how far the replicas are. What a replica once had
it keeps, so that further reads go by these answers, until the next commit: there is no round trip for each call.
Servers are asked anew when an answer is :data:`FRESH` no more, behind the back of a read that comes meanwhile. Nobody
asks where nobody reads.

All commits of the process count for all of its reads, and not only those of the task that reads: a task learns of what
another one has written in ways that nobody sees.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from rowsmith.deadline import check_seconds, remaining
from rowsmith.errors import (
    DatabaseFault,
    DatabaseUnavailable,
    DeadlockDetected,
    InvalidValue,
    MappingError,
    PoolExhausted,
    ReadOnlyViolation,
    RepositoryError,
    SerializationFailure,
    kind_of,
)
from rowsmith.execution.commits import Commits
from rowsmith.execution.isolation import check_isolation, chosen_isolation
from rowsmith.execution.position import NOWHERE, Position
from rowsmith.hosts import hosts_of
from rowsmith.watched import Watched

FRESH: Final = 1.0
"""For how many seconds it is believed what a server said of itself."""
RETURN: Final = 5.0
"""Seconds between questions to a primary's own address, as long as it is no standby's."""
PAUSE: Final = 0.02
"""Seconds between questions to replicas of which none has caught up."""


@dataclass(frozen=True)
class Lag:
    """How far behind replicas may be.

    Args:
        wait: for how many seconds a read waits for a replica to have what this process has written, or what
            ``reading_from`` asks for, before the primary answers it; 0 has the primary answer at once.
        most: for how many seconds a replica may have lacked something that others have written, before nobody reads
            from it.

    Raises:
        InvalidValue: one is no such number.
    """

    wait: float = 0.0
    most: float = 10.0

    def __post_init__(self) -> None:
        """Check both."""
        if self.wait.__class__ not in (int, float) or self.wait != 0:
            check_seconds(self.wait, "wait")
        check_seconds(self.most, "most")


class Serving(Protocol):
    """What reads of one server are made through."""

    engine: AsyncEngine


TServer = TypeVar("TServer", bound=Serving)
T = TypeVar("T")

_OF_A_REPLICA: Final = (
    *(DatabaseUnavailable, DatabaseFault, ReadOnlyViolation),
    *(SerializationFailure, DeadlockDetected),
)


def _is_of_a_replica(failure: RepositoryError) -> bool:
    """Say whether a replica may raise that where the primary would not.

    It is away, has no such table or label of an enum yet, lets no unlogged one be read, or has to undo what a read
    still sees or holds up.
    """
    if isinstance(failure, InvalidValue):
        return failure.facts.sqlstate is not None  # said by the server, and not before anything was sent
    return isinstance(failure, _OF_A_REPLICA) and not isinstance(failure, PoolExhausted)


class Replicas(Generic[TServer]):
    """Chooses among a primary and those that follow it.

    Args:
        primary: what all writes go through.
        servers: the others.
        lag: how far behind they may be.
        commits: where it is counted what this process commits.
    """

    def __init__(self, primary: TServer, servers: Sequence[TServer], lag: Lag, commits: Commits) -> None:
        self.primary, self.servers, self.lag = primary, list(servers), lag
        self._commits = commits
        self._source = Watched("the primary", primary.engine, is_standby=False)
        names = (f"replica {place} of {len(servers)}" for place in range(1, len(servers) + 1))
        self._watched = [
            Watched(name, server.engine, is_standby=True) for name, server in zip(names, servers, strict=True)
        ]
        self._counted, self._floor = -1, NOWHERE
        self._heard: deque[tuple[float, Position]] = deque(maxlen=100)
        self._newest = float("-inf"), self._floor
        self._looking: tuple[asyncio.Task[None], int] | None = None
        self._reviving: set[asyncio.Task[None]] = set()
        self._turn = 0

    def expect(self, server: TServer) -> None:
        """Have one more server read from, once it follows another: at an address that is a primary's by now."""
        name = f"the primary's own address, as replica {len(self.servers) + 1}"
        self.servers.append(server)
        self._watched.append(Watched(name, server.engine, is_standby=True, retry=RETURN, is_away=True))

    async def run(self, read: Callable[[TServer], Awaitable[T]]) -> T:
        """Make a read where it is to go; once more on the primary where a replica cannot answer it."""
        server = await self.choose()
        if server is not self.primary:
            try:
                return await read(server)
            except RepositoryError as exc:
                if not _is_of_a_replica(exc):
                    raise
                self._doubt(server, exc)
        return await read(self.primary)

    async def stream(self, read: Callable[[TServer], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        """Do the same with a read that goes on; what has begun is not begun again."""
        server, has_begun = await self.choose(), False
        if server is not self.primary:
            try:
                async with aclosing(read(server)) as items:
                    async for item in items:
                        has_begun = True
                        yield item
                return
            except RepositoryError as exc:
                if has_begun or not _is_of_a_replica(exc):
                    raise
                self._doubt(server, exc)
        async with aclosing(read(self.primary)) as items:
            async for item in items:
                yield item

    async def choose(self) -> TServer:
        """Give the server that a read goes to which is made now."""
        chosen, count, until = self._at_hand(), self._commits.count, None
        while chosen is None:
            if not await self._look(count):
                return self.primary
            chosen, now = self._fit(), time.monotonic()
            until = now + self.lag.wait if until is None else until
            if chosen is None and now >= until:
                return self.primary
            if chosen is None:
                await asyncio.sleep(min(PAUSE, until - now))
        return chosen

    @contextmanager
    def reading_from(self, position: Position) -> Iterator[None]:
        """Have the reads of the block see what was there at a position."""
        asked = _asked.get()
        token = _asked.set({**asked, self: (*asked.get(self, ()), position)})
        try:
            yield
        finally:
            _asked.reset(token)

    async def dispose(self) -> None:
        """Close the connections that servers were asked on."""
        tasks = [*self._reviving, *(() if self._looking is None else self._looking[:1])]
        for task in tasks:
            if not task.get_loop().is_closed():
                task.cancel()
        here = [task for task in tasks if task.get_loop() is asyncio.get_running_loop()]
        await asyncio.gather(*here, return_exceptions=True)
        self._looking = None
        for each in (self._source, *self._watched):
            await each.dispose()

    def _at_hand(self) -> TServer | None:
        """Give the server where what is known is enough to tell; None where servers have to be asked first."""
        now = time.monotonic()
        self._revive(now)
        up = [each for each in self._watched if each.is_up]
        is_behind = self._counted != self._commits.count
        if not up or (is_behind and not self._source.is_up):
            return self.primary
        age = max(each.age(now) for each in up)
        if is_behind or age > FRESH:
            return None
        if age > FRESH / 2:
            self._begin_look()
        chosen = self._fit()
        return self.primary if chosen is None and self.lag.wait == 0 and age < PAUSE else chosen

    def _fit(self) -> TServer | None:
        """Give one of the replicas that are far enough, in turns."""
        floors = (self._floor, *_asked.get().get(self, ()))
        fit = [
            server
            for server, watched in zip(self.servers, self._watched, strict=True)
            if watched.is_up
            and all(floor.is_reached_by(watched.position) for floor in floors)
            and self._lacking(watched) <= self.lag.most
        ]
        self._turn += 1
        return fit[self._turn % len(fit)] if fit else None

    def _lacking(self, watched: Watched) -> float:
        """Say for how many seconds at most a replica had lacked something that the primary was last known to have."""
        now, newest = self._newest
        if newest.is_reached_by(watched.position):
            return 0.0
        reached = (when for when, position in reversed(self._heard) if position.is_reached_by(watched.position))
        return min(now - next(reached, float("-inf")), watched.since)

    async def _look(self, count: int) -> bool:
        """Ask all servers, after so many commits; a question that is on its way serves all who came before it.

        Says whether the primary answered it, in half of the time that the read has at most.
        """
        left = remaining()
        until = None if left is None else time.monotonic() + left / 2
        while True:
            task, counted = self._begin_look()
            await asyncio.wait((task,), timeout=None if until is None else max(0.0, until - time.monotonic()))
            if counted >= count or not task.done():
                return task.done() and self._counted >= count

    def _begin_look(self) -> tuple[asyncio.Task[None], int]:
        """Begin to ask all servers, unless that is on its way."""
        loop, looking = asyncio.get_running_loop(), self._looking
        if looking is not None and looking[0].get_loop() is loop and not looking[0].done():
            return looking
        counted = self._commits.count
        self._looking = looking = loop.create_task(self._see(counted), context=Context()), counted
        return looking

    async def _see(self, counted: int) -> None:
        """Ask all servers that are not away where they are."""
        asked = [each for each in (self._source, *self._watched) if each.is_up]
        await asyncio.gather(*map(self._ask, asked))
        if self._source not in asked or not self._source.is_up:
            return
        self._newest = self._source.asked, self._source.position
        if counted > self._counted:
            self._counted, self._floor = counted, self._source.position
        if not self._heard or self._source.asked - self._heard[-1][0] > self.lag.most / 50:
            self._heard.append(self._newest)

    async def _ask(self, watched: Watched) -> None:
        """Ask a server where it is; it has to be of the same group as the primary."""
        await watched.ask(None if watched is self._source else self._newest[1].system or None)

    def _revive(self, now: float) -> None:
        """Begin to ask servers that were away for a while."""
        for each in (self._source, *self._watched):
            if not each.is_up and now - each.asked > each.retry:
                each.asked = now
                task = asyncio.get_running_loop().create_task(self._ask(each), context=Context())
                self._reviving.add(task)
                task.add_done_callback(self._reviving.discard)

    def _doubt(self, server: TServer, failure: Exception) -> None:
        """Take a server for away, where that is what a read has found."""
        if isinstance(failure, DatabaseUnavailable):
            watched = self._watched[self.servers.index(server)]
            watched.asked = time.monotonic()
            watched.fall(type(failure).__name__)


_asked: ContextVar[Mapping[Any, tuple[Position, ...]]] = ContextVar("rowsmith_asked", default=MappingProxyType({}))
"""What the running code has to see, of the replicas of each database."""


def check_replicas(engine: AsyncEngine, replicas: object, lag: object) -> None:
    """Refuse what cannot be the replicas of an engine.

    Raises:
        MappingError: one is no engine, or none of another server that holds the same.
    """
    if not isinstance(lag, Lag):
        raise MappingError(f"lag is a Lag, not {kind_of(lag)}: write lag=Lag(wait=0.1)")
    if not isinstance(replicas, (list, tuple)):
        raise MappingError(f"replicas is a list of AsyncEngines, not {kind_of(replicas)}: write replicas=[engine]")
    seen = [engine]
    for replica in cast("Sequence[Any]", replicas):
        _check_replica(replica, seen)
        seen.append(replica)


def _check_replica(replica: object, seen: Sequence[AsyncEngine]) -> None:
    """Refuse an engine that cannot be a replica beside those that were seen, of which the first is the primary's."""
    if not isinstance(replica, AsyncEngine):
        raise MappingError(
            f"replicas are AsyncEngines, not {kind_of(replica)}: write replicas=[create_async_engine(url)], "
            "or Database.from_url(url, replicas=[url])"
        )
    for each in (seen[0], replica):
        if (each.dialect.name, each.dialect.driver) != ("postgresql", "asyncpg"):
            raise MappingError(
                f"{each.dialect.name} with {each.dialect.driver} has no replicas here: give none, or make all engines "
                "for postgresql+asyncpg"
            )
    if any(replica.pool is other.pool for other in seen) or replica.url == seen[0].url:
        raise MappingError(
            "replicas are engines of other servers, each given once: this one is there already, so make its own with "
            "create_async_engine(url_of_the_standby)"
        )
    if len(hosts_of(replica.url)) > 1:
        raise MappingError("a replica is one server, as each has its own lag: give an engine for each of the hosts")
    if _schemas(replica) != _schemas(seen[0]):
        raise MappingError("a replica holds the same schemas: give all engines the same schema_translate_map")
    check_isolation(replica.sync_engine)
    if "SERIALIZABLE" in chosen_isolation(replica.sync_engine):
        raise MappingError('a standby has no SERIALIZABLE: make its engine with isolation_level="REPEATABLE READ"')


def _schemas(engine: AsyncEngine) -> Any:
    return engine.sync_engine.get_execution_options().get("schema_translate_map") or {}
