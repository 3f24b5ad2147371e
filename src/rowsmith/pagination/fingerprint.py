"""The fingerprint of a search: what a cursor was made for, so that it serves nothing else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from secrets import token_hex
from types import NoneType
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from pydantic import AnyUrl, BaseModel
from sqlalchemy import BindParameter, ColumnElement
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import UnsupportedCompilationError

from rowsmith.errors import kind_of
from rowsmith.orders import OrderTerm
from rowsmith.pagination.key_values import stored_value
from rowsmith.sql import as_sql, is_sql
from rowsmith.state import OptionalState, TriState

_Bind: TypeAlias = BindParameter[Any]
_Texts: TypeAlias = "tuple[tuple[Any, Otherwise], ...]"

Otherwise: TypeAlias = Callable[[Any], str]
"""Gives the text of what nobody here knows the values of, or whose own code raises as it is looked at."""

Told: TypeAlias = Callable[[object, Mapping[str, Any]], Mapping[str, Any]]
"""Takes an object and its fields; gives these as they are to be told apart."""

_TOLD_BY_REPR: Final = (
    timedelta,
    tzinfo,
    UUID,
    PurePath,
    IPv4Address,
    IPv6Address,
    IPv4Interface,
    IPv6Interface,
    IPv4Network,
    IPv6Network,
    AnyUrl,
)

FIXED: Final = frozenset(
    (NoneType, bool, int, float, str, bytes, Decimal, UUID, date, datetime, time, timedelta, Fraction)
)
"""The types of values that are the same whenever they are looked at."""

_MAX_TEXTS: Final = 2_000
_texts: dict[Any, bytes] = {}


class Untellable(Exception):
    """The values of something are not known, so that nothing tells it from another of its kind."""


def text_of_one(value: object) -> str:
    """Give the repr of a value; of one that raises as it is looked at a text of no other, nor of itself again."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a team's code; it says so once more, where the value is bound
        return token_hex(16)


def fingerprint(
    terms: Sequence[OrderTerm], conditions: Sequence[ColumnElement[bool]] = (), otherwise: Otherwise = text_of_one
) -> bytes:
    """Give 16 bytes that stand for an order and conditions: the SQL text and the values bound in it.

    The same in every process for the same search. A condition that binds a value which differs from call
    to call (``datetime.now()``; say ``func.now()``) differs in its fingerprint, and so ends its cursors.

    Args:
        terms: the orders, taken apart.
        conditions: everything that limits the search, its filters and its scope alike.
        otherwise: gives the text of a bound value that nobody here knows.
    """
    return Imprint(terms, conditions, otherwise).digest()


class Imprint:
    """What fingerprints of one shape of search are made of, so that they differ by the values of parameters alone.

    Args:
        terms, conditions: of one such search.
        otherwise: gives the text of a bound value that nobody here knows.
    """

    def __init__(
        self,
        terms: Sequence[OrderTerm],
        conditions: Sequence[ColumnElement[bool]] = (),
        otherwise: Otherwise = text_of_one,
    ) -> None:
        self._otherwise = otherwise
        self._parts: list[tuple[bytes, Sequence[_Bind]]] = []
        for term in terms:
            text, binds = _structure(term.expression)
            modifiers = (b"<" if term.descending else b">") + (b"0" if term.nulls_first else b"1")
            self._parts.append((modifiers + text, tuple(binds)))
        for condition in conditions:
            text, binds = _structure(condition)
            self._parts.append((b"&" + text, tuple(binds)))

    def later(self) -> Callable[[], bytes]:
        """Give what makes the fingerprint once it is asked for; by then a list or a callable may give other values.

        Of such values it is made at once.
        """
        binds = (bind for _, binds in self._parts for bind in binds)
        if all(bind.callable is None and type(bind.value) in FIXED for bind in binds):
            return self.digest
        return partial(bytes, self.digest())

    def digest(self, given: Mapping[_Bind, object] | None = None) -> bytes:
        """Give the fingerprint of the search, or of one with other values: by the parameters they stand for."""
        digest = blake2b(digest_size=16)
        for structure, binds in self._parts:
            digest.update(structure)
            for bind in binds:
                value = bind.effective_value if given is None or bind not in given else given[bind]
                if bind.expanding and isinstance(value, Iterable) and not isinstance(value, str | bytes):
                    items = cast("Iterable[Any]", value)  # type: ignore[redundant-cast]
                    texts = [self._text(bind, item) for item in items]
                    # The values of an IN have no order, and a set gives them in another one in each process.
                    text = ",".join(sorted(texts))
                else:
                    text = self._text(bind, value)
                # With its length before it no value can pass for the end of one and the start of the next.
                data = text.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(4, "big") + data)
        return digest.digest()

    def _text(self, bind: _Bind, value: object) -> str:
        try:
            stored = stored_value(bind.type, value)
        except Exception:  # noqa: BLE001 - a team's type, which says so once more where the value is bound
            return self._otherwise(value)
        return stable_text(stored, self._otherwise)


def _structure(expression: ColumnElement[Any]) -> tuple[bytes, Iterable[_Bind]]:
    """Give the digest of the SQL text, and the bound parameters in a fixed order.

    Compiling takes some 50 microseconds, so texts are kept under the key that SQLAlchemy's own statement
    cache uses (two expressions of one key have one text); what it cannot key is compiled each time.
    """
    key = expression._generate_cache_key()  # pyright: ignore[reportPrivateUsage]
    if key is None:
        compiled = _compiled(expression)
        return _digest(str(compiled)), compiled.binds.values()
    text = _texts.get(key.key)
    if text is None:
        if len(_texts) >= _MAX_TEXTS:
            _texts.clear()
        text = _texts[key.key] = _digest(str(_compiled(expression)))
    return text, key.bindparams


def _compiled(expression: ColumnElement[Any]) -> Any:
    """Compile for no database, or for one that has what a team compiles for that one alone."""
    for dialect in (None, postgresql.dialect()):  # type: ignore[no-untyped-call]
        with suppress(UnsupportedCompilationError):
            return expression.compile(dialect=dialect) if dialect else expression.compile()
    return expression.compile(dialect=sqlite.dialect())


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


_DEEPEST: Final = 10_000
"""What holds parts in more parts than this holds itself: a document of JSON has 200 at most."""


def stable_text(
    value: object, otherwise: Otherwise | None = None, *, as_written: bool = False, told: Told | None = None
) -> str:
    """Give a text that tells values and their kinds apart and is the same in every process.

    Equal values have one text, whatever form Python has them in: the numbers ``1``, ``1.0`` and ``Decimal("1.00")``, an
    instant in two zones, lists and tuples, bytes and a bytearray, a text and a subclass of it. ``True`` is no number.

    Args:
        value: what is to be told apart.
        otherwise: gives the text of what nobody here knows the values of, or that raises as it is looked at.
        as_written: tells integers from floats and decimals, as documents that are kept as text do.
        told: gives the fields of an object as they are to be told apart.

    Raises:
        Untellable: there is such a thing, and no ``otherwise``.
        RecursionError: it holds itself.
    """
    scalars, otherwise = _WRITTEN if as_written else _SCALARS, otherwise or _untold
    text = _scalar(value, scalars, otherwise)
    if text is not None:
        return text
    composing = [_composed(value, otherwise, told)]  # no calls in calls: a document may be as deep as a stack
    while composing:
        try:
            part = composing[-1].send(text)
        except StopIteration as done:
            text = done.value
            composing.pop()
        else:
            text = _scalar(part, scalars, otherwise)
            if text is None:
                if len(composing) == _DEEPEST:
                    raise RecursionError
                composing.append(_composed(part, otherwise, told))
    return cast("str", text)


def _untold(value: object) -> str:
    raise Untellable(kind_of(value))


def _scalar(value: object, scalars: _Texts, otherwise: Otherwise) -> str | None:
    text = next((text for kinds, text in scalars if isinstance(value, kinds)), None)
    with suppress(Exception):  # of a time zone of a team's own, of bytes that were let go of
        return None if text is None else text(value)
    return otherwise(value)


def _exact(value: Decimal) -> Decimal:
    """Leave out zeros at the end, and no digit else."""
    digits = len(value.as_tuple().digits)
    return value.normalize(Context(max(digits, 1), Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])) if value else Decimal(0)


def _instant(value: datetime) -> str:
    if value.tzinfo is not None:
        with suppress(OverflowError):  # at either end of time
            value = value.astimezone(UTC)
    return value.isoformat()


# bool before int, and what is both a text or a number and an enum as the former.
_SCALARS: Final[_Texts] = (
    (str, lambda value: f"str:{str.__repr__(value)}"),
    ((bool, NoneType), repr),
    ((int, Decimal), lambda value: f"number:{_exact(Decimal(value))}"),
    (float, lambda value: f"number:{_exact(Decimal(float.__repr__(value)))}"),  # by the digits that are written of it
    (Enum, lambda value: f"{type(value).__qualname__}.{value.name}"),
    (datetime, lambda value: f"datetime:{_instant(value)}"),
    (date, lambda value: f"date:{value.isoformat()}"),
    (time, lambda value: f"time:{value.isoformat()}"),
    ((bytes, bytearray, memoryview), lambda value: f"bytes:{bytes(value)!r}"),
    (Fraction, lambda value: f"Fraction:{value.numerator:x}/{value.denominator:x}"),  # of any number of digits
    (type, lambda value: f"class:{value.__module__}.{value.__qualname__}"),
    (_TOLD_BY_REPR, lambda value: f"{type(value).__qualname__}:{value!r}"),
)
_WRITTEN: Final[_Texts] = (
    *_SCALARS[:2],
    (float, lambda value: f"float:{float.__repr__(value)}"),
    (Decimal, lambda value: f"Decimal:{_exact(value)}"),
    *_SCALARS[2:],
)


def _composed(value: object, otherwise: Otherwise, told: Told | None) -> Generator[object, Any, str]:
    """Yield the parts of a value, take the text of each, and give the value's own."""
    try:
        return (yield from _told_by_parts(value, otherwise, told))
    except Exception as exc:
        if isinstance(exc, (Untellable, RecursionError, UnsupportedCompilationError)):
            raise
    return otherwise(value)  # of a class of a team's own, which raises what it likes as it is looked at


def _told_by_parts(value: object, otherwise: Otherwise, told: Told | None) -> Generator[object, Any, str]:
    name = type(value).__qualname__
    if is_sql(value):
        return f"{name}:{Imprint((), [as_sql(value)], otherwise).digest().hex()}"
    if isinstance(value, (OptionalState, TriState)):
        return f"{name}({(yield cast('Any', value).to_value())})"
    if isinstance(value, Mapping):
        pairs = yield from _each(cast("Mapping[Any, Any]", value).items())  # type: ignore[redundant-cast]
        return f"mapping({','.join(sorted(pairs))})"
    parts = _parts(value)
    if parts is not None:
        return f"{name}({(yield parts if told is None else told(value, parts))})"
    if isinstance(value, Sequence | AbstractSet):
        texts = yield from _each(cast("Iterable[Any]", value))
        return f"set({','.join(sorted(texts))})" if isinstance(value, AbstractSet) else f"list({','.join(texts)})"
    return otherwise(value)


def _each(parts: Iterable[object]) -> Generator[object, Any, list[str]]:
    texts: list[str] = []
    for part in parts:
        texts.append((yield part))  # noqa: PERF401 - no comprehension can yield
    return texts


def _parts(value: object) -> Mapping[str, Any] | None:
    """Give the fields of what has some, but for those that a patch leaves alone."""
    if isinstance(value, BaseModel):
        found = vars(value) | (value.__pydantic_extra__ or {})
    elif is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in fields(value)}
    elif type(value).__basicsize__ == _Slotless.__basicsize__ and hasattr(value, "__dict__"):
        found = vars(value)  # all that there is of it, as it has no slots
    else:
        return None
    states = (OptionalState, TriState)
    return {name: part for name, part in found.items() if not (isinstance(part, states) and cast("Any", part).is_nop)}


class _Slotless:
    """What an object weighs whose values are all in its ``__dict__``."""
