"""What is looked for once a statement has failed, and kept with its error."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy.engine import ExceptionContext
from sqlalchemy.sql.compiler import ExpandedState

from rowsmith.execution.parameters import in_lists, named_at, subject_of
from rowsmith.execution.refusals.read import is_of_codec, results_of, unread, unread_of
from rowsmith.execution.refusals.refusal import Refusal, note, refusal_of
from rowsmith.execution.refusals.unfit import unfit
from rowsmith.execution.refusals.written import argument_of, refused_argument, refused_item, refused_item_of


def note_refused(context: ExceptionContext) -> None:
    """Look for the value that a statement of SQLAlchemy's failed for, and note it with the driver's error."""
    failure = context.original_exception
    if refusal_of(failure) is not None:  # of an engine and of one made of it, each of which is listened to
        return
    if context.execution_context is None:  # what is to be sent was not bound yet: see :func:`unbound`
        return
    if context.dialect.driver == "asyncpg" and is_of_codec(failure):
        note(failure, Refusal(is_stored=True))
    with suppress(Exception):  # what cannot be told is left untold: the failure itself goes on
        if (refusal := _refused(context)) is not None:
            note(failure, refusal)


def _refused(context: ExceptionContext) -> Refusal | None:
    run: Any = context.execution_context
    if getattr(run, "compiled", None) is None:
        return None
    if refusal_of(context.original_exception) is not None:
        return Refusal(unread(context), is_stored=True)
    if (found := refused_argument(context)) is None:
        driver = getattr(context.original_exception, "driver_exception", context.original_exception)
        return unfit(driver, run.compiled, run.compiled_parameters, many=bool(run.executemany))
    place, row = found
    named, among = named_at(run, place, context.parameters)
    subject = subject_of(run.compiled, named)
    item = refused_item(context, place) if subject.is_array else None
    if run.executemany and row is None and among is None:  # of which row of many the server does not say
        subject = replace(subject, row=None)
    return Refusal.of(subject, row, among, item)


async def note_refused_by(
    failure: BaseException, prepared: Any, arguments: Sequence[object], compiled: object, state: ExpandedState
) -> None:
    """Look for the value that a statement on asyncpg itself failed for, and note it with the error.

    Args:
        failure: the driver's.
        prepared: its statement.
        arguments: what that was given.
        compiled, state: SQLAlchemy's statement, and its parameters.
    """
    if is_of_codec(failure):
        note(failure, Refusal(is_stored=True))
    with suppress(Exception):
        if is_of_codec(failure):
            oids = [attribute.type.oid for attribute in prepared.get_attributes()]
            note(failure, unread_of(results_of(compiled), oids))
        elif (found := argument_of(failure)) is not None:
            subject = subject_of(compiled, in_lists(state)[found[0]])
            item = await refused_item_of(failure, prepared, arguments, found[0]) if subject.is_array else None
            note(failure, Refusal.of(subject, item))
        elif (refusal := unfit(failure, compiled, [state.parameters], many=False)) is not None:
            note(failure, refusal)
