"""Specs in a tree: fields that name relationships, whose own specs need the key of the row above."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from sqlalchemy.orm import RelationshipDirection

from rowsmith.errors import InvalidValue, MappingError, kind_of
from rowsmith.mapping import RowInfo, Spec, row_info
from rowsmith.mapping.writes import belongs_to
from rowsmith.operations.inserts.matching import Rows


@dataclass(frozen=True)
class Branch:
    """A relationship to rows below: its name, their class, and which of their attributes take which of the row's."""

    name: str
    row: type[Any]
    links: tuple[tuple[str, str], ...]

    def children(self, specs: Sequence[Spec[Any]]) -> tuple[list[Spec[Any]], list[int]]:
        """Give the specs below, of all rows, and for each the place of the row above it."""
        below: list[Spec[Any]] = []
        owners: list[int] = []
        for place, spec in enumerate(specs):
            given = _below(spec, self.name)
            below += given
            owners += [place] * len(given)
        return below, owners

    def keys(self, above: Rows, owners: Sequence[int]) -> dict[str, list[Any]]:
        """Give the attributes of the rows below that refer to the rows above."""
        return {below: [above[name][place] for place in owners] for name, below in self.links}


def check_specs(info: RowInfo[object], specs: Sequence[Spec[Any]]) -> None:
    """Refuse what is no spec of a row, in the rows below it too.

    Raises:
        MappingError: one is of another class, or a relationship cannot be written.
        InvalidValue: a field for rows below holds no list.
    """
    for kind in (kinds := set(map(type, specs))):
        belongs_to(specs[0] if len(kinds) == 1 else next(spec for spec in specs if type(spec) is kind), info, Spec)
    for branch in branches_of(info, specs):
        if below := branch.children(specs)[0]:
            check_specs(row_info(branch.row), below)


def fault_below(spec: Spec[Any]) -> Exception | None:
    """Give what the own ``to_values`` of a spec below raises, if one does."""
    for name in type(spec).__rowsmith_children__:
        for child in _below(spec, name):
            try:
                child.to_values()
            except Exception as exc:  # noqa: BLE001 - whatever an application raises is told as it is
                return exc
            if fault := fault_below(child):
                return fault
    return None


def branches_of(info: RowInfo[object], specs: Iterable[Spec[Any]]) -> list[Branch]:
    """Give the relationships that the classes of some specs name.

    Raises:
        MappingError: one leads to a row that must be there before, or over a table in between.
    """
    kinds = set(map(type, specs))
    names = dict.fromkeys(name for kind in kinds for name in getattr(kind, "__rowsmith_children__", ()))
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
