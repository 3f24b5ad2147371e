"""What scopes promise: another tenant's row is an absent one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from rowsmith.pagination import CursorForwardPagination, NoPagination
from rowsmith.testing.contract.declared import Declared
from rowsmith.testing.contract.laws import has_scopes, is_written_in_scopes, law
from rowsmith.testing.contract.trial import Made, Trial
from rowsmith.testing.contract.verbs import VERBS, Does, Outcome, answer


class Scoping(Declared):
    """The laws of scopes: what is done in ``scope(1)`` to rows of ``scope(0)``, and the other way round."""

    _trial: Trial

    @law(has_scopes)
    async def test_another_tenants_row_is_an_absent_one(self) -> AsyncIterator[str]:
        """To each verb: it gives the same answer, word for word, and the row is unchanged."""
        async for complaint in _told_apart(self._trial, Does.READ, Does.CHANGE, Does.MARK):
            yield complaint
        async for complaint in _told_apart(self._trial, Does.UNMARK, Does.REMOVE, is_deleted=True):
            yield complaint

    @law(has_scopes)
    async def test_a_tenant_finds_its_own_rows(self) -> AsyncIterator[str]:
        """All of them and no others: in searches, pages, streams, counts."""
        trial = self._trial
        mine, theirs = await trial.make(0, 2), await trial.make(1, 3)
        for tenant, own, others in ((0, mine, theirs), (1, theirs, mine)):
            reads, scope = trial.repository, self.scope(tenant)
            whole = list(await reads.search(scope, None, NoPagination()))
            page = await reads.search(scope, None, CursorForwardPagination(1))
            rest = await reads.search(scope, None, CursorForwardPagination(1000, page.end_cursor))
            answers: dict[str, Sequence[Any]] = {
                "search": whole,
                "search by pages": [*page, *rest],
                "stream": [data async for data in reads.stream(scope)],
                "count": whole if await reads.count(scope) == len(whole) else [],
                "exists": whole if await reads.exists(scope) else [],
            }
            for verb, found in answers.items():
                if any(made.data not in found for made in own):
                    yield f"{verb} leaves rows of its tenant out"
                if any(made.data in found for made in others):
                    yield f"{verb} gives rows of another tenant"

    @law(has_scopes)
    async def test_a_batch_reaches_its_tenants_rows_alone(self) -> AsyncIterator[str]:
        """Those of others among its ids are reported like ids that nobody has, and stay as they are."""
        trial, made = self._trial, list[Made]()
        for verb in [verb for verb in trial.verbs(*Does.of_rows()) if VERBS[verb].many]:
            if VERBS[verb].does not in (Does.READ, Does.CHANGE) or not made:
                await trial.begin()
                made = await trial.make(0, 1)
            mine, theirs = made
            if VERBS[verb].does is Does.UNMARK:
                await trial.delete(mine, theirs)
            before = await trial.stored(theirs.id)
            found = await answer(verb, trial.call(0, mine.id, theirs.id))
            if not _reaches_first(found, verb, trial):
                yield f"{verb} of one's own row and another tenant's is to reach the own one alone: {found.told}"
            if await trial.stored(theirs.id) != before:
                yield f"{verb} {VERBS[verb].does.value} another tenant's row beside one's own"

    @law(is_written_in_scopes)
    async def test_nothing_is_made_for_another_tenant(self) -> AsyncIterator[str]:
        """A spec of one tenant's in the scope of another is refused, or the row is the other's; none is taken over."""
        trial = self._trial
        async for verb in trial.each(Does.MAKE, Does.PUT):
            (theirs,) = await trial.make(0)
            before, count = await trial.stored(theirs.id), await trial.repository.count(self.scope(0))
            await answer(verb, trial.making(1, self.spec(0)))
            if await trial.stored(theirs.id) != before:
                yield f"{verb} writes into another tenant's row"
            await answer(verb, trial.making(1, self.spec(2)))
            if await trial.repository.count(self.scope(0)) != count:
                yield f"{verb} in the scope of one tenant makes a row of another"


async def _told_apart(trial: Trial, *does: Does, is_deleted: bool = False) -> AsyncIterator[str]:
    """Complain of verbs that, to a stranger, tell a row of another tenant from an absent one, or write into it."""
    theirs, absent = await _theirs_and_absent(trial, is_deleted)
    before = await trial.stored(theirs.id)
    for verb in trial.verbs(*does):
        found, expected = [await answer(verb, trial.call(1, id, patch=0)) for id in (theirs.id, absent)]
        if found != expected or found.rows:
            yield f"{verb} tells another tenant's row from one that is not there: {found.told}"
        if VERBS[verb].does is not Does.READ and await trial.stored(theirs.id) != before:
            yield f"{verb} {VERBS[verb].does.value} another tenant's row"
            theirs, absent = await _theirs_and_absent(trial, is_deleted)
            before = await trial.stored(theirs.id)


async def _theirs_and_absent(trial: Trial, is_deleted: bool) -> tuple[Made, Any]:
    await trial.begin()
    (theirs,) = await trial.make(0)
    if is_deleted:
        await trial.delete(theirs)
    return theirs, await trial.absent(2)


def _reaches_first(found: Outcome, verb: str, trial: Trial) -> bool:
    """Say whether an answer about two rows is that the first is reached and the second is not there."""
    if VERBS[verb].raises:
        return found.error is trial.not_found(verb)[0]
    if isinstance(found.rows, int):
        return found.rows == 1
    return len(found.rows) == 1 and found.absent in ((1,), ())
