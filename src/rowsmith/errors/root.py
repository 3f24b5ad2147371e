"""The error that all others are."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

from rowsmith.errors.facts import ErrorFacts, error_code_of


class RepositoryError(Exception):
    """The root of everything a caller can meet.

    ``facts`` says where it happened; ``error_code`` (see :class:`ErrorCode`) is ``{domain}_{operation}_{detail}``, for
    example ``group_create_already-exists``, stable enough to be a metric's label. ``report`` says what an
    operation of several transactions had committed before it failed (a ``PurgeReport``; a cancellation that ended one
    has it, too); None elsewhere. ``level`` is what failures of the kind are logged at, and a domain's own class may say
    otherwise.
    """

    detail: ClassVar[str] = "error"
    default_message: ClassVar[str] = "the operation failed"
    level: ClassVar[int] = logging.ERROR
    report: Any = None
    is_declared: bool = False
    """Whether a domain's ``violations`` have been asked for it already."""

    def __init__(self, message: str | None = None, *, facts: ErrorFacts | None = None) -> None:
        super().__init__(message or self.default_message)
        self.facts = facts or ErrorFacts()
        if not message:
            self.name_entity(self.facts.domain)

    @classmethod
    def is_worded(cls) -> bool:
        """Say whether an application's class has a ``default_message`` of its own, or has it from another such."""
        worded = next(kind for kind in cls.__mro__ if "default_message" in vars(kind))
        return not _is_of_rowsmith(worded)

    @property
    def error_code(self) -> str:
        """``{domain}_{operation}_{detail}``; ``repository`` and ``call`` stand in for what is unknown."""
        return error_code_of(self.facts.domain or "repository", self.facts.operation or "call", self.detail)

    def locate(self, domain: str, operation: str) -> None:
        """Fill in whose call failed, where the raiser could not know it."""
        self.facts = replace(
            self.facts,
            domain=self.facts.domain or domain,
            operation=self.facts.operation or operation,
        )
        self.name_entity(self.facts.domain)

    def name_entity(self, domain: str | None) -> None:
        """Have the message name the entity, where its words are not those of an application's own class.

        "the group was not found" for "the entity was not found"; before what names none, "group: ".
        """
        if domain is None or len(self.args) != 1 or self.is_worded():
            return
        if self.args == (self.default_message,):
            self.args = (about(named(self.default_message, domain), domain),)
        elif _is_of_rowsmith(type(self)):
            self.args = (about(str(self.args[0]), domain),)

    def _say(self, words: str) -> None:
        """Say something else than before, of the same entity."""
        self.args = (about(words, self.facts.domain),)


def _is_of_rowsmith(kind: type[RepositoryError]) -> bool:
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def about(message: str, domain: str | None) -> str:
    """Give a message of rowsmith's with the entity's name before it, if it does not name it: "fair share: "."""
    if domain is None or _naming(domain).search(message):
        return message
    return f"{noun_of(domain)}: {message}"


def named(message: str, domain: str | None) -> str:
    """Give a message of rowsmith's with the entity's own name: "the fair share was not found"."""
    if domain is None:
        return message
    noun = noun_of(domain)
    article = "an" if noun[:1] in "aeiou" else "a"
    return message.replace("an entity", f"{article} {noun}").replace("entity", noun)


def noun_of(domain: str) -> str:
    """Give a domain as it is said in a message: "fair share"."""
    return " ".join(domain.replace("_", " ").replace("-", " ").split())


@lru_cache(maxsize=500)
def _naming(domain: str) -> re.Pattern[str]:
    """Find an entity in a message: "the fair share", "FairShareRow"."""
    return re.compile(r"\b" + "[ _-]?".join(map(re.escape, noun_of(domain).split())), re.IGNORECASE)


def kind_of(thing: object) -> str:
    """Name what was given for a message, by its type and never by its value."""
    given: Any = getattr(thing, "__wrapped__", thing)
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
