"""What can go wrong with a group, in its own words."""

from __future__ import annotations

from rowsmith import EntityAlreadyExists, EntityNotFound, ReferenceNotFound


class GroupNotFound(EntityNotFound):
    """No such group for this caller."""


class GroupNameTaken(EntityAlreadyExists):
    """Another group of the domain has this name."""

    detail = "name_taken"


class GroupDomainNotFound(ReferenceNotFound):
    """The group's domain is not there."""

    detail = "domain_not_found"
