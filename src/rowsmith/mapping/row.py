"""What is to be known of a mapped class: its attributes, key, version and name. Read once, never changed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, Generic, cast

from sqlalchemy import Column, ColumnElement, Table, inspect, null
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import InstrumentedAttribute, Mapper, SynonymProperty
from typing_extensions import TypeVar

from rowsmith.errors import InvalidValue, MappingError
from rowsmith.mapping.types import DIALECTS, Check, Travel, column_type, stored_form, stores_none

TRow = TypeVar("TRow")
TRow_co = TypeVar("TRow_co", covariant=True)


@dataclass(frozen=True)
class RowInfo(Generic[TRow_co]):
    """A mapped class, read once: attribute names are the keys everywhere, never column names."""

    row: type[TRow_co]
    mapper: Mapper[TRow_co] = field(repr=False)
    table: Table = field(repr=False)
    columns: Mapping[str, Column[Any]] = field(repr=False)
    primary_key: tuple[str, ...]
    version: str | None

    @property
    def domain(self) -> str:
        """The noun used in error codes: ``GroupRow`` is ``group``, ``FairShareRow`` is ``fair_share``."""
        name = re.sub(r"(Row|Model|Record)$", "", self.row.__name__) or self.row.__name__
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()

    def has(self, attribute: InstrumentedAttribute[Any]) -> bool:
        """Say whether an attribute is a column of this class, and not merely called like one."""
        return attribute.key in self.columns and issubclass(self.row, cast("type[Any]", attribute.class_))

    def attribute(self, name: str) -> InstrumentedAttribute[Any]:
        """Give the class's attribute, ready to be compared or selected."""
        return cast("InstrumentedAttribute[Any]", getattr(self.row, name))

    def check(self, name: str) -> Check:
        """Give what says why an attribute cannot hold a value.

        Asked when it is needed, for a foreign key without a type of its own has none before its target is mapped.
        """
        return column_type(self.columns[name].type).check

    @property
    def key_attributes(self) -> tuple[InstrumentedAttribute[Any], ...]:
        """The attributes of the primary key, in its order."""
        return tuple(self.attribute(name) for name in self.primary_key)

    @property
    def key_columns(self) -> list[Column[Any]]:
        """The columns of the primary key, in its order."""
        return [self.columns[name] for name in self.primary_key]

    def key(self, pk: Any) -> tuple[Any, ...]:
        """Give a primary key as a tuple of values, one a column.

        Args:
            pk: the value, or for a composite key a tuple (a NamedTuple too) in the key's order.

        Raises:
            InvalidValue: it has the wrong number of parts, or a part its column cannot hold.
        """
        names = self.primary_key
        parts: tuple[Any, ...] = (pk,) if len(names) == 1 else pk
        if not isinstance(cast("Any", parts), tuple) or len(parts) != len(names):
            raise InvalidValue(f"the key of {self.row.__name__} is a tuple of {len(names)}: ({', '.join(names)})")
        for name, part in zip(names, parts, strict=True):
            complaint = "is part of the key: None names no row" if part is None else self.check(name)(part)
            if complaint:
                raise InvalidValue(f"{self.row.__name__}.{name} {complaint}")
        return tuple(map(_fixed, parts)) if self._holds_bytes else parts

    @cached_property
    def _holds_bytes(self) -> bool:
        kinds = (stored_form(self.columns[name].type) for name in self.primary_key)
        return any(column_type(kind).travel is Travel.BYTES for kind in kinds)

    def key_condition(self, key: tuple[Any, ...]) -> list[ColumnElement[bool]]:
        """Give the conditions that single out the row with this key."""
        return [attribute == part for attribute, part in zip(self.key_attributes, key, strict=True)]

    def is_required(self, name: str) -> bool:
        """Say whether an insert must name this attribute: NOT NULL and nobody else fills it."""
        column = self.columns[name]
        filled = column.default or column.server_default or column.computed or column.identity
        ours = name == self.version or name in self.discriminator
        return not (column.nullable or filled or ours or column is self.table.autoincrement_column)

    @cached_property
    def discriminator(self) -> dict[str, Any]:
        """What a new row says to be of this class and of no other one in its table: attribute name and value.

        Nothing where no column says so that may be written: the classes are told apart by an expression.
        """
        identity = self.mapper.polymorphic_identity
        return {name: identity for name in self._kinds if identity is not None}

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        """The attributes of the column that says of which class a row is."""
        column = self.mapper.polymorphic_on
        return tuple(name for name, own in self.columns.items() if own is column and not self.is_computed(name))

    @property
    def own_rows(self) -> tuple[ColumnElement[bool], ...]:
        """The condition of this class's rows, those of its subclasses included, where a table is shared; else nothing.

        SQLAlchemy adds it to the ORM's statements alone, and there as an OR with the one of every other class
        that is mentioned. Classes may be mapped later, so it is not kept.
        """
        identities, kind = self._identities, self.mapper.polymorphic_on
        if identities is None or kind is None:
            return ()
        told: ColumnElement[Any] = self.attribute(self._kinds[0]).expression if self._kinds else kind
        return (told == identities[0] if len(identities) == 1 else told.in_(identities),)

    @property
    def _identities(self) -> list[Any] | None:
        """What marks the rows of a class that inherits its table from another one; None: all rows are its own."""
        mapper = self.mapper
        if not (mapper.single and mapper.inherits) or mapper.polymorphic_on is None:
            return None
        return [item.polymorphic_identity for item in mapper.self_and_descendants if not item.polymorphic_abstract]

    def is_foreign(self, name: str, values: Iterable[Any]) -> bool:
        """Say whether one of these values of an attribute would make a row another class's."""
        identities = self._identities if name in self._kinds else None
        if identities is None:
            return False
        # Of a SQL expression nobody knows.
        return any(hasattr(v, "__clause_element__") or hasattr(v, "compile") or v not in identities for v in values)

    def is_json(self, name: str) -> bool:
        """Say whether the attribute is a JSON column, for which SQLAlchemy tells JSON null from SQL NULL.

        On whichever database: where it is none, NULL is NULL all the same.
        """
        declared = self.columns[name].type
        return any(column_type(stored_form(declared, dialect)).travel is Travel.JSON for dialect in (None, *DIALECTS))

    def nothing(self, name: str) -> Any:
        """Give what is sent for None: SQL NULL on a JSON column too, unless the column's type makes a value of None."""
        is_marked = self.is_json(name) and not stores_none(self.columns[name].type)
        return null() if is_marked else None

    def is_computed(self, name: str) -> bool:
        """Say whether the database works the attribute out itself, so that nobody may write it."""
        return self.columns[name].computed is not None

    def is_always_numbered(self, name: str) -> bool:
        """Say whether the database numbers the attribute itself and takes no number (``GENERATED ALWAYS``)."""
        identity = self.columns[name].identity
        return identity is not None and bool(identity.always)

    def synonym(self, name: str) -> str | None:
        """Give the attribute of a column that a name is another name for; None where it is none."""
        while self.mapper.has_property(name):
            found = self.mapper.get_property(name)
            if not isinstance(found, SynonymProperty):
                return name if name in self.columns else None
            name = found.name
        return None

    def changes_unasked(self, name: str) -> bool:
        """Say whether an UPDATE may change the attribute without naming it."""
        return self.columns[name].name in self.written_unasked

    @cached_property
    def written_unasked(self) -> set[str]:
        """Give the columns, by their names in the table, that an UPDATE may change without naming them."""
        columns = self.columns.values()
        counted = None if self.version is None else self.columns[self.version]
        return {
            item.name for item in columns if item.computed or item.onupdate or item.server_onupdate or item is counted
        }


def _fixed(part: Any) -> Any:
    """Give bytes that may change as such that do not, and so can be told apart by their hash."""
    return bytes(part) if isinstance(part, bytearray | memoryview) else part


def row_info(row: type[TRow]) -> RowInfo[TRow]:
    """Read a mapped class, without configuring mappers: its relationships may name classes yet to come.

    Raises:
        MappingError: the class is not mapped, or is mapped to more than one table.
    """
    return cast("RowInfo[TRow]", _row_info(cast("Any", row)))


@cache
def _row_info(row: type[Any]) -> RowInfo[Any]:
    try:
        mapper: Mapper[Any] = inspect(row)
        table: Any = mapper.local_table
    except NoInspectionAvailable:
        raise MappingError(f"{_name(row)} is no mapped class: give a SQLAlchemy row such as GroupRow") from None
    if len(mapper.tables) != 1 or not isinstance(table, Table):
        raise MappingError(f"{_name(row)} is mapped to {len(mapper.tables)} tables: rowsmith writes to exactly one")
    return _read(row, mapper, table)  # pyright: ignore[reportUnknownArgumentType]


def _read(row: type[Any], mapper: Mapper[Any], table: Table) -> RowInfo[Any]:
    items = cast("list[tuple[str, Any]]", mapper.columns.items())  # a column_property is among them
    columns: dict[str, Column[Any]] = {name: column for name, column in items if isinstance(column, Column)}
    names = {column: name for name, column in columns.items()}
    return RowInfo(
        row=row,
        mapper=mapper,
        table=table,
        columns=MappingProxyType(columns),
        primary_key=tuple(names[cast("Column[Any]", column)] for column in mapper.primary_key),
        version=None if mapper.version_id_col is None else names[cast("Column[Any]", mapper.version_id_col)],
    )


def nearest(name: str, candidates: Iterable[str], cutoff: float = 0.5) -> str:
    """Give ``"; did you mean 'x'?"`` for the candidate most like a misspelt name, else an empty string."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""


def _name(thing: object) -> str:
    return getattr(thing, "__name__", None) or type(thing).__name__
