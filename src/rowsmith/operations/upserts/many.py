"""Creating or changing many rows at once, told apart by a unique key."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypeVar

from rowsmith.mapping import Spec
from rowsmith.operations.blocks.collector import collector_paused
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.ending import Ending
from rowsmith.operations.entity import by_entity
from rowsmith.operations.faults import is_of_a_row
from rowsmith.operations.inserts.chunks import Many
from rowsmith.operations.inserts.many import gathered
from rowsmith.operations.partial import placed
from rowsmith.operations.results import BatchResult, Failure, PartialResult, Success, Upserted
from rowsmith.operations.upserts.mixed import in_key_order
from rowsmith.operations.upserts.partial import PartialUpsert
from rowsmith.operations.upserts.patterns import UpsertPatterns
from rowsmith.operations.upserts.race import is_overtaken_call
from rowsmith.operations.upserts.steps import upsert_all
from rowsmith.operations.upserts.upsertion import SINGLY, Upsertion
from rowsmith.scope import SearchScope

T = TypeVar("T")


class BatchUpserter(Operation[TRow, TData]):
    """Creates rows or changes those that are there, by a unique key.

    On PostgreSQL new rows are inserted in the order of the key, then those that are there are locked in the order of
    their primary keys, as every other batch locks them, and changed: by one statement, or three where SQLAlchemy sends
    them; specs that set other fields than others are changed by a statement of their own. So batches that overlap wait
    for each other and do not deadlock.

    ``conflict`` names the key; the primary key without it. A row that is there takes over the fields that the
    specs set, and nothing else but ``onupdate`` and the version; its primary key stays. A soft-deleted row, or
    one outside the scope, is not there for the caller: its key is merely taken.
    """

    @by_entity
    def _patterns(self) -> UpsertPatterns:
        return UpsertPatterns(self.entity)

    @verb("batch_upsert", singly=SINGLY, touches="made", removes=False, lost=is_overtaken_call)
    async def upsert(
        self,
        call: Call[TRow, TData],
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        conflict: Conflict | None = None,
    ) -> BatchResult[Upserted[TData], Any]:
        """Create or change all rows, or none, and say of each which it was.

        Args:
            db_sess: the session whose transaction is written in.
            specs: the rows' values, each key once. They may set different fields; a row that is there takes over
                those of its own spec.
            scope: who writes; stamped onto new rows, and a row that is there must be inside.
            conflict: another key than the declared one, for this call.

        Returns:
            ``succeeded`` holds an :class:`Upserted` for each spec, in input order; nothing is ever ``missing``.

        Raises:
            EntityAlreadyExists: the key, or another one, is taken by a row that this caller does not see.
            InvalidValue: a value does not fit, a key stands twice or is NULL.
            ScopeMismatch: a spec says otherwise than the scope.
            ReferenceNotFound, ConstraintViolation: a constraint said no.
            LockNotAvailable: others removed some of the rows each time that it began anew; nothing is written.
        """
        items = await gathered(specs, call.info)
        ending = Ending(await call.writing(scope, several=True))
        upsertion = Upsertion(ending.parts, conflict or self.entity.conflict, self._patterns)
        with collector_paused():
            done = await upsert_all(upsertion, items)
            data = await ending.data([each.data for each in done])
        return BatchResult([Upserted(made, each.inserted) for made, each in zip(data, done, strict=True)], [])

    @verb("batch_upsert_partial", singly=SINGLY, touches="made", removes=False, late=is_of_a_row)
    async def upsert_partial(
        self,
        call: Call[TRow, TData],
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        conflict: Conflict | None = None,
    ) -> PartialResult[Upserted[TData]]:
        """Create or change the rows that can be, and say of each other one why not.

        As :meth:`upsert`, but each spec stands for itself, by its index in ``specs``: values, constraints, a key that
        is taken, that is NULL or that stands before are an item's own failure. All are tried together inside a
        savepoint; only where that fails are the culprits looked for, among new rows first, then among those that are
        there; rows of either that need each other stay together. A new row that takes a value which one that is there
        gives up, of a unique key that is checked late (``DEFERRABLE``), is tried with that or behind it. What
        is checked at COMMIT is as for ``BatchCreator.create_partial``.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is kept then.
        """
        items = await gathered(specs, call.info)
        ending = Ending(await call.writing(scope, several=True))
        upsertion = Upsertion(ending.parts.in_parts(), conflict or self.entity.conflict, self._patterns)
        read, faults = upsertion.readable(items)
        rows, keyless = in_key_order(call.info, upsertion.key, read)
        with collector_paused():
            outcomes = await PartialUpsert(upsertion, rows).outcomes()
            written = [(row, outcome) for row, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)]
            data = await ending.data([outcome.data for _, outcome in written])
        failed = [Failure(row, outcome) for row, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
        done = [
            Success(row, Upserted(made, outcome.inserted)) for made, (row, outcome) in zip(data, written, strict=True)
        ]
        return placed(call, PartialResult(done, failed), rows.places, {**faults, **keyless})
