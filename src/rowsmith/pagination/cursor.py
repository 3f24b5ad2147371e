"""Cursors: opaque strings that name a row's place in one order of one search.

A cursor is base64url (RFC 4648, section 5, no padding) of ``version, tag, key values``. The tag is the
first 16 bytes of HMAC-SHA256 (RFC 2104) over version, fingerprint and key values. So the fingerprint of
orders, filters and scope is checked without travelling, and one bit changed anywhere is seen. Without
keys the tag is made with a public one: accidents and mix-ups are still seen, a forger is not, and a forger
gains nothing but a place in a search whose scope the database applies again.

The standard library does this and ``itsdangerous`` would not: its signers sign text with a timestamp or a
serializer around it, know no data that is signed but does not travel, and would be one more dependency.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import InvalidCursor, InvalidPagination, InvalidValue
from rowsmith.orders import OrderTerm
from rowsmith.pagination.key_values import pack, unpack

MAX_CURSOR_LENGTH: Final = 8_192
"""The most characters of a cursor: what common web servers take as one line of a request."""

CODEC: Final = "rowsmith_cursor_codec"
"""Where a session made by a Database carries the codec for its cursors (``AsyncSession.info``), and a lane, too."""

_VERSION: Final = b"\x01"
_TAG_SIZE: Final = 16
_PUBLIC_KEY: Final = b"rowsmith unsigned cursor"


class CursorCodec:
    """Makes cursors and reads them, signed where keys are given.

    The first key signs and every key verifies: to rotate, put the new one first and drop the old one when
    its cursors have had their time.

    Args:
        keys: secrets of any length, bytes or text; 32 random bytes are right. None for unsigned cursors.

    Raises:
        InvalidValue: ``keys`` is one key instead of a list of them, or a key is empty, or neither bytes nor text.
    """

    def __init__(self, keys: Sequence[bytes | str] = ()) -> None:
        is_list = isinstance(cast("Any", keys), (list, tuple))
        if not is_list or not all(isinstance(cast("Any", key), (bytes, str)) and key for key in keys):
            raise InvalidValue("cursor keys must be a sequence of secrets, none of them empty: CursorCodec([key])")
        secrets = tuple(key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key for key in keys)
        self._keys = secrets or (_PUBLIC_KEY,)

    def encode(self, values: Sequence[Any], terms: Sequence[OrderTerm], fingerprint: bytes) -> str:
        """Give the cursor of the row with these key values.

        Args:
            values: the row's value for each term.
            terms: the order of the search.
            fingerprint: of the search, from :func:`rowsmith.pagination.fingerprint.fingerprint`.

        Raises:
            MappingError: a term's type has values that no cursor can carry.
            InvalidPagination: the values are too long for a cursor.
        """
        payload = pack(values, terms)
        cursor = _to_text(_VERSION + _tag(self._keys[0], fingerprint, payload) + payload)
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise InvalidPagination(
                "the values sorted by are too long for a cursor: order by a shorter column or func.left(...), "
                "or use OffsetPagination"
            )
        return cursor

    def decode(self, cursor: str, terms: Sequence[OrderTerm], fingerprint: bytes) -> tuple[Any, ...]:
        """Give the key values that a cursor carries, one for each term, of the type its column holds.

        Raises:
            InvalidCursor: it is cut, changed, malformed, signed with an unknown key, or was made for another
                order, filter or scope.
        """
        if not isinstance(cast("object", cursor), str) or len(cursor) > MAX_CURSOR_LENGTH or not cursor.isascii():
            raise InvalidCursor
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except Base64Error:
            raise InvalidCursor from None
        if _to_text(raw) != cursor:  # the decoder skips what it does not know and ignores spare bits
            raise InvalidCursor
        version, tag, payload = raw[:1], raw[1 : 1 + _TAG_SIZE], raw[1 + _TAG_SIZE :]
        # Every key is tried, so that the time taken does not tell which one fits.
        matches = [hmac.compare_digest(tag, _tag(key, fingerprint, payload)) for key in self._keys]
        if version != _VERSION or True not in matches:
            raise InvalidCursor
        return unpack(payload, terms)


def codec_of(db_sess: AsyncSession) -> CursorCodec:
    """Give the session's cursor codec; a session of nobody's has one without keys, which signs nothing."""
    codec = db_sess.info.get(CODEC)
    return codec if isinstance(codec, CursorCodec) else CursorCodec()


def _tag(key: bytes, fingerprint: bytes, payload: bytes) -> bytes:
    frame = len(fingerprint).to_bytes(2, "big")
    return hmac.digest(key, _VERSION + frame + fingerprint + payload, "sha256")[:_TAG_SIZE]


def _to_text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
