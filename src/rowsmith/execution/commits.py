"""What is committed on an engine's connections: how often, for standbys, and in whose attempt, which is over with it.

Counted is whatever may have been committed by this process, through rowsmith or beside it, once its answer is here: at
SQLAlchemy's own seam to the driver, where rowsmith's lanes pass it by, and when a connection comes back of which nobody
knows what was done on it. What was not committed after all is counted for nothing.

An attempt (:mod:`rowsmith.attempts`) is told at the same seam before COMMIT is sent, as nobody asks what became of one
whose answer is lost; but for sessions of rowsmith's, which do ask, and tell it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import Dialect

from rowsmith.attempts import note_commit


class Commits:
    """What was committed on the connections of an engine: ``count`` only ever grows.

    ``is_complete`` says that SQLAlchemy's own commits are counted, too.
    """

    count, is_complete = 0, False


_commits: Final[WeakKeyDictionary[Dialect, Commits]] = WeakKeyDictionary()
_lent: Final[WeakSet[Any]] = WeakSet()
"""The driver's connections that somebody has asked a pool's for, and may have sent statements on."""


def commits_of(engine: Engine) -> Commits:
    """Give where it is counted what is committed on an engine's connections; several databases on it share that."""
    return _commits.setdefault(engine.dialect, Commits())


def count_commits(engine: Engine) -> Commits:
    """Count from now on all that is committed on them."""
    commits = commits_of(engine)
    if not commits.is_complete:
        commits.is_complete = True
        _count_in(engine.dialect, "do_commit", commits)
        _count_in(engine.dialect, "do_commit_twophase", commits)
    return commits


def _count_in(dialect: object, method: str, commits: Commits) -> None:
    """Have one of a dialect's ways to commit be counted."""
    commit = getattr(dialect, method)

    def counted(connection: object, *args: Any, **kwargs: Any) -> None:
        if all(connection is not each for each in _asked_after.get()):
            note_commit()
        try:
            commit(connection, *args, **kwargs)
        finally:  # once it is answered: what is asked of the server from here on is after it
            commits.count += 1

    setattr(dialect, method, counted)


_asked_after: Final[ContextVar[Sequence[object]]] = ContextVar("rowsmith_asked_after", default=())


@contextmanager
def asked_after(connections: Iterable[Connection]) -> Iterator[None]:
    """Have COMMIT sent on some connections by who finds out what became of it, and tells the attempt himself."""
    token = _asked_after.set([each._dbapi_connection for each in connections])  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        _asked_after.reset(token)


def note_loans(engine: Engine, tell: Callable[[Any], None]) -> None:
    """Note of each connection of the driver's that somebody asks a dialect for it, and tell of it."""
    dialect: Any = engine.dialect
    lend = dialect.get_driver_connection

    def noted(connection: object) -> Any:
        driver = lend(connection)
        _lent.add(driver)
        tell(driver)
        return driver

    dialect.get_driver_connection = noted


def was_lent(driver: object) -> bool:
    """Say whether somebody had a driver's connection since it was last asked."""
    if driver not in _lent:
        return False
    _lent.discard(driver)
    return True


def may_have_committed(dialect: Dialect) -> None:
    """Count something that SQLAlchemy's own seam does not see."""
    commits = _commits.get(dialect)
    if commits is not None:
        commits.count += 1
