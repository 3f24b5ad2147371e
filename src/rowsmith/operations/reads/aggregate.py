"""Computing over many rows in the database: counts, sums, means, least and greatest values, by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rowsmith.mapping.group_keys import group_key, sorted_inside, with_keys
from rowsmith.mapping.layout import AnySelect
from rowsmith.mapping.statistics import Statistics, statistics
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.entity import TOther
from rowsmith.operations.reads.search import Filters, Search, as_query, prepare
from rowsmith.orders import Order, OrderTerm, order_list, order_terms
from rowsmith.pagination.sort_keys import check_groupable
from rowsmith.scope import Limits, SearchScope, check_order


class Aggregator(Operation[TRow, TData]):
    """Computes over many rows; one statement.

    ::

        @dataclass(frozen=True)
        class StatusStats:
            status: Status
            executions: Annotated[int, count()]
            failed: Annotated[int, count().filter(TaskRow.error.is_not(None))]
            mean: Annotated[float | None, avg(TaskRow.duration)]

        await aggregator.aggregate(db_sess, scope, group_by=[TaskRow.status], into=StatusStats)
    """

    @verb("aggregate")
    async def aggregate(
        self,
        call: Call[TRow, TData],
        scope: SearchScope | None = None,
        filters: Filters[TRow] = None,
        *,
        into: type[TOther],
        group_by: Sequence[Order] = (),
        include_deleted: bool = False,
    ) -> list[TOther]:
        """Give one object a group, in the order of the groups' keys; without ``group_by``, exactly one.

        Args:
            db_sess: the session to read in.
            scope: who asks.
            filters: which rows are computed over.
            into: the data class: each field names a column grouped by, has an expression grouped by as
                ``Annotated[..., Expr(...)]``, or aggregates (``Annotated[int, count()]``).
            group_by: columns or expressions; NULLs are a group of their own, the last one.
            include_deleted: also compute over soft-deleted rows.

        Raises:
            MappingError: a field is neither grouped nor aggregated, or may be None and does not say so.
            InvalidFilter: ``group_by`` has what the database has no equality of (JSON on PostgreSQL), or an aggregate.
            InvalidValue: a sum does not fit the field's type (an int of 64 bits).
        """
        query, terms = as_query(filters), order_terms(order_list(group_by, "group_by"), ())
        call = await call.under(scope)
        search = prepare(self.entity, call.limits, call.dialect, query, include_deleted=include_deleted)
        for term in terms:
            check_order(term.expression, self.entity.info)
        check_groupable(terms, call.dialect)
        figures = statistics(self.entity.info, into, [term.expression for term in terms], call.dialect)
        statement = grouped(search, figures, terms, call.limits)
        return figures.build((await call.execute(statement)).all())


def grouped(
    search: Search[Any, Any], figures: Statistics[Any], terms: Sequence[OrderTerm], limits: Limits
) -> AnySelect:
    """Give the SELECT of statistics over the rows of a search."""
    keys = [group_key(term.expression) for term in terms]
    selects = limits.narrowed([with_keys(each, keys) for each in figures.selects])
    made = limits.narrowed(keys)
    selects, made = ([sorted_inside(each, limits.conditions) for each in some] for some in (selects, made))
    statement = search.selected(*selects).group_by(*made)
    return statement.order_by(*(replace(term, expression=key).clause() for term, key in zip(terms, made, strict=True)))
