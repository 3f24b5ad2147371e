"""Chapter: one group from its creation to its end."""

from __future__ import annotations

from examples.demo.sql import laid_out
from examples.demo.tour import DE, GERMANY, Tour, brief
from examples.group.rows import GroupRow
from examples.group.types import GroupCreate, GroupData, GroupId, GroupPatch
from rowsmith import OptionalState, TriState


async def one_row(tour: Tour) -> None:
    """Create, get, update in all its states, delete, restore, purge."""
    tour.stage.open(
        "One row",
        "Each call is one transaction. What it gives is what the database holds afterwards, as plain data.\n"
        "The scope GERMANY first asks whether its domain is there; that is the second statement of each call.",
    )
    spec = GroupCreate(DE, "Atlantis", population=12, tags=["myth"])
    call = 'groups.create(GroupCreate("DE", "Atlantis", population=12, ...), scope=GERMANY)'
    made = await tour.stage.act(call, tour.groups.create(spec, scope=GERMANY), brief, sql=laid_out)
    await tour.stage.act(f"groups.get({made.id}, GERMANY)", tour.groups.get(made.id, GERMANY), brief, sql=laid_out)
    await _change(tour, made.id)
    await _end(tour, made.id)
    tour.stage.close()


async def _change(tour: Tour, key: GroupId) -> None:
    changes = {
        'description=TriState.update("sunk")': GroupPatch(description=TriState.update("sunk")),
        "description=TriState.nullify()": GroupPatch(description=TriState.nullify()),
        "population=OptionalState.expression(lambda: GroupRow.population + 1)": GroupPatch(
            population=OptionalState.expression(lambda: GroupRow.population + 1)
        ),
    }
    for change, patch in changes.items():
        call = f"groups.update({key}, GroupPatch({change}), scope=GERMANY)"
        await tour.stage.act(call, tour.groups.update(key, patch, scope=GERMANY), brief, sql=laid_out)
    call = f"groups.update({key}, GroupPatch(), scope=GERMANY)"
    unchanged = tour.groups.update(key, GroupPatch(), scope=GERMANY)
    await tour.stage.act(call, unchanged, lambda group: _noted(group, "nothing set: no UPDATE was sent"))


async def _end(tour: Tour, key: GroupId) -> None:
    stage, groups = tour.stage, tour.groups
    call = f"groups.delete({key}, scope=GERMANY)"
    await stage.act(call, groups.delete(key, scope=GERMANY), lambda group: _noted(group, "marked as deleted"))
    await stage.act(f"groups.find({key}, GERMANY)", groups.find(key, GERMANY))
    call = f"groups.restore({key}, scope=GERMANY)"
    await stage.act(call, groups.restore(key, scope=GERMANY), lambda group: _noted(group, "is back"))
    call = f"groups.purge({key}, scope=GERMANY)"
    await stage.act(call, groups.purge(key, scope=GERMANY), lambda group: _noted(group, "is gone"), sql=laid_out)


def _noted(group: GroupData, note: str) -> str:
    return f"{brief(group)} [dim]{note}[/]"
