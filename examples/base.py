"""What the example rows share: a declarative base with named constraints, and three timestamps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, DateTime, MetaData, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import String

JsonObject = dict[str, Any]


class Base(DeclarativeBase):
    """Constraints get names, because ``violations`` of a repository goes by name."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {
        datetime: DateTime(timezone=True),
        JsonObject: JSONB().with_variant(JSON(), "sqlite"),
        list[str]: ARRAY(String()).with_variant(JSON(), "sqlite"),
    }


class Timestamps:
    """Set by the database's clock: when a row was made, last changed, and deleted."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    deleted_at: Mapped[datetime | None]
