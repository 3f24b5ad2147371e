"""Chapters: units of work with savepoints; errors and what they keep to themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

from examples.demo.sql import in_one_line
from examples.demo.tour import DE, EVERYTHING, GERMANY, Tour, names
from examples.domain.types import DomainName
from examples.fair_share.errors import WeightNotPositive
from examples.fair_share.types import DomainShareScope, FairSharePatch
from examples.group.errors import GroupDomainNotFound, GroupNameTaken
from examples.group.types import GroupCreate, GroupData, GroupId
from rowsmith import (
    CursorForwardPagination,
    InvalidValue,
    OptionalState,
    StaleVersion,
    StillReferenced,
    TransactionAborted,
)

NESTED = """\
async with db.unit_of_work() as unit:
    unit.after_commit(ring_the_bell)
    ...create Utopia
    with suppress(GroupNameTaken):
        async with db.unit_of_work():
            ...create Eldorado, create Berlin"""
SWALLOWED = """\
async with db.unit_of_work():
    ...create Arcadia
    with suppress(GroupNameTaken):
        ...create Berlin"""


async def transacting(tour: Tour) -> None:
    """A nested unit undone alone, and an error that was swallowed."""
    tour.stage.open(
        "Units of work",
        "Inside one, every call joins one transaction; a nested one is a savepoint. Work for after the commit\n"
        "runs after a real commit only, and a swallowed error never ends in a silent rollback.",
    )
    rung: list[str] = []
    nested = _nested(tour, lambda: rung.append("rung"))
    await tour.stage.act(NESTED, nested, lambda made: f"{names(made)}\n[dim]the bell:[/] {rung[0]}", sql=in_one_line)
    await tour.stage.refuse(SWALLOWED, _swallowed(tour), TransactionAborted)
    tour.stage.close()


async def _nested(tour: Tour, ring_the_bell: Callable[[], None]) -> list[GroupData]:
    async with tour.db.unit_of_work() as unit:
        unit.after_commit(ring_the_bell)
        utopia = await tour.groups.create(GroupCreate(DE, "Utopia"), scope=GERMANY)
        with suppress(GroupNameTaken):
            async with tour.db.unit_of_work():
                await tour.groups.create(GroupCreate(DE, "Eldorado"), scope=GERMANY)
                await tour.groups.create(GroupCreate(DE, "Berlin"), scope=GERMANY)
    return [utopia]


async def _swallowed(tour: Tour) -> None:
    async with tour.db.unit_of_work():
        await tour.groups.create(GroupCreate(DE, "Arcadia"), scope=GERMANY)
        with suppress(GroupNameTaken):  # no savepoint around it: the transaction is lost
            await tour.groups.create(GroupCreate(DE, "Berlin"), scope=GERMANY)


async def failing(tour: Tour) -> None:
    """One error of each family."""
    tour.stage.open(
        "Errors",
        "SQLSTATE and the constraint's name decide which error it is. Codes are fit for metrics, and no message,\n"
        "log or traceback quotes a value of a row.",
    )
    await _bad_groups(tour)
    await _bad_shares(tour)
    tour.stage.close()


async def _bad_groups(tour: Tour) -> None:
    groups, refuse = tour.groups, tour.stage.refuse
    twice, lost = GroupCreate(DE, "Berlin"), GroupCreate(DomainName("XX"), "Nowhere")
    call = 'groups.create(GroupCreate("DE", "Berlin"), scope=GERMANY)'
    await refuse(call, groups.create(twice, scope=GERMANY), GroupNameTaken)
    call = 'groups.create(GroupCreate("XX", "Nowhere"), scope=EVERYTHING)'
    await refuse(call, groups.create(lost, scope=EVERYTHING), GroupDomainNotFound)
    await refuse('domains.purge("DE")', tour.domains.purge(DE), StillReferenced)
    await refuse("groups.get(2**31, GERMANY)", groups.get(GroupId(2**31), GERMANY), InvalidValue)
    call = r'groups.create(GroupCreate("DE", "Ber\x00lin"), scope=GERMANY)'
    await refuse(call, groups.create(GroupCreate(DE, "Ber\x00lin"), scope=GERMANY), InvalidValue)


async def _bad_shares(tour: Tour) -> None:
    shares, refuse = tour.shares, tour.stage.refuse
    share = (await shares.search(EVERYTHING, None, CursorForwardPagination(1))).items[0]
    theirs = DomainShareScope(share.domain_name)
    nothing, more = (FairSharePatch(weight=OptionalState.update(Decimal(weight))) for weight in (0, 2))
    await refuse(
        "shares.update(key, FairSharePatch(weight=OptionalState.update(Decimal(0))), scope=theirs)",
        shares.update(share.key, nothing, scope=theirs),
        WeightNotPositive,
    )
    stale = shares.update(share.key, more, scope=theirs, expected_version=share.version - 1)
    await refuse("shares.update(key, patch, scope=theirs, expected_version=an_old_one)", stale, StaleVersion)
