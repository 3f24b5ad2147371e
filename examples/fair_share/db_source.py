"""What fair shares ask of the database: every call is measured, and tried again where nothing of it was kept."""

from __future__ import annotations

from collections.abc import Sequence

from examples.fair_share import errors
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.types import FairShareData, FairShareKey, Usage
from rowsmith import BatchQuerier, BatchUpserter, Database, DBSource
from rowsmith.resilience import BackoffStrategy, MetricArgs, MetricPolicy, Resilience, RetryArgs, RetryPolicy

resilience = Resilience(
    policies=[
        MetricPolicy(MetricArgs(domain="repository", layer="fair_share_repository")),
        RetryPolicy(
            RetryArgs(
                max_retries=10,
                retry_delay=0.1,
                backoff_strategy=BackoffStrategy.FIXED,
                non_retryable_exceptions=(errors.FairShareError,),
            )
        ),
    ]
)


class FairShareDBSource(DBSource[FairShareRow, FairShareData, FairShareKey]):
    """The operations on fair shares, and two of its own on their usage, under the same policies."""

    _recorder = BatchUpserter(UsageRow, into=Usage)
    _usage = BatchQuerier(UsageRow, into=Usage)

    def __init__(self, db: Database) -> None:
        super().__init__(
            db,
            FairShareRow,
            into=FairShareData,
            resilience=resilience,
            not_found=errors.FairShareNotFound,
            violations={
                "pk_fair_shares": errors.FairShareTaken,
                "fk_fair_shares_group_id": errors.FairShareGroupNotFound,
                "ck_fair_shares_weight_positive": errors.WeightNotPositive,
            },
        )

    @resilience.apply()
    async def record(self, usage: Sequence[Usage]) -> list[Usage]:
        """Note what was used on each day; what is noted for a day already is replaced."""
        async with self.db.begin_session() as db_sess:
            result = await self._recorder.upsert(db_sess, usage)
        return [entry.data for entry in result.succeeded]

    @resilience.apply()
    async def shares_and_usage(self) -> tuple[list[FairShareData], list[Usage]]:
        """Read all shares and all usage, in one snapshot."""
        async with self.db.reading(snapshot=True, is_open_to_all=False) as db_sess:
            shares = [share async for share in self.batch_querier.stream(db_sess)]
            return shares, [entry async for entry in self._usage.stream(db_sess)]
