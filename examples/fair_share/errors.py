"""What can go wrong with a fair share, in its own words."""

from __future__ import annotations

from rowsmith import (
    CheckViolation,
    EntityAlreadyExists,
    EntityNotFound,
    ErrorFacts,
    ReferenceNotFound,
    RepositoryError,
)

STANDING = ErrorFacts("fair_share", "standing")
"""Where it is that who has no share has no standing."""


class FairShareError(RepositoryError):
    """Whatever is wrong with what was asked for, so that asking again would be no use."""


class FairShareNotFound(FairShareError, EntityNotFound):
    """The user has no share in this group."""


class FairShareTaken(FairShareError, EntityAlreadyExists):
    """The user has a share in this group already."""

    detail = "taken"


class FairShareGroupNotFound(FairShareError, ReferenceNotFound):
    """The domain of the share has no such group."""

    detail = "group_not_found"


class WeightNotPositive(FairShareError, CheckViolation):
    """A weight is greater than zero."""

    detail = "weight_not_positive"


class UsageNotFound(FairShareError, EntityNotFound):
    """Nothing was used on this day."""


class UsageWithoutShare(FairShareError, ReferenceNotFound):
    """Who has no share in a group uses nothing of it."""

    detail = "share_not_found"


class UsageNegative(FairShareError, CheckViolation):
    """Nobody gives back what was used."""

    detail = "negative"
