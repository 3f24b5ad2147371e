"""What is known of a failure without naming any value of a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorFacts:
    """What is known of a failure without naming any value of a row.

    ``domain`` and ``operation`` say whose call failed (``"group"``, ``"create"``); ``sqlstate`` is
    PostgreSQL's five-character code (appendix A of its manual), absent elsewhere; ``constraint``,
    ``table`` and ``columns`` are names in the schema.
    """

    domain: str | None = None
    operation: str | None = None
    sqlstate: str | None = None
    constraint: str | None = None
    table: str | None = None
    columns: tuple[str, ...] = ()


def spelt(part: str) -> str:
    """Give a part of an error code as it is written: hyphens join its words, for underscores join the parts."""
    return part.strip("_").replace("_", "-")


def error_code_of(domain: str, operation: str, detail: str) -> str:
    """Give an error code of its parts; the one place that puts them together."""
    return "_".join(map(spelt, (domain, operation, detail)))
