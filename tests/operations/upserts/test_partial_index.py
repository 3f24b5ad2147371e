"""Upserts that go by a unique index over some of the rows, of rows that it holds and of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Condition, Conflict, Repository, SearchScope, Spec, Upserted
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class JobRow(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        sa.Index(
            "ix_jobs_live",
            "slot",
            unique=True,
            postgresql_where=sa.text("state = 'live'"),
            sqlite_where=sa.text("state = 'live'"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    slot: Mapped[int]
    state: Mapped[str]
    note: Mapped[str | None]
    domain: Mapped[str] = mapped_column(default="a")


@dataclass(frozen=True)
class Job:
    id: int
    slot: int
    state: str
    note: str | None


@dataclass(frozen=True)
class Noted(Spec[JobRow]):
    slot: int
    state: str
    note: str


@dataclass(frozen=True)
class Bare(Spec[JobRow]):
    slot: int
    state: str


@dataclass(frozen=True)
class DomainScope(SearchScope):
    domain: str

    def to_conditions(self) -> Sequence[Condition]:
        return [JobRow.domain == self.domain]


LIVE = JobRow.state == "live"


class Jobs(Repository[JobRow, Job, int]):
    conflict = Conflict(columns=[JobRow.slot], where=LIVE)


CHANGES, LEAVES = Jobs.conflict, Conflict(columns=[JobRow.slot], where=LIVE, update=False)


async def upserted(
    jobs: Jobs, verb: str, specs: Sequence[Spec[JobRow]], conflict: Conflict, scope: SearchScope | None = None
) -> list[Upserted[Job]]:
    """Upsert by one of the verbs, one call for each spec where it takes one."""
    call: Any = getattr(jobs, verb)
    if verb == "upsert":
        return [await call(spec, conflict=conflict, scope=scope) for spec in specs]
    done = (await call(specs, conflict=conflict, scope=scope)).succeeded
    return [each.data for each in done] if verb == "batch_upsert_partial" else list(done)


VERBS = pytest.mark.parametrize("verb", ["upsert", "batch_upsert", "batch_upsert_partial"])
CONFLICTS = pytest.mark.parametrize("conflict", [CHANGES, LEAVES], ids=["changes", "leaves"])


@VERBS
@CONFLICTS
@pytest.mark.parametrize(
    "specs", [[Noted(1, "dead", "x"), Noted(2, "dead", "y")], [Noted(1, "dead", "x"), Bare(2, "dead")]]
)
async def test_a_row_that_the_index_does_not_hold_is_new(
    any_tables: WithTables, verb: str, conflict: Conflict, specs: Sequence[Any]
) -> None:
    """Though one that it holds has the same key, the new row is inserted, and it is said so."""
    async with any_tables(JobRow) as db:
        jobs = Jobs(db)
        await jobs.batch_create([Noted(1, "live", "kept"), Noted(2, "live", "kept")])
        done = await upserted(jobs, verb, specs, conflict)
        assert [(each.inserted, each.data.slot, each.data.state) for each in done] == [
            (True, 1, "dead"),
            (True, 2, "dead"),
        ]
        assert [(job.state, job.note) for job in await jobs.search(None, [LIVE])] == [("live", "kept")] * 2
        assert await jobs.count() == 4


@VERBS
@CONFLICTS
async def test_nothing_is_told_of_another_tenants_row(any_tables: WithTables, verb: str, conflict: Conflict) -> None:
    """Whether somebody else has a row of this key is not to be told from the answer."""
    async with any_tables(JobRow) as db:
        jobs = Jobs(db)
        await jobs.create(Noted(1, "live", "kept"), scope=DomainScope("a"))
        (done,) = await upserted(jobs, verb, [Noted(1, "dead", "x")], conflict, DomainScope("b"))
        assert done.inserted


@VERBS
@pytest.mark.parametrize(
    "specs", [[Noted(1, "live", "x"), Noted(2, "live", "y")], [Noted(1, "live", "x"), Bare(2, "live")]]
)
async def test_the_row_that_is_left_as_it_is_is_the_one_that_the_index_holds(
    any_tables: WithTables, verb: str, specs: Sequence[Any]
) -> None:
    """Others of the same key, which it does not hold, are no answer."""
    async with any_tables(JobRow) as db:
        jobs = Jobs(db)
        made = await jobs.batch_create([Noted(1, "live", "kept"), Noted(2, "live", "kept")])
        await jobs.batch_create([Noted(1, "dead", "old"), Noted(2, "dead", "old")])
        done = await upserted(jobs, verb, specs, LEAVES)
        assert [(each.inserted, each.data) for each in done] == [(False, job) for job in made]
