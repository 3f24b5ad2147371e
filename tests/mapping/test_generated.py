"""Generated builders of dataclass objects."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pytest

from rowsmith.mapping.generated import generated_builder

T = TypeVar("T")


@dataclass(frozen=True)
class Plain:
    id: int
    name: str = "x"


@dataclass
class Mutable:
    only: int


@dataclass(frozen=True, order=True)
class Child(Plain, Generic[T]):
    extra: Any = None


@dataclass(frozen=True)
class Around(Generic[T]):
    it: T


@pytest.mark.parametrize(
    "into, records",
    [
        (Plain, [(1, "a"), (2, "b")]),
        (Mutable, [(1,)]),
        (Child, [(1, "a", None), (2, "b", [3])]),
        (Around, [(1,), ("a",)]),
        (Plain, []),
    ],
)
def test_what_is_built_is_what_init_builds(into: type[Any], records: list[tuple[Any, ...]]) -> None:
    """Equal, of the same class, with the same state, hash and representation; copies and pickles alike."""
    build = generated_builder(into)
    assert build is not None
    for made, record in zip(build(records), records, strict=True):
        expected = into(*record)
        assert type(made) is into
        assert (made, vars(made), repr(made)) == (expected, vars(expected), repr(expected))
        assert copy.copy(made) == pickle.loads(pickle.dumps(made)) == expected  # noqa: S301
        assert dataclasses.replace(made) == expected
        if into is Plain:
            assert hash(made) == hash(expected)


def test_what_is_frozen_stays_frozen() -> None:
    """The object is one of the frozen class, from the moment it is given away."""
    build = generated_builder(Plain)
    assert build is not None
    (made,) = build([(1, "a")])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.id = 2


def test_a_record_of_another_length_is_an_error() -> None:
    """Nothing is dropped or made up."""
    build = generated_builder(Plain)
    assert build is not None
    for record in ((1,), (1, "a", 2)):
        with pytest.raises(ValueError, match="unpack"):
            build([record])


@dataclass(frozen=True)
class Hooked:
    id: int

    def __post_init__(self) -> None:
        assert self.id > 0


@dataclass(frozen=True, slots=True)
class Slotted:
    id: int


@dataclass(init=False)
class Own:
    id: int

    def __init__(self, id: int) -> None:
        self.id = id + 1


class Overridden(Plain):
    def __init__(self, id: int, name: str) -> None:
        super().__init__(id + 1, name)


@dataclass(frozen=True)
class Hidden:
    id: int
    cache: list[int] = field(default_factory=list, init=False)


@dataclass
class Native(dict[str, int]):
    id: int


@dataclass(frozen=True)
class Empty:
    pass


@pytest.mark.parametrize("into", [Hooked, Slotted, Own, Overridden, Hidden, Native, Empty])
def test_an_init_that_does_more_is_run(into: type[Any]) -> None:
    """Hooks, slots, an ``__init__`` of one's own, hidden fields: nothing is generated."""
    assert generated_builder(into) is None
