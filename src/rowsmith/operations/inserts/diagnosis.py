"""Which rows of a failed batch broke a constraint: asked of the database in one query, by the constraint's columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.conditions import limited
from rowsmith.errors import ErrorFacts, RepositoryError
from rowsmith.execution import Origin, execute
from rowsmith.mapping import RowInfo
from rowsmith.operations.admission import savepoint
from rowsmith.operations.arrays.fetch import Fetch, fetch_columns, fetch_underneath
from rowsmith.operations.arrays.keys import Key, columns_condition, dialect_of, key_chunks
from rowsmith.operations.arrays.unnest import PLACE, Unnested
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.blocks.gate import pass_gate
from rowsmith.operations.partial import Diagnosis

NOBODY = Diagnosis()


async def diagnose(
    db_sess: AsyncSession, info: RowInfo[Any], facts: ErrorFacts, block: Block, origin: Origin
) -> Diagnosis:
    """Find the rows of a block that an error's constraint refuses; nobody where names alone don't tell."""
    broken = _constraint(info.table, facts.constraint)
    if isinstance(broken, ForeignKeyConstraint):
        return await _dangling(db_sess, info, broken, block, origin)
    if broken is not None:
        return await _taken(db_sess, info, list(broken.columns), block, origin)
    if facts.constraint is None:
        return _null(info, facts, block)
    return await _refused(db_sess, info, facts.constraint, block, origin)


def _constraint(table: Table, name: str | None) -> Any:
    """Give a key or foreign key by its name, or by the one that PostgreSQL gives to the nameless."""
    kinds = (UniqueConstraint, PrimaryKeyConstraint, ForeignKeyConstraint)
    known: list[Any] = [item for item in table.constraints if isinstance(item, kinds)]
    known += [index for index in table.indexes if index.unique and _is_plain(index)]
    return next((item for item in known if name is not None and name == (item.name or _implicit(item))), None)


def _is_plain(index: Index) -> bool:
    options: Any = index.dialect_options
    return len(index.columns) == len(index.expressions) and options["postgresql"].get("where") is None


def _implicit(item: Any) -> str:
    if isinstance(item, PrimaryKeyConstraint):
        return f"{item.table.name}_pkey"
    kind = "fkey" if isinstance(item, ForeignKeyConstraint) else "key"
    return "_".join([item.table.name, *(column.name for column in item.columns), kind])


async def _taken(
    db_sess: AsyncSession, info: RowInfo[Any], columns: Sequence[Column[Any]], block: Block, origin: Origin
) -> Diagnosis:
    keys = _values(info, columns, block)
    if keys is None:
        return NOBODY
    taken = await _present(db_sess, columns, keys, origin)
    certain = frozenset(place for place, key in enumerate(keys) if key in taken)
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    again = frozenset(place for place, key in enumerate(keys) if None not in key and first[key] != place)
    return Diagnosis(certain, again - certain)


async def _dangling(
    db_sess: AsyncSession, info: RowInfo[Any], constraint: ForeignKeyConstraint, block: Block, origin: Origin
) -> Diagnosis:
    keys = _values(info, list(constraint.columns), block)
    if keys is None:
        return NOBODY
    referred = [element.column for element in constraint.elements]
    there = await _present(db_sess, referred, keys, origin)
    lost = frozenset(place for place, key in enumerate(keys) if None not in key and key not in there)
    # A row of the same batch may be what another one refers to.
    inside = constraint.referred_table is info.table
    return Diagnosis(suspects=lost) if inside else Diagnosis(certain=lost)


async def _refused(
    db_sess: AsyncSession, info: RowInfo[Any], constraint: str, block: Block, origin: Origin
) -> Diagnosis:
    """Have PostgreSQL evaluate a CHECK, as its catalogue has it, for all rows at once."""
    gate = await pass_gate(db_sess, info, origin, block.columns)
    if gate.translated or not gate.arrays:
        return NOBODY
    dialect = gate.dialect
    table = dialect.identifier_preparer.format_table(info.table)
    expression = (await execute(db_sess, _DEFINITION, origin, parameters=[{"name": constraint, "on": table}])).scalar()
    if expression is None:
        return NOBODY
    given = Unnested(info, tuple(block.columns))
    rows = select(given.place, *(given[name].label(info.columns[name].name) for name in given.names)).subquery()
    statement = limited(select(rows.c[PLACE]), literal_column(f"NOT ({expression})"))
    fetch = Fetch(statement, given.arrays(block.columns, dialect), dialect)
    send = fetch_underneath if gate.driver else fetch_columns
    try:
        async with savepoint(db_sess):
            (places,) = await send(db_sess, origin, fetch)
    except RepositoryError:  # it reads a column that the server fills
        return NOBODY
    return Diagnosis(certain=frozenset(place - 1 for place in places))


_DEFINITION = text(
    "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint"
    " WHERE contype = 'c' AND conname = :name AND conrelid = to_regclass(:on)"
)


def _null(info: RowInfo[Any], facts: ErrorFacts, block: Block) -> Diagnosis:
    names = [name for name, item in info.columns.items() if item.name in facts.columns and name in block.columns]
    empty = (place for name in names for place, value in enumerate(block.columns[name]) if value is None)
    return Diagnosis(certain=frozenset(empty))


def _values(info: RowInfo[Any], columns: Iterable[Column[Any]], block: Block) -> list[Key] | None:
    """Give the values of some columns, row by row; None where the database makes one of them."""
    names = {item.name: name for name, item in info.columns.items()}
    wanted = [names.get(item.name, "") for item in columns]
    if not all(name in block.columns for name in wanted):
        return None
    return list(zip(*(block.columns[name] for name in wanted), strict=True))


async def _present(
    db_sess: AsyncSession, columns: Sequence[Column[Any]], keys: Iterable[Key], origin: Origin
) -> set[Key]:
    """Give those of the keys that stand in a table."""
    found = set[Key]()
    wanted = list(dict.fromkeys(key for key in keys if None not in key))
    dialect = dialect_of(db_sess, origin)
    for chunk in key_chunks(wanted, dialect, columns):
        statement = limited(select(*columns), columns_condition(columns, chunk, dialect))
        found.update(map(tuple, (await execute(db_sess, statement, origin)).all()))
    return found
