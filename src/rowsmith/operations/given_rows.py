"""Rows that a call gives, which are objects of its session: what they show others already stays as it is.

A session has one object for each row. A statement that reads the row once more sets anew what was changed without being
written yet, and what the row relates to, of which each scope sees another part. So does SQLAlchemy itself where one is
refreshed, or was expired, and there it no more knows the conditions that related rows were loaded with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Result, and_, event, select
from sqlalchemy.orm import (
    InstanceState,
    Load,
    Mapper,
    ORMExecuteState,
    Session,
    joinedload,
    lazyload,
    selectinload,
    undefer,
)
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import collection_adapter
from sqlalchemy.orm.path_registry import PathRegistry
from sqlalchemy.orm.strategies import _LoadLazyAttribute  # pyright: ignore[reportPrivateUsage] - there is no other

from rowsmith.conditions import limited
from rowsmith.errors import ScopeMismatch
from rowsmith.mapping.loads import EAGER, Step, loaded_by, relating, seen_by
from rowsmith.operations.arrays.keys import columns_condition
from rowsmith.relations import Said
from rowsmith.scope import SearchScope

_SHOWN: Final = "rowsmith_shown"
"""In the ``info`` of an object's state: under what each of its relationships was loaded."""

_KEPT: Final = "rowsmith_kept"
"""In the same place: the options by which SQLAlchemy itself loads nothing again of what it shows."""

_LAZY: Final = (("lazy", "select"),)

_MISSING: Final = object()
_BUILTIN: Final[Any] = (list, set, dict)


@dataclass(frozen=True, eq=False)
class Under:
    """The scope that rows were loaded under, and what holds by it of those that a relationship leads to or over.

    Where it limits anything that is loaded, ``step`` is the relationship with what comes below, and ``all_said`` what
    holds of all these rows.
    """

    scope: SearchScope | None
    said: Said
    step: Step | None = None
    all_said: Said = field(default_factory=dict[type[Any], Sequence[ColumnElement[bool]]])

    def option(self, mapper: Mapper[Any], name: str) -> Any:
        """Give the option of a SELECT of a class's rows that loads the relationship again, with what comes below."""
        attribute = getattr(mapper.class_, name)
        if self.step is None:
            return selectinload(attribute)
        return replace(self.step, attribute=attribute, is_apart=False).option(self.all_said)

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
        loaded: what is read of related rows.
        said: what holds of these.
        scope: whose call it is.
    """

    def __init__(self, db_sess: Session, loaded: Iterable[Step], said: Said, scope: SearchScope | None) -> None:
        self._db_sess = db_sess
        self._under = dict[tuple[type[Any], str], Under]()
        found = [(step, step.attribute.property) for step in relating(loaded)]
        own = {each: {row: said[row] for row in loaded_by(each) if said.get(row)} for _, each in found}
        limits = any(own.values())
        for step, relationship in found:
            under = Under(scope, own[relationship], step, said) if limits else Under(scope, {})
            self._under.setdefault((relationship.parent.class_, relationship.key), under)
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
        others, shown = list[tuple[InstanceState[Any], str]](), dict[InstanceState[Any], None]()
        for state, name, under in self._loaded():
            value, _ = self._before.get((state, name), (_MISSING, None))
            if state.dict[name] is value:
                continue
            if value is not _MISSING and not shown_under(state, name).is_like(under):
                others.append((state, name))
            else:
                state.info.setdefault(_SHOWN, {})[name] = under
                shown[state] = None
        for state, name in others:
            if name not in self._unwritten.get(state, ()):
                set_committed_value(state.obj(), name, self._before[state, name][1])
        keep_within(self._db_sess, shown)
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


def keep_within(session: Session, states: Iterable[Any]) -> None:
    """Have SQLAlchemy itself load what scopes let be seen, and no more, wherever it loads again what objects show.

    In this session that is loaded as it was at first. In another one that an object comes to, it comes by joins, and
    nothing below: SQLAlchemy keeps conditions where it joins, and nowhere else. What is touched loads itself within the
    scope in both.
    """
    made = dict[Any, tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]]()
    for state in states:
        shown: Mapping[str, Under] = state.info.get(_SHOWN, {})
        if not any(under.step for under in shown.values()):
            if state.info.pop(_KEPT, None):
                state.callables = {name: load for name, load in state.callables.items() if name not in shown}
            continue
        if _load_within not in session.dispatch.do_orm_execute:
            event.listen(session, "do_orm_execute", _load_within)
        mapper: Mapper[Any] = state.mapper
        deferred = tuple(each.key for each in mapper.column_attrs if each.deferred and each.key in state.dict)
        kind = (mapper, tuple(shown.items()), deferred)
        if kind not in made:
            columns = tuple(undefer(getattr(mapper.class_, name)) for name in deferred)
            lazily, joined = tuple(_kept(mapper, shown, lazyload)), tuple(_kept(mapper, shown, _joined))
            made[kind] = (*lazily, *columns), (*joined, *columns), dict(_limited(lazily))
        state.info[_KEPT], elsewhere, callables = made[kind]
        state.load_options = _without_loads(state.load_options, *elsewhere)
        state.load_path = PathRegistry.per_mapper(mapper)
        state.callables = {**state.callables, **callables}


def _kept(mapper: Mapper[Any], shown: Mapping[str, Under], load: Callable[[Any], Any]) -> Iterator[Any]:
    """Give the options by which what is shown is loaded within what it is shown under, and nothing else at once."""
    for each in mapper.relationships:
        attribute = getattr(mapper.class_, each.key)
        if each.key in shown:
            yield load(seen_by(attribute, shown[each.key].said))
        elif each.lazy in EAGER:  # which came with none of what was shown
            yield lazyload(attribute)


def _joined(attribute: Any) -> Any:
    return joinedload(attribute, innerjoin=False).lazyload("*")


def _limited(kept: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Give what loads relationships lazily where nothing is said of how; it asks the database, not the session."""
    for load in kept:
        (element,) = load.context
        if element._extra_criteria:
            relationship, criteria = element.path[1], and_(*element._extra_criteria)
            lazily: Any = _LoadLazyAttribute
            yield relationship.key, lazily(relationship.key, relationship._get_strategy(_LAZY), element, criteria)


def _without_loads(options: Iterable[Any], *instead: Any) -> tuple[Any, ...]:
    return (*(each for each in options if not isinstance(each, Load)), *instead)


def _load_within(execution: ORMExecuteState) -> Result[Any] | None:
    """Have an object that SQLAlchemy reads again load its relationships within what they were shown under."""
    read: Any = execution
    state = read.load_options._refresh_state if read.is_column_load else None
    if state is None or _KEPT not in state.info:
        return None
    shown: Mapping[str, Under] = state.info[_SHOWN]
    statement = read.statement._clone()
    only: frozenset[str] | None = statement._compile_options._only_load_props
    told: dict[str, Any] = {"_current_path": PathRegistry.root}
    if only is not None:
        told["_only_load_props"] = only.difference(shown) or state.mapper._primary_key_propkeys
    statement._compile_options += told
    statement._with_options = _without_loads(statement._with_options, *state.info[_KEPT])
    read.statement = statement
    result = execution.invoke_statement().unique().freeze()
    if names := [name for name in shown if result.data and (only is None or name in only)]:
        _load_again(execution.session, state, {name: shown[name] for name in names})
    return result()


def _load_again(session: Session, state: InstanceState[Any], shown: Mapping[str, Under]) -> None:
    """Load some relationships of an object that it has not loaded."""
    given = [
        GivenRows(session, [under.step] if under.step else [], under.all_said, under.scope) for under in shown.values()
    ]
    mapper, dialect = state.mapper, session.get_bind(state.mapper).dialect
    own = columns_condition(mapper.primary_key, [state.key[1]] if state.key else [], dialect)
    loads = [under.option(mapper, name) for name, under in shown.items()]
    there = limited(select(mapper), own).options(lazyload("*"), *loads)
    told = {"populate_existing": False, "autoflush": False}
    session.execute(there, execution_options=told).unique().all()
    for each in given:
        each.settle()


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
