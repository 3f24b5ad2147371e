"""The one seam to the database: statements go out here, and the driver's errors are translated here."""

from __future__ import annotations

from rowsmith.execution.blame import blame
from rowsmith.execution.broken import Broken
from rowsmith.execution.execute import execute, execute_writing, flush, translated
from rowsmith.execution.origin import Origin
from rowsmith.execution.transactions import has_failed, is_watched_by_others, mark_failed, watch_failures
from rowsmith.execution.translate import (
    DATABASE_ERRORS,
    is_disconnect,
    scrub,
    translate,
    translate_any,
    unreadable,
    violation,
)

__all__ = [
    "DATABASE_ERRORS",
    "Broken",
    "Origin",
    "blame",
    "execute",
    "execute_writing",
    "flush",
    "has_failed",
    "is_disconnect",
    "is_watched_by_others",
    "mark_failed",
    "scrub",
    "translate",
    "translate_any",
    "translated",
    "unreadable",
    "violation",
    "watch_failures",
]
