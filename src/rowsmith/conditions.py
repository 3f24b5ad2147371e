"""Conditions: what a row must satisfy, as SQLAlchemy expressions or zero-argument callables giving one.

All combinators here have the meaning of ordinary two-valued logic on top of SQL's three-valued one:
a condition that is NULL for a row does not hold for it, and :func:`negation` is the exact complement,
rows with NULL included. Where they are joined each stands in parentheses of its own, whatever it is made of:
SQLAlchemy gives none to SQL written as text, so that an OR in it would open what stands beside it. None is rendered
that ends more than it began. :func:`limited` is the one way to a statement's WHERE. Nothing here talks to a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from traceback import walk_tb
from typing import Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar, cast

from sqlalchemy import BindParameter, Column, ColumnElement, SQLColumnExpression, UnaryExpression, and_, or_, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import AsBoolean, BinaryExpression, BooleanClauseList, Grouping

from rowsmith.errors import InvalidFilter, RepositoryError, ScopeError, kind_of
from rowsmith.signatures import takes
from rowsmith.sql import as_sql, instead, own_parameters
from rowsmith.texts import ADVICE, is_closed

# Not InstrumentedAttribute, which is a descriptor: a dataclass's field of its type would read as the bool.
BooleanExpression: TypeAlias = SQLColumnExpression[bool] | SQLColumnExpression[bool | None]
"""A boolean SQL expression, or a mapped attribute that is true or false itself (``GroupRow.is_alive``)."""

Condition: TypeAlias = BooleanExpression | Callable[[], BooleanExpression]
"""A boolean SQL expression, or a callable without arguments that gives one when it is needed."""


_NO_BUILDERS: Final[tuple[Any, ...]] = (ColumnElement, type)


_MAPPER: Final = "sqlalchemy.orm.mapper"


class GivesConditions(Protocol):
    """A scope or a filter."""

    def to_conditions(self) -> Sequence[Condition]:
        """Give conditions that all hold together."""
        ...


TRow = TypeVar("TRow")


class Narrowing(Generic[TRow]):
    """Base of what narrows a search and is no list: :class:`rowsmith.filters.Filter`, known without its models."""


def condition_list(given: object, expected: str = "conditions are a list") -> tuple[Condition, ...]:
    """Give what stands for a list of conditions as one.

    Raises:
        InvalidFilter: it is none; one condition alone stands in a list, too.
    """
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise InvalidFilter(f"{expected}, not {kind_of(given)}: write [condition]")
    return tuple(cast("Sequence[Condition]", given))


def given_conditions(giver: GivesConditions) -> tuple[Condition, ...]:
    """Give what a ``to_conditions()`` gives; it may be a generator.

    Raises:
        InvalidFilter: it gives no list, or takes arguments; or SQLAlchemy refuses what a filter compares.
        ScopeError: SQLAlchemy refuses what a scope compares.
    """
    given: Any = None
    unbuilt = None
    try:
        given = giver.to_conditions()
        if given.__class__ is list:
            return tuple(given)
        if not isinstance(given, str | bytes) and isinstance(given, Iterable):
            return tuple(cast("Iterable[Condition]", given))
    except Exception as exc:
        if isinstance(exc, TypeError):
            check_asked(giver, "to_conditions", InvalidFilter)
        unbuilt = refused_by_sqlalchemy(exc, f"{type(giver).__name__}.to_conditions()")
        if unbuilt is None:
            raise
    if unbuilt is not None:
        raise InvalidFilter(unbuilt) if isinstance(giver, Narrowing) else ScopeError(unbuilt)
    return condition_list(cast("object", given), f"{type(giver).__name__}.to_conditions() gives a list of conditions")


def refused_by_sqlalchemy(failure: Exception, name: str) -> str | None:
    """Say what to write instead of conditions that SQLAlchemy did not make; None where it was not that which failed.

    Its own words may quote a value.

    Args:
        failure: what came of making them.
        name: whose they are.
    """
    frames = [(frame.f_globals.get("__name__", ""), line) for frame, line in walk_tb(failure.__traceback__)]
    modules = [module for module, _ in frames]
    is_of_mapping = _MAPPER in modules  # whose words say which class it is that does not fit
    if isinstance(failure, RepositoryError) or is_of_mapping or not modules[-1].startswith("sqlalchemy."):
        return None
    module, line = next(one for one in reversed(frames) if not one[0].startswith("sqlalchemy."))
    return (
        f"{name} cannot be made into SQL: {type(failure).__name__} in line {line} of {module}; compare columns with "
        "values of theirs, such as GroupRow.owner_id == owner.id, and never with a row or a class"
    )


def check_asked(giver: object, name: str, kind: type[RepositoryError]) -> None:
    """Refuse a method that was asked for something, and takes more than it is given: nothing.

    Args:
        giver: the scope or filter.
        name: the method's.
        kind: the class of the error.

    Raises:
        RepositoryError: it takes arguments.
    """
    if not takes(getattr(giver, name)):
        raise kind(f"{type(giver).__name__}.{name} takes no arguments: write def {name}(self)") from None


def built(builder: Callable[[], object], role: str) -> Any:
    """Call what gives a condition or an order when it is needed.

    Raises:
        InvalidFilter: it takes arguments, or SQLAlchemy refuses what it compares. An error of its own passes unchanged.
    """
    try:
        return builder()
    except Exception as exc:
        is_called_right = not isinstance(exc, TypeError) or takes(builder)
        unbuilt = refused_by_sqlalchemy(exc, role) if is_called_right else None
        if is_called_right and unbuilt is None:
            raise
    if unbuilt is not None:
        raise InvalidFilter(unbuilt)
    raise InvalidFilter(f"{role} that is a callable takes no arguments: write lambda: GroupRow.name ...")


T = TypeVar("T")


class _HasWhere(Protocol):
    """A statement that takes conditions: a SELECT, UPDATE or DELETE."""

    def where(self, *conditions: Any) -> Self:
        """Give the statement with further conditions, all of which have to hold."""
        ...


TStatement = TypeVar("TStatement", bound=_HasWhere)


class Whole(Grouping[T]):
    """An expression in parentheses of its own that stay: SQLAlchemy dissolves its own around an AND inside an AND."""

    inherit_cache = True
    operator = None  # where SQLAlchemy looks for what it may dissolve


@compiles(Whole)
def _rendered_whole(element: Whole[Any], compiler: SQLCompiler, **options: Any) -> str:
    """Render an expression, once it is known that what is in its parentheses stays there.

    Raises:
        InvalidFilter: it ends what it did not begin.
    """
    text = str(cast("Any", compiler).visit_grouping(element, **options))
    # Of a backend's own statement alone the text says which parts of it are names of values.
    if compiler.positional and not is_closed(compiler._positional_pattern.sub("?", text[1:-1])):  # pyright: ignore[reportPrivateUsage]
        raise InvalidFilter(f"a condition {ADVICE}")
    return text


def bare(expression: object) -> Any:
    """Give an expression without the parentheses around it."""
    while isinstance(expression, Grouping):
        expression = cast("Any", expression).element
    return expression


def conjuncts(condition: object) -> Iterator[Any]:
    """Take ANDs apart: give the conditions that all have to hold, without the parentheses around each."""
    given = bare(condition)
    if isinstance(given, BooleanClauseList) and given.operator is operators.and_:
        for clause in given.clauses:
            yield from conjuncts(clause)
    else:
        yield given


def whole(expression: ColumnElement[T]) -> ColumnElement[T]:
    """Give an expression that nothing beside it can take apart, nor one part of it another."""
    if isinstance(expression, Whole):
        return expression
    given = inner = bare(expression)
    if isinstance(inner, BooleanClauseList) and given.clauses:
        join: Any = and_ if given.operator is operators.and_ else or_
        given = join(*map(whole, given.clauses))
    elif isinstance(inner, AsBoolean):
        given = cast("Any", AsBoolean)(whole(given.element), given.operator, given.negate)
    elif isinstance(inner, UnaryExpression) and given.operator is operators.inv:
        given = cast("Any", UnaryExpression)(whole(given.element), operator=operators.inv, type_=given.type)
    return Whole(given)


def limited(statement: TStatement, *conditions: ColumnElement[bool]) -> TStatement:
    """Give a statement over only those rows for which all conditions hold, each of them whole."""
    return statement.where(*map(whole, conditions))


def resolve(condition: Condition) -> ColumnElement[bool]:
    """Give the SQL expression of one condition, calling it if it is a callable.

    Raises:
        InvalidFilter: it is neither; a Python ``bool`` is the usual slip (``is None`` for ``.is_(None)``).
    """
    is_builder = callable(condition) and not isinstance(condition, _NO_BUILDERS)
    given: Any = built(cast("Any", condition), "a condition") if is_builder else condition
    expression: Any = as_sql(given)
    if not isinstance(expression, ColumnElement):
        given = f"{kind_of(expression)}{instead(expression, 'Boolean')}"
        raise InvalidFilter(
            f"a condition must be a SQL expression such as GroupRow.name == 'x', not {given}; "
            "compare with None by .is_(None), not by 'is None'"
        )
    told = cast("Any", expression)
    parts: Iterator[Any] = visitors.iterate(told)
    for part in parts:  # here, and not where it is made, as this is for each call
        if part.__class__ is BindParameter and not (part.unique and part.callable is None):
            return cast("ColumnElement[bool]", own_parameters(told))
    return cast("ColumnElement[bool]", told)


def resolve_all(conditions: Sequence[Condition]) -> list[ColumnElement[bool]]:
    """Give the SQL expressions of several conditions, in their order."""
    return [resolve(condition) for condition in conditions]


def conjunction(conditions: Sequence[Condition]) -> ColumnElement[bool]:
    """All conditions together; of nothing it is true, as in logic."""
    return and_(true(), *map(whole, resolve_all(conditions)))


def disjunction(conditions: Sequence[Condition]) -> ColumnElement[bool]:
    """At least one of the conditions.

    Raises:
        InvalidFilter: there is none. SQLAlchemy's ``or_()`` of nothing would match every row.
    """
    if not conditions:
        raise InvalidFilter("an OR needs at least one condition: leave it out if nothing is to be limited")
    return or_(*map(whole, resolve_all(conditions)))


def negation(condition: Condition) -> ColumnElement[bool]:
    """The exact complement: holds where the condition is false or NULL."""
    return whole(resolve(condition)).is_not(true())


def compared_with(statement: Any, bind: BindParameter[Any]) -> Sequence[Column[Any]]:
    """Give the columns that a value is compared with, in the innermost comparison around it."""
    columns: list[Any] = []
    for element in visitors.iterate(statement):
        if isinstance(element, BinaryExpression):
            for side, other in ((element.left, element.right), (element.right, element.left)):
                if any(isinstance(part, BindParameter) and part.key == bind.key for part in visitors.iterate(other)):
                    parts: list[Any] = [part for part in visitors.iterate(side) if isinstance(part, Column)]
                    columns = list(dict.fromkeys(parts))
    return columns
