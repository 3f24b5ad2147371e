"""The table of things once more, in plain Python: what random batches are held against."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from tenants.things import ThingData


@dataclass(frozen=True)
class Thing:
    """A row as the model has it."""

    id: int
    tenant: str
    name: str
    uses: int
    note: str | None
    version: int = 1
    is_deleted: bool = False

    @property
    def data(self) -> ThingData:
        """What a repository gives of it."""
        return ThingData(self.id, self.tenant, self.name, self.uses, self.note, self.version)


class Model:
    """The table as a dictionary; a refused batch leaves it as it was."""

    def __init__(self) -> None:
        self.things: dict[int, Thing] = {}

    def live(self, tenant: str, ids: Iterable[int] | None = None) -> list[Thing]:
        """The live things of a tenant, in the order of the ids."""
        wanted = self.things if ids is None else ids
        found = (self.things.get(id_) for id_ in wanted)
        return [thing for thing in found if thing and thing.tenant == tenant and not thing.is_deleted]

    def deleted(self, tenant: str, ids: Iterable[int]) -> list[Thing]:
        """The deleted things of a tenant, in the order of the ids."""
        found = (self.things.get(id_) for id_ in ids)
        return [thing for thing in found if thing and thing.tenant == tenant and thing.is_deleted]

    def put(self, things: Collection[Thing]) -> bool:
        """Write things, unless a live name would stand twice in a tenant; says whether they were."""
        after = self.things | {thing.id: thing for thing in things}
        names = [(thing.tenant, thing.name) for thing in after.values() if not thing.is_deleted]
        if len(names) > len(set(names)):
            return False
        self.things = after
        return True


def changed(thing: Thing, **values: object) -> Thing:
    """Give the thing after an update: with these values, in its next version."""
    return replace(thing, version=thing.version + 1, **values)  # type: ignore[arg-type]
