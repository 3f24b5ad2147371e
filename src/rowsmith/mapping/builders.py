"""Builders: the functions that make data objects of values, chosen once for each data class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import core_schema

from rowsmith.errors import InvalidValue
from rowsmith.mapping.generated import Build, generated_builder


def builder(into: type[Any], names: tuple[str, ...]) -> Build:
    """Give the function that makes data of many records, whose values stand in the order of ``names``."""
    if issubclass(into, BaseModel):
        return checked_builder(into, _model_builder(into, names), names)
    if any(entry.kw_only for entry in dataclasses.fields(into) if entry.init):
        build = _keyword_builder(into, names)
    else:
        build = generated_builder(into) or _positional_builder(into)
    return checked_builder(into, build, names) if hasattr(into, "__pydantic_validator__") else build


def _positional_builder(into: type[object]) -> Build:
    # What map() is given may not raise a StopIteration: it would take that for the end.
    return lambda records: [into(*record) for record in records]


def _keyword_builder(into: type[object], names: tuple[str, ...]) -> Build:
    return lambda records: [into(**dict(zip(names, record, strict=True))) for record in records]


def _model_builder(into: type[BaseModel], names: tuple[str, ...]) -> Build:
    def build(records: Iterable[Sequence[object]]) -> list[Any]:
        validate = into.__pydantic_validator__.validate_python  # there once the model's annotations are resolved
        return [validate(dict(zip(names, record, strict=True)), by_name=True) for record in records]

    return build


def checked_builder(into: object, build: Build, names: Sequence[str] = ()) -> Build:
    """Say without values what pydantic, whose error quotes the row, says of a record that does not fit."""

    def build_checked(records: Iterable[Sequence[object]]) -> list[Any]:
        try:
            return build(records)
        except ValidationError as exc:
            failure = _misfit(exc, into, names)
        raise failure

    return build_checked


def _misfit(failure: ValidationError, into: Any, names: Sequence[str]) -> InvalidValue:
    """Say what pydantic found wrong with a row: its fields and pydantic's own kinds of errors, and nothing else.

    Below a field stand keys of the data, and a validator may call its error anything.
    """
    found = failure.errors(include_url=False, include_context=False, include_input=False)
    complaint = "; ".join(dict.fromkeys(f"{_field(item['loc'], into, names)}: {_kind(item['type'])}" for item in found))
    return InvalidValue(f"a stored row does not fit {into.__name__} ({complaint})")


def _field(place: tuple[int | str, ...], into: Any, names: Sequence[str]) -> str:
    first = place[0] if place else ""
    if isinstance(first, int):  # the place of an argument
        return names[first] if first < len(names) else "a field"
    fields: dict[str, Any] = getattr(into, "__pydantic_fields__", {})
    known = ((name, info.alias, info.validation_alias) for name, info in fields.items())
    aliases = {name for name in chain.from_iterable(known) if isinstance(name, str)}
    return first if first in {*names, *aliases} else into.__name__


def _kind(given: str) -> str:
    return given if given in _KINDS else "custom"


_KINDS = frozenset(get_args(core_schema.ErrorType))
