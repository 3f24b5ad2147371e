"""Deleting many fair shares at once, and bringing them back."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.fair_share.types import DomainShareScope
from rowsmith import InvalidValue

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))


async def test_all_of_the_tenant_are_deleted_and_the_others_missing(shares, make) -> None:
    """One that is deleted already is missing too; restoring brings them back."""
    first, theirs, second = await make(DE), await make(FR), await make(DE)
    result = await shares.batch_delete([first.key, theirs.key], scope=DE)
    assert ([share.key for share in result.succeeded], result.missing) == ([first.key], [theirs.key])
    again = await shares.batch_delete([first.key, second.key], scope=DE)
    assert ([share.key for share in again.succeeded], again.missing) == ([second.key], [first.key])
    assert await shares.get(theirs.key, FR) == theirs
    assert len((await shares.batch_restore([first.key, second.key], scope=DE)).succeeded) == 2


async def test_what_is_no_key_or_stands_twice_is_refused(shares, make) -> None:
    """Before anything is written."""
    made = await make(DE)
    for keys in ([made.key, made.key], [made.user_id]):
        with pytest.raises(InvalidValue):
            await shares.batch_delete(keys, scope=DE)
    assert await shares.find(made.key, DE) == made
