"""The arguments of a generic base class, through whatever bases stand in between."""

from __future__ import annotations

from typing import Any, TypeVar, get_args, get_origin

from typing_extensions import get_original_bases


def type_arguments(cls: type[Any], generic: type[object]) -> tuple[Any, ...]:
    """Give what a class gives for the parameters of one of its bases.

    ``class GroupRepository(AppRepository[GroupId, GroupRow])``, where AppRepository has its own parameters
    in its own order, still gives ``(GroupRow, ..., GroupId)`` for ``Repository``.

    Args:
        cls: a class that may still be in the making, as in ``__init_subclass__``.
        generic: the base whose parameters are wanted.

    Returns:
        One argument a parameter; a type variable where it is still open; empty where none are given at all.
    """
    found: list[tuple[Any, ...]] = []
    for base in get_original_bases(cls):
        origin = get_origin(base) or base
        if origin is generic:
            found.append(get_args(base))
        elif isinstance(origin, type) and issubclass(origin, generic):
            given = dict(zip(getattr(origin, "__parameters__", ()), get_args(base), strict=False))
            found.append(tuple(given.get(argument, argument) for argument in type_arguments(origin, generic)))
    settled = (arguments for arguments in found if arguments and not isinstance(arguments[0], TypeVar))
    return next(settled, None) or next(iter(found), ())
