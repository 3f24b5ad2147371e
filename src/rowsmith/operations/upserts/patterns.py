"""The statements of upserts of many rows, compiled once for each pattern, so that only values change from call to call.

They are the ones that would be made for the call, with marks in the place of what differs: the values that a scope
compares columns with, and what Python functions give for ``onupdate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ClauseElement

from rowsmith.operations.arrays.fetch import ArrayStatement, Statement, compile_statement
from rowsmith.operations.arrays.unnest import Unnested
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.blocks.defaults import python_updates
from rowsmith.operations.blocks.gate import Gate
from rowsmith.operations.entity import Entity
from rowsmith.operations.plans import Binds, CallPattern, Plans, mark, placed, places_of
from rowsmith.operations.updates.version import is_counted
from rowsmith.operations.upserts.statement import UpsertStatement

Form: TypeAlias = Callable[[UpsertStatement, Unnested, Block, Dialect], Any]
"""Makes the statement: a method of :class:`UpsertStatement`."""


@dataclass(frozen=True)
class Compiled:
    """A statement, and where the values that change from call to call stand in it: their places, by name."""

    statement: Statement
    compiled: Any
    places: Mapping[str, int]


class UpsertPatterns:
    """The compiled statements of one entity's batches."""

    def __init__(self, entity: Entity[Any, Any]) -> None:
        self._entity, self._plans = entity, Plans[Compiled](entity.info)

    def sent(self, upsert: UpsertStatement, form: Form, block: Block, gate: Gate) -> ArrayStatement:
        """Give what is sent for some rows; what SQLAlchemy sends it compiles itself.

        Raises:
            InvalidValue: a type refuses to bind a value; the message names the index and the column.
        """
        dialect, source = gate.dialect, Unnested(upsert.info, tuple(block.columns))
        updates = python_updates(upsert.info, upsert.written) if upsert.changes_rows else []
        made = {name: upsert.updated(name, block) for name in updates}
        upsert = replace(upsert, updated=_giving(made))
        arrays, binds = source.arrays(block.columns, block.types, dialect, block.places), Binds()
        pattern = self._pattern(upsert, form, source, binds) if gate.driver else None

        def compile_once() -> Compiled | None:
            return _compiled(lambda marked: form(marked, source, block, dialect), upsert, binds, updates, dialect)

        is_known = pattern is not None and not any(isinstance(value, ClauseElement) for value in made.values())
        found = self._plans.find(tuple(pattern or ()), dialect, compile_once) if is_known else None
        if found is None:
            return ArrayStatement(form(upsert, source, block, dialect), None, arrays, dialect)
        values = [*[bind.value for bind in binds], *made.values()]
        given = {name: values[place] for name, place in found.places.items()}
        return ArrayStatement(found.statement, found.compiled, arrays, dialect, given)

    def _pattern(self, upsert: UpsertStatement, form: Form, source: Unnested, binds: Binds) -> CallPattern | None:
        key, is_declared = upsert.key, upsert.key is self._entity.conflict_key
        pattern: CallPattern = [form, source.names, *upsert.given, is_declared, key.names, *upsert.back, upsert.update]
        where = [] if is_declared or key.where is None else [key.where]
        is_told = self._plans.ordered(where, pattern) and self._plans.narrowed(upsert.conditions, pattern, binds)
        return pattern if is_told else None


def _giving(values: Mapping[str, object]) -> Callable[[str, Block], Any]:
    return lambda name, _: values[name]


def _compiled(
    make: Callable[[UpsertStatement], Any],
    upsert: UpsertStatement,
    binds: Binds,
    updates: Sequence[str],
    dialect: Dialect,
) -> Compiled | None:
    """Compile the statement of a pattern; None where it has more in it that differs from call to call."""
    if not is_counted(upsert.info):
        return None
    columns, first = upsert.info.columns, len(binds)
    marks = {name: mark(columns[name].type, place) for place, name in enumerate(updates, first)}
    conditions = [placed(condition, binds, 0) for condition in upsert.conditions]
    statement = make(replace(upsert, conditions=conditions, updated=_giving(marks)))
    compiled = compile_statement(statement, dialect)
    places = places_of(compiled)
    is_whole = {*places.values()} == {*range(first + len(updates))}
    if not is_whole or compiled.literal_execute_params or compiled.post_compile_params:
        return None
    return Compiled(statement, compiled, places)
