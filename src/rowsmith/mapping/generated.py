"""Generated functions that make dataclass objects four times as fast as their own ``__init__``, and that read fields.

A frozen dataclass sets each field through ``object.__setattr__``, which for large results costs more than the query.
An object of an empty twin class takes the same attributes as plain assignments and then becomes one of the dataclass,
which ends in the very same state. Done only where the generated ``__init__`` does nothing but assign its arguments.
"""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import new_class
from typing import Any, Generic, TypeAlias, TypeVar, cast

_T = TypeVar("_T")

Build: TypeAlias = Callable[[Iterable[Sequence[Any]]], list[Any]]
"""Takes records, each a sequence of values in the order of a data class's fields; gives its objects."""

_SOURCE = """
def build(records):
    made = []
    keep = made.append
    for record in records:
        item = twin()
        {targets}, = record
        item.__class__ = into
        keep(item)
    return made
"""


def generated_builder(into: type[Any]) -> Build | None:
    """Give the builder of a dataclass, from records with its fields in order; None where ``__init__`` must run."""
    names = [entry.name for entry in dataclasses.fields(into)]
    bases = (cast("Any", Generic)[_T],) if into.__bases__ == (Generic,) else ()  # whose layout is another
    twin: type[object] = new_class(into.__name__, bases)
    if not _only_assigns(into) or not all(map(_is_plain, names)):
        return None
    try:
        twin().__class__ = into
    except TypeError:  # slots, or a base written in C, keep an object from changing its class
        return None
    if any(hasattr(getattr(into, name, None), "__set__") for name in names):
        return None
    source = _SOURCE.format(targets=", ".join(f"item.{name}" for name in names))
    scope: dict[str, Any] = {"twin": twin, "into": into}
    exec(source, scope)  # noqa: S102 - our own text, and field names that are identifiers
    built: Build = scope["build"]
    return built


def _only_assigns(into: type[Any]) -> bool:
    fields = dataclasses.fields(into)
    generated = into.__init__.__code__.co_filename == "<string>" if hasattr(into.__init__, "__code__") else False
    hooks = hasattr(into, "__post_init__") or hasattr(into, "__pydantic_validator__")
    own = "__dataclass_params__" in into.__dict__ and cast("Any", into).__new__ is object.__new__
    return own and generated and not hooks and bool(fields) and all(entry.init for entry in fields)


def _is_plain(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


Read: TypeAlias = Callable[[Iterable[Any]], tuple[list[tuple[Any, ...]], bool, list[Any]]]
"""Takes objects; gives the values of those of one class, up to the first of another class, which is given last, in a
list that is empty without one (it may be None); and whether some value is of another type than it was said to be."""

_READER = """
def read(items):
    rows, odd = [], False
    keep = rows.append
    for item in items:
        if type(item) is not kind:
            return rows, odd, [item]
        {reads}
        if {tests}:
            odd = True
        keep(({values}))
    return rows, odd, []
"""


def generated_reader(kind: type[object], types: Mapping[str, tuple[type[Any] | None, bool]]) -> Read:
    """Give the function that reads fields, a fifth of what ``attrgetter`` and a look at the types of columns take.

    Args:
        kind: the class of the objects.
        types: for each field the exact type that its values should be of, None for any, and whether they may be None.
    """
    scope: dict[str, Any] = {"kind": kind}
    reads, tests, values = ["pass"], ["False"], ""
    for place, (name, (exact, nullable)) in enumerate(types.items()):
        value = f"value_{place}"
        reads.append(f"{value} = item.{name}" if _is_plain(name) else f"{value} = getattr(item, {name!r})")
        values += f"{value}, "
        if exact is not None:
            scope[f"type_{place}"] = exact
            test = f"type({value}) is not type_{place}"
            tests.append(f"({value} is not None and {test})" if nullable else test)
    source = _READER.format(reads="\n        ".join(reads), tests=" or ".join(tests), values=values)
    exec(source, scope)  # noqa: S102 - as above
    read: Read = scope["read"]
    return read
