"""Whether objects of a class can be handed to several callers: nothing of them can be changed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import types
import uuid
from functools import cache
from typing import Annotated, Any, Literal, NewType, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel

_VALUES: tuple[Any, ...] = (
    *(bool, bytes, complex, float, int, str, type(None)),
    *(dt.date, dt.datetime, dt.time, dt.timedelta, decimal.Decimal, fractions.Fraction, uuid.UUID),
    *(ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network),
    *(ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network),
)


def is_immutable(kind: Any) -> bool:
    """Say whether values of an annotation hold nothing that can be changed; False where it cannot be told."""
    if isinstance(kind, NewType):
        return is_immutable(kind.__supertype__)
    origin = get_origin(kind)
    if origin is Literal or kind is Ellipsis:
        return True
    if origin is Annotated:
        return is_immutable(get_args(kind)[0])
    if origin in (Union, types.UnionType, tuple, frozenset):
        return all(map(is_immutable, get_args(kind)))
    return isinstance(kind, type) and (kind in _VALUES or issubclass(kind, enum.Enum) or _is_frozen(cast("Any", kind)))


@cache
def _is_frozen(kind: type[Any]) -> bool:
    """Say whether a class is a frozen one of values that cannot be changed either."""
    is_model = issubclass(kind, BaseModel)
    frozen: Any = kind.model_config.get("frozen") if is_model else getattr(kind, "__dataclass_params__", None)
    if not (frozen if is_model or frozen is None else frozen.frozen):
        return False
    try:
        hints = get_type_hints(kind)
    except Exception:  # noqa: BLE001 - a name that is not there raises NameError, others what they like
        return False
    names = kind.model_fields if is_model else [field.name for field in dataclasses.fields(kind)]
    return all(is_immutable(hints.get(name)) for name in names)
