"""Projections: rows as any data class, with the data of related rows, in a known number of statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from company import (
    BadgeData,
    Nickname,
    RegionData,
    RegionRow,
    RegionScope,
    RegionWithTeams,
    RoomRow,
    SeatRow,
    TagData,
    TeamCard,
    TeamCreate,
    TeamData,
    TeamInRegion,
    TeamName,
    TeamRepository,
    TeamRow,
    TeamWithUsers,
    UserData,
    UserRow,
    UserWithTeam,
    company,
)
from rowsmith import (
    Count,
    CursorBackwardPagination,
    CursorForwardPagination,
    EntityNotFound,
    Expr,
    OptionalState,
    Patch,
    Querier,
    Repository,
)
from rowsmith.testing import WithTables
from support import count_statements

CORE = TeamCard(
    id=1,
    title="core",
    region=RegionData("eu", "Europe"),
    lead=UserData(11, "ann"),
    parent=None,
    children=(TeamName("web"), TeamName("ops")),
    users=(UserData(11, "ann"), UserData(12, "bob")),
    tags=(TagData("red"), TagData("blue")),
    badge=None,
    users_count=2,
)


class UserRepository(Repository[UserRow, UserData, int]):
    pass


class RegionRepository(Repository[RegionRow, RegionData, str]):
    pass


@dataclass(frozen=True)
class RoomKey:
    building: str
    number: int


@dataclass(frozen=True)
class SeatData:
    place: int
    room: RoomKey


@dataclass(frozen=True)
class RoomWithSeats:
    number: int
    seats: tuple[SeatData, ...]


class RoomRepository(Repository[RoomRow, RoomKey, tuple[str, int]]):
    pass


class CardRepository(Repository[TeamRow, TeamCard, int]):
    """Its own data nests, so every write has to read it."""


@dataclass(frozen=True)
class TeamPatch(Patch[TeamRow]):
    name: OptionalState[str] = OptionalState.nop()
    region_code: OptionalState[str] = OptionalState.nop()


async def test_only_the_columns_of_the_data_class_are_selected(any_tables: WithTables) -> None:
    """A projection selects its own fields, and the key that the cursors need, and nothing else."""
    async with company(any_tables) as db:
        with count_statements(db) as sent:
            page = await TeamRepository(db).search(into=TeamName)
        assert [item.name for item in page.items] == ["core", "web", "ops", "lone"]
        assert len(sent) == 1
        assert " ".join(sent[0].split()).startswith("SELECT teams.name, teams.id AS rowsmith$key_0 FROM")


async def test_a_to_one_relationship_is_a_join(any_tables: WithTables) -> None:
    """A relationship by NOT NULL foreign keys is an inner join, in the one statement of the page."""
    async with company(any_tables) as db:
        with count_statements(db) as sent:
            page = await TeamRepository(db).search(into=TeamInRegion)
        assert page.items[0] == TeamInRegion("core", RegionData("eu", "Europe"))
        assert page.items[3] == TeamInRegion("lone", RegionData("us", None))
        assert len(sent) == 1
        assert "JOIN regions AS" in sent[0]
        assert "OUTER" not in sent[0]


async def test_a_nullable_to_one_relationship_is_an_outer_join_all_the_way_down(any_tables: WithTables) -> None:
    """Absent rows are None, and so is what is nested in them; no row of the search is lost."""
    async with company(any_tables) as db:
        with count_statements(db) as sent:
            page = await UserRepository(db).search(into=UserWithTeam)
        assert [(user.name, user.team) for user in page.items] == [
            ("ann", TeamInRegion("core", RegionData("eu", "Europe"))),
            ("bob", TeamInRegion("core", RegionData("eu", "Europe"))),
            ("cid", TeamInRegion("web", RegionData("eu", "Europe"))),
            ("dee", None),
        ]
        assert len(sent) == 1
        assert sent[0].count("LEFT OUTER JOIN") == 2


@dataclass(frozen=True)
class TeamWithNickname:
    id: int
    lead: Nickname | None


async def test_a_joined_row_of_nothing_but_nulls_is_there(any_tables: WithTables) -> None:
    """Whether there is a related row is told by its key, not by its columns being NULL."""
    async with company(any_tables) as db:
        page = await TeamRepository(db).search(into=TeamWithNickname)
        assert [team.lead for team in page.items] == [Nickname(None), Nickname(None), None, None]


@pytest.mark.parametrize("rows", [1, 4])
async def test_each_collection_is_one_statement_however_many_rows(any_tables: WithTables, rows: int) -> None:
    """A page is one statement, and one for each collection in its data: no N+1."""
    async with company(any_tables) as db:
        with count_statements(db) as sent:
            page = await TeamRepository(db).search(None, None, CursorForwardPagination(first=rows), into=TeamCard)
        assert len(page.items) == rows
        assert page.items[0] == CORE
        assert len(sent) == 1 + 4  # children, users, tags, badge


async def test_collections_are_in_the_order_of_the_relationship_and_the_key(any_tables: WithTables) -> None:
    """Related rows come by their key, or as the relationship declares; of a parent without any there are none."""
    async with company(any_tables) as db:
        page = await TeamRepository(db).search(into=TeamCard)
        assert [team.users for team in page.items[1:]] == [(UserData(13, "cid"),), (), ()]
        assert [team.tags for team in page.items] == [(TagData("red"), TagData("blue")), (), (TagData("blue"),), ()]
        assert [team.badge for team in page.items] == [None, BadgeData("ship"), None, None]
        named = await TeamRepository(db).get(1, into=TeamByName)
        assert [user.name for user in named.users_by_name] == ["bob", "ann"]


@dataclass(frozen=True)
class TeamByName:
    users_by_name: tuple[UserData, ...]


async def test_collections_nest(any_tables: WithTables) -> None:
    """A collection in a collection is still one statement, for all parents together."""
    async with company(any_tables) as db:
        with count_statements(db) as sent:
            page = await RegionRepository(db).search(into=RegionWithTeams)
        assert page.items[0] == RegionWithTeams(
            "eu",
            [
                TeamWithUsers("core", (UserData(11, "ann"), UserData(12, "bob"))),
                TeamWithUsers("web", (UserData(13, "cid"),)),
            ],
        )
        assert [team.name for team in page.items[1].teams] == ["ops", "lone"]
        assert len(sent) == 3


@dataclass(frozen=True)
class UserInTeam:
    name: str
    team: TeamWithUsers | None


async def test_a_collection_may_hang_on_a_joined_row(any_tables: WithTables) -> None:
    """The collection of an absent row asks for nothing."""
    async with company(any_tables) as db:
        users = UserRepository(db)
        with count_statements(db) as sent:
            user = await users.get(12, into=UserInTeam)
        assert user == UserInTeam("bob", TeamWithUsers("core", (UserData(11, "ann"), UserData(12, "bob"))))
        assert len(sent) == 2
        with count_statements(db) as sent:
            assert await users.get(14, into=UserInTeam) == UserInTeam("dee", None)
        assert len(sent) == 1


async def test_composite_keys(any_tables: WithTables) -> None:
    """Parents and children are matched by all columns of a key."""
    async with company(any_tables) as db:
        with count_statements(db) as sent:
            page = await RoomRepository(db).search(into=RoomWithSeats)
        first = tuple(SeatData(place, RoomKey("a", 1)) for place in (1, 2))
        assert page.items == (
            RoomWithSeats(1, first),
            RoomWithSeats(2, ()),
            RoomWithSeats(1, (SeatData(1, RoomKey("b", 1)),)),
        )
        assert len(sent) == 2
        assert len(await RoomRepository(db).batch_get([("b", 1), ("a", 1)], into=RoomWithSeats)) == 2


async def test_every_read_takes_a_projection(any_tables: WithTables) -> None:
    """``get``, ``find``, ``batch_get`` and ``stream`` give the same data as ``search``, in as few statements."""
    async with company(any_tables) as db:
        teams = TeamRepository(db)
        for read in (teams.get(1, into=TeamCard), teams.find(1, into=TeamCard)):
            with count_statements(db) as sent:
                assert await read == CORE
            assert len(sent) == 5
        with count_statements(db) as sent:
            batch = await teams.batch_get([2, 1], into=TeamCard)
        assert [team.id for team in batch] == [2, 1]
        assert len(sent) == 5
        assert batch[1] == CORE
        streamed = [team async for team in teams.stream(into=TeamCard)]
        assert streamed == list((await teams.search(into=TeamCard)).items)
        assert await teams.find(99, into=TeamCard) is None
        with pytest.raises(EntityNotFound):
            await teams.get(99, into=TeamCard)


async def test_the_scope_holds_for_related_rows_of_the_class_and_soft_deletion_does_not(any_tables: WithTables) -> None:
    """Another tenant's row is absent, and so it is beside one's own; soft-deleted related rows are given."""
    async with company(any_tables) as db:
        teams = TeamRepository(db)
        assert [team.name for team in await teams.search(RegionScope("us"), into=TeamName)] == ["ops", "lone"]
        with pytest.raises(EntityNotFound):
            await teams.get(1, RegionScope("us"), into=TeamCard)
        await teams.delete(1)
        assert (await teams.get(3, RegionScope("us"), into=TeamCard)).parent is None
        assert (await teams.get(3, into=TeamCard)).parent == TeamName("core")
        assert [team.id for team in await teams.search(into=TeamCard)] == [2, 3, 4]


async def test_conditions_never_meet_the_joined_table(any_tables: WithTables) -> None:
    """A condition of one's own over the joined row's table means what it meant without the join."""
    async with company(any_tables) as db:
        other = sa.exists().where(RegionRow.title.is_(None), RegionRow.code == TeamRow.region_code)
        page = await TeamRepository(db).search(None, [other], into=TeamInRegion, count=Count.EXACT)
        assert [team.name for team in page.items] == ["ops", "lone"]
        assert page.total_count == 2
        parents = sa.select(TeamRow.id).where(TeamRow.name == "core").correlate(None)
        page = await TeamRepository(db).search(None, [TeamRow.parent_id.in_(parents)], into=TeamWithParent)
        assert [(team.name, team.parent) for team in page.items] == [
            ("web", TeamName("core")),
            ("ops", TeamName("core")),
        ]


@dataclass(frozen=True)
class TeamWithParent:
    name: str
    parent: TeamName | None


async def test_pages_of_projections_are_exact(any_tables: WithTables) -> None:
    """Cursors work whether or not the data selects what is sorted by, forward and backward."""
    async with company(any_tables) as db:
        teams, seen, cursor = TeamRepository(db), list[str](), None
        orders = [TeamRow.size.desc()]
        while True:
            page = await teams.search(
                None, None, CursorForwardPagination(first=1, after=cursor), orders=orders, into=TeamWithUsers
            )
            seen += [team.name for team in page.items]
            cursor = page.end_cursor
            if not page.has_next_page:
                break
        assert seen == ["ops", "core", "web", "lone"]
        back = await teams.search(
            None, None, CursorBackwardPagination(last=2, before=cursor), orders=orders, into=TeamWithUsers
        )
        assert [team.name for team in back.items] == ["core", "web"]


async def test_writes_give_nested_data_of_what_is_there_afterwards(any_tables: WithTables) -> None:
    """Create, update and restore read the nested data again, in their own transaction."""
    async with company(any_tables) as db:
        cards = CardRepository(db)
        with count_statements(db) as sent:
            made = await cards.create(TeamCreate("eu", "new", parent_id=1, lead_id=14))
        assert made.region == RegionData("eu", "Europe")
        assert (made.parent, made.lead, made.users, made.users_count) == (TeamName("core"), UserData(14, "dee"), (), 0)
        assert len(sent) == 1 + 5
        with count_statements(db) as sent:
            moved = await cards.update(1, TeamPatch(region_code=OptionalState.update("us")))
        assert moved.region == RegionData("us", None)
        assert moved.children == (TeamName("web"), TeamName("ops"), TeamName("new"))
        assert len(sent) == 1 + 5
        assert await cards.update(1, TeamPatch()) == moved
        inside = await cards.update(1, TeamPatch(name=OptionalState.update("hub")), scope=RegionScope("us"))
        assert inside.title == "hub"


async def test_purge_gives_nested_data_of_what_was_there_before(any_tables: WithTables) -> None:
    """What is purged is read, locked, before it is gone; under a scope it is not there at all."""
    async with company(any_tables) as db:
        cards = CardRepository(db)
        with pytest.raises(EntityNotFound):
            await cards.purge(4, scope=RegionScope("eu"))
        gone = await cards.purge(4)
        assert (gone.title, gone.region) == ("lone", RegionData("us", None))
        with pytest.raises(EntityNotFound):
            await cards.purge(4)
        assert await TeamRepository(db).count() == 3


async def test_a_unit_of_work_sees_its_own_changes_in_nested_data(any_tables: WithTables) -> None:
    """Every statement of a projection is in the transaction around it."""
    async with company(any_tables) as db:
        teams = TeamRepository(db)
        async with db.unit_of_work() as unit:
            await unit.session.execute(sa.delete(UserRow).where(UserRow.id == 12))
            assert (await teams.get(1, into=TeamWithUsers)).users == (UserData(11, "ann"),)


async def test_a_projection_is_one_snapshot(with_tables: WithTables) -> None:
    """A writer between the page and its collection is seen by neither."""
    async with company(with_tables) as db:
        teams, writes = TeamRepository(db), 0

        async def write() -> None:
            async with db.engine.begin() as other:
                await other.execute(sa.insert(UserRow), [{"id": 99, "team_id": 1, "name": "eve"}])

        original = db.reading

        def reading(**options: bool):
            nonlocal writes
            manager = original(**options)
            return _WritingAfterFirst(manager, write)

        db.reading = reading  # type: ignore[method-assign]
        try:
            team = await teams.get(1, into=TeamWithUsers)
        finally:
            del db.reading
        assert [user.name for user in team.users] == ["ann", "bob"]
        assert [user.name for user in (await teams.get(1, into=TeamWithUsers)).users] == ["ann", "bob", "eve"]


class _WritingAfterFirst:
    """A session in which another connection writes after the first statement."""

    def __init__(self, manager, write) -> None:
        self.manager, self.write = manager, write

    async def __aenter__(self):
        session = await self.manager.__aenter__()
        execute, write = session.execute, self.write

        async def executing(*args, **kwargs):
            result = await execute(*args, **kwargs)
            session.execute = execute
            await write()
            return result

        session.execute = executing
        return session

    async def __aexit__(self, *exc_info):
        return await self.manager.__aexit__(*exc_info)


async def test_data_of_a_row_alone_needs_no_second_statement(any_tables: WithTables) -> None:
    """Plain data comes with RETURNING, as ever."""
    async with company(any_tables) as db:
        teams = TeamRepository(db)
        with count_statements(db) as sent:
            made = await teams.create(TeamCreate("eu", "new"))
        assert made == TeamData(made.id, "eu", "new", 0)
        assert len(sent) == 1


@dataclass(frozen=True)
class SeatInRoom:
    place: int
    room: RoomKey


class SeatRepository(Repository[SeatRow, SeatInRoom, tuple[str, int, int]]):
    pass


async def test_a_join_over_a_composite_key(any_tables: WithTables) -> None:
    """A to-one relationship of several columns joins by all of them."""
    async with company(any_tables) as db:
        assert await SeatRepository(db).get(("a", 1, 2)) == SeatInRoom(2, RoomKey("a", 1))


async def test_batch_writes_give_nested_data(any_tables: WithTables) -> None:
    """Every batch verb reads what RETURNING cannot give, in a few statements for all rows."""
    async with company(any_tables) as db:
        cards = CardRepository(db)
        with count_statements(db) as sent:
            made = await cards.batch_create([TeamCreate("eu", f"n{n}", parent_id=1) for n in range(20)])
        assert [card.title for card in made] == [f"n{n}" for n in range(20)]
        assert {card.parent for card in made} == {TeamName("core")}
        assert len(sent) < 10
        ids = [card.id for card in made]
        moved = await cards.batch_update([*ids, 999], TeamPatch(region_code=OptionalState.update("us")))
        assert [card.id for card in moved.succeeded] == ids
        assert {card.region.code for card in moved.succeeded} == {"us"}
        assert moved.missing == [999]
        gone = await cards.batch_purge([*ids, 999])
        assert [card.title for card in gone.succeeded] == [card.title for card in made]
        assert {card.region.code for card in gone.succeeded} == {"us"}
        assert await TeamRepository(db).count() == 4


@dataclass(frozen=True)
class Label:
    id: int
    title: Annotated[str, Expr(TeamRow.name)]
    length: Annotated[int, Expr(lambda: sa.func.length(TeamRow.name))]


class LabelRepository(Repository[TeamRow, Label, int]):
    pass


async def test_computed_fields_of_the_row_itself_come_with_returning(any_tables: WithTables) -> None:
    """Every write is one statement still, and gives what is computed of the row as written."""
    async with company(any_tables) as db:
        labels = LabelRepository(db)
        with count_statements(db) as sent:
            made = await labels.create(TeamCreate("eu", "four"))
            changed = await labels.update(made.id, TeamPatch(name=OptionalState.update("seven")))
            gone = await labels.purge(made.id)
        assert made == Label(made.id, "four", 4)
        assert changed == gone == Label(made.id, "seven", 5)
        assert len(sent) == 3
        both = await labels.batch_create([TeamCreate("eu", "a"), TeamCreate("eu", "bc")])
        assert [label.length for label in both] == [1, 2]
        purged = await labels.batch_purge([label.id for label in both])
        assert purged.succeeded == both


async def test_a_nested_row_can_be_locked(with_tables: WithTables) -> None:
    """FOR UPDATE holds the row asked for and neither the ones joined to it nor those of its collections."""
    async with company(with_tables) as db, db.begin_session() as db_sess:
        querier = Querier(TeamRow, into=TeamCard)
        with count_statements(db) as sent:
            assert await querier.query(db_sess, 1, for_update=True) == CORE
        assert "FOR UPDATE OF teams" in sent[0]
        async with db.engine.begin() as other:
            await other.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
            await other.execute(sa.update(RegionRow).values(title="free"))
            await other.execute(sa.update(UserRow).values(nickname="free"))
            with pytest.raises(sa.exc.DBAPIError):
                await other.execute(sa.update(TeamRow).where(TeamRow.id == 1).values(size=0))
            await other.rollback()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_projection_is_the_join_that_python_would_make(any_tables: WithTables, data: st.DataObject) -> None:
    """For any rows, nested data is what looking the related rows up one by one would give."""
    number = data.draw(st.integers(1, 5))
    teams = [
        {"id": n, "region_code": "eu", "name": f"t{n}", "parent_id": data.draw(st.sampled_from([None, *range(1, n)]))}
        for n in range(1, number + 1)
    ]
    some_team = st.sampled_from([None, *range(1, number + 1)])
    users = [{"id": n, "name": f"u{n}", "team_id": data.draw(some_team)} for n in range(data.draw(st.integers(0, 6)))]
    names = {team["id"]: team["name"] for team in teams}
    async with any_tables(RegionRow, TeamRow, UserRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(RegionRow), [{"code": "eu", "title": None}])
            for row, rows in ((TeamRow, teams), (UserRow, users)):
                if rows:
                    await db_sess.execute(sa.insert(row), rows)
        with count_statements(db) as sent:
            page = await TeamRepository(db).search(into=Family)
        assert len(sent) == 3
        assert page.items == tuple(
            Family(
                name=team["name"],
                parent=None if team["parent_id"] is None else TeamName(names[team["parent_id"]]),
                children=tuple(TeamName(other["name"]) for other in teams if other["parent_id"] == team["id"]),
                users=tuple(UserData(user["id"], user["name"]) for user in users if user["team_id"] == team["id"]),
            )
            for team in teams
        )


@dataclass(frozen=True)
class Family:
    name: str
    parent: TeamName | None
    children: tuple[TeamName, ...]
    users: tuple[UserData, ...]
