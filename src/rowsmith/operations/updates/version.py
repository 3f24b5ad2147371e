"""What an update does to a row's version."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NoReturn, cast

from sqlalchemy import ColumnElement, type_coerce
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ClauseElement

from rowsmith.errors import MappingError
from rowsmith.mapping import RowInfo, row_info
from rowsmith.mapping.types import Comparison, column_type, stored_form


def next_version(info: RowInfo[object]) -> dict[str, Any]:
    """Give what an update writes into the version column: what the mapper's generator makes.

    SQLAlchemy makes versions only when it flushes objects, not in statements like these, which know none that a row
    had: where the generator counts, the database does.

    Raises:
        MappingError: the generator makes a version of the one before, and does not count.
    """
    generate = info.mapper.version_id_generator
    if info.version is None or not callable(generate):
        return {}
    if (counted := _counted(cast("Any", info.row))) is not None:
        return {info.version: counted}
    try:
        return {info.version: generate(_Unknown())}
    except _LookedAtError:
        pass
    raise MappingError(
        f"{info.row.__name__}.{info.version} is made of the version before, which a statement that changes rows where "
        "they are does not have: have version_id_generator add a number to it, or make a new one, such as uuid4().hex"
    )


def is_counted(info: RowInfo[object]) -> bool:
    """Say whether the database makes the next version, if there is any; one made anew each time no plan could say."""
    return all(isinstance(made, ClauseElement) for made in next_version(info).values())


@lru_cache(maxsize=500)
def _counted(row: type[object]) -> ColumnElement[Any] | None:
    """Give the next version as the database works it out; None where the generator does not only add a number."""
    info: Any = row_info(row)
    kind, make = info.columns[info.version].type, info.mapper.version_id_generator
    stored = stored_form(kind)
    if column_type(stored).compared not in _NUMBERS or not _looks(make):
        return None
    bind, read = kind.bind_processor(_DIALECT) or _as_it_is, kind.result_processor(_DIALECT, None) or _as_it_is
    with suppress(Exception):  # a generator and a type may raise anything
        steps = {bind(make(read(version))) - version for version in _TRIED}
        if len(steps) == 1 and steps != {0}:
            counted: ColumnElement[Any] = type_coerce(info.attribute(info.version), stored) + steps.pop()
            return counted
    return None


_NUMBERS: Final = frozenset({Comparison.INTEGER, Comparison.FLOAT, Comparison.DECIMAL})
_TRIED: Final = (1, 2, 3, 50)
_DIALECT: Final = cast("Any", postgresql).dialect()


def _as_it_is(value: Any) -> Any:
    return value


def _looks(generate: Any) -> bool:
    """Say whether a generator looks at the version before."""
    try:
        generate(_Unknown())
    except _LookedAtError:
        return True
    except Exception:  # noqa: BLE001 - it raises it again where it is asked for a version
        return False
    return False


class _LookedAtError(BaseException):
    """What :class:`_Unknown` raises; no Exception, as a generator may catch those."""


class _Unknown:
    """Stands for a version that nobody knows: whatever asks something of it is told of."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise _LookedAtError


def _tell(*_: object) -> NoReturn:
    raise _LookedAtError


for _name in (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "floordiv", "mod", "rmod", "pow", "and", "or", "xor"),
    *("lshift", "rshift", "neg", "pos", "abs", "invert", "int", "index", "float", "round", "bool", "len", "iter"),
    *("getitem", "contains", "call", "eq", "ne", "lt", "le", "gt", "ge", "hash", "str", "repr", "format", "bytes"),
):
    setattr(_Unknown, f"__{_name}__", _tell)
