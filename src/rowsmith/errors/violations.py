"""A domain's own errors, and what makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from rowsmith.errors.declarations import MappingError
from rowsmith.errors.root import RepositoryError, kind_of
from rowsmith.signatures import takes

ErrorFactory: TypeAlias = Callable[[str], Exception]
"""Makes a domain's own error from a message without values; an exception class is one."""


Violations: TypeAlias = (
    Mapping[str, ErrorFactory]
    | Mapping["type[RepositoryError]", ErrorFactory]
    | Mapping["str | type[RepositoryError]", ErrorFactory]
)
"""A domain's own errors for what its database refuses: by constraint, by SQLSTATE, or by kind of error.

``{"uq_groups_name": GroupNameTaken, "P0001": NotAllowed, EntityAlreadyExists: GroupExists}``: a constraint goes before
a SQLSTATE, and that before a kind, of which the nearest counts. A constraint is named as its table has it, so that a
foreign key of another table that leads here may be meant too; ``"members.fk_members_group"`` names the table as well,
where it is not imported or several have the name. A kind is any that a write can end with, whether the database refuses
it or rowsmith does: ``StaleVersion``, ``ScopeMismatch``, ``RefusedByTrigger``, ``InvalidValue``.
"""


def made(factory: ErrorFactory, message: str) -> Exception:
    """Make an error; of a class that has a ``default_message`` of its own, with that one.

    Raises:
        MappingError: what is made is no error.
    """
    error = factory(*_words(factory, message))
    if not isinstance(cast("Any", error), Exception):
        raise MappingError(f"what makes a domain's own error gave {kind_of(error)}: give an error class")
    return error


def check_factory(factory: ErrorFactory, name: str) -> None:
    """Refuse what cannot make an error from a message, as far as that is seen before it is called.

    Raises:
        MappingError: it is no error class and no callable, or takes other arguments.
    """
    given: Any = factory
    is_other_class = isinstance(factory, type) and not issubclass(cast("type[Any]", factory), Exception)
    if not callable(given) or is_other_class:
        raise MappingError(f"{name} is {kind_of(given)}: give an error class or what makes an error of a message")
    if not takes(given, *_words(factory, "")):
        raise MappingError(f"{name} is {kind_of(given)}, which cannot be called with a message alone")


def _words(factory: ErrorFactory, message: str) -> tuple[str, ...]:
    is_worded = isinstance(factory, type) and issubclass(factory, RepositoryError) and factory.is_worded()
    return () if is_worded else (message,)
