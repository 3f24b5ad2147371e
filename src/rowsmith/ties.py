"""What a subquery reads: rows of the statements around it, or rows of its own.

SQLAlchemy ties a subquery to the statement right around it, and no further. One that is deeper inside and names the
row, or anything else that is read outside, gets a FROM of its own: it asks about any row, where its author may well
have meant the one. That is refused unless it is said: ``.correlate(...)`` ties it; ``aliased(Row)``,
``.select_from(Row)``, a join and ``.correlate(None)`` say that other rows are meant. Nothing here talks to a database.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Final

from sqlalchemy import Column, Exists, FromClause, ScalarSelect, Select, SelectBase
from sqlalchemy.sql.selectable import AliasedReturnsRows, FromGrouping, Lateral, SelectState

from rowsmith.several import outside_subqueries

STEP: Final = "rowsmith_step"
"""The mark of a step over a relationship.

It is the execution option of its SELECT, which reads by itself what the step leads to, alone; and the annotation of
what ties these rows to the one above, which says the alias that they have.
"""


class _Place(enum.Enum):
    """Where a SELECT stands: as a value, inside an EXISTS, or in a FROM, where only a LATERAL is tied by itself."""

    VALUE = enum.auto()
    EXISTS = enum.auto()
    FROM = enum.auto()
    LATERAL = enum.auto()


@dataclass(frozen=True)
class Subquery:
    """A SELECT inside an expression; ``around`` is what the statements around it read, the nearest one last.

    ``is_loose`` says that it is in an EXISTS that takes nothing from outside, so that it would be true of all rows or
    of none.
    """

    select: Any
    around: Sequence[Sequence[FromClause]]
    place: _Place
    is_loose: bool = False

    @cached_property
    def shown(self) -> list[FromClause]:
        """What stands in its FROM, decided as SQLAlchemy does; a join as one."""
        given, is_derived = self.select, self.place is _Place.FROM
        reached = list(chain.from_iterable(self.around[:-1] if is_derived else self.around))
        sources = _sources(given)
        if given._correlate:
            sources = [one for one in sources if not (_among(one, reached) and _among(one, given._correlate))]
        if given._correlate_except is not None:
            kept = given._correlate_except
            sources = [one for one in sources if not _among(one, reached) or _among(one, kept)]
        if given._auto_correlate and not is_derived and len(sources) > 1:
            sources = [one for one in sources if not _among(one, self.around[-1])]
        return sources

    @property
    def read(self) -> list[FromClause]:
        """What it reads by itself, joined tables one by one."""
        return [part for source in self.shown for part in source._from_objects]  # pyright: ignore[reportPrivateUsage]

    def untied(self) -> FromClause | None:
        """Give something that is read outside, and that it reads by itself without saying so."""
        outside = list(chain.from_iterable(self.around))
        return next((one for one in self.shown if _among(one, outside) and not self._means(one)), None)

    def stray(self) -> FromClause | None:
        """Give something that a step over a relationship reads by itself, though it does not lead there."""
        if STEP not in self.select._execution_options:
            return None
        led_to = self.select._correlate_except
        return next((one for one in self.shown if not _among(one, led_to)), None)

    def apart(self) -> str | None:
        """Give the name of a class whose columns are named of several tables, if those are read each by itself."""
        read = set(map(id, self.shown))
        for condition in self.select._where_criteria:
            for part in outside_subqueries(condition):
                subject = part._annotations.get("parententity")
                if subject is None or not isinstance(part, Column) or len(subject.mapper.tables) == 1:
                    continue
                named = [table for table in subject.mapper.tables if table is not subject.mapper.local_table]
                is_inherited = any(
                    getattr(part.table, "key", None) == table.key and id(table) in read for table in named
                )
                if is_inherited and id(subject.mapper.local_table) in read:
                    return str(subject.mapper.class_.__name__)
        return None

    def _means(self, source: FromClause) -> bool:
        """Say whether it is plain that rows of its own are meant."""
        given = self.select
        if not (given._auto_correlate or given._correlate or given._correlate_except):
            return True
        if _among(source, given._from_obj) or _among(source, given._correlate_except or ()):
            return True
        is_near = _among(source, self.around[-1]) and not given._correlate and self.place is not _Place.EXISTS
        is_apart = self.place is _Place.FROM and not self.is_loose
        return (is_near or is_apart) and _among(source, _selected(given))

    @property
    def takes(self) -> bool:
        """Say whether it takes anything from the statements around it."""
        return not all(_among(source, self.shown) for source in _sources(self.select))


def loose_ties(expression: object, sources: Iterable[FromClause]) -> str | None:
    """Say what is wrong with an expression whose subquery may be meant to be about a row of the statement it stands in.

    Args:
        expression: what stands in a statement.
        sources: what the statement reads.

    Returns:
        What to write instead; None where every subquery says which rows it is about.
    """
    for subquery in subqueries(expression, sources):
        if (source := subquery.stray()) is not None:
            return (
                f"has a related(...) that reads any row of {_name(source)}, to which its relationship does not lead: "
                "give it a relationship of the row itself, related(TeamRow.lead.of_type(EngineerRow), ...) for columns "
                "of a subclass, and a further related(...) for each further step"
            )
        if (row := subquery.apart()) is not None:
            return (
                f"has a subquery that reads the tables of {row} without joining them, so that any row of one goes with "
                f"any of the other: write .select_from({row}) in it"
            )
        if (source := subquery.untied()) is not None:
            table = _name(source)
            return (
                f"has a subquery that reads any row of {table}, and not the one that is read around it, as SQLAlchemy "
                "ties a subquery only to the statement right around it: write .correlate(...) with all that it takes "
                f"from outside, or aliased(...) if any row of {table} is meant"
            )
    return None


def _name(source: object) -> str:
    """Give the name of what is read; of an alias that has none of its own, that of what it stands for."""
    name: Any = getattr(source, "name", "a table")
    while isinstance(source, AliasedReturnsRows) and str(name).startswith("%("):
        source = source.element
        name = getattr(source, "name", "a subquery")
    return str(name)


def subqueries(expression: object, sources: Iterable[FromClause]) -> Iterator[Subquery]:
    """Give each SELECT inside an expression that stands in a statement over some sources, outer ones first."""
    whole = _Around([list(sources)], _Place.VALUE)
    yield from (found for found, _ in _inside(expression, whole, ()) if isinstance(found, Subquery))


def parts_and_sources(expression: object, sources: Iterable[FromClause]) -> Iterator[tuple[Any, Sequence[FromClause]]]:
    """Give each part of an expression that stands in a statement, and of which of its sources the part can be.

    These are all of them, but for those that a SELECT around the part reads by itself.
    """
    given = list(sources)
    inside = _inside(expression, _Around([given], _Place.VALUE), given)
    yield from ((part, own) for part, own in inside if not isinstance(part, Subquery))


def takes_from(expression: Any, tables: Sequence[FromClause]) -> bool:
    """Say whether an expression takes anything from a row of these tables, which no subquery in it reads by itself."""
    return any(True for _ in taken_from(expression, tables))


def taken_from(expression: Any, tables: Sequence[FromClause]) -> Iterator[Column[Any]]:
    """Give the columns that an expression takes from a row of these tables, as :func:`takes_from` has it."""
    parts = parts_and_sources(expression, tables)
    yield from (part for part, own in parts if isinstance(part, Column) and _among(part.table, own))


_WRAPPINGS: Final = (SelectBase, ScalarSelect, FromGrouping)


@dataclass(frozen=True)
class _Around:
    reads: Sequence[Sequence[FromClause]]
    place: _Place
    is_loose: bool = False


def _inside(element: Any, given: _Around, own: Sequence[FromClause]) -> Iterator[tuple[Any, Sequence[FromClause]]]:
    around, place, is_loose = given.reads, given.place, given.is_loose
    if isinstance(element, Select):
        subquery = Subquery(element, around, place, is_loose)
        yield subquery, own
        is_loose = not subquery.takes if place is _Place.EXISTS else is_loose
        if subquery.untied() is None:  # else it may mean the row, and is refused for that
            own = [one for one in own if not _among(one, subquery.read)]
        around, place = [*around, subquery.read], _Place.VALUE
    elif isinstance(element, Lateral):
        place = _Place.LATERAL
    elif isinstance(element, AliasedReturnsRows):
        place = _Place.LATERAL if place is _Place.LATERAL else _Place.FROM
    elif not isinstance(element, _WRAPPINGS):
        place = _Place.EXISTS if isinstance(element, Exists) else _Place.VALUE
    yield element, own
    for child in {id(child): child for child in element.get_children()}.values():
        yield from _inside(child, _Around(around, place, is_loose), own)


def _sources(given: Any) -> list[FromClause]:
    """Give what would stand in the FROM of a SELECT that stood alone."""
    if given._setup_joins or given._memoized_select_entities:
        return list(given.get_final_froms())
    named = (part._from_objects for part in given._where_criteria)
    return SelectState._normalize_froms([*given._from_obj, *_selected(given), *chain.from_iterable(named)])  # pyright: ignore[reportPrivateUsage]


def _selected(given: Any) -> list[FromClause]:
    """Give what the columns of a SELECT are of."""
    return [source for part in given._raw_columns for source in part._from_objects]


def _among(source: Any, sources: Iterable[Any]) -> bool:
    """Say whether SQLAlchemy takes a source for one of these."""
    return any(not source._cloned_set.isdisjoint(one._cloned_set) for one in sources)
