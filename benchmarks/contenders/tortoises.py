"""Tortoise ORM: its models, on asyncpg's pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from tortoise import Model, Tortoise, fields
from tortoise.expressions import Q

from benchmarks.contenders.contender import Contender, PageOf, Search, Values
from benchmarks.contenders.core import dicts
from benchmarks.contenders.orm import page_of
from benchmarks.data import COLUMNS, GIVEN, PAGE, Change, Server

ROWS_OF_STATEMENT = 4_000
"""An update of many rows takes five parameters for each, of which PostgreSQL takes 32,767 a statement."""


class Shared(Model):
    id = fields.BigIntField(primary_key=True)
    domain_name = fields.TextField()
    name = fields.TextField()
    weight = fields.IntField()
    description = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    deleted_at = fields.DatetimeField(null=True)

    class Meta:
        abstract = True


class GroupModel(Shared):
    class Meta:
        table = "bench_groups"
        unique_together = (("domain_name", "name"),)


class NumberedModel(Shared):
    class Meta:
        table = "bench_numbered"


class PlainModel(Shared):
    id = fields.BigIntField(primary_key=True, generated=False)

    class Meta:
        table = "bench_plain"


class EventModel(Shared):
    class Meta:
        table = "bench_events"


def keywords(search: Search) -> dict[str, Any]:
    """Give a client's search as keyword arguments."""
    names = {"is_null": "isnull"}
    return {
        f"{field}__{names.get(operator, operator)}": operand
        for field, operators in search.items()
        for operator, operand in operators.items()
    }


class Tortoises(Contender):
    """What its models and query sets give: model instances, or the number of rows."""

    cannot: ClassVar[Mapping[str, str]] = {"stream": "reads everything at once"}

    async def open(self, server: Server) -> None:
        credentials = {**server.options, "minsize": 1, "maxsize": server.pool}
        engine = {"engine": "tortoise.backends.asyncpg", "credentials": credentials}
        app = {"models": ["benchmarks.contenders.tortoises"], "default_connection": "default"}
        await Tortoise.init(config={"connections": {"default": engine}, "apps": {"bench": app}})

    async def close(self) -> None:
        await Tortoise.close_connections()

    async def get(self, id: int) -> Any:
        return await GroupModel.get(id=id)

    async def get_scoped(self, id: int, domain: str) -> Any:
        return await GroupModel.get(id=id, domain_name=domain)

    async def find(self, domain: str, name: str) -> Any:
        return await GroupModel.get_or_none(domain_name=domain, name=name)

    async def page(self, domain: str, after: Any) -> PageOf:
        return await self.filtered(domain, {}, after)

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        beyond = {} if after is None else {"id__gt": after[0]}
        query = GroupModel.filter(domain_name=domain, **keywords(search), **beyond)
        return page_of(await query.order_by("id").limit(PAGE + 1), "id")

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        query = GroupModel.filter(domain_name=domain, **keywords(search)).order_by("id")
        return page_of(await query.limit(PAGE + 1).offset(offset), "id")

    async def count(self, domain: str, search: Search) -> int:
        return int(await GroupModel.filter(domain_name=domain, **keywords(search)).count())

    async def create(self, values: Values) -> Any:
        return await GroupModel.create(**dict(zip(GIVEN, values, strict=True)))

    async def update(self, change: Change) -> Any:
        row = await GroupModel.get(id=change.id)
        row.weight, row.description = change.weight, change.description
        await row.save(update_fields=["weight", "description"])
        return row

    async def upsert(self, values: Values) -> Any:
        domain, name, weight, description = values
        changed = {"weight": weight, "description": description}
        row, _ = await GroupModel.update_or_create(changed, domain_name=domain, name=name)
        return row

    async def delete(self, id: int) -> None:
        await GroupModel.filter(id=id, deleted_at__isnull=True).update(deleted_at=datetime.now(UTC))

    async def purge(self, id: int) -> None:
        await GroupModel.filter(id=id).delete()

    async def batch_get(self, ids: Sequence[int]) -> list[Any]:
        found = await GroupModel.in_bulk(ids, "id")
        return [found[id_] for id_ in ids]

    async def batch_create(self, rows: Sequence[Values]) -> None:
        await NumberedModel.bulk_create([NumberedModel(**values) for values in dicts(rows)])

    async def batch_create_known(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        made = [PlainModel(**values) for values in dicts(rows, COLUMNS)]
        await PlainModel.bulk_create(made)
        return made

    async def load(self, rows: Sequence[tuple[Any, ...]]) -> None:
        await self.batch_create_known(rows)

    async def batch_update(self, ids: Sequence[int], weight: int) -> None:
        await NumberedModel.filter(id__in=ids).update(weight=weight)

    async def batch_update_each(self, changes: Sequence[Change]) -> None:
        rows = [NumberedModel(**vars(change)) for change in changes]
        await NumberedModel.bulk_update(rows, ["weight", "description"], batch_size=ROWS_OF_STATEMENT)

    async def batch_upsert(self, rows: Sequence[Values]) -> None:
        made, key = [GroupModel(**values) for values in dicts(rows)], ["domain_name", "name"]
        await GroupModel.bulk_create(made, on_conflict=key, update_fields=["weight", "description"])

    async def batch_delete(self, ids: Sequence[int]) -> None:
        await NumberedModel.filter(id__in=ids, deleted_at__isnull=True).update(deleted_at=datetime.now(UTC))

    async def batch_purge(self, ids: Sequence[int]) -> None:
        await NumberedModel.filter(id__in=ids).delete()

    async def events(self, after: Any) -> PageOf:
        query = EventModel.all()
        if after is not None:
            query = query.filter(Q(weight__gt=after[0]) | Q(weight=after[0], id__gt=after[1]))
        return page_of(await query.order_by("weight", "id").limit(PAGE + 1), "weight", "id")
