"""Which value a statement failed for: told by the place of its parameter, or of its column, never by what it is.

A driver that cannot write a value says so before anything is sent, and PostgreSQL says of a value that it cannot read
which parameter it came by (:mod:`rowsmith.execution.parameters`). Of one that is too large for its column it says
nothing: that is found out from the types. All is looked up once a statement has failed.
"""

from __future__ import annotations

from rowsmith.execution.refusals.noting import note_refused, note_refused_by
from rowsmith.execution.refusals.read import is_of_codec, is_only_unread, results_of, unread_by, unread_of, unreadable
from rowsmith.execution.refusals.refusal import Refusal, label, names_of, note, refusal_of
from rowsmith.execution.refusals.unfit import kinds_of, unfit, unfit_among
from rowsmith.execution.refusals.written import argument_of, copied, is_malformed, unbound

__all__ = [
    "Refusal",
    "argument_of",
    "copied",
    "is_malformed",
    "is_of_codec",
    "is_only_unread",
    "kinds_of",
    "label",
    "names_of",
    "note",
    "note_refused",
    "note_refused_by",
    "refusal_of",
    "results_of",
    "unbound",
    "unfit",
    "unfit_among",
    "unread_by",
    "unread_of",
    "unreadable",
]
