"""Tables between that are mapped to classes which inherit, or stand in a join, a subquery or under another name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship
from typing_extensions import override

from rowsmith import PUBLIC, Condition, Database, MappingError, Repository, SearchScope, related
from rowsmith.filters import Filter, NumberFilter, Related
from rowsmith.testing import WithTables
from support import share


class Base(DeclarativeBase):
    pass


class PersonRow(Base):
    __tablename__ = "forms_people"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class LinkRow(Base):
    __tablename__ = "forms_links"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    tenant: Mapped[str]
    start: Mapped[int] = mapped_column(sa.ForeignKey("forms_people.id"))
    end: Mapped[int] = mapped_column(sa.ForeignKey("forms_people.id"))

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "link"}


class PlainRow(LinkRow):
    """In the same table."""

    __mapper_args__ = {"polymorphic_identity": "plain"}


class StampRow(LinkRow):
    """In two tables, of which its own one stands between, too."""

    __tablename__ = "forms_stamps"

    id: Mapped[int] = mapped_column(sa.ForeignKey("forms_links.id"), primary_key=True)
    left: Mapped[int]
    right: Mapped[int]

    __mapper_args__ = {"polymorphic_identity": "stamp"}


class TicketRow(Base):
    """What goes with a link."""

    __tablename__ = "forms_tickets"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    link_id: Mapped[int] = mapped_column(sa.ForeignKey("forms_links.id"))
    tenant: Mapped[str]


LINKS: Any = LinkRow.__table__
STAMPS: Any = StampRow.__table__
TICKETS: Any = TicketRow.__table__
JOINED = sa.join(LINKS, TICKETS, LINKS.c.id == TICKETS.c.link_id)
OUTER = sa.outerjoin(LINKS, TICKETS, LINKS.c.id == TICKETS.c.link_id)
CHOSEN = sa.select(LINKS.c.start, LINKS.c.end).where(LINKS.c.id > 0).subquery()
NAMED = LINKS.alias("named")
VIA = sa.join(LINKS, sa.join(TICKETS, STAMPS, TICKETS.c.link_id == STAMPS.c.id), LINKS.c.id == TICKETS.c.link_id)


def over(secondary: Any, start: str = "start", end: str = "end", of: Any = None) -> Any:
    """Give the relationship of people over something."""
    columns = secondary.c if of is None else of.c
    return relationship(
        PersonRow,
        secondary=secondary,
        primaryjoin=PersonRow.id == foreign(columns[start]),
        secondaryjoin=PersonRow.id == foreign(columns[end]),
        viewonly=True,
        uselist=True,
    )


PERSON: Any = PersonRow
PERSON.by_links = over(LINKS)
PERSON.by_stamps = over(STAMPS, "left", "right")
PERSON.by_join = over(JOINED, of=LINKS)
PERSON.by_via = over(VIA, of=LINKS)
PERSON.by_outer = over(OUTER, of=LINKS)
PERSON.by_subquery = over(CHOSEN)
PERSON.by_alias = over(NAMED)


@dataclass(frozen=True)
class Says(SearchScope):
    others: Mapping[type[Any], Sequence[Condition]] = field(default_factory=dict[Any, Any])

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [PersonRow.id > 0]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return self.others


@dataclass(frozen=True)
class Leaf:
    id: int


@dataclass(frozen=True)
class Ids:
    ids: tuple[int, ...]


def data_over(name: str) -> Any:
    """Give a data class with a field of this relationship."""
    return dataclass(frozen=True)(type("Data", (), {"__annotations__": {"id": int, name: tuple[Leaf, ...]}}))


class Leaves(Filter[PersonRow]):
    id: NumberFilter | None = None


class People(Repository[PersonRow, Leaf, int]):
    pass


def ways(name: str) -> tuple[Any, Any, Any]:
    """Give a data class, a repository that loads the same with whole rows, and a filter."""
    attribute = getattr(PersonRow, name)

    class Loading(Repository[PersonRow, Ids, int]):
        loads = (attribute,)

        @override
        def to_data(self, row: PersonRow) -> Ids:
            return Ids(tuple(sorted(each.id for each in getattr(row, name))))

    class Leading(Filter[PersonRow]):
        __annotations__ = {name: Related[Leaves] | None}

    setattr(Leading, name, None)
    return data_over(name), Loading, Leading


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Links lead from 1 to 2, ..., 8, a's to even numbers: two plain ones, two links, two stamps and a link.

    Each but the last has a ticket, those to 2 and 7 of the other tenant.
    """
    async with any_tables(PersonRow, LinkRow, StampRow, TicketRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([PersonRow(id=id) for id in range(1, 9)])
            await db_sess.flush()
            for id, kind in (
                (2, PlainRow),
                (3, PlainRow),
                (4, LinkRow),
                (5, LinkRow),
                (6, StampRow),
                (7, StampRow),
                (8, LinkRow),
            ):
                own = {"left": 1, "right": id} if kind is StampRow else {}
                tenant = "ab"[id % 2]
                db_sess.add(kind(id=id, tenant=tenant, start=1, end=id, **own))
                await db_sess.flush()
                if id == 8:
                    continue
                other = {"a": "b", "b": "a"}[tenant] if id in (2, 7) else tenant
                db_sess.add(TicketRow(id=id, link_id=id, tenant=other))
        yield db


MINE = LinkRow.tenant == "a"
EVERY, WITH_TICKET, STAMPED = (2, 3, 4, 5, 6, 7, 8), (2, 3, 4, 5, 6, 7), (6, 7)
SEEN: dict[str, tuple[str, SearchScope | None, tuple[int, ...]]] = {
    "all": ("by_links", None, EVERY),
    "silent": ("by_links", Says(), EVERY),
    "public": ("by_links", Says({LinkRow: PUBLIC}), EVERY),
    "root": ("by_links", Says({LinkRow: [MINE]}), (2, 4, 6, 8)),
    "below in the table": ("by_links", Says({PlainRow: [PlainRow.tenant == "a"]}), (2, 4, 5, 6, 7, 8)),
    "below in another": ("by_links", Says({StampRow: [StampRow.tenant == "a"]}), (2, 3, 4, 5, 6, 8)),
    "below by own": ("by_links", Says({StampRow: [StampRow.right == 7], LinkRow: PUBLIC}), (2, 3, 4, 5, 7, 8)),
    "own table": ("by_stamps", None, STAMPED),
    "own table silent": ("by_stamps", Says({PlainRow: [MINE]}), STAMPED),
    "own table, above": ("by_stamps", Says({LinkRow: [MINE]}), (6,)),
    "own table, itself": ("by_stamps", Says({StampRow: [StampRow.left == 1, MINE]}), (6,)),
    "own table, subquery": (
        "by_stamps",
        Says({StampRow: [StampRow.id.in_(sa.select(TicketRow.link_id).where(TicketRow.tenant == "a"))]}),
        (6, 7),
    ),
    "join": ("by_join", None, WITH_TICKET),
    "join silent": ("by_join", Says({PersonRow: PUBLIC}), WITH_TICKET),
    "join left": ("by_join", Says({LinkRow: [MINE]}), (2, 4, 6)),
    "join right": ("by_join", Says({TicketRow: [TicketRow.tenant == "a"]}), (4, 6, 7)),
    "join both": ("by_join", Says({LinkRow: [MINE], TicketRow: [TicketRow.tenant == "a"]}), (4, 6)),
    "via": ("by_via", None, STAMPED),
    "via one": ("by_via", Says({TicketRow: [TicketRow.tenant == "b"]}), ()),
    "via two": ("by_via", Says({LinkRow: [MINE]}), (6,)),
    "outer silent": ("by_outer", Says({PersonRow: PUBLIC}), EVERY),
    "subquery silent": ("by_subquery", Says({TicketRow: [TicketRow.tenant == "a"]}), EVERY),
    "alias silent": ("by_alias", Says({TicketRow: [TicketRow.tenant == "a"]}), EVERY),
}


@pytest.mark.parametrize("case", share(SEEN))
async def test_what_a_step_goes_over(db: Database, case: str) -> None:
    """Nested data, what is loaded with whole rows and filters go over the same rows, those inside."""
    name, scope, seen = SEEN[case]
    into, loading, leading = ways(name)
    people, rows = People(db, resilience=None), loading(db, resilience=None)
    for _ in range(2):
        nested = await people.get(1, scope, into=into)
        assert tuple(sorted(each.id for each in getattr(nested, name))) == seen
        assert await rows.get(1, scope) == Ids(seen)
        for id in EVERY:
            led = leading.model_validate({name: {"exists": {"id": {"equals": id}}}})
            step = related(getattr(PersonRow, name), PersonRow.id == id)
            assert await people.count(scope, led) == await people.count(scope, [step]) == (id in seen)


@pytest.mark.parametrize("name", ["by_outer", "by_subquery", "by_alias"])
async def test_what_no_scope_can_limit(db: Database, name: str) -> None:
    """Rows in something else than tables or inner joins are an error that says what to write, however they are read."""
    scope = Says({LinkRow: [MINE]})
    into, loading, leading = ways(name)
    people, words = (
        People(db, resilience=None),
        rf"PersonRow\.{name} goes over LinkRow, of which the scope says.*inner join",
    )
    with pytest.raises(MappingError, match=words):
        await people.get(1, scope, into=into)
    with pytest.raises(MappingError, match=words):
        await loading(db, resilience=None).get(1, scope)
    with pytest.raises(MappingError, match=words):
        await people.count(scope, leading.model_validate({name: {"exists": {}}}))
    with pytest.raises(MappingError, match=words):
        await people.search(scope, orders=[related(getattr(PersonRow, name))])
    assert (await people.get(1, scope)) == Leaf(1)
