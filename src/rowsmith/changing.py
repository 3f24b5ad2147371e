"""Changing and removing many rows: what a repository writes with over ids and over conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic

from typing_extensions import TypeVar

from rowsmith.db_source import DBSource
from rowsmith.mapping import Patch
from rowsmith.operations.creation import Progress
from rowsmith.operations.purge_where import Pace
from rowsmith.operations.results import BatchResult, PartialResult, PurgeReport
from rowsmith.operations.search import Filters
from rowsmith.scope import SearchScope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TId = TypeVar("TId", default=Any)


class Changing(Generic[TRow, TData, TId]):
    """The half of a repository that changes and removes rows, many at once.

    Batches lock rows in the order of their keys, so that those which overlap wait for each other and never
    deadlock. Every id of a batch is in exactly one of ``succeeded`` and ``missing``, in input order.
    """

    db_source: DBSource[TRow, TData, TId]

    async def batch_update(
        self,
        ids: Sequence[TId],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> BatchResult[TData, TId]:
        """Write one patch into many rows, all or none, and give them as they are afterwards.

        Raises:
            StaleVersion: rows are there in other versions than expected; ``stale`` holds their ids.
            ScopeMismatch: the patch would move a row out of its scope.
            InvalidValue: an id is no key or stands twice, or a value does not fit.
        """
        return await self.db_source.batch_update(ids, patch, scope=scope, expected_versions=expected_versions)

    async def batch_update_each(
        self,
        patches: Mapping[TId, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> BatchResult[TData, TId]:
        """Write a patch of its own into each of many rows, all or none; all patches set the same fields.

        Raises:
            InvalidValue: patches set different fields, or a value does not fit; the index is named.
            StaleVersion, ScopeMismatch: as :meth:`batch_update`.
        """
        return await self.db_source.batch_update_each(patches, scope=scope, expected_versions=expected_versions)

    async def batch_update_partial(
        self,
        patches: Mapping[TId, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> PartialResult[TData]:
        """Write the patches that can be written, and say of each other one, by its index, why not.

        Raises:
            RepositoryError: what is no item's fault, such as a lost connection; nothing is kept then.
        """
        return await self.db_source.batch_update_partial(patches, scope=scope, expected_versions=expected_versions)

    async def update_where(
        self,
        filters: Filters[TRow],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
    ) -> int:
        """Write one patch into every row that matches, and give their number.

        Raises:
            InvalidFilter: no filter is given, nor ``all_rows=True``; a scope is none.
        """
        return await self.db_source.update_where(filters, patch, scope=scope, all_rows=all_rows)

    async def batch_delete(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Mark many rows as deleted and give them; needs ``soft_delete``. Those deleted already are missing.

        Raises:
            InvalidValue: an id is no key, or stands twice.
        """
        return await self.db_source.batch_delete(ids, scope=scope)

    async def batch_restore(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Bring many deleted rows back and give them; needs ``soft_delete``. Those not deleted are missing.

        Raises:
            EntityAlreadyExists: the place of one was taken meanwhile.
            InvalidValue: an id is no key, or stands twice.
        """
        return await self.db_source.batch_restore(ids, scope=scope)

    async def batch_purge(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Remove many rows for good, deleted or not, all or none, and give what they were.

        Raises:
            StillReferenced: other rows point at one of them.
            InvalidValue: an id is no key, or stands twice.
        """
        return await self.db_source.batch_purge(ids, scope=scope)

    async def batch_purge_partial(
        self, ids: Sequence[TId], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Remove the rows that can be removed, and say of each other one, by its index, why not.

        Raises:
            RepositoryError: what is no item's fault, such as a lost connection; nothing is removed then.
        """
        return await self.db_source.batch_purge_partial(ids, scope=scope)

    async def purge_where(
        self,
        filters: Filters[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
        chunk_size: int = 1000,
        max_rows: int | None = None,
        dry_run: bool = False,
        pause: float = 0.005,
        progress: Progress | None = None,
    ) -> PurgeReport:
        """Remove every row that matches, deleted or not, in chunks that are transactions of their own.

        Safe beside other writers: a chunk skips rows that are locked, and later passes come back for them,
        until a look finds nothing that is left. What is committed stays; after a failure or a cancellation
        another call goes on.

        Args:
            filters: which rows: a filter model, or conditions in code.
            scope: who removes; it does not stand in for filters.
            all_rows: no filters, and all rows that the scope reaches are meant.
            chunk_size: how many rows a transaction removes.
            max_rows: how many rows go at most.
            dry_run: only count.
            pause: seconds between chunks, so that others hardly notice; 0 removes faster, at their cost.
            progress: is told after each chunk how many rows are gone.

        Raises:
            InvalidFilter: no filter is given, nor ``all_rows=True``.
            TransactionError: inside a unit of work, whose single transaction this would break up.
            StillReferenced: other rows point at one; what was removed before is in the error's ``report``.
            LockNotAvailable: others kept all rows that are left locked for half a minute.
        """
        return await self.db_source.purge_where(
            filters,
            Pace(chunk_size, max_rows, pause),
            scope=scope,
            all_rows=all_rows,
            dry_run=dry_run,
            progress=progress,
        )
