"""Scopes: who may see and touch what.

A scope is a frozen dataclass whose conditions stand in the same statement as the primary key, so
another tenant's row and an absent one are the same answer. Nothing here talks to a database.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property, lru_cache
from inspect import get_annotations
from itertools import chain, product
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar, cast
from uuid import UUID

from sqlalchemy import Column, ColumnElement, ForeignKeyConstraint, FromClause, SelectBase, inspect, true
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    False_,
    TextClause,
    True_,
)
from typing_extensions import override

from rowsmith.conditions import (
    Condition,
    bare,
    check_asked,
    conjunction,
    conjuncts,
    disjunction,
    given_conditions,
    negation,
    refused_by_sqlalchemy,
    resolve,
    whole,
)
from rowsmith.errors import (
    EmptyScope,
    ErrorFactory,
    InvalidFilter,
    MappingError,
    ScopeError,
    ScopeMismatch,
    ScopeRequired,
    check_factory,
    kind_of,
)
from rowsmith.extent import Extent, extent, is_of_the_row, tell_apart
from rowsmith.fallible import where_inside
from rowsmith.identity import all_one, are_one
from rowsmith.mapping import Patch, RowInfo, row_info
from rowsmith.mapping.comparisons import check_comparisons
from rowsmith.mapping.frozen import Frozen, asking, check_frozen
from rowsmith.mapping.truth import check_boolean, complaint_inside
from rowsmith.mapping.types import are_bound_alike
from rowsmith.mapping.writes import PLAIN, checked_values, storable
from rowsmith.names import sql_name
from rowsmith.reach import reads_beyond
from rowsmith.references import Pairs, Reference, Way, as_far_as_kept, classes_of, is_one_of, lead_inside, unless_of
from rowsmith.relations import narrowed
from rowsmith.several import is_function, several_complaint
from rowsmith.sql import are_sql, as_sql, is_sql
from rowsmith.state import UNSET
from rowsmith.texts import ADVICE, complaint_about, is_any_open
from rowsmith.ties import loose_ties

logger = logging.getLogger("rowsmith.scope")

T = TypeVar("T")


class _Public(tuple[Condition, ...]):
    """The type of :data:`PUBLIC`; an empty sequence that is told apart from a forgotten one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PUBLIC"


PUBLIC: Final[Sequence[Condition]] = _Public()
"""What :meth:`SearchScope.to_related` gives for rows that are everybody's, such as tags or currencies."""


@dataclass(frozen=True)
class ExistenceCheck:
    """Something that must be there for a scope to make sense, such as the domain itself.

    ``exists`` is a condition on another table's row, ``error`` makes the domain's own error. All checks
    of a scope run in one statement, before the operation.
    """

    exists: Condition
    error: ErrorFactory
    message: str = "what the scope refers to does not exist"


class SearchScope(Frozen, ABC):
    """Base of scopes; subclass it as a frozen dataclass (a frozen pydantic model will do).

    ::

        @dataclass(frozen=True)
        class DomainScope(SearchScope):
            domain_name: str

            def to_conditions(self) -> Sequence[Condition]:
                return [GroupRow.domain_name == self.domain_name]

    Raises:
        MappingError: when the first instance is made, or is used: its class is not frozen.
    """

    if not TYPE_CHECKING:  # a dataclass has an __init__ of its own: this one asks where the decorator is missing

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not getattr(cls, "model_config", {"frozen": True}).get("frozen"):
            made: Any = cls  # pydantic's own __init__ sets nothing
            made.__init__ = asking(made.__init__)
        for name in get_annotations(cls):
            if name in vars(SearchScope) and not name.startswith("_"):
                raise MappingError(f"{cls.__name__}.{name} would hide SearchScope.{name}: call the field otherwise")

    @classmethod
    @override
    def _check_class(cls) -> None:
        check_scope_class(cls)

    @abstractmethod
    def to_conditions(self) -> Sequence[Condition]:
        """Give the conditions every row must satisfy; all of them hold together. Never empty."""

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        """Give what must be there for the scope to make sense; nothing by default."""
        return ()

    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        """Give what holds for rows of other classes: those that foreign keys, data and filters lead to.

        ::

            def to_related(self) -> Mapping[type, Sequence[Condition]]:
                return {ProjectRow: [ProjectRow.domain_name == self.domain_name], TagRow: PUBLIC}

        What is said about a class holds for its subclasses too. A foreign key that is written, by whichever verb, has
        to lead to a row inside: any other one is an absent one (:class:`ReferenceNotFound`). So are related rows
        outside in nested data, in what ``loads`` brings, and in filters and written expressions over relationships, and
        rows of a table between (``secondary``) that is mapped to a class. By default nothing is said about any class
        but those that share a table with the row's own, whose rows are inside where the scope's conditions hold for
        what they have: a repository with ``scope_required`` then refuses to write rows of a tree, a foreign key may
        lead to any row that is there, and all related rows are shown.
        """
        return {}


@dataclass(frozen=True)
class Unscoped(SearchScope):
    """All rows, said out loud: the way round ``scope_required``. The reason is logged, once a call."""

    reason: str

    def __post_init__(self) -> None:
        if not (isinstance(cast("Any", self.reason), str) and self.reason.strip()):
            raise EmptyScope("Unscoped needs a reason: write Unscoped(reason='nightly clean-up')")

    def to_conditions(self) -> Sequence[Condition]:
        """Give no conditions; only this scope may, and a subclass may give none either."""
        return ()


@dataclass(frozen=True)
class Settled(SearchScope):
    """A scope that was asked for its conditions already, as it may give others the next time.

    What it says of other rows it is asked at most once, too.
    """

    scope: SearchScope
    given: Sequence[Condition]

    @classmethod
    def of(cls, scope: SearchScope) -> Settled:
        """Ask a scope, and those that it is put together of, unless it was asked already.

        Raises:
            MappingError: its class is no frozen dataclass.
            InvalidFilter, ScopeError: it gives no list of conditions.
        """
        if isinstance(scope, cls):
            return scope
        check_scope_class(type(scope))
        if type(scope) in (AnyOf, AllOf, Not):  # a team's own class may look at its parts
            scope = cast("_Combined", scope).of_asked()
        return cls(scope, given_conditions(scope))

    @cached_property
    def related(self) -> Mapping[type[Any], Sequence[Condition]]:
        """What the scope says of other rows."""
        return _related(self.scope)

    def to_conditions(self) -> Sequence[Condition]:
        """Give what the scope gave."""
        return self.given

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        """Give what the scope gives."""
        return self.scope.existence_checks()

    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        """Give what the scope gave."""
        return self.related


def itself(scope: SearchScope) -> SearchScope:
    """Give the scope that was asked already."""
    return scope.scope if isinstance(scope, Settled) else scope


def speaks_of_others(scope: SearchScope) -> bool:
    """Say whether a scope may say something about rows of other classes."""
    return type(itself(scope)).to_related is not SearchScope.to_related


@lru_cache(maxsize=500)
def check_scope_class(kind: Any) -> None:
    """Refuse a class of scopes that is no frozen dataclass, with a :class:`MappingError`."""
    config = getattr(kind, "model_config", None)
    if config is not None and not is_dataclass(kind):
        if not config.get("frozen"):
            raise MappingError(f"{kind.__name__} is a model that is not frozen: write ConfigDict(frozen=True) in it")
    elif not is_dataclass(kind):
        raise MappingError(f"{kind.__name__} is no dataclass: write @dataclass(frozen=True) above it")
    check_frozen(kind)


@lru_cache(maxsize=500)
def is_unchecked(kind: Any) -> bool:
    """Say whether scopes of a class are no more than their conditions: nothing is asked before, and nothing logged."""
    if not issubclass(kind, SearchScope) or issubclass(kind, Unscoped):
        return False
    check_scope_class(kind)
    return kind.existence_checks is SearchScope.existence_checks


ScopePart: TypeAlias = SearchScope | Condition


@dataclass(frozen=True, init=False)
class _Combined(SearchScope):
    """Scopes and conditions put together; usable as a scope, and as a condition (it is a callable)."""

    parts: tuple[ScopePart, ...]

    def __init__(self, *parts: ScopePart) -> None:
        if not parts:
            raise EmptyScope(f"{type(self).__name__} needs at least one scope or condition")
        object.__setattr__(self, "parts", parts)

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        """Give the checks of every scope among the parts."""
        scopes = [itself(part) for part in self.parts if isinstance(part, SearchScope)]
        return [check for scope in scopes for check in _checks_of(scope)]

    def to_conditions(self) -> Sequence[Condition]:
        """Give the one condition that the parts make together."""
        return [self()]

    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        """Give what the scopes among the parts say together; one that says nothing about a class is left out there."""
        said = [_related(part) for part in self.parts if isinstance(part, SearchScope)]
        rows = dict.fromkeys(row for related in said for row in related)
        return {row: self._together([related[row] for related in said if row in related]) for row in rows}

    def of_asked(self) -> Self:
        """Give it put together of scopes that were asked already."""
        made = copy(self)
        parts = tuple(Settled.of(part) if isinstance(part, SearchScope) else part for part in self.parts)
        object.__setattr__(made, "parts", parts)
        return made

    def _parts(self) -> list[ColumnElement[bool]]:
        return [_part(part) for part in self.parts]  # a map would take what a part raises for its end

    @abstractmethod
    def _together(self, said: Sequence[Sequence[Condition]]) -> Sequence[Condition]:
        """Put together what parts say about the rows of one class."""

    @abstractmethod
    def __call__(self) -> ColumnElement[bool]:
        """Give the condition as a SQL expression."""


class AnyOf(_Combined):
    """What at least one of the parts allows.

    A row that is written and what it refers to, or the row above it in a tree, have to be inside the same one.
    An :class:`Unscoped` part is refused: it would open everything to everybody.
    """

    def __call__(self) -> ColumnElement[bool]:
        """Give the parts joined by OR, each kept as a group."""
        return disjunction(self._parts())

    def _together(self, said: Sequence[Sequence[Condition]]) -> Sequence[Condition]:
        if any(isinstance(conditions, _Public) for conditions in said):
            return PUBLIC
        return [disjunction([conjunction(conditions) for conditions in said])]


class AllOf(_Combined):
    """What every one of the parts allows."""

    def __call__(self) -> ColumnElement[bool]:
        """Give the parts joined by AND."""
        return conjunction(self._parts())

    def to_conditions(self) -> Sequence[Condition]:
        """Give the parts one by one, so that their equalities can be stamped onto new rows."""
        return self._parts()

    def _together(self, said: Sequence[Sequence[Condition]]) -> Sequence[Condition]:
        return [condition for conditions in said for condition in conditions] or PUBLIC


class Not(_Combined):
    """What the one part does not allow: the exact complement, rows with NULL included.

    So it is of related rows that the part's ``to_related()`` speaks of: ``Not(TenantScope("b"))`` shows those that are
    not of tenant b, as it shows its rows. Of a scope on some of one's own rows, as in
    ``AllOf(TenantScope("a"), Not(OwnedBy(me)))``, that is the wrong side of what it says of others: have the scope
    beside it say that, and ``OwnedBy`` nothing, or ``PUBLIC``.
    """

    def __init__(self, part: ScopePart) -> None:
        super().__init__(part)

    def __call__(self) -> ColumnElement[bool]:
        """Give the complement of the part."""
        return negation(_part(self.parts[0]))

    def _together(self, said: Sequence[Sequence[Condition]]) -> Sequence[Condition]:
        (conditions,) = said
        return PUBLIC if isinstance(conditions, _Public) else [negation(conjunction(conditions))]


def _part(part: ScopePart) -> ColumnElement[bool]:
    if isinstance(part, SearchScope):
        conditions = given_conditions(part)
        if not conditions or isinstance(itself(part), Unscoped):
            raise EmptyScope(f"{type(itself(part)).__name__} has no conditions and cannot be part of another scope")
        return conjunction(conditions)
    return resolve(part)


def _fixed(info: RowInfo[object], name: str) -> str:
    return f"{info.row.__name__}.{name} is fixed by the scope: leave it out, or give its value"


@dataclass(frozen=True)
class Limits:
    """A scope, resolved for one call: conditions for WHERE, values to stamp, checks to run.

    ``stamps`` are the equality conditions as attribute name and value; ``others`` are the conditions
    that cannot be stamped, so a written row must be held against them afterwards. ``is_unsettled`` says that triggers
    may change whatever was written, so that it has to be held against all of them, and against what the call wrote
    it for: ``becoming``. ``references`` are the foreign keys that are written and have to lead to rows inside,
    too; ``related`` is what the scope of the call says of other rows.
    """

    conditions: tuple[ColumnElement[bool], ...] = ()
    stamps: Mapping[str, Any] = field(default_factory=dict[str, Any])
    others: tuple[ColumnElement[bool], ...] = ()
    checks: tuple[ExistenceCheck, ...] = ()
    is_unsettled: bool = False
    becoming: tuple[ColumnElement[bool], ...] = ()
    references: tuple[Reference, ...] = ()
    related: RelatedScope | None = None

    def narrowed(self, expressions: Sequence[ColumnElement[T]]) -> Sequence[ColumnElement[T]]:
        """Give a caller's expressions so that their steps over relationships lead to rows alone that it may see.

        Raises:
            InvalidFilter: a step is closed to that.
        """
        related = self.related
        if related is None or related.is_free:
            return expressions
        return [narrowed(expression, related.seen) for expression in expressions]

    def inside(
        self, expressions: Sequence[ColumnElement[T]], live: Sequence[ColumnElement[bool]] = ()
    ) -> Sequence[ColumnElement[T]]:
        """Give a caller's expressions narrowed, so that what may fail is evaluated for no row that it may not see.

        Args:
            expressions: conditions, or what rows are sorted or grouped by.
            live: what holds of the rows besides.
        """
        rows = (*self.conditions, *live) if self.conditions else ()
        return [where_inside(rows, expression) for expression in self.narrowed(expressions)]

    @property
    def held(self) -> tuple[ColumnElement[bool], ...]:
        """All that a written row must be held against afterwards."""
        return (*self.others, *self.becoming, *(reference.is_inside for reference in self.references))

    @property
    def parts(self) -> Iterator[tuple[Reference | None, tuple[ColumnElement[bool], ...]]]:
        """The same one after the other, as a row that is outside is refused: first by its own conditions."""
        if self.others:
            yield None, self.others
        for reference in self.references:
            yield reference, (reference.is_inside,)

    def unsettled(self, *becoming: ColumnElement[bool]) -> Limits:
        """Give the same for rows that triggers may change once they are written; ``becoming`` is to hold of them."""
        return replace(self, others=self.conditions, is_unsettled=True, becoming=becoming)

    def stamp(self, values: dict[str, Any], info: RowInfo[object]) -> dict[str, Any]:
        """Give the values of a new row with the scope's own added; what they ask of related rows is narrowed.

        Raises:
            ScopeMismatch: the values say otherwise than the scope.
            InvalidValue: as :meth:`stamped`, or an expression asks about related rows where no scope can limit it.
        """
        if self.related is not None and not PLAIN.issuperset(map(type, values.values())):
            values = self.related.narrowed(values, info)
        if not self.stamps:
            return values
        self.agree(values, info)
        return {**values, **self.stamped(info)}

    def stamped(self, info: RowInfo[object]) -> dict[str, Any]:
        """Give the values that the scope fixes of a new row.

        Raises:
            InvalidValue: a column would hold another one, and the row be outside of the scope that it is made in.
        """
        made = {name: storable(info, name, value) for name, value in self.stamps.items()}
        for name in info.rounded & made.keys():
            complaint = None if self.stamps[name] is None else info.kept_check(name)(self.stamps[name])
            if complaint:
                raise info.refusal(
                    name,
                    f"{complaint}; no new row could be in a scope of this value: give it one that the column keeps",
                )
        return made

    def patched(self, patch: Patch[Any], info: RowInfo[object]) -> dict[str, Any]:
        """Give the values that a patch sets, which fit their columns and say what the scope says.

        What they ask of related rows is narrowed.

        Raises:
            ScopeMismatch: they would move the row out of the scope.
            InvalidValue: one does not fit its column, or asks about related rows where no scope can limit it.
        """
        values = checked_values(patch, info, Patch)
        self.agree(values, info)
        if self.related is not None and not PLAIN.issuperset(map(type, values.values())):
            values = self.related.narrowed(values, info)
        return values

    def patched_columns(
        self, columns: Mapping[str, list[Any]], first: int, info: RowInfo[object]
    ) -> dict[str, list[Any]]:
        """Do as :meth:`patched` for many patches, whose values are given by column, UNSET where one sets nothing.

        Args:
            columns: they fit.
            first: the index of the first patch in the caller's input, for messages.
            info: the row.
        """
        for name in self.stamps.keys() & columns.keys():
            for place, value in enumerate(columns[name], first):
                try:
                    self.agree({} if value is UNSET else {name: value}, info)
                except ScopeMismatch as exc:
                    failure = ScopeMismatch(f"the patch at index {place}: {exc}")
                else:
                    continue
                raise failure
        made, related = dict(columns), self.related
        for name, column in columns.items():
            if related is not None and any(map(are_sql, set(map(type, column)))):
                each = enumerate(column, first)
                made[name] = [related.narrowed({name: value}, info, place)[name] for place, value in each]
        return made

    def stamp_columns(
        self, columns: Mapping[str, Sequence[Any]], places: Sequence[int], info: RowInfo[object]
    ) -> dict[str, Sequence[Any]]:
        """Give the scope's own columns for new rows, whose values are given by column, with their places in the input.

        Raises:
            ScopeMismatch: a row's values say otherwise than the scope; the index is named.
            InvalidValue: as :meth:`stamped`.
        """
        made = dict[str, Sequence[Any]]()
        for name, value in self.stamped(info).items():
            column = columns.get(name)
            kind = info.columns[name].type
            if column is not None and not all_one(kind, column, value):
                others = (place for place, one in zip(places, column, strict=True) if not all_one(kind, [one], value))
                raise ScopeMismatch(f"the spec at index {next(others)}: {_fixed(info, name)}")
            made[name] = [value] * len(places)
        return made

    def agree(self, values: Mapping[str, object], info: RowInfo[object]) -> None:
        """Refuse values that say otherwise than the scope, expressions included.

        Raises:
            ScopeMismatch: one does.
        """
        for name in self.stamps.keys() & values.keys():
            given, fixed = values[name], self.stamps[name]
            is_fixed = given is fixed or (not is_sql(given) and given == fixed)
            if not is_fixed or not (given is fixed or are_one(info.columns[name].type, given, fixed)):
                raise ScopeMismatch(_fixed(info, name))

    def guard(self, written: Iterable[str], info: RowInfo[object]) -> ColumnElement[bool] | None:
        """Give what stays true of a row when these attributes are written, unless the database itself changes more.

        The conditions that may read what is written are left out: :meth:`must_verify` and :meth:`agree` see to them.
        """
        names = {info.columns[name].name for name in written} | info.written_unasked
        kept = [condition for condition in self.conditions if not _reads(condition, names)]
        return conjunction(kept).is_(true()).label(sql_name("inside")) if kept else None

    def is_guarded(self, written: Iterable[str], info: RowInfo[object]) -> bool:
        """Say whether :meth:`guard` alone tells of a row that leaves the scope when these attributes are written."""
        names = [*written]
        return not self.must_verify(names, info) and (not self.conditions or self.guard(names, info) is not None)

    def must_verify(self, written: Iterable[str], info: RowInfo[object]) -> bool:
        """Say whether writing these attributes could take a row out of the scope unseen."""
        if not self.others or self.is_unsettled or self.references:
            return bool(self.others or self.becoming or self.references)
        names = {info.columns[name].name for name in written} | info.written_unasked
        return any(_reads(condition, names) for condition in self.others)


NO_LIMITS = Limits()


def resolve_scope(scope: SearchScope | None, info: RowInfo[object]) -> Limits:
    """Resolve a scope for one call; None limits nothing but to the rows of the class.

    Raises:
        EmptyScope: it has no conditions that could tell rows apart and is not :class:`Unscoped`, or has some and is.
        ScopeError: it is no scope.
        MappingError: its class is no frozen dataclass.
        InvalidFilter: a condition refers to another table outside of a subquery, which would multiply rows.
        InvalidValue: one of its values is none the database takes.
    """
    if scope is None:
        return _limits((), (), info)
    if not isinstance(cast("Any", scope), SearchScope):
        raise ScopeError(f"a scope is an instance of a SearchScope, not {kind_of(scope)}{_place_of(scope)}")
    settled = Settled.of(scope)
    scope, given = settled.scope, settled.given
    name = type(scope).__name__
    if not isinstance(scope, Unscoped):
        return _limits(_limiting(f"{name}.to_conditions()", given, info), _checks_of(scope), info)
    if given:
        raise EmptyScope(f"{name} is Unscoped, which limits nothing: derive it from SearchScope")
    logger.info("unscoped access to %s: %s", info.row.__name__, scope.reason)
    return _limits((), _checks_of(scope), info)


def _asked(scope: SearchScope, name: str) -> Any:
    """Give what a scope's method of this name gives.

    Raises:
        ScopeError: it takes arguments, or SQLAlchemy refuses what it compares.
    """
    try:
        return getattr(scope, name)()
    except Exception as exc:
        if isinstance(exc, TypeError):
            check_asked(scope, name, ScopeError)
        unbuilt = refused_by_sqlalchemy(exc, f"{type(scope).__name__}.{name}()")
        if unbuilt is None:
            raise
    raise ScopeError(unbuilt)


def _checks_of(scope: SearchScope) -> Sequence[ExistenceCheck]:
    """Give what a scope wants to be there, once it is known to be a list of checks."""
    given = _asked(scope, "existence_checks")
    name = f"{type(scope).__name__}.existence_checks() gives a list of ExistenceCheck"
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise ScopeError(f"{name}, not {kind_of(cast('Any', given))}: write [ExistenceCheck(...)]")
    checks = list(cast("Iterable[ExistenceCheck]", given))
    for check in checks:
        if not (isinstance(cast("Any", check), ExistenceCheck) and callable(check.error)):
            raise ScopeError(f"{name}, each with a condition and an error class: write [ExistenceCheck(...)]")
        check_factory(check.error, "an ExistenceCheck's error")
    return checks


def _limiting(
    name: str, conditions: Sequence[Condition], info: RowInfo[object], *, can_be_all: bool = False
) -> list[ColumnElement[bool]]:
    """Give the conditions of a scope one by one, those left out that hold whatever the row is."""
    parts: list[ColumnElement[bool]] = []
    for condition in conditions:
        given = cast("Any", condition)
        if not isinstance(given, TextClause) or extent(cast("Any", given), info.tables_by_key) is Extent.SOME:
            parts.extend(map(whole, conjuncts(resolve(condition))))
    extents = [extent(part, info.tables_by_key) for part in parts]
    if not (can_be_all or tell_apart(extents)):
        raise EmptyScope(
            f"{name} gave nothing that tells one {info.row.__name__} from another: "
            "compare its columns, or write Unscoped(reason='...') if all are meant"
        )
    limiting: list[ColumnElement[bool]] = []
    for part, found in zip(parts, extents, strict=True):
        if found is not Extent.ALL or is_of_the_row(part, info.tables_by_key):
            limiting.append(part)
        else:  # what is left out is not looked at with the others
            check_boolean(part)
    return limiting


def _place_of(given: object) -> str:
    """Say where filters or a key stand, if it is those that were given for a scope."""
    if isinstance(given, int | str | UUID):
        return ": a key is no scope, and stands as in get(id, scope) and exists(scope, id=id)"
    is_code = isinstance(given, list | tuple | ColumnElement)
    if isinstance(given, type) or not (is_code or hasattr(given, "to_conditions") or hasattr(given, "conditions")):
        return ""
    return ": filters come after the scope, as in search(scope, filters), or search(None, filters) without one"


@dataclass(frozen=True)
class RelatedScope:
    """What the scope of a call says about rows of other classes than its own.

    ``own`` is the row that the scope is on; ``required`` says that rows of which it says nothing are refused.
    ``raised`` is what it has raised when it was asked, which is the fault of no item of a batch; ``known`` what may be
    seen of related rows, by their classes, once it was asked; ``told`` the classes of which scopes say something that
    hold together with this one.
    """

    scope: SearchScope | None
    own: RowInfo[Any]
    required: bool = False
    raised: list[Exception] = field(default_factory=list[Exception], compare=False)
    known: dict[type[Any], Sequence[ColumnElement[bool]]] = field(
        default_factory=dict[Any, Any], init=False, compare=False
    )
    told: tuple[type[Any], ...] = ()

    @property
    def _name(self) -> str:
        return type(None if self.scope is None else itself(self.scope)).__name__

    @property
    def is_free(self) -> bool:
        """Whether the call is limited by nothing."""
        return self.scope is None or isinstance(itself(self.scope), Unscoped)

    def limits(self, info: RowInfo[object]) -> Limits | None:
        """Resolve what is said about rows of a class; None where nothing is said.

        Raises:
            EmptyScope, ScopeError: ``to_related`` gives no conditions for a class, or what is none.
            InvalidFilter, InvalidValue: as :func:`resolve_scope`.
        """
        with self._asking():
            said = () if self.is_free else self._said(info)
            return None if said is None else _limits(said, (), info)

    def seen(self, row: type[Any]) -> Sequence[ColumnElement[bool]]:
        """Give what holds of all related rows of a class that the call may see; nothing where nothing is said.

        Raises:
            RepositoryError: as :meth:`limits`.
        """
        if row not in self.known:
            limits = None if self.is_free else self.limits(row_info(row))
            self.known[row] = () if limits is None else limits.conditions
        return self.known[row]

    def narrowed(self, values: Mapping[str, Any], info: RowInfo[object], place: int | None = None) -> dict[str, Any]:
        """Give values that are written so that steps in their expressions lead to rows alone that the call may see.

        Args:
            values: by attribute name.
            info: the row.
            place: the index of their patch, if it is one of a batch.

        Raises:
            InvalidValue: a step is closed to that.
        """
        made = dict(values)
        for name, value in values.items() if not self.is_free else ():
            if is_sql(value):

                def refusal(words: str, name: str = name) -> Exception:
                    return info.refusal(name, f"gets an expression whose {words}", noun="patch", index=place)

                made[name] = narrowed(as_sql(value), self.seen, refusal)
        return made

    def references(
        self, info: RowInfo[object], names: Collection[str], stamps: Mapping[str, object]
    ) -> list[Reference]:
        """Give the foreign keys that lead to rows of which something is said, and have to be held against it.

        Args:
            info: the class whose rows have them.
            names: the attributes that are written.
            stamps: those that the scope fixes: a key with the tenant in it leads nowhere else.

        Raises:
            RepositoryError: as :meth:`limits`.
        """
        found = list[Reference]()
        for reference in self.leads(info, names, stamps):
            other = row_info(reference.row)
            limits = self.limits(other)
            ways = self._ways(self.scope, info, other) or () if self.is_put_together else ()
            if limits is not None and (ways or limits.conditions):
                found.append(replace(reference, conditions=limits.conditions, ways=ways))
        return found

    def beneath(self, info: RowInfo[object], above: RowInfo[object], pairs: Pairs) -> Sequence[ColumnElement[bool]]:
        """Give what rows of a tree have to be held against besides, the rows above them being inside.

        Of several scopes a row and the one above it are inside the same one.

        Args:
            info: the class of the rows.
            above: that of the rows above.
            pairs: the columns that refer to these, each with the one that it refers to.

        Raises:
            RepositoryError: as :meth:`limits`.
        """
        ways = self._ways(self.scope, info, above) or () if self.is_put_together else ()
        return [lead_inside(above.row, pairs, ways)] if len(ways) > 1 else []

    @property
    def is_put_together(self) -> bool:
        """Whether it is several scopes, of which a row and what it refers to may have to be inside the same one."""
        return self.scope is not None and isinstance(itself(self.scope), AnyOf | AllOf)

    def _ways(self, part: object, info: RowInfo[object], other: RowInfo[object]) -> list[Way] | None:
        """Give what each of the scopes that are put together says of rows, and of others that they refer to.

        None where nothing is said of those. A part of :class:`AnyOf` that says nothing of them leaves them to the other
        parts, and opens nothing where it says nothing of the rows either.
        """
        if not isinstance(part, SearchScope):
            said = self._of_own([_part(cast("Any", part))], other)
            return None if said is None else [((), list(map(resolve, said)))]
        scope = itself(part)
        if isinstance(scope, AllOf):
            within = replace(self, told=(*self.told, *_related(scope)))  # one that says nothing is left out there
            told = [ways for each in scope.parts if (ways := within._ways(each, info, other)) is not None]
            joined = [tuple(zip(*ways, strict=True)) for ways in product(*told)]
            return [([*chain(*here)], [*chain(*there)]) for here, there in joined] if told else None
        limits = replace(self, scope=part).limits(other)
        if limits is None or not isinstance(scope, AnyOf):
            return None if limits is None else [((), limits.conditions)]
        found = list[Way]()
        for each in scope.parts:
            of_row, ways = self._of_row(each, info), self._ways(each, info, other)
            if not (of_row is None and ways is None):
                found += [([*(of_row or ()), *here], there) for here, there in ways or [((), limits.conditions)]]
        return found

    def _of_row(self, part: ScopePart, info: RowInfo[object]) -> Sequence[ColumnElement[bool]] | None:
        """Give what a scope that is part of another one says of the rows that have a foreign key; None for nothing."""
        is_asked = isinstance(part, SearchScope) and not issubclass(info.row, self.own.row)
        own = None if is_asked else self._of_own([_part(part)], info)
        if own is not None:
            return list(map(resolve, own))
        limits = replace(self, scope=part).limits(info) if isinstance(part, SearchScope) else None
        return None if limits is None else limits.conditions

    def leads(self, info: RowInfo[object], names: Collection[str], stamps: Mapping[str, object]) -> list[Reference]:
        """Do as :meth:`references`, with what is said as it is given: nobody has looked at it."""
        found = list[Reference]()
        with self._asking():
            for key in () if self.is_free else info.foreign_keys_of(names):
                for row in self.speaks_of(classes_of(key)):
                    said = [condition for conditions in self._given(row_info(row)) for condition in conditions]
                    if (said or self.is_put_together) and not _is_implied(said, key, row_info(row), info, stamps):
                        found.append(Reference(key, row, said))
        return found

    def speaks_of(self, rows: Sequence[type[Any]]) -> list[type[Any]]:
        """Give those of the classes that a table is mapped to of which the scope says something.

        Its own conditions are about those that share tables with its own class: of these about such as are in its
        hierarchy, so that nothing depends on what else the table is mapped to.
        """
        if self.is_free or self.scope is None:
            return []
        mappers: list[Mapper[Any]] = list(map(inspect, rows))
        akin = [mapper for mapper in mappers if mapper.base_mapper is self.own.mapper.base_mapper] or mappers
        held = [mapper.class_ for mapper in akin if self.own.shares_tables(mapper)]
        with self._asking():
            related = _related(self.scope)
        told = [row for row in rows if any(issubclass(row, each) or issubclass(each, row) for each in related)]
        return list(dict.fromkeys([*held, *told]))

    @contextmanager
    def _asking(self) -> Generator[None]:
        try:
            yield
        except Exception as exc:
            self.raised.append(exc)
            raise

    def _given(self, info: RowInfo[object]) -> list[Sequence[Condition]]:
        assert self.scope is not None  # noqa: S101 - what is free is not asked
        related = _related(self.scope)
        said = [conditions for row, conditions in related.items() if issubclass(info.row, row)]
        said += [[unless_of(row, related[row], info)] for row in _below(info, related) if related[row]]
        own = replace(self, told=(*self.told, *related))._of_own(given_conditions(self.scope), info)
        return said if own is None else [*said, own]

    def _of_own(self, conditions: Sequence[Condition], info: RowInfo[object]) -> Sequence[Condition] | None:
        """Give what conditions on rows that the scope is on say of those of a class; None for nothing.

        They hold for the rows of the scope's own class, and for those of others that are kept in one of its tables
        where nothing else is said of these.
        """
        own = self.own
        if not own.shares_tables(info.mapper):
            return None
        if issubclass(info.row, own.row):
            return conditions
        is_told = any(issubclass(info.row, row) for row in self.told)
        others = [] if is_told else [row for row in _below(info, self.told) if not issubclass(row, own.row)]
        kept = [] if is_told else [as_far_as_kept(condition, own, info) for condition in conditions]
        if kept and not others:
            return kept
        is_beside = own.mapper.base_mapper is info.mapper.base_mapper and not issubclass(own.row, info.row)
        of_own = [] if is_beside else [unless_of(own.row, conditions, info)]
        of_others = [disjunction([conjunction(kept), *(is_one_of(row, info) for row in others)])] if others else []
        return [*of_own, *of_others] or None

    def _said(self, info: RowInfo[object]) -> Sequence[ColumnElement[bool]] | None:
        if not (said := self._given(info)):
            return None
        name = f"{self._name}.to_related()"
        # What parts say together may well be all there is.
        together: Any = None if self.scope is None else itself(self.scope)
        any_number = isinstance(together, _Combined)
        for scope in together.parts if any_number else ():
            if isinstance(scope, SearchScope):
                replace(self, scope=scope).limits(info)  # each is held by itself
        return [part for each in said if each for part in _limiting(name, each, info, can_be_all=any_number)]

    def require(self, info: RowInfo[object]) -> Limits:
        """Resolve what is said about rows of a class; where nothing is, they are free, or refused.

        Raises:
            ScopeRequired: nothing is said, and a scope is required.
        """
        limits = self.limits(info)
        if limits is None and self.required:
            raise self.silence(info.row.__name__)
        return _limits((), (), info) if limits is None else limits

    def silence(self, name: str) -> ScopeRequired:
        """Give the error for rows that the scope says nothing about."""
        kind = self._name
        return ScopeRequired(
            f"{kind} says nothing about {name}: write {kind}.to_related() and give its conditions for {name}, "
            "or PUBLIC if those rows are everybody's"
        )


def _related(scope: SearchScope) -> Mapping[type[Any], Sequence[Condition]]:
    """Give what a scope says about other rows, once it is known to be of the right form."""
    name = f"{type(scope).__name__}.to_related()"
    related: Mapping[type[Any], Sequence[Condition]] = _asked(scope, "to_related")
    if not isinstance(cast("Any", related), Mapping):
        raise ScopeError(f"{name} gives a mapping of rows to conditions, not {kind_of(related)}")
    for row, conditions in cast("Mapping[Any, Any]", related).items():
        if not isinstance(row, type):
            raise ScopeError(f"{name} names rows by their classes, not by {kind_of(row)}")
        if not isinstance(conditions, Sequence) or isinstance(conditions, str):
            raise ScopeError(f"{name} gives a list of conditions for {row.__name__}, not {kind_of(conditions)}")
        if not conditions and not isinstance(conditions, _Public):
            raise EmptyScope(f"{name} gave nothing for {row.__name__}: write PUBLIC if its rows are everybody's")
    return related


def _below(info: RowInfo[object], rows: Iterable[type[Any]]) -> list[type[Any]]:
    """Give those of some classes that are below another one, and kept in tables of its rows."""
    below = [row for row in rows if row is not info.row and issubclass(row, info.row)]
    return [row for row in below if info.shares_tables(row_info(row).mapper)]


def require_scope(scope: SearchScope | None, row: type[object]) -> None:
    """Refuse a call without a scope.

    Raises:
        ScopeRequired: there is none.
    """
    if scope is None:
        raise ScopeRequired(f"{row.__name__} needs a scope: pass one, or Unscoped(reason='...') to reach all rows")


def check_conditions(conditions: Sequence[ColumnElement[bool]], info: RowInfo[object]) -> None:
    """Refuse conditions on a row that mean something else than they look like.

    Raises:
        InvalidFilter: one brings another table into FROM, is neither true nor false or is made of what is not, is of
            several rows, has text that does not end what it begins, holds an OR of nothing, which matches all rows,
            or a subquery that asks about any row where this one may be meant.
        InvalidValue: one compares with a value that its column could not be compared with on every backend.
    """
    keep_to_table(conditions, info)
    for condition in conditions:
        check_parts(condition, info, info.tables)


def check_parts(condition: ColumnElement[bool], info: RowInfo[object], sources: Sequence[FromClause]) -> None:
    """Refuse a condition on rows of some sources for what it is made of; as :func:`check_conditions`, any table's."""
    check_boolean(condition)
    elements: list[Any] = list(visitors.iterate(condition))
    if is_any_open(elements):
        raise InvalidFilter(f"a condition on {info.row.__name__} {ADVICE}")
    for element in elements:
        if isinstance(element, BooleanClauseList) and not element.clauses:
            raise InvalidFilter("a condition holds an AND or OR of nothing, which matches every row: leave it out")
    check_comparisons(condition, elements, info, "a condition on")
    is_nested = any(isinstance(element, SelectBase) for element in elements)
    if is_nested and (complaint := loose_ties(condition, sources)):
        raise InvalidFilter(f"a condition on {info.row.__name__} {complaint}")
    of_several = several_complaint(condition) if any(map(is_function, elements)) else None
    if complaint := of_several or complaint_inside(elements):
        raise InvalidFilter(f"a condition on {info.row.__name__} {complaint}")


def check_order(expression: ColumnElement[Any], info: RowInfo[object]) -> None:
    """Refuse what rows are sorted or grouped by, if it means something else than it looks like.

    Raises:
        InvalidFilter: it brings another table into FROM, has text that does not end what it begins, or asks about any
            row where this one may be meant.
        InvalidValue: it compares with a value that its column could not be compared with on every backend.
    """
    if not _is_owned(expression, info):
        raise InvalidFilter(
            f"an order of {info.row.__name__} refers to another table directly: "
            "write select(...).where(...).scalar_subquery(), which gives one value for each row"
        )
    if isinstance(expression, Column):
        return
    elements: list[Any] = list(visitors.iterate(expression))
    if complaint := complaint_about(elements) or loose_ties(expression, info.tables) or complaint_inside(elements):
        raise InvalidFilter(f"an order of {info.row.__name__} {complaint}")
    check_comparisons(expression, elements, info, "an order of")


def keep_to_table(conditions: Iterable[ColumnElement[bool]], info: RowInfo[object]) -> None:
    """Refuse conditions that would bring another table into FROM: rows would multiply, or match by accident.

    Raises:
        InvalidFilter: one does; the message says what to write.
    """
    for condition in conditions:
        if not _is_owned(condition, info):
            raise InvalidFilter(
                f"a condition on {info.row.__name__} refers to another table directly: "
                "write relationship.any(...) / .has(...), or exists().where(...)"
            )


def _is_owned(expression: ColumnElement[Any], info: RowInfo[object]) -> bool:
    """Say whether an expression brings no other table into FROM than those of its row."""
    sources = expression._from_objects  # pyright: ignore[reportPrivateUsage] - there is no public name
    return all(map(info.owns, sources))


def _limits(
    conditions: Sequence[ColumnElement[bool]], checks: Sequence[ExistenceCheck], info: RowInfo[object]
) -> Limits:
    """Give what these conditions limit, and keep to the rows of a class that shares its table."""
    check_conditions(conditions, info)
    for check in checks:
        there = resolve(check.exists)
        check_parts(there, info, there._from_objects)  # pyright: ignore[reportPrivateUsage] - as keep_to_table
    stamps: dict[str, Any] = {}
    others: list[ColumnElement[bool]] = []
    for condition in conditions:
        match _equality(condition, info):
            case (name, value) if all_one(
                info.columns[name].type, [stamps.setdefault(name, value)], value
            ) and not info.changes_unasked(name):
                if name in info.unjudged:  # and so is looked at once it is written, too
                    others.append(condition)
            case _:
                others.append(condition)
    own = info.own_rows
    # Where no column can be stamped with the class, a written row must be held against it.
    unseen = own if own and not info.discriminator else ()
    return Limits((*own, *conditions), stamps, (*others, *unseen), tuple(checks))


def _is_implied(
    said: Sequence[Condition],
    key: ForeignKeyConstraint,
    other: RowInfo[object],
    info: RowInfo[object],
    stamps: Mapping[str, object],
) -> bool:
    """Say whether what a scope stamps onto a row leaves its foreign key no other rows than those inside."""
    fixed = dict[str | None, tuple[Any, object]]()
    for element in key.elements:
        name = info.name_of(cast("Any", element.parent))
        if name is not None and name in stamps:
            fixed[other.name_of(cast("Any", element.column))] = info.columns[name].type, stamps[name]
    found = [_equality(condition, other) for condition in said]

    def is_fixed(name: str, value: object) -> bool:
        if name not in fixed:
            return False
        kind, stamp = fixed[name]
        return all_one(kind, [stamp], value) and are_bound_alike(kind, other.columns[name].type, value)

    return bool(found) and all(each is not None and is_fixed(*each) for each in found)


def _equality(condition: Condition, info: RowInfo[object]) -> tuple[str, Any] | None:
    """Give (attribute name, value) of ``column = value``, either way round."""
    given: Any = bare(condition)
    if not isinstance(given, BinaryExpression) or given.operator is not operators.eq:
        return None
    sides: tuple[Any, Any] = (given.left, given.right)
    column, value = reversed(sides) if isinstance(sides[1], Column) else sides
    if not isinstance(column, Column) or not info.owns(column.table):
        return None
    name = info.name_of(cast("Any", column))
    if name is None or info.is_computed(name) or name in info.copies:
        return None
    if not isinstance(value, (BindParameter, True_, False_)):
        return None
    fixed: Any = cast("Any", value).effective_value if isinstance(value, BindParameter) else isinstance(value, True_)
    # As one of the column's type it would be stored as something else than it is compared as.
    kind, given_as = info.columns[name].type, cast("Any", value).type
    return (name, fixed) if kind is given_as or are_bound_alike(kind, given_as, fixed) else None


def _reads(condition: ColumnElement[bool], names: set[str]) -> bool:
    """Say whether a condition reads one of these columns, or cannot be seen not to.

    A subquery may read any, and so may SQL given as text, a function or an operator of the database's own, a row
    taken as a value.
    """
    return any(_may_read(element, names) for element in visitors.iterate(condition))


def _may_read(element: object, names: set[str]) -> bool:
    if isinstance(element, Column):
        return str(element.name) in names
    return reads_beyond(element)
