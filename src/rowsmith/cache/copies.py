"""Data that is handed to several callers: as it is where nothing of it can be changed, else as copies."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import types
import uuid
from functools import cache
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel

TData = TypeVar("TData")

_VALUES: tuple[Any, ...] = (
    *(bool, bytes, complex, float, int, str, type(None)),
    *(dt.date, dt.datetime, dt.time, dt.timedelta, decimal.Decimal, fractions.Fraction, uuid.UUID),
    *(ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network),
    *(ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network),
)


class NotCopied(Exception):
    """Data can be changed, and no copy of it can be made."""


class Copies:
    """Gives data of one class to several callers."""

    def __init__(self, kind: type[object]) -> None:
        self._is_shared = is_immutable(kind)

    def of(self, data: TData) -> TData:
        """Give what one of them may have for its own.

        Raises:
            NotCopied: they would have to share it.
        """
        if self._is_shared:
            return data
        try:
            return copy.deepcopy(data)
        except Exception:  # noqa: BLE001 - a class's own code may raise anything
            raise NotCopied from None


def is_immutable(kind: object) -> bool:
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


def is_never_copied(kind: type[object]) -> bool:
    """Say whether a class has a field whose values are plainly such that no copy can be made of them."""
    if hasattr(kind, "__deepcopy__"):
        return False
    return any((get_origin(hint) or hint) in _UNCOPIED for hint in _hints_of(kind).values())


_UNCOPIED: Final[tuple[Any, ...]] = (memoryview, types.GeneratorType, types.MappingProxyType)


def _hints_of(kind: type[object]) -> dict[str, Any]:
    """Give what the fields of a class are said to be; nothing where that cannot be told."""
    try:
        return get_type_hints(kind)
    except Exception:  # noqa: BLE001 - a name that is not there raises NameError, others what they like
        return {}


@cache
def _is_frozen(kind: type[Any]) -> bool:
    """Say whether a class is a frozen one of values that cannot be changed either."""
    is_model = issubclass(kind, BaseModel)
    frozen: Any = kind.model_config.get("frozen") if is_model else getattr(kind, "__dataclass_params__", None)
    if not (frozen if is_model or frozen is None else frozen.frozen) or _has_more(kind):
        return False
    hints = _hints_of(kind)
    names = kind.model_fields if is_model else [field.name for field in dataclasses.fields(kind)]
    return all(is_immutable(hints.get(name)) for name in names)


def _has_more(kind: type[object]) -> bool:
    """Say whether objects of a class may hold more than its fields, as what is computed once and remembered."""
    if issubclass(kind, BaseModel):
        has_state = bool(kind.__private_attributes__) or kind.model_config.get("extra") == "allow"
        parents = kind.__mro__[: kind.__mro__.index(BaseModel)]
    else:
        has_state, parents = hasattr(kind, "__post_init__"), kind.__mro__[:-1]  # which may set what it likes
    members = [member for parent in parents for name, member in vars(parent).items() if not name.startswith("__")]
    return has_state or any(hasattr(member, "__get__") and not isinstance(member, _KNOWN_MEMBERS) for member in members)


_KNOWN_MEMBERS: Final = (types.FunctionType, property, classmethod, staticmethod, types.MemberDescriptorType)
