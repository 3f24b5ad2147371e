"""A contract asks for what its rows can be refused with, and for nothing that no caller could bring about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from contracts import complaints
from rowsmith import (
    CheckViolation,
    Condition,
    EntityAlreadyExists,
    MappingError,
    NextValue,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    SearchScope,
    Spec,
)
from rowsmith.testing import RepositoryContract
from rowsmith.testing.contract.declared import breakable_constraints, check
from tenants import Base


class HouseRow(Base):
    __tablename__ = "breakable_houses"
    name: Mapped[str] = mapped_column(primary_key=True)


class KindRow(Base):
    __tablename__ = "breakable_kinds"
    name: Mapped[str] = mapped_column(primary_key=True)


class BoardRow(Base):
    __tablename__ = "breakable_boards"
    id: Mapped[int] = mapped_column(primary_key=True)
    house: Mapped[str] = mapped_column(sa.ForeignKey(HouseRow.name))


class JobRow(Base):
    __tablename__ = "breakable_jobs"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["house"], ["breakable_houses.name"], name="fk_house"),
        sa.ForeignKeyConstraint(["kind"], ["breakable_kinds.name"], name="fk_kind"),
        sa.ForeignKeyConstraint(["board_id"], ["breakable_boards.id"], name="fk_board"),
        sa.UniqueConstraint("board_id", "number", name="uq_number"),
        sa.UniqueConstraint("board_id", "id", name="uq_place"),
        sa.UniqueConstraint("house", "title", name="uq_title"),
        sa.Index("uq_short", "short", "house", unique=True),
        sa.CheckConstraint(sa.column("rank") > 0, name="ck_rank"),
        sa.CheckConstraint(sa.column("number") > 0, name="ck_number"),
        sa.CheckConstraint("length(title) < 90", name="ck_words"),
    )

    id: Mapped[int] = mapped_column(autoincrement=True)
    house: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="plain")
    board_id: Mapped[int]
    number: Mapped[int]
    title: Mapped[str]
    short: Mapped[str] = mapped_column(sa.Computed(sa.func.lower(sa.column("title")), persisted=True))
    rank: Mapped[int] = mapped_column(server_default="1")


@dataclass(frozen=True)
class JobCreate(Spec[JobRow], filled={"house", "number"}):
    board_id: int
    title: str


@dataclass(frozen=True)
class JobPatch(Patch[JobRow]):
    title: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class JobMove(JobPatch):
    board_id: OptionalState[int] = OptionalState.nop()
    rank: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class JobData:
    id: int
    title: str


@dataclass(frozen=True)
class HouseScope(SearchScope):
    house: str

    def to_conditions(self) -> Sequence[Condition]:
        return [JobRow.house == self.house]


class HouseMissing(ReferenceNotFound):
    detail = "house-missing"


class KindMissing(ReferenceNotFound):
    detail = "kind-missing"


class BoardMissing(ReferenceNotFound):
    detail = "board-missing"


class TitleTaken(EntityAlreadyExists):
    pass


class Twice(EntityAlreadyExists):
    detail = "twice"


class Unfit(CheckViolation):
    detail = "unfit"


class Jobs(Repository[JobRow, JobData, int]):
    scope_required = True
    next_value = NextValue(JobRow.number, within=JobRow.board_id)
    violations = {
        "fk_house": HouseMissing,
        "fk_kind": KindMissing,
        "fk_board": BoardMissing,
        "pk_jobs": Twice,
        "uq_number": Twice,
        "uq_place": Twice,
        "uq_title": TitleTaken,
        "uq_short": TitleTaken,
        "ck_rank": Unfit,
        "ck_number": Unfit,
    }


class TestJobs(RepositoryContract):
    """Of all that is declared only what a spec says itself is asked for, and shown."""

    repository = Jobs
    tables = (HouseRow, KindRow, BoardRow, JobRow)

    async def prepare(self, db):
        async with db.begin_session() as db_sess:
            db_sess.add_all([HouseRow(name="a"), HouseRow(name="b"), KindRow(name="plain")])
            await db_sess.flush()
            self.boards = [BoardRow(house=house) for house in "ab"]
            db_sess.add_all(self.boards)
            await db_sess.flush()
            self.boards = [board.id for board in self.boards]

    def spec(self, n):
        return JobCreate(self.boards[n % 2], f"job {n}")

    def patch(self, n):
        return JobPatch(OptionalState.update(f"other {n}"))

    def scope(self, n):
        return HouseScope("ab"[n % 2])

    def refused(self, n):
        return {TitleTaken: self.spec(n), BoardMissing: JobCreate(0, "on no board")}


@dataclass(frozen=True)
class Placed(Spec[JobRow], filled={"number"}):
    """A job that says itself whose it is."""

    house: str
    board_id: int
    title: str
    id: int = 0


@dataclass(frozen=True)
class AnyHouse(SearchScope):
    """A scope that no value can be stamped for, though the house is what it is about."""

    house: str

    def to_conditions(self) -> Sequence[Condition]:
        return [JobRow.house.in_(sa.select(HouseRow.name).where(HouseRow.name == self.house))]


SAID = ["fk_board", "uq_title", "uq_short"]
OTHERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "as it is": ({}, SAID),
    "a patch that moves": (
        {"patch": lambda self, n: JobMove()},
        ["fk_board", "uq_number", "uq_title", "uq_short", "ck_rank"],
    ),
    "no patch": ({"changes": False, "patch": lambda self, n: JobMove()}, SAID),
    "a spec that says more": (
        {"spec": lambda self, n: Placed("a", 1, f"job {n}", n)},
        ["fk_board", "pk_jobs", "uq_place", "uq_title", "uq_short"],
    ),
    "without a scope": (
        {"spec": lambda self, n: Placed("a", 1, f"job {n}", n), "scope": lambda self, n: None},
        ["fk_house", "fk_board", "pk_jobs", "uq_place", "uq_title", "uq_short"],
    ),
    "a scope that is not stamped": (
        {"spec": lambda self, n: Placed("a", 1, f"job {n}", n), "scope": lambda self, n: AnyHouse("a")},
        ["fk_board", "pk_jobs", "uq_place", "uq_title", "uq_short"],
    ),
    "a check in words": (
        {"repository": type("Worded", (Jobs,), {"violations": {"ck_words": Unfit, "ck_number": Unfit}})},
        ["ck_words"],
    ),
}


def contract_of(**others: Any) -> type[RepositoryContract]:
    """Give the contract of jobs with something else, whose hooks need no ``prepare``."""
    spec = {"spec": lambda self, n: JobCreate(1, f"job {n}")}
    return type("OfJobs", (TestJobs,), spec | others)


@pytest.mark.parametrize("others, names", OTHERS.values(), ids=OTHERS)
def test_what_may_be_broken(others: dict[str, Any], names: list[str]) -> None:
    """It depends on what is said by specs and patches, and not by the scope, the server or a count."""
    assert breakable_constraints(contract_of(**others)()) == names


async def test_what_may_be_broken_is_asked_for(with_tables) -> None:
    """And nothing else is."""
    async with with_tables(*TestJobs.tables) as db:
        silent = type("Silent", (TestJobs,), {"refused": lambda self, n: {}})
        assert await complaints(silent, "test_each_declared_violation_is_shown", db) == [
            "fk_board is declared to be BoardMissing: give refused(n) what is refused with it",
            "uq_title is declared to be TitleTaken: give refused(n) what is refused with it",
            "uq_short is declared to be TitleTaken: give refused(n) what is refused with it",
        ]


def without_refused(**others: Any) -> type[RepositoryContract]:
    given = {key: value for key, value in vars(contract_of(**others)).items() if key not in ("__dict__", "__weakref__")}
    hooks = {key: value for key, value in vars(TestJobs).items() if key not in ("refused", "__dict__", "__weakref__")}
    return type("OfJobs", (RepositoryContract,), hooks | given)


def test_a_hook_is_asked_for_where_rows_may_be_refused() -> None:
    """Where hooks need what ``prepare`` makes nobody knows yet, and it is the test that asks."""
    with pytest.raises(MappingError, match="OfJobs has no refused: write def refused"):
        check(without_refused())
    check(without_refused(spec=TestJobs.spec))
    check(without_refused(repository=type("Filled", (Jobs,), {"violations": {"fk_house": HouseMissing}})))
