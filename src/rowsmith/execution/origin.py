"""Whose call a statement is: what its errors say of where they come from, and which errors it wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Table

from rowsmith.errors import ErrorFactory


@dataclass(frozen=True)
class Origin:
    """The call behind a statement.

    ``domain`` and ``operation`` go into error codes; ``table`` tells from which end a foreign key failed;
    ``violations`` gives constraint names their domain errors; ``deletes`` says that a foreign key can
    only have failed because others still point here.
    """

    domain: str | None = None
    operation: str | None = None
    table: Table | None = None
    violations: Mapping[str, ErrorFactory] = field(default_factory=dict[str, ErrorFactory])
    deletes: bool = False


UNKNOWN = Origin()
"""A statement of the application's own, sent through a session of ours."""
