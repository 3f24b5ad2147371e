"""Servers that do not answer in time, or refuse the statement itself."""

from __future__ import annotations

import logging

from rowsmith.errors.root import RepositoryError


class DeadlineExceeded(RepositoryError):
    """The statement ran out of time or was cancelled by the server (SQLSTATE 57014)."""

    detail = "deadline_exceeded"
    default_message = "the operation ran out of time"
    level = logging.WARNING


class DatabaseUnavailable(RepositoryError):
    """No connection, or it was lost (SQLSTATE classes 08, 57P, 53300 and socket errors)."""

    detail = "database_unavailable"
    default_message = "the database cannot be reached"


class PoolExhausted(DatabaseUnavailable):
    """Every connection of the pool was in use for as long as the pool waits."""

    detail = "pool_exhausted"
    default_message = "no connection became free in time: is a session open around this call?"


class StateUnavailable(RepositoryError):
    """Redis did not answer in time, or refused; what it was asked to do may have been done, so it is not done again."""

    detail = "state_unavailable"
    default_message = "what is kept in Redis cannot be had: it did not answer"


class LockLost(RepositoryError):
    """A lock in Redis was not held to the end of the work under it: others may have worked meanwhile."""

    detail = "lock_lost"
    default_message = "the lock ended before the work under it: extend() it in time, or give it a longer ttl"
    level = logging.WARNING


class DatabaseFault(RepositoryError):
    """The database refused the statement itself: SQL, privileges, resources, internal errors."""

    detail = "database_fault"
    default_message = "the database refused the statement"


class UnfitPooler(DatabaseFault):
    """A pooler between here and PostgreSQL gives statements other connections than they need.

    One that does so for each transaction has prepared statements fail (SQLSTATE 26000 and 42P05): it has to be told,
    by ``Database.from_url(..., pooler=True)``. One that does so for each statement has no transactions.
    """

    detail = "unfit_pooler"
    default_message = (
        "a prepared statement was not met where it was prepared, as behind a pooler that gives each transaction "
        "another connection: write Database.from_url(..., pooler=True)"
    )
