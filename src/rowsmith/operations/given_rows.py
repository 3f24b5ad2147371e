"""Rows that a call gives, which are objects of its session: what they show others already stays as it is.

A session has one object for each row. A statement that reads the row once more sets anew what was changed without being
written yet, and what the row relates to, of which each scope sees another part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import collection_adapter

from rowsmith.errors import ScopeMismatch
from rowsmith.mapping.layout import Layout
from rowsmith.mapping.loads import loaded_by, relationships_of
from rowsmith.scope import SearchScope

_SHOWN: Final = "rowsmith_shown"
"""In the ``info`` of an object's state: under what each of its relationships was loaded."""

_MISSING: Final = object()
_BUILTIN: Final[Any] = (list, set, dict)


@dataclass(frozen=True, eq=False)
class Under:
    """The scope that rows were loaded under, and what holds by it of those that a relationship leads to or over."""

    scope: SearchScope | None
    said: Mapping[type[Any], Sequence[ColumnElement[bool]]]

    def is_like(self, other: Under) -> bool:
        """Say whether both have the same rows seen."""
        if not (self.said or other.said):
            return True
        with suppress(TypeError):  # of SQL that it holds, which is neither equal nor not
            if type(self.scope) is type(other.scope) and self.scope == other.scope:
                return True
        return self.said.keys() == other.said.keys() and all(
            len(own) == len(other.said[row]) and all(map(_is_same, own, other.said[row]))
            for row, own in self.said.items()
        )


FREELY: Final = Under(None, {})


def shown_under(state: InstanceState[Any], name: str) -> Under:
    """Give what one of an object's relationships was loaded under."""
    known: Mapping[str, Under] = state.info.get(_SHOWN, {})
    return known.get(name, FREELY)


def _is_same(one: ColumnElement[bool], other: ColumnElement[bool]) -> bool:
    return one.compare(other, compare_keys=False)


class GivenRows:
    """What the objects of a session hold before rows are read into it that a call gives.

    Args:
        db_sess: the session.
        layout: what is read.
        scope: whose call it is.
    """

    def __init__(self, db_sess: AsyncSession, layout: Layout, scope: SearchScope | None) -> None:
        self._db_sess = db_sess
        self._under = dict[tuple[type[Any], str], Under]()
        for relationship in relationships_of(layout.loaded):
            said = {row: layout.said[row] for row in loaded_by(relationship) if layout.said.get(row)}
            self._under[relationship.parent.class_, relationship.key] = Under(scope, said)
        self._before = {(state, name): _members(state.dict[name]) for state, name, _ in self._loaded()}
        dirty: Sequence[Any] = () if db_sess.autoflush else list(db_sess.dirty)
        states: list[InstanceState[Any]] = [row._sa_instance_state for row in dirty]
        self._unwritten = {state: {name: _copied(state.dict[name]) for name in _changed(state)} for state in states}

    @property
    def are_apart(self) -> bool:
        """Whether what any of the objects show was loaded under something else."""
        return any(not shown_under(state, name).is_like(under) for state, name, under in self._loaded())

    def settle(self) -> ScopeMismatch | None:
        """Have what was not written yet stay, once the rows are read, and what others were shown.

        Gives the error for a row that would show others what this call may see, or the other way round; it is as
        before then.
        """
        self._set_again()
        others = list[tuple[InstanceState[Any], str]]()
        for state, name, under in self._loaded():
            value, _ = self._before.get((state, name), (_MISSING, None))
            if state.dict[name] is value:
                continue
            if value is not _MISSING and not shown_under(state, name).is_like(under):
                others.append((state, name))
            else:
                state.info.setdefault(_SHOWN, {})[name] = under
        for state, name in others:
            if name not in self._unwritten.get(state, ()):
                set_committed_value(state.obj(), name, self._before[state, name][1])
        return _shown_otherwise(*others[0]) if others else None

    def _set_again(self) -> None:
        for state, values in self._unwritten.items():
            for name, (value, copied) in values.items():
                if state.dict.get(name, _MISSING) is not value:
                    setattr(state.obj(), name, copied)

    def _loaded(self) -> Iterator[tuple[InstanceState[Any], str, Under]]:
        """Give what the session's objects have loaded over the relationships that are read now."""
        states = self._db_sess.identity_map.all_states() if self._under else ()
        for state in states:
            for (row, name), under in self._under.items():
                if name in state.dict and issubclass(state.class_, row):
                    yield state, name, under


def _changed(state: InstanceState[Any]) -> list[str]:
    return [name for name in state.committed_state if name in state.dict]


def _copied(value: Any) -> tuple[Any, Any]:
    """Give a value, and one that stays as it is, whatever becomes of a collection."""
    return value, value.copy() if isinstance(value, _BUILTIN) else value


def _members(value: Any) -> tuple[Any, Any]:
    """Give what a relationship leads to, and of a collection, of whatever kind, the objects in it."""
    is_collection = hasattr(value, "_sa_adapter")
    return value, list(collection_adapter(value)) if is_collection else value


def _shown_otherwise(state: InstanceState[Any], name: str) -> ScopeMismatch:
    row = state.class_.__name__
    return ScopeMismatch(
        f"this session has a {row} whose {name} were loaded for another scope, or for none, and one {row} would show "
        f"both the same: give data, as Repository[{row}, ...] does, or read under each scope in a session of its own"
    )
