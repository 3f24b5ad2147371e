"""Generated builders of dataclass objects."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pytest

from rowsmith.mapping.generated import generated_builder, generated_reader

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


@dataclass(frozen=True)
class Other(Plain):
    pass


def test_a_reader_reads_up_to_the_first_of_another_class() -> None:
    """It takes that one from the iterator, gives it too, and takes no more."""
    read = generated_reader(Plain, {"name": (str, False), "id": (int, False)})
    items = iter([Plain(1, "a"), Plain(2, "b"), Other(3), Plain(4)])
    assert read(items) == ([("a", 1), ("b", 2)], False, [Other(3)])
    assert read(items) == ([("x", 4)], False, [])
    assert read(items) == ([], False, [])
    items = iter([Plain(1, "a"), None, Plain(4)])
    assert read(items) == ([("a", 1)], False, [None])
    assert read(items) == ([("x", 4)], False, [])


@pytest.mark.parametrize(
    "value, exact, nullable, is_odd",
    [
        *((1, int, False, False), (None, int, True, False), (None, int, False, True), (True, int, True, True)),
        *(("1", int, True, True), (None, None, False, False), ("x", None, False, False)),
    ],
)
def test_a_reader_says_whether_values_are_of_their_exact_types(
    value: Any, exact: type[Any] | None, nullable: bool, is_odd: bool
) -> None:
    """None is of any type where it may be; a class derived from the type is another one."""
    read = generated_reader(Mutable, {"only": (exact, nullable)})
    assert read([Mutable(value)]) == ([(value,)], is_odd, [])


def test_a_reader_reads_what_is_no_attribute_by_dot() -> None:
    """A class may have no fields, or such as are no names of Python's."""
    odd = dataclasses.make_dataclass("Odd", [])
    odd.__module__, item = __name__, odd()
    item.__dict__["not a name"] = 7
    assert generated_reader(odd, {"not a name": (int, False)})([item]) == ([(7,)], False, [])
    assert generated_reader(odd, {})([item, item]) == ([(), ()], False, [])
