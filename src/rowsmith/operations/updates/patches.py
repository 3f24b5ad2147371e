"""Many patches read as columns: one list of values for each field that they set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NoReturn, cast

from sqlalchemy import ColumnElement
from sqlalchemy.sql import coercions, roles, visitors
from sqlalchemy.sql.elements import BindParameter, ClauseElement, Null
from sqlalchemy.types import NullType

from rowsmith.errors import InvalidValue
from rowsmith.mapping import Patch, RowInfo
from rowsmith.mapping.writes import belongs_to, checked_values, tied
from rowsmith.names import sql_name
from rowsmith.operations.arrays.given import Parameter
from rowsmith.operations.blocks.checks import check_column, keep_class
from rowsmith.state import UNSET, Unset, settled


class Patches:
    """The fields that a batch of patches sets, all the same ones.

    ``columns`` is attribute name to one value (or SQL expression) for each patch, in input order; ``first`` is
    the index of the first patch in the caller's input, for messages.

    Raises:
        InvalidValue: a value does not fit its column, or a patch sets other fields than the first one.
        MappingError: something is no patch of this row. All messages name the index, none a value.
    """

    def __init__(self, info: RowInfo[Any], patches: Sequence[Patch[Any]], first: int = 0) -> None:
        self.info, self.size, self.first = info, len(patches), first
        self.columns = self._read(patches)

    def assignments(self, *, arrays: bool) -> tuple[dict[str, Any], list[Parameter]]:
        """Give what each attribute is set to, and the columns of ``given`` that this refers to.

        ``arrays`` says that those are sent as arrays.

        Raises:
            InvalidValue: expressions for one column are of different forms, or mixed with values.
        """
        assigned, parameters = dict[str, Any](), list[Parameter]()
        for name, column in self.columns.items():
            if any(issubclass(kind, ClauseElement) for kind in set(map(type, column))):
                assigned[name] = self._expression(name, column, parameters, arrays=arrays)
            else:
                parameters.append(Parameter(sql_name(f"value_{len(parameters)}"), self.info.columns[name].type, column))
                assigned[name] = parameters[-1].reference(arrays=arrays)
        return assigned, parameters

    def _read(self, patches: Sequence[Patch[Any]]) -> dict[str, list[Any]]:
        kinds: set[Any] = set(map(type, patches))
        if len(kinds) == 1 and next(iter(kinds)).to_values is cast("Any", Patch).to_values:
            belongs_to(patches[0], self.info, Patch)
            return self._fields(patches)
        return self._rows([self._checked_row(place, patch) for place, patch in enumerate(patches)])

    def _checked_row(self, place: int, patch: Patch[Any]) -> dict[str, Any]:
        try:
            return checked_values(patch, self.info, Patch)
        except InvalidValue as exc:
            raise InvalidValue(f"the patch at index {self.first + place}: {exc}") from None

    def _fields(self, patches: Sequence[Patch[Any]]) -> dict[str, list[Any]]:
        columns = dict[str, list[Any]]()
        for name in type(patches[0]).__rowsmith_fields__:
            column = settled(map(attrgetter(name), patches))
            kinds = set(map(type, column))
            if kinds == {Unset}:
                continue
            if Unset in kinds:
                unset = [value is UNSET for value in column]
                self._refuse_mixture(unset.index(not unset[0]), {name})
            if any(hasattr(kind, "__clause_element__") or issubclass(kind, ClauseElement) for kind in kinds):
                keep_class(self.info, name, column, self.first, noun="patch")
                column = [tied(self.info, name, _as_sql(value)) for value in column]
            else:
                check_column(self.info, name, column, kinds, self.first, noun="patch")
            columns[name] = column
        return columns

    def _rows(self, rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
        for index, row in enumerate(rows):
            if other := row.keys() ^ rows[0].keys():
                self._refuse_mixture(index, other)
        return {name: [_as_sql(row[name]) for row in rows] for name in (rows[0] if rows else ())}

    def _refuse_mixture(self, index: int, other: set[str]) -> NoReturn:
        raise InvalidValue(
            f"the patch at index {self.first + index} does not set the same fields of {self.info.row.__name__} "
            f"as the first one ({', '.join(sorted(other))}): batch patches that set the same fields together"
        )

    def _expression(
        self, name: str, column: Sequence[Any], parameters: list[Parameter], *, arrays: bool
    ) -> ColumnElement[Any]:
        """Give one expression for all rows: where only its literals differ, they become columns of ``given``."""
        binds = [_binds(value) for value in column]
        lifted = dict[int, ColumnElement[Any]]()
        self._same_forms(name, [form for form, _ in binds])
        for place, bind in enumerate(binds[0][1]):
            literals: list[Any] = [found[place].effective_value for _, found in binds]
            if literals.count(literals[0]) < self.size:
                self._same_forms(name, list(map(tuple, literals)) if bind.expanding else [])  # IN (...)
                kind = self.info.columns[name].type if isinstance(bind.type, NullType) else bind.type
                parameters.append(Parameter(sql_name(f"value_{len(parameters)}"), kind, literals))
                lifted[id(bind)] = parameters[-1].reference(arrays=arrays)
        traverse: Callable[..., ColumnElement[Any]] = cast("Any", visitors).replacement_traverse

        def replace(element: object, **_: object) -> ColumnElement[Any] | None:
            return lifted.get(id(element))

        return traverse(column[0], {}, replace)

    def _same_forms(self, name: str, forms: Sequence[Any]) -> None:
        for index, form in enumerate(forms):
            if form != forms[0]:
                raise InvalidValue(
                    f"the patch at index {self.first + index} sets {self.info.row.__name__}.{name} in another way than "
                    "the first one: batch patches whose expressions differ in their literals at most"
                )


def _as_sql(value: Any) -> Any:
    """Give attributes and the like as the SQL they stand for; any other value as it is."""
    if isinstance(value, Null):
        return None
    return coercions.expect(roles.ExpressionElementRole, value) if hasattr(value, "__clause_element__") else value


def _binds(expression: Any) -> tuple[Any, Sequence[BindParameter[Any]]]:
    """Give an expression's form, the same for expressions that differ in literals at most, and its literals.

    SQLAlchemy's cache of compiled statements goes by the same form. What has none is like nothing else.
    """
    key = expression._generate_cache_key() if isinstance(expression, ClauseElement) else None  # pyright: ignore[reportPrivateUsage]
    return (id(expression), ()) if key is None else (key.key, key.bindparams)
