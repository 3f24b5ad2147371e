"""What conditions compare: values that a column could not be compared with, or not on every backend.

PostgreSQL has no comparison of a number with a text, and says so by the SQLSTATE of a function that is not there;
SQLite has an answer. So each comparison of a condition is looked at before anything is sent, wherever the value stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, Final, TypeAlias, cast

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Case,
    Cast,
    Column,
    Integer,
    ScalarSelect,
    Tuple,
    literal,
)
from sqlalchemy.dialects.postgresql import operators as _of_postgresql
from sqlalchemy.sql import functions, operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    ClauseList,
    CollectionAggregate,
    ExpressionClauseList,
    False_,
    Label,
    True_,
)
from sqlalchemy.sql.functions import Function
from sqlalchemy.types import Double, Numeric, TypeEngine

from rowsmith.conditions import bare, compared_with
from rowsmith.errors import ErrorFacts, InvalidValue
from rowsmith.mapping.row import RowInfo
from rowsmith.mapping.truth import is_condition
from rowsmith.mapping.types import (
    NUMBERS,
    OF_SINGLES,
    Check,
    Comparison,
    Family,
    binds_itself,
    column_type,
    compared_type,
    is_sqlalchemys,
    member_of,
    stored_form,
)

Pair: TypeAlias = tuple[Any, Any, Any]
"""Two expressions that are compared with each other, and the type of the second, which may be one of many."""


def check_comparisons(
    whole: Any, elements: Iterable[Any], info: RowInfo[object], role: str, into: TypeEngine[Any] | None = None
) -> None:
    """Refuse values that are compared with what they could not be compared with on every backend.

    A list of numbers gets the type that holds each of them, where SQLAlchemy has given it that of the first.

    Args:
        whole: an expression.
        elements: all that it is made of, itself included.
        info: the row that it is about, whose attributes the message names.
        role: what the expression is to the row, as in ``"a condition on"``.
        into: of which type the column is that it is written to.

    Raises:
        InvalidValue: there is one, or two columns are of kinds that nothing compares.
    """
    apart: InvalidValue | None = None  # raised last: of a value beside it there may be more to say
    for element in elements:
        if isinstance(element, _VALUE):
            if complaint := _value_complaint(whole, element, into):
                raise _refusal(compared_with(whole, element), complaint, info, role)
            continue
        for left, right in _compared(element):
            _check_width(bare(left), _width(bare(right)), info, role)
            for one, other, kind in _paired(left, right):
                _send_as_single(one, other)
                _check_pair(one, other, kind, info, role)
                apart = apart or _told_apart(one, other, kind, info, role)
        if isinstance(element, _BINARY):
            _check_operands(element, info, role)
    if apart is not None:
        raise apart


def assigned_complaint(expression: Any, declared: TypeEngine[Any]) -> str | None:
    """Say why a column cannot take what an expression gives; None where it can, and where that is not known.

    PostgreSQL makes text of anything that it writes, numbers of numbers, and times of times. SQLite stores whatever it
    is given, and has it read as what the column says.

    Source: PostgreSQL's catalogue ``pg_cast``, of casts in assignments.
    """
    given = _told_type(expression)
    family, beside = _family(declared), None if given is None else _family(given)
    if given is None or family is None or beside is None:
        return None
    enum = _of_its_own(declared) if family is Family.TEXT else None
    if enum is None and (family in (beside, Family.TEXT) or beside in _MADE_OF.get(family, ())):
        return None
    if enum is not None and (enum == _of_its_own(given) or isinstance(expression, _VALUE)):
        return None  # of a value SQLAlchemy may know the enum by another name
    if isinstance(expression, _VALUE) and (family is not Family.NUMBERS or expression.effective_value is None):
        return None  # a text that SQLite stores as it stores others; PostgreSQL says what it does not take
    holds = f"is the enum {enum}" if enum else f"holds {family.value}"
    instead = f"write cast(expression, {type(declared).__name__}) around it"
    if family not in (Family.NUMBERS, Family.BOOLEANS, Family.TEXT):
        instead = f"on PostgreSQL {instead}, or give a value"  # SQLite makes a number of such a cast
    return f"{holds}, and gets an expression of {beside.value}: {instead}"


def _told_type(expression: Any) -> TypeEngine[Any] | None:
    """Give the type of an expression where that is known for sure."""
    alone = bare(expression)
    while isinstance(alone, _LABEL):
        alone = bare(alone.element)
    if _is_told(alone) or isinstance(alone, _VALUE):
        return cast("TypeEngine[Any]", alone.type)
    if is_condition(alone):
        return Boolean()
    operands = [alone.left, alone.right] if isinstance(alone, _BINARY) and alone.operator in _OF_OPERANDS else []
    if isinstance(alone, _FUNCTION) and alone.name.lower() == "coalesce":
        operands = list(alone.clauses)
    kinds = [None if kind is None else _family(kind) for kind in map(_told_type, operands)]
    is_told = len({*kinds}) == 1 and kinds[0] in (Family.NUMBERS, Family.TEXT)
    return cast("TypeEngine[Any]", alone.type) if is_told else None


def _value_complaint(whole: Any, bind: BindParameter[Any], into: TypeEngine[Any] | None) -> str | None:
    """Say what is wrong with a value, or with one of a list, for the type that it is sent as."""
    if bind.required:
        return "stands beside a parameter without a value: write bindparam(name, value)"
    kinds = _classes(bind) if bind.type is not OF_SINGLES else set[type[Any]]()
    if kinds and kinds.issubset(NUMBERS):
        _send_as_one(whole, bind, kinds)
    if bind.type is _LONG and _complaint(bind, column_type(_LONG).operand) and _is_beside_others(whole, bind, into):
        bind.type = Numeric()  # as PostgreSQL has integers that are longer than any of its own
    record = column_type(bind.type)
    complaint, wider = _complaint(bind, record.operand), record.beside.wider
    if complaint is None and wider is not None and _is_single(bind.type):  # and stands beside more than a column
        bind.type = wider
    if complaint is None or wider is None or _complaint(bind, record.check):
        return complaint
    bind.type = wider  # as one of the column's type it would be rounded, and compared as something else
    return None


def _send_as_single(left: Any, right: Any) -> None:
    """Have a value beside a column of single precision sent as what the column has for it.

    Only one that was made for the comparison: a literal of an application's may stand in others, too.
    """
    column, bind = (left, right) if isinstance(right, _VALUE) else (right, left)
    is_one = isinstance(column, _COLUMN) and isinstance(bind, _VALUE)
    # SQLAlchemy binds a Decimal or an integer as one, and a list as what its first item is.
    is_own = is_one and (bind.type is column.type or bind.expanding or bind.type.__class__ in _OF_NUMBERS)
    if is_own and _is_single(column.type) and not bind.required:
        is_number = _complaint(bind, column_type(column.type).operand) is None
        bind.type = OF_SINGLES if is_number else bind.type


def _is_single(declared: TypeEngine[Any]) -> bool:
    """Say whether a type is of single precision, and binds nothing in a way of a team's own."""
    return column_type(declared).beside.is_of_single_precision and not binds_itself(declared)


def _classes(bind: BindParameter[Any]) -> set[type[Any]]:
    """Give the classes of the values of a list."""
    return {*map(type, bind.effective_value or ())} - {NoneType} if bind.expanding else set()


def _send_as_one(whole: Any, bind: BindParameter[Any], kinds: set[type[Any]]) -> None:
    """Have a list of numbers sent as what holds each of them.

    SQLAlchemy sends all as what the first is, and 1.5 that is sent as an integer is 1. Integers beside a column are
    sent as what that holds, which may be the same type.
    """
    values = [value for value in bind.effective_value or () if value is not None]
    if kinds == {int}:
        of_column = any(column.type is bind.type for column in compared_with(whole, bind))
        if bind.type is literal(values[0]).type and not of_column:
            bind.type = literal(max(values, key=abs)).type
    elif len(kinds) > 1 and column_type(bind.type).beside.family is Family.NUMBERS and is_sqlalchemys(bind.type):
        bind.type = Double() if float in kinds else Numeric()


def _is_beside_others(whole: Any, bind: BindParameter[Any], into: TypeEngine[Any] | None) -> bool:
    """Say whether a value is compared with, or written to, what is no integer."""
    kinds = [column.type for column in compared_with(whole, bind)] or ([] if into is None else [into])
    return any(column_type(stored_form(kind)).compared is not Comparison.INTEGER for kind in kinds)


def _check_operands(element: BinaryExpression[Any], info: RowInfo[Any], role: str) -> None:
    """Refuse what stands beside a pattern and is no text, and what its column does not take in a list of rows.

    And what no document, array or range holds, or is held in.
    """
    if element.operator in _OF_HOLDERS:
        _check_held(bare(element.left), element.operator, bare(element.right), info, role)
    if element.operator in _OF_TEXTS:
        for side, other in ((element.left, element.right), (element.right, element.left)):
            _check_text(bare(side), bare(other), info, role)
    if isinstance(element.left, _ROW) and isinstance(element.right, _VALUE):
        _check_rows(element.left.clauses, element.right, info, role)


def _check_rows(columns: Sequence[Any], rows: Any, info: RowInfo[Any], role: str) -> None:
    for row in rows.effective_value or ():
        _check_width(Tuple(*columns), len(row), info, role)
        for column, value in zip(columns, row, strict=True):  # values are sent as what their columns are
            if apart := _told_apart(column, rows, column.type, info, role):
                raise apart
            if value is not None and (complaint := column_type(column.type).operand(value)):
                raise _refusal(_columns(visitors.iterate(column)), complaint, info, role)


def _check_held(left: Any, operator: Any, right: Any, info: RowInfo[object], role: str) -> None:
    """Refuse what a document, an array or a range is asked for and that it cannot hold, nor be held in."""
    holder, held = _family(left.type), _family(right.type)
    is_told = isinstance(right, _VALUE) or _is_told(right)
    if held is None or not (is_told and _is_told(left)) or holder not in _HOLDERS:
        return
    wanted, complaint = holder, _HOLDERS[holder]
    if operator in _OF_KEYS:
        wanted, complaint = _OF_KEYS[operator] if holder is Family.DOCUMENTS else (held, "")
    is_member = operator is _PG.CONTAINS and holder is Family.RANGES and _may_be_within(left.type, right.type)
    if held is not wanted and not is_member:
        raise _refusal(_columns(visitors.iterate(left)), complaint, info, role)


def _may_be_within(ranged: TypeEngine[Any], given: TypeEngine[Any]) -> bool:
    """Say whether a value of a type may be one of those that a range is over; of whole numbers, only a whole one."""
    member = member_of(ranged)
    if member is None:
        return True  # of a team's own range nobody here knows
    is_whole = column_type(member).compared is Comparison.INTEGER
    fits = not is_whole or compared_type(given).compared is Comparison.INTEGER
    return _family(member) is _family(given) and fits


def _check_width(left: Any, other: int | None, info: RowInfo[Any], role: str) -> None:
    own = _width(left)
    if own is not None and other is not None and own != other:
        raise _refusal(_columns(visitors.iterate(left)), f"stands beside {other} and not {own} values", info, role)


def _width(expression: Any) -> int | None:
    """Say how many values an expression has, where that is known."""
    if isinstance(expression, _ROW):
        return len(expression.clauses)
    if isinstance(expression, _ONE_VALUE):
        chosen = list[Any](expression.element.selected_columns)
        is_told = not any(getattr(each, "is_literal", False) for each in chosen)  # which may be an asterisk
        return (len(chosen) or None) if is_told else None
    is_one = isinstance(expression, (_COLUMN, _CAST)) or expression.__class__ in _GIVEN
    return 1 if is_one and not getattr(expression, "expanding", False) else None


def _compared(element: Any) -> Iterator[tuple[Any, Any]]:
    """Give what an expression compares by itself."""
    if isinstance(element, _BINARY) and element.operator in _COMPARE:
        yield element.left, element.right
    elif isinstance(element, _BINARY) and element.operator in _WITH_EACH:
        members = bare(element.right)
        for part in members.clauses if isinstance(members, _LISTS) else (members,):
            yield element.left, part
    elif isinstance(element, _CASE) and element.value is not None:
        for part, _ in element.whens:
            yield element.value, part
    elif isinstance(element, _FUNCTION) and element.name == "nullif" and len(element.clauses) == 2:  # noqa: PLR2004
        left, right = element.clauses
        yield left, right


def _paired(left: Any, right: Any) -> Iterator[Pair]:
    """Give two expressions that are compared, rows part by part."""
    left, right = bare(left), bare(right)
    if isinstance(left, _ROW) and isinstance(right, _ROW):
        for one, other in zip(left.clauses, right.clauses, strict=False):
            yield from _paired(one, other)
    elif isinstance(right, _EACH_OF):
        members = bare(right.element)
        yield left, members, getattr(members.type, "item_type", members.type)
    elif not {left.__class__, right.__class__} & _OF_SEVERAL:
        yield left, right, right.type


def _check_pair(left: Any, right: Any, kind: Any, info: RowInfo[object], role: str) -> None:
    kinds = _family(left.type), _family(kind)
    if left.type is kind or None in kinds or kinds[0] == kinds[1]:
        return
    (other, given) = (left, right) if left.__class__ not in _GIVEN else (right, left)
    if given.__class__ not in _GIVEN and not (_is_told(other) and _is_told(given)):
        return
    parts = list[Any](visitors.iterate(other))
    if any(map(_is_guessed, parts)):
        return
    types = (left.type, kind) if other is left else (kind, left.type)
    is_beside_document = Family.DOCUMENTS in kinds and _family(types[0]) is not Family.DOCUMENTS
    if given.__class__ not in _GIVEN and (is_beside_document or not _columns(parts)):
        parts, types = list[Any](visitors.iterate(given)), (types[1], types[0])
    columns = [column for column in _columns(parts) if _family(column.type) == _family(types[0])]
    raise _refusal(columns or _columns(parts), _held(*types, given), info, role)


def _check_text(expression: Any, other: Any, info: RowInfo[object], role: str) -> None:
    """Refuse what surely is no text beside a pattern, or as one; bytes have patterns of their own."""
    is_value = isinstance(expression, _VALUE)
    kind = _family(expression.type) if is_value or _is_told(expression) else None
    name = _of_its_own(expression.type) if kind is Family.TEXT and not is_value else None
    if kind in (None, Family.BYTES) or (kind is Family.TEXT and name is None):
        return
    what = f"is the enum {name}" if name else f"holds {kind.value}"
    complaint = f"{what}, and patterns are of texts: write cast(column, Text)"
    if is_value:
        complaint = "is looked through for a text: give the pattern as one"
    elif kind is Family.DOCUMENTS:
        complaint = 'holds JSON documents: write ["name"].as_string() to look for a pattern in a part of one'
    raise _refusal(_columns(visitors.iterate(other if is_value else expression)), complaint, info, role)


def _told_apart(left: Any, right: Any, kind: Any, info: RowInfo[object], role: str) -> InvalidValue | None:
    """Give the error for what is of one kind here, and of types that PostgreSQL does not compare."""
    sides, families = (compared_type(left.type), compared_type(kind)), {_family(left.type), _family(kind)}
    one, two = (side.beside.alone for side in sides)
    has_equality = all(side.beside.is_ordered for side in sides)
    if len(families) > 1 or families == {None} or (has_equality and (one == two or families != {Family.TEXT})):
        return None
    given = [each for each in (left, right) if each.__class__ not in _GIVEN]
    if not all(map(_is_told, given)):
        return None
    complaint = f"is the enum {one or two}, which PostgreSQL compares with no other type: write cast(column, Text)"
    if families == {Family.ARRAYS}:
        complaint = "is an array of json, which PostgreSQL compares with nothing: write cast(column, ARRAY(JSONB))"
    elif not has_equality:
        complaint = "is json, which PostgreSQL compares with nothing: map it as JSONB, or write cast(column, JSONB)"
    parts = [part for side in given for part in visitors.iterate(side)]
    columns = [column for column in _columns(parts) if _of_its_own(column.type)]
    return _refusal(columns or _columns(parts), complaint, info, role)


def _of_its_own(declared: TypeEngine[Any]) -> str | None:
    """Give the name of the type on PostgreSQL, where it tells it apart from others of its kind."""
    return compared_type(declared).beside.alone


def _family(declared: TypeEngine[Any]) -> Family | None:
    return compared_type(declared).beside.family


def _held(declared: TypeEngine[Any], beside: TypeEngine[Any], given: Any) -> str:
    """Say what a type holds, and what to write to compare it with what stands beside it."""
    record = compared_type(declared)
    if record.beside.family is Family.DOCUMENTS:
        reader = _READ_AS.get(compared_type(beside).compared, "as_string()")
        return f'holds JSON documents: write ["name"].{reader} to compare a part of one'
    complaint = _complaint(given, column_type(declared).operand) if given.__class__ is BindParameter else None
    family = record.beside.family
    if family is Family.ADDRESSES:
        return f"holds {family.value}: write cast(..., INET) around what stands beside it"
    kind: Any = family if record.compared in _UNNAMED else record.compared
    return complaint or f"holds {kind.value}"


def _is_told(expression: Any) -> bool:
    """Say whether the type of an expression is known for sure.

    A column's is, a part of a document, what a CAST says, and what a function of the standard gives.
    """
    if isinstance(expression, _ONE_VALUE):
        chosen: Any = expression.element.selected_columns
        return len(chosen) == 1 and _is_told(next(iter(chosen)))
    if isinstance(expression, _TYPED):  # unless an application says otherwise
        return bool(expression.type.__class__ is expression.__class__.type.__class__)
    is_part = isinstance(expression, _BINARY) and expression.operator in _PARTS
    return is_part or isinstance(expression, (_COLUMN, _CAST))


def _is_guessed(part: Any) -> bool:
    """Say whether SQLAlchemy gives what an operator makes the type of its first operand, for want of a better one."""
    operator: Any = getattr(part, "operator", None)
    if isinstance(operator, _CUSTOM):
        is_untold = not operator.is_comparison and operator.return_type is None
        return is_untold and getattr(part, "left", part).type is part.type
    if operator in _ARITHMETIC and isinstance(part, _BINARY):
        return not _family(part.left.type) == _family(part.right.type) == Family.NUMBERS
    if isinstance(part, _FUNCTION) and part.name.lower() == "localtime":  # a DateTime to SQLAlchemy
        return True
    return operator is operators.concat_op and column_type(part.type).compared is not Comparison.TEXT


def _columns(parts: Iterable[Any]) -> list[Column[Any]]:
    return [part for part in parts if isinstance(part, _COLUMN)]


# Classes that are generic in the type of a value, which nothing here knows.
_BINARY: Final[Any] = BinaryExpression
_CASE: Final[Any] = Case
_CAST: Final[Any] = Cast
_COLUMN: Final[Any] = Column
_CUSTOM: Final[Any] = operators.custom_op
_EACH_OF: Final[Any] = CollectionAggregate
_FUNCTION: Final[Any] = Function
_ONE_VALUE: Final[Any] = ScalarSelect
_LABEL: Final[Any] = Label
_LISTS: Final[Any] = (ClauseList, ExpressionClauseList)
_ROW: Final[Any] = Tuple
_VALUE: Final[Any] = BindParameter
_OF_SEVERAL: Final[Any] = frozenset((Tuple, ClauseList))
_GIVEN: Final[Any] = frozenset((BindParameter, True_, False_))
_COMPARE: Final = frozenset(
    {
        *(operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge),
        *(operators.is_distinct_from, operators.is_not_distinct_from, operators.is_, operators.is_not),
    }
)
_WITH_EACH: Final = frozenset(
    {operators.in_op, operators.not_in_op, operators.between_op, operators.not_between_op},
)
_OF_TEXTS: Final = frozenset(
    {
        *(operators.like_op, operators.not_like_op, operators.ilike_op, operators.not_ilike_op),
        *(operators.contains_op, operators.not_contains_op, operators.icontains_op, operators.not_icontains_op),
        *(operators.startswith_op, operators.not_startswith_op, operators.endswith_op, operators.not_endswith_op),
        *(operators.istartswith_op, operators.not_istartswith_op, operators.iendswith_op, operators.not_iendswith_op),
        *(operators.regexp_match_op, operators.not_regexp_match_op),
    },
)
_PG: Final[Any] = _of_postgresql
_HOLDERS: Final = {
    Family.DOCUMENTS: "holds JSON documents: give a list or a dict, or write cast(value, JSONB)",
    Family.ARRAYS: "holds arrays: give a list, of one item where one is meant",
    Family.RANGES: "holds ranges: give a Range, or to contains() one of the values that it ranges over",
}
"""What holds others by operators of PostgreSQL's, and what to give these."""
_OF_KEYS: Final = {
    _PG.HAS_KEY: (Family.TEXT, "has keys that are texts: give one as a str"),
    _PG.HAS_ANY: (Family.ARRAYS, "has keys that are texts: write array([...]), or cast([...], ARRAY(Text))"),
    _PG.HAS_ALL: (Family.ARRAYS, "has keys that are texts: write array([...]), or cast([...], ARRAY(Text))"),
}
_OF_HOLDERS: Final = frozenset(
    {
        *(_PG.CONTAINS, _PG.CONTAINED_BY, _PG.OVERLAP, _PG.ADJACENT_TO, _PG.STRICTLY_LEFT_OF, _PG.STRICTLY_RIGHT_OF),
        *(_PG.NOT_EXTEND_LEFT_OF, _PG.NOT_EXTEND_RIGHT_OF, *_OF_KEYS),
    }
)
_ARITHMETIC: Final = frozenset(
    {operators.add, operators.sub, operators.mul, operators.truediv, operators.floordiv, operators.mod},
)
_OF_OPERANDS: Final = _ARITHMETIC | {operators.concat_op}
_MADE_OF: Final[Mapping[Family, Collection[Family]]] = {
    Family.TIMES_OF_DAY: {Family.TIMES, Family.DURATIONS},
    Family.DURATIONS: {Family.TIMES_OF_DAY},
    Family.HARDWARE_ADDRESSES: {Family.LONG_HARDWARE_ADDRESSES},
    Family.LONG_HARDWARE_ADDRESSES: {Family.HARDWARE_ADDRESSES},
}
"""What PostgreSQL makes values of as it writes them, beside those of their own kind."""
_TYPED: Final[Any] = (
    *(functions.now, functions.current_timestamp, functions.localtimestamp, functions.current_date),
    *(functions.current_time, functions.char_length, functions.concat, functions.count, functions.next_value),
    *(functions.current_user, functions.session_user, functions.user),
)
"""Functions of which SQLAlchemy knows what they give on either database."""
_PARTS: Final = frozenset({operators.json_getitem_op, operators.json_path_getitem_op})
_UNNAMED: Final = frozenset({Comparison.NONE, Comparison.NEVER})
_OF_NUMBERS: Final = (Numeric, Integer, BigInteger)
_LONG: Final = literal(2**63).type
"""What SQLAlchemy sends integers as that are past an Integer, if nothing beside them says otherwise."""
_READ_AS: Final = {
    Comparison.INTEGER: "as_integer()",
    Comparison.FLOAT: "as_float()",
    Comparison.DECIMAL: "as_numeric(precision, scale)",
    Comparison.BOOLEAN: "as_boolean()",
}


def _complaint(bind: BindParameter[Any], check: Check) -> str | None:
    given = bind.effective_value
    values = given or () if bind.expanding else (given,)
    complaint = next(filter(None, (check(value) for value in values if value is not None)), None)
    return _SEVERAL_TYPES if complaint and len(_classes(bind)) > 1 else complaint


_SEVERAL_TYPES: Final = "stands beside a list of values of several types: give values of one type"


def _refusal(columns: Sequence[Column[Any]], complaint: str, info: RowInfo[object], role: str) -> InvalidValue:
    """Give the error for a value that is compared with columns, which it names."""
    names = dict.fromkeys(
        f"{info.row.__name__}.{name}" if (name := info.name_of(each)) else _elsewhere(each) for each in columns
    )
    compared = f"{' or '.join(names)}, which" if names else "a column that"
    facts = ErrorFacts(columns=tuple(dict.fromkeys(str(each.name) for each in columns)))
    return InvalidValue(f"{role} {info.row.__name__} compares with {compared} {complaint}", facts=facts)


def _elsewhere(column: Column[Any]) -> str:
    """Name a column of another table, or of an alias; where SQLAlchemy made the alias's name up, by what it is of."""
    source: Any = column.table
    while "%(" in getattr(source, "name", "") and hasattr(source, "element"):
        source = source.element
    return f"{source.name}.{column.name}" if hasattr(source, "name") else column.name
