"""Which rows of a failed batch broke a constraint: asked of the database in one query, by the constraint's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, ForeignKeyConstraint, literal_column, select, text

from rowsmith.conditions import limited
from rowsmith.errors import ErrorFacts, RepositoryError
from rowsmith.identity import told_apart
from rowsmith.mapping import RowInfo
from rowsmith.mapping.constraints import key_named, sides
from rowsmith.operations.arrays.fetch import ArrayStatement, fetch_columns, fetch_underneath
from rowsmith.operations.arrays.keys import Key, columns_condition, key_chunks
from rowsmith.operations.arrays.unnest import PLACE, Unnested
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.blocks.gate import pass_gate
from rowsmith.operations.call import Call
from rowsmith.operations.partial import Diagnosis
from rowsmith.references import Reference

NOBODY = Diagnosis()


async def diagnose(call: Call[object, object], facts: ErrorFacts, blocks: Sequence[Block]) -> Diagnosis:
    """Find the rows that an error's constraint refuses, by their places; nobody where names alone don't tell."""
    broken = key_named(call.info.table, facts.constraint)
    if isinstance(broken, ForeignKeyConstraint):
        return await _dangling(call, broken, blocks)
    if broken is not None:
        return await _taken(call, list(broken.columns), blocks)
    found = Diagnosis()
    for block in blocks:
        if facts.constraint is None:
            empty = [name for name in block.columns if call.info.columns[name].name in facts.columns]
            rows = (place for name in empty for place, value in enumerate(block.columns[name]) if value is None)
            found |= Diagnosis(certain=frozenset(rows)).at(block.places)
        else:
            found |= (await _failing_check(call, facts.constraint, block)).at(block.places)
    return found


async def _taken(call: Call[object, object], columns: Sequence[Column[Any]], blocks: Sequence[Block]) -> Diagnosis:
    keys = _values(call.info, columns, blocks)
    taken = await _there(call, columns, keys.values())
    certain = frozenset(place for place, key in keys.items() if key in taken)
    first = dict[Key, int]()
    again = frozenset(
        place for place, key in sorted(keys.items()) if None not in key and first.setdefault(key, place) != place
    )
    return Diagnosis(certain, again - certain)


async def _dangling(call: Call[object, object], broken: ForeignKeyConstraint, blocks: Sequence[Block]) -> Diagnosis:
    columns, referred = sides(broken)
    keys = _values(call.info, columns, blocks)
    reference = next((each for each in call.limits.references if each.key is broken), None)
    there = await _there(call, referred, keys.values(), reference)
    lost = [place for place, key in keys.items() if None not in key and key not in there]
    if broken.referred_table is not call.info.table:
        return Diagnosis(certain=frozenset(lost))
    # A row of the same batch may be what another one refers to.
    own, hanging = _values(call.info, referred, blocks), dict[Key, list[int]]()
    same = await call.as_stored(referred, [keys[place] for place in lost], set(own.values()))
    for place in lost:
        hanging.setdefault(same.get(keys[place], keys[place]), []).append(place)
    left = Counter(own.values())
    certain = [place for place in lost if not left[same.get(keys[place], keys[place])]]
    for place in certain:  # which grows by what refers to them in turn
        left[own.get(place, ())] -= 1
        if place in own and not left[own[place]]:
            certain += hanging.get(own[place], ())
    return Diagnosis(frozenset(certain)) if certain else Diagnosis(suspects=frozenset(lost))


async def _failing_check(call: Call[object, object], constraint: str, block: Block) -> Diagnosis:
    """Have PostgreSQL evaluate a CHECK, as its catalogue has it, for all rows at once."""
    info, origin = call.info, call.origin()
    gate = await pass_gate(call.db_sess, info, origin, block.columns)
    if gate.translated or not gate.arrays:
        return NOBODY
    dialect = gate.dialect
    table = dialect.identifier_preparer.format_table(info.table)
    expression = (await call.execute(_DEFINITION, parameters=[{"name": constraint, "on": table}])).scalar()
    if expression is None:
        return NOBODY
    given = Unnested(info, tuple(block.columns))
    rows = select(given.place, *(given[name].label(info.columns[name].name) for name in given.names)).subquery()
    statement = limited(select(rows.c[PLACE]), literal_column(f"NOT ({expression})"))
    sent = ArrayStatement(statement, None, given.arrays(block.columns, block.types, dialect, block.places), dialect)
    send = fetch_underneath if gate.driver else fetch_columns
    try:
        async with call.savepoint():
            (places,) = await send(call.db_sess, origin, sent)
    except RepositoryError:  # it reads a column that the server fills
        return NOBODY
    return Diagnosis(certain=frozenset(place - 1 for place in places))


_DEFINITION = text(
    "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint"
    " WHERE contype = 'c' AND conname = :name AND conrelid = to_regclass(:on)"
)


def _values(info: RowInfo[object], columns: Iterable[Column[Any]], blocks: Sequence[Block]) -> dict[int, Key]:
    """Give the values of some columns by the rows' places, but for those rows of which the database makes one."""
    names = {item.name: name for name, item in info.columns.items()}
    given, found = [names.get(item.name, "") for item in columns], dict[int, Key]()
    for block in blocks:
        if all(name in block.columns for name in given):
            kinds = {name: info.columns[name].type for name in given}
            parts = ([told_apart(kinds[name], value) for value in block.columns[name]] for name in given)
            found |= zip(block.places, zip(*parts, strict=True), strict=True)
    return found


async def _there(
    call: Call[object, object],
    columns: Sequence[Column[Any]],
    keys: Iterable[Key],
    reference: Reference | None = None,
) -> set[Key]:
    """Give those of the keys that are in a table, for the caller where the scope says something of its rows."""
    rows = select(*columns) if reference is None else select(*columns).select_from(reference.row)
    inside: Sequence[ColumnElement[bool]] = () if reference is None else reference.conditions
    found, dialect = set[Key](), call.dialect
    asked = list(dict.fromkeys(key for key in keys if None not in key))
    for chunk in key_chunks(asked, dialect, columns):
        statement = limited(rows, columns_condition(columns, chunk, dialect), *inside)
        found.update(map(tuple, (await call.execute(statement)).all()))
    return set(await call.as_stored(columns, asked, found))
