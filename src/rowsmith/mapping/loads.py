"""Loads: what is read beside the columns of a whole row, so that ``to_data`` finds it there.

Nothing loads itself in asyncio. What a repository declares, and what the mapping loads of itself
(``lazy="joined"``), is loaded with the rows: to-one by a join, to-many by one further statement for many rows
together, which neither multiplies rows nor keeps a stream from being one.
"""

from __future__ import annotations

import inspect as python_inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import walk_tb
from typing import Any, Final, NoReturn, TypeAlias, TypeVar, cast

from pydantic import ValidationError
from sqlalchemy import exc, inspect
from sqlalchemy.orm import (
    InstrumentedAttribute,
    Mapper,
    RelationshipProperty,
    Session,
    attributes,
    joinedload,
    lazyload,
    object_session,
    selectinload,
    undefer,
)
from sqlalchemy.orm import exc as orm_exc

from rowsmith.errors import MappingError, kind_of
from rowsmith.mapping.generated import Build
from rowsmith.mapping.relationships import is_single
from rowsmith.mapping.row import RowInfo
from rowsmith.mapping.unchanged import unchanged

T = TypeVar("T")

Loads: TypeAlias = Sequence[InstrumentedAttribute[Any] | tuple[InstrumentedAttribute[Any], ...]]
"""Relationships (``TalkRow.speaker``) and deferred columns of a row, and chains of them, each of the one before."""

Chain: TypeAlias = tuple[InstrumentedAttribute[Any], ...]

_EAGER = ("joined", "selectin", "subquery", "immediate", False)


@dataclass(frozen=True)
class Step:
    """One thing to load, and what of the rows that it leads to; or one not to be loaded, though the mapping would."""

    attribute: Any
    below: dict[str, Step] = field(default_factory=dict[str, "Step"])
    is_left: bool = False

    @property
    def relationship(self) -> RelationshipProperty[Any] | None:
        """The relationship; None where it is a column."""
        found: Any = self.attribute.property
        return cast("Any", found) if isinstance(found, RelationshipProperty) else None

    @property
    def is_joined(self) -> bool:
        """Whether it comes in the same statement as the rows, or not at all."""
        relationship = self.relationship
        if relationship is None or self.is_left:
            return True
        return is_single(relationship) and not any(_of_subclasses(relationship.mapper))  # which could multiply rows

    @property
    def is_one_statement(self) -> bool:
        """Whether it and everything below comes so."""
        return self.is_joined and all(step.is_one_statement for step in self.below.values())

    def option(self) -> Any:
        """Give the option of a SELECT that loads it, or leaves it."""
        if self.is_left:
            return lazyload(self.attribute)
        if self.relationship is None:
            return undefer(self.attribute)
        load = joinedload(self.attribute, innerjoin=False) if self.is_joined else selectinload(self.attribute)
        return load.options(*(step.option() for step in self.below.values()))


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
    root: dict[str, Step] = {}
    for chain in chains:
        # It begins at the row, or at every row declared before that its first attribute is one of.
        begins = [(info.mapper, root)] if _fits(chain[0], info.row) else list(_places(root, chain[0]))
        if not begins:
            raise MappingError(
                f"loads names {chain[0]}, which is nothing of {info.row.__name__} nor of what is loaded before it: "
                f"write the way to it, as in ({info.row.__name__}.some_relationship, {chain[0]})"
            )
        for at, below in begins:
            _walk(at, below, chain)
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


def _places(below: dict[str, Step], attribute: object) -> Iterator[tuple[Mapper[Any], dict[str, Step]]]:
    for step in below.values():
        if step.relationship is not None:
            if _fits(attribute, step.relationship.mapper.class_):
                yield step.relationship.mapper, step.below
            yield from _places(step.below, attribute)


def _walk(mapper: Mapper[Any], below: dict[str, Step], chain: Chain) -> None:
    for given in chain:
        if not _fits(given, mapper.class_):
            raise MappingError(f"loads names {given} after {mapper.class_.__name__}, of which it is nothing")
        row, owner = mapper.class_, cast("type[Any]", given.class_)
        own = getattr(row, given.key) if issubclass(row, owner) else given
        step = below.setdefault(given.key, Step(own))
        if step.relationship is None:
            if given is not chain[-1]:
                raise MappingError(f"loads names {given}, a column, and something after it: a column ends a chain")
            return
        mapper, below = step.relationship.mapper, step.below


def _add_eager(mapper: Mapper[Any], below: dict[str, Step], path: tuple[Mapper[Any], ...]) -> None:
    """Add what the mapping itself loads, as far as SQLAlchemy would follow it from the row.

    What leads back is left by name: from an alias of the row SQLAlchemy would follow it, and multiply rows. Those of
    subclasses, which come with a row itself, are brought by the statement of their own that a related row is read by.
    """
    found = [(name, getattr(mapper.class_, name)) for name in mapper.relationships.keys()]  # noqa: SIM118 - no mapping
    if len(path) == 1:
        found += [(str(attribute), attribute) for attribute in _of_subclasses(mapper)]
    for name, attribute in found:
        relationship = attribute.property
        further = relationship.mapper not in path
        if (depth := relationship.join_depth) is not None:
            further = len(path) <= depth
        if relationship.lazy in _EAGER:
            below.setdefault(name, Step(attribute, is_left=not further))
        if (step := below.get(name)) is not None and not step.is_left:
            _add_eager(relationship.mapper, step.below, (*path, relationship.mapper))


def _of_subclasses(mapper: Mapper[Any]) -> Iterator[Any]:
    """Give what the mapping loads of rows of subclasses that come in the same statement (``with_polymorphic``)."""
    for each in mapper.with_polymorphic_mappers:
        for relationship in each.relationships:
            if relationship.lazy in _EAGER and relationship.parent is each is not mapper:
                yield getattr(each.class_, relationship.key)


def naming_what_is_missing(info: RowInfo[object], convert: Callable[[Any], T]) -> Build:
    """Give what makes data of rows; of a ``to_data`` that touches what is not loaded it says what it was.

    Raises:
        MappingError: from what is given back, instead of SQLAlchemy's own error about greenlets or ``lazy="raise"``; or
            ``to_data`` changes a row, or sends SQL.
    """

    def build_told(records: Iterable[Sequence[object]]) -> list[Any]:
        rows = [record[0] for record in records]
        session, sent = object_session(rows[0]) if rows else None, list[str]()
        try:
            with _sending_nothing(session, sent), unchanged(rows, session):
                return [convert(row) for row in rows]
        except (exc.InvalidRequestError, orm_exc.DetachedInstanceError) as error:
            touched = _touched(error)
            if touched is None and not sent and not isinstance(error, exc.MissingGreenlet):
                raise
        except ValidationError as error:
            touched = _touched_by_pydantic(info.mapper, error)
            if touched is None and not sent:
                raise
        if touched is None:
            row = info.row.__name__
            raise MappingError(
                f"to_data sends SQL, for which it cannot wait: declare what it needs beside the {row} as loads = "
                f"[{row}.some_relationship] in the repository, or read it in a method of your own"
            )
        owner, name = touched
        way = _way(info.mapper, owner, (info.mapper,))
        chain = ", ".join([*way, f"{owner.__name__}.{name}"])
        told = f"[({chain})]" if way else f"[{chain}]"
        raise MappingError(
            f"to_data reads {owner.__name__}.{name}, which is not loaded with {info.row.__name__}: "
            f"declare loads = {told} in the repository"
        )

    return build_told


_SENDING: Final[Sequence[str]] = ("execute", "scalar", "scalars", "connection", "flush", "commit", "rollback")


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


def _touched(error: BaseException) -> tuple[type[Any], str] | None:
    """Give the class and name of the attribute that was being loaded when an error was raised."""
    found = None
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code.co_filename == attributes.__file__ and frame.f_code.co_name == "get":
            impl: Any = frame.f_locals.get("self")
            if isinstance(getattr(impl, "key", None), str) and python_inspect.isclass(getattr(impl, "class_", None)):
                found = impl.class_, impl.key
    return found


def _touched_by_pydantic(mapper: Mapper[Any], error: ValidationError) -> tuple[type[Any], str] | None:
    """Do the same where pydantic read the attributes of a row, and kept of the error no more than its words."""
    for item in error.errors(include_url=False, include_input=False):
        names = [part for part in item["loc"] if isinstance(part, str)]
        if item["type"] == "get_attribute_error" and names:
            at = mapper
            for name in names[:-1]:
                at = at.relationships[name].mapper if name in at.relationships else at
            if at.has_property(names[-1]):
                return at.class_, names[-1]
    return None


def _way(mapper: Mapper[Any], owner: type[object], path: tuple[Mapper[Any], ...]) -> list[str]:
    """Give the names of the relationships from a row to the one with an attribute; none for the row itself."""
    if issubclass(mapper.class_, owner) or issubclass(owner, mapper.class_):
        return []
    ways: list[list[str]] = [
        [f"{mapper.class_.__name__}.{found.key}", *further]
        for found in cast("Any", mapper.relationships)
        if found.mapper not in path
        and ((further := _way(found.mapper, owner, (*path, found.mapper))) or issubclass(found.mapper.class_, owner))
    ]
    return min(ways, key=lambda way: len(way), default=list[str]())
