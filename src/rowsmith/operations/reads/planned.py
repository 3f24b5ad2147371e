"""Searches on plans: pages, counts, and whether there is any row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, cast

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.engine import Dialect
from typing_extensions import TypeVar, override

from rowsmith.conditions import Narrowing, given_conditions, limited
from rowsmith.errors import DatabaseFault, InvalidCursor, InvalidValue, RepositoryError
from rowsmith.execution import UNTOLD, NativeLane
from rowsmith.execution.kinds import OUT_OF_RANGE, UNFIT_PARAMETERS
from rowsmith.mapping.layout import AnySelect, Record
from rowsmith.operations.entity import Entity
from rowsmith.operations.plans import (
    MOST_PLANS,
    Asked,
    Binds,
    CallPattern,
    Plan,
    Plans,
    checks_of,
    compile_plan,
    has_plain_rows,
)
from rowsmith.operations.reads.one import AskedRow, ByKey
from rowsmith.operations.reads.search import Search, prepare
from rowsmith.operations.settled import ask_scope
from rowsmith.orders import OrderTerm
from rowsmith.pagination import (
    Count,
    LazyCursors,
    Page,
    Pagination,
    fetch_limit,
    window,
)
from rowsmith.pagination.cursor import CODEC
from rowsmith.pagination.fingerprint import FIXED
from rowsmith.pagination.modes import MODES
from rowsmith.pagination.sort_keys import AsText
from rowsmith.query import Query
from rowsmith.scope import Limits, SearchScope, resolve_scope
from rowsmith.state import UNSET

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)


def may_be_the_cursors(failure: Exception, keys: Sequence[OrderTerm]) -> bool:
    """Say whether an error is about a value that the database does not take, which may be one of a cursor's.

    One that is out of range the server finds of what a cursor carries as text, and else of what it computes of rows.
    """
    if not isinstance(failure, (DatabaseFault, InvalidValue)) or getattr(failure, "is_stored", False):
        return False
    if failure.facts.sqlstate in OUT_OF_RANGE and not any(isinstance(key.expression.type, AsText) for key in keys):
        return False
    return failure.facts.sqlstate is None or failure.facts.sqlstate in UNFIT_PARAMETERS


@dataclass(slots=True)
class _Sought:
    """What a call asks for, taken apart; and, once it was looked at, its pattern and parameters."""

    scope: SearchScope | None = None
    filters: Any = None
    pagination: Any = None
    orders: Any = ()
    count: Any = Count.NONE
    include_deleted: Any = False
    pk: Any = UNSET
    pattern: CallPattern = field(default_factory=list[Any], init=False)
    binds: Binds = field(default_factory=list[Any], init=False)

    def is_plain(self, page: Pagination) -> bool:
        """Say whether it is what a plan can be made for, apart from conditions and orders; takes a Query apart.

        Without a page it asks for the one given.
        """
        query = self.filters
        if query.__class__ is Query:
            is_alone = self.pagination is None and self.orders.__class__ in _LISTS and not self.orders
            if not is_alone or self.count is not Count.NONE:
                return False
            self.filters, self.pagination, self.orders = query.conditions, query.pagination, query.orders
            self.count = query.count
        if self.pagination is None:
            self.pagination = page
        return (
            self.count is Count.NONE
            and self.pk is UNSET
            and self.pagination.__class__ in MODES
            and self.orders.__class__ in _LISTS
            and self.include_deleted.__class__ is bool
        )

    def query(self) -> Query:
        """Give all but the scope as one."""
        return Query(tuple(self.filters or ()), tuple(self.orders), self.pagination)


def _sought(operation: str, args: list[Any], kwargs: dict[str, Any]) -> _Sought | None:
    """Give the arguments of a verb by their names; None where they are not such as it takes."""
    if not _NAMED[operation].issuperset(kwargs) or args[3 if operation == "search" else 2 :]:
        return None
    try:
        return _Sought(*args, **kwargs)
    except TypeError:  # one is given twice
        return None


_PLACES: Final = ("scope", "filters", "pagination")
_EACH: Final = frozenset({"scope", "filters", "include_deleted"})
_NAMED: Final = {
    "search": _EACH | {"pagination", "orders", "count"},
    "first": _EACH | {"orders"},
    "exists": _EACH | {"pk"},
    **dict.fromkeys(("get_one", "find_one", "count"), _EACH),
}
"""What each verb may be given by name."""

_LISTS: Final = (list, tuple)


@dataclass
class _Known:
    """What is known of searches of one pattern: one of them, its parameters in the order of their values, and plans.

    These are by the types of the values that a cursor has, if there is one: NULL is compared otherwise.
    """

    search: Search[Any, Any]
    binds: Binds
    plans: dict[tuple[type[Any], ...], Plan | None] = field(default_factory=dict[Any, Any])

    def fingerprint(self, values: Sequence[object]) -> Callable[[], bytes]:
        """Give what makes that of a search with these values; see :meth:`Imprint.later`."""
        if FIXED.issuperset(map(type, values)):
            return partial(self._fingerprint, values)
        return partial(bytes, self._fingerprint(values))

    def _fingerprint(self, values: Sequence[object]) -> bytes:
        return self.search.imprint.digest(dict(zip(self.binds, values, strict=True)))

    def plan(self, kinds: tuple[type[object], ...], make: Callable[[], tuple[AnySelect, Binds]]) -> Plan | None:
        """Give the plan for a cursor of such values; ``make`` gives its statement, and what else varies in it."""
        if kinds in self.plans:
            return self.plans[kinds]
        if len(self.plans) == MOST_PLANS:
            self.plans.clear()
        statement, others = make()
        info, dialect = self.search.entity.info, self.search.dialect
        plan = self.plans[kinds] = compile_plan(statement, info, [*self.binds, *others], dialect)
        if plan is not None:
            plan.checks = checks_of(self.binds)
        return plan

    def page(self, named: Sequence[object] | None) -> tuple[AnySelect, Binds]:
        """Give the SELECT of the page after a row, or of the first; and its parameters that are no condition's."""
        bounds = None if named is None else self.search.bounds(named)
        statement: Any = self.search.statement_after(bounds)
        others = (*(bounds or ()), statement._limit_clause, statement._offset_clause)
        return statement, [each for each in others if each is not None]


class Searches(Generic[TRow, TData]):
    """The plans of searches on an entity: of each pattern that scopes, filters, orders and pages have.

    Each method takes the lane and the arguments of a verb, and says what it has to send; None where it is not plainly a
    search among columns of the table. A scope that was asked is put back among the arguments with what it said.
    """

    def __init__(self, entity: Entity[TRow, TData]) -> None:
        self._entity = entity
        self._patterns = Plans[_Known](entity.info)
        self._is_plain = has_plain_rows(entity.info)
        self._is_flat = entity.shape.is_flat
        self._by_key = ByKey(entity, self._any_row, AskedValue)
        self._by_key.is_flat = self._is_plain  # whatever its data is made of

    def page(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedPage | None:
        """Have a page asked for."""
        sought = _sought("search", args, kwargs) if self._is_flat else None
        known = None if sought is None else self._known("search", sought, lane.dialect, args, kwargs)
        if sought is None or known is None:
            return None
        fetch, codec = sought.pagination.fetch(), lane.info[CODEC]
        named, given = None, [bind.value for bind in sought.binds]
        fingerprint = known.fingerprint(given)
        sent = [*given]
        kinds: tuple[type[Any], ...] = ()
        if fetch.cursor is not None:
            digest = fingerprint()
            fingerprint = partial(bytes, digest)  # of the cursors that are made, too
            try:
                named = codec.decode(fetch.cursor, known.search.keys, digest)
            except InvalidCursor:  # SQLAlchemy's way says it in its order
                return None
            kinds = tuple(map(type, named))
            sent += [value for value in named if value is not None]
        plan = known.plan(kinds, partial(known.page, named))
        sent += [end for end in (fetch_limit(sought.pagination), fetch.offset) if end is not None]
        values = None if plan is None else plan.values(sent)
        if plan is None or values is None:
            return None
        encode = known.search.encoder(codec, fingerprint)
        return AskedPage(known.search, plan, values, sought.pagination, encode)

    def count(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedValue | None:
        """Have it asked how many rows there are."""
        sent = self._sent("count", lambda search: search.counted(), lane, args, kwargs) if self._is_plain else None
        return None if sent is None else AskedValue(self._entity, "count", *sent)

    def exists(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        """Have it asked whether there is any row, or that one."""
        if not self._is_plain:
            return None
        if kwargs.get("pk", UNSET) is not UNSET:
            return self._exists_by_key(lane, args, kwargs)
        sent = self._sent("exists", lambda search: search.any_row(), lane, args, kwargs)
        return None if sent is None else AskedValue(self._entity, "exists", *sent)

    def _exists_by_key(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        sought = _sought("exists", args, kwargs)
        if sought is None or sought.filters is not None:
            return None
        named = {"scope": sought.scope, "include_deleted": sought.include_deleted}
        asked = self._by_key.ask("exists", lane, [sought.pk], named)
        if sought.scope is not None:
            _put(args, kwargs, "scope", named["scope"])
        return asked

    def _any_row(self, key: Sequence[ColumnElement[bool]], limits: Limits, include_deleted: bool) -> AnySelect:
        entity = self._entity
        rows = select(*entity.info.key_attributes).select_from(entity.info.row)
        found: AnySelect = limited(rows, *key, *limits.conditions, *entity.live(include_deleted))
        return select(exists(found))

    def first(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        """Have the first row asked for."""
        sent = self._sent("first", lambda search: search.first(), lane, args, kwargs) if self._is_flat else None
        return None if sent is None else AskedRow(self._entity, "first", *sent)

    def only(self, operation: str, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        """Have the only row asked for."""
        sent = self._sent(operation, lambda search: search.two(), lane, args, kwargs) if self._is_flat else None
        return None if sent is None else AskedRow(self._entity, operation, *sent)

    def _sent(
        self,
        operation: str,
        make: Callable[[Search[Any, Any]], AnySelect],
        lane: NativeLane,
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> tuple[Plan, Sequence[Any]] | None:
        """Give the plan of a statement that a search makes, and the values that are sent with it."""
        sought = _sought(operation, args, kwargs)
        known = None if sought is None else self._known(operation, sought, lane.dialect, args, kwargs)
        if sought is None or known is None:
            return None
        plan = known.plan((), lambda: (make(known.search), []))
        values = None if plan is None else plan.values([bind.value for bind in sought.binds])
        return None if plan is None or values is None else (plan, values)

    def _known(
        self, operation: str, sought: _Sought, dialect: Dialect, args: list[Any], kwargs: dict[str, Any]
    ) -> _Known | None:
        """Give what is known of searches like this one; None where it has no pattern."""
        if not sought.is_plain(self._entity.default_page):
            return None
        sought.pattern += operation, sought.pagination.__class__, sought.include_deleted
        if not (self._is_scoped(sought, args, kwargs) and self._is_narrowed(sought, args, kwargs)):
            return None
        sought.pattern.append(None)  # what is sorted by is no condition
        if not self._patterns.ordered(sought.orders, sought.pattern):
            return None
        try:
            return self._patterns.find(tuple(sought.pattern), dialect, partial(self._make, sought, dialect))
        except RepositoryError:  # SQLAlchemy's way says it in its order
            return None

    def _is_scoped(self, sought: _Sought, args: list[Any], kwargs: dict[str, Any]) -> bool:
        """Add the scope to the pattern; says whether it can be."""
        scope = sought.scope
        if scope is None:
            return not self._entity.scope_required
        sought.scope, is_plain = ask_scope(self._patterns, scope, sought.pattern, sought.binds)
        _put(args, kwargs, "scope", sought.scope)
        return is_plain

    def _is_narrowed(self, sought: _Sought, args: list[Any], kwargs: dict[str, Any]) -> bool:
        """Add the filters to the pattern; says whether they can be."""
        filters: Any = sought.filters
        if filters is None:
            return True
        if isinstance(filters, Narrowing):
            sought.filters = given_conditions(cast("Any", filters))
            _put(args, kwargs, "filters", sought.filters)
        sought.pattern.append(None)  # what filters say is no scope
        is_list = sought.filters.__class__ in _LISTS
        return is_list and self._patterns.narrowed(sought.filters, sought.pattern, sought.binds)

    def _make(self, sought: _Sought, dialect: Dialect) -> _Known:
        entity = self._entity
        limits = resolve_scope(sought.scope, entity.info)
        search = prepare(entity, limits, dialect, sought.query(), include_deleted=sought.include_deleted)
        return _Known(search, sought.binds)


def _put(args: list[Any], kwargs: dict[str, Any], name: str, value: object) -> None:
    if name in kwargs:
        kwargs[name] = value
    else:
        args[_PLACES.index(name)] = value


class AskedValue(AskedRow):
    """One value that is asked for, in a row of its own."""

    __slots__ = ()

    @override
    def answer(self, records: Sequence[Record]) -> Any:
        return records[0][0] if records else UNTOLD


class AskedPage(Asked[Page[Any]]):
    """A page that is asked for, and what makes the cursors of its rows."""

    __slots__ = ("_encode", "_pagination", "_search")

    def __init__(
        self,
        search: Search[Any, Any],
        plan: Plan,
        values: Sequence[object],
        pagination: Pagination,
        encode: Callable[[Record], str],
    ) -> None:
        super().__init__(search.entity, "search", plan, values)
        self._search, self._pagination, self._encode = search, pagination, encode

    @override
    def answer(self, records: Sequence[Record]) -> Page[Any]:
        cut = window(self._pagination, records)
        items = self.entity.shape.layout.make(self._search.without_keys(cut.rows), ())
        return Page(tuple(items), cut.has_next_page, cut.has_previous_page, None, LazyCursors(cut.rows, self._encode))

    @override
    def meant(self, failure: Exception) -> Exception:
        is_cursors = self._pagination.fetch().cursor is not None and may_be_the_cursors(failure, self._search.keys)
        return InvalidCursor(facts=self.origin().facts()) if is_cursors else failure
