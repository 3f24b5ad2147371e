"""Writes under an idempotency key: done once, for whoever asks again; told of where that cannot be."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from inspect import signature
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    Conflict,
    Database,
    DatabaseFault,
    EntityNotFound,
    IdempotencyMismatch,
    InvalidValue,
    OptionalState,
    Patch,
    Repository,
    Spec,
    TriState,
)
from rowsmith.idempotency import IdempotencyKeyRow
from rowsmith.testing import WithTables
from support import count_statements, is_waited_for
from tenants import (
    MemberCreate,
    MemberPatch,
    MemberRepository,
    MemberRow,
    NameTaken,
    OwnedBy,
    ThingPatch,
    ThingRepository,
    ThingRow,
    TokenCreate,
    TokenRepository,
    TokenRow,
)
from tenants.tools import MeterCreate, MeterPatch, MeterRepository, MeterRow, ToolsOf
from verbs import VERBS, spec

A, B = OwnedBy("a"), OwnedBy("b")
SEVEN = ThingPatch(uses=OptionalState.update(7))

Keyed = Callable[[ThingRepository, Any], Awaitable[Any]]
KEYED: dict[str, Keyed] = {
    "create": lambda things, key: things.create(spec(5), scope=A, idempotency_key=key),
    "update": lambda things, key: things.update(1, SEVEN, scope=A, expected_version=1, idempotency_key=key),
    "upsert": lambda things, key: things.upsert(spec(5), scope=A, idempotency_key=key),
    "batch_create": lambda things, key: things.batch_create([spec(5), spec(6)], scope=A, idempotency_key=key),
}


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[ThingRepository]:
    async with any_tables(ThingRow, IdempotencyKeyRow) as db:
        made = ThingRepository(db, resilience=None)
        await made.create(spec(1), scope=A)
        yield made


@pytest.fixture
async def on_postgresql(with_tables: WithTables) -> AsyncIterator[ThingRepository]:
    async with with_tables(ThingRow, IdempotencyKeyRow) as db:
        yield ThingRepository(db, resilience=None)


async def kept(db: Database) -> list[Any]:
    async with db.begin_session() as session:
        return list((await session.execute(sa.select(IdempotencyKeyRow.__table__))).all())


def test_every_verb_that_takes_a_key_is_tried() -> None:
    """A new one fails here until it stands in ``KEYED``."""
    assert set(KEYED) == {
        name for name in VERBS if "idempotency_key" in signature(getattr(Repository, name)).parameters
    }


@pytest.mark.parametrize("name", KEYED)
async def test_the_second_call_gives_what_the_first_wrote(name: str, things: ThingRepository) -> None:
    """A key changes nothing of the answer, nothing is written again, and one key is kept."""
    plain = None
    with pytest.raises(ZeroDivisionError):
        async with things.db.unit_of_work():
            plain = await KEYED[name](things, None)
            raise ZeroDivisionError
    first = await KEYED[name](things, "k")
    count = await things.count(A)
    assert await KEYED[name](things, "k") == first == plain
    assert await things.count(A) == count
    assert [row.operation for row in await kept(things.db)] == [name]


async def test_the_row_is_given_as_it_is_now(things: ThingRepository) -> None:
    """What was written to it since is there; whether an upsert made it stays what it was."""
    await things.create(spec(5), scope=A, idempotency_key="k")
    made = await things.upsert(spec(6), scope=A, idempotency_key="u")
    for id in (5, 6):
        await things.update(id, SEVEN, scope=A)
    assert (await things.create(spec(5), scope=A, idempotency_key="k")).uses == 7
    again = await things.upsert(spec(6), scope=A, idempotency_key="u")
    assert (again.inserted, again.data.uses) == (made.inserted, 7) == (True, 7)


async def test_another_body_or_verb_is_told(things: ThingRepository) -> None:
    """Nothing is written, and the error has a code of its own."""
    others = [
        lambda: things.create(replace(spec(5), uses=2), scope=A, idempotency_key="k"),
        lambda: things.create(spec(6), scope=A, idempotency_key="k"),
        lambda: things.upsert(spec(5), scope=A, idempotency_key="k"),
        lambda: things.batch_create([spec(5)], scope=A, idempotency_key="k"),
        lambda: things.update(1, SEVEN, scope=A, idempotency_key="k"),
    ]
    await things.create(spec(5), scope=A, idempotency_key="k")
    for other in others:
        with pytest.raises(IdempotencyMismatch) as told:
            await other()
        assert told.value.error_code.endswith("_idempotency-mismatch")
    assert await things.count(A) == 2


async def test_another_patch_or_version_is_another_body(things: ThingRepository) -> None:
    """States show no values in their repr, and are told apart all the same; an expression is told by its SQL."""
    uses: list[OptionalState[int]] = [
        OptionalState.update(8),
        OptionalState.expression(lambda: ThingRow.uses + 1),
        OptionalState.expression(lambda: ThingRow.uses + 2),
    ]
    others = [SEVEN, *(ThingPatch(uses=each) for each in uses), ThingPatch(note=TriState.nullify()), ThingPatch()]
    for number, patch in enumerate(others):
        await things.update(1, patch, scope=A, idempotency_key=f"{number}")
        for other in others:
            if other is not patch:
                with pytest.raises(IdempotencyMismatch):
                    await things.update(1, other, scope=A, idempotency_key=f"{number}")
        assert (await things.update(1, patch, scope=A, idempotency_key=f"{number}")).id == 1
    with pytest.raises(IdempotencyMismatch):
        await things.update(1, SEVEN, scope=A, expected_version=1, idempotency_key="0")


NUL: Any = "a\0b"
NOTHING: Any = None
UNFIT: dict[str, list[Keyed]] = {
    "create": [
        lambda things, key: things.create(replace(spec(5), name=NUL), scope=A, idempotency_key=key),
        lambda things, key: things.create(replace(spec(5), uses=2**40), scope=A, idempotency_key=key),
    ],
    "update": [
        lambda things, key: things.update(1, ThingPatch(name=OptionalState.update(NUL)), scope=A, idempotency_key=key),
        lambda things, key: things.update(2**40, SEVEN, scope=A, idempotency_key=key),
        lambda things, key: things.update(1, SEVEN, scope=A, expected_version=NUL, idempotency_key=key),
    ],
    "upsert": [
        lambda things, key: things.upsert(replace(spec(5), name=NUL), scope=A, idempotency_key=key),
        lambda things, key: things.upsert(replace(spec(5), id=NOTHING), scope=A, idempotency_key=key),
    ],
    "batch_create": [
        lambda things, key: things.batch_create([spec(5), replace(spec(6), name=NUL)], scope=A, idempotency_key=key),
    ],
}


@pytest.mark.parametrize("name", KEYED)
async def test_what_does_not_fit_is_refused_before_the_key_is_taken(name: str, things: ThingRepository) -> None:
    """As it is without a key: in the same words, and with nothing sent."""
    for call in UNFIT[name]:
        told = list[str]()
        for key in (None, "k"):
            with count_statements(things.db) as sent, pytest.raises(InvalidValue) as refused:
                await call(things, key)
            assert sent == []
            told.append(str(refused.value))
        assert told[0] == told[1]


async def test_a_body_that_nothing_tells_from_another_is_refused(any_tables: WithTables) -> None:
    """Before anything is sent; objects that hide their values, and what holds itself. Without a key it is written."""
    cycle: list[Any] = []
    cycle.append(cycle)
    async with any_tables(FormRow, IdempotencyKeyRow) as db:
        forms = FormRepository(db, resilience=None)
        await forms.create(FormCreate(1))
        for hidden in (object(), iter([1]), cycle):
            with count_statements(db) as sent, pytest.raises(InvalidValue, match="idempotency key"):
                await forms.create(FormCreate(2, kept=hidden), idempotency_key="k")
            assert sent == []
        await forms.create(FormCreate(2, kept=cycle))


async def test_another_conflict_is_another_body(things: ThingRepository) -> None:
    """An upsert by another key, or one that leaves a row as it is, is another write."""
    await things.upsert(spec(1), scope=A, idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        await things.upsert(spec(1), scope=A, conflict=Conflict(update=False), idempotency_key="k")


async def test_another_scopes_equal_key_is_another_key(things: ThingRepository) -> None:
    """Another tenant neither meets a mismatch nor learns that there is such a key."""
    await things.create(spec(5), scope=A, idempotency_key="k")
    assert (await things.create(spec(6), scope=B, idempotency_key="k")).tenant == "b"
    assert (await things.create(spec(5), scope=A, idempotency_key="k")).id == 5


async def test_another_tables_equal_key_is_another_key(any_tables: WithTables) -> None:
    """One request may write several rows under its one key."""
    async with any_tables(TokenRow, MemberRow, IdempotencyKeyRow) as db:
        await TokenRepository(db).create(TokenCreate("x"), idempotency_key="k")
        member = await MemberRepository(db).create(MemberCreate(1, "a@b.c"), idempotency_key="k")
        assert (member.group_id, member.email) == (1, "a@b.c")


async def test_a_row_in_several_tables_is_made_once(any_tables: WithTables) -> None:
    """It has one key, and is given whole."""
    async with any_tables(MeterRow, IdempotencyKeyRow) as db:
        meters, scope = MeterRepository(db), ToolsOf("a")
        meter = await meters.create(MeterCreate(1, "m"), scope=scope, idempotency_key="k")
        assert await meters.create(MeterCreate(1, "m"), scope=scope, idempotency_key="k") == meter
        patch = MeterPatch(uses=OptionalState.update(7))
        changed = await meters.update(1, patch, scope=scope, idempotency_key="p")
        assert await meters.update(1, patch, scope=scope, idempotency_key="p") == changed


async def test_a_row_that_is_out_of_sight_is_not_written_again(things: ThingRepository) -> None:
    """Deleted, purged or another tenant's by now, it is not found, all alike."""
    for id in (5, 6, 7):
        await things.create(spec(id), scope=A, idempotency_key=f"{id}")
    await things.delete(5, scope=A)
    await things.purge(6, scope=A)
    async with things.db.begin_session() as session:
        await session.execute(sa.update(ThingRow).where(ThingRow.id == 7).values(tenant="b"))
    for id in (5, 6, 7):
        with pytest.raises(EntityNotFound) as told:
            await things.create(spec(id), scope=A, idempotency_key=f"{id}")
        assert (told.value.missing, str(told.value)) == ((id,), "the thing was not found")


async def test_a_key_is_rolled_back_with_its_write(things: ThingRepository) -> None:
    """What a unit of work gives up was never asked for."""
    with pytest.raises(ZeroDivisionError):
        async with things.db.unit_of_work():
            await things.create(spec(5), scope=A, idempotency_key="k")
            assert (await things.create(spec(5), scope=A, idempotency_key="k")).id == 5
            raise ZeroDivisionError
    assert await kept(things.db) == []
    assert (await things.create(spec(6), scope=A, idempotency_key="k")).id == 6


async def test_a_key_is_kept_with_the_unit_of_work(things: ThingRepository) -> None:
    """What the unit commits is kept, for calls outside of it."""
    async with things.db.unit_of_work():
        first = await things.create(spec(5), scope=A, idempotency_key="k")
    assert await things.create(spec(5), scope=A, idempotency_key="k") == first


async def test_somebody_elses_session_has_its_keys(things: ThingRepository) -> None:
    """They are kept when its owner commits, and gone when it rolls back."""
    async with AsyncSession(things.db.engine) as session:
        inner = ThingRepository(Database.from_session(session))
        await inner.create(spec(5), scope=A, idempotency_key="k")
        assert (await inner.create(spec(5), scope=A, idempotency_key="k")).id == 5
        await session.rollback()
        assert (await inner.create(spec(6), scope=A, idempotency_key="k")).id == 6
        await session.commit()
    assert (await things.create(spec(6), scope=A, idempotency_key="k")).id == 6


async def test_a_write_that_failed_leaves_its_key_free(things: ThingRepository) -> None:
    """Whatever said no, the same key may be used for what is right then; also where the unit around went on."""
    with pytest.raises(NameTaken):
        await things.create(replace(spec(5), name="name 1"), scope=A, idempotency_key="k")
    async with things.db.unit_of_work():
        with pytest.raises(EntityNotFound):
            await things.update(99, SEVEN, scope=A, idempotency_key="k")
    assert [row.body for row in await kept(things.db)] == [None]
    assert (await things.create(spec(5), scope=A, idempotency_key="k")).id == 5
    assert (await things.create(spec(5), scope=A, idempotency_key="k")).id == 5


async def test_of_two_callers_at_once_one_writes(on_postgresql: ThingRepository) -> None:
    """The others wait for its transaction, and get its row."""
    things = on_postgresql
    calls = (things.create(spec(5), scope=A, idempotency_key="k") for _ in range(5))
    made = await asyncio.gather(*calls)
    assert made == [made[0]] * 5
    assert await things.count(A) == 1


async def test_who_waits_for_a_transaction_that_ends_in_nothing_writes(on_postgresql: ThingRepository) -> None:
    """A key that another caller has taken is free once that caller has rolled back."""
    things, taken = on_postgresql, asyncio.Event()

    async def other() -> Any:
        await taken.wait()
        return await things.create(spec(5), scope=A, idempotency_key="k")

    waiting = asyncio.create_task(other())
    with pytest.raises(ZeroDivisionError):
        async with things.db.unit_of_work() as unit:
            await things.create(spec(6), scope=A, idempotency_key="k")
            taken.set()
            assert await is_waited_for(unit.session, waiting)
            raise ZeroDivisionError
    assert (await waiting).id == 5


async def test_no_value_is_kept(things: ThingRepository) -> None:
    """Neither the key, nor the scope, nor what was written stands in the table: digests, and the primary key."""
    await things.create(replace(spec(5), name="ann@example.org"), scope=OwnedBy("ann-ltd"), idempotency_key="of ann")
    (row,) = await kept(things.db)
    text = repr(tuple(row)) + (row.kept or b"").decode("latin-1")
    assert "ann" not in text
    assert len(row.kept) < 20


async def test_what_the_table_is_missing_says_how_to_make_it(any_tables: WithTables) -> None:
    """A typed error that names the table and what makes it; nothing is written."""
    async with any_tables(ThingRow) as db:
        things = ThingRepository(db)
        await things.create(spec(1), scope=A)
        for call in KEYED.values():
            with pytest.raises(DatabaseFault, match=r"rowsmith_idempotency_keys.*rowsmith\.idempotency\.ddl"):
                await call(things, "k")
        assert [thing.uses for thing in (await things.search(A)).items] == [1]


async def test_any_text_is_a_key(things: ThingRepository) -> None:
    """It is digested, so no column has to hold it."""
    for id, key in enumerate(["\x00", "\ud800", "k" * 10_000], start=5):
        await things.create(spec(id), scope=A, idempotency_key=key)
        assert (await things.create(spec(id), scope=A, idempotency_key=key)).id == id


async def test_a_call_without_a_key_sends_nothing_more(things: ThingRepository) -> None:
    """What is not asked for costs no statement; a key costs three."""
    with count_statements(things.db) as sent:
        await things.create(spec(5), scope=A)
    assert len(sent) == 1
    with count_statements(things.db) as sent:
        await things.create(spec(6), scope=A, idempotency_key="k")
    assert len(sent) == 4
    with count_statements(things.db) as sent:
        await things.create(spec(6), scope=A, idempotency_key="k")
    assert len(sent) == 2


async def test_a_key_that_an_update_changes_is_kept_as_it_is_then(any_tables: WithTables) -> None:
    """Also where it is of several columns."""
    async with any_tables(MemberRow, IdempotencyKeyRow) as db:
        members = MemberRepository(db)
        await members.create(MemberCreate(1, "a@b.c"), idempotency_key="k")
        patch = MemberPatch(group_id=OptionalState.update(2))
        moved = await members.update((1, "a@b.c"), patch, idempotency_key="m")
        assert moved.group_id == 2
        assert await members.update((1, "a@b.c"), patch, idempotency_key="m") == moved


class FormBase(DeclarativeBase):
    pass


class FormRow(FormBase):
    __tablename__ = "forms"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    doc: Mapped[Any] = mapped_column(sa.JSON().with_variant(JSONB, "postgresql"), nullable=True)
    text: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(8, 2))
    share: Mapped[float | None]
    body: Mapped[bytes | None]
    at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    hour: Mapped[dt.time | None] = mapped_column(sa.Time(timezone=True))
    kept: Mapped[Any] = mapped_column(sa.PickleType, nullable=True)
    lines: Mapped[list[LineRow]] = relationship(lazy="raise")


class LineRow(FormBase):
    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    form_id: Mapped[int] = mapped_column(sa.ForeignKey("forms.id"))
    text: Mapped[str]


@dataclass(frozen=True)
class LineCreate(Spec[LineRow], filled={"form_id"}):
    text: Any


@dataclass(frozen=True)
class FormCreate(Spec[FormRow]):
    id: int
    doc: Any = None
    text: Any = None
    price: Any = None
    share: Any = None
    body: Any = None
    at: Any = None
    hour: Any = None
    kept: Any = None


@dataclass(frozen=True)
class FormTree(Spec[FormRow]):
    id: int
    lines: Sequence[LineCreate] = ()


@dataclass(frozen=True)
class FormPatch(Patch[FormRow]):
    doc: OptionalState[Any] = OptionalState.nop()
    text: OptionalState[Any] = OptionalState.nop()
    price: OptionalState[Any] = OptionalState.nop()
    share: OptionalState[Any] = OptionalState.nop()
    body: OptionalState[Any] = OptionalState.nop()
    at: OptionalState[Any] = OptionalState.nop()
    hour: OptionalState[Any] = OptionalState.nop()


class FormRepository(Repository[FormRow, FormCreate, int]):
    pass


NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
FORMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"doc": {"a": 1.0, "b": [1e16]}}, {"doc": {"b": (10**16,), "a": 1}}),
    ({"text": {"a": 1.0, "b": [-0.0]}}, {"text": {"b": [0], "a": 1}}),
    ({"price": 1}, {"price": Decimal("1.00")}),
    ({"price": 0.1}, {"price": Decimal("0.1")}),
    ({"share": 2}, {"share": 2.0}),
    ({"body": b"x"}, {"body": memoryview(b"x")}),
    ({"at": NOON}, {"at": NOON.astimezone(dt.timezone(dt.timedelta(hours=9)))}),
    ({"hour": NOON.timetz()}, {"hour": dt.time(12, tzinfo=dt.timezone(dt.timedelta(0), "Z"))}),
]
"""Values of one and the same request, as it is asked first, and again by way of JSON or another client."""


@pytest.mark.parametrize("one, other", FORMS, ids=[next(iter(one)) for one, _ in FORMS])
async def test_equal_values_are_one_body_in_whatever_form(any_tables: WithTables, one: Any, other: Any) -> None:
    """By every verb that takes a key; a boolean is no number, and a text none either."""
    async with any_tables(FormRow, IdempotencyKeyRow) as db:
        forms = FormRepository(db, resilience=None)
        calls: list[Callable[[Any], Awaitable[Any]]] = [
            lambda given: forms.create(FormCreate(1, **given), idempotency_key="create"),
            lambda given: forms.batch_create([FormCreate(2, **given)], idempotency_key="batch"),
            lambda given: forms.upsert(FormCreate(3, **given), idempotency_key="upsert"),
            lambda given: forms.update(
                1,
                FormPatch(**{name: OptionalState.update(value) for name, value in given.items()}),
                idempotency_key="u",
            ),
        ]
        for call in calls:
            assert await call(one) == await call(other)
            for another in ({"doc": {"a": True}}, {"doc": {"a": "1"}}):
                with pytest.raises(IdempotencyMismatch):
                    await call(another)


class Broken(dt.tzinfo):
    """A time zone whose own code raises."""

    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        raise ValueError("of the team's")

    def dst(self, _: dt.datetime | None) -> None: ...

    def tzname(self, _: dt.datetime | None) -> None: ...


ODD: list[dict[str, Any]] = [
    {"share": Decimal("sNaN")},
    {"share": 10**400},
    {"price": Decimal("sNaN")},
    {"hour": dt.time(12, tzinfo=Broken())},
    {"text": Fraction(10**5000)},
]


@pytest.mark.parametrize("odd", ODD, ids=[next(iter(odd)) for odd in ODD])
async def test_values_without_a_digest_are_refused_as_such(any_tables: WithTables, odd: dict[str, Any]) -> None:
    """Whatever raises as the body is digested; no error of Python's own leaves a verb."""
    async with any_tables(FormRow, IdempotencyKeyRow) as db:
        forms = FormRepository(db, resilience=None)
        patch = FormPatch(**{name: OptionalState.update(value) for name, value in odd.items()})
        await forms.create(FormCreate(1))
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: forms.create(FormCreate(2, **odd), idempotency_key="k"),
            lambda: forms.batch_create([FormCreate(2, **odd)], idempotency_key="k"),
            lambda: forms.upsert(FormCreate(2, **odd), idempotency_key="k"),
            lambda: forms.update(1, patch, idempotency_key="k"),
        ]
        for call in calls:
            with pytest.raises(InvalidValue):
                await call()


async def test_what_does_not_fit_below_a_row_is_refused_before_the_key_is_taken(any_tables: WithTables) -> None:
    """By its index, in a batch; what fits is made once, with the rows below it."""
    async with any_tables(FormRow, LineRow, IdempotencyKeyRow) as db:
        forms = FormRepository(db, resilience=None)
        fit, unfit = FormTree(1, [LineCreate("a")]), FormTree(2, [LineCreate("a"), LineCreate(NUL)])
        await forms.create(FormCreate(3))
        told = dict[str | None, list[tuple[str, int | None]]]()
        for key in (None, "k"):
            calls = (
                lambda key=key: forms.create(unfit, idempotency_key=key),
                lambda key=key: forms.batch_create([fit, unfit], idempotency_key=key),
            )
            for call in calls:
                with count_statements(db) as sent, pytest.raises(InvalidValue, match=r"LineRow\.text") as refused:
                    await call()
                assert key is None or sent == []
                told.setdefault(key, []).append((str(refused.value), refused.value.index))
        assert told["k"] == told[None]
        assert [index for _, index in told["k"]] == [None, 1]
        assert await forms.create(fit, idempotency_key="k") == await forms.create(fit, idempotency_key="k")
        async with db.begin_session() as session:
            assert (await session.scalars(sa.select(LineRow.text))).all() == ["a"]


class Note(DeclarativeBase):
    metadata = sa.MetaData(schema="tenant")


class NoteRow(Note):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)


@dataclass(frozen=True)
class NoteCreate(Spec[NoteRow]):
    pass


class NoteRepository(Repository[NoteRow]):
    pass


async def test_with_a_schema_for_each_tenant_a_key_is_its_schemas(with_tables: WithTables) -> None:
    """Which of them a row is in, is said by the engine."""
    async with with_tables(IdempotencyKeyRow) as db:
        for schema in ("t1", "t2"):
            engine = db.engine.execution_options(schema_translate_map={"tenant": schema})
            async with engine.begin() as connection:
                await connection.execute(sa.schema.CreateSchema(schema))
                await connection.run_sync(Note.metadata.create_all)
            notes = NoteRepository(Database(engine))
            for _ in range(2):
                assert (await notes.create(NoteCreate(), idempotency_key="k")).id == 1
            async with engine.begin() as connection:
                await connection.execute(sa.schema.DropSchema(schema, cascade=True))
        assert len(await kept(db)) == 2
