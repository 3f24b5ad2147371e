"""What the web application takes and gives beyond the group's own types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Path, Request

from examples.base import JsonObject
from examples.domain.types import DomainName
from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind, GroupRow
from examples.group.types import DomainScope, GroupId
from rowsmith import Spec


@dataclass(frozen=True)
class NewGroup(Spec[GroupRow], filled={"domain_name"}):
    """A group to be made; its domain comes from the caller's scope and cannot be chosen."""

    name: str
    kind: GroupKind = GroupKind.REGULAR
    description: str | None = None
    population: int = 0
    tags: list[str] = field(default_factory=list[str])
    place: JsonObject = field(default_factory=dict[str, object])


def _scope(
    x_domain: Annotated[str, Header(description="The caller's domain; in earnest, from a token.")],
) -> DomainScope:
    return DomainScope(DomainName(x_domain))


def _groups(request: Request) -> GroupRepository:
    groups = request.app.state.groups
    assert isinstance(groups, GroupRepository)
    return groups


Id = Annotated[GroupId, Path(ge=1, le=2**31 - 1)]
Scope = Annotated[DomainScope, Depends(_scope)]
Groups = Annotated[GroupRepository, Depends(_groups)]
