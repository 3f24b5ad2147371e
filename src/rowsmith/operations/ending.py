"""The end of a batch of several statements: what the earlier ones gave may not be so any more once the last was sent.

Data that reads other rows, or rows that triggers may change, are read once more then, and held against the scope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic

from rowsmith.execution import writes_of
from rowsmith.operations.call import Call, TRow
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.present import present_made
from rowsmith.operations.results import PartialResult


class Ending(Generic[TRow]):
    """The end of one call; made before its first statement.

    ``parts`` is the call for the statements: what it gives for a row is put in order by :meth:`data`.
    """

    def __init__(self, call: Call[TRow, Any]) -> None:
        self._call = call
        self._before = writes_of(call.db_sess)
        self._is_final = call.entity.shape.returnable  # nothing that others write changes it
        self.parts: Call[TRow, Any] = call if self._is_final else replace(call, entity=call.entity.keyed)

    async def data(self, given: Sequence[Any]) -> list[Any]:
        """Give the data of rows, of which ``parts`` gave this.

        Raises:
            ScopeMismatch: a trigger took one out of the scope since it was written; nothing can be committed then.
            RefusedByTrigger: one took it away again.
        """
        if self._is_final:
            return list(given)
        if writes_of(self._call.db_sess) - self._before <= 1:
            return [data for _, data in given]
        keys = [key for key, _ in given]
        if self._call.limits.is_unsettled and self._call.limits.held:
            await self._call.confirm(keys)
        await keep_in_step(self._call, keys)
        return await present_made(self._call, keys)

    async def outcome(self, written: PartialResult[Any]) -> PartialResult[Any]:
        """Give what became of the items of a partial form, with the data of those that were written."""
        data = await self.data(written.data)
        done = [replace(success, data=made) for success, made in zip(written.succeeded, data, strict=True)]
        return replace(written, succeeded=done)
