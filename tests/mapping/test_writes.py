"""Specs and patches: the class is the allow-list, held against its row when it is made."""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
from collections.abc import AsyncIterator, Mapping
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import pydantic
import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

import rowsmith
from rowsmith import InvalidValue, MappingError, OptionalState, Patch, Repository, Spec, TriState
from rowsmith.mapping import row_info
from rowsmith.mapping.writes import all_belong, checked_values
from rowsmith.testing import WithTables
from tenants import Base, GroupCreate, GroupPatch, GroupRow, MemberCreate, WideCreate, WideRow

INFO = row_info(GroupRow)


def values_of(written: Any) -> dict[str, Any]:
    return checked_values(written, INFO, Spec if isinstance(written, Spec) else Patch)


def test_a_spec_gives_its_fields() -> None:
    """Each field is written under its attribute's name."""
    assert values_of(GroupCreate("a", "x")) == {"domain_name": "a", "name": "x", "size": 0, "note": None}


def test_a_patch_gives_what_is_set() -> None:
    """A nop is absent, nullify is None, and an expression is SQL."""
    assert values_of(GroupPatch()) == {}
    patch = GroupPatch(name=OptionalState.update("x"), note=TriState.nullify())
    assert values_of(patch) == {"name": "x", "note": None}
    made = values_of(GroupPatch(size=OptionalState.expression(lambda: GroupRow.size + 1)))
    assert str(made["size"]) == "groups.size + :size_1"


def test_a_field_that_is_no_column() -> None:
    """The message names both classes, the field and the nearest column; at class creation."""
    with pytest.raises(MappingError, match=r"WrongCreate.nmae is no column of GroupRow; did you mean 'name'\?"):

        class WrongCreate(Spec[GroupRow]):
            domain_name: str
            nmae: str

    with pytest.raises(MappingError, match=r"WrongPatch.sise is no column of GroupRow; did you mean 'size'\?"):

        class WrongPatch(Patch[GroupRow]):
            sise: OptionalState[int] = OptionalState.nop()


def test_the_columns_own_name_is_no_field() -> None:
    """An attribute's name counts, not its column's in the table."""
    with pytest.raises(MappingError, match="label_text is no column of WideRow; did you mean 'label'"):

        class WrongCreate(Spec[WideRow]):
            label_text: str


def test_a_missing_required_column() -> None:
    """NOT NULL without default must be a field, or be said to come from elsewhere."""
    with pytest.raises(MappingError, match=r"leaves out GroupRow.domain_name, .* filled=\{'domain_name'\}"):

        class WrongCreate(Spec[GroupRow]):
            name: str

    class FilledCreate(Spec[GroupRow], filled={"domain_name"}):
        name: str

    with pytest.raises(MappingError, match=r"TypoCreate.domain_nam is no column of GroupRow"):

        class TypoCreate(Spec[GroupRow], filled={"domain_nam"}):
            name: str


def test_filled_survives_slots_and_inheritance() -> None:
    """A dataclass with slots is made twice, and a subclass knows what its base knows."""

    @dataclass(frozen=True, slots=True)
    class SlotsCreate(Spec[GroupRow], filled={"domain_name"}):
        name: str

    @dataclass(frozen=True)
    class LargerCreate(SlotsCreate):
        size: int = 3

    assert values_of(SlotsCreate("x")) == {"name": "x"}
    assert values_of(LargerCreate("x")) == {"name": "x", "size": 3}


def test_a_patch_field_must_be_a_state() -> None:
    """A plain value could not say "leave it", and NULL is no value of a NOT NULL column."""
    with pytest.raises(MappingError, match=r"WrongPatch.name must be OptionalState\[...\] or TriState\[...\]"):

        class WrongPatch(Patch[GroupRow]):
            name: str

    with pytest.raises(MappingError, match=r"NullPatch.name is a TriState, but GroupRow.name is NOT NULL"):

        class NullPatch(Patch[GroupRow]):
            name: TriState[str] = TriState.nop()


def test_the_ways_to_spell_a_state() -> None:
    """Imported by name or through its module, quoted, annotated, or under an alias of one's own."""

    class SpeltPatch(Patch[GroupRow]):
        name: rowsmith.OptionalState[str] = OptionalState.nop()
        size: Annotated[OptionalState[int], "size"] = OptionalState.nop()
        note: "TriState[str]" = TriState.nop()  # noqa: UP037 - quoted on purpose
        domain_name: Alias[str] = OptionalState.nop()

    assert SpeltPatch.__rowsmith_fields__ == ("name", "size", "note", "domain_name")


Alias = OptionalState


def test_real_annotations_work_as_well() -> None:
    """A module without ``from __future__ import annotations`` has classes, not text, in its annotations."""
    module = types.ModuleType("real_annotations")
    sys.modules[module.__name__] = module
    source = """
from dataclasses import dataclass
from typing import Annotated
from rowsmith import OptionalState, Patch, Spec
from tenants import GroupRow

@dataclass(frozen=True)
class RealCreate(Spec[GroupRow]):
    domain_name: str
    name: str

@dataclass(frozen=True)
class RealPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()
    size: Annotated[OptionalState[int], "size"] = OptionalState.nop()
"""
    exec(source, vars(module))  # noqa: S102 - our own text
    assert values_of(module.RealCreate("a", "x")) == {"domain_name": "a", "name": "x"}
    assert values_of(module.RealPatch(name=OptionalState.update("y"))) == {"name": "y"}


def test_what_is_no_field() -> None:
    """ClassVar, InitVar, KW_ONLY and private names are not written."""

    @dataclass(frozen=True)
    class MixedCreate(Spec[GroupRow]):
        kind: ClassVar[str] = "x"
        domain_name: str
        _: KW_ONLY
        name: str
        extra: InitVar[int] = 0
        _hidden: int = field(default=3, repr=False)

    assert values_of(MixedCreate("a", name="x", extra=4)) == {"domain_name": "a", "name": "x"}


def test_mixins_and_inheritance() -> None:
    """Fields come from every base, plain mixins included."""

    @dataclass(frozen=True)
    class Named:
        name: str

    @dataclass(frozen=True)
    class MixinCreate(Named, Spec[GroupRow]):
        domain_name: str

    @dataclass(frozen=True)
    class SizedCreate(MixinCreate):
        size: int = 1

    assert values_of(MixinCreate("x", "a")) == {"name": "x", "domain_name": "a"}
    assert values_of(SizedCreate("x", "a")) == {"name": "x", "domain_name": "a", "size": 1}
    with pytest.raises(MappingError, match=r"WrongCreate.colour"):

        class WrongCreate(MixinCreate):
            colour: str


TRow = TypeVar("TRow")


def test_generic_bases() -> None:
    """A base that leaves its row open is checked where the row is given."""

    @dataclass(frozen=True)
    class NamedCreate(Spec[TRow], Generic[TRow]):
        name: str

    @dataclass(frozen=True)
    class ConcreteCreate(NamedCreate[GroupRow]):
        domain_name: str

    assert values_of(ConcreteCreate("x", "a")) == {"name": "x", "domain_name": "a"}
    with pytest.raises(MappingError, match=r"inherits Spec\[GroupRow\]"):
        values_of(NamedCreate("x"))


@pytest.mark.filterwarnings("ignore::pydantic.warnings.GenericBeforeBaseModelWarning")
@pytest.mark.parametrize("spec_first", [True, False])
def test_a_pydantic_spec_refuses_extra_fields(spec_first: bool) -> None:
    """Mass assignment ends at the spec's type, whichever base stands first (FAULT 38)."""
    if spec_first:

        class FirstCreate(Spec[GroupRow], BaseModel):
            domain_name: str
            name: str

        model: Any = FirstCreate
    else:

        class SecondCreate(BaseModel, Spec[GroupRow]):
            domain_name: str
            name: str

        model = SecondCreate
    body = {"domain_name": "a", "name": "x"}
    assert values_of(model.model_validate(body)) == body
    for extra in ({"id": 7}, {"deleted_at": None}, {"is_admin": True}):
        with pytest.raises(pydantic.ValidationError, match="extra"):
            model.model_validate(body | extra)


def test_a_pydantic_spec_may_say_otherwise() -> None:
    """Extra fields that a model ignores or allows are not written either."""
    for extra in ("ignore", "allow"):

        class LooseCreate(BaseModel, Spec[GroupRow]):
            model_config = ConfigDict(extra=extra, frozen=True)

            domain_name: str
            name: str

        made = LooseCreate.model_validate({"domain_name": "a", "name": "x", "id": 7})
        assert values_of(made) == {"domain_name": "a", "name": "x"}


def test_a_pydantic_patch() -> None:
    """Absent is nop, null is nullify, an unknown field is refused."""

    class JsonPatch(BaseModel, Patch[GroupRow]):
        name: OptionalState[str] = OptionalState.nop()
        note: TriState[str] = TriState.nop()

    assert values_of(JsonPatch.model_validate_json("{}")) == {}
    assert values_of(JsonPatch.model_validate_json('{"name": "x", "note": null}')) == {"name": "x", "note": None}
    for body in ('{"name": null}', '{"size": 5}'):
        with pytest.raises(pydantic.ValidationError):
            JsonPatch.model_validate_json(body)


def test_what_is_no_spec_of_this_row() -> None:
    """Another row's spec, or an object that is none, is refused with both names."""
    with pytest.raises(MappingError, match="MemberCreate is for MemberRow, not for GroupRow"):
        values_of(MemberCreate(1, "x"))
    with pytest.raises(
        MappingError, match=r"dict cannot be written: give an instance of a class that inherits Patch\[GroupRow\]"
    ):
        values_of({"name": "x"})


def test_what_is_no_patch_among_others_is_told_by_its_index() -> None:
    """That is the place in the caller's input of the first one that is none."""
    patches: list[Any] = [GroupPatch(), None, MemberCreate(1, "x"), None]
    with pytest.raises(MappingError, match="the patch at index 7: NoneType cannot be written"):
        all_belong(patches, INFO, Patch, [5, 7, 9, 11])
    with pytest.raises(MappingError, match="the patch at index 9: MemberCreate is a Spec, which creates a row"):
        all_belong(patches[2:], INFO, Patch, [9, 11])
    all_belong(patches[:1], INFO, Patch, [5])


def test_an_overridden_to_values_takes_nothing() -> None:
    """One that needs an argument could never be called."""
    for base in (Spec[GroupRow], Patch[GroupRow]):
        with pytest.raises(
            MappingError, match=r"Wrong.to_values is called without arguments: write def to_values\(self\)"
        ):

            class Wrong(base):
                def to_values(self, extra: int) -> Mapping[str, Any]:  # type: ignore[override]
                    return {}


def test_overridden_to_values() -> None:
    """Where names alone don't do, to_values decides; what it names is checked at each call instead."""

    @dataclass(frozen=True)
    class TitleCreate(Spec[GroupRow]):
        title: str

        def to_values(self) -> Mapping[str, Any]:
            domain, _, name = self.title.partition("/")
            return {"domain_name": domain, "name": name}

    @dataclass(frozen=True)
    class TitlePatch(Patch[GroupRow]):
        title: OptionalState[str] = OptionalState.nop()

        def to_values(self) -> Mapping[str, Any]:
            return {"nmae": 1}

    assert values_of(TitleCreate("a/x")) == {"domain_name": "a", "name": "x"}
    with pytest.raises(MappingError, match=r"TitlePatch.nmae is no column of GroupRow; did you mean 'name'"):
        values_of(TitlePatch())
    with pytest.raises(InvalidValue, match=r"GroupRow.name"):
        values_of(TitleCreate("a/\x00"))


class TextEnum(enum.StrEnum):
    ONE = "one"


class TreeBase(DeclarativeBase):
    pass


class TreeRow(TreeBase):
    """Texts of enums, a value object over two columns, attributes named otherwise than their columns."""

    __tablename__ = "trees"

    id: Mapped[int] = mapped_column("tree_id", primary_key=True)
    state: Mapped[str] = mapped_column("tree_state")
    low: Mapped[int] = mapped_column("from_m")
    high: Mapped[int] = mapped_column("to_m")
    notes: Mapped[Any | None] = mapped_column(sa.JSON)


@dataclass(frozen=True)
class Span:
    low: int
    high: int


@dataclass(frozen=True)
class TreeData:
    id: int
    state: TextEnum
    span: Span


@dataclass(frozen=True)
class TreeCreate(Spec[TreeRow]):
    state: TextEnum
    span: Span

    def to_values(self) -> Mapping[str, Any]:
        return {"state": self.state.value, "low": self.span.low, "high": self.span.high}


@dataclass(frozen=True)
class TreePatch(Patch[TreeRow]):
    span: OptionalState[Span] = OptionalState.nop()

    def to_values(self) -> Mapping[str, Any]:
        span = self.span.value
        return {} if not isinstance(span, Span) else {"low": span.low, "high": span.high}


class TreeRepository(Repository[TreeRow, TreeData, int]):
    def to_data(self, row: TreeRow) -> TreeData:
        return TreeData(row.id, TextEnum(row.state), Span(row.low, row.high))


@pytest.fixture
async def trees(any_tables: WithTables) -> AsyncIterator[TreeRepository]:
    async with any_tables(TreeRow) as db:
        yield TreeRepository(db)


async def test_all_operations_go_through_to_values_and_to_data(trees: TreeRepository) -> None:
    """An enum kept as text and a value object over two columns come back as they went, from every operation."""
    made = await trees.create(TreeCreate(TextEnum.ONE, Span(1, 2)))
    assert made == TreeData(1, TextEnum.ONE, Span(1, 2))
    wider = await trees.update(1, TreePatch(OptionalState.update(Span(3, 4))))
    assert wider.span == Span(3, 4)
    assert await trees.update(1, TreePatch()) == await trees.get(1) == await trees.find(1) == wider
    assert (await trees.search(orders=[TreeRow.low.desc()])).items == (wider,)
    assert [item async for item in trees.stream()] == await trees.batch_get([1]) == [wider]
    assert await trees.purge(1) == wider


def test_a_relationship_may_be_a_field_of_a_tree_of_specs() -> None:
    """A field that names a relationship is known as one, and is not among the row's own values."""

    class ParentRow(TreeBase):
        __tablename__ = "parents"

        id: Mapped[int] = mapped_column(primary_key=True)
        children: Mapped[list[Any]] = relationship("ChildRow")

    class ParentCreate(Spec[ParentRow]):
        children: tuple[Any, ...]

    assert ParentCreate.__rowsmith_children__ == ("children",)
    assert ParentCreate.__rowsmith_fields__ == ()


def test_a_dataclass_stays_a_dataclass() -> None:
    """The bases add no fields, and frozen specs compare and print as usual."""
    assert [entry.name for entry in dataclasses.fields(GroupCreate)] == ["domain_name", "name", "size", "note"]
    assert GroupCreate("a", "x") == GroupCreate("a", "x")
    assert WideCreate().document is None
    assert Base.metadata is GroupRow.metadata
