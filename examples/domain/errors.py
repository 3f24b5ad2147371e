"""What can go wrong with a domain, in its own words."""

from __future__ import annotations

from rowsmith import CheckViolation, EntityAlreadyExists, EntityNotFound


class DomainNotFound(EntityNotFound):
    """No such domain for this caller."""


class DomainNameTaken(EntityAlreadyExists):
    """Another domain has this name."""

    detail = "name_taken"


class DomainTitleTaken(EntityAlreadyExists):
    """Another domain that is not deleted has this title."""

    detail = "title_taken"


class DomainNameMalformed(CheckViolation):
    """A domain's name is upper case and not empty."""

    detail = "name_malformed"
