"""What is wrong with a contract is said when it is collected, and what a repository lacks has no tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from contracts import Things, laws
from rowsmith import MappingError, Repository
from rowsmith.testing import RepositoryContract
from rowsmith.testing.contract.declared import check
from tenants import (
    GroupRow,
    ThingRepository,
    ThingRow,
)


def but(**others: Any) -> type[RepositoryContract]:
    """Give the contract of things with something else."""
    return type("TestThings", (Things,), others)


def without(name: str) -> type[RepositoryContract]:
    """Give the contract of things without something."""
    given = {key: value for key, value in vars(Things).items() if key not in (name, "__dict__", "__weakref__")}
    return type("TestThings", (RepositoryContract,), given)


@dataclass(frozen=True)
class Named:
    name: str


class NamedRepository(Repository[ThingRow, Named, int]):
    pass


class RowsRepository(Repository[ThingRow]):
    pass


async def wait(self, n):
    return None


WRONG = {
    "TestThings has no repository: write repository = GroupRepository": without("repository"),
    "TestThings has the class int as its repository": but(repository=int),
    "TestThings has the class Repository as its repository": but(repository=Repository),
    "TestThings.tables leaves out ThingRow: write tables = (DomainRow, GroupRow)": without("tables"),
    "TestThings.tables leaves out ThingRow": but(tables=(GroupRow,)),
    "TestThings.tables has the class int, which is not mapped": but(tables=(ThingRow, int)),
    "TestThings has no spec: write def spec(self, n): return GroupCreate": without("spec"),
    "TestThings has no patch: write def patch(self, n): return GroupPatch(...), or changes = False": without("patch"),
    "TestThings has no scope: write def scope(self, n): return DomainScope": without("scope"),
    "TestThings has no refused: write def refused(self, n): return {GroupNameTaken": without("refused"),
    "TestThings has no row: write def row(self, n)": but(writes=False),
    "TestThings.spec is ThingCreate, and no method: write def spec(self, n)": but(spec=Things().spec(0)),
    "TestThings.spec: write def spec(self, n); what has to be awaited is done in prepare(db)": but(spec=wait),
    "TestThings.prepare: write async def prepare(self, db); it is awaited": but(prepare=lambda self, db: None),
    "TestThings.patch takes other arguments: write def patch(self, n)": but(patch=lambda self: None),
    "Named has no id, which is in the key of ThingRow: write def id_of(self, data) in TestThings": but(
        repository=NamedRepository
    ),
    "RowsRepository gives ThingRow, of which no two are ever equal: have it give a dataclass": but(
        repository=RowsRepository
    ),
    "Strange.size is no column of ThingRow": but(
        projections=(dataclass(frozen=True)(type("Strange", (), {"__annotations__": {"size": int}})),)
    ),
}


@pytest.mark.parametrize("complaint", WRONG)
def test_what_is_missing_or_wrong_is_said(complaint: str) -> None:
    """With what to write instead."""
    with pytest.raises(MappingError) as wrong:
        check(WRONG[complaint])
    assert complaint in str(wrong.value)


def test_what_is_whole_is_not_refused() -> None:
    """Nor what leaves out what its repository does not ask for."""
    check(Things)
    check(but(id_of=lambda self, data: 1, repository=NamedRepository))


LACKS = {
    "scope": {
        "test_another_tenants_row_is_an_absent_one",
        "test_a_tenant_finds_its_own_rows",
        "test_a_batch_reaches_its_tenants_rows_alone",
        "test_nothing_is_made_for_another_tenant",
    },
    "refused": {"test_what_is_refused_is_refused_in_the_domains_words"},
}


@pytest.mark.parametrize("hook", LACKS)
def test_what_is_not_declared_has_no_tests(hook: str) -> None:
    """They are not collected, and so none is skipped."""
    assert set(laws(Things)) - set(laws(without(hook))) == LACKS[hook]


def test_what_a_repository_lacks_has_no_tests() -> None:
    """Soft deletion, versions, changes, writes at all."""
    plain = type("Plain", (ThingRepository,), {"soft_delete": None, "violations": {}})
    assert set(laws(Things)) - set(laws(but(repository=plain))) == {
        "test_what_is_deleted_is_hidden",
        "test_what_is_restored_is_there_again",
        "test_each_declared_violation_is_shown",
    }
    lost = set(laws(Things)) - set(laws(but(changes=False)))
    assert lost == {"test_what_is_changed_is_what_the_patch_says", "test_who_expects_an_old_version_is_refused"}
    assert {law for law in laws(but(writes=False)) if "made" in law or "purged" in law or "refused" in law} == set()
