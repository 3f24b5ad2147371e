"""Creating many rows at once."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from functools import partial

from rowsmith.mapping import RowInfo, Spec
from rowsmith.mapping.writes import all_belong
from rowsmith.operations.arrays.keys import Key, check_chunk_size
from rowsmith.operations.blocks.collector import collector_paused
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.ending import Ending
from rowsmith.operations.faults import is_of_a_row
from rowsmith.operations.inserts.branches import check_trees, unfit_trees
from rowsmith.operations.inserts.chunks import Chunks, Many, Progress
from rowsmith.operations.inserts.tree import Creation
from rowsmith.operations.once import Written, once
from rowsmith.operations.partial import placed, run_partial
from rowsmith.operations.results import PartialResult, Upserted
from rowsmith.scope import SearchScope

LOAD_CHUNK = 20_000
"""How many specs of an endless iterator are in memory at a time."""


class BatchCreator(Operation[TRow, TData]):
    """Creates many rows; one statement for specs that set the same fields, or a few for many thousand rows.

    What some specs leave out and the server does not fill is NULL; where it does fill it, they go by statements of
    their own. On PostgreSQL rows are inserted in the order of their unique key (see
    :mod:`rowsmith.operations.inserts.clashes`), so that batches which clash do not deadlock; results stand in the
    order of the input all the same.

    How rows travel is chosen by :func:`rowsmith.operations.blocks.gate.pass_gate` and logged (DEBUG): COPY where
    nothing has to come back from the database but what is known already, arrays and RETURNING where the server
    makes values or row triggers may change them, SQLAlchemy's own way where somebody listens to it, and on other
    drivers.

    A field of a spec that names a relationship holds the specs of rows below, which get the key of their row; each
    level of such a tree is one statement. ``next_value`` numbers the rows within a parent.
    """

    @verb("batch_create", singly="create(spec)", touches="new", removes=False)
    async def create(
        self,
        call: Call[TRow, TData],
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> list[TData]:
        """Insert all rows or none, and give what the database holds, in input order.

        Args:
            db_sess: the session whose transaction is written in.
            specs: the new rows' values, in any number. They may set different fields.
            scope: who creates; its equality conditions are stamped onto every row, and all rows are undone
                if one is outside the other conditions.
            progress: is told how many rows are sent.
            idempotency_key: has it done once, however often it is called with this key; see :func:`once`.

        Raises:
            InvalidValue: a value does not fit its column; with the index.
            ScopeMismatch: a spec says otherwise than the scope; with the index.
            EntityAlreadyExists, ReferenceNotFound, ConstraintViolation: a constraint said no, or the
                error declared for it in ``violations``.
        """
        items = await gathered(specs, call.info)
        check_trees(call.info, items)
        call = await call.creating(scope, several=True)
        with collector_paused():
            if idempotency_key is None:
                return await Creation(call).create(items, progress)

            def asked() -> Sequence[object]:
                Creation(call).check(items)
                return items

            async def write(call: Call[TRow, Key]) -> Written:
                return [Upserted(key, inserted=True) for key in await Creation(call).create(items, progress)]

            return [item.data for item in await once(call, idempotency_key, asked, write)]

    @verb("load", singly="create(spec)", touches="new", removes=False)
    async def load(
        self,
        call: Call[TRow, TData],
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        progress: Progress | None = None,
        chunk_size: int = LOAD_CHUNK,
    ) -> int:
        """Insert all rows of an iterator or none, in flat memory, and give only their number.

        Args:
            db_sess: the session whose transaction is written in.
            specs: the new rows' values; ``chunk_size`` of them are in memory at a time.
            scope, progress: as for :meth:`create`; progress is told after each chunk.
            chunk_size: how many rows are put into the order of their key together, and go in one statement; those of
                many chunks go in one COPY, where they go by COPY and come from no asynchronous iterator.

        Raises:
            InvalidValue: ``chunk_size`` is no int of 1 or more.
            RepositoryError: as :meth:`create`; nothing of this call stays in the transaction then.
        """
        check_chunk_size(chunk_size)
        chunks, call = Chunks(specs, chunk_size, progress), await call.creating(scope, several=True)
        async with call.savepoint():
            await Creation(call, wants_data=False).load(chunks)
        return chunks.taken

    @verb("batch_create_partial", singly="create(spec)", touches="new", removes=False, late=is_of_a_row)
    async def create_partial(
        self, call: Call[TRow, TData], specs: Many[Spec[TRow]], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Insert the rows that can be, and say of each other one why not.

        All are tried together inside a savepoint; only where that fails are the culprits looked for. Rows that refer to
        each other stay together. What is checked at COMMIT is left to that, but for a call that is its own transaction.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is kept then.
        """
        items = await gathered(specs, call.info)
        unfit = unfit_trees(call.info, items)
        call = await call.creating(scope, several=True)
        ending = Ending(call)
        creation = Creation(ending.parts.in_parts())
        fit, faults = creation.readable(items, unfit)

        sent = [items[index] for index in fit]
        with collector_paused():
            needs = partial(creation.needs, sent)
            written = await run_partial(call, sent, creation.create, creation.diagnose, find_needs=needs)
            written = await ending.outcome(written)
        return placed(call, written, fit, faults)


async def gathered(specs: Many[Spec[TRow]], info: RowInfo[TRow]) -> Sequence[Spec[TRow]]:
    """Give all specs as a sequence, once they are known to be a row's.

    Raises:
        MappingError: one is of another class; with the index.
    """
    found = [spec async for spec in specs] if isinstance(specs, AsyncIterable) else specs
    listed = found if isinstance(found, Sequence) else list(found)
    all_belong(listed, info, Spec, range(len(listed)))
    return listed
