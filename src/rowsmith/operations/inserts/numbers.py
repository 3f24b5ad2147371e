"""Numbering rows within their parents: the parents are locked, and the highest numbers looked up."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from rowsmith.conditions import limited
from rowsmith.mapping.constraints import exclusive_keys_of
from rowsmith.operations.arrays.keys import Key, columns_condition, key_chunks
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.call import Call
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.parents import Parents


async def number_within(call: Call[object, object], blocks: Sequence[Block]) -> list[Block]:
    """Lock the parents of some rows and give the rows with their numbers; two statements.

    Raises:
        ReferenceNotFound: a parent is absent or outside the scope; or the error declared for its foreign key.
        InvalidValue: a spec gives a number itself, or no parent.
        ScopeRequired: the scope does not tell whose parents are meant.
    """
    number: NextValue | None = call.entity.next_value
    assert number is not None  # noqa: S101 - only asked for where rows are numbered
    numbering = _Numbering(call, number)
    parents = [numbering.parents_of(block) for block in blocks]
    keys = sorted({key for found in parents for key in found}, key=repr)
    stored = await Parents(call, number).lock(keys)
    last = await numbering.last(list(dict.fromkeys(stored.values())))
    return numbering.numbered(blocks, [[stored[key] for key in found] for found in parents], last)


class _Numbering:
    """The numbers of one call's rows."""

    def __init__(self, call: Call[object, object], number: NextValue) -> None:
        self.call, self.info, self.number = call, call.info, number

    def parents_of(self, block: Block) -> list[Key]:
        """Give the key of each row's parent."""
        number = self.number
        if number.column.key in block.columns:
            raise self.info.refusal(number.column.key, "is numbered here: leave it out of the spec")
        for name in number.parents:
            if name not in block.columns or any(value is None for value in block.columns[name]):
                raise self.info.refusal(name, "says within what is counted: give it")
        return list(zip(*(block.columns[name] for name in number.parents), strict=True))

    async def last(self, parents: Sequence[Key]) -> dict[Key, int]:
        """Give the highest number within each parent that has one."""
        columns, found = [self.info.columns[name] for name in self.number.parents], dict[Key, int]()
        number, dialect = self.info.columns[self.number.column.key], self.call.dialect
        # A unique key with the number in it knows no classes: rows of others in the table take numbers away too.
        is_shared = any(number in set(key.columns) for key in exclusive_keys_of(self.info.table))
        counted = () if is_shared else self.info.own_rows
        for chunk in key_chunks(parents, dialect, columns):
            these = columns_condition(columns, chunk, dialect)
            statement = limited(select(*columns, func.max(number)), these, *counted).group_by(*columns)
            rows = (await self.call.execute(statement)).all()
            found.update({tuple(row[:-1]): row[-1] for row in rows if row[-1] is not None})
        stored = await self.call.as_stored(columns, parents, found)
        return {key: found[other] for key, other in stored.items()}

    def numbered(self, blocks: Sequence[Block], parents: Sequence[Sequence[Key]], last: dict[Key, int]) -> list[Block]:
        """Give the rows with their numbers, counted in the order of the input; ``last`` counts on with them."""
        numbers = [[0] * block.size for block in blocks]
        rows = ((place, at, row) for at, block in enumerate(blocks) for row, place in enumerate(block.places))
        for _, at, row in sorted(rows):
            parent = parents[at][row]
            last[parent] = numbers[at][row] = last.get(parent, self.number.start - 1) + 1
        name = self.number.column.key
        return [block.beside({name: own}, {name: {int}}) for block, own in zip(blocks, numbers, strict=True)]
