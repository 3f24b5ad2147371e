"""What writes promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from rowsmith.errors import StaleVersion
from rowsmith.testing.contract.declared import Declared, error_of
from rowsmith.testing.contract.laws import (
    goes_both_ways,
    has_versions,
    is_changed,
    is_deleted_softly,
    is_upserted,
    is_written,
    law,
)
from rowsmith.testing.contract.trial import Made, Trial, said
from rowsmith.testing.contract.verbs import VERBS, VERSIONED, Does, Outcome, answer

_WRITES: Final = (Does.CHANGE, Does.MARK, Does.UNMARK, Does.REMOVE)
_ONE_PATCH: Final = ("batch_update", "update_where")


class WritingLaws(Declared):
    """The laws of writes."""

    _trial: Trial

    @law(is_written)
    async def test_what_is_made_is_what_its_spec_says(self) -> AsyncIterator[str]:
        """By each verb that makes rows; what it gives is what is stored, and what is read."""
        trial = self._trial
        async for verb in trial.each(Does.MAKE, Does.PUT):
            specs = [self.spec(n) for n in ((0, 2) if VERBS[verb].many else (0,))]
            given = await answer(verb, trial.making(0, *specs))
            stored = await trial.rows.new()
            if given.error or given.number != len(specs) or len(stored) != len(specs):
                yield f"{verb} of {len(specs)} specs makes {len(stored)} rows: {given.told}"
            for spec in specs if stored else ():
                if all(said(spec, row) for row in stored):
                    yield f"{verb} does not store what the spec says: {'; '.join(said(spec, stored[0]))}"
            if await trial.is_out_of_order(specs, given):
                yield f"{verb} gives rows in another order than their specs: {given.told}"
            for complaint in await trial.given(verb, given):
                yield complaint

    @law(is_upserted)
    async def test_an_upsert_finds_what_it_made(self) -> AsyncIterator[str]:
        """The second one of the same spec makes no other row, and each says which it was."""
        trial = self._trial
        async for verb in trial.each(Does.PUT):
            call = trial.making(0, self.spec(0))
            first, second = [await answer(verb, call) for _ in range(2)]
            if not all(first.inserted):
                yield f"{verb} says inserted=False of a new row"
            if any(second.inserted):
                yield f"{verb} says inserted=True of a row that is there"
            if len(await trial.rows.new()) != 1 or not second.rows:
                yield f"{verb} of what is there does not find it: {second.told}"

    @law(goes_both_ways)
    async def test_an_entity_leads_back_to_its_row(self) -> AsyncIterator[str]:
        """What to_data makes of a row, to_row makes that row of."""
        trial = self._trial
        (made,) = await trial.make(0)
        for complaint in said(trial.repository.to_row(made.data), await trial.stored(made.id) or {}):
            yield f"to_row(to_data(row)) is another row: {complaint}"

    @law(is_changed)
    async def test_what_is_changed_is_what_the_patch_says(self) -> AsyncIterator[str]:
        """By each verb that changes rows, and no other row is."""
        trial = self._trial
        async for verb in trial.each(Does.CHANGE):
            one, other = await trial.make(0, 2)
            patch = self.patch(0)
            if not said(patch, await trial.stored(one.id) or {}):
                yield f"patch(0) of {type(self).__name__} sets nothing that spec(0) does not: set something else"
            beside = await trial.stored(other.id)
            given = await answer(verb, trial.call(0, one.id))
            wrong = said(patch, await trial.stored(one.id) or {})
            if wrong or not given.is_of_one:
                yield f"{verb} does not store what the patch says: {'; '.join(wrong) or given.told}"
            if await trial.stored(other.id) != beside:
                yield f"{verb} of one row changes another one"
            for complaint in await trial.given(verb, given):
                yield complaint

    @law(has_versions)
    async def test_who_expects_an_old_version_is_refused(self) -> AsyncIterator[str]:
        """And nothing is written; who expects the right one is not refused."""
        trial = self._trial
        error = error_of(trial.entity.violations.get(StaleVersion, StaleVersion))
        for verb in [verb for verb in trial.verbs(Does.CHANGE) if verb in VERSIONED]:
            await trial.begin()
            (made,) = await trial.make(0)
            call, how = await trial.expecting(verb, made), f"{verb} with an old version as {VERSIONED[verb]}"
            if (right := await answer(verb, call)).error:
                yield f"{verb} with the right version as {VERSIONED[verb]} is refused: {right.told}"
            before = await trial.stored(made.id)
            stale = await answer(verb, call)
            if stale.error is None:
                yield f"{how} is not refused"
            elif not issubclass(stale.error, (StaleVersion, error)):
                yield f"{how}: {stale.told}"
            if await trial.stored(made.id) != before:
                yield f"{how} has written"

    @law(is_written)
    async def test_a_batch_answers_in_the_order_of_its_input(self) -> AsyncIterator[str]:
        """Of rows by their ids: each is given or, where it is not there, reported at its place."""
        trial = self._trial
        for verb in [verb for verb in trial.verbs(*_WRITES) if VERBS[verb].many]:
            await trial.begin()
            one, other, gone = await trial.make(0, 2, 4)
            if VERBS[verb].does is Does.UNMARK:
                await trial.delete(one, other)
            await trial.rows.remove(trial.key(gone.id))
            given = await answer(verb, trial.together(other, gone, one))
            if given.error and not given.number and verb in _ONE_PATCH:
                continue  # it names what is unique, and so is good for one row alone
            if isinstance(given.rows, int):
                is_right = given == Outcome(len([other, one]))
            else:
                is_right = given.absent == (1,) and given.places in (None, (0, 2))
                found = [trial.key(self.id_of(data)) for data in given.rows]
                is_right = is_right and found == [trial.key(other.id), trial.key(one.id)]
            if not is_right:
                yield f"{verb} gives rows in another order than their ids: {given.told}"

    @law(is_deleted_softly)
    async def test_what_is_deleted_is_hidden(self) -> AsyncIterator[str]:
        """From each read, by each verb that deletes; the row is still there, and no other one is deleted."""
        trial = self._trial
        async for verb in trial.each(Does.MARK):
            one, other = await trial.make(0, 2)
            beside = await trial.stored(other.id)
            given = await answer(verb, trial.call(0, one.id))
            if not given.is_of_one:
                yield f"{verb} does not delete: {given.told}"
            for complaint in await _wrongly_seen(trial, verb, one):
                yield complaint
            if await trial.stored(other.id) != beside:
                yield f"{verb} of one row changes another one"
            if (await answer(verb, trial.call(0, one.id))).rows:
                yield f"{verb} deletes what is deleted already"

    @law(is_deleted_softly)
    async def test_what_is_restored_is_there_again(self) -> AsyncIterator[str]:
        """By each verb that restores, and no other row is."""
        trial = self._trial
        async for verb in trial.each(Does.UNMARK):
            one, other = await trial.make(0, 2)
            if (await answer(verb, trial.call(0, one.id))).rows:
                yield f"{verb} restores what is not deleted"
            await trial.delete(one, other)
            given = await answer(verb, trial.call(0, one.id))
            found = await trial.repository.find(one.id, self.scope(0))
            if not given.is_of_one or found is None:
                yield f"{verb} does not restore: {given.told}"
            if await trial.repository.find(other.id, self.scope(0)) is not None:
                yield f"{verb} of one row restores another one"
            for complaint in await trial.given(verb, given):
                yield complaint

    @law(is_written)
    async def test_what_is_purged_is_gone(self) -> AsyncIterator[str]:
        """By each verb that purges, deleted before or not; what it was is given, and no other row is gone."""
        trial = self._trial
        async for verb in trial.each(Does.REMOVE):
            one, other, deleted = await trial.make(0, 2, 4)
            beside = await trial.stored(other.id)
            given = await answer(verb, trial.call(0, one.id))
            if given not in (Outcome([one.data]), Outcome(1)):
                yield f"{verb} does not give what it purged: {given.told}"
            await trial.delete(deleted)
            await answer(verb, trial.call(0, deleted.id))
            if await trial.stored(one.id) or await trial.stored(deleted.id):
                yield f"{verb} leaves the row in the table"
            if await trial.stored(other.id) != beside:
                yield f"{verb} of one row reaches another one"


async def _wrongly_seen(trial: Trial, verb: str, made: Made) -> list[str]:
    """Complain of reads that give what a verb has deleted, or keep it from who asks for it."""
    hidden = await trial.reads(made.n, made.id)
    shown = await trial.reads(made.n, made.id, include_deleted=True)
    return [
        *(f"{read} gives what {verb} deleted" for read, found in hidden.items() if found.rows),
        *(
            f"{read}(include_deleted=True) does not give what {verb} deleted: {found.told}"
            for read, found in shown.items()
            if found.number != 1
        ),
    ]
