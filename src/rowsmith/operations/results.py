"""What batch writes report: plain frozen values, in input order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic

from typing_extensions import TypeVar

TData = TypeVar("TData")
TId = TypeVar("TId", default=Any)


@dataclass(frozen=True)
class Upserted(Generic[TData]):
    """The row after an upsert, and whether it is new (``inserted``) or was there before."""

    data: TData
    inserted: bool


@dataclass(frozen=True)
class BatchResult(Generic[TData, TId]):
    """What a batch over ids did: every requested id is in exactly one of the two, in input order.

    ``succeeded`` holds the entities as they are afterwards, ``missing`` the ids of those that are absent,
    deleted or outside the scope, all alike.
    """

    succeeded: list[TData]
    missing: list[TId]


@dataclass(frozen=True)
class Success(Generic[TData]):
    """One item of a partial batch that was written: its place in the input and the entity."""

    index: int
    data: TData


@dataclass(frozen=True)
class Failure:
    """One item of a partial batch that was not written: its place in the input and why."""

    index: int
    error: Exception


@dataclass(frozen=True)
class PartialResult(Generic[TData]):
    """What a partial batch did: every index of the input is in exactly one of the two, in order.

    Only an item's own faults stand in ``failed`` (its values, its constraints, its absence); a lost connection
    or a deadlock ends the whole batch with its error instead.
    """

    succeeded: list[Success[TData]]
    failed: list[Failure]

    @property
    def data(self) -> list[TData]:
        """The entities written, in input order."""
        return [success.data for success in self.succeeded]


@dataclass(frozen=True)
class PurgeReport:
    """What a chunked purge did.

    ``rows`` that matched were removed (with ``dry_run``: would be), in ``chunks`` transactions, within ``seconds``.
    Those that do not match and go with them by ``ON DELETE CASCADE``, and what hangs on those, are not counted.
    ``complete`` is False where ``max_rows`` ended it with rows left over.
    """

    rows: int
    chunks: int
    seconds: float
    complete: bool = True
    dry_run: bool = False
