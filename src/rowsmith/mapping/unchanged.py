"""Rows while data is made of them: what a ``to_data`` changes there is undone, and refused.

A session writes whatever its objects were changed to, whoever did it. What an application changed itself before stays.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any, Final, cast

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState, Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.base import NO_VALUE

from rowsmith.errors import MappingError

BESIDE: Final = "rowsmith_beside"
"""The attribute of a session that says which one it is beside."""


@contextmanager
def unchanged(rows: Sequence[object], session: Session | None) -> Generator[None]:
    """Have rows, and all else that their session has, be as they were once a block ends, whatever it ends with.

    Args:
        rows: what data is made of.
        session: where they are; None where they are in none.

    Raises:
        MappingError: at the end of a block that raised nothing itself: it changed something.
    """
    sessions = _together(session)
    before = {state: _copied(state.dict) for state, _ in _changed(rows, sessions)}
    removed = [each.deleted for each in sessions]
    told = None
    try:
        yield
    finally:
        for state, own in _changed(rows, sessions):
            told = _restored(state, before.get(state), own) or told
        for each, gone in zip(sessions, removed, strict=True):
            for row in each.deleted:
                if row not in gone:
                    each.add(row)  # which takes the mark away
                    told = f"deletes a {type(row).__name__}"
    if told is not None:
        raise MappingError(
            f"to_data {told}, which would be written to the database: making data of a row leaves it as it is; give "
            "the data another value instead, as in GroupData(name=row.name.upper())"
        )


def _together(session: Session | None) -> list[Session]:
    """Give the session that rows are in, and the one that this is beside."""
    found = [session, getattr(session, BESIDE, None)]
    return [each for each in found if each is not None]


def _changed(rows: Iterable[object], sessions: Sequence[Session]) -> list[tuple[InstanceState[Any], Session | None]]:
    """Give what sessions would write, each with its own, or else, of rows in no session, those that one could."""
    found: list[tuple[Any, Session | None]] = [(row, None) for row in rows]
    if sessions:
        found = [(row, each) for each in sessions for row in (*each.dirty, *each.new)]
    states: list[tuple[InstanceState[Any], Session | None]] = [(inspect(row), own) for row, own in found]
    return [(state, own) for state, own in states if state.modified or state.pending]


def _restored(state: InstanceState[Any], before: Mapping[str, Any] | None, session: Session | None) -> str | None:
    """Put an object back, and say what was done to it; ``before`` has its values if it was changed by then, too."""
    kind, row = state.class_.__name__, state.obj()
    if before is None and state.pending and session is not None:
        session.expunge(row)
        return f"adds a {kind}"
    if before is None:
        names = list(state.committed_state)
        for name in names:
            _put_back(state, name, state.committed_state[name])
        cast("Any", state)._commit_all(state.dict, None if session is None else session.identity_map)
        return f"sets {kind}.{names[0]}" if names else None
    names = [name for name in {**before, **state.dict} if not _is_same(before.get(name), state.dict.get(name))]
    for name in names:
        if name in before:
            setattr(row, name, before[name])
        else:
            _put_back(state, name, NO_VALUE)
    return f"sets {kind}.{names[0]}" if names else None


def _put_back(state: InstanceState[Any], name: str, value: object) -> None:
    if value is NO_VALUE:  # nobody knows it: it is read again by whatever reads the row next
        cast("Any", state)._expire_attributes(state.dict, [name])
    else:
        set_committed_value(state.obj(), name, value)


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give values that stay as they are, whatever becomes of a list, set or mapping among them."""
    return {name: value.copy() if isinstance(value, list | set | dict) else value for name, value in values.items()}


def _is_same(old: object, new: object) -> bool:
    one, other = _parts(old), _parts(new)
    return len(one) == len(other) and all(map(is_, one, other))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return [*value] if isinstance(value, list | set) else [value]
