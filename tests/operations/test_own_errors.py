"""What a type or a spec raises itself: a type's error is named and quotes nothing, a spec's passes as it is."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from rowsmith import BatchCreator, InvalidValue, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class Code(TypeDecorator[str]):
    """Text that must not begin with an x."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is not None and value.startswith("x"):
            raise ValueError(f"bad {value}")
        return value


class PartRow(Base):
    __tablename__ = "parts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(Code)
    box_id: Mapped[int | None] = mapped_column(sa.ForeignKey("boxes.id"))


class BoxRow(Base):
    __tablename__ = "boxes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]

    parts: Mapped[list[PartRow]] = relationship(viewonly=True)


@dataclass(frozen=True)
class PartData:
    id: int
    code: str


@dataclass(frozen=True)
class PartCreate(Spec[PartRow]):
    id: int
    code: str


@dataclass(frozen=True)
class PartPatch(Patch[PartRow]):
    code: OptionalState[str] = OptionalState.nop()


class Parts(Repository[PartRow, PartData, int]):
    pass


class Boxes(Repository[BoxRow, BoxRow, int]):
    pass


SPECS = [PartCreate(11, "a"), PartCreate(12, "xsecret"), PartCreate(13, "b")]
BAD = PartPatch(OptionalState.update("xsecret"))
WRITES: dict[str, tuple[str, Callable[[Parts], Awaitable[Any]]]] = {
    "create": ("", lambda parts: parts.create(SPECS[1])),
    "batch_create": ("spec at index 1: ", lambda parts: parts.batch_create(SPECS)),
    "load": ("spec at index 1: ", lambda parts: parts.load(SPECS)),
    "upsert": ("spec at index 0: ", lambda parts: parts.upsert(SPECS[1])),
    "batch_upsert": ("spec at index 1: ", lambda parts: parts.batch_upsert(SPECS)),
    "update": ("", lambda parts: parts.update(1, BAD)),
    "batch_update": ("", lambda parts: parts.batch_update([1, 2], BAD)),
    "update_where": ("", lambda parts: parts.update_where([PartRow.id > 0], BAD)),
    "batch_update_each": (
        "patch at index 1: ",
        lambda parts: parts.batch_update_each({2: PartPatch(OptionalState.update("c")), 1: BAD}),
    ),
}


async def test_a_value_that_its_type_refuses_is_named_and_not_quoted(any_tables: WithTables) -> None:
    """Every verb in every lane says the index and the column, and nothing of what the type raised."""
    async with any_tables(BoxRow, PartRow) as db:
        parts = Parts(db)
        await parts.batch_create([PartCreate(1, "one"), PartCreate(2, "two")])
        for where, write in WRITES.values():
            with pytest.raises(InvalidValue) as caught:
                await write(parts)
            assert f"{where}PartRow.code" in str(caught.value)
            assert "secret" not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
            assert caught.value.__context__ is caught.value.__cause__ is None
        assert [item.code for item in (await parts.search(orders=[PartRow.id])).items] == ["one", "two"]


async def test_an_item_of_a_partial_batch_fails_with_what_its_type_refuses(any_tables: WithTables) -> None:
    """The others are written."""
    async with any_tables(BoxRow, PartRow) as db:
        parts = Parts(db)
        made = await parts.batch_create_partial(SPECS)
        assert [failure.index for failure in made.failed] == [1]
        assert [item.id for item in made.data] == [11, 13]
        changed = await parts.batch_update_partial({13: BAD, 11: PartPatch(OptionalState.update("c"))})
        assert ([failure.index for failure in changed.failed], changed.data) == ([0], [PartData(11, "c")])
        errors = [failure.error for failure in (*made.failed, *changed.failed)]
        assert all(type(error) is InvalidValue and "secret" not in repr(error) for error in errors)


class Mine(UnicodeError):
    """An application's own error, of a kind that drivers raise too."""


def values_of(code: str, **others: Any) -> dict[str, Any]:
    if code == "mine":
        raise Mine(code)
    return {"code": code, **others}


@dataclass(frozen=True)
class OwnCreate(Spec[PartRow]):
    id: int
    code: str

    def to_values(self) -> Mapping[str, Any]:
        return values_of(self.code, id=self.id)


@dataclass(frozen=True)
class OwnPatch(Patch[PartRow]):
    code: OptionalState[str] = OptionalState.nop()

    def to_values(self) -> Mapping[str, Any]:
        return values_of(str(self.code.to_value()))


@dataclass(frozen=True)
class BoxCreate(Spec[BoxRow]):
    id: int
    name: str
    parts: tuple[OwnCreate, ...] = ()


async def test_what_a_spec_raises_itself_passes_unchanged(any_tables: WithTables) -> None:
    """In the second block of a COPY, too, which is read while the first one is on its way."""
    specs = [OwnCreate(place, "mine" if place == 1500 else "fine") for place in range(2000)]
    async with any_tables(BoxRow, PartRow) as db:
        parts = Parts(db)
        for write in (parts.batch_create, parts.load, parts.batch_upsert):
            with pytest.raises(Mine, match=r"^mine$"):
                await write(specs)
        for single in (parts.create, parts.upsert):
            with pytest.raises(Mine, match=r"^mine$"):
                await single(specs[1500])
        assert await parts.count() == 0


async def test_an_item_whose_own_values_fail_fails_alone(any_tables: WithTables) -> None:
    """One of four specs, of patches, and of trees, with the error that it raised."""
    async with any_tables(BoxRow, PartRow) as db:
        parts = Parts(db)
        made = await parts.batch_create_partial([OwnCreate(n, "mine" if n == 2 else "fine") for n in range(4)])
        assert [(item.index, type(item.error)) for item in made.failed] == [(2, Mine)]
        assert [item.id for item in made.data] == [0, 1, 3]
        changed = await parts.batch_update_partial(
            {n: OwnPatch(OptionalState.update("mine" if n == 1 else "new")) for n in (0, 1, 3)}
        )
        assert [(item.index, type(item.error)) for item in changed.failed] == [(1, Mine)]
        assert changed.data == [PartData(0, "new"), PartData(3, "new")]
        trees = [BoxCreate(1, "a", (OwnCreate(7, "fine"),)), BoxCreate(2, "b", (OwnCreate(8, "mine"),))]
        grown = await Boxes(db).batch_create_partial(trees)
        assert [(item.index, type(item.error)) for item in grown.failed] == [(1, Mine)]
        assert [item.index for item in grown.succeeded] == [0]
        async with db.begin_session() as db_sess:
            assert await BatchCreator(PartRow).load(db_sess, [OwnCreate(20, "fine")]) == 1
