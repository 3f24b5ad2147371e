"""Creating many rows at once."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias, Unpack, cast

from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import Self, TypeVar

from rowsmith.errors import ErrorFacts, InvalidValue, RepositoryError
from rowsmith.mapping import Spec
from rowsmith.operations.admission import admit, savepoint
from rowsmith.operations.bulk.block import Block, Reader, blocks
from rowsmith.operations.bulk.branches import Branch, branches_of
from rowsmith.operations.bulk.collector import collector_paused
from rowsmith.operations.bulk.diagnosis import diagnose
from rowsmith.operations.bulk.insertion import Insertion
from rowsmith.operations.bulk.written import confirm_all
from rowsmith.operations.entity import Entity, Operation, Rules, TData, TRow, located, make_entity
from rowsmith.operations.keys import Key
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.partial import Diagnosis, run_partial
from rowsmith.operations.present import present_keys
from rowsmith.operations.results import Failure, PartialResult, Success
from rowsmith.scope import NO_LIMITS, Limits, SearchScope

T = TypeVar("T")

Many: TypeAlias = Iterable[T] | AsyncIterable[T]
"""What a batch takes: a list, any iterable, or an asynchronous one."""

Progress: TypeAlias = Callable[[int], None]
"""Is told, again and again, how many rows of the batch are done."""

LOAD_CHUNK = 20_000
"""How many specs of an endless iterator are in memory at a time."""


class BatchCreator(Operation[TRow, TData]):
    """Creates many rows from specs that set the same fields; one statement, or a few for many thousand rows.

    How rows travel is chosen by :func:`rowsmith.operations.bulk.lanes.choose_lane` and logged (DEBUG): COPY where
    nothing has to come back from the database but what is known already, arrays and RETURNING where the server
    makes values, SQLAlchemy's ``insertmanyvalues`` on other drivers. A trigger that changes a column which the
    spec sets is unknown to Python: give that column ``server_default=FetchedValue()``.

    A field of a spec that names a relationship holds the specs of rows below, which get the key of their row; each
    level of such a tree is one statement. ``next_value`` numbers the rows within a parent.
    """

    def __init__(
        self,
        row: type[TRow],
        *,
        into: type[TData] | None = None,
        next_value: NextValue | None = None,
        **rules: Unpack[Rules],
    ) -> None:
        super().__init__(row, into=into, **rules)
        self._number_by(next_value)

    @classmethod
    def by(cls, entity: Entity[TRow, TData], next_value: NextValue | None) -> Self:
        """Make the operation on an entity that was read already.

        Raises:
            MappingError: ``next_value`` does not fit the row.
        """
        operation = cls.of(entity)
        operation._number_by(next_value)
        return operation

    def _number_by(self, next_value: NextValue | None) -> None:
        self.next_value = next_value
        if next_value is not None:
            next_value.foreign_key(self.entity.info)

    def _creation(self, limits: Limits, operation: str = "batch_create", *, wants_data: bool = True) -> Creation[TRow, TData]:
        return Creation(self.entity, limits, operation, next_value=self.next_value, wants_data=wants_data)

    @located("batch_create")
    async def create(
        self,
        db_sess: AsyncSession,
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        progress: Progress | None = None,
    ) -> list[TData]:
        """Insert all rows or none, and give what the database holds, in input order.

        Args:
            db_sess: the session whose transaction is written in.
            specs: the new rows' values, in any number. All must set the same fields.
            scope: who creates; its equality conditions are stamped onto every row, and all rows are undone
                if one is outside the other conditions.
            progress: is told how many rows are sent.

        Raises:
            InvalidValue: a value does not fit its column, or specs set different fields; with the index.
            ScopeMismatch: a spec says otherwise than the scope; with the index.
            EntityAlreadyExists, ReferenceNotFound, ConstraintViolation: a constraint said no, or the
                error declared for it in ``violations``.
        """
        limits = await admit(db_sess, self.entity, scope, "batch_create")
        items = await gathered(specs)
        with collector_paused():
            return await self._creation(limits).create(db_sess, items, progress)

    @located("load")
    async def load(
        self,
        db_sess: AsyncSession,
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        progress: Progress | None = None,
        chunk_size: int = LOAD_CHUNK,
    ) -> int:
        """Insert all rows of an iterator or none, in flat memory, and give only their number.

        Args:
            db_sess: the session whose transaction is written in.
            specs: the new rows' values; ``chunk_size`` of them are in memory at a time.
            scope, progress: as for :meth:`create`.
            chunk_size: how many rows go in one statement.

        Raises:
            RepositoryError: as :meth:`create`; nothing of this call stays in the transaction then.
        """
        if chunk_size < 1:
            raise InvalidValue(f"chunk_size is {chunk_size}: give 1 or more")
        limits = await admit(db_sess, self.entity, scope, "load")
        loading = self._creation(limits, "load", wants_data=False)
        done = 0
        async with savepoint(db_sess):
            async for chunk in chunked(specs, chunk_size):
                await loading.create(db_sess, chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done)
        return done

    @located("batch_create")
    async def create_partial(
        self, db_sess: AsyncSession, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Insert the rows that can be, and say of each other one why not.

        All are tried together inside a savepoint; only where that fails are the culprits looked for.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is kept then.
        """
        limits = await admit(db_sess, self.entity, scope, "batch_create")
        creation = self._creation(limits)
        items = await gathered(specs)
        readable, failures = creation.readable(items)

        async def attempt(part: Sequence[Spec[TRow]], first: int) -> list[TData]:
            return await creation.create(db_sess, part)

        async def find(error: Exception, part: Sequence[Spec[TRow]]) -> Diagnosis:
            return await creation.diagnose(db_sess, error, part)

        with collector_paused():
            written = await run_partial(db_sess, self.entity, [items[index] for index in readable], attempt, find)
        return _merged(written, readable, failures)


def _merged(written: PartialResult[TData], indexes: Sequence[int], failures: Sequence[Failure]) -> PartialResult[TData]:
    """Give a result over some of the items as one over all."""
    succeeded = [Success(indexes[item.index], item.data) for item in written.succeeded]
    failed = [*failures, *(Failure(indexes[item.index], item.error) for item in written.failed)]
    return PartialResult(succeeded, sorted(failed, key=lambda failure: failure.index))


class Creation(Operation[TRow, TData]):
    """Rows being created under one resolved scope.

    ``next_value`` numbers them; ``given_too`` are columns that the rows above them in a tree bring.
    """

    def __init__(
        self,
        entity: Entity[TRow, TData],
        limits: Limits,
        operation: str = "batch_create",
        *,
        next_value: NextValue | None = None,
        given_too: Mapping[str, Sequence[Any]] | None = None,
        wants_data: bool = True,
    ) -> None:
        self.entity, self.limits, self.operation = entity, limits, operation
        self.next_value, self.given_too, self.wants_data = next_value, given_too, wants_data

    async def create(
        self, db_sess: AsyncSession, specs: Sequence[Spec[TRow]], progress: Progress | None = None
    ) -> list[TData]:
        """Insert all, and the rows below them; empty where no data is wanted."""
        try:
            branches = branches_of(self.entity.info, specs)
            harvest = Harvest(self.entity, self._kept(branches), progress, wants_data=self.wants_data)
            async with savepoint(db_sess) if branches or self.limits.others else nullcontext():
                await self._insertion(harvest).send(db_sess, specs)
                await self._confirm(db_sess, harvest)
                for branch in branches:
                    await self._grow(db_sess, branch, specs, harvest)
        except RepositoryError as exc:
            exc.locate(self.entity.domain, self.operation)
            raise
        return await harvest.finish(db_sess, self.operation)

    def readable(self, specs: Sequence[Spec[TRow]]) -> tuple[list[int], list[Failure]]:
        """Give the indexes of specs that can be sent, and the failures of the others, without a database."""
        reader, failures = self._reader(), list[Failure]()
        for part in blocks(specs):
            failures += reader.faults(part)
        for failure in failures:
            self.entity.located(failure.error, self.operation)
        bad = {failure.index for failure in failures}
        return [index for index in range(len(specs)) if index not in bad], failures

    async def diagnose(self, db_sess: AsyncSession, error: Exception, specs: Sequence[Spec[TRow]]) -> Diagnosis:
        """Say which specs an error of :meth:`create` is due to, as far as its constraint tells."""
        facts = getattr(error, "facts", None)
        if not isinstance(facts, ErrorFacts) or facts.table != self.entity.info.table.name:
            return Diagnosis()
        block = self._reader().read(specs)
        return await diagnose(db_sess, self.entity.info, facts, block, self.entity.origin(self.operation))

    def _reader(self) -> Reader:
        return Reader(self.entity.info, self.limits, self.given_too)

    def _insertion(self, harvest: Harvest[TRow, TData]) -> Insertion:
        origin = self.entity.origin(self.operation)
        complete = None if self.next_value is None else self._number
        return Insertion(self.entity.info, origin, self._reader(), harvest.wanted, harvest.take, complete)

    async def _number(self, db_sess: AsyncSession, parts: Sequence[Block]) -> Sequence[Block]:
        return parts if self.next_value is None else await self.next_value.number(
            db_sess, self.entity, parts, self.operation
        )

    def _kept(self, branches: Sequence[Branch]) -> list[str]:
        """Give the attributes that are wanted besides the data: to confirm the scope, and for the rows below."""
        keys = self.entity.info.primary_key if self.limits.others else ()
        return [*keys, *(name for branch in branches for name, _ in branch.links)]

    async def _confirm(self, db_sess: AsyncSession, harvest: Harvest[TRow, TData]) -> None:
        if self.limits.others:
            await confirm_all(db_sess, self.entity, self.limits, harvest.keys, self.operation)

    async def _grow(
        self, db_sess: AsyncSession, branch: Branch, specs: Sequence[Spec[TRow]], harvest: Harvest[TRow, TData]
    ) -> None:
        """Create the rows below, of all rows at once."""
        below, owners = branch.children(specs)
        keys = branch.keys(harvest.kept, owners)
        child: Entity[Any, Any] = make_entity(branch.row)
        await Creation(child, NO_LIMITS, self.operation, given_too=keys, wants_data=False).create(db_sess, below)


class Harvest(Operation[TRow, TData]):
    """What comes back of rows being created: data, the columns to be kept, a count."""

    def __init__(
        self, entity: Entity[TRow, TData], kept: Sequence[str], progress: Progress | None, *, wants_data: bool
    ) -> None:
        self.entity, self.progress = entity, progress
        self.data: list[TData] = []
        self.done = 0
        names = entity.shape.names if wants_data else ()
        self._direct = bool(names)
        self._read_again = wants_data and not names
        again = entity.info.primary_key if self._read_again else ()
        self.kept: dict[str, list[Any]] = {name: [] for name in (*kept, *again)}
        self.wanted = tuple(dict.fromkeys((*names, *self.kept)))

    @property
    def keys(self) -> list[Key]:
        """The primary keys, where they were to be kept."""
        return list(zip(*(self.kept[name] for name in self.entity.info.primary_key), strict=True))

    def take(self, columns: Mapping[str, Sequence[Any]], size: int) -> None:
        """Take the wanted columns of the next rows."""
        if self._direct:
            records = zip(*(columns[name] for name in self.entity.shape.names), strict=True)
            self.data += self.entity.shape.build_all(cast("Any", records))
        for name, values in self.kept.items():
            values += columns[name]
        self.done += size
        if self.progress is not None:
            self.progress(self.done)

    async def finish(self, db_sess: AsyncSession, operation: str) -> list[TData]:
        """Give the data; what is more than columns of the row is read by the keys."""
        if self._read_again and self.done:
            found = await present_keys(db_sess, self.entity, self.keys, operation)
            return [found[key] for key in self.keys]
        return self.data


async def gathered(items: Many[T]) -> Sequence[T]:
    """Give all items as a sequence."""
    if isinstance(items, AsyncIterable):
        return [item async for item in items]
    return items if isinstance(items, Sequence) else list(items)


async def chunked(items: Many[T], size: int) -> AsyncIterator[list[T]]:
    """Give the items in lists of at most this size, no more than one of which exists at a time."""
    if not isinstance(items, AsyncIterable):
        for chunk in blocks(items, size):
            yield chunk
        return
    chunk = list[T]()
    async for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
