"""The repository of fair shares: every verb of a repository, and what belongs to usage."""

from __future__ import annotations

from collections.abc import Sequence

from examples.fair_share.db_source import FairShareDBSource
from examples.fair_share.rows import FairShareRow
from examples.fair_share.standings import Decay, Standings, standings
from examples.fair_share.types import FairShareData, FairShareKey, Usage
from rowsmith import Database, Repository


class FairShareRepository(Repository[FairShareRow, FairShareData, FairShareKey]):
    """Fair shares by composite key, and the standings that follow from them."""

    def __init__(self, db: Database) -> None:
        self._fair_shares = FairShareDBSource(db)
        super().__init__(db_source=self._fair_shares)

    async def record(self, usage: Sequence[Usage]) -> list[Usage]:
        """Note what was used on each day; what is noted for a day already is replaced."""
        return await self._fair_shares.record(usage)

    async def standings(self, decay: Decay) -> Standings:
        """Read shares and usage once, in one snapshot, and work out the rest in memory."""
        shares, usage = await self._fair_shares.shares_and_usage()
        return standings(shares, usage, decay)
