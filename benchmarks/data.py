"""What all contenders share: the row that is read and written, the server, a client's search. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import URL

PAGE = 100
"""Rows of a page."""


@dataclass(frozen=True)
class Group:
    """The data of a row, for contenders that make data of rows."""

    id: int
    domain_name: str
    name: str
    weight: int
    description: str | None
    created_at: datetime
    deleted_at: datetime | None


COLUMNS = tuple(field.name for field in fields(Group))
GIVEN = COLUMNS[1:5]
"""What a new row is made of; the server adds its id and time."""


@dataclass(frozen=True)
class Change:
    """What an update sets in one row."""

    id: int
    weight: int
    description: str | None


SEARCH: Mapping[str, Mapping[str, Any]] = {
    "name": {"contains": "7"},
    "weight": {"gte": 100},
    "description": {"is_null": False},
}
"""A client's three filters, as JSON gives them."""


@dataclass(frozen=True)
class Server:
    """Where the database is, and how many connections to it a contender may have; ``host`` may be a socket's folder."""

    host: str
    port: int = 5432
    user: str = "postgres"
    password: str | None = None
    database: str = "postgres"
    pool: int = 16

    @classmethod
    def at(cls, url: URL, **more: Any) -> Server:
        """Give the server that a URL of SQLAlchemy's names."""
        given = {"host": url.host, "port": url.port, **url.query}
        known = {"user": url.username, "password": url.password, "database": url.database, **given, **more}
        found = cls(**{name: value for name, value in known.items() if value is not None})
        return replace(found, port=int(found.port))

    @property
    def options(self) -> dict[str, Any]:
        """What ``asyncpg.connect`` takes."""
        return {name: value for name, value in vars(self).items() if value is not None and name != "pool"}

    @property
    def url(self) -> str:
        """What SQLAlchemy's ``create_async_engine`` takes."""
        who = self.user if self.password is None else f"{self.user}:{self.password}"
        return f"postgresql+asyncpg://{who}@/{self.database}?host={self.host}&port={self.port}"
