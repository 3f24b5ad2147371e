"""Annotations: a field is what its annotation says, wherever that was written, or its class is refused."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Optional, TypeAlias, TypeVar

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, synonym
from typing_extensions import TypeAliasType

from rowsmith import Expr, MappingError, OptionalState, Patch, Repository, Spec, TriState, count
from rowsmith.database import Database
from rowsmith.filters import Filter, On, OrderBy, StringFilter
from rowsmith.mapping import data_shape, row_info
from rowsmith.testing import WithTables

if TYPE_CHECKING:
    from decimal import Decimal as Cents

T = TypeVar("T")


class Base(DeclarativeBase):
    pass


class DishRow(Base):
    __tablename__ = "dishes"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]
    title: Mapped[str] = mapped_column("the_title")
    _pin: Mapped[str | None] = mapped_column("pin")
    title_too = synonym("title")
    sides: Mapped[list[SideRow]] = relationship(back_populates="dish")


class SideRow(Base):
    __tablename__ = "sides"
    id: Mapped[int] = mapped_column(primary_key=True)
    dish_id: Mapped[int] = mapped_column(sa.ForeignKey("dishes.id"))
    dish: Mapped[DishRow] = relationship(back_populates="sides")


Dear = TypeAliasType("Dear", Annotated[int, Expr(DishRow.price * 100)])
Marked = TypeAliasType("Marked", Annotated[T, Expr(DishRow.price * 100)], type_params=(T,))
Again = TypeAliasType("Again", Dear)
Old: TypeAlias = Annotated[int, Expr(DishRow.price * 100)]


@dataclass(frozen=True)
class ByAlias:
    price: Dear


@dataclass(frozen=True)
class ByGenericAlias:
    price: Marked[int]


@dataclass(frozen=True)
class ByAliasOfAlias:
    price: Annotated[Again, "a note"]


@dataclass(frozen=True)
class ByOldAlias:
    price: Old


@dataclass(frozen=True)
class InUnion:
    price: Dear | None


@dataclass(frozen=True)
class InOptional:
    price: Optional[Annotated[int, Expr(DishRow.price * 100)]]  # noqa: UP045


@dataclass(frozen=True)
class InFinal:
    price: Final[Dear]  # type: ignore[misc]


@dataclass(frozen=True)
class Named:
    int: str
    price: Annotated[int, Expr(DishRow.price * 100)]


class AliasModel(BaseModel):
    price: Dear


class UnionModel(BaseModel):
    price: Dear | None


@dataclass(frozen=True)
class DishCreate(Spec[DishRow]):
    price: int
    title: str
    _pin: str | None = None


MARKED = [ByAlias, ByGenericAlias, ByAliasOfAlias, ByOldAlias, InUnion, InOptional, InFinal, AliasModel, UnionModel]


@pytest.mark.parametrize("into", MARKED)
async def test_a_mark_counts_through_aliases_and_unions(any_tables: WithTables, into: type[Any]) -> None:
    """An ``Expr`` is found in whatever form ``Annotated`` is written; the plain column would be another value."""
    async with any_tables(DishRow, SideRow) as db:
        dishes = repository(DishRow, into, db)
        assert (await dishes.create(DishCreate(3, "soup"))).price == 300
        (found,) = await dishes.search()
        assert (found.price, (await dishes.get(1)).price) == (300, 300)


def repository(row: type[Any], into: type[Any], db: Database) -> Repository[Any, Any, int]:
    made: Any = types.new_class("Made", (Repository.__class_getitem__((row, into, int)),))  # type: ignore[index]
    return made(db)


async def test_a_row_and_data_class_of_a_function(any_tables: WithTables) -> None:
    """Names that are local to a function are found while it runs."""

    class LocalBase(DeclarativeBase):
        pass

    class LocalRow(LocalBase):
        __tablename__ = "local_dishes"
        id: Mapped[int] = mapped_column(primary_key=True)
        price: Mapped[int]

    Local = TypeAliasType("Local", Annotated[int, Expr(LocalRow.price * 10)])  # noqa: N806

    @dataclass(frozen=True)
    class LocalData:
        price: Annotated[int, Expr(LocalRow.price * 100)]
        id: Local  # type: ignore[valid-type]

    @dataclass(frozen=True)
    class LocalCreate(Spec[LocalRow]):
        price: int

    async with any_tables(LocalRow) as db:
        dishes = repository(LocalRow, LocalData, db)
        assert await dishes.create(LocalCreate(3)) == LocalData(300, 30)  # type: ignore[arg-type]


def test_a_name_for_type_checkers_alone_is_refused() -> None:
    """Nobody can tell what ``Annotated`` it may be in: the error comes when the repository is made, and names it."""

    @dataclass(frozen=True)
    class Imported:
        price: Annotated[Cents, Expr(DishRow.price * 100)]

    class ImportedModel(BaseModel):
        price: Annotated[Cents, Expr(DishRow.price * 100)]

    for into in (Imported, ImportedModel):
        with pytest.raises(MappingError, match=r"\.price cannot be resolved .* outside of TYPE_CHECKING"):
            _ = data_shape(row_info(DishRow), into).layout


def test_a_mark_that_would_mark_nothing_is_refused() -> None:
    """Inside of another type an ``Expr`` says nothing about the field; two of them contradict each other."""

    @dataclass(frozen=True)
    class Buried:
        price: list[Annotated[int, Expr(DishRow.price * 100)]]

    @dataclass(frozen=True)
    class Twice:
        price: Annotated[Annotated[int, Expr(DishRow.price * 100)], count()]

    with pytest.raises(MappingError, match="stands inside of"):
        data_shape(row_info(DishRow), Buried)
    with pytest.raises(MappingError, match=r"Twice.price is computed in 2 ways"):
        data_shape(row_info(DishRow), Twice)


def test_a_field_called_like_a_type() -> None:
    """The module's name counts in an annotation, not the class's own attribute of that name."""
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\nimport datetime as price\n"
    source += "@dataclass(frozen=True)\nclass Shadowed:\n    price: price.date | None = None\n"
    module = types.ModuleType("shadowed")
    sys.modules["shadowed"] = module
    try:
        exec(source, vars(module))  # noqa: S102
        from rowsmith.mapping.annotations import annotation, options

        kind, _ = annotation(module.Shadowed, "price")
        assert [str(one) for one in options(kind)] == ["<class 'datetime.date'>", "<class 'NoneType'>"]
    finally:
        del sys.modules["shadowed"]


NoteState = TypeAliasType("NoteState", TriState[str])
NameFilter = TypeAliasType("NameFilter", Annotated[StringFilter | None, On(DishRow.title)])
Sorted = TypeAliasType("Sorted", Literal["price"])


def test_states_filters_and_orders_by_alias() -> None:
    """What may stand in a patch, a filter or an order may stand there under another name."""

    @dataclass(frozen=True)
    class PinPatch(Patch[DishRow]):
        _pin: NoteState = TriState.nop()
        price: OptionalState[Cents] = OptionalState.nop()

    with pytest.raises(MappingError, match=r"title is a TriState, but DishRow.title is NOT NULL"):

        class WrongPatch(Patch[DishRow]):
            title: NoteState

    class DishFilter(Filter[DishRow]):
        name: NameFilter = None

    class DishOrder(OrderBy[DishRow]):
        field: Sorted

    wanted = DishFilter(name=StringFilter(equals="x"))
    assert "the_title" in str(wanted.to_conditions()[0])
    assert list(DishOrder.sorted_by) == ["price"]
    assert PinPatch(_pin=TriState.update("1")).to_values() == {"_pin": "1"}


@dataclass(frozen=True)
class PinData:
    _pin: str | None
    title_too: str


@dataclass(frozen=True)
class PinPatch(Patch[DishRow]):
    _pin: TriState[str] = TriState.nop()


async def test_an_attribute_that_begins_with_an_underscore_is_written(any_tables: WithTables) -> None:
    """In a spec, a patch and an upsert, one or many; a synonym is read as what it is a name for."""
    async with any_tables(DishRow, SideRow) as db:
        dishes = repository(DishRow, PinData, db)
        assert await dishes.create(DishCreate(1, "a", "1")) == PinData("1", "a")
        created = await dishes.batch_create([DishCreate(1, "b", "2"), DishCreate(1, "c", "3")])
        assert created == [PinData("2", "b"), PinData("3", "c")]
        assert await dishes.update(1, PinPatch(TriState.update("4"))) == PinData("4", "a")
        each = await dishes.batch_update_each({2: PinPatch(TriState.update("5")), 3: PinPatch(TriState.update("6"))})
        assert each.succeeded == [PinData("5", "b"), PinData("6", "c")]
        assert [item._pin for item in await dishes.search(orders=[DishRow.id])] == ["4", "5", "6"]


class PinRow(Base):
    __tablename__ = "pins_of_dishes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    _pin: Mapped[str] = mapped_column("pin")
    _note: Mapped[str | None] = mapped_column("note")


@dataclass(frozen=True)
class Pin(Spec[PinRow]):
    id: int
    _pin: str
    _note: str | None = None


@dataclass(frozen=True)
class PinOut:
    id: int
    _pin: str
    _note: str | None


@dataclass(frozen=True)
class PinChange(Patch[PinRow]):
    _pin: OptionalState[str] = OptionalState.nop()
    _note: TriState[str] = TriState.nop()


async def test_so_is_one_that_is_not_null(any_tables: WithTables) -> None:
    """In upserts, loads and what is written by conditions, too."""
    async with any_tables(PinRow) as db:
        pins = repository(PinRow, PinOut, db)
        assert await pins.create(Pin(1, "a", "x")) == PinOut(1, "a", "x")
        assert (await pins.upsert(Pin(1, "b"))).data == PinOut(1, "b", None)
        put = await pins.batch_upsert([Pin(1, "c"), Pin(2, "d", "y")])
        assert [item.data for item in put.succeeded] == [PinOut(1, "c", None), PinOut(2, "d", "y")]
        assert await pins.load([Pin(3, "e")]) == 1
        await pins.update_where([PinRow.id > 1], PinChange(OptionalState.update("z"), TriState.nullify()))
        found = list(await pins.search(orders=[PinRow.id]))
        assert found == [PinOut(1, "c", None), PinOut(2, "z", None), PinOut(3, "z", None)]


def test_what_pydantic_takes_for_private_is_refused() -> None:
    """A field that could never be given would silently not be written, read or searched."""
    with pytest.raises(MappingError, match=r"PinModel._pin would not be written"):

        class PinModel(BaseModel, Spec[DishRow]):
            price: int
            title: str
            _pin: str | None = None

    class PinRead(BaseModel):
        id: int
        _pin: str | None = None

    with pytest.raises(MappingError, match=r"PinRead._pin is no field"):
        data_shape(row_info(DishRow), PinRead)
    with pytest.raises(MappingError, match=r"PinFilter._pin is no field"):

        class PinFilter(Filter[DishRow]):
            _pin: StringFilter | None = None


def test_a_synonym_is_written_under_the_name_of_its_column() -> None:
    """The message says which that is; a misspelt private name is no private matter."""
    with pytest.raises(MappingError, match=r"title_too is no column of DishRow; it is another name of 'title'"):

        class SynonymCreate(Spec[DishRow], filled={"title"}):
            price: int
            title_too: str

    with pytest.raises(MappingError, match=r"_pim is no column of DishRow; did you mean '_pin'"):

        class MisspeltPatch(Patch[DishRow]):
            _pim: TriState[str]


class TotalRow(Base):
    __tablename__ = "totals"
    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    net: Mapped[int]
    gross: Mapped[int] = mapped_column(sa.Computed("net * 2"))


def test_what_only_the_database_writes_is_no_field_of_a_spec_or_patch() -> None:
    """A computed column, and one that is always numbered; said when the class is made, or when values are given."""
    for name in ("gross", "id"):
        for base, kind in ((Spec[TotalRow], int), (Patch[TotalRow], OptionalState[int])):
            with pytest.raises(MappingError, match=rf"Wrong.{name} cannot be written: .*leave it out"):
                types.new_class("Wrong", (base,), exec_body=_annotated(net=kind, **{name: kind}))
    with pytest.raises(MappingError, match=r"gross cannot be written"):
        types.new_class("Wrong", (Spec[TotalRow],), {"filled": {"gross"}}, _annotated(net=int))


def _annotated(**fields: Any) -> Any:
    return lambda namespace: namespace.update(__annotations__=fields, __module__=__name__)


@dataclass(frozen=True)
class OwnTotal(Spec[TotalRow]):
    net: int

    def to_values(self) -> dict[str, Any]:
        return {"net": self.net, "gross": 1}


@pytest.mark.parametrize("verb", ["create", "upsert"])
async def test_values_of_ones_own_cannot_name_it_either(any_tables: WithTables, verb: str) -> None:
    """One or many, the answer is the same and nothing is sent."""
    async with any_tables(TotalRow) as db:
        totals = repository(TotalRow, TotalRow, db)
        for call in (getattr(totals, verb)(OwnTotal(1)), getattr(totals, f"batch_{verb}")([OwnTotal(1)])):
            with pytest.raises(MappingError, match=r"gross.? cannot be written"):
                await call
        assert await totals.count() == 0
