"""New rows on their way: read in blocks, sent in one lane, what is wanted of them handed on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any, TypeAlias

from sqlalchemy import bindparam, func, insert, literal, select, type_coerce
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.execution import Origin, execute
from rowsmith.execution.driver import use_driver
from rowsmith.mapping import RowInfo, Spec
from rowsmith.operations.bulk.block import Block, Columns, Reader, blocks, joined
from rowsmith.operations.bulk.copy import Copy
from rowsmith.operations.bulk.echo import echo_of
from rowsmith.operations.bulk.fetch import Fetch, Fetching, fetch_columns, fetch_underneath
from rowsmith.operations.bulk.gate import pass_gate
from rowsmith.operations.bulk.lanes import Lane
from rowsmith.operations.bulk.unnest import Unnested
from rowsmith.operations.bulk.wire import BoundItem, bound, is_json

logger = logging.getLogger("rowsmith.operations.batch_creator")

RAW = {"dml_strategy": "raw"}
"""Has an INSERT that names the mapped class sent as it is, its columns by their own keys."""

CHUNK_BLOCKS = 10
"""How many blocks stand in one statement of the UNNEST lane: ten thousand rows, a few megabytes."""

Take: TypeAlias = Callable[[Mapping[str, Sequence[Any]], int], None]
"""Is told of rows that were sent: what is wanted of them, as columns by attribute name, and how many they are."""


Complete: TypeAlias = Callable[[AsyncSession, Sequence[Block]], Awaitable[Sequence[Block]]]
"""Adds columns that have to be asked of the database first; is given all rows at once."""


@dataclass(frozen=True)
class Insertion:
    """What to insert and what is wanted back.

    ``wanted`` are attribute names; ``reader`` reads the specs; ``take`` gets the wanted columns of rows sent, in
    input order; ``complete`` adds columns before anything is sent.
    """

    info: RowInfo[Any]
    origin: Origin
    reader: Reader
    wanted: tuple[str, ...]
    take: Take = field(repr=False)
    complete: Complete | None = None

    async def send(self, db_sess: AsyncSession, specs: Sequence[Spec[Any]]) -> Lane | None:
        """Insert a row for each spec; gives the lane taken, None where there are no specs.

        Raises:
            RepositoryError: a value, the scope or a constraint said no.
        """
        if not specs:
            return None
        parts: Iterator[Block] = map(self.reader.read, blocks(specs))
        if self.complete is not None:
            parts = iter(await self.complete(db_sess, list(parts)))
        first = next(parts)
        gate = await pass_gate(db_sess, self.info, self.origin, first.columns, self.wanted)
        because = f": {gate.why}" if gate.why else ""
        logger.debug("%d new %s go by %s%s", len(specs), self.info.row.__name__, gate.lane.value, because)
        await self._lanes[gate.lane](db_sess, gate.dialect, chain([first], parts))
        return gate.lane

    @property
    def _lanes(self) -> Mapping[Lane, Callable[..., Any]]:
        return {Lane.COPY: self._copy, Lane.UNNEST: self._unnest, Lane.SENT: self._sent, Lane.MANY: self._many}

    async def _copy(self, db_sess: AsyncSession, dialect: Dialect, parts: Iterator[Block]) -> None:
        first = next(parts)
        # A column that stays NULL is said to be NULL, so that what is handed on is what is stored.
        nulls = [name for name in self.wanted if name not in first.columns]
        names = [*first.columns, *nulls]
        sent = (_with_nulls(part, nulls) for part in chain([first], parts))
        await use_driver(db_sess, self.origin, Copy(self.info, dialect, names, sent, self._echo).send)

    def _echo(self, block: Block) -> None:
        columns = {name: self._echoed(name, block) for name in self.wanted}
        self.take(columns, block.size)

    def _echoed(self, name: str, block: Block) -> Sequence[Any]:
        echo = echo_of(self.info.columns[name].type)
        values = block.columns[name]
        return values if echo is None else echo(values, block.types[name])

    async def _unnest(self, db_sess: AsyncSession, dialect: Dialect, parts: Iterator[Block]) -> None:
        for chunk in _chunks(parts):
            await self._insert_arrays(db_sess, dialect, chunk, fetch_underneath)

    async def _sent(self, db_sess: AsyncSession, dialect: Dialect, parts: Iterator[Block]) -> None:
        for chunk in _chunks(parts):
            await self._insert_arrays(db_sess, dialect, chunk, fetch_columns)

    async def _insert_arrays(self, db_sess: AsyncSession, dialect: Dialect, chunk: Block, fetch: Fetching) -> None:
        columns = {**chunk.columns, **await self._made_keys(db_sess, chunk)}
        given = Unnested(self.info, tuple(columns))
        names = [self.info.columns[name].key for name in columns]
        back = tuple(dict.fromkeys((*self.wanted, *self.info.primary_key)))
        statement = insert(self.info.table).from_select(names, given.select(), include_defaults=True)
        statement = statement.returning(*(self.info.columns[name] for name in back))
        fetched = await fetch(db_sess, self.origin, Fetch(statement, given.arrays(columns, dialect), dialect))
        self.take(in_input_order(self.info, columns, dict(zip(back, fetched, strict=True))), chunk.size)

    async def _made_keys(self, db_sess: AsyncSession, chunk: Block) -> Columns:
        """Have keys that the server makes by an expression (a random UUID) made first.

        Rows come back in no order that PostgreSQL promises; by their keys they can be told apart.
        """
        missing = [name for name in self.info.primary_key if name not in chunk.columns]
        makers = {name: _server_expression(self.info, name) for name in missing}
        if not makers or any(maker is None for maker in makers.values()):
            return {}
        series = func.generate_series(1, chunk.size).table_valued("n")
        made = (await execute(db_sess, select(*makers.values()).select_from(series), self.origin)).all()
        return dict(zip(makers, zip(*made, strict=True), strict=True))

    async def _many(self, db_sess: AsyncSession, dialect: Dialect, parts: Iterator[Block]) -> None:
        for chunk in _chunks(parts):
            back = self._back(chunk, dialect)
            rows = many_parameters(self.info, chunk, dialect)
            statement = self._insert_many(tuple(chunk.columns), back, dialect)
            result = await execute(db_sess, statement, self.origin, RAW, rows)
            columns = zip(*result.all(), strict=True) if back else ()
            returned = dict(zip(back, columns, strict=True))
            is_sorted = back == self.wanted
            self.take(returned if is_sorted else in_input_order(self.info, chunk.columns, returned), chunk.size)

    def _back(self, chunk: Block, dialect: Dialect) -> tuple[str, ...]:
        """Give what is to come back: on SQLite with the key, where that tells the order better than SQLAlchemy can.

        SQLite numbers rows in the order of VALUES; SQLAlchemy does not rely on it and would send one row at a time.
        """
        known = all(name in chunk.columns for name in self.info.primary_key)
        ordered = known or self.info.table.autoincrement_column is not None
        if not self.wanted or not ordered or dialect.name != "sqlite":
            return self.wanted
        return (*self.wanted, *self.info.primary_key)

    def _insert_many(self, names: tuple[str, ...], back: tuple[str, ...], dialect: Dialect) -> Any:
        statement: Any = insert(self.info.row).values(json_marks(self.info, names, dialect))
        wanted = (self.info.columns[name] for name in back)
        return statement.returning(*wanted, sort_by_parameter_order=back == self.wanted) if back else statement


def json_marks(info: RowInfo[Any], names: Iterable[str], dialect: Dialect) -> dict[Any, Any]:
    """Give parameters for the JSON columns, whose None SQLAlchemy would take for the JSON literal ``null``."""
    columns = (info.columns[name] for name in names)
    return {c: bindparam(f"{c.key}_", type_=BoundItem(c.type)) for c in columns if is_json(c.type, dialect)}


def many_parameters(info: RowInfo[Any], block: Block, dialect: Dialect) -> list[dict[str, Any]]:
    """Give one mapping a row, for an INSERT of SQLAlchemy's with :func:`json_marks` among its values."""
    marked = [name for name in block.columns if is_json(info.columns[name].type, dialect)]
    keys = [f"{info.columns[name].key}{'_' if name in marked else ''}" for name in block.columns]
    values = {name: bound(info.columns[name].type, block.columns[name], dialect) for name in marked}
    rows = Block({**block.columns, **values}, block.types, block.size).rows()
    return [dict(zip(keys, row, strict=True)) for row in rows]


def in_input_order(
    info: RowInfo[Any], given: Mapping[str, Sequence[Any]], returned: Mapping[str, Sequence[Any]]
) -> Mapping[str, Sequence[Any]]:
    """Put returned rows into the order of the input, by key.

    PostgreSQL promises no order for RETURNING, only that a sequence counts in the order of a SELECT's ORDER BY.
    """
    keys = list(zip(*(returned[name] for name in info.primary_key), strict=True))
    if all(name in given for name in info.primary_key):
        wanted = list(zip(*(given[name] for name in info.primary_key), strict=True))
        places = None if wanted == keys else {key: place for place, key in enumerate(keys)}
        order = None if places is None else [places[key] for key in wanted if key in places]
    else:
        ascending = all(a <= b for a, b in pairwise(keys))
        order = None if ascending else sorted(range(len(keys)), key=keys.__getitem__)
    if order is None or len(order) != len(keys):  # a key that is stored otherwise than it was given
        return returned
    return {name: [column[place] for place in order] for name, column in returned.items()}


def _server_expression(info: RowInfo[Any], name: str) -> Any:
    """Give the SQL that makes a key; None for one that counts up."""
    column = info.columns[name]
    default: Any = column.server_default
    if column is info.table.autoincrement_column or column.identity is not None or default is None:
        return None
    arg = getattr(default, "arg", None)
    if arg is None:
        return None
    return type_coerce(literal(arg) if isinstance(arg, str) else arg, column.type).label(column.key)


def _with_nulls(block: Block, names: Sequence[str]) -> Block:
    if not names:
        return block
    nulls = {name: [None] * block.size for name in names}
    return Block({**block.columns, **nulls}, {**block.types, **{name: {type(None)} for name in names}}, block.size)


def _chunks(parts: Iterator[Block]) -> Iterator[Block]:
    """Read everything before the first statement is sent, then give it in larger pieces."""
    return map(joined, blocks(list(parts), CHUNK_BLOCKS))
