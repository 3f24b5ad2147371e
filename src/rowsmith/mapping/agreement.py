"""Whether a field of a data class is annotated with what its column gives."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Final, ForwardRef, Literal, NewType, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError, create_model
from sqlalchemy import Column
from sqlalchemy.types import TypeEngine
from typing_extensions import get_protocol_members, is_protocol, is_typeddict

from rowsmith.mapping.annotations import bare, field_annotations, options, resolved
from rowsmith.mapping.types import Comparison, column_type, read_as, stored_form

_ANYTHING: Final = (Any, object)
_PROMOTED: Final[dict[Any, tuple[type[Any], ...]]] = {float: (int,), complex: (int, float)}
"""What a type checker takes for a number of a wider type (PEP 484, "The numeric tower")."""


def disagreement(given: object, column: Column[Any]) -> str | None:
    """Say in which way a field's type is not what its column gives, and what to write; None where it may be.

    Args:
        given: the annotation, without marks.
        column: what fills the field.
    """
    kinds, found = read_as(column.type), options(given)
    if kinds and not any(_takes(option, kind, column.type) for option in found for kind in kinds):
        return f"is {_name(given)}, and the column gives {_names(kinds)}: write {_written(column)}"
    if column.nullable and not any(map(_takes_none, found)):
        return f"is never None, and the column is nullable: write {_name(given)} | None"
    return None


def key_disagreement(given: object, columns: Sequence[Column[Any]]) -> str | None:
    """Say in which way a type of ids is not that of a key, and what to write; None where it may be.

    Args:
        given: the type: a class, a NewType of one, for a composite key a tuple or NamedTuple of them.
        columns: the key's, in its order.
    """
    if _fits(given, columns):
        return None
    return f"is {_name(given)}, and the key is {_key_of(columns)}: write {_key_of(columns)}"


def _fits(given: object, columns: Sequence[Column[Any]]) -> bool:
    return any(_is_key(option, columns) for option in map(underlying, options(given)))


def _is_key(given: Any, columns: Sequence[Column[Any]]) -> bool:
    if given in _ANYTHING or isinstance(given, TypeVar | ForwardRef | str):
        return True
    if len(columns) == 1:
        return _is_id(given, columns[0])
    asked = get_origin(given) or given
    if not (isinstance(asked, type) and issubclass(asked, tuple)):
        return isinstance(asked, type) and _is_kind(tuple, asked)
    parts = _parts(given, len(columns))
    return len(parts) == len(columns) and all(map(_fits, parts, ([column] for column in columns)))


def _parts(given: Any, size: int) -> Sequence[Any]:
    """Give the types of a tuple's items; of a NamedTuple those of its fields, and Any where none are told."""
    arguments, named = get_args(given), get_origin(given) or given
    if hasattr(named, "_fields"):
        known = field_annotations(named)
        kinds = [resolved(named, name, known[name][1]) if name in known else Any for name in named._fields]
        told: dict[Any, Any] = dict(zip(getattr(named, "__parameters__", ()), arguments, strict=False))
        return [told.get(kind, kind) if isinstance(kind, TypeVar) else kind for kind in kinds]
    return [arguments[0]] * size if arguments[1:] == (...,) else arguments or [Any] * size


def _is_id(given: object, column: Column[Any]) -> bool:
    """Say whether values of a class may be ids; a bool is no number, and a point in time no date."""
    kinds = read_as(column.type)
    if get_origin(given) is Literal:
        return not kinds or any(isinstance(value, kind) for value in get_args(given) for kind in kinds)
    asked = get_origin(given) or given
    if not kinds or not isinstance(asked, type):
        return True
    if asked in _NARROWER and asked not in kinds:
        return False
    if asked is int and not {float, Decimal}.isdisjoint(kinds):
        return True
    return any(issubclass(asked, kind) or (asked not in _PROMOTED and _is_kind(kind, asked)) for kind in kinds)


_NARROWER: Final = (bool, dt.datetime)


def underlying(given: object) -> Any:
    """Give the type that a NewType is of, or the type itself."""
    while isinstance(given, NewType):
        given = bare(given.__supertype__)
    return given


def _key_of(columns: Sequence[Column[Any]]) -> str:
    names = [_names(read_as(column.type)[:1]) or "Any" for column in columns]
    return names[0] if len(names) == 1 else f"tuple[{', '.join(names)}]"


def refusal(into: type[Any], name: str, column: Column[Any]) -> str | None:
    """Say what a class that validates its fields itself will refuse of a column, as far as it is certain.

    The field alone is tried, with values of the column's classes and with None, and only errors about a value's
    type count. A validator of the class's own may do anything before, so a class that has one is trusted.
    """
    if into.__pydantic_decorators__.field_validators or into.__pydantic_decorators__.model_validators:
        return None
    try:
        config = cast("Any", getattr(into, "model_config", None) or getattr(into, "__pydantic_config__", None) or {})
        kept: Any = {key: config[key] for key in _OF_CONFIG if key in config}
        fields: Any = {"value": (into.__pydantic_fields__[name].rebuild_annotation(), ...)}
        probe: type[BaseModel] = create_model("Probe", __config__=kept, **fields)
    except Exception:  # noqa: BLE001 - a type that pydantic can read only inside of its own class
        return None
    kinds = read_as(column.type)
    samples = [list(kind)[:1] if issubclass(kind, enum.Enum) else _SAMPLES.get(kind, ()) for kind in kinds]
    if samples and all(samples) and not any(_may_be(probe, sample) for sample in chain.from_iterable(samples)):
        return f"takes no {_names(kinds)}, which is what the column gives: write {_written(column)}"
    if column.nullable and not _may_be(probe, None):
        return "takes no None, and the column is nullable: write ... | None"
    return None


def _may_be(probe: type[BaseModel], value: object) -> bool:
    try:
        probe.__pydantic_validator__.validate_python({"value": value})
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_context=False, include_input=False)
        return not all(item["type"].endswith("_type") or item["type"] in _OF_CLASS for item in found)
    except Exception:  # noqa: BLE001 - a validator in the annotation, which has its own idea of values
        return True
    return True


_OF_CONFIG: Final = ("strict", "arbitrary_types_allowed", "from_attributes")
_OF_CLASS: Final = frozenset({"is_instance_of", "none_required", "date_from_datetime_inexact"})


_MOMENT: Final = dt.datetime(2000, 1, 1, 12, 30, tzinfo=dt.UTC)  # none that is a date as well to pydantic
_SAMPLES: Final[dict[type[Any], Sequence[Any]]] = {
    int: (0, 1),
    float: (0.5, 1.0),
    bool: (True,),
    str: ("", "a", "1"),
    bytes: (b"", b"a"),
    Decimal: (Decimal("0.5"), Decimal(1)),
    dt.datetime: (_MOMENT, _MOMENT.replace(tzinfo=None)),
    dt.date: (dt.date(2000, 1, 1),),
    dt.time: (dt.time(1), dt.time(1, tzinfo=dt.UTC)),
    dt.timedelta: (dt.timedelta(1),),
    uuid.UUID: (uuid.UUID(int=1),),
    list: ([],),
    dict: ({},),
}


def _takes(option: Any, kind: type[object], declared: TypeEngine[Any]) -> bool:
    option = underlying(option)
    if option in _ANYTHING or isinstance(option, TypeVar):
        return True
    origin, arguments = get_origin(option), get_args(option)
    if origin is Literal:
        return any(isinstance(value, kind) for value in arguments)
    asked = origin or option
    if is_typeddict(asked):
        return kind is dict
    return not isinstance(asked, type) or (_is_kind(kind, asked) and _takes_items(option, declared))


def _is_kind(kind: type[object], asked: type[object]) -> bool:
    if is_protocol(asked):
        return all(hasattr(kind, member) for member in get_protocol_members(asked))
    if asked is dt.date and issubclass(kind, dt.datetime):  # to Python it is one, and compares with none
        return False
    try:
        return issubclass(kind, asked) or kind in _PROMOTED.get(asked, ())
    except TypeError:
        return True


def _takes_items(option: object, declared: TypeEngine[Any]) -> bool:
    """Hold the items of a list against those of an array, however deep either says that it is."""
    stored = stored_form(declared)
    if column_type(stored).compared is not Comparison.ARRAY or not get_args(option):
        return True
    item: TypeEngine[Any] = cast("Any", stored).item_type
    inner = options(get_args(option)[0])
    while len(inner) == 1 and get_args(inner[0]):
        origin = get_origin(inner[0])
        if not (isinstance(origin, type) and (issubclass(list, origin) or issubclass(tuple, origin))):
            break
        inner = options(get_args(inner[0])[0])
    kinds = read_as(item)
    return not kinds or any(_takes(one, kind, item) for one in inner for kind in kinds)


def _takes_none(option: Any) -> bool:
    if option is type(None) or option in _ANYTHING or isinstance(option, TypeVar):
        return True
    if get_origin(option) is Literal:
        return None in get_args(option)
    return isinstance(option, type) and _is_kind(type(None), option)


def _name(given: object) -> str:
    return given.__name__ if isinstance(given, type) and not get_args(given) else str(given).replace("typing.", "")


def _names(kinds: Iterable[type[object]]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _written(column: Column[Any]) -> str:
    """Give the annotation of a field that takes whatever a column gives."""
    return _names(read_as(column.type)[:1]) + (" | None" if column.nullable else "")
