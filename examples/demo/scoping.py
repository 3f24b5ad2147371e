"""Chapter: who may see and touch what."""

from __future__ import annotations

from examples.demo.sql import laid_out
from examples.demo.tour import FR, FRANCE, GERMANY, JAPAN, Tour, names
from examples.demo.world import user_of
from examples.domain.types import DomainName
from examples.group.errors import GroupDomainNotFound, GroupNotFound
from examples.group.search import GroupFilter
from examples.group.types import DomainScope, GroupCreate, GroupId, GroupPatch, UserScope
from rowsmith import AnyOf, OptionalState, ScopeMismatch, ScopeRequired
from rowsmith.filters import StringFilter

NOBODY = GroupId(2_000_000_000)


async def scoping(tour: Tour) -> None:
    """What each scope shows, and what it keeps others from."""
    tour.stage.open(
        "Scopes",
        "A scope's conditions stand in the same statement as the key, so a stranger's row and no row at all are\n"
        "one and the same answer. A scope is stamped onto what is created, and no call goes without one.",
    )
    paris = await _find(tour, "Paris")
    await _allowed(tour, await _find(tour, "Lyon"))
    await _refused(tour, paris)
    tour.stage.close()


async def _find(tour: Tour, name: str) -> GroupId:
    found = await tour.groups.search(FRANCE, GroupFilter(name=StringFilter(equals=name)))
    return found.items[0].id


async def _allowed(tour: Tour, lyon: GroupId) -> None:
    stage, groups, ada = tour.stage, tour.groups, user_of(FR, "Lyon", 0)
    await stage.act("groups.count(FRANCE)", groups.count(FRANCE))
    await stage.act(f"groups.add_member({lyon}, ada, scope=FRANCE)", groups.add_member(lyon, ada, scope=FRANCE))
    await stage.act("groups.search(UserScope(ada))", groups.search(UserScope(ada)), names)
    both = AnyOf(JAPAN, UserScope(ada))
    await stage.act("groups.count(AnyOf(JAPAN, UserScope(ada)))", groups.count(both), sql=laid_out)


async def _refused(tour: Tour, paris: GroupId) -> None:
    groups, refuse = tour.groups, tour.stage.refuse
    patch = GroupPatch(name=OptionalState.update("Neu-Paris"))
    await refuse(f"groups.get({paris}, GERMANY)  # Paris", groups.get(paris, GERMANY), GroupNotFound)
    await refuse(f"groups.get({NOBODY}, GERMANY)  # nobody", groups.get(NOBODY, GERMANY), GroupNotFound)
    call = f"groups.update({paris}, GroupPatch(...), scope=GERMANY)"
    await refuse(call, groups.update(paris, patch, scope=GERMANY), GroupNotFound)
    await refuse(f"groups.purge({paris}, scope=GERMANY)", groups.purge(paris, scope=GERMANY), GroupNotFound)
    call = 'groups.create(GroupCreate("FR", "Neu-Lyon"), scope=GERMANY)'
    await refuse(call, groups.create(GroupCreate(FR, "Neu-Lyon"), scope=GERMANY), ScopeMismatch)
    nowhere = DomainScope(DomainName("XX"))
    await refuse('groups.count(DomainScope("XX"))', groups.count(nowhere), GroupDomainNotFound)
    await refuse("groups.search()", groups.search(), ScopeRequired)
