"""Hypothesis strategies: random rows, and random filters that have a fair chance to tell them apart."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st

from company import Color

Strategy = st.SearchStrategy[Any]

LETTERS = "aAbBzZ%_\\äÄéÉßσΣ'\" "
TEXTS = st.text(LETTERS, max_size=4)
SMALL = st.sampled_from([-(2**31), -2, -1, 0, 1, 2, 2**31 - 1])
BIG = st.sampled_from([-(2**63), -(2**31) - 1, -1, 0, 1, 2**31, 2**63 - 1])
# Quarters are exact in binary, so that SQLite, which keeps NUMERIC as a float, agrees with Decimal.
PRICE = st.sampled_from([Decimal("-1.25"), Decimal(0), Decimal("0.25"), Decimal("0.5"), Decimal("12345678.75")])
RATIO = st.sampled_from([-1.5, -0.0, 0.0, 0.1, 1e300, 5e-324])
KEYS = st.sampled_from([uuid.UUID(int=n) for n in (0, 1, 2**127)])
ZONES = st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-7)), dt.timezone(dt.timedelta(hours=5, minutes=30))])
INSTANTS = st.sampled_from(
    [dt.datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=dt.UTC) + dt.timedelta(microseconds=n) for n in (-1, 0, 1)]
)
MOMENTS = st.builds(lambda moment, zone: moment.astimezone(zone), INSTANTS, ZONES)
DAYS = st.sampled_from([dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(2024, 3, 1), dt.date(9999, 12, 31)])
NAMES = st.sampled_from(["a", "b", "A", "a b", "$", "0", "[0]", "a.b", ""])
ATOMS = st.sampled_from([None, True, False, 0, 1, 1.0, 1.5, "", "a", "1", "true", "null", "ä"])
DOCUMENTS = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5
)

COLUMNS: dict[str, Strategy] = {
    "text": TEXTS,
    "small": SMALL,
    "big": BIG,
    "price": PRICE,
    "ratio": RATIO,
    "flag": st.booleans(),
    "color": st.sampled_from(Color),
    "key": KEYS,
    "moment": INSTANTS,
    "local": INSTANTS,
    "day": DAYS,
    "document": DOCUMENTS.filter(lambda document: document is not None),
}


@st.composite
def things(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw up to eight rows, a third of their fields NULL, each the child of one before it, or of itself."""
    rows: list[dict[str, Any]] = []
    for number in range(1, draw(st.integers(0, 8)) + 1):
        row = {name: None if draw(st.integers(0, 2)) == 0 else draw(values) for name, values in COLUMNS.items()}
        parent = draw(st.integers(0, number))
        rows.append({"id": number, **row, "parent_id": parent or None})
    return rows


@st.composite
def labels(draw: st.DrawFn, count: int) -> list[dict[str, Any]]:
    """Draw up to five labels on things 1 to ``count``."""
    amount = draw(st.integers(0, 5)) if count else 0
    owners, names = st.integers(1, max(count, 1)), st.sampled_from(["a", "A", "b"])
    return [{"id": n, "name": draw(names), "thing_id": draw(owners)} for n in range(1, amount + 1)]


@st.composite
def _some(draw: st.DrawFn, strategies: dict[str, Strategy], names: st.SearchStrategy[list[str]]) -> dict[str, Any]:
    """Draw a value for each of some names; a strategy made for them anew would cost more than all that it draws."""
    return {name: draw(strategies[name]) for name in draw(names)}


def _up_to(most: int, strategies: dict[str, Strategy]) -> Strategy:
    return _some(strategies, st.lists(st.sampled_from(sorted(strategies)), min_size=1, max_size=most, unique=True))


def _either(operators: dict[str, Strategy]) -> Strategy:
    """Draw one to three of the operators."""
    return _up_to(3, operators)


def _pairs(values: Strategy) -> Strategy:
    return st.tuples(values, values).map(list)


def _compared(values: Strategy) -> dict[str, Strategy]:
    lists = st.lists(values, max_size=3)
    equality = {"equals": values, "not_equals": values, "in": lists, "not_in": lists}
    return {**equality, "is_null": st.booleans()}


def _numbers(values: Strategy) -> Strategy:
    ordered = dict.fromkeys(["gt", "gte", "lt", "lte"], values)
    return _either({**_compared(values), **ordered, **dict.fromkeys(["between", "not_between"], _pairs(values))})


def _times(values: Strategy) -> Strategy:
    ordered = dict.fromkeys(["before", "after", "at_or_before", "at_or_after"], values)
    return _either({**_compared(values), **ordered, **dict.fromkeys(["between", "not_between"], _pairs(values))})


def _texts(values: Strategy) -> Strategy:
    plain = ["contains", "starts_with", "ends_with"]
    matching = dict.fromkeys([*plain, *(f"not_{name}" for name in plain)], values)
    folded = {f"i_{name}": taken for name, taken in {**_compared(values), **matching}.items() if name != "is_null"}
    return _either({**_compared(values), **matching, **folded})


def _without(operators: dict[str, Strategy], *names: str) -> Strategy:
    return _either({name: values for name, values in operators.items() if name not in names})


def _documents() -> Strategy:
    steps = st.lists(NAMES.filter(bool) | st.integers(0, 2), min_size=1, max_size=3)
    wanted = st.fixed_dictionaries({"path": steps, "value": ATOMS})
    keys, places = ["has_key", "not_has_key"], ["path_equals", "not_path_equals"]
    return _either({**dict.fromkeys(keys, NAMES), **dict.fromkeys(places, wanted), "is_null": st.booleans()})


FIELDS: dict[str, Strategy] = {
    "id": _numbers(st.integers(0, 9)),
    "text": _texts(TEXTS),
    "small": _numbers(SMALL),
    "big": _numbers(BIG),
    "price": _numbers(PRICE),
    "ratio": _numbers(RATIO),
    "flag": _without(_compared(st.booleans()), "in", "not_in"),
    "color": _either(_compared(st.sampled_from(Color))),
    "key": _either(_compared(KEYS)),
    "moment": _times(MOMENTS),
    "naive": _times(MOMENTS),
    "day": _times(DAYS),
    "document": _documents(),
    "length": _numbers(st.integers(0, 4)),
}


def _fields(fields: dict[str, Strategy]) -> Strategy:
    return _up_to(2, fields)


def _related(trees: Strategy) -> Strategy:
    return st.one_of(
        st.fixed_dictionaries({"exists": trees}),
        st.fixed_dictionaries({"none": trees}),
        st.fixed_dictionaries({"exists": trees, "none": trees}),
    )


def _groups(trees: Strategy) -> Strategy:
    lists = st.lists(trees, min_size=1, max_size=3)
    label_trees = LABELS | st.just({}) | st.fixed_dictionaries({"thing": _related(trees)})
    return st.one_of(
        st.fixed_dictionaries({"AND": lists}),
        st.fixed_dictionaries({"OR": lists}),
        st.fixed_dictionaries({"NOT": trees}),
        st.fixed_dictionaries({"OR": lists, "NOT": trees, "text": FIELDS["text"]}),
        st.fixed_dictionaries({"parent": _related(trees)}),
        st.fixed_dictionaries({"children": _related(trees | st.just({}))}),
        st.fixed_dictionaries({"labels": _related(label_trees)}),
    )


LABELS = st.fixed_dictionaries({"name": _texts(st.sampled_from(["a", "A", "b"]))})

LOOPS = [
    ["children", "labels", "thing"],
    ["parent", "labels", "thing"],
    ["labels", "thing", "children"],
    ["labels", "thing", "parent"],
    ["labels", "thing", "labels"],
    ["children", "parent", "children"],
    ["parent", "children", "labels"],
]
"""Paths from a thing that come back to a table they left, as long as the cap on depth lets them be."""


def journeys() -> Strategy:
    """Draw a filter along a path that comes back to a table it left, with something to say of things on the way."""
    things = _fields({name: FIELDS[name] for name in ("id", "small", "big", "flag", "length")})

    def along(path: list[str]) -> Strategy:
        name, rest = path[0], path[1:]
        last = along(rest) if rest else things
        if name == "labels":
            last = last if rest else LABELS
        elif rest:
            last = st.builds(lambda here, on: {**here, **on}, things, last) | last
        return st.fixed_dictionaries({name: _related(last)})

    return st.one_of([along(path) for path in LOOPS])


@cache
def trees() -> Strategy:
    """Draw a filter: fields, groups and relationships, up to the depth that is allowed; one in four is a journey."""
    anything = st.recursive(_fields(FIELDS), _groups, max_leaves=6)
    return st.one_of(anything, anything, anything, journeys())
