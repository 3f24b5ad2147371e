"""Removing many fair shares for good."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.fair_share.types import DomainShareScope
from rowsmith import InvalidValue

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))


async def test_all_of_the_tenant_are_removed_and_the_others_missing(shares, make) -> None:
    """Deleted before or not; what they were is given back."""
    first, theirs, second = await make(DE), await make(FR), await make(DE)
    await shares.delete(second.key, scope=DE)
    result = await shares.batch_purge([first.key, theirs.key, second.key], scope=DE)
    assert ([share.key for share in result.succeeded], result.missing) == ([first.key, second.key], [theirs.key])
    assert await shares.find(second.key, DE, include_deleted=True) is None
    assert await shares.get(theirs.key, FR) == theirs


async def test_what_is_no_key_or_stands_twice_is_refused(shares, make) -> None:
    """Before anything is removed."""
    made = await make(DE)
    for keys in ([made.key, made.key], [made.user_id]):
        with pytest.raises(InvalidValue):
            await shares.batch_purge(keys, scope=DE)
    assert await shares.get(made.key, DE) == made
