"""What a program is wrongly made of: classes, and what is installed."""

from __future__ import annotations

from rowsmith.errors.root import RepositoryError


class MappingError(RepositoryError, TypeError):
    """A row, data, spec, patch or repository class is declared wrongly; raised when the class is made."""

    detail = "mapping_error"
    default_message = "the class does not fit its row"


class MissingExtra(RepositoryError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    detail = "missing_extra"
    default_message = "an optional dependency is not installed"

    __str__ = Exception.__str__  # an ImportError gives what it was made with, before the entity was named
