"""What reads promise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import make_dataclass
from typing import Any, Final

from rowsmith.orders import Order
from rowsmith.pagination import (
    Count,
    CursorBackwardPagination,
    CursorForwardPagination,
    NoPagination,
    OffsetPagination,
)
from rowsmith.scope import SearchScope
from rowsmith.testing.contract.declared import Declared
from rowsmith.testing.contract.laws import law
from rowsmith.testing.contract.trial import Trial
from rowsmith.testing.contract.verbs import VERBS, AnyRepository, Does, Outcome, answer

SIZES: Final = (1, 2, 5)


class ReadingLaws(Declared):
    """The laws of reads."""

    _trial: Trial

    @law()
    async def test_every_read_gives_the_row(self) -> AsyncIterator[str]:
        """And it alone, as it was when it was made; a batch gives rows in the order that was asked for."""
        trial = self._trial
        one, other = await trial.make(0, 2)
        for verb, found in (await trial.reads(0, one.id)).items():
            if found not in (Outcome([one.data]), Outcome(1)):
                yield f"{verb} does not give the row that was made, and it alone: {found.told}"
        turned = await answer("batch_get", trial.call(0, other.id, one.id))
        if turned != Outcome([other.data, one.data]):
            yield f"batch_get gives other rows than it is asked for, or in another order: {turned.told}"

    @law()
    async def test_data_shows_what_is_stored(self) -> AsyncIterator[str]:
        """Each field that is called like a column has what the column has, or what is made of that."""
        for made in await self._trial.make(0, 2):
            for complaint in await self._trial.shown(made.data):
                yield f"row {made.n} is given as data {complaint}"

    @law()
    async def test_what_is_not_there_is_not_found(self) -> AsyncIterator[str]:
        """By no verb: those of one row raise the domain's own error, the others report it."""
        trial = self._trial
        absent = await trial.absent(0)
        before = await trial.rows.contents()
        for verb in trial.verbs(*Does.of_rows()):
            found, (error, code) = await answer(verb, trial.call(0, absent)), trial.not_found(verb)
            if found.rows:
                yield f"{verb} gives a row that is not there: {found.told}"
            elif VERBS[verb].raises and (found.error, found.code) != (error, code):
                yield f"{verb} of a row that is not there is to raise {error.__name__} ({code}): {found.told}"
            elif not VERBS[verb].raises and found.error not in (None, error):
                yield f"{verb} of a row that is not there raises {found.told}"
        if await trial.rows.contents() != before:
            yield "a verb that was given the id of a row that is not there wrote into another one"

    @law()
    async def test_the_pages_together_are_the_whole(self) -> AsyncIterator[str]:
        """Forwards, backwards and by offset, of any size, in any order: each row once."""
        trial = self._trial
        mine, scope = [made.data for made in await trial.make(0, 2, 4, 6, 8)], self.scope(0)
        for orders in ((), (trial.info.key_attributes[0].desc(),)):
            whole = list(await trial.repository.search(scope, None, NoPagination(), orders=orders))
            if any(data not in whole for data in mine):
                yield "a search without pages leaves rows out"
            for size in SIZES:
                for how, walk in (("forwards", _forwards), ("backwards", _backwards), ("by offset", _by_offset)):
                    if await walk(trial.repository, scope, orders, size) != whole:
                        yield f"the pages of {size}, read {how}, are not the whole of the search"
        for complaint in await _unordered(trial, scope):
            yield complaint
        counted = await trial.repository.search(scope, None, OffsetPagination(1), count=Count.EXACT)
        if not counted.total_count == await trial.repository.count(scope) == len(whole):
            yield f"search counts {counted.total_count} rows where {len(whole)} are found"

    @law()
    async def test_projections_show_what_is_stored(self) -> AsyncIterator[str]:
        """Any read gives a row as another class of data, with the same values."""
        trial = self._trial
        (made,) = await trial.make(0)
        stored = await trial.stored(made.id) or {}
        reads: AnyRepository = trial.repository
        key: type[Any] = make_dataclass("Key", [(name, Any) for name in trial.info.primary_key], frozen=True)
        for into in (key, *self.projections):
            scope, these = self.scope(0), trial.call(0, made.id).these
            found = {
                "get": await reads.get(made.id, scope, into=into),
                "find": await reads.find(made.id, scope, into=into),
                "first": await reads.first(scope, these, into=into),
                "search": next(iter(await reads.search(scope, these, into=into)), None),
                "batch_get": next(iter(await reads.batch_get([made.id], scope=scope, into=into)), None),
            }
            for verb, data in found.items():
                if any(hasattr(into, name) or getattr(data, name, value) != value for name, value in stored.items()):
                    yield f"{verb}(into={into.__name__}) gives {data!r}, and not what is stored"


async def _unordered(trial: Trial, scope: SearchScope | None) -> list[str]:
    """Complain of reads that give the same, whichever way rows are to be in order."""
    reads, key = trial.repository, trial.info.key_attributes
    up, down = [part.asc() for part in key], [part.desc() for part in key]
    expected = list(await reads.search(scope, None, NoPagination(), orders=up))[::-1]
    found = {
        "search": list(await reads.search(scope, None, NoPagination(), orders=down)),
        "stream": [data async for data in reads.stream(scope, orders=down)],
        "first": [await reads.first(scope, orders=down), *expected[1:]],
    }
    return [f"{verb} minds no orders" for verb, rows in found.items() if rows != expected]


Orders = Sequence[Order]


async def _forwards(reads: AnyRepository, scope: SearchScope | None, orders: Orders, size: int) -> list[Any]:
    page = await reads.search(scope, None, CursorForwardPagination(size), orders=orders)
    found = list(page)
    while page.has_next_page:
        page = await reads.search(scope, None, CursorForwardPagination(size, page.end_cursor), orders=orders)
        found += page
    return found


async def _backwards(reads: AnyRepository, scope: SearchScope | None, orders: Orders, size: int) -> list[Any]:
    page = await reads.search(scope, None, CursorBackwardPagination(size), orders=orders)
    found = list(page)
    while page.has_previous_page:
        page = await reads.search(scope, None, CursorBackwardPagination(size, page.start_cursor), orders=orders)
        found[:0] = page
    return found


async def _by_offset(reads: AnyRepository, scope: SearchScope | None, orders: Orders, size: int) -> list[Any]:
    page = await reads.search(scope, None, OffsetPagination(size), orders=orders)
    found = list(page)
    while page.has_next_page:
        page = await reads.search(scope, None, OffsetPagination(size, len(found)), orders=orders)
        found += page
    return found
