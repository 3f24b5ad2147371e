"""The contract of things, whose repository is whole, and what tries a law on another one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rowsmith import Database, OptionalState, Patch, SearchScope, Spec
from rowsmith.testing import RepositoryContract
from rowsmith.testing.contract.laws import applies, is_law
from tenants import NameTaken, OwnedBy, ThingCreate, ThingPatch, ThingRepository, ThingRow


class Things(RepositoryContract):
    """Things of two tenants: ids from the client, versions, soft deletion, a name that is unique."""

    repository = ThingRepository
    tables = (ThingRow,)

    def spec(self, n: int) -> Spec[Any]:
        return ThingCreate(n, f"name {n}", n, f"note {n}")

    def patch(self, n: int) -> Patch[Any]:
        return ThingPatch(uses=OptionalState.update(n + 100))

    def scope(self, n: int) -> SearchScope | None:
        return OwnedBy("ab"[n % 2])

    def refused(self, n: int) -> Mapping[type[Exception], Spec[Any] | Patch[Any]]:
        return {NameTaken: ThingCreate(99, f"name {n}", 1, None)}


def laws(contract: type[RepositoryContract]) -> list[str]:
    """Give the names of the laws that apply to a contract."""
    return [name for name, law in inspect.getmembers(contract, is_law) if applies(law, contract)]


async def complaints(contract: type[RepositoryContract], law: str, db: Database) -> list[str]:
    """Give what a law complains of, on tables that are there."""
    trial = await (tried := contract()).begin(db)
    await trial.begin()
    try:
        await getattr(tried, law)()
    except AssertionError as error:
        return str(error).splitlines()
    finally:
        await trial.rows.clear()
    return []


def of(repository: type[Any], **others: Any) -> type[Things]:
    """Give the contract of things for another repository of them."""
    return type("OfOthers", (Things,), {"repository": repository, **others})
