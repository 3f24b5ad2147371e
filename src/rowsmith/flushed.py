"""Rows that sessions flush: what SQLAlchemy's unit of work writes of an application's objects, checked and noted.

What a verb writes by statements it checks and notes itself; this is for objects that are added, deleted, or changed by
setting their attributes. Their values are checked as those of specs and patches are, of the classes that repositories
are declared for, and the keepers of copies come to know of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final
from weakref import WeakSet

from sqlalchemy import Dialect, event, inspect
from sqlalchemy.orm import InstanceState, Mapper, Session, UOWTransaction
from sqlalchemy.orm.attributes import get_history
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE

from rowsmith.errors import MappingError
from rowsmith.mapping import row_info
from rowsmith.sql import is_sql
from rowsmith.touched import KEEPERS, Ids, Writing, await_commit, is_kept, note_within


class NotingSession(Session):
    """The session below one of rowsmith's own: it checks and notes what it flushes.

    ``tells`` says that the keepers of copies are told around its COMMIT by the session above; see
    :mod:`rowsmith.touched`.
    """

    tells: ClassVar[bool] = True


def note_flushes(session: Session) -> None:
    """Have a session that somebody else owns check and note what it flushes from now on; idempotent."""
    if _after_flush not in session.dispatch.after_flush:
        event.listen(session, "before_flush", _before_flush)
        event.listen(session, "after_flush", _after_flush)
        await_commit(session)


_declared: Final[WeakSet[Mapper[Any]]] = WeakSet()


def declare(mapper: Mapper[Any]) -> None:
    """Have the values of a class, and of those below it, checked as they are flushed."""
    _declared.add(mapper)


def _before_flush(session: Session, *_: object) -> None:
    """Refuse what a column cannot hold.

    Raises:
        InvalidValue: a value that was set.
    """
    for row in (*session.new, *session.dirty):
        state: InstanceState[Any] = inspect(row)
        if any(mapper in _declared for mapper in state.mapper.iterate_to_root()):
            _check(state, session.get_bind(state.mapper).dialect)


def _check(state: InstanceState[Any], dialect: Dialect) -> None:
    try:
        known = row_info(state.class_)
    except MappingError:  # one below that no repository could be declared for
        return
    info = known.on_postgresql if dialect.name == "postgresql" else known
    for name in info.columns:
        if state.key is None or name in state.committed_state:
            for value in get_history(state.obj(), name, PASSIVE_NO_INITIALIZE).added or ():
                if value is not None and not is_sql(value) and (complaint := info.checks[name](value)) is not None:
                    raise info.refusal(name, complaint)


def _after_flush(session: Session, flushed: UOWTransaction) -> None:
    """Note what was written, while what it was before is known yet."""
    if KEEPERS:
        for writing, ids in _writings(flushed):
            note_within(session, writing, ids)


event.listen(NotingSession, "before_flush", _before_flush)
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
