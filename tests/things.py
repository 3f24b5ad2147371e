"""Rows of two tenants, and a model of them in plain Python: what random batches are tried on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Condition, EntityAlreadyExists, OptionalState, Patch, Repository, SearchScope, SoftDelete, Spec
from rowsmith.state import TriState


class Base(DeclarativeBase):
    pass


class ThingRow(Base):
    __tablename__ = "things"
    __table_args__ = (
        sa.Index(
            "uq_things_live",
            "tenant",
            "name",
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    uses: Mapped[int] = mapped_column(default=0)
    note: Mapped[str | None]
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class ThingData:
    id: int
    tenant: str
    name: str
    uses: int
    note: str | None
    version: int


@dataclass(frozen=True)
class ThingCreate(Spec[ThingRow], filled={"tenant"}):
    id: int
    name: str
    uses: int
    note: str | None


@dataclass(frozen=True)
class ThingPatch(Patch[ThingRow]):
    name: OptionalState[str] = OptionalState.nop()
    uses: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class OwnedBy(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [ThingRow.tenant == self.tenant]


class NameTaken(EntityAlreadyExists):
    pass


class ThingRepository(Repository[ThingRow, ThingData, int]):
    violations = {"uq_things_live": NameTaken}
    soft_delete = SoftDelete(ThingRow.deleted_at)
    scope_required = True


@dataclass(frozen=True)
class Thing:
    """A row as the model has it."""

    id: int
    tenant: str
    name: str
    uses: int
    note: str | None
    version: int = 1
    is_deleted: bool = False

    @property
    def data(self) -> ThingData:
        """What a repository gives of it."""
        return ThingData(self.id, self.tenant, self.name, self.uses, self.note, self.version)


class Model:
    """The table as a dictionary; a refused batch leaves it as it was."""

    def __init__(self) -> None:
        self.things: dict[int, Thing] = {}

    def live(self, tenant: str, ids: Iterable[int] | None = None) -> list[Thing]:
        """The live things of a tenant, in the order of the ids."""
        wanted = self.things if ids is None else ids
        found = (self.things.get(id_) for id_ in wanted)
        return [thing for thing in found if thing and thing.tenant == tenant and not thing.is_deleted]

    def deleted(self, tenant: str, ids: Iterable[int]) -> list[Thing]:
        """The deleted things of a tenant, in the order of the ids."""
        found = (self.things.get(id_) for id_ in ids)
        return [thing for thing in found if thing and thing.tenant == tenant and thing.is_deleted]

    def put(self, things: Collection[Thing]) -> bool:
        """Write things, unless a live name would stand twice in a tenant; says whether they were."""
        after = self.things | {thing.id: thing for thing in things}
        names = [(thing.tenant, thing.name) for thing in after.values() if not thing.is_deleted]
        if len(names) > len(set(names)):
            return False
        self.things = after
        return True


def changed(thing: Thing, **values: object) -> Thing:
    """Give the thing after an update: with these values, in its next version."""
    return replace(thing, version=thing.version + 1, **values)  # type: ignore[arg-type]
