"""Rows on their way into the database under one resolved scope, and what comes back of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Generic, cast

from sqlalchemy import true

from rowsmith.errors import ErrorFacts, InvalidValue, RefusedByTrigger, ScopeMismatch
from rowsmith.execution.driver import give_up
from rowsmith.mapping import Spec
from rowsmith.mapping.writes import all_belong, own_values
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.blocks.block import EVERY_PLACE, Block, SpecReader, blocks, merged, parted
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.faults import is_own_fault
from rowsmith.operations.held import NewRows, scope_first
from rowsmith.operations.inserts.branches import Branch, Level, branches_of, check_trees, fault_below
from rowsmith.operations.inserts.chunks import Chunks, Incoming, Progress
from rowsmith.operations.inserts.clashes import in_clash_order
from rowsmith.operations.inserts.diagnosis import diagnose
from rowsmith.operations.inserts.insertion import Insertion
from rowsmith.operations.inserts.matching import Rows
from rowsmith.operations.inserts.numbers import number_within
from rowsmith.operations.needs import Change, Needs, SelfKeys, Values
from rowsmith.operations.partial import Diagnosis
from rowsmith.operations.present import present_made
from rowsmith.operations.touching import note_new


@dataclass(frozen=True)
class Creation(Generic[TRow, TData]):
    """Rows being created by one call.

    ``given_too`` are columns that the rows above them in a tree bring; ``wants_data`` says that data is to be given;
    ``seen`` takes the keys of the rows, where they are to be held against the scope once more by then.
    """

    call: Call[TRow, TData]
    given_too: Rows | None = None
    wants_data: bool = True
    seen: list[Key] | None = None

    async def create(
        self, specs: Sequence[Spec[TRow]], progress: Progress | None = None, *, first: int = 0
    ) -> list[TData]:
        """Insert all, and the rows below them; empty where no data is asked for. ``first`` is the first one's index."""
        with self.call.locating():
            top = Level(self.call.info, specs, range(first, first + len(specs)))
            whole = replace(self, call=await self._call_for(top))
            return await whole._create(top, first, progress)

    def check(self, specs: Sequence[Spec[TRow]]) -> None:
        """Refuse specs, and those of the rows below them, whose values do not fit; no default of Python's is asked for.

        Raises:
            InvalidValue, ScopeMismatch, MappingError: as :meth:`SpecReader.read`.
        """
        top = Level(self.call.info, specs, range(len(specs)))
        for level in (top, *top.all_below()):
            call = self.call if level is top else self.call.below(level.info.row)
            reader = SpecReader(level.info, call.limits, places=level.tops)
            with call.locating():
                for part in blocks(level.specs):
                    for block in parted(reader.given(part)):
                        reader.fitting(block)

    async def _call_for(self, top: Level) -> Call[TRow, TData]:
        """Give the call, once the scope has said what it has to of all rows, before any is sent."""
        below = {level.info.row: self.call.below(level.info.row) for level in top.all_below()}
        for call in below.values():  # whose triggers may change the rows above, as one that adds up does
            if await call.is_meddled_with(several=True):
                return self.call.unsettled()
        return self.call

    async def _create(self, top: Level, first: int, progress: Progress | None) -> list[TData]:
        harvest = self._harvest(top.branches, progress)
        async with self.call.savepoint() if top.branches else nullcontext():
            await self._insert(cast("Any", top.specs), harvest, first)
            left = [(level, harvest) for level in top.below()]
            while left:
                level, above = left.pop()
                grown = await self._grow(level, above)
                left += [(lower, grown) for lower in level.below()]
            if top.branches and self.call.limits.is_unsettled:
                await self.call.confirm(harvest.keys, self._new(top.specs, first).refusal)
        if self.seen is not None:
            self.seen.extend(harvest.keys)
        return await harvest.finish()

    def _harvest(self, branches: Sequence[Branch], progress: Progress | None = None) -> Harvest[TRow, TData]:
        # What comes back besides the data: keys, to confirm the scope, and what the rows below refer to.
        keys = self.call.info.primary_key if self.call.limits.held else ()
        kept = [*keys, *(name for branch in branches for name, _ in branch.links)]
        return Harvest(self.call, kept, progress, wants_data=self.wants_data)

    async def load(self, chunks: Chunks[Spec[TRow]]) -> None:
        """Insert all, and the rows below them; no data is given."""
        call = self.call
        if call.limits.is_unsettled and not call.limits.held and await self._may_be_unwritten():
            call = replace(call, limits=replace(call.limits, others=(true(),)))  # they are to be there
        flows = call.entity.next_value is None and not call.limits.held
        seen = list[Key]() if call.limits.is_unsettled and call.limits.held else None
        creation = replace(self, call=call, seen=seen)
        while True:
            if flows:
                await self._load_flat(chunks)
            chunks.begin()
            if not (specs := await chunks.rest()):
                break
            first = chunks.taken - len(specs)
            all_belong(specs, self.call.info, Spec, range(first, chunks.taken))
            check_trees(self.call.info, specs, first)
            await creation.create(specs, first=first)
        if seen:  # what later chunks did to the rows of earlier ones
            await call.confirm(seen)

    async def _may_be_unwritten(self) -> bool:
        """Say whether a trigger may stand in for an INSERT: that of a view does, which SQLite tells from none."""
        return self.call.dialect.name != "postgresql" or not (await self.call.standing()).has_places

    async def _load_flat(self, chunks: Chunks[Spec[TRow]]) -> None:
        """Insert rows until one comes that has others below it."""
        with self.call.locating():
            harvest, reader = Harvest(self.call, (), None, wants_data=False), self._reader(chunks.taken)
            insertion = Insertion(self.call, reader, harvest.columns, harvest.take, harvest.arrange)
            await insertion.load(Incoming(chunks, reader))

    def readable(
        self, specs: Sequence[Spec[TRow]], unfit: Mapping[int, Exception]
    ) -> tuple[Sequence[int], dict[int, Exception]]:
        """Give the indexes of specs that can be sent, in the order in which one statement would insert their rows.

        Beside them the errors of the others, by index: of those that are known to be ``unfit``, too. No database is
        asked.
        """
        read, faults = self._reader().readable(
            specs, lambda error: is_own_fault(error, self.call.entity, was_sent=False)
        )
        faults = {**faults, **unfit}
        for index, spec in enumerate(specs):
            if index not in faults and (fault := fault_below(spec)) is not None:
                if isinstance(fault, InvalidValue):
                    fault.among(index, "spec")
                faults[index] = fault
        if self.call.entity.next_value is not None:  # counted in the order of the input, the rows above being locked
            return [place for place in range(len(specs)) if place not in faults], faults
        runs = merged(self.call.info, read)
        if self.call.dialect.name == "postgresql":
            runs = in_clash_order(self.call.entity, self.call.limits, runs)
        order = [place for run in runs for place in run.places if place not in faults]
        return order, faults

    async def diagnose(self, error: Exception, specs: Sequence[Spec[TRow]]) -> Diagnosis:
        """Say which specs an error of :meth:`create` is due to, as far as its constraint tells."""
        place = error.index if isinstance(error, (InvalidValue, RefusedByTrigger)) else None
        if place is not None and not branches_of(self.call.info, specs):
            # An application may have raised it, for an item of another batch: no item fails that does not fail alone.
            return Diagnosis(suspects=frozenset({place}) & frozenset(range(len(specs))))
        facts = getattr(error, "facts", None)
        if not isinstance(facts, ErrorFacts) or facts.table != self.call.info.table.name:
            return Diagnosis()
        return await diagnose(self.call, facts, merged(self.call.info, self._reader().read(specs)))

    async def needs(self, specs: Sequence[Spec[TRow]]) -> Needs:
        """Say which specs need which: a row may refer to another one of the same batch, and so may those below it."""
        top = Level(self.call.info, specs, range(len(specs)))
        keys = SelfKeys.of_rows(top.info, *(level.info for level in top.all_below()))
        if not keys.references:
            return Needs(len(specs))
        made: list[dict[str, Any]] = [{} for _ in specs]
        for block in self._reader().read(specs):
            for place, row in zip(block.places, block.rows(), strict=True):
                made[place] = dict(zip(block.columns, row, strict=True))
        rows, left = list[tuple[int, Values]](), [(top, made)]
        while left:
            level, made = left.pop()
            rows += zip(level.tops, (Change.of(level.info, {}, row).after for row in made), strict=True)
            for below in level.below():  # what is known of its rows before they are made, by attribute name
                stamps = self.call.below(below.info.row).limits.stamps
                taken = [{own: made[owner].get(name) for name, own in below.links} for owner in below.owners]
                known = [{**stamps, **own_values(spec), **row} for spec, row in zip(below.specs, taken, strict=True)]
                left.append((below, known))
        return await keys.needs_of_new(self.call, len(specs), rows)

    def _reader(self, first: int = 0) -> SpecReader:
        return SpecReader(self.call.info, self.call.limits, self.given_too, EVERY_PLACE[first:])

    def _insertion(self, harvest: Harvest[TRow, TData], new: NewRows) -> Insertion:
        async def complete(parts: Sequence[Block]) -> Sequence[Block]:
            if self.call.limits.held and (refusal := await new.refused_beforehand()):
                raise refusal
            return await number_within(self.call, parts)

        number = None if self.call.entity.next_value is None or self.given_too is not None else complete
        return Insertion(self.call, self._reader(new.first), harvest.columns, harvest.take, harvest.arrange, number)

    def _new(self, specs: Sequence[Spec[Any]], first: int) -> NewRows:
        return NewRows(self.call, lambda: self._reader(first).read(specs), first)

    async def _insert(self, specs: Sequence[Spec[TRow]], harvest: Harvest[TRow, TData], first: int) -> None:
        """Insert the rows of one level, and see that they are inside the scope."""
        new = self._new(specs, first)

        async def send() -> None:
            await self._insertion(harvest, new).send(specs)
            if (gone := harvest.first_gone()) is not None:
                await give_up(self.call.db_sess)
                raise RefusedByTrigger.at(first + gone)

        if not self.call.limits.held:
            await send()
            return

        async def insert() -> None:
            async with self.call.savepoint():
                await send()
                await self.call.confirm(harvest.keys, new.refusal)

        await scope_first(self.call, insert, new.refused)

    async def _grow(self, level: Level, above: Harvest[Any, Any]) -> Harvest[Any, Any]:
        """Create the rows of a level, of all rows above at once; give what came back of them."""
        call = self.call.below(level.info.row)
        if await call.is_meddled_with(several=True):
            call = call.unsettled()
        keys = level.keys(above.kept)
        call = call.setting({}, call.info.columns.keys() - keys.keys()).beneath(above.call.info, level.links)
        lower = Creation(call, given_too=keys, wants_data=False)
        harvest = lower._harvest(level.branches)
        note_new(call.db_sess, level.info.row)
        try:
            with call.locating():
                await lower._insert(level.specs, harvest, 0)
        except (InvalidValue, RefusedByTrigger, ScopeMismatch) as exc:
            if exc.index is not None:  # it is the one of the row at the top that the caller knows
                exc.move(level.tops[exc.index])
            raise
        return harvest


class Harvest(Generic[TRow, TData]):
    """What comes back of rows being created: data, the columns to be kept, a count."""

    def __init__(
        self, call: Call[TRow, TData], kept: Sequence[str], progress: Progress | None, *, wants_data: bool
    ) -> None:
        self.call, self.progress = call, progress
        self.data: list[TData] = []
        self.done = 0
        names = call.entity.shape.names if wants_data else ()
        self._direct = bool(names)
        self._read_again = wants_data and not names
        again = call.info.primary_key if self._read_again else ()
        self.kept: dict[str, list[Any]] = {name: [] for name in (*kept, *again)}
        self.columns = tuple(dict.fromkeys((*names, *self.kept)))

    @property
    def keys(self) -> list[Key]:
        """The primary keys, where they were to be kept."""
        return list(zip(*(self.kept[name] for name in self.call.info.primary_key), strict=True))

    def take(self, columns: Rows, size: int) -> None:
        """Take the columns of the next rows that come back."""
        if self._direct:
            shape = self.call.entity.shape
            self.data += shape.build_all(list(zip(*(columns[name] for name in shape.names), strict=True)))
        for name, values in self.kept.items():
            values.extend(columns[name])
        self.done += size
        if self.progress is not None:
            self.progress(self.done)

    def arrange(self, places: Sequence[int]) -> None:
        """Put what was taken into the order of the input: ``places`` are those of the rows there."""
        if not (self._direct or self.kept):
            return
        order = sorted(range(len(places)), key=places.__getitem__)
        if self._direct:
            self.data = [self.data[at] for at in order]
        for name, values in self.kept.items():
            self.kept[name] = [values[at] for at in order]

    def first_gone(self) -> int | None:
        """Give the place of the first row whose key a later one was given: SQLite does so once a trigger removed it."""
        names = self.call.info.primary_key
        if self.call.dialect.name != "sqlite" or not all(name in self.kept for name in names):
            return None
        gone, later = None, set[Key]()
        for place, key in reversed([*enumerate(self.keys)]) if len({*self.keys}) < len(self.keys) else ():
            gone = place if key in later else gone
            later.add(key)
        return gone

    async def finish(self) -> list[TData]:
        """Give the data; what is more than columns of the row is read by the keys."""
        if not (self._read_again and self.done):
            return self.data
        return await present_made(self.call, self.keys, range(len(self.keys)))
