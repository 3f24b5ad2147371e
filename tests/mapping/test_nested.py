"""``Nested``: value objects in a data class, over a relationship and over the row's own columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Self

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, field_validator

from company import TeamCreate, TeamName, TeamRepository, TeamRow, UserData, UserRow, company
from rowsmith import InvalidValue, MappingError, Nested, OptionalState, Patch, Repository
from rowsmith.mapping import row_info
from rowsmith.mapping.layout import layout_of
from rowsmith.testing import WithTables
from support import count_statements


class Person:
    """A value object that knows nothing of rows, and is no data class."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Person) and other.words == self.words

    def __hash__(self) -> int:
        return hash(self.words)

    @classmethod
    def of(cls, user: UserData) -> Self:
        return cls(f"{user.id}:{user.name}")


@dataclass(frozen=True)
class Size:
    name: str
    size: int


@dataclass(frozen=True)
class WithTeam:
    name: str
    team: Annotated[str | None, Nested(TeamName, convert=lambda team: team.name.upper())]


@dataclass(frozen=True)
class Words:
    word: str


@dataclass(frozen=True)
class Title:
    title: str | None


@dataclass(frozen=True)
class Team:
    measure: Annotated[tuple[str, int], Nested(Size, convert=lambda size: (size.name, size.size))]
    id: int
    lead: Annotated[Person | None, Nested(UserData, convert=Person.of)]
    users: Annotated[tuple[Person, ...], Nested(UserData, convert=Person.of)]
    tags: Annotated[list[str], Nested(Words, convert=lambda tag: tag.word)]
    region: Annotated[dict[str, str | None], Nested(Title, convert=lambda region: {"title": region.title})]
    plain: Annotated[Size, Nested(Size)]


CORE = Team(
    ("core", 5), 1, Person("11:ann"), (Person("11:ann"), Person("12:bob")), ["red", "blue"], {"title": "Europe"},
    Size("core", 5),
)  # fmt: skip


class Teams(Repository[TeamRow, Team, int]):
    pass


@dataclass(frozen=True)
class TeamPatch(Patch[TeamRow]):
    size: OptionalState[int] = OptionalState.nop()


async def test_value_objects_are_made_of_related_rows_and_of_the_row_itself(any_tables: WithTables) -> None:
    """In every read and write, to one and to many; where there is no row there is nothing to convert."""
    async with company(any_tables) as db:
        async with db.begin_session() as session:
            await session.execute(sa.update(TeamRow).where(TeamRow.id == 1).values(size=5))
        teams = Teams(db)
        assert await teams.get(1) == CORE
        assert (await teams.search()).items[0] == CORE
        assert await TeamRepository(db).get(1, into=Team) == CORE
        assert await anext(aiter(teams.stream())) == (await teams.batch_get([1]))[0] == CORE
        changed = await teams.update(1, TeamPatch(OptionalState.update(6)))
        assert (changed.measure, changed.plain, changed.users) == (("core", 6), Size("core", 6), CORE.users)
        made = await teams.create(TeamCreate("eu", "new"))
        assert (made.lead, made.users, made.measure) == (None, (), ("new", 0))
        assert (await teams.batch_create([TeamCreate("eu", "x", 3)]))[0].measure == ("x", 3)
        assert (await teams.purge(made.id)).measure == ("new", 0)


class OwnColumns(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: int
    measure: Annotated[tuple[str, int], Nested(Size, convert=lambda size: (size.name, size.size))]


class OwnRepository(Repository[TeamRow, OwnColumns, int]):
    pass


async def test_what_is_made_of_the_row_itself_comes_with_returning(any_tables: WithTables) -> None:
    """No second statement is needed for the row's own columns."""
    async with company(any_tables) as db:
        own = OwnRepository(db)
        with count_statements(db) as sent:
            made = await own.create(TeamCreate("eu", "four", 4))
        assert made.measure == ("four", 4)
        assert len(sent) == 1
        assert (await own.batch_update([made.id], TeamPatch(OptionalState.update(7)))).succeeded[0].measure == (
            "four",
            7,
        )
        assert (await own.batch_purge([made.id])).succeeded[0].measure == ("four", 7)


class Checked(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _never(cls, value: str) -> str:
        raise ValueError(f"not {value}")


async def test_errors_of_a_converter_pass_and_those_of_pydantic_quote_nothing(any_tables: WithTables) -> None:
    """A converter's own error is the application's; what pydantic says of a row is said without its values."""

    def fail(team: TeamName) -> str:
        raise LookupError("mine")

    async with company(any_tables) as db:
        teams = TeamRepository(db)
        with pytest.raises(LookupError, match="mine"):
            await teams.get(1, into=_with(Annotated[str, Nested(TeamName, convert=fail)]))
        with pytest.raises(InvalidValue) as told:
            await teams.get(
                1, into=_with(Annotated[Any, Nested(TeamName, convert=lambda team: Checked(name=team.name))])
            )
        assert "core" not in str(told.value)


def _with(kind: Any) -> type[Any]:
    made: Any = dataclass(frozen=True)(type("Made", (), {"__annotations__": {"made": kind}}))
    return made


def test_a_shape_that_does_not_fit_is_refused_when_the_class_is_made() -> None:
    """The fields of what is converted are held against their row, and the field against how many rows there are."""
    for kind, told in (
        (Annotated[str, Nested(Words, convert=str)], r"Words\.word is no column of TeamRow"),
        (Annotated[str, Nested(int, convert=str)], "is no data class"),
    ):
        with pytest.raises(MappingError, match=told):
            layout_of(row_info(TeamRow), _with(kind))
    lead: Any = dataclass(frozen=True)(
        type("Lead", (), {"__annotations__": {"lead": Annotated[Person, Nested(UserData, convert=Person.of)]}})
    )
    with pytest.raises(MappingError, match="may lead to no row"):
        layout_of(row_info(TeamRow), lead)
    users: Any = dataclass(frozen=True)(
        type("Users", (), {"__annotations__": {"users": Annotated[Person, Nested(UserData, convert=Person.of)]}})
    )
    with pytest.raises(MappingError, match="leads to many rows"):
        layout_of(row_info(TeamRow), users)


async def test_a_converted_shape_may_nest_others(any_tables: WithTables) -> None:
    """What is converted may hold nested and converted data itself."""
    async with company(any_tables) as db:
        users = UserRepository(db)
        assert await users.get(11) == Sentence("ann in CORE")
        assert await users.get(14) == Sentence("dee in None")


@dataclass(frozen=True)
class Sentence:
    said: Annotated[str, Nested(WithTeam, convert=lambda user: f"{user.name} in {user.team}")]


class UserRepository(Repository[UserRow, Sentence, int]):
    pass
