"""Marks of deletion as legacy systems have them, by every verb that writes or looks at them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Condition,
    Conflict,
    Count,
    EntityAlreadyExists,
    EntityNotFound,
    MappingError,
    OptionalState,
    Patch,
    Querier,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
)
from rowsmith.testing import WithTables

LIVE_UNTIL = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)


class Base(DeclarativeBase):
    pass


class LegacyRow(Base):
    __tablename__ = "legacy"
    __table_args__ = (
        sa.Index("uq_legacy_name_deleted", "name", "deleted", unique=True),
        sa.Index(
            "uq_legacy_code_flag",
            "code",
            unique=True,
            postgresql_where=sa.text("NOT is_deleted"),
            sqlite_where=sa.text("NOT is_deleted"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    code: Mapped[str]
    size: Mapped[int] = mapped_column(default=0)
    deleted: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    is_deleted: Mapped[bool] = mapped_column(default=False)
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    ends_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True), default=LIVE_UNTIL)
    status: Mapped[str | None] = mapped_column(default="active")
    active: Mapped[int | None] = mapped_column(default=1)


@dataclass(frozen=True)
class LegacyCreate(Spec[LegacyRow]):
    id: int
    name: str
    code: str
    deleted: int = 0
    tenant: str = "a"


@dataclass(frozen=True)
class LegacyPatch(Patch[LegacyRow]):
    size: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class Of(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [LegacyRow.tenant == self.tenant]


@dataclass(frozen=True)
class Rule:
    """A mark, what its columns hold of a row that is deleted, and of one that was restored (None: a moment)."""

    mark: SoftDelete
    dead: dict[str, Any]
    live: dict[str, Any]


MOMENT: Any = object()

RULES = {
    "time and flag": Rule(
        SoftDelete(LegacyRow.deleted_at, also={LegacyRow.is_deleted: True}),
        {"deleted_at": MOMENT, "is_deleted": True},
        {"deleted_at": None, "is_deleted": False},
    ),
    "flag and time": Rule(
        SoftDelete(
            LegacyRow.is_deleted,
            deleted=True,
            restored=False,
            also={LegacyRow.deleted_at: sa.func.now(), LegacyRow.status: ("gone", "back")},
        ),
        {"deleted_at": MOMENT, "is_deleted": True, "status": "gone"},
        {"deleted_at": None, "is_deleted": False, "status": "back"},
    ),
    "id": Rule(SoftDelete(LegacyRow.deleted, deleted=LegacyRow.id, restored=0), {"deleted": 2}, {"deleted": 0}),
    "end": Rule(
        SoftDelete(LegacyRow.ends_at, deleted=sa.func.now(), restored=LIVE_UNTIL),
        {"ends_at": MOMENT},
        {"ends_at": LIVE_UNTIL},
    ),
    "statuses": Rule(
        SoftDelete(LegacyRow.status, deleted=["gone", "banned"], restored="active"),
        {"status": "gone"},
        {"status": "active"},
    ),
    "NULL": Rule(SoftDelete(LegacyRow.active, deleted=None, restored=1), {"active": None}, {"active": 1}),
}


def repository(rule: SoftDelete) -> type[Repository[LegacyRow, LegacyRow, int]]:
    class LegacyRepository(Repository[LegacyRow, LegacyRow, int]):
        soft_delete = rule
        conflict: ClassVar[Conflict | None] = Conflict(columns=[LegacyRow.name, LegacyRow.deleted])

    return LegacyRepository


def holds(row: LegacyRow, expected: dict[str, Any]) -> bool:
    """Say whether a row has these values."""
    return all(is_same(getattr(row, name), value) for name, value in expected.items())


def is_same(found: Any, value: Any) -> bool:
    if value is MOMENT:
        return isinstance(found, dt.datetime) and found.year < LIVE_UNTIL.year
    return bool((found.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else found) == value)


@pytest.mark.parametrize("kind", RULES)
async def test_every_verb_goes_by_the_mark(any_tables: WithTables, kind: str) -> None:
    """Deleting and restoring write all that is declared, and what is deleted is seen by nobody who does not ask."""
    rule, scope = RULES[kind], Of("a")
    async with any_tables(LegacyRow) as db:
        rows = repository(rule.mark)(db)
        await rows.batch_create([LegacyCreate(id, f"n{id}", f"c{id}") for id in range(1, 7)], scope=scope)
        assert holds(await rows.delete(2, scope=scope), rule.dead)
        assert len((await rows.batch_delete([3, 2, 4], scope=scope)).succeeded) == 2
        assert await rows.delete_where([LegacyRow.id.in_([2, 5])], scope=scope) == 1

        assert [row.id for row in (await rows.search(scope, orders=[LegacyRow.id])).items] == [1, 6]
        assert (await rows.search(scope, count=Count.EXACT)).total_count == await rows.count(scope) == 2
        assert await rows.count(scope, include_deleted=True) == 6
        assert not await rows.exists(scope, [LegacyRow.id == 2])
        assert await rows.find(2, scope) is None
        assert holds(await rows.get(2, scope, include_deleted=True), rule.dead)
        assert [row.id async for row in rows.stream(scope, orders=[LegacyRow.id])] == [1, 6]
        for call in (
            rows.get(3, scope),
            rows.delete(3, scope=scope),
            rows.restore(1, scope=scope),
            rows.restore(2, scope=Of("b")),
        ):
            with pytest.raises(EntityNotFound):
                await call
        patch = LegacyPatch(size=OptionalState.update(7))
        assert await rows.update_where([LegacyRow.id > 0], patch, scope=scope) == 2
        assert (await rows.batch_update([1, 2], patch, scope=scope)).missing == [2]

        assert holds(await rows.restore(2, scope=scope), rule.live)
        assert len((await rows.batch_restore([1, 3, 4], scope=scope)).succeeded) == 2
        assert await rows.restore_where([LegacyRow.id > 0], scope=scope) == 1
        assert await rows.count(scope) == 6
        stored = await rows.search(scope, [LegacyRow.id.in_([3, 4, 5])], include_deleted=True)
        assert all(holds(row, rule.live) for row in stored.items)
        await rows.delete(6, scope=scope)
        assert (await rows.purge_where([LegacyRow.id > 4], scope=scope, pause=0)).rows == 2


async def test_a_key_that_is_free_again(any_tables: WithTables) -> None:
    """A unique key with the mark, or partial on it, is free once a row is deleted; restoring finds it taken."""
    async with any_tables(LegacyRow) as db:
        for kind in ("id", "time and flag"):
            rows = repository(RULES[kind].mark)(db)
            await rows.create(LegacyCreate(1, "n", "c"))
            other = LegacyCreate(2, "n" if kind == "id" else "m", "c" if kind != "id" else "d")
            with pytest.raises(EntityAlreadyExists):
                await rows.create(other)
            await rows.delete(1)
            if kind == "id":
                upserted = await rows.batch_upsert([other])
                assert [item.inserted for item in upserted.succeeded] == [True]
                assert not (await rows.upsert(LegacyCreate(2, "n", "e"))).inserted
            else:
                await rows.create(other)
            for restoring in (rows.restore(1), rows.batch_restore([1]), rows.restore_where([LegacyRow.id == 1])):
                with pytest.raises(EntityAlreadyExists):
                    await restoring
            assert await rows.purge_where([], all_rows=True, pause=0)


async def test_a_dead_value_of_several(any_tables: WithTables) -> None:
    """Each of them is deleted, and each may be restored; NULL is live."""
    async with any_tables(LegacyRow) as db:
        rows = repository(RULES["statuses"].mark)(db)
        await rows.batch_create([LegacyCreate(id, f"n{id}", f"c{id}") for id in range(1, 4)])
        async with db.begin_session() as session:
            await session.execute(sa.update(LegacyRow).where(LegacyRow.id == 1).values(status="banned"))
            await session.execute(sa.update(LegacyRow).where(LegacyRow.id == 2).values(status=None))
        assert [row.id for row in (await rows.search(orders=[LegacyRow.id])).items] == [2, 3]
        assert (await rows.restore(1)).status == "active"


def test_declarations_that_cannot_be() -> None:
    """They are refused when they are made, or when a class takes them."""
    row = LegacyRow
    for make, message in [
        (lambda: SoftDelete(row.status, deleted="a", restored="a"), "the same value"),
        (lambda: SoftDelete(row.status, deleted=["a", "b"], restored="b"), "the same value"),
        (lambda: SoftDelete(row.status, deleted=["a", None], restored="b"), "no None"),
        (lambda: SoftDelete(row.deleted, deleted=row.id, restored=row.size), "needs a value"),
        (lambda: SoftDelete(row.deleted_at, also=[row.is_deleted]), "maps columns"),  # type: ignore[arg-type]
    ]:
        with pytest.raises(MappingError, match=message):
            make()
    other = OtherRow
    for rule, message in [
        (SoftDelete(row.deleted_at, also={other.is_deleted: True}), "no column of LegacyRow"),
        (SoftDelete(row.deleted_at, also={"is_deleted": True}), "no column of LegacyRow"),
        (SoftDelete(row.deleted_at, also={row.is_deleted: None}), "NOT NULL"),
        (SoftDelete(row.deleted_at, also={row.size: 1}), "NOT NULL: say what restoring"),
        (SoftDelete(row.deleted_at, also={row.status: 5}), "LegacyRow.status"),
        (SoftDelete(row.deleted_at, also={row.deleted_at: sa.func.now()}), "twice"),
        (SoftDelete(row.deleted_at, also={row.id: (1, 2)}), "key or version"),
        (SoftDelete(row.status, deleted=[], restored="active"), "no value that is deleted"),
        (SoftDelete(row.status, deleted=["gone", 5], restored="active"), "LegacyRow.status"),
        (SoftDelete(row.is_deleted, deleted=True, restored=None), "NOT NULL"),
        (SoftDelete(row.deleted, deleted=other.id, restored=0), "over LegacyRow alone"),
    ]:
        with pytest.raises(MappingError, match=message):
            Querier(LegacyRow, soft_delete=rule)
        with pytest.raises(MappingError, match=message):
            repository(rule)


class OtherRow(Base):
    __tablename__ = "other_legacy"
    id: Mapped[int] = mapped_column(primary_key=True)
    is_deleted: Mapped[bool]
