"""An upsert of rows that cannot all go in one statement, in an order in which nobody waits in a circle.

New rows are inserted first, in the order of the key, so that nobody who inserts holds a row that is there; then those
that are there are locked in the order of their primary keys, and changed. Where some went meanwhile, all is undone and
tried anew; where they are never there, it is a trigger's doing, and they are written all the same, but nobody is waited
for. Rows whose specs set the same fields go together, unless the database changes their keys: then each goes alone, as
nothing else tells whose answer is whose.

Where a new row can only be written behind one that is there (:meth:`UpsertInSteps.takes_over`), all that are there are
locked first, and a circle is left to PostgreSQL, which ends it as a deadlock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import Generic, TypeVar

from rowsmith.errors import InvalidValue
from rowsmith.mapping import Spec
from rowsmith.operations.blocks.block import joined
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.results import Upserted
from rowsmith.operations.upserts.mixed import Mixed, in_key_order
from rowsmith.operations.upserts.upsertion import MOST_TURNS, Held, Left, Moved, Upsertion, busy

T = TypeVar("T")


async def upsert_all(upsertion: Upsertion[TRow, TData], specs: Sequence[Spec[TRow]]) -> list[Upserted[TData]]:
    """Upsert all or none; results in input order."""
    if not specs:
        return []
    read = upsertion.read(specs)
    if len({block.given for block in read}) == 1:
        with suppress(Moved):  # all of it is undone by then
            return await upsertion.write(joined(read))
    rows, faults = in_key_order(upsertion.info, upsertion.key, read)
    if faults:
        raise faults[min(faults)]
    done = list[tuple[int, Upserted[TData]]]()
    for place, outcome in zip(rows.places, await UpsertInSteps(upsertion, rows).outcomes(), strict=True):
        if isinstance(outcome, Exception):
            raise outcome
        done.append((place, outcome))
    return [outcome for _, outcome in sorted(done, key=itemgetter(0))]


class UpsertInSteps(Generic[TRow, TData]):
    """Rows of one call, in the order of their keys, all of which are upserted or none."""

    def __init__(self, upsertion: Upsertion[TRow, TData], rows: Mixed) -> None:
        self.upsertion, self.rows = upsertion, rows
        self.call: Call[TRow, TData] = upsertion.call
        self._is_singly = False

    async def outcomes(self) -> Sequence[Upserted[TData] | Exception]:
        """Give what became of each row; tried anew until none came or went in between.

        Raises:
            LockNotAvailable: some always did.
        """
        if self.call.dialect.name != "postgresql":  # one writer at a time
            return await self.undoing(self._one_after_the_other)
        for _ in range(MOST_TURNS):
            try:
                with suppress(Left), self.upsertion.attempt():
                    return await self.undoing(self._in_steps)
            except Moved:
                self._is_singly = True
        raise busy()

    async def undoing(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do some work, and undo all of it where it fails."""
        return await self.upsertion.as_one(self.rows.blocks, work)

    async def run(
        self, rows: Sequence[int], write: Callable[[Mixed], Awaitable[Sequence[T]]], *, are_new: bool = False
    ) -> Mapping[int, T | Exception]:
        """Write some of the rows, and give what became of each; ``are_new`` says that none of them was there."""
        return dict(zip(rows, await write(self.rows.chosen(rows)), strict=True))

    async def there(self) -> Sequence[int]:
        """Give the rows whose keys are there, for whomever."""
        try:
            return await self.places_there(range(self.rows.size))
        except InvalidValue as exc:
            if exc.index is not None:
                exc.move(self.rows.places[exc.index])
            raise

    async def takes_over(self, known: Sequence[int]) -> bool:
        """Say whether a new row is to be tried behind one of those that are there, as it needs what that leaves."""
        return False

    def is_settled(self, outcomes: Sequence[Upserted[TData] | Exception]) -> bool:
        """Say whether nothing of what became of the rows would be another if they were looked for again."""
        return True

    async def places_there(self, rows: Sequence[int]) -> list[int]:
        """Give those of some rows whose keys are there; an error tells the one whose key is refused."""
        return [rows[place] for place in await self.upsertion.places_there(self.rows.chosen(rows))]

    async def _one_after_the_other(self) -> list[Upserted[TData] | Exception]:
        return list((await self.run(range(self.rows.size), self._write)).values())

    async def _in_steps(self) -> list[Upserted[TData] | Exception]:
        known = await self.there()
        written: Mapping[int, Upserted[TData] | Exception | None]
        if await self.takes_over(known):
            await self.upsertion.hold(self.rows.chosen(known))
            written = await self.run(range(self.rows.size), self._write)
        else:
            unknown = sorted({*range(self.rows.size)}.difference(known))
            made = await self.run(unknown, self._insert, are_new=True)
            there = [row for row in range(self.rows.size) if made.get(row) is None]
            missed = await self.upsertion.hold(self.rows.chosen(there)) if there else 0
            if not missed:
                changed = await self.run(there, partial(self._write, held=Held.ALL))
            else:
                self.upsertion.keep_turning((missed, tuple(there)))
                async with self.upsertion.unwaiting():
                    changed = await self.run(there, partial(self._write, held=Held.SOME))
            written = {**made, **changed}
        outcomes = [outcome for row in range(self.rows.size) if (outcome := written[row]) is not None]
        if not self.is_settled(outcomes):
            raise Left
        return outcomes

    async def _write(self, rows: Mixed, held: Held = Held.NONE) -> Sequence[Upserted[TData]]:
        with self.upsertion.attempt():
            return await rows.each_part(partial(self.upsertion.write, held=held), singly=self._is_singly)

    async def _insert(self, rows: Mixed) -> Sequence[Upserted[TData] | None]:
        found = list[Upserted[TData] | None]()
        with self.upsertion.attempt():
            for run in rows.widened(self.call.info).runs(singly=self._is_singly):
                found += await self.upsertion.insert(run)
        return found
