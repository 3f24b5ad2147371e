"""Batches whose keys the server makes: every row of the answer is its own spec's, every child under its own parent."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from columns import Folded
from rowsmith import BatchCreator, Database, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class ListRow(Base):
    __tablename__ = "lists"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(sa.Integer, sa.Identity(), primary_key=True)
    name: Mapped[str]

    steps: Mapped[list[StepRow]] = relationship(viewonly=True)


class StepRow(Base):
    __tablename__ = "steps"
    __table_args__ = (sa.ForeignKeyConstraint(["tenant", "list_id"], ["lists.tenant", "lists.id"]),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    list_id: Mapped[int]
    name: Mapped[str]


@dataclass(frozen=True)
class ListData:
    tenant: str
    id: int
    name: str


@dataclass(frozen=True)
class StepCreate(Spec[StepRow], filled={"tenant", "list_id"}):
    name: str


@dataclass(frozen=True)
class ListCreate(Spec[ListRow]):
    tenant: str
    name: str
    steps: tuple[StepCreate, ...] = ()


SPECS = [
    ListCreate("b", "one", (StepCreate("s1"),)),
    ListCreate("a", "two", (StepCreate("s2"),)),
    ListCreate("b", "three", (StepCreate("s3"),)),
]


async def test_each_child_is_stored_under_its_own_parent(with_tables: WithTables) -> None:
    """Of a key (tenant, identity) only the identity says which row is which."""
    async with with_tables(ListRow, StepRow) as db, db.begin_session() as db_sess:
        made = await BatchCreator(ListRow, into=ListData).create(db_sess, SPECS)
        assert [(item.tenant, item.name) for item in made] == [("b", "one"), ("a", "two"), ("b", "three")]
        joined = sa.select(StepRow.name, ListRow.tenant, ListRow.name).join(ListRow.steps).order_by(StepRow.name)
        held = [tuple(row) for row in (await db_sess.execute(joined)).all()]
        assert held == [("s1", "b", "one"), ("s2", "a", "two"), ("s3", "b", "three")]


COUNTED = "CREATE SEQUENCE tickets START 100 INCREMENT BY -1 MINVALUE 1 MAXVALUE 100"
PICK = (
    """CREATE FUNCTION pick() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.id := hashtext(NEW.name) % 1000000; RETURN NEW; END $$""",
    "CREATE TRIGGER pick BEFORE INSERT ON picked FOR EACH ROW EXECUTE FUNCTION pick()",
)


KEYS: dict[str, dict[str, Any]] = {
    "identity": {"id": sa.Column(sa.Integer, sa.Identity(), primary_key=True)},
    "identity that is always made": {"id": sa.Column(sa.Integer, sa.Identity(always=True), primary_key=True)},
    "identity that counts down": {"id": sa.Column(sa.Integer, sa.Identity(increment=-1), primary_key=True)},
    "identity in a cycle": {
        "id": sa.Column(sa.Integer, sa.Identity(start=95, maxvalue=99, cycle=True), primary_key=True)
    },
    "serial": {"id": sa.Column(sa.Integer, primary_key=True, autoincrement=True)},
    "sequence that counts down": {
        "id": sa.Column(sa.Integer, server_default=sa.text("nextval('tickets')"), primary_key=True)
    },
    "sequence of SQLAlchemy's": {"id": sa.Column(sa.Integer, sa.Sequence("turns", increment=-1), primary_key=True)},
    "random default of the server": {
        "id": sa.Column(sa.Uuid, server_default=sa.text("gen_random_uuid()"), primary_key=True)
    },
    "random default of the statement": {"id": sa.Column(sa.Uuid, default=sa.func.gen_random_uuid(), primary_key=True)},
    "several parts": {
        "id": sa.Column(sa.Uuid, server_default=sa.text("gen_random_uuid()"), primary_key=True),
        "turn": sa.Column(sa.Integer, sa.Identity(), primary_key=True),
    },
    "trigger": {"id": sa.Column(sa.Integer, server_default=sa.FetchedValue(), primary_key=True, autoincrement=False)},
}


TENANTS: dict[str, dict[str, Any]] = {
    "alone": {},
    "text": {"tenant": sa.Column(sa.String, primary_key=True)},
    "padded": {"tenant": sa.Column(sa.CHAR(4), primary_key=True)},
    "folded": {"tenant": sa.Column(Folded, primary_key=True)},
}


def a_row(**columns: sa.Column[Any]) -> Any:
    """Make a row of a class of its own, all its columns after the key's."""
    base: Any = type("Base", (DeclarativeBase,), {})
    own = {name: column._copy() for name, column in columns.items()}
    return type("PickedRow", (base,), {"__tablename__": "picked", **own, "name": sa.Column(sa.Text, nullable=False)})


async def in_order(db_sess: AsyncSession, row: Any, *given: str) -> bool:
    """Create rows in a random order, and say whether each came back in the place of its spec."""
    fields = [(name, str) for name in (*given, "name")]
    spec = make_dataclass("PickedCreate", fields, bases=(Spec[row],), frozen=True)
    data: Any = make_dataclass("Picked", [("id", Any), ("name", str)], frozen=True)
    names = [f"n{place}" for place in (4, 1, 3, 0, 2)]
    made = await BatchCreator(row, into=data).create(
        db_sess, [spec(*("B" if name < "n3" else "a" for _ in given), name) for name in names]
    )
    held = {tuple(found) for found in await db_sess.execute(sa.select(row.id, row.name))}
    return [item.name for item in made] == names and {(item.id, item.name) for item in made} == held


@pytest.mark.parametrize("kind", KEYS)
async def test_rows_come_back_in_input_order_whoever_made_their_keys(database: Database, kind: str) -> None:
    """Whatever makes the key, alone or beside a part that is given, and however that part is stored."""
    found = dict[str, bool]()
    for given, tenant in TENANTS.items():
        row = a_row(**tenant, **KEYS[kind])
        async with database.engine.connect() as connection, AsyncSession(connection) as db_sess:
            await db_sess.execute(sa.text(COUNTED))
            await connection.run_sync(row.__table__.create)
            for sql in PICK if kind == "trigger" else ():
                await db_sess.execute(sa.text(sql))
            found[given] = await in_order(db_sess, row, *tenant)
            await connection.rollback()
    assert found == dict.fromkeys(TENANTS, True)
