"""The law of filters tries what there is: every kind of filter, every field, every operator."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_args

import pytest

from company import LabelFilter, PaperFilter, ThingFilter
from filters.filter_model import PLAIN
from filters.filter_strategies import FIELDS
from rowsmith import filters
from rowsmith.filters.fields import FieldFilter
from rowsmith.filters.filter import Filter


def below(kind: type[FieldFilter]) -> list[type[FieldFilter]]:
    """The classes that rowsmith derives from one; not those that pydantic makes of them for a type."""
    own = [each for each in kind.__subclasses__() if each.__module__.startswith("rowsmith.")]
    return [each for found in own for each in (found, *below(found)) if "[" not in each.__name__]


for module in iter_modules(filters.__path__, f"{filters.__name__}."):
    import_module(module.name)
KINDS = below(FieldFilter)


def kinds_in(wanted: type[Filter[Any]]) -> dict[str, type[FieldFilter]]:
    """The filter of each field."""
    parts = {name: get_args(field.annotation) for name, field in wanted.model_fields.items()}
    kinds = {name: [part for part in given if isinstance(part, type)] for name, given in parts.items()}
    return {name: kind for name, given in kinds.items() for kind in given if issubclass(kind, FieldFilter)}


def untried(public: list[type[FieldFilter]]) -> list[str]:
    """The kinds that no field of the rows has."""
    tried = [kind for wanted in (ThingFilter, LabelFilter, PaperFilter) for kind in kinds_in(wanted).values()]
    return [kind.__name__ for kind in public if not any(issubclass(one, kind) for one in tried)]


def test_every_kind_of_filter_is_tried() -> None:
    """A new kind fails here until a field of the rows has it, and so what all filters keep is tried on it."""
    assert len(KINDS) >= 10
    assert untried(KINDS) == []


def test_every_kind_of_filter_is_public() -> None:
    """One whose name is in no list can be declared by nobody."""
    assert [kind.__name__ for kind in KINDS if getattr(filters, kind.__name__, None) is not kind] == []
    assert {kind.__name__ for kind in KINDS} <= set(filters.__all__)


def test_a_kind_that_is_not_tried_is_found() -> None:
    """The test above is able to fail."""

    class MonthFilter(FieldFilter): ...

    assert untried([MonthFilter, filters.DateFilter]) == ["MonthFilter"]


def test_every_field_is_drawn() -> None:
    """Each field that is no relationship has random values to be searched by."""
    kinds = kinds_in(ThingFilter)
    assert {name for name, kind in kinds.items() if not kind.over_relationship} == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_the_model_knows_every_operator(name: str) -> None:
    """Negated, folded or plain: the language's model says what it means."""
    kind = kinds_in(ThingFilter)[name]
    spelt = {operator.removesuffix("_").removeprefix("i_").removeprefix("not_") for operator in kind.operators}
    assert spelt - {"is_null"} <= PLAIN.keys()
