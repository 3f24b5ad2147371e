"""No error quotes a value: a word that stands in every column is looked for in all that an error holds."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import traceback
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

import pydantic
import pytest
import sqlalchemy as sa
from pydantic_core import PydanticCustomError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    ConstraintViolation,
    Database,
    DatabaseFault,
    InvalidFilter,
    InvalidValue,
    Patch,
    Repository,
    RepositoryError,
    Spec,
    count,
    max_,
)
from rowsmith.filters import Filter, FullTextFilter, JSONFilter
from rowsmith.resilience import Resilience, RetryArgs, RetryPolicy
from rowsmith.state import OptionalState
from rowsmith.testing import WithTables

CANARY = "".join(("c4n", "ary"))  # in two parts, for a traceback shows the lines of this file
NUMBER = 7_780 * 1_000 + 899
TRACES = (CANARY, CANARY.upper(), str(NUMBER), CANARY.encode().hex(), "1977-08", "1977, 8", "c0ffee")


class Own(Exception):
    """A class that shows what it was made of in every way there is."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value
        self.add_note(f"of {value}")

    def __str__(self) -> str:
        return f"no good: {self.value}"


RAISED = (ValueError, RuntimeError, AssertionError, KeyError, AttributeError, OSError, TimeoutError, InvalidValue, Own)


class Picky(sa.types.TypeDecorator[str]):
    """A type that refuses values that begin with ``bind``, and cannot read those that begin with ``read``."""

    impl = sa.String
    cache_ok = True
    raised: type[Exception] = ValueError

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return self._judged("bind", value)

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return self._judged("read", value)

    def _judged(self, step: str, value: str | None) -> str | None:
        if value is None or not value.startswith(step):
            return value
        try:
            raise LookupError(value)
        except LookupError as exc:
            raise Picky.raised(f"bad {value}") from exc


class Base(DeclarativeBase):
    pass


class CanaryRow(Base):
    __tablename__ = "canaries"
    __table_args__ = (
        sa.UniqueConstraint("email", name="uq_canaries_email"),
        sa.CheckConstraint("amount < 9000000", name="ck_canaries_amount"),
        sa.ForeignKeyConstraint(["parent_id"], ["canaries.id"], name="fk_canaries_parent"),
    )

    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    email: Mapped[str]
    note: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(sa.Numeric(14, 2))
    parent_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    day: Mapped[dt.date]
    seen_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(True))
    token: Mapped[uuid.UUID]
    document: Mapped[Any] = mapped_column(sa.JSON)
    blob: Mapped[bytes]
    picky: Mapped[str | None] = mapped_column(Picky)
    small: Mapped[int] = mapped_column(sa.SmallInteger)
    made: Mapped[str | None] = mapped_column(server_default=sa.FetchedValue())


@dataclass(frozen=True)
class Canary(Spec[CanaryRow]):
    id: int = NUMBER
    email: Any = CANARY
    note: Any = CANARY
    amount: Any = Decimal(NUMBER)
    parent_id: Any = None
    day: Any = dt.date(1977, 8, 9)
    seen_at: Any = dt.datetime(1977, 8, 9, tzinfo=dt.UTC)
    token: Any = uuid.UUID("c0ffee00-0000-4000-8000-000000000000")
    document: Any = field(default_factory=lambda: {CANARY: NUMBER})
    blob: Any = CANARY.encode()
    picky: Any = CANARY
    small: Any = 5


@dataclass(frozen=True)
class CanaryPatch(Patch[CanaryRow]):
    email: OptionalState[Any] = OptionalState.nop()
    note: OptionalState[Any] = OptionalState.nop()
    amount: OptionalState[Any] = OptionalState.nop()
    parent_id: OptionalState[Any] = OptionalState.nop()
    picky: OptionalState[Any] = OptionalState.nop()
    small: OptionalState[Any] = OptionalState.nop()


@dataclass(frozen=True)
class CanaryId:
    """Needs nothing back of a write: the rows go by COPY."""

    id: int


@dataclass(frozen=True)
class CanaryData:
    """Has a value that only the server knows: the rows go by unnest."""

    id: int
    email: str
    picky: str | None
    made: str | None


class Ids(Repository[CanaryRow, CanaryId, int]):
    pass


class Canaries(Repository[CanaryRow, CanaryData, int]):
    pass


AnyCanaries: TypeAlias = Repository[CanaryRow, Any, int]

FUNCTION = """
CREATE FUNCTION canaries_say() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE split_part(NEW.email, ':', 1)
    WHEN 'raise' THEN
        RAISE EXCEPTION USING MESSAGE = NEW.note, DETAIL = NEW.note, HINT = NEW.note,
            ERRCODE = split_part(NEW.email, ':', 2), CONSTRAINT = NEW.note, COLUMN = NEW.note,
            TABLE = NEW.note, SCHEMA = NEW.note, DATATYPE = NEW.note;
    WHEN 'regclass' THEN PERFORM NEW.note::regclass;
    WHEN 'regtype' THEN PERFORM NEW.note::regtype;
    WHEN 'regproc' THEN PERFORM NEW.note::regproc;
    WHEN 'integer' THEN PERFORM NEW.note::integer;
    WHEN 'column' THEN EXECUTE format('SELECT %I FROM canaries', NEW.note);
    WHEN 'table' THEN EXECUTE format('SELECT 1 FROM %I', NEW.note);
    WHEN 'function' THEN EXECUTE format('SELECT %I(1)', NEW.note);
    WHEN 'syntax' THEN EXECUTE NEW.note;
    WHEN 'role' THEN EXECUTE format('SET ROLE %I', NEW.note);
    ELSE NULL;
    END CASE;
    RETURN NEW;
END $$
"""
TRIGGER = "CREATE TRIGGER say BEFORE INSERT OR UPDATE ON canaries FOR EACH ROW EXECUTE FUNCTION canaries_say()"
EXCLUSION = "ALTER TABLE canaries ADD CONSTRAINT ex_canaries_token EXCLUDE USING btree (token WITH =)"
STATES = ("P0001", "42501", "42703", "42P01", "42601", "42883", "22023", "23505", "23503", "23514", "23502", "23P01")
STATES += ("40001", "55000", "57014", "0A000", "XX000", "44000", "25006", "08000", "53300", "ZZ123")
CASTS = ("regclass", "regtype", "regproc", "integer", "column", "table", "function", "syntax", "role")


@asynccontextmanager
async def canaries_in(with_tables: WithTables) -> AsyncIterator[Database]:
    async with with_tables(CanaryRow) as db:
        if db.engine.dialect.name == "postgresql":
            async with db.begin_session() as db_sess:
                for sql in (FUNCTION, TRIGGER, EXCLUSION):
                    await db_sess.execute(sa.text(sql))
        try:
            yield db
        finally:
            if db.engine.dialect.name == "postgresql":
                async with db.begin_session() as db_sess:
                    await db_sess.execute(sa.text("DROP FUNCTION canaries_say CASCADE"))


def everything(error: BaseException | None, seen: set[int] | None = None) -> Iterator[str]:
    """All that can be read off an error and off every error that can be reached from it."""
    seen = set() if seen is None else seen
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield "".join(traceback.format_exception(error))
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from everything(other, seen)


def traces(error: BaseException) -> list[str]:
    return [trace for trace in TRACES if any(trace in text for text in everything(error))]


async def failures(action: Any) -> Sequence[BaseException]:
    """What an action raises, or says of the items of a partial batch."""
    try:
        result = await action
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is looked at
        return [exc]
    return [failure.error for failure in result.failed]


def writes(rows: AnyCanaries, spec: Canary) -> dict[str, Any]:
    """Every way to write a new row."""
    other = Canary(NUMBER + 1, email="x", token=uuid.uuid4())
    return {
        "create": lambda: rows.create(spec),
        "batch_create": lambda: rows.batch_create([other, spec]),
        "batch_create_partial": lambda: rows.batch_create_partial([spec]),
        "load": lambda: rows.load([other, spec]),
        "upsert": lambda: rows.upsert(spec),
        "batch_upsert": lambda: rows.batch_upsert([other, spec]),
    }


def changes(rows: AnyCanaries, patch: CanaryPatch) -> dict[str, Any]:
    """Every way to change the row with the key 1."""
    return {
        "update": lambda: rows.update(1, patch),
        "batch_update": lambda: rows.batch_update([1], patch),
        "batch_update_each": lambda: rows.batch_update_each({1: patch}),
        "batch_update_partial": lambda: rows.batch_update_partial({1: patch}),
        "update_where": lambda: rows.update_where([CanaryRow.id == 1], patch),
    }


def reads(rows: AnyCanaries) -> dict[str, Any]:
    """Every way to read the row with the key 1."""

    async def stream() -> None:
        async for _ in rows.stream():
            pass

    @dataclass(frozen=True)
    class Greatest:
        picky: Annotated[str | None, max_(CanaryRow.picky)]

    @dataclass(frozen=True)
    class Groups:
        picky: str | None
        size: Annotated[int, count()]

    return {
        "get": lambda: rows.get(1),
        "find": lambda: rows.find(1),
        "search": lambda: rows.search(),
        "batch_get": lambda: rows.batch_get([1]),
        "stream": stream,
        "groups": lambda: rows.aggregate(into=Groups, group_by=[CanaryRow.picky]),
        "greatest": lambda: rows.aggregate(into=Greatest),
        "update": lambda: rows.update(1, CanaryPatch(small=OptionalState.update(7))),
        "batch_update_each": lambda: rows.batch_update_each({1: CanaryPatch(small=OptionalState.update(7))}),
        "batch_purge": lambda: rows.batch_purge([1]),
        "purge": lambda: rows.purge(1),
    }


async def check(actions: dict[str, Any], kind: type[Exception] = RepositoryError) -> None:
    for name, act in actions.items():
        found = await failures(act())
        assert found, name
        for error in found:
            assert isinstance(error, kind), (name, type(error))
            assert traces(error) == [], (name, str(error))


FIRST = Canary(1, email="first", amount=Decimal(1), picky=None)
BROKEN: dict[str, Canary] = {
    "unique": Canary(email="first", note=CANARY, token=uuid.uuid4()),
    "check": Canary(amount=Decimal(NUMBER + 9_000_000)),
    "reference": Canary(parent_id=NUMBER * 2),
    "not null": Canary(note=None),
}


async def test_violations(any_tables: WithTables) -> None:
    """A constraint's error names it, and not the row that broke it."""
    async with canaries_in(any_tables) as db:
        await Ids(db).create(FIRST)
        for broken in BROKEN.values():
            for rows in (Ids(db), Canaries(db)):
                await check(writes(rows, broken), ConstraintViolation)


async def test_violations_of_changes(any_tables: WithTables) -> None:
    """The same of every way to change a row; and of removing one that others point at."""
    async with canaries_in(any_tables) as db:
        rows = Canaries(db)
        await rows.create(FIRST)
        await rows.create(Canary(2, email=CANARY, amount=Decimal(1), parent_id=1, token=uuid.uuid4()))
        for patch in (
            CanaryPatch(email=OptionalState.update(CANARY)),
            CanaryPatch(amount=OptionalState.update(Decimal(NUMBER + 9_000_000))),
            CanaryPatch(parent_id=OptionalState.update(NUMBER)),
            CanaryPatch(note=OptionalState.update(None)),
        ):
            await check(changes(rows, patch), ConstraintViolation)
        await check({"purge": lambda: rows.purge(1), "batch_purge": lambda: rows.batch_purge([1])}, ConstraintViolation)


async def test_exclusion(with_tables: WithTables) -> None:
    """An exclusion constraint, which only the database knows, is named all the same."""
    async with canaries_in(with_tables) as db:
        rows = Canaries(db)
        await rows.create(FIRST)
        actions = writes(rows, Canary(token=FIRST.token))
        await check(actions, ConstraintViolation)
        (error,) = await failures(actions["create"]())
        assert "ex_canaries_token" in str(error)


async def test_what_a_trigger_says(with_tables: WithTables) -> None:
    """A trigger may raise with any SQLSTATE, and put the row into every field of the error, names included."""
    async with canaries_in(with_tables) as db:
        await Canaries(db).create(FIRST)
        kinds = itertools.cycle((Ids, Canaries, Canaries, Ids))
        at_once = Resilience([RetryPolicy(RetryArgs(retry_delay=0.0))])
        for told in (*(f"raise:{state}" for state in STATES), *CASTS):
            await check(writes(next(kinds)(db, resilience=at_once), Canary(email=told)))
            patch = CanaryPatch(email=OptionalState.update(told), note=OptionalState.update(CANARY))
            await check(changes(Canaries(db, resilience=at_once), patch))


async def test_a_type_that_refuses(any_tables: WithTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a type raises for a value that it does not bind, the caller meets a typed error."""
    async with canaries_in(any_tables) as db:
        await Canaries(db).create(FIRST)
        for raised in RAISED:
            monkeypatch.setattr(Picky, "raised", raised)
            kind = RepositoryError if issubclass(raised, OSError) else InvalidValue
            for rows in (Ids(db), Canaries(db)):
                await check(writes(rows, Canary(picky=f"bind {CANARY}")), kind)
                await check(changes(rows, CanaryPatch(picky=OptionalState.update(f"bind {CANARY}"))), kind)
                asked = [CanaryRow.picky == f"bind {CANARY}"]
                await check({"search": lambda rows=rows, asked=asked: rows.search(filters=asked)}, kind)


async def test_a_type_that_cannot_read(any_tables: WithTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a type raises for a value that it does not know, a typed error comes of it, in every way to read."""
    async with canaries_in(any_tables) as db:
        rows = Canaries(db)
        await rows.create(FIRST)
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text(f"UPDATE canaries SET picky = 'read {CANARY}'"))
        for raised in RAISED:
            monkeypatch.setattr(Picky, "raised", raised)
            await check(reads(rows))


BAD: dict[str, Any] = {
    "email": NUMBER,
    "note": f"{CANARY}\0",
    "amount": Decimal(NUMBER) * 10**12,
    "parent_id": CANARY,
    "day": CANARY,
    "seen_at": dt.datetime(1977, 8, 9),
    "token": "c0ffee",
    "document": {CANARY: {CANARY: float("nan")}},
    "blob": CANARY,
    "small": NUMBER,
}


async def test_bad_values(any_tables: WithTables) -> None:
    """A value that its column cannot hold is not quoted."""
    async with canaries_in(any_tables) as db:
        for name, value in BAD.items():
            for rows in (Ids(db), Canaries(db)):
                await check(writes(rows, Canary(**{name: value})), InvalidValue)


async def test_a_group_of_errors(any_tables: WithTables) -> None:
    """Members of an ExceptionGroup are scrubbed like a cause, with the notes on them; the group itself passes."""
    async with canaries_in(any_tables) as db:
        await Canaries(db).create(Canary(1, amount=Decimal(1)))

        async def broken() -> None:
            async with db.unit_of_work() as unit:
                try:
                    await unit.session.execute(
                        sa.insert(CanaryRow), [{**vars(Canary(2)), "document": {CANARY: 1}, "amount": 1}]
                    )
                except sa.exc.DBAPIError as exc:
                    exc.add_note(f"while writing {CANARY}")
                    errors = [exc]
                raise ExceptionGroup("several", [ValueError("mine"), ExceptionGroup("inner", errors)])

        with pytest.raises(ExceptionGroup) as caught:
            await broken()
        assert traces(caught.value) == []
        assert "withheld" in "".join(everything(caught.value))
        assert "mine" in repr(caught.value)


def refused(value: str) -> str:
    raise PydanticCustomError(f"bad_{value}", f"bad {value}")  # type: ignore[arg-type]


class CanaryModel(pydantic.BaseModel):
    id: int
    document: dict[str, int]
    email: Annotated[str, pydantic.AfterValidator(refused)]


class Models(Repository[CanaryRow, CanaryModel, int]):
    pass


async def test_data_that_does_not_fit(any_tables: WithTables) -> None:
    """Pydantic's complaint of a stored row is given by fields: keys of a document, values, words of validators stay."""
    async with canaries_in(any_tables) as db:
        await Canaries(db).create(Canary(1, document={CANARY: CANARY}, amount=Decimal(1)))
        rows = Models(db)
        await check({"get": lambda: rows.get(1), "search": rows.search, "purge": lambda: rows.purge(1)}, InvalidValue)
        with pytest.raises(InvalidValue, match=r"document: int_parsing.*email: custom"):
            await rows.get(1)


class SpecModel(pydantic.BaseModel, Spec[CanaryRow], filled={"token", "document", "blob", "day", "seen_at", "small"}):
    id: int
    email: str
    note: str
    amount: Decimal


class PatchModel(pydantic.BaseModel, Patch[CanaryRow]):
    email: OptionalState[str] = OptionalState.nop()
    amount: OptionalState[Decimal] = OptionalState.nop()


class CanaryFilter(Filter[CanaryRow]):
    document: JSONFilter | None = None
    note: FullTextFilter | None = None


@pytest.mark.parametrize(
    "kind, given",
    [
        (SpecModel, {"id": CANARY, "email": NUMBER, "note": [CANARY], "amount": CANARY}),
        (PatchModel, {"email": [CANARY], "amount": CANARY}),
        (CanaryFilter, {"document": {"contains": {CANARY: {CANARY: float("nan")}}}}),
        (CanaryFilter, {"document": {"contains": {CANARY: {CANARY: object()}}}}),
        (CanaryFilter, {"document": {"contains": {CANARY: (CANARY,)}}}),
        (CanaryFilter, {"document": {"path_equals": {"path": [CANARY], "value": {CANARY: object()}}}}),
        (CanaryFilter, {"note": {"matches": NUMBER}}),
    ],
)
def test_pydantic_models(kind: Any, given: Any) -> None:
    """What pydantic says of a spec, patch or filter names fields, not what was given."""
    with pytest.raises(pydantic.ValidationError) as caught:
        kind.model_validate(given)
    texts = [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    assert [trace for trace in TRACES if any(trace in text for text in texts)] == []


async def test_a_full_text_query(with_tables: WithTables) -> None:
    """A query that PostgreSQL cannot read is refused without its words."""
    async with canaries_in(with_tables) as db:
        for words in (f"{CANARY} " + "-" * 64, f"{CANARY} " + "-!(" * 64):
            given = CanaryFilter.model_validate({"note": {"matches": words}})
            await check({"search": lambda given=given: Canaries(db).search(filters=given)}, InvalidFilter)


async def test_faults_name_what_the_schema_lacks(with_tables: WithTables) -> None:
    """A column that the database does not have is named: that much is no row's."""
    async with canaries_in(with_tables) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text("ALTER TABLE canaries DROP COLUMN small"))
        with pytest.raises(DatabaseFault, match="small"):
            await Canaries(db).create(Canary())


class AppError(LookupError):
    pass


async def test_errors_of_the_application_pass(any_tables: WithTables) -> None:
    """What its own defaults, listeners and converters raise comes as it was raised, whatever its class."""

    class AppBase(DeclarativeBase):
        pass

    def numbered() -> str:
        raise AppError(CANARY)

    class AppRow(AppBase):
        __tablename__ = "apps"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(default=numbered)

    @dataclass(frozen=True)
    class AppData:
        id: int
        name: str

    @dataclass(frozen=True)
    class AppCreate(Spec[AppRow]):
        id: int

    class Apps(Repository[AppRow, AppData, int]):
        pass

    def listen(*_: Any) -> None:
        raise AppError("listener")

    async with any_tables(AppRow) as db:
        apps = Apps(db)
        for act in (lambda: apps.create(AppCreate(1)), lambda: apps.batch_create([AppCreate(1)])):
            with pytest.raises(AppError, match=CANARY):
                await act()
        sa.event.listen(db.engine.sync_engine, "before_cursor_execute", listen)
        try:
            with pytest.raises(AppError, match="listener"):
                await apps.search()
        finally:
            sa.event.remove(db.engine.sync_engine, "before_cursor_execute", listen)


async def test_logs(with_tables: WithTables, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that is logged on the way quotes a value."""
    caplog.set_level(logging.DEBUG)
    async with canaries_in(with_tables) as db:
        for repository in (Ids, Canaries):
            for act in writes(repository(db), Canary(email="raise:42501")).values():
                await failures(act())
    assert [trace for trace in TRACES if trace in caplog.text] == []
