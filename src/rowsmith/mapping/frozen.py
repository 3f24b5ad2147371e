"""Frozen means frozen: what becomes part of the keys of plans and caches does not change while it is one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rowsmith.errors import MappingError


class Frozen:
    """Base of scopes, specs and patches: the first instance of a dataclass that is not frozen is an error.

    The decorator comes after the class is made, so no sooner can it be told. What a frozen dataclass sets of itself
    goes past ``__setattr__``: where all is well this costs nothing.
    """

    if not TYPE_CHECKING:  # a checker would take it for leave to set anything

        def __setattr__(self, name: str, value: object) -> None:
            check_frozen(type(self))
            super().__setattr__(name, value)


@lru_cache(maxsize=500)
def check_frozen(kind: type[object]) -> None:
    """Refuse a dataclass that is not frozen.

    Raises:
        MappingError: it is not.
    """
    params = getattr(kind, "__dataclass_params__", None)
    if params is not None and not params.frozen:
        raise MappingError(f"{kind.__name__} is a dataclass that is not frozen: write @dataclass(frozen=True) above it")
