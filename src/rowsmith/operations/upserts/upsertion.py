"""Rows being upserted by one call: sent in an order in which nobody waits in a circle, and found again."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from operator import itemgetter
from typing import Any, Final, Generic, NoReturn, TypeVar, cast

from sqlalchemy import Column, ColumnElement, Executable, func, insert, select, true
from sqlalchemy.engine import Dialect
from sqlalchemy.util import greenlet_spawn

from rowsmith.conditions import limited
from rowsmith.errors import (
    DatabaseFault,
    InvalidValue,
    LockNotAvailable,
    MappingError,
    RefusedByTrigger,
    RepositoryError,
)
from rowsmith.execution import Items, flush
from rowsmith.execution.driver import connection_of, give_up
from rowsmith.execution.kinds import CARDINALITY_VIOLATION
from rowsmith.mapping import Spec
from rowsmith.mapping.builders import builder
from rowsmith.mapping.row import is_filled
from rowsmith.mapping.target import insertable
from rowsmith.mapping.writes import FOREIGN, storable
from rowsmith.operations.arrays.binding import naming, unbindable
from rowsmith.operations.arrays.fetch import fetch_columns, fetch_underneath
from rowsmith.operations.arrays.keys import (
    SQLITE_PARAMETERS,
    Key,
    columns_condition,
    key_chunks,
    key_twice,
    places_in_order,
)
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.blocks.block import Block, SpecReader, blocks, in_blocks, picking
from rowsmith.operations.blocks.defaults import Context
from rowsmith.operations.blocks.gate import Gate, pass_gate
from rowsmith.operations.call import Call, TData, TRow, is_unread
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.contextual import with_contextual
from rowsmith.operations.faults import is_own_fault
from rowsmith.operations.held import NewRows, TriedOtherwise, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.inserts.branches import branches_of
from rowsmith.operations.inserts.insertion import RAW
from rowsmith.operations.present import present_keys, present_made
from rowsmith.operations.results import Upserted
from rowsmith.operations.unread import tell_place
from rowsmith.operations.upserts.mixed import Mixed
from rowsmith.operations.upserts.patterns import Form, UpsertPatterns
from rowsmith.operations.upserts.statement import (
    KEPT,
    UpsertStatement,
    conflict_keys,
    key_columns,
    shown,
    tells_by_xmax,
)

_LOCK_TIMEOUT: Final = "lock_timeout"

T = TypeVar("T")

SINGLY = "find(id), then create(spec) or update(id, patch)"
"""What to call instead for rows that are kept in several tables."""

_INSTEAD = (
    "write by a repository of the tables beneath, which the view shows once it is refreshed, if it is materialized; "
    "any other may be given INSTEAD OF triggers"
)

TURNS = 6
"""How often the same rows are neither new nor to be held before that is a trigger's doing and not that of others."""
MOST_TURNS = 1000
"""How often an upsert is sent, where others add or remove its rows between its steps."""

PATIENCE: Final = "1ms"
"""How long what holds rows waits for others that may be waiting for it: as little as PostgreSQL knows."""


class Held(Enum):
    """How many of some rows are held by the transaction: nobody is waited for any more, where some are."""

    NONE = auto()
    SOME = auto()
    ALL = auto()


class Upsertion(Generic[TRow, TData]):
    """Rows being upserted by one call."""

    def __init__(self, call: Call[TRow, TData], conflict: Conflict, patterns: UpsertPatterns | None = None) -> None:
        self.call, self.info, self.patterns = call, call.info, patterns or UpsertPatterns(call.entity)
        if call.entity.next_value is not None:
            raise MappingError(
                f"{call.info.row.__name__} is numbered within a parent, which is locked and counted by create alone: "
                "call find, then create(spec) or update(id, patch)"
            )
        is_declared = conflict is call.entity.conflict
        self.conflict, self.key = conflict, call.entity.conflict_key if is_declared else conflict.resolve(call.info)
        names = (*call.entity.shape.names, *call.info.primary_key, *self.key.names, *call.limits.stamps)
        self.back: tuple[str, ...] = tuple(dict.fromkeys(names))
        self._returned = Returned(self.back, [()] * (len(self.back) + 1))
        self._missed = Counter[Hashable]()
        self._is_one = False
        self._written_for: dict[Key, int] = {}  # primary keys, each with the place of the spec that wrote the row

    def read(self, specs: Sequence[Spec[TRow]]) -> list[Block]:
        """Read specs: a block for those that set the same fields.

        Raises:
            InvalidValue, ScopeMismatch, MappingError: as :meth:`SpecReader.read`, or a spec brings rows below it.
        """
        self._refuse_branches(specs)
        reader = SpecReader(self.info, self.call.limits)
        return [block for part in blocks(specs) for block in reader.read(part)]

    def check(self, spec: Spec[TRow]) -> None:
        """Refuse a spec whose values do not fit, or that has no key; raises as :meth:`read`."""
        for block in self.read([spec]):
            self._refuse_foreign(block)
            conflict_keys(self.info, self.key, block)

    async def write(self, block: Block, held: Held = Held.NONE) -> list[Upserted[TData]]:
        """Upsert rows that were read already, of which none, some or all are held by now; results in their order."""
        try:
            return list((await self._written(block, partial(self._rows, held=held))).values())
        except InvalidValue as exc:
            if is_unread(exc):
                with suppress(RepositoryError):
                    await self._tell_place(block, exc)
            raise

    async def _tell_place(self, block: Block, failure: InvalidValue) -> None:
        """Have an error about a stored value say which spec it is, whose row was there before."""
        keys = dict(zip(block.places, conflict_keys(self.info, self.key, block), strict=True))

        async def read(places: Sequence[int]) -> None:
            found = await self._there([keys[place] for place in places], self.call.conditions(), places)
            if not self.call.entity.shape.names:
                await present_keys(self.call, self._returned.chosen(found.values()).parts(self.info.primary_key))

        await tell_place(failure, block.places, read)

    async def insert(self, block: Block) -> list[Upserted[TData] | None]:
        """Insert those of the rows whose key nobody has, and give None for the others, which are left as they are."""
        found = await self._written(block, self._new_rows)
        return [found.get(row) for row in range(block.size)]

    def readable(self, specs: Sequence[Spec[TRow]]) -> tuple[list[Block], dict[int, Exception]]:
        """Read specs, as many as can be, and give the errors of the others by place."""
        self._refuse_branches(specs)
        reader, entity = SpecReader(self.info, self.call.limits), self.call.entity
        read, faults = reader.readable(specs, lambda error: is_own_fault(error, entity, was_sent=False))
        for block in read:
            self._refuse_foreign(block)
        return read, faults

    async def places_there(self, rows: Mixed) -> list[int]:
        """Give the rows whose keys are there, for whomever; an error tells the row whose key is refused."""
        keys = rows.keys(self.key)
        found = await self._read_there(self._key_columns, keys, range(rows.size))
        there = await self._by_given(keys, {tuple(key): place for place, key in enumerate(found)})
        return [row for row, key in enumerate(keys) if key in there]

    async def hold(self, rows: Mixed) -> int:
        """Lock rows that are there in the order of their primary keys, and give how many are not there.

        For parts of them to be changed one after the other, which would not keep that order.
        """
        statements = [await self._statement(block) for _, block in rows.parts()]
        of_all = replace(statements[0], given=[name for statement in statements for name in statement.given])
        keys = rows.keys(self.key)
        return max(len(keys) - await self._lock(of_all, keys, self.call.dialect), 0)

    def _refuse_foreign(self, block: Block) -> None:
        for name in block.columns:
            if name in block.given and self.info.is_foreign(name, (), changes=True):
                raise self.info.refusal(name, FOREIGN)

    def _refuse_branches(self, specs: Sequence[Spec[TRow]]) -> None:
        if branches := branches_of(self.info, specs):
            raise MappingError(f"an upsert writes one row for each spec: create the {branches[0].name} by themselves")

    async def _written(self, read: Block, send: _Send) -> dict[int, Upserted[TData]]:
        """Send rows that were read, and give what became of those that ``send`` wrote, by their places among them."""
        self._refuse_foreign(read)
        await flush(self.call.db_sess, self.call.origin())
        block = await with_contextual(self.call, read)
        self._returned = Returned(self.back, [()] * (len(self.back) + 1))
        rows = await self._confirmed(block, send)
        written = self._returned.chosen(rows.values())
        keys = written.parts(self.info.primary_key)
        await self._keep_apart(keys, [block.places[row] for row in rows])
        await keep_in_step(self.call, keys)
        return dict(zip(rows, await self._results(written, keys, [block.places[row] for row in rows]), strict=True))

    def keep_turning(self, missed: Hashable) -> None:
        """Have an upsert begin anew, for rows that were neither new nor to be held, or not for long.

        Raises:
            Left: it was not the same ones for :data:`TURNS` turns yet.
        """
        self._missed[missed] += 1
        if self._missed[missed] < TURNS:
            raise Left

    @asynccontextmanager
    async def unwaiting(self) -> AsyncGenerator[None]:
        """Have what is sent in the block wait for nobody: rows are held by now, and who waits could wait in a circle.

        Raises:
            Left: others have what is needed.
        """
        before = func.current_setting(_LOCK_TIMEOUT)
        asked = await self.call.execute(select(before, func.set_config(_LOCK_TIMEOUT, PATIENCE, true())))
        limit = asked.scalar_one()
        try:
            yield
        except LockNotAvailable:
            raise Left from None
        await self.call.execute(select(func.set_config(_LOCK_TIMEOUT, limit, true())))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Forget of which specs the block has written the rows, if it is undone."""
        before = dict(self._written_for)
        try:
            yield
        except BaseException:
            self._written_for = before
            raise

    async def _keep_apart(self, keys: Sequence[Key], places: Sequence[int]) -> None:
        """Refuse specs that have written one row: their keys are one to the database, and Python tells them apart.

        Where nothing but Python tells such keys apart, they are two to SQLite as well: a trigger removed the first row,
        and its number was given to another one.
        """
        if not self._written_for and len(set(keys)) == len(keys):
            self._written_for = dict(zip(keys, places, strict=True))
            return
        for place, key in sorted(zip(places, keys, strict=True), key=itemgetter(0)):
            first = self._written_for.setdefault(key, place)
            if first != place:
                await give_up(self.call.db_sess)
                if self.call.dialect.name == "sqlite" and are_exact(self._key_columns, self.call.dialect):
                    raise RefusedByTrigger.at(first)
                raise key_twice(place, first, "spec")

    async def _confirmed(self, block: Block, send: _Send) -> dict[int, int]:
        filled = self._filled([block], block.given)
        call, new_call = self.call.setting({}, block.given), self.call.setting({}, block.given | filled)
        if not new_call.limits.held:
            return await send(block)
        new = NewRows(new_call, lambda: [block])

        async def write() -> dict[int, int]:
            async with nullcontext() if self._is_one else self.call.savepoint():
                rows = await send(block)
                written, places = self._returned.chosen(rows.values()), [block.places[row] for row in rows]
                keys, made = written.parts(self.info.primary_key), written.columns[-1]
                for is_new, each in {True: new_call, False: call}.items() if filled else ((None, call),):
                    chosen = [at for at, flag in enumerate(made) if is_new in (None, bool(flag))]
                    refusal = partial(_refusal, new, [places[at] for at in chosen])
                    await each.confirm([keys[at] for at in chosen], refusal)
            return rows

        return await (write() if self._is_one else scope_first(new_call, write, new.refused))

    def _filled(self, blocks: Sequence[Block], given: Collection[str]) -> set[str]:
        """Give the foreign keys that new rows may have though not all specs give them: some do, or they are filled."""
        some = frozenset[str]().union(*(block.columns for block in blocks))
        rest = self.info.referring.difference(given)
        return {name for name in rest if name in some or is_filled(self.info.columns[name])}

    async def as_one(self, blocks: Sequence[Block], work: Callable[[], Awaitable[T]]) -> T:
        """Write several blocks in one savepoint that is undone with all of them, and in none within it.

        Whoever came to the rows of a released one waits for the whole transaction, and still does when they are gone.
        """
        given = frozenset[str]().union(*(block.given for block in blocks))
        call = self.call.setting({}, given | self._filled(blocks, given))

        async def write() -> T:
            async with self.call.savepoint():
                return await work()

        async def refused(failure: Exception) -> Exception | None:
            whole = [await with_contextual(call, block) for block in blocks]
            return await NewRows(call, lambda: whole).refused(failure)

        self._is_one = True
        try:
            return await scope_first(call, write, refused)
        finally:
            self._is_one = False

    async def _rows(self, block: Block, held: Held) -> dict[int, int]:
        """Send the upsert, then see to the rows that it gave no answer for."""
        keys, statement = conflict_keys(self.info, self.key, block), await self._statement(block)
        found = await self._told_apart(self._sent(statement, block, keys, held), keys, block.places)
        answers = list(map(found.get, keys))
        if None in answers:
            found = await self._all_answers(statement, block, keys, found, held)
            answers = list(map(found.get, keys))
        return await self._kept(dict(enumerate(cast("list[int]", answers))))

    async def _all_answers(
        self, statement: UpsertStatement, block: Block, keys: Sequence[Key], sent: dict[Key, int], held: Held
    ) -> dict[Key, int]:
        """See to the rows that the statement gave no answer for."""
        found = await self._answers(keys, sent)
        silent = _places_without(keys, found)
        unheard = [keys[place] for place in silent]
        places = [block.places[place] for place in silent]
        seen = await self._there(unheard, statement.in_reach, places, keeps=True) if silent else {}
        there = await self._by_given(unheard, seen)
        missed = [key for key in unheard if key not in there]
        if held is Held.ALL and await self._gone(missed):
            if not statement.changes_rows:
                self.keep_turning(tuple(missed))
            async with self.unwaiting():  # else nobody but a trigger takes them away, or a cascade
                return await self._all_answers(statement, block, keys, found, Held.SOME)
        for place in silent:
            if keys[place] in there:
                if statement.changes_rows:  # ON CONFLICT has locked the row, so it was in reach all the time
                    await self._refuse(block, place)
                found[keys[place]] = there[keys[place]]
            else:
                found[keys[place]] = await self._insert(block, place)
        return found

    async def _new_rows(self, block: Block) -> dict[int, int]:
        """Insert the rows whose keys nobody has."""
        keys, statement = conflict_keys(self.info, self.key, block), await self._statement(block)
        sending = self._send(replace(statement, update=False), Upserts(block, keys), await self._gate(block))
        found = await self._answers(keys, await self._told_apart(sending, keys, block.places))
        return await self._kept({row: found[key] for row, key in enumerate(keys) if key in found})

    async def _kept(self, rows: dict[int, int]) -> dict[int, int]:
        if rows and self.call.limits.stamps:
            *columns, _ = self._returned.chosen(rows.values()).columns
            await self.call.keep_stamps(dict(zip(self.back, columns, strict=True)))
        return rows

    async def _statement(self, block: Block) -> UpsertStatement:
        given, conditions = [name for name in block.columns if name in block.given], self.call.conditions()
        info, connection = self.info, await connection_of(self.call.db_sess, self.call.origin())
        standing = await self.call.standing()
        if not standing.has_places:
            is_told_apart = not tells_by_xmax(info, connection.dialect)
            if not (is_told_apart or standing.takes_rows):  # for such a statement the server asks for columns first
                raise DatabaseFault(f"{info.table.name} is a view that takes no rows: {_INSTEAD}")
            if not is_told_apart:
                raise MappingError(
                    f"{info.table.name} is a view, and before PostgreSQL 18 no upsert tells its rows from new ones: "
                    "call find, then create(spec) or update(id, patch)"
                )
            conditions.append(shown(info))

        def updated(name: str, block: Block) -> Any:
            row = dict(zip(block.columns, next(block.rows()), strict=True))  # one, where an onupdate asks for any
            context, update = Context.of_row(connection, info, row, name, isinsert=True), info.columns[name].onupdate
            return cast("Any", update).arg(context)

        return UpsertStatement(info, self.key, given, conditions, self.back, self.conflict.update, updated)

    async def _gate(self, block: Block) -> Gate:
        gate = await pass_gate(self.call.db_sess, self.info, self.call.origin(), block.columns)
        # A worker takes no statement of whose parameters the first are used elsewhere, as arrays are (SQLSTATE 42P18).
        return gate if self.info.shard_key is None else replace(gate, arrays=False)

    async def _by_given(self, keys: Sequence[Key], rows: dict[Key, int]) -> dict[Key, int]:
        """Give rows by the keys that were given, which the database may have otherwise."""
        if all(map(rows.__contains__, keys)):
            return rows
        stored = await self.call.as_stored(self._key_columns, keys, rows.keys())
        return {key: rows[other] for key, other in stored.items()}

    async def _answers(self, keys: Sequence[Key], written: dict[Key, int]) -> dict[Key, int]:
        """Give rows that were written by the keys that were given, one a key.

        Raises:
            Moved: others came back, too, and of several nobody knows which is whose.
        """
        found = await self._by_given(keys, written)
        if len(keys) > 1 and len({*found.values()}) < len(written):
            raise Moved
        return found

    async def _gone(self, keys: Sequence[Key]) -> bool:
        """Say whether some rows are not there, for nobody."""
        if not keys:
            return False
        found = await self._read_there(self._key_columns, keys, range(len(keys)))
        there = await self._by_given(keys, {tuple(key): place for place, key in enumerate(found)})
        return not all(map(there.__contains__, keys))

    @property
    def _predicate(self) -> list[ColumnElement[bool]]:
        return [] if self.key.where is None else [self.key.where]

    @property
    def _key_columns(self) -> list[Column[Any]]:
        return [self.info.columns[name] for name in self.key.names]

    async def _told_apart(self, sending: Awaitable[T], keys: Sequence[Key], places: Sequence[int]) -> T:
        """Await a statement; that PostgreSQL would write one row twice is the fault of the specs, or a trigger's."""
        try:
            return await sending
        except DatabaseFault as exc:
            if exc.facts.sqlstate != CARDINALITY_VIOLATION:
                raise
            if self.call.limits.is_unsettled and len(keys) > 1:
                raise Moved from None
            if are_exact(self._key_columns, self.call.dialect):
                raise
        failure = InvalidValue("two of the specs have one key to the database, which Python tells apart: give it once")
        with suppress(RepositoryError):  # nothing can be asked where the statement is not undone yet
            if twins := await self.call.twins(self._key_columns, keys):
                first, place = min(sorted((places[one], places[other])) for one, other in twins.items())
                failure = key_twice(place, first, "spec")
        raise failure

    async def _sent(self, statement: UpsertStatement, block: Block, keys: Sequence[Key], held: Held) -> dict[Key, int]:
        if self.call.dialect.name != "postgresql":
            return await self._values_after_a_look(statement, block, keys)
        if held is Held.ALL and not statement.changes_rows and self.key.where is None:
            return {}  # they are no more than looked at: who inserts now may wait in a circle
        if len(keys) == 1:
            return {} if self.call.already_written is not None else await self._values(statement, block, keys)
        gate = await self._gate(block)
        if held is not Held.NONE:
            return await self._send(statement, Upserts(block, keys), gate)
        rows = Upserts(block, keys).chosen(places_in_order(key_columns(self.key, block)))
        return await self._in_turns(statement, rows, gate)

    async def _in_turns(self, statement: UpsertStatement, rows: Upserts, gate: Gate) -> dict[Key, int]:
        """Send the upsert until nothing came or went in between.

        Rows that it leaves out although they are there, and held by it, are out of reach, or a trigger's doing; those
        that are not there are a trigger's, if that is so time and again. They go alone then, and wait for nobody.
        """
        for _ in range(MOST_TURNS):
            with suppress(Left):
                async with self.call.savepoint_of_statements():
                    found = await self._in_steps(statement, rows, gate)
                    if rows.all_in(found):
                        return found
                    found = await self._answers(rows.keys, found)
                    left = rows.left_by(found)
                    if not left.keys:
                        return found
                    waits = not statement.changes_rows  # as no row that is there is held yet
                    if await self._lock(statement, left.keys, gate.dialect, waits=waits) >= len(left.keys):
                        if statement.changes_rows:
                            found |= await self._answers(left.keys, await self._send(statement, left, gate))
                        return found
                    self.keep_turning(tuple(left.keys))
                    async with self.unwaiting():
                        found |= await self._answers(left.keys, await self._send(statement, left, gate))
                        return await self._all_answers(statement, rows.block, rows.keys, found, Held.SOME)
        raise busy()

    async def _in_steps(self, statement: UpsertStatement, rows: Upserts, gate: Gate) -> dict[Key, int]:
        """Insert the rows that are new, lock the others in the order of their primary keys, and change those.

        Who inserts holds nothing yet that a batch over primary keys could wait for, and who has locked rows inserts
        none, so nobody waits in a circle. What came or went in between is left out.
        """
        if not statement.changes_rows:
            return await self._send(statement, rows, gate)
        if gate.driver and gate.inserts_arrays and not statement.is_singly:
            return await self._arrays(statement, UpsertStatement.in_steps, rows, gate)
        made = await self._send(replace(statement, update=False), rows, gate)
        found = await self._answers(rows.keys, made)
        rest = rows.left_by(found)
        is_whole = rest.keys and await self._lock(statement, rest.keys, gate.dialect) == len(rest.keys)
        return found | await self._send(statement, rest, gate) if is_whole else found

    async def _lock(
        self, statement: UpsertStatement, keys: Sequence[Key], dialect: Dialect, *, waits: bool = True
    ) -> int:
        """Lock rows, and give how many; if it does not wait, those that others have are left out."""
        number = 0
        for chunk in key_chunks(keys, dialect, self._key_columns):
            number += len((await self.call.execute(statement.lock(chunk, dialect, waits=waits))).all())
        return number

    async def _send(self, statement: UpsertStatement, rows: Upserts, gate: Gate) -> dict[Key, int]:
        if not gate.inserts_arrays or statement.is_singly:
            return await self._values(statement, rows.block, rows.keys)
        return await self._arrays(statement, UpsertStatement.from_arrays, rows, gate)

    async def _arrays(self, statement: UpsertStatement, form: Form, rows: Upserts, gate: Gate) -> dict[Key, int]:
        sent, send = (
            self.patterns.sent(statement, form, rows.block, gate),
            fetch_underneath if gate.driver else fetch_columns,
        )
        columns = await send(self.call.db_sess, self.call.origin().of(rows.block.places), sent)
        return self._take(columns, rows.keys)

    def _take(self, columns: Sequence[Sequence[Any]], keys: Sequence[Key] = ()) -> dict[Key, int]:
        """Keep what came back, and give its places by key; where one alone was asked for, by that."""
        places = self._returned.add(columns)
        if len(keys) == 1 and places:
            return {keys[0]: places[0]}
        return dict(zip(self._parts(columns, self.key.names), places, strict=True))

    def _parts(self, columns: Sequence[Sequence[Any]], names: Sequence[str]) -> Iterator[Key]:
        return zip(*(columns[self.back.index(name)] for name in names), strict=True)

    async def _values(self, statement: UpsertStatement, block: Block, keys: Sequence[Key]) -> dict[Key, int]:
        """Send each value by itself."""
        dialect, found = self.call.dialect, dict[Key, int]()
        for part in in_blocks(block, _rows_at_a_time(statement, block)):
            sent = await greenlet_spawn(statement.from_values, part, dialect)  # an onupdate may ask the database
            rows = await self._rows_of(sent, part)
            found |= self._take(self._columns(rows), keys)
            if len(keys) == 1 and found:
                return found
        return found

    def _columns(self, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        return list(zip(*rows, strict=True)) or [()] * (len(self.back) + 1)

    async def _values_after_a_look(
        self, statement: UpsertStatement, block: Block, keys: Sequence[Key]
    ) -> dict[Key, int]:
        """SQLite has no word for "inserted": the rows are looked up before, by the one writer there is.

        New are those that none was before: a row that is not of the key's index is new, though one there has its key.
        """
        there = await self._read_there(self.info.key_columns, keys, block.places)
        before: set[Key] = {tuple(key) for key in there}
        found: dict[Key, int] = {}
        for part in in_blocks(block, _rows_at_a_time(statement, block)):
            rows = await self._rows_of(await greenlet_spawn(statement.from_values, part, self.call.dialect), part)
            *columns, _ = self._columns([(*row, None) for row in rows])
            made = [key not in before for key in self._parts(columns, self.info.primary_key)]
            found |= self._take([*columns, made])
        return found

    async def _rows_of(self, statement: Executable, block: Block) -> Sequence[Any]:
        sending = self.call.execute(statement, RAW, items=Items(block.places))
        dialect = self.call.dialect
        return (await naming(sending, lambda: unbindable(self.info, block.columns, dialect, block.places))).all()

    async def _there(
        self,
        keys: Sequence[Key],
        conditions: Sequence[ColumnElement[bool]],
        places: Sequence[int],
        *,
        keeps: bool = False,
    ) -> dict[Key, int]:
        """Give the rows that are there under some conditions; ``places`` are those of the keys, for messages."""
        columns = [self.info.columns[name] for name in self.back]
        rows = await self._read_there(columns, keys, places, conditions, keeps=keeps)
        return self._take(self._columns([(*row, False) for row in rows]))

    async def _read_there(
        self,
        columns: Sequence[Column[Any]],
        keys: Sequence[Key],
        places: Sequence[int],
        conditions: Sequence[ColumnElement[bool]] = (),
        *,
        keeps: bool = False,
    ) -> list[Any]:
        """Give these columns of them; ``keeps`` has nobody remove the rows meanwhile."""
        dialect, found = self.call.dialect, list[Any]()
        for chunk in key_chunks(keys, dialect, self._key_columns):
            these = columns_condition(self._key_columns, chunk, dialect)
            statement: Any = limited(select(*columns), these, *self._predicate, *conditions)
            if keeps:
                statement = statement.order_by(*self.info.key_columns).with_for_update(**KEPT)
            found += await self.call.execute(statement, items=Items(places[: len(chunk)]))
            places = places[len(chunk) :]
        return found

    async def _insert(self, block: Block, place: int) -> int:
        """Insert a row whose key is taken by one that this caller does not see: the database says so in its own words.

        If it does not, that row is gone meanwhile, and this one is created.
        """
        info = self.info
        row = {name: column[place] for name, column in block.columns.items()}
        values = {info.columns[name]: storable(info, name, value) for name, value in row.items()}
        statement = insert(insertable(info.row)).values(values).returning(*(info.columns[name] for name in self.back))
        rows = await self._rows_of(statement, block.part(place, 1))
        if not rows:
            await self._refuse(block, place)
        return self._returned.add([*zip(rows[0]), (True,)])[0]

    async def _refuse(self, block: Block, place: int) -> NoReturn:
        await give_up(self.call.db_sess)
        raise RefusedByTrigger.at(block.places[place])

    async def _results(self, written: Returned, keys: Sequence[Key], places: Sequence[int]) -> list[Upserted[TData]]:
        *columns, news = written.columns
        shape = self.call.entity.shape
        if shape.names:
            data = shape.build_all(list(zip(*columns[: len(shape.names)], strict=True)))
        else:
            data = await present_made(self.call, keys, places)
        return _upserted(zip(data, news, strict=True))


def _refusal(new: NewRows, places: Sequence[int], at: int) -> Exception:
    return new.refusal(places[at])


_upserted = builder(Upserted, ("data", "inserted"))

_Send = Callable[[Block], Awaitable[dict[int, int]]]
"""Writes rows, and gives the places of what came back of those that were written, by their own places."""


@dataclass
class Returned:
    """Rows that came back, as columns, each known by its place; the last column says whether they are new."""

    names: Sequence[str]
    columns: Sequence[Sequence[Any]]

    def add(self, columns: Sequence[Sequence[Any]]) -> range:
        """Take further rows, and give their places."""
        first = len(self.columns[-1])
        self.columns = [[*old, *new] for old, new in zip(self.columns, columns, strict=True)] if first else columns
        return range(first, len(self.columns[-1]))

    def chosen(self, places: Collection[int]) -> Returned:
        """Give some of the rows, in another order."""
        return Returned(self.names, list(map(picking(places), self.columns)))

    def parts(self, names: Sequence[str]) -> list[Key]:
        """Give some of the columns, row by row."""
        return list(zip(*(self.columns[self.names.index(name)] for name in names), strict=True))


@dataclass(frozen=True)
class Upserts:
    """Rows to be upserted, with the key of each."""

    block: Block
    keys: Sequence[Key]

    def chosen(self, places: Sequence[int]) -> Upserts:
        """Give some of them."""
        return Upserts(self.block.chosen(places), picking(places)(self.keys))

    def all_in(self, found: Collection[Key]) -> bool:
        """Say whether each had an answer."""
        return all(map(found.__contains__, self.keys))

    def left_by(self, found: Collection[Key]) -> Upserts:
        """Give those that had no answer."""
        return self.chosen(_places_without(self.keys, found))


def _places_without(keys: Sequence[Key], found: Collection[Key]) -> list[int]:
    if all(map(found.__contains__, keys)):
        return []
    return [place for place, key in enumerate(keys) if key not in found]


def _rows_at_a_time(statement: UpsertStatement, block: Block) -> int:
    return 1 if statement.is_singly else SQLITE_PARAMETERS // (len(block.columns) + 1)


def busy() -> LockNotAvailable:
    """Give the error for an upsert that never met its rows as they were a moment before."""
    return LockNotAvailable("others add and remove rows of these keys all the time: call again later")


class Left(BaseException):
    """Rows came or went meanwhile, so that some had no answer; all is to be undone, locks too. No item's fault."""


class Moved(TriedOtherwise):
    """The database has changed keys of rows, or other rows of the call: of several nobody knows what is whose."""
