"""What a team says of its repository, and what is wrong with that before any test runs."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.orm import Mapper

from rowsmith.database import Database
from rowsmith.errors import ErrorFactory, MappingError, RepositoryError, kind_of, made
from rowsmith.mapping import Patch, Spec, data_shape
from rowsmith.mapping.annotations import field_annotations
from rowsmith.mapping.constraints import columns_read, item_named
from rowsmith.operations import Entity
from rowsmith.operations.rebinding import parts
from rowsmith.repository import Repository
from rowsmith.scope import SearchScope, resolve_scope
from rowsmith.signatures import takes

Refused: TypeAlias = Spec[Any] | Patch[Any] | Callable[[Any], Awaitable[object]]
"""What is refused: what is written, or a call of the repository."""


class Declared:
    """What a contract goes by; :class:`RepositoryContract` says what each of these is."""

    repository: ClassVar[type[Repository[Any, Any, Any]]]
    tables: ClassVar[Sequence[type[Any]]]
    projections: ClassVar[Sequence[type[Any]]] = ()
    changes: ClassVar[bool] = True
    writes: ClassVar[bool] = True

    db: Database
    """The database with the tables, in a test and in every hook."""

    async def prepare(self, db: Database) -> None:
        """Make what rows refer to, once for all tests of the class; each of them has what is set on ``self``."""

    def connect(self, db: Database) -> Repository[Any, Any, Any]:
        """Make the repository; override it where its class takes more than a database. Asked before ``prepare`` too."""
        return self.repository(db)

    def spec(self, n: int) -> Spec[Any]:
        """Give the spec of row ``n``, which meets no other one: every unique value depends on ``n``."""
        raise NotImplementedError(n)

    def patch(self, n: int) -> Patch[Any]:
        """Give what changes row ``n``, to something else than its spec says."""
        raise NotImplementedError(n)

    def row(self, n: int) -> object:
        """Give row ``n`` itself, to be added to a session, of a repository that ``writes`` nothing."""
        raise NotImplementedError(n)

    def scope(self, n: int) -> SearchScope | None:
        """Give the scope of row ``n``: one tenant's for even numbers, another's for odd ones. None: there are none."""
        return None

    def refused(self, n: int) -> Mapping[type[Exception], Refused]:
        """Give what is refused while row ``n`` is there, by the class of the error.

        A spec or a patch of that row, which is tried with every verb that would write it in ``scope(n)``; or a call:
        ``lambda groups: groups.create(spec, scope=other)``.
        """
        return {}

    def id_of(self, data: Any) -> Any:
        """Give the id of data; override it where its fields are not called like the columns of the key."""
        parts = tuple(getattr(data, name) for name in entity_of(type(self)).info.primary_key)
        return parts[0] if len(parts) == 1 else parts


def _entity_of(contract: type[Declared]) -> Entity[Any, Any]:
    """Give what the repository of a contract says of its rows: the class does, or a source that it makes for itself."""
    nowhere = Database.from_url("postgresql+asyncpg://nowhere")  # nothing is asked of it
    return contract().connect(nowhere).db_source.entity


entity_of: Callable[[Any], Entity[Any, Any]] = lru_cache(_entity_of)


def overrides(contract: type[Declared], name: str) -> bool:
    """Say whether a team has a hook of its own."""
    return getattr(contract, name) is not getattr(Declared, name)


def check(contract: type[Declared]) -> None:
    """Refuse a contract that leaves out what its tests need.

    Raises:
        MappingError: the message names the class, and says what to write.
    """
    given = cast("Any", getattr(contract, "repository", None))
    is_repository = isinstance(given, type) and issubclass(given, Repository)
    if not (is_repository and hasattr(cast("Any", given), "entity")):
        what = "has no repository" if given is None else f"has {kind_of(cast('Any', given))} as its repository"
        raise MappingError(f"{contract.__name__} {what}: write repository = GroupRepository, a class of repositories")
    for name in _HOOKS:
        _check_hook(contract, name)
    _check_tables(contract)
    for name, example in _needed(contract):
        if not overrides(contract, name):
            raise MappingError(f"{contract.__name__} has no {name}: write {example}")
    _check_data(contract)
    for projection in contract.projections:
        data_shape(entity_of(contract).info, projection)


def _check_tables(contract: type[Declared]) -> None:
    example, given = "write tables = (DomainRow, GroupRow), all that the tests need", getattr(contract, "tables", ())
    mappers = [sa.inspect(row, raiseerr=False) for row in given]
    strangers = [row for row, mapper in zip(given, mappers, strict=True) if not isinstance(mapper, Mapper)]
    if strangers:
        raise MappingError(f"{contract.__name__}.tables has {kind_of(strangers[0])}, which is not mapped: {example}")
    made_tables = {table for mapper in mappers if isinstance(mapper, Mapper) for table in mapper.tables}
    info = entity_of(contract).info
    if not made_tables.issuperset(info.tables):
        raise MappingError(f"{contract.__name__}.tables leaves out {info.row.__name__}: {example}")
    for name, item in own_constraints(contract).items():
        if isinstance(item, sa.ForeignKeyConstraint) and item.referred_table not in made_tables:
            raise MappingError(
                f"{contract.__name__}.tables leaves out the table {item.referred_table.name}, to which {name} leads, "
                f"and with it the foreign key: {example}"
            )


def _needed(contract: type[Declared]) -> Iterator[tuple[str, str]]:
    """Give the hooks that a contract must have, each with an example."""
    entity = entity_of(contract)
    if contract.writes:
        yield "spec", 'def spec(self, n): return GroupCreate(f"name {n}"), or writes = False if rows are only read'
    else:
        yield "row", "def row(self, n): return GroupRow(...), which is added to a session"
    if contract.writes and contract.changes:
        yield "patch", "def patch(self, n): return GroupPatch(...), or changes = False if rows never change"
    if entity.scope_required:
        yield "scope", "def scope(self, n): return DomainScope(DOMAINS[n % 2]), as its repository has scope_required"
    if contract.writes and _is_known_to_break(contract):
        yield (
            "refused",
            (
                "def refused(self, n): return {GroupNameTaken: self.spec(n)}, what each error in its repository's "
                "violations is for"
            ),
        )


_HOOKS = ("prepare", "connect", "spec", "patch", "row", "scope", "refused", "id_of")


def _check_hook(contract: type[Declared], name: str) -> None:
    hook: Any = inspect.getattr_static(contract, name)
    shown = f"{contract.__name__}.{name}"
    expected = inspect.signature(getattr(Declared, name))
    example = f"write {'async ' * (name == 'prepare')}def {name}({', '.join(expected.parameters)})"
    if not inspect.isfunction(hook):
        raise MappingError(f"{shown} is {kind_of(hook)}, and no method: {example}")
    if inspect.iscoroutinefunction(hook) != (name == "prepare"):
        why = "what has to be awaited is done in prepare(db)" if name != "prepare" else "it is awaited"
        raise MappingError(f"{shown}: {example}; {why}")
    if not takes(hook, *expected.parameters):
        raise MappingError(f"{shown} takes other arguments: {example}")


def _check_data(contract: type[Declared]) -> None:
    entity = entity_of(contract)
    if entity.shape.into.__eq__ is object.__eq__:
        raise MappingError(
            f"{contract.repository.__name__} gives {entity.shape.into.__name__}, of which no two are ever equal: have "
            "it give a dataclass or pydantic model, or define __eq__"
        )
    known = {*field_annotations(entity.shape.into), *dir(entity.shape.into)}
    lost = [name for name in entity.info.primary_key if name not in known]
    if lost and not overrides(contract, "id_of"):
        raise MappingError(
            f"{entity.shape.into.__name__} has no {lost[0]}, which is in the key of {entity.info.row.__name__}: write "
            f"def id_of(self, data) in {contract.__name__}"
        )


def own_constraints(contract: type[Declared]) -> Mapping[str, sa.Constraint | sa.Index]:
    """Give the constraints of the row's own tables that the repository has errors for, by name."""
    entity = entity_of(contract)
    names = [name for name in entity.violations if isinstance(name, str)]
    found = {name: own_item(entity, name) for name in names}
    return {name: item for name, item in found.items() if item is not None}


def breakable_constraints(contract: Declared) -> Sequence[str]:
    """Give the names of those that a row of a contract may break: they are about what its specs and patches say.

    What the scope, the server, a count or a default fills is nothing that a caller could say otherwise.
    """
    said = _Said(contract)
    return [name for name, item in own_constraints(type(contract)).items() if said.may_break(item)]


class _Said:
    """Which attributes the specs and patches of a contract say, and which of them its scope says."""

    def __init__(self, contract: Declared) -> None:
        self.entity = entity_of(type(contract))
        self.info = self.entity.info
        limits = resolve_scope(contract.scope(0), self.info)
        self.by_patches = self._names(contract.patch(0)) if contract.changes else set[str]()
        self.all = self._names(contract.spec(0)) | self.by_patches
        self.stamped = limits.stamps.keys()
        read = (part for condition in limits.conditions for part in parts(condition, self.info))
        self.limited = {self.info.name_of(cast("Any", part)) for part in read if isinstance(part, sa.Column)}

    def _names(self, written: Spec[Any] | Patch[Any]) -> set[str]:
        return {*written.__rowsmith_fields__, *written.to_values()} & self.info.stored.keys()

    def may_break(self, item: sa.Constraint | sa.Index) -> bool:
        """Say whether a constraint may be broken; of SQL in words nobody knows what it is about, and so it may."""
        told = columns_read(item)
        match item:
            case _ if told is None:
                return True
            case sa.ForeignKeyConstraint():  # which a scope that is about it keeps, too
                is_of_one_row = item.referred_table in self.info.tables and item.referred_table is not item.table
                free = set[str]() if is_of_one_row else self.all - self.limited
            case sa.CheckConstraint():
                free = self.all - self.stamped
            case _:
                free = self._free_of_key(item, told)
        return not told.isdisjoint(self._columns(free, item))

    def _free_of_key(self, item: sa.Constraint | sa.Index, told: set[str]) -> set[str]:
        """Give what may be said so that two rows clash: nothing where each row has a number of its own."""
        number, counted = cast("Any", item).table.autoincrement_column, self.entity.next_value
        if number is not None and number.name in told and number.name not in self._columns(self.all, item):
            return set()
        if counted is None or counted.column.key in self.all:
            return self.all - self.stamped
        if self._columns({counted.column.key, *counted.parents}, item) <= told:
            return self.by_patches - self.stamped  # a row that moves to another parent keeps its number
        return self.all - self.stamped

    def _columns(self, names: Collection[str], item: sa.Constraint | sa.Index) -> set[str]:
        table = cast("Any", item).table
        return {column.name for name in names for column in self.info.stored[name] if column.table is table}


def _is_known_to_break(contract: type[Declared]) -> bool:
    """Say whether rows may break a constraint; where hooks need what ``prepare`` makes, it is the tests that ask."""
    try:
        return bool(breakable_constraints(contract()))
    except Exception:  # noqa: BLE001 - hooks are the team's, and are not ready yet
        return False


def own_item(entity: Entity[Any, Any], name: str) -> sa.Constraint | sa.Index | None:
    """Give the constraint or index that the row's own tables have by a name."""
    items = (item_named(table, name) for table in entity.info.tables)
    return next((item for item in items if item is not None), None)


def error_of(factory: ErrorFactory) -> type[Exception]:
    """Give the class of the errors that a domain declares."""
    return factory if isinstance(factory, type) else type(made(factory, RepositoryError.default_message))
