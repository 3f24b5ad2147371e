"""Creating or changing one row, told apart by a unique key."""

from __future__ import annotations

from typing import Any, TypeVar

from rowsmith.execution import NativeLane
from rowsmith.mapping import Spec
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.call import Call, Operation, TData, TRow, of_one, verb
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.entity import by_entity
from rowsmith.operations.once import Written, once
from rowsmith.operations.results import Upserted
from rowsmith.operations.upserts.planned import AskedUpsert, PlannedUpserts
from rowsmith.operations.upserts.race import is_overtaken_call
from rowsmith.operations.upserts.steps import upsert_all
from rowsmith.operations.upserts.upsertion import SINGLY, Upsertion
from rowsmith.scope import SearchScope

TMade = TypeVar("TMade")


class Upserter(Operation[TRow, TData]):
    """Creates one row, or changes the one with its key; otherwise as :class:`BatchUpserter`; one statement."""

    @by_entity
    def _plans(self) -> PlannedUpserts[TRow, TData]:
        return PlannedUpserts(self.entity)

    def _ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedUpsert | None:
        return self._plans.ask(lane, args[0], kwargs) if len(args) == 1 else None

    @verb("upsert", singly=SINGLY, touches="made", removes=False, native=_ask, lost=is_overtaken_call)
    async def upsert(
        self,
        call: Call[TRow, TData],
        spec: Spec[TRow],
        *,
        scope: SearchScope | None = None,
        conflict: Conflict | None = None,
        idempotency_key: str | None = None,
    ) -> Upserted[TData]:
        """Create or change the row, and say which it was.

        Args:
            db_sess: the session whose transaction is written in.
            spec: the row's values; a row that is there takes over those and keeps all others.
            scope: who writes; stamped onto a new row, and a row that is there must be inside.
            conflict: another key than the declared one, for this call.
            idempotency_key: has it done once, however often it is called with this key; see :func:`once`.

        Raises:
            EntityAlreadyExists: the key, or another one, is taken by a row that this caller does not see.
            InvalidValue: a value does not fit its column, or the key is NULL.
            ScopeMismatch: the spec says otherwise than the scope.
            ReferenceNotFound, ConstraintViolation: a constraint said no.
        """
        call, given = await call.writing(scope), conflict or self.entity.conflict
        if idempotency_key is None:
            return await _upsert(Upsertion(call, given), spec)

        def asked() -> list[object]:
            with of_one():
                Upsertion(call, given).check(spec)
            return [spec, given.resolve(call.info), given.update]

        async def write(call: Call[TRow, Key]) -> Written:
            return [await _upsert(Upsertion(call, given), spec)]

        return (await once(call, idempotency_key, asked, write))[0]


async def _upsert(upsertion: Upsertion[TRow, TMade], spec: Spec[TRow]) -> Upserted[TMade]:
    with of_one():
        return (await upsert_all(upsertion, [spec]))[0]
