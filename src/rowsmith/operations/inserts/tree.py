"""Rows on their way into the database under one resolved scope, and what comes back of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias, cast

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import ErrorFacts, RefusedByTrigger, RepositoryError
from rowsmith.mapping import Spec
from rowsmith.operations.admission import savepoint
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.blocks.block import Block, Reader, blocks
from rowsmith.operations.entity import Entity, Operation, TData, TRow, make_entity
from rowsmith.operations.held import NewRows, scope_first
from rowsmith.operations.inserts.branches import Branch, branches_of, fault_below
from rowsmith.operations.inserts.diagnosis import diagnose
from rowsmith.operations.inserts.insertion import Insertion
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.partial import Diagnosis
from rowsmith.operations.present import present_keys
from rowsmith.operations.results import Failure
from rowsmith.operations.written import confirm_all
from rowsmith.scope import Limits, Related

Progress: TypeAlias = Callable[[int], None]
"""Is told, again and again, how many rows of the batch are done."""


class Creation(Operation[TRow, TData]):
    """Rows being created under one resolved scope.

    ``related`` is what the scope says about the rows below; ``next_value`` numbers them; ``given_too`` are columns
    that the rows above them in a tree bring.
    """

    def __init__(
        self,
        entity: Entity[TRow, TData],
        limits: Limits,
        related: Related,
        operation: str = "batch_create",
        *,
        next_value: NextValue | None = None,
        given_too: Mapping[str, Sequence[Any]] | None = None,
        wants_data: bool = True,
    ) -> None:
        self.entity, self.limits, self.related, self.operation = entity, limits, related, operation
        self.next_value, self.given_too, self.wants_data = next_value, given_too, wants_data

    async def create(
        self, db_sess: AsyncSession, specs: Sequence[Spec[TRow]], progress: Progress | None = None, *, first: int = 0
    ) -> list[TData]:
        """Insert all, and the rows below them; empty where no data is wanted. ``first`` is the first one's index."""
        try:
            branches = branches_of(self.entity.info, specs)
            harvest = Harvest(self.entity, self._kept(branches), progress, wants_data=self.wants_data)
            async with savepoint(db_sess) if branches else nullcontext():
                await self._insert(db_sess, specs, harvest, first)
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
        bad = {failure.index for failure in failures}
        below = ((index, fault_below(spec)) for index, spec in enumerate(specs) if index not in bad)
        failures += [Failure(index, fault) for index, fault in below if fault is not None]
        for failure in failures:
            self.entity.located(failure.error, self.operation)
        bad = {failure.index for failure in failures}
        return [index for index in range(len(specs)) if index not in bad], failures

    async def diagnose(self, db_sess: AsyncSession, error: Exception, specs: Sequence[Spec[TRow]]) -> Diagnosis:
        """Say which specs an error of :meth:`create` is due to, as far as its constraint tells."""
        if isinstance(error, RefusedByTrigger) and error.index is not None and not branches_of(self.entity.info, specs):
            return Diagnosis(frozenset({error.index}))
        facts = getattr(error, "facts", None)
        if not isinstance(facts, ErrorFacts) or facts.table != self.entity.info.table.name:
            return Diagnosis()
        block = self._reader().read(specs)
        return await diagnose(db_sess, self.entity.info, facts, block, self.entity.origin(self.operation))

    def _reader(self, first: int = 0) -> Reader:
        return Reader(self.entity.info, self.limits, self.given_too, first)

    def _insertion(self, harvest: Harvest[TRow, TData], new: NewRows) -> Insertion:
        origin = self.entity.origin(self.operation)

        async def complete(db_sess: AsyncSession, parts: Sequence[Block]) -> Sequence[Block]:
            return await self._number(db_sess, parts, new)

        number = None if self.next_value is None else complete
        return Insertion(self.entity.info, origin, self._reader(new.first), harvest.wanted, harvest.take, number)

    async def _number(self, db_sess: AsyncSession, parts: Sequence[Block], new: NewRows) -> Sequence[Block]:
        if self.next_value is None:
            return parts
        if self.limits.others and (refusal := await new.refused_beforehand(db_sess)):
            raise refusal
        return await self.next_value.number(db_sess, self.entity, parts, self.related, self.operation)

    def _kept(self, branches: Sequence[Branch]) -> list[str]:
        """Give the attributes that are wanted besides the data: to confirm the scope, and for the rows below."""
        keys = self.entity.info.primary_key if self.limits.others else ()
        return [*keys, *(name for branch in branches for name, _ in branch.links)]

    async def _insert(
        self, db_sess: AsyncSession, specs: Sequence[Spec[TRow]], harvest: Harvest[TRow, TData], first: int
    ) -> None:
        """Insert the rows of one level, and see that they are inside the scope."""
        new = NewRows(self.entity, self.limits, lambda: self._reader(first).read(specs), self.operation, first)
        if not self.limits.others:
            await self._insertion(harvest, new).send(db_sess, specs)
            return

        async def insert() -> None:
            async with savepoint(db_sess):
                await self._insertion(harvest, new).send(db_sess, specs)
                await confirm_all(db_sess, new, harvest.keys)

        await scope_first(self.entity, insert, lambda: new.refused(db_sess))

    async def _grow(
        self, db_sess: AsyncSession, branch: Branch, specs: Sequence[Spec[TRow]], harvest: Harvest[TRow, TData]
    ) -> None:
        """Create the rows below, of all rows at once."""
        below, owners = branch.children(specs)
        if not below:
            return
        keys = branch.keys(harvest.kept, owners)
        child: Entity[Any, Any] = make_entity(branch.row)
        limits = self.related.require(child.info)
        creation = Creation(child, limits, self.related, self.operation, given_too=keys, wants_data=False)
        await creation.create(db_sess, below)


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
            values.extend(columns[name])
        self.done += size
        if self.progress is not None:
            self.progress(self.done)

    async def finish(self, db_sess: AsyncSession, operation: str) -> list[TData]:
        """Give the data; what is more than columns of the row is read by the keys."""
        if self._read_again and self.done:
            found = await present_keys(db_sess, self.entity, self.keys, operation)
            return [found[key] for key in self.keys]
        return self.data
