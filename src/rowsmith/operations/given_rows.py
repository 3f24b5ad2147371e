"""Rows that a call gives, which are objects of its session: what they show others already stays as it is.

A session has one object for each row. A statement that reads the row once more sets anew what was changed without being
written yet, and what the row relates to, of which each scope sees another part. So does SQLAlchemy itself where one is
refreshed, or was expired, and there it no more knows the conditions that related rows were loaded with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Result, and_, event, select
from sqlalchemy.orm import (
    InstanceState,
    Load,
    Mapper,
    ORMExecuteState,
    RelationshipDirection,
    Session,
    joinedload,
    lazyload,
    selectinload,
    undefer,
)
from sqlalchemy.orm.attributes import instance_state, set_committed_value
from sqlalchemy.orm.collections import collection_adapter
from sqlalchemy.orm.path_registry import PathRegistry
from sqlalchemy.orm.strategies import _LoadLazyAttribute  # pyright: ignore[reportPrivateUsage] - there is no other

from rowsmith.conditions import limited
from rowsmith.errors import RepositoryError, ScopeMismatch
from rowsmith.mapping.loads import EAGER, Step, loaded_by, relating, seen_by
from rowsmith.operations.arrays.keys import columns_condition
from rowsmith.relations import Said, Seen
from rowsmith.scope import SearchScope

_SHOWN: Final = "rowsmith_shown"
"""In the ``info`` of an object's state: under what each of its relationships was loaded."""

_KEPT: Final = "rowsmith_kept"
"""In the same place: the options by which SQLAlchemy itself loads nothing again of what it shows."""

_READ_BY: Final = "rowsmith_read_by"
"""In the same place: the options and the path that the object was read by last."""

_WITHIN: Final = "rowsmith_within"
"""In the same place: the scope within which a row was shown as a related one, where that limited any."""

_LAZY: Final = (("lazy", "select"),)

_MISSING: Final = object()
_BUILTIN: Final[Any] = (list, set, dict)


@dataclass(frozen=True, eq=False)
class Under:
    """The scope that rows were loaded under, and what holds by it of those that a relationship leads to or over.

    ``rows`` are the classes of these, and ``seen`` gives what holds of any class. Where it limits anything that is
    loaded, ``step`` is the relationship with what comes below, and ``all_said`` what holds of all these rows.
    """

    scope: SearchScope | None
    said: Said
    rows: frozenset[type[Any]] = frozenset()
    seen: Seen = lambda _: ()
    step: Step | None = None
    all_said: Said = field(default_factory=dict[type[Any], Sequence[ColumnElement[bool]]])

    def option(self, mapper: Mapper[Any], name: str) -> Any:
        """Give the option of a SELECT of a class's rows that loads the relationship again, with what comes below."""
        attribute = getattr(mapper.class_, name)
        if self.step is None:
            return selectinload(attribute)
        return replace(self.step, attribute=attribute, is_apart=False).option(self.all_said)

    def is_like(self, other: Under) -> bool:
        """Say whether both have the same rows seen, of all that either has shown."""
        with suppress(TypeError):  # of SQL that it holds, which is neither equal nor not
            if type(self.scope) is type(other.scope) and self.scope == other.scope:
                return True
        try:
            return all(_are_same(self.seen(row), other.seen(row)) for row in self.rows | other.rows)
        except RepositoryError:  # one of them can say nothing of what the other shows
            return False


FREELY: Final = Under(None, {})


def shown_under(state: InstanceState[Any], name: str) -> Under:
    """Give what one of an object's relationships was loaded under."""
    known: Mapping[str, Under] = state.info.get(_SHOWN, {})
    return known.get(name, FREELY)


def _are_same(some: Sequence[ColumnElement[bool]], others: Sequence[ColumnElement[bool]]) -> bool:
    """Say whether conditions that all hold together are the same, however often and in whatever order they are said."""
    return all(
        any(one.compare(other, compare_keys=False) for other in against)
        for those, against in ((some, others), (others, some))
        for one in those
    )


class GivenRows:
    """What the objects of a session hold before rows are read into it that a call gives.

    Args:
        db_sess: the session.
        loaded: what is read of related rows.
        said: what holds of these.
        scope: whose call it is.
        seen: gives what it says of rows of a class.
    """

    def __init__(
        self, db_sess: Session, loaded: Iterable[Step], said: Said, scope: SearchScope | None, seen: Seen
    ) -> None:
        self._db_sess = db_sess
        self._under = dict[tuple[type[Any], str], Under]()
        found = [(step, step.attribute.property) for step in relating(loaded)]
        own = {each: {row: said[row] for row in loaded_by(each) if said.get(row)} for _, each in found}
        limits = any(own.values())
        for step, relationship in found:
            under = Under(scope, own[relationship], loaded_by(relationship), seen)
            under = replace(under, step=step, all_said=said) if limits else under
            self._under.setdefault((relationship.parent.class_, relationship.key), under)
        self._known = {*db_sess.identity_map.all_states()} if self._under or watches(db_sess) else set[Any]()
        self._before = {(state, name): _members(state.dict[name]) for state, name, _ in self._loaded()}
        self._beside = {
            (state, name): (_members(state.dict[name])[1], _referring(state, name))
            for state in self._known
            for name in state.info.get(_SHOWN, ())
            if name in state.dict and (state, name) not in self._before
        }
        dirty: Sequence[Any] = () if db_sess.autoflush else list(db_sess.dirty)
        states: list[InstanceState[Any]] = [row._sa_instance_state for row in dirty]
        self._unwritten = {state: {name: _copied(state.dict[name]) for name in _changed(state)} for state in states}

    @property
    def are_apart(self) -> bool:
        """Whether what any of the objects show was loaded under something else."""
        return any(not self._are_like(state, name, under) for state, name, under in self._loaded())

    def settle(self) -> ScopeMismatch | None:
        """Have what was not written yet stay, once the rows are read, and what others were shown.

        Gives the error for a row that would show others what this call may see, or the other way round; it is as
        before then.
        """
        self._set_again()
        self._show_again()
        read = [
            (state, name, under)
            for state, name, under in self._loaded()
            if state.dict[name] is not self._before.get((state, name), (_MISSING, None))[0]
        ]
        others = ((state, name) for state, name, under in read if not self._are_like(state, name, under))
        if other := next(others, None):
            for state, name, _ in read:
                self._leave(state, name)
            return _shown_otherwise(*other)
        for state, name, under in read:
            state.info.setdefault(_SHOWN, {})[name] = under
            if under.step is not None:
                for related in _related(state.dict[name]):
                    instance_state(related).info.setdefault(_WITHIN, under)
        keep_within(self._db_sess, dict.fromkeys(state for state, _, _ in read))
        return None

    def _are_like(self, state: InstanceState[Any], name: str, under: Under) -> bool:
        """Say whether all that an object showed before of related rows was loaded under the like of this."""
        found: Mapping[str, Under] = state.info.get(_SHOWN, {})
        shown = [each for other, each in found.items() if (state, other) in self._beside]
        own = [found.get(name, FREELY)] if (state, name) in self._before else []
        within: list[Under] = [state.info[_WITHIN]] if _WITHIN in state.info else []
        return all(each.is_like(under) for each in (*shown, *own, *within))

    def _leave(self, state: InstanceState[Any], name: str) -> None:
        """Have an object that was there before show what it did."""
        if (state, name) not in self._before:
            if state in self._known:
                cast("Any", state)._reset(state.dict, name)
                _keep(state)
        elif name not in self._unwritten.get(state, ()):
            set_committed_value(state.obj(), name, self._before[state, name][1])

    def _show_again(self) -> None:
        """Have objects show what these rows come without, unless they lead elsewhere now."""
        for (state, name), (members, referring) in self._beside.items():
            is_lost = name not in state.dict and name not in state.expired_attributes and not state.expired
            if is_lost and state.obj() is not None and _referring(state, name) == referring:
                set_committed_value(state.obj(), name, members)

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


def watches(session: Session) -> bool:
    """Say whether the session has shown anything that a scope has limited."""
    return _load_within in session.dispatch.do_orm_execute


def _referring(state: InstanceState[Any], name: str) -> Any:
    """Give the values by which an object refers to what a relationship leads to; None where that refers to it."""
    relationship = state.mapper.relationships[name]
    if relationship.direction is not RelationshipDirection.MANYTOONE:
        return None
    names = (state.mapper.get_property_by_column(column).key for column in relationship.local_columns)
    return {each: state.dict.get(each) for each in names}


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
                state.load_options, state.load_path = state.info.pop(_READ_BY)
            continue
        if not watches(session):
            event.listen(session, "do_orm_execute", _load_within)
        mapper: Mapper[Any] = state.mapper
        if not event.contains(mapper.class_, "refresh", _is_read_again):
            event.listen(mapper.class_, "refresh", _is_read_again)
        deferred = tuple(each.key for each in mapper.column_attrs if each.deferred and each.key in state.dict)
        kind = (mapper, tuple(shown.items()), deferred)
        if kind not in made:
            columns = tuple(undefer(getattr(mapper.class_, name)) for name in deferred)
            lazily, joined = tuple(_kept(mapper, shown, lazyload)), tuple(_kept(mapper, shown, _joined))
            made[kind] = (*lazily, *columns), (*joined, *columns), dict(_limited(lazily))
        state.info[_KEPT] = made[kind]
        _keep(state)


def _is_read_again(row: object, *_: object) -> None:
    _keep(instance_state(row))


def _keep(state: Any) -> None:
    """Have an object load again what it shows within its scope, whatever it was read by last."""
    if _KEPT in state.info:
        _, elsewhere, callables = state.info[_KEPT]
        if not {*elsewhere}.issubset(state.load_options):
            state.info[_READ_BY] = state.load_options, state.load_path
        state.load_options = _without_loads(state.load_options, *elsewhere)
        state.load_path = PathRegistry.per_mapper(state.mapper)
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
    statement._with_options = _without_loads(statement._with_options, *state.info[_KEPT][0])
    read.statement = statement
    result = execution.invoke_statement().unique().freeze()
    if names := [name for name in shown if result.data and (only is None or name in only)]:
        _load_again(execution.session, state, {name: shown[name] for name in names})
    return result()


def _load_again(session: Session, state: InstanceState[Any], shown: Mapping[str, Under]) -> None:
    """Load some relationships of an object that it has not loaded."""
    given = [
        GivenRows(session, [under.step] if under.step else [], under.all_said, under.scope, under.seen)
        for under in shown.values()
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


def _related(value: Any) -> list[object]:
    _, members = _members(value)
    return cast("list[object]", members) if isinstance(members, list) else [members] if members is not None else []


def _shown_otherwise(state: InstanceState[Any], name: str) -> ScopeMismatch:
    row = state.class_.__name__
    return ScopeMismatch(
        f"this session has a {row} whose {name} were loaded for another scope, or for none, and one {row} would show "
        f"both the same: give data, as Repository[{row}, ...] does, or read under each scope in a session of its own"
    )
