"""Foreign keys that are written under a scope: they lead to rows of which it says that they are inside, or to none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship
from typing_extensions import override

from native import lane_of
from rowsmith import (
    PUBLIC,
    AnyOf,
    Condition,
    Conflict,
    Database,
    EntityAlreadyExists,
    EntityNotFound,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    RepositoryError,
    SearchScope,
    Spec,
    Unscoped,
)
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, Outcome, VerbCall, answer
from support import count_statements
from tenants import stored


class Base(DeclarativeBase):
    pass


class OwnerRow(Base):
    __tablename__ = "owners"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class LandRow(Base):
    __tablename__ = "lands"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class HouseRow(Base):
    __tablename__ = "houses"
    __table_args__ = (
        sa.UniqueConstraint("name", name="uq_houses_name"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_houses_owner"),
        sa.ForeignKeyConstraint(["parent_id"], ["houses.id"], name="fk_houses_parent"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    name: Mapped[str]
    owner_id: Mapped[int | None]
    parent_id: Mapped[int | None]
    land_id: Mapped[int | None] = mapped_column(sa.ForeignKey("lands.id"))


@dataclass(frozen=True)
class HouseCreate(Spec[HouseRow], filled={"tenant"}):
    id: int
    name: str
    owner_id: int | None = None
    parent_id: int | None = None
    land_id: int | None = None


@dataclass(frozen=True)
class WholeHouse(HouseCreate, Spec[HouseRow]):
    tenant: str = "a"


@dataclass(frozen=True)
class HousePatch(Patch[HouseRow]):
    name: OptionalState[str] = OptionalState.nop()
    owner_id: OptionalState[int | None] = OptionalState.nop()
    parent_id: OptionalState[int | None] = OptionalState.nop()
    land_id: OptionalState[int | None] = OptionalState.nop()


@dataclass(frozen=True)
class House:
    id: int
    name: str
    owner_id: int | None
    parent_id: int | None


@dataclass(frozen=True)
class Of(SearchScope):
    """A tenant's houses, and its owners; it says nothing of lands."""

    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [HouseRow.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {OwnerRow: [OwnerRow.tenant == self.tenant]}


class Houses(Repository[HouseRow, House, int]):
    conflict = Conflict([HouseRow.id])


WRITERS = [verb for verb, told in VERBS.items() if told.does in (Does.MAKE, Does.PUT, Does.CHANGE)]
UPSERTS = [verb for verb, told in VERBS.items() if told.does is Does.PUT]
A = Of("a")
MINE, THEIRS, NOBODY = 1, 2, 99


@pytest.fixture
async def houses(any_tables: WithTables) -> AsyncIterator[Houses]:
    """Of each table the row 1 is a's, and 2 is b's."""
    async with any_tables(OwnerRow, LandRow, HouseRow) as db:
        yield await filled(db)


async def filled(db: Database) -> Houses:
    async with db.begin_session() as db_sess:
        for number, tenant in ((MINE, "a"), (THEIRS, "b")):
            db_sess.add_all([OwnerRow(id=number, tenant=tenant), LandRow(id=number, tenant=tenant)])
            db_sess.add(HouseRow(id=number, tenant=tenant, name=f"{tenant}'s"))
    houses = Houses(db, resilience=None)
    await houses.get(1)
    return houses


async def rows(houses: Houses) -> list[tuple[Any, ...]]:
    columns = (HouseRow.id, HouseRow.name, HouseRow.owner_id, HouseRow.parent_id, HouseRow.land_id)
    found: Any = sa.select(*columns).order_by(HouseRow.id)
    return await stored(houses.db, found)


async def written(houses: Houses, verb: str, scope: SearchScope | None, **values: Any) -> Outcome:
    """Give what a verb answers that writes these into a new house, or the tenant's own."""
    patch = HousePatch(**{name: OptionalState.update(value) for name, value in values.items()})
    kind: Any = WholeHouse if isinstance(scope, Unscoped) else HouseCreate
    spec = kind(**{"id": 3, "name": "new", **values})
    return await answer(verb, VerbCall(houses, scope, [1], patch, [spec]))


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("key", ["owner_id", "parent_id"])
async def test_every_verb_takes_anothers_row_for_an_absent_one(houses: Houses, verb: str, key: str) -> None:
    """One answer for both, and nothing is written; the tenant's own row is taken, and none at all."""
    before = await rows(houses)
    absent = await written(houses, verb, A, **{key: NOBODY})
    assert absent.error is ReferenceNotFound
    assert await written(houses, verb, A, **{key: THEIRS}) == absent
    assert await rows(houses) == before
    assert (await written(houses, verb, A, **{key: MINE})).error is None
    assert (await written(houses, "update", A, **{key: None})).error is None


@pytest.mark.parametrize("verb", WRITERS)
async def test_nothing_is_asked_of_what_the_scope_does_not_speak_of(houses: Houses, verb: str) -> None:
    """Lands are not spoken of, nor is anything without a scope."""
    for scope, key in ((A, "land_id"), (Unscoped("all"), "owner_id"), (Unscoped("all"), "parent_id")):
        assert (await written(houses, verb, scope, **{key: THEIRS})).error is None
        if VERBS[verb].does is not Does.CHANGE:
            await houses.purge(3)


@pytest.mark.parametrize("verb", UPSERTS)
async def test_an_upsert_changes_a_row_that_is_there_as_an_update_does(houses: Houses, verb: str) -> None:
    for key in (THEIRS, NOBODY):
        outcome = await answer(verb, VerbCall(houses, A, specs=[HouseCreate(1, "mine", owner_id=key)]))
        assert outcome.error is ReferenceNotFound
    assert (await rows(houses))[0] == (1, "a's", None, None, None)


@dataclass(frozen=True)
class NameOnly(Spec[HouseRow], filled={"tenant", "owner_id", "parent_id", "land_id"}):
    id: int
    name: str


@pytest.mark.parametrize("verb", [*UPSERTS, *(v for v in WRITERS if VERBS[v].does is Does.CHANGE)])
async def test_a_row_that_refers_to_anothers_is_changed_otherwise(houses: Houses, verb: str) -> None:
    """What an administrator has set stays, until it is written."""
    await houses.update(1, HousePatch(owner_id=OptionalState.update(THEIRS)), scope=Unscoped("an administrator"))
    patch = HousePatch(name=OptionalState.update("renamed"))
    outcome = await answer(verb, VerbCall(houses, A, [1], patch, [NameOnly(1, "renamed")]))
    assert outcome.error is None
    assert (await rows(houses))[0] == (1, "renamed", THEIRS, None, None)


async def test_each_patch_of_a_batch_answers_for_its_own_keys(houses: Houses) -> None:
    """That one sets a foreign key says nothing about another's row, whose key is an administrator's."""
    await houses.create(HouseCreate(3, "third"), scope=A)
    await houses.update(1, HousePatch(owner_id=OptionalState.update(THEIRS)), scope=Unscoped("an administrator"))
    patches = {
        1: HousePatch(name=OptionalState.update("renamed")),
        3: HousePatch(owner_id=OptionalState.update(MINE)),
    }
    await houses.batch_update_each(patches, scope=A)
    assert [row[1:3] for row in await rows(houses)] == [("renamed", THEIRS), ("b's", None), ("third", MINE)]


@pytest.mark.parametrize("lone", [False, True])
async def test_rows_of_one_batch_may_refer_to_each_other(houses: Houses, lone: bool) -> None:
    """Also where another constraint refuses one of them, which is said then."""
    pair = [HouseCreate(3, "parent", parent_id=3 if lone else 1), HouseCreate(4, "child", parent_id=3)]
    with pytest.raises(EntityAlreadyExists):
        await houses.batch_create([*pair, HouseCreate(5, "parent")], scope=A)
    await houses.batch_create(pair, scope=A)
    assert [row[3] for row in (await rows(houses))[2:]] == [3 if lone else 1, 3]


async def test_a_partial_batch_leaves_out_what_refers_to_anothers(houses: Houses) -> None:
    """The others are written, in three forms, and each fault has its place."""
    specs = [HouseCreate(number, str(number), owner_id=owner) for number, owner in ((3, MINE), (4, THEIRS), (5, None))]
    for write in (houses.batch_create_partial, houses.batch_upsert_partial):
        made = await write(specs, scope=A)
        assert [(failure.index, type(failure.error)) for failure in made.failed] == [(1, ReferenceNotFound)]
        assert [row[0] for row in await rows(houses)] == [1, 2, 3, 5]
    patches = {number: HousePatch(owner_id=OptionalState.update(owner)) for number, owner in ((1, MINE), (3, THEIRS))}
    changed = await houses.batch_update_partial(patches, scope=A)
    assert [(failure.index, type(failure.error)) for failure in changed.failed] == [(1, ReferenceNotFound)]
    assert [row[2] for row in await rows(houses)] == [MINE, None, MINE, None]


async def test_which_of_many_lead_outside_is_asked_at_once(houses: Houses) -> None:
    """Ten of a thousand are found by one look at what they refer to, as those that lead nowhere are."""
    for owner in (NOBODY, THEIRS):
        specs = [HouseCreate(number, str(number), MINE if number % 100 else owner) for number in range(100, 1100)]
        with count_statements(houses.db) as sent:
            made = await houses.batch_create_partial(specs, scope=A)
        assert [failure.index for failure in made.failed] == [*range(0, 1000, 100)]
        await houses.batch_purge([house.id for house in made.data])
        assert len(sent) < 25


async def test_what_another_constraint_says_is_the_same_for_both(houses: Houses) -> None:
    """A name that is taken, or a second key that leads nowhere, tells nothing about what the first one leads to."""
    for verb in WRITERS:
        for values in ({"name": "b's"}, {"land_id": NOBODY}):
            told = [await written(houses, verb, A, owner_id=owner, **values) for owner in (THEIRS, NOBODY)]
            assert told[0] == told[1]
            assert told[0].error is ReferenceNotFound


async def test_a_scope_that_says_more_than_equalities(houses: Houses) -> None:
    """What is said may be any condition, and scopes that are put together say it together."""
    wide = AnyOf(A, Of("b"))
    await houses.create(HouseCreate(3, "third", MINE), scope=A)
    await houses.update(3, HousePatch(owner_id=OptionalState.update(THEIRS)), scope=wide)
    with pytest.raises(ReferenceNotFound):
        await houses.update(3, HousePatch(owner_id=OptionalState.update(NOBODY)), scope=wide)

    @dataclass(frozen=True)
    class ByExists(Of):
        @override
        def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
            other = aliased(OwnerRow)
            return {OwnerRow: [sa.exists().where(other.id == OwnerRow.id, other.tenant == self.tenant)]}

    with pytest.raises(ReferenceNotFound):
        await houses.update(3, HousePatch(owner_id=OptionalState.update(THEIRS)), scope=ByExists("a"))
    await houses.update(3, HousePatch(owner_id=OptionalState.update(MINE)), scope=ByExists("a"))


async def test_rows_that_are_everybodys_are_everybodys(houses: Houses) -> None:
    @dataclass(frozen=True)
    class Open(Of):
        @override
        def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
            return {OwnerRow: PUBLIC}

    made = await houses.create(HouseCreate(3, "third", THEIRS), scope=Open("a"))
    assert made.owner_id == THEIRS


async def test_a_value_that_the_database_works_out_is_held_too(houses: Houses) -> None:
    """An expression in a patch leads where it leads."""
    anothers = sa.select(sa.func.max(OwnerRow.id)).scalar_subquery()
    patch = HousePatch(owner_id=OptionalState.expression(lambda: anothers))
    for verb in (each for each in WRITERS if VERBS[each].does is Does.CHANGE):
        assert (await answer(verb, VerbCall(houses, A, [1], patch))).error is ReferenceNotFound
    assert (await rows(houses))[0][2] is None


async def test_a_row_that_is_outside_says_so_first(houses: Houses) -> None:
    """Of another's house nothing is said, whatever its keys would lead to."""
    for key in (MINE, THEIRS, NOBODY):
        with pytest.raises(EntityNotFound):
            await houses.update(2, HousePatch(owner_id=OptionalState.update(key)), scope=A)


class OwnerAbsent(RepositoryError):
    """There is no such owner."""

    default_message = "there is no such owner"


class Told(Houses):
    violations = {"fk_houses_owner": OwnerAbsent}


async def test_the_domains_own_error_is_raised_for_both(houses: Houses) -> None:
    told = Told(houses.db)
    for owner in (THEIRS, NOBODY):
        for verb in WRITERS:
            assert (await written(told, verb, A, owner_id=owner)).error is OwnerAbsent


class RoomRow(Base):
    __tablename__ = "rooms"
    __table_args__ = (sa.ForeignKeyConstraint(["tenant", "house_id"], ["estates.tenant", "estates.id"]),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    house_id: Mapped[int]
    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("owners.id"))


class EstateRow(Base):
    __tablename__ = "estates"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rooms: Mapped[list[RoomRow]] = relationship()


@dataclass(frozen=True)
class RoomBelow(Spec[RoomRow], filled={"tenant", "house_id"}):
    owner_id: int | None


@dataclass(frozen=True)
class RoomCreate(Spec[RoomRow], filled={"tenant"}):
    house_id: int
    owner_id: int | None = None


@dataclass(frozen=True)
class EstateCreate(Spec[EstateRow], filled={"tenant"}):
    id: int
    rooms: tuple[RoomBelow, ...] = ()


@dataclass(frozen=True)
class EstatesOf(SearchScope):
    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [EstateRow.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {RoomRow: [RoomRow.tenant == self.tenant], OwnerRow: [OwnerRow.tenant == self.tenant]}


@dataclass(frozen=True)
class RoomsOf(SearchScope):
    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [RoomRow.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {EstateRow: [EstateRow.tenant == self.tenant], OwnerRow: [OwnerRow.tenant == self.tenant]}


class Estates(Repository[EstateRow, EstateRow, tuple[str, int]]):
    pass


class Rooms(Repository[RoomRow, RoomRow, int]):
    pass


@pytest.fixture
async def estates(any_tables: WithTables) -> AsyncIterator[Estates]:
    async with any_tables(OwnerRow, EstateRow, RoomRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([OwnerRow(id=MINE, tenant="a"), OwnerRow(id=THEIRS, tenant="b")])
        yield Estates(db)


async def test_rows_below_are_held_by_their_other_keys(estates: Estates) -> None:
    """That to the row above is known to lead inside; what a row in a tree refers to besides is looked at."""
    for owner in (THEIRS, NOBODY):
        tree = EstateCreate(1, (RoomBelow(MINE), RoomBelow(owner)))
        for verb in ("create", "batch_create", "load"):
            outcome = await answer(verb, VerbCall(estates, EstatesOf("a"), specs=[tree]))
            assert outcome.error is ReferenceNotFound
    assert await stored(estates.db, sa.select(EstateRow.id)) == []
    await estates.create(EstateCreate(1, (RoomBelow(MINE), RoomBelow(None))), scope=EstatesOf("a"))
    assert len(await stored(estates.db, sa.select(RoomRow.id))) == 2


async def test_a_key_with_the_tenant_in_it_is_not_asked_about(estates: Estates) -> None:
    """What is stamped leaves it nowhere else to lead to: the room is made by one statement, as without a word."""
    await estates.create(EstateCreate(1), scope=EstatesOf("a"))
    rooms = Rooms(estates.db)
    with count_statements(estates.db) as sent:
        await rooms.create(RoomCreate(1), scope=RoomsOf("a"))
    assert len(sent) == 1
    with pytest.raises(ReferenceNotFound):
        await rooms.create(RoomCreate(2), scope=RoomsOf("a"))


@pytest.mark.parametrize("key", ["owner_id", "parent_id"])
async def test_one_row_that_leads_inside_takes_the_native_lane(with_tables: WithTables, key: str) -> None:
    """What it leads to is looked at in the statement that writes it; of one that leads outside nothing is left."""
    async with with_tables(OwnerRow, LandRow, HouseRow) as db:
        houses = await filled(db)
        for scope, number in ((A, 1), (Of("b"), 2), (A, 1)):
            for led, error in ((number, None), (3 - number, ReferenceNotFound), (NOBODY, ReferenceNotFound)):
                patch, before = HousePatch(**cast("Any", {key: OptionalState.update(led)})), lane_of(db).taken
                changed = await answer("update", VerbCall(houses, scope, [number], patch))
                made = await written(houses, "create", scope, **{key: led})
                assert (changed.error, made.error) == (error, error)
                assert lane_of(db).taken - before == (2 if error is None else 0)
                if error is None:
                    await houses.purge(3)
        assert [row[0] for row in await rows(houses)] == [1, 2]


async def test_a_session_that_goes_on_is_told_and_keeps_nothing(with_tables: WithTables) -> None:
    """The unit of work around is not given up for a key that leads outside, and what else it did stays."""
    async with with_tables(OwnerRow, LandRow, HouseRow) as db:
        houses = await filled(db)
        async with db.unit_of_work():
            await houses.update(1, HousePatch(name=OptionalState.update("renamed")), scope=A)
            for led in (THEIRS, NOBODY):
                assert (await written(houses, "create", A, owner_id=led)).error is ReferenceNotFound
                assert (await written(houses, "update", A, owner_id=led)).error is ReferenceNotFound
            assert (await written(houses, "update", A, owner_id=MINE)).error is None
        assert await rows(houses) == [(1, "renamed", MINE, None, None), (2, "b's", None, None, None)]


async def test_scopes_that_compare_alike_are_told_apart(with_tables: WithTables) -> None:
    """What one says of others is not what another one says, though both say the same of the rows themselves."""

    @dataclass(frozen=True)
    class Silent(Of):
        @override
        def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
            return {}

    @dataclass(frozen=True)
    class Shared(Of):
        @override
        def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
            return {OwnerRow: [OwnerRow.tenant != "nobody's"]}

    async with with_tables(OwnerRow, LandRow, HouseRow) as db:
        houses = await filled(db)
        for scope in (Silent("a"), A, Shared("a"), A, Silent("a"), Shared("a"), A):
            outcome = await written(houses, "update", scope, owner_id=THEIRS)
            assert outcome.error is (ReferenceNotFound if scope is A else None)


class LeaseRow(Base):
    __tablename__ = "Leases"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    owner_id: Mapped[int] = mapped_column("Owner", sa.ForeignKey("owners.id"), default=THEIRS)
    payer_id: Mapped[int] = mapped_column(sa.ForeignKey("owners.id"), server_default=str(MINE))


@dataclass(frozen=True)
class LeaseCreate(Spec[LeaseRow], filled={"tenant"}):
    owner_id: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class LeasesOf(Of):
    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [LeaseRow.tenant == self.tenant]


class Leases(Repository[LeaseRow, LeaseRow, int]):
    pass


async def test_what_a_default_leads_to_is_held_in_a_new_row(any_tables: WithTables) -> None:
    """Whether Python fills it or the database does."""
    async with any_tables(OwnerRow, LeaseRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([OwnerRow(id=MINE, tenant="a"), OwnerRow(id=THEIRS, tenant="b")])
        for verb in ("create", "batch_create", "load"):
            for tenant, given in (("a", None), ("b", None), ("b", THEIRS)):
                spec = LeaseCreate() if given is None else LeaseCreate(OptionalState.update(given))
                outcome = await answer(verb, VerbCall(Leases(db), LeasesOf(tenant), specs=[spec]))
                assert outcome.error is ReferenceNotFound
            mine = LeaseCreate(OptionalState.update(MINE))
            assert (await answer(verb, VerbCall(Leases(db), LeasesOf("a"), specs=[mine]))).error is None
