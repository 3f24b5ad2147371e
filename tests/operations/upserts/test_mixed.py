"""The law of upserts whose specs set different fields: they give what as many single ones give, in their order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Condition,
    Conflict,
    Database,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    ScopeMismatch,
    SearchScope,
    Spec,
    TriState,
)
from rowsmith.testing import WithTables
from tenants import stored

CASES = int(os.environ.get("ROWSMITH_MIXED", "24"))
SEED = int(os.environ.get("ROWSMITH_SEED", "1"))


class Base(DeclarativeBase):
    pass


class MixedRow(Base):
    """With defaults of the server and of Python's, a version, two further constraints."""

    __tablename__ = "mixed"
    __table_args__ = (
        sa.UniqueConstraint("tenant", "number"),
        sa.UniqueConstraint("badge"),
        sa.CheckConstraint("served < 8", name="ck_mixed_served"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    number: Mapped[int]
    served: Mapped[int] = mapped_column(server_default="1")
    made: Mapped[int] = mapped_column(default=2)
    note: Mapped[int | None]
    badge: Mapped[int | None]
    touched: Mapped[int] = mapped_column(default=0, onupdate=lambda: 5)
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class MixedData:
    tenant: str
    number: int
    served: int
    made: int
    note: int | None
    badge: int | None
    touched: int
    version: int


@dataclass(frozen=True)
class MixedCreate(Spec[MixedRow], filled={"tenant"}):
    number: int
    served: OptionalState[int]
    made: OptionalState[int]
    note: TriState[int]
    badge: TriState[int]


@dataclass(frozen=True)
class Of(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [MixedRow.tenant == self.tenant]


@dataclass(frozen=True)
class SmallOf(Of):
    """Half of which cannot be stamped."""

    def to_conditions(self) -> Sequence[Condition]:
        return [MixedRow.tenant == self.tenant, MixedRow.served < 6]


class MixedRepository(Repository[MixedRow, MixedData, int]):
    conflict = Conflict(columns=[MixedRow.tenant, MixedRow.number])


COLUMNS = [column for column in MixedRow.__table__.columns if column.name != "id"]


def some_specs(chance: Random) -> list[MixedCreate]:
    """Give specs that leave out what they like, of which no two want one badge: the order would tell then."""

    def some(most: int) -> OptionalState[int]:
        return OptionalState.nop() if chance.random() < 0.5 else OptionalState.update(chance.randrange(most))

    def tri(values: Sequence[int]) -> TriState[int]:
        told = chance.choice([TriState.nop, TriState.nop, TriState.nullify, None])
        return TriState.update(chance.choice(values)) if told is None else told()

    badges = chance.sample(range(12), 6)
    return [
        MixedCreate(chance.randrange(8), some(9), some(5), tri(range(5)), tri([badge]))
        for badge in badges[: chance.randrange(1, 7)]
    ]


def some_rows(chance: Random) -> list[dict[str, Any]]:
    there = [(tenant, number) for tenant in "ab" for number in range(8) if chance.random() < 0.4]
    badges = chance.sample(range(24), len(there))
    beside = {"made": 2, "note": None, "touched": 0, "version": 1}
    return [
        {"tenant": tenant, "number": number, "served": chance.randrange(8), "badge": badge if badge < 12 else None}
        | beside
        for (tenant, number), badge in zip(there, badges, strict=True)
    ]


async def singly(mixed: MixedRepository, specs: Sequence[MixedCreate], scope: SearchScope) -> list[Any]:
    """Give what single upserts give, or the classes of their errors; a key that came before is a fault."""
    outcomes, seen = list[Any](), set[int]()
    for spec in specs:
        try:
            outcomes.append(InvalidValue if spec.number in seen else await mixed.upsert(spec, scope=scope))
        except RepositoryError as exc:
            outcomes.append(type(exc))
        seen.add(spec.number)
    return outcomes


async def reset(db: Database, rows: list[dict[str, Any]]) -> None:
    async with db.engine.begin() as connection:
        await connection.execute(sa.delete(MixedRow))
        if rows:
            await connection.execute(sa.insert(MixedRow), rows)


@pytest.mark.parametrize("each_lane", ["native", "sqlalchemy", "sqlite"], indirect=True)
async def test_they_give_what_single_ones_give(each_lane: Database, lane_tables: WithTables) -> None:
    """Item by item in the partial form, all or nothing in the other; and so are the rows that are there afterwards."""
    async with lane_tables(MixedRow) as db:
        mixed, everything = MixedRepository(db), sa.select(*COLUMNS).order_by("tenant", "number")
        for case in range(CASES):
            chance = Random(f"{SEED} {case}")
            rows, specs = some_rows(chance), some_specs(chance)
            scope = chance.choice([Of("a"), Of("b"), SmallOf("a")])
            await reset(db, rows)
            before = await stored(db, everything)
            expected = await singly(mixed, specs, scope)
            after = await stored(db, everything)

            await reset(db, rows)
            result = await mixed.batch_upsert_partial(specs, scope=scope)
            found = {item.index: item.data for item in result.succeeded}
            found |= {item.index: type(item.error) for item in result.failed}
            assert [found[index] for index in range(len(specs))] == expected, case
            assert await stored(db, everything) == after, case

            await reset(db, rows)
            if any(isinstance(one, type) for one in expected):
                with pytest.raises(RepositoryError):
                    await mixed.batch_upsert(specs, scope=scope)
                assert await stored(db, everything) == before, case
            else:
                assert (await mixed.batch_upsert(specs, scope=scope)).succeeded == expected, case


@pytest.mark.parametrize("each_lane", ["native", "sqlalchemy"], indirect=True)
async def test_what_two_items_want_the_one_with_the_first_key_gets(
    each_lane: Database, lane_tables: WithTables
) -> None:
    """Rows are made in the order of their keys, whatever the order of the input."""
    some, badge = OptionalState[int].update(1), TriState[int].update(5)
    specs = [MixedCreate(number, some, some, TriState[int].nop(), badge) for number in (7, 2)]
    async with lane_tables(MixedRow) as db:
        mixed = MixedRepository(db)
        for verb in (mixed.batch_create_partial, mixed.batch_upsert_partial):
            result = await verb(specs, scope=Of("a"))
            assert [failure.index for failure in result.failed] == [0]
            await mixed.purge_where([MixedRow.number >= 0])


async def test_an_item_outside_its_scope_is_told_by_its_own_index(lane_tables: WithTables) -> None:
    """In the error's words, too, whichever part of the batch it was tried in."""
    nothing, some = TriState[int].nop(), OptionalState[int].update
    specs = [MixedCreate(number, some(served), some(1), nothing, nothing) for number, served in enumerate((1, 7, 1))]
    async with lane_tables(MixedRow) as db:
        mixed = MixedRepository(db)
        for verb in (mixed.batch_create_partial, mixed.batch_upsert_partial):
            (failed,) = (await verb(specs, scope=SmallOf("a"))).failed
            assert (failed.index, type(failed.error)) == (1, ScopeMismatch)
            assert "at index 1 would leave its scope" in str(failed.error)
            await mixed.purge_where([MixedRow.number >= 0])


class Folded(sa.TypeDecorator[str]):
    """Keeps letters small, so that Python tells keys apart that the database does not; and takes no ``bad`` one."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value == "bad":
            raise ValueError
        return None if value is None else value.lower()


class FoldedRow(Base):
    __tablename__ = "folded"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Folded, unique=True)
    size: Mapped[int] = mapped_column(default=0)
    note: Mapped[str | None]


@dataclass(frozen=True)
class FoldedData:
    key: str
    size: int
    note: str | None


@dataclass(frozen=True)
class Sized(Spec[FoldedRow]):
    key: str
    size: int


@dataclass(frozen=True)
class Noted(Spec[FoldedRow]):
    key: str
    note: str


class FoldedRepository(Repository[FoldedRow, FoldedData, int]):
    conflict = Conflict(columns=[FoldedRow.key])


OTHER = {"alike": Sized("X", 2), "mixed": Noted("X", "n")}


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("again", OTHER.values(), ids=OTHER)
async def test_two_keys_that_are_one_to_the_database(again: Any, is_there: bool, lane_tables: WithTables) -> None:
    """One of them is refused, and what is reported of the other one is what is stored."""
    async with lane_tables(FoldedRow) as db:
        folded = FoldedRepository(db)
        if is_there:
            await folded.create(Noted("x", "old"))
        before = await folded.count()
        specs = [Sized("other", 1), Sized("x", 1), again]
        with pytest.raises(InvalidValue, match=r"the spec at index [12] has the key of|two of the specs have one key"):
            await folded.batch_upsert(specs)
        assert await folded.count() == before
        result = await folded.batch_upsert_partial(specs)
        assert [type(failure.error) for failure in result.failed] == [InvalidValue]
        assert result.failed[0].index in (1, 2)
        assert {data.data for data in result.data} == set(await folded.search())


@pytest.mark.parametrize("specs", [[Sized("zz", 1), Noted("aa", "n"), Sized("mm", 1), Noted("bad", "x")]])
async def test_a_key_that_its_type_refuses_is_told_by_its_index(specs: list[Any], lane_tables: WithTables) -> None:
    """In the order of the input, whatever order the keys have."""
    async with lane_tables(FoldedRow) as db:
        folded = FoldedRepository(db)
        with pytest.raises(InvalidValue) as caught:
            await folded.batch_upsert(specs)
        assert caught.value.index == 3
        result = await folded.batch_upsert_partial(specs)
        assert [failure.index for failure in result.failed] == [3]
        assert await folded.count() == 3


class MovedRow(Base):
    __tablename__ = "moved"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(server_default="0")


@dataclass(frozen=True)
class MovedCreate(Spec[MovedRow]):
    tenant: str
    number: int
    size: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class MovedScope(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [MovedRow.tenant == self.tenant]


class MovedRows(Repository[MovedRow, MovedRow, tuple[str, int]]):
    pass


MOVING = """
    CREATE OR REPLACE FUNCTION moving() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.size = 15 THEN NEW.tenant := 'other'; END IF;
        IF NEW.size = 16 THEN NEW.number := NEW.number + 1000; END IF;
        RETURN NEW;
    END $$
"""
TRIGGER = "CREATE TRIGGER moving BEFORE INSERT OR UPDATE ON moved FOR EACH ROW EXECUTE FUNCTION moving()"


LANES: dict[str, dict[str, Any]] = {"native": {}, "sqlalchemy": {"native": False}, "statement": {"writes": "statement"}}


@pytest.mark.parametrize("lane", LANES.values(), ids=LANES)
async def test_rows_whose_keys_a_trigger_changes(with_tables: WithTables, lane: dict[str, Any]) -> None:
    """None is left in another tenant's hands, none is written twice, and each answer is that of its spec."""
    update, a = OptionalState.update, MovedScope("a")
    async with with_tables(MovedRow) as made:
        async with made.engine.begin() as connection:
            for statement in (MOVING, TRIGGER):
                await connection.exec_driver_sql(statement)
        db, everything = Database(made.engine, **lane), sa.select(*MovedRow.__table__.columns).order_by("number")
        rows = MovedRows(db)
        for first in (update(1), OptionalState[int].nop()):
            specs = [MovedCreate("a", 1, first), MovedCreate("a", 2, update(15))]
            with pytest.raises(ScopeMismatch):
                await rows.batch_upsert(specs, scope=a)
            assert await stored(made, everything) == []
            result = await rows.batch_upsert_partial(specs, scope=a)
            assert [(failure.index, type(failure.error)) for failure in result.failed] == [(1, ScopeMismatch)]
            assert [row[:2] for row in await stored(made, everything)] == [("a", 1)]
            await rows.purge(("a", 1))
            specs[1] = MovedCreate("a", 2, update(16))
            for verb in (rows.batch_upsert, rows.batch_upsert_partial):
                done = (await verb(specs, scope=a)).succeeded
                items = [getattr(item, "data", item) if verb == rows.batch_upsert_partial else item for item in done]
                assert [(item.data.number, item.inserted) for item in items] == [(1, True), (1002, True)]
                assert [row[:2] for row in await stored(made, everything)] == [("a", 1), ("a", 1002)]
                await rows.purge_where([MovedRow.number > 0])


@dataclass(frozen=True)
class MovedPatch(Patch[MovedRow]):
    size: OptionalState[int]


@pytest.mark.parametrize("lane", LANES.values(), ids=LANES)
async def test_a_batch_of_updates_tells_of_no_row_that_it_has_not_changed(
    with_tables: WithTables, lane: dict[str, Any]
) -> None:
    """Nor that one is missing which was changed, under another key: nothing is written then, but by single updates."""
    key, patch = ("a", 2), MovedPatch(OptionalState.update(16))
    async with with_tables(MovedRow) as made:
        db, everything = Database(made.engine, **lane), sa.select(*MovedRow.__table__.columns).order_by("number")
        rows = MovedRows(db)
        await rows.batch_create([MovedCreate("a", number, OptionalState.update(1)) for number in (1, 2)])
        async with made.engine.begin() as connection:
            for statement in (MOVING, TRIGGER):
                await connection.exec_driver_sql(statement)
        before = await stored(made, everything)
        other = MovedPatch(OptionalState.update(3))
        calls = [
            rows.batch_update([("a", 1), key], patch),
            rows.batch_update_each({("a", 1): other, key: patch}),
            rows.batch_update_partial({("a", 1): other, key: patch}),
        ]
        for call in calls:
            with pytest.raises(MappingError, match="a trigger of the database has changed the key of a row of moved"):
                await call
            assert await stored(made, everything) == before
        assert (await rows.update(key, patch)).number == 1002
