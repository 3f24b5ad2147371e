"""The table of how many were in a group at once, at most."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, text
from sqlalchemy.orm import Mapped, mapped_column

from examples.base import Base


class PeakRow(Base):
    """The peak of one group, and the number of the lock under which it was last written."""

    __tablename__ = "group_peaks"

    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    peak: Mapped[int] = mapped_column(server_default=text("0"))
    fence: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
