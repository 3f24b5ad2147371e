"""Specs that are taken from an iterator a chunk at a time, and read as they come. No database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import OptionalState, Spec
from rowsmith.mapping import row_info
from rowsmith.operations.blocks.block import Block, SpecReader, is_uniform
from rowsmith.operations.inserts.chunks import Chunks, Incoming
from rowsmith.scope import Limits
from rowsmith.state import UNSET


class Base(DeclarativeBase):
    pass


class LeafRow(Base):
    __tablename__ = "leaves"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("leaves.id"))
    word: Mapped[str | None]
    leaves: Mapped[list[LeafRow]] = relationship()


@dataclass(frozen=True)
class Plain(Spec[LeafRow]):
    id: int
    word: Any = None


@dataclass(frozen=True)
class Loose(Spec[LeafRow]):
    id: int
    word: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class Own(Spec[LeafRow]):
    id: int

    def to_values(self) -> Mapping[str, Any]:
        return {"id": self.id, "word": "own"}


@dataclass(frozen=True)
class Tree(Spec[LeafRow]):
    id: int
    leaves: tuple[Any, ...] = ()


MAKERS: list[Callable[[int], Any]] = [
    Plain,
    lambda id: Plain(id, "a"),
    lambda id: Plain(id, UNSET),
    Loose,
    lambda id: Loose(id, OptionalState.update("b")),
    Own,
]
INFO = row_info(LeafRow)


def rows_of(blocks: list[Block]) -> dict[int, dict[str, Any]]:
    """Give what the rows set, by their places."""
    lines = [(block.places, block.columns, row) for block in blocks for row in range(block.size)]
    values = [(at[row], {name: column[row] for name, column in columns.items()}) for at, columns, row in lines]
    return {place: {name: value for name, value in row.items() if value is not UNSET} for place, row in values}


@given(st.lists(st.sampled_from(MAKERS), max_size=12), st.integers(1, 5), st.booleans(), st.booleans())
def test_every_spec_is_read_once(makers: list[Any], size: int, goes_on: bool, ends: bool) -> None:
    """With its place, in chunks of at most so many; what follows alike sets the same; a tree is left where it is."""
    specs: list[Any] = [make(place) for place, make in enumerate(makers)]
    told = list[int]()

    async def read() -> tuple[list[Block], list[Any]]:
        chunks = Chunks[Any](iter([*specs, Tree(99), *specs] if ends else specs), size, told.append)
        incoming, found, like = Incoming(chunks, SpecReader(INFO, Limits())), list[Block](), None
        while True:
            chunk = [] if like is None else await incoming.chunk(like)
            assert all(block.given == like and is_uniform([block]) for block in chunk)
            if not (chunk := chunk or await incoming.chunk()):
                break
            assert sum(block.size for block in chunk) <= size
            found += chunk
            like = chunk[0].given if goes_on and is_uniform(chunk) else None
        assert chunks.taken == len(specs)
        chunks.begin()
        return found, await chunks.rest()

    found, rest = asyncio.run(read())
    assert rows_of(found) == {place: dict(spec.to_values()) for place, spec in enumerate(specs)}
    assert rest == ([Tree(99), *specs][:size] if ends else [])
    assert told == sorted(set(told))
    assert told[-1:] == ([len(specs)] if specs else [])


async def test_no_spec_is_kept_that_was_read() -> None:
    """One is let go of before the next one is asked for: a load holds the values of a chunk, and no specs."""
    alive, most = 0, 0

    @dataclass(frozen=True)
    class Counted(Spec[LeafRow]):
        id: int

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def specs() -> Any:
        nonlocal alive, most
        for id in range(50):
            alive += 1
            most = max(most, alive)
            yield Counted(id)

    [block] = await Incoming(Chunks(specs(), 50), SpecReader(INFO, Limits())).chunk()
    assert (block.size, alive) == (50, 0)
    assert most < 5
