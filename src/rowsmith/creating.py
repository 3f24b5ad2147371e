"""Creating many rows, and upserts: what a repository writes with besides single rows."""

from __future__ import annotations

from typing import Any, Generic

from typing_extensions import TypeVar

from rowsmith.db_source import DBSource
from rowsmith.mapping import Spec
from rowsmith.operations.batch_creator import LOAD_CHUNK, Many
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.creation import Progress
from rowsmith.operations.results import BatchResult, PartialResult, Upserted
from rowsmith.scope import SearchScope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TId = TypeVar("TId", default=Any)


class Creating(Generic[TRow, TData, TId]):
    """The half of a repository that makes rows, many at once or by a unique key."""

    db_source: DBSource[TRow, TData, TId]

    async def batch_create(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None, progress: Progress | None = None
    ) -> list[TData]:
        """Insert all rows or none, and give them in input order; COPY where the database allows it.

        ``progress`` is told, again and again, how many rows are sent. Where the data is not needed, or does not
        fit into memory, :meth:`load` it.

        Raises:
            EntityAlreadyExists, ReferenceNotFound, ConstraintViolation: or the error in ``violations``.
            InvalidValue: a value does not fit, or specs set different fields; the index is named.
            ScopeMismatch: a spec says otherwise than the scope; the index is named.
        """
        return await self.db_source.batch_create(specs, scope=scope, progress=progress)

    async def load(
        self,
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        progress: Progress | None = None,
        chunk_size: int = LOAD_CHUNK,
    ) -> int:
        """Insert all rows of an iterator, plain or asynchronous, or none; in flat memory. Gives their number.

        Raises:
            RepositoryError: as :meth:`batch_create`.
        """
        return await self.db_source.load(specs, scope=scope, progress=progress, chunk_size=chunk_size)

    async def batch_create_partial(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Insert the rows that can be, and say of each other one, by its index, why not.

        Raises:
            RepositoryError: what is no item's fault, such as a lost connection; nothing is kept then.
        """
        return await self.db_source.batch_create_partial(specs, scope=scope)

    async def upsert(
        self, spec: Spec[TRow], *, scope: SearchScope | None = None, conflict: Conflict | None = None
    ) -> Upserted[TData]:
        """Create the row, or change the one with its key (``conflict``, or the class's); says which it was.

        Raises:
            EntityAlreadyExists: the key is taken by a row that this caller does not see.
            InvalidValue, ScopeMismatch, ConstraintViolation: as :meth:`batch_create`.
        """
        return await self.db_source.upsert(spec, scope=scope, conflict=conflict)

    async def batch_upsert(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None, conflict: Conflict | None = None
    ) -> BatchResult[Upserted[TData], TId]:
        """Create or change all rows, or none; ``succeeded`` says of each, in input order, which it was.

        Raises:
            EntityAlreadyExists: a key is taken by a row that this caller does not see.
            InvalidValue: as :meth:`batch_create`; or a key stands twice; the indexes are named.
        """
        return await self.db_source.batch_upsert(specs, scope=scope, conflict=conflict)
