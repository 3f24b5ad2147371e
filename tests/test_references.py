"""Foreign keys that are written under a scope: they lead to rows of which it says that they are inside, or to none."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship
from typing_extensions import override

from native import lane_of
from rowsmith import (
    PUBLIC,
    AllOf,
    AnyOf,
    Condition,
    Conflict,
    Database,
    EmptyScope,
    EntityAlreadyExists,
    EntityNotFound,
    ExistenceCheck,
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
from support import count_statements, share
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


@dataclass(frozen=True)
class Counted(Of):
    """Notes how often it is asked."""

    asked: Counter[str] = field(default_factory=Counter[str], compare=False)

    @override
    def to_conditions(self) -> Sequence[Condition]:
        self.asked["conditions"] += 1
        return super().to_conditions()

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        self.asked["related"] += 1
        return super().to_related()


@dataclass(frozen=True)
class Checked(Counted):
    """Wants something to be there, too."""

    @override
    def existence_checks(self) -> Sequence[ExistenceCheck]:
        self.asked["checks"] += 1
        return [ExistenceCheck(sa.exists().where(OwnerRow.tenant == self.tenant), EntityNotFound)]


@pytest.mark.parametrize("verb, kind", share([(verb, kind) for verb in WRITERS for kind in (Counted, Checked)], 3))
async def test_a_scope_is_asked_once_for_each_thing_it_says(lane_tables: WithTables, verb: str, kind: Any) -> None:
    """By whichever lane, alone and in blocks that are open, of whatever keys, and where one leads outside."""
    async with lane_tables(OwnerRow, LandRow, HouseRow) as db:
        houses = await filled(db)
        blocks: list[Any] = [nullcontext, db.begin_session, db.unit_of_work]
        for block, keys in product(blocks, [{"owner_id": MINE, "parent_id": MINE}, {"owner_id": THEIRS}]):
            scope, error = kind("a"), ReferenceNotFound if THEIRS in keys.values() else None
            async with block():
                assert (await written(houses, verb, scope, **keys)).error is error
            assert set(scope.asked.values()) == {1}, (block, keys, scope.asked)
            if error is None and VERBS[verb].does is not Does.CHANGE:
                await houses.purge(3)
        for put_together in (AnyOf, AllOf):
            scopes = kind("a"), kind("a")
            specs = [WholeHouse(3, "new", MINE, MINE)]
            patch = HousePatch(owner_id=OptionalState.update(MINE), parent_id=OptionalState.update(MINE))
            outcome = await answer(
                verb, VerbCall(houses, put_together(put_together(*scopes), *scopes), [1], patch, specs)
            )
            assert (outcome.error, {*scopes[0].asked.values(), *scopes[1].asked.values()}) == (None, {2})
            if VERBS[verb].does is not Does.CHANGE:
                await houses.purge(3)


class OfBoth(AnyOf):
    """Looks at its parts itself."""

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {OwnerRow: [OwnerRow.tenant.in_([cast("Of", part).tenant for part in self.parts])]}


@pytest.mark.parametrize("verb", WRITERS)
async def test_a_teams_own_way_to_put_scopes_together_has_its_parts_as_they_are(houses: Houses, verb: str) -> None:
    """They are of the classes that they were given in."""
    spec, patch = WholeHouse(3, "new", MINE), HousePatch(owner_id=OptionalState.update(MINE))
    assert (await answer(verb, VerbCall(houses, OfBoth(A, Of("b")), [1], patch, [spec]))).error is None


@dataclass(frozen=True)
class Vague(Of):
    """Says of owners what is true of all."""

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {OwnerRow: [sa.true()]}


@pytest.mark.parametrize("verb", WRITERS)
async def test_a_scope_that_says_nothing_is_named_as_it_is_called(lane_tables: WithTables, verb: str) -> None:
    """By whichever lane its conditions were asked for."""
    async with lane_tables(OwnerRow, LandRow, HouseRow) as db:
        houses = await filled(db)
        spec, patch = HouseCreate(3, "new", MINE), HousePatch(owner_id=OptionalState.update(MINE))
        with pytest.raises(EmptyScope, match=r"Vague\.to_related\(\) gave nothing"):
            await VERBS[verb].call(VerbCall(houses, Vague("a"), [1], patch, [spec]))


@pytest.mark.parametrize("verb", UPSERTS)
async def test_an_upsert_changes_a_row_that_is_there_as_an_update_does(houses: Houses, verb: str) -> None:
    for key in (THEIRS, NOBODY):
        outcome = await answer(verb, VerbCall(houses, A, specs=[HouseCreate(1, "mine", owner_id=key)]))
        assert outcome.error is ReferenceNotFound
    assert (await rows(houses))[0] == (1, "a's", None, None, None)


@dataclass(frozen=True)
class MayBeOwned(Spec[HouseRow], filled={"tenant", "parent_id", "land_id"}):
    id: int
    name: str
    owner_id: OptionalState[int | None] = OptionalState.nop()


@pytest.mark.parametrize("verb", [verb for verb in UPSERTS if VERBS[verb].many])
@pytest.mark.parametrize("place", [0, 1])
async def test_an_upsert_holds_what_some_of_its_specs_set(houses: Houses, verb: str, place: int) -> None:
    """A new row that refers to another's is refused beside one that refers to nothing, and its own is taken."""
    for key, error in ((THEIRS, ReferenceNotFound), (NOBODY, ReferenceNotFound), (MINE, None)):
        specs = [MayBeOwned(3, "third"), MayBeOwned(4, "fourth")]
        specs[place] = replace(specs[place], owner_id=OptionalState.update(key))
        assert (await answer(verb, VerbCall(houses, A, specs=specs))).error is error
        led = {row[2] for row in await rows(houses)}
        assert led == ({None} if error else {None, MINE})


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
    await houses.update(2, HousePatch(owner_id=OptionalState.update(THEIRS)), scope=wide)
    with pytest.raises(ReferenceNotFound):
        await houses.update(2, HousePatch(owner_id=OptionalState.update(NOBODY)), scope=wide)

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


class NodeRow(Base):
    __tablename__ = "nodes"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    word: Mapped[str | None] = mapped_column(unique=True)
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("nodes.id"))
    code: Mapped[int | None]
    coded_id: Mapped[int | None] = mapped_column(sa.ForeignKey("owners.id"), sa.Computed("code + 0", persisted=True))


@dataclass(frozen=True)
class NodeCreate(Spec[NodeRow], filled={"tenant"}):
    word: str | None = None
    parent_id: int | None = None
    code: int | None = None


@dataclass(frozen=True)
class NodePatch(Patch[NodeRow]):
    code: OptionalState[int | None] = OptionalState.nop()


@dataclass(frozen=True)
class NodesOf(Of):
    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [NodeRow.tenant == self.tenant]


class Nodes(Repository[NodeRow, NodeRow, int]):
    conflict = Conflict([NodeRow.word])


class ToldNodes(Nodes):
    violations = {"23503": OwnerAbsent}


@pytest.fixture
async def nodes(any_tables: WithTables) -> AsyncIterator[Nodes]:
    """Node 1 is a's, node 2 b's, and so are owners."""
    async with any_tables(OwnerRow, NodeRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([OwnerRow(id=MINE, tenant="a"), OwnerRow(id=THEIRS, tenant="b")])
            for tenant in ("a", "b"):
                db_sess.add(NodeRow(tenant=tenant, word=f"{tenant}'s"))
                await db_sess.flush()
        yield Nodes(db)


async def all_that_is_told(call: Awaitable[Any]) -> tuple[Any, ...]:
    """Give an error in all that can be seen of it."""
    error: Any
    try:
        error = (await call).failed[0].error
    except Exception as exc:  # noqa: BLE001 - a domain's own errors may be of any class
        error = exc
    return type(error), str(error), getattr(error, "facts", None), getattr(error, "error_code", None)


@pytest.mark.parametrize("kind", [Nodes, ToldNodes])
@pytest.mark.parametrize("verb", [verb for verb in WRITERS if VERBS[verb].does is not Does.CHANGE])
async def test_a_tree_whose_keys_the_server_makes_tells_nothing(nodes: Nodes, verb: str, kind: type[Nodes]) -> None:
    """Not by the words, facts or class of an error either, also where an SQLSTATE has one of its own."""
    told = list[tuple[Any, ...]]()
    for parent in (THEIRS, NOBODY):
        call = VerbCall(kind(nodes.db), NodesOf("a"), specs=[NodeCreate("new", parent)])
        told.append(await all_that_is_told(VERBS[verb].call(call)))
    assert told[0] == told[1]
    is_postgresql = nodes.db.engine.dialect.name == "postgresql"
    assert told[0][0] is (OwnerAbsent if kind is ToldNodes and is_postgresql else ReferenceNotFound)
    assert (await answer(verb, VerbCall(nodes, NodesOf("a"), specs=[NodeCreate("new", MINE)]))).error is None


@pytest.mark.parametrize("verb", WRITERS)
async def test_a_key_that_is_computed_of_what_is_written(nodes: Nodes, verb: str) -> None:
    """It is written by that, and leads where it leads."""
    told = list[tuple[Any, ...]]()
    for owner in (THEIRS, NOBODY):
        patch = NodePatch(OptionalState.update(owner))
        call = VerbCall(nodes, NodesOf("a"), [1], patch, [NodeCreate("new", code=owner)])
        told.append(await all_that_is_told(VERBS[verb].call(call)))
    if nodes.db.engine.dialect.name == "sqlite":  # which names no foreign key, and nobody else knows what it computes
        told = [(kind, code) for kind, _, _, code in told]
    assert told[0] == told[1]
    assert told[0][0] is ReferenceNotFound
    outcome = await answer(
        verb, VerbCall(nodes, NodesOf("a"), [1], NodePatch(OptionalState.update(MINE)), [NodeCreate("new", code=MINE)])
    )
    assert outcome.error is None


@pytest.mark.parametrize("verb", [verb for verb in WRITERS if VERBS[verb].does is not Does.CHANGE])
async def test_a_row_that_refers_to_itself_and_is_taken_otherwise(houses: Houses, verb: str) -> None:
    """The unique key says so, as of any other row; in a partial form what refers to a row that is left out is, too."""
    spec = HouseCreate(3, "b's", parent_id=3)
    outcome = await answer(verb, VerbCall(houses, A, specs=[spec]))
    assert outcome.error is EntityAlreadyExists
    circle = [HouseCreate(3, "new", parent_id=4), HouseCreate(4, "b's", parent_id=3)]
    if VERBS[verb].many:
        outcome = await answer(verb, VerbCall(houses, A, specs=circle))
        is_partial = verb.endswith("partial")
        assert outcome.error is (ReferenceNotFound if is_partial else EntityAlreadyExists)
        assert outcome.absent == ((0, 1) if is_partial else ())


class LeasesByKey(Leases):
    conflict = Conflict([LeaseRow.id])


@dataclass(frozen=True)
class LeasePut(Spec[LeaseRow], filled={"tenant"}):
    id: int
    owner_id: OptionalState[int] = OptionalState.nop()


@pytest.mark.parametrize("verb", UPSERTS)
async def test_an_upsert_holds_what_a_default_leads_to_where_it_makes_a_row(any_tables: WithTables, verb: str) -> None:
    """Not of a row that is there: what it refers to stays, whoever set it."""
    async with any_tables(OwnerRow, LeaseRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([OwnerRow(id=MINE, tenant="a"), OwnerRow(id=THEIRS, tenant="b")])
            await db_sess.flush()
            db_sess.add(LeaseRow(id=1, tenant="a", owner_id=THEIRS, payer_id=THEIRS))
        leases, mine = LeasesByKey(db), OptionalState.update(MINE)
        for spec, tenant in ((LeasePut(2), "a"), (LeasePut(2, mine), "b")):
            outcome = await answer(verb, VerbCall(leases, LeasesOf(tenant), specs=[spec]))
            assert outcome.error is ReferenceNotFound
        for spec in (LeasePut(1), LeasePut(1, mine), LeasePut(3, mine)):
            assert (await answer(verb, VerbCall(leases, LeasesOf("a"), specs=[spec]))).error is None
        found: Any = sa.select(LeaseRow.id, LeaseRow.owner_id, LeaseRow.payer_id).order_by(LeaseRow.id)
        assert await stored(db, found) == [(1, MINE, THEIRS), (3, MINE, MINE)]


@pytest.mark.parametrize("verb", WRITERS)
async def test_scopes_put_together_do_not_cross(houses: Houses, verb: str) -> None:
    """A row of one of them refers to what that one says is inside; what says nothing opens nothing."""

    @dataclass(frozen=True)
    class Open(Of):
        @override
        def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
            return {OwnerRow: PUBLIC}

    @dataclass(frozen=True)
    class Silent(Of):
        @override
        def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
            return {}

    await houses.update(1, HousePatch(name=OptionalState.update("a1")), scope=A)
    for other in (Of("b"), Open("b"), Silent("b"), HouseRow.tenant == "b", AllOf(Open("b"), Of("b"))):
        for key in ("owner_id", "parent_id"):
            call = HousePatch(**cast("Any", {key: OptionalState.update(THEIRS)}))
            spec = WholeHouse(3, "new", **cast("Any", {key: THEIRS}))
            outcome = await answer(verb, VerbCall(houses, AnyOf(A, other), [1], call, [spec]))
            assert outcome.error is ReferenceNotFound
    patch = HousePatch(parent_id=OptionalState.update(MINE))
    spec = WholeHouse(3, "new", parent_id=MINE, tenant="b")
    outcome = await answer(verb, VerbCall(houses, AnyOf(A, HouseRow.tenant == "b"), [2], patch, [spec]))
    assert outcome.error is ReferenceNotFound
    patch = HousePatch(owner_id=OptionalState.update(THEIRS))
    spec = WholeHouse(3, "new", THEIRS, tenant="b")
    assert (await answer(verb, VerbCall(houses, AnyOf(A, Of("b")), [2], patch, [spec]))).error is None


class AgentRow(Base):
    __tablename__ = "agents"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "agent"}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    tenant: Mapped[str]


class SpyRow(AgentRow):
    __mapper_args__ = {"polymorphic_identity": "spy"}


class MoleRow(AgentRow):
    __tablename__ = "moles"
    __mapper_args__ = {"polymorphic_identity": "mole"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("agents.id"), primary_key=True)
    depth: Mapped[int] = mapped_column(default=1)


class TaskRow(Base):
    __tablename__ = "tasks"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    agent_id: Mapped[int] = mapped_column(sa.ForeignKey("agents.id"))


@dataclass(frozen=True)
class TaskCreate(Spec[TaskRow], filled={"tenant"}):
    agent_id: int


@dataclass(frozen=True)
class TasksOf(SearchScope):
    """Says nothing of agents but of spies and moles."""

    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [TaskRow.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {SpyRow: [SpyRow.tenant == self.tenant], MoleRow: [MoleRow.tenant == self.tenant, MoleRow.depth > 0]}


class Tasks(Repository[TaskRow, TaskRow, int]):
    pass


@pytest.mark.parametrize("verb", ["create", "batch_create", "load"])
async def test_what_is_said_of_a_class_holds_for_keys_to_the_one_above(any_tables: WithTables, verb: str) -> None:
    """Rows of that class are held; of others in the table nothing is said."""
    async with any_tables(AgentRow, MoleRow, TaskRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([AgentRow(id=1, tenant="b"), SpyRow(id=2, tenant="b"), MoleRow(id=3, tenant="b")])
            db_sess.add_all([AgentRow(id=4, tenant="a"), SpyRow(id=5, tenant="a"), MoleRow(id=6, tenant="a")])
        for agent, is_inside in ((1, True), (2, False), (3, False), (4, True), (5, True), (6, True), (99, False)):
            outcome = await answer(verb, VerbCall(Tasks(db), TasksOf("a"), specs=[TaskCreate(agent)]))
            assert outcome.error is (None if is_inside else ReferenceNotFound)


@dataclass(frozen=True)
class MovePatch(Patch[HouseRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    name: OptionalState[str] = OptionalState.nop()


@pytest.mark.parametrize("verb", [verb for verb in WRITERS if VERBS[verb].does is Does.CHANGE])
async def test_a_row_is_not_moved_away_from_what_it_refers_to(houses: Houses, verb: str) -> None:
    """Of several scopes the row and its owner are inside the same one, also where the tenant alone is written."""
    both = AnyOf(A, Of("b"))
    await houses.create(HouseCreate(3, "free"), scope=A)
    await houses.update(1, HousePatch(owner_id=OptionalState.update(MINE)), scope=A)
    move = MovePatch(tenant=OptionalState.update("b"))
    outcome = await answer(verb, VerbCall(houses, both, [1], move))
    assert outcome.error is ReferenceNotFound
    assert (await answer(verb, VerbCall(houses, both, [3], move))).error is None
    await houses.update(1, HousePatch(owner_id=OptionalState.update(THEIRS)), scope=Unscoped("an administrator"))
    renamed = MovePatch(name=OptionalState.update("renamed"))
    assert (await answer(verb, VerbCall(houses, both, [1], renamed))).error is None
