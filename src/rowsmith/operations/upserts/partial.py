"""An upsert in which each row stands for itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic

from rowsmith.operations.blocks.block import Block
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.partial import TTried, of_sendable, run_partial, tried
from rowsmith.operations.results import Upserted
from rowsmith.operations.upserts.race import is_overtaken
from rowsmith.operations.upserts.upsertion import TURNS, Left, Upsertion


class PartialUpsert(Generic[TRow, TData]):
    """Rows of one call, in the order of their keys, each of which is upserted or not.

    All are tried together. Where that fails, parts of them are: first those that are new, so that nobody who inserts
    holds a row that is there; then those are locked in the order of their primary keys, and changed.
    """

    def __init__(self, upsertion: Upsertion[TRow, TData], block: Block) -> None:
        self.upsertion, self.block = upsertion, block
        self.call: Call[TRow, TData] = upsertion.call

    async def write(self) -> Sequence[Upserted[TData] | Exception]:
        """Give what became of each row.

        Raises:
            Exception: no row's own fault.
        """
        if not self.block.size:
            return ()
        together = await tried(self.call, lambda: self.upsertion.write(self.block))
        if not isinstance(together, Exception):
            return together
        if self.block.size == 1:
            return await self._alone(together)
        if self.call.dialect.name != "postgresql":  # one writer at a time
            return list((await self._parts(range(self.block.size), self.upsertion.write)).values())
        return await self._in_turns()

    async def _alone(self, failure: Exception) -> Sequence[Upserted[TData] | Exception]:
        if not is_overtaken(self.upsertion.info, self.upsertion.conflict, failure):
            return [failure]
        again = await tried(self.call, lambda: self.upsertion.write(self.block))
        return [again] if isinstance(again, Exception) else again

    async def _in_turns(self) -> list[Upserted[TData] | Exception]:
        """Try parts of the rows until none came or went in between; the last time without regard to that."""
        for turn in range(TURNS):
            try:
                async with self.call.savepoint():
                    return await self._in_steps(is_last=turn == TURNS - 1)
            except Left:
                continue
        raise AssertionError

    async def _in_steps(self, *, is_last: bool) -> list[Upserted[TData] | Exception]:
        known = set(await of_sendable(self.call, range(self.block.size), self._there))
        made = await self._parts([row for row in range(self.block.size) if row not in known], self.upsertion.insert)
        there = [row for row in range(self.block.size) if made.get(row) is None]
        if there and not await self.upsertion.hold(self.block.chosen(there)) and not is_last:
            raise Left
        outcomes = {**made, **await self._parts(there, self.upsertion.write)}
        return [outcome for row in range(self.block.size) if (outcome := outcomes[row]) is not None]

    async def _there(self, rows: Sequence[int]) -> list[int]:
        return [rows[place] for place in await self.upsertion.places_there(self.block.chosen(rows))]

    async def _parts(
        self, rows: Sequence[int], write: Callable[[Block], Awaitable[Sequence[TTried]]]
    ) -> dict[int, TTried | Exception]:
        """Write some of the rows, and give what became of each."""

        async def attempt(part: Sequence[int], first: int) -> Sequence[TTried]:
            return await write(self.block.chosen(part))

        result = await run_partial(self.call, rows, attempt)
        done: dict[int, TTried | Exception] = {item.index: item.data for item in result.succeeded}
        done |= {item.index: item.error for item in result.failed}
        return {row: done[index] for index, row in enumerate(rows)}
