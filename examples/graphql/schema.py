"""The schema: one group, and the search for many as a Relay connection."""

from __future__ import annotations

import strawberry
from strawberry.schema.config import StrawberryConfig

from examples.graphql.types import Group, Info
from examples.group.search import GroupSearch
from examples.group.types import GroupId
from rowsmith import Page
from rowsmith.strawberry import SCALARS, ErrorCodes, search_field


@strawberry.type
class Query:
    @strawberry.field
    async def group(self, info: Info, id: int) -> Group:
        """Give one group."""
        caller = info.context
        return Group.of(await caller.groups.get(GroupId(id), caller.scope))

    @search_field
    async def groups(self, info: Info, request: GroupSearch) -> Page[Group]:
        """Find groups: filter, order, one way of paging, and a count if it is wanted."""
        caller = info.context
        return (await caller.groups.search(caller.scope, request.to_query())).map(Group.of)


schema = strawberry.Schema(Query, config=StrawberryConfig(scalar_map={**SCALARS}), extensions=[ErrorCodes])
