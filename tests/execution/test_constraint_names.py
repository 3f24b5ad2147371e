"""Constraints are told apart by table and name: names that two tables share, partitions' own, and those cut short."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    CheckViolation,
    Conflict,
    EntityAlreadyExists,
    NotNullViolation,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    RepositoryError,
    Spec,
    StillReferenced,
    TriState,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


async def failure_of(call: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a domain's own are of any class
        await call
    return caught.value


class OwnerRow(Base):
    __tablename__ = "owners"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class HouseRow(Base):
    __tablename__ = "houses"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner_id: Mapped[int] = mapped_column(sa.ForeignKey("owners.id", name="fk_owner"))


class RoomRow(Base):
    __tablename__ = "rooms"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    house_id: Mapped[int] = mapped_column(sa.ForeignKey("houses.id", name="fk_owner"))


@dataclass(frozen=True)
class OwnerCreate(Spec[OwnerRow]):
    id: int


@dataclass(frozen=True)
class HouseCreate(Spec[HouseRow]):
    id: int
    owner_id: int


@dataclass(frozen=True)
class HousePatch(Patch[HouseRow]):
    id: OptionalState[int] = OptionalState.nop()
    owner_id: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class RoomCreate(Spec[RoomRow]):
    id: int
    house_id: int


class NoOwner(ReferenceNotFound):
    pass


class HasRooms(StillReferenced):
    pass


class Houses(Repository[HouseRow]):
    violations = {"fk_owner": NoOwner}


class CarefulHouses(Repository[HouseRow]):
    violations = {"fk_owner": NoOwner, "rooms.fk_owner": HasRooms}


class Owners(Repository[OwnerRow]):
    violations = {"fk_owner": HasRooms}


class Rooms(Repository[RoomRow]):
    pass


async def test_a_name_on_two_tables(any_tables: WithTables) -> None:
    """It means the repository's own table's; another's is named with its table."""
    async with any_tables(OwnerRow, HouseRow, RoomRow) as db:
        houses, careful = Houses(db), CarefulHouses(db)
        await Owners(db).create(OwnerCreate(1))
        await houses.create(HouseCreate(1, 1))
        await Rooms(db).create(RoomCreate(1, 1))
        for call in (
            houses.create(HouseCreate(2, 9)),
            houses.batch_create([HouseCreate(2, 9)]),
            houses.upsert(HouseCreate(2, 9)),
            houses.update(1, HousePatch(owner_id=OptionalState.update(9))),
            houses.batch_update([1], HousePatch(owner_id=OptionalState.update(9))),
            houses.update_where([HouseRow.id == 1], HousePatch(owner_id=OptionalState.update(9))),
        ):
            assert type(await failure_of(call)) is NoOwner
        for repository, kind in ((houses, StillReferenced), (careful, HasRooms)):
            for call in (
                repository.purge(1),
                repository.batch_purge([1]),
                repository.purge_where([HouseRow.id == 1]),
                repository.update(1, HousePatch(id=OptionalState.update(2))),
            ):
                error = await failure_of(call)
                assert type(error) is kind
                assert isinstance(error, RepositoryError)
                assert (error.facts.constraint, error.facts.table) == ("fk_owner", "rooms")
        assert type(await failure_of(Owners(db).purge(1))) is HasRooms


class DepotRow(Base):
    __tablename__ = "depots"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class CrateRow(Base):
    """Kept in partitions: one made by its parent, one that was a table of its own, one in parts itself."""

    __tablename__ = "crates"
    __table_args__ = (
        sa.UniqueConstraint("area", "label", name="uq_crates_label"),
        sa.Index("uq_crates_lower", "area", sa.text("lower(mark)"), unique=True),
        sa.CheckConstraint("label <> 'bad'", name="ck_crates_label"),
        {"postgresql_partition_by": "LIST (area)"},
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    area: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str]
    mark: Mapped[str | None]
    depot_id: Mapped[int | None] = mapped_column(sa.ForeignKey("depots.id", name="fk_crates_depot"))


class PieceRow(Base):
    __tablename__ = "pieces"
    __table_args__ = (
        sa.ForeignKeyConstraint(["crate_id", "area"], ["crates.id", "crates.area"], name="fk_pieces_crate"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    crate_id: Mapped[int]
    area: Mapped[int]


for statement in (
    "CREATE TABLE crates_1 PARTITION OF crates FOR VALUES IN (1)",
    (
        "CREATE TABLE crates_2 (mark varchar, label varchar NOT NULL, depot_id int, area int NOT NULL, id int NOT NULL,"
        " CONSTRAINT ck_crates_label CHECK (label <> 'bad'))"
    ),
    "CREATE UNIQUE INDEX my_own ON crates_2 (area, label)",
    "ALTER TABLE crates ATTACH PARTITION crates_2 FOR VALUES IN (2)",
    "CREATE TABLE crates_3 PARTITION OF crates FOR VALUES IN (3) PARTITION BY LIST (area)",
    "CREATE TABLE crates_3_1 PARTITION OF crates_3 FOR VALUES IN (3)",
):
    sa.event.listen(CrateRow.__table__, "after_create", sa.DDL(statement))


@dataclass(frozen=True)
class CrateCreate(Spec[CrateRow]):
    id: int
    area: int
    label: Any
    mark: str | None = None
    depot_id: int | None = None


@dataclass(frozen=True)
class CratePatch(Patch[CrateRow]):
    id: OptionalState[int] = OptionalState.nop()
    mark: TriState[str] = TriState.nop()
    label: OptionalState[str] = OptionalState.nop()
    depot_id: TriState[int] = TriState.nop()


@dataclass(frozen=True)
class DepotCreate(Spec[DepotRow]):
    id: int


@dataclass(frozen=True)
class PieceCreate(Spec[PieceRow]):
    id: int
    crate_id: int
    area: int


class LabelTaken(EntityAlreadyExists):
    pass


class MarkTaken(EntityAlreadyExists):
    pass


class NoDepot(ReferenceNotFound):
    pass


class HasCrates(StillReferenced):
    pass


class HasPieces(StillReferenced):
    pass


class BadLabel(CheckViolation):
    pass


class Crates(Repository[CrateRow]):
    violations = {
        "uq_crates_label": LabelTaken,
        "uq_crates_lower": MarkTaken,
        "fk_crates_depot": NoDepot,
        "ck_crates_label": BadLabel,
        "fk_pieces_crate": HasPieces,
    }


class Depots(Repository[DepotRow]):
    violations = {"fk_crates_depot": HasCrates}


class Pieces(Repository[PieceRow]):
    pass


@pytest.fixture
async def crates(with_tables: WithTables) -> AsyncIterator[Crates]:
    async with with_tables(DepotRow, CrateRow, PieceRow) as db:
        made = Crates(db)
        await Depots(db).create(DepotCreate(1))
        await made.batch_create([CrateCreate(1, area, "a", "x", 1) for area in (1, 2, 3)])
        yield made


def facts_of(error: Exception) -> tuple[Any, ...]:
    assert isinstance(error, RepositoryError)
    return error.facts.constraint, error.facts.table, error.facts.columns


@pytest.mark.parametrize("area", [1, 2, 3])
async def test_what_a_partition_reports_is_its_tables(crates: Crates, area: int) -> None:
    """Unique keys, foreign keys from both ends, checks and NOT NULL: the declared errors, and the table's own names."""
    label = ("uq_crates_label", "crates", ("area", "label"))
    for call, kind, facts in (
        (crates.create(CrateCreate(1, area, "b")), EntityAlreadyExists, ("crates_pkey", "crates", ("id", "area"))),
        (crates.create(CrateCreate(2, area, "a")), LabelTaken, label),
        (crates.batch_create([CrateCreate(n, area, "a") for n in range(2, 900)]), LabelTaken, label),
        (crates.create(CrateCreate(2, area, "b", "X")), MarkTaken, None),
        (crates.create(CrateCreate(2, area, "bad")), BadLabel, None),
        (crates.create(CrateCreate(2, area, None)), NotNullViolation, (None, "crates", ("label",))),
        (crates.create(CrateCreate(2, area, "b", None, 9)), NoDepot, ("fk_crates_depot", "crates", ("depot_id",))),
        (crates.update((1, area), CratePatch(depot_id=TriState.update(9))), NoDepot, None),
    ):
        error = await failure_of(call)
        assert type(error) is kind
        assert facts is None or facts_of(error) == facts
    await Pieces(crates.db).create(PieceCreate(1, 1, area))
    error = await failure_of(crates.purge((1, area)))
    assert type(error) is HasPieces
    assert facts_of(error)[1] == "pieces"
    error = await failure_of(Depots(crates.db).purge(1))
    assert type(error) is HasCrates
    assert facts_of(error)[:2] == ("fk_crates_depot", "crates")


@pytest.mark.parametrize("area", [1, 2, 3])
async def test_a_key_that_the_mapping_does_not_know_is_told_by_what_was_written(crates: Crates, area: int) -> None:
    """A new row, and an update of nothing that others could refer to, can only have broken a key of their own."""
    hidden = "ALTER TABLE crates ADD CONSTRAINT hidden FOREIGN KEY (mark) REFERENCES marks"
    async with crates.db.begin_session() as db_sess:
        await db_sess.execute(sa.text("CREATE TABLE marks (mark varchar PRIMARY KEY)"))
        await db_sess.execute(sa.text("INSERT INTO marks VALUES ('x'), ('y')"))
        await db_sess.execute(sa.text(hidden))
        await db_sess.execute(sa.text("CREATE TABLE tags (id int, area int, FOREIGN KEY (id, area) REFERENCES crates)"))
        await db_sess.execute(sa.text("INSERT INTO tags SELECT id, area FROM crates"))
    try:
        new, marked = CrateCreate(2, area, "b", "none"), CratePatch(mark=TriState.update("none"))
        for call in (
            crates.create(new),
            crates.upsert(new),
            crates.batch_create([CrateCreate(n, area, f"{n}", f"none {n}") for n in range(2, 900)]),
            crates.update((1, area), marked),
            crates.batch_update([(1, area)], marked),
            crates.update_where([CrateRow.area == area], marked),
        ):
            assert type(await failure_of(call)) is ReferenceNotFound
        partly = await crates.batch_create_partial([new, CrateCreate(3, area, "c", "y")])
        assert [type(failure.error) for failure in partly.failed] == [ReferenceNotFound]
        for call in (
            crates.purge((1, area)),
            crates.batch_purge([(1, area)]),
            crates.update((1, area), CratePatch(id=OptionalState.update(5))),
        ):
            assert type(await failure_of(call)) is StillReferenced
    finally:
        async with crates.db.begin_session() as db_sess:
            await db_sess.execute(sa.text("DROP TABLE tags"))
            await db_sess.execute(sa.text("DROP TABLE marks CASCADE"))


async def test_a_partial_batch_finds_the_culprit_in_a_partition(crates: Crates) -> None:
    """By the table's own key, though the partition names another."""
    result = await crates.batch_create_partial([CrateCreate(n, 2, "a" if n == 5 else str(n)) for n in range(2, 9)])
    assert [(failure.index, type(failure.error)) for failure in result.failed] == [(3, LabelTaken)]


async def test_what_a_trigger_breaks_is_not_taken_for_a_partition(crates: Crates) -> None:
    """A key of a table that is not mapped, over columns of the same names, is not the row's own key."""
    async with crates.db.begin_session() as db_sess:
        for sql in (
            "CREATE TABLE log (id int, area int, PRIMARY KEY (id, area))",
            "INSERT INTO log VALUES (7, 1)",
            (
                "CREATE FUNCTION log_crate() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN INSERT INTO log VALUES (NEW.id, NEW.area); RETURN NEW; END $$"
            ),
            "CREATE TRIGGER log AFTER INSERT ON crates FOR EACH ROW EXECUTE FUNCTION log_crate()",
        ):
            await db_sess.execute(sa.text(sql))
    try:
        error = await failure_of(crates.create(CrateCreate(7, 1, "z")))
        assert type(error) is EntityAlreadyExists
        assert facts_of(error)[:2] == ("log_pkey", "log")
    finally:
        async with crates.db.begin_session() as db_sess:
            await db_sess.execute(sa.text("DROP TABLE log"))
            await db_sess.execute(sa.text("DROP FUNCTION log_crate CASCADE"))


class LongBase(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


class MeasurementRow(LongBase):
    __tablename__ = "measurements_of_all_the_stations"
    __table_args__ = (
        sa.UniqueConstraint("station_of_the_measurement", "time_of_the_measurement"),
        sa.UniqueConstraint("label", name="uq_" + "ö" * 50),
        sa.CheckConstraint("label <> 'bad'", name="the_label_of_the_measurement_is_none_of_the_bad"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    station_of_the_measurement: Mapped[int]
    time_of_the_measurement: Mapped[int]
    label: Mapped[str]
    measurement_before: Mapped[int | None] = mapped_column(
        sa.ForeignKey("measurements_of_all_the_stations.id", deferrable=True, initially="DEFERRED")
    )


@dataclass(frozen=True)
class MeasurementCreate(Spec[MeasurementRow]):
    id: int
    station_of_the_measurement: int
    time_of_the_measurement: int
    label: str
    measurement_before: int | None = None


class Measured(EntityAlreadyExists):
    pass


class NoneBefore(ReferenceNotFound):
    pass


WHOLE = {
    "uq_measurements_of_all_the_stations_station_of_the_measurement_time_of_the_measurement": Measured,
    "uq_" + "ö" * 50: LabelTaken,
    "ck_measurements_of_all_the_stations_the_label_of_the_measurement_is_none_of_the_bad": BadLabel,
    "fk_measurements_of_all_the_stations_measurement_before_measurements_of_all_the_stations": NoneBefore,
}


@pytest.mark.parametrize("kept", [False, True], ids=["whole", "kept"])
async def test_a_long_name_is_understood_as_it_is_mapped_and_as_it_is_kept(
    any_tables: WithTables, database: Any, kept: bool
) -> None:
    """In violations; a constraint that is checked at COMMIT included."""
    names = await kept_names(database) if kept else list(WHOLE)
    rules = dict(zip(names, WHOLE.values(), strict=True))

    class Measurements(Repository[MeasurementRow]):
        violations = rules
        domain = "measurement"

    async with any_tables(MeasurementRow) as db:
        made = Measurements(db)
        await made.create(MeasurementCreate(1, 1, 1, "a"))
        for spec, kind in (
            (MeasurementCreate(2, 1, 1, "b"), Measured),
            (MeasurementCreate(2, 1, 2, "a"), LabelTaken),
            (MeasurementCreate(2, 1, 2, "bad"), BadLabel),
            (MeasurementCreate(2, 1, 2, "b", 9), NoneBefore),
        ):
            for call in (made.create(spec), made.batch_create([spec])):
                error = await failure_of(call)
                assert type(error) is kind
                assert isinstance(error, RepositoryError)
                assert error.facts.operation in ("create", "batch_create")


async def kept_names(database: Any) -> list[str]:
    """Give the names of :data:`WHOLE` as SQLAlchemy cuts a convention's, and PostgreSQL any other."""
    preparer = database.engine.dialect.identifier_preparer
    table: Any = MeasurementRow.__table__
    found = {str(item.name): item.name for item in table.constraints if item.name}
    cut = [
        preparer.truncate_and_render_constraint_name(found[name], False) if len(name) > 63 else name for name in WHOLE
    ]
    return [name.encode()[:63].decode(errors="ignore") for name in cut]


class LateBase(DeclarativeBase):
    pass


class SiteRow(LateBase):
    __tablename__ = "sites"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    note: Mapped[str | None]


class PlanRow(LateBase):
    """What is checked at COMMIT only."""

    __tablename__ = "plans"
    __table_args__ = (sa.UniqueConstraint("rank", name="uq_plans_rank", deferrable=True, initially="DEFERRED"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rank: Mapped[int]
    site_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sites.id", deferrable=True, initially="DEFERRED"))


@dataclass(frozen=True)
class SiteCreate(Spec[SiteRow]):
    id: int


@dataclass(frozen=True)
class SitePatch(Patch[SiteRow]):
    id: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class PlanCreate(Spec[PlanRow]):
    id: int
    rank: int
    site_id: int | None = None


@dataclass(frozen=True)
class PlanPatch(Patch[PlanRow]):
    rank: OptionalState[int] = OptionalState.nop()
    site_id: TriState[int] = TriState.nop()


class RankTaken(EntityAlreadyExists):
    pass


class NoSite(ReferenceNotFound):
    pass


class HasPlans(StillReferenced):
    pass


class Plans(Repository[PlanRow]):
    violations = {"uq_plans_rank": RankTaken, "plans_site_id_fkey": NoSite}


class Sites(Repository[SiteRow]):
    violations = {"plans.plans_site_id_fkey": HasPlans}


async def test_what_is_checked_at_commit_is_the_error_of_the_verb_that_broke_it(with_tables: WithTables) -> None:
    """Whatever else was written in the same unit of work, and though the constraint has PostgreSQL's own name."""
    async with with_tables(SiteRow, PlanRow) as db:
        plans, sites = Plans(db), Sites(db)
        await sites.batch_create([SiteCreate(n) for n in (1, 2)])
        await plans.batch_create([PlanCreate(1, 1, 1), PlanCreate(2, 2, 1)])
        rank = PlanPatch(rank=OptionalState.update(1))
        for call, kind, code in (
            (plans.create(PlanCreate(3, 1)), RankTaken, "plan_create_already-exists"),
            (plans.batch_create([PlanCreate(3, 1)]), RankTaken, "plan_batch-create_already-exists"),
            (plans.update(2, rank), RankTaken, "plan_update_already-exists"),
            (plans.batch_update([2], rank), RankTaken, "plan_batch-update_already-exists"),
            (plans.create(PlanCreate(3, 3, 9)), NoSite, "plan_create_reference-not-found"),
            (sites.purge(1), HasPlans, "site_purge_still-referenced"),
            (sites.batch_purge([1]), HasPlans, "site_batch-purge_still-referenced"),
            (sites.purge_where([SiteRow.id == 1]), HasPlans, "site_purge-where_still-referenced"),
            (sites.update(1, SitePatch(id=OptionalState.update(7))), HasPlans, "site_update_still-referenced"),
        ):
            error = await failure_of(call)
            assert type(error) is kind
            assert isinstance(error, RepositoryError)
            assert error.error_code == code
        with pytest.raises(HasPlans) as caught:
            async with db.unit_of_work():
                await plans.update(2, PlanPatch(rank=OptionalState.update(5)))
                await sites.purge(1)
                await sites.update(2, SitePatch(note=TriState.update("x")))
        assert caught.value.error_code == "site_purge_still-referenced"
        with pytest.raises(NoSite) as missed:
            async with db.unit_of_work():
                await plans.update(2, PlanPatch(site_id=TriState.update(9)))
                await plans.update(1, PlanPatch(rank=OptionalState.update(8)))
                await sites.purge(2)
        assert missed.value.error_code == "plan_update_reference-not-found"


async def test_an_upsert_by_a_deferrable_key_is_refused() -> None:
    """When its class is made."""
    with pytest.raises(Exception, match="uq_plans_rank of plans is deferrable"):

        class Ranked(Repository[PlanRow]):
            conflict = Conflict([PlanRow.rank])
