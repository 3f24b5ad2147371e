"""Related rows that data shows and filters ask about: under a scope that says something of them, those inside alone."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship
from typing_extensions import override

from native import lane_of
from rowsmith import (
    PUBLIC,
    AllOf,
    AnyOf,
    Condition,
    Conflict,
    Count,
    CursorForwardPagination,
    Database,
    InvalidFilter,
    InvalidValue,
    Nested,
    NoPagination,
    Not,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    Spec,
    TriState,
    Unscoped,
    related,
)
from rowsmith.filters import Filter, NumberFilter, Related, StringFilter
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answer
from support import count_statements


class Base(DeclarativeBase):
    pass


class RoomRow(Base):
    __tablename__ = "rooms"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    name: Mapped[str]
    bookings: Mapped[list[BookingRow]] = relationship(back_populates="room", viewonly=True)


class TagRow(Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    name: Mapped[str]


class BookingRow(Base):
    __tablename__ = "bookings"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    title: Mapped[str] = mapped_column(server_default="")
    room_id: Mapped[int] = mapped_column(sa.ForeignKey("rooms.id"))
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("bookings.id", ondelete="SET NULL"))
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    room: Mapped[RoomRow] = relationship(viewonly=True)
    parent: Mapped[BookingRow | None] = relationship(remote_side=[id], viewonly=True)
    parts: Mapped[list[BookingRow]] = relationship(viewonly=True)
    tags: Mapped[list[TagRow]] = relationship(secondary="bookings_tags", viewonly=True)


class BookingTagRow(Base):
    __tablename__ = "bookings_tags"

    booking_id: Mapped[int] = mapped_column(sa.ForeignKey("bookings.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(sa.ForeignKey("tags.id"), primary_key=True)


TABLES = (RoomRow, TagRow, BookingRow, BookingTagRow)


@dataclass(frozen=True)
class Of(SearchScope):
    """A tenant's bookings, rooms and tags."""

    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [BookingRow.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {RoomRow: [RoomRow.tenant == self.tenant], TagRow: [TagRow.tenant == self.tenant]}


@dataclass(frozen=True)
class Silent(SearchScope):
    """A tenant's bookings; it says nothing of other rows."""

    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [BookingRow.tenant == self.tenant]


@dataclass(frozen=True)
class Open(Silent):
    """A tenant's bookings; rooms and tags are everybody's."""

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {RoomRow: PUBLIC, TagRow: PUBLIC}


@dataclass(frozen=True)
class Asking(Of):
    """As ``Of``, of rooms by a subquery over the same table, and of bookings by one, too."""

    @override
    def to_conditions(self) -> Sequence[Condition]:
        mine = sa.select(BookingRow.id).where(BookingRow.tenant == self.tenant)
        return [BookingRow.id.in_(mine)]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        rooms = sa.select(RoomRow.id).where(RoomRow.tenant == self.tenant)
        tags = sa.text("tags.tenant = :tenant").bindparams(tenant=self.tenant)
        return {RoomRow: [RoomRow.id.in_(rooms)], TagRow: [sa.type_coerce(tags, sa.Boolean)]}


@dataclass(frozen=True)
class Room:
    id: int
    name: str


@dataclass(frozen=True)
class Tag:
    id: int


@dataclass(frozen=True)
class Part:
    id: int
    room: Room | None


@dataclass(frozen=True)
class Booking:
    id: int
    room: Room | None
    parent: Part | None
    parts: tuple[Part, ...]
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Certain:
    id: int
    room: Room


@dataclass(frozen=True)
class Converted:
    id: int
    room: Annotated[str | None, Nested(Room, convert=lambda room: room.name)]


@dataclass(frozen=True)
class Flat:
    id: int
    title: str


@dataclass(frozen=True)
class BookingCreate(Spec[BookingRow], filled={"tenant"}):
    id: int
    room_id: int
    title: str = ""


@dataclass(frozen=True)
class BookingPatch(Patch[BookingRow]):
    title: OptionalState[str] = OptionalState.nop()


class RoomFilter(Filter[RoomRow]):
    name: StringFilter | None = None
    bookings: Related[BookingFilter] | None = None


class TagFilter(Filter[TagRow]):
    id: NumberFilter | None = None


class BookingFilter(Filter[BookingRow]):
    id: NumberFilter | None = None
    room: Related[RoomFilter] | None = None
    parent: Related[BookingFilter] | None = None
    tags: Related[TagFilter] | None = None


class Bookings(Repository[BookingRow, Booking, int]):
    conflict = Conflict([BookingRow.id])
    soft_delete = SoftDelete(BookingRow.deleted_at)


class Flats(Repository[BookingRow, Flat, int]):
    soft_delete = SoftDelete(BookingRow.deleted_at)


class Conflicting(Flats):
    conflict = Conflict([BookingRow.id])


class Loaded(Repository[BookingRow, Booking, int]):
    """The same data, made of whole rows."""

    conflict = Conflict([BookingRow.id])
    soft_delete = SoftDelete(BookingRow.deleted_at)
    loads = (
        *(BookingRow.room, BookingRow.parent, (BookingRow.parent, BookingRow.room)),
        *(BookingRow.parts, (BookingRow.parts, BookingRow.room), BookingRow.tags),
    )

    @override
    def to_data(self, row: BookingRow) -> Booking:
        return Booking(
            row.id,
            _room(row),
            None if row.parent is None else Part(row.parent.id, _room(row.parent)),
            tuple(Part(part.id, _room(part)) for part in sorted(row.parts, key=lambda part: part.id)),
            tuple(Tag(tag.id) for tag in sorted(row.tags, key=lambda tag: tag.id)),
        )


def _room(row: BookingRow) -> Room | None:
    room = cast("RoomRow | None", row.room)
    return None if room is None else Room(room.id, room.name)


A, B = Of("a"), Of("b")
MINE, THEIRS = Room(1, "mine"), Room(2, "theirs")
"""Room 1 and tag 1 are a's, room 2 and tag 2 are b's."""


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Bookings of a, in whose room 1 is, in b's 2; 3 is part of 2, 4 is b's, part of 2 too, and 5 is part of that."""
    async with any_tables(*TABLES) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([RoomRow(id=1, tenant="a", name="mine"), RoomRow(id=2, tenant="b", name="theirs")])
            db_sess.add_all([TagRow(id=1, tenant="a", name="x"), TagRow(id=2, tenant="b", name="y")])
            await db_sess.flush()
            for id, tenant, room, parent in ((1, "a", 1, None), (2, "a", 2, None), (4, "b", 2, 2)):
                db_sess.add(BookingRow(id=id, tenant=tenant, room_id=room, parent_id=parent))
                await db_sess.flush()
            db_sess.add_all(
                [
                    BookingRow(id=3, tenant="a", room_id=1, parent_id=2),
                    BookingRow(id=5, tenant="a", room_id=1, parent_id=4),
                ]
            )
            await db_sess.flush()
            links = [{"booking_id": id, "tag_id": tag} for id in (1, 2, 4) for tag in (1, 2)]
            await db_sess.execute(sa.insert(BookingTagRow), links)
        yield db


ALL = {
    1: Booking(1, MINE, None, (), (Tag(1), Tag(2))),
    2: Booking(2, THEIRS, None, (Part(3, MINE), Part(4, THEIRS)), (Tag(1), Tag(2))),
    3: Booking(3, MINE, Part(2, THEIRS), (), ()),
    5: Booking(5, MINE, Part(4, THEIRS), (), ()),
}
SEEN = {
    1: Booking(1, MINE, None, (), (Tag(1),)),
    2: Booking(2, None, None, (Part(3, MINE),), (Tag(1),)),
    3: Booking(3, MINE, Part(2, None), (), ()),
    5: Booking(5, MINE, None, (), ()),
}
OWN = {
    1: Booking(1, MINE, None, (), (Tag(1), Tag(2))),
    2: Booking(2, THEIRS, None, (Part(3, MINE),), (Tag(1), Tag(2))),
    3: Booking(3, MINE, Part(2, THEIRS), (), ()),
    5: Booking(5, MINE, None, (), ()),
}
"""What a scope shows that says nothing of rooms and tags, and of bookings that they are a's."""
SCOPES: dict[str, tuple[SearchScope, dict[int, Booking]]] = {
    "of": (A, SEEN),
    "asking": (Asking("a"), SEEN),
    "silent": (Silent("a"), OWN),
    "open": (Open("a"), OWN),
    "all": (AllOf(A, Silent("a")), SEEN),
    "any": (AnyOf(A, Of("c")), SEEN),
    "not": (Not(B), SEEN),
}


@pytest.fixture(params=["nested", "loaded"])
def bookings(db: Database, request: pytest.FixtureRequest) -> Repository[BookingRow, Booking, int]:
    kind: Any = {"nested": Bookings, "loaded": Loaded}[request.param]
    made: Repository[BookingRow, Booking, int] = kind(db, resilience=None)
    return made


@pytest.mark.parametrize("name", SCOPES)
async def test_data_shows_what_the_scope_lets_be_seen(bookings: Bookings, name: str) -> None:
    """Whichever way related rows are read, those outside are none; whatever form the scope has."""
    scope, shown = SCOPES[name]
    assert {id: await bookings.get(id, scope) for id in shown} == shown
    page = await bookings.search(scope, pagination=NoPagination(), count=Count.EXACT)
    assert {each.id: each for each in page} == shown
    assert page.total_count == len(shown)
    assert await bookings.batch_get([*shown], scope=scope) == [*shown.values()]
    assert {each.id: each async for each in bookings.stream(scope)} == shown
    assert await bookings.first(scope) == shown[1]


async def test_without_a_scope_all_is_shown(bookings: Bookings) -> None:
    """Neither no scope nor Unscoped hides a row, and one call's scope is not the next one's."""
    for scope, shown in ((None, ALL), (A, SEEN), (Unscoped(reason="a test"), ALL), (A, SEEN)):
        assert {id: await bookings.get(id, scope) for id in shown} == shown
    mine = await bookings.get(4, B)
    assert (mine.room, mine.parent, mine.parts, mine.tags) == (THEIRS, None, (), (Tag(2),))


async def test_one_session_after_the_other(bookings: Bookings, db: Database) -> None:
    """What a session has read without a scope, or under another one, is not shown under this one, nor kept from it."""
    async with db.begin_session():
        for scope, shown in ((None, ALL), (A, SEEN), (Unscoped(reason="a test"), ALL), (A, SEEN), (Silent("a"), OWN)):
            assert {id: await bookings.get(id, scope) for id in shown} == shown
            page = await bookings.search(scope, [BookingRow.tenant == "a"], NoPagination())
            assert {each.id: each for each in page} == shown


PATCH = BookingPatch(OptionalState.update("new"))


@pytest.mark.parametrize("verb", VERBS)
async def test_no_verb_shows_more(bookings: Bookings, verb: str) -> None:
    """What a write gives shows no more than a read, whichever verb it is."""
    does = VERBS[verb].does
    spec = BookingCreate(2 if does is Does.PUT else 6, 1)
    if does is Does.UNMARK:
        await bookings.delete(2)
    outcome = await answer(verb, VerbCall(bookings, A, [2], PATCH, [spec]))
    assert outcome.error is None
    assert outcome.number == 1
    told = str(outcome.rows)
    assert not [other for other in ("theirs", "Part(id=4", "Tag(id=2)") if other in told]


class Chosen(VerbCall):
    """A call for those rows whose room has a name, by ids and all."""

    room = "theirs"

    @property
    @override
    def these(self) -> list[sa.ColumnElement[bool]]:
        return [*super().these, related(BookingRow.room, RoomRow.name == self.room)]


FILTERING = [verb for verb, told in VERBS.items() if "these" in told.call.__code__.co_names or verb == "aggregate"]


@pytest.mark.parametrize("verb", FILTERING)
async def test_no_verb_asks_about_more(db: Database, verb: str) -> None:
    """Rows are not chosen by what is outside, whichever verb takes a filter."""
    flats = Flats(db, resilience=None)
    if VERBS[verb].does is Does.UNMARK:
        await flats.delete(2)
    for scope, number in ((A, 0), (Asking("a"), 0), (Silent("a"), 1)):
        assert (await answer(verb, Chosen(flats, scope, [2], PATCH))).number == number


def _told(start: Any) -> Any:
    """Give the title that says whether a booking's room is seen to be another tenant's."""
    return sa.case((related(start.room, RoomRow.name == "theirs"), "seen"), else_="unseen")


async def _titles(db: Database, *ids: int) -> list[str]:
    async with db.begin_readonly_session() as db_sess:
        rows = (await db_sess.execute(sa.select(BookingRow.id, BookingRow.title))).all()
    return [title for id in ids for each, title in rows if each == id]


CHANGING = [verb for verb, told in VERBS.items() if {"patch", "patches"}.intersection(told.call.__code__.co_names)]
MAKING = [verb for verb, told in VERBS.items() if "specs" in told.call.__code__.co_names]


@pytest.mark.parametrize("verb", CHANGING)
@pytest.mark.parametrize("kind", [OptionalState, TriState])
async def test_no_patch_asks_about_more(db: Database, verb: str, kind: Any) -> None:
    """What a patch's expression asks about related rows is answered by those inside, whichever verb writes it."""
    flats, scopes = Flats(db, resilience=None), [*((scope, shown[2].room) for scope, shown in SCOPES.values())]
    for scope, room in (*scopes, (None, THEIRS), (A, None)):
        for told in (lambda: _told(BookingRow), lambda: sa.case((_told(BookingRow) == "seen", "seen"), else_="unseen")):
            patch = BookingPatch(kind.expression(told))
            outcome = await answer(verb, VerbCall(flats, scope, [2], patch))
            assert (outcome.error, outcome.number) == (None, 1)
            assert await _titles(db, 2) == ["unseen" if room is None else "seen"]


@pytest.mark.parametrize("verb", MAKING)
async def test_no_spec_asks_about_more(db: Database, verb: str) -> None:
    """So is what a spec's expression asks, where a verb takes one."""
    flats = Conflicting(db, resilience=None)
    for id, (scope, room) in enumerate(((A, None), (Silent("a"), THEIRS), (Open("a"), THEIRS), (A, None)), start=10):
        other = aliased(BookingRow)
        told: Any = sa.select(_told(other)).where(other.id == 2).scalar_subquery()
        outcome = await answer(verb, VerbCall(flats, scope, (), None, [BookingCreate(id, 1, told)]))
        if verb == "create":
            assert outcome.error is None
            assert await _titles(db, id) == ["unseen" if room is None else "seen"]
        else:
            assert outcome.error is InvalidValue


async def test_patches_of_a_batch_ask_about_rows_inside(db: Database) -> None:
    """Expressions that differ in their values are written by one statement, each with what the scope says."""
    flats = Flats(db, resilience=None)

    def titled(name: str, title: str) -> BookingPatch:
        told = related(BookingRow.room, RoomRow.name == name)
        return BookingPatch(OptionalState.expression(lambda: sa.case((told, title), else_="")))

    for scope, titles in ((A, ["one", "", "one"]), (Silent("a"), ["one", "two", "one"]), (A, ["one", "", "one"])):
        patches = {1: titled("mine", "one"), 2: titled("theirs", "two"), 3: titled("mine", "one")}
        with count_statements(db) as sent:
            assert len((await flats.batch_update_each(patches, scope=scope)).succeeded) == 3
        assert len([each for each in sent if "UPDATE bookings SET" in each]) == 1
        assert await _titles(db, 1, 2, 3) == titles


async def test_a_patch_whose_step_is_closed(db: Database) -> None:
    """related() within any() or has() of SQLAlchemy's is refused in a patch as in a filter; a batch names its index."""
    flats = Flats(db, resilience=None)
    closed = BookingRow.parent.has(related(BookingRow.room, RoomRow.name == "theirs"))
    patch = BookingPatch(OptionalState.expression(lambda: sa.case((closed, "seen"), else_="unseen")))
    plain = BookingPatch(OptionalState.update("plain"))
    words = r"BookingRow\.title gets an expression whose related\(\.\.\.\) to RoomRow stands where no scope can limit"
    for verb in CHANGING:
        outcome = await answer(verb, VerbCall(flats, A, [3], patch))
        assert outcome.error is InvalidValue
        assert re.search(words, outcome.words or "")
    with pytest.raises(InvalidValue, match=f"the patch at index 1: {words}"):
        await flats.batch_update_each({1: plain, 3: patch}, scope=A)
    partly = await flats.batch_update_partial({1: plain, 3: patch}, scope=A)
    assert ([each.index for each in partly.succeeded], [each.index for each in partly.failed]) == ([0], [1])
    await flats.update(3, patch, scope=Silent("a"))
    assert await _titles(db, 1, 3) == ["plain", "seen"]


def test_every_verb_that_writes_values_is_tried() -> None:
    assert {*CHANGING} == {verb for verb, told in VERBS.items() if told.does is Does.CHANGE}
    assert {*MAKING} == {verb for verb, told in VERBS.items() if told.does in (Does.MAKE, Does.PUT)}


def test_every_verb_with_a_filter_is_tried() -> None:
    assert {"search", "stream", "count", "first", "update_where", "delete_where", "purge_where"} < {*FILTERING}


async def test_a_field_that_takes_no_none(db: Database) -> None:
    """A row whose related one has to be given, and must not be seen, is an error that says what to write."""
    bookings = Bookings(db, resilience=None)
    assert await bookings.get(1, A, into=Certain) == Certain(1, MINE)
    with pytest.raises(ScopeMismatch, match=r"BookingRow\.room leads to a row outside of the scope.*optional"):
        await bookings.get(2, A, into=Certain)
    with pytest.raises(ScopeMismatch):
        await bookings.search(A, into=Certain)
    assert await bookings.get(2, Silent("a"), into=Certain) == Certain(2, THEIRS)
    assert [each.room for each in await bookings.search(A, into=Converted, orders=[BookingRow.id])] == [
        *("mine", None, "mine", "mine")
    ]


async def test_filters_ask_about_rows_inside(db: Database) -> None:
    """A word of another tenant's is not guessed letter by letter, and a row of its is none."""
    flats = Flats(db, resilience=None)

    async def found(filters: Any, scope: SearchScope | None) -> list[int]:
        page = await flats.search(scope, filters, orders=[BookingRow.id], count=Count.EXACT)
        assert page.total_count == len(page) == await flats.count(scope, filters)
        assert await flats.exists(scope, filters) is bool(len(page))
        first = await flats.first(scope, filters)
        assert (None if first is None else first.id) == next(iter([each.id for each in page]), None)
        return [each.id for each in page]

    by_name = BookingFilter.model_validate({"room": {"exists": {"name": {"starts_with": "th"}}}})
    no_room = BookingFilter.model_validate({"room": {"none": {}}})
    by_tag = BookingFilter.model_validate({"tags": {"exists": {"id": {"equals": 2}}}})
    around = BookingFilter.model_validate({"room": {"exists": {"bookings": {"exists": {"id": {"equals": 4}}}}}})
    parent = BookingFilter.model_validate({"parent": {"exists": {"room": {"exists": {"name": {"equals": "theirs"}}}}}})
    other = BookingFilter.model_validate({"parent": {"exists": {"id": {"equals": 4}}}})
    for _ in range(2):
        assert await found(by_name, Silent("a")) == [2]
        assert await found(by_name, A) == []
        assert await found(by_name, Asking("a")) == []
        assert await found(by_name, Open("a")) == [2]
        assert await found(by_name, Of("b")) == [4]
        assert await found(no_room, A) == [2]
        assert await found(no_room, Silent("a")) == []
        assert await found(by_tag, A) == []
        assert await found(by_tag, Silent("a")) == [1, 2]
        assert await found(around, A) == []
        assert await found(around, None) == [2, 4]
        assert await found(parent, A) == []
        assert await found(parent, Silent("a")) == [3]
        assert await found(parent, None) == [3, 4, 5]
        assert await found(other, Silent("a")) == []
        assert await found([related(BookingRow.room, RoomRow.name == "theirs")], A) == []
        assert await found([sa.not_(related(BookingRow.room))], A) == [2]
        inside = sa.exists().where(RoomRow.id == BookingRow.room_id, related(RoomRow.bookings, BookingRow.id == 4))
        assert await found([inside], A) == []
        assert await found([inside], None) == [2, 4]


async def test_writes_by_filters(db: Database) -> None:
    """Rows that are chosen by what is outside are not written."""
    flats = Flats(db, resilience=None)
    by_name = BookingFilter.model_validate({"room": {"exists": {"name": {"equals": "theirs"}}}})
    patch = BookingPatch(OptionalState.update("new"))
    assert await flats.update_where(by_name, patch, scope=A) == 0
    assert (await flats.purge_where(by_name, scope=A)).rows == 0
    assert (await flats.purge_where(by_name, scope=A, chunk_size=None)).rows == 0
    assert (await flats.purge_where(by_name, scope=A, dry_run=True)).rows == 0
    assert await flats.update_where(by_name, patch, scope=Silent("a")) == 1


async def test_a_step_that_is_closed(db: Database) -> None:
    """related() within any() or has() of SQLAlchemy's would ask about all rows, and is refused under such a scope."""
    flats = Flats(db, resilience=None)
    closed = BookingRow.parent.has(related(BookingRow.room, RoomRow.name == "theirs"))
    with pytest.raises(InvalidFilter, match="stands where no scope can limit it, as within any"):
        await flats.search(A, [closed])
    assert [each.id for each in await flats.search(Silent("b"), [closed])] == [4]


async def test_cursors_of_a_filtered_search(db: Database) -> None:
    """Pages under a scope that hides related rows lead on from one to the next."""
    flats = Flats(db, resilience=None)
    narrowed = [related(BookingRow.room, RoomRow.name == "mine")]
    page, ids = await flats.search(A, narrowed, CursorForwardPagination(1)), list[int]()
    while True:
        ids += [each.id for each in page]
        if not page.has_next_page:
            break
        page = await flats.search(A, narrowed, CursorForwardPagination(1, page.end_cursor))
    assert ids == [1, 3, 5]


async def test_steps_have_no_plan(with_tables: WithTables) -> None:
    """What asks about related rows goes by SQLAlchemy, where a scope has its say about them."""
    async with with_tables(*TABLES) as db:
        flats, lane = Flats(db, resilience=None), lane_of(db)
        await flats.search()
        before = lane.taken
        for scope in (None, Silent("a"), A):
            for step in (related(BookingRow.room), related(BookingRow.parent), related(BookingRow.parts)):
                await flats.search(scope, [step])
                await flats.count(scope, [step])
                await flats.exists(scope, [step])
                await flats.first(scope, [step])
        assert lane.taken == before
