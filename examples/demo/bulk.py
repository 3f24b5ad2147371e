"""Chapter: many rows at once."""

from __future__ import annotations

from collections.abc import Sequence

from examples.demo.loading import progress_bars
from examples.demo.sql import in_one_line, laid_out
from examples.demo.tour import DE, EVERYTHING, GERMANY, JAPAN, Tour, names
from examples.group.rows import GroupKind, GroupRow
from examples.group.search import GroupFilter
from examples.group.types import GroupCreate, GroupData, GroupId, GroupPatch
from rowsmith import BatchResult, OptionalState, PartialResult, PurgeReport, TriState, Upserted
from rowsmith.filters import NumberFilter

STRANGER = GroupId(2_000_000_000)
SMALL = GroupFilter(population=NumberFilter(lt=20_000))


async def bulk(tour: Tour) -> None:
    """Update, delete, restore, upsert and purge in bulk."""
    tour.stage.open(
        "In bulk",
        "A statement or two whatever the number of rows, all or nothing, and exact in what is reported: every id is\n"
        "among the succeeded or the missing. Rows are locked in key order, so overlapping batches do not deadlock.",
    )
    japan = [group.id async for group in tour.groups.stream(JAPAN)]
    await _changes(tour, japan)
    await _new_ones(tour)
    await _end(tour, japan)
    tour.stage.close()


async def _changes(tour: Tour, keys: Sequence[GroupId]) -> None:
    stage, groups = tour.stage, tour.groups
    patch = GroupPatch(description=TriState.update("in Japan"))
    call = "groups.batch_update([*japan, a_stranger], patch, scope=JAPAN)"
    await stage.act(call, groups.batch_update([*keys, STRANGER], patch, scope=JAPAN), told, sql=laid_out)
    patches = {key: GroupPatch(description=TriState.update(f"no. {place}")) for place, key in enumerate(keys, 1)}
    call = "groups.batch_update_each({id: GroupPatch(...) for id in japan}, scope=JAPAN)"
    await stage.act(call, groups.batch_update_each(patches, scope=JAPAN), told, sql=laid_out)
    counted = GroupPatch(population=OptionalState.expression(lambda: GroupRow.population + 1))
    call = "groups.update_where(big, one_more, scope=JAPAN)"
    big = GroupFilter(population=NumberFilter(gte=100_000))
    await stage.act(call, groups.update_where(big, counted, scope=JAPAN), sql=laid_out)


async def _new_ones(tour: Tour) -> None:
    stage, groups = tour.stage, tour.groups
    specs = [GroupCreate(DE, f"New Town {number}", population=number) for number in range(2_000)]
    specs[700] = GroupCreate(DE, "Berlin")
    call = "groups.batch_create_partial(towns, scope=GERMANY)  # 2,000, one a second Berlin"
    await stage.act(call, groups.batch_create_partial(specs, scope=GERMANY), _partial)
    specs = [GroupCreate(DE, name, GroupKind.REGULAR, population=1) for name in ("New Town 1", "New Town 700")]
    call = "groups.batch_upsert([town_1, town_700], scope=GERMANY)"
    await stage.act(call, groups.batch_upsert(specs, scope=GERMANY), _upserted, sql=laid_out)


async def _end(tour: Tour, keys: Sequence[GroupId]) -> None:
    stage, groups = tour.stage, tour.groups
    call = "groups.batch_delete(japan, scope=JAPAN)"
    await stage.act(call, groups.batch_delete(keys, scope=JAPAN), told)
    call = "groups.batch_restore(japan, scope=JAPAN)"
    await stage.act(call, groups.batch_restore(keys, scope=JAPAN), told)
    call = "groups.batch_purge(japan[-100:], scope=JAPAN)"
    await stage.act(call, groups.batch_purge(keys[-100:], scope=JAPAN), told, sql=laid_out)
    call = "groups.purge_where(small, scope=EVERYTHING, progress=...)  # below 20,000"
    await stage.act(call, _purge_small(tour), _purged, sql=in_one_line)


async def _purge_small(tour: Tour) -> PurgeReport:
    small = await tour.groups.count(EVERYTHING, SMALL)
    with progress_bars(tour.stage.console) as bars:
        bar = bars.add_task("purging small towns", total=small)
        return await tour.groups.purge_where(
            SMALL, scope=EVERYTHING, progress=lambda rows: bars.update(bar, completed=rows)
        )


def told(result: BatchResult[GroupData, GroupId]) -> str:
    """Give both halves of a result."""
    missing = f", [yellow]{len(result.missing)} missing[/]" if result.missing else ""
    return f"[green]{len(result.succeeded):,} succeeded[/]{missing} [dim]{names(result.succeeded, 2)}[/]"


def _partial(result: PartialResult[GroupData]) -> str:
    failure = result.failed[0]
    place = f"[red]no. {failure.index}: {type(failure.error).__name__}[/]"
    return f"[green]{len(result.succeeded):,} succeeded[/], {len(result.failed)} failed\n{place}"


def _upserted(result: BatchResult[Upserted[GroupData], GroupId]) -> str:
    return ", ".join(f"{one.data.name} [dim]{'inserted' if one.inserted else 'updated'}[/]" for one in result.succeeded)


def _purged(report: PurgeReport) -> str:
    return f"[green]{report.rows:,} rows[/] in {report.chunks} transactions"
