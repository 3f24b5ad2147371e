"""Partial batches over ids: what cannot even be sent, and what became of each of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import StaleVersion
from rowsmith.operations.entity import Entity
from rowsmith.operations.partial import Diagnosis, failure, run_partial
from rowsmith.operations.results import BatchResult, PartialResult, Success

TItem = TypeVar("TItem")
TData = TypeVar("TData")

Refuse = Callable[[int, TItem], None]
"""Raises if an item, given with its index, could not be sent: its own fault, whatever it is."""

Write = Callable[[Sequence[TItem]], Awaitable[BatchResult[TData, Any]]]
"""Writes some items together, as the atomic form of the batch does."""


class Partial:
    """A partial batch over ids of one entity.

    Args:
        db_sess: the session to write in.
        entity: what the rows are.
        operation: for the error codes of failures.
        id_of: gives the id of an item.
    """

    def __init__(
        self, db_sess: AsyncSession, entity: Entity[Any, Any], operation: str, id_of: Callable[[Any], Any]
    ) -> None:
        self.db_sess, self.entity, self.operation, self.id_of = db_sess, entity, operation, id_of

    async def run(
        self, items: Sequence[TItem], refuse: Refuse[TItem], write: Write[TItem, TData]
    ) -> PartialResult[TData]:
        """Write the items that can be written, and say of each other one why not."""
        faults = {index: fault for index, item in enumerate(items) if (fault := _fault(refuse, index, item))}
        fit = [index for index in range(len(items)) if index not in faults]

        async def attempt(part: Sequence[TItem], first: int) -> Sequence[TData | Exception]:
            return self._outcomes(part, await write(part)) if part else ()

        async def diagnose(error: Exception, part: Sequence[TItem]) -> Diagnosis:
            stale = set(error.stale) if isinstance(error, StaleVersion) else set[Any]()
            return Diagnosis(frozenset(place for place, item in enumerate(part) if self.id_of(item) in stale))

        written = await run_partial(self.db_sess, self.entity, [items[index] for index in fit], attempt, diagnose)
        failed = {**faults, **{fit[item.index]: item.error for item in written.failed}}
        return PartialResult(
            [Success(fit[success.index], success.data) for success in written.succeeded],
            [failure(index, self.entity.located(failed[index], self.operation)) for index in sorted(failed)],
        )

    def _outcomes(self, part: Sequence[Any], result: BatchResult[Any, Any]) -> list[Any]:
        """Give each item its data, or the error of an absent row."""
        missing, data = set(result.missing), iter(result.succeeded)
        ids = map(self.id_of, part)
        return [self.entity.absent(self.operation, [pk]) if pk in missing else next(data) for pk in ids]


def _fault(refuse: Refuse[TItem], index: int, item: TItem) -> Exception | None:
    try:
        refuse(index, item)
    except Exception as exc:  # noqa: BLE001 - what an application's own to_values raises is told as it is
        return exc
    return None
