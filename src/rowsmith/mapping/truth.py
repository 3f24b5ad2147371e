"""What a condition is: true or false, or of a type of which nothing is known.

PostgreSQL takes nothing else for one. SQLite takes a number for true, so that a condition that is none would hold for
all rows. So each is looked at before anything is sent, and so is what stands for one inside an expression: in AND, OR
and NOT, after WHEN, in FILTER, in the WHERE of a subquery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias, cast

from sqlalchemy import (
    Case,
    Column,
    ColumnElement,
    Delete,
    FunctionFilter,
    Join,
    Label,
    Null,
    ScalarSelect,
    Select,
    TextClause,
    UnaryExpression,
    Update,
)
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import AsBoolean, BinaryExpression, BooleanClauseList, ColumnClause, False_, True_
from sqlalchemy.sql.functions import FunctionElement, ReturnTypeFromArgs
from sqlalchemy.types import NullType

from rowsmith.conditions import bare
from rowsmith.errors import InvalidFilter
from rowsmith.mapping.types import DIALECTS, column_type, stored_form
from rowsmith.several import ANY, BESIDE_ROWS, Several, is_function, name_of, several_complaint
from rowsmith.sql import relationship_inside

Held: TypeAlias = tuple[Any, frozenset[Several]]
"""What stands for a condition inside an expression, and the ways in which it must not be of several rows."""


def check_boolean(condition: ColumnElement[Any]) -> None:
    """Refuse what is neither true nor false: SQLite would take a number for true, a text for false.

    Raises:
        InvalidFilter: it is that; or an order, or known by a label to be something else.
    """
    alone = _alone(condition)
    if _is_order(alone):
        raise InvalidFilter("an order is no condition: write orders=[...], and compare the column with something here")
    if is_condition(alone) is False:
        raise InvalidFilter(
            f"a condition is true or false, and {_named(alone)} is not: compare it with something, as in "
            "GroupRow.name == 'x'"
        )


def complaint_inside(elements: Sequence[Any]) -> str | None:
    """Say what is wrong with the conditions that an expression is made of, for all of its parts; or None."""
    has_functions = any(map(is_function, elements))
    for element in elements:
        is_mapped = not isinstance(element, _COLUMN) and _BY_NAME in element._annotations
        if is_mapped and (complaint := relationship_inside(elements)):
            return complaint
        if isinstance(element, _BINARY) and any(map(_is_order, map(_alone, (element.left, element.right)))):
            return "compares an order with something: write orders=[...], and compare the column here"
        if isinstance(element, _BINARY) and element.operator in _IS and not _is_told_by_is(_alone(element.right)):
            return "has is_() or is_not() of a value, and those are of None, True and False: write == value or != value"
        for condition, refused in _held(element):
            alone = _alone(condition)
            if is_condition(alone) is False:
                return (
                    f"takes {_named(alone)} for a condition, which is true or false: compare it with something, as in "
                    "Row.name == 'x'"
                )
            if has_functions and refused and (complaint := several_complaint(condition, refused)):
                return f"has a condition inside that {complaint}"
    return None


def is_condition(expression: Any) -> bool | None:
    """Say whether an expression is true or false by itself; None where nothing is known of it.

    An operator's type says nothing, as it may be its operand's, and neither does that of SQL written as text.
    """
    alone = _alone(expression)
    if _is_order(alone):
        return False
    if isinstance(alone, _COLUMN_CLAUSE) and alone.is_literal:
        return None
    derived = next((derive for kind, derive in _DERIVED.items() if isinstance(alone, kind)), _declared)
    return derived(alone)


def _declared(expression: Any) -> bool | None:
    declared = getattr(expression, "type", None)
    return None if declared is None else column_type(stored_form(declared, DIALECTS[0])).is_condition


def _of_operator(expression: Any) -> bool | None:
    operator = expression.operator or expression.modifier if isinstance(expression, _UNARY) else expression.operator
    if isinstance(operator, operators.custom_op):
        is_told = operator.is_comparison or cast("Any", operator).return_type is not None
        return _declared(expression) if is_told else None
    if operator in _ARITHMETIC and isinstance(expression.type, NullType) and isinstance(expression, _BINARY):
        return False if False in (is_condition(expression.left), is_condition(expression.right)) else None
    return _declared(expression)


def _of_function(expression: Any) -> bool | None:
    name = name_of(expression)
    if isinstance(expression, _OF_ITS_ARGUMENTS) or name in _AS_ARGUMENTS:
        return _first(expression.clauses)
    return False if name in _NEVER_BOOLEAN else _declared(expression)


def _of_subquery(expression: Any) -> bool | None:
    chosen = list[Any](expression.element.selected_columns)
    return is_condition(chosen[0]) if len(chosen) == 1 else None


def _first(parts: Iterable[Any]) -> bool | None:
    """Give what is known of the first of some expressions of one type of which something is known."""
    known = (is_condition(part) for part in parts if part is not None)
    return next((one for one in known if one is not None), None)


def _held(element: Any) -> Iterator[Held]:
    """Give what stands for a condition right inside an expression."""
    if isinstance(element, BooleanClauseList):
        yield from ((clause, _NONE) for clause in element.clauses)
    elif isinstance(element, AsBoolean) or (isinstance(element, _UNARY) and element.operator is operators.inv):
        yield element.element, _NONE
    elif isinstance(element, _BINARY) and element.operator in _IS and isinstance(element.right, (True_, False_)):
        yield element.left, _NONE
    elif isinstance(element, _CASE) and element.value is None:
        yield from ((condition, _NONE) for condition, _ in element.whens)
    elif isinstance(element, _FILTERED):
        yield element.criterion, ANY
    elif isinstance(element, Join):
        yield element.onclause, ANY
    elif isinstance(element, _STATEMENTS):
        joined = (on for _, on, *_ in getattr(element, "_setup_joins", ()) if isinstance(on, _EXPRESSION))
        yield from ((condition, ANY) for condition in (*joined, *element._where_criteria))
        yield from ((condition, BESIDE_ROWS) for condition in getattr(element, "_having_criteria", ()))


def _alone(expression: Any) -> Any:
    """Give an expression without its parentheses and labels."""
    alone = bare(expression)
    while isinstance(alone, _LABEL):
        alone = bare(alone.element)
    return alone


def _is_told_by_is(alone: Any) -> bool:
    return isinstance(alone, (Null, True_, False_, TextClause)) or bool(getattr(alone, "is_literal", False))


def _is_order(alone: Any) -> bool:
    return getattr(alone, "modifier", None) in _ORDERING


def _named(alone: Any) -> str:
    """Name an expression, without the values in it."""
    if _is_order(alone):
        return "an order"
    declared = getattr(alone, "type", None)
    kind = "" if declared is None or isinstance(declared, NullType) else f" ({type(declared).__name__})"
    if isinstance(alone, _COLUMN):
        return f"{alone}{kind}"
    return (
        f"{alone.name}(){kind}" if isinstance(alone, _FUNCTION) and hasattr(alone, "name") else f"an expression{kind}"
    )


# Classes that are generic in the type of a value, which nothing here knows.
_BINARY: Final[Any] = BinaryExpression
_CASE: Final[Any] = Case
_COLUMN: Final[Any] = Column
_COLUMN_CLAUSE: Final[Any] = ColumnClause
_EXPRESSION: Final[Any] = ColumnElement
_FILTERED: Final[Any] = FunctionFilter
_FUNCTION: Final[Any] = FunctionElement
_LABEL: Final[Any] = Label
_OF_ITS_ARGUMENTS: Final[Any] = ReturnTypeFromArgs
_STATEMENTS: Final[Any] = (Select, Update, Delete)
_UNARY: Final[Any] = UnaryExpression
_DERIVED: Final[dict[Any, Callable[[Any], bool | None]]] = {
    BinaryExpression: _of_operator,
    UnaryExpression: _of_operator,
    FunctionElement: _of_function,
    Case: lambda case: _first([*(value for _, value in case.whens), case.else_]),
    ScalarSelect: _of_subquery,
}
_NONE: Final = frozenset[Several]()
_BY_NAME: Final = "proxy_key"
"""SQLAlchemy's annotation of what an attribute stands for: its name."""
_IS: Final = frozenset({operators.is_, operators.is_not})
_ORDERING: Final = frozenset(
    {operators.asc_op, operators.desc_op, operators.nulls_first_op, operators.nulls_last_op},
)
_ARITHMETIC: Final = frozenset(
    {
        *(operators.add, operators.sub, operators.mul, operators.truediv, operators.floordiv, operators.mod),
        operators.concat_op,
    }
)
_AS_ARGUMENTS: Final = frozenset({"nullif", "greatest", "least", "ifnull"})
"""Functions that give one of their arguments, beside those that SQLAlchemy knows."""
_NEVER_BOOLEAN: Final = frozenset(
    {
        *("length", "octet_length", "bit_length", "lower", "upper", "initcap", "trim", "ltrim", "rtrim", "btrim"),
        *("substr", "substring", "left", "right", "replace", "reverse", "repeat", "lpad", "rpad", "concat_ws"),
        *("position", "strpos", "instr", "ascii", "chr", "char", "md5", "hex", "unhex", "format", "printf"),
        *("split_part", "translate", "abs", "ceil", "ceiling", "floor", "round", "trunc", "mod", "power", "pow"),
        *("sqrt", "exp", "ln", "log", "log10", "sign", "random", "date", "time", "datetime", "julianday"),
        *("unixepoch", "strftime", "date_trunc", "date_part", "age", "to_char", "to_date", "to_number"),
        *("to_timestamp", "array_length", "array_position", "array_to_string", "cardinality", "array_append"),
        *("json_array_length", "jsonb_array_length", "json_typeof", "jsonb_typeof", "typeof"),
        *("to_json", "to_jsonb", "to_tsvector", "to_tsquery", "ts_rank", "similarity", "nextval", "changes"),
    }
)
"""Functions whose type SQLAlchemy does not know, of PostgreSQL and SQLite, that give neither true nor false."""
