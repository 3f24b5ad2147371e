"""What a scope says, asked once for a call: for the call's plan, and for SQLAlchemy's way where it has none.

Most scopes do nothing but compare columns with fields of their own. Where the code of ``to_conditions`` shows that,
only values change from call to call: the conditions that SQLAlchemy has built once are copied with others, which takes
a tenth of what it takes to build them. Whatever else the code does, it is run.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from dis import get_instructions
from functools import lru_cache
from inspect import getattr_static
from types import FunctionType, MemberDescriptorType, MethodType
from typing import Any, Final, TypeAlias, cast

from sqlalchemy import BindParameter
from sqlalchemy.orm import ColumnProperty, InstrumentedAttribute
from sqlalchemy.sql.elements import BinaryExpression, _anonymous_label  # pyright: ignore[reportPrivateUsage]

from rowsmith.conditions import Condition, given_conditions
from rowsmith.operations.plans import Binds, CallPattern, Plans, is_comparison
from rowsmith.scope import SearchScope, Settled, is_unchecked

Compare: TypeAlias = Callable[[Any, Any], Any]

_COMPARE: Final[Mapping[str, Compare]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARISON: Final = ("LOAD_GLOBAL", "LOAD_ATTR", "LOAD_FAST", "LOAD_ATTR", "COMPARE_OP")
"""What Python makes of ``GroupRow.domain_name == self.domain_name``."""
_KEPT_BY_BINDS: Final = {
    *("key", "_anon_map_key", "_identifying_key", "_orig_key", "unique", "value", "callable", "isoutparam"),
    *("required", "expanding", "expand_op", "literal_execute", "type"),
}
"""What is known of how SQLAlchemy makes a parameter; of one that is made otherwise no copy is made."""


def ask_scope(plans: Plans[Any], scope: SearchScope, pattern: CallPattern, binds: Binds) -> tuple[SearchScope, bool]:
    """Ask a scope for its conditions, and add them to the pattern of a call.

    Returns:
        What is to stand in for the scope, which was asked once; and whether it only compares columns with values.

    Raises:
        MappingError, InvalidFilter: as :func:`settle`.
    """
    settled = settle(scope)
    if settled is None:
        return scope, False
    for condition in settled.given:  # all() and what it asks would be calls of each call
        if not plans.compares(condition, pattern, binds):
            return settled, False
    return settled, bool(settled.given)


def draw_scope(
    plans: Plans[Any], scope: SearchScope, pattern: CallPattern, values: list[Any]
) -> tuple[SearchScope, bool]:
    """Do as :func:`ask_scope`, with the values themselves; a scope that only compares need not be asked for that."""
    compared = drawn(scope)
    if compared is None:
        binds = list[Any]()
        scope, is_plain = ask_scope(plans, scope, pattern, binds)
        values += [bind.value for bind in binds]
        return scope, is_plain
    for built, value in compared:
        if not plans.takes(built.left, built.operator, value, pattern):
            return scope, False
        values += (value,)
    return scope, bool(compared)


def drawn(scope: SearchScope) -> Sequence[tuple[Built, Any]] | None:
    """Give what a scope compares, each with its value; None where that is not all, or it has to be asked.

    Nothing is built yet, and the scope is not asked: its code says that it says the same whenever it is.
    """
    kind = type(scope)
    if not is_unchecked(kind):
        return None
    method: Any = scope.to_conditions
    function: Any = method.__func__ if method.__class__ is MethodType else None  # else it is this scope's own
    compared = _plain(kind, function, function.__code__) if function.__class__ is FunctionType else None
    if compared is None:
        return None
    found: list[tuple[Built, Any]] = []
    for each in compared:
        one = each.drawn(scope)
        if one is None:
            return None
        found += (one,)
    return found


def settle(scope: SearchScope) -> Settled | None:
    """Ask a scope for its conditions; None where it asks for more than they say, as it may say otherwise next time.

    Raises:
        MappingError: its class is no frozen dataclass.
        InvalidFilter: it gives no list.
    """
    kind = type(scope)
    if kind is Settled:
        return cast("Settled", scope)
    if not is_unchecked(kind):
        return None
    found = drawn(scope)
    if found is None:
        return Settled(scope, given_conditions(scope))
    given: tuple[Condition, ...] = ()
    for built, value in found:
        given += (built.copy(value),)
    return Settled(scope, given)


_new_bind: Callable[[Any], BindParameter[Any]] = BindParameter.__new__
_new_condition: Callable[[Any], BinaryExpression[Any]] = BinaryExpression.__new__


class Compared:
    """A column of a row, which is looked up by its class's name, compared with a field of a scope."""

    def __init__(self, names: Mapping[str, object], row: str, attribute: Any, compare: Compare, field: str) -> None:
        self._names, self._row_name, self._row = names, row, names[row]
        self._attribute, self._compare, self._field = attribute, compare, field
        self._built: dict[type[Any], Built | None] = {}

    def drawn(self, scope: SearchScope) -> tuple[Built, Any] | None:
        """Give both; None where SQLAlchemy has to build it, or the row's name means another class by now."""
        value = getattr(scope, self._field)
        kind = value.__class__
        if kind not in self._built:
            built = None
            with suppress(Exception):  # which the scope says in its own name
                built = Built.of(self._compare(self._attribute, value), value)
            self._built[kind] = built
        built = self._built[kind]
        return None if built is None or self._names.get(self._row_name) is not self._row else (built, value)


class Built:
    """A comparison that SQLAlchemy has built with a value of some class, for others of that class.

    Attributes:
        left, operator: what is compared, and how.
    """

    __slots__ = ("_bind", "_condition", "_name", "left", "operator")

    def __init__(self, condition: BinaryExpression[Any]) -> None:
        self.left, self.operator = condition.left, condition.operator
        self._condition: dict[str, Any] = condition.__dict__
        self._bind: dict[str, Any] = condition.right.__dict__
        self._name: str = self._bind["_orig_key"]

    @classmethod
    def of(cls, condition: Any, value: object) -> Built | None:
        """Take a comparison, if it is one with a value of the column's own type."""
        if not is_comparison(condition) or condition.right.type is not condition.left.type:
            return None
        bind = condition.right
        if bind.value is not value:  # a parameter was given
            return None
        facts: dict[str, Any] = bind.__dict__
        key = f"{id(bind)} {bind._orig_key}"
        is_known = facts.keys() == _KEPT_BY_BINDS and (bind.key, bind._anon_map_key) == (f"%({key})s", key)
        return cls(condition) if is_known and bind._identifying_key == bind.key else None

    def copy(self, value: object) -> BinaryExpression[Any]:
        """Give it with another value, in a parameter of its own."""
        bind, condition = _new_bind(BindParameter), _new_condition(BinaryExpression)
        name = f"{id(bind)} {self._name}"
        key = _anonymous_label(f"%({name})s")
        bind.__dict__ = {**self._bind, "value": value, "key": key, "_identifying_key": key, "_anon_map_key": name}
        condition.__dict__ = {**self._condition, "right": bind}
        return condition


def _read(kind: type[SearchScope], function: FunctionType, code: object) -> Sequence[Compared] | None:
    """Read from its code what a ``to_conditions`` compares; None where it does anything else.

    ``code`` is given so that another one that is put in its place is read anew.
    """
    if kind.__getattribute__ is not object.__getattribute__:
        return None
    steps = [(step.opname, step.argval) for step in get_instructions(function) if step.opname != "RESUME"]
    if len(steps) < len(_COMPARISON):
        return None
    *parts, (build, count), (end, _) = steps
    comparisons = [parts[first : first + len(_COMPARISON)] for first in range(0, len(parts), len(_COMPARISON))]
    if build not in ("BUILD_LIST", "BUILD_TUPLE") or count != len(comparisons) or end != "RETURN_VALUE":
        return None
    read = [_compared(comparison, kind, function) for comparison in comparisons]
    return None if None in read else cast("Sequence[Compared]", read)


def _compared(steps: Sequence[tuple[str, Any]], kind: type[object], function: FunctionType) -> Compared | None:
    if tuple(name for name, _ in steps) != _COMPARISON:
        return None
    row, column, scope, field, sign = (value for _, value in steps)
    names = function.__globals__
    attribute, compare = getattr(names.get(row), column, None), _COMPARE.get(sign)
    if compare is None or scope != function.__code__.co_varnames[0] or not _is_field(kind, field):
        return None
    return Compared(names, row, attribute, compare, field) if _is_plain_column(attribute) else None


def _is_field(kind: Any, name: str) -> bool:
    """Say whether a scope has a field that is given as it was taken."""
    known = {field.name for field in fields(kind)} if is_dataclass(kind) else set(kind.model_fields)
    default = getattr_static(kind, name, None)
    return name in known and (isinstance(default, MemberDescriptorType) or not hasattr(default, "__get__"))


def _is_plain_column(attribute: Any) -> bool:
    """Say whether an attribute is compared as SQLAlchemy does it, which looks at a value's class alone."""
    if (
        attribute.__class__ is not InstrumentedAttribute
        or attribute.comparator.__class__ is not ColumnProperty.Comparator
    ):
        return False
    kind: Any = attribute.type
    own: tuple[Any, Any] = (kind.coerce_compared_value, kind.comparator_factory)
    return all(each.__module__.startswith("sqlalchemy.") for each in own)


_plain = lru_cache(maxsize=500)(_read)
