"""How rows that are read are locked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast

from rowsmith.errors import InvalidValue, kind_of

Strength: TypeAlias = Literal["update", "no_key_update", "share", "key_share"]


@dataclass(frozen=True)
class Lock:
    """Has rows that are read stay as they are until the transaction ends (PostgreSQL's manual, "Explicit Locking").

    ::

        async with db.unit_of_work():
            jobs = await jobs_repository.search(scope, waiting, page, lock=Lock(skip_locked=True))

    It is for calls inside of a session or unit of work. On SQLite, whose transactions that write have the whole
    database to themselves, it says nothing more.

    Args:
        strength: ``"update"`` lets nobody else change or lock the row; ``"no_key_update"`` lets others refer to it;
            ``"share"`` lets others share it and nobody change it; ``"key_share"`` keeps no more than its key.
        nowait: raise ``LockNotAvailable`` where another transaction has the row, instead of waiting.
        skip_locked: leave such rows out, as several workers on one queue do.

    Raises:
        InvalidValue: the strength is none of these, or nowait and skip_locked are given both.
    """

    strength: Strength = "update"
    nowait: bool = False
    skip_locked: bool = False

    def __post_init__(self) -> None:
        given: Any = self.strength
        if not isinstance(given, str) or given not in _STRENGTHS:
            raise InvalidValue(f"strength is one of {', '.join(_STRENGTHS)}: write Lock(strength='update')")
        for name in ("nowait", "skip_locked"):
            flag = getattr(self, name)
            if not isinstance(flag, bool):
                raise InvalidValue(f"{name} is True or False, not {kind_of(cast('object', flag))}")
        if self.nowait and self.skip_locked:
            raise InvalidValue("nowait fails where skip_locked leaves out: give one of them")

    def options(self) -> dict[str, bool]:
        """Give what SQLAlchemy's ``with_for_update`` takes."""
        return {**_STRENGTHS[self.strength], "nowait": self.nowait, "skip_locked": self.skip_locked}


_STRENGTHS: Final[Mapping[str, Mapping[str, bool]]] = MappingProxyType(
    {
        "update": {},
        "no_key_update": {"key_share": True},
        "share": {"read": True},
        "key_share": {"read": True, "key_share": True},
    }
)
