"""Whether two values that Python holds to be equal are one to the database, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy.types import TypeEngine

from rowsmith.mapping.types import column_type, in_utc, is_moment
from rowsmith.pagination.fingerprint import stable_text
from rowsmith.pagination.key_values import stored_value


def are_one(kind: TypeEngine[object], one: object, other: object) -> bool:
    """Say whether two values of a type, which Python holds to be equal, surely are one to the database.

    They may be two where a time of day has another time zone, an hour comes twice, a document has ``True`` for ``1``,
    or a type of a team's own makes something of each that is not equal.
    """
    if one is other or not column_type(kind).beside.splits:
        return True
    try:
        texts = [stable_text(stored_value(kind, value), as_written=True) for value in (one, other)]
    except Exception:  # noqa: BLE001 - a type may raise anything, and of an unknown class no value is told
        return False
    return texts[0] == texts[1]


def told_apart(kind: TypeEngine[object], value: object) -> object:
    """Give a value so that Python tells it from others as the database does, if that can be: points in time in UTC."""
    return in_utc(value) if isinstance(value, datetime) and is_moment(kind) else value


def all_one(kind: TypeEngine[object], values: Sequence[object], other: object) -> bool:
    """Say whether all of some values are equal to another one, and surely one with it."""
    if not column_type(kind).beside.splits:
        return values.count(other) == len(values)
    return all(value is other or (value == other and are_one(kind, value, other)) for value in values)


def distinct(kind: TypeEngine[object], values: Iterable[object], known: Sequence[object]) -> list[object]:
    """Give those of some values that are none of the known ones, each once."""
    found = list(known)
    for value in values:
        if not any(value == one and are_one(kind, value, one) for one in found):
            found.append(value)
    return found[len(known) :]
