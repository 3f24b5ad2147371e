"""What the mapping of subclasses loads with their rows, by statements of its own: under a scope named, or refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import Condition, Database, MappingError, Repository
from rowsmith.testing import WithTables
from says import Says


class Base(DeclarativeBase):
    pass


class RoomRow(Base):
    __tablename__ = "subs_rooms"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class HouseRow(Base):
    __tablename__ = "subs_houses"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    groups: Mapped[list[GroupRow]] = relationship(viewonly=True, order_by="GroupRow.id")


class GroupRow(Base):
    __tablename__ = "subs_groups"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    house_id: Mapped[int] = mapped_column(sa.ForeignKey("subs_houses.id"))
    room_id: Mapped[int] = mapped_column(sa.ForeignKey("subs_rooms.id"))

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "group"}


class ApartRow(GroupRow):
    """Its rows come by a statement of their own, and what it loads by others."""

    __mapper_args__ = {"polymorphic_identity": "apart", "polymorphic_load": "selectin"}

    apart_room: Mapped[RoomRow | None] = relationship(viewonly=True, lazy="joined")
    apart_tags: Mapped[list[TagRow]] = relationship(viewonly=True, lazy="selectin", order_by="TagRow.id")


class InlineRow(GroupRow):
    """Its rows come in the statement of those above."""

    __mapper_args__ = {"polymorphic_identity": "inline", "polymorphic_load": "inline"}

    inline_room: Mapped[RoomRow | None] = relationship(viewonly=True, lazy="joined")
    inline_tags: Mapped[list[TagRow]] = relationship(viewonly=True, lazy="selectin", order_by="TagRow.id")


class PlainRow(GroupRow):
    """Nothing that it loads comes with rows above it."""

    __mapper_args__ = {"polymorphic_identity": "plain"}

    plain_tags: Mapped[list[TagRow]] = relationship(viewonly=True, lazy="selectin")


class TagRow(Base):
    __tablename__ = "subs_tags"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    group_id: Mapped[int] = mapped_column(sa.ForeignKey("subs_groups.id"))


class Groups(Repository[GroupRow]):
    pass


class NamedGroups(Repository[GroupRow]):
    loads = (ApartRow.apart_room, ApartRow.apart_tags)


class Houses(Repository[HouseRow]):
    loads = (HouseRow.groups,)


class NamedHouses(Repository[HouseRow]):
    loads = (
        *((HouseRow.groups, ApartRow.apart_room), (HouseRow.groups, ApartRow.apart_tags)),
        *((HouseRow.groups, InlineRow.inline_room), (HouseRow.groups, InlineRow.inline_tags)),
    )


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """A group of each kind in a house, in b's room, with a tag of a's and one of b's."""
    async with any_tables(HouseRow, RoomRow, GroupRow, TagRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([HouseRow(id=1), RoomRow(id=1, tenant="b")])
            await db_sess.flush()
            for id, kind in enumerate((ApartRow, InlineRow, PlainRow), 1):
                db_sess.add(kind(id=id, house_id=1, room_id=1))
                await db_sess.flush()
                db_sess.add_all([TagRow(id=10 * id + at, tenant="ab"[at], group_id=id) for at in (0, 1)])
        yield db


MINE: dict[type[Any], Sequence[Condition]] = {RoomRow: [RoomRow.tenant == "a"], TagRow: [TagRow.tenant == "a"]}
SEEN, ALL = (None, ["a"]), ("b", ["a", "b"])


def _told(row: GroupRow) -> tuple[str | None, list[str]]:
    values: dict[str, Any] = {name.partition("_")[2]: value for name, value in vars(row).items()}
    return values["room"] and values["room"].tenant, [tag.tenant for tag in values["tags"]]


async def test_what_loads_names_is_limited(db: Database) -> None:
    """What subclasses load shows rows inside alone where it is named, and without a word of these all."""
    groups, houses = NamedGroups(db, resilience=None), NamedHouses(db, resilience=None)
    for others, seen in ((MINE, SEEN), ({}, ALL), (MINE, SEEN)):
        scope, about = Says(GroupRow.id > 0, others), Says(HouseRow.id > 0, others)
        assert [_told(await groups.get(id, scope)) for id in (1, 2)] == [seen, seen]
        assert [_told(row) for row in (await houses.get(1, about)).groups[:2]] == [seen, seen]


@pytest.mark.parametrize("said", [RoomRow, TagRow])
async def test_what_comes_unnamed_is_refused(db: Database, said: Any) -> None:
    """Nothing limits it: an error says to name it, for rows themselves and related ones; elsewhere all is there."""
    groups, houses = Groups(db, resilience=None), Houses(db, resilience=None)
    silent, mine = Says(GroupRow.id > 0), Says(GroupRow.id > 0, {said: MINE[said]})
    words = rf"the mapping loads (Apart|Inline)Row\.\w+ with rows of .* and {said.__name__}, .*name it in loads"
    with pytest.raises(MappingError, match=words):
        await groups.get(1, mine)
    with pytest.raises(MappingError, match=words):
        await groups.search(mine)
    with pytest.raises(MappingError, match=words):
        await houses.get(1, Says(HouseRow.id > 0, {said: MINE[said]}))
    assert await groups.count(mine) == 3
    for scope in (silent, None):
        assert [_told(await groups.get(id, scope)) for id in (1, 2)] == [ALL, ALL]
        about = None if scope is None else Says(HouseRow.id > 0)
        assert [_told(row) for row in (await houses.get(1, about)).groups[:2]] == [ALL, ALL]


class Inlines(Repository[InlineRow]):
    pass


class Plains(Repository[PlainRow]):
    pass


async def test_rows_of_the_class_itself(db: Database) -> None:
    """What a class loads with its own rows is limited as ever."""
    inline, plain = Inlines(db, resilience=None), Plains(db, resilience=None)
    assert _told(await inline.get(2, Says(InlineRow.id > 0, MINE))) == SEEN
    assert [tag.tenant for tag in (await plain.get(3, Says(PlainRow.id > 0, MINE))).plain_tags] == ["a"]
