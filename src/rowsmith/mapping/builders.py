"""Builders: the functions that make data objects of values, chosen once for each data class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any

from pydantic import BaseModel, ValidationError

from rowsmith.errors import InvalidValue
from rowsmith.mapping.generated import Build, generated_builder


def builder(into: type[Any], names: tuple[str, ...]) -> Build:
    """Give the function that makes data of many records, whose values stand in the order of ``names``."""
    if issubclass(into, BaseModel):
        return _checked(into, _model_builder(into, names))
    keyword_only = any(entry.kw_only for entry in dataclasses.fields(into) if entry.init)
    build = _keyword_builder(into, names) if keyword_only else _positional_builder(into)
    return _checked(into, build) if hasattr(into, "__pydantic_validator__") else build


def _positional_builder(into: type[Any]) -> Build:
    return generated_builder(into) or (lambda records: list(starmap(into, records)))


def _keyword_builder(into: type[Any], names: tuple[str, ...]) -> Build:
    return lambda records: [into(**dict(zip(names, record, strict=True))) for record in records]


def _model_builder(into: type[BaseModel], names: tuple[str, ...]) -> Build:
    def build(records: Iterable[Sequence[Any]]) -> list[Any]:
        validate = into.__pydantic_validator__.validate_python  # there once the model's annotations are resolved
        return [validate(dict(zip(names, record, strict=True)), by_name=True) for record in records]

    return build


def _checked(into: type[Any], build: Build) -> Build:
    """Say without values what pydantic, whose error quotes the row, says of a record that does not fit."""

    def build_checked(records: Iterable[Sequence[Any]]) -> list[Any]:
        try:
            return build(records)
        except ValidationError as exc:
            complaint = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in exc.errors())
        raise InvalidValue(f"a stored row does not fit {into.__name__} ({complaint})")

    return build_checked
