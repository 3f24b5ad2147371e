"""An upsert in which each row stands for itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from rowsmith.mapping.parts import Part
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.needs import Change, Needs, SelfKeys
from rowsmith.operations.partial import TTried, attempted, of_sendable, rows_before, run_partial, tried
from rowsmith.operations.results import Upserted
from rowsmith.operations.upserts.mixed import Mixed
from rowsmith.operations.upserts.race import is_overtaken
from rowsmith.operations.upserts.steps import UpsertInSteps


class PartialUpsert(UpsertInSteps[TRow, TData]):
    """Rows of one call, in the order of their keys, each of which is upserted or not.

    All are tried together. Where that fails, parts of them are, in savepoints of their own.
    """

    _looks_again = True
    """Whether it is looked once more for rows that lost a race over another key, which may be there by then."""

    @override
    async def outcomes(self) -> Sequence[Upserted[TData] | Exception]:
        """Give what became of each row.

        Raises:
            Exception: no row's own fault.
        """
        if not self.rows.size:
            return ()
        is_alike, whole = len(self.rows.blocks) == 1, UpsertInSteps(self.upsertion, self.rows)
        self._looks_again = not is_alike  # it is looked for the rows a second time where they are alike
        together = await attempted(self._at_once, lambda: self._write(self.rows) if is_alike else whole.outcomes())
        if not isinstance(together, Exception):
            return together
        if self.rows.size > 1:
            return await super().outcomes()
        if not self._is_overtaken(together):
            return [together]
        again = await attempted(self._at_once, lambda: self._write(self.rows))
        return [again] if isinstance(again, Exception) else again

    def _is_overtaken(self, outcome: object) -> bool:
        return isinstance(outcome, Exception) and is_overtaken(self.upsertion.info, self.upsertion.conflict, outcome)

    @override
    def is_settled(self, outcomes: Sequence[Upserted[TData] | Exception]) -> bool:
        looks_again, self._looks_again = self._looks_again, False
        return not (looks_again and any(map(self._is_overtaken, outcomes)))

    @override
    async def undoing(self, work: Callable[[], Awaitable[TTried]]) -> TTried:
        """Do so; the parts are undone one by one, too."""
        async with self._at_once.savepoint():
            return await work()

    @property
    def _at_once(self) -> Call[TRow, TData]:
        """The call as it was, whose savepoint ends with all that is within it."""
        return replace(self.call, tries_parts=False)

    @override
    async def run(
        self, rows: Sequence[int], write: Callable[[Mixed], Awaitable[Sequence[TTried]]], *, are_new: bool = False
    ) -> Mapping[int, TTried | Exception]:
        """Write those of some rows that can be written."""

        async def attempt(part: Sequence[int]) -> Sequence[TTried]:
            return await write(self.rows.chosen(part))

        async def find_needs() -> Needs:
            info, chosen = self.call.info, self.rows.chosen(rows)
            if are_new:
                return await self._needs(chosen, SelfKeys.of_rows(info), are_new=True)
            # What its spec sets is all that changes of one that is there.
            written = {name for block in chosen.blocks for name in block.columns}
            return await self._needs(chosen, SelfKeys.of_changes(info, written.difference(self.upsertion.key.names)))

        result = await run_partial(self.call, rows, attempt, find_needs=find_needs)
        done: dict[int, TTried | Exception] = {item.index: item.data for item in result.succeeded}
        done |= {item.index: item.error for item in result.failed}
        return {row: done[index] for index, row in enumerate(rows)}

    async def _needs(self, rows: Mixed, tied: SelfKeys, *, are_new: bool = False) -> Needs:
        info, key = self.call.info, self.upsertion.key
        part = Part(info.table, tuple(info.columns[name] for name in key.names))
        before = await rows_before(self.call, [] if are_new else [part], rows.keys(key), tied.columns)
        pairs = zip(before, rows.values(), strict=True)
        changes = [Change.of(info, row, given if row else new) for row, (given, new) in pairs]
        return await tied.needs(self.call, changes)

    @override
    async def takes_over(self, known: Sequence[int]) -> bool:
        """Say so of a value of a unique key: where that is checked late, all rows of the call may be written first."""
        late, new = SelfKeys.late(self.call.info), {*range(self.rows.size)}.difference(known)
        if not (known and new and late.columns):
            return False
        found = await tried(self.call, lambda: self._needs(self.rows, late))
        return isinstance(found, Needs) and any(map(found.needs_any, new))

    @override
    async def there(self) -> Sequence[int]:
        return await of_sendable(self.call, range(self.rows.size), self.places_there)
