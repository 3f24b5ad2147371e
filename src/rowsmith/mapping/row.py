"""What is to be known of a mapped class: its attributes, key, version and name. Read once, never changed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, Generic, cast

from sqlalchemy import Column, ColumnElement, ForeignKeyConstraint, FromClause, Table, inspect, literal, null
from sqlalchemy import cast as cast_to
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import ColumnProperty, InstrumentedAttribute, Mapper, MapperProperty, SynonymProperty
from sqlalchemy.sql import visitors
from sqlalchemy.types import TypeEngine
from typing_extensions import TypeVar

from rowsmith.errors import ErrorFacts, InvalidValue, MappingError, kind_of
from rowsmith.mapped import mappers_by_table
from rowsmith.mapping.constraints import referred_by, unique_keys_of
from rowsmith.mapping.parts import Part, lineage, parts_of
from rowsmith.mapping.types import (
    DIALECTS,
    Check,
    Travel,
    binds_itself,
    column_type,
    in_utc,
    is_moment,
    layers,
    on_postgresql,
    stored_form,
    stores_none,
)
from rowsmith.names import PREFIX, is_own
from rowsmith.sql import is_compared_as_sql, is_sql

TRow = TypeVar("TRow")
TRow_co = TypeVar("TRow_co", covariant=True)


class _Checks(dict[str, Check]):
    """Looks each up when it is asked for: a foreign key without a type of its own has none before its target is mapped.

    ``columns`` are those of the attributes; ``form`` gives the type whose check is meant, of the one declared.
    """

    def __init__(
        self,
        columns: Mapping[str, Column[Any]],
        form: Callable[[TypeEngine[Any]], TypeEngine[Any]] = lambda declared: declared,
    ) -> None:
        super().__init__()
        self._columns, self._form = columns, form

    def __missing__(self, name: str) -> Check:
        declared = self._columns[name].type
        check = column_type(self._form(declared)).check
        if not declared._isnull:  # pyright: ignore[reportPrivateUsage] - there is no public name
            self[name] = check
        return check


@dataclass(frozen=True)
class RowInfo(Generic[TRow_co]):
    """A mapped class, read once: attribute names are the keys everywhere, never column names."""

    row: type[TRow_co]
    mapper: Mapper[TRow_co] = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)
    stored: Mapping[str, tuple[Column[Any], ...]] = field(repr=False)
    columns: Mapping[str, Column[Any]] = field(repr=False)
    primary_key: tuple[str, ...]
    version: str | None

    @cached_property
    def table(self) -> Table:
        """The table that a row is kept in; the root's, where it is kept in several."""
        return self.parts[0].table

    @cached_property
    def is_joined(self) -> bool:
        """Whether each row is kept in several tables, one for each class above that has one."""
        return len(self.parts) > 1

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """All tables that a row is kept in, the root's first."""
        return tuple(part.table for part in self.parts)

    def one_statement(self, operation: str, singly: str) -> None:
        """Refuse what writes rows into one table by one statement.

        Args:
            operation: what does.
            singly: the call to be made instead.

        Raises:
            MappingError: the rows are kept in several tables, or what tells their class could disagree with those.
        """
        if not (self.is_joined or self.is_told_apart):
            return
        names = ", ".join(part.table.name for part in self.all_parts)
        raise MappingError(
            f"{operation} writes to one table, and rows of {self.row.__name__} and its subclasses are kept in {names}: "
            f"call {singly} for each row, inside a unit of work"
        )

    def owns(self, source: object) -> bool:
        """Say whether something in FROM is a table that the row is kept in."""
        return getattr(source, "key", None) in self.table_keys

    @cached_property
    def table_keys(self) -> frozenset[str]:
        """The names of the tables that a row is kept in, their schemas included."""
        return frozenset(self.tables_by_key)

    def shares_tables(self, mapper: Mapper[Any]) -> bool:
        """Say whether rows of a class are kept in one of the tables that the row is kept in, or in several."""
        return not set[FromClause](self.tables).isdisjoint(mapper.tables)

    @cached_property
    def tables_by_key(self) -> Mapping[str, Table]:
        """The tables that a row is kept in, by their names."""
        return {part.table.key: part.table for part in self.parts}

    @cached_property
    def copies(self) -> frozenset[str]:
        """The attributes that are the key once more, in a further table and under another name; they are not given."""
        keys = {column for part in self.parts[1:] for column in part.key}
        return frozenset(
            name for name, stored in self.stored.items() if name not in self.primary_key and not keys.isdisjoint(stored)
        )

    def name_of(self, column: Column[Any]) -> str | None:
        """Give the attribute of a column of one of the row's tables, annotated or not; None for an alias's."""
        return self._names.get((getattr(column.table, "key", ""), column.name))

    @cached_property
    def _names(self) -> dict[tuple[str, str], str]:
        return {(own.table.key, own.name): name for name, columns in self.stored.items() for own in columns}

    def label(self, column: Column[Any]) -> str:
        """Give a column's name where columns of all tables of the row stand beside each other."""
        return f"{column.table.name}_{column.name}" if self.is_joined else column.name

    @property
    def kin(self) -> list[Mapper[Any]]:
        """The class and those below it whose rows are rows of this one too; classes may be mapped later."""
        return [mapper for mapper in self.mapper.self_and_descendants if self.table in mapper.tables]

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts of this class's rows, and then those that rows of classes below it have besides."""
        if not self.mapper._inheriting_mappers:  # pyright: ignore[reportPrivateUsage] - a look, and no more
            return self.parts
        found = {part.table: part for mapper in (self.mapper, *self.kin) for part in parts_of(mapper)}
        return tuple(found.values())

    @property
    def is_spread(self) -> bool:
        """Whether rows of a class below have a part in a table that this class's own rows do not have."""
        return len(self.all_parts) > len(self.parts)

    @cached_property
    def foreign_keys(self) -> tuple[ForeignKeyConstraint, ...]:
        """The foreign keys of the row's tables that a write may set: not those by which its tables are tied."""
        ties = {column for part in self.parts[1:] for column in part.key}
        keys = [key for part in self.parts for key in part.table.foreign_key_constraints]
        return tuple(
            key
            for key in sorted(keys, key=lambda key: [*key.column_keys])
            if not ties.issuperset(key.columns) and any(self.name_of(column) is not None for column in key.columns)
        )

    @cached_property
    def referring(self) -> frozenset[str]:
        """The attributes of the foreign keys that a write may set."""
        return self._attributes_of(self.foreign_keys)

    @cached_property
    def referring_unasked(self) -> frozenset[str]:
        """Those of them that an UPDATE may change without naming them: computed ones, and those with ``onupdate``."""
        return frozenset(name for name in self.referring if self.changes_unasked(name))

    @cached_property
    def referring_itself(self) -> frozenset[str]:
        """The attributes of those that lead to rows which are kept, if only in part, in the same tables."""
        known = mappers_by_table().items()
        shared = {table for table, mappers in known if any(map(self.shares_tables, mappers))}
        return self._attributes_of(key for key in self.foreign_keys if referred_by(key) in shared)

    def foreign_keys_of(self, names: Collection[str]) -> list[ForeignKeyConstraint]:
        """Give those of the foreign keys that some attributes are part of."""
        return [key for key in self.foreign_keys if not self._attributes_of([key]).isdisjoint(names)]

    def _attributes_of(self, keys: Iterable[ForeignKeyConstraint]) -> frozenset[str]:
        names = (self.name_of(cast("Any", column)) for key in keys for column in key.columns)
        return frozenset(name for name in names if name is not None)

    @property
    def domain(self) -> str:
        """The noun used in error codes: ``GroupRow`` is ``group``, ``FairShareRow`` is ``fair_share``."""
        name = re.sub(r"(Row|Model|Record)$", "", self.row.__name__) or self.row.__name__
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()

    def has(self, attribute: InstrumentedAttribute[Any]) -> bool:
        """Say whether an attribute is a column of this class, and not merely called like one."""
        if attribute.key not in self.columns or not issubclass(self.row, cast("type[Any]", attribute.class_)):
            return False
        # By way of the mapper, because the attribute's own .property would configure every mapper there is.
        declared: Any = inspect(attribute.class_).get_property(attribute.key)
        return any(column is own for column in declared.columns for own in self.stored[attribute.key])

    def attribute(self, name: str) -> InstrumentedAttribute[Any]:
        """Give the class's attribute, ready to be compared or selected."""
        return cast("InstrumentedAttribute[Any]", getattr(self.row, name))

    @cached_property
    def checks(self) -> Mapping[str, Check]:
        """What says of each attribute why it cannot hold a value."""
        return _Checks(self.columns)

    @cached_property
    def varies(self) -> bool:
        """Whether PostgreSQL has a column as another type than another database does."""
        return any(on_postgresql(column.type) is not column.type for column in self.columns.values())

    @cached_property
    def on_postgresql(self) -> RowInfo[TRow_co]:
        """The class as it is known to be on PostgreSQL: what PostgreSQL's own types cannot hold is refused there.

        SQLite has no types that could not hold a value, so a column holds there what any variant of its type does.
        """
        if not self.varies:
            return self
        twin = replace(self)
        vars(twin)["checks"] = _Checks(self.columns, on_postgresql)
        return twin

    def kept_check(self, name: str) -> Check:
        """Give what says why no row has a value in a column: what the column rounds can be written, too."""
        record = column_type(self.columns[name].type)
        return record.beside.keeps or record.check

    @cached_property
    def key_attributes(self) -> tuple[InstrumentedAttribute[Any], ...]:
        """The attributes of the primary key, in its order."""
        return tuple(self.attribute(name) for name in self.primary_key)

    @cached_property
    def key_columns(self) -> tuple[Column[Any], ...]:
        """The columns of the primary key, in its order."""
        return tuple(self.columns[name] for name in self.primary_key)

    @cached_property
    def unique(self) -> frozenset[str]:
        """The attributes of columns that stand in a unique key of one of the row's tables."""
        columns = {column for part in self.parts for key in unique_keys_of(part.table) for column in key.columns}
        return frozenset(name for name, stored in self.stored.items() if not columns.isdisjoint(stored))

    @cached_property
    def shard_key(self) -> str | None:
        """The attribute by which rows are spread over shards or partitions; None where nothing is said of that.

        The ``info`` of the table says it: ``__table_args__ = {"info": {"distributed_by": "tenant"}}``.

        Raises:
            MappingError: it is no part of the primary key, as it has to be.
        """
        name = self.table.info.get("distributed_by")
        if name is None:
            return None
        parts = [part for part in self.primary_key if self.columns[part].name == name]
        if not parts:
            raise MappingError(
                f"{self.row.__name__} is distributed by {name!r}, which is no column of its primary key: make it one"
            )
        return parts[0]

    def refusal(self, name: str, complaint: str, *, noun: str = "spec", index: int | None = None) -> InvalidValue:
        """Give the error for a value of an attribute, which its message and its facts name.

        Args:
            name: the attribute.
            complaint: what is wrong with the value, which it does not quote.
            noun, index: which item of the input of a batch has it, if it is one.
        """
        facts = ErrorFacts(columns=(str(self.columns[name].name),))
        words = f"{self.row.__name__}.{name} {complaint}"
        return InvalidValue(words, facts=facts) if index is None else InvalidValue.at(index, words, noun, facts=facts)

    def key(self, id: Any) -> tuple[Any, ...]:
        """Give a primary key as a tuple of values, one a column.

        Args:
            id: the value, or for a composite key a tuple (a NamedTuple too) in the key's order.

        Raises:
            InvalidValue: it has the wrong number of parts, or a part its column cannot hold.
        """
        names = self.primary_key
        parts: tuple[Any, ...] = (id,) if len(names) == 1 else id
        if not isinstance(cast("Any", parts), tuple) or len(parts) != len(names):
            raise InvalidValue(f"the key of {self.row.__name__} is a tuple of {len(names)}: ({', '.join(names)})")
        for name, part in zip(names, parts, strict=True):
            complaint = "is part of the key: None names no row" if part is None else self.kept_check(name)(part)
            if name in self._lax and is_compared_as_sql(part):
                complaint = f"is part of the key: give its value, not {kind_of(part)}"
            if complaint:
                raise self.refusal(name, complaint)
        if self.moments:
            parts = tuple(
                in_utc(part) if name in self.moments else part for name, part in zip(names, parts, strict=True)
            )
        if not self._holds_bytes:
            return parts
        # As bytes that do not change, and so can be told apart by their hash.
        return tuple(bytes(cast("Any", part)) if isinstance(part, bytearray | memoryview) else part for part in parts)

    @cached_property
    def _lax(self) -> frozenset[str]:
        """The parts of the key of types of which nobody here knows what they hold, so that they would take SQL."""
        return frozenset(name for name in self.primary_key if self.kept_check(name)(null()) is None)

    @cached_property
    def moments(self) -> frozenset[str]:
        """The parts of the key that are points in time, which may be given in any time zone."""
        return frozenset(filter(self.is_moment, self.primary_key))

    def is_moment(self, name: str) -> bool:
        """Say whether an attribute holds points in time, as they are."""
        return is_moment(self.columns[name].type)

    @cached_property
    def _holds_bytes(self) -> bool:
        kinds = (stored_form(self.columns[name].type) for name in self.primary_key)
        return any(column_type(kind).travel is Travel.BYTES for kind in kinds)

    @cached_property
    def split(self) -> frozenset[str]:
        """The attributes of which Python may hold values to be equal that are two to the database."""
        return frozenset(name for name, column in self.columns.items() if column_type(column.type).beside.splits)

    @cached_property
    def rounded(self) -> frozenset[str]:
        """The attributes of types that round what is written."""
        return frozenset(name for name, column in self.columns.items() if column_type(column.type).beside.rounds)

    @cached_property
    def unjudged(self) -> frozenset[str]:
        """The attributes of a team's own types over such: only the database knows what it stores of a value."""
        return frozenset(name for name in self.bound if column_type(stored_form(self.columns[name].type)).beside.rounds)

    @cached_property
    def bound(self) -> frozenset[str]:
        """The attributes of which a team's own code may make something else of the values that are written."""
        return frozenset(name for name, column in self.columns.items() if any(map(binds_itself, layers(column.type))))

    @cached_property
    def has_rounded_key(self) -> bool:
        """Whether a part of the key is rounded: a key is looked at by itself then."""
        return not self.rounded.isdisjoint(self.primary_key)

    def key_condition(self, key: tuple[Any, ...]) -> list[ColumnElement[bool]]:
        """Give the conditions that single out the row with this key, whose parts are of its columns' own types."""
        conditions: list[ColumnElement[bool]] = []
        for attribute, part in zip(self.key_attributes, key, strict=True):
            if column_type(attribute.type).beside.is_of_single_precision:  # a row that was made as 0.1 is found by that
                conditions.append(attribute == cast_to(literal(part), attribute.type))
                continue
            condition: Any = attribute == part
            is_of_its_type = condition.right.type is attribute.type  # and not of what SQLAlchemy takes the value for
            conditions.append(condition if is_of_its_type else attribute == literal(part, attribute.type))
        return conditions

    @property
    def kept_version(self) -> str:
        """The attribute that counts a row's versions.

        Raises:
            MappingError: there is none.
        """
        if self.version is None:
            raise MappingError(f"{self.row.__name__} keeps no version: map one with version_id_col")
        return self.version

    def is_required(self, name: str) -> bool:
        """Say whether an insert must name this attribute: NOT NULL and nobody else fills it."""
        column = self.stored[name][-1]
        ours = name == self.version or name in self.discriminator or name in self.copies
        return not (column.nullable or is_filled(column) or ours or column is column.table.autoincrement_column)

    @cached_property
    def discriminator(self) -> dict[str, Any]:
        """What a new row says to be of this class and of no other one in its table: attribute name and value.

        Nothing where no column says so that may be written: the classes are told apart by an expression.
        """
        identity = self.mapper.polymorphic_identity
        return {name: identity for name in self._kinds if identity is not None}

    def class_of_new(self, given: Collection[str]) -> Mapping[str, Any]:
        """Give what a new row with these attributes says besides, to be of this class.

        Raises:
            MappingError: the class is abstract, and nothing given says of which class below it the row is.
        """
        if self.mapper.polymorphic_abstract and set(self._kinds).isdisjoint(given):
            raise MappingError(f"{self.row.__name__} is polymorphic_abstract: create rows of a class below it")
        return self.discriminator

    @cached_property
    def _kind(self) -> ColumnElement[Any] | None:
        """What says of which class a row is; of an expression only the class that declares it may know."""
        found = (step.polymorphic_on for step in lineage(self.mapper))
        return next((kind for kind in found if kind is not None), None)

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        """The attributes of the column that says of which class a row is."""
        column = self._kind
        return tuple(
            name
            for name, own in self.stored.items()
            if any(item is column for item in own) and not self.is_computed(name)
        )

    @cached_property
    def _told_by(self) -> frozenset[str]:
        """The attributes that say of which class a row is, be it in an expression."""
        kind = self._kind
        read = set[Any]() if kind is None else set(visitors.iterate(kind))
        return frozenset(name for name, own in self.stored.items() if not read.isdisjoint(own))

    @property
    def own_rows(self) -> tuple[ColumnElement[bool], ...]:
        """The condition of this class's rows, those of its subclasses included, where a table is shared; else nothing.

        SQLAlchemy adds it to the ORM's statements alone, and there as an OR with the one of every other class
        that is mentioned. Classes may be mapped later, so it is not kept. A table that a class has to itself needs
        none: that a row is joined to it says the same.
        """
        if not (self.mapper.single and self.mapper.inherits):
            return ()
        return self._of_class(self.kin)

    @property
    def own_class(self) -> tuple[ColumnElement[bool], ...]:
        """The condition that a row is of a class that keeps it where this one does, told by an expression; or nothing.

        For a row that is new, where its tables could say otherwise than what tells the class.
        """
        return () if self._kinds else self._of_class(self._alike)

    @property
    def is_told_apart(self) -> bool:
        """Whether a new row's tables and what tells its class could disagree, and only the database knows."""
        return self._kind is not None and not self._kinds and (self.is_joined or self.is_spread)

    def _of_class(self, mappers: Sequence[Mapper[Any]]) -> tuple[ColumnElement[bool], ...]:
        kind = self._kind
        if kind is None:
            return ()
        identities = _identities(mappers)
        told: ColumnElement[Any] = self.attribute(self._kinds[0]).expression if self._kinds else kind
        return (told == identities[0] if len(identities) == 1 else told.in_(identities),)

    @property
    def _alike(self) -> list[Mapper[Any]]:
        """Those of the kin that keep their rows in the same tables."""
        return [mapper for mapper in self.kin if len(mapper.tables) == len(self.parts)]

    @cached_property
    def telling(self) -> frozenset[str]:
        """The attributes whose values may say of which class a row is."""
        return self._told_by.union(self._kinds)

    def is_foreign(self, name: str, values: Iterable[object], *, changes: bool = False) -> bool:
        """Say whether one of these values of an attribute would make a row another class's.

        ``changes`` says that they are for rows that are there. Where those may be of classes with further tables, or
        an expression tells, no value is known to leave a row in its class.
        """
        if name not in (self._told_by if changes else self._kinds):
            return False
        inherits, is_spread = self.mapper.inherits and not self.mapper.concrete, self.is_spread
        if changes and (is_spread or (self.is_joined and not self._kinds)):
            return True
        if name not in self._kinds or not (inherits or is_spread):
            return False
        identities = _identities(self._alike)
        # Of a SQL expression nobody knows.
        return any(is_sql(value) or value not in identities for value in values)

    def is_json(self, name: str) -> bool:
        """Say whether the attribute is a JSON column, for which SQLAlchemy tells JSON null from SQL NULL.

        On whichever database: where it is none, NULL is NULL all the same.
        """
        declared = self.columns[name].type
        return any(column_type(stored_form(declared, dialect)).travel is Travel.JSON for dialect in (None, *DIALECTS))

    def nothing(self, name: str) -> Any:
        """Give what is sent for None: SQL NULL on a JSON column too, unless the column's type makes a value of None."""
        is_marked = self._marked.get(name)
        if is_marked is None:
            is_marked = self._marked[name] = self.is_json(name) and not stores_none(self.columns[name].type)
        return null() if is_marked else None

    @cached_property
    def _marked(self) -> dict[str, bool]:
        """Of the attributes that were asked about, whether their NULL has to be said: a type may not be there yet."""
        return {}

    def is_null_by_default(self, name: str) -> bool:
        """Say whether the attribute of a new row is NULL where nothing is given for it."""
        column = self.columns[name]
        makers = (column.default, column.server_default, column.identity, column.computed)
        return all(maker is None for maker in makers) and column is not self.table.autoincrement_column

    def is_computed(self, name: str) -> bool:
        """Say whether the database works the attribute out itself, so that nobody may write it."""
        return self.columns[name].computed is not None

    @cached_property
    def writable(self) -> frozenset[str]:
        """The attributes that may be written, and no database writes alone."""
        return frozenset(
            name
            for name in self.columns
            if not (name in self.copies or self.is_computed(name) or self.is_always_numbered(name))
        )

    def is_always_numbered(self, name: str) -> bool:
        """Say whether the database numbers the attribute itself and takes no number (``GENERATED ALWAYS``)."""
        identity = self.stored[name][-1].identity
        return identity is not None and bool(identity.always)

    def synonym(self, name: str) -> str | None:
        """Give the attribute of a column that a name is another name for; None where it is none."""
        found = self.meant(name)
        column = found.columns[0] if isinstance(found, ColumnProperty) else None
        return self.name_of(column) if isinstance(column, Column) else None

    def meant(self, name: str) -> MapperProperty[Any] | None:
        """Give what is mapped by a name, or by what that is another name for; None where nothing is."""
        while self.mapper.has_property(name):
            found: Any = self.mapper.get_property(name)
            if not isinstance(found, SynonymProperty):
                return cast("MapperProperty[Any]", found)
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


def _identities(mappers: Iterable[Mapper[Any]]) -> list[Any]:
    found = (mapper.polymorphic_identity for mapper in mappers if not mapper.polymorphic_abstract)
    return [identity for identity in found if identity is not None]


def row_info(row: type[TRow]) -> RowInfo[TRow]:
    """Read a mapped class, without configuring mappers: its relationships may name classes yet to come.

    Raises:
        MappingError: the class is not mapped, or to something else than its table and those of the classes above it.
    """
    if not isinstance(cast("Any", row), type):
        raise MappingError(f"{_name(row)} is no mapped class: give a SQLAlchemy row such as GroupRow")
    return cast("RowInfo[TRow]", _row_info(cast("Any", row)))


@cache
def _row_info(row: type[object]) -> RowInfo[Any]:
    try:
        mapper: Mapper[Any] = inspect(row)
    except NoInspectionAvailable:
        raise MappingError(f"{_name(row)} is no mapped class: give a SQLAlchemy row such as GroupRow") from None
    parts = parts_of(mapper)
    for column in (column for part in parts for column in part.table.columns):
        for name in (column.table.name, column.name, column.key):
            if is_own(name):
                raise MappingError(f"{_name(row)}: {name} begins with {PREFIX!r}, as rowsmith's own names in SQL do")
    stored = dict(_stored(mapper))
    names = {column: name for name, columns in stored.items() for column in columns}
    return RowInfo(
        row=row,
        mapper=mapper,
        parts=parts,
        stored=MappingProxyType(stored),
        columns=MappingProxyType({name: columns[0] for name, columns in stored.items()}),
        primary_key=tuple(names[cast("Column[Any]", column)] for column in mapper.primary_key),
        version=None if mapper.version_id_col is None else names[cast("Column[Any]", mapper.version_id_col)],
    )


def _stored(mapper: Mapper[Any]) -> Iterator[tuple[str, tuple[Column[Any], ...]]]:
    """Give each attribute with its columns: the one that is read first, the root's last.

    A column has one attribute that it is written by; what else is mapped to it is another name, which is only read.
    """
    known = set[Column[Any]]()
    for name in dict.fromkeys(mapper.columns.keys()):
        columns: Any = mapper.get_property(name).columns
        if isinstance(columns[0], Column) and known.isdisjoint(columns):  # a column_property is among them
            known.update(columns)
            yield name, tuple(columns)


def nearest(name: str, candidates: Iterable[str], cutoff: float = 0.5) -> str:
    """Give ``"; did you mean 'x'?"`` for the candidate most like a misspelt name, else an empty string."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""


def _name(thing: object) -> str:
    return getattr(thing, "__name__", None) or type(thing).__name__


def is_filled(column: Column[Any]) -> bool:
    """Say whether a column that nobody writes has a value all the same, by what is declared of it."""
    return any((column.default, column.server_default, column.computed, column.identity))
