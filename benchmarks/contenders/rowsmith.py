"""rowsmith, as its README shows it; the options of a variant are those of ``Database`` and ``Repository``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.contenders.contender import Contender, PageOf, Search, Values
from benchmarks.contenders.models import EventRow, GroupRow, NumberedRow, PlainRow, engine_on
from benchmarks.data import PAGE, Change, Group, Server
from rowsmith import (
    Condition,
    Conflict,
    CursorForwardPagination,
    Database,
    OffsetPagination,
    OptionalState,
    Page,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
    TriState,
)
from rowsmith.filters import Filter, NumberFilter, StringFilter


@dataclass(frozen=True)
class DomainScope(SearchScope):
    domain_name: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name]


class GroupFilter(Filter[GroupRow]):
    name: StringFilter | None = None
    weight: NumberFilter | None = None
    description: StringFilter | None = None


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    domain_name: str
    name: str
    weight: int
    description: str | None


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    weight: OptionalState[int] = OptionalState.nop()
    description: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class NumberedCreate(Spec[NumberedRow]):
    domain_name: str
    name: str
    weight: int
    description: str | None


@dataclass(frozen=True)
class NumberedPatch(Patch[NumberedRow]):
    weight: OptionalState[int] = OptionalState.nop()
    description: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class PlainCreate(Spec[PlainRow]):
    id: int
    domain_name: str
    name: str
    weight: int
    description: str | None
    created_at: datetime
    deleted_at: datetime | None


class GroupRepository(Repository[GroupRow, Group, int]):
    conflict = Conflict(constraint="uq_bench_groups_domain_name_name")


class MarkedRepository(Repository[GroupRow, Group, int]):
    soft_delete = SoftDelete(GroupRow.deleted_at)


class NumberedRepository(Repository[NumberedRow, Group, int]): ...


class MarkedNumberedRepository(Repository[NumberedRow, Group, int]):
    soft_delete = SoftDelete(NumberedRow.deleted_at)


class PlainRepository(Repository[PlainRow, Group, int]): ...


class EventRepository(Repository[EventRow, Group, int]): ...


ORDERS = [EventRow.weight]


def page_of(page: Page[Group]) -> PageOf:
    """Give a page's rows and its cursor, which a client is sent."""
    return page.items, page.end_cursor if page.has_next_page else None


def said(text: str | None) -> TriState[str]:
    """Give the state that sets a text, or NULL."""
    return TriState.nullify() if text is None else TriState.update(text)


class Rowsmith(Contender):
    """Repositories on one database, with the policies that they have by default."""

    def __init__(self, **options: Any) -> None:
        self.policies = {name: options.pop(name) for name in ("resilience",) if name in options}
        self.options = options

    async def open(self, server: Server) -> None:
        self.db = Database(engine_on(server), **self.options)
        self.groups = GroupRepository(self.db, **self.policies)
        self.marked = MarkedRepository(self.db, **self.policies)
        self.numbered = NumberedRepository(self.db, **self.policies)
        self.marked_numbered = MarkedNumberedRepository(self.db, **self.policies)
        self.plain = PlainRepository(self.db, **self.policies)
        self.all_events = EventRepository(self.db, **self.policies)

    async def close(self) -> None:
        await self.db.dispose()

    async def get(self, id: int) -> Group:
        return await self.groups.get(id)

    async def get_scoped(self, id: int, domain: str) -> Group:
        return await self.groups.get(id, DomainScope(domain))

    async def find(self, domain: str, name: str) -> Group | None:
        return await self.groups.find_one(DomainScope(domain), [GroupRow.name == name])

    async def page(self, domain: str, after: Any) -> PageOf:
        return page_of(await self.groups.search(DomainScope(domain), None, CursorForwardPagination(PAGE, after)))

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        filters = GroupFilter.model_validate(search)
        return page_of(await self.groups.search(DomainScope(domain), filters, CursorForwardPagination(PAGE, after)))

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        filters = GroupFilter.model_validate(search)
        return page_of(await self.groups.search(DomainScope(domain), filters, OffsetPagination(PAGE, offset)))

    async def count(self, domain: str, search: Search) -> int:
        return await self.groups.count(DomainScope(domain), GroupFilter.model_validate(search))

    async def create(self, values: Values) -> Group:
        return await self.groups.create(GroupCreate(*values))

    async def update(self, change: Change) -> Group:
        patch = GroupPatch(OptionalState.update(change.weight), said(change.description))
        return await self.groups.update(change.id, patch)

    async def upsert(self, values: Values) -> Group:
        return (await self.groups.upsert(GroupCreate(*values))).data

    async def delete(self, id: int) -> Group:
        return await self.marked.delete(id)

    async def purge(self, id: int) -> Group:
        return await self.groups.purge(id)

    async def batch_get(self, ids: Sequence[int]) -> list[Group]:
        return await self.groups.batch_get(ids)

    async def batch_create(self, rows: Sequence[Values]) -> list[Group]:
        return await self.numbered.batch_create([NumberedCreate(*row) for row in rows])

    async def batch_create_known(self, rows: Sequence[tuple[Any, ...]]) -> list[Group]:
        return await self.plain.batch_create([PlainCreate(*row) for row in rows])

    async def load(self, rows: Sequence[tuple[Any, ...]]) -> None:
        await self.plain.load(PlainCreate(*row) for row in rows)

    async def batch_update(self, ids: Sequence[int], weight: int) -> list[Group]:
        return (await self.numbered.batch_update(ids, NumberedPatch(OptionalState.update(weight)))).succeeded

    async def batch_update_each(self, changes: Sequence[Change]) -> list[Group]:
        patches = {
            change.id: NumberedPatch(OptionalState.update(change.weight), said(change.description))
            for change in changes
        }
        return (await self.numbered.batch_update_each(patches)).succeeded

    async def batch_upsert(self, rows: Sequence[Values]) -> list[Group]:
        result = await self.groups.batch_upsert([GroupCreate(*row) for row in rows])
        return [upserted.data for upserted in result.succeeded]

    async def batch_delete(self, ids: Sequence[int]) -> list[Group]:
        return (await self.marked_numbered.batch_delete(ids)).succeeded

    async def batch_purge(self, ids: Sequence[int]) -> list[Group]:
        return (await self.numbered.batch_purge(ids)).succeeded

    async def place(self, event: Group, before: int) -> Any:
        page = await self.all_events.search(None, None, OffsetPagination(1, before), orders=ORDERS)
        assert page.items == (event,)
        return page.end_cursor

    async def events(self, after: Any) -> PageOf:
        pages = CursorForwardPagination(PAGE, after)
        return page_of(await self.all_events.search(None, None, pages, orders=ORDERS))

    def stream(self, last: int) -> AsyncIterator[Group]:
        return self.all_events.stream(None, [EventRow.id <= last])
