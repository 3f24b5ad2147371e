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

    def validated(records: Iterable[Sequence[object]]) -> list[Any]:
        validate = into.__pydantic_validator__.validate_python  # there once the model's annotations are resolved
        return [validate(dict(zip(names, record, strict=True)), by_name=True) for record in records]

    def by_name(records: Iterable[Sequence[object]]) -> list[Any]:
        return [into(**dict(zip(names, record, strict=True))) for record in records]

    def by_place(records: Iterable[Sequence[object]]) -> list[Any]:
        # What map() is given may not raise a StopIteration: it would take that for the end.
        return [into(*record) for record in records]

    if issubclass(into, BaseModel):
        return checked_builder(into, validated, names)
    is_by_name = any(entry.kw_only for entry in dataclasses.fields(into) if entry.init)
    build = by_name if is_by_name else generated_builder(into) or by_place
    return checked_builder(into, build, names) if hasattr(into, "__pydantic_validator__") else build


def checked_builder(into: type[object], build: Build, names: Sequence[str] = ()) -> Build:
    """Say without values what pydantic, whose error quotes the row, says of a record that does not fit.

    Nothing else than fields and pydantic's own kinds of errors: below a field stand keys of the data, and a validator
    may call its error anything.
    """

    def build_checked(records: Iterable[Sequence[object]]) -> list[Any]:
        try:
            return build(records)
        except ValidationError as exc:
            found = exc.errors(include_url=False, include_context=False, include_input=False)
        kinds = [item["type"] if item["type"] in _KINDS else "custom" for item in found]
        complaints = [f"{_field(item['loc'], into, names)}: {kind}" for item, kind in zip(found, kinds, strict=True)]
        complaint = "; ".join(dict.fromkeys(complaints))
        raise InvalidValue(f"a stored row does not fit {into.__name__} ({complaint})")

    return build_checked


def _field(place: tuple[int | str, ...], into: Any, names: Sequence[str]) -> str:
    first = place[0] if place else ""
    if isinstance(first, int):  # the place of an argument
        return names[first] if first < len(names) else "a field"
    fields: dict[str, Any] = getattr(into, "__pydantic_fields__", {})
    known = ((name, info.alias, info.validation_alias) for name, info in fields.items())
    aliases = {name for name in chain.from_iterable(known) if isinstance(name, str)}
    return first if first in {*names, *aliases} else into.__name__


_KINDS = frozenset(get_args(core_schema.ErrorType))
