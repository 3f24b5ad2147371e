"""Scopes, specs, patches and data are frozen: a class that is not is told, and nothing of it reaches a statement."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import attrs
import pydantic
import pytest

from rowsmith import (
    AllOf,
    Condition,
    DBSource,
    MappingError,
    OptionalState,
    Patch,
    Querier,
    Repository,
    SearchScope,
    Spec,
    count,
)
from rowsmith.testing import WithTables
from support import count_statements
from tenants import DomainScope, GroupId, GroupRepository, GroupRow, groups_in

NOT_FROZEN = r"is a dataclass that is not frozen: write @dataclass\(frozen=True\)"
NO_DATACLASS = r"is no dataclass: write @dataclass\(frozen=True\)"
NO_FROZEN_MODEL = r"is a model that is not frozen: write ConfigDict\(frozen=True\)"


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


@dataclass
class OpenScope(SearchScope):
    domain_name: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name]


@dataclass(slots=True)
class OpenSlots(OpenScope):
    level: int = 1


class PlainScope(SearchScope):
    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == "a"]


class PlainScopeWithFields(PlainScope):
    def __init__(self, domain_name: str) -> None:
        self.domain_name = domain_name


class OpenModelScope(pydantic.BaseModel, SearchScope):
    domain_name: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name]


class ModelScope(OpenModelScope):
    model_config: ClassVar = pydantic.ConfigDict(frozen=True)


@dataclass
class OpenScopeWithoutFields(SearchScope):
    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == "a"]


@dataclass
class OpenScopeWithChecks(OpenScopeWithoutFields):
    def __post_init__(self) -> None:
        pass


class PlainScopeWithInit(PlainScope):
    def __init__(self, domain_name: str) -> None:
        pass


@dataclass
class OpenScopeWithInit(OpenScopeWithoutFields):
    def __init__(self, domain_name: str) -> None:
        pass


@dataclass(frozen=True, init=False)
class ScopeWithInit(DomainScope):
    def __init__(self, name: str) -> None:
        object.__setattr__(self, "domain_name", name)


@dataclass(frozen=True)
class ScopeWithChecks(DomainScope):
    def __post_init__(self) -> None:
        assert self.domain_name


@dataclass
class OpenSpecWithoutFields(Spec[GroupRow], filled={"domain_name", "name"}):
    pass


@dataclass
class OpenPatchWithoutFields(Patch[GroupRow]):
    pass


class NarrowScope(DomainScope):
    """What is inherited is frozen, and there is nothing of its own."""


@dataclass
class OpenSpec(Spec[GroupRow]):
    domain_name: str
    name: str


@dataclass
class OpenPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()


class PlainSpec(Spec[GroupRow]):
    domain_name: str
    name: str


class PlainPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()


class SpecWithInit(Spec[GroupRow]):
    """What writes its own ``__init__`` says itself what its fields are."""

    domain_name: str
    name: str

    def __init__(self) -> None:
        self.domain_name, self.name = "a", "its own"


@pydantic.dataclasses.dataclass
class OpenPydanticPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()


@attrs.define
class OpenAttrsSpec(Spec[GroupRow]):
    domain_name: str
    name: str


@attrs.define
class OpenAttrsPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()


@attrs.frozen
class AttrsSpec(Spec[GroupRow]):
    domain_name: str
    name: str


@attrs.frozen
class AttrsPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()


class ModelPatch(pydantic.BaseModel, Patch[GroupRow]):
    """What a request's body is read into: its values are taken as the call begins, and nothing else is kept of it."""

    name: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True, slots=True)
class SlotSpec(Spec[GroupRow]):
    domain_name: str
    name: str


@dataclass
class OpenData:
    id: int
    name: str


@dataclass
class OpenStats:
    groups: Annotated[int, count()]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: OpenScope("a"), f"OpenScope {NOT_FROZEN}"),
        (lambda: OpenSlots("a"), f"OpenSlots {NOT_FROZEN}"),
        (lambda: PlainScope(), f"PlainScope {NO_DATACLASS}"),
        (lambda: PlainScopeWithFields("a"), f"PlainScopeWithFields {NO_DATACLASS}"),
        (lambda: OpenSpec("a", "x"), f"OpenSpec {NOT_FROZEN}"),
        (lambda: OpenPatch(), f"OpenPatch {NOT_FROZEN}"),
        (lambda: PlainSpec("a", "x"), f"PlainSpec {NO_DATACLASS}"),
        (lambda: PlainSpec(), f"PlainSpec {NO_DATACLASS}"),
        (lambda: PlainPatch(), f"PlainPatch {NO_DATACLASS}"),
        (lambda: PlainPatch(name=OptionalState.update("x")), f"PlainPatch {NO_DATACLASS}"),
        (lambda: OpenPydanticPatch(), f"OpenPydanticPatch {NOT_FROZEN}"),
        (lambda: OpenScopeWithoutFields(), f"OpenScopeWithoutFields {NOT_FROZEN}"),
        (lambda: OpenScopeWithChecks(), f"OpenScopeWithChecks {NOT_FROZEN}"),
        (lambda: OpenScopeWithInit("a"), f"OpenScopeWithInit {NOT_FROZEN}"),
        (lambda: OpenSpecWithoutFields(), f"OpenSpecWithoutFields {NOT_FROZEN}"),
        (lambda: OpenPatchWithoutFields(), f"OpenPatchWithoutFields {NOT_FROZEN}"),
        (lambda: PlainScopeWithInit("a"), f"PlainScopeWithInit {NO_DATACLASS}"),
        (lambda: OpenModelScope(domain_name="a"), f"OpenModelScope {NO_FROZEN_MODEL}"),
        (lambda: OpenModelScope.model_validate({"domain_name": "a"}), f"OpenModelScope {NO_FROZEN_MODEL}"),
    ],
)
def test_the_first_instance_of_what_is_not_frozen_is_an_error(make: Callable[[], Any], words: str) -> None:
    """And so is each other one; the message says what to write."""
    for _ in range(2):
        with pytest.raises(MappingError, match=f"^{words}"):
            make()


async def test_what_can_be_made_all_the_same_cannot_be_used(groups: GroupRepository) -> None:
    """What is made past ``__init__``, as a copy or an unpickled instance is."""
    scopes = (OpenModelScope.model_construct(domain_name="a"), object.__new__(OpenScopeWithoutFields))
    patch = object.__new__(OpenPatch)
    with count_statements(groups.db) as sent:
        for call in (
            *(groups.get(GroupId(1), scope) for scope in scopes),
            *(groups.search(scope) for scope in scopes),
            groups.update(GroupId(1), patch),
            groups.batch_update([GroupId(1)], patch),
        ):
            with pytest.raises(MappingError, match="frozen=True"):
                await call
    assert [statement for statement in sent if "BEGIN" not in statement] == []


def test_data_is_told_when_its_repository_is_made() -> None:
    """Wherever a data class is given: for a repository, a source, an operation object, or one call."""
    with pytest.raises(MappingError, match=f"OpenData {NOT_FROZEN}"):

        class Groups(Repository[GroupRow, OpenData, int]):
            pass

    with pytest.raises(MappingError, match=f"OpenData {NOT_FROZEN}"):
        Querier(GroupRow, into=OpenData)


async def test_what_attrs_makes_is_frozen_as_a_dataclass_is(groups: GroupRepository) -> None:
    """It is told before anything is sent."""
    with count_statements(groups.db) as sent:
        for verb in (groups.create, groups.upsert):
            with pytest.raises(MappingError, match=r"OpenAttrsSpec is not frozen: write @attrs.frozen above it"):
                await verb(OpenAttrsSpec("a", "x"))
        with pytest.raises(MappingError, match="OpenAttrsPatch is not frozen"):
            await groups.update(GroupId(1), OpenAttrsPatch())
    assert sent == []


async def test_data_of_one_call_is_held_too(groups: GroupRepository) -> None:
    """``into=`` and aggregates."""
    for call in (groups.get(GroupId(1), into=OpenData), groups.search(into=OpenData)):
        with pytest.raises(MappingError, match=f"OpenData {NOT_FROZEN}"):
            await call
    with pytest.raises(MappingError, match=f"OpenStats {NOT_FROZEN}"):
        await groups.aggregate(into=OpenStats)


async def test_what_to_data_makes_is_the_applications_own(groups: GroupRepository) -> None:
    """An entity that the application makes itself may change: nothing of rowsmith's is kept of it."""

    class Groups(Repository[GroupRow, OpenData, int]):
        def to_data(self, row: GroupRow) -> OpenData:
            return OpenData(row.id, row.name)

    assert await Groups(groups.db).get(1) == OpenData(1, "one")
    assert isinstance(DBSource(groups.db, GroupRow), DBSource)


async def test_what_is_frozen_is_taken_and_stays_as_it_is(groups: GroupRepository) -> None:
    """Models, slots, subclasses without fields of their own, and scopes put together."""
    for scope in (ModelScope(domain_name="a"), NarrowScope("a"), ScopeWithInit("a"), AllOf(ScopeWithChecks("a"))):
        assert (await groups.get(GroupId(1), scope)).name == "one"
    patch = ModelPatch(name=OptionalState.update("new"))
    assert (await groups.update(GroupId(1), patch)).name == "new"
    assert (await groups.create(SlotSpec("a", "slots"))).name == "slots"
    assert (await groups.create(AttrsSpec("a", "attrs"))).name == "attrs"
    assert (await groups.update(GroupId(1), AttrsPatch(OptionalState.update("newer")))).name == "newer"
    assert (await groups.create(SpecWithInit())).name == "its own"
    with pytest.raises(dataclasses.FrozenInstanceError):
        DomainScope("a").domain_name = "b"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        NarrowScope("a").domain_name = "b"  # type: ignore[misc]


def test_what_calls_a_class_sees_its_fields() -> None:
    """A web framework takes a scope or spec as a dependency by its signature."""
    assert list(inspect.signature(DomainScope).parameters) == ["domain_name"]
    assert list(inspect.signature(ScopeWithInit).parameters) == ["name"]
    assert list(inspect.signature(ModelScope).parameters) == ["domain_name"]
    assert list(inspect.signature(SlotSpec).parameters) == ["domain_name", "name"]


def test_a_frozen_class_has_nothing_to_ask() -> None:
    """An instance of it costs what one of any dataclass costs."""
    for kind in (DomainScope, SlotSpec, NarrowScope):
        assert not hasattr(kind, "__post_init__")
        assert not hasattr(kind.__init__, "__wrapped__")
