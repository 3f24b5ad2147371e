"""Reading domains by their names."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainNotFound
from examples.domain.rows import Continent
from examples.domain.types import ContinentScope, DomainName

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)
NOBODY = DomainName("NOBODY")


async def test_the_domain_is_given(domains, make) -> None:
    """By get and by find, with its tenant's scope and without one."""
    made = await make(EUROPE)
    assert await domains.get(made.name, EUROPE) == await domains.get(made.name) == made
    assert await domains.find(made.name, EUROPE) == made


async def test_find_answers_none_where_get_raises(domains) -> None:
    """An absent domain is None to find and the domain's own error to get."""
    assert await domains.find(NOBODY) is None
    with pytest.raises(DomainNotFound) as caught:
        await domains.get(NOBODY)
    assert caught.value.error_code == "domain_get_not-found"


async def test_another_tenants_is_absent(domains, make) -> None:
    """To get, to find and to batch_get."""
    name = (await make(EUROPE)).name
    assert await domains.find(name, ASIA) is None
    for call in (domains.get(name, ASIA), domains.batch_get([name], scope=ASIA)):
        with pytest.raises(DomainNotFound):
            await call


async def test_many_come_in_the_order_of_the_names(domains, make) -> None:
    """Whatever their order in the table; what is missing is named on the error."""
    first, second = await make(EUROPE), await make(EUROPE)
    assert await domains.batch_get([second.name, first.name], scope=EUROPE) == [second, first]
    with pytest.raises(DomainNotFound) as caught:
        await domains.batch_get([first.name, NOBODY])
    assert caught.value.missing == (NOBODY,)
