"""Whose call a statement is: what its errors say of where they come from, and which errors it wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.orm import Mapper

from rowsmith.errors import ErrorFactory, ErrorFacts, ReferenceNotFound, RepositoryError, StillReferenced


@dataclass(frozen=True)
class Items:
    """The items of a caller's input that the rows of a statement are made of, in their order: their indexes there."""

    places: Sequence[int]
    noun: str = "spec"

    def index(self, row: int | None) -> int | None:
        """Give the index of a row's item; None where it cannot be told."""
        return self.places[row] if row is not None and row < len(self.places) else None


@dataclass(frozen=True)
class Origin:
    """The call behind a statement.

    ``domain`` and ``operation`` go into error codes; ``table`` tells from which end a foreign key failed;
    ``violations`` has the domain's errors, see :data:`rowsmith.errors.Violations`; ``deletes`` says that a foreign key
    can only have failed because others still point here; ``writes`` are the columns an UPDATE writes, None for new
    rows; ``mapper`` is the row's, by which a session that has several databases chooses; ``items`` are what the rows
    of this statement are made of, in a batch; ``reads`` says that it does nothing but read.
    """

    domain: str | None = None
    operation: str | None = None
    table: Table | None = None
    violations: Mapping[Any, ErrorFactory] = field(default_factory=dict[Any, ErrorFactory])
    deletes: bool = False
    writes: frozenset[str] | None = None
    mapper: Mapper[Any] | None = field(default=None, repr=False)
    items: Items | None = field(default=None, repr=False)
    reads: bool = False

    def of(self, places: Sequence[int], noun: str = "spec") -> Origin:
        """Give the origin of a statement whose rows are made of the items at these places of the caller's input."""
        return replace(self, items=Items(places, noun))

    def reading(self) -> Origin:
        """Give the origin of a statement that does nothing but read."""
        return replace(self, reads=True)

    def facts(self) -> ErrorFacts:
        """Give what is known of an error of this call before anything is known of the error."""
        return ErrorFacts(domain=self.domain, operation=self.operation)

    def declared(self, keys: Iterable[object], kind: type[RepositoryError]) -> ErrorFactory:
        """Give what makes an error that goes by one of these keys, the first that is declared; else its kind.

        A table that refers to itself has one foreign key for both ends, and may declare an error of one of them.
        """
        declared = (self.violations[key] for key in keys if key in self.violations)
        return next((factory for factory in declared if not _is_of_the_other_end(factory, kind)), kind)

    @property
    def binds(self) -> dict[str, Any]:
        """What a session is told, so that a statement on the bare table goes where those on the class go."""
        return {} if self.mapper is None else {"mapper": self.mapper}


def _is_of_the_other_end(factory: ErrorFactory, kind: type[RepositoryError]) -> bool:
    other = _OTHER_ENDS.get(kind)
    return (
        other is not None and isinstance(factory, type) and issubclass(factory, other) and not issubclass(factory, kind)
    )


_OTHER_ENDS: Final[Mapping[type[RepositoryError], type[RepositoryError]]] = {
    ReferenceNotFound: StillReferenced,
    StillReferenced: ReferenceNotFound,
}


UNKNOWN = Origin()
"""A statement of the application's own, sent through a session of ours."""
