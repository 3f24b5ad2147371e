"""Policies put together, and put around functions, streams and blocks."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache, partial, wraps
from types import NoneType
from typing import Any, Final, TypeVar, cast, overload
from uuid import UUID

from rowsmith.errors import MappingError, kind_of
from rowsmith.resilience.policy import Opening, Operation, Policy, Work

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

MOST_OPERATIONS: Final = 200
"""How many calls are kept by what policies are told of them; then it begins anew."""


class Resilience:
    """Policies around calls; the first is outermost.

    ::

        resilience = Resilience(policies=[
            MetricPolicy(MetricArgs(domain="repository", layer="group_repository")),
            RetryPolicy(RetryArgs(max_retries=10, retry_delay=0.1)),
        ])

        @resilience.apply()
        async def rename(self, id: GroupId, name: str) -> GroupData: ...

    Args:
        policies: instances of :class:`Policy`; none leaves every call as it is.

    Raises:
        MappingError: one is no policy.
    """

    def __init__(self, policies: Sequence[Policy] = ()) -> None:
        if not isinstance(cast("Any", policies), (list, tuple)):
            raise MappingError(f"policies is a list, not {kind_of(policies)}: write Resilience(policies=[...])")
        for policy in policies:
            if not isinstance(cast("Any", policy), Policy):
                raise MappingError(f"policies are made, such as RetryPolicy(RetryArgs()), not {kind_of(policy)}")
        self.policies = tuple(policies)
        self._outermost, *inner = self.policies or (Policy(),)
        self._innermost_first = inner[::-1]
        self._told: dict[tuple[str, bool, bool], Operation] = {}

    @overload
    def apply(self) -> Callable[[F], F]: ...
    @overload
    def apply(self, function: F, /) -> F: ...

    def apply(self, function: Any = None) -> Any:
        """Decorate a coroutine function or an asynchronous generator; its name is the operation's.

        Raises:
            MappingError: at the function, where it is neither.
        """
        return self._decorate if function is None else self._decorate(function)

    @asynccontextmanager
    async def run(self, operation: str) -> AsyncGenerator[None]:
        """Measure and time a block. A block cannot be begun again, so it is never retried."""
        told = Operation(operation, self.policies, is_repeatable=False)
        async with AsyncExitStack() as entered:
            for policy in self.policies:
                await entered.enter_async_context(policy.around(told))
            yield

    def call(
        self, operation: str, work: Work[T], *, is_repeatable: bool = True, is_keyed: bool = False
    ) -> Coroutine[Any, Any, T]:
        """Do the work of one call.

        Args:
            operation: its name.
            work: begins the work; called once for each try.
            is_repeatable: whether it can be begun again.
            is_keyed: whether it can be done again once it is committed: it has an idempotency key.
        """
        try:
            told = self._told[operation, is_repeatable, is_keyed]
        except KeyError:
            told = self._tell(operation, is_repeatable, is_keyed)
        for policy in self._innermost_first:
            work = partial(policy.run, told, work)
        return self._outermost.run(told, work)

    def looked_up(self, operation: str, *, hits: int, misses: int, failures: int) -> None:
        """Tell the policies what a cache had of the entries that an operation asked it for."""
        for policy in self.policies:
            policy.looked_up(operation, hits=hits, misses=misses, failures=failures)

    def stream(self, operation: str, opening: Opening[T], *, is_repeatable: bool = True) -> AsyncGenerator[T, None]:
        """Give what a stream yields; it is opened again only before its first item."""
        told = self._tell(operation, is_repeatable)
        for policy in reversed(self.policies):
            opening = partial(policy.stream, told, opening)
        return opening()

    def _tell(self, operation: str, is_repeatable: bool, is_keyed: bool = False) -> Operation:
        """Give what policies are told of such calls; kept, as it is the same for each."""
        if len(self._told) == MOST_OPERATIONS:
            self._told.clear()
        told = Operation(operation, self.policies, is_repeatable, is_keyed)
        self._told[operation, is_repeatable, is_keyed] = told
        return told

    def _decorate(self, function: F) -> F:
        name = getattr(function, "__name__", type(function).__name__)

        @wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            return await self.call(name, partial(function, *args, **kwargs), is_repeatable=is_repeatable(args, kwargs))

        @wraps(function)
        def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            opening = partial(function, *args, **kwargs)
            return self.stream(name, opening, is_repeatable=is_repeatable(args, kwargs))

        if inspect.iscoroutinefunction(function):
            return cast("F", run)
        if inspect.isasyncgenfunction(function):
            return cast("F", stream)
        raise MappingError(
            f"apply() decorates a coroutine function or an asynchronous generator, not {kind_of(function)}: "
            "write async def, and apply() below @staticmethod"
        )


def is_repeatable(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Say whether a call with these arguments can be made again: an iterator would be used up."""
    for given in args:
        if given.__class__ not in _LASTING and _is_used_up(given.__class__):
            return False
    for name in kwargs:  # noqa: SIM110 - all() and values() would be calls of each call
        if kwargs[name].__class__ not in _LASTING and _is_used_up(kwargs[name].__class__):
            return False
    return True


_LASTING: Final = frozenset({NoneType, bool, int, str, UUID, list, tuple, dict})
"""Classes of what most calls are given, which can be gone through again, or not at all."""


@lru_cache(maxsize=1000)
def _is_used_up(kind: type[object]) -> bool:
    """Say whether values of a class can be gone through once."""
    return issubclass(kind, (Iterator, AsyncIterator))
