"""Batches in which each item stands for itself: all are tried together, and only failures are looked into.

A savepoint for each row would cost forty times the batch. So the batch is tried whole inside one savepoint. If that
fails, a diagnosis may name culprits from the constraint in the error (one query); the others are tried again without
them. Where there is no diagnosis the batch is cut in halves, until each culprit stands alone with its own error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

from rowsmith.errors import (
    ConstraintViolation,
    DatabaseFault,
    EntityNotFound,
    InvalidValue,
    MappingError,
    RefusedByTrigger,
    ScopeMismatch,
    StaleVersion,
)
from rowsmith.execution.kinds import is_of_application, kind_of_key
from rowsmith.operations.call import Call
from rowsmith.operations.entity import Entity
from rowsmith.operations.results import BatchResult, Failure, PartialResult, Success

TItem = TypeVar("TItem")
TData = TypeVar("TData", default=Any)

OWN_FAULTS = (ConstraintViolation, EntityNotFound, InvalidValue, ScopeMismatch, StaleVersion)
"""What can be the fault of a single item. Anything else ends the whole batch."""


@dataclass(frozen=True)
class Diagnosis:
    """Which items an error is due to: ``certain`` ones would fail with it again, ``suspects`` are tried alone."""

    certain: frozenset[int] = frozenset()
    suspects: frozenset[int] = frozenset()


Attempt = Callable[[Sequence[TItem], int], Awaitable[Sequence[TData | Exception]]]
"""Writes all items or raises; takes the items and the index of the first, for messages. What it gives for an item
is its data, or the error that only this one has (it is absent) and that leaves the transaction as it is."""

Diagnose = Callable[[Exception, Sequence[TItem]], Awaitable[Diagnosis]]
"""Says which items (by their place in the sequence) an error is due to; runs after the failed attempt was undone."""


async def run_partial(
    call: Call[object, object],
    items: Sequence[TItem],
    attempt: Attempt[TItem, TData],
    diagnose: Diagnose[TItem] | None = None,
) -> PartialResult[TData]:
    """Write every item that can be written, and say of each other one why not.

    Raises:
        Exception: no item's own fault: a lost connection, a deadlock, a statement that the database does not take.
    """
    search = _Culprits(call, items, attempt, diagnose)
    async with call.savepoint():
        await search.solve(range(len(items)))
    return search.result()


@dataclass
class _Culprits(Generic[TItem, TData]):
    call: Call[object, object]
    items: Sequence[TItem]
    attempt: Attempt[TItem, TData]
    diagnose: Diagnose[TItem] | None
    outcomes: dict[int, TData | Exception] = field(default_factory=dict[int, Any])

    async def solve(self, indexes: Sequence[int]) -> None:
        """Find the outcome of each of these items."""
        if not indexes:
            return
        error = await self._try(indexes)
        if error is None:
            return
        if len(indexes) == 1:
            self.outcomes[indexes[0]] = error
            return
        for group in await self._groups(error, indexes):
            await self.solve(group)

    async def _try(self, indexes: Sequence[int]) -> Exception | None:
        """Write these items in a savepoint; gives the error if that is the fault of one of them."""
        try:
            async with self.call.savepoint():
                data = await self.attempt([self.items[index] for index in indexes], indexes[0])
        except Exception as exc:
            if not is_own_fault(exc, self.call.entity):
                raise
            return exc
        self.outcomes.update(zip(indexes, data, strict=True))
        return None

    async def _groups(self, error: Exception, indexes: Sequence[int]) -> list[Sequence[int]]:
        """Give what is to be tried next: all without the culprits, then each suspect; without a diagnosis, halves."""
        items = [self.items[index] for index in indexes]
        found = Diagnosis() if self.diagnose is None else await self.diagnose(error, items)
        culprits = found.certain | found.suspects
        if not culprits:
            middle = len(indexes) // 2
            return [indexes[:middle], indexes[middle:]]
        self.outcomes.update((indexes[place], error) for place in found.certain)
        rest = [index for place, index in enumerate(indexes) if place not in culprits]
        return [rest, *([indexes[place]] for place in sorted(found.suspects))]

    def result(self) -> PartialResult[TData]:
        """Give what became of every item, in input order."""
        succeeded: list[Success[TData]] = []
        failed: list[Failure] = []
        for index in range(len(self.items)):
            outcome = self.outcomes[index]
            if isinstance(outcome, Exception):
                failed.append(Failure(index, outcome))
            else:
                succeeded.append(Success(index, outcome))
        return PartialResult(succeeded, failed)


def failure(index: int, error: Exception) -> Failure:
    """Give the failure of an item, whose error may have named its place in a part of the batch."""
    if isinstance(error, RefusedByTrigger):
        error.move(index)
    return Failure(index, error)


def is_own_fault(error: Exception, entity: Entity[object, object]) -> bool:
    """Say whether an error can be the fault of a single item, a domain's own errors included."""
    own = [factory for key, factory in entity.violations.items() if issubclass(kind_of_key(key), OWN_FAULTS)]
    kinds = tuple(type(factory("")) for factory in (entity.not_found, *own))
    return isinstance(error, (*OWN_FAULTS, *kinds)) or _was_raised(error)


def _was_raised(error: Exception) -> bool:
    """Say whether a trigger refused an item in words of its own, by RAISE."""
    return isinstance(error, DatabaseFault) and is_of_application(error.facts.sqlstate)


_NOTHING = object()

Refuse = Callable[[int, TItem], None]
"""Raises if an item, given with its index, could not be sent: its own fault, whatever it is."""

Write = Callable[[Sequence[TItem]], Awaitable[BatchResult[TData, Any]]]
"""Writes some items together, as the atomic form of the batch does."""


async def run_over_ids(
    call: Call[object, object],
    items: Sequence[TItem],
    id_of: Callable[[TItem], object],
    refuse: Refuse[TItem],
    write: Write[TItem, TData],
) -> PartialResult[TData]:
    """Write the items that can be written, and say of each other one why not.

    Args:
        call: whose batch it is.
        items: what is to be written, each with an id.
        id_of: gives the id of an item.
        refuse, write: the two halves of the batch's atomic form.
    """
    faults = {index: fault for index, item in enumerate(items) if (fault := _unsendable(refuse, index, item))}
    fit = [index for index in range(len(items)) if index not in faults]

    async def attempt(part: Sequence[TItem], first: int) -> Sequence[TData | Exception]:
        if not part:
            return ()
        result = await write(part)
        missing, data = iter(result.missing), iter(result.succeeded)
        outcomes, absent = list[TData | Exception](), next(missing, _NOTHING)
        for id_ in map(id_of, part):
            if id_ is absent:
                outcomes.append(call.absent([id_]))
                absent = next(missing, _NOTHING)
            else:
                outcomes.append(next(data))
        return outcomes

    async def diagnose(error: Exception, part: Sequence[TItem]) -> Diagnosis:
        stale = set(error.stale) if isinstance(error, StaleVersion) else set[Any]()
        return Diagnosis(frozenset(place for place, item in enumerate(part) if id_of(item) in stale))

    written = await run_partial(call, [items[index] for index in fit], attempt, diagnose)
    failed = {**faults, **{fit[item.index]: item.error for item in written.failed}}
    return PartialResult(
        [Success(fit[success.index], success.data) for success in written.succeeded],
        [failure(index, call.located(failed[index])) for index in sorted(failed)],
    )


def _unsendable(refuse: Refuse[TItem], index: int, item: TItem) -> Exception | None:
    try:
        refuse(index, item)
    except MappingError:  # a class is wrong, not an item
        raise
    except Exception as exc:  # noqa: BLE001 - what an application's own to_values raises is told as it is
        return exc
    return None
