"""The repository of fair shares: declarations, and what belongs to usage."""

from __future__ import annotations

from collections.abc import Sequence

from examples.fair_share import errors
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.standings import Decay, Standings, standings
from examples.fair_share.types import FairShareData, FairShareKey, Usage
from rowsmith import BatchQuerier, BatchUpserter, Repository


class FairShareRepository(Repository[FairShareRow, FairShareData, FairShareKey]):
    """Fair shares by composite key, and the standings that follow from them."""

    not_found = errors.FairShareNotFound
    violations = {
        "pk_fair_shares": errors.FairShareTaken,
        "fk_fair_shares_group_id": errors.FairShareGroupNotFound,
        "ck_fair_shares_weight_positive": errors.WeightNotPositive,
    }

    _recorder = BatchUpserter(UsageRow, into=Usage)
    _usage = BatchQuerier(UsageRow, into=Usage)

    async def record(self, usage: Sequence[Usage]) -> list[Usage]:
        """Note what was used on each day; what is noted for a day already is replaced."""
        async with self.db.begin_session() as db_sess:
            result = await self._recorder.upsert(db_sess, usage)
        return [entry.data for entry in result.succeeded]

    async def standings(self, decay: Decay) -> Standings:
        """Read shares and usage once, in one snapshot, and work out the rest in memory."""
        async with self.db.reading(snapshot=True) as db_sess:
            shares = [share async for share in self.db_source.batch_querier.stream(db_sess)]
            usage = [entry async for entry in self._usage.stream(db_sess)]
        return standings(shares, usage, decay)
