"""What a trigger changes in rows that a statement has given already: the data is what the database holds afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    Condition,
    Conflict,
    Database,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    Spec,
)
from rowsmith.execution.pooler import is_behind_pooler
from rowsmith.testing import WithTables
from support import count_statements, share, turned


class Base(DeclarativeBase):
    pass


class AddressRow(Base):
    __tablename__ = "addresses"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    is_default: Mapped[bool] = mapped_column(default=False)
    is_deleted: Mapped[bool] = mapped_column(default=False)
    writes: Mapped[int] = mapped_column(default=0)


class OrderRow(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    total: Mapped[int] = mapped_column(default=0)

    lines: Mapped[list[LineRow]] = relationship(viewonly=True)


class LineRow(Base):
    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))
    price: Mapped[int]


@dataclass(frozen=True)
class Address:
    id: int
    is_default: bool
    writes: int


@dataclass(frozen=True)
class AddressCreate(Spec[AddressRow], filled={"owner"}):
    id: int
    is_default: bool = True


@dataclass(frozen=True)
class BareAddressCreate(Spec[AddressRow], filled={"owner"}):
    """Sets other fields, which takes a statement of its own."""

    id: int


@dataclass(frozen=True)
class AddressPatch(Patch[AddressRow]):
    is_default: OptionalState[bool] = OptionalState.nop()
    writes: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class OwnedBy(SearchScope):
    owner: str

    def to_conditions(self) -> Sequence[Condition]:
        return [AddressRow.owner == self.owner]


class Addresses(Repository[AddressRow, Address, int]):
    soft_delete = SoftDelete(AddressRow.is_deleted, deleted=True, restored=False)


class WholeAddresses(Repository[AddressRow, AddressRow, int]):
    soft_delete = SoftDelete(AddressRow.is_deleted, deleted=True, restored=False)


ONE_DEFAULT = "UPDATE addresses SET is_default = false WHERE owner = NEW.owner AND id <> NEW.id AND is_default"
COUNTED = "UPDATE addresses SET writes = writes + 1 WHERE id = NEW.id"
BODIES = {
    "after, to others": f"IF NEW.is_default THEN {ONE_DEFAULT}; END IF; RETURN NULL;",
    "before, to others": f"IF NEW.is_default THEN {ONE_DEFAULT}; END IF; RETURN NEW;",
    "after, to itself": f"IF pg_trigger_depth() = 1 THEN {COUNTED}; END IF; RETURN NULL;",
}
ON_SQLITE = {
    "after, to others": f"WHEN NEW.is_default BEGIN {ONE_DEFAULT}; END",
    "after, to itself": f"BEGIN {COUNTED}; END",
}


async def watch(db: Database, name: str) -> None:
    """Make the trigger of a name, as the database at hand has it."""
    timing, _, _ = name.upper().partition(",")
    columns = "is_default, is_deleted"
    async with db.engine.begin() as connection:
        if db.engine.dialect.name != "postgresql":
            for event in ("INSERT", f"UPDATE OF {columns}"):
                await connection.exec_driver_sql(
                    f"CREATE TRIGGER watch_{event[:6]} {timing} {event} ON addresses {ON_SQLITE[name]}"
                )
            return
        await connection.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {BODIES[name]} END $$"
        )
        await connection.exec_driver_sql(
            f"CREATE TRIGGER watch {timing} INSERT OR UPDATE OF {columns} ON addresses FOR EACH ROW "
            "EXECUTE FUNCTION watch()"
        )


def default(*, is_default: bool = True) -> AddressPatch:
    return AddressPatch(OptionalState.update(is_default))


Call = Callable[[Any, OwnedBy | None], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "create": lambda them, scope: them.create(AddressCreate(5), scope=scope),
    "batch_create": lambda them, scope: them.batch_create([AddressCreate(5), AddressCreate(6)], scope=scope),
    "batch_create_partial": lambda them, scope: them.batch_create_partial(
        [AddressCreate(5), AddressCreate(1), AddressCreate(6)], scope=scope
    ),
    "upsert": lambda them, scope: them.upsert(AddressCreate(1), scope=scope),
    "batch_upsert": lambda them, scope: them.batch_upsert([AddressCreate(1), AddressCreate(5)], scope=scope),
    "batch_upsert_partial": lambda them, scope: them.batch_upsert_partial(
        [AddressCreate(1), AddressCreate(5)], scope=scope
    ),
    "batch_upsert, mixed": lambda them, scope: them.batch_upsert(
        [AddressCreate(1), BareAddressCreate(2), AddressCreate(5), BareAddressCreate(6)], scope=scope
    ),
    "batch_upsert_partial, mixed": lambda them, scope: them.batch_upsert_partial(
        [AddressCreate(5), BareAddressCreate(2), AddressCreate(2**40), AddressCreate(1)], scope=scope
    ),
    "batch_update_partial, mixed": lambda them, scope: them.batch_update_partial(
        {1: default(), 3: AddressPatch(writes=OptionalState.update(2**40)), 99: default(), 2: default()}, scope=scope
    ),
    "update": lambda them, scope: them.update(1, default(), scope=scope),
    "batch_update": lambda them, scope: them.batch_update([1, 2], default(), scope=scope),
    "batch_update_each": lambda them, scope: them.batch_update_each(
        {2: default(), 1: default(is_default=False), 3: default()}, scope=scope
    ),
    "batch_update_partial": lambda them, scope: them.batch_update_partial({1: default(), 2: default()}, scope=scope),
    "delete": lambda them, scope: them.delete(1, scope=scope),
    "batch_delete": lambda them, scope: them.batch_delete([1, 2], scope=scope),
    "restore": lambda them, scope: them.restore(4, scope=scope),
    "batch_restore": lambda them, scope: them.batch_restore([4], scope=scope),
}


def data_in(result: Any) -> list[Any]:
    """Give all data that a verb gave, in whichever form."""
    given = getattr(result, "succeeded", result if isinstance(result, list) else [result])
    data = [getattr(each, "data", each) for each in given]
    return [getattr(each, "data", each) for each in data]


async def stored(db: Database) -> dict[int, tuple[bool, int]]:
    table: Any = AddressRow.__table__
    async with db.engine.connect() as connection:
        rows = (await connection.execute(sa.select(table.c.id, table.c.is_default, table.c.writes))).all()
    return {id_: (bool(is_default), writes) for id_, is_default, writes in rows}


@pytest.fixture(params=BODIES)
async def addresses(request: pytest.FixtureRequest, any_tables: WithTables) -> AsyncIterator[Addresses]:
    """Four addresses of one owner, the last one deleted, and a trigger over them."""
    async with any_tables(AddressRow) as db:
        async with db.begin_session() as db_sess:
            rows = [{"id": n, "owner": "a", "is_deleted": n == 4} for n in (1, 2, 3, 4)]
            await db_sess.execute(sa.insert(AddressRow), rows)
        if db.engine.dialect.name == "postgresql" or request.param in ON_SQLITE:
            await watch(db, request.param)
        yield Addresses(db)
        if db.engine.dialect.name == "postgresql":
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION watch() CASCADE")


NEW_ROWS = {name for name in CALLS if "create" in name or "upsert" in name}
_WAYS = ("alone", "statement", "session", "objects")
BY_ALL = [(name, scope) for name in CALLS for scope in (OwnedBy("a"), None) if scope or name not in NEW_ROWS]
BY_ALL_WAYS = [(*case, way) for at, case in enumerate(BY_ALL) for way in share(turned(_WAYS, at), 4)]


@pytest.mark.parametrize("name, scope, way", BY_ALL_WAYS)
async def test_the_data_is_what_the_database_holds(
    addresses: Addresses, name: str, scope: OwnedBy | None, way: str
) -> None:
    """By every verb, with a scope and without, by each way of sending it, of data classes and of whole rows."""
    db = addresses.db
    them = WholeAddresses(db) if way == "objects" else addresses
    async with AsyncExitStack() as stack:
        if way == "session":
            await stack.enter_async_context(db.begin_session())
        if way == "statement":
            stack.enter_context(db.writes_as("statement"))
        result = await CALLS[name](them, scope)
    given, rows = data_in(result), await stored(db)
    assert given
    for each in given:
        assert (bool(each.is_default), each.writes) == rows[each.id]


@dataclass(frozen=True)
class Order:
    id: int
    total: int


@dataclass(frozen=True)
class LineCreate(Spec[LineRow], filled={"order_id"}):
    price: int


@dataclass(frozen=True)
class OrderCreate(Spec[OrderRow]):
    owner: str
    lines: tuple[LineCreate, ...] = ()


class Orders(Repository[OrderRow, Order, int]):
    pass


ADDS_UP = "UPDATE orders SET total = total + NEW.price WHERE id = NEW.order_id"


async def test_what_rows_below_do_to_the_rows_above(any_tables: WithTables) -> None:
    """The top of a tree is given with what a trigger of the rows below has added up in it."""
    async with any_tables(OrderRow, LineRow) as db:
        async with db.engine.begin() as connection:
            if db.engine.dialect.name == "postgresql":
                await connection.exec_driver_sql(
                    "CREATE OR REPLACE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS "
                    f"$$ BEGIN {ADDS_UP}; RETURN NEW; END $$"
                )
                await connection.exec_driver_sql(
                    "CREATE TRIGGER add_up BEFORE INSERT ON lines FOR EACH ROW EXECUTE FUNCTION add_up()"
                )
            else:
                await connection.exec_driver_sql(f"CREATE TRIGGER add_up AFTER INSERT ON lines BEGIN {ADDS_UP}; END")
        orders, tree = Orders(db), OrderCreate("a", (LineCreate(10), LineCreate(5)))
        assert (await orders.create(tree)).total == 15
        assert [order.total for order in await orders.batch_create([OrderCreate("a"), tree])] == [0, 15]
        assert [each.data.total for each in (await orders.batch_create_partial([tree])).succeeded] == [15]


PARTED = """
CREATE TABLE addresses (
    id int PRIMARY KEY, owner text NOT NULL, is_default bool NOT NULL, is_deleted bool NOT NULL, writes int NOT NULL
) PARTITION BY RANGE (id);
CREATE TABLE addresses_low PARTITION OF addresses FOR VALUES FROM (0) TO (10);
"""


async def test_a_trigger_of_a_partition_alone_is_seen(database: Database) -> None:
    """So is one that runs once for the statement."""
    async with database.engine.begin() as connection:
        for statement in PARTED.split(";")[:-1]:
            await connection.exec_driver_sql(statement)
        await connection.exec_driver_sql(
            "CREATE OR REPLACE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE addresses SET writes = 7 WHERE pg_trigger_depth() = 1; RETURN NULL; END $$"
        )
    addresses = Addresses(database)
    try:
        for table, timing in (("addresses_low", "FOR EACH ROW"), ("addresses", "FOR EACH STATEMENT")):
            async with database.engine.begin() as connection:
                await connection.exec_driver_sql(
                    f"CREATE TRIGGER watch AFTER INSERT ON {table} {timing} EXECUTE FUNCTION watch()"
                )
            await database.engine.dispose()
            scope = OwnedBy("a")
            assert (await addresses.create(AddressCreate(1), scope=scope)).writes == 7
            assert {made.writes for made in await addresses.batch_create([AddressCreate(2)], scope=scope)} == {7}
            async with database.engine.begin() as connection:
                await connection.exec_driver_sql(f"DROP TRIGGER watch ON {table}")
                await connection.exec_driver_sql("DELETE FROM addresses")
    finally:
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("DROP TABLE addresses")
            await connection.exec_driver_sql("DROP FUNCTION watch()")
        await database.engine.dispose()


class AccountRow(Base):
    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    parent_code: Mapped[str | None] = mapped_column(
        sa.ForeignKey("accounts.code", name="fk_parent", onupdate="CASCADE")
    )


@dataclass(frozen=True)
class Account:
    id: int
    code: str
    parent_code: str | None


@dataclass(frozen=True)
class AccountCreate(Spec[AccountRow]):
    id: int
    code: str
    name: str = ""
    parent_code: str | None = None


@dataclass(frozen=True)
class AccountPatch(Patch[AccountRow]):
    code: OptionalState[str] = OptionalState.nop()
    name: OptionalState[str] = OptionalState.nop()


class Accounts(Repository[AccountRow, Account, int]):
    conflict = Conflict([AccountRow.id])


def code(value: str) -> AccountPatch:
    return AccountPatch(OptionalState.update(value))


NAMED = AccountPatch(name=OptionalState.update("new"))
RECODED: dict[str, Callable[[Accounts], Awaitable[Any]]] = {
    "update": lambda them: them.update(3, code("99")),
    "batch_update": lambda them: them.batch_update([3], code("99")),
    "batch_update_each, at once": lambda them: them.batch_update_each({1: code("5"), 2: code("55")}),
    "batch_update_each, in turn": lambda them: them.batch_update_each({2: NAMED, 1: code("5")}),
    "batch_update_partial": lambda them: them.batch_update_partial({2: NAMED, 1: code("5")}),
    "upsert": lambda them: them.upsert(AccountCreate(3, "99", parent_code="9")),
    "batch_upsert": lambda them: them.batch_upsert([AccountCreate(1, "5"), AccountCreate(3, "99", parent_code="9")]),
    "batch_upsert_partial": lambda them: them.batch_upsert_partial(
        [AccountCreate(1, "5"), AccountCreate(3, "99", parent_code="9")]
    ),
}


async def recode(db: Database, name: str, way: str) -> None:
    """Change the codes of accounts by some verb, and hold what it gives against what is stored."""
    accounts = Accounts(db)
    for made in (
        AccountCreate(1, "1"),
        AccountCreate(2, "11", parent_code="1"),
        AccountCreate(3, "9", parent_code="9"),
    ):
        await accounts.create(made)
    async with AsyncExitStack() as stack:
        if way == "session":
            await stack.enter_async_context(db.begin_session())
        if way == "statement":
            stack.enter_context(db.writes_as("statement"))
        given = data_in(await RECODED[name](accounts))
    assert given
    assert given == await accounts.batch_get([each.id for each in given])


@pytest.mark.parametrize("way", ["alone", "statement", "session"])
@pytest.mark.parametrize("name", RECODED)
async def test_keys_that_follow_those_of_their_own_table(any_tables: WithTables, name: str, way: str) -> None:
    """What ON UPDATE CASCADE makes of rows that were written is in what every verb gives."""
    async with any_tables(AccountRow) as db:
        await recode(db, name, way)


@pytest.mark.parametrize("action", ["SET NULL", "SET DEFAULT"])
async def test_keys_that_are_cleared_with_those_of_their_own_table(with_tables: WithTables, action: str) -> None:
    """So is what the other actions make of them."""
    async with with_tables(AccountRow) as db:
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(
                "ALTER TABLE accounts DROP CONSTRAINT fk_parent, ADD CONSTRAINT fk_parent "
                f"FOREIGN KEY (parent_code) REFERENCES accounts (code) ON UPDATE {action}"
            )
        await recode(db, "batch_update_each, in turn", "alone")


SHOWN = """
ALTER TABLE addresses RENAME TO all_addresses;
CREATE VIEW later AS SELECT * FROM all_addresses WHERE id > 0;
CREATE VIEW addresses AS SELECT * FROM later WHERE writes < 9;
CREATE OR REPLACE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF pg_trigger_depth() = 1 THEN {}; END IF; RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON all_addresses FOR EACH ROW EXECUTE FUNCTION watch()
"""


@asynccontextmanager
async def shown(made: WithTables, does: str) -> AsyncIterator[Addresses]:
    """Give three addresses by a view of a view, with a trigger of the table beneath that does something."""
    async with made(AddressRow) as table:
        rows = [{"id": n, "owner": "a", "is_deleted": n == 4} for n in (1, 2, 4)]
        async with table.engine.begin() as connection:
            await connection.execute(sa.insert(AddressRow), rows)
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.execute(SHOWN.format(does))
        db = Database.from_url(table.engine.url, pooler=is_behind_pooler(table.engine.sync_engine))  # has met no table
        try:
            yield Addresses(db)
        finally:
            await db.dispose()
            async with table.engine.begin() as connection:
                await connection.exec_driver_sql("DROP VIEW addresses, later")
                await connection.exec_driver_sql("ALTER TABLE all_addresses RENAME TO addresses")
                await connection.exec_driver_sql("DROP FUNCTION watch() CASCADE")


@pytest.mark.parametrize("way", ["alone", "statement", "objects"])
@pytest.mark.parametrize("name", [name for name in CALLS if "upsert" not in name and name != "batch_update_each"])
async def test_a_trigger_beneath_a_view_is_seen(with_tables: WithTables, name: str, way: str) -> None:
    """By every verb, through one view over another."""
    async with shown(with_tables, COUNTED.replace("addresses", "all_addresses")) as addresses:
        db = addresses.db
        with db.writes_as("statement" if way == "statement" else "transaction"):
            result = await CALLS[name](WholeAddresses(db) if way == "objects" else addresses, OwnedBy("a"))
        given, rows = data_in(result), await stored(db)
        assert given
        assert {each.id: (each.is_default, each.writes) for each in given} == {each.id: rows[each.id] for each in given}
        assert {each.writes for each in given} == {1}


LEAVES = "UPDATE all_addresses SET owner = 'b' WHERE id = NEW.id"


@pytest.mark.parametrize("name", ["create", "batch_create", "update", "batch_update", "delete"])
async def test_rows_that_a_trigger_beneath_a_view_takes_out_of_their_scope(with_tables: WithTables, name: str) -> None:
    """They are refused, and stay as they were."""
    async with shown(with_tables, LEAVES) as addresses:
        before = await stored(addresses.db)
        with pytest.raises(ScopeMismatch):
            await CALLS[name](addresses, OwnedBy("a"))
        assert await stored(addresses.db) == before


async def test_a_table_without_triggers_is_asked_about_once(with_tables: WithTables) -> None:
    """A write stays one statement; with a trigger that changes rows it is read again by its key."""
    async with with_tables(AddressRow) as db:
        addresses, scope = Addresses(db), OwnedBy("a")
        with count_statements(db) as sent:
            await addresses.create(AddressCreate(1), scope=scope)
        assert len(sent) == 1
        await watch(db, "after, to itself")
        await db.engine.dispose()
        with count_statements(db) as sent:
            assert (await addresses.create(AddressCreate(2), scope=scope)).writes == 1
        assert [statement.split()[0] for statement in sent if "SAVEPOINT" not in statement] == [
            "INSERT",
            "SELECT",
            "SELECT",
        ]
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql("DROP FUNCTION watch() CASCADE")
