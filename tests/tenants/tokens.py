"""Rows whose version is a token and no number."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import OptionalState, Patch, Repository, Spec
from tenants.base import Base


class TokenRow(Base):
    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]
    token: Mapped[uuid.UUID] = mapped_column()
    __mapper_args__ = {"version_id_col": token, "version_id_generator": lambda _: uuid.uuid4()}


@dataclass(frozen=True)
class TokenCreate(Spec[TokenRow]):
    label: str


@dataclass(frozen=True)
class TokenPatch(Patch[TokenRow]):
    label: OptionalState[str] = OptionalState.nop()


class TokenRepository(Repository[TokenRow]):
    pass
