"""The one seam to the database: statements go out here, and the driver's errors are translated here."""

from __future__ import annotations

from rowsmith.execution.blame import blame
from rowsmith.execution.broken import Broken
from rowsmith.execution.committing import NESTED, BlockSession, nest, tell_ended_by_hand, tell_unknown
from rowsmith.execution.deferred import checking
from rowsmith.execution.execute import execute, execute_writing, failed_in, flush, let_out, translated
from rowsmith.execution.native import UNTOLD, NativeLane, WriteMode, native_lane
from rowsmith.execution.origin import Items, Origin
from rowsmith.execution.replay import forget_plans, repeatable, transact
from rowsmith.execution.transaction_id import ID_OF_TRANSACTION
from rowsmith.execution.transactions import (
    ENDED_BY_HAND,
    SESSION_ENDED,
    UNDONE,
    connections_of,
    drivers_of,
    give_up_all,
    has_failed,
    is_closed,
    is_over,
    is_sending,
    is_undone,
    is_watched_by_others,
    mark_failed,
    note_application,
    refuse_commit,
    refuse_failed,
    was_ended_by_hand,
    watch_failures,
)
from rowsmith.execution.translate import (
    DATABASE_ERRORS,
    is_disconnect,
    refused_by,
    scrub,
    translate,
    translate_any,
    unavailable,
    unreadable,
    violation,
)
from rowsmith.execution.undone import give_up_since, note_undone, writes_of
from rowsmith.execution.within import read_within, write_within
from rowsmith.execution.writing import Made, alone, alone_for_each, write

__all__ = [
    "DATABASE_ERRORS",
    "ENDED_BY_HAND",
    "ID_OF_TRANSACTION",
    "NESTED",
    "SESSION_ENDED",
    "UNDONE",
    "UNTOLD",
    "BlockSession",
    "Broken",
    "Items",
    "Made",
    "NativeLane",
    "Origin",
    "WriteMode",
    "alone",
    "alone_for_each",
    "blame",
    "checking",
    "connections_of",
    "drivers_of",
    "execute",
    "execute_writing",
    "failed_in",
    "flush",
    "forget_plans",
    "give_up_all",
    "give_up_since",
    "has_failed",
    "is_closed",
    "is_disconnect",
    "is_over",
    "is_sending",
    "is_undone",
    "is_watched_by_others",
    "let_out",
    "mark_failed",
    "native_lane",
    "nest",
    "note_application",
    "note_undone",
    "read_within",
    "refuse_commit",
    "refuse_failed",
    "refused_by",
    "repeatable",
    "scrub",
    "tell_ended_by_hand",
    "tell_unknown",
    "transact",
    "translate",
    "translate_any",
    "translated",
    "unavailable",
    "unreadable",
    "violation",
    "was_ended_by_hand",
    "watch_failures",
    "write",
    "write_within",
    "writes_of",
]
