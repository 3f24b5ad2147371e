"""Batches in which each item stands for itself: all are tried together, and only failures are looked into.

A savepoint for each row would cost forty times the batch. So the batch is tried whole inside one savepoint. If that
fails, a diagnosis may name culprits from the constraint in the error (one query); the others are tried again without
them. Where there is no diagnosis the batch is cut in halves, until each culprit stands alone with its own error.

All tries go through the items in one order, that in which a whole batch would lock and insert their rows; but for those
that need others of the batch (:mod:`rowsmith.operations.needs`): they are tried after them, or together with them where
they need each other. So the others become what they would have become without the culprits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Generic

from sqlalchemy import Column, select
from typing_extensions import TypeVar

from rowsmith.conditions import limited
from rowsmith.errors import (
    InvalidValue,
    RefusedByTrigger,
    ScopeMismatch,
    StaleVersion,
)
from rowsmith.execution import Items, checking
from rowsmith.mapping.parts import Part
from rowsmith.operations.arrays.keys import Key, columns_condition, keep_tellable, key_chunks, key_twice
from rowsmith.operations.call import Call
from rowsmith.operations.entity import Entity
from rowsmith.operations.faults import is_of_an_item, is_own_fault
from rowsmith.operations.needs import Needs, Values
from rowsmith.operations.results import BatchResult, Failure, PartialResult, Success

TItem = TypeVar("TItem")
TData = TypeVar("TData", default=Any)
TTried = TypeVar("TTried")


@dataclass(frozen=True)
class Diagnosis:
    """Which items an error is due to: ``certain`` ones would fail with it again, ``suspects`` are tried alone.

    All are tried again in the order of the batch, in which they lock and insert: a suspect comes in its turn.
    """

    certain: frozenset[int] = frozenset()
    suspects: frozenset[int] = frozenset()

    def __or__(self, other: Diagnosis) -> Diagnosis:
        """Give what both say."""
        certain = self.certain | other.certain
        return Diagnosis(certain, (self.suspects | other.suspects) - certain)

    def at(self, places: Sequence[int]) -> Diagnosis:
        """Give the same of items that stand at other places."""
        return Diagnosis(
            frozenset(places[item] for item in self.certain), frozenset(places[item] for item in self.suspects)
        )


Attempt = Callable[[Sequence[TItem]], Awaitable[Sequence[TData | Exception]]]
"""Writes all items or raises. What it gives for an item is its data, or the error that only this one has (it is absent)
and that leaves the transaction as it is."""

Diagnose = Callable[[Exception, Sequence[TItem]], Awaitable[Diagnosis]]
"""Says which items (by their place in the sequence) an error is due to; runs after the failed attempt was undone."""


Hold = Callable[[], Awaitable[None]]
"""Locks the rows of all items in the order of their keys, which attempts at parts of them would not keep."""

FindNeeds = Callable[[], Awaitable[Needs]]
"""Says which items need which; runs after the first failed attempt, once the rows of all items are held."""

FindTwins = Callable[[], Awaitable[Mapping[int, Exception]]]
"""Gives the errors of items whose rows are those of earlier ones, which not every part would show; runs then, too."""


async def run_partial(
    call: Call[object, object],
    items: Sequence[TItem],
    attempt: Attempt[TItem, TData],
    diagnose: Diagnose[TItem] | None = None,
    hold: Hold | None = None,
    find_needs: FindNeeds | None = None,
    find_twins: FindTwins | None = None,
) -> PartialResult[TData]:
    """Write every item that can be written, and say of each other one why not.

    Where that takes several attempts, ``hold``, ``find_twins`` and ``find_needs`` are called before the second. What
    ``attempt`` writes is to be written by ``call.in_parts()``.

    Raises:
        Exception: no item's own fault: a lost connection, a deadlock, a statement that the database does not take.
    """
    search = _Culprits(call.in_parts(), items, attempt, diagnose, Needs(len(items)))
    async with call.savepoint():
        if items and (error := await search.tried(range(len(items)))) is not None:
            if hold is not None and len(items) > 1:
                await hold()
            left: Sequence[int] = range(len(items))
            if find_twins is not None and len(items) > 1 and (twins := await find_twins()):
                search.outcomes.update(twins)
                left = [index for index in left if index not in twins]
                error = await search.tried(left)
            if find_needs is not None and len(items) > 1:
                found = await tried(search.call, find_needs)
                if not isinstance(found, Exception):  # an item that cannot be asked for tells nothing of the others
                    search.needs = found
            if error is not None:
                await search.part(error, search.needs.units(left))
    return search.result()


@dataclass
class _Culprits(Generic[TItem, TData]):
    call: Call[object, object]
    items: Sequence[TItem]
    attempt: Attempt[TItem, TData]
    diagnose: Diagnose[TItem] | None
    needs: Needs
    outcomes: dict[int, TData | Exception] = field(default_factory=dict[int, Any])

    async def tried(self, indexes: Sequence[int]) -> Exception | None:
        """Write these items in a savepoint; gives the error if that is the fault of one of them."""
        items = [self.items[index] for index in indexes]
        data = await attempted(self.call, lambda: self.attempt(items))
        if isinstance(data, Exception):
            return data
        self.outcomes.update(zip(indexes, data, strict=True))
        return None

    async def part(self, error: Exception, units: Sequence[Sequence[int]]) -> None:
        """Find the outcome of each of these items, which could not be written together."""
        if len(indexes := _in_order(units)) == 1:
            self.outcomes[indexes[0]] = error
            return
        for group in await self._groups(error, units):
            if (again := await self.tried(_in_order(group))) is not None:
                await self.part(again, group)

    async def _groups(self, error: Exception, units: Sequence[Sequence[int]]) -> Sequence[Sequence[Sequence[int]]]:
        """Give what is to be tried next, in the same order: all but the certain; without a diagnosis, halves."""
        indexes = _in_order(units)
        found = (await self._diagnosed(error, [self.items[index] for index in indexes])).at(indexes)
        if found.certain or (found.suspects and len(units) > 1):
            self.outcomes.update(dict.fromkeys(found.certain, error))
            left = self.needs.units(index for index in indexes if index not in found.certain)
            suspects = groupby(left, key=lambda unit: None if found.suspects.isdisjoint(unit) else unit)
            return [list(group) for _, group in suspects]
        middle = len(units) // 2
        return [units[:middle], units[middle:]] if middle else [[[index]] for index in indexes]

    async def _diagnosed(self, error: Exception, items: Sequence[TItem]) -> Diagnosis:
        diagnose = self.diagnose
        if diagnose is None:
            return Diagnosis()
        found = await tried(self.call, lambda: diagnose(error, items))
        return Diagnosis() if isinstance(found, Exception) else found  # an item that cannot be asked for tells nothing

    def result(self) -> PartialResult[TData]:
        """Give what became of every item, in input order."""
        succeeded: list[Success[TData]] = []
        failed: list[Failure] = []
        for index in range(len(self.items)):
            outcome = self.outcomes[index]
            if isinstance(outcome, Exception):
                failed.append(Failure(index, outcome))
            else:
                succeeded.append(Success(index, outcome))
        return PartialResult(succeeded, failed)


def _in_order(units: Sequence[Sequence[int]]) -> list[int]:
    return sorted(chain.from_iterable(units))


async def tried(call: Call[object, object], work: Callable[[], Awaitable[TTried]]) -> TTried | Exception:
    """Do some work in a savepoint; gives its error if that can be the fault of a single item, and undoes it then."""
    try:
        async with call.savepoint():
            return await work()
    except Exception as exc:
        if not is_of_an_item(exc, call):
            raise
        return exc


async def attempted(call: Call[object, object], write: Callable[[], Awaitable[TTried]]) -> TTried | Exception:
    """Do as :func:`tried` for writing items, checked as COMMIT would where that is known to refuse some of them."""

    async def checked() -> TTried:
        async with checking(call.db_sess, call.origin()):
            return await write()

    return await tried(call, checked)


def placed(
    call: Call[object, object], written: PartialResult[TData], places: Sequence[int], faults: Mapping[int, Exception]
) -> PartialResult[TData]:
    """Give a result by the indexes of the caller's input.

    Args:
        call: whose it is.
        written: what became of the items that were sent.
        places: their indexes.
        faults: the errors of those that were not, by index.
    """
    succeeded = [Success(places[item.index], item.data) for item in written.succeeded]
    errors = {**faults, **{places[item.index]: item.error for item in written.failed}}
    return PartialResult(
        sorted(succeeded, key=attrgetter("index")),
        [failure(index, call.located(errors[index])) for index in sorted(errors)],
    )


def failure(index: int, error: Exception) -> Failure:
    """Give the failure of an item, whose error may have named its place in a part of the batch."""
    if isinstance(error, (InvalidValue, RefusedByTrigger, ScopeMismatch)):
        error.move(index)
    return Failure(index, error)


_NOTHING = object()

Refuse = Callable[[int, TItem], None]
"""Raises if an item, given with its index, could not be sent: its own fault, whatever it is."""

Write = Callable[[Sequence[TItem]], Awaitable[BatchResult[TData, Any]]]
"""Writes some items together, as the atomic form of the batch does."""


async def run_over_ids(
    call: Call[object, object],
    items: Sequence[TItem],
    id_of: Callable[[TItem], object],
    refuse: Refuse[TItem],
    write: Write[TItem, TData],
    hold: Callable[[Sequence[TItem]], Awaitable[None]],
    find_needs: Callable[[Sequence[TItem]], Awaitable[Needs]],
) -> PartialResult[TData]:
    """Write the items that can be written, and say of each other one why not.

    Args:
        call: whose batch it is.
        items: what is to be written, each with an id.
        id_of: gives the id of an item.
        refuse, write: the two halves of the batch's atomic form.
        hold: locks the rows of some items in the order of their keys.
        find_needs: says which of some items need which.
    """
    faults = {
        index: fault for index, item in enumerate(items) if (fault := _unsendable(refuse, index, item, call.entity))
    }
    fit = [index for index in range(len(items)) if index not in faults]

    async def attempt(part: Sequence[TItem]) -> Sequence[TData | Exception]:
        if not part:
            return ()
        result = await write(part)
        missing, data = iter(result.missing), iter(result.succeeded)
        outcomes, absent = list[TData | Exception](), next(missing, _NOTHING)
        for id_ in map(id_of, part):
            if id_ is absent:
                outcomes.append(call.absent([id_]))
                absent = next(missing, _NOTHING)
            else:
                outcomes.append(next(data))
        return outcomes

    async def diagnose(error: Exception, part: Sequence[TItem]) -> Diagnosis:
        stale = set(error.stale) if isinstance(error, StaleVersion) else set[Any]()
        return Diagnosis(frozenset(place for place, item in enumerate(part) if id_of(item) in stale))

    sent = [items[index] for index in fit]
    holding = partial(of_sendable, call, sent, hold)

    async def find_twins() -> Mapping[int, Exception]:
        found = await tried(call, lambda: _twins(call, [call.info.key(id_of(item)) for item in sent]))
        if isinstance(found, Exception):  # an item that cannot be asked for tells nothing of the others
            return {}
        return {place: key_twice(fit[place], fit[other]) for place, other in found.items()}

    written = await run_partial(call, sent, attempt, diagnose, holding, lambda: find_needs(sent), find_twins)
    return placed(call, written, fit, faults)


async def of_sendable(
    call: Call[object, object], items: Sequence[TItem], work: Callable[[Sequence[TItem]], Awaitable[TTried]]
) -> TTried:
    """Do some work for all items but those whose ids are refused when they are sent, which fail by themselves."""
    left = list(items)
    while isinstance(done := await tried(call, lambda: work(left)), Exception):
        if not isinstance(done, InvalidValue) or done.index is None:
            raise done
        del left[done.index]
    return done


async def _twins(call: Call[object, object], keys: Sequence[Key]) -> Mapping[int, int]:
    keep_tellable(call.info, call.info.primary_key)

    async def find(places: Sequence[int]) -> Mapping[int, int]:
        found = await call.twins(call.info.key_columns, [keys[place] for place in places])
        return {places[twin]: places[first] for twin, first in found.items()}

    return await of_sendable(call, range(len(keys)), find)


async def rows_before(
    call: Call[object, object], parts: Sequence[Part], keys: Sequence[Key], columns: Sequence[Column[Any]]
) -> Sequence[Values]:
    """Give what some columns hold in the rows with these keys, of as many as are there and whose keys can be sent.

    Args:
        call: whose rows they are.
        parts: the tables that the columns are of, each with the columns that hold the keys.
        keys: the rows'.
        columns: what is asked for; where it is nothing, nothing is sent.
    """
    rows: list[dict[Column[Any], Any]] = [{} for _ in keys]

    async def read(places: Sequence[int]) -> None:
        for part in parts:
            asked = [column for column in columns if column.table is part.table]
            found = await _held_by(call, part, [keys[place] for place in places], asked) if asked else {}
            for place in places:
                rows[place].update(found.get(keys[place], {}))

    await of_sendable(call, range(len(keys)), read)
    return rows


async def _held_by(
    call: Call[object, object], part: Part, keys: Sequence[Key], columns: Sequence[Column[Any]]
) -> dict[Key, Values]:
    found, width, places = dict[Key, Values](), len(part.key), range(len(keys))
    for chunk in key_chunks(keys, call.dialect, part.key):
        statement = limited(select(*part.key, *columns), columns_condition(part.key, chunk, call.dialect))
        for row in await call.execute(statement, items=Items(places[: len(chunk)], "id")):
            found[tuple(row[:width])] = dict(zip(columns, row[width:], strict=True))
        places = places[len(chunk) :]
    stored = await call.as_stored(part.key, keys, found)
    return {key: found[stored[key]] for key in stored}


def _unsendable(refuse: Refuse[TItem], index: int, item: TItem, entity: Entity[object, object]) -> Exception | None:
    try:
        refuse(index, item)
    except Exception as exc:
        if not is_own_fault(exc, entity, was_sent=False):
            raise
        return exc
    return None
