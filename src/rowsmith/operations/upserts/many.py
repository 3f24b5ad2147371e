"""Creating or changing many rows at once, told apart by a unique key."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NoReturn, TypeVar

from sqlalchemy import Column, ColumnElement, Executable, insert, select

from rowsmith.conditions import limited
from rowsmith.errors import DatabaseFault, InvalidValue, MappingError, RefusedByTrigger
from rowsmith.execution import flush
from rowsmith.execution.driver import give_up
from rowsmith.mapping import RowInfo, Spec
from rowsmith.mapping.layout import Record
from rowsmith.mapping.target import insertable
from rowsmith.mapping.writes import FOREIGN, storable
from rowsmith.operations.arrays.binding import naming, unbindable
from rowsmith.operations.arrays.fetch import ArrayStatement, fetch_columns, fetch_underneath
from rowsmith.operations.arrays.keys import SQLITE_PARAMETERS, Key, columns_condition, key_chunks, places_in_order
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.arrays.unnest import Unnested
from rowsmith.operations.blocks.block import Block, SpecReader, blocks, in_blocks, joined
from rowsmith.operations.blocks.collector import collector_paused
from rowsmith.operations.blocks.gate import Gate, connection_of, pass_gate
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.held import NewRows, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.inserts.branches import branches_of
from rowsmith.operations.inserts.insertion import RAW
from rowsmith.operations.inserts.many import Many, gathered
from rowsmith.operations.partial import failure, is_own_fault, run_partial
from rowsmith.operations.present import present_keys
from rowsmith.operations.results import BatchResult, PartialResult, Success, Upserted
from rowsmith.operations.upserts.statement import UpsertStatement, conflict_keys, key_faults, refuse_twice
from rowsmith.scope import SearchScope

T = TypeVar("T")

CARDINALITY_VIOLATION = "21000"
"""PostgreSQL's code where ON CONFLICT DO UPDATE meets a row that the same statement has written."""

TURNS = 5
"""How often an upsert is sent, where others add or remove its rows between its steps."""


class BatchUpserter(Operation[TRow, TData]):
    """Creates rows or changes those that are there, by a unique key.

    On PostgreSQL new rows are inserted in the order of the key, then those that are there are locked in the order of
    their primary keys, as every other batch locks them, and changed: by one statement, or three where SQLAlchemy sends
    them. So batches that overlap wait for each other and do not deadlock.

    ``conflict`` names the key; the primary key without it. A row that is there takes over the fields that the
    specs set, and nothing else but ``onupdate`` and the version; its primary key stays. A soft-deleted row, or
    one outside the scope, is not there for the caller: its key is merely taken.
    """

    @verb("batch_upsert", singly="find(id), then create(spec) or update(id, patch)")
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
            specs: the rows' values; all must set the same fields, and each key stands once.
            scope: who writes; stamped onto new rows, and a row that is there must be inside.
            conflict: another key than the declared one, for this call.

        Returns:
            ``succeeded`` holds an :class:`Upserted` for each spec, in input order; nothing is ever ``missing``.

        Raises:
            EntityAlreadyExists: the key, or another one, is taken by a row that this caller does not see.
            InvalidValue: a value does not fit, a key stands twice or is NULL, specs set different fields.
            ScopeMismatch: a spec says otherwise than the scope.
            ReferenceNotFound, ConstraintViolation: a constraint said no.
        """
        items = await gathered(specs, call.info)
        upsertion = Upsertion(await call.under(scope), conflict or self.entity.conflict)
        with collector_paused():
            return BatchResult(await upsertion.write(items), [])

    @verb("batch_upsert_partial", singly="find(id), then create(spec) or update(id, patch)")
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
        is taken, that is NULL or that stands before are an item's own failure; so is what sets other fields than the
        first spec that can be read. All are tried together inside a savepoint; only where that fails are the culprits
        looked for.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is kept then.
        """
        items = await gathered(specs, call.info)
        upsertion = Upsertion(await call.under(scope), conflict or self.entity.conflict)
        faults = upsertion.faults(items)
        fit = upsertion.in_order(items, [index for index in range(len(items)) if index not in faults])

        async def attempt(part: Sequence[Spec[TRow]], first: int) -> list[Upserted[TData]]:
            return await upsertion.write(part)

        with collector_paused():
            written = await run_partial(call, [items[index] for index in fit], attempt)
        faults |= {fit[item.index]: item.error for item in written.failed}
        succeeded = sorted(
            (Success(fit[item.index], item.data) for item in written.succeeded), key=lambda item: item.index
        )
        return PartialResult(succeeded, [failure(index, call.located(faults[index])) for index in sorted(faults)])


class Upsertion(Generic[TRow, TData]):
    """Rows being upserted by one call."""

    def __init__(self, call: Call[TRow, TData], conflict: Conflict) -> None:
        self.call, self.info = call, call.info
        self.conflict, self.key = conflict, conflict.resolve(call.info)
        names = (*call.entity.shape.names, *call.info.primary_key, *self.key.names, *call.limits.stamps)
        self.back: tuple[str, ...] = tuple(dict.fromkeys(names))

    async def write(self, specs: Sequence[Spec[TRow]]) -> list[Upserted[TData]]:
        """Upsert all; results in input order."""
        if not specs:
            return []
        self._refuse_branches(specs)
        reader = SpecReader(self.info, self.call.limits)
        block = joined(_alike(self.info, [block for part in blocks(specs) for block in reader.read(part)]))
        self._refuse_foreign(block)
        keys = conflict_keys(self.info, self.key, block)
        await flush(self.call.db_sess, self.call.origin())
        rows = await self._write([name for name in block.columns if name in block.given], block, keys)
        await self._refuse_twice(self._primary_keys(rows))
        await keep_in_step(self.call, self._primary_keys(rows))
        return await self._results(rows)

    def faults(self, specs: Sequence[Spec[TRow]]) -> dict[int, Exception]:
        """Give the errors of specs that could not be sent, alone or beside those before them, by their places."""
        self._refuse_branches(specs)
        reader = SpecReader(self.info, self.call.limits)
        failures = (fault for part in blocks(specs) for fault in reader.faults(part, self._is_own))
        faults: dict[int, Exception] = {fault.index: fault.error for fault in failures}
        fit = [index for index in range(len(specs)) if index not in faults]
        if not fit:
            return faults
        reader = SpecReader(self.info, self.call.limits, places=fit)
        read = [block for part in blocks([specs[index] for index in fit]) for block in reader.read(part)]
        first = min(read, key=lambda block: block.places[0])
        self._refuse_foreign(first)
        alike = [block for block in read if block.given == first.given]
        for other in read:
            if other.given != first.given:
                faults |= {place: _unlike(self.info, first, other, place) for place in other.places}
        return faults | key_faults(self.info, self.key, joined(alike))

    def in_order(self, specs: Sequence[Spec[TRow]], places: Sequence[int]) -> Sequence[int]:
        """Give the places of specs in the order of their keys: parts of them are tried one after the other."""
        if not places:
            return places
        reader = SpecReader(self.info, self.call.limits, places=places)
        block = joined([block for part in blocks([specs[at] for at in places]) for block in reader.read(part)])
        keys = list(zip(*(block.columns[name] for name in self.key.names), strict=True))
        return [block.places[row] for row in places_in_order(keys)]

    def _is_own(self, error: Exception) -> bool:
        return is_own_fault(error, self.call.entity)

    def _refuse_foreign(self, block: Block) -> None:
        for name in block.columns:
            if name in block.given and self.info.is_foreign(name, (), changes=True):
                raise InvalidValue(f"{self.info.row.__name__}.{name} {FOREIGN}")

    def _refuse_branches(self, specs: Sequence[Spec[TRow]]) -> None:
        if branches := branches_of(self.info, specs):
            raise MappingError(f"an upsert writes one row for each spec: create the {branches[0].name} by themselves")

    async def _write(self, given: Sequence[str], block: Block, keys: Sequence[Key]) -> list[_Returned]:
        if not self.call.limits.others:
            return await self._rows(given, block, keys)
        new = NewRows(self.call, lambda: [block])

        async def write() -> list[_Returned]:
            async with self.call.savepoint():
                rows = await self._rows(given, block, keys)
                await self.call.confirm(self._primary_keys(rows), new.refusal)
            return rows

        return await scope_first(self.call, write, new.refused)

    async def _rows(self, given: Sequence[str], block: Block, keys: Sequence[Key]) -> list[_Returned]:
        """Send the upsert, then see to the rows that it gave no answer for."""
        conditions = self.call.conditions()
        connection = await connection_of(self.call.db_sess, self.call.origin())
        statement = UpsertStatement(self.info, self.key, given, conditions, self.back, self.conflict.update, connection)
        found = await self._by_given(keys, await self._told_apart(self._sent(statement, block, keys)))
        silent = _places_without(keys, found)
        unheard = [keys[place] for place in silent]
        there = await self._by_given(unheard, await self._there(unheard, statement.in_reach)) if silent else {}
        for place in silent:
            if keys[place] in there:
                if statement.changes_rows:  # ON CONFLICT has locked the row, so it was in reach all the time
                    await self._refuse(place)
                found[keys[place]] = there[keys[place]]
            else:
                found[keys[place]] = await self._insert(block, place)
        rows = list(map(found.__getitem__, keys))
        columns = dict(zip(self.back, zip(*(record for record, _ in rows), strict=True), strict=True))
        await self.call.keep_stamps(columns)
        return rows

    async def _by_given(self, keys: Sequence[Key], rows: dict[Key, _Returned]) -> dict[Key, _Returned]:
        """Give rows by the keys that were given, which the database may have otherwise."""
        if all(map(rows.__contains__, keys)):
            return rows
        stored = await self.call.as_stored(self._key_columns, keys, rows.keys())
        return {key: rows[other] for key, other in stored.items()}

    @property
    def _key_columns(self) -> list[Column[Any]]:
        return [self.info.columns[name] for name in self.key.names]

    async def _told_apart(self, sending: Awaitable[T]) -> T:
        """Await a statement; that PostgreSQL would write one row twice is the fault of the specs."""
        try:
            return await sending
        except DatabaseFault as exc:
            if exc.facts.sqlstate != CARDINALITY_VIOLATION or are_exact(self._key_columns, self.call.dialect):
                raise
        raise InvalidValue("two of the specs have one key to the database, which Python tells apart: give it once")

    async def _refuse_twice(self, keys: Sequence[Key]) -> None:
        if len(set(keys)) < len(keys):
            await give_up(self.call.db_sess)
            refuse_twice(keys)

    async def _sent(self, statement: UpsertStatement, block: Block, keys: Sequence[Key]) -> dict[Key, _Returned]:
        gate = await pass_gate(self.call.db_sess, self.info, self.call.origin(), block.columns)
        if gate.dialect.name != "postgresql":
            return await self._values_after_a_look(statement, block, keys)
        order = places_in_order(keys)
        rows = Upserts(block, keys).chosen(order)
        if len(keys) == 1 or not statement.changes_rows:
            return await self._send(statement, rows, gate)
        return await self._in_turns(statement, rows, gate)

    async def _in_turns(self, statement: UpsertStatement, rows: Upserts, gate: Gate) -> dict[Key, _Returned]:
        """Send the upsert until nothing came or went in between; rows that it leaves out time and again go alone.

        Those have another reason: they are out of reach, or a trigger leaves them out.
        """
        before: Sequence[Key] = ()
        for turn in range(TURNS):
            try:
                async with self.call.savepoint_of_statements():
                    found = await self._by_given(rows.keys, await self._in_steps(statement, rows, gate))
                    left = rows.left_by(found)
                    if not left.keys:
                        return found
                    if left.keys != before and turn < TURNS - 1:
                        raise _Left(left.keys)
                    return found | await self._by_given(left.keys, await self._send(statement, left, gate))
            except _Left as exc:
                before = exc.keys
        raise AssertionError

    async def _in_steps(self, statement: UpsertStatement, rows: Upserts, gate: Gate) -> dict[Key, _Returned]:
        """Insert the rows that are new, lock the others in the order of their primary keys, and change those.

        Who inserts holds nothing yet that a batch over primary keys could wait for, and who has locked rows inserts
        none, so nobody waits in a circle. What came or went in between is left out.
        """
        if gate.driver and gate.inserts_arrays and not statement.is_singly(rows.block):
            source = Unnested(self.info, tuple(rows.block.columns))
            return await self._arrays(statement.in_steps(source, rows.block, gate.dialect), source, rows, gate)
        made = await self._send(replace(statement, update=False), rows, gate)
        found = await self._by_given(rows.keys, made)
        rest, number = rows.left_by(found), 0
        for chunk in key_chunks(rest.keys, gate.dialect, self._key_columns):
            number += len((await self.call.execute(statement.lock(chunk, gate.dialect))).all())
        is_whole = rest.keys and number == len(rest.keys)
        return found | await self._send(statement, rest, gate) if is_whole else found

    async def _send(self, statement: UpsertStatement, rows: Upserts, gate: Gate) -> dict[Key, _Returned]:
        if not gate.inserts_arrays or statement.is_singly(rows.block):
            return await self._values(statement, rows.block, rows.keys)
        source = Unnested(self.info, tuple(rows.block.columns))
        return await self._arrays(statement.from_arrays(source, rows.block, gate.dialect), source, rows, gate)

    async def _arrays(self, made: Any, source: Unnested, rows: Upserts, gate: Gate) -> dict[Key, _Returned]:
        arrays = source.arrays(rows.block.columns, gate.dialect, rows.block.places)
        sent = ArrayStatement(made, arrays, gate.dialect)
        send = fetch_underneath if gate.driver else fetch_columns
        *columns, news = await send(self.call.db_sess, self.call.origin(), sent)
        records = list(zip(*columns, strict=True))
        if len(rows.keys) == 1 and records:
            return {rows.keys[0]: (records[0], news[0])}
        return dict(zip(self._keys_in(records), zip(records, news, strict=True), strict=True))

    async def _values(self, statement: UpsertStatement, block: Block, keys: Sequence[Key]) -> dict[Key, _Returned]:
        """Send each value by itself."""
        dialect, found = self.call.dialect, dict[Key, _Returned]()
        for part in in_blocks(block, _rows_at_a_time(statement, block)):
            made = statement.from_values(part, dialect)
            rows = (await self.call.execute(made, RAW)).all()
            written: list[_Returned] = [(tuple(row[:-1]), row[-1]) for row in rows]
            if len(keys) == 1 and written:
                return {keys[0]: written[0]}
            found |= dict(zip(self._keys_in([record for record, _ in written]), written, strict=True))
        return found

    async def _values_after_a_look(
        self, statement: UpsertStatement, block: Block, keys: Sequence[Key]
    ) -> dict[Key, _Returned]:
        """SQLite has no word for "inserted": the keys are looked up before, by the one writer there is."""
        before = await self._there(keys, [] if self.key.where is None else [self.key.where])
        found: dict[Key, _Returned] = {}
        for part in in_blocks(block, _rows_at_a_time(statement, block)):
            made = statement.from_values(part, self.call.dialect)
            rows = await self._rows_of(made, part)
            records = [tuple(row) for row in rows]
            found |= {
                key: (record, key not in before) for key, record in zip(self._keys_in(records), records, strict=True)
            }
        return found

    async def _rows_of(self, statement: Executable, block: Block) -> Sequence[Any]:
        sending = self.call.execute(statement, RAW)
        dialect = self.call.dialect
        return (await naming(sending, lambda: unbindable(self.info, block.columns, dialect, block.places))).all()

    async def _there(self, keys: Sequence[Key], conditions: Sequence[ColumnElement[bool]]) -> dict[Key, _Returned]:
        """Give the rows that are there under some conditions."""
        columns, dialect = self.info.columns, self.call.dialect
        found = dict[Key, _Returned]()
        for chunk in key_chunks(keys, dialect, [columns[name] for name in self.key.names]):
            these = columns_condition([columns[name] for name in self.key.names], chunk, dialect)
            statement = limited(select(*(columns[name] for name in self.back)), these, *conditions)
            records = [tuple(row) for row in (await self.call.execute(statement)).all()]
            found |= {key: (record, False) for key, record in zip(self._keys_in(records), records, strict=True)}
        return found

    async def _insert(self, block: Block, place: int) -> _Returned:
        """Insert a row whose key is taken by one that this caller does not see: the database says so in its own words.

        If it does not, that row is gone meanwhile, and this one is created.
        """
        info = self.info
        row = {name: column[place] for name, column in block.columns.items()}
        values = {info.columns[name].key: storable(info, name, value) for name, value in row.items()}
        statement = insert(insertable(info.row)).values(values).returning(*(info.columns[name] for name in self.back))
        rows = await self._rows_of(statement, block.part(place, 1))
        if not rows:
            await self._refuse(place)
        return tuple(rows[0]), True

    async def _refuse(self, place: int) -> NoReturn:
        await give_up(self.call.db_sess)
        raise RefusedByTrigger.at(place)

    def _keys_in(self, records: Sequence[Record]) -> list[Key]:
        places = [self.back.index(name) for name in self.key.names]
        return [tuple(record[place] for place in places) for record in records]

    def _primary_keys(self, rows: Sequence[_Returned]) -> list[Key]:
        places = [self.back.index(name) for name in self.info.primary_key]
        return [tuple(record[place] for place in places) for record, _ in rows]

    async def _results(self, rows: Sequence[_Returned]) -> list[Upserted[TData]]:
        shape = self.call.entity.shape
        if shape.names:
            data = shape.build_all([record[: len(shape.names)] for record, _ in rows])
        else:
            keys = self._primary_keys(rows)
            found = await present_keys(self.call, keys)
            data = [found[key] for key in keys]
        return [Upserted(item, new) for item, (_, new) in zip(data, rows, strict=True)]


_Returned = tuple[tuple[Any, ...], bool]
"""What came back of a row, and whether it is new."""


@dataclass(frozen=True)
class Upserts:
    """Rows to be upserted, with the key of each."""

    block: Block
    keys: Sequence[Key]

    def chosen(self, places: Sequence[int]) -> Upserts:
        """Give some of them."""
        return Upserts(self.block.chosen(places), list(map(self.keys.__getitem__, places)))

    def left_by(self, found: Collection[Key]) -> Upserts:
        """Give those that had no answer."""
        return self.chosen(_places_without(self.keys, found))


def _places_without(keys: Sequence[Key], found: Collection[Key]) -> list[int]:
    if all(map(found.__contains__, keys)):
        return []
    return [place for place, key in enumerate(keys) if key not in found]


def _rows_at_a_time(statement: UpsertStatement, block: Block) -> int:
    return 1 if statement.is_singly(block) else SQLITE_PARAMETERS // (len(block.columns) + 1)


class _Left(Exception):
    """Some rows had no answer; all is to be undone, locks too."""

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__()
        self.keys = keys


def _alike(info: RowInfo[Any], parts: Sequence[Block]) -> Sequence[Block]:
    """Refuse specs that set different fields: what a row that is there takes over must be the same for all."""
    first = min(parts, key=lambda part: part.places[0])
    others = [part for part in parts if part.given != first.given]
    if not others:
        return parts
    other = min(others, key=lambda part: part.places[0])
    raise _unlike(info, first, other, other.places[0])


def _unlike(info: RowInfo[Any], first: Block, other: Block, place: int) -> InvalidValue:
    return InvalidValue(
        f"the spec at index {place} does not set the same fields of {info.row.__name__} as the first one "
        f"({', '.join(sorted(first.given ^ other.given))}): upsert specs that set the same fields together"
    )
