"""What a type or the application raises: a type's error is named and quotes nothing, all others pass as they are."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from rowsmith import (
    BatchCreator,
    DatabaseUnavailable,
    DeadlockDetected,
    InvalidValue,
    MappingError,
    OptionalState,
    PartialResult,
    Patch,
    RefusedByTrigger,
    Repository,
    RepositoryError,
    Spec,
)
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
    "upsert": ("", lambda parts: parts.upsert(SPECS[1])),
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


class TooShort(InvalidValue):
    """An application's own class, and words."""


@pytest.mark.parametrize(
    "error, words",
    [
        (InvalidValue("a code is long"), "the {noun} at index {index}: a code is long"),
        (InvalidValue.at(7, "a code is long"), "the {noun} at index {index}: a code is long"),
        (TooShort("a code is long"), "a code is long"),
    ],
    ids=["plain", "of another batch", "own class"],
)
async def test_an_invalid_value_that_an_item_raises_is_told_by_its_index(
    any_tables: WithTables, monkeypatch: pytest.MonkeyPatch, error: InvalidValue, words: str
) -> None:
    """As one that rowsmith finds is; an application's own class keeps its words."""
    async with any_tables(BoxRow, WeightRow) as db:
        weights = Weights(db)
        await weights.batch_create([WeightCreate(n, "old") for n in (-2, -1)])
        monkeypatch.setattr(Raising, "error", error)
        specs = [WeightCreate(n, "to_values" if n == 2 else "fine") for n in range(3)]
        patches = {n: WeightPatch(OptionalState.update("to_values" if n == -1 else "new")) for n in (-2, -1)}
        calls: dict[str, tuple[int, Awaitable[Any]]] = {
            **{verb.__name__: (2, verb(specs)) for verb in (weights.batch_create, weights.load, weights.batch_upsert)},
            "each": (1, weights.batch_update_each(patches)),
        }
        for name, (index, call) in calls.items():
            noun = "patch" if name == "each" else "spec"
            with pytest.raises(type(error)) as caught:
                await call
            assert str(caught.value).endswith(words.format(noun=noun, index=index)), name
            assert caught.value.index == index
        for result, index in (
            (await weights.batch_create_partial(specs), 2),
            (await weights.batch_upsert_partial(specs), 2),
            (await weights.batch_update_partial(patches), 1),
        ):
            assert [(failure.index, failure.error) for failure in result.failed] == [(index, error)]


class Refusal(RepositoryError):
    """A domain's own error, that no constraint stands for."""


ITEMS_OWN = [
    OSError(2, "no such file"),
    TimeoutError("mine"),
    UnicodeError("mine"),
    KeyError("mine"),
    AssertionError("mine"),
    Refusal("mine"),
    ExceptionGroup("mine", [ValueError("one"), ExceptionGroup("two", [InvalidValue("three")])]),
]
ENDS = [
    DatabaseUnavailable("mine"),
    DeadlockDetected("mine"),
    MappingError("mine"),
    MemoryError("mine"),
    ExceptionGroup("mine", [ValueError("one"), DatabaseUnavailable("two")]),
    asyncio.CancelledError(),
    KeyboardInterrupt("mine"),
]


class Raising:
    """Raises an error at one item, wherever an application's code runs."""

    error: BaseException = ValueError()

    @classmethod
    def at(cls, is_bad: bool) -> None:
        if is_bad:
            raise cls.error


def default_weight(context: Any) -> int:
    Raising.at(context.get_current_parameters()["code"] == "default")
    return 1


class WeightRow(Base):
    __tablename__ = "weights"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str]
    weight: Mapped[int] = mapped_column(default=default_weight)


@dataclass(frozen=True)
class WeightCreate(Spec[WeightRow]):
    id: int
    code: str

    def to_values(self) -> Mapping[str, Any]:
        Raising.at(self.code == "to_values")
        return {"id": self.id, "code": self.code}


@dataclass(frozen=True)
class WeightPatch(Patch[WeightRow]):
    code: OptionalState[str] = OptionalState.nop()

    def to_values(self) -> Mapping[str, Any]:
        Raising.at(self.code == OptionalState.update("to_values"))
        return super().to_values()


class Weights(Repository[WeightRow, PartData, int]):
    def to_data(self, row: WeightRow) -> PartData:
        Raising.at(row.code == "to_data")
        return PartData(row.id, row.code)


async def partials(weights: Weights, places: Sequence[str]) -> dict[str, PartialResult[Any]]:
    """Every partial form over four items, of which the third raises at one of the places where it can."""
    results = dict[str, PartialResult[Any]]()
    for number, place in enumerate(places):
        specs = [WeightCreate(10 * number + n, place if n == 2 else "fine") for n in range(4)]
        results[f"create {place}"] = await weights.batch_create_partial(specs)
        results[f"upsert {place}"] = await weights.batch_upsert_partial(specs)
        if place != "default":
            patches = {
                n: WeightPatch(OptionalState.update(place if n == -2 else f"new {number}")) for n in (-4, -3, -2, -1)
            }
            results[f"update {place}"] = await weights.batch_update_partial(patches)
    return results


PLACES = ("to_values", "default", "to_data")


@pytest.mark.parametrize("error", ITEMS_OWN, ids=lambda error: type(error).__name__)
async def test_whatever_an_application_raises_is_one_items_fault(
    any_tables: WithTables, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Out of to_values, a default or to_data, of any class: that item has failed, with that very error."""
    async with any_tables(WeightRow) as db:
        weights = Weights(db)
        await weights.batch_create([WeightCreate(n, "old") for n in (-4, -3, -2, -1)])
        monkeypatch.setattr(Raising, "error", error)
        for name, result in (await partials(weights, PLACES)).items():
            assert [(item.index, item.error is error) for item in result.failed] == [(2, True)], name
            assert [item.index for item in result.succeeded] == [0, 1, 3], name
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.update(WeightRow).where(WeightRow.id == -1).values(code="to_data"))
        purged = await weights.batch_purge_partial([-3, -1, -4])
        assert [(item.index, item.error is error) for item in purged.failed] == [(1, True)]
        assert [item.id for item in purged.data] == [-3, -4]
        assert await weights.count(None, [WeightRow.id < 0]) == 2


@pytest.mark.parametrize("index", [0, 99])
async def test_the_index_in_an_applications_own_error_is_not_believed(
    any_tables: WithTables, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    """It may be of another batch, whose error is passed on."""
    async with any_tables(WeightRow) as db:
        monkeypatch.setattr(Raising, "error", RefusedByTrigger.at(index))
        result = (await partials(Weights(db), ["default"]))["create default"]
        assert [item.index for item in result.failed] == [2]
        assert [item.id for item in result.data] == [0, 1, 3]


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
async def test_what_is_no_items_fault_ends_the_batch(
    any_tables: WithTables, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Infrastructure, a class that is declared wrongly, being cancelled: nothing of the batch is kept."""
    async with any_tables(WeightRow) as db:
        weights = Weights(db)
        await weights.batch_create([WeightCreate(n, "old") for n in (-4, -3, -2, -1)])
        monkeypatch.setattr(Raising, "error", error)
        for place in PLACES:
            with pytest.raises(type(error)):
                await partials(weights, [place])
        assert await weights.count() == 4


class Strict(BaseModel):
    id: int
    code: Annotated[str, Field(max_length=3)]


class BuiltByRowsmith(Repository[PartRow, Strict, int]):
    pass


class BuiltByTheApplication(Repository[PartRow, Strict, int]):
    def to_data(self, row: PartRow) -> Strict:
        return Strict(id=row.id, code=row.code)


async def test_pydantics_complaint_is_its_makers(any_tables: WithTables) -> None:
    """Of data that rowsmith builds it is told without values; out of an application's to_data it passes as it is."""
    async with any_tables(BoxRow, PartRow) as db:
        await Parts(db).create(PartCreate(1, "secret"))
        for kind, expected in ((BuiltByRowsmith, InvalidValue), (BuiltByTheApplication, ValidationError)):
            rows: Repository[PartRow, Strict, int] = kind(db)
            calls: list[Awaitable[Any]] = [
                rows.get(1),
                rows.search(),
                rows.batch_get([1]),
                anext(rows.stream()),
                rows.update(1, PartPatch(OptionalState.update("longer"))),
                rows.batch_update([1], PartPatch(OptionalState.update("longer"))),
                rows.create(PartCreate(2, "longer")),
                rows.batch_create([PartCreate(2, "longer")]),
                rows.upsert(PartCreate(2, "longer")),
                rows.purge(1),
                rows.batch_purge([1]),
            ]
            for call in calls:
                with pytest.raises(expected) as caught:
                    await call
                assert type(caught.value) is expected
            assert await rows.count() == 1
