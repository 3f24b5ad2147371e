"""What a step over a relationship reads: rows that it leads to, and of a subclass where it says so, and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, foreign, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    Condition,
    Database,
    EmptyScope,
    Expr,
    InvalidFilter,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    count,
    related,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class AssetRow(Base):
    __tablename__ = "read_assets"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "asset"}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    tenant: Mapped[str]
    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("read_people.id"))
    owner: Mapped[PersonRow | None] = relationship(viewonly=True)


class LaptopRow(AssetRow):
    """In a table of its own."""

    __tablename__ = "read_laptops"
    __mapper_args__ = {"polymorphic_identity": "laptop"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("read_assets.id"), primary_key=True)
    pin: Mapped[int]
    parts: Mapped[list[PartRow]] = relationship(viewonly=True)


class PhoneRow(AssetRow):
    """In the table of its base."""

    __mapper_args__ = {"polymorphic_identity": "phone"}

    number: Mapped[str | None]


class PartRow(Base):
    __tablename__ = "read_parts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    laptop_id: Mapped[int] = mapped_column(sa.ForeignKey("read_laptops.id"))
    laptop: Mapped[LaptopRow] = relationship(viewonly=True)


class PersonRow(Base):
    __tablename__ = "read_people"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    name: Mapped[str]


class TicketRow(Base):
    __tablename__ = "read_tickets"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    note: Mapped[str]
    asset_id: Mapped[int | None] = mapped_column(sa.ForeignKey("read_assets.id"))
    asset: Mapped[AssetRow | None] = relationship(viewonly=True)
    holders: Mapped[list[PersonRow]] = relationship(secondary="read_holds", viewonly=True)


HOLDS = sa.Table(
    "read_holds",
    Base.metadata,
    sa.Column("ticket_id", sa.Integer, sa.ForeignKey("read_tickets.id"), primary_key=True),
    sa.Column("person_id", sa.Integer, sa.ForeignKey("read_people.id"), primary_key=True),
)


class HoldRow(Base):
    __table__ = HOLDS


NAMED: Any = aliased(LaptopRow)
NAMED_ASSET: Any = aliased(AssetRow)
TICKET: Any = TicketRow
TICKET.by_alias = relationship(
    NAMED_ASSET, primaryjoin=foreign(TicketRow.asset_id) == NAMED_ASSET.id, uselist=False, viewonly=True
)
ROWS = (HoldRow, AssetRow, LaptopRow, PhoneRow, PartRow, PersonRow, TicketRow)


@dataclass(frozen=True)
class Ticket:
    id: int


@dataclass(frozen=True)
class TicketPatch(Patch[TicketRow]):
    note: OptionalState[str] = OptionalState.nop()


class Tickets(Repository[TicketRow, Ticket, int]): ...


@dataclass(frozen=True)
class Of(SearchScope):
    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [TicketRow.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {row: [row.tenant == self.tenant] for row in (AssetRow, PartRow, PersonRow)}


@dataclass(frozen=True)
class Saying(SearchScope):
    """A scope of one condition."""

    condition: Callable[[], Condition]

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [self.condition()]


async def filled(db: Database) -> Tickets:
    """Have tickets 1 to 4 of a tenant, of an asset, a laptop, a phone and none; 5 of a laptop of another's."""
    rows: Mapping[Any, Sequence[Mapping[str, object]]] = {
        PersonRow: [{"id": 1, "tenant": "a", "name": "ann"}, {"id": 9, "tenant": "b", "name": "bob"}],
        AssetRow: [{"id": 1, "kind": "asset", "tenant": "a", "owner_id": 1}],
        LaptopRow: [
            {"id": 2, "tenant": "a", "pin": 7, "owner_id": None},
            {"id": 9, "tenant": "b", "pin": 4711, "owner_id": 9},
        ],
        PhoneRow: [{"id": 3, "tenant": "a", "number": "112", "owner_id": 1}],
        PartRow: [{"id": 1, "tenant": "a", "laptop_id": 2}, {"id": 9, "tenant": "b", "laptop_id": 2}],
        TicketRow: [
            *({"id": n, "tenant": "a", "note": "ann", "asset_id": n} for n in (1, 2, 3)),
            {"id": 4, "tenant": "a", "note": "x", "asset_id": None},
            {"id": 5, "tenant": "a", "note": "x", "asset_id": 9},
            {"id": 9, "tenant": "b", "note": "x", "asset_id": 9},
        ],
        HoldRow: [{"ticket_id": 4, "person_id": 1}, {"ticket_id": 1, "person_id": 9}],
    }
    async with db.begin_session() as session:
        for row, given in rows.items():
            session.add_all(row(**each) for each in given)
            await session.flush()
    return Tickets(db, resilience=None)


# What it asks, and the tickets of the tenant that it finds.
STEPS: Mapping[str, tuple[Callable[[], Condition], list[int]]] = {
    "joined": (lambda: related(TicketRow.asset.of_type(LaptopRow)), [2]),
    "joined, own column": (lambda: related(TicketRow.asset.of_type(LaptopRow), LaptopRow.pin == 7), [2]),
    "joined, of another tenant": (lambda: related(TicketRow.asset.of_type(LaptopRow), LaptopRow.pin == 4711), []),
    "joined, any": (lambda: related(TicketRow.asset.of_type(LaptopRow), LaptopRow.pin > 0), [2]),
    "joined, inherited": (lambda: related(TicketRow.asset.of_type(LaptopRow), LaptopRow.tenant == "a"), [2]),
    "joined, text": (lambda: related(TicketRow.asset.of_type(LaptopRow), LaptopRow.pin == sa.literal_column("7")), [2]),
    "joined, further": (
        lambda: related(TicketRow.asset.of_type(LaptopRow), related(LaptopRow.parts, PartRow.tenant == "b")),
        [],
    ),
    "joined, further, seen": (lambda: related(TicketRow.asset.of_type(LaptopRow), related(LaptopRow.parts)), [2]),
    "single": (lambda: related(TicketRow.asset.of_type(PhoneRow)), [3]),
    "single, own column": (lambda: related(TicketRow.asset.of_type(PhoneRow), PhoneRow.number == "112"), [3]),
    "single, none": (lambda: related(TicketRow.asset.of_type(PhoneRow), PhoneRow.number == "110"), []),
    "said of it": (lambda: related(TicketRow.asset.and_(AssetRow.kind == "phone")), [3]),
    "said of it, of a subclass": (lambda: related(TicketRow.asset.of_type(LaptopRow).and_(LaptopRow.pin == 7)), [2]),
    "over a table between": (lambda: related(TicketRow.holders, PersonRow.name == "ann"), [4]),
    "over a table between, said": (lambda: related(TicketRow.holders.and_(PersonRow.name == "bob")), []),
    "none of it": (lambda: ~related(TicketRow.asset.of_type(LaptopRow)), [1, 3, 4, 5]),
    "its own class": (lambda: related(TicketRow.asset.of_type(AssetRow)), [1, 2, 3]),
    "the row around it": (lambda: related(TicketRow.asset, related(AssetRow.owner, PersonRow.name == "ann")), [1, 3]),
    "beside its own row": (lambda: related(TicketRow.asset, AssetRow.id == TicketRow.id), [1, 2, 3]),
    "beside the row above": (
        lambda: related(TicketRow.asset, related(AssetRow.owner, PersonRow.id == AssetRow.id)),
        [1],
    ),
    "beside the row two above": (
        lambda: related(TicketRow.asset, related(AssetRow.owner, PersonRow.name == TicketRow.note)),
        [1, 3],
    ),
}


@pytest.mark.parametrize("case", STEPS)
async def test_a_step_reads_what_it_leads_to(any_tables: WithTables, case: str) -> None:
    """Rows of the subclass that it names, and only those that may be seen; beside the rows that it stands in."""
    made, expected = STEPS[case]
    async with any_tables(*ROWS) as db:
        tickets = await filled(db)
        assert [each.id for each in await tickets.search(Of("a"), [made()], orders=[TicketRow.id])] == expected
        assert await tickets.count(Of("a"), [made()]) == len(expected)
        patch = TicketPatch(OptionalState.update("changed"))
        assert await tickets.update_where([made()], patch, scope=Of("a")) == len(expected)


def case_of(condition: Any) -> sa.ColumnElement[str]:
    return sa.case((condition, "yes"), else_="no")


class LaptopNoteRow(Base):
    """A row of nobody's, named in FROM by accident."""

    __tablename__ = "read_notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("read_people.id"))
    person: Mapped[PersonRow] = relationship(viewonly=True)


STRAYS: Mapping[str, Callable[[], Condition]] = {
    "subclass": lambda: related(TicketRow.asset, LaptopRow.pin == 4711),
    "subclass by an alias": lambda: related(TicketRow.asset, NAMED.pin == 4711),
    "beside an alias": lambda: related(TicketRow.asset, NAMED.id == AssetRow.id),
    "another class": lambda: related(TicketRow.asset, LaptopNoteRow.body.like("S%")),
    "another class beside it": lambda: related(TicketRow.asset, PersonRow.id == AssetRow.owner_id),
    "another class, text": lambda: related(TicketRow.asset, LaptopNoteRow.body == sa.literal_column("'S'")),
    "two steps": lambda: related(TicketRow.asset, related(AssetRow.owner, LaptopNoteRow.body == "S")),
    "of another subclass": lambda: related(TicketRow.asset.of_type(PhoneRow), LaptopRow.pin == 7),
    "relationship of another class": lambda: related(LaptopNoteRow.person, PersonRow.id == 1),
    "relationship of another class below": lambda: related(TicketRow.asset, related(LaptopNoteRow.person)),
    "relationship of a subclass": lambda: related(TicketRow.asset, related(LaptopRow.parts)),
    "in what is said of the relationship": lambda: related(TicketRow.asset.and_(LaptopRow.pin == 4711)),
    "in what is said of it, with a table between": lambda: related(TicketRow.holders.and_(LaptopRow.pin == 4711)),
    "beside a table between": lambda: related(TicketRow.holders, LaptopRow.pin == 4711),
    "the table between, by its own name": lambda: related(TicketRow.holders, HOLDS.c.ticket_id == 1),
    "in a NOT": lambda: ~related(TicketRow.asset, LaptopRow.pin == 4711),
    "in an OR": lambda: sa.or_(TicketRow.id == 1, related(TicketRow.asset, LaptopRow.pin == 4711)),
    "in an EXISTS": lambda: TicketRow.asset.has(related(AssetRow.owner, LaptopRow.pin == 4711)),
}
WORDS = r"related\(\.\.\.\) that reads any row of"


@pytest.mark.parametrize("case", STRAYS)
async def test_a_step_reads_nothing_else(any_tables: WithTables, case: str) -> None:
    """Whatever is named beside it would be any row of a table, whoever's: that is refused before anything is sent."""
    made = STRAYS[case]
    async with any_tables(*ROWS, LaptopNoteRow) as db:
        tickets = await filled(db)
        scope, patch = Of("a"), TicketPatch(OptionalState.update("x"))
        with pytest.raises(InvalidFilter, match=WORDS):
            await tickets.search(scope, [made()])
        with pytest.raises(InvalidFilter, match=WORDS):
            await tickets.exists(scope, [made()])
        with pytest.raises(InvalidFilter, match=WORDS):
            await tickets.search(scope, orders=[case_of(made()), TicketRow.id])
        with pytest.raises(InvalidFilter, match=WORDS):
            await tickets.update_where([made()], patch, scope=scope)
        with pytest.raises(InvalidFilter, match=WORDS):
            await tickets.purge_where([made()], scope=scope, dry_run=True)
        with pytest.raises((InvalidFilter, EmptyScope), match=f"{WORDS}|tells one TicketRow from another"):
            await tickets.get(1, scope=Saying(made))
        with pytest.raises(InvalidValue, match=WORDS):
            await tickets.update(1, TicketPatch(OptionalState.expression(lambda: case_of(made()))), scope=scope)
        with pytest.raises(MappingError, match=WORDS):

            @dataclass(frozen=True)
            class Asked:
                id: int
                found: Annotated[bool, Expr(made())]

            await tickets.get(1, scope, into=Asked)
        with pytest.raises(MappingError, match=WORDS):

            @dataclass(frozen=True)
            class Figure:
                found: Annotated[int, count().filter(made())]

            await tickets.aggregate(scope, into=Figure)
        async with db.begin_readonly_session() as session:
            assert set(await session.scalars(sa.select(TicketRow.note))) == {"ann", "x"}


def test_an_alias_is_no_subclass() -> None:
    """A step has an alias of its own, which no other one could stand for."""
    with pytest.raises(InvalidFilter, match=r"takes a mapped class, and a relationship to one, not to an alias"):
        related(TicketRow.asset.of_type(NAMED), NAMED.pin == 7)
    with pytest.raises(InvalidFilter, match=r"takes a mapped class, and a relationship to one, not to an alias"):
        related(TICKET.by_alias.of_type(LaptopRow), LaptopRow.pin == 7)
