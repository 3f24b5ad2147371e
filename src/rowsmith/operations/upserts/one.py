"""Creating or changing one row, told apart by a unique key."""

from __future__ import annotations

from rowsmith.mapping import Spec
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.results import Upserted
from rowsmith.operations.upserts.many import Upsertion
from rowsmith.scope import SearchScope


class Upserter(Operation[TRow, TData]):
    """Creates one row, or changes the one with its key; otherwise as :class:`BatchUpserter`; one statement."""

    @verb("upsert", singly="find(id), then create(spec) or update(id, patch)")
    async def upsert(
        self,
        call: Call[TRow, TData],
        spec: Spec[TRow],
        *,
        scope: SearchScope | None = None,
        conflict: Conflict | None = None,
    ) -> Upserted[TData]:
        """Create or change the row, and say which it was.

        Args:
            db_sess: the session whose transaction is written in.
            spec: the row's values; a row that is there takes over those and keeps all others.
            scope: who writes; stamped onto a new row, and a row that is there must be inside.
            conflict: another key than the declared one, for this call.

        Raises:
            EntityAlreadyExists: the key, or another one, is taken by a row that this caller does not see.
            InvalidValue: a value does not fit its column, or the key is NULL.
            ScopeMismatch: the spec says otherwise than the scope.
            ReferenceNotFound, ConstraintViolation: a constraint said no.
        """
        call = await call.under(scope)
        return (await Upsertion(call, conflict or self.entity.conflict).write([spec]))[0]
