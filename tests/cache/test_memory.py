"""The cache in memory: what it keeps, for how long, and what it never takes."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NewType

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, computed_field, field_validator

from rowsmith import InvalidValue, MappingError
from rowsmith.cache import MemoryCacheSource
from rowsmith.cache.copies import is_immutable
from rowsmith.cache.source import HOLD, LEASE

Key = NewType("Key", int)


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class Data:
    id: Key
    name: str | None = None


@dataclass(frozen=True)
class Tagged:
    id: int
    tags: list[str]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def cache_of(**options: Any) -> tuple[MemoryCacheSource[int, Any], Clock]:
    """Give a cache and what it takes for the time."""
    cache, clock = MemoryCacheSource[int, Any](options.pop("data", Data), **options), Clock()
    cache._clock = clock
    return cache, clock


async def fill(cache: MemoryCacheSource[int, Any], *ids: int, under: Any = (False,), absent: bool = False) -> None:
    leases = await cache.lease(ids, under=under)
    await cache.set_many({id: None if absent else Data(Key(id)) for id in ids}, leases, under=under)


async def test_entries_are_given_until_their_time_is_over() -> None:
    """Within a tenth of it, so that those filled together do not end together."""
    cache, clock = cache_of(ttl=100)
    await fill(cache, *range(50))
    clock.now += 90
    assert len(await cache.get_many(range(50))) == 50
    clock.now += 5
    assert 0 < len(await cache.get_many(range(50))) < 50
    clock.now += 5
    assert await cache.get_many(range(50)) == {}
    assert (cache.counts.hits, cache.counts.misses) != (0, 0)


async def test_those_used_longest_ago_make_way() -> None:
    """Rows under several scopes count as often."""
    cache, _ = cache_of(max_entries=3)
    await fill(cache, 1, 2)
    await fill(cache, 2, under=(False, "a"))
    await cache.get_many([1])
    await fill(cache, 3)
    assert list(await cache.get_many([1, 2, 3])) == [1, 3]
    assert len(cache) == 2


async def test_an_entry_under_one_scope_is_none_under_another() -> None:
    """All of a row's go together."""
    cache, _ = cache_of()
    await fill(cache, 1, under=(False, "a"))
    assert await cache.get_many([1]) == {}
    assert list(await cache.get_many([1], under=(False, "a"))) == [1]
    await cache.invalidate([1])
    assert await cache.get_many([1], under=(False, "a")) == {}


@pytest.mark.parametrize("ids", [[1], None])
async def test_what_was_leased_before_a_change_is_never_taken(ids: Any) -> None:
    """Of the row or of all."""
    cache, _ = cache_of()
    leases = await cache.lease([1])
    await cache.invalidate(ids)
    await cache.set_many({1: Data(Key(1))}, leases)
    assert await cache.get_many([1]) == {}
    assert len(cache) == 0


@pytest.mark.parametrize("ids", [[1], None])
async def test_nothing_is_taken_while_a_change_is_being_committed(ids: Any) -> None:
    """Nor leased; afterwards it is, and also when nobody came back from the COMMIT."""
    cache, clock = cache_of()
    await fill(cache, 1)
    first, second = await cache.hold(ids), await cache.hold(ids)
    assert await cache.get_many([1]) == {}
    await cache.release(first, ids)
    assert await cache.lease([1]) == {}
    await cache.release(second, ids)
    assert list(await cache.lease([1])) == [1]
    await cache.hold(ids)
    assert await cache.lease([1]) == {}
    clock.now += HOLD
    assert list(await cache.lease([1])) == [1]


async def test_one_is_the_first_to_load() -> None:
    """Until it has, or gives up, or its time is over."""
    cache, clock = cache_of()
    first = await cache.lease([1])
    assert first[1].is_first
    assert not (await cache.lease([1]))[1].is_first
    assert (await cache.lease([1], under=(True,)))[1].is_first
    await cache.set_many({}, first)
    assert (await cache.lease([1]))[1].is_first
    clock.now += LEASE
    assert (await cache.lease([1]))[1].is_first


async def test_absence_is_remembered_if_asked_for() -> None:
    """For a time of its own."""
    cache, clock = cache_of(ttl=100, negative_ttl=10)
    await fill(cache, 1, absent=True)
    assert await cache.get_many([1]) == {1: None}
    clock.now += 10
    assert await cache.get_many([1]) == {}
    forgetful, _ = cache_of()
    await fill(forgetful, 1, absent=True)
    assert await forgetful.get_many([1]) == {}


async def test_what_can_be_changed_is_never_shared() -> None:
    """Neither with whoever put it there nor among those who are given it."""
    cache, _ = cache_of(data=Tagged)
    given = Tagged(1, ["a"])
    await cache.set_many({1: given}, await cache.lease([1]))
    given.tags.append("b")
    found: Any = await cache.get_many([1])
    found[1].tags.append("c")
    assert await cache.get_many([1]) == {1: Tagged(1, ["a"])}


@dataclass(frozen=True)
class Viewed:
    view: Any


async def test_what_cannot_be_copied_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    """It is told of, without the value."""
    cache, _ = cache_of(data=Viewed)
    await cache.set_many({1: Viewed(1), 2: Viewed(MappingProxyType({}))}, await cache.lease([1, 2]))
    assert await cache.get_many([1, 2]) == {1: Viewed(1)}
    assert len(cache) == cache.counts.failures == 1
    assert caplog.messages == ["Viewed cannot be copied, and is not kept in the cache"]


async def test_abandoned_leases_do_not_pile_up() -> None:
    """Those of callers who never came back make way, too."""
    cache, _ = cache_of(max_entries=2)
    for id in range(20):
        await cache.lease([id])
    await fill(cache, 100)
    assert len(cache._slots) <= 4


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: int
    inner: Data


class Loose(BaseModel):
    id: int


@dataclass(frozen=True)
class Plain(Data):
    sort: ClassVar[str] = "plain"

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        return f"{self.name}"

    @classmethod
    def of(cls, id: int) -> Plain:
        return cls(Key(id))


class Checked(Frozen):
    @field_validator("id")
    @classmethod
    def is_positive(cls, id: int) -> int:
        return abs(id)


@dataclass(frozen=True)
class Remembering(Data):
    @cached_property
    def letters(self) -> list[str]:
        return list(self.name or "")


class RememberingModel(Frozen):
    @computed_field  # type: ignore[prop-decorator]
    @cached_property
    def letters(self) -> list[str]:
        return []


class Private(Frozen):
    _notes: list[str] = PrivateAttr(default_factory=list[str])


class Open(Frozen):
    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class Prepared(Data):
    def __post_init__(self) -> None:
        object.__setattr__(self, "letters", [])


@pytest.mark.parametrize(
    "kind, is_it",
    [
        (Data, True),
        (Frozen, True),
        (tuple[int, ...], True),
        (frozenset[Colour], True),
        (Annotated[dt.datetime | None, "when"], True),
        (Literal["a"], True),
        (Plain, True),
        (Checked, True),
        (Tagged, False),
        (Remembering, False),
        (RememberingModel, False),
        (Private, False),
        (Open, False),
        (Prepared, False),
        (Loose, False),
        (dict[str, int], False),
        (tuple[list[int], int], False),
        (Any, False),
        (object, False),
    ],
    ids=str,
)
def test_what_cannot_be_changed_is_told_from_what_can(kind: Any, is_it: bool) -> None:
    """Through and through; where it cannot be told, it is taken for what can be."""
    assert is_immutable(kind) is is_it


@pytest.mark.parametrize(
    "options",
    [{"ttl": 0}, {"ttl": float("nan")}, {"negative_ttl": -1}, {"max_entries": 0}, {"max_entries": 1.5}],
    ids=str,
)
def test_a_number_that_is_none_is_refused(options: dict[str, Any]) -> None:
    """With what to write."""
    with pytest.raises(InvalidValue, match="write"):
        MemoryCacheSource(Data, **options)


def test_no_class_is_refused() -> None:
    """Such as data itself."""
    with pytest.raises(MappingError, match="data class"):
        MemoryCacheSource(Data(Key(1)))  # type: ignore[arg-type]
