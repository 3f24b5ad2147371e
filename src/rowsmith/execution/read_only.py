"""Sessions that stay read-only: the database refuses writes in them, and nothing ends what it refuses them in.

What PostgreSQL holds read-only is a transaction or a savepoint. So whatever would end it is refused: as a statement,
also on the driver's own connection, and as a transaction that begins in its place. SQLite holds the connection
read-only until a PRAGMA says otherwise, which its authorizer refuses, as it refuses the end of the transaction.
"""

from __future__ import annotations

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, event
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import await_
from typing_extensions import override

from rowsmith.errors import ReadOnlyViolation

_ENDED: Final = (
    "a read-only session ends its transaction by session.commit() or session.rollback(), or by the end of its block, "
    "and by nothing else: write in begin_session()"
)


def keep_read_only(session: Session) -> None:
    """Have a session write in none of the transactions that it begins."""
    event.listen(session, "after_begin", _keep_transaction)


def _keep_transaction(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Keep a connection that a session has begun to use from writing, until SQLAlchemy ends its transaction."""
    if connection in _kept:
        return
    lock = _lock(connection)
    if connection.engine.pool is not session.get_bind().engine.pool:  # whose connections nobody opens again
        _give_up(connection)

    def end(_: Connection) -> None:
        lock.end()

    for name in ("commit", "rollback"):
        event.listen(connection, name, end)
    event.listen(connection, "begin", _give_up)  # SQLAlchemy's session takes another connection after each end


@contextmanager
def read_only_savepoint(session: Session) -> Generator[None]:
    """Have a session write in nothing inside of its innermost savepoint, until the block ends."""
    around, locks = list(_around(session.get_nested_transaction())), dict[Connection, _Lock]()
    broken: list[Connection] = []

    def keep(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        """Keep a connection from writing that the session begins to use inside."""
        if transaction in around or connection in _kept:
            return
        if not transaction.nested:
            _give_up(connection)
        locks[connection] = _lock(connection)
        event.listen(connection, "begin", _give_up)  # as one does that was invalidated, on another of the driver's

    event.listen(session, "after_begin", keep)
    try:
        with suppress(UnboundExecutionError):  # of several databases, each as it is used
            session.connection()
        yield
    finally:
        event.remove(session, "after_begin", keep)
        for connection, lock in locks.items():
            del _kept[connection]
            event.remove(connection, "begin", _give_up)
            lock.open()
            if not connection.closed and lock.is_broken(connection):
                broken.append(connection)
                connection.invalidate()
                if not connection.in_transaction():  # it would begin another, on a new connection
                    connection.close()
    if broken:  # and its error was swallowed
        _refuse()


def _around(transaction: SessionTransaction | None) -> Iterator[SessionTransaction]:
    """Give the transactions that a savepoint stands in, the innermost first."""
    while transaction is not None and (transaction := transaction.parent) is not None:
        yield transaction


def _refuse(*_: Any) -> NoReturn:
    """Say what a read-only session takes, to whoever asks for something else."""
    raise ReadOnlyViolation(_ENDED)


def _lock(connection: Connection) -> _Lock:
    """Keep a connection from writing; one that cannot be kept from it is given up."""
    adapter: Any = connection.connection.dbapi_connection
    _kept[connection] = lock = (_LockOnSQLite if connection.dialect.name == "sqlite" else _LockOnPostgreSQL)(adapter)
    try:
        lock.close(connection)
    except ReadOnlyViolation:
        _give_up(connection)
    return lock


def _give_up(connection: Connection) -> NoReturn:
    """Refuse a connection that may write, which the session has taken already."""
    connection.invalidate()
    connection.close()
    _refuse()


class _Lock(ABC):
    """What keeps a connection from writing, from ``close`` to ``open``; SQLAlchemy alone may end its transaction."""

    def __init__(self, adapter: Any) -> None:
        self.adapter, self.driver = adapter, adapter.driver_connection

    @abstractmethod
    def close(self, connection: Connection) -> None:
        """Keep the connection from writing.

        Raises:
            ReadOnlyViolation: it cannot be kept from it.
        """

    @abstractmethod
    def open(self) -> None:
        """Let the connection write again."""

    @abstractmethod
    def end(self) -> None:
        """Have SQLAlchemy end the transaction, once."""

    @abstractmethod
    def is_broken(self, connection: Connection) -> bool:
        """Say whether SQLAlchemy takes the transaction for ended, and the database does not."""


_kept: WeakKeyDictionary[Connection, _Lock] = WeakKeyDictionary()


class _LockOnPostgreSQL(_Lock):
    """Its transaction may not write from here on, nor be ended but by its owner."""

    @override
    def close(self, connection: Connection) -> None:
        connection.exec_driver_sql("SELECT set_config('transaction_read_only', 'on', true)")  # a snapshot, too
        if not self.driver.is_in_transaction():  # an engine, or options of a connection, that commit each statement
            _refuse()
        self.driver._protocol = _OneTransaction(self.driver._protocol)

    @override
    def open(self) -> None:
        unlock(self.driver)

    @override
    def end(self) -> None:
        if type(self.driver._protocol) is _OneTransaction:
            self.driver._protocol.is_ending = True

    @override
    def is_broken(self, connection: Connection) -> bool:
        return is_left_open(self.adapter, self.driver)


def is_left_open(adapter: Any, driver: Any) -> bool:
    """Say whether a connection is in a transaction that SQLAlchemy does not end, as it does not know of it."""
    if adapter._transaction is not None or driver._protocol is None:
        return False
    return driver._protocol.is_in_transaction() and not driver.is_closed()


def unlock(driver: Any) -> None:
    """Let an ``asyncpg.Connection`` write again, if it was kept from it."""
    if type(driver._protocol) is _OneTransaction:
        driver._protocol = driver._protocol.protocol
        if not driver.is_in_transaction():
            driver._top_xact = None  # asyncpg leaves it there where its BEGIN was refused


class _OneTransaction:
    """asyncpg's protocol without what ends the transaction, or a savepoint that was there before."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.is_ending = self._is_over = False
        self._savepoints: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.protocol, name)

    async def query(self, query: str, *args: Any, **kwargs: Any) -> Any:
        """Send what may be several statements, if it is one that may be sent."""
        return await self._send(query, self.protocol.query, query, *args, **kwargs)

    async def copy_in(self, query: str, *args: Any, **kwargs: Any) -> Any:
        """Send a COPY, into which other statements could be put."""
        return await self._send(query, self.protocol.copy_in, query, *args, **kwargs)

    async def copy_out(self, query: str, *args: Any, **kwargs: Any) -> Any:
        """Send a COPY, into which other statements could be put."""
        return await self._send(query, self.protocol.copy_out, query, *args, **kwargs)

    async def _send(self, query: str, send: Any, *args: Any, **kwargs: Any) -> Any:
        """Send a text by one of the protocol's ways, if it is one statement that may be sent."""
        self._check(query)
        if ";" in query:  # PostgreSQL says whether it is one only: it prepares no several
            await self.protocol.prepare("", query, None, record_class=self.protocol.get_record_class())
        answer = await send(*args, **kwargs)
        self._note(query)
        return answer

    async def bind_execute(self, state: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a statement that was prepared."""
        self._check(state.query)
        answer = await self.protocol.bind_execute(state, *args, **kwargs)
        self._note(state.query)
        return answer

    async def bind_execute_many(self, state: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a statement that was prepared, several times."""
        self._check_repeated(state.query)
        return await self.protocol.bind_execute_many(state, *args, **kwargs)

    async def bind(self, state: Any, *args: Any, **kwargs: Any) -> Any:
        """Open a cursor on a statement that was prepared."""
        self._check_repeated(state.query)
        return await self.protocol.bind(state, *args, **kwargs)

    def _check(self, query: str) -> None:
        """Refuse what ends the transaction, or a savepoint that was there before; SQLAlchemy may end it once."""
        if self._is_over:
            _refuse()
        if _first_word(query) not in _ENDING:
            return
        if self.is_ending:
            self.is_ending, self._is_over = False, True
            return
        found = _OF_SAVEPOINT.fullmatch(query)
        if found is None or found["name"].lower() not in self._savepoints:
            _refuse()

    def _check_repeated(self, query: str) -> None:
        """Refuse what ends anything where nobody sees how often it does."""
        if self._is_over or _first_word(query) in _ENDING:
            _refuse()

    def _note(self, query: str) -> None:
        """Know which savepoints there are, once one was made or ended."""
        found = _OF_SAVEPOINT.fullmatch(query)
        if found is None:
            return
        verb, name, known = found["verb"].upper(), found["name"].lower(), self._savepoints
        if verb == "SAVEPOINT":
            known.append(name)
        else:
            last = len(known) - known[::-1].index(name) - 1
            del known[last + (verb == "ROLLBACK") :]


_ENDING: Final = frozenset({"COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE", "RELEASE"})

# Simple names only: whatever else a savepoint may be called is not known afterwards, and refused.
_OF_SAVEPOINT: Final = re.compile(
    r"\s*(?P<verb>SAVEPOINT|RELEASE(?=\s)|ROLLBACK(?=(?:\s+(?:WORK|TRANSACTION))?\s+TO\s))"
    r"(?:\s+(?:WORK|TRANSACTION))?(?:\s+TO)?(?:\s+SAVEPOINT)?\s+(?P<name>[A-Z_][A-Z_0-9]*)\s*;?\s*",
    re.IGNORECASE | re.ASCII,
)
_BLANK: Final = re.compile(r"(?:[\s;]|--[^\r\n]*)*")
_COMMENT: Final = re.compile(r"/\*|\*/")
_WORD: Final = re.compile(r"\w*")


def ends_transaction(query: str) -> bool:
    """Say whether a statement ends the transaction, and not only a savepoint, if it is one that may be sent."""
    first, at = _word(query, 0)
    if first not in _ENDING - {"RELEASE"}:
        return False
    second, at = _word(query, at)
    if first == "PREPARE":
        return second == "TRANSACTION"
    third, at = _word(query, at)
    return not (second == "TO" or (second in {"WORK", "TRANSACTION"} and third == "TO"))


def _first_word(query: str) -> str:
    """Give what a statement begins with."""
    return _word(query, 0)[0]


def _word(query: str, at: int) -> tuple[str, int]:
    """Give the word that comes next in a statement, behind comments, which PostgreSQL nests, and where it ends."""
    depth = 0
    while True:
        at = _match(_BLANK, query, at).end()
        if not query.startswith("/*", at):
            word = _match(_WORD, query, at)
            return word[0].upper(), word.end()
        for mark in _COMMENT.finditer(query, at):
            depth += 1 if mark[0] == "/*" else -1
            at = mark.end()
            if not depth:
                break
        else:
            return "", at


def _match(pattern: re.Pattern[str], query: str, at: int) -> re.Match[str]:
    found = pattern.match(query, at)
    assert found is not None  # noqa: S101 - it matches nothing, too
    return found


locked_on_sqlite: Final[WeakSet[Any]] = WeakSet()
"""The connections that have such an authorizer."""


def is_in_transaction_on_sqlite(driver: Any) -> bool:
    """Say whether a connection is in a transaction, whoever began it."""
    return driver._connection is not None and bool(driver.in_transaction)


class _LockOnSQLite(_Lock):
    """The connection writes nothing from here on, and takes nothing that says otherwise or ends its transaction."""

    def __init__(self, adapter: object) -> None:
        super().__init__(adapter)
        self._is_ending = False
        self._savepoints: set[str] = set()

    @override
    def close(self, connection: Connection) -> None:
        self._run("PRAGMA query_only = 1")
        await_(self.driver.set_authorizer(self._authorize))
        locked_on_sqlite.add(self.driver)

    @override
    def open(self) -> None:
        locked_on_sqlite.discard(self.driver)
        with suppress(ValueError):  # closed
            await_(self.driver.set_authorizer(None))
            self._run("PRAGMA query_only = 0")

    @override
    def end(self) -> None:
        self._is_ending = True

    @override
    def is_broken(self, connection: Connection) -> bool:
        return not connection.in_transaction() and is_in_transaction_on_sqlite(self.driver)

    def _run(self, statement: str) -> None:
        """Run a statement below SQLAlchemy."""
        cursor = self.adapter.cursor()
        cursor.execute(statement)
        cursor.close()

    def _authorize(self, action: int, verb: str | None, value: str | None, *_: Any) -> int:
        """Say what SQLite asks while it prepares a statement: whether it may run."""
        is_refused = False
        if action == sqlite3.SQLITE_PRAGMA:
            is_refused = (verb or "").lower() == "query_only" and value is not None
        elif action == sqlite3.SQLITE_TRANSACTION:
            is_refused = verb != "BEGIN" and not self._is_ending
        elif action == sqlite3.SQLITE_SAVEPOINT:
            name = (value or "").lower()
            if verb == "BEGIN":
                self._savepoints.add(name)
            is_refused = name not in self._savepoints
        return sqlite3.SQLITE_DENY if is_refused else sqlite3.SQLITE_OK
