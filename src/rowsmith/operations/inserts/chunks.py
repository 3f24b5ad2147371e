"""Specs that are taken from an iterator a chunk at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Generic, TypeAlias, TypeVar

from rowsmith.mapping import Spec
from rowsmith.operations.blocks.block import BLOCK, Block, SpecReader, is_plain, is_uniform
from rowsmith.operations.blocks.collector import collector_paused

T = TypeVar("T")

Many: TypeAlias = Iterable[T] | AsyncIterable[T]
"""What a batch takes: a list, any iterable, or an asynchronous one."""

Progress: TypeAlias = Callable[[int], None]
"""Is told, again and again, how many rows of the batch are done."""


class Chunks(Generic[T]):
    """The items of an iterator, no more than a chunk of which is taken before it is done.

    Args:
        items: where they come from.
        size: how many there are in a chunk at most.
        progress: is told, when another chunk is begun, how many items were taken before.
    """

    def __init__(self, items: Many[T], size: int, progress: Progress | None = None) -> None:
        self._size, self._progress = size, progress
        self._left, self._told = size, 0
        self._back = list[T]()
        self.taken = 0
        # One that awaits may await the very connection that the rows before are being sent on.
        self.is_at_hand = not isinstance(items, AsyncIterable)
        self._items: Iterator[T] | AsyncIterator[T] = aiter(items) if isinstance(items, AsyncIterable) else iter(items)

    def begin(self, held: int = 0) -> None:
        """Begin another chunk; all that was taken before is done, but for the last ones that are ``held``."""
        self._left, done = self._size - held, self.taken - held
        if self._progress is not None and done > self._told:
            self._told = done
            self._progress(done)

    async def part(self) -> Iterator[T]:
        """Give the next items of the chunk, at most a block of them, which are only taken as they are asked for."""
        await asyncio.sleep(0)  # lets the event loop send what was written before
        most = min(BLOCK, self._left)
        if self._back:
            part, self._back = self._back[:most], self._back[most:]
            return iter(part)
        if not isinstance(self._items, AsyncIterator):
            return islice(self._items, most)
        part = list[T]()
        while len(part) < most:
            try:
                part.append(await anext(self._items))
            except StopAsyncIteration:
                break
        return iter(part)

    async def rest(self) -> list[T]:
        """Give all that is left of the chunk."""
        chunk = list[T]()
        while part := list(await self.part()):
            self.took(len(part))
            chunk += part
        return chunk

    def took(self, number: int) -> None:
        """Count items that are not given back."""
        self._left -= number
        self.taken += number

    def give_back(self, items: list[T]) -> None:
        """Have items given once more, next."""
        self._back = items + self._back


class Incoming:
    """The specs of a load, read as they come, and let go of at once: until one brings rows below it."""

    def __init__(self, chunks: Chunks[Spec[Any]], reader: SpecReader) -> None:
        self.is_at_hand = chunks.is_at_hand
        self._chunks, self._reader = chunks, reader
        self._unlike = list[Block]()

    async def chunk(self, like: frozenset[str] | None = None) -> list[Block]:
        """Read the next chunk.

        Args:
            like: the fields that rows before it set, which are still being sent: only what sets the same ones is given,
                and what does not is the beginning of the next chunk.
        """
        if like is not None and self._unlike:
            return []
        read, self._unlike = self._unlike, []
        self._chunks.begin(sum(block.size for block in read))
        with collector_paused():
            while found := await self._part():
                for place, block in enumerate(found):
                    if like is not None and not (block.given == like and is_uniform([block])):
                        self._unlike = found[place:]
                        return read
                    read.append(block)
        return read

    async def _part(self) -> list[Block]:
        """Read a part: all of it together, but for those at its beginning that are alike."""
        part = await self._chunks.part()
        read, rest = list[Block](), list(islice(part, 1))
        if rest and is_plain(type(rest[0])) and not _is_tree(rest[0]):
            block, rest = self._reader.alike(chain(rest, part))
            read.append(block)
        rest += part
        trees = next((place for place, spec in enumerate(rest) if _is_tree(spec)), len(rest))
        self._chunks.give_back(rest[trees:])
        if rest[:trees]:
            read.append(self._reader.given(rest[:trees]))
        self._chunks.took(sum(block.size for block in read))
        return read


def _is_tree(spec: Spec[Any]) -> bool:
    return bool(getattr(spec, "__rowsmith_children__", ()))
