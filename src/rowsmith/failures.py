"""Failures in the log: each once, where it leaves rowsmith, at the level of its kind, and without any value.

A record of the logger ``rowsmith.failures`` carries ``error_code``, ``domain`` and ``operation`` as attributes, so that
any formatter can render them; the message is the code alone, for what an application says in an error is its own.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

from rowsmith.errors import RepositoryError
from rowsmith.errors.facts import spelt

logger = logging.getLogger("rowsmith.failures")

_LOGGED: Final = "__rowsmith_logged__"


def log_failure(failure: Exception, domain: str, operation: str) -> None:
    """Log a failure, unless that was done further in: verbs call verbs.

    Args:
        failure: rowsmith's, at its ``level``, or anybody's, as a warning under its class name.
        domain, operation: whose call failed, where the failure does not say so itself.
    """
    if getattr(failure, _LOGGED, False):
        return
    with suppress(AttributeError):  # a class with slots takes no mark
        setattr(failure, _LOGGED, True)
    level, code = logging.WARNING, type(failure).__name__
    if isinstance(failure, RepositoryError):
        level, code = failure.level, failure.error_code
        domain, operation = failure.facts.domain or domain, failure.facts.operation or operation
    told = {"error_code": code, "domain": spelt(domain), "operation": spelt(operation)}
    logger.log(level, "call failed: %s", code, extra=told)
