"""What a caller gives that cannot be used."""

from __future__ import annotations

import logging

from rowsmith.errors.facts import ErrorFacts
from rowsmith.errors.root import RepositoryError


class BadInput(RepositoryError):
    """What the caller gave cannot be used; the message says what to give instead."""

    detail = "bad_input"
    level = logging.INFO


class InvalidValue(BadInput):
    """A value that its column cannot hold, or that a read cannot compute of the rows (SQLSTATE class 22).

    ``is_stored`` says that it stands in the database already, and that its column's type cannot read it; ``index`` is
    the place in the input of a batch of the item that has the value. The message names it, too, unless it is that of an
    application's own class.
    """

    detail = "invalid_value"
    default_message = "a value does not fit its column"
    is_stored: bool = False
    index: int | None = None
    _words: str = ""
    _noun: str = "item"

    @classmethod
    def at(cls, index: int, words: str, noun: str = "spec", *, facts: ErrorFacts | None = None) -> InvalidValue:
        """Make the error for an item of a batch; ``words`` say what is wrong with it."""
        error = cls(words, facts=facts)
        error.place(index, words, noun)
        return error

    def among(self, index: int, noun: str) -> None:
        """Say that it is an item of a batch which has the value; one of another batch that it names is not meant.

        What a class of an application's own says stays as it is.
        """
        self.index = index
        if type(self) is InvalidValue:
            self.place(index, self._words or str(self), noun)

    def place(self, index: int, words: str, noun: str) -> None:
        """Say that it is an item of a batch which has the value, and in ``words`` what is wrong with it."""
        self._words, self._noun, self.index = words, noun, index
        self.move(index)

    def move(self, index: int) -> None:
        """Say which item of the input it is, where the words name one by its place in a part of it."""
        if self.index is not None:
            self.index = index
            if self._words:
                self._say(f"the {self._noun} at index {index}: {self._words}")

    def alone(self) -> None:
        """Say nothing of a place: what it is about was given by itself."""
        self.index = None
        if self._words:
            self._say(self._words)


class InvalidFilter(BadInput):
    """A filter or condition without a meaning."""

    detail = "invalid_filter"
    default_message = "the filter has no meaning"


class InvalidPagination(BadInput):
    """A page that cannot be: a size below one, above the cap, or two modes at once."""

    detail = "invalid_pagination"
    default_message = "the pagination cannot be used"


class InvalidCursor(BadInput):
    """A cursor that is cut, changed, or was made for another order, filter or scope."""

    detail = "invalid_cursor"
    default_message = "the cursor cannot be used here: start again without one"
