"""Repository: what a team subclasses for each domain."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, cast, overload

from typing_extensions import TypeVar

from rowsmith.cache import CacheSource
from rowsmith.cache.reading import ReadThrough
from rowsmith.database import Database
from rowsmith.db_source import DBSource
from rowsmith.errors import EntityNotFound, ErrorFactory, MappingError, Violations, kind_of
from rowsmith.lock import Lock
from rowsmith.mapping import Loads, Patch, Spec, converted_shape, type_arguments
from rowsmith.mapping.agreement import key_disagreement
from rowsmith.operations import (
    BatchResult,
    Conflict,
    Entity,
    NextValue,
    PartialResult,
    PurgeReport,
    SoftDelete,
    Stream,
    Upserted,
    make_entity,
)
from rowsmith.operations.deletes.where import Pace
from rowsmith.operations.inserts.chunks import Many, Progress
from rowsmith.operations.inserts.many import LOAD_CHUNK
from rowsmith.operations.reads.search import Filters
from rowsmith.orders import Order
from rowsmith.pagination import Count, Page, Pagination
from rowsmith.pagination.modes import DEFAULT_PAGE_SIZE
from rowsmith.resilience import Resilience, chosen_resilience
from rowsmith.scope import SearchScope
from rowsmith.state import UNSET, Unset

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TId = TypeVar("TId", default=Any)
TOther = TypeVar("TOther")


class Repository(Generic[TRow, TData, TId]):
    """Create, read, search, change and remove the rows of one table, as data.

    ::

        class GroupRepository(Repository[GroupRow, GroupData, GroupId]):
            not_found = GroupNotFound
            violations = {"uq_groups_domain_name_name": GroupNameTaken}
            soft_delete = SoftDelete(GroupRow.deleted_at)

    Class attributes: ``not_found`` and the values of ``violations`` (by constraint name) make the domain's
    own errors; ``soft_delete`` says what marks a deleted row; ``scope_required`` refuses calls without a
    scope; ``domain`` is the noun in error codes; ``conflict`` is the unique key that upserts go by (the primary
    key without it); ``next_value`` numbers rows within a parent; ``loads`` names what :meth:`to_data` needs beside the
    row's columns; ``default_page_size`` is how many rows a search gives that asks for no page; ``resilience`` holds the
    policies around every method, by default :func:`~rowsmith.resilience.default_resilience`. Everything is checked when
    the class is made.

    Each method is one transaction, or joins the unit of work around it. ``db_source`` and the operation
    objects on it are there for what the methods don't do.

    ``into=GroupSummary`` gives rows as another data class: only its columns are selected; a field that names
    a relationship nests the data of its rows (to-one by a join, to-many by one more statement for all rows
    together), of those that the scope lets be seen (:meth:`~rowsmith.SearchScope.to_related`), deleted ones among them;
    a field annotated with ``Expr`` is computed. Without a data class, ``Repository[GroupRow]``, rows are given; inside
    a session or unit of work they are its own objects, which it writes as they are changed.

    ``lock=Lock()`` has the rows that a read gives stay as they are until the session or unit of work around the call
    ends; where there is none it is ``TransactionError``. See :class:`~rowsmith.Lock`.

    Batches lock rows in the order of their keys, so that those which overlap wait for each other and never
    deadlock. Every id of a batch is in exactly one of ``succeeded`` and ``missing``, in input order.

    Args:
        db: where sessions come from.
        db_source: instead of it, a source of one's own for this row, whose rules and resilience then hold.
        cache_source: answers ``get``, ``find`` and ``batch_get`` where it can; see :mod:`rowsmith.cache`.
        resilience: the policies around every method; None for no policies, left out for the class's own.

    Raises:
        MappingError: when the class is made: row, data and rules do not fit; when an instance is made: it is given
            neither ``db`` nor ``db_source``, or both, or a source of another row, or ``resilience`` beside a source; or
            ``cache_source`` keeps something else, or cannot keep such rows.
    """

    not_found: ClassVar[ErrorFactory] = EntityNotFound
    violations: ClassVar[Violations] = {}
    soft_delete: ClassVar[SoftDelete | None] = None
    scope_required: ClassVar[bool] = False
    domain: ClassVar[str | None] = None
    conflict: ClassVar[Conflict | None] = None
    next_value: ClassVar[NextValue | None] = None
    loads: ClassVar[Loads] = ()
    default_page_size: ClassVar[int] = DEFAULT_PAGE_SIZE
    resilience: ClassVar[Resilience | Unset | None] = UNSET

    entity: ClassVar[Entity[Any, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        found = _row_and_data(cls)
        if found is not None:
            cls.entity = _read_entity(cls, *found)
            _, _, id_type = (*type_arguments(cls, Repository), Any, Any, Any)[:3]
            if complaint := key_disagreement(id_type, cls.entity.info.key_columns):
                row = cls.entity.info.row.__name__
                raise MappingError(f"the id of {cls.__name__}, a Repository of {row}, {complaint}")

    def __init__(
        self,
        db: Database | None = None,
        *,
        db_source: DBSource[TRow, TData, TId] | None = None,
        cache_source: CacheSource[Any, TData] | None = None,
        resilience: Resilience | Unset | None = UNSET,
    ) -> None:
        policies = _policies(type(self), resilience, db, db_source)
        self.db_source: DBSource[TRow, TData, TId] = (
            _own_source(type(self), db_source) if db is None else self._source(db, db_source, policies)
        )
        self.db: Database = self.db_source.db
        self.cache_source = cache_source
        self._cached: ReadThrough[TRow, TData, TId] | None = None
        if cache_source is not None:
            maker = type(self).to_data if _is_converted(type(self)) else None
            reading = ReadThrough[TRow, TData, TId](self.db_source, cache_source, maker)
            self._cached = None if self.db.is_borrowed else reading  # whose owner's own changes no cache knows
        _ = self.db_source.entity.shape.layout  # what only complete mappers can tell is told now, not at the first call

    def _source(
        self, db: Database, other: DBSource[Any, Any, Any] | None, resilience: Resilience | None
    ) -> DBSource[TRow, TData, TId]:
        _check_made(type(self), db, other)
        entity = cast("Entity[TRow, TData]", type(self).entity)
        if _is_converted(type(self)):
            entity = replace(entity, shape=converted_shape(entity.shape, entity.shape.into, self.to_data))
        return DBSource[TRow, TData, TId](db, entity, resilience=resilience)

    def to_data(self, row: TRow) -> TData:
        """Make data of a whole row; override where field names alone don't do, and every operation uses it.

        What it touches besides columns is declared: ``loads = [TalkRow.speaker, (TalkRow.room, RoomRow.house)]``, and
        is loaded with the rows, by a join or one more statement for all of them; so is what only a subclass has
        (``ManagerRow.firm`` in a repository of ``StaffRow``), with the rows that are of it. The rows stay as they are.

        Raises:
            MappingError: it touches a relationship or deferred column that is not declared, though the session may have
                it; or changes a row, or anything else of its session; nothing of that is written.
        """
        raise MappingError("to_data is there to be overridden; without it, fields are matched by name")

    def to_row(self, entity: TData) -> Spec[TRow]:
        """Say what a new row holds of an entity that knows nothing of rows: ``create(self.to_row(task))``.

        Override it beside :meth:`to_data`; a spec that overrides ``to_values()`` may hold the entity itself.

        Raises:
            MappingError: it is not overridden.
        """
        raise MappingError(
            f"{type(self).__name__} does not say what a new row holds of {kind_of(entity)}: override to_row(entity)"
        )

    def to_patch(self, entity: TData) -> Patch[TRow]:
        """Say what is written of an entity into its row: ``update(task.id, self.to_patch(task))``.

        Override it beside :meth:`to_data`; a patch that overrides ``to_values()`` may hold the entity itself.

        Raises:
            MappingError: it is not overridden.
        """
        raise MappingError(
            f"{type(self).__name__} does not say what is written of {kind_of(entity)}: override to_patch(entity)"
        )

    async def create(
        self, spec: Spec[TRow], *, scope: SearchScope | None = None, idempotency_key: str | None = None
    ) -> TData:
        """Insert a row and give it with the database's own defaults.

        With an ``idempotency_key`` it is inserted once, however often the call is made with this key: see
        :mod:`rowsmith.idempotency`.

        Raises:
            IdempotencyMismatch: the key was used with another spec, or for another verb.
            EntityAlreadyExists, ReferenceNotFound, ConstraintViolation: or the error in ``violations``.
            ScopeMismatch: the spec says otherwise than the scope.
            InvalidValue: a value does not fit its column.
        """
        return await self.db_source.write(
            self.db_source.creator.create, spec, scope=scope, idempotency_key=idempotency_key
        )

    @overload
    async def get(
        self,
        id: TId,
        scope: SearchScope | None = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: None = None,
    ) -> TData: ...
    @overload
    async def get(
        self,
        id: TId,
        scope: SearchScope | None = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: type[TOther],
    ) -> TOther: ...
    async def get(
        self,
        id: TId,
        scope: SearchScope | None = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: Any = None,
    ) -> Any:
        """Give the row with this key.

        Raises:
            EntityNotFound: absent, deleted or outside the scope, all alike; or ``not_found``'s error.
            MappingError: ``into`` does not fit the row.
        """
        if self._cached is not None and into is None and lock is None:
            return await self._cached.one(id, scope, include_deleted, is_needed=True)
        source = self.db_source if into is None else self.db_source.into(into)
        return await source.read(source.querier.query, id, scope=scope, include_deleted=include_deleted, lock=lock)

    @overload
    async def find(
        self,
        id: TId,
        scope: SearchScope | None = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: None = None,
    ) -> TData | None: ...
    @overload
    async def find(
        self,
        id: TId,
        scope: SearchScope | None = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: type[TOther],
    ) -> TOther | None: ...
    async def find(
        self,
        id: TId,
        scope: SearchScope | None = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: Any = None,
    ) -> Any:
        """Give the row with this key, or None."""
        if self._cached is not None and into is None and lock is None:
            return await self._cached.one(id, scope, include_deleted, is_needed=False)
        source = self.db_source if into is None else self.db_source.into(into)
        return await source.read(source.querier.find, id, scope=scope, include_deleted=include_deleted, lock=lock)

    @overload
    async def get_one(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: None = None,
    ) -> TData: ...
    @overload
    async def get_one(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: type[TOther],
    ) -> TOther: ...
    async def get_one(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: Any = None,
    ) -> Any:
        """Give the only row that scope and filters let through.

        Raises:
            EntityNotFound: there is none for this caller; or ``not_found``'s error.
            SeveralFound: there are more than one.
        """
        source = self.db_source.into(into)
        return await source.read(
            source.batch_querier.get_one, scope, filters, include_deleted=include_deleted, lock=lock
        )

    @overload
    async def find_one(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: None = None,
    ) -> TData | None: ...
    @overload
    async def find_one(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: type[TOther],
    ) -> TOther | None: ...
    async def find_one(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: Any = None,
    ) -> Any:
        """Give the only row that scope and filters let through, or None.

        Raises:
            SeveralFound: there are more than one.
        """
        source = self.db_source.into(into)
        return await source.read(
            source.batch_querier.find_one, scope, filters, include_deleted=include_deleted, lock=lock
        )

    @overload
    async def first(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: None = None,
    ) -> TData | None: ...
    @overload
    async def first(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: type[TOther],
    ) -> TOther | None: ...
    async def first(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: Any = None,
    ) -> Any:
        """Give the first row in an order, or None; without ``orders``, the first by its key."""
        source = self.db_source.into(into)
        return await source.read(
            source.batch_querier.first, scope, filters, orders=orders, include_deleted=include_deleted, lock=lock
        )

    @overload
    async def search(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: None = None,
    ) -> Page[TData]: ...
    @overload
    async def search(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: type[TOther],
    ) -> Page[TOther]: ...
    async def search(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        pagination: Pagination | None = None,
        *,
        orders: Sequence[Order] = (),
        count: Count = Count.NONE,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: Any = None,
    ) -> Page[Any]:
        """Give a page of rows; without ``pagination`` the first ``default_page_size``. ``NoPagination()`` is for all.

        Raises:
            InvalidCursor, InvalidPagination, InvalidFilter: what was given has no meaning.
            MappingError: ``into`` does not fit the row.
        """
        source = self.db_source.into(into)
        return await source.read(
            source.batch_querier.search,
            scope,
            filters,
            pagination,
            orders=orders,
            count=count,
            include_deleted=include_deleted,
            lock=lock,
        )

    async def count(
        self, scope: SearchScope | None = None, filters: Filters[TRow] = None, *, include_deleted: bool = False
    ) -> int:
        """Give the exact number of rows."""
        return await self.db_source.read(
            self.db_source.batch_querier.count, scope, filters, include_deleted=include_deleted
        )

    async def exists(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        id: TId | Unset = UNSET,
        include_deleted: bool = False,
    ) -> bool:
        """Say whether there is any row that scope and filters let through; with ``id``, whether it is that one.

        Raises:
            InvalidValue: the id is no key of the row.
        """
        return await self.db_source.read(
            self.db_source.batch_querier.exists, scope, filters, pk=id, include_deleted=include_deleted
        )

    async def aggregate(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        into: type[TOther],
        group_by: Sequence[Order] = (),
        include_deleted: bool = False,
    ) -> list[TOther]:
        """Compute over rows in the database: one object a group, in the order of their keys; see :class:`Aggregator`.

        Raises:
            MappingError: a field of ``into`` is neither grouped by nor aggregated.
            InvalidFilter: the database has no equality of what is grouped by, such as JSON on PostgreSQL.
        """
        return await self.db_source.read(
            self.db_source.aggregator.aggregate,
            scope,
            filters,
            into=into,
            group_by=group_by,
            include_deleted=include_deleted,
        )

    @overload
    def stream(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        into: None = None,
    ) -> Stream[TData]: ...
    @overload
    def stream(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        into: type[TOther],
    ) -> Stream[TOther]: ...
    def stream(
        self,
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        orders: Sequence[Order] = (),
        include_deleted: bool = False,
        into: Any = None,
    ) -> Stream[Any]:
        """Give row after row through a cursor of the server, in flat memory.

        The connection is given back at the end, and when the loop is left early; :class:`Stream` says when.
        """
        source = self.db_source.into(into)
        return source.stream(
            source.batch_querier.chunks, scope, filters, orders=orders, include_deleted=include_deleted
        )

    async def update(
        self,
        id: TId,
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        expected_version: Any = None,
        idempotency_key: str | None = None,
    ) -> TData:
        """Write what the patch sets and give the row as it is afterwards; ``idempotency_key`` is as for :meth:`create`.

        Raises:
            IdempotencyMismatch: as :meth:`create`.
            EntityNotFound: absent, deleted or outside the scope, all alike.
            StaleVersion: ``expected_version`` is no longer the row's.
            ScopeMismatch: the patch would move the row out of its scope.
        """
        return await self.db_source.write(
            self.db_source.updater.update,
            id,
            patch,
            scope=scope,
            expected_version=expected_version,
            idempotency_key=idempotency_key,
        )

    async def delete(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Mark a row as deleted and give it; needs ``soft_delete``.

        Raises:
            EntityNotFound: absent, deleted already or outside the scope, all alike.
        """
        return await self.db_source.write(self.db_source.soft_deleter.delete, id, scope=scope)

    async def restore(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Bring a deleted row back and give it; needs ``soft_delete``.

        Raises:
            EntityNotFound: absent, not deleted or outside the scope, all alike.
        """
        return await self.db_source.write(self.db_source.soft_deleter.restore, id, scope=scope)

    async def purge(self, id: TId, *, scope: SearchScope | None = None) -> TData:
        """Remove a row for good, deleted or not, and give what it was.

        Raises:
            EntityNotFound: absent or outside the scope, both alike.
            StillReferenced: other rows point at it.
        """
        return await self.db_source.write(self.db_source.purger.purge, id, scope=scope)

    async def upsert(
        self,
        spec: Spec[TRow],
        *,
        scope: SearchScope | None = None,
        conflict: Conflict | None = None,
        idempotency_key: str | None = None,
    ) -> Upserted[TData]:
        """Create the row, or change the one with its key (``conflict``, or the class's); says which it was.

        ``idempotency_key`` is as for :meth:`create`; ``inserted`` stays what it was the first time.

        Raises:
            IdempotencyMismatch: as :meth:`create`.
            EntityAlreadyExists: the key is taken by a row that this caller does not see; or another key is. Where
                others insert the same row at once, PostgreSQL may find another key taken first: a call of its own is
                made once more then, a session or unit of work has to be run again.
            InvalidValue, ScopeMismatch, ConstraintViolation: as :meth:`batch_create`.
        """
        return await self.db_source.write(
            self.db_source.upserter.upsert, spec, scope=scope, conflict=conflict, idempotency_key=idempotency_key
        )

    @overload
    async def batch_get(
        self,
        ids: Sequence[TId],
        *,
        scope: SearchScope | None = None,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: None = None,
    ) -> list[TData]: ...
    @overload
    async def batch_get(
        self,
        ids: Sequence[TId],
        *,
        scope: SearchScope | None = None,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: type[TOther],
    ) -> list[TOther]: ...
    async def batch_get(
        self,
        ids: Sequence[TId],
        *,
        scope: SearchScope | None = None,
        include_deleted: bool = False,
        lock: Lock | None = None,
        into: Any = None,
    ) -> list[Any]:
        """Give the rows with these keys, in the order of the keys.

        Raises:
            EntityNotFound: some are not there for this caller; ``missing`` holds their keys.
        """
        if self._cached is not None and into is None and lock is None:
            return await self._cached.batch_get(ids, scope, include_deleted)
        source = self.db_source.into(into)
        return await source.read(
            source.batch_querier.query, ids, scope=scope, include_deleted=include_deleted, lock=lock
        )

    async def batch_create(
        self,
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> list[TData]:
        """Insert all rows or none, and give them in input order; COPY where the database allows it.

        Specs may be of different classes and leave different fields out, for the database's defaults to fill.

        ``progress`` is told, again and again, how many rows are sent. Where the data is not needed, or does not
        fit into memory, :meth:`load` it. ``idempotency_key`` is as for :meth:`create`, for all of them together.

        Raises:
            IdempotencyMismatch: as :meth:`create`.
            EntityAlreadyExists, ReferenceNotFound, ConstraintViolation: or the error in ``violations``.
            InvalidValue: a value does not fit; the index is named.
            ScopeMismatch: a spec says otherwise than the scope; the index is named.
        """
        return await self.db_source.write(
            self.db_source.batch_creator.create,
            specs,
            scope=scope,
            progress=progress,
            idempotency_key=idempotency_key,
        )

    async def batch_create_partial(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Insert the rows that can be, and say of each other one, by its index, why not.

        Rows of the batch may refer to each other. A constraint that is checked at COMMIT is an item's failure, too, but
        inside a session or unit of work, which may make it right: there it is left to its COMMIT.

        Raises:
            RepositoryError: what is no item's fault, such as a lost connection; nothing is kept then.
        """
        return await self.db_source.write(self.db_source.batch_creator.create_partial, specs, scope=scope)

    async def load(
        self,
        specs: Many[Spec[TRow]],
        *,
        scope: SearchScope | None = None,
        progress: Progress | None = None,
        chunk_size: int = LOAD_CHUNK,
    ) -> int:
        """Insert all rows of an iterator, plain or asynchronous, or none; in flat memory. Gives their number.

        Raises:
            RepositoryError: as :meth:`batch_create`.
        """
        return await self.db_source.write(
            self.db_source.batch_creator.load, specs, scope=scope, progress=progress, chunk_size=chunk_size
        )

    async def batch_upsert(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None, conflict: Conflict | None = None
    ) -> BatchResult[Upserted[TData], TId]:
        """Create or change all rows, or none; ``succeeded`` says of each, in input order, which it was.

        Raises:
            EntityAlreadyExists: a key is taken by a row that this caller does not see.
            InvalidValue: as :meth:`batch_create`; or a key stands twice; the indexes are named.
        """
        return await self.db_source.write(self.db_source.batch_upserter.upsert, specs, scope=scope, conflict=conflict)

    async def batch_upsert_partial(
        self, specs: Many[Spec[TRow]], *, scope: SearchScope | None = None, conflict: Conflict | None = None
    ) -> PartialResult[Upserted[TData]]:
        """Create or change the rows that can be, and say of each other one, by its index, why not.

        Rows that refer to each other, and constraints that are checked at COMMIT, are as in
        :meth:`batch_create_partial`.

        Raises:
            RepositoryError: what is no item's fault, such as a lost connection; nothing is kept then.
        """
        return await self.db_source.write(
            self.db_source.batch_upserter.upsert_partial, specs, scope=scope, conflict=conflict
        )

    async def batch_update(
        self,
        ids: Sequence[TId],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> BatchResult[TData, TId]:
        """Write one patch into many rows, all or none, and give them as they are afterwards.

        Raises:
            StaleVersion: rows are there in other versions than expected; ``stale`` holds their ids.
            ScopeMismatch: the patch would move a row out of its scope.
            InvalidValue: an id is no key or stands twice, or a value does not fit.
        """
        return await self.db_source.write(
            self.db_source.batch_updater.update, ids, patch, scope=scope, expected_versions=expected_versions
        )

    async def batch_update_each(
        self,
        patches: Mapping[TId, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> BatchResult[TData, TId]:
        """Write a patch of its own into each of many rows, all or none; they may set different fields.

        Raises:
            InvalidValue: a value does not fit; the index is named.
            StaleVersion, ScopeMismatch: as :meth:`batch_update`.
        """
        return await self.db_source.write(
            self.db_source.batch_updater.update_each, patches, scope=scope, expected_versions=expected_versions
        )

    async def batch_update_partial(
        self,
        patches: Mapping[TId, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[TId, Any] | None = None,
    ) -> PartialResult[TData]:
        """Write the patches that can be written, and say of each other one, by its index, why not.

        Values of a unique key may pass from row to row. Constraints that are checked at COMMIT are as in
        :meth:`batch_create_partial`.

        Raises:
            RepositoryError: what is no item's fault, such as a lost connection; nothing is kept then.
        """
        return await self.db_source.write(
            self.db_source.batch_updater.update_partial, patches, scope=scope, expected_versions=expected_versions
        )

    async def update_where(
        self,
        filters: Filters[TRow],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
    ) -> int:
        """Write one patch into every row that matches, and give their number.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said; a scope is none.
        """
        return await self.db_source.write(
            self.db_source.batch_updater.update_where, filters, patch, scope=scope, all_rows=all_rows
        )

    async def batch_delete(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Mark many rows as deleted and give them; needs ``soft_delete``. Those deleted already are missing.

        Raises:
            InvalidValue: an id is no key, or stands twice.
        """
        return await self.db_source.write(self.db_source.batch_soft_deleter.delete, ids, scope=scope)

    async def batch_restore(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Bring many deleted rows back and give them; needs ``soft_delete``. Those not deleted are missing.

        Raises:
            EntityAlreadyExists: the place of one was taken meanwhile.
            InvalidValue: an id is no key, or stands twice.
        """
        return await self.db_source.write(self.db_source.batch_soft_deleter.restore, ids, scope=scope)

    async def delete_where(
        self, filters: Filters[TRow], *, scope: SearchScope | None = None, all_rows: bool = False
    ) -> int:
        """Mark every live row that matches as deleted, and give their number; needs ``soft_delete``.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said; a scope is none.
        """
        return await self.db_source.write(
            self.db_source.batch_soft_deleter.delete_where, filters, scope=scope, all_rows=all_rows
        )

    async def restore_where(
        self, filters: Filters[TRow], *, scope: SearchScope | None = None, all_rows: bool = False
    ) -> int:
        """Bring every deleted row that matches back, and give their number; needs ``soft_delete``.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said; a scope is none.
            EntityAlreadyExists: the place of one was taken meanwhile.
        """
        return await self.db_source.write(
            self.db_source.batch_soft_deleter.restore_where, filters, scope=scope, all_rows=all_rows
        )

    async def batch_purge(self, ids: Sequence[TId], *, scope: SearchScope | None = None) -> BatchResult[TData, TId]:
        """Remove many rows for good, deleted or not, all or none, and give what they were.

        Raises:
            StillReferenced: other rows point at one of them.
            InvalidValue: an id is no key, or stands twice.
        """
        return await self.db_source.write(self.db_source.batch_purger.purge, ids, scope=scope)

    async def batch_purge_partial(
        self, ids: Sequence[TId], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Remove the rows that can be removed, and say of each other one, by its index, why not.

        Rows of the batch that refer to each other go together. Constraints that are checked at COMMIT are as in
        :meth:`batch_create_partial`.

        Raises:
            RepositoryError: what is no item's fault, such as a lost connection; nothing is removed then.
        """
        return await self.db_source.write(self.db_source.batch_purger.purge_partial, ids, scope=scope)

    async def purge_where(
        self,
        filters: Filters[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
        chunk_size: int | None = 1000,
        max_rows: int | None = None,
        dry_run: bool = False,
        pause: float = 0.005,
        progress: Progress | None = None,
    ) -> PurgeReport:
        """Remove every row that matches, deleted or not, in chunks that are transactions of their own.

        Safe beside other writers: a chunk skips rows that are locked, and later passes come back for them,
        until a look finds nothing that is left. What is committed stays; after a failure or a cancellation
        another call goes on. The ``deadline`` of a :class:`Database` is that of each chunk; a ``TimeoutPolicy``
        ends all of it in time, waits for rows that are locked included.

        Args:
            filters: which rows: a filter model, or conditions in code.
            scope: who removes; it does not stand in for filters.
            all_rows: all rows that the scope reaches are meant, should no filter tell them apart.
            chunk_size: how many rows a transaction removes. None removes all in one, which may be a unit of work
                around the call, and waits for rows that others have locked.
            max_rows: how many rows that match go at most.
            dry_run: only count, in a session that reads.
            pause: seconds between chunks, so that others hardly notice; 0 removes faster, at their cost.
            progress: is told after each chunk how many rows are gone.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said.
            TransactionError: inside a unit of work, whose single transaction chunks would break up.
            StillReferenced: other rows point at one; what was removed before is in the error's ``report``.
            LockNotAvailable: others kept all rows that are left locked for half a minute.
            asyncio.CancelledError: of chunks it carries a ``report``, too, but between two tries of a policy's, which
                kept nothing; :func:`rowsmith.commit_outcome` is about all of them.
        """
        purger = self.db_source.where_purger
        pace = Pace(max_rows=max_rows, pause=pause) if chunk_size is None else Pace(chunk_size, max_rows, pause)
        if dry_run is True or chunk_size is None:
            session = self.db_source.read if dry_run is True else self.db_source.write
            return await session(
                purger.purge_at_once,
                filters,
                scope=scope,
                all_rows=all_rows,
                pace=pace,
                dry_run=dry_run,
                progress=progress,
            )
        return await self.db_source.in_chunks(
            purger.purge, filters, scope=scope, all_rows=all_rows, pace=pace, dry_run=dry_run, progress=progress
        )

    async def invalidate(self, ids: Collection[TId] | None = None) -> None:
        """Have caches let go of rows that SQL of one's own has written: those with these keys, or all.

        What is written through a repository is never to be said here. Inside a session or unit of work it waits for
        the commit. No cache that is away makes it fail: what is left there ends with its time.

        Raises:
            InvalidValue: ``ids`` is no list of keys.
        """
        await self.db_source.invalidate(ids)


def _check_made(cls: type[Any], db: Any, db_source: Any) -> None:
    if not hasattr(cls, "entity"):
        raise MappingError(
            f"{cls.__name__} names no row: write class {cls.__name__}(Repository[GroupRow, GroupData, GroupId])"
        )
    if not isinstance(db, Database):
        raise MappingError(
            f"{cls.__name__}(...) takes a Database, not {kind_of(db)}: "
            f"write {cls.__name__}(Database(engine)), or {cls.__name__}(Database.from_session(session))"
        )
    if db_source is not None:
        raise MappingError(f"{cls.__name__}(...) takes a Database or a db_source, not both: a source has its database")


def _own_source(cls: type[Any], db_source: Any) -> Any:
    """Give the source that a repository was made with, once it is known to be one for its row."""
    if not isinstance(db_source, DBSource):
        raise MappingError(
            f"write {cls.__name__}(Database(engine)), {cls.__name__}(Database.from_session(session)), "
            f"or {cls.__name__}(db_source=DBSource(...))"
        )
    own, given = getattr(cls, "entity", None), cast("Any", db_source).entity
    if own is not None and (own.info.row, own.shape.into) != (given.info.row, given.shape.into):
        raise MappingError(f"{cls.__name__} is for {_classes(own)}, and its source for {_classes(given)}")
    return cast("Any", db_source)


def _classes(entity: Entity[Any, Any]) -> str:
    return f"{entity.info.row.__name__} as {entity.shape.into.__name__}"


def _row_and_data(cls: type[Any]) -> tuple[Any, Any] | None:
    """Give the classes in ``Repository[Row, Data, Id]``; None for a base that leaves its row or data open."""
    row, data = (*type_arguments(cls, Repository), None, None)[:2]
    if data in (None, Any, TRow):  # left out: Python fills in the default as it is written, the parameter TRow
        data = row
    return (row, data) if isinstance(row, type) and isinstance(data, type) and row is not Any else None


def _policies(cls: type[Any], given: Any, db: object, source: object) -> Resilience | None:
    """Give the policies of a repository: those given, its class's own, or the default ones."""
    if source is not None and given is not UNSET:
        raise MappingError(f"{cls.__name__}: give resilience to the DBSource: DBSource(db, row, resilience=...)")
    engine: Any = vars(db).get("engine") if isinstance(db, Database) else None  # a fake has none
    system = "postgresql" if engine is None else engine.dialect.name
    return chosen_resilience(cls.resilience if given is UNSET else given, cls, cls.__name__, system=system)


def _is_converted(cls: type[Any]) -> bool:
    return cls.to_data is not cast("Any", Repository).to_data


def _read_entity(cls: type[Repository[Any, Any, Any]], row: type[object], data: type[object]) -> Entity[Any, Any]:
    converted = _is_converted(cls)
    entity = make_entity(
        row,
        None if converted else data,
        not_found=cls.not_found,
        violations=cls.violations,
        soft_delete=cls.soft_delete,
        scope_required=cls.scope_required,
        domain=cls.domain,
        conflict=cls.conflict,
        next_value=cls.next_value,
        loads=cls.loads,
        default_page_size=cls.default_page_size,
    )
    return replace(entity, shape=replace(entity.shape, into=data)) if converted else entity
