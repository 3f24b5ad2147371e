"""Whether a search also counts, and how exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from rowsmith.errors import InvalidPagination, kind_of
from rowsmith.pagination.modes import check_number

MAX_CAP: Final = 2**63 - 2
"""The largest cap: counting past it by one must still fit PostgreSQL's bigint."""

_FORMS: Final = "a count is Count.NONE, Count.EXACT, Count.ESTIMATED or Count.capped(n)"


@dataclass(frozen=True)
class Count:
    """How a page's ``total_count`` is made: one of ``NONE``, ``EXACT``, ``ESTIMATED`` or ``capped(n)``.

    ``kind`` names which; ``cap`` is the ``n`` of ``capped(n)`` and None otherwise.

    Raises:
        InvalidPagination: the kind is unknown, or the cap is missing, out of 1..2**63-2 or out of place.
    """

    NONE: ClassVar[Count]
    """No count, no statement; ``total_count`` is None. The default."""
    EXACT: ClassVar[Count]
    """The number of all rows of the filtered search, whatever the page."""
    ESTIMATED: ClassVar[Count]
    """What the planner believes, where the database has one; costs next to nothing and may be far off."""

    kind: Literal["none", "exact", "estimated", "capped"]
    cap: int | None = None

    def __post_init__(self) -> None:
        if self.kind == "capped":
            check_number("a capped count", self.cap, 1, MAX_CAP)
        elif self.kind not in ("none", "exact", "estimated") or self.cap is not None:
            raise InvalidPagination(_FORMS)

    @classmethod
    def capped(cls, cap: int) -> Count:
        """Count exactly up to ``cap`` rows and stop there: a ``total_count`` of ``cap`` means "that many or more".

        Raises:
            InvalidPagination: ``cap`` is not an int in 1..2**63-2.
        """
        return cls("capped", cap)

    def __repr__(self) -> str:
        return f"Count.capped({self.cap})" if self.kind == "capped" else f"Count.{self.kind.upper()}"


def check_count(given: object) -> None:
    """Refuse anything but a count.

    Raises:
        InvalidPagination: it is something else; the message says what to write.
    """
    if not isinstance(given, Count):
        raise InvalidPagination(f"{_FORMS}, not {kind_of(given)}")


Count.NONE = Count("none")
Count.EXACT = Count("exact")
Count.ESTIMATED = Count("estimated")
