"""FastCRUD: its CRUD object on a session of each call's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastcrud import FastCRUD
from pydantic import BaseModel

from benchmarks.contenders.contender import PageOf, Search, Values
from benchmarks.contenders.models import GroupRow, NumberedRow
from benchmarks.contenders.orm import Sessions
from benchmarks.data import COLUMNS, GIVEN, PAGE, Change

BACK = list(COLUMNS)


class GroupIn(BaseModel):
    domain_name: str
    name: str
    weight: int
    description: str | None


class GroupOut(BaseModel):
    id: int
    domain_name: str
    name: str
    weight: int
    description: str | None
    created_at: Any
    deleted_at: Any


GROUPS: Any = FastCRUD(GroupRow)
NUMBERED: Any = FastCRUD(NumberedRow)


def keywords(search: Search) -> dict[str, Any]:
    """Give a client's search as keyword arguments."""
    made = {}
    for field, operators in search.items():
        for operator, operand in operators.items():
            if operator == "is_null":
                made[f"{field}__{'is' if operand else 'is_not'}"] = None
            else:
                made[f"{field}__{operator}"] = operand
    return made


class FastCrud(Sessions):
    """What it gives by itself: dictionaries."""

    cannot: ClassVar[Mapping[str, str]] = {
        "upsert": "upserts by primary key only",
        "batch_upsert": "upserts by primary key only",
        "batch_create": "creates one at a time",
        "batch_create_known": "creates one at a time",
        "load": "creates one at a time",
        "batch_update_each": "updates many rows to one value only",
        "events": "has cursors of one column only",
        "stream": "reads everything at once",
    }

    async def get(self, id: int) -> Any:
        async with self.session() as session:
            return await GROUPS.get(session, id=id)

    async def get_scoped(self, id: int, domain: str) -> Any:
        async with self.session() as session:
            return await GROUPS.get(session, id=id, domain_name=domain)

    async def find(self, domain: str, name: str) -> Any:
        async with self.session() as session:
            return await GROUPS.get(session, domain_name=domain, name=name)

    async def page(self, domain: str, after: Any) -> PageOf:
        return await self.filtered(domain, {}, after)

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        given = {"cursor": after, "limit": PAGE, "domain_name": domain, **keywords(search)}
        async with self.session() as session:
            page = await GROUPS.get_multi_by_cursor(session, **given)
        return page["data"], page["next_cursor"]

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        given = {"offset": offset, "limit": PAGE + 1, "sort_columns": "id", "return_total_count": False}
        async with self.session() as session:
            page = await GROUPS.get_multi(session, **given, domain_name=domain, **keywords(search))
        return page["data"][:PAGE], len(page["data"]) > PAGE

    async def count(self, domain: str, search: Search) -> int:
        async with self.session() as session:
            return int(await GROUPS.count(session, domain_name=domain, **keywords(search)))

    async def create(self, values: Values) -> Any:
        spec = GroupIn(**dict(zip(GIVEN, values, strict=True)))
        async with self.session() as session:
            return await GROUPS.create(session, spec, schema_to_select=GroupOut)

    async def update(self, change: Change) -> Any:
        values = {"weight": change.weight, "description": change.description}
        async with self.session() as session:
            return await GROUPS.update(session, values, id=change.id, return_columns=BACK)

    async def delete(self, id: int) -> None:
        async with self.session() as session:
            await GROUPS.delete(session, id=id)

    async def purge(self, id: int) -> None:
        async with self.session() as session:
            await GROUPS.db_delete(session, id=id)

    async def batch_get(self, ids: Sequence[int]) -> list[Any]:
        async with self.session() as session:
            page = await GROUPS.get_multi(session, limit=None, return_total_count=False, id__in=list(ids))
        found = {row["id"]: row for row in page["data"]}
        return [found[id_] for id_ in ids]

    async def batch_update(self, ids: Sequence[int], weight: int) -> Any:
        given = {"allow_multiple": True, "return_columns": BACK, "id__in": list(ids)}
        async with self.session() as session:
            return (await NUMBERED.update(session, {"weight": weight}, **given))["data"]

    async def batch_delete(self, ids: Sequence[int]) -> None:
        async with self.session() as session:
            await NUMBERED.delete(session, allow_multiple=True, id__in=list(ids))

    async def batch_purge(self, ids: Sequence[int]) -> None:
        async with self.session() as session:
            await NUMBERED.db_delete(session, allow_multiple=True, id__in=list(ids))
