"""What the domain knows: a team, and what it asks of whoever keeps teams. Nothing here is of a database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from examples.domain.types import DomainName
from examples.group.types import GroupId


@dataclass
class Team:
    """An object that changes; what it is in the database it gets when it is kept."""

    domain: DomainName
    title: str
    id: GroupId | None = None

    def rename(self, title: str) -> None:
        self.title = title


class Teams(ABC):
    """An interface with words of its own."""

    @abstractmethod
    async def add(self, team: Team) -> Team: ...

    @abstractmethod
    async def save(self, team: Team) -> Team: ...

    @abstractmethod
    async def titled(self, title: str) -> Team | None: ...


class ITeamRepository(ABC):
    """One with the words of the verbs, which take something else here."""

    @abstractmethod
    async def create(self, team: Team) -> Team: ...

    @abstractmethod
    async def update(self, team: Team) -> Team: ...

    @abstractmethod
    async def delete(self, id: GroupId) -> bool: ...
