"""Every lane gives what ``create`` gives, whatever an application hung on SQLAlchemy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import INT4MULTIRANGE, INT4RANGE, Range
from sqlalchemy.dialects.postgresql.ranges import MultiRange
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, with_loader_criteria
from sqlalchemy.types import UserDefinedType

from columns import Flags, Sealed
from rowsmith import (
    BatchCreator,
    BatchPurger,
    BatchQuerier,
    BatchUpdater,
    BatchUpserter,
    CheckViolation,
    Condition,
    Creator,
    Database,
    EntityNotFound,
    ExistenceCheck,
    InvalidValue,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    Spec,
    Upserter,
)
from rowsmith.testing import WithTables
from tenants import stored


class Base(DeclarativeBase):
    pass


class CardRow(Base):
    __tablename__ = "gate_cards"
    id: Mapped[int] = mapped_column(primary_key=True)
    pin: Mapped[str]
    made_at: Mapped[Any] = mapped_column(sa.DateTime(True), server_default=sa.func.now())


@dataclass(frozen=True)
class Card:
    id: int
    pin: str


@dataclass(frozen=True)
class Dated(Card):
    made_at: Any


@dataclass(frozen=True)
class CardCreate(Spec[CardRow]):
    id: int
    pin: str


@dataclass(frozen=True)
class CardPatch(Patch[CardRow]):
    pin: OptionalState[str] = OptionalState.nop()


Make = Callable[[], AsyncSession]
Verb = Callable[[AsyncSession, list[Any]], Awaitable[Any]]


def verbs(row: type[Any], *into: type[Any]) -> dict[str, Verb]:
    """Every way of writing new rows; the first data class is of what Python knows, the second needs the server."""
    known, made = into
    return {
        "create": lambda s, specs: _each(specs, lambda spec: Creator(row, into=made).create(s, spec)),
        "batch_create": lambda s, specs: BatchCreator(row, into=known).create(s, specs),
        "batch_create, made by the server": lambda s, specs: BatchCreator(row, into=made).create(s, specs),
        "load": lambda s, specs: BatchCreator(row).load(s, specs),
        "batch_create_partial": lambda s, specs: BatchCreator(row, into=made).create_partial(s, specs),
        "upsert": lambda s, specs: _each(specs, lambda spec: Upserter(row, into=made).upsert(s, spec)),
        "batch_upsert": lambda s, specs: BatchUpserter(row, into=made).upsert(s, specs),
    }


async def _each(specs: list[Any], write: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    return [await write(spec) for spec in specs]


CARDS = verbs(CardRow, Card, Dated)
every_verb = pytest.mark.parametrize("verb", CARDS)
SPECS = [CardCreate(3, "c"), CardCreate(1, "a"), CardCreate(2, "b")]


async def by_each_verb(db_sess: AsyncSession) -> AsyncIterator[str]:
    """Write three cards by one verb after the other, each into the empty table, and give its name."""
    for name, verb in CARDS.items():
        await db_sess.execute(sa.delete(CardRow))
        await verb(db_sess, SPECS)
        yield name


async def write_by_all(db_sess: AsyncSession) -> None:
    """Write three cards by every verb, and change, read and remove them by every batch form."""
    for verb in CARDS:
        await db_sess.execute(sa.delete(CardRow))
        await write_and_change(db_sess, verb)


async def write_and_change(db_sess: AsyncSession, verb: str) -> None:
    """Write three cards by a verb, then change, read and remove them by every batch form."""
    await CARDS[verb](db_sess, SPECS)
    updater = BatchUpdater(CardRow, into=Card)
    patches = {1: CardPatch(OptionalState.update("x")), 2: CardPatch(OptionalState.update("y"))}
    each = await updater.update_each(db_sess, patches)
    assert [card.pin for card in each.succeeded] == ["x", "y"]
    both = await updater.update(db_sess, [1, 3], CardPatch(OptionalState.update("z")))
    assert [(card.id, card.pin) for card in both.succeeded] == [(1, "z"), (3, "z")]
    assert [card.pin for card in await BatchQuerier(CardRow, into=Card).query(db_sess, [2, 1])] == ["y", "z"]
    assert not (await BatchPurger(CardRow, into=Card).purge(db_sess, [3])).missing


CHANGED = [(1, "z"), (2, "y")]


# Schemas and databases


@asynccontextmanager
async def tenant_schema(db: Database) -> AsyncIterator[None]:
    """A second table of cards, in a schema of a tenant's."""
    async with db.engine.begin() as connection:
        await connection.execute(sa.text("CREATE SCHEMA gate_acme"))
        await connection.execute(sa.text("CREATE TABLE gate_acme.gate_cards (LIKE gate_cards INCLUDING ALL)"))
    try:
        yield
    finally:
        async with db.engine.begin() as connection:
            await connection.execute(sa.text("DROP SCHEMA gate_acme CASCADE"))


async def cards_in(db: Database, schema: str) -> list[Any]:
    cards = sa.table("gate_cards", sa.column("id"), sa.column("pin"), schema=schema)
    return await stored(db, sa.select(cards).order_by("id"))


MAP = {"schema_translate_map": {None: "gate_acme"}}


@pytest.mark.parametrize("level", ["engine", "connection", "session", "session of SQLAlchemy 2.1"])
async def test_rows_go_into_the_translated_schema(with_tables: WithTables, level: str) -> None:
    """Whichever way they are written, and on whatever level the schema is translated."""
    async with with_tables(CardRow) as db, tenant_schema(db):
        engine = db.engine.execution_options(**MAP) if level == "engine" else db.engine
        options: Any = {"execution_options": MAP} if level == "session of SQLAlchemy 2.1" else {}
        async with engine.connect() as connection:
            if level == "connection":
                await connection.execution_options(**MAP)
            async with AsyncSession(connection if level == "connection" else engine, **options) as db_sess:
                if level == "session":
                    await db_sess.connection(execution_options=MAP)
                await write_by_all(db_sess)
                await db_sess.commit()
        assert (await cards_in(db, "public"), await cards_in(db, "gate_acme")) == ([], CHANGED)


class NamedBase(DeclarativeBase):
    metadata = sa.MetaData(schema="gate_named")


class NamedCardRow(NamedBase):
    __tablename__ = "gate_named_cards"
    id: Mapped[int] = mapped_column(primary_key=True)
    pin: Mapped[str]
    made_at: Mapped[Any] = mapped_column(sa.DateTime(True), server_default=sa.func.now())


@dataclass(frozen=True)
class NamedCardCreate(Spec[NamedCardRow]):
    id: int
    pin: str


@pytest.mark.parametrize("verb", CARDS)
async def test_a_named_schema_is_translated(database: Database, verb: str) -> None:
    """Whether or not there is a table where the mapping says; that is another tenant's."""
    cards = verbs(NamedCardRow, Card, Dated)
    specs = [NamedCardCreate(3, "c"), NamedCardCreate(1, "a"), NamedCardCreate(2, "b")]
    for schemas in (["gate_other"], ["gate_other", "gate_named"]):
        async with database.engine.connect() as connection:
            for schema in schemas:
                await connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
                to = {"schema_translate_map": {"gate_named": schema}}
                there = await connection.execution_options(**to)
                await there.run_sync(NamedBase.metadata.create_all)
            other = await connection.execution_options(schema_translate_map={"gate_named": "gate_other"})
            async with AsyncSession(other, join_transaction_mode="create_savepoint") as db_sess:
                await cards[verb](db_sess, specs)
                patch = NamedCardPatch(OptionalState.update("z"))
                assert not (await BatchUpdater(NamedCardRow, into=Card).update(db_sess, [1], patch)).missing
                assert not (await BatchPurger(NamedCardRow, into=Card).purge(db_sess, [3])).missing
                await db_sess.commit()
            for schema in schemas:
                rows = await connection.execute(sa.text(f"SELECT id, pin FROM {schema}.gate_named_cards ORDER BY id"))
                assert list(map(tuple, rows)) == ([(1, "z"), (2, "b")] if schema == "gate_other" else [])
            await connection.rollback()


@dataclass(frozen=True)
class NamedCardPatch(Patch[NamedCardRow]):
    pin: OptionalState[str] = OptionalState.nop()


@pytest.mark.parametrize("by", ["base", "row", "table", "base, without another bind", "a class with its own get_bind"])
async def test_rows_go_to_the_bind_of_their_class(with_tables: WithTables, by: str) -> None:
    """A session may have several databases; all statements about a row go to its own."""
    async with with_tables(CardRow) as db, tenant_schema(db):
        settings = {"server_settings": {"search_path": "gate_acme"}}
        other = create_async_engine(db.engine.url, connect_args=settings)

        class Routing(Session):
            def get_bind(self, mapper: Any = None, **rest: Any) -> Any:
                return db.engine.sync_engine if mapper is None else other.sync_engine

        key: Any = {"row": CardRow, "table": CardRow.__table__}.get(by, Base)
        options: Any = {"binds": {key: other}, **({} if "without" in by else {"bind": db.engine})}
        if by.startswith("a class"):
            options = {"sync_session_class": Routing}
        async with async_sessionmaker(**options)() as db_sess:
            await write_by_all(db_sess)
            await db_sess.commit()
        await other.dispose()
        assert (await cards_in(db, "public"), await cards_in(db, "gate_acme")) == ([], CHANGED)


class ShelfRow(Base):
    __tablename__ = "gate_shelves"
    id: Mapped[int] = mapped_column(primary_key=True)


@dataclass(frozen=True)
class OnShelf(SearchScope):
    shelf: int

    def to_conditions(self) -> Sequence[Condition]:
        return [CardRow.id >= 0]

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        return [ExistenceCheck(ShelfRow.id == self.shelf, EntityNotFound)]


async def test_what_a_scope_asks_of_other_rows_goes_to_their_bind(with_tables: WithTables) -> None:
    """Here it is another one than the row's own."""
    async with with_tables(CardRow, ShelfRow) as db, tenant_schema(db):
        settings = {"server_settings": {"search_path": "gate_acme"}}
        other = create_async_engine(db.engine.url, connect_args=settings)
        async with async_sessionmaker(binds={CardRow: other, ShelfRow: db.engine})() as db_sess:
            db_sess.add(ShelfRow(id=1))
            await db_sess.flush()
            await BatchCreator(CardRow).load(db_sess, SPECS, scope=OnShelf(1))
            with pytest.raises(EntityNotFound):
                await BatchCreator(CardRow).load(db_sess, SPECS, scope=OnShelf(2))
        await other.dispose()


async def test_a_session_without_autoflush_is_not_flushed(with_tables: WithTables) -> None:
    """COPY does not flush what an INSERT would not; a savepoint always does, in SQLAlchemy too."""
    async with with_tables(CardRow) as db, AsyncSession(db.engine, autoflush=False) as db_sess:
        db_sess.add(CardRow(id=9, pin="pending"))
        for verb in ("create", "batch_create", "batch_create, made by the server", "upsert", "batch_upsert"):
            await CARDS[verb](db_sess, SPECS)
            await db_sess.execute(sa.delete(CardRow))
            assert len(db_sess.new) == 1


# Types


class Shouting(UserDefinedType[str]):
    """A type of its own, no decorator."""

    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return "varchar(99)"

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.func.upper(bindvalue)


class Vaults(DeclarativeBase):
    pass


class VaultRow(Vaults):
    __tablename__ = "gate_vaults"
    id: Mapped[int] = mapped_column(primary_key=True)
    pin: Mapped[str] = mapped_column(Sealed)
    loud: Mapped[str] = mapped_column(Shouting)
    note: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    uses: Mapped[int] = mapped_column(server_default="7")


@dataclass(frozen=True)
class Vault:
    id: int
    pin: str
    loud: str
    note: Any


@dataclass(frozen=True)
class MadeVault(Vault):
    uses: int


@dataclass(frozen=True)
class VaultCreate(Spec[VaultRow]):
    id: int
    pin: str
    loud: str
    note: Any = None


@dataclass(frozen=True)
class VaultPatch(Patch[VaultRow]):
    pin: OptionalState[str] = OptionalState.nop()
    loud: OptionalState[str] = OptionalState.nop()


VAULTS = verbs(VaultRow, Vault, MadeVault)
RAW = sa.text("SELECT id, pin, loud, note IS NULL FROM gate_vaults ORDER BY id")


@pytest.mark.parametrize("verb", VAULTS)
async def test_a_type_that_wraps_values_in_sql_does_so_in_every_lane(any_tables: WithTables, verb: str) -> None:
    """What is stored and what is given back is the same as ``create``'s, and once more when it is changed."""
    async with any_tables(VaultRow) as db, db.begin_session() as db_sess:
        await VAULTS[verb](db_sess, [VaultCreate(2, "4321", "b", {"a": 1}), VaultCreate(1, "1234", "a")])
        raw = [(1, "enc:1234", "A", 1), (2, "enc:4321", "B", 0)]
        assert list(map(tuple, await db_sess.execute(RAW))) == raw
        read = [Vault(1, "1234", "A", None), Vault(2, "4321", "B", {"a": 1})]
        assert await BatchQuerier(VaultRow, into=Vault).query(db_sess, [1, 2]) == read
        patches = {key: VaultPatch(OptionalState.update(f"{key}{key}"), OptionalState.update("q")) for key in (2, 1)}
        each = await BatchUpdater(VaultRow, into=Vault).update_each(db_sess, patches)
        assert each.succeeded == [Vault(2, "22", "Q", {"a": 1}), Vault(1, "11", "Q", None)]
        again = await BatchUpserter(VaultRow, into=Vault).upsert(
            db_sess, [VaultCreate(2, "0", "z"), VaultCreate(3, "9", "y")]
        )
        assert [(done.data.pin, done.data.loud, done.inserted) for done in again.succeeded] == [
            ("0", "Z", False),
            ("9", "Y", True),
        ]


async def test_data_that_comes_back_is_in_input_order(any_tables: WithTables) -> None:
    """In the lane that binds each value by itself, too."""
    async with any_tables(VaultRow) as db, db.begin_session() as db_sess:
        for verb in ("create", "batch_create", "batch_create, made by the server", "batch_upsert"):
            made = await VAULTS[verb](db_sess, [VaultCreate(key, str(key), "x") for key in (12, 3, 40, 1)])
            data = [getattr(item, "data", item) for item in getattr(made, "succeeded", made)]
            assert [(item.id, item.pin, item.loud) for item in data] == [(key, str(key), "X") for key in (12, 3, 40, 1)]
            await db_sess.execute(sa.delete(VaultRow))


class SealedKeyRow(Vaults):
    __tablename__ = "gate_sealed_keys"
    pin: Mapped[str] = mapped_column(Sealed, primary_key=True)
    uses: Mapped[int]


@dataclass(frozen=True)
class SealedKey:
    pin: str
    uses: int


@dataclass(frozen=True)
class SealedKeyCreate(Spec[SealedKeyRow]):
    pin: str
    uses: int


@dataclass(frozen=True)
class SealedKeyPatch(Patch[SealedKeyRow]):
    uses: OptionalState[int] = OptionalState.nop()


async def test_a_key_that_is_wrapped_in_sql_is_found_again(any_tables: WithTables) -> None:
    """By every batch form that goes by keys."""
    async with any_tables(SealedKeyRow) as db, db.begin_session() as db_sess:
        await BatchCreator(SealedKeyRow, into=SealedKey).create(
            db_sess, [SealedKeyCreate("a", 1), SealedKeyCreate("b", 2)]
        )
        assert len(await BatchQuerier(SealedKeyRow, into=SealedKey).query(db_sess, ["b", "a"])) == 2
        updater = BatchUpdater(SealedKeyRow, into=SealedKey)
        patches = {key: SealedKeyPatch(OptionalState.update(uses)) for key, uses in (("b", 5), ("a", 6), ("c", 7))}
        each = await updater.update_each(db_sess, patches)
        assert (each.succeeded, each.missing) == ([SealedKey("b", 5), SealedKey("a", 6)], ["c"])
        gone = await BatchPurger(SealedKeyRow, into=SealedKey).purge(db_sess, ["a", "c"])
        assert (gone.succeeded, gone.missing) == ([SealedKey("a", 6)], ["c"])


class PairRow(Vaults):
    __tablename__ = "gate_sealed_pairs"
    pin: Mapped[str] = mapped_column(Sealed, primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)


@dataclass(frozen=True)
class Pair:
    pin: str
    place: int


@dataclass(frozen=True)
class PairCreate(Spec[PairRow]):
    pin: str
    place: int


async def test_a_key_of_several_columns_is_found_again_too(any_tables: WithTables) -> None:
    """One of which is wrapped in SQL."""
    async with any_tables(PairRow) as db, db.begin_session() as db_sess:
        await BatchUpserter(PairRow, into=Pair).upsert(db_sess, [PairCreate("a", 1), PairCreate("b", 2)])
        found = await BatchQuerier(PairRow, into=Pair).query(db_sess, [("b", 2), ("a", 1)])
        assert found == [Pair("b", 2), Pair("a", 1)]
        gone = await BatchPurger(PairRow, into=Pair).purge(db_sess, [("b", 2), ("a", 2)])
        assert (gone.succeeded, gone.missing) == ([Pair("b", 2)], [("a", 2)])


class OddRow(Vaults):
    __tablename__ = "gate_odd"
    id: Mapped[int] = mapped_column(primary_key=True)
    rights: Mapped[int]
    exact: Mapped[Any] = mapped_column(sa.Numeric(10, 2))
    spans: Mapped[Any] = mapped_column(INT4MULTIRANGE)
    span: Mapped[Any] = mapped_column(INT4RANGE)
    ranges: Mapped[Any] = mapped_column(sa.ARRAY(INT4RANGE))
    uses: Mapped[int] = mapped_column(server_default="7")


@dataclass(frozen=True)
class Odd:
    id: int
    rights: int
    exact: Any
    spans: Any
    span: Any
    ranges: Any


@dataclass(frozen=True)
class MadeOdd(Odd):
    uses: int


@dataclass(frozen=True)
class OddCreate(Spec[OddRow]):
    id: int
    rights: int = Flags.READ | Flags.WRITE
    exact: Any = Flags.WRITE
    spans: Any = field(default_factory=lambda: MultiRange([Range(1, 3), Range(5, 9)]))
    span: Any = Range(1, 3)
    ranges: Any = (Range(1, 3), Range(4, 5))


@dataclass(frozen=True)
class OddPatch(Patch[OddRow]):
    rights: OptionalState[int] = OptionalState.nop()
    spans: OptionalState[Any] = OptionalState.nop()
    ranges: OptionalState[Any] = OptionalState.nop()


ODD = verbs(OddRow, Odd, MadeOdd)


@pytest.mark.parametrize("verb", ODD)
async def test_values_that_can_be_walked_through_are_no_arrays(with_tables: WithTables, verb: str) -> None:
    """An IntFlag, a multirange and an array of ranges are stored as ``create`` stores them."""
    async with with_tables(OddRow) as db, db.begin_session() as db_sess:
        await ODD["create"](db_sess, [OddCreate(1)])
        await ODD[verb](db_sess, [OddCreate(Flags.WRITE), OddCreate(3)])
        first, *others = await BatchQuerier(OddRow, into=Odd).query(db_sess, [1, Flags.WRITE, 3])
        assert [{**vars(odd), "id": 1} for odd in others] == [vars(first)] * 2
        state = OptionalState.update
        patch = OddPatch(state(Flags.READ), state(MultiRange([Range(7, 8)])), state([Range(8, 9)]))
        each = await BatchUpdater(OddRow, into=Odd).update_each(db_sess, {1: patch, Flags.WRITE: patch})
        assert [(odd.rights, odd.spans, odd.ranges) for odd in each.succeeded] == [
            (1, MultiRange([Range(7, 8)]), [Range(8, 9)])
        ] * 2


class BitsRow(Vaults):
    __tablename__ = "gate_bits"
    id: Mapped[int] = mapped_column(primary_key=True)
    flags: Mapped[Any] = mapped_column(sa.ARRAY(sa.Integer))
    uses: Mapped[int] = mapped_column(server_default="7")


@dataclass(frozen=True)
class Bits:
    id: int
    flags: Any


@dataclass(frozen=True)
class MadeBits(Bits):
    uses: int


@dataclass(frozen=True)
class BitsCreate(Spec[BitsRow]):
    id: int
    flags: Any


async def test_an_array_of_flags_is_refused_in_every_lane(with_tables: WithTables) -> None:
    """As ``create`` refuses it."""
    async with with_tables(BitsRow) as db:
        for name, verb in verbs(BitsRow, Bits, MadeBits).items():
            async with db.begin_session() as db_sess:
                if name == "batch_create_partial":
                    made = await verb(db_sess, [BitsCreate(1, [Flags.READ])])
                    assert [type(item.error) for item in made.failed] == [InvalidValue]
                    continue
                with pytest.raises(InvalidValue):
                    async with db_sess.begin_nested():
                        await verb(db_sess, [BitsCreate(1, [Flags.READ])])


# What the table does


REWRITES = """
CREATE FUNCTION gate_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.pin := upper(NEW.pin); RETURN NEW; END $$
"""
TRIGGER = "CREATE TRIGGER {name} {kind} INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION gate_rewrite()"


INSTEAD = """
CREATE FUNCTION gate_instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.pin := upper(NEW.pin); INSERT INTO gate_old VALUES (NEW.id, NEW.pin, now()); RETURN NEW; END $$
"""

TABLES = {
    "a trigger": [TRIGGER.format(name="t", kind="BEFORE", table="gate_cards")],
    "a trigger on a partition": [
        "ALTER TABLE gate_cards RENAME TO gate_old",
        "CREATE TABLE gate_cards (LIKE gate_old INCLUDING DEFAULTS) PARTITION BY RANGE (id)",
        "CREATE TABLE gate_part PARTITION OF gate_cards FOR VALUES FROM (0) TO (100)",
        "ALTER TABLE gate_cards ADD PRIMARY KEY (id)",
        TRIGGER.format(name="t", kind="BEFORE", table="gate_part"),
    ],
    "a trigger of replicas that always fires": [
        TRIGGER.format(name="t", kind="BEFORE", table="gate_cards"),
        "ALTER TABLE gate_cards ENABLE ALWAYS TRIGGER t",
    ],
    "a view with a trigger": [
        "ALTER TABLE gate_cards RENAME TO gate_old",
        "CREATE VIEW gate_cards AS SELECT id, upper(pin) AS pin, made_at FROM gate_old",
        INSTEAD,
        "CREATE TRIGGER t INSTEAD OF INSERT ON gate_cards FOR EACH ROW EXECUTE FUNCTION gate_instead()",
    ],
}
UPSERTABLE = {"a trigger", "a trigger on a partition", "a trigger of replicas that always fires"}


@pytest.mark.parametrize("table", TABLES)
@every_verb
async def test_what_a_table_makes_of_a_row_is_given(with_tables: WithTables, verb: str, table: str) -> None:
    """A trigger rewrites the pin: the data is what the database holds."""
    if "upsert" in verb and table not in UPSERTABLE:
        return  # PostgreSQL has no ON CONFLICT on views
    async with with_tables(CardRow) as db, db.engine.connect() as connection:
        for statement in [REWRITES, *TABLES[table]]:
            await connection.execute(sa.text(statement))
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as db_sess:
            made = await CARDS[verb](db_sess, SPECS)
            if verb != "load":
                data = [getattr(item, "data", item) for item in getattr(made, "succeeded", made)]
                assert [(card.id, card.pin) for card in data] == [(3, "C"), (1, "A"), (2, "B")]
            held = await db_sess.execute(sa.text("SELECT id, pin FROM gate_cards ORDER BY id"))
            assert list(map(tuple, held)) == [(1, "A"), (2, "B"), (3, "C")]
        await connection.rollback()


async def test_a_rule_holds_for_a_load(with_tables: WithTables) -> None:
    """COPY would pass by it."""
    async with with_tables(CardRow) as db, db.engine.connect() as connection:
        await connection.execute(sa.text("CREATE TABLE gate_log (id int)"))
        await connection.execute(
            sa.text("CREATE RULE r AS ON INSERT TO gate_cards DO ALSO INSERT INTO gate_log VALUES (NEW.id)")
        )
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as db_sess:
            await BatchCreator(CardRow).load(db_sess, SPECS)
            assert (await db_sess.scalar(sa.text("SELECT count(*) FROM gate_log"))) == 3
        await connection.rollback()


# Who listens


@contextmanager
def listening(target: Any, name: str, listener: Callable[..., Any]) -> Iterator[None]:
    event.listen(target, name, listener)
    try:
        yield
    finally:
        event.remove(target, name, listener)


def is_insert(args: tuple[Any, ...]) -> bool:
    return any("INSERT INTO gate_cards" in str(getattr(arg, "statement", arg)) for arg in args[:3])


@pytest.mark.parametrize("on", ["engine", "connection", "every engine"])
@pytest.mark.parametrize("name", ["before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute"])
async def test_an_event_sees_every_insert(with_tables: WithTables, name: str, on: str) -> None:
    """On the engine, on one connection, or on the class of engines."""
    seen: list[Any] = []
    async with with_tables(CardRow) as db, db.engine.connect() as connection:
        sync: Any = {"engine": db.engine.sync_engine, "connection": connection.sync_connection}.get(on, sa.Engine)

        def note(*args: Any) -> None:
            seen.extend([args] if is_insert(args) else [])

        with listening(sync, name, note):
            async with AsyncSession(connection, join_transaction_mode="create_savepoint") as db_sess:
                async for verb in by_each_verb(db_sess):
                    assert len(seen) == (3 if verb in ("create", "upsert") else 1), verb
                    seen.clear()
        await connection.rollback()


async def test_a_tracer_counts_the_rows(with_tables: WithTables) -> None:
    """The cursor's count of an INSERT is the number of rows written."""
    rows: list[int] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        rows.extend([cursor.rowcount] if "INSERT INTO gate_cards" in statement else [])

    async with with_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        with listening(db.engine.sync_engine, "after_cursor_execute", note):
            async for verb in by_each_verb(db_sess):
                assert sum(rows) == 3, verb
                rows.clear()


async def test_a_listener_that_rewrites_statements_is_obeyed(with_tables: WithTables) -> None:
    """Here by adding a comment, as tracers do."""

    def comment(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> Any:
        return f"{statement} /* by gate */", parameters

    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    async with with_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        event.listen(db.engine.sync_engine, "before_cursor_execute", comment, retval=True)
        try:
            with listening(db.engine.sync_engine, "after_cursor_execute", note):
                await write_and_change(db_sess, "batch_create")
        finally:
            event.remove(db.engine.sync_engine, "before_cursor_execute", comment)
    assert [sql for sql in sent if not sql.endswith("/* by gate */")] == []


@pytest.mark.parametrize("on", ["engine", "dialect"])
async def test_an_event_in_the_drivers_place_is_asked(with_tables: WithTables, on: str) -> None:
    """``do_execute`` may send a statement itself."""
    seen: list[str] = []

    def note(cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    async with with_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        target: Any = db.engine.sync_engine if on == "engine" else db.engine.dialect
        with listening(target, "do_execute", note):
            async for verb in by_each_verb(db_sess):
                assert [sql for sql in seen if "INSERT INTO gate_cards" in sql], verb
                seen.clear()


async def test_a_failure_is_told_to_who_listens_for_it(with_tables: WithTables) -> None:
    """``handle_error`` of the application's hears of a duplicate key."""
    seen: list[str] = []

    def note(context: Any) -> None:
        seen.append(context.statement)

    async with with_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        await db_sess.execute(sa.text("ALTER TABLE gate_cards ADD CONSTRAINT short CHECK (length(pin) < 3)"))
        with listening(db.engine.sync_engine, "handle_error", note):
            for verb in CARDS.values():
                with suppress(CheckViolation):
                    async with db_sess.begin_nested():
                        await verb(db_sess, [CardCreate(7, "q"), CardCreate(8, "long")])
                assert [sql for sql in seen if "INSERT INTO gate_cards" in sql]
                seen.clear()


@pytest.mark.parametrize("on", ["session", "every session"])
async def test_a_session_event_sees_inserts_of_the_class(any_tables: WithTables, on: str) -> None:
    """``do_orm_execute`` is told of statements on the mapped class, as ``create`` sends them."""
    seen: list[Any] = []

    def note(state: Any) -> None:
        seen.extend([state.bind_mapper.class_] if state.is_insert and state.is_orm_statement else [])

    async with any_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        with listening(Session if on == "every session" else db_sess.sync_session, "do_orm_execute", note):
            async for verb in by_each_verb(db_sess):
                held = await db_sess.execute(sa.text("SELECT id, pin FROM gate_cards ORDER BY id"))
                assert list(map(tuple, held)) == [(1, "a"), (2, "b"), (3, "c")]
                assert seen == [CardRow] * (3 if verb in ("create", "upsert") else 1), verb
                seen.clear()


async def test_a_session_event_sees_updates_and_deletes_of_the_class(any_tables: WithTables) -> None:
    """As those of single rows, whether the session holds objects or not."""
    seen: list[str] = []

    def note(state: Any) -> None:
        kinds = {"update": state.is_update, "delete": state.is_delete}
        seen.extend(kind for kind, is_one in kinds.items() if is_one and state.is_orm_statement)

    async with any_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        with listening(db_sess.sync_session, "do_orm_execute", note):
            await write_and_change(db_sess, "batch_create")
    assert seen == ["update", "update", "delete"]


async def test_a_session_event_narrows_a_stream(any_tables: WithTables) -> None:
    """As it narrows a search: criteria that an application adds to every SELECT."""

    def narrow(state: Any) -> None:
        if state.is_select:
            state.statement = state.statement.options(with_loader_criteria(CardRow, CardRow.id > 1))

    async with any_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        await BatchCreator(CardRow).load(db_sess, SPECS)
        querier = BatchQuerier(CardRow, into=Card)
        with listening(db_sess.sync_session, "do_orm_execute", narrow):
            assert [card.id for card in (await querier.search(db_sess)).items] == [2, 3]
            streamed = [card.id async for chunk in querier.chunks(db_sess) for card in chunk]
        assert streamed == [2, 3]


class Cards(Repository[CardRow, Card, int]): ...


@pytest.mark.parametrize("chunk_size", [1, 1000, None])
@pytest.mark.parametrize("given", [None, [], [sa.true()]])
async def test_a_session_event_narrows_a_purge_of_all_rows(
    any_tables: WithTables, given: Any, chunk_size: int | None
) -> None:
    """As it narrows one of some rows, and what is counted beforehand."""

    def narrow(state: Any) -> None:
        if state.is_orm_statement and (state.is_select or state.is_update or state.is_delete):
            state.statement = state.statement.options(with_loader_criteria(CardRow, CardRow.id > 1))

    async with any_tables(CardRow) as db:
        made = Cards(db, resilience=None)
        await made.load(SPECS)
        with listening(Session, "do_orm_execute", narrow):
            counted = await made.purge_where(given, all_rows=True, dry_run=True)
            most = await made.purge_where(given, all_rows=True, chunk_size=chunk_size, max_rows=1)
            left = await made.purge_where(given, all_rows=True, chunk_size=chunk_size)
        assert (counted.rows, most.rows, left.rows, left.complete) == (2, 1, 1, True)
        assert [card.id for card in await made.search()] == [1]


async def test_no_lane_fires_the_events_of_objects(any_tables: WithTables) -> None:
    """``before_insert`` and ``before_flush`` are of objects in a session; ``create`` makes none, nor does a batch."""
    seen: list[Any] = []

    def note(*args: Any) -> None:
        seen.append(args)

    async with any_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        with (
            listening(CardRow, "before_insert", note),
            listening(CardRow, "after_insert", note),
            listening(CardRow, "before_update", note),
            listening(db_sess.sync_session, "before_flush", note),
            listening(db_sess.sync_session, "after_flush", note),
        ):
            await write_by_all(db_sess)
    assert seen == []


class Loud(AsyncSession):
    """A session class that does something of its own around statements."""

    async def execute(self, statement: Any, *args: Any, **options: Any) -> Any:
        self.info.setdefault("sent", []).append(str(statement))
        return await super().execute(statement, *args, **options)


async def test_a_session_of_another_class_is_asked_to_execute(with_tables: WithTables) -> None:
    """If it has an ``execute`` of its own."""
    async with with_tables(CardRow) as db, Loud(db.engine) as db_sess:
        async for _ in by_each_verb(db_sess):
            assert [sql for sql in db_sess.info.pop("sent") if "INSERT INTO gate_cards" in sql]


async def test_an_engine_that_echoes_logs_every_insert(
    with_tables: WithTables, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever switches ``echo`` on wants to see what is sent."""
    caplog.set_level("INFO", "sqlalchemy.engine.Engine")
    async with with_tables(CardRow) as db, AsyncSession(db.engine) as db_sess:
        await BatchCreator(CardRow, into=Card).create(db_sess, SPECS)
    assert [record for record in caplog.records if "INSERT INTO gate_cards" in record.getMessage()]


# The hooks that there are


HANDLED = {
    # The gate asks for these: the statement goes through SQLAlchemy then.
    **dict.fromkeys(("before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute"), "gate"),
    **dict.fromkeys(("do_execute", "do_executemany", "do_execute_no_params", "do_setinputsizes"), "gate"),
    **dict.fromkeys(("handle_error", "do_orm_execute"), "gate"),
    # Of session.query(), which nothing here uses.
    **dict.fromkeys(("after_bulk_update", "after_bulk_delete"), "query"),
    # Of connections and transactions, which all lanes have in common.
    **dict.fromkeys(("engine_connect", "engine_disposed", "begin", "rollback", "commit", "do_connect"), "connection"),
    **dict.fromkeys(("set_connection_execution_options", "set_engine_execution_options"), "connection"),
    **dict.fromkeys(("savepoint", "rollback_savepoint", "release_savepoint"), "connection"),
    **dict.fromkeys(("begin_twophase", "prepare_twophase", "rollback_twophase", "commit_twophase"), "connection"),
    **dict.fromkeys(("connect", "first_connect", "checkout", "checkin", "reset", "invalidate"), "connection"),
    **dict.fromkeys(("soft_invalidate", "close", "detach", "close_detached"), "connection"),
    **dict.fromkeys(("after_transaction_create", "after_transaction_end", "after_begin"), "connection"),
    **dict.fromkeys(("before_commit", "after_commit", "after_rollback", "after_soft_rollback"), "connection"),
    # Of objects, which no lane makes for a write; ``create`` neither.
    **dict.fromkeys(
        ("before_flush", "after_flush", "after_flush_postexec", "before_attach", "after_attach"), "objects"
    ),
    **dict.fromkeys(("transient_to_pending", "pending_to_transient", "persistent_to_transient"), "objects"),
    **dict.fromkeys(("pending_to_persistent", "detached_to_persistent", "loaded_as_persistent"), "objects"),
    **dict.fromkeys(("persistent_to_deleted", "deleted_to_persistent", "deleted_to_detached"), "objects"),
    **dict.fromkeys(("persistent_to_detached", "before_insert", "after_insert", "before_update"), "objects"),
    **dict.fromkeys(("after_update", "before_delete", "after_delete"), "objects"),
    # Of mappers being made.
    **dict.fromkeys(("instrument_class", "after_mapper_constructed", "before_mapper_configured"), "mapping"),
    **dict.fromkeys(("mapper_configured", "before_configured", "after_configured"), "mapping"),
}


def test_every_event_that_sqlalchemy_has_is_thought_of() -> None:
    """A hook that is new in SQLAlchemy has to be put into one of the kinds."""
    from sqlalchemy.engine.events import ConnectionEvents, DialectEvents
    from sqlalchemy.orm.events import MapperEvents, SessionEvents
    from sqlalchemy.pool.events import PoolEvents

    families: Any = (ConnectionEvents, DialectEvents, PoolEvents, SessionEvents, MapperEvents)
    assert {name for family in families for name in family.dispatch._event_names} == set(HANDLED)


def test_what_the_gate_asks_for_is_what_the_list_says() -> None:
    """The list of the gate and the one above are the same."""
    from rowsmith.operations.blocks import gate

    asked = {*gate.AROUND_STATEMENTS, *gate.INSTEAD_OF_THE_DRIVER, "do_orm_execute", "handle_error"}
    assert asked == {name for name, kind in HANDLED.items() if kind == "gate"}
