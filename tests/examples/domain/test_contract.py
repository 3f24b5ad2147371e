"""What every repository promises, of domains."""

from __future__ import annotations

from examples.domain import errors
from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import ContinentScope, DomainCreate, DomainName, DomainPatch
from rowsmith import TriState
from rowsmith.testing import RepositoryContract

TENANTS = (Continent.EUROPE, Continent.ASIA)


class TestDomains(RepositoryContract):
    repository = DomainRepository
    tables = (DomainRow,)

    def spec(self, n):
        return DomainCreate(DomainName(f"D{n}"), f"Domain {n}", TENANTS[n % 2])

    def patch(self, n):
        return DomainPatch(description=TriState.update(f"the domain with the number {n}"))

    def scope(self, n):
        return ContinentScope(TENANTS[n % 2])

    def refused(self, n):
        return {
            errors.DomainNameTaken: self.spec(n),
            errors.DomainTitleTaken: DomainCreate(DomainName("NEW"), f"Domain {n}", TENANTS[n % 2]),
            errors.DomainNameMalformed: DomainCreate(DomainName("small"), "Small", TENANTS[n % 2]),
        }
