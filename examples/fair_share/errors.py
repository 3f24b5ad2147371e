"""What can go wrong with a fair share, in its own words."""

from __future__ import annotations

from rowsmith import CheckViolation, EntityAlreadyExists, EntityNotFound, ReferenceNotFound


class FairShareNotFound(EntityNotFound):
    """The user has no share in this group."""


class FairShareTaken(EntityAlreadyExists):
    """The user has a share in this group already."""

    detail = "taken"


class FairShareGroupNotFound(ReferenceNotFound):
    """The group of the share is not there."""

    detail = "group_not_found"


class WeightNotPositive(CheckViolation):
    """A weight is greater than zero."""

    detail = "weight_not_positive"
