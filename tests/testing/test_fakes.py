"""Fakes: repositories that answer what a test says, with the real one's signatures and without a database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol
from unittest.mock import AsyncMock

import pytest

from company import RegionData, RegionRow
from rowsmith import (
    AfterCommitFailed,
    DBSource,
    EntityNotFound,
    MappingError,
    Repository,
    RepositoryError,
    SearchScope,
    Spec,
    Stream,
    TransactionError,
)
from rowsmith.testing import FakeDatabase, NotFaked, fake


class RegionRepository(Repository[RegionRow, RegionData, str]):
    async def rename(self, id: str, name: str, *, loud: bool = False) -> RegionData:
        raise AssertionError("never reached")

    async def names(self) -> AsyncIterator[str]:
        yield "nobody"

    async def get_twice(self, id: str) -> list[RegionData]:
        return [await self.get(id), await self.get(id)]

    def label(self, id: str) -> str:
        return f"region {id}"

    def to_row(self, entity: RegionData) -> Spec[RegionRow]:
        return NewRegion(entity.code)


@dataclass(frozen=True)
class NewRegion(Spec[RegionRow]):
    code: str


EUROPE = AsyncMock(return_value="Europe")


async def test_what_was_given_answers() -> None:
    """A coroutine function, a plain one and a mock of the standard library, for verbs and for methods of one's own."""

    async def get(id: str, scope: Any) -> Any:
        return id, scope

    regions = fake(RegionRepository, get=get, find=lambda id: None, rename=EUROPE)
    assert isinstance(regions, RegionRepository)
    assert await regions.get("eu") == ("eu", None)
    assert await regions.find("eu") is None
    assert await regions.rename("eu", name="Europe") == "Europe"
    EUROPE.assert_awaited_once_with("eu", name="Europe")


async def test_errors_come_as_they_are() -> None:
    """What the function raises is what the caller meets."""
    regions = fake(RegionRepository, get=AsyncMock(side_effect=EntityNotFound()))
    with pytest.raises(EntityNotFound):
        await regions.get("eu")


async def test_a_stream_is_an_asynchronous_generator() -> None:
    """A stream is a Stream, closed as one, and a generator of one's own stays a generator."""

    async def two(scope: SearchScope | None = None) -> AsyncIterator[str]:
        yield "Europe"
        yield "Asia"

    async def both() -> AsyncIterator[str]:
        yield "Europe"

    regions = fake(RegionRepository, stream=two, names=both)
    stream = regions.stream()
    assert isinstance(stream, Stream)
    async with stream:
        assert [name async for name in stream] == ["Europe", "Asia"]
    assert [name async for name in regions.names()] == ["Europe"]


@pytest.mark.parametrize(
    "call",
    [
        lambda regions: regions.get("eu"),
        lambda regions: regions.batch_purge(["eu"]),
        lambda regions: regions.rename("eu", "Europe"),
    ],
)
async def test_what_was_not_given_is_named(call: Any) -> None:
    """A call that nothing was said of says what to write, and is no error that code under test would handle."""
    with pytest.raises(NotFaked, match=r"fake\(RegionRepository, \w+=\.\.\.\)") as caught:
        await call(fake(RegionRepository))
    assert not isinstance(caught.value, RepositoryError)


def test_what_gives_no_awaitable_is_named_at_the_call() -> None:
    """A stream, a generator and an attribute of the instance are named as soon as they are asked for."""
    regions: Any = fake(RegionRepository)
    for ask in (regions.stream, regions.names, lambda: regions.db_source, lambda: regions.cache_source):
        with pytest.raises(NotFaked, match="fake"):
            ask()


async def test_what_needs_no_database_is_the_real_one() -> None:
    """Plain methods and converters work as they do, and a method made of given ones needs not be given itself."""
    regions = fake(RegionRepository, get=EUROPE)
    assert regions.label("eu") == "region eu"
    assert regions.to_row(RegionData("eu", None)) == NewRegion("eu")
    assert signature(regions.get) == signature(RegionRepository(db_source=source()).get)


def source() -> DBSource[RegionRow, RegionData, str]:
    from rowsmith import Database

    return DBSource(Database.from_url("sqlite://"), RegionRow, into=RegionData)


@pytest.mark.parametrize(
    "given, told",
    [
        ({"gett": EUROPE}, "has no method 'gett'; did you mean 'get'"),
        ({"not_found": EUROPE}, "has no method 'not_found'"),
        ({"get": "Europe"}, "is a function, not str"),
        ({"get": lambda: None}, "must take 'id'"),
        ({"get": lambda id, scoop: None}, "takes no 'scoop'; did you mean 'scope'"),
        ({"rename": lambda id, name, *, aloud=False: None}, "takes no 'aloud'"),
        ({"label": lambda: None}, "must take 'id'"),
    ],
)
def test_a_fake_that_fits_nothing_is_refused_when_it_is_made(given: Any, told: str) -> None:
    """Each function is held against the signature of what it stands for."""
    with pytest.raises(MappingError, match=told):
        fake(RegionRepository, **given)


async def test_calls_are_held_against_the_real_signature() -> None:
    """A call that the real method would refuse is refused, whatever the stand-in takes."""
    regions: Any = fake(RegionRepository, get=EUROPE, rename=lambda id, name: name)
    with pytest.raises(TypeError, match="scoop"):
        await regions.get("eu", scoop=None)
    with pytest.raises(NotFaked, match="loud"):
        await regions.rename("eu", "Europe", loud=True)
    assert await regions.rename("eu", "Europe", loud=False) == "Europe"


async def test_anything_with_methods_is_faked() -> None:
    """A source too, whose verbs come first and bring their arguments with them."""
    write = AsyncMock(return_value="written")
    faked = fake(DBSource[RegionRow, RegionData, str], write=write)
    assert await faked.write(EUROPE, "eu", scope=None) == "written"
    write.assert_awaited_once_with(EUROPE, "eu", scope=None)


class IRegions(ABC):
    """What a domain layer asks for."""

    @abstractmethod
    async def get(self, id: str) -> RegionData: ...

    @abstractmethod
    def label(self, id: str) -> str: ...

    @property
    @abstractmethod
    def size(self) -> int: ...


class Regions(Protocol):
    """The same, told by its form alone."""

    async def get(self, id: str) -> RegionData: ...

    def label(self, id: str) -> str: ...


@pytest.mark.parametrize("interface", [IRegions, Regions])
async def test_an_interface_is_faked(interface: Any) -> None:
    """What it leaves open is given, or refused when it is asked for."""
    regions = fake(interface, get=EUROPE)
    assert interface in type(regions).__mro__
    assert await regions.get("eu") == "Europe"
    with pytest.raises(NotFaked, match="label"):
        regions.label("eu")
    assert fake(interface, label=lambda id: id).label("eu") == "eu"
    with pytest.raises(NotFaked, match="size"):
        _ = regions.size
    with pytest.raises(NotFaked, match="get"):
        await fake(interface).get("eu")


async def test_a_unit_of_work_commits_what_leaves_it_whole() -> None:
    """Calls know that they are inside, one unit ends at the outermost block, and then what waits for it is done."""
    db, done = FakeDatabase(), []
    regions = fake(RegionRepository, db, get=lambda id: regions.db.is_in_session)
    async with regions.db.unit_of_work() as unit:
        unit.after_commit(lambda: done.append("outer"))
        async with db.unit_of_work() as inner:
            inner.after_commit(lambda: done.append("inner"))
            assert await regions.get("eu") is True
        assert (db.committed, done) == (0, [])
    assert (db.committed, db.rolled_back, done) == (1, 0, ["outer", "inner"])
    assert await regions.get("eu") is False
    with pytest.raises(TransactionError):
        unit.after_commit(print)


async def test_a_unit_of_work_that_fails_is_rolled_back() -> None:
    """Nothing that waits for the commit is done; an inner one that fails alone takes only its own with it."""
    db, done = FakeDatabase(), []
    with pytest.raises(EntityNotFound):
        async with db.unit_of_work() as unit:
            unit.after_commit(lambda: done.append("never"))
            raise EntityNotFound
    assert (db.committed, db.rolled_back, done) == (0, 1, [])
    async with db.unit_of_work() as unit:
        with pytest.raises(EntityNotFound):
            async with db.unit_of_work() as inner:
                inner.after_commit(lambda: done.append("never"))
                raise EntityNotFound
    assert (db.committed, db.rolled_back, done) == (1, 2, [])
    with pytest.raises(AfterCommitFailed):
        async with db.unit_of_work() as unit:
            unit.after_commit(lambda: 1 / 0)
    assert db.committed == 2


async def test_a_fake_database_has_no_session() -> None:
    """Whoever asks for one, or for the engine, is told that there is none."""
    db: Any = FakeDatabase()
    for ask in (db.begin_session, db.begin_readonly_session, db.reading, db.writing, lambda: db.engine):
        with pytest.raises(NotFaked, match="no database"):
            ask()
    async with db.unit_of_work() as unit:
        with pytest.raises(NotFaked, match="no database"):
            _ = unit.session
    await db.dispose()


async def test_each_fake_has_a_database_of_its_own() -> None:
    """Unless one is given, which the fakes of one service share."""
    db = FakeDatabase()
    assert fake(RegionRepository, db).db is fake(RegionRepository, db).db is db
    assert fake(RegionRepository).db is not fake(RegionRepository).db
