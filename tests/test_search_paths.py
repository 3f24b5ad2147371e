"""Tables that a name leads to by what an application has set on a connection: what is known of one is of it alone.

Two tables are alike but for a trigger, which changes the rows of one, and takes them out of their scope.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from native import lane_of
from rowsmith import (
    Conflict,
    Database,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    Spec,
)
from rowsmith.testing import WithFaults, WithTables
from support import share

SCHEMA = "path_other"
ORDERS = [["public", SCHEMA], [SCHEMA, "public", SCHEMA]]


class Base(DeclarativeBase):
    pass


class CardRow(Base):
    __tablename__ = "path_cards"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    size: Mapped[int]


@dataclass(frozen=True)
class Card:
    id: int
    tenant: str
    size: int


@dataclass(frozen=True)
class Tenant(SearchScope):
    tenant: str

    def to_conditions(self) -> list[sa.ColumnElement[bool]]:
        return [CardRow.tenant == self.tenant]


@dataclass(frozen=True)
class CardSpec(Spec[CardRow]):
    id: int
    size: int
    tenant: str = "a"


@dataclass(frozen=True)
class CardPatch(Patch[CardRow]):
    size: OptionalState[int] = OptionalState.nop()


class Cards(Repository[CardRow, Card, int]): ...


A = Tenant("a")
ID = Conflict(columns=[CardRow.id])
SEVEN = CardPatch(size=OptionalState.update(7))
FIVE = [CardSpec(n, 0) for n in range(10, 15)]

Call: TypeAlias = Callable[[Cards], Awaitable[Any]]
WRITES: dict[str, Call] = {
    "create": lambda of: of.create(CardSpec(9, 0), scope=A),
    "batch_create": lambda of: of.batch_create(FIVE, scope=A),
    "update": lambda of: of.update(1, SEVEN, scope=A),
    "batch_update": lambda of: of.batch_update([1, 2], SEVEN, scope=A),
    "update_where": lambda of: of.update_where([CardRow.id < 3], SEVEN, scope=A),
    "upsert of a new row": lambda of: of.upsert(CardSpec(9, 0), conflict=ID, scope=A),
    "upsert of a row": lambda of: of.upsert(CardSpec(1, 0), conflict=ID, scope=A),
    "batch_upsert": lambda of: of.batch_upsert([CardSpec(1, 0), CardSpec(9, 0)], conflict=ID, scope=A),
}
GIVEN = {name: call for name, call in WRITES.items() if name != "update_where"}
PURGES: dict[str, Call] = {
    "purge": lambda of: of.purge(1, scope=A),
    "batch_purge": lambda of: of.batch_purge([1, 2], scope=A),
    "purge_where": lambda of: of.purge_where([CardRow.id < 3], scope=A, chunk_size=None),
    "update": WRITES["update"],
    "batch_update": WRITES["batch_update"],
    "batch_upsert": WRITES["batch_upsert"],
}


@pytest.fixture(params=["native", "sqlalchemy"])
async def cards(request: pytest.FixtureRequest, with_tables: WithTables) -> AsyncIterator[Cards]:
    """Give two cards in the usual schema and two in the other, on one connection, which has written none."""
    async with with_tables(CardRow) as made:
        async with made.engine.begin() as connection:
            for sql in (
                f"CREATE SCHEMA {SCHEMA}",
                f"CREATE TABLE {SCHEMA}.path_cards (LIKE path_cards INCLUDING ALL)",
                "INSERT INTO path_cards VALUES (1, 'a', 0), (2, 'a', 0)",
                f"INSERT INTO {SCHEMA}.path_cards VALUES (1, 'a', 0), (2, 'a', 0)",
            ):
                await connection.exec_driver_sql(sql)
        db = Database.from_url(made.engine.url, native=request.param == "native", pool_size=1, max_overflow=0)
        yield Cards(db, resilience=None)
        await db.dispose()
        async with made.engine.begin() as connection:
            await connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA} CASCADE")


async def run(cards: Cards, *statements: str) -> None:
    async with cards.db.engine.begin() as connection:
        for sql in statements:
            await connection.exec_driver_sql(sql)


async def hang_trigger(cards: Cards, does: str) -> None:
    """Have something done to each row of the other table once it is written."""
    body = f"UPDATE {SCHEMA}.path_cards SET {does} WHERE id = new.id; RETURN NULL;"
    written, once = f"AFTER INSERT OR UPDATE ON {SCHEMA}.path_cards FOR EACH ROW", "WHEN (pg_trigger_depth() = 0)"
    await run(
        cards,
        f"CREATE FUNCTION {SCHEMA}.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
        f"CREATE TRIGGER meddle {written} {once} EXECUTE FUNCTION {SCHEMA}.meddle()",
    )


def cards_of(given: Sequence[Any]) -> list[Card]:
    """Give the cards of what a verb gave, of an upsert too."""
    return [getattr(each, "data", each) for each in given]


SetPath: TypeAlias = Callable[[AsyncSession, str], Awaitable[None]]


async def set_locally(session: AsyncSession, schema: str) -> None:
    await session.execute(sa.text(f"SET LOCAL search_path = {schema}, public"))


class Undone(Exception):
    pass


@asynccontextmanager
async def in_session(cards: Cards) -> AsyncIterator[tuple[AsyncSession, Cards]]:
    async with cards.db.begin_session() as session:
        yield session, cards


@asynccontextmanager
async def in_unit(cards: Cards) -> AsyncIterator[tuple[AsyncSession, Cards]]:
    async with cards.db.unit_of_work() as unit:
        yield unit.session, cards


@asynccontextmanager
async def in_borrowed(cards: Cards) -> AsyncIterator[tuple[AsyncSession, Cards]]:
    async with AsyncSession(cards.db.engine) as session, session.begin():
        yield session, Cards(Database.from_session(session), resilience=None)


Block: TypeAlias = Callable[[Cards], AbstractAsyncContextManager[tuple[AsyncSession, Cards]]]
BLOCKS: Sequence[Block] = (in_session, in_unit, in_borrowed)


async def told(
    cards: Cards, block: Block, schema: str, call: Call, set_path: SetPath = set_locally
) -> tuple[Any, Sequence[Card]]:
    """Make a call where names lead to a schema; gives what it gave, or its error, and what was stored then."""
    given: Any = None
    stored: list[Card] = []
    try:
        async with block(cards) as (session, own):
            await set_path(session, schema)
            given = await call(own)
            sql = f"SELECT id, tenant, size FROM {schema}.path_cards ORDER BY id"
            stored = [Card(*row) for row in await session.execute(sa.text(sql))]
            raise Undone
    except Undone:
        return given, stored
    except ScopeMismatch:
        return ScopeMismatch, []


@pytest.mark.parametrize("order", ORDERS, ids=["usual first", "other first"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_row_that_a_trigger_takes_out_of_its_scope(cards: Cards, name: str, order: Sequence[str]) -> None:
    """It is noticed by every verb in the schema that has the trigger, whichever was written to before."""
    await hang_trigger(cards, "tenant = 'b'")
    for block in BLOCKS:
        for schema in order:
            given, _ = await told(cards, block, schema, WRITES[name])
            assert (given is ScopeMismatch) == (schema == SCHEMA), (block, schema)


@pytest.mark.parametrize("name, order", share(product(GIVEN, ORDERS)))
async def test_data_is_what_is_stored(cards: Cards, name: str, order: Sequence[str]) -> None:
    """The trigger's own doing included."""
    await hang_trigger(cards, "size = new.size + 100")
    for schema in order:
        given, stored = await told(cards, in_session, schema, GIVEN[name])
        several: Any = getattr(given, "succeeded", given)
        found = cards_of(several if name.startswith("batch") else [several])
        assert found
        assert all((card.size >= 100) == (schema == SCHEMA) and card in stored for card in found)


async def test_calls_without_a_session_come_before(cards: Cards) -> None:
    """What they have learned of the usual table is not taken for known of the other, nor the other way round."""
    await hang_trigger(cards, "tenant = 'b'")
    for _ in range(2):
        await cards.update(1, SEVEN, scope=A)
        await cards.batch_update([1, 2], SEVEN, scope=A)
        for name in ("update", "batch_update"):
            assert (await told(cards, in_session, SCHEMA, WRITES[name]))[0] is ScopeMismatch


async def set_by_parameter(session: AsyncSession, schema: str) -> None:
    await session.execute(sa.text("SELECT set_config(:name, :path, true)"), {"name": "search_path", "path": schema})


async def set_by_function(session: AsyncSession, schema: str) -> None:
    await session.execute(sa.select(sa.func.set_config("search_path", schema, sa.true())))


async def set_in_upper_case(session: AsyncSession, schema: str) -> None:
    await session.execute(sa.text(f"SET LOCAL SEARCH_PATH TO {schema}"))


async def set_as_schema(session: AsyncSession, schema: str) -> None:
    await session.execute(sa.text(f"SET LOCAL SCHEMA '{schema}'"))


async def set_by_the_drivers_words(session: AsyncSession, schema: str) -> None:
    await (await session.connection()).exec_driver_sql(f"SET LOCAL search_path = {schema}")


async def set_until_undone(session: AsyncSession, schema: str) -> None:
    await session.execute(sa.text(f"SET search_path = {schema}"))


async def set_on_the_drivers_connection(session: AsyncSession, schema: str) -> None:
    await session.execute(sa.text("SELECT 1"))
    raw = await (await session.connection()).get_raw_connection()
    assert raw.driver_connection is not None
    await raw.driver_connection.execute(f"SET LOCAL search_path = {schema}")


async def set_by_ddl(session: AsyncSession, schema: str) -> None:
    made: Any = sa.DDL
    await session.execute(made(f"SET LOCAL search_path = {schema}"))


@pytest.mark.parametrize(
    "set_path",
    [
        set_by_parameter,
        set_by_function,
        set_in_upper_case,
        set_as_schema,
        set_by_the_drivers_words,
        set_until_undone,
        set_on_the_drivers_connection,
        set_by_ddl,
    ],
)
async def test_whichever_way_the_path_is_set(cards: Cards, set_path: SetPath) -> None:
    """Its name may stand in the statement or be a parameter; of the driver's own connection nobody knows."""
    await hang_trigger(cards, "tenant = 'b'")
    for schema in ("public", SCHEMA, "public", SCHEMA):
        given, _ = await told(cards, in_session, schema, WRITES["update"], set_path)
        assert (given is ScopeMismatch) == (schema == SCHEMA), schema
        await cards.update(1, SEVEN, scope=A)


async def test_a_function_that_sets_the_path(cards: Cards) -> None:
    """The server says so itself, from PostgreSQL 18 on."""
    await hang_trigger(cards, "tenant = 'b'")
    setting = f"SELECT set_config('search_path', '{SCHEMA}', true)"
    await run(cards, f"CREATE FUNCTION {SCHEMA}.lead() RETURNS text LANGUAGE sql AS $$ {setting} $$")

    async def lead(session: AsyncSession, schema: str) -> None:
        await session.execute(sa.text(f"SELECT {schema}.lead()"))

    await cards.update(1, SEVEN, scope=A)
    assert (await told(cards, in_session, SCHEMA, WRITES["update"], lead))[0] is ScopeMismatch


async def test_a_role_leads_to_a_schema_of_its_name(cards: Cards) -> None:
    """As PostgreSQL's own search_path has it."""
    await hang_trigger(cards, "tenant = 'b'")
    tables = f"ALL TABLES IN SCHEMA {SCHEMA}"
    await run(
        cards,
        f"CREATE ROLE {SCHEMA}",
        f"GRANT ALL ON SCHEMA {SCHEMA} TO {SCHEMA}",
        f"GRANT ALL ON {tables} TO {SCHEMA}",
    )

    async def become(session: AsyncSession, role: str) -> None:
        await session.execute(sa.text(f"SET LOCAL ROLE {role}"))

    try:
        await cards.update(1, SEVEN, scope=A)
        assert (await told(cards, in_session, SCHEMA, WRITES["update"], become))[0] is ScopeMismatch
    finally:
        await run(cards, f"DROP OWNED BY {SCHEMA}", f"DROP ROLE {SCHEMA}")


@pytest.mark.parametrize("name, order", share(product(PURGES, ORDERS)))
async def test_a_view_in_the_place_of_a_table(cards: Cards, name: str, order: Sequence[str]) -> None:
    """Its rows have no places, and those of the table have."""
    moved = f"ALTER TABLE {SCHEMA}.path_cards RENAME TO kept"
    await run(cards, moved, f"CREATE VIEW {SCHEMA}.path_cards AS SELECT * FROM {SCHEMA}.kept")
    for schema in order:
        given, stored = await told(cards, in_session, schema, PURGES[name])
        assert given is not ScopeMismatch
        assert stored != [Card(1, "a", 0), Card(2, "a", 0)]


@pytest.fixture
async def led(cards: Cards) -> AsyncIterator[AsyncEngine]:
    """Give an engine whose names lead to the other schema, where a trigger takes rows out of their scope."""
    await hang_trigger(cards, "tenant = 'b'")
    path = {"server_settings": {"search_path": SCHEMA}}
    engine = create_async_engine(cards.db.engine.url, connect_args=path, pool_size=1, max_overflow=0)
    yield engine
    await engine.dispose()


async def test_a_path_that_was_set_before_the_session_was_lent(led: AsyncEngine) -> None:
    """Nobody has looked at what was sent until then: what is learned there is kept for nobody."""
    async with AsyncSession(led) as session:
        await set_locally(session, "public")
        await Cards(Database.from_session(session)).update(1, SEVEN, scope=A)
    async with AsyncSession(led) as session:
        with pytest.raises(ScopeMismatch):
            await Cards(Database.from_session(session)).update(1, SEVEN, scope=A)


async def test_a_temporary_table_comes_first(led: AsyncEngine) -> None:
    """What is learned of it is not taken for known of the one that it hides."""
    cards = Cards(Database(led))
    async with cards.db.begin_session() as session:
        temporary = "CREATE TEMPORARY TABLE path_cards (LIKE public.path_cards) ON COMMIT DROP"
        await session.execute(sa.text(temporary))
        await cards.create(CardSpec(1, 0), scope=A)
        await cards.update(1, SEVEN, scope=A)
    with pytest.raises(ScopeMismatch):
        await cards.update(1, SEVEN, scope=A)


@pytest.mark.of_the_native_lane
async def test_other_statements_change_nothing(with_faults: WithFaults) -> None:
    """Where no path was set nothing is asked again, and the calls take the lane that they took before."""
    async with with_faults(CardRow, pool_size=1, max_overflow=0) as (db, proxy):
        cards = Cards(db, resilience=None)
        claims = {"name": "request.jwt.claims", "value": '{"role": "search"}'}
        await cards.create(CardSpec(1, 0), scope=A)

        async def sent(*statements: str) -> list[str]:
            proxy.seen.clear()
            async with db.begin_session() as session:
                for sql in statements:
                    await session.execute(sa.text(sql), claims if ":" in sql else {})
                await cards.update(1, SEVEN, scope=A)
            await cards.update(1, SEVEN, scope=A)
            return [words.split()[0].rstrip(";") for words in proxy.seen]

        usual = ("SELECT 1", "SELECT set_config(:name, :value, true)", "SET LOCAL lock_timeout = 0")
        await sent(*usual)
        plain, before = await sent(*usual), lane_of(db).taken
        assert await sent(*usual) == plain
        assert lane_of(db).taken == before + 2
        assert len(await sent(*usual[:2], "SET LOCAL search_path = public")) > len(plain)
        await sent(*usual)
        assert await sent(*usual) == plain
