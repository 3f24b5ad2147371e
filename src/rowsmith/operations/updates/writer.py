"""Sending a batch's statements and reporting its rows id by id: the awaited part."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Generic, TypeAlias

from sqlalchemy import ColumnElement, Executable

from rowsmith.errors import MappingError, RefusedByTrigger, StaleVersion
from rowsmith.execution import Items
from rowsmith.execution.driver import give_up
from rowsmith.execution.records import fetch_records
from rowsmith.mapping.constraints import refers_to_itself
from rowsmith.operations.arrays.keys import Key, distinct_keys, key_twice
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.blocks.collector import collector_paused
from rowsmith.operations.blocks.gate import pass_gate
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.held import Rows, changed_rows, first_refusal, scope_first
from rowsmith.operations.in_step import forget, keep_in_step
from rowsmith.operations.present import goes_at_once, present_doomed, present_keys, present_made
from rowsmith.operations.results import BatchResult
from rowsmith.operations.updates.joined import write_joined
from rowsmith.operations.updates.statement import (
    Changes,
    Targets,
    keep_keys,
    lock_strength,
    plain_keys,
    versions_of,
)

Step: TypeAlias = tuple[Sequence[int], Changes | None]
"""One statement of a batch: the places of its rows among the keys, and what it writes; None removes them."""


class BatchWriter(Generic[TRow, TData]):
    """One batch over ids.

    Args:
        call: whose batch it is.
        ids: the rows' keys, each once.
        is_held: whether those that were there are locked already, see :meth:`hold`.

    Raises:
        InvalidValue: an id is no key, or stands twice.
    """

    def __init__(self, call: Call[TRow, TData], ids: Sequence[object], *, is_held: bool = False) -> None:
        self.is_held = is_held
        self.call, self.entity, self.ids = call, call.entity, list(ids)
        self.keys = distinct_keys(call.info, self.ids)
        # A key as KeyedRecords.data has it: the value itself, or for a composite key the tuple.
        self.plain: Sequence[Any] = plain_keys(call.info, self.keys)
        self._otherwise: dict[Any, Key] = {}

    async def targets(
        self,
        conditions: Sequence[ColumnElement[bool]],
        expected_versions: Mapping[Any, object] | None = None,
        differing: Collection[str] = (),
    ) -> Targets[TRow, TData]:
        """Give these ids as targets under some conditions; ``differing`` are the attributes whose values do."""
        info = self.entity.info
        versions = versions_of(info, self.plain, expected_versions)
        sent = {*info.primary_key, *differing, *([info.version] if versions and info.version else [])}
        gate = await pass_gate(self.call.db_sess, info, self.call.origin(), sent)
        through_orm = gate.mapped or len(self.call.db_sess.identity_map) > 0
        shard, standing = self.call.on_shard(self.keys) if self.keys else (), await self.call.standing()
        return Targets(
            *(self.entity, gate.dialect, self.keys, conditions, versions, through_orm, gate),
            shard=shard,
            standing=standing,
        )

    async def hold(self, conditions: Sequence[ColumnElement[bool]]) -> None:
        """Lock the rows in the order of their keys, and do nothing else; as hard as any write does."""
        target = await self.targets(conditions)
        if target.dialect.name == "postgresql":
            await self._lock_each(target.keys_only(), {})

    async def update(self, target: Targets[TRow, TData], *changes: Changes) -> BatchResult[TData, Any]:
        """Update the rows and report them.

        Args:
            target: which rows.
            changes: what to write, by one statement each; where it is nothing, the rows are only read.

        Raises:
            StaleVersion, ScopeMismatch: nothing at all is written then.
        """
        steps = list(_steps(target, changes))
        names = {name for change in changes for name in change.values}
        keep_keys(self.entity.info, names)
        if not steps:
            return await self._read(target)
        if self.entity.info.is_joined:
            (whole,) = changes
            return await self._update_parts(target, whole)
        verifies = self.call.setting({}, names).limits.must_verify(names, self.entity.info)
        target = replace(target, guard=self.call.limits.guard(names, self.entity.info))
        unset = [place for change in changes if not change.values for place in change.places or ()]

        async def write() -> dict[Any, Any]:
            async with self.call.savepoint() if target.versions or verifies or len(steps) > 1 else nullcontext():
                written = await self._write(target, steps, lock_strength(self.entity.info, names))
                done = {**written, **await self._seen(target.part(unset))} if unset else written
                await self._refuse_stale(target, done)
                if verifies:
                    for change in changes:  # each row by the foreign keys that are written to it
                        keys = list(self._stored_keys(written, change.places))
                        await self.call.setting(change.values).confirm(keys)
            await keep_in_step(self.call, self._stored_keys(written), seen=True)
            return done

        with collector_paused():
            return await self._report(
                await (scope_first(self.call, write, partial(self.refused, target, changes)) if verifies else write())
            )

    async def refused(
        self, target: Targets[TRow, TData], changes: Sequence[Changes], failure: Exception
    ) -> Exception | None:
        """Give the refusal of what the rows would become, if one would be outside the scope or that cannot be told."""
        rows = list[Rows]()
        for places, change in _steps(target, changes):
            there = target.part(places).matched(change.part(places).parameters)
            call = self.call.setting(change.values)
            rows.append(changed_rows(call, change.values, there, is_one=len(self.keys) == 1))
        return await first_refusal(rows, failure)

    async def _update_parts(self, target: Targets[TRow, TData], changes: Changes) -> BatchResult[TData, Any]:
        """Update rows that are kept in several tables, and report them as they are afterwards."""
        done = list[Key]()
        async with self.call.savepoint():
            for places in target.chunks():
                done += await write_joined(self.call, target.part(places).matched(changes.parameters), changes.values)
            reached = await self._by_given(dict.fromkeys(plain_keys(self.entity.info, done)))
            await self._refuse_stale(target, reached)
        keys = self._keys_in(reached)
        return self.report(dict(zip(keys, await present_made(self.call, keys), strict=True)))

    async def delete(self, target: Targets[TRow, TData]) -> BatchResult[TData, Any]:
        """Remove the rows and report what they were."""
        target = replace(target, standing=target.standing.doomed)
        conditions = [*target.conditions, *target.shard]
        before = await present_doomed(self.call, self.keys, conditions, skip_locked=self.is_held)
        with collector_paused():
            steps = [(places, None) for places in target.chunks()]
            done = await self._write(target, steps, {}, is_held=before is not None)
            if before is not None and goes_at_once(self.call):  # what is gone by now went with the others
                done = {**dict.fromkeys(plain_keys(self.entity.info, list(before))), **done}
            gone = self._keys_in(done)
            if (back := await self.call.first_back(gone)) is not None:
                raise RefusedByTrigger.at(self.keys.index(gone[back]), "id")
            if self.entity.shape.is_row:
                forget(self.call, gone)
            return await self._report(done, before)

    def report(self, found: Mapping[Key, TData]) -> BatchResult[TData, Any]:
        """Give every id its place, by the data of those that were written."""
        missing = [id for id, key in zip(self.ids, self.keys, strict=True) if key not in found]
        return BatchResult([found[key] for key in self.keys if key in found], missing)

    async def _read(self, target: Targets[TRow, TData]) -> BatchResult[TData, Any]:
        """Report the rows as they are: for patches with nothing set."""
        done = await self._seen(target)
        await self._refuse_stale(target, done)
        found = {key: done[plain] for key, plain in zip(self.keys, self.plain, strict=True) if plain in done}
        return await self._report(done, found)

    async def _seen(self, target: Targets[TRow, TData]) -> dict[Any, TData]:
        """Give the rows that are there in the version expected, by key as the answers of writes are."""
        found = await present_keys(self.call, target.keys, target.conditions)
        seen = dict(zip(plain_keys(self.entity.info, list(found)), found.values(), strict=True))
        if not target.versions:
            return seen
        expected = list[Key]()
        for places in target.chunks():
            expected += await self._keys(target.part(places))
        return {key: seen[key] for key in plain_keys(self.entity.info, expected) if key in seen}

    async def _write(
        self, target: Targets[TRow, TData], steps: Sequence[Step], lock: Mapping[str, object], *, is_held: bool = False
    ) -> dict[Any, Any]:
        """Send the statement of every step and give data by key.

        Several statements, each of which would lock its own rows in its turn, have all rows locked before the first. So
        has one that would meet rows as they were before it waited for their locks: by their keys, in a view, or by what
        a foreign key to their own table does. Once rows are locked none is waited for that has come since: it would be
        out of key order.
        """
        done, sought = (
            dict[Any, Any](self.call.already_written or {}),
            [place for places, _ in steps for place in places],
        )
        held, info = is_held or self.is_held, self.entity.info
        removes_alike = any(changes is None for _, changes in steps) and refers_to_itself(info.table)
        needs_lock = len(steps) > 1 or removes_alike or not target.standing.has_places
        if needs_lock and not held and target.dialect.name == "postgresql":
            await self._lock_each(target.part(sorted(sought)).keys_only(), lock)
            held = True
        for places, changes in steps if self.call.already_written is None else ():
            done |= await self._send(target, places, changes, held=held)
        if len(done) < len(sought) and (left := await self._left(target, sought, done, lock)):
            # A row that another transaction changed while we waited for its lock is ours now, but in a version that
            # the statement's snapshot did not see. The next one's does. What it does not reach a trigger refuses.
            for places, changes in steps:
                if here := [place for place in places if place in left]:
                    done |= await self._send(target, here, changes, held=True)
            if refused := sorted(place for place in left if self.plain[place] not in done):
                await give_up(self.call.db_sess)
                raise RefusedByTrigger.at(refused[0], "id")
        return done

    async def _send(
        self, target: Targets[TRow, TData], places: Sequence[int], changes: Changes | None, *, held: bool
    ) -> dict[Any, Any]:
        part = target.part(places)
        sent: Executable
        if changes is None:
            sent, origin = part.delete(held=held), self.call.origin(deletes=True).of(places, "id")
        else:
            sent = part.update(changes.part(places), held=held)
            noun = "patch" if changes.parameters else "id"
            origin = self.call.origin(writes=changes.values).of(places, noun)
        records: Sequence[Sequence[Any]]
        if target.keyed.through_orm:
            records = (await self.call.execute_writing(sent, origin)).all()
        else:
            records = await fetch_records(self.call.db_sess, sent, origin)
        if target.guard is not None:
            await self.call.keep_inside(records)
        data = target.keyed.data(records)
        if len(data) < len(records):
            await self.call.refuse_twins(undo=True)
        return await self._by_given(data)

    async def _lock_each(self, target: Targets[TRow, TData], lock: Mapping[str, Any]) -> None:
        info = self.entity.info
        for places in target.chunks() if target.standing.can_lock else ():
            part = target.part(places)
            in_order = part.select_keys(any_version=True).order_by(*info.key_attributes)
            locking = in_order.with_for_update(of=info.tables, **lock) if info.is_joined else part.lock(lock)
            await self.call.execute(locking, items=Items(places, "id"))

    async def _left(
        self, target: Targets[TRow, TData], sought: Sequence[int], done: Mapping[Any, object], lock: Mapping[str, Any]
    ) -> set[int]:
        """Give the places of rows that were not reached and are there all the same, locked from now on.

        Those that others have locked since are left out: to wait out of key order could be a deadlock.
        """
        missed = sorted(place for place in sought if self.plain[place] not in done)
        rest, found = target.part(missed), set[Any]()
        for places in rest.chunks():
            there = rest.part(places)
            locked = rest.standing.locked(there.select_keys(), of=self.entity.info.tables, skip_locked=True, **lock)
            found.update(plain_keys(self.entity.info, await self._keys(there, locked)))
        return {place for place in missed if self.plain[place] in found}

    async def _refuse_stale(self, target: Targets[TRow, TData], done: Mapping[Any, object]) -> None:
        """Tell rows that are there in another version from absent ones."""
        if not target.versions or len(done) == len(self.keys):
            return
        rest = target.part(self._places_not_in(done))
        for places in rest.chunks():
            part = rest.part(places)
            if there := await self._keys(part, part.select_keys(any_version=True)):
                error = StaleVersion()
                error.stale = tuple(plain_keys(self.entity.info, there))
                raise error

    async def _report(
        self, done: Mapping[Any, Any], found: Mapping[Key, TData] | None = None
    ) -> BatchResult[TData, Any]:
        """Give every id its place; data that the write could not return is ``found``, or read by its keys."""
        there = self.plain if len(done) == len(self.plain) else [key for key in self.plain if key in done]
        missing = list[Any]()
        if len(there) < len(self.plain):
            missing = [self.ids[place] for place in self._places_not_in(done)]
        if found is None and self.entity.shape.returnable:
            return BatchResult([done[key] for key in there], missing)
        keys = self._keys_in(done)
        data = [found[key] for key in keys] if found else await present_made(self.call, keys)
        return BatchResult(data, missing)

    async def _keys(self, target: Targets[TRow, TData], statement: Executable | None = None) -> list[Key]:
        """Give those of the target's keys that a SELECT of keys finds, as they were given."""
        rows = (await self.call.execute(target.select_keys() if statement is None else statement)).all()
        return list(await self.call.as_found(self.entity.info.key_columns, target.keys, {tuple(row) for row in rows}))

    async def _by_given(self, data: dict[Any, Any]) -> dict[Any, Any]:
        """Give data by the keys that were given, which the database may have otherwise.

        Raises:
            InvalidValue: two of them are one key to the database, with their indexes; nothing is committed then.
            MappingError: a row came back under another key; nor is it then.
        """
        info = self.entity.info
        is_exact = are_exact(info.key_columns, self.call.dialect)
        if not data or data.keys() == self._given or (is_exact and data.keys() <= self._given):
            return data
        stored = {(key,) if len(info.primary_key) == 1 else key: key for key in data}
        found = await self.call.as_found(info.key_columns, self.keys, stored)
        if len(set(found.values())) < len(found):
            await give_up(self.call.db_sess)
            first = dict[Key, int]()
            pairs = (
                (place, first.setdefault(found[key], place)) for place, key in enumerate(self.keys) if key in found
            )
            raise next(key_twice(place, other) for place, other in pairs if place != other)
        if len(found) < len(data):
            await give_up(self.call.db_sess)
            raise MappingError(
                f"a trigger of the database has changed the key of a row of {info.table.name}, or the column has "
                "another type or collation than the mapping says, and of several rows nobody knows which it was: map "
                "the column as it is, or change such rows one by one"
            )
        given = dict[Any, Any]()
        for plain, other in zip(plain_keys(info, list(found)), found.values(), strict=True):
            given[plain], self._otherwise[plain] = data[stored[other]], other
        return given

    @cached_property
    def _given(self) -> set[Any]:
        return set(self.plain)

    def _stored_keys(self, done: Mapping[Any, object], places: Sequence[int] | None = None) -> Iterator[Key]:
        """Give the keys of what was done as the database has them: of all of it, or of what stands at some places."""
        pairs = ((self.keys[place], self.plain[place]) for place in places or range(len(self.keys)))
        return (self._otherwise.get(plain, key) for key, plain in pairs if plain in done)

    def _keys_in(self, done: Mapping[Any, object]) -> Sequence[Key]:
        return [key for key, plain in zip(self.keys, self.plain, strict=True) if plain in done]

    def _places_not_in(self, done: Mapping[Any, object]) -> list[int]:
        return [place for place, plain in enumerate(self.plain) if plain not in done]


def _steps(target: Targets[Any, Any], changes: Sequence[Changes]) -> Iterator[tuple[Sequence[int], Changes]]:
    """Give the statements of a batch: the places of their rows among the keys, and what they write."""
    for change in changes:
        if change.values:
            for places in target.chunks(len(change.parameters), change.places):
                yield places, change
