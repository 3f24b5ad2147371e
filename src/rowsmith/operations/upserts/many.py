"""Creating or changing many rows at once, told apart by a unique key."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from sqlalchemy import Column, ColumnElement, Executable, insert, select

from rowsmith.conditions import limited
from rowsmith.errors import DatabaseFault, InvalidValue, MappingError, RefusedByTrigger
from rowsmith.execution import flush
from rowsmith.execution.driver import give_up
from rowsmith.mapping import Spec
from rowsmith.mapping.layout import Record
from rowsmith.mapping.target import insertable
from rowsmith.mapping.writes import FOREIGN, storable
from rowsmith.operations.arrays.binding import naming, unbindable
from rowsmith.operations.arrays.fetch import ArrayStatement, fetch_columns, fetch_underneath
from rowsmith.operations.arrays.keys import SQLITE_PARAMETERS, Key, columns_condition, key_chunks
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.arrays.unnest import Unnested
from rowsmith.operations.blocks.block import Block, Columns, SpecReader, blocks, joined
from rowsmith.operations.blocks.collector import collector_paused
from rowsmith.operations.blocks.gate import Gate, connection_of, pass_gate
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.held import NewRows, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.inserts.branches import branches_of
from rowsmith.operations.inserts.insertion import RAW
from rowsmith.operations.inserts.many import Many, gathered
from rowsmith.operations.present import present_keys
from rowsmith.operations.results import BatchResult, Upserted
from rowsmith.operations.upserts.statement import UpsertStatement, conflict_keys, refuse_twice
from rowsmith.scope import SearchScope

T = TypeVar("T")

CARDINALITY_VIOLATION = "21000"
"""PostgreSQL's code where ON CONFLICT DO UPDATE meets a row that the same statement has written."""


class BatchUpserter(Operation[TRow, TData]):
    """Creates rows or changes those that are there, by a unique key; one statement on PostgreSQL.

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
        if branches := branches_of(self.info, specs):
            raise MappingError(f"an upsert writes one row for each spec: create the {branches[0].name} by themselves")
        reader = SpecReader(self.info, self.call.limits)
        block = joined([reader.read(part) for part in blocks(specs)])
        for name in reader.fields or ():
            if self.info.is_foreign(name, (), changes=True):
                raise InvalidValue(f"{self.info.row.__name__}.{name} {FOREIGN}")
        keys = conflict_keys(self.info, self.key, block)
        await flush(self.call.db_sess, self.call.origin())
        rows = await self._write(reader.fields or (), block, keys)
        await self._refuse_twice(self._primary_keys(rows))
        await keep_in_step(self.call, self._primary_keys(rows))
        return await self._results(rows)

    async def _write(self, given: Sequence[str], block: Block, keys: Sequence[Key]) -> list[_Returned]:
        if not self.call.limits.others:
            return await self._rows(given, block, keys)
        new = NewRows(self.call, lambda: block)

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
        silent = [place for place, key in enumerate(keys) if key not in found]
        unheard = [keys[place] for place in silent]
        there = await self._by_given(unheard, await self._there(unheard, statement.in_reach)) if silent else {}
        for place in silent:
            if keys[place] in there:
                if statement.changes_rows:  # ON CONFLICT has locked the row, so it was in reach all the time
                    await self._refuse(place)
                found[keys[place]] = there[keys[place]]
            else:
                found[keys[place]] = await self._insert(block, place)
        rows = [found[key] for key in keys]
        columns = dict(zip(self.back, zip(*(record for record, _ in rows), strict=True), strict=True))
        await self.call.keep_stamps(columns)
        return rows

    async def _by_given(self, keys: Sequence[Key], rows: dict[Key, _Returned]) -> dict[Key, _Returned]:
        """Give rows by the keys that were given, which the database may have otherwise."""
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
        if gate.inserts_arrays and not statement.is_singly(block):
            return await self._arrays(statement, block, keys, gate)
        send = self._values if gate.dialect.name == "postgresql" else self._values_after_a_look
        return await send(statement, block, keys)

    async def _arrays(
        self, statement: UpsertStatement, block: Block, keys: Sequence[Key], gate: Gate
    ) -> dict[Key, _Returned]:
        source = Unnested(self.info, tuple(block.columns))
        arrays = source.arrays(block.columns, gate.dialect)
        sent = ArrayStatement(statement.from_arrays(source, block, gate.dialect), arrays, gate.dialect)
        send = fetch_underneath if gate.driver else fetch_columns
        *columns, news = await send(self.call.db_sess, self.call.origin(), sent)
        records = list(zip(*columns, strict=True))
        if len(keys) == 1 and records:
            return {keys[0]: (records[0], news[0])}
        return dict(zip(self._keys_in(records), zip(records, news, strict=True), strict=True))

    async def _values(self, statement: UpsertStatement, block: Block, keys: Sequence[Key]) -> dict[Key, _Returned]:
        """Send each value by itself, the rows in the order of their keys."""
        dialect, found = self.call.dialect, dict[Key, _Returned]()
        order = sorted(range(block.size), key=keys.__getitem__ if _are_sortable(keys) else lambda at: repr(keys[at]))
        ordered: Columns = {name: [column[place] for place in order] for name, column in block.columns.items()}
        for part in _in_parts(Block(ordered, block.types, block.size), _rows_at_a_time(statement, block)):
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
        for part in _in_parts(block, _rows_at_a_time(statement, block)):
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
        return (await naming(sending, lambda: unbindable(self.info, block.columns, dialect, block.first))).all()

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


def _are_sortable(keys: Sequence[Key]) -> bool:
    try:
        sorted(keys)
    except TypeError:
        return False
    return True


def _rows_at_a_time(statement: UpsertStatement, block: Block) -> int:
    return 1 if statement.is_singly(block) else SQLITE_PARAMETERS // (len(block.columns) + 1)


def _in_parts(block: Block, size: int) -> list[Block]:
    return [block.part(start, size) for start in range(0, block.size, size)]
