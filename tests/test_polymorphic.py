"""What tells classes apart, in all the ways that SQLAlchemy knows; and tables that two classes are mapped to."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column

from rowsmith import (
    Database,
    EntityNotFound,
    InvalidValue,
    MappingError,
    NoPagination,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    Spec,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


@dataclass(frozen=True)
class PetData:
    id: int
    name: str


class Kind(enum.Enum):
    PET = "pet"
    CAT = "cat"
    LION = "lion"


class PetRow(Base):
    """An abstract class at the root, told by an enum; a cat has a table of its own, and a lion shares it."""

    __tablename__ = "pets"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_abstract": True, "with_polymorphic": "*"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[Kind] = mapped_column(sa.Enum(Kind, name="pet_kind"))
    name: Mapped[str] = mapped_column(server_default="nobody")


class FishRow(PetRow):
    __mapper_args__ = {"polymorphic_identity": Kind.PET}


class CatRow(PetRow):
    __tablename__ = "cats"
    __mapper_args__ = {"polymorphic_identity": Kind.CAT, "eager_defaults": True}

    cat_id: Mapped[int] = mapped_column(sa.ForeignKey("pets.id"), primary_key=True)
    lives: Mapped[int] = mapped_column(server_default="9")


class LionRow(CatRow):
    __mapper_args__ = {"polymorphic_identity": Kind.LION}


@dataclass(frozen=True)
class CatData(PetData):
    kind: Kind
    lives: int


@dataclass(frozen=True)
class PetCreate(Spec[PetRow]):
    kind: Kind


@dataclass(frozen=True)
class FishCreate(Spec[FishRow]):
    id: int


@dataclass(frozen=True)
class CatCreate(Spec[CatRow]):
    kind: Kind = Kind.CAT


@dataclass(frozen=True)
class Kindless(Spec[PetRow]):
    name: str

    def to_values(self) -> dict[str, Any]:
        return {"name": self.name}


@dataclass(frozen=True)
class CatPatch(Patch[CatRow]):
    kind: OptionalState[Kind] = OptionalState.nop()
    lives: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class PetPatch(Patch[PetRow]):
    name: OptionalState[str] = OptionalState.nop()


class PetRepository(Repository[PetRow, PetData, int]):
    pass


class PetRowRepository(Repository[PetRow]):
    pass


class FishRepository(Repository[FishRow, PetData, int]):
    pass


class CatRepository(Repository[CatRow, CatData, int]):
    pass


class LionRepository(Repository[LionRow, CatData, int]):
    pass


async def test_an_enum_tells_and_the_root_is_abstract(any_tables: WithTables) -> None:
    """The root makes no row of its own; a subclass that shares its parent's tables can be named in a spec or patch."""
    async with any_tables(PetRow, CatRow) as db:
        cats, lions, pets = CatRepository(db), LionRepository(db), PetRepository(db)
        cat = await cats.create(CatCreate())
        assert cat == CatData(cat.id, "nobody", Kind.CAT, 9)
        lion = await cats.create(CatCreate(Kind.LION))
        assert [item.id for item in (await lions.search()).items] == [lion.id]
        assert (await lions.update(lion.id, lives(7))).lives == 7
        with pytest.raises(EntityNotFound):
            await lions.update(cat.id, lives(7))
        promoted = await cats.update(cat.id, CatPatch(kind=OptionalState.update(Kind.LION)))
        assert (await lions.get(cat.id)) == promoted
        for wrong in (cats.create(CatCreate(Kind.PET)), cats.update(cat.id, CatPatch(OptionalState.update(Kind.PET)))):
            with pytest.raises(InvalidValue, match="of another class"):
                await wrong
        with pytest.raises(InvalidValue, match="of another class"):
            await pets.create(PetCreate(Kind.CAT))
        for abstract in (pets.create(Kindless("x")), pets.batch_create([Kindless("x")])):
            with pytest.raises(MappingError, match="PetRow is polymorphic_abstract"):
                await abstract
        fish = await FishRepository(db).create(FishCreate(9))
        assert [item.id for item in (await pets.search(None, None, NoPagination())).items] == [cat.id, lion.id, fish.id]
        rows = await PetRowRepository(db).batch_get([cat.id, lion.id, fish.id])
        assert [type(row) for row in rows] == [LionRow, LionRow, FishRow]
        assert (await pets.update(cat.id, PetPatch(OptionalState.update("leo")))).name == "leo"
        assert (await pets.purge(cat.id)).name == "leo"
        assert (await pets.purge_where([], all_rows=True)).rows == 2
        assert await cats.count() == await pets.count() == 0


def lives(number: int) -> Any:
    return CatPatch(lives=OptionalState.update(number))


class BoxRow(Base):
    """A row whose class follows from an expression that is an attribute too; large ones have a table of their own."""

    __tablename__ = "boxes"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column()
    label: Mapped[str] = mapped_column(server_default="box")
    kind: Mapped[str] = column_property(sa.case((size > 5, "large"), else_="small"))
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "small"}


class LargeBoxRow(BoxRow):
    __tablename__ = "large_boxes"
    __mapper_args__ = {"polymorphic_identity": "large"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("boxes.id"), primary_key=True)


@dataclass(frozen=True)
class BoxData:
    id: int
    size: int
    label: str


@dataclass(frozen=True)
class BoxCreate(Spec[BoxRow]):
    id: int
    size: int


@dataclass(frozen=True)
class BoxPatch(Patch[BoxRow]):
    size: OptionalState[int] = OptionalState.nop()
    label: OptionalState[str] = OptionalState.nop()


class BoxRepository(Repository[BoxRow, BoxData, int]):
    pass


class LargeBoxRepository(Repository[LargeBoxRow, BoxData, int]):
    pass


async def test_an_expression_tells_and_the_tables_agree_with_it(any_tables: WithTables) -> None:
    """A row whose values say another class than its tables is undone, and no write brings that about later."""
    async with any_tables(BoxRow, LargeBoxRow) as db:
        boxes, large = BoxRepository(db), LargeBoxRepository(db)
        made: Any = BoxCreate(1, 9)
        assert await large.create(made) == BoxData(1, 9, "box")
        assert await boxes.create(BoxCreate(2, 3)) == BoxData(2, 3, "box")
        wrong: list[Callable[[], Awaitable[Any]]] = [
            lambda: large.create(any_spec(3, 2)),
            lambda: boxes.create(BoxCreate(3, 8)),
        ]
        for call in wrong:
            with pytest.raises(ScopeMismatch):
                await call()
        with pytest.raises(MappingError, match="batch_create writes to one table"):
            await boxes.batch_create([BoxCreate(3, 8)])
        moved: Any = BoxPatch(size=OptionalState.update(9))
        for move in (large.update(1, moved), boxes.update(2, moved), boxes.update_where([BoxRow.id == 2], moved)):
            with pytest.raises(InvalidValue, match=r"BoxRow\.size says that the row is of another class"):
                await move
        labelled: Any = BoxPatch(label=OptionalState.update("new"))
        assert (await large.update(1, labelled)).label == (await boxes.update(2, labelled)).label == "new"
        assert [item.id for item in (await boxes.search()).items] == [1, 2]
        assert [item.id for item in (await boxes.batch_purge([1, 2])).succeeded] == [1, 2]
        assert await large.count() == 0


def any_spec(id: int, size: int) -> Any:
    return BoxCreate(id, size)


class AnimalRow(Base):
    __tablename__ = "animals"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]


class HorseRow(AnimalRow):
    __tablename__ = "horses"
    __mapper_args__ = {"polymorphic_identity": "horse", "concrete": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@dataclass(frozen=True)
class AnimalCreate(Spec[AnimalRow]):
    id: int
    name: str


@dataclass(frozen=True)
class HorseCreate(Spec[HorseRow]):
    id: int
    name: str


@dataclass(frozen=True)
class HorsePatch(Patch[HorseRow]):
    name: OptionalState[str] = OptionalState.nop()


class AnimalRepository(Repository[AnimalRow, PetData, int]):
    pass


class HorseRepository(Repository[HorseRow, PetData, int]):
    pass


async def test_a_concrete_class_has_its_table_to_itself(any_tables: WithTables) -> None:
    """Its rows are none of the class's above, and everything is done to them as to rows that inherit nothing."""
    async with any_tables(AnimalRow, HorseRow) as db:
        animals, horses = AnimalRepository(db), HorseRepository(db)
        await animals.create(AnimalCreate(1, "animal"))
        assert await horses.create(HorseCreate(1, "horse")) == PetData(1, "horse")
        assert len(await horses.batch_create([HorseCreate(2, "b"), HorseCreate(3, "c")])) == 2
        assert (await horses.upsert(HorseCreate(3, "d"))).data == PetData(3, "d")
        assert (await horses.update(1, HorsePatch(OptionalState.update("z")))).name == "z"
        assert [item.name for item in (await horses.search(orders=[HorseRow.name])).items] == ["b", "d", "z"]
        assert (await animals.search()).items == (PetData(1, "animal"),)
        assert (await animals.purge_where([], all_rows=True)).rows == 1
        assert (await horses.purge_where([HorseRow.id > 1])).rows == 2
        assert await horses.purge(1) == PetData(1, "z")


class PaperRow(Base):
    __tablename__ = "papers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(server_default="paper")
    pages: Mapped[int] = mapped_column(server_default="1")


class PaperNameRow(Base):
    """The same table once more, of which this class knows the half."""

    __table__ = PaperRow.__table__
    __mapper_args__ = {"include_properties": ["id", "name"]}

    id: Mapped[int]
    name: Mapped[str]


@dataclass(frozen=True)
class PaperCreate(Spec[PaperRow]):
    id: int


@dataclass(frozen=True)
class NamePatch(Patch[PaperNameRow]):
    name: OptionalState[str] = OptionalState.nop()


class PaperRepository(Repository[PaperRow]):
    pass


class PaperNameRepository(Repository[PaperNameRow, PetData, int]):
    pass


async def test_two_classes_of_one_table_share_its_rows(any_tables: WithTables) -> None:
    """Neither inherits, so each row is a row of both; the session's objects of the other class are its own affair."""
    async with any_tables(PaperRow) as db:
        await two_views(db)


async def two_views(db: Database) -> None:
    papers, names = PaperRepository(db), PaperNameRepository(db)
    await papers.batch_create([PaperCreate(1), PaperCreate(2)])
    assert await names.update(1, NamePatch(OptionalState.update("new"))) == PetData(1, "new")
    assert (await papers.get(1)).name == "new"
    with pytest.raises(Exception, match="refers to another table"):
        await names.search(None, [AnimalRow.name == "x"])
    assert [item.id for item in (await names.search(None, [PaperRow.pages == 1])).items] == [1, 2]
    assert (await names.purge_where([PaperNameRow.name == "new"])).rows == 1
    assert [row.id for row in (await papers.search()).items] == [2]
