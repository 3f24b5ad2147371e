"""The tables of fair shares and of what was used, both with composite keys."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Numeric, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from examples.base import Base


class FairShareRow(Base):
    """How much of its group a user is due, relative to the others in it. Versioned: two editors cannot overwrite.

    Its group is one of its own domain, which the foreign key has as well: no row leads from one tenant to another.
    A deleted one keeps its place, so that the user's is restored and not made anew.
    """

    __tablename__ = "fair_shares"
    __table_args__ = (
        ForeignKeyConstraint(["domain_name", "group_id"], ["groups.domain_name", "groups.id"], ondelete="CASCADE"),
        CheckConstraint("weight > 0", name="weight_positive"),
    )

    domain_name: Mapped[str] = mapped_column(String(32), primary_key=True)
    group_id: Mapped[int] = mapped_column(primary_key=True, index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, index=True)
    weight: Mapped[Decimal] = mapped_column(Numeric(20, 4), server_default=text("1"))
    version: Mapped[int] = mapped_column()
    deleted_at: Mapped[dt.datetime | None]

    __mapper_args__ = {"version_id_col": version}


class UsageRow(Base):
    """What a user used in a group on one day, in resource-hours."""

    __tablename__ = "usages"
    __table_args__ = (
        ForeignKeyConstraint(
            ["domain_name", "group_id", "user_id"],
            ["fair_shares.domain_name", "fair_shares.group_id", "fair_shares.user_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("used >= 0", name="used_not_negative"),
    )

    domain_name: Mapped[str] = mapped_column(primary_key=True)
    group_id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    day: Mapped[dt.date] = mapped_column(primary_key=True)
    used: Mapped[Decimal] = mapped_column(Numeric(20, 4))

    share: Mapped[FairShareRow] = relationship()
