"""Rows of other classes that are kept in a table of the row's own: the conditions of the scope hold for them, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    PUBLIC,
    AllOf,
    AnyOf,
    Condition,
    Conflict,
    Database,
    NextValue,
    Not,
    Patch,
    ReferenceNotFound,
    Repository,
    ScopeMismatch,
    SearchScope,
    Spec,
    TriState,
    related,
)
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, Outcome, VerbCall, answer
from support import WAYS, share
from tenants import stored


class Base(DeclarativeBase):
    pass


class PersonRow(Base):
    __tablename__ = "kin_persons"
    __table_args__ = (
        sa.UniqueConstraint("realm", "id"),
        sa.ForeignKeyConstraint(["realm", "deputy_id"], ["kin_persons.realm", "kin_persons.id"]),
    )
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    realm: Mapped[int] = mapped_column(default=1, server_default="1")
    kind: Mapped[str]
    tenant: Mapped[str]
    boss_id: Mapped[int | None] = mapped_column(sa.ForeignKey("kin_persons.id"))
    chief_id: Mapped[int | None] = mapped_column(sa.ForeignKey("kin_managers.id"))
    deputy_id: Mapped[int | None]
    boss: Mapped[PersonRow | None] = relationship(remote_side=[id], foreign_keys=[boss_id], viewonly=True)
    staff: Mapped[list[PersonRow]] = relationship(foreign_keys=[boss_id], order_by="PersonRow.id", viewonly=True)
    clerks: Mapped[list[ClerkRow]] = relationship(foreign_keys=[boss_id], order_by="PersonRow.id", viewonly=True)
    aides: Mapped[list[AideRow]] = relationship(foreign_keys=[boss_id], overlaps="boss")
    chief: Mapped[ManagerRow | None] = relationship(
        primaryjoin="foreign(PersonRow.chief_id) == ManagerRow.id", remote_side="ManagerRow.id", viewonly=True
    )


class ClerkRow(PersonRow):
    """Shares the table."""

    __mapper_args__ = {"polymorphic_identity": "clerk"}


class AideRow(PersonRow):
    """Shares it, too."""

    __mapper_args__ = {"polymorphic_identity": "aide"}


class ManagerRow(PersonRow):
    """Has a table beside it."""

    __tablename__ = "kin_managers"

    id: Mapped[int] = mapped_column(sa.ForeignKey("kin_persons.id"), primary_key=True)
    budget: Mapped[int | None]
    buddy_id: Mapped[int | None] = mapped_column(sa.ForeignKey("kin_persons.id"))
    guard_id: Mapped[int | None] = mapped_column(sa.ForeignKey("kin_guards.id"))
    buddy: Mapped[PersonRow | None] = relationship(
        primaryjoin="foreign(ManagerRow.buddy_id) == PersonRow.id", remote_side="PersonRow.id", viewonly=True
    )
    guard: Mapped[GuardRow | None] = relationship(
        primaryjoin="foreign(ManagerRow.guard_id) == GuardRow.id", remote_side="GuardRow.id", viewonly=True
    )

    __mapper_args__ = {"polymorphic_identity": "manager", "inherit_condition": id == PersonRow.id}


class DirectorRow(ManagerRow):
    """Shares both."""

    __mapper_args__ = {"polymorphic_identity": "director"}


class GuardRow(PersonRow):
    """Has another table beside it."""

    __tablename__ = "kin_guards"

    id: Mapped[int] = mapped_column(sa.ForeignKey("kin_persons.id"), primary_key=True)

    __mapper_args__ = {"polymorphic_identity": "guard", "inherit_condition": id == PersonRow.id}


ROWS = (PersonRow, ManagerRow, GuardRow)
KINDS: tuple[type[PersonRow], ...] = (PersonRow, ClerkRow, AideRow, ManagerRow, DirectorRow, GuardRow)
PERSON, CLERK, AIDE, MANAGER, DIRECTOR, GUARD = range(1, 7)
"""The ids of tenant a's rows; those of b's are 10 more."""
MANAGERS = (MANAGER, DIRECTOR)
TO: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("boss_id", "deputy_id", "buddy_id"), tuple(range(1, 7))),
    "chief_id": MANAGERS,
    "guard_id": (GUARD,),
}
"""Which of a's rows each key may lead to."""


@dataclass(frozen=True)
class Who:
    id: int


@dataclass(frozen=True)
class Person:
    id: int
    boss: Who | None
    chief: Who | None
    staff: tuple[Who, ...]
    clerks: tuple[Who, ...]


@dataclass(frozen=True)
class Manager(Person):
    buddy: Who | None
    guard: Who | None


@dataclass(frozen=True)
class Says(SearchScope):
    """What it is given."""

    own: Sequence[Condition]
    others: Mapping[type[Any], Sequence[Condition]] = field(default_factory=dict[Any, Any])

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return self.own

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return self.others


def of(row: type[PersonRow], tenant: str = "a", **others: Any) -> Says:
    return Says([row.tenant == tenant], {NAMED[name]: said for name, said in others.items()})


NAMED: dict[str, type[Any]] = {row.__name__.removesuffix("Row").lower(): row for row in KINDS}


@dataclass(frozen=True)
class PatchKeys:
    boss_id: TriState[int] = TriState.nop()
    chief_id: TriState[int] = TriState.nop()
    deputy_id: TriState[int] = TriState.nop()


@dataclass(frozen=True)
class PatchMore(PatchKeys):
    buddy_id: TriState[int] = TriState.nop()
    guard_id: TriState[int] = TriState.nop()


@dataclass(frozen=True)
class PersonPatch(PatchKeys, Patch[PersonRow]):
    pass


@dataclass(frozen=True)
class ClerkPatch(PatchKeys, Patch[ClerkRow]):
    pass


@dataclass(frozen=True)
class ManagerPatch(PatchMore, Patch[ManagerRow]):
    pass


@dataclass(frozen=True)
class DirectorPatch(PatchMore, Patch[DirectorRow]):
    pass


@dataclass(frozen=True)
class Keys:
    id: int
    boss_id: int | None = None
    chief_id: int | None = None
    deputy_id: int | None = None


@dataclass(frozen=True)
class MoreKeys(Keys):
    buddy_id: int | None = None
    guard_id: int | None = None


@dataclass(frozen=True)
class PersonCreate(Keys, Spec[PersonRow], filled={"tenant"}):
    pass


@dataclass(frozen=True)
class ClerkCreate(Keys, Spec[ClerkRow], filled={"tenant"}):
    pass


@dataclass(frozen=True)
class ManagerCreate(MoreKeys, Spec[ManagerRow], filled={"tenant"}):
    pass


@dataclass(frozen=True)
class DirectorCreate(MoreKeys, Spec[DirectorRow], filled={"tenant"}):
    pass


class Persons(Repository[PersonRow, Person, int]):
    conflict = Conflict([PersonRow.id])


class Clerks(Repository[ClerkRow, Person, int]):
    conflict = Conflict([ClerkRow.id])


class Managers(Repository[ManagerRow, Manager, int]):
    pass


class Directors(Repository[DirectorRow, Manager, int]):
    pass


MADE: dict[type[PersonRow], tuple[Any, Any, Any, int]] = {
    PersonRow: (Persons, PersonPatch, PersonCreate, PERSON),
    ClerkRow: (Clerks, ClerkPatch, ClerkCreate, CLERK),
    ManagerRow: (Managers, ManagerPatch, ManagerCreate, MANAGER),
    DirectorRow: (Directors, DirectorPatch, DirectorCreate, DIRECTOR),
}
WRITERS = [verb for verb, told in VERBS.items() if told.does in (Does.MAKE, Does.PUT, Does.CHANGE)]
NEW, NOBODY = 30, 99


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Of each class one row is a's, and one is b's."""
    async with any_tables(*ROWS) as db:
        async with db.begin_session() as db_sess:
            for id, kind in enumerate(KINDS, 1):
                db_sess.add_all([kind(id=id, tenant="a"), kind(id=id + 10, tenant="b")])
        yield db


async def written(db: Database, row: type[PersonRow], verb: str, scope: SearchScope | None, **keys: int) -> Outcome:
    """Give what a verb answers that writes these keys into a new row of a class, or a's own."""
    kind, patch, spec, id = MADE[row]
    made = patch(**{name: TriState.update(value) for name, value in keys.items()})
    call = VerbCall(kind(db, resilience=None), scope, [id], made, [spec(NEW, **keys)])
    try:
        return await answer(verb, call)
    finally:
        await kind(db).purge_where([row.id == NEW])


CASES = [
    (row, verb)
    for row in MADE
    for verb in WRITERS
    if not (VERBS[verb].one_table or verb == "upsert") or row is ClerkRow
]


@pytest.mark.parametrize("row, verb", share(CASES))
async def test_no_key_leads_to_anothers_row_in_the_same_tables(db: Database, row: Any, verb: str) -> None:
    """Of whichever class it is, and whichever of them the key leads to; one's own are taken, of each class."""
    for key, mine in TO.items():
        if not hasattr(row, key):
            continue
        absent = await written(db, row, verb, of(row), **{key: NOBODY})
        assert absent.error is ReferenceNotFound
        for id in mine if verb in ("create", "update") else mine[-1:]:
            assert (await written(db, row, verb, of(row), **{key: id})).error is None
            assert await written(db, row, verb, of(row), **{key: id + 10}) == absent


STEPS: dict[str, Any] = {
    "boss_id": PersonRow.boss,
    "chief_id": PersonRow.chief,
    "buddy_id": ManagerRow.buddy,
    "guard_id": ManagerRow.guard,
}


class LoadedManagers(Repository[ManagerRow, Manager, int]):
    """The same data, made of whole rows."""

    loads = (ManagerRow.boss, ManagerRow.chief, ManagerRow.staff, ManagerRow.clerks, ManagerRow.buddy, ManagerRow.guard)

    @override
    def to_data(self, row: ManagerRow) -> Manager:
        ones = (row.boss, row.chief, row.buddy, row.guard)
        boss, chief, buddy, guard = (None if who is None else Who(who.id) for who in ones)
        staff, clerks = (tuple(Who(who.id) for who in these) for these in (row.staff, row.clerks))
        return Manager(row.id, boss, chief, staff, clerks, buddy, guard)


async def led(db: Database, id: int, **keys: int) -> None:
    """Have a row's keys lead there, whatever a scope says."""
    async with db.begin_session() as db_sess:
        tables: list[Any] = [PersonRow.__table__, ManagerRow.__table__]
        for table in tables:
            values = {key: value for key, value in keys.items() if key in table.c}
            if values:
                await db_sess.execute(sa.update(table).where(table.c.id == id).values(values))


@pytest.mark.parametrize("kind", [Managers, LoadedManagers])
async def test_what_no_key_may_lead_to_is_not_shown(db: Database, kind: Any) -> None:
    """Nested, loaded and asked about by filters."""
    managers = kind(db, resilience=None)
    for key, step in STEPS.items():
        for id in TO[key]:
            for to, is_seen in ((id, True), (id + 10, False)):
                await led(db, MANAGER, **{key: to})
                for found in (await managers.get(MANAGER, of(ManagerRow)), await managers.first(of(ManagerRow))):
                    assert getattr(found, key.removesuffix("_id")) == (Who(to) if is_seen else None)
                filters = [ManagerRow.id == MANAGER, related(step)]
                assert await managers.count(of(ManagerRow), filters) == is_seen
                assert await managers.count(None, filters) == 1
        await led(db, MANAGER, **{key: MANAGER if key != "guard_id" else GUARD})
    for id in range(1, 7):
        await led(db, id, boss_id=MANAGER)
        await led(db, id + 10, boss_id=MANAGER)
    shown = await managers.get(MANAGER, of(ManagerRow))
    assert shown.staff == tuple(map(Who, range(1, 7)))
    assert shown.clerks == (Who(CLERK),)
    assert len((await managers.get(MANAGER)).staff) == 12


@pytest.mark.parametrize(
    "others, inside",
    [
        ({}, {PERSON, CLERK, AIDE, MANAGER, DIRECTOR, GUARD}),
        ({"person": PUBLIC}, {*range(1, 7), *range(11, 17)} - {CLERK + 10}),
        ({"person": [PersonRow.tenant == "b"]}, {*range(11, 17)} - {CLERK + 10}),
        ({"manager": PUBLIC}, {*range(1, 7), MANAGER + 10, DIRECTOR + 10}),
        ({"manager": [ManagerRow.tenant == "b"]}, {PERSON, CLERK, AIDE, GUARD, MANAGER + 10, DIRECTOR + 10}),
        ({"aide": PUBLIC, "director": PUBLIC}, {*range(1, 7), AIDE + 10, DIRECTOR + 10}),
        ({"clerk": PUBLIC}, {*range(1, 7)}),
        ({"clerk": [ClerkRow.id > 20]}, {*range(1, 7)} - {CLERK}),
    ],
)
async def test_what_is_said_of_their_class_goes_before(db: Database, others: Any, inside: set[int]) -> None:
    """Also of the one above it, or below; the scope's own rows are held by its own conditions besides."""
    scope = of(ClerkRow, **others)
    clerks = Clerks(db, resilience=None)
    for id in share({*range(1, 7), *range(11, 17)} - {CLERK}):
        ways = (scope, AllOf(scope, ClerkRow.tenant == "a"), AnyOf(scope, of(ClerkRow, "c", **others)))
        for turn in range(min(WAYS, 3)):
            put_together = ways[(id + turn) % 3]
            outcome = await written(db, ClerkRow, "update", put_together, boss_id=id)
            assert outcome.error is (None if id in inside else ReferenceNotFound), id
        await led(db, CLERK, boss_id=id)
        shown = await clerks.get(CLERK, scope)
        assert shown.boss == (Who(id) if id in inside else None), id


WITH_BUDGETS: dict[str, tuple[Callable[[], Sequence[Condition]], set[int]]] = {
    "both": (lambda: [ManagerRow.tenant == "a", ManagerRow.budget > 0], {MANAGER}),
    "one of a team": (
        lambda: [AnyOf(ManagerRow.tenant == "a", ManagerRow.budget > 0)],
        {*range(1, 7), MANAGER + 10},
    ),
    "or": (lambda: [sa.or_(ManagerRow.tenant == "a", ManagerRow.budget > 0)], {*range(1, 7), MANAGER + 10}),
    "and in or": (
        lambda: [sa.or_(ManagerRow.tenant == "c", sa.and_(ManagerRow.budget > 0, ManagerRow.tenant == "a"))],
        {MANAGER},
    ),
    "is none": (lambda: [ManagerRow.budget.is_(None)], {DIRECTOR, DIRECTOR + 10}),
    "not": (lambda: [Not(ManagerRow.budget > 0)], {DIRECTOR, DIRECTOR + 10}),
    "not a tenant": (lambda: [Not(ManagerRow.tenant == "b")], {*range(1, 7)}),
    "among": (
        lambda: [ManagerRow.id.in_(sa.select(ManagerRow.id).where(ManagerRow.budget > 0))],
        {MANAGER, MANAGER + 10},
    ),
    "text": (lambda: [sa.type_coerce(sa.text("kin_managers.budget > 0"), sa.Boolean)], {MANAGER, MANAGER + 10}),
    "text of both": (lambda: [sa.type_coerce(sa.text("kin_persons.tenant = 'a'"), sa.Boolean)], {MANAGER, DIRECTOR}),
    "related": (lambda: [ManagerRow.id > 0, related(ManagerRow.buddy, PersonRow.tenant == "a")], {MANAGER}),
    "any": (lambda: [ManagerRow.tenant != "c", ManagerRow.staff.any(PersonRow.kind == "clerk")], {PERSON, MANAGER}),
    "key": (lambda: [ManagerRow.id < 10], {MANAGER, DIRECTOR}),
}


@pytest.mark.parametrize("form", WITH_BUDGETS)
async def test_what_a_row_does_not_have_is_not_inside(db: Database, form: str) -> None:
    """Conditions that read a table of the class's own hold for no row without a part in it."""
    conditions, inside = WITH_BUDGETS[form]
    async with db.begin_session() as db_sess:
        table: Any = ManagerRow.__table__
        await db_sess.execute(sa.update(table).where(table.c.id.in_([MANAGER, MANAGER + 10])).values(budget=1))
        await db_sess.execute(sa.update(table).where(table.c.id == MANAGER).values(buddy_id=CLERK))
    await led(db, CLERK, boss_id=MANAGER)
    await led(db, CLERK + 10, boss_id=PERSON)
    scope, own = Says(conditions()), next(id for id in (MANAGER, DIRECTOR) if id in inside)
    for id in share([PERSON, MANAGER + 10, MANAGER, DIRECTOR, GUARD, PERSON + 10]):
        patch = ManagerPatch(boss_id=TriState.update(id))
        outcome = await answer("update", VerbCall(Managers(db, resilience=None), scope, [own], patch))
        assert (outcome.error is None) is (id in inside), id
        await led(db, own, boss_id=id)
        for kind in (Managers, LoadedManagers):
            shown = await kind(db, resilience=None).get(own, scope)
            assert shown.boss == (Who(id) if id in inside else None), id


@pytest.mark.parametrize("other", [of(ManagerRow, "b"), ManagerRow.tenant == "b", AllOf(of(ManagerRow, "b"))])
async def test_scopes_put_together_do_not_cross(db: Database, other: Any) -> None:
    """A row and what it refers to are inside the same one, of whichever class that is."""
    managers, both = Managers(db, resilience=None), AnyOf(of(ManagerRow), other)
    for own, tenth in ((MANAGER, 0), (MANAGER + 10, 10)):
        for id in (PERSON, CLERK, DIRECTOR, GUARD):
            for to, error in ((id + tenth, None), (id + 10 - tenth, ReferenceNotFound)):
                patch = ManagerPatch(boss_id=TriState.update(to))
                assert (await answer("update", VerbCall(managers, both, [own], patch))).error is error


@pytest.mark.parametrize("twice", [False, True])
async def test_what_else_a_table_is_mapped_to_changes_nothing(any_tables: WithTables, twice: bool) -> None:
    """Whether that is another class without any, or not."""

    class Own(DeclarativeBase):
        pass

    class Animal(Own):
        __tablename__ = "kin_animals"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}

        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        tenant: Mapped[str]
        number: Mapped[int | None]
        in_id: Mapped[int | None] = mapped_column(sa.ForeignKey("kin_animals.id"))

    class Dog(Animal):
        __mapper_args__ = {"polymorphic_identity": "dog"}

    class Toy(Own):
        __tablename__ = "kin_toys"

        id: Mapped[int] = mapped_column(primary_key=True)
        tenant: Mapped[str]
        number: Mapped[int]
        of_id: Mapped[int] = mapped_column(sa.ForeignKey("kin_animals.id"))

    for number in range(4 if twice else 0):
        type(f"Plain{number}", (Own,), {"__table__": Animal.__table__})

    @dataclass(frozen=True)
    class DogCreate(Spec[Dog], filled={"tenant", "kind", "number"}):
        in_id: int

    @dataclass(frozen=True)
    class ToyCreate(Spec[Toy], filled={"tenant", "number"}):
        of_id: int

    @dataclass(frozen=True)
    class Data:
        id: int

    class Toys(Repository[Toy, Data, int]):
        next_value = NextValue(Toy.number, within=Toy.of_id)

    class Dogs(Repository[Dog, Data, int]):
        pass

    class Counted(Dogs):
        next_value = NextValue(Dog.number, within=Dog.in_id)

    async with any_tables(Animal, Toy) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([Animal(id=91, tenant="a"), Animal(id=92, tenant="b"), Dog(id=93, tenant="b")])
        own = [Dog.tenant == "a"]
        for scope, inside in ((Says(own), {91}), (Says(own, {Animal: PUBLIC}), {91, 92})):
            for dogs in (Dogs(db, resilience=None), Counted(db, resilience=None)):
                for id in (91, 92, 93):
                    outcome = await answer("create", VerbCall(dogs, scope, specs=[DogCreate(id)]))
                    assert outcome.error is (None if id in inside else ReferenceNotFound)
        toys = Says([Toy.tenant == "a"], {Animal: [Animal.tenant == "a"]})
        for id in (91, 92, 93):
            outcome = await answer("create", VerbCall(Toys(db, resilience=None), toys, specs=[ToyCreate(id)]))
            assert outcome.error is (None if id == 91 else ReferenceNotFound)


@dataclass(frozen=True)
class AideBelow(Spec[AideRow], filled={"boss_id", "tenant"}):
    id: int


@dataclass(frozen=True)
class AideOf(Spec[AideRow], filled={"boss_id"}):
    id: int
    tenant: str


@dataclass(frozen=True)
class ClerkTree(Spec[ClerkRow]):
    id: int
    aides: tuple[Any, ...]
    tenant: str = "a"


class StrictClerks(Clerks):
    scope_required = True


@pytest.mark.parametrize("kind", [Clerks, StrictClerks])
async def test_rows_of_a_tree_are_inside_too(db: Database, kind: Any) -> None:
    """They are of another class in the same table: what the scope fixes is theirs, and nothing else is taken."""
    clerks = kind(db, resilience=None)
    await clerks.create(ClerkTree(NEW, (AideBelow(NEW + 1), AideOf(NEW + 2, "a"))), scope=of(ClerkRow))
    for scope in (of(ClerkRow), AnyOf(of(ClerkRow), of(ClerkRow, "b")), AnyOf(of(ClerkRow), ClerkRow.tenant == "b")):
        with pytest.raises((ScopeMismatch, ReferenceNotFound)):
            await clerks.create(ClerkTree(NEW + 3, (AideOf(NEW + 4, "b"),)), scope=scope)
    found: Any = sa.select(PersonRow.id, PersonRow.tenant, PersonRow.kind).where(PersonRow.id >= NEW)
    assert [*await stored(db, found.order_by(PersonRow.id))] == [
        *((NEW, "a", "clerk"), (NEW + 1, "a", "aide"), (NEW + 2, "a", "aide"))
    ]
