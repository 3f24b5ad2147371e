"""Values that are one to Python and two to the database: no row changes its tenant by that, or is given for another."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from columns import Folded
from rowsmith import (
    AllOf,
    Condition,
    Conflict,
    Database,
    EntityNotFound,
    InvalidValue,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    Spec,
)
from rowsmith.cache import MemoryCacheSource
from rowsmith.testing import WithTables


class Email:
    """An address; those are equal that differ by the case of their letters."""

    def __init__(self, text: str) -> None:
        self.text = text

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Email) and self.text.casefold() == other.text.casefold()

    @override
    def __hash__(self) -> int:
        return hash(self.text.casefold())

    @override
    def __repr__(self) -> str:
        return f"Email({self.text})"


class EmailType(sa.TypeDecorator[Email]):
    impl, cache_ok = sa.String, True

    @override
    def process_bind_param(self, value: Email | None, dialect: Any) -> str | None:
        return None if value is None else value.text

    @override
    def process_result_value(self, value: str | None, dialect: Any) -> Email | None:
        return None if value is None else Email(value)


class DecimalText(sa.TypeDecorator[Decimal]):
    """Decimals with all their digits, as text."""

    impl, cache_ok = sa.String, True

    @override
    def process_bind_param(self, value: Decimal | None, dialect: Any) -> str | None:
        return None if value is None else str(value)

    @override
    def process_result_value(self, value: str | None, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(value)


class Digest(sa.TypeDecorator[str]):
    """What is looked for by its digest, and never read."""

    impl, cache_ok = sa.String, True

    @override
    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else hashlib.sha256(value.encode()).hexdigest()


class Base(DeclarativeBase):
    pass


class FoldedRow(Base):
    __tablename__ = "folded"

    id: Mapped[str] = mapped_column(Folded, primary_key=True)
    up: Mapped[str | None] = mapped_column(sa.ForeignKey("folded.id"), type_=Folded)


@dataclass(frozen=True)
class FoldedCreate(Spec[FoldedRow]):
    id: str
    up: str | None


class FoldedRows(Repository[FoldedRow, FoldedCreate, str]):
    pass


class TurnRow(Base):
    __tablename__ = "turns"

    id: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True), primary_key=True)
    up: Mapped[dt.datetime | None] = mapped_column(sa.ForeignKey("turns.id"))


@dataclass(frozen=True)
class TurnCreate(Spec[TurnRow]):
    id: dt.datetime
    up: dt.datetime | None


class Turns(Repository[TurnRow, TurnCreate, dt.datetime]):
    pass


class PlanRow(Base):
    __tablename__ = "plans"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[Email] = mapped_column(EmailType)
    price: Mapped[Decimal] = mapped_column(DecimalText)
    daily: Mapped[dt.time] = mapped_column(sa.Time(timezone=True))
    facts: Mapped[dict[str, Any]] = mapped_column(sa.JSON().with_variant(JSONB, "postgresql"))
    sought: Mapped[str] = mapped_column(Digest, unique=True)


@dataclass(frozen=True)
class Plan:
    id: int
    price: Decimal


@dataclass(frozen=True)
class PlanCreate(Spec[PlanRow]):
    owner: Email = Email("Ann@x.org")
    price: Decimal = Decimal("1.10")
    daily: dt.time = dt.time(10, tzinfo=dt.UTC)
    facts: Any = field(default_factory=dict[str, Any])
    sought: str = "s"


@dataclass(frozen=True)
class PlanPatch(Patch[PlanRow]):
    owner: OptionalState[Email] = OptionalState.nop()
    price: OptionalState[Decimal] = OptionalState.nop()
    daily: OptionalState[dt.time] = OptionalState.nop()
    facts: OptionalState[Any] = OptionalState.nop()


@dataclass(frozen=True)
class By(SearchScope):
    name: str
    value: Any

    @override
    def to_conditions(self) -> list[Condition]:
        return [getattr(PlanRow, self.name) == self.value]


class Plans(Repository[PlanRow, Plan, int]):
    pass


class MailRow(Base):
    __tablename__ = "mails"

    id: Mapped[Email] = mapped_column(EmailType, primary_key=True)
    note: Mapped[str]


@dataclass(frozen=True)
class MailCreate(Spec[MailRow]):
    id: Email
    note: str


class Mails(Repository[MailRow, MailCreate, Email]):
    pass


class HourRow(Base):
    __tablename__ = "hours"

    at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True), primary_key=True)
    note: Mapped[str]
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))


@dataclass(frozen=True)
class HourCreate(Spec[HourRow]):
    at: dt.datetime
    note: str


@dataclass(frozen=True)
class HourPatch(Patch[HourRow]):
    note: OptionalState[str] = OptionalState.nop()


class Hours(Repository[HourRow, HourCreate, dt.datetime]):
    soft_delete = SoftDelete(HourRow.deleted_at)


EQUAL: dict[str, tuple[Any, Any]] = {
    "owner": (Email("Ann@x.org"), Email("ann@x.org")),
    "price": (Decimal("1.10"), Decimal("1.1")),
    "daily": (dt.time(10, tzinfo=dt.UTC), dt.time(11, tzinfo=dt.timezone(dt.timedelta(hours=1)))),
    "facts": ({"vip": 1}, {"vip": True}),
}
"""By attribute two values that are equal in Python."""

Change = Callable[[Plans, int, PlanPatch, By], Awaitable[Any]]
BY_SOUGHT = Conflict(columns=[PlanRow.sought])

CHANGES: dict[str, Change] = {
    "update": lambda plans, id_, patch, scope: plans.update(id_, patch, scope=scope),
    "batch_update": lambda plans, id_, patch, scope: plans.batch_update([id_], patch, scope=scope),
    "batch_update_each": lambda plans, id_, patch, scope: plans.batch_update_each({id_: patch}, scope=scope),
    "update_where": lambda plans, id_, patch, scope: plans.update_where([PlanRow.id == id_], patch, scope=scope),
}


def lanes_of(db: Database) -> list[Database]:
    return [db, Database(db.engine, native=False)]


@pytest.mark.parametrize("name", EQUAL)
async def test_no_row_is_moved_to_another_tenant_by_an_equal_value(any_tables: WithTables, name: str) -> None:
    """What the scope fixes is refused in another form, by every verb that changes rows."""
    own, other = EQUAL[name]
    async with any_tables(PlanRow) as db:
        plan = await Plans(db).create(PlanCreate(**{name: own}), scope=By(name, own))
        patch = PlanPatch(**{name: OptionalState.update(other)})
        for lane in lanes_of(db):
            for change in CHANGES.values():
                with pytest.raises(ScopeMismatch, match=f"PlanRow.{name} is fixed by the scope"):
                    await change(Plans(lane), plan.id, patch, By(name, own))
            with pytest.raises(ScopeMismatch) as told:
                await Plans(lane).batch_update_each({plan.id + 1: PlanPatch(), plan.id: patch}, scope=By(name, own))
            assert told.value.index == 1
            partial = await Plans(lane).batch_update_partial({plan.id: patch}, scope=By(name, own))
            assert [type(failure.error) for failure in partial.failed] == [ScopeMismatch]
            same = PlanPatch(**{name: OptionalState.update(own)})
            assert (await Plans(lane).update(plan.id, same, scope=By(name, own))).id == plan.id
        assert await Plans(db).exists(By(name, own), id=plan.id)


@pytest.mark.parametrize("name", EQUAL)
async def test_no_row_is_made_otherwise_than_its_spec_says(any_tables: WithTables, name: str) -> None:
    """A spec with an equal value is refused in the scope of another one."""
    own, other = EQUAL[name]
    async with any_tables(PlanRow) as db:
        for lane in lanes_of(db):
            plans, spec = Plans(lane), PlanCreate(**{name: other})
            for making in (plans.create(spec, scope=By(name, own)), plans.batch_create([spec], scope=By(name, own))):
                with pytest.raises(ScopeMismatch, match=f"PlanRow.{name} is fixed by the scope"):
                    await making
        assert await Plans(db).count() == 0


async def test_a_scope_that_says_two_equal_things_of_a_column_lets_nothing_be_made(any_tables: WithTables) -> None:
    """As it lets nothing be found."""
    scope = AllOf(*(PlanRow.price == value for value in EQUAL["price"]))

    @dataclass(frozen=True)
    class Both(SearchScope):
        @override
        def to_conditions(self) -> list[Condition]:
            return [scope]

    async with any_tables(PlanRow) as db:
        for lane in lanes_of(db):
            with pytest.raises(ScopeMismatch):
                await Plans(lane).create(PlanCreate(), scope=Both())


async def test_a_trigger_that_gives_a_row_to_another_tenant_is_noticed(with_tables: WithTables) -> None:
    """Also where Python takes what it writes for what the scope says."""
    async with with_tables(PlanRow) as db:
        async with db.engine.begin() as connection:
            for statement in (
                """CREATE FUNCTION fold_owner() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN NEW.owner = lower(NEW.owner); RETURN NEW; END'""",
                "CREATE TRIGGER fold BEFORE INSERT ON plans FOR EACH ROW EXECUTE FUNCTION fold_owner()",
            ):
                await connection.exec_driver_sql(statement)
        ann = By("owner", Email("Ann@x.org"))
        for lane in (*lanes_of(db), Database(db.engine, writes="statement")):
            plans = Plans(lane)
            for making in (
                plans.create(PlanCreate(), scope=ann),
                plans.upsert(PlanCreate(), scope=ann, conflict=BY_SOUGHT),
                plans.batch_create([PlanCreate(), PlanCreate(sought="t")], scope=ann),
                plans.batch_upsert([PlanCreate(), PlanCreate(sought="t")], scope=ann, conflict=BY_SOUGHT),
                plans.load([PlanCreate()], scope=ann),
            ):
                with pytest.raises(ScopeMismatch, match="a trigger of the database took a row out of its scope"):
                    await making
        assert await Plans(db).count() == 0


async def test_a_scope_over_what_is_never_read_as_it_was_written(any_tables: WithTables) -> None:
    """Rows are made in it, found and changed, and others are not."""
    async with any_tables(PlanRow) as db:
        for number, lane in enumerate(lanes_of(db)):
            plans, scope = Plans(lane), By("sought", f"a{number}")
            made = await plans.create(PlanCreate(sought=scope.value), scope=scope)
            assert await plans.get(made.id, scope) == made
            await plans.purge(made.id, scope=scope)
            (made,) = await plans.batch_create([PlanCreate(sought=scope.value)], scope=scope)
            with pytest.raises(EntityNotFound):
                await plans.get(made.id, By("sought", "b"))


@pytest.mark.parametrize("name", ["owner", "price", "daily"])
async def test_a_cache_gives_no_row_of_another_tenant(any_tables: WithTables, name: str) -> None:
    """Nor says of one's own that it is absent because the other's was."""
    own, other = EQUAL[name]
    async with any_tables(PlanRow) as db:
        plain = Plans(db)
        plan = await plain.create(PlanCreate(**{name: own}))
        for first, second in ((own, other), (other, own)):
            plans = Plans(db, cache_source=MemoryCacheSource(Plan))
            for value in (first, second, first):
                assert await plans.find(plan.id, By(name, value)) == await plain.find(plan.id, By(name, value))


async def test_each_of_two_rows_whose_keys_are_equal_is_itself(any_tables: WithTables) -> None:
    """Both are made; a batch that could not tell them apart is refused."""
    big, small = EQUAL["owner"]
    async with any_tables(MailRow) as db:
        for lane in lanes_of(db):
            mails = Mails(lane)
            made = await mails.batch_create([MailCreate(big, "big"), MailCreate(small, "small")])
            assert [mail.note for mail in made] == ["big", "small"]
            assert [(await mails.get(id_)).note for id_ in (big, small)] == ["big", "small"]
            assert [mail.note for mail in await mails.batch_get([small, small])] == ["small", "small"]
            for batch in (
                mails.batch_get([big, small]),
                mails.batch_purge([big, small]),
                mails.batch_upsert([MailCreate(big, "x"), MailCreate(small, "y")]),
            ):
                with pytest.raises(
                    InvalidValue, match=r"index 1: Python holds its key to be equal .* at index 0"
                ) as told:
                    await batch
                assert told.value.index == 1
            for partial in (
                await mails.batch_upsert_partial([MailCreate(big, "x"), MailCreate(small, "y")]),
                await mails.batch_purge_partial([big, small]),
            ):
                assert [one.index for one in partial.succeeded] == [0]
                (failed,) = partial.failed
                assert "Python holds its key to be equal" in str(failed.error)
            await mails.create(MailCreate(big, "x"))
            for id_ in (big, small):
                await mails.batch_purge([id_])


async def test_an_hour_that_comes_twice_is_two_keys(any_tables: WithTables) -> None:
    """Every batch verb finds both, in whichever time zone they are given."""
    berlin = ZoneInfo("Europe/Berlin")
    first = dt.datetime(2020, 10, 25, 2, 30, tzinfo=berlin)
    both = [first, first.replace(fold=1)]
    renamed = HourPatch(note=OptionalState.update("n"))
    async with any_tables(HourRow) as db:
        for lane in lanes_of(db):
            hours = Hours(lane)
            made = await hours.batch_create([HourCreate(at, f"{at.fold}") for at in both])
            assert [hour.note for hour in made] == ["0", "1"]
            assert [(await hours.get(at)).note for at in both] == ["0", "1"]
            assert [hour.note for hour in await hours.batch_get([both[1], both[0]])] == ["1", "0"]
            assert [hour.note for hour in await hours.batch_get([both[1].astimezone(dt.UTC)])] == ["1"]
            upserted = await hours.batch_upsert([HourCreate(at, f"u{at.fold}") for at in both])
            assert [(each.data.note, each.inserted) for each in upserted.succeeded] == [("u0", False), ("u1", False)]
            partial = await hours.batch_upsert_partial([HourCreate(at, f"p{at.fold}") for at in both])
            assert (partial.failed, [each.data.data.note for each in partial.succeeded]) == ([], ["p0", "p1"])
            for batch in (
                hours.batch_update(both, renamed),
                hours.batch_update_each(dict.fromkeys([both[1]], renamed)),
                hours.batch_update([both[1]], renamed),
                hours.batch_delete(both),
                hours.batch_restore(both),
                hours.batch_purge(both),
            ):
                assert (await batch).missing == []
            with pytest.raises(InvalidValue, match="the spec at index 1 has the key of the one at index 0"):
                await hours.batch_upsert([HourCreate(at, "x") for at in (both[1], both[1].astimezone(dt.UTC))])
            with pytest.raises(InvalidValue, match="the id at index 1 stands at index 0 already") as twice:
                await hours.batch_purge([both[1], both[1].astimezone(dt.UTC)])
            assert twice.value.index == 1
            assert await hours.count() == 0


SECOND = dt.datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
REFERRING: dict[str, tuple[Any, list[Any]]] = {
    "folded": (FoldedRows, [FoldedCreate("b", "A"), FoldedCreate("A", None), FoldedCreate("c", "nobody")]),
    "moments": (
        Turns,
        [
            TurnCreate(SECOND + dt.timedelta(days=1), SECOND.astimezone(dt.UTC)),
            TurnCreate(SECOND, None),
            TurnCreate(SECOND + dt.timedelta(days=2), SECOND.replace(fold=0)),
        ],
    ),
}
"""Repositories, with rows of which the first refers to the second in another form, and the third to none."""


@pytest.mark.parametrize("kind", REFERRING)
async def test_rows_that_refer_to_each_other_in_another_form_stay_together(any_tables: WithTables, kind: str) -> None:
    """In every partial form, and where all of them go together."""
    made, specs = REFERRING[kind]
    async with any_tables(FoldedRow, TurnRow) as db:
        for lane in lanes_of(db):
            rows = made(lane)
            for write in (rows.batch_create_partial, rows.batch_upsert_partial):
                written = await write(specs)
                assert [one.index for one in written.succeeded] == [0, 1]
                assert [(one.index, type(one.error)) for one in written.failed] == [(2, ReferenceNotFound)]
                await rows.purge_where((), all_rows=True)
            created = await rows.batch_create([specs[1], specs[0]])
            assert [await rows.get(spec.id) for spec in (specs[1], specs[0])] == created
            await rows.purge_where((), all_rows=True)
