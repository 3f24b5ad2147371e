"""What a constraint or a trigger of the database refuses."""

from __future__ import annotations

import logging

from rowsmith.errors.root import RepositoryError


class ConstraintViolation(RepositoryError):
    """A constraint of the database refused the write; ``facts.constraint`` names it."""

    detail = "constraint_violated"
    default_message = "a constraint refused the entity"
    level = logging.INFO


class EntityAlreadyExists(ConstraintViolation):
    """A unique or primary key is taken (SQLSTATE 23505)."""

    detail = "already_exists"
    default_message = "an entity with this key already exists"


class ReferenceNotFound(ConstraintViolation):
    """A foreign key points at no row (SQLSTATE 23503, seen from the referencing row)."""

    detail = "reference_not_found"
    default_message = "the entity refers to another one that does not exist"


class StillReferenced(ConstraintViolation):
    """Other rows still point at this one (SQLSTATE 23503 or 23001, seen from the referenced row)."""

    detail = "still_referenced"
    default_message = "the entity is still referenced by others"


class CheckViolation(ConstraintViolation):
    """A CHECK constraint refused the row (SQLSTATE 23514), a view's CHECK OPTION (44000), or a policy (42501).

    That is the ``WITH CHECK`` of row security; a privilege that is missing, of the same SQLSTATE, is a DatabaseFault.
    """

    detail = "check_violated"
    default_message = "a check constraint refused the entity"


class NotNullViolation(ConstraintViolation):
    """A column that must have a value has none (SQLSTATE 23502)."""

    detail = "not_null_violated"
    default_message = "a required column of the entity has no value"


class ExclusionViolation(ConstraintViolation):
    """An exclusion constraint refused the row (SQLSTATE 23P01)."""

    detail = "exclusion_violated"
    default_message = "an exclusion constraint refused the entity"


class RefusedByTrigger(ConstraintViolation):
    """A trigger of the database skipped the row (``RETURN NULL``; ``RAISE(IGNORE)`` on SQLite).

    Or it took away what was written, kept the mark of soft deletion as it was, or gave the row another key. A rule may
    do so, too, and a policy of row security that lets a row be seen or locked and not removed.

    ``index`` is the row's place in the input of a batch, None where there is no batch or it cannot be told.
    """

    detail = "refused_by_trigger"
    default_message = "a trigger or policy refused the row: the database has not done what it was asked"
    index: int | None = None

    @classmethod
    def at(cls, index: int | None, noun: str = "spec") -> RefusedByTrigger:
        """Make the error for an item of a batch."""
        error = cls()
        error.move(index, noun)
        return error

    def move(self, index: int | None, noun: str = "item") -> None:
        """Say which item of the input the row is."""
        where = "of one of the items" if index is None else f"of the {noun} at index {index}"
        self.index = index
        self._say(f"a trigger or policy refused the row {where}")

    def alone(self) -> None:
        """Say nothing of a place: the row was given by itself."""
        self.index = None
        self._say(self.default_message)
