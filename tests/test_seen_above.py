"""What is said of a class holds of rows of those below it, by whichever way these are loaded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import PUBLIC, Condition, Database, Repository
from rowsmith.testing import WithTables
from says import Says


class Base(DeclarativeBase):
    pass


class NoteRow(Base):
    __tablename__ = "above_notes"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "note"}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    kind: Mapped[str]
    pin_id: Mapped[int | None] = mapped_column(ForeignKey("above_pins.id", use_alter=True, name="fk_above_pin"))
    pin: Mapped[PinRow | None] = relationship(foreign_keys=[pin_id], viewonly=True)


class CallRow(NoteRow):
    __tablename__ = "above_calls"
    __mapper_args__ = {"polymorphic_identity": "call"}

    id: Mapped[int] = mapped_column(ForeignKey("above_notes.id"), primary_key=True, autoincrement=False)
    minutes: Mapped[int] = mapped_column(server_default="1")


class VideoRow(CallRow):
    __tablename__ = "above_videos"
    __mapper_args__ = {"polymorphic_identity": "video"}

    id: Mapped[int] = mapped_column(ForeignKey("above_calls.id"), primary_key=True, autoincrement=False)
    of_id: Mapped[int | None] = mapped_column(ForeignKey("above_pins.id", use_alter=True, name="fk_above_of"))


class MemoRow(NoteRow):
    """Kept in the table of the class above."""

    __mapper_args__ = {"polymorphic_identity": "memo"}

    on_id: Mapped[int | None] = mapped_column(ForeignKey("above_pins.id", use_alter=True, name="fk_above_on"))


class PinRow(Base):
    __tablename__ = "above_pins"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    call_id: Mapped[int | None] = mapped_column(ForeignKey("above_calls.id"))
    video_id: Mapped[int | None] = mapped_column(ForeignKey("above_videos.id"))
    call: Mapped[CallRow | None] = relationship(foreign_keys=[call_id], viewonly=True)
    video: Mapped[VideoRow | None] = relationship(foreign_keys=[video_id], viewonly=True)
    videos: Mapped[list[VideoRow]] = relationship(foreign_keys=[VideoRow.of_id], order_by=VideoRow.id, viewonly=True)
    memos: Mapped[list[MemoRow]] = relationship(foreign_keys=[MemoRow.on_id], order_by=MemoRow.id, viewonly=True)


@dataclass(frozen=True)
class Pinned:
    call: int | None
    video: int | None
    videos: tuple[int, ...]
    memos: tuple[int, ...]


NOTHING, MINE = Pinned(None, None, (), ()), Pinned(20, 30, (30,), (40,))
STEPS = (PinRow.call, PinRow.video, PinRow.videos, PinRow.memos)


def pinned(pin: PinRow | None) -> Pinned:
    if pin is None:
        return NOTHING
    call, video = (None if each is None else each.id for each in (pin.call, pin.video))
    return Pinned(call, video, tuple(each.id for each in pin.videos), tuple(each.id for each in pin.memos))


class Pins(Repository[PinRow, Pinned, int]):
    loads = STEPS

    def to_data(self, row: PinRow) -> Pinned:
        return pinned(row)


class Notes(Repository[NoteRow, Pinned, int]):
    loads = [(NoteRow.pin, step) for step in STEPS]

    def to_data(self, row: NoteRow) -> Pinned:
        return pinned(row.pin)


class PinRows(Repository[PinRow]):
    loads = STEPS


class NoteRows(Repository[NoteRow]):
    loads = [(NoteRow.pin, step) for step in STEPS]


A, TABLE = "a", NoteRow.__table__.c
SAID: dict[str, dict[type[Any], Sequence[Condition]]] = {
    "above": {NoteRow: [NoteRow.tenant == A]},
    "above, by the table": {NoteRow: [TABLE.tenant == A]},
    "above, by a subquery": {NoteRow: [NoteRow.id.in_(sa.select(TABLE.id).where(TABLE.tenant == A))]},
    "each": {kind: [kind.tenant == A] for kind in (NoteRow, CallRow, VideoRow, MemoRow)},
    "above, and in between": {NoteRow: [NoteRow.tenant == A], CallRow: [CallRow.minutes > 0]},
    "in between": {NoteRow: PUBLIC, CallRow: [CallRow.tenant == A], MemoRow: [NoteRow.tenant == A]},
    "in between, by the class above": {NoteRow: PUBLIC, CallRow: [NoteRow.tenant == A], MemoRow: [MemoRow.tenant == A]},
}


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Pin 1 leads to rows of a, and pin 2 to rows of b."""
    async with any_tables(NoteRow, CallRow, VideoRow, MemoRow, PinRow) as db:
        async with db.begin_session() as session:
            for tenant, more in (("a", 0), ("b", 1)):
                session.add_all([NoteRow(id=1 + more, tenant="a"), CallRow(id=20 + more, tenant=tenant)])
                session.add_all([VideoRow(id=30 + more, tenant=tenant), MemoRow(id=40 + more, tenant=tenant)])
            await session.flush()
            session.add_all([PinRow(id=1 + n, call_id=20 + n, video_id=30 + n) for n in (0, 1)])
            await session.flush()
            for n in (0, 1):
                await session.execute(sa.update(TABLE.id.table).where(TABLE.id == 1 + n).values(pin_id=1 + n))
                await session.execute(sa.update(TABLE.id.table).where(TABLE.id == 40 + n).values(on_id=1 + n))
                videos: Any = VideoRow.__table__
                await session.execute(sa.update(videos).where(videos.c.id == 30 + n).values(of_id=1 + n))
        yield db


Of = Callable[[Any], Pinned]


@pytest.mark.parametrize("name", SAID)
async def test_rows_that_are_loaded_are_inside(db: Database, name: str) -> None:
    """Data and rows, right of the row that is read and further on, one by one and many at once."""
    said, conditions = SAID[name], (PinRow.id > 0, NoteRow.tenant == A)
    for (data, rows), condition, of in zip(((Pins, PinRows), (Notes, NoteRows)), conditions, ways(), strict=True):
        scope = Says(condition, said)
        for kind, made in ((data, lambda found: found), (rows, of)):
            repository: Any = kind(db, resilience=None)
            assert made(await repository.get(1, scope)) == MINE
            assert made(await repository.get(2, scope)) == NOTHING
            assert [made(found) for found in (await repository.search(scope)).items][:2] == [MINE, NOTHING]
            assert [made(found) async for found in repository.stream(scope)][:2] == [MINE, NOTHING]
            assert made(await repository.get(2)).call == 21


def ways() -> tuple[Of, Of]:
    return pinned, lambda note: pinned(note.pin)
