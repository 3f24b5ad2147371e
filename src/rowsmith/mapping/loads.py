"""Loads: what is read beside the columns of a whole row, so that ``to_data`` finds it there.

Nothing loads itself in asyncio. What a repository declares, and what the mapping loads of itself
(``lazy="joined"``), is loaded with the rows: to-one by a join, to-many by one further statement for many rows
together, which neither multiplies rows nor keeps a stream from being one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias, TypeVar, cast

from pydantic import ValidationError
from sqlalchemy import Column, exc, inspect
from sqlalchemy.orm import (
    ColumnProperty,
    InstanceState,
    InstrumentedAttribute,
    Mapper,
    RelationshipDirection,
    RelationshipProperty,
    Session,
    joinedload,
    lazyload,
    object_session,
    selectin_polymorphic,
    selectinload,
    undefer,
)
from sqlalchemy.orm import exc as orm_exc
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.base import LoaderCallableStatus, PassiveFlag
from sqlalchemy.orm.collections import collection_adapter

from rowsmith.errors import MappingError, kind_of
from rowsmith.mapping.generated import Build
from rowsmith.mapping.relationships import is_single
from rowsmith.mapping.row import RowInfo
from rowsmith.mapping.unchanged import unchanged
from rowsmith.passed import rows_sorting
from rowsmith.relations import Said, led_to, reached_by, said_between, said_of

T = TypeVar("T")

Loads: TypeAlias = Sequence[InstrumentedAttribute[Any] | tuple[InstrumentedAttribute[Any], ...]]
"""Relationships (``TalkRow.speaker``) and deferred columns of a row, and chains of them, each of the one before.

Those of a subclass (``ManagerRow.firm`` in a repository of ``StaffRow``) are loaded with the rows that are of it.
"""

Chain: TypeAlias = tuple[InstrumentedAttribute[Any], ...]

_NOTHING: Final[Said] = {}

Below: TypeAlias = "dict[tuple[type[object], str], Step]"
"""What is loaded of the rows at a place, by its class and its name."""

EAGER: Final = ("joined", "selectin", "subquery", "immediate", False)
"""What a mapping says of a relationship (``lazy``) that it loads of itself."""


@dataclass(frozen=True)
class Step:
    """One thing to load, and what of the rows that it leads to; or one not to be loaded, though the mapping would.

    ``is_apart`` says that only rows of a subclass have it, of which the statement before reads nothing of their own.
    """

    attribute: Any
    below: Below = field(default_factory=dict[Any, "Step"])
    is_left: bool = False
    is_apart: bool = False

    @property
    def relationship(self) -> RelationshipProperty[Any] | None:
        """The relationship; None where it is a column."""
        found: Any = self.attribute.property
        return cast("Any", found) if isinstance(found, RelationshipProperty) else None

    @property
    def is_joined(self) -> bool:
        """Whether it comes in the same statement as the rows, or not at all."""
        relationship = self.relationship
        if self.is_apart:
            return False
        if relationship is None or self.is_left:
            return True
        return is_single(relationship) and not any(_of_subclasses(relationship.mapper))  # which could multiply rows

    @property
    def is_one_statement(self) -> bool:
        """Whether it and everything below comes so."""
        relationship = self.relationship
        if relationship is not None and not self.is_left and takes_more(relationship.mapper):
            return False
        return self.is_joined and all(step.is_one_statement for step in self.below.values())

    @property
    def reached(self) -> frozenset[type[Any]]:
        """The classes of the rows that it loads, goes over or is sorted by, and of those below."""
        relationship = None if self.is_left else self.relationship
        if relationship is None:
            return frozenset()
        return loaded_by(relationship).union(*(step.reached for step in self.below.values()))

    def option(self, said: Said = _NOTHING) -> Any:
        """Give the option of a SELECT that loads it, or leaves it; of related rows only those that something holds of.

        Args:
            said: what holds of the related rows to be loaded, by their classes.

        Raises:
            MappingError: they are sorted by what asks about some, or come over some that nothing can limit.
        """
        if self.is_left:
            return lazyload(self.attribute)
        if self.relationship is None:
            return undefer(self.attribute)
        if asked := next((each for each in _sorted_by(self.relationship) if each in said), None):
            raise MappingError(
                f"{self.attribute} is sorted by what asks about {asked.__name__}, of which the scope says something, "
                "and no scope can limit what whole rows are loaded with: leave it out of loads, and read it by a data "
                "class"
            )
        attribute = seen_by(self.attribute, said)
        load: Any = joinedload(attribute, innerjoin=False) if self.is_joined else selectinload(attribute)
        for element in load.context:
            # Where SQLAlchemy refreshes a row, it has what leads back left, by an option that nothing may contradict.
            element._reconcile_to_other = False
        return load.options(*options(self.relationship.mapper, self.below.values(), said))


def seen_by(attribute: Any, said: Said) -> Any:
    """Give a relationship that loads of related rows only those that something holds of, by their classes."""
    relationship: RelationshipProperty[Any] = attribute.property
    row = relationship.mapper.class_
    entity: Any = relationship.entity
    target = entity.entity if entity.is_aliased_class else row
    # SQLAlchemy has rows of the class meet them in the statements below, too. What is said of a table between is an
    # EXISTS, which there, without that table, asks for any such row: there is the one that has led there.
    conditions = [*said_between(relationship, said), *(said_of(target, each) for each in said.get(row, ()))]
    return attribute.and_(*conditions) if conditions else attribute


def loaded_by(relationship: RelationshipProperty[Any]) -> frozenset[type[Any]]:
    """Give the classes of the rows that a relationship leads to, goes over, finds them by or is sorted by."""
    return frozenset({*reached_by(relationship), *rows_sorting(relationship), *_sorted_by(relationship)})


def _sorted_by(relationship: RelationshipProperty[Any]) -> list[type[Any]]:
    """Give the classes of the rows that the order of a relationship asks about."""
    return [row for each in relationship.order_by or () for row in led_to(each)]


def relationships_of(loaded: Iterable[Step]) -> Iterator[RelationshipProperty[Any]]:
    """Give the relationships that anything is loaded by, those below included."""
    return (cast("Any", step.relationship) for step in relating(loaded))


def relating(loaded: Iterable[Step]) -> Iterator[Step]:
    """Give the steps over relationships that anything is loaded by, the nearest first."""
    left = deque(loaded)
    while left:
        step = left.popleft()
        if step.relationship is not None and not step.is_left:
            yield step
            left += step.below.values()


def takes_more(mapper: Mapper[Any]) -> bool:
    """Say whether the mapping reads what only subclasses have by statements after that of the rows."""
    return any(each.polymorphic_load == "selectin" for each in mapper.self_and_descendants if each is not mapper)


def options(mapper: Mapper[Any], loaded: Iterable[Step], said: Said = _NOTHING) -> tuple[Any, ...]:
    """Give the options of a SELECT of a class's rows, with which all of this comes, or is left; see ``Step.option``."""
    given = list(loaded)
    apart = {step.attribute.class_: None for step in given if step.is_apart}
    own = [selectin_polymorphic(mapper.class_, [*apart])] if apart else []
    return (*own, *(step.option(said) for step in given))


def checked_loads(info: RowInfo[object], loads: object) -> tuple[Chain, ...]:
    """Give what a repository declares as chains, without configuring mappers.

    Raises:
        MappingError: it is no list of relationships and deferred columns, beginning at the row.
    """
    example = f"write loads = [{info.row.__name__}.some_relationship]"
    if not isinstance(loads, Sequence) or isinstance(loads, str):
        raise MappingError(f"loads is a list of relationships, not {kind_of(loads)}: {example}")
    given: list[Any] = list(cast("Any", loads))
    chains: list[Chain] = [item if isinstance(item, tuple) else (item,) for item in given]
    known: list[type[Any]] = [info.row]
    for chain in chains:
        if not chain:
            raise MappingError(f"a chain of loads names at least one relationship: {example}")
        for item in chain:
            _check_one(item, example)
        if len(known) == 1 and not _fits(chain[0], info.row):
            raise MappingError(f"loads names {chain[0]}, which is nothing of {info.row.__name__}: begin at the row")
        known.append(cast("Any", chain[-1]).class_)
    return tuple(chains)


def _check_one(item: object, example: str) -> None:
    if not isinstance(item, InstrumentedAttribute):
        raise MappingError(f"loads holds {kind_of(item)}: {example}")
    # By way of the mapper, because the attribute's own .property would configure every mapper there is.
    attribute = cast("Any", item)
    found = inspect(attribute.class_).get_property(attribute.key, _configure_mappers=False)
    if not isinstance(found, RelationshipProperty) and not getattr(found, "deferred", False):
        raise MappingError(f"loads names {item}, which is neither a relationship nor a deferred column: {example}")


def _fits(attribute: Any, row: Any) -> bool:
    return issubclass(row, attribute.class_) or issubclass(attribute.class_, row)


def steps(info: RowInfo[object], chains: Sequence[Chain]) -> list[Step]:
    """Give everything to be loaded with a row, and what is not to be; mappers are configured.

    Raises:
        MappingError: an attribute is nothing of the row that its chain has come to.
    """
    root: Below = {}
    for chain in chains:
        # It begins at the row, or at every row declared before that its first attribute is one of.
        begins = [(info.mapper, root)] if _fits(chain[0], info.row) else list(_places(root, chain[0]))
        if not begins:
            raise MappingError(
                f"loads names {chain[0]}, which is nothing of {info.row.__name__} nor of what is loaded before it: "
                f"write the way to it, as in ({info.row.__name__}.some_relationship, {chain[0]})"
            )
        for at, below in begins:
            _walk(at, below, chain, at.with_polymorphic_mappers if below is root else ())
    _add_eager(info.mapper, root, (info.mapper,))
    return list(root.values())


def meet_themselves(info: RowInfo[object], loaded: Iterable[Step]) -> bool:
    """Say whether rows of one class, or of classes above and below it, are come to over several paths."""
    left, found = list(loaded), [info.mapper.base_mapper]
    while left:
        step = left.pop()
        if step.relationship is not None and not step.is_left:
            found.append(step.relationship.mapper.base_mapper)
            left += step.below.values()
    return len({*found}) < len(found)


def computed(mapper: Mapper[Any], loaded: Iterable[Step]) -> Iterator[ColumnProperty[Any]]:
    """Give what whole rows, and all that comes with them, are loaded with that is no column.

    Args:
        mapper: their class; rows of those below it may be among them.
        loaded: what comes with them.
    """
    for each in mapper.self_and_descendants:
        yield from (own for own in each.column_attrs if not own.deferred and _is_computed(own))
    for step in loaded:
        if step.relationship is None:
            yield from filter(_is_computed, [step.attribute.property])
        elif not step.is_left:
            yield from computed(step.relationship.mapper, step.below.values())


def unbidden(mapper: Mapper[Any], loaded: Iterable[Step]) -> Iterator[tuple[Any, frozenset[type[Any]]]]:
    """Give what the mapping loads of rows of subclasses by statements of theirs, so that no option limits it.

    Each with the classes of all rows that it reaches. What ``loads`` names has an option.

    Args:
        mapper: the class of the rows.
        loaded: what comes with them.
    """
    steps = list(loaded)
    for each in _coming_below(mapper):
        for relationship in each.relationships:
            named = any(step.attribute.key == relationship.key and each.isa(step.attribute.parent) for step in steps)
            if relationship.lazy in EAGER and not (named or mapper.isa(relationship.parent)):
                met = dict[Any, None]()
                _follow(relationship, met)
                rows = (row for met_by in met for row in loaded_by(met_by))
                yield getattr(each.class_, relationship.key), frozenset(rows)
    for step in steps:
        if step.relationship is not None and not step.is_left:
            yield from unbidden(step.relationship.mapper, step.below.values())


def _coming_below(mapper: Mapper[Any]) -> Iterator[Mapper[Any]]:
    """Give the subclasses whose rows come with all that is theirs."""
    for each in mapper.self_and_descendants:
        if each is not mapper and (each.polymorphic_load or each in mapper.with_polymorphic_mappers):
            yield each


def _follow(relationship: RelationshipProperty[Any], met: dict[Any, None]) -> None:
    if relationship not in met:
        met[relationship] = None
        for mapper in (relationship.mapper, *_coming_below(relationship.mapper)):
            for further in mapper.relationships:
                if further.lazy in EAGER:
                    _follow(further, met)


def _is_computed(attribute: ColumnProperty[Any]) -> bool:
    return not isinstance(attribute.columns[0], Column)


def _places(below: Below, attribute: object) -> Iterator[tuple[Mapper[Any], Below]]:
    for step in below.values():
        if step.relationship is not None:
            if _fits(attribute, step.relationship.mapper.class_):
                yield step.relationship.mapper, step.below
            yield from _places(step.below, attribute)


def _walk(mapper: Mapper[Any], below: Below, chain: Chain, together: Iterable[Mapper[Any]]) -> None:
    """Add a chain at a place, where rows of some subclasses are ``together`` in one statement."""
    for given in chain:
        if not _fits(given, mapper.class_):
            raise MappingError(f"loads names {given} after {mapper.class_.__name__}, of which it is nothing")
        # Of what several subclasses have from one above them, there is one step.
        declaring: Mapper[Any] = cast("Any", given.property).parent
        owner = mapper if mapper.isa(declaring) else declaring
        own = getattr(owner.class_, given.key)
        is_apart = owner is not mapper and owner not in together
        step = below.setdefault((owner.class_, given.key), Step(own, is_apart=is_apart))
        if step.relationship is None:
            if given is not chain[-1]:
                raise MappingError(f"loads names {given}, a column, and something after it: a column ends a chain")
            return
        mapper, below, together = step.relationship.mapper, step.below, ()


def _add_eager(mapper: Mapper[Any], below: Below, path: tuple[Mapper[Any], ...]) -> None:
    """Add what the mapping itself loads, as far as SQLAlchemy would follow it from the row.

    What leads back is left by name: from an alias of the row SQLAlchemy would follow it, and multiply rows. Those of
    subclasses, which come with a row itself, are brought by the statement of their own that a related row is read by.
    """
    found = [getattr(mapper.class_, name) for name in mapper.relationships.keys()]  # noqa: SIM118 - no mapping
    if len(path) == 1:
        found += _of_subclasses(mapper)
    for attribute in found:
        relationship = attribute.property
        further = relationship.mapper not in path
        if (depth := relationship.join_depth) is not None:
            further = len(path) <= depth
        if relationship.lazy in EAGER:
            below.setdefault((attribute.class_, attribute.key), Step(attribute, is_left=not further))
    for step in below.values():
        if step.relationship is not None and not step.is_left:
            _add_eager(step.relationship.mapper, step.below, (*path, step.relationship.mapper))


def _of_subclasses(mapper: Mapper[Any]) -> Iterator[Any]:
    """Give what the mapping loads of rows of subclasses that come in the same statement (``with_polymorphic``)."""
    for each in mapper.with_polymorphic_mappers:
        for relationship in each.relationships:
            if relationship.lazy in EAGER and relationship.parent is each is not mapper:
                yield getattr(each.class_, relationship.key)


def naming_what_is_missing(info: RowInfo[object], loaded: Sequence[Step], convert: Callable[[Any], T]) -> Build:
    """Give what makes data of rows; of a ``to_data`` that touches what is not loaded it says what it was.

    So it does where that is there by luck, and would not be the next time.

    Args:
        info: the rows.
        loaded: what comes with them.
        convert: makes the data of one of them.

    Raises:
        MappingError: from what is given back, instead of SQLAlchemy's own error about greenlets or ``lazy="raise"``; or
            ``to_data`` changes a row, or sends SQL.
    """
    place = _Place(loaded)

    def build_told(records: Iterable[Sequence[object]]) -> list[Any]:
        rows = [record[0] for record in records]
        session, sent, missing = object_session(rows[0]) if rows else None, list[str](), list[Way]()

        def made(row: object) -> T:
            hidden = _hidden(row, place, missing)
            try:
                return convert(row)
            finally:
                _show(hidden)

        try:
            with _sending_nothing(session, sent), unchanged(rows, session):
                return list(map(made, rows))
        except (exc.InvalidRequestError, orm_exc.DetachedInstanceError, ValidationError) as error:
            is_loading = isinstance(error, (exc.MissingGreenlet, orm_exc.DetachedInstanceError))
            if not (missing or sent or is_loading):
                raise
        row = info.row.__name__
        if not missing:
            below = {*info.mapper.self_and_descendants} - {info.mapper, *info.mapper.with_polymorphic_mappers}
            of_below = ', or give a subclass whose columns it reads {"polymorphic_load": "inline"} in __mapper_args__'
            raise MappingError(
                f"to_data sends SQL, for which it cannot wait: declare what it needs beside the {row} as loads = "
                f"[{row}.some_relationship] in the repository, or read it in a method of your own"
                f"{of_below if below else ''}"
            )
        chain, name = ", ".join(missing[0]), missing[0][-1]
        told = f"[{chain}]" if chain == name else f"[({chain})]"
        raise MappingError(
            f"to_data reads {name}, which is not loaded with {row}: declare loads = {told} in the repository"
        )

    return build_told


_SENDING: Final[Sequence[str]] = (
    *("execute", "scalar", "scalars", "connection", "flush", "commit", "rollback"),
    "_get_impl",  # of get() and the like, which send nothing for a row that happens to be there
)


@contextmanager
def _sending_nothing(session: Session | None, sent: list[str]) -> Generator[None]:
    """Have all that sends SQL fail before anything of it comes to the driver, outside a greenlet.

    So does an attribute that would load itself. ``sent`` is told of each try.
    """
    if session is None:
        yield
        return

    def refuse(*_: Any, **__: Any) -> NoReturn:
        sent.append("SQL")
        raise exc.InvalidRequestError("to_data sends no statements: what it needs is declared by loads = [...]")

    methods = vars(session)
    own = {name: methods[name] for name in _SENDING if name in methods}
    methods.update(dict.fromkeys(_SENDING, refuse))
    try:
        yield
    finally:
        for name in _SENDING:
            del methods[name]
        methods.update(own)


Way: TypeAlias = tuple[str, ...]
"""What leads to something from the row that data is made of, and its own name at the end."""

Hidden: TypeAlias = list[tuple[dict[str, Any], dict[str, Any], str, Any, Any]]
"""The values of rows, what loads those that are not there, and of each name that is hidden what was in these."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the rows of one class at a place.

    ``hidden`` is what is not loaded of them, with the way to it; ``below`` are the names that lead to further rows,
    whether to several, the place of those, and whether ``loads`` or what goes with the row itself says so.
    """

    hidden: Mapping[str, Way]
    below: Sequence[tuple[str, bool, _Place, bool]]


class _Place:
    """A place in the tree of all that comes with a row.

    Args:
        steps: what is loaded of the rows there.
        way: what leads to them.
        by: the last relationship of that.
    """

    def __init__(self, steps: Iterable[Step], way: Way = (), by: RelationshipProperty[Any] | None = None) -> None:
        self._steps, self.way, self._by = tuple(steps), way, by
        self._known = dict[Any, _Known]()

    def of(self, mapper: Mapper[Any]) -> _Known:
        """Say what is known of rows of a class."""
        if mapper not in self._known:
            self._known[mapper] = self._found(mapper)
        return self._known[mapper]

    def _found(self, mapper: Mapper[Any]) -> _Known:
        own = {step.attribute.key: step for step in self._steps if issubclass(mapper.class_, step.attribute.class_)}
        hidden, below = dict[str, Way](), list[tuple[str, bool, _Place, bool]]()
        for name, is_eager in _loadable(mapper):
            step, found = own.get(name), cast("Any", mapper.attrs[name])
            way = (*self.way, f"{found.parent.class_.__name__}.{name}")
            if not is_eager if step is None else step.is_left:
                hidden[name] = way
            elif isinstance(found, RelationshipProperty):  # of what subclasses load of themselves there is no step
                place = _Place(() if step is None else step.below.values(), way, cast("Any", found))
                below.append((name, bool(found.uselist), place, step is not None))
        for name in () if self._by is None else _back(self._by, mapper):
            hidden.pop(name, None)
        return _Known(hidden, below)


def _loadable(mapper: Mapper[Any]) -> Iterator[tuple[str, bool]]:
    """Give what need not be loaded of a row, and whether the mapping itself loads it."""
    related: Iterable[RelationshipProperty[Any]] = mapper.relationships
    yield from ((each.key, each.lazy in EAGER) for each in related if each.lazy not in _NEVER)
    yield from ((each.key, False) for each in mapper.column_attrs if each.deferred)


_NEVER: Final = ("dynamic", "write_only", "noload", None)


def _back(by: RelationshipProperty[Any], mapper: Mapper[Any]) -> Iterator[str]:
    """Give the relationships that lead back from a row to the one which it was come from, and which is always there."""
    pairs, related = {(remote, local) for local, remote in by.local_remote_pairs or ()}, mapper.relationships
    single: Iterable[Any] = (each for each in related if each.direction is RelationshipDirection.MANYTOONE)
    return (each.key for each in single if pairs == {*each.local_remote_pairs})


def _hidden(row: object, place: _Place, missing: list[Way]) -> Hidden:
    """Have all fail that is not loaded of a row, and of those that come with it, though it may be there by luck.

    A related row may be among what the session has already, or be none, and another row that data is made of may have
    loaded it: so it was in one call, and is not in the next. ``missing`` is told of each try.
    """
    met, hidden = dict[InstanceState[Any], Mapping[str, Way]](), Hidden()
    _meet(row, place, met)
    for state, names in met.items():
        values = state.dict
        if names and "callables" not in vars(state):
            state.callables = {}
        for name, way in names.items():
            value = values.pop(name, LoaderCallableStatus.NO_VALUE)
            hidden.append((values, state.callables, name, value, state.callables.get(name)))
            state.callables[name] = _Refusing(way, missing)
    return hidden


def _meet(row: object, place: _Place, met: dict[InstanceState[Any], Mapping[str, Way]]) -> None:
    """Go from a row to all that comes with it, and note what is not loaded of each, whichever way leads to it."""
    state: InstanceState[Any] = instance_state(row)
    known, before, values = place.of(state.mapper), met.get(state), state.dict
    hidden = known.hidden
    # SQLAlchemy itself follows what subclasses load of themselves up to where it leads back.
    if left := {name: below.way for name, _, below, is_declared in known.below if not (is_declared or name in values)}:
        hidden = {**hidden, **left}
    if before is not None:
        both = before.keys() & hidden.keys()
        hidden = {name: min(before[name], hidden[name], key=lambda way: len(way)) for name in both}
    met[state] = hidden
    for name, is_many, below, is_declared in known.below:
        found = values.get(name) if is_declared or before is None else None
        if found is not None:
            related: Iterable[object] = collection_adapter(found) if is_many else (found,)
            for each in related:
                _meet(each, below, met)


class _Refusing:
    """Stands for what would load an attribute."""

    __slots__ = ("_missing", "_way")

    def __init__(self, way: Way, missing: list[Way]) -> None:
        self._way, self._missing = way, missing

    def __call__(self, state: object, passive: PassiveFlag) -> LoaderCallableStatus:
        if passive & PassiveFlag.NO_RAISE or not passive & PassiveFlag.SQL_OK:  # to know what was there before
            return LoaderCallableStatus.PASSIVE_NO_RESULT
        self._missing.append(self._way)
        raise exc.InvalidRequestError("to_data reads what is not loaded: it is declared by loads = [...]")


def _show(hidden: Hidden) -> None:
    """Have all be as it was before it was hidden."""
    for values, callables, name, value, own in hidden:
        if own is None:
            callables.pop(name, None)
        else:
            callables[name] = own
        if value is not LoaderCallableStatus.NO_VALUE:
            values.setdefault(name, value)
