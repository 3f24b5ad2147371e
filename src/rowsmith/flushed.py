"""Rows that sessions flush: what SQLAlchemy's unit of work writes of an application's objects, noted for the keepers.

Whatever a verb writes by statements is noted by the verb; this is for objects that are added, deleted, or changed by
setting their attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from sqlalchemy import event
from sqlalchemy.orm import InstanceState, Mapper, Session, UOWTransaction

from rowsmith.touched import KEEPERS, Ids, Writing, await_commit, is_kept, note_within


class NotingSession(Session):
    """The session below one of rowsmith's own: it notes what it flushes.

    ``tells`` says that the keepers of copies are told around its COMMIT by the session above; see
    :mod:`rowsmith.touched`.
    """

    tells: ClassVar[bool] = True


def note_flushes(session: Session) -> None:
    """Have a session that somebody else owns note what it flushes from now on; idempotent."""
    if _after_flush not in session.dispatch.after_flush:
        event.listen(session, "after_flush", _after_flush)
        await_commit(session)


def _after_flush(session: Session, flushed: UOWTransaction) -> None:
    """Note what was written, while what it was before is known yet."""
    if KEEPERS:
        for writing, ids in _writings(flushed):
            note_within(session, writing, ids)


event.listen(NotingSession, "after_flush", _after_flush)


def _writings(flushed: Any) -> Iterator[tuple[Writing, Ids]]:
    """Give what a flush has done to rows that anybody keeps copies of, with their ids."""
    kinds = dict[tuple[Mapper[Any], bool, bool], list[InstanceState[Any]]]()
    for state, (removes, is_only_listed) in flushed.states.items():
        if state.modified or not is_only_listed:
            kinds.setdefault((state.mapper, state.key is None, removes), []).append(state)
    for (mapper, makes, removes), those in kinds.items():
        tables = _names(mapper.tables)
        if is_kept(tables):
            yield Writing(tables, mapper.primary_key, makes=makes, removes=removes), _ids_of(mapper, those)
        ties = _names(_changed_ties(mapper, those, is_any=makes or removes))
        if is_kept(ties):
            yield Writing(ties, ()), None


def _ids_of(mapper: Mapper[Any], states: Iterable[InstanceState[Any]]) -> Ids:
    """Give the ids that rows had and have; None where one is not known."""
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    keys = {tuple(map(state.dict.get, names)) for state in states}
    keys.update(state.key[1] for state in states if state.key is not None)
    return None if any(None in key for key in keys) else [key if key[1:] else key[0] for key in keys]


def _changed_ties(mapper: Mapper[Any], states: Sequence[InstanceState[Any]], *, is_any: bool) -> Iterator[Any]:
    """Give the tables between rows that are tied many to many, where a tie may have been made or cut."""
    for relation in mapper.relationships:
        if relation.secondary is not None and (is_any or any(relation.key in each.committed_state for each in states)):
            yield relation.secondary


def _names(tables: Iterable[Any]) -> list[str]:
    """Give the full names of tables; whatever else a class is mapped to has none."""
    return [table.fullname for table in tables if hasattr(table, "fullname")]
