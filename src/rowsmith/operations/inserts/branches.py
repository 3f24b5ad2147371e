"""Specs in a tree: fields that name relationships, whose own specs need the key of the row above."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Any, cast

from sqlalchemy.orm import RelationshipDirection

from rowsmith.errors import InvalidValue, MappingError, kind_of
from rowsmith.mapping import RowInfo, Spec, row_info
from rowsmith.mapping.writes import all_belong
from rowsmith.operations.inserts.matching import Rows


@dataclass(frozen=True)
class Branch:
    """A relationship to rows below: its name, their class, and which of their attributes take which of the row's."""

    name: str
    row: type[Any]
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Level:
    """Specs of a tree, for rows of one class: those at the top, or those below them by one relationship.

    ``tops`` are the places in the caller's input of those at the top, one for each spec. ``owners`` are the places of
    the rows above among those of their own level, and ``links`` what is taken of those; there are none at the top.
    """

    info: RowInfo[Any]
    specs: Sequence[Spec[Any]]
    tops: Sequence[int]
    owners: Sequence[int] = ()
    links: tuple[tuple[str, str], ...] = ()

    @cached_property
    def branches(self) -> list[Branch]:
        """The relationships to what is below."""
        return branches_of(self.info, self.specs)

    def below(self) -> list[Level]:
        """Give the levels just below it, the last first: as they are taken from the end of a list."""
        return [level for branch in reversed(self.branches) if (level := self._below(branch)).specs]

    def _below(self, branch: Branch) -> Level:
        given = [_below(spec, branch.name) for spec in self.specs]
        owners = [owner for owner, specs in enumerate(given) for _ in specs]
        tops = [self.tops[owner] for owner in owners]
        return Level(row_info(branch.row), list(chain.from_iterable(given)), tops, owners, branch.links)

    def all_below(self) -> Iterator[Level]:
        """Give all levels below it, each before what is below that is looked at: no tree is too deep for a loop."""
        left = self.below()
        while left:
            level = left.pop()
            yield level
            left += level.below()

    def keys(self, above: Rows) -> dict[str, list[Any]]:
        """Give the attributes that refer to the rows above."""
        return {below: [above[name][place] for place in self.owners] for name, below in self.links}


def check_trees(info: RowInfo[object], specs: Sequence[Spec[Any]], first: int | None = 0) -> None:
    """Refuse what cannot be rows below those of some specs.

    Args:
        info: the row that the specs are for.
        specs: what is at the top of each tree.
        first: the index of the first one, which messages name; None where it was given by itself.

    Raises:
        MappingError: a spec below is of another class, or a relationship cannot be written.
        InvalidValue: as in :func:`unfit_trees`.
    """
    for fault in unfit_trees(info, specs, first).values():
        raise fault


def unfit_trees(info: RowInfo[object], specs: Sequence[Spec[Any]], first: int | None = 0) -> dict[int, InvalidValue]:
    """Give what is wrong with the trees of some specs, by their places: a field that holds no list, a tree without end.

    Raises:
        MappingError: as :func:`check_trees`.
    """
    if not branches_of(info, specs):
        return {}
    start = first or 0
    whys = {place: why for place, spec in enumerate(specs) if (why := _unfit(spec)) is not None}
    fit = [place for place in range(len(specs)) if place not in whys]
    for level in Level(info, [specs[place] for place in fit], [start + place for place in fit]).all_below():
        all_belong(level.specs, level.info, Spec, None if first is None else level.tops)
    if first is None:
        return {place: InvalidValue(why) for place, why in whys.items()}
    return {place: InvalidValue.at(start + place, why) for place, why in whys.items()}


def fault_below(spec: Spec[Any]) -> Exception | None:
    """Give what the own ``to_values`` of a spec below raises, if one does."""
    left = _all_below(spec)
    while left:
        child = left.pop()
        try:
            child.to_values()
        except Exception as exc:  # noqa: BLE001 - whatever an application raises is told as it is
            return exc
        left += _all_below(child)
    return None


def _unfit(spec: Spec[Any]) -> str | None:
    """Say why a tree cannot be walked; None where it can."""
    left, below = [spec], dict[int, list[Spec[Any]]]()  # which keeps them, for one that is gone leaves its id to others
    try:
        while left:
            above = left.pop()
            if id(above) not in below and (children := _all_below(above)):
                below[id(above)] = children
                left += children
        inner = {above: [id(child) for child in children if id(child) in below] for above, children in below.items()}
        if any(inner.values()):
            TopologicalSorter(inner).prepare()
    except InvalidValue as exc:
        return str(exc)
    except CycleError:
        return f"{type(spec).__name__} holds a spec that is below itself: give a tree that ends"
    return None


def branches_of(info: RowInfo[object], specs: Iterable[Spec[Any]]) -> list[Branch]:
    """Give the relationships that the classes of some specs name.

    Raises:
        MappingError: one leads to a row that must be there before, or over a table in between.
    """
    kinds = set(map(type, specs))
    names = dict.fromkeys(name for kind in kinds for name in _names_of(kind))
    return [_branch(cast("Any", info.row), name) for name in names]


@cache
def _branch(row: type[object], name: str) -> Branch:
    info = row_info(row)
    relationship = info.mapper.relationships[name]
    for end in (info, row_info(relationship.mapper.class_)):
        end.one_statement(f"a spec with {info.row.__name__}.{name}", "create(spec)")
    if relationship.direction is not RelationshipDirection.ONETOMANY or relationship.secondary is not None:
        raise MappingError(
            f"{info.row.__name__}.{name} leads to no rows of its own: a spec can bring rows that refer to it, "
            "not rows that it refers to"
        )
    pairs = relationship.local_remote_pairs or ()
    links = tuple(
        (_attribute(relationship.parent, here), _attribute(relationship.mapper, there)) for here, there in pairs
    )
    return Branch(name, relationship.mapper.class_, links)


def _attribute(mapper: Any, column: Any) -> str:
    return str(mapper.get_property_by_column(column).key)


def _names_of(kind: type[object]) -> tuple[str, ...]:
    """Give the fields of a class that hold specs of rows below; none for what is no spec."""
    return getattr(kind, "__rowsmith_children__", ())


def _all_below(spec: Spec[Any]) -> list[Spec[Any]]:
    """Give the specs just below one, the last first: as they are taken from the end of a list."""
    found = [child for name in _names_of(type(spec)) for child in _below(spec, name)]
    return found[::-1]


def _below(spec: Spec[Any], name: str) -> Sequence[Spec[Any]]:
    """Give the specs in a field of a spec: none, one, or a list, which may be read more than once."""
    given: Any = getattr(spec, name, None)
    if given is None:
        return ()
    if isinstance(given, Spec):
        return [cast("Any", given)]
    if not isinstance(given, Collection) or isinstance(given, str | bytes | Mapping):
        raise InvalidValue(f"{type(spec).__name__}.{name} holds a list of specs, not {kind_of(cast('Any', given))}")
    return list(cast("Any", given))
