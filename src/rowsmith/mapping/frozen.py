"""Frozen means frozen: what becomes part of the keys of plans and caches does not change while it is one.

Scopes do, so each of them is frozen, whatever makes its class. Of specs and patches the values are taken as a call
begins, and caches give copies of data that can be changed: so a pydantic model, which a request's body is read into,
may be one as it is. A dataclass, or what attrs makes of a class, is the application's own, and says ``frozen``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial, wraps
from types import FunctionType
from typing import TYPE_CHECKING, Any

from rowsmith.errors import MappingError


class _NotFrozen:
    """A ``__post_init__`` that only a dataclass which is not frozen has.

    The decorator asks for it while it makes ``__init__``, and knows by then whether the class is frozen: where it is,
    there is nothing to call, and an instance costs nothing.
    """

    def __get__(self, instance: object, owner: Any) -> Callable[[], None]:
        params = getattr(owner, "__dataclass_params__", None)
        if params is None or params.frozen:
            raise AttributeError("__post_init__")
        return partial(check_frozen, owner)


class Frozen:
    """Base of scopes, specs and patches: the first instance of a dataclass that is not frozen is an error.

    The decorator comes after the class is made, so no sooner can it be told. Whatever makes an instance asks: what a
    class writes itself of it, what the decorator writes, and what sets an attribute.
    """

    if not TYPE_CHECKING:  # a checker would take it for leave to set anything
        __post_init__ = _NotFrozen()

        def __setattr__(self, name: str, value: object) -> None:
            self._check_class()
            super().__setattr__(name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("__init__", "__post_init__"):
            own = vars(cls).get(name)
            if isinstance(own, FunctionType) and "__dataclass_params__" not in vars(cls):
                setattr(cls, name, asking(own))

    @classmethod
    def _check_class(cls) -> None:
        kind: Any = cls  # whose __hash__ is its own
        check_frozen(kind)


def asking(method: Callable[..., None]) -> Callable[..., None]:
    """Give what makes an instance, asking first whether there may be one."""

    @wraps(method, updated=())  # pydantic would take it for its own
    def asked(self: Any, *args: Any, **kwargs: Any) -> None:
        self._check_class()
        method(self, *args, **kwargs)

    return asked


@lru_cache(maxsize=500)
def check_frozen(kind: type[object]) -> None:
    """Refuse a dataclass that is not frozen, or such a class of attrs'.

    Raises:
        MappingError: it is not.
    """
    if hasattr(kind, "__attrs_attrs__") and kind.__setattr__.__name__ != "_frozen_setattrs":
        raise MappingError(f"{kind.__name__} is not frozen: write @attrs.frozen above it")
    params = getattr(kind, "__dataclass_params__", None)
    if params is not None and not params.frozen:
        raise MappingError(f"{kind.__name__} is a dataclass that is not frozen: write @dataclass(frozen=True) above it")
