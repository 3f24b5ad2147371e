"""The keyset predicate: the rows strictly after a given key in a given order, exact with ties and NULLs.

Idea: "We need tool support for keyset pagination" (https://use-the-index-luke.com/no-offset) and
PostgreSQL's row comparison (https://www.postgresql.org/docs/current/functions-comparisons.html), which a
plain index answers. Row comparison knows one direction and no NULLs, so terms are first gathered into runs
of the same direction without NULLs; a run is compared as one row value, and runs are combined by the
expanded form ``after OR (equal AND ...)``.

One order has no range that an index could start from: a nullable expression whose NULLs come last, where the
rows after a key are a range and the NULLs. Its pages are exact and their cost grows with depth; prefer
``.desc()``, whose NULLs come first, or a NOT NULL column where tables are large.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, ColumnElement, and_, false, literal, or_, tuple_
from sqlalchemy.types import NullType

from rowsmith.conditions import whole
from rowsmith.mapping.types import Comparison, column_type
from rowsmith.orders import OrderTerm
from rowsmith.pagination.ends import end_bound, is_end

_BIGINT = BigInteger()


class _Key(NamedTuple):
    term: OrderTerm
    expression: ColumnElement[Any]  # whole, for it is to be compared
    is_null: bool
    bound: ColumnElement[Any]  # one parameter, however often it is compared; None for NULL, which is not


def after(terms: Sequence[OrderTerm], values: Sequence[object]) -> ColumnElement[bool]:
    """Give the condition for rows strictly after ``values`` in the order of ``terms``.

    For the rows before, give the reversed terms. Values are bound with their expressions' types.

    Args:
        terms: a total order, as from :func:`rowsmith.orders.order_terms`.
        values: one value for each term, of the term's type, None for NULL.
    """
    return after_bounds(terms, bounds(terms, values))


def bounds(terms: Sequence[OrderTerm], values: Sequence[object]) -> list[ColumnElement[Any] | None]:
    """Give the parameter for the value of each term; None for NULL, which is not compared."""
    return [None if value is None else _bound(term, value) for term, value in zip(terms, values, strict=True)]


def after_bounds(terms: Sequence[OrderTerm], bounds: Sequence[ColumnElement[Any] | None]) -> ColumnElement[bool]:
    """Do what :func:`after` does, with parameters that were made already."""
    operands = [term.expression if isinstance(term.expression, Column) else whole(term.expression) for term in terms]
    given: Sequence[Any] = bounds
    keys = [_Key(term, of, bound is None, bound) for term, of, bound in zip(terms, operands, given, strict=True)]

    def run_of(numbered: tuple[int, _Key]) -> tuple[int, bool]:
        index, key = numbered
        return (index if key.term.nullable or key.is_null else -1, key.term.descending)

    # Neighbours that one row value can compare; a nullable term stands alone.
    runs = [[key for _, key in run] for _, run in groupby(enumerate(keys), run_of)]
    return _after_runs(runs)


def _after_runs(runs: Sequence[Sequence[_Key]]) -> ColumnElement[bool]:
    run, *rest = runs
    if not rest:
        return _strictly_after(run)
    key, (left, right) = run[0], _operands(run)
    equal = key.expression.is_(None) if key.is_null else left == right
    further = and_(equal, _after_runs(rest))
    if _is_two_ranges(run):
        return or_(_strictly_after(run), further)
    if key.is_null and not key.term.nulls_first:
        return further  # NULLs come last, so nothing but more NULLs is left
    not_before = left <= right if key.term.descending else left >= right
    # The first condition is implied by the second; it is what an index can start from.
    return and_(not_before, or_(_strictly_after(run), further))


def _is_two_ranges(run: Sequence[_Key]) -> bool:
    """Whether the rows after the key are the NULLs and the others, which lie at the two ends of an index."""
    key = run[0]
    if key.is_null:
        return key.term.nulls_first
    return key.term.nullable and not key.term.nulls_first


def _strictly_after(run: Sequence[_Key]) -> ColumnElement[bool]:
    key = run[0]
    if key.is_null:
        return key.expression.is_not(None) if key.term.nulls_first else false()
    left, right = _operands(run)
    compared = left < right if key.term.descending else left > right
    return or_(compared, key.expression.is_(None)) if _is_two_ranges(run) else compared


def _operands(run: Sequence[_Key]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Both sides of a comparison: bare for one key, row values for several."""
    if len(run) == 1:
        return run[0].expression, run[0].bound
    return tuple_(*(key.expression for key in run)), tuple_(*(key.bound for key in run))


def _bound(term: OrderTerm, value: object) -> ColumnElement[Any]:
    kind = term.expression.type
    if isinstance(kind, NullType):
        return literal(value)  # func.lower(...) and the like: the value says what it is
    if is_end(value, kind):
        return end_bound(value, kind)
    if column_type(kind).compared is Comparison.INTEGER:
        # An index on any integer column answers a bigint; a sum of integers may need one, or even a Decimal.
        return literal(value, _BIGINT if isinstance(value, int) else None)
    # An expression may be finer than the type that SQLAlchemy takes it to have: it is its operands'.
    wider = None if isinstance(term.expression, Column) else column_type(kind).beside.wider
    return literal(value, wider or kind)
