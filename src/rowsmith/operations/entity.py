"""What every operation on one kind of row shares: mapping, shape of the data, rules. Made once, frozen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Generic, Protocol, TypedDict, Unpack, cast

from sqlalchemy import ColumnElement, Table
from typing_extensions import TypeVar

from rowsmith.errors import (
    AfterCommitFailed,
    EntityNotFound,
    ErrorFactory,
    InvalidCursor,
    InvalidPagination,
    MappingError,
    MissingExtra,
    RepositoryError,
    SeveralFound,
    StalePlan,
    Violations,
    check_factory,
    kind_of,
    made,
    named,
)
from rowsmith.execution import Origin
from rowsmith.execution.kinds import is_sqlstate
from rowsmith.flushed import declare
from rowsmith.mapping import Loads, RowInfo, Shape, checked_loads, data_shape, keyed_shape, nearest, row_info, row_shape
from rowsmith.mapping.constraints import item_named, names_in, table_named, unique_keys_of
from rowsmith.mapping.types import constraint_names
from rowsmith.operations.conflict import Conflict, ConflictKey
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.soft_delete import SoftDelete
from rowsmith.pagination import CursorForwardPagination, Pagination
from rowsmith.pagination.modes import DEFAULT_PAGE_SIZE, checked_size
from rowsmith.scope import Limits

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TRow_co = TypeVar("TRow_co", covariant=True)
TData_co = TypeVar("TData_co", covariant=True, default=TRow_co)
TOther = TypeVar("TOther")
TMade = TypeVar("TMade")


class HasEntity(Protocol):
    """What has an entity: the operation objects."""

    entity: Any


TOperation = TypeVar("TOperation", bound=HasEntity)


class Rules(TypedDict, total=False):
    """The keyword arguments that every operation object takes.

    ``not_found`` and the values of ``violations`` make a domain's own errors from a message, see :data:`Violations`;
    ``soft_delete`` hides deleted rows; ``scope_required`` refuses calls without a scope;
    ``domain`` is the noun in error codes, by default the row's; ``conflict`` is the unique key that upserts go by,
    the primary key without it; ``next_value`` numbers rows within a parent; ``loads`` names the relationships
    (``TalkRow.speaker``, or a chain of them as a tuple) and deferred columns that are loaded with whole rows;
    ``default_page_size`` is how many rows a search gives that asks for no page, 100 without it.
    """

    not_found: ErrorFactory
    violations: Violations
    soft_delete: SoftDelete | None
    scope_required: bool
    domain: str | None
    conflict: Conflict | None
    next_value: NextValue | None
    loads: Loads
    default_page_size: int


@dataclass(frozen=True)
class Entity(Generic[TRow_co, TData_co]):
    """One kind of row as its operations see it."""

    info: RowInfo[TRow_co]
    shape: Shape[TRow_co, TData_co]
    not_found: ErrorFactory
    violations: Mapping[Any, ErrorFactory]
    soft_delete: SoftDelete | None
    scope_required: bool
    domain: str
    conflict: Conflict
    next_value: NextValue | None
    loads: Loads = ()
    default_page: Pagination = CursorForwardPagination(DEFAULT_PAGE_SIZE)

    def origin(self, operation: str, *, deletes: bool = False, writes: Collection[str] | None = None) -> Origin:
        """Say whose call a statement is; ``writes`` are the attributes that an UPDATE names, and others change with."""
        written = None if writes is None else {self.info.columns[name].name for name in writes}
        columns = None if written is None else frozenset(written | self.info.written_unasked)
        return Origin(self.domain, operation, self.info.table, self.violations, deletes, columns, self.info.mapper)

    @property
    def returning(self) -> tuple[Any, ...]:
        """What a write returns: a record of the data, or only the key where data holds more than RETURNING can give.

        ``present_written`` makes data of it.
        """
        return self.shape.selects if self.shape.returnable else self.info.key_attributes

    @cached_property
    def read_again(self) -> Entity[TRow_co, TData_co]:
        """The same entity where RETURNING gives only the key, and data is read by it afterwards."""
        shape = self.shape
        return replace(self, shape=replace(shape, plan=lambda: replace(shape.layout, returnable=False, names=())))

    @cached_property
    def keyed(self) -> Entity[TRow_co, tuple[tuple[Any, ...], TData_co]]:
        """The same entity whose data, which RETURNING cannot give, comes with the primary key before it."""
        return replace(cast("Any", self), shape=keyed_shape(self.shape))

    def within(self, limits: Limits) -> Entity[TRow_co, TData_co]:
        """Give the same entity whose data shows no related rows but those that the scope of a call lets be seen."""
        related = limits.related
        if related is None or related.is_free:
            return self
        shape = self.shape.within(related.seen, limits.conditions)
        return self if shape is self.shape else replace(self, shape=shape)

    @cached_property
    def conflict_key(self) -> ConflictKey:
        """The key that upserts go by."""
        return self.conflict.resolve(self.info)

    @cached_property
    def unique_keys(self) -> tuple[tuple[str, ...], ...]:
        """The keys by which rows are told apart, as attribute names: the one that upserts go by comes first."""
        names = {column.name: name for name, column in self.info.columns.items()}
        others = [[names.get(column.name, "") for column in key.columns] for key in unique_keys_of(self.info.table)]
        keys = [self.conflict_key.names, self.info.primary_key, *map(tuple, others)]
        return tuple(dict.fromkeys(key for key in keys if key and all(key)))

    def live(self, include_deleted: bool = False) -> list[ColumnElement[bool]]:
        """Give the conditions that hide deleted rows."""
        return [] if include_deleted or self.soft_delete is None else [self.soft_delete.is_live()]

    @cached_property
    def worked_out(self) -> dict[Any, Any]:
        """What operation objects of this entity have worked out, see :class:`by_entity`."""
        return {}

    @cached_property
    def known_violations(self) -> Mapping[Any, ErrorFactory]:
        """The declared violations, once each of them names a constraint; asked when all rows are imported.

        Raises:
            MappingError: the mapping has no constraint of a name.
        """
        for name in self.violations:
            if isinstance(name, str) and not is_sqlstate(name) and not _is_known(self.info.table, name):
                raise _unknown(self.info, name)
        return self.violations

    def absent(self, missing: Sequence[object] = ()) -> Exception:
        """Give the domain's error for rows that are not there for this caller."""
        count = f" for {len(missing)} of the ids" if len(missing) > 1 else ""
        error = made(self.not_found, named(f"{EntityNotFound.default_message}{count}", self.domain))
        if isinstance(error, EntityNotFound):
            error.missing = tuple(missing)
        return error

    def own(self, error: RepositoryError) -> Exception:
        """Give the domain's error for one of rowsmith's, where ``violations`` declares its kind; else the same one."""
        declared = (self.violations[kind] for kind in type(error).__mro__ if kind in self.violations)
        factory = None if error.is_declared else next(declared, None)
        if factory is None:
            return error
        error.name_entity(self.domain)
        told = made(factory, str(error))
        for name, fact in vars(error).items():  # and what its kind says besides: a place, keys
            if isinstance(told, RepositoryError) or hasattr(told, name):
                setattr(told, name, fact)
        for note in getattr(error, "__notes__", ()):
            told.add_note(note)
        return told

    def into(self, into: type[TOther] | None) -> Entity[TRow_co, TOther]:
        """Give the same entity with another shape of data; None keeps this one.

        Raises:
            MappingError: it is no class, or does not fit the row.
        """
        if into is None:
            return cast("Entity[TRow_co, TOther]", self)
        try:
            known: Entity[TRow_co, TOther] = self._others[into]
            return known
        except (KeyError, TypeError):  # what is no class may have no hash either
            pass
        check_into(into)
        made = replace(cast("Any", self), shape=shape_for(self.info, into, self.loads))
        if len(self._others) >= MOST_SHAPES:  # classes made while running must not pile up
            self._others.clear()
        return cast("Entity[TRow_co, TOther]", self._others.setdefault(into, made))

    @cached_property
    def _others(self) -> dict[type[Any], Any]:
        """The same entity with other shapes of data."""
        return {}


def check_into(given: object) -> None:
    """Refuse what is no class of data.

    Raises:
        MappingError: it is an instance, or something else.
    """
    if not isinstance(given, type):
        raise MappingError(f"into is a data class, not {kind_of(given)}: write into=GroupSummary")


MOST_SHAPES: Final = 100
"""How many data classes besides its own are kept with an entity, and with a source; then each begins anew."""


class by_entity(Generic[TOperation, TMade]):  # noqa: N801 - a decorator, as cached_property is
    """A property that operation objects work out once, those of one entity together.

    So a repository that is made for each request has what others of its class have worked out. Where an application's
    own class of operations may have a say in it, each of its objects works it out for itself.
    """

    def __init__(self, make: Callable[[TOperation], TMade]) -> None:
        self._make = make

    def __set_name__(self, owner: type[object], name: str) -> None:
        self._name = name

    def __get__(self, operation: TOperation, kind: type[TOperation]) -> TMade:
        together: dict[Any, Any] = operation.entity.worked_out if kind.__module__.startswith(_OURS) else {}
        key = (kind, self._name)
        if key not in together:
            together[key] = self._make(operation)
        made: TMade = together[key]
        vars(operation)[self._name] = made  # where it is found from now on, before this is
        return made


_OURS: Final = "rowsmith."


def make_entity(row: type[TRow], into: type[TData] | None = None, **rules: Unpack[Rules]) -> Entity[TRow, TData]:
    """Read a row and a data class once.

    Raises:
        MappingError: they do not fit; or a rule names a constraint, column or key that the table does not have.
    """
    _check_kinds(rules)
    info = row_info(row)
    declare(info.mapper)
    _ = info.shard_key  # worked out here, so that a table that cannot be distributed is refused with its class
    violations: dict[Any, ErrorFactory] = dict(rules.get("violations", {}))
    for key, factory in violations.items():
        _check_key(info, key)
        check_factory(factory, f"violations[{key if isinstance(key, str) else key.__name__}]")
    check_factory(rules.get("not_found", EntityNotFound), "not_found")
    conflict, next_value, soft_delete = rules.get("conflict"), rules.get("next_value"), rules.get("soft_delete")
    if conflict is not None:
        info.one_statement("Conflict", "find(id), then create(spec) or update(id, patch)")
        conflict.resolve(info)
    if next_value is not None:
        info.one_statement("NextValue", "create(spec)")
        next_value.foreign_key(info)
    if soft_delete is not None:
        soft_delete.check(info)
    given = rules.get("loads")
    loads = checked_loads(info, () if given is None else given)
    shape = shape_for(info, into, loads)
    if loads and not shape.is_row:
        raise MappingError(
            f"loads is for whole rows, and {shape.into.__name__} selects columns: override to_data(row), or nest the "
            "related rows' data in it"
        )
    return Entity(
        info=info,
        shape=shape,
        not_found=rules.get("not_found", EntityNotFound),
        violations=violations,
        soft_delete=soft_delete,
        scope_required=rules.get("scope_required", False),
        domain=rules.get("domain") or info.domain,
        conflict=conflict or Conflict(),
        next_value=next_value,
        loads=loads,
        default_page=CursorForwardPagination(
            checked_size("default_page_size", rules.get("default_page_size", DEFAULT_PAGE_SIZE))
        ),
    )


def shape_for(info: RowInfo[TRow], into: type[TData] | None, loads: Loads = ()) -> Shape[TRow, TData]:
    """Give the shape of a data class, or of the row itself, with what is loaded of the rows around it."""
    if into is None or cast("Any", into) is info.row:
        return cast("Shape[TRow, TData]", row_shape(info, checked_loads(info, loads)))
    check_into(into)
    return data_shape(info, into)


_KINDS: Mapping[str, tuple[Any, str]] = {
    "violations": (Mapping, '{"uq_groups_name": GroupNameTaken}'),
    "soft_delete": (SoftDelete | None, "SoftDelete(GroupRow.deleted_at)"),
    "scope_required": (bool, "True"),
    "domain": (str | None, '"group"'),
    "conflict": (Conflict | None, "Conflict([GroupRow.name])"),
    "next_value": (NextValue | None, "NextValue(TicketRow.number, within=TicketRow.project_id)"),
}
"""What rules are that do not look at what they are themselves, and what to write."""


def _check_kinds(rules: Mapping[str, object]) -> None:
    known = Rules.__annotations__
    if strange := next((name for name in rules if name not in known), None):
        raise MappingError(f"there is no rule {strange!r}{nearest(strange, known)}")
    for name, (kind, words) in _KINDS.items():
        if name in rules and not isinstance(rules[name], kind):
            raise MappingError(f"{name} is {kind_of(rules[name])}: write {name} = {words}")


def _check_key(info: RowInfo[object], key: object) -> None:
    """A misspelt constraint name would silently give the general error instead of the domain's.

    A foreign key that points here stands on another table, perhaps one that is not imported yet, so here a
    name is refused only where one of the table's own is so like it that it must be meant; all others are by
    :attr:`Entity.known_violations`.
    """
    if isinstance(key, type) and issubclass(key, RepositoryError) and key is not RepositoryError:
        _check_kind(key)
        return
    if not isinstance(key, str):
        raise MappingError(
            f"violations is by constraint, SQLSTATE or kind of error, not by {kind_of(cast('Any', key))}"
        )
    is_like_one = nearest(key, _names_in(info), cutoff=0.65)
    if is_like_one and not is_sqlstate(key) and not _is_known(info.table, key):
        raise _unknown(info, key)


def _check_kind(kind: type[RepositoryError]) -> None:
    if kind is EntityNotFound:
        raise MappingError("violations is no place for EntityNotFound: write not_found = GroupNotFound")
    if kind in _OF_NO_WRITE:
        raise MappingError(f"violations names {kind.__name__}, with which no write ends: name the kinds that one does")
    if kind.__module__ != RepositoryError.__module__:
        raise MappingError(
            f"violations names {kind.__name__}, which only the domain itself raises: name the kind of rowsmith's that "
            "it stands for, such as EntityAlreadyExists, StaleVersion or ScopeMismatch"
        )


_OF_NO_WRITE = (
    *(MappingError, MissingExtra, SeveralFound, InvalidPagination, InvalidCursor, AfterCommitFailed, StalePlan),
)


def _names_in(info: RowInfo[object]) -> list[str]:
    return [name for table in info.tables for name in names_in(table)]


def _unknown(info: RowInfo[object], name: str) -> MappingError:
    owner, _, bare = name.rpartition(".")
    named = table_named(info.table, owner)
    if named is not None:
        return MappingError(
            f"violations names {name!r}, and {named.name} has no such constraint{nearest(bare, names_in(named))}; "
            "where only the database has it, name its SQLSTATE or the kind of error that it is"
        )
    meant = nearest(name, _names_in(info)) or nearest(owner, _tables_of(info.table), cutoff=0.85)
    return MappingError(
        f"violations names {name!r}, no constraint of {', '.join(table.name for table in info.tables)}{meant}; "
        "where it stands on a table that is not imported, name that too: 'members.fk_members_group'"
    )


def _tables_of(table: Table) -> list[str]:
    return [each.name for each in table.metadata.tables.values()]


def _is_known(table: Table, name: str) -> bool:
    """Say whether the mapping has a constraint of this name, or cannot have it: its table is not imported."""
    owner, _, bare = name.rpartition(".")
    named = table_named(table, owner) if owner else None
    if named is not None:
        return item_named(named, bare) is not None
    if owner and nearest(owner, _tables_of(table), cutoff=0.85):
        return False
    if any(name in constraint_names(column.type) for column in table.columns):
        return True
    return bool(owner) or any(item_named(each, name) is not None for each in table.metadata.tables.values())
