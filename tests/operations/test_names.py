"""A world whose tables and columns are called as what rowsmith puts into SQL: every verb works on it all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from types import new_class
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    CheckViolation,
    Condition,
    Count,
    CursorForwardPagination,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
)
from rowsmith.mapping import row_info
from rowsmith.testing import WithTables

TABLES = "given locked gone typed anon_1"

TWOFOLD_TABLES = "sent ordered found"

COLUMNS = """
    given sent ordered found locked gone typed n one place part k0 k1 v0 v1 version anon_1 param_1 id_1 kind_1 tenant_1
    uses_1 deleted_1 notes_ notes_1 old new rowsmith_place rowsmith_part rowsmith_limit rowsmith_after_0 rowsmith_0
    rowsmith_1 rowsmith_key_0 rowsmith_parent_0 rowsmith_inside sen_counter p0
"""


class Base(DeclarativeBase):
    pass


class Hostile:
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[int]
    uses: Mapped[int] = mapped_column()
    notes: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    deleted: Mapped[bool] = mapped_column(default=False)


class Twofold:
    kind: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


def row_of(name: str, *mixins: type[Any]) -> Any:
    """Give a mapped class over a table of a hostile name, with hostile columns."""
    columns = {column: mapped_column(sa.Integer, nullable=False, onupdate=0) for column in COLUMNS.split()}
    checked = sa.CheckConstraint("uses < 1000 AND rowsmith_place < 1000", name=f"ck_{name}")
    values = {"__tablename__": name, "__table_args__": (checked,), **columns}
    return type(f"{name.title()}{len(mixins)}Row", (*mixins, Hostile, Base), values)


ROWS = [*map(row_of, TABLES.split()), *(row_of(name, Twofold) for name in TWOFOLD_TABLES.split())]


@dataclass(frozen=True)
class Under(SearchScope):
    """Rows of a tenant that is there, in another table of a hostile name, and whose columns are what they are."""

    row: Any
    above: Any

    def to_conditions(self) -> Sequence[Condition]:
        of = sa.select(self.above.id).where(self.above.id == self.row.tenant, self.above.uses < 100)
        return [self.row.tenant == 1, of.exists(), self.row.k0 == 0]


@dataclass(frozen=True)
class Written(Under):
    """The same, and a condition written as text, which names a column without its table."""

    def to_conditions(self) -> Sequence[Condition]:
        return [*super().to_conditions(), sa.literal_column("v0 = 0 AND k1 = 0", sa.Boolean())]


class World:
    """The verbs of one hostile table, under a scope that looks into another one."""

    def __init__(self, row: Any, above: Any, db: Any) -> None:
        names = row_info(row).columns
        fields: list[Any] = [(name, Any) for name in names if name != "deleted"]
        self.row, self.scope, self.written = row, Under(row, above), Written(row, above)
        self.spec: Any = dataclass(frozen=True)(
            new_class("Create", (Spec[row],), {}, lambda space: space.update(__annotations__=dict(fields)))
        )
        states = {"uses": OptionalState[int], "id_1": OptionalState[int], "notes": OptionalState[Any]}
        defaults = dict.fromkeys(states, OptionalState.nop())
        self.patch: Any = dataclass(frozen=True)(
            new_class("Change", (Patch[row],), {}, lambda space: space.update(__annotations__=states, **defaults))
        )
        data = make_dataclass("Data", [(name, Any) for name in names], frozen=True)
        rules = {"soft_delete": SoftDelete(row.deleted, deleted=True, restored=False)}
        repository: Any = new_class("Rows", (Repository[row, data, Any],), {}, lambda space: space.update(rules))  # type: ignore[index]
        self.rows = repository(db)

    def made(self, id: int, **values: Any) -> Any:
        """Give a spec of a row with a number in every column."""
        names = [name for name in row_info(self.row).columns if name != "deleted"]
        return self.spec(**{**dict.fromkeys(names, 0), "id": id, "tenant": 1, "notes": {"id": id}, **values})

    def key(self, id: int) -> Any:
        """Give a row's key."""
        twofold = len(row_info(self.row).primary_key) > 1
        names = row_info(self.row).primary_key
        return tuple(id if name == "id" else 0 for name in names) if twofold else id

    async def uses(self) -> dict[int, int]:
        """Give what the table holds in a column, by the rows' ids."""
        page = await self.rows.search(orders=[self.row.id], include_deleted=True)
        return {item.id: item.uses for item in page.items}


async def try_all(world: World) -> None:
    """Use every verb, and look at what it did."""
    rows, scope, row, key = world.rows, world.written, world.row, world.key
    change = world.patch(uses=OptionalState.update(7), id_1=OptionalState.update(3))
    created = await rows.create(world.made(1), scope=scope)
    assert (created.id, created.notes, created.notes_) == (1, {"id": 1}, 0)
    many = await rows.batch_create([world.made(id, notes_=id) for id in range(2, 6)], scope=scope)
    assert [(item.id, item.notes, item.notes_) for item in many] == [(id, {"id": id}, id) for id in range(2, 6)]
    assert await rows.load([world.made(6), world.made(7)], scope=scope) == 2
    partly = await rows.batch_create_partial([world.made(8), world.made(9, uses=5000)], scope=scope)
    assert len(partly.succeeded) == 1
    assert isinstance(partly.failed[0].error, CheckViolation)

    assert (await rows.get(key(1), scope)).id == 1
    assert [item.id for item in await rows.batch_get([key(3), key(2)], scope=scope)] == [3, 2]
    page = await rows.search(
        scope, [row.uses == 0], CursorForwardPagination(first=3), orders=[-row.n, row.uses + 1], count=Count.EXACT
    )
    assert ([item.id for item in page.items], page.total_count) == ([1, 2, 3], 8)
    after = CursorForwardPagination(first=9, after=page.end_cursor)
    rest = await rows.search(scope, [row.uses == 0], after, orders=[-row.n, row.uses + 1], count=Count.capped(5))
    assert [item.id for item in rest.items] == [4, 5, 6, 7, 8]
    assert [item.id async for item in rows.stream(scope, orders=[row.id])] == [1, 2, 3, 4, 5, 6, 7, 8]

    assert (await rows.update(key(1), change, scope=scope)).id_1 == 3
    assert not (await rows.batch_update([key(2), key(3)], change, scope=scope)).missing
    patches = {
        key(id): world.patch(uses=OptionalState.update(id * 10), notes=OptionalState.update([id])) for id in (4, 5)
    }
    assert [item.notes for item in (await rows.batch_update_each(patches, scope=scope)).succeeded] == [[4], [5]]
    assert len((await rows.batch_update_partial({key(6): change, key(99): change}, scope=scope)).succeeded) == 1
    assert await rows.update_where([row.id == 7], change, scope=scope) == 1
    assert await world.uses() == {1: 7, 2: 7, 3: 7, 4: 40, 5: 50, 6: 7, 7: 7, 8: 0}

    assert not (await rows.upsert(world.made(1, uses=1), scope=world.scope)).inserted
    upserted = await rows.batch_upsert([world.made(10, uses=1), world.made(2, uses=1)], scope=world.scope)
    assert [item.inserted for item in upserted.succeeded] == [True, False]

    await rows.delete(key(1), scope=scope)
    await rows.restore(key(1), scope=scope)
    assert not (await rows.batch_delete([key(1), key(2)], scope=scope)).missing
    assert not (await rows.batch_restore([key(1), key(2)], scope=scope)).missing
    assert await rows.delete_where([row.id < 3], scope=scope) == 2
    assert await rows.restore_where([row.id < 3], scope=scope) == 2
    assert await rows.count(scope) == 9

    await rows.purge(key(1), scope=scope)
    assert not (await rows.batch_purge([key(2), key(3)], scope=scope)).missing
    assert len((await rows.batch_purge_partial([key(4), key(99)], scope=scope)).succeeded) == 1
    assert (await rows.purge_where([row.id == 5], scope=scope, chunk_size=None)).rows == 1
    assert (await rows.purge_where([row.id < 100], scope=scope, chunk_size=2, pause=0)).rows == 4


async def test_names_of_ones_own(any_tables: WithTables) -> None:
    """Tables and columns are called as names in rowsmith's statements, and subqueries in a scope name them too."""
    async with any_tables(*ROWS) as db:
        for row, above in zip(ROWS, [*ROWS[1:], *ROWS[:1]], strict=True):
            world, owners = World(row, above, db), World(above, above, db)
            await owners.rows.create(owners.made(1))
            await try_all(world)
            await owners.rows.purge_where(None, all_rows=True)


def test_a_name_that_is_taken() -> None:
    """A table or column that begins as rowsmith's own names do is refused when its row is read."""
    with pytest.raises(MappingError, match="begins with 'rowsmith\\$'"):
        row_info(
            type(
                "TakenRow",
                (Base,),
                {"__tablename__": "rowsmith$given", "id": mapped_column(sa.Integer, primary_key=True)},
            )
        )
    column = mapped_column("Rowsmith$Place", sa.Integer)
    values = {"__tablename__": "taken", "id": mapped_column(sa.Integer, primary_key=True), "place": column}
    with pytest.raises(MappingError, match="begins with 'rowsmith\\$'"):
        row_info(type("TakenColumnRow", (Base,), values))
