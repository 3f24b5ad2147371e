"""Repositories of other shapes have contracts too: entities of their own, rows that are only read, joined tables."""

from __future__ import annotations

from dataclasses import dataclass

from contracts import Things, laws
from rowsmith import OptionalState, Repository, Spec, TriState
from rowsmith.testing import RepositoryContract
from tenants import (
    DomainScope,
    GroupId,
    GroupNameTaken,
    GroupPatch,
    GroupRow,
    NameTaken,
    ThingRow,
)
from tenants.tools import TOOLS, MeterCreate, MeterPatch, MeterRepository, ToolsOf


@dataclass(frozen=True)
class Team:
    """A domain's own object."""

    number: GroupId
    tenant: str
    title: str


@dataclass(frozen=True)
class TeamSpec(Spec[GroupRow]):
    team: Team

    def to_values(self):
        return {"domain_name": self.team.tenant, "name": self.team.title}


class TeamRepository(Repository[GroupRow, Team, GroupId]):
    violations = {"uq_groups_live": GroupNameTaken}

    def to_data(self, row):
        return Team(GroupId(row.id), row.domain_name, row.name)

    def to_row(self, entity):
        return TeamSpec(entity)


class TestTeams(RepositoryContract):
    """Entities that know nothing of rows, keys of the server's."""

    repository = TeamRepository
    tables = (GroupRow,)

    def spec(self, n):
        return TeamSpec(Team(GroupId(0), "ab"[n % 2], f"team {n}"))

    def patch(self, n):
        return GroupPatch(name=OptionalState.update(f"other {n}"))

    def id_of(self, data):
        return data.number

    def scope(self, n):
        return DomainScope("ab"[n % 2])

    def refused(self, n):
        return {GroupNameTaken: self.spec(n)}


class TestReaders(Things):
    """Rows that somebody else writes."""

    writes = False

    def row(self, n):
        return ThingRow(id=n, tenant="ab"[n % 2], name=f"name {n}", uses=n)


class TestMeters(RepositoryContract):
    """Rows in two tables, of which some verbs are refused."""

    repository = MeterRepository
    tables = TOOLS

    def spec(self, n):
        return MeterCreate(n, f"meter {n}")

    def patch(self, n):
        return MeterPatch(reading=TriState.update(n))

    def scope(self, n):
        return ToolsOf("ab"[n % 2])

    def refused(self, n):
        return {NameTaken: MeterCreate(99, f"meter {n}")}


def test_each_shape_has_the_tests_that_it_can_have() -> None:
    """And none else."""
    assert "test_an_entity_leads_back_to_its_row" in laws(TestTeams)
    assert {law for law in laws(TestReaders) if "is_" in law} == {
        "test_another_tenants_row_is_an_absent_one",
        "test_data_shows_what_is_stored",
        "test_projections_show_what_is_stored",
        "test_each_error_is_of_its_kind",
        "test_what_is_not_there_is_not_found",
    }
    assert "test_an_upsert_finds_what_it_made" not in laws(TestMeters)
