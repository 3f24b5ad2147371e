"""Packages whose names are imported when they are first asked for: who uses a few of them waits for no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(package: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Give the ``__getattr__`` of a package.

    Args:
        package: its ``__name__``.
        places: the names that each of its modules gives to it. A module can be asked for by its own name as well.
    """
    modules = {name: f"{package}.{module}" for module, names in places.items() for name in names}

    def find(name: str) -> Any:
        if name in modules:
            found = getattr(import_module(modules[name]), name)
        elif name.startswith("_"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        else:
            found = _module(package, name)
        vars(import_module(package))[name] = found  # so that nobody asks again
        return found

    return find


def _module(package: str, name: str) -> Any:
    try:
        return import_module(f"{package}.{name}")
    except ModuleNotFoundError as exc:
        if exc.name != f"{package}.{name}":
            raise
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
