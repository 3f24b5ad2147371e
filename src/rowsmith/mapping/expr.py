"""Fields that no column holds: SQL expressions and aggregates, declared in a data class by ``Annotated``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

from sqlalchemy import ColumnElement, distinct, func
from sqlalchemy.sql import visitors
from sqlalchemy.sql.functions import FunctionElement

from rowsmith.conditions import Condition, conjunction
from rowsmith.errors import InvalidValue, MappingError, kind_of
from rowsmith.mapping.comparisons import check_comparisons
from rowsmith.mapping.row import RowInfo
from rowsmith.mapping.truth import complaint_inside
from rowsmith.mapping.types import Comparison, column_type, stored_form
from rowsmith.several import Several, several_complaint
from rowsmith.signatures import takes
from rowsmith.sql import as_sql, calls_for_values, instead, is_sql, own_parameters
from rowsmith.texts import complaint_about
from rowsmith.ties import loose_ties

Expression: TypeAlias = Any
"""A column, mapped attribute or SQL expression, or a callable without arguments that gives one."""


@dataclass(frozen=True, eq=False)
class Expr:
    """What a field of a data class is computed from, in the database.

    ::

        @dataclass(frozen=True)
        class GroupSummary:
            id: GroupId
            label: Annotated[str, Expr(GroupRow.name)]
            length: Annotated[int, Expr(lambda: func.length(GroupRow.name))]

    Takes an expression, or a callable without arguments for one that is to be made at first use, such as
    one over a row declared further down. It is of the one row: an aggregate or a window function stands in a scalar
    subquery of its own. After a write it tells of what is there then, other rows included: what a subquery reads, or
    may be read by a function or an operator that is none of PostgreSQL's everyday ones, takes a statement more.
    """

    __rowsmith_mark__: ClassVar[bool] = True

    expression: Expression

    @property
    def is_deferred(self) -> bool:
        """Whether it is a callable, and so to be made at first use."""
        return _is_deferred(self.expression)

    def resolve(self) -> ColumnElement[Any]:
        """Give the SQL expression.

        Raises:
            MappingError: it is none.
        """
        return resolved(self.expression)


@dataclass(frozen=True, eq=False)
class Aggregate:
    """A field computed over all rows or over those of a group, by ``count``, ``sum_``, ``avg``, ``min_``, ``max_``.

    It belongs into the data class of ``aggregate``, not into one of rows.

    Raises:
        MappingError: there is no such value of what it is over, as no mean of JSON documents; or it is over nothing,
            and counts no rows; or ``distinct`` is neither True nor False.
    """

    __rowsmith_mark__: ClassVar[bool] = True

    kind: Literal["count", "sum", "avg", "min", "max"]
    expression: Expression = None
    distinct: bool = False
    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.distinct), bool):
            raise MappingError(
                f"distinct is True or False, not {kind_of(self.distinct)}: write count(Row.column, distinct=True), and "
                "conditions as count(Row.column).filter(...)"
            )
        if self.expression is None and (self.kind != "count" or self.distinct):
            name = _AGGREGATORS[self.kind]
            example = "count(Row.column, distinct=True)" if self.distinct else f"{name}(Row.column)"
            raise MappingError(f"{name} is over values, of which nothing has been said here: write {example}")
        if self.expression is not None and not _is_deferred(self.expression):
            self._over()

    def filter(self, *conditions: Condition) -> Aggregate:
        """Give the same over only those rows for which all conditions hold (``FILTER (WHERE ...)``)."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def resolve(self) -> ColumnElement[Any]:
        """Give the SQL expression.

        Raises:
            MappingError: what it is over is no expression, or has no such value.
        """
        over = [] if self.expression is None else [self._over()]
        make: Any = getattr(func, self.kind)
        function: FunctionElement[Any] = make(*(map(distinct, over) if self.distinct else over))
        return function.filter(conjunction(self.conditions)) if self.conditions else function

    def _over(self) -> ColumnElement[Any]:
        expression = resolved(self.expression)
        if column_type(stored_form(expression.type)).compared in _WITHOUT.get(self.kind, ()):
            named = type(expression.type).__name__
            raise MappingError(
                f"there is no {self.kind} over {named}: compute it over a number, as in "
                f"{_AGGREGATORS[self.kind]}(Row.document['size'].as_float())"
            )
        return expression


_NO_ORDER: Final = frozenset({Comparison.DOCUMENT, Comparison.LEXEMES, Comparison.BOOLEAN})
_NO_NUMBERS: Final = _NO_ORDER | {
    *(Comparison.TEXT, Comparison.NAMES, Comparison.MEMBERS, Comparison.MOMENT, Comparison.LOCAL_TIME),
    *(Comparison.DATE, Comparison.UUID, Comparison.UUID_TEXT, Comparison.ARRAY),
}
_NO_LEAST: Final = _NO_ORDER | {Comparison.UUID, Comparison.UUID_TEXT}
_WITHOUT: Final = {"sum": _NO_NUMBERS, "avg": _NO_NUMBERS, "min": _NO_LEAST, "max": _NO_LEAST}
"""What there is no such aggregate over, on PostgreSQL; SQLite would make up a number."""
_AGGREGATORS: Final = {"count": "count", "sum": "sum_", "avg": "avg", "min": "min_", "max": "max_"}


def count(expression: Expression = None, *, distinct: bool = False) -> Aggregate:
    """Count rows, or those in which an expression is not NULL, or its different values.

    ::

        executions: Annotated[int, count()]
        failed: Annotated[int, count().filter(TaskRow.status == Status.FAILED)]
        people: Annotated[int, count(TaskRow.user_id, distinct=True)]
    """
    return Aggregate("count", expression, distinct)


def sum_(expression: Expression) -> Aggregate:
    """Add up an expression; of no rows it is 0, or None where the field allows it.

    SQLite adds up a ``Numeric`` with floats, which have some 15 digits.
    """
    return Aggregate("sum", expression)


def avg(expression: Expression) -> Aggregate:
    """Take the mean of an expression's values that are not NULL; of none it is None.

    SQLite computes it with floats, which have some 15 digits.
    """
    return Aggregate("avg", expression)


def min_(expression: Expression) -> Aggregate:
    """Take the least value of an expression; of none it is None."""
    return Aggregate("min", expression)


def max_(expression: Expression) -> Aggregate:
    """Take the greatest value of an expression; of none it is None."""
    return Aggregate("max", expression)


def resolved(expression: Expression) -> ColumnElement[Any]:
    """Give a SQL expression, calling it if it is a callable.

    Raises:
        MappingError: it is neither.
    """
    if _is_deferred(expression) and not takes(expression):
        raise MappingError(f"a computed field needs a SQL expression such as GroupRow.name, not {kind_of(expression)}")
    given: ColumnElement[Any] = as_sql(expression() if _is_deferred(expression) else expression)
    if not isinstance(cast("object", given), ColumnElement):
        raise MappingError(
            "a computed field needs a SQL expression such as GroupRow.name, not "
            f"{kind_of(given)}{instead(given, 'Text')}"
        )
    if calls_for_values(given):
        raise MappingError(
            "a computed field is made once for all calls, and a parameter whose value a callable gives is of one call: "
            "have the database say it, as in func.current_setting('app.user')"
        )
    return cast("ColumnElement[Any]", own_parameters(given))


SETS: Final = frozenset({Several.SET})
"""What makes several rows of one, wherever it is selected."""


def keep_to_row(
    expression: ColumnElement[Any], info: RowInfo[object], where: str, refused: frozenset[Several] = SETS
) -> None:
    """Refuse what would bring another table into FROM: each row would be given once for each row of that one.

    So would a function that gives a set; ``refused`` are it and what else is of several rows. Nor may a subquery be
    about any row where this one may be meant, nor text end what it did not begin, nor may what it compares be of kinds
    that no database compares, nor a condition in it be none.

    Raises:
        MappingError: it does; the message says what to write.
    """
    if complaint := several_complaint(expression, refused):
        raise MappingError(f"{where} {complaint}")
    for source in expression._from_objects:  # pyright: ignore[reportPrivateUsage] - there is no public name
        if not info.owns(source):
            raise MappingError(
                f"{where} is computed from another table than {info.row.__name__}'s: nest the related data class, or "
                "write a scalar subquery that refers to the row"
            )
    elements: list[Any] = list(visitors.iterate(expression))
    if complaint := complaint_about(elements) or loose_ties(expression, info.tables) or complaint_inside(elements):
        raise MappingError(f"{where} {complaint}")
    try:
        check_comparisons(expression, elements, info, "a field of")
    except InvalidValue as exc:
        raise MappingError(f"{where} is computed from what cannot be: {exc}") from None


def _is_deferred(expression: Expression) -> bool:
    return not is_sql(expression) and callable(expression)
