"""The source: a client, what its keys begin with, by when Redis has to answer, and the policies around requests."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Hashable
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast
from uuid import UUID

from rowsmith.deadline import check_seconds
from rowsmith.errors import InvalidValue, MappingError, RepositoryError, StateUnavailable, kind_of
from rowsmith.failures import log_failure
from rowsmith.redis_client import Answers, check_client, check_prefix, milliseconds, text_of_id
from rowsmith.resilience import LayerType, Resilience, chosen_resilience
from rowsmith.state import UNSET, Unset

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

logger = logging.getLogger("rowsmith.stateful")

ANSWERED: Final = 10.0
"""For how many seconds, at least, Redis knows a request again that redis-py sends once more, since it saw no answer."""


class StatefulSource:
    """Keeps state in Redis or Valkey, and nowhere else; beside ``db_source`` and ``cache_source``.

    Args:
        client: a client of ``redis.asyncio``, or one that is like it; its owner closes it.
        prefix: what keys begin with; also the domain in error codes (``presence_add_state-unavailable``), and in the
            label ``layer`` (``presence_stateful_source``).
        timeout: seconds within which Redis has to answer, the client's own retries included.
        resilience: the policies around each request; None for no policies, left out for the default ones.

    Raises:
        MappingError: ``client`` is none of asyncio, ``prefix`` no text, or ``resilience`` no policies.
        InvalidValue: ``timeout`` is no number of seconds.
    """

    layer: ClassVar[LayerType] = LayerType.STATEFUL_SOURCE

    def __init__(
        self, client: Redis, *, prefix: str, timeout: float = 1.0, resilience: Resilience | Unset | None = UNSET
    ) -> None:
        name = type(self).__name__
        check_client(client, name, "prefix='presence'")
        check_prefix(prefix, name, "presence")
        self.client, self.prefix = client, prefix
        self.resilience = chosen_resilience(resilience, self.layer.of(prefix), name, system="redis")
        self._answers = Answers(check_seconds(timeout, "timeout"))
        self.answered = milliseconds(max(ANSWERED, 2 * timeout))

    def key(self, name: str, key: Hashable) -> str:
        """Give the name under which something is kept; in braces, so that a cluster has all of it in one place.

        Raises:
            InvalidValue: the key is of a class that other processes may write otherwise, or write as another key.
        """
        _check_key(key)
        return f"{{{self.prefix}:{name}:{text_of_id(key)}}}"

    def script(self, text: str) -> Callable[..., Awaitable[Any]]:
        """Give what runs a script; Redis does nothing else meanwhile."""
        made: Callable[..., Awaitable[Any]] = cast("Any", self.client).register_script(text)
        return made

    async def run(self, operation: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do what is one operation to metrics, traces and logs.

        Raises:
            RepositoryError: the work's own, which says whose it is and what was done.
        """
        named = partial(self._named, operation, work)
        try:
            return await (named() if self.resilience is None else self.resilience.call(operation, named))
        except Exception as exc:
            log_failure(exc, self.prefix, operation)
            raise

    async def _named(self, operation: str, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except RepositoryError as exc:
            exc.locate(self.prefix, operation)
            raise

    async def ask(self, command: Callable[..., Awaitable[T]], *given: Any) -> T:
        """Have Redis do something, for a bounded time.

        Raises:
            StateUnavailable: it did not answer, or refused; it may have done it.
        """
        failure: str
        try:
            return await self._answers.of(command, *given)
        except Exception as exc:  # noqa: BLE001 - redis-py's, the network's; what they say may quote keys
            failure = type(exc).__name__
        raise StateUnavailable(f"Redis did not answer, or refused ({failure}): what was asked may have been done")


def check_place(source: object, name: object, whose: object) -> None:
    """Refuse what says of state neither where nor by which name it is kept.

    Raises:
        MappingError: ``source`` is no StatefulSource, or ``name`` no text.
    """
    if not (isinstance(source, StatefulSource) and isinstance(name, str)):
        kind = type(whose).__name__
        given = f"{kind_of(source)} and {kind_of(name)}"
        raise MappingError(
            f"{kind} takes a StatefulSource and a name, not {given}: write {kind}(source, 'visits', ...)"
        )


_KEYS: Final = (str, int, float, Decimal, bytes, UUID, dt.date, dt.time, dt.timedelta, Enum, type(None))
"""Classes of which each value has one text, the same in all processes; and tuples of these."""


def _check_key(key: object) -> None:
    """Refuse what other processes could name otherwise, as what has an address or an order of its own in each."""
    if isinstance(key, tuple):
        for part in cast("Any", key):
            _check_key(part)
    elif not isinstance(key, _KEYS):
        raise InvalidValue(
            f"a key is a text, a number, bytes, a UUID, a date or a time, not {kind_of(key)}: "
            "write what the key is made of, as a tuple (tenant, id) where that is several"
        )


def read(told: object, reader: Callable[[str], T], noun: str) -> T:
    """Make something of an answer.

    Raises:
        InvalidValue: with ``is_stored``, it is no such thing: something else is kept under the key.
    """
    try:
        return reader(text_of(told))
    except ValueError:
        error = InvalidValue(f"what is kept in Redis is no {noun}")
    error.is_stored = True
    raise error


def text_of(told: object) -> str:
    """Give an answer as text: the client may have decoded it."""
    return told.decode() if isinstance(told, bytes) else str(told)
