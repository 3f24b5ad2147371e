"""Positions: how far a server's data is, by its write-ahead log (PostgreSQL's manual, Hot Standby; pg_lsn Type)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from rowsmith.errors import InvalidValue, kind_of


@dataclass(frozen=True)
class Position:
    """A place in the write-ahead log of a group of servers that follow each other.

    ``system`` is the group's identifier, ``""`` where the servers hide it; ``timeline`` begins anew with each promotion
    (0: hidden), ``place`` is a number of bytes.
    """

    system: str
    timeline: int
    place: int

    def __str__(self) -> str:
        """Give the text that :meth:`parse` reads."""
        return f"{self.system}/{self.timeline:X}/{self.place:X}"

    @classmethod
    def parse(cls, token: object) -> Position:
        """Read what ``Database.position()`` gave, here or in another process.

        Raises:
            InvalidValue: it is nothing of the kind.
        """
        match = _TOKEN.fullmatch(token) if isinstance(token, str) else None
        if match is None:
            given = "this text" if isinstance(token, str) else kind_of(token)
            raise InvalidValue(f"a position is what `await db.position()` gave, not {given}")
        return cls(match["system"], int(match["timeline"], 16), int(match["place"], 16))

    def is_reached_by(self, other: Position) -> bool:
        """Say whether a server that is at another position has all that was there at this one.

        A server that still follows a primary of before a promotion may be further on in a log of its own.
        """
        return self.system == other.system and self.timeline <= other.timeline and self.place <= other.place


_TOKEN: Final = re.compile(r"(?P<system>[0-9]{0,20})/(?P<timeline>[0-9A-F]{1,8})/(?P<place>[0-9A-F]{1,16})", re.ASCII)

NOWHERE: Final = Position("", 0, 0)
"""The position of a server that was not asked yet, and of a database that has one only."""

_PLACE: Final = """
SELECT is_standby,
       (CASE WHEN is_standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0')::bigint,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
"""
# What is written is at most where the log is inserted into, whether it was flushed or not (synchronous_commit = off).
# A standby's timeline is what it receives, which not everybody may know, or what it came to at its last restartpoint.
SIGHT: Final = f"""
{_PLACE}, CASE WHEN is_standby THEN greatest(c.timeline_id, w.received_tli)
          ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
       s.system_identifier::text
FROM pg_is_in_recovery() AS is_standby, pg_control_system() s,
     pg_control_checkpoint() c LEFT JOIN pg_stat_wal_receiver w ON true
"""
"""Asks a server whether it is a standby, and for the parts of its position."""

BARE_SIGHT: Final = f"{_PLACE}, 0, '' FROM pg_is_in_recovery() AS is_standby"
"""The same of a server that hides its timeline and system."""

_HIDING: Final = ("0A", "42")
"""Of SQLSTATE, what a server says of functions that it does not have, or not for whoever asks."""


def is_hidden(sqlstate: str | None) -> bool:
    """Say whether a server refused :data:`SIGHT` for good, and not only this time."""
    return sqlstate is not None and sqlstate.startswith(_HIDING)


@dataclass(frozen=True)
class Sight:
    """What a server said of itself: where it was, and whether it is a standby.

    ``since`` is how many seconds ago what a standby replayed last was committed, by the clocks of both servers.
    """

    position: Position
    is_standby: bool
    since: float


def sight_of(record: Any) -> Sight:
    """Read the answer to :data:`SIGHT`; a standby that has replayed nothing has no place yet."""
    is_standby, place, since, timeline, system = record
    return Sight(Position(system, timeline, place or 0), is_standby, float("inf") if since is None else since)
