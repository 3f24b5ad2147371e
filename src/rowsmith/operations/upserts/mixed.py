"""Rows of one upsert that need not set the same fields: a row that is there takes over what its own spec sets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from rowsmith.errors import InvalidValue
from rowsmith.mapping import RowInfo
from rowsmith.operations.arrays.keys import Key, places_in_order
from rowsmith.operations.blocks.block import Block, joined, merged
from rowsmith.operations.conflict import ConflictKey
from rowsmith.operations.upserts.statement import key_columns, key_faults, keys_of, twice

T = TypeVar("T")


@dataclass(frozen=True)
class Mixed:
    """Rows in some order, of each its block and its row there; those that set the same fields stand in one block."""

    blocks: Sequence[Block]
    rows: Sequence[tuple[int, int]]

    @property
    def size(self) -> int:
        """How many rows they are."""
        return len(self.rows)

    @property
    def places(self) -> list[int]:
        """Their places in the caller's input."""
        return [self.blocks[block].places[row] for block, row in self.rows]

    def keys(self, key: ConflictKey) -> list[Key]:
        """Give the key of each."""
        known = [keys_of(key, block) for block in self.blocks]
        return [known[block][row] for block, row in self.rows]

    def values(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Give of each what its spec sets, and what it has as a new row; by attribute name."""
        known = [[dict(zip(block.columns, row, strict=True)) for row in block.rows()] for block in self.blocks]
        rows = ((self.blocks[block].given, known[block][row]) for block, row in self.rows)
        return [({name: row[name] for name in given}, row) for given, row in rows]

    def chosen(self, rows: Sequence[int]) -> Mixed:
        """Give some of the rows, in another order."""
        return Mixed(self.blocks, [self.rows[row] for row in rows])

    def parts(self) -> Iterator[tuple[list[int], Block]]:
        """Give the rows of each block, and their places among these."""
        places = dict[int, list[int]]()
        for place, (block, _) in enumerate(self.rows):
            places.setdefault(block, []).append(place)
        for block, those in places.items():
            yield those, self.blocks[block].chosen([self.rows[place][1] for place in those])

    async def each_part(self, work: Callable[[Block], Awaitable[Sequence[T]]], *, singly: bool = False) -> list[T]:
        """Do some work for the rows of one block after the other, or for each; gives what it gives for each row."""
        done = dict[int, T]()
        each_alone = (([row], self._run([at])) for row, at in enumerate(self.rows))
        parts = each_alone if singly else self.parts()
        for places, block in parts:
            done |= zip(places, await work(block), strict=True)
        return [done[row] for row in range(self.size)]

    def widened(self, info: RowInfo[object]) -> Mixed:
        """Give the rows as new ones: of as few kinds as statements have to be that insert them."""
        wide = merged(info, [block for _, block in self.parts()])
        there = {place: (number, row) for number, block in enumerate(wide) for row, place in enumerate(block.places)}
        return Mixed(wide, [there[place] for place in self.places])

    def runs(self, *, singly: bool = False) -> Iterator[Block]:
        """Give rows that follow each other and stand in one block, or each alone, in their order."""
        run = list[tuple[int, int]]()
        for at in self.rows:
            if run and (singly or run[-1][0] != at[0]):
                yield self._run(run)
                run = []
            run.append(at)
        if run:
            yield self._run(run)

    def _run(self, run: Sequence[tuple[int, int]]) -> Block:
        return self.blocks[run[0][0]].chosen([row for _, row in run])


def in_key_order(
    info: RowInfo[object], key: ConflictKey, read: Sequence[Block]
) -> tuple[Mixed, dict[int, InvalidValue]]:
    """Give rows that were read in the order of their keys, and the errors of those that have no key of their own."""
    alike = dict[frozenset[str], list[Block]]()
    for block in read:
        alike.setdefault(block.given, []).append(block)
    blocks = [joined(parts) for parts in alike.values()]
    faults = {place: fault for block in blocks for place, fault in key_faults(info, key, block).items()}
    fit = [_without(block, faults) for block in blocks]
    fit = [block for block in fit if block.size]
    if len(fit) > 1:
        keys = chain.from_iterable(keys_of(key, block) for block in fit)
        again = twice(info, key, list(keys), [place for block in fit for place in block.places])
        faults, fit = {**again, **faults}, [_without(block, again) for block in fit]
    rows = [(number, row) for number, block in enumerate(fit) for row in range(block.size)]
    columns = [key_columns(key, block) for block in fit]
    order = places_in_order([list(chain.from_iterable(parts)) for parts in zip(*columns, strict=True)])
    return Mixed(fit, [rows[place] for place in order]), faults


def _without(block: Block, faults: dict[int, InvalidValue]) -> Block:
    return block.chosen([row for row, place in enumerate(block.places) if place not in faults])
