"""Who is measured. Each does all jobs in the way that its own documentation shows, and gives what it gives by itself.

To add one: a class in a module of this folder and a line in ``ENTRIES``; a variant of one needs the line alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.contenders.contender import Contender


@dataclass(frozen=True)
class Entry:
    """How a contender is had: its class, what that is made with, and what has to be installed for it."""

    name: str
    place: str
    distribution: str
    imports: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_variant(self) -> bool:
        """Whether it differs from another one in options only, of which long batches know nothing."""
        return bool(self.options)

    @property
    def version(self) -> str | None:
        """The installed version of its library, or None."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def make(self) -> Contender:
        """Import it, and make one."""
        module, name = self.place.split(":")
        made: Contender = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), name)(**self.options)
        return made


SQLALCHEMY = ("SQLAlchemy", ("sqlalchemy.ext.asyncio", "asyncpg"))
ROWSMITH = ("rowsmith:Rowsmith", "rowsmith", ("rowsmith",))

ENTRIES = [
    Entry("wire", "by_hand:Wire", "asyncpg", ("asyncpg",)),
    Entry("hand", "by_hand:Hand", "asyncpg", ("asyncpg",)),
    Entry("hand, no transaction", "by_hand:Bare", "asyncpg", ("asyncpg",)),
    Entry("SQLAlchemy Core", "core:Core", *SQLALCHEMY),
    Entry("SQLAlchemy ORM", "orm:Orm", *SQLALCHEMY),
    Entry("advanced-alchemy", "alchemy:Alchemy", "advanced-alchemy", ("advanced_alchemy.repository", "asyncpg")),
    Entry("FastCRUD", "fast_crud:FastCrud", "fastcrud", ("fastcrud", "asyncpg")),
    Entry("Tortoise", "tortoises:Tortoises", "tortoise-orm", ("tortoise", "asyncpg")),
    Entry("Piccolo", "piccolos:Piccolos", "piccolo", ("piccolo.table", "piccolo.engine.postgres")),
    Entry("rowsmith", *ROWSMITH),
    Entry("rowsmith, resilience=None", *ROWSMITH, {"resilience": None}),
    Entry("rowsmith, native=False", *ROWSMITH, {"native": False}),
    Entry('rowsmith, writes="statement"', *ROWSMITH, {"writes": "statement"}),
]
NAMES = [entry.name for entry in ENTRIES]
VARIANTS = [entry.name for entry in ENTRIES if entry.is_variant]
