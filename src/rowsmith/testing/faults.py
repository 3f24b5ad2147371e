"""Faults of the network and the server, brought about on purpose: a proxy on PostgreSQL's protocol.

The frames of the protocol are read, not guessed (PostgreSQL's manual, "Frontend/Backend Protocol"), so that a fault
happens at a statement: its request is dropped, its answer is dropped or held back. What is no statement's is done to
whole connections: they are cut, frozen, or refused.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, Self, cast

from sqlalchemy import URL, func, make_url, select
from sqlalchemy.exc import ArgumentError

from rowsmith.database import Database, check_database
from rowsmith.errors import InvalidValue, MappingError, kind_of

_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_PATIENCE = 60_000
"""For how many milliseconds a process that was killed is waited for."""


class Kind(Enum):
    """What is done at a statement.

    ``DROP_REQUEST`` cuts the connection before the server has it, ``DROP_ANSWER`` once the server is done with it, and
    the client cannot tell the two apart; ``HOLD_ANSWER`` lets the server do it and leaves the client waiting.
    """

    DROP_REQUEST = "drop_request"
    DROP_ANSWER = "drop_answer"
    HOLD_ANSWER = "hold_answer"
    DELAY = "delay"


@dataclass
class Fault:
    """What happens at the next statements that a pattern finds; ``left`` says at how many."""

    kind: Kind
    pattern: re.Pattern[str]
    left: int
    seconds: float = 0.0


@dataclass(eq=False)
class _Link:
    """One client's connection, and ours to the server for it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    held: Kind | None = None
    statements: dict[str, str] = field(default_factory=dict[str, str])

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class FaultProxy:
    """Stands between a Database and its server, and does to the traffic what it is told.

    ::

        async with FaultProxy(url) as proxy:
            db = Database.from_url(proxy.url)
            proxy.drop_answer("COMMIT")
            with pytest.raises(CommitOutcomeUnknown):
                await GroupRepository(db).create(spec)

    Args:
        url: the server's; it may stand behind a Unix socket.

    ``seen`` holds the text of every statement that came by, in order; of a prepared one each time it is executed.

    Raises:
        MappingError: ``url`` is no URL.
    """

    def __init__(self, url: URL | str) -> None:
        self._target = _url(url)
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[Fault] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self._listener: asyncio.Server | None = None
        self._port = 0
        self.seen: deque[str] = deque(maxlen=10_000)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.refuse()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> URL:
        """Where the proxy listens, for the same database and role."""
        return self._target.set(host="127.0.0.1", port=self._port, query={})

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._links)

    def drop_request(self, statement: str, *, times: int = 1) -> None:
        """Cut the connection of the next statement that matches, before the server has it."""
        self._add(Kind.DROP_REQUEST, statement, times)

    def drop_answer(self, statement: str, *, times: int = 1) -> None:
        """Let the server do the next statement that matches, and cut the connection instead of answering."""
        self._add(Kind.DROP_ANSWER, statement, times)

    def hold_answer(self, statement: str, *, times: int = 1) -> None:
        """Let the server do the next statement that matches; its answer never comes, and the connection stays."""
        self._add(Kind.HOLD_ANSWER, statement, times)

    def delay(self, statement: str, seconds: float, *, times: int = 1) -> None:
        """Send the next statement that matches on after some seconds only."""
        self._add(Kind.DELAY, statement, times, seconds)

    def redirect(self, url: URL | str) -> None:
        """Have new connections go to another server, as an address does that fails over; those there are stay."""
        self._target = _url(url)

    def freeze(self) -> None:
        """Let nothing through in either direction; connections stay, and new ones are taken and not served."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let through what waits, and all that comes."""
        self._flows.set()

    def cut(self) -> None:
        """Cut every connection, as a network that breaks or a server that dies does."""
        for link in list(self._links):
            link.cut()

    async def refuse(self) -> None:
        """Take no new connections; those that are there stay."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    async def accept(self) -> None:
        """Take connections, at the same port as before."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = self._listener.sockets[0].getsockname()[1]

    def _add(self, kind: Kind, statement: str, times: int, seconds: float = 0.0) -> None:
        if not isinstance(cast("Any", statement), str) or not statement:
            raise InvalidValue(f"a statement is told by a pattern such as 'COMMIT', not by {kind_of(statement)}")
        if times < 1:
            raise InvalidValue("a fault happens at least once: write times=1")
        self._faults.append(Fault(kind, re.compile(statement, re.IGNORECASE), times, seconds))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream's callback runs in a task
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, OSError):
                await self._flows.wait()
                server_reader, server_writer = await self._connect()
                await self._through(reader, server_reader, _Link(writer, server_writer))
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = self._target.query.get("host")
        host = self._target.host or (query if isinstance(query, str) else query[0] if query else "localhost")
        asked = self._target.query.get("port")
        port = self._target.port or int(asked if isinstance(asked, str) else "5432")
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _through(self, client: asyncio.StreamReader, server: asyncio.StreamReader, link: _Link) -> None:
        self._links.add(link)
        ways: list[Coroutine[Any, Any, None]] = [self._forth(client, link), self._back(server, link)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            link.cut()
            self._links.discard(link)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _forth(self, client: asyncio.StreamReader, link: _Link) -> None:
        """Send on what the client says, message by message."""
        if not await self._start(client, link):
            return
        while True:
            head = await client.readexactly(5)
            body = await client.readexactly(struct.unpack("!I", head[1:])[0] - 4)
            await self._flows.wait()
            fault = self._fault(link, head[:1], body)
            if fault is not None and fault.kind is Kind.DROP_REQUEST:
                return
            if fault is not None and fault.kind is Kind.DELAY:
                await asyncio.sleep(fault.seconds)
            elif fault is not None:
                link.held = fault.kind
            link.server.write(head + body)
            await link.server.drain()

    async def _start(self, client: asyncio.StreamReader, link: _Link) -> bool:
        """Send on the first message, which has no type; encryption is refused, so that the rest can be read."""
        while True:
            length, code = struct.unpack("!II", await client.readexactly(8))
            rest = await client.readexactly(length - 8)
            if code not in (_SSL_REQUEST, _GSS_REQUEST):
                break
            link.client.write(b"N")
        link.server.write(struct.pack("!II", length, code) + rest)
        await link.server.drain()
        return bool(code != _CANCEL_REQUEST)

    async def _back(self, server: asyncio.StreamReader, link: _Link) -> None:
        """Send on what the server says, message by message."""
        while True:
            head = await server.readexactly(5)
            body = await server.readexactly(struct.unpack("!I", head[1:])[0] - 4)
            await self._flows.wait()
            if link.held is None:
                link.client.write(head + body)
                await link.client.drain()
            elif link.held is Kind.DROP_ANSWER and head[:1] == b"Z":  # ready for the next: this one is done
                return

    def _fault(self, link: _Link, kind: bytes, body: bytes) -> Fault | None:
        """Say what is to happen at a message of the client's."""
        statement: str | None = None  # what is executed, at once or by the name under which it was prepared
        if kind == b"Q":
            statement = body[:-1].decode(errors="replace")
        elif kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            link.statements[name.decode(errors="replace")] = text.decode(errors="replace")
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            statement = link.statements.get(name.decode(errors="replace"))
        if statement is None:
            return None
        self.seen.append(statement)
        fault = next((fault for fault in self._faults if fault.left and fault.pattern.search(statement)), None)
        if fault is not None:
            fault.left -= 1
        return fault


def _url(given: URL | str) -> URL:
    with suppress(ArgumentError, ValueError):  # they may quote it, and a password with it
        return make_url(given)
    raise MappingError(f"a FaultProxy stands before an URL, which this {kind_of(given)} is not: give it db.engine.url")


async def kill_backend(db: Database, pid: int) -> None:
    """End a connection by its server process's id, as an administrator may (``pg_terminate_backend``), and wait for it.

    Raises:
        MappingError: ``db`` is no Database.
        RepositoryError: the role of ``db`` may not.
    """
    check_database(db, "kill_backend")
    async with db.begin_session() as session:
        await session.execute(select(func.pg_terminate_backend(pid, _PATIENCE)))


class WithFaults(Protocol):
    """The type of the fixture ``with_faults``: rows in, a Database behind a proxy and the proxy out."""

    def __call__(
        self, *rows: type[Any], **engine_options: Any
    ) -> AbstractAsyncContextManager[tuple[Database, FaultProxy]]:
        """Make the tables of these rows for the length of a block."""
        ...


@asynccontextmanager
async def through_proxy(db: Database, **engine_options: Any) -> AsyncGenerator[tuple[Database, FaultProxy]]:
    """Give another Database on the same server, behind a proxy of its own, and the proxy.

    Raises:
        MappingError: it is no Database.
    """
    check_database(db, "through_proxy")
    async with FaultProxy(db.engine.url) as proxy:
        behind = Database.from_url(proxy.url, **engine_options)
        try:
            yield behind, proxy
        finally:
            proxy.thaw()
            await behind.dispose()
