"""Annotations of fields: resolved where they were written, aliases taken away, marks found wherever they may stand."""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Iterator
from inspect import get_annotations
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import typing_extensions
from pydantic import BaseModel

from rowsmith.errors import MappingError

_NO_FIELD = re.compile(r"^(?:\w+\.)*(?:Annotated\[\s*(?:\w+\.)*)?(ClassVar|InitVar|KW_ONLY)\b")
_ALIASES: Final = (typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType))
_AROUND: Final = (Final, typing_extensions.ReadOnly, typing_extensions.Required, typing_extensions.NotRequired)


def field_annotations(cls: type[Any]) -> dict[str, tuple[type[Any], Any]]:
    """Give the declared fields: name to (class that declares it, annotation), bases first.

    Works before a dataclass decorator or pydantic has run, which is when ``__init_subclass__`` is called. A pydantic
    model takes what begins with an underscore for no field.
    """
    found: dict[str, tuple[type[Any], Any]] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] in ("builtins", "typing", "typing_extensions", "pydantic"):
            continue
        for name, annotation in get_annotations(base).items():
            text = annotation if isinstance(annotation, str) else repr(annotation)
            if not _NO_FIELD.match(text.strip("'\"")) and not name.startswith("__"):
                found[name] = (base, annotation)
    if issubclass(cls, BaseModel):
        return {name: declared for name, declared in found.items() if not name.startswith("_")}
    return found


def private_annotations(cls: type[Any]) -> list[str]:
    """Give what a pydantic model annotates and takes for no field: names that begin with an underscore."""
    if not issubclass(cls, BaseModel):
        return []
    own = (base for base in cls.__mro__ if not base.__module__.startswith("pydantic"))
    return [name for base in own for name in get_annotations(base) if re.match(r"_[^_]", name)]


def annotation(into: type[object], name: str) -> tuple[Any, list[Any]]:
    """Give a field's type, aliases and ``Annotated`` taken away from around it, and all that marks it.

    Raises:
        NameError: it names what is not there, or not there yet.
        MappingError: a mark of rowsmith's stands inside of another type, where it would mark nothing.
    """
    if not hasattr(into, "__dataclass_fields__") and issubclass(into, BaseModel):
        if not into.__pydantic_complete__ and not into.model_rebuild(raise_errors=False):
            raise NameError("a class that it names is not there")
        entry = into.model_fields[name]
        given, found = entry.annotation, list(entry.metadata)
    else:
        owner, declared = field_annotations(into).get(name, (into, Any))
        given, found = resolved(owner, name, declared), list[Any]()
    try:
        return bare(given), [*found, *marks(given)]
    except (NameError, MappingError):
        raise
    except Exception as exc:  # noqa: BLE001 - the value of an alias is worked out now, by code of the application's
        raise _unresolved(exc) from None


def resolved(owner: type[object], name: str, given: object) -> Any:
    """Give an annotation, where it was kept as text, as what it says.

    Names are looked up in the class, its module, and the functions around it as long as they run.

    Raises:
        NameError: one is not there.
        MappingError: a mark of rowsmith's in it is wrong.
    """
    module = vars(sys.modules.get(owner.__module__, types))
    parameters = {one.__name__: one for one in getattr(owner, "__type_params__", ())}
    # A lambda finds nothing but globals: the module's own, which grow, or those of functions around it as well.
    around = _enclosing(owner)
    # The class's own names come last, as in typing.get_type_hints: a field may be called like its type.
    own = {key: value for key, value in vars(owner).items() if key not in module and key not in around}
    known = {**module, **around} if around else module
    holder = type("holder", (), {"__annotations__": {name: given}})
    try:
        return get_type_hints(holder, known, own | parameters, include_extras=True)[name]
    except MappingError:
        raise
    except Exception as exc:  # noqa: BLE001 - an annotation may be any expression
        raise _unresolved(exc) from None


def _unresolved(failure: Exception) -> NameError:
    return NameError(str(failure))


def _enclosing(owner: type[object]) -> dict[str, Any]:
    """Give the local names of the functions that a class is declared in, the innermost ones first."""
    around = owner.__qualname__.split(".<locals>.")[:-1]
    names = {".<locals>.".join(around[: end + 1]) for end in range(len(around))}
    found: dict[str, Any] = {}
    frame = sys._getframe() if names else None  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if frame.f_code.co_qualname in names and frame.f_globals.get("__name__") == owner.__module__:
            found = {**frame.f_locals, **found}
        frame = frame.f_back
    return found


def unaliased(given: Any) -> Any:
    """Give what an alias made by ``type X = ...`` stands for; anything else as it is."""
    while isinstance(alias := get_origin(given) or given, _ALIASES):
        value: Any = alias.__value__
        arguments = dict(zip(alias.__type_params__, get_args(given), strict=False))
        own = tuple(arguments.get(one, Any) for one in getattr(value, "__parameters__", ()))
        given = value[own] if own else value
    return given


def bare(given: object) -> Any:
    """Give a type without aliases, ``Annotated`` and ``Final`` around it."""
    given = unaliased(given)
    while get_origin(given) is Annotated or get_origin(given) in _AROUND:
        given = unaliased(get_args(given)[0])
    return given


def options(given: object) -> list[Any]:
    """Give the members of a union, or the type itself, each as :func:`bare` gives it."""
    given = bare(given)
    return [one for part in get_args(given) for one in options(part)] if is_union(given) else [given]


def is_union(given: object) -> bool:
    """Say whether a type is a union; ``X | None`` is one."""
    return get_origin(given) in (Union, types.UnionType)


def marks(given: Any) -> Iterator[Any]:
    """Give the metadata of every ``Annotated`` around a type or around a member of its union.

    Raises:
        MappingError: a mark of rowsmith's stands deeper.
    """
    given = unaliased(given)
    if get_origin(given) is Annotated:
        yield from given.__metadata__
        yield from marks(get_args(given)[0])
    elif is_union(given) or get_origin(given) in _AROUND:
        for part in get_args(given):
            yield from marks(part)
    else:
        _refuse_buried(given, ())


def _refuse_buried(given: object, path: tuple[object, ...]) -> None:
    for part in get_args(given):
        inner = unaliased(part)
        if inner in path:  # an alias may name itself
            continue
        if get_origin(inner) is Annotated and any(hasattr(mark, "__rowsmith_mark__") for mark in inner.__metadata__):
            raise MappingError(f"an Annotated[...] stands inside of {given}: write it around the whole field")
        _refuse_buried(inner, (*path, inner))
