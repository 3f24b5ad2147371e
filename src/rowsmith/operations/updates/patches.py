"""Many patches read as columns: one list of values for each field that they set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import chain
from typing import Any, cast

from sqlalchemy import ColumnElement, null
from sqlalchemy.sql import coercions, roles, visitors
from sqlalchemy.sql.elements import BindParameter, ClauseElement, Null
from sqlalchemy.types import NullType

from rowsmith.errors import InvalidValue
from rowsmith.mapping import Patch, RowInfo
from rowsmith.mapping.writes import all_belong, checked_values, tied
from rowsmith.names import sql_name
from rowsmith.operations.arrays.given import Parameter
from rowsmith.operations.blocks.checks import check_column, keep_class
from rowsmith.operations.updates.statement import Changes
from rowsmith.sql import are_sql, is_sql
from rowsmith.state import UNSET, Unset, each_to_value


class Patches:
    """The fields that a batch of patches sets.

    ``columns`` is attribute name to one value (or SQL expression, or UNSET) for each patch, in input order; ``first``
    is the index of the first patch in the caller's input, for messages.

    Raises:
        InvalidValue: a value does not fit its column.
        MappingError: something is no patch of this row. All messages name the index, none a value.
    """

    def __init__(self, info: RowInfo[object], patches: Sequence[Patch[Any]], first: int = 0) -> None:
        self.info, self.size, self.first = info, len(patches), first
        self.columns = self._read(patches)

    def changes(self, *, arrays: bool) -> list[Changes]:
        """Give what is written, once for each group of patches that one statement can write.

        Those are patches that set the same fields, with expressions that differ in their literals at most. ``arrays``
        says that values are sent as arrays.
        """
        return [self._change(places, arrays=arrays) for places in self._groups()]

    @property
    def sent(self) -> dict[str, list[Any]]:
        """The columns with SQL where a patch sets nothing."""
        return {name: [null() if value is UNSET else value for value in col] for name, col in self.columns.items()}

    def rows(self) -> list[dict[str, Any]]:
        """Give what each patch sets, by attribute name."""
        if not self.columns:
            return [{} for _ in range(self.size)]
        rows = (zip(self.columns, row, strict=True) for row in zip(*self.columns.values(), strict=True))
        return [{name: value for name, value in row if value is not UNSET} for row in rows]

    def _read(self, patches: Sequence[Patch[Any]]) -> dict[str, list[Any]]:
        kinds: set[Any] = set(map(type, patches))
        if len(kinds) == 1 and next(iter(kinds)).to_values is cast("Any", Patch).to_values:
            all_belong(patches, self.info, Patch, range(self.first, self.first + self.size))
            return self._fields(patches)
        rows = list[dict[str, Any]]()
        for place, patch in enumerate(patches, self.first):
            try:
                rows.append(checked_values(patch, self.info, Patch))
            except InvalidValue as exc:
                exc.among(place, "patch")
                raise
        return self._rows(rows)

    def _fields(self, patches: Sequence[Patch[Any]]) -> dict[str, list[Any]]:
        columns = dict[str, list[Any]]()
        for name in type(patches[0]).__rowsmith_fields__:
            column = each_to_value(getattr(patch, name) for patch in patches)
            kinds = set(map(type, column))
            if kinds != {Unset}:
                self._check(name, column, kinds)
                is_any = any(map(are_sql, kinds))
                columns[name] = [_as_sql(tied(self.info, name, value)) for value in column] if is_any else column
        return columns

    def _check(self, name: str, column: Sequence[object], kinds: set[type[Any]]) -> None:
        special = {kind for kind in kinds if kind is Unset or are_sql(kind)}
        if not special:
            check_column(self.info, name, column, kinds, self.first, noun="patch")
            return
        for place, value in enumerate(column):
            if type(value) not in special:
                check_column(self.info, name, [value], {type(value)}, self.first + place, noun="patch")
            elif value is not UNSET:
                keep_class(self.info, name, [value], self.first + place, noun="patch")

    def _rows(self, rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
        names = dict.fromkeys(chain.from_iterable(rows))
        return {name: [_as_sql(row.get(name, UNSET)) for row in rows] for name in names}

    def _groups(self) -> Collection[Sequence[int]]:
        if not any(
            kind is Unset or are_sql(kind) for column in self.columns.values() for kind in set(map(type, column))
        ):
            return [range(self.size)]
        forms = zip(*(map(_form, column) for column in self.columns.values()), strict=True)
        groups = dict[Any, list[int]]()
        for place, form in enumerate(forms):
            groups.setdefault(form, []).append(place)
        return groups.values()

    def _change(self, places: Sequence[int], *, arrays: bool) -> Changes:
        assigned, parameters = dict[str, Any](), list[Parameter]()
        for name, values in self.columns.items():
            column = values if len(places) == self.size else [values[place] for place in places]
            if isinstance(next(iter(column), None), ClauseElement):
                assigned[name] = self._expression(name, column, parameters, arrays=arrays)
            elif column and column[0] is not UNSET:
                item = self.info.columns[name]
                parameters.append(Parameter(sql_name(f"value_{len(parameters)}"), item.type, column, item))
                assigned[name] = parameters[-1].reference(arrays=arrays)
        return Changes(assigned, parameters, places)

    def _expression(
        self, name: str, column: Sequence[object], parameters: list[Parameter], *, arrays: bool
    ) -> ColumnElement[Any]:
        """Give one expression for all rows of a group: where its literals differ, they become columns of ``given``."""
        binds = [_binds(value)[1] for value in column]
        lifted = dict[int, ColumnElement[Any]]()
        for place, bind in enumerate(binds[0]):
            literals: list[Any] = [found[place].effective_value for found in binds]
            if literals.count(literals[0]) < len(column):
                item = self.info.columns[name]
                kind = item.type if isinstance(bind.type, NullType) else bind.type
                parameters.append(Parameter(sql_name(f"value_{len(parameters)}"), kind, literals, item))
                lifted[id(bind)] = parameters[-1].reference(arrays=arrays)
        traverse: Callable[..., ColumnElement[Any]] = cast("Any", visitors).replacement_traverse

        def replace(element: object, **_: object) -> ColumnElement[Any] | None:
            return lifted.get(id(element))

        return traverse(column[0], {}, replace)


def _as_sql(value: object) -> Any:
    """Give attributes and the like as the SQL they stand for; any other value as it is."""
    if isinstance(value, Null):
        return None
    return coercions.expect(roles.ExpressionElementRole, value) if is_sql(value) else value


def _form(value: object) -> Any:
    """Give what must be the same of values, or expressions, that one statement writes."""
    if value is UNSET or not isinstance(value, ClauseElement):
        return value is UNSET
    form, binds = _binds(value)
    # A list of IN (...) has as many parameters as items, which cannot become columns.
    fixed = tuple(tuple(bind.effective_value or ()) for bind in binds if bind.expanding)
    try:
        hash(fixed)
    except TypeError:
        return id(value)
    return form, fixed


def _binds(expression: object) -> tuple[Any, Sequence[BindParameter[Any]]]:
    """Give an expression's form, the same for expressions that differ in literals at most, and its literals.

    SQLAlchemy's cache of compiled statements goes by the same form. What has none is like nothing else.
    """
    key = expression._generate_cache_key() if isinstance(expression, ClauseElement) else None  # pyright: ignore[reportPrivateUsage]
    return (id(expression), ()) if key is None else (key.key, key.bindparams)
