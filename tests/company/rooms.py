"""Rooms and their seats: a relationship over a key of two columns."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from company.base import Base


class RoomRow(Base):
    __tablename__ = "rooms"

    building: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)

    seats: Mapped[list[SeatRow]] = relationship(viewonly=True)


class SeatRow(Base):
    __tablename__ = "seats"
    __table_args__ = (ForeignKeyConstraint(["building", "number"], ["rooms.building", "rooms.number"]),)

    building: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)

    room: Mapped[RoomRow] = relationship(viewonly=True)
