"""Scopes that are used wrongly."""

from __future__ import annotations

import logging
import re
from typing import Final

from rowsmith.errors.root import RepositoryError


class ScopeError(RepositoryError):
    """A scope was used wrongly."""

    detail = "scope_error"
    level = logging.WARNING


class EmptyScope(ScopeError):
    """A scope without conditions would mean all rows; say ``Unscoped(reason=...)`` if that is meant."""

    detail = "empty_scope"
    default_message = "the scope has no conditions: write Unscoped(reason='...') if all rows are meant"


class ScopeRequired(ScopeError):
    """The repository declares ``scope_required = True`` and the call gave none."""

    detail = "scope_required"
    default_message = "this repository needs a scope: pass scope=..., or Unscoped(reason='...')"


class ScopeMismatch(ScopeError):
    """The write would put a row outside the scope it was made in; or data has to have a related row that is outside.

    Or one object of a session would show its related rows to several scopes.
    """

    detail = "scope_mismatch"
    default_message = "the entity would leave its scope"

    @property
    def index(self) -> int | None:
        """The place in the input of the item of a batch that would leave it, where the message names one."""
        place = _INDEX.search(str(self))
        return None if place is None else int(place[1])

    def move(self, index: int) -> None:
        """Say which item of the input it is, where the words name one by its place in a part of it."""
        if self.index is not None:
            self._say(_INDEX.sub(f"at index {index}", str(self.args[0])))

    def alone(self) -> None:
        """Say nothing of a place: what would leave the scope was given by itself."""
        item = _ITEM.search(words := str(self.args[0]))
        if item is not None and item[1]:
            self._say(words[item.end() :])
        elif item is not None:
            self.args = (self.default_message,)
            self.name_entity(self.facts.domain)


_INDEX: Final = re.compile(r"\bat index (\d+)")
_ITEM: Final = re.compile(r"\bthe \w+ at index \d+(: )?")
