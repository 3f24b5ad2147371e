"""Repository: what a team subclasses for each domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Generic, cast

from rowsmith.changing import Changing
from rowsmith.creating import Creating
from rowsmith.database import Database
from rowsmith.db_source import DBSource
from rowsmith.errors import EntityNotFound, ErrorFactory, MappingError
from rowsmith.mapping import Patch, RowInfo, Spec, converted_shape, type_arguments
from rowsmith.operations import Entity, SoftDelete, make_entity
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.next_value import NextValue
from rowsmith.reading import Reading, TData, TId, TRow
from rowsmith.scope import SearchScope


class Repository(
    Reading[TRow, TData, TId], Creating[TRow, TData, TId], Changing[TRow, TData, TId], Generic[TRow, TData, TId]
):
    """Create, read, search, change and remove the rows of one table, as data.

    ::

        class GroupRepository(Repository[GroupRow, GroupData, GroupId]):
            not_found = GroupNotFound
            violations = {"uq_groups_domain_name_name": GroupNameTaken}
            soft_delete = SoftDelete(GroupRow.deleted_at)

    Class attributes: ``not_found`` and the values of ``violations`` (by constraint name) make the domain's
    own errors; ``soft_delete`` says what marks a deleted row; ``scope_required`` refuses calls without a
    scope; ``domain`` is the noun in error codes; ``conflict`` is the unique key that upserts go by (the primary
    key without it); ``next_value`` numbers rows within a parent. Everything is checked when the class is made.

    Each method is one transaction, or joins the unit of work around it. ``db_source`` and the operation
    objects on it are there for what the methods don't do.

    Raises:
        MappingError: when the class is made: row and data do not fit.
    """

    not_found: ClassVar[ErrorFactory] = EntityNotFound
    violations: ClassVar[Mapping[str, ErrorFactory]] = {}
    soft_delete: ClassVar[SoftDelete | None] = None
    scope_required: ClassVar[bool] = False
    domain: ClassVar[str | None] = None
    conflict: ClassVar[Conflict | None] = None
    next_value: ClassVar[NextValue | None] = None

    entity: ClassVar[Entity[Any, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        found = _row_and_data(cls)
        if found is not None:
            cls.entity = _read_entity(cls, *found)
            _check_keys(cls, cls.entity.info)

    def __init__(self, db: Database) -> None:
        if not hasattr(type(self), "entity"):
            name = type(self).__name__
            raise MappingError(f"{name} names no row: write class {name}(Repository[GroupRow, GroupData, GroupId])")
        entity = cast("Entity[TRow, TData]", type(self).entity)
        if _is_converted(type(self)):
            entity = replace(entity, shape=converted_shape(entity.info, entity.shape.into, self.to_data))
        self.db = db
        self.db_source = DBSource[TRow, TData, TId](db, entity, conflict=self.conflict, next_value=self.next_value)
        _ = entity.shape.layout  # what only complete mappers can tell is told now, not by the first call

    def to_data(self, row: TRow) -> TData:
        """Make data of a whole row; override where field names alone don't do, and every operation uses it."""
        raise MappingError("to_data is there to be overridden; without it, fields are matched by name")

    async def create(self, spec: Spec[TRow], *, scope: SearchScope | None = None) -> TData:
        """Insert a row and give it with the database's own defaults.

        Raises:
            EntityAlreadyExists, ReferenceNotFound, ConstraintViolation: or the error in ``violations``.
            ScopeMismatch: the spec says otherwise than the scope.
            InvalidValue: a value does not fit its column.
        """
        return await self.db_source.create(spec, scope=scope)

    async def update(
        self, id: TId, patch: Patch[TRow], *, scope: SearchScope | None = None, expected_version: Any = None
    ) -> TData:
        """Write what the patch sets and give the row as it is afterwards.

        Raises:
            EntityNotFound: absent, deleted or outside the scope, all alike.
            StaleVersion: ``expected_version`` is no longer the row's.
            ScopeMismatch: the patch would move the row out of its scope.
        """
        return await self.db_source.update(id, patch, scope=scope, expected_version=expected_version)

    async def delete(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Mark a row as deleted and give it; needs ``soft_delete``.

        Raises:
            EntityNotFound: absent, deleted already or outside the scope, all alike.
        """
        return await self.db_source.delete(id, scope=scope)

    async def restore(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Bring a deleted row back and give it; needs ``soft_delete``.

        Raises:
            EntityNotFound: absent, not deleted or outside the scope, all alike.
        """
        return await self.db_source.restore(id, scope=scope)

    async def purge(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Remove a row for good, deleted or not, and give what it was.

        Raises:
            EntityNotFound: absent or outside the scope, both alike.
            StillReferenced: other rows point at it.
        """
        return await self.db_source.purge(id, scope=scope)


def _check_keys(cls: type[Repository[Any, Any, Any]], info: RowInfo[Any]) -> None:
    if cls.conflict is not None:
        cls.conflict.resolve(info)
    if cls.next_value is not None:
        cls.next_value.foreign_key(info)


def _row_and_data(cls: type[Any]) -> tuple[Any, Any] | None:
    """Give the classes in ``Repository[Row, Data, Id]``; None for a base that leaves its row or data open."""
    row, data = (*type_arguments(cls, Repository), None, None)[:2]
    if data in (None, Any, TRow):  # left out: Python fills in the default as it is written, the parameter TRow
        data = row
    return (row, data) if isinstance(row, type) and isinstance(data, type) and row is not Any else None


def _is_converted(cls: type[Any]) -> bool:
    return cls.to_data is not cast("Any", Repository).to_data


def _read_entity(cls: type[Repository[Any, Any, Any]], row: type[Any], data: type[Any]) -> Entity[Any, Any]:
    converted = _is_converted(cls)
    entity = make_entity(
        row,
        None if converted else data,
        not_found=cls.not_found,
        violations=cls.violations,
        soft_delete=cls.soft_delete,
        scope_required=cls.scope_required,
        domain=cls.domain,
    )
    return replace(entity, shape=replace(entity.shape, into=data)) if converted else entity
