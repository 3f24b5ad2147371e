"""The fingerprint of a search: what a cursor was made for, so that it serves nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Final, TypeAlias, cast

from pydantic import BaseModel, SecretBytes, SecretStr
from sqlalchemy import BindParameter, ColumnElement

from rowsmith.orders import OrderTerm
from rowsmith.pagination.key_values import stored_value
from rowsmith.state import OptionalState, TriState

_Bind: TypeAlias = BindParameter[Any]

_MAX_TEXTS: Final = 2_000
_texts: dict[Any, bytes] = {}


def fingerprint(terms: Sequence[OrderTerm], conditions: Sequence[ColumnElement[bool]] = ()) -> bytes:
    """Give 16 bytes that stand for an order and conditions: the SQL text and the values bound in it.

    The same in every process for the same search. A condition that binds a value which differs from call
    to call (``datetime.now()``; say ``func.now()``) differs in its fingerprint, and so ends its cursors.

    Args:
        terms: the orders, taken apart.
        conditions: everything that limits the search, its filters and its scope alike.
    """
    return Imprint(terms, conditions).digest()


class Imprint:
    """What fingerprints of one shape of search are made of, so that they differ by the values of parameters alone.

    Args:
        terms, conditions: of one such search.
    """

    def __init__(self, terms: Sequence[OrderTerm], conditions: Sequence[ColumnElement[bool]] = ()) -> None:
        self._parts: list[tuple[bytes, Sequence[_Bind]]] = []
        for term in terms:
            text, binds = _structure(term.expression)
            modifiers = (b"<" if term.descending else b">") + (b"0" if term.nulls_first else b"1")
            self._parts.append((modifiers + text, tuple(binds)))
        for condition in conditions:
            text, binds = _structure(condition)
            self._parts.append((b"&" + text, tuple(binds)))

    def digest(self, given: Mapping[_Bind, Any] | None = None) -> bytes:
        """Give the fingerprint of the search, or of one with other values: by the parameters they stand for."""
        digest = blake2b(digest_size=16)
        for text, binds in self._parts:
            digest.update(text)
            for bind in binds:
                value = bind.effective_value if given is None or bind not in given else given[bind]
                # With its length before it no value can pass for the end of one and the start of the next.
                data = _bind_text(bind, value).encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(4, "big") + data)
        return digest.digest()


def _structure(expression: ColumnElement[Any]) -> tuple[bytes, Iterable[_Bind]]:
    """Give the digest of the SQL text, and the bound parameters in a fixed order.

    Compiling takes some 50 microseconds, so texts are kept under the key that SQLAlchemy's own statement
    cache uses (two expressions of one key have one text); what it cannot key is compiled each time.
    """
    key = expression._generate_cache_key()  # pyright: ignore[reportPrivateUsage]
    if key is None:
        compiled = expression.compile()
        return _digest(str(compiled)), compiled.binds.values()
    text = _texts.get(key.key)
    if text is None:
        if len(_texts) >= _MAX_TEXTS:
            _texts.clear()
        text = _texts[key.key] = _digest(str(expression))
    return text, key.bindparams


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _bind_text(bind: _Bind, value: Any) -> str:
    if bind.expanding and isinstance(value, Iterable) and not isinstance(value, str | bytes):
        # The values of an IN have no order, and a set gives them in another one in each process.
        items = cast("Iterable[Any]", value)  # type: ignore[redundant-cast]
        return ",".join(sorted(stable_text(stored_value(bind.type, item)) for item in items))
    return stable_text(stored_value(bind.type, value))


def stable_text(value: object) -> str:
    """Give a text that tells values and their types apart and is the same in every process."""
    name = type(value).__qualname__
    if isinstance(value, Enum):
        return f"{name}.{value.name}"
    if hasattr(value, "__clause_element__") or isinstance(value, ColumnElement):
        return f"{name}:{_expression(value).hex()}"
    if isinstance(value, (SecretStr, SecretBytes)):  # whose repr is the same for all
        return f"{name}({stable_text(value.get_secret_value())})"
    if isinstance(value, (bytearray, memoryview)):
        return f"{name}:{bytes(cast('Any', value))!r}"
    if isinstance(value, (OptionalState, TriState)):
        return f"{name}({stable_text(cast('Any', value).to_value())})"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()  # type: ignore[redundant-cast]
        return f"{name}({','.join(sorted(stable_text(pair) for pair in pairs))})"
    if isinstance(value, list | tuple | AbstractSet):
        texts = [stable_text(item) for item in cast("Iterable[Any]", value)]
        return f"{name}({','.join(sorted(texts) if isinstance(value, AbstractSet) else texts)})"
    parts = _parts(value)
    return f"{name}:{value!r}" if parts is None else f"{name}({stable_text(parts)})"


def _expression(value: Any) -> bytes:
    return Imprint((), [value.__clause_element__() if hasattr(value, "__clause_element__") else value]).digest()


def _parts(value: object) -> Mapping[str, Any] | None:
    """Give the fields of what has some, but for those that a patch leaves alone; None of what is told by its repr."""
    if isinstance(value, BaseModel):
        found = dict(value)
    elif is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in fields(value)}
    elif type(value).__repr__ is object.__repr__:  # it would name an address
        found = vars(value)
    else:
        return None
    return {name: part for name, part in found.items() if not _is_nop(part)}


def _is_nop(part: object) -> bool:
    return isinstance(part, (OptionalState, TriState)) and cast("Any", part).is_nop
