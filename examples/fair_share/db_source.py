"""What fair shares ask of the database."""

from __future__ import annotations

from examples.fair_share import errors
from examples.fair_share.policies import policies
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.types import FairShareData, FairShareKey, Usage
from rowsmith import BatchQuerier, Database, DBSource, SearchScope, SoftDelete, related
from rowsmith.resilience import LayerType

resilience = policies(LayerType.DB_SOURCE, "fair_share")


class FairShareDBSource(DBSource[FairShareRow, FairShareData, FairShareKey]):
    """The operations on fair shares, and a read of its own, under the same policies."""

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
                "fk_fair_shares_domain_name_group_id": errors.FairShareGroupNotFound,
                "ck_fair_shares_weight_positive": errors.WeightNotPositive,
            },
            soft_delete=SoftDelete(FairShareRow.deleted_at),
            scope_required=True,
        )

    @resilience.apply()
    async def shares_and_usage(self, scope: SearchScope) -> tuple[list[FairShareData], list[Usage]]:
        """Read the shares in a scope and their usage, in one snapshot."""
        theirs = [related(UsageRow.share, *scope.to_conditions())]
        async with self.db.begin_readonly_session(snapshot=True) as db_sess:
            shares = [share async for share in self.batch_querier.stream(db_sess, scope)]
            return shares, [entry async for entry in self._usage.stream(db_sess, filters=theirs)]
