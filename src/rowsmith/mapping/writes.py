"""What may be written: ``Spec`` (a new row) and ``Patch`` (changes to one).

The class is the allow-list. Its fields are held against the row when the class is made, so a field
that is no column, or a required column without a field, never reaches a request.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from inspect import isfunction
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, cast, get_origin
from uuid import UUID

from pydantic import ConfigDict
from sqlalchemy import Column, ColumnElement, SelectBase, TextClause
from sqlalchemy.orm import RelationshipProperty
from sqlalchemy.sql import visitors
from typing_extensions import TypeVar

from rowsmith.errors import MappingError, kind_of
from rowsmith.mapping.annotations import bare, field_annotations, private_annotations, resolved
from rowsmith.mapping.comparisons import assigned_complaint, check_comparisons
from rowsmith.mapping.frozen import Frozen, check_frozen
from rowsmith.mapping.generics import type_arguments
from rowsmith.mapping.row import RowInfo, nearest, row_info
from rowsmith.mapping.truth import complaint_inside
from rowsmith.several import several_complaint
from rowsmith.signatures import takes
from rowsmith.sql import as_sql, instead, is_sql, own_parameters, parts_of
from rowsmith.state import UNSET, OptionalState, TriState
from rowsmith.texts import complaint_about
from rowsmith.ties import loose_ties, takes_from

TRow = TypeVar("TRow")

PLAIN: Final[frozenset[type[Any]]] = frozenset(
    {NoneType, str, int, float, bool, bytes, Decimal, UUID, date, datetime, time, timedelta}
)
"""Classes of values that are no state of a field, and no SQL."""

_ONE_VALUE: Final[Any] = (ColumnElement, TextClause)
"""Classes of SQL that gives one value: a table, a statement, or a SELECT that may give many is none."""


class _Written(Frozen, Generic[TRow]):
    """What Spec and Patch share: fields that name attributes of a row."""

    __rowsmith_info__: ClassVar[RowInfo[Any] | None] = None
    __rowsmith_fields__: ClassVar[tuple[str, ...]] = ()
    __rowsmith_children__: ClassVar[tuple[str, ...]] = ()
    __rowsmith_filled__: ClassVar[frozenset[str]] = frozenset()
    # Where pydantic reads a dataclass (a web framework's request body), an unknown field is refused, not dropped.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    if not TYPE_CHECKING:  # a dataclass has an __init__ of its own, as a model has: this one is of what is neither

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if self.__rowsmith_fields__ and not (is_dataclass(self) or hasattr(self, "model_config")):
                raise MappingError(f"{type(self).__name__} is no dataclass: write @dataclass(frozen=True) above it")
            super().__init__(*args, **kwargs)

    def to_values(self) -> Mapping[str, Any]:
        """Give what is to be written, by attribute name; override where names alone don't do.

        Returns:
            Attribute name to value. Fields left at ``nop`` are absent.
        """
        values: dict[str, Any] = {}
        for name in self.__rowsmith_fields__:
            value: Any = getattr(self, name)
            if value.__class__ not in PLAIN and isinstance(value, (OptionalState, TriState)):
                value = cast("Any", value).to_value()
            if value is not UNSET:
                values[name] = value
        return values

    @classmethod
    def _bind(cls) -> bool:
        """Find the row among the type arguments and hold the fields against it; False for a generic base."""
        row = row_argument(cls)
        if row is None:
            return False
        info = row_info(row)
        names = tuple(name for name in field_annotations(cls) if not _is_private(name, info))
        refuse_own_names(cls, names, _Written)
        config = getattr(cls, "model_config", None)
        if isinstance(config, dict):  # a model ignores unknown fields by default, and its errors quote values
            for option, value in _Written.__pydantic_config__.items():
                cast("dict[str, Any]", config).setdefault(option, value)
        for name in private_annotations(cls):
            if info.mapper.has_property(name):
                raise MappingError(
                    f"{cls.__name__}.{name} would not be written, for pydantic takes an underscore for private: make "
                    f"{cls.__name__} a dataclass, or name the field otherwise and override to_values()"
                )
        known = {name: info.mapper.get_property(name) for name in names if info.mapper.has_property(name)}
        children = tuple(name for name in known if isinstance(known[name], RelationshipProperty))
        fields = tuple(name for name in names if name not in children)
        if _is_plain(cls):
            _refuse_strangers(cls, info, fields)
        elif isfunction(cls.to_values) and not takes(cls.to_values, None):
            raise MappingError(f"{cls.__name__}.to_values is called without arguments: write def to_values(self)")
        cls.__rowsmith_info__, cls.__rowsmith_fields__, cls.__rowsmith_children__ = info, fields, children
        return True


class Spec(_Written[TRow]):
    """Base of what ``create`` takes: a frozen dataclass or pydantic model whose fields name columns.

    ::

        @dataclass(frozen=True)
        class GroupCreate(Spec[GroupRow]):
            domain_name: str
            name: str

    A class argument ``filled={"domain_name"}`` names required columns that the spec leaves to a scope,
    a parent or a sequence.

    Raises:
        MappingError: when the class is made: a field is no column of the row, or a required column
            (NOT NULL, without default) is no field. Not checked where ``to_values`` is overridden. When the first
            instance is made: the class is a dataclass that is not frozen, or has fields and no decorator.
    """

    def __init_subclass__(cls, *, filled: Collection[str] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Kept on the class: a dataclass with slots is made twice, the second time without the argument.
        cls.__rowsmith_filled__ = cls.__rowsmith_filled__ | frozenset(filled)
        if cls._bind() and _is_plain(cls):
            info = cast("RowInfo[Any]", cls.__rowsmith_info__)
            _refuse_strangers(cls, info, filled)
            given = {*cls.__rowsmith_fields__, *cls.__rowsmith_filled__}
            missing = [name for name in info.columns if info.is_required(name) and name not in given]
            if missing:
                raise MappingError(
                    f"{cls.__name__} leaves out {info.row.__name__}.{missing[0]}, which is NOT NULL without a default: "
                    f"add the field, or write filled={{{missing[0]!r}}} if a scope or parent supplies it"
                    f"{nearest(missing[0], [name for name in given if name not in info.columns])}"
                )


class Patch(_Written[TRow]):
    """Base of what ``update`` takes: fields are ``OptionalState[T]`` or ``TriState[T]`` and name columns.

    Raises:
        MappingError: when the class is made: a field is no column of the row, is no state, or is a
            ``TriState`` (which can say NULL) on a NOT NULL column. Where ``to_values`` is overridden a field may be
            anything. When the first instance is made: the class is a dataclass that is not frozen, or has fields
            and no decorator.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls._bind():
            return
        info = cast("RowInfo[Any]", cls.__rowsmith_info__)
        for name in (*cls.__rowsmith_fields__, *cls.__rowsmith_children__):
            owner, annotation = field_annotations(cls)[name]
            kind = _state_kind(owner, name, annotation)
            if kind is None and not _is_plain(cls):
                continue
            if kind is None:
                raise MappingError(f"{cls.__name__}.{name} must be OptionalState[...] or TriState[...]")
            column = info.columns.get(name)
            if kind is TriState and column is not None and not column.nullable:
                where = f"{info.row.__name__}.{name}"
                raise MappingError(f"{cls.__name__}.{name} is a TriState, but {where} is NOT NULL: use OptionalState")


def checked_values(
    written: Spec[TRow] | Patch[TRow], info: RowInfo[TRow], base: type[Spec[Any] | Patch[Any]]
) -> dict[str, Any]:
    """Give the values of a spec or patch, each known to fit its column.

    Raises:
        MappingError: it is no ``base`` (a Spec or a Patch) of this row, or ``to_values`` names no column.
        InvalidValue: a value does not fit its column.
    """
    kind: Any = type(written)
    belonging = (kind, info, base)
    if getattr(kind, "__rowsmith_belongs__", None) != belonging:  # for a class below it would say so of the one above
        belongs_to(written, info, base)
        kind.__rowsmith_belongs__ = belonging
    values = own_values(written)
    if not info.writable.issuperset(values):
        _refuse_strangers(kind, info, values)
    for name, value in values.items():
        values[name] = storable(info, name, value, changes=base is Patch)
    return values


def own_values(written: Spec[Any] | Patch[Any]) -> dict[str, Any]:
    """Give what a spec or patch says of itself, once it is known to be values by their names.

    Raises:
        MappingError: ``to_values`` gives something else.
    """
    values: Any = written.to_values()
    if values.__class__ is not dict and not isinstance(values, Mapping):
        raise MappingError(
            f"{type(written).__name__}.to_values() gives a mapping of attribute names to values, not "
            f"{kind_of(values)}: end it with return super().to_values() | {{...}}"
        )
    return dict(cast("Mapping[str, Any]", values))


def belongs_to(written: object, info: RowInfo[object], base: type[Spec[Any] | Patch[Any]]) -> None:
    """Refuse what is no spec of this row where a spec is written, and no patch where a patch is.

    Raises:
        MappingError: it is of another class, or of one that is not frozen; the message says of which.
    """
    kind = cast("Any", type(written))
    instead = f"{base.__name__}[{info.row.__name__}]"
    if issubclass(type(written), _Written) and not issubclass(type(written), base):
        what = "Spec, which creates a row" if isinstance(written, Spec) else "Patch, which changes one"
        raise MappingError(f"{kind.__name__} is a {what}: give a {instead} here")
    own: RowInfo[Any] | None = getattr(kind, "__rowsmith_info__", None)
    if own is None:
        raise MappingError(f"{kind_of(written)} cannot be written: give an instance of a class that inherits {instead}")
    if not issubclass(info.row, own.row):
        raise MappingError(f"{kind.__name__} is for {own.row.__name__}, not for {info.row.__name__}")
    check_frozen(kind)


def all_belong(
    written: Sequence[object], info: RowInfo[object], base: type[Spec[Any] | Patch[Any]], places: Sequence[int] | None
) -> None:
    """Do as :func:`belongs_to` for the specs or patches of a batch.

    Args:
        written, info, base: as there.
        places: those in the caller's input, of which messages name one; None where there is no batch.

    Raises:
        MappingError: as there.
    """
    kinds = list(map(type, written))
    for kind in dict.fromkeys(kinds):
        place = kinds.index(kind)
        try:
            belongs_to(written[place], info, base)
        except MappingError as exc:
            if places is None:
                raise
            raise MappingError(f"the {base.__name__.lower()} at index {places[place]}: {exc}") from None


FOREIGN = "says that the row is of another class: leave it out"


def storable(info: RowInfo[object], name: str, value: object, *, changes: bool = False) -> Any:
    """Give the value as it is sent, once it is known to fit.

    None is SQL NULL on every column: for JSON columns SQLAlchemy would store the JSON literal ``null``.
    ``changes`` says that it goes into a row that is there.

    Raises:
        InvalidValue: the column cannot hold it, it would make the row another class's, it names columns where a new
            row has none to take from, or :func:`tied` refuses it.
    """
    if name in info.telling and info.is_foreign(name, [value], changes=changes):
        raise info.refusal(name, FOREIGN)
    if value is None:
        return info.nothing(name)
    if value.__class__ not in PLAIN and is_sql(value):
        expression = tied(info, name, value)
        if not changes and takes_from(as_sql(expression), info.tables):
            raise info.refusal(
                name,
                "gets an expression that names columns, and a new row has nothing to take them from: give a value, or "
                f"select from aliased({info.row.__name__}) in a subquery",
            )
        return expression
    if (complaint := info.checks[name](value)) is not None:
        raise info.refusal(name, complaint)
    return value


def tied(info: RowInfo[object], name: str, value: Any) -> Any:
    """Give a SQL expression that is written, once it is known which rows its subqueries are about.

    Raises:
        InvalidValue: it has text that does not end what it begins, asks about any row where the one that is written
            may be meant, is of several rows or of another table's, takes for a condition what is none, compares what
            no database compares, or gives what the column does not take.
    """
    if not is_sql(value):
        return value
    expression: Any = as_sql(value)
    if not isinstance(expression, _ONE_VALUE):
        advice = "write .scalar_subquery() after it" if isinstance(expression, SelectBase) else "give an expression"
        advice = instead(expression, "Text") or f", which is no value: {advice}"
        raise info.refusal(name, f"gets {kind_of(expression)}{advice}")
    elements: list[Any] = list(visitors.iterate(expression))
    if complaint := complaint_about(elements) or loose_ties(expression, info.tables):
        raise info.refusal(name, complaint)
    if complaint := several_complaint(expression) or complaint_inside(elements):
        raise info.refusal(name, complaint)
    if not all(map(info.owns, expression._from_objects)):
        raise info.refusal(
            name,
            "gets an expression over another table, of which it would be any row: write a scalar subquery that refers "
            "to the row",
        )
    into = info.columns[name].type
    check_comparisons(expression, elements, info, f"what is written to {name} of", into)
    if complaint := assigned_complaint(expression, into):
        raise info.refusal(name, complaint)
    return own_parameters(expression)


def refuse_own_names(cls: type[Any], names: Collection[str], base: type[object]) -> None:
    """Refuse fields that are called like what a class inherits and its user calls.

    Raises:
        MappingError: a field hides an attribute of the base.
    """
    for name in names:
        if name in vars(base):
            raise MappingError(
                f"{cls.__name__}.{name} would hide {base.__name__.strip('_')}.{name}, which rowsmith calls: map the "
                f"column under another attribute, as in {name}_: Mapped[...] = mapped_column({name!r})"
            )


def row_argument(cls: type[Any]) -> type[Any] | None:
    """Give the row in ``class X(Spec[Row])``; None where the argument is still a type variable or absent."""
    argument = next(iter(type_arguments(cls, _Written)), None)
    return argument if isinstance(argument, type) else None


def _is_plain(cls: Any) -> bool:
    """Say whether fields are written by their names, and so can be checked when the class is made."""
    return cls.to_values is cast("Any", _Written).to_values


def _refuse_strangers(cls: type[Any], info: RowInfo[object], names: Collection[str]) -> None:
    for name in names:
        check_writable(info, name, f"{cls.__name__}.{name}")


def check_writable(info: RowInfo[object], name: str, where: str) -> None:
    """Refuse what is no column of a row, or one that the database alone writes.

    Raises:
        MappingError: the message begins with ``where``.
    """
    if not isinstance(cast("object", name), str):
        column: Any = as_sql(name)
        meant = info.name_of(cast("Any", column)) if isinstance(column, Column) else None
        meant = meant or next(own for own in info.columns if own in info.writable)
        raise MappingError(
            f"values are given by the names of {info.row.__name__}'s attributes, which are text, not by "
            f"{kind_of(name)}: write {meant!r}"
        )
    if name not in info.columns:
        meant, parts = info.synonym(name), parts_of(getattr(info.row, name, None))
        also = f"; it is another name of {meant!r}: write that" if meant else nearest(name, info.columns)
        also = f"; it is made of {', '.join(parts)}: write those" if parts else also
        raise MappingError(f"{where} is no column of {info.row.__name__}{also}")
    if name in info.copies:
        raise MappingError(f"{where} is a copy of {info.row.__name__}'s key, and written with it: leave it out")
    if info.is_computed(name):
        raise MappingError(f"{where} cannot be written: the database computes {info.row.__name__}.{name}: leave it out")
    if info.is_always_numbered(name):
        raise MappingError(
            f"{where} cannot be written: {info.row.__name__}.{name} is an Identity(always=True): leave it out, or "
            "declare Identity(always=False)"
        )


def _is_private(name: str, info: RowInfo[object]) -> bool:
    """Say whether a field is the class's own matter: it begins with an underscore, and no column is called like it."""
    if not name.startswith("_") or info.mapper.has_property(name):
        return False
    return not nearest(name, [own for own in info.columns if own.startswith("_")], 0.7)


_STATE = re.compile(r"^(?:\w+\.)*(?:Annotated\[\s*(?:\w+\.)*)?(OptionalState|TriState)\b")


def _state_kind(owner: type[object], name: str, annotation: object) -> type[Any] | None:
    """Give OptionalState or TriState; where what it is of is not there yet, the annotation's words tell."""
    with suppress(NameError):
        kind = bare(resolved(owner, name, annotation))
        return _state_of(kind)
    text = annotation.strip("'\" ") if isinstance(annotation, str) else ""
    if match := _STATE.match(text):
        return OptionalState if match[1] == "OptionalState" else TriState
    with suppress(NameError):
        return _state_of(bare(resolved(owner, name, text.partition("[")[0])))
    return None


def _state_of(kind: object) -> type[Any] | None:
    origin = get_origin(kind) or kind
    return origin if origin in (OptionalState, TriState) else None
