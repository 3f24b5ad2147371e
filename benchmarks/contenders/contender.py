"""What a contender can do: one method for each kind of work. What it leaves as it is here is a dash, with a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks.data import Change, Group, Server

Values = tuple[str, str, int, str | None]
"""What a new row is made of, in the order of ``GIVEN``."""

Search = Mapping[str, Mapping[str, Any]]
"""A client's filters: field, operator, operand."""

Rows = Sequence[Any]
"""Rows in whatever form the contender has them; the harness reads their fields by name."""

PageOf = tuple[Rows, Any]
"""A page, and what the next one is asked for with; None for no next page."""


class Contender:
    """Everybody starts from the same plain values, and makes of them what its library takes."""

    cannot: ClassVar[Mapping[str, str]] = {}
    """Why a method is not there."""

    is_single: ClassVar[bool] = False
    """It has one connection, which tasks cannot share."""

    def why_not(self, method: str) -> str | None:
        """Say why it cannot do a job; None where it can."""
        is_there = getattr(type(self), method) is not getattr(Contender, method)
        return None if is_there else self.cannot.get(method, "has no such operation")

    async def open(self, server: Server) -> None:
        """Get ready; connections are made when they are needed."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of all connections."""
        raise NotImplementedError

    async def get(self, id: int) -> Any:
        """Give one group by its primary key."""
        raise NotImplementedError

    async def get_scoped(self, id: int, domain: str) -> Any:
        """Give one group by its primary key, if it is of this domain."""
        raise NotImplementedError

    async def find(self, domain: str, name: str) -> Any:
        """Give the group of this name in its domain, which is a unique key."""
        raise NotImplementedError

    async def page(self, domain: str, after: Any) -> PageOf:
        """Give a domain's next groups in the order of their ids, and whether there are more."""
        raise NotImplementedError

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        """Give those of them that a client searches for."""
        raise NotImplementedError

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        """Give the same by an offset."""
        raise NotImplementedError

    async def count(self, domain: str, search: Search) -> int:
        """Count the groups that a client searches for, exactly."""
        raise NotImplementedError

    async def create(self, values: Values) -> Any:
        """Insert a group, and give it with its id and time."""
        raise NotImplementedError

    async def update(self, change: Change) -> Any:
        """Change two columns of a group, and give it."""
        raise NotImplementedError

    async def upsert(self, values: Values) -> Any:
        """Insert a group, or change the one of this name in its domain, and give it."""
        raise NotImplementedError

    async def delete(self, id: int) -> Any:
        """Mark a group as deleted, unless it is, and give it."""
        raise NotImplementedError

    async def purge(self, id: int) -> Any:
        """Remove a group, and give it as it was."""
        raise NotImplementedError

    async def batch_get(self, ids: Sequence[int]) -> Rows:
        """Give groups in the order of their ids."""
        raise NotImplementedError

    async def batch_create(self, rows: Sequence[Values]) -> Rows:
        """Insert rows into ``bench_numbered``, all or none, and give them with their ids."""
        raise NotImplementedError

    async def batch_create_known(self, rows: Sequence[tuple[Any, ...]]) -> Rows:
        """Insert rows of which everything is known into ``bench_plain``, and give them."""
        raise NotImplementedError

    async def load(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert them and give nothing."""
        raise NotImplementedError

    async def batch_update(self, ids: Sequence[int], weight: int) -> Rows:
        """Set one column of many rows of ``bench_numbered`` to the same value, and give them."""
        raise NotImplementedError

    async def batch_update_each(self, changes: Sequence[Change]) -> Rows:
        """Change two columns of many rows of ``bench_numbered``, each to values of its own, and give them."""
        raise NotImplementedError

    async def batch_upsert(self, rows: Sequence[Values]) -> Rows:
        """Insert groups or change those that are there, and give them."""
        raise NotImplementedError

    async def batch_delete(self, ids: Sequence[int]) -> Rows:
        """Mark rows of ``bench_numbered`` as deleted, and give them."""
        raise NotImplementedError

    async def batch_purge(self, ids: Sequence[int]) -> Rows:
        """Remove rows of ``bench_numbered``, and give them as they were."""
        raise NotImplementedError

    async def place(self, event: Group, before: int) -> Any:
        """Give what :meth:`events` is asked with for what comes after this event, which has so many before it."""
        return event.weight, event.id

    async def events(self, after: Any) -> PageOf:
        """Give the next events in the order of weight and id."""
        raise NotImplementedError

    def stream(self, last: int) -> AsyncIterator[Any]:
        """Give all events up to this id, in the order of ids, in flat memory."""
        raise NotImplementedError
