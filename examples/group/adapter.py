"""From what a user asks for to a ``Query``: the one place that knows both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from examples.group.options import GroupConditions, GroupOrders
from examples.group.rows import GroupKind
from examples.group.types import UserId
from rowsmith import Condition, Count, OffsetPagination, Order, Query

Sorting = Literal["name", "largest", "newest"]


class GroupsWanted(BaseModel):
    """The form on a page of groups: a few fields, numbered pages. Where clients compose filters, see ``search.py``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, Field(max_length=200)] = ""
    kind: GroupKind | None = None
    at_least: Annotated[int, Field(ge=0)] = 0
    member: UserId | None = None
    sorted_by: Sorting = "name"
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Field(ge=1, le=100)] = 20


class GroupAdapter:
    """Makes a query of a form; pure, so that it is tested without a database."""

    _SORTINGS: Final[Mapping[Sorting, Callable[[], Order]]] = {
        "name": GroupOrders.name,
        "largest": GroupOrders.population,
        "newest": GroupOrders.created_at,
    }

    @classmethod
    def to_query(cls, wanted: GroupsWanted) -> Query:
        """Give what the repository is asked; a field left empty limits nothing."""
        return Query(
            conditions=tuple(cls._conditions(wanted)),
            orders=(cls._SORTINGS[wanted.sorted_by](),),
            pagination=OffsetPagination.page(wanted.page, wanted.size),
            count=Count.EXACT,
        )

    @staticmethod
    def _conditions(wanted: GroupsWanted) -> Iterator[Condition]:
        if wanted.text:
            yield GroupConditions.name_contains(wanted.text, case_insensitive=True)
        if wanted.kind is not None:
            yield GroupConditions.of_kind(wanted.kind)
        if wanted.at_least:
            yield GroupConditions.population_from(wanted.at_least)
        if wanted.member is not None:
            yield GroupConditions.with_member(wanted.member)
