"""New rows on their way: read in blocks, sent in one lane, what comes back of them handed on."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from typing import Any, TypeAlias, cast

from sqlalchemy import Integer, Result, bindparam, func, insert, select
from sqlalchemy.engine import Dialect
from sqlalchemy.types import NullType

from rowsmith.conditions import limited
from rowsmith.errors import MappingError, RefusedByTrigger
from rowsmith.execution import Items
from rowsmith.execution.driver import give_up, use_driver
from rowsmith.execution.undone import note_write
from rowsmith.mapping import RowInfo, Spec, row_info
from rowsmith.mapping.target import insertable
from rowsmith.mapping.types import NONE, stored_form
from rowsmith.names import sql_name
from rowsmith.operations.arrays.binding import naming, unbindable
from rowsmith.operations.arrays.fetch import (
    ArrayStatement,
    Fetching,
    Statement,
    compile_statement,
    fetch_columns,
    fetch_underneath,
)
from rowsmith.operations.arrays.given import Parameter, given_values
from rowsmith.operations.arrays.keys import SQLITE_PARAMETERS, is_tellable, key_chunks, keys_condition
from rowsmith.operations.arrays.same import as_read
from rowsmith.operations.arrays.unnest import PLACE, Unnested
from rowsmith.operations.arrays.wire import BoundItem, bound, is_json, is_untold
from rowsmith.operations.blocks.block import (
    BLOCK,
    EVERY_PLACE,
    Block,
    Columns,
    SpecReader,
    blocks,
    in_blocks,
    is_uniform,
    joined,
    merged,
    parted,
    typed,
)
from rowsmith.operations.blocks.defaults import contextual
from rowsmith.operations.blocks.echo import echo_of
from rowsmith.operations.blocks.gate import pass_gate
from rowsmith.operations.blocks.lanes import Lane
from rowsmith.operations.call import Call
from rowsmith.operations.contextual import with_contextual
from rowsmith.operations.inserts.chunks import Incoming
from rowsmith.operations.inserts.clashes import clash_order, in_clash_order
from rowsmith.operations.inserts.copy import Copy
from rowsmith.operations.inserts.matching import (
    Rows,
    arranged,
    counted,
    first_gap,
    is_exact,
    maker,
    places_by_count,
    places_by_key,
)
from rowsmith.operations.plans import MOST_PLANS

logger = logging.getLogger("rowsmith.operations.inserts.many")

RAW = {"dml_strategy": "raw"}
"""Has an INSERT that names the mapped class sent as it is, its columns by their own keys."""

MOST_COPIED = 250_000
"""How many rows one COPY takes before the last chunk: of rows that were reordered it has to remember the places."""

CHUNK_BLOCKS = 10
"""How many blocks stand in one statement of the UNNEST lane: ten thousand rows, a few megabytes."""

_TEXTS = {str, NONE}

Take: TypeAlias = Callable[[Rows, int], None]
"""Is told of rows that were sent: what comes back of them, as columns by attribute name, and how many they are."""

Complete: TypeAlias = Callable[[Sequence[Block]], Awaitable[Sequence[Block]]]
"""Adds columns that have to be asked of the database first; is given all rows at once."""


Write: TypeAlias = Callable[[Dialect, Block, tuple[str, ...]], Awaitable[Sequence[Sequence[Any]]]]
"""Inserts rows by one statement, and gives some attributes of them back, column by column."""


Arrange: TypeAlias = Callable[[Sequence[int]], None]
"""Is told, once all rows are sent, the places in the input of what was taken."""


@dataclass(frozen=True)
class Insertion:
    """What to insert and what comes back.

    ``back`` are attribute names; ``reader`` reads the specs; ``take`` gets those columns of rows sent, in the order
    in which they were, and ``arrange`` is told which they are; ``complete`` adds columns before anything is sent.
    """

    call: Call[object, object]
    reader: SpecReader
    back: tuple[str, ...]
    take: Take = field(repr=False)
    arrange: Arrange = field(repr=False)
    complete: Complete | None = None

    async def send(self, specs: Sequence[Spec[Any]]) -> Lane | None:
        """Insert a row for each spec; gives the lane taken last, None where there are no specs.

        Raises:
            RepositoryError: a value, the scope or a constraint said no.
        """
        if not specs:
            return None
        lane: Lane | None = None
        given = [self.reader.given(part) for part in blocks(specs)]
        places, runs = await self._runs(given)
        several = len(runs) > 1 or len(specs) > BLOCK * CHUNK_BLOCKS
        async with self.call.savepoint() if several else nullcontext():
            for run in runs:
                lane = await self._send(run, len(specs))
        if not isinstance(places, range):
            self.arrange(places)
        return lane

    async def load(self, incoming: Incoming) -> None:
        """Insert all rows, chunk after chunk; many chunks go in one COPY.

        Raises:
            RepositoryError: a value, the scope or a constraint said no; what was sent before it has to be undone.
        """
        while given := await incoming.chunk():
            goes_on = incoming.is_at_hand and not self._asks_before and is_uniform(given)
            for run in (await self._runs(given))[1]:
                await self._send(run, sum(block.size for block in given), incoming if goes_on else None)

    def _uniform(self, given: Sequence[Block]) -> tuple[Sequence[int], Iterator[Block]] | None:
        """Give rows that all set the same fields, each checked as it is sent, and their places; None for others."""
        if self._asks_before or not is_uniform(given):
            return None
        order = clash_order(self.call.entity, self.call.limits, given) if self._is_ordered else None
        if order is None:
            return range(0), map(self.reader.checked, given)
        ordered = joined(given).chosen(order)
        return ordered.places, map(self.reader.checked, map(typed, in_blocks(ordered)))

    async def _runs(self, given: Sequence[Block]) -> tuple[Sequence[int], list[Iterator[Block]]]:
        """Give the rows as one statement after the other takes them, and their places in that order.

        On PostgreSQL they are in the order of the key over which they may clash with those of other transactions:
        an INSERT waits for a transaction that has inserted the same key, so two that come in different orders would
        deadlock.
        """
        if (uniform := self._uniform(given)) is not None:
            return uniform[0], [uniform[1]]
        read = [self.reader.checked(part) for block in given for part in parted(block)]
        if self.complete is not None:
            read = list(await self.complete(read))
        if contextual(self.call.info, ()):
            read = [await with_contextual(self.call, one) for one in read]
        runs = merged(self.call.info, read)
        if self._is_ordered:
            runs = in_clash_order(self.call.entity, self.call.limits, runs)
        return [place for run in runs for place in run.places], [in_blocks(run) for run in runs]

    @property
    def _asks_before(self) -> bool:
        """Whether the database is asked for something before a row can be sent."""
        return self.complete is not None or bool(contextual(self.call.info, ()))

    @property
    def _is_ordered(self) -> bool:
        return self.call.dialect.name == "postgresql"

    async def _send(self, parts: Iterator[Block], size: int, incoming: Incoming | None = None) -> Lane:
        first = next(parts)
        gate = await pass_gate(self.call.db_sess, self.call.info, self.call.origin(), first.columns, self.back)
        because = f": {gate.why}" if gate.why else ""
        logger.debug("%d new %s go by %s%s", size, self.call.info.row.__name__, gate.lane.value, because)
        lanes = {Lane.UNNEST: self._unnest, Lane.SENT: self._sent, Lane.MANY: self._many}
        send = lanes.get(gate.lane, partial(self._copy, incoming=incoming))
        await send(gate.dialect, chain([first], parts))
        return gate.lane

    async def _copy(self, dialect: Dialect, parts: Iterator[Block], incoming: Incoming | None) -> None:
        first = next(parts)
        # A column that stays NULL is said to be NULL, so that what is handed on is what is stored.
        nulls = [name for name in self.back if name not in first.columns]
        sent = (
            part.beside({name: [None] * part.size for name in nulls}, {name: {type(None)} for name in nulls})
            if nulls
            else part
            async for part in self._flow(chain([first], parts), incoming)
        )
        copy = Copy(self.call.info, dialect, [*first.columns, *nulls], sent, self._echo)
        done = await use_driver(self.call.db_sess, self.call.origin().of(EVERY_PLACE), copy.send)
        if isinstance(done, Exception):
            raise done
        note_write(self.call.db_sess)

    async def _flow(self, parts: Iterator[Block], incoming: Incoming | None) -> AsyncGenerator[Block]:
        """Give rows, and then those of the chunks that come after, as long as they set the same fields."""
        size, given = 0, frozenset[str]()
        while True:
            for part in parts:
                yield part
                size, given = size + part.size, part.given
            if incoming is None or size >= MOST_COPIED:
                return
            if (uniform := self._uniform(await incoming.chunk(given))) is None:
                return
            parts = uniform[1]

    def _echo(self, block: Block) -> None:
        columns = {name: self._echoed(name, block) for name in self.back}
        self.take(columns, block.size)

    def _echoed(self, name: str, block: Block) -> Sequence[Any]:
        echo = echo_of(self.call.info.columns[name].type)
        values = block.columns[name]
        return values if echo is None else echo(values, block.types[name])

    async def _unnest(self, dialect: Dialect, parts: Iterator[Block]) -> None:
        for chunk in _chunks(parts):
            await self._insert_rows(dialect, chunk, partial(self._write_arrays, fetch_underneath))

    async def _sent(self, dialect: Dialect, parts: Iterator[Block]) -> None:
        for chunk in _chunks(parts):
            await self._insert_rows(dialect, chunk, partial(self._write_arrays, fetch_columns))

    async def _insert_rows(self, dialect: Dialect, chunk: Block, write: Write) -> None:
        """Insert rows and hand them on in input order; one by one where nothing else tells them apart."""
        count = counted(self.call.info, chunk.columns)
        made = {} if count else await self._made_keys(chunk)
        whole = chunk.beside(made, {name: set(map(type, column)) for name, column in made.items()}) if made else chunk
        is_told = count is not None or all(is_tellable(self.call.info, name) for name in self.call.info.primary_key)
        if (made is None or not is_told) and chunk.size > 1:
            await self._one_by_one(dialect, chunk, write)
        elif count or chunk.size == 1 or is_exact(self.call.info, dialect):
            returned = await self._returned(dialect, whole, write)
            await self._refuse_skipped(chunk, whole.columns, returned)
            self.take(self._in_input_order(whole, returned, count), chunk.size)
        elif (found := await self._tried(dialect, whole, write)) is None:
            await self._one_by_one(dialect, chunk, write)
        else:
            self.take(found, chunk.size)

    async def _tried(self, dialect: Dialect, chunk: Block, write: Write) -> Rows | None:
        """Insert rows whose keys may be stored otherwise than they were given; None, all undone, if they are."""
        try:
            async with self.call.savepoint():
                return self._in_input_order(chunk, await self._returned(dialect, chunk, write), None)
        except MappingError:  # or a trigger skipped one, which shows when they are sent alone
            return None

    async def _one_by_one(self, dialect: Dialect, chunk: Block, write: Write) -> None:
        for place in range(chunk.size):
            await self._insert_rows(dialect, chunk.part(place, 1), write)

    async def _returned(self, dialect: Dialect, chunk: Block, write: Write) -> Rows:
        back = tuple(dict.fromkeys((*self.back, *self.call.info.primary_key, *self.call.limits.stamps)))
        returned = dict(zip(back, await write(dialect, chunk, back), strict=True))
        await self.call.keep_stamps(returned)
        return returned

    async def _write_arrays(
        self, fetch: Fetching, dialect: Dialect, chunk: Block, back: tuple[str, ...]
    ) -> Sequence[Sequence[Any]]:
        info, names = self.call.info, tuple(chunk.columns)
        statement, compiled = _inserting(cast("Any", info.row), names, back, dialect)
        arrays = Unnested(info, names).arrays(chunk.columns, chunk.types, dialect, chunk.places)
        sent = ArrayStatement(statement, compiled, arrays, dialect)
        return await fetch(self.call.db_sess, self.call.origin().of(chunk.places), sent)

    async def _write_values(self, dialect: Dialect, chunk: Block, back: tuple[str, ...]) -> Sequence[Sequence[Any]]:
        info = self.call.info

        async def send() -> Sequence[Sequence[Any]]:
            columns = enumerate((info.columns[name], values) for name, values in chunk.columns.items())
            given = [Parameter(sql_name(f"column_{at}"), item.type, values, item) for at, (item, values) in columns]
            table = given_values([Parameter(PLACE, Integer(), range(chunk.size)), *given], dialect)
            rows = select(*(table.c[one.name] for one in given)).order_by(table.c[PLACE])
            keys = [info.columns[name].key for name in chunk.columns]
            statement = insert(insertable(info.row)).from_select(keys, rows, include_defaults=True)
            returning = statement.returning(*(info.columns[name] for name in back))
            written = (await self.call.execute(returning, RAW, items=Items(chunk.places))).all()
            return list(zip(*written, strict=True)) or [()] * len(back)

        return await naming(send(), partial(unbindable, info, chunk.columns, dialect, chunk.places))

    async def _refuse_skipped(self, chunk: Block, columns: Columns, returned: Rows) -> None:
        """Refuse to go on where fewer rows were written than sent.

        Raises:
            RefusedByTrigger: with the index of the first one, where it can be told.
        """
        number = len(next(iter(returned.values()), ()))
        if number == chunk.size or not returned:
            return
        place: int | None = 0
        if chunk.size > 1 and not all(name in returned for name in self.call.info.primary_key):
            place = None
        elif chunk.size > 1 and all(name in columns for name in self.call.info.primary_key):
            places = places_by_key(self.call.info, columns, returned)
            place = places.index(None) if None in places and number + places.count(None) == chunk.size else None
        elif chunk.size > 1:
            place = await self._first_skipped(chunk, returned)
        await give_up(self.call.db_sess)
        raise RefusedByTrigger.at(None if place is None else chunk.places[place])

    async def _first_skipped(self, chunk: Block, returned: Rows) -> int | None:
        """Look at what was written, in the order in which the server counted: it follows the input but for gaps."""
        count = counted(self.call.info, chunk.columns)
        names = [name for name in chunk.columns if echo_of(self.call.info.columns[name].type) is not None]
        if count is None or not names:
            return None
        dialect = self.call.dialect
        written = dict[Any, tuple[Any, ...]]()
        there = list(zip(*(returned[name] for name in self.call.info.primary_key), strict=True))
        for keys in key_chunks(there, dialect, self.call.info.key_columns):
            columns = [self.call.info.columns[name] for name in (count, *names)]
            statement = limited(select(*columns), keys_condition(self.call.info, keys, dialect))
            rows = (await self.call.execute(statement)).all()
            written |= {row[0]: tuple(row[1:]) for row in rows}
        order = places_by_count(self.call.info, count, {count: list(written)})
        held = [list(written.values())[place] for place in order]
        return first_gap(list(zip(*(self._echoed(name, chunk) for name in names), strict=True)), held)

    def _in_input_order(self, chunk: Block, returned: Rows, count: str | None) -> Rows:
        """Put returned rows into the order of the input.

        Raises:
            MappingError: keys are stored otherwise than they were given.
        """
        if chunk.size == 1:
            return returned
        if count is not None:
            return arranged(returned, places_by_count(self.call.info, count, returned))
        given = {name: self._echoed(name, chunk) for name in self.call.info.primary_key}
        places = [place for place in places_by_key(self.call.info, given, returned) if place is not None]
        if len(set(places)) < chunk.size:  # two may be equal to Python alone
            raise MappingError(
                f"the key of {self.call.info.row.__name__} is stored otherwise than it was given, so rows cannot "
                "be told apart: give a part that the database makes server_default=FetchedValue()"
            )
        return arranged(returned, places)

    async def _made_keys(self, chunk: Block) -> Columns | None:
        """Have parts of the key that the server makes by an expression (a random UUID) made first.

        Gives None where a part is made nobody knows how, by a trigger perhaps.
        """
        missing = [name for name in self.call.info.primary_key if name not in chunk.columns]
        makers = {name: maker(self.call.info, name) for name in missing}
        if any(maker is None for maker in makers.values()):
            return None
        if not makers or chunk.size == 1:
            return {}
        series = func.generate_series(1, chunk.size).table_valued(sql_name("number"))
        made = (await self.call.execute(select(*makers.values()).select_from(series))).all()
        return dict(zip(makers, zip(*made, strict=True), strict=True))

    async def _many(self, dialect: Dialect, parts: Iterator[Block]) -> None:
        for chunk in _chunks(parts):
            if chunk.size > 1 and self._goes_as_values(chunk, dialect):
                for part in in_blocks(chunk, min(BLOCK, SQLITE_PARAMETERS // (len(chunk.columns) + 1))):
                    await self._insert_rows(dialect, part, self._write_values)
                continue
            singly = chunk.size > 1 and self._goes_singly(chunk, dialect)
            for part in in_blocks(chunk, 1) if singly else (chunk,):
                await self._send_many(dialect, part)

    def _goes_as_values(self, chunk: Block, dialect: Dialect) -> bool:
        """Say whether PostgreSQL has to be told the types of values: it would take them for text, and convert that.

        Of what it converts it says neither row nor column, and cuts off what is too long.
        """
        if dialect.name != "postgresql":
            return False
        kinds = [stored_form(self.call.info.columns[name].type) for name in chunk.columns]
        return any(map(is_untold, kinds)) and not any(isinstance(kind, NullType) for kind in kinds)

    def _goes_singly(self, chunk: Block, dialect: Dialect) -> bool:
        """Say whether SQLAlchemy could not send many rows in one statement, or not tell them apart by their keys."""
        info = self.call.info
        if dialect.name != "postgresql":
            return self._are_split(chunk, dialect)
        if any(is_untold(info.columns[name].type) and not kinds <= _TEXTS for name, kinds in chunk.types.items()):
            return True
        is_keyed = bool(self.back) and all(name in chunk.columns for name in info.primary_key)
        return is_keyed and not is_exact(info, dialect)

    def _are_split(self, chunk: Block, dialect: Dialect) -> bool:
        """Say whether keys may come back from SQLite otherwise than they are given, or are equal to Python alone."""
        info, names = self.call.info, self.call.info.primary_key
        may_change = info.has_rounded_key or not info.split.isdisjoint(names) or not is_exact(info, dialect)
        if not (self.back and may_change and all(name in chunk.columns for name in names)):
            return False
        if not all(is_tellable(info, name) for name in names):
            return True
        keys = list(zip(*(chunk.columns[name] for name in names), strict=True))
        return len({key for key in keys if as_read(info.key_columns, key, dialect) == key}) < len(keys)

    async def _send_many(self, dialect: Dialect, chunk: Block) -> None:
        back = self._back(chunk, dialect)
        # No trigger of SQLite's changes a row before it is there.
        stamps = self.call.limits.stamps if dialect.name == "postgresql" else ()
        named = tuple(dict.fromkeys((*back, *stamps)))
        marks = json_marks(self.call.info, chunk.columns, dialect)
        statement: Any = insert(insertable(self.call.info.row)).values(marks)
        is_sorted = bool(back) and back == self.back
        if named:
            selects = (self.call.info.columns[name] for name in named)
            statement = statement.returning(*selects, sort_by_parameter_order=is_sorted)

        async def send() -> Result[Any]:
            rows = many_parameters(self.call.info, chunk, dialect)
            return await self.call.execute(statement, RAW, rows, items=Items(chunk.places))

        result = await naming(send(), partial(unbindable, self.call.info, chunk.columns, dialect, chunk.places))
        columns = list(zip(*result.all(), strict=True)) if named else []
        returned: Rows = dict(zip(named, columns, strict=True)) if columns else dict.fromkeys(named, ())
        await self._refuse_skipped(chunk, chunk.columns, returned)
        if stamps:
            await self.call.keep_stamps(returned)
        count = None if is_sorted else counted(self.call.info, chunk.columns)
        is_ready = is_sorted or not back
        self.take(returned if is_ready else self._in_input_order(chunk, returned, count), chunk.size)

    def _back(self, chunk: Block, dialect: Dialect) -> tuple[str, ...]:
        """Give what is to come back: on SQLite with the key, where that tells the order better than SQLAlchemy can.

        SQLite numbers rows in the order of VALUES; SQLAlchemy does not rely on it and would send one row at a time.
        """
        known = all(name in chunk.columns for name in self.call.info.primary_key) and is_exact(self.call.info, dialect)
        ordered = known or counted(self.call.info, chunk.columns) is not None
        if not ordered or dialect.name != "sqlite":
            return self.back
        return (*self.back, *self.call.info.primary_key)


@lru_cache(maxsize=MOST_PLANS)
def _inserting(row: Any, names: tuple[str, ...], back: tuple[str, ...], dialect: Dialect) -> tuple[Statement, Any]:
    """Give the INSERT of arrays that gives some attributes back, and the same compiled."""
    info, given = row_info(row), Unnested(row_info(row), names)
    keys = [info.columns[name].key for name in names]
    statement = insert(info.table).from_select(keys, given.select(), include_defaults=True)
    returning = statement.returning(*(info.columns[name] for name in back))
    return returning, compile_statement(returning, dialect)


def json_marks(info: RowInfo[object], names: Iterable[str], dialect: Dialect) -> dict[Any, Any]:
    """Give parameters for the JSON columns, whose None SQLAlchemy would take for the JSON literal ``null``."""
    columns = (info.columns[name] for name in names)
    return {c: bindparam(sql_name(c.key), type_=BoundItem(c.type)) for c in columns if is_json(c.type, dialect)}


def many_parameters(info: RowInfo[object], block: Block, dialect: Dialect) -> list[dict[str, Any]]:
    """Give one mapping a row, for an INSERT of SQLAlchemy's with :func:`json_marks` among its values."""
    marked = [name for name in block.columns if is_json(info.columns[name].type, dialect)]
    keys = [sql_name(info.columns[name].key) if name in marked else info.columns[name].key for name in block.columns]
    values = {name: bound(info.columns[name].type, block.columns[name], dialect) for name in marked}
    rows = block.beside(values, {}).rows()
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _chunks(parts: Iterator[Block]) -> Iterator[Block]:
    """Read everything before the first statement is sent, then give it in larger pieces."""
    return map(joined, blocks(list(parts), CHUNK_BLOCKS))
