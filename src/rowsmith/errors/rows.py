"""What is wrong with the row that was asked for."""

from __future__ import annotations

import logging
from typing import Any

from rowsmith.errors.root import RepositoryError


class EntityNotFound(RepositoryError):
    """No such row for this caller: absent, soft-deleted or outside the scope.

    ``missing`` holds the keys that were asked for and not found, as given; the message only counts them.
    """

    detail = "not_found"
    default_message = "the entity was not found"
    level = logging.INFO
    missing: tuple[Any, ...] = ()


class SeveralFound(RepositoryError):
    """More than one row matches what only one is meant to."""

    detail = "several_found"
    default_message = (
        "more than one entity matches: narrow the filters, or write first(scope, filters, orders=[...]) to take one"
    )
    level = logging.WARNING


class StaleVersion(RepositoryError):
    """The row is there, but another version of it than ``expected_version``: read it again, then write.

    ``stale`` holds the keys of such rows where a batch met them; the message does not name them.
    """

    detail = "stale_version"
    default_message = "the entity was changed by somebody else: read it again, then write"
    level = logging.INFO
    stale: tuple[Any, ...] = ()


class IdempotencyMismatch(RepositoryError):
    """The idempotency key was used before with another body or for another verb; nothing was written now."""

    detail = "idempotency_mismatch"
    default_message = "this idempotency key was used before with another body: give every new write a key of its own"
    level = logging.INFO
