"""Error codes in their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from rowsmith.errors.bad_input import InvalidValue
from rowsmith.errors.facts import error_code_of, spelt

_FORM = "an error code has three parts: {domain}_{operation}_{detail}"


@dataclass(frozen=True)
class ErrorCode:
    """An error code in its parts; as a text, hyphens join the words of a part, and underscores the parts.

    ::

        str(ErrorCode("fair_share", "create", "already_exists")) == "fair-share_create_already-exists"
        ErrorCode.read("fair-share_create_already-exists").operation == "create"

    Raises:
        InvalidValue: a part is no text, or has no word in it.
    """

    domain: str
    operation: str
    detail: str

    def __post_init__(self) -> None:
        for name, part in (("domain", self.domain), ("operation", self.operation), ("detail", self.detail)):
            written = spelt(part) if isinstance(cast("Any", part), str) else ""
            if not written:
                raise InvalidValue(f"{_FORM}, each a text: {name} is none")
            object.__setattr__(self, name, written)

    def __str__(self) -> str:
        return error_code_of(self.domain, self.operation, self.detail)

    @classmethod
    def read(cls, code: str) -> ErrorCode:
        """Give the parts of a code.

        Raises:
            InvalidValue: it has not three parts, as the class name has that a stranger's exception is counted under.
        """
        match code.split("_") if isinstance(cast("Any", code), str) else ():
            case [domain, operation, detail]:
                return cls(domain, operation, detail)
            case _:
                raise InvalidValue(_FORM)
