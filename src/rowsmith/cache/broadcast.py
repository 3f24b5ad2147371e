"""Telling the caches of other processes what was written, by PostgreSQL's LISTEN and NOTIFY.

Whoever writes sends a notification in the same transaction, so that it arrives when that is committed, and only then.
Whoever listens does so on a connection of its own; as long as that is lost nobody knows what has changed, so nothing is
kept. Every role of a database may listen, so keys go as digests under a secret.

A notification is up to three lines: the table; who sends it, and by which secret; the digests, of which there may be
none. A table alone, which SQL of anybody's own may send, means all of its rows, and nothing at all means all rows.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from weakref import WeakSet

from sqlalchemy import Connection

from rowsmith.database import Database
from rowsmith.deadline import check_seconds
from rowsmith.errors import InvalidValue, MappingError, UnfitPooler, kind_of
from rowsmith.execution import DATABASE_ERRORS, translate
from rowsmith.execution.pooler import is_through_pooler
from rowsmith.mapping.types.text import text_complaint
from rowsmith.redis_client import text_of_id

if TYPE_CHECKING:
    from typing import Self

logger = logging.getLogger("rowsmith.cache")

LONGEST: Final = 7_900
"""How many bytes a notification has at most; PostgreSQL takes fewer than 8,000."""

MOST_IDS: Final = 4_000
"""Of a transaction that writes more rows it is told that it may be any."""

_PER_PIECE: Final = 400
_LONGEST_NAME: Final = 63
_WORD: Final = 12


class Hearer(Protocol):
    """Who keeps copies of rows, and is told which are no longer right."""

    def forget(self, digests: Collection[str] | None) -> None:
        """Let go of the rows whose keys have these digests; None: of all."""
        ...


class Broadcast:
    """Tells memory caches of all processes what was written, for as long as its block lasts.

    ::

        broadcast = Broadcast(db, secret=SECRET)
        groups = GroupRepository(db, cache_source=MemoryCacheSource(GroupData, broadcast=broadcast))
        async with broadcast: ...

    A cache with a broadcast that does not listen, as before the block, or while its connection is lost, has nothing and
    takes nothing; the log says when a connection is lost. Other processes may give an old entry for as long as a
    notification is on its way; and where nobody says that a connection is dead, until that is found out, which takes
    ``heartbeat`` seconds twice at most.

    Args:
        db: where it listens: on a connection of its own, which must not be a pooler's.
        secret: keys are told as digests under it; the same in all processes.
        channel: PostgreSQL's name for it; the same in all processes.
        heartbeat: how often, in seconds, it is asked whether the connection still works.

    Attributes:
        is_listening: what others write is heard.

    Raises:
        MappingError: ``db`` is no Database on PostgreSQL.
        InvalidValue: ``secret``, ``channel`` or ``heartbeat`` is none.
    """

    def __init__(self, db: Database, *, secret: str | bytes, channel: str = "rowsmith", heartbeat: float = 5.0) -> None:
        if not isinstance(cast("Any", db), Database) or db.engine.dialect.driver != "asyncpg" or db.is_borrowed:
            raise MappingError(f"Broadcast(...) takes a Database on PostgreSQL, not {kind_of(db)}: Broadcast(db)")
        name: Any = channel
        if not isinstance(name, str) or text_complaint(name) or not 0 < len(name.encode()) <= _LONGEST_NAME:
            raise InvalidValue("a channel is a name of 63 bytes at most: write channel='rowsmith'")
        self.database, self._channel = db.engine.url.database, name
        self._engine, self._heartbeat = db.engine, check_seconds(heartbeat, "heartbeat")
        if not isinstance(cast("Any", secret), (str, bytes)) or not secret:
            raise InvalidValue("a secret is a text or bytes that others do not know: write secret=os.environ['SECRET']")
        self._key = hashlib.blake2b(
            secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
        ).digest()
        self._mark, self._own = self._digest(b""), secrets.token_hex(8)
        self._hearers: defaultdict[str, WeakSet[Any]] = defaultdict(WeakSet)
        self._driver: Any = None
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_listening = False

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Raises:
            DatabaseUnavailable: there is no connection.
            UnfitPooler: it is to a pooler, behind which nobody hears anything.
        """
        self._own = secrets.token_hex(8)  # a process that was forked since has one, too
        try:
            await self._listen()
        except DATABASE_ERRORS as exc:
            failure = translate(exc)
        else:
            self._task = asyncio.get_running_loop().create_task(self._stay())
            return self
        raise failure

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Listen no more, and keep nothing."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait((self._task,))
        finally:
            self._hang_up()

    def add(self, topic: str, hearer: Hearer) -> None:
        """Have somebody told of what is written into a table, for as long as it lives."""
        self._hearers[topic].add(hearer)

    def digest(self, id: Any) -> str:
        """Give what stands for a key."""
        return self._digest(text_of_id(id).encode("utf-8", "surrogatepass"))

    def send(self, connection: Connection, topic: str, ids: Collection[object] | None) -> None:
        """Have all who listen told of rows that a transaction writes, once it is committed.

        A database that cannot tell is another one than that of the rows that are kept.
        """
        if connection.dialect.driver != "asyncpg":
            return
        for payload in self.payloads(topic, ids):
            connection.exec_driver_sql("SELECT pg_notify($1, $2)", (self._channel, payload))

    def payloads(self, topic: str, ids: Collection[object] | None) -> Iterator[str]:
        """Give what is sent, in pieces that PostgreSQL takes."""
        if ids is None or len(ids) > MOST_IDS:
            yield f"{topic}\n{self._own} {self._mark}"
            return
        words = sorted(map(self.digest, ids))
        for first in range(0, len(words), _PER_PIECE):
            yield f"{topic}\n{self._own} {self._mark}\n{' '.join(words[first : first + _PER_PIECE])}"

    def _digest(self, text: bytes) -> str:
        return urlsafe_b64encode(hashlib.blake2b(text, key=self._key, digest_size=_WORD).digest()).decode()

    async def _listen(self) -> None:
        """Take a connection out of the pool for good, and be told on it."""
        pooled = await self._engine.raw_connection()
        self._driver = driver = cast("Any", pooled.driver_connection)
        pooled.detach()
        try:
            if is_through_pooler(driver):
                raise UnfitPooler(_NOT_HEARD)
            self._lost.clear()
            driver.add_termination_listener(self._end)
            await driver.add_listener(self._channel, self._hear)
        except BaseException:
            driver.terminate()
            raise
        self.is_listening = not driver.is_closed()

    async def _stay(self) -> None:
        """Notice that the connection is lost, and make another one."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat):
                    await self._lost.wait()
            try:
                async with asyncio.timeout(self._heartbeat):
                    await self._driver.fetchval("SELECT 1")
            except DATABASE_ERRORS:
                is_alive = False
            else:
                is_alive = not self._lost.is_set()
            if not is_alive:
                self._hang_up()
                await self._listen_again()

    async def _listen_again(self) -> None:
        """Try until there is a connection."""
        logger.warning("the connection that tells caches what is written is lost: until there is one they keep nothing")
        seconds = _SOON
        while not self.is_listening:
            try:
                await self._listen()
            except Exception:  # noqa: BLE001 - what an application does to new connections may raise anything
                await asyncio.sleep(seconds)
                seconds = min(2 * seconds, self._heartbeat)
        logger.info("caches are told again what is written")

    def _hang_up(self) -> None:
        self._end()
        if self._driver is not None:
            self._driver.terminate()

    def _end(self, *_: Any) -> None:
        """Keep nothing from now on: nobody tells what is written."""
        self.is_listening = False
        self._lost.set()
        self._tell(None, None)

    def _hear(self, driver: Any, process: int, channel: str, payload: str) -> None:
        """Tell those whom a notification is about; what is none of ours is about everything of its table."""
        topic, _, rest = payload.partition("\n")
        by, _, words = rest.partition("\n")
        sender, _, mark = by.partition(" ")
        if sender != self._own:  # whose caches know
            self._tell(topic or None, words.split() if words and mark == self._mark else None)

    def _tell(self, topic: str | None, digests: Collection[str] | None) -> None:
        for each in list(self._hearers) if topic is None else (topic,):
            for hearer in list(self._hearers.get(each, ())):
                hearer.forget(digests)


_SOON: Final = 0.05

_NOT_HEARD: Final = (
    "behind a pooler nobody hears what is told: give Broadcast a Database of its own with the server's URL; "
    "those that write may go through the pooler"
)
