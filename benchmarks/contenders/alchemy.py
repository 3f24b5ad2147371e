"""advanced-alchemy: a repository on a session of each call's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from advanced_alchemy.filters import LimitOffset
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import tuple_

from benchmarks.contenders.contender import PageOf, Search, Values
from benchmarks.contenders.core import conditions_of, dicts
from benchmarks.contenders.models import EventRow, GroupRow, NumberedRow, PlainRow
from benchmarks.contenders.orm import Sessions, page_of
from benchmarks.data import COLUMNS, GIVEN, PAGE, Change


class Groups(SQLAlchemyAsyncRepository[GroupRow]):
    model_type = GroupRow


class Numbered(SQLAlchemyAsyncRepository[NumberedRow]):
    model_type = NumberedRow


class Plain(SQLAlchemyAsyncRepository[PlainRow]):
    model_type = PlainRow


class Events(SQLAlchemyAsyncRepository[EventRow]):
    model_type = EventRow


class Alchemy(Sessions):
    """What its repository has; for keysets and searches it takes conditions of SQLAlchemy's."""

    cannot: ClassVar[Mapping[str, str]] = {
        "delete": "has no soft deletion",
        "batch_delete": "has no soft deletion",
        "load": "has batch_create only",
        "stream": "reads everything at once",
    }

    @asynccontextmanager
    async def on(self, repository: Any) -> Any:
        """Give a repository on a session."""
        async with self.session() as session:
            yield repository(session=session)

    async def get(self, id: int) -> GroupRow:
        async with self.on(Groups) as groups:
            return await groups.get(id)

    async def get_scoped(self, id: int, domain: str) -> GroupRow:
        async with self.on(Groups) as groups:
            return await groups.get_one(id=id, domain_name=domain)

    async def find(self, domain: str, name: str) -> GroupRow | None:
        async with self.on(Groups) as groups:
            return await groups.get_one_or_none(domain_name=domain, name=name)

    async def page(self, domain: str, after: Any) -> PageOf:
        return await self.filtered(domain, {}, after)

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        beyond = [] if after is None else [GroupRow.id > after[0]]
        return await self._page(LimitOffset(PAGE + 1, 0), *conditions_of(GroupRow, domain, search), *beyond)

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        return await self._page(LimitOffset(PAGE + 1, offset), *conditions_of(GroupRow, domain, search))

    async def _page(self, *filters: Any) -> PageOf:
        async with self.on(Groups) as groups:
            return page_of(await groups.get_many(*filters, order_by=("id", False)), "id")

    async def count(self, domain: str, search: Search) -> int:
        async with self.on(Groups) as groups:
            return await groups.count(*conditions_of(GroupRow, domain, search))

    async def create(self, values: Values) -> GroupRow:
        async with self.on(Groups) as groups:
            return await groups.add(GroupRow(**dict(zip(GIVEN, values, strict=True))), auto_commit=True)

    async def update(self, change: Change) -> GroupRow:
        async with self.on(Groups) as groups:
            return await groups.update(GroupRow(**vars(change)), auto_commit=True)

    async def upsert(self, values: Values) -> GroupRow:
        row, key = GroupRow(**dict(zip(GIVEN, values, strict=True))), ["domain_name", "name"]
        async with self.on(Groups) as groups:
            return await groups.upsert(row, match_fields=key, auto_commit=True)

    async def purge(self, id: int) -> GroupRow:
        async with self.on(Groups) as groups:
            return await groups.delete(id, auto_commit=True)

    async def batch_get(self, ids: Sequence[int]) -> list[GroupRow]:
        async with self.on(Groups) as groups:
            found = {row.id: row for row in await groups.get_many(GroupRow.id.in_(ids))}
        return [found[id_] for id_ in ids]

    async def batch_create(self, rows: Sequence[Values]) -> Sequence[NumberedRow]:
        async with self.on(Numbered) as numbered:
            return await numbered.add_many([NumberedRow(**values) for values in dicts(rows)], auto_commit=True)

    async def batch_create_known(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[PlainRow]:
        async with self.on(Plain) as plain:
            return await plain.add_many([PlainRow(**values) for values in dicts(rows, COLUMNS)], auto_commit=True)

    async def batch_update(self, ids: Sequence[int], weight: int) -> Sequence[NumberedRow]:
        async with self.on(Numbered) as numbered:
            return await numbered.update_many([NumberedRow(id=id_, weight=weight) for id_ in ids], auto_commit=True)

    async def batch_update_each(self, changes: Sequence[Change]) -> Sequence[NumberedRow]:
        async with self.on(Numbered) as numbered:
            return await numbered.update_many([NumberedRow(**vars(change)) for change in changes], auto_commit=True)

    async def batch_upsert(self, rows: Sequence[Values]) -> Sequence[GroupRow]:
        made, key = [GroupRow(**values) for values in dicts(rows)], ["domain_name", "name"]
        async with self.on(Groups) as groups:
            return await groups.upsert_many(made, match_fields=key, auto_commit=True)

    async def batch_purge(self, ids: Sequence[int]) -> Sequence[NumberedRow]:
        async with self.on(Numbered) as numbered:
            return await numbered.delete_many(list(ids), auto_commit=True)

    async def events(self, after: Any) -> PageOf:
        beyond = [] if after is None else [tuple_(EventRow.weight, EventRow.id) > after]
        async with self.on(Events) as events:
            order = [("weight", False), ("id", False)]
            return page_of(await events.get_many(LimitOffset(PAGE + 1, 0), *beyond, order_by=order), "weight", "id")
