"""Operation objects: typed, generic, made once for a repository, usable with any AsyncSession."""

from __future__ import annotations

from rowsmith.operations.aggregator import Aggregator
from rowsmith.operations.batch_creator import BatchCreator
from rowsmith.operations.batch_purger import BatchPurger
from rowsmith.operations.batch_querier import BatchQuerier
from rowsmith.operations.batch_soft_deleter import BatchSoftDeleter
from rowsmith.operations.batch_updater import BatchUpdater
from rowsmith.operations.batch_upserter import BatchUpserter
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.creator import Creator
from rowsmith.operations.entity import Entity, Operation, Rules, make_entity
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.purge_where import WherePurger
from rowsmith.operations.purger import Purger
from rowsmith.operations.querier import Querier
from rowsmith.operations.results import BatchResult, Failure, PartialResult, PurgeReport, Success, Upserted
from rowsmith.operations.soft_delete import SoftDelete
from rowsmith.operations.stream import Stream
from rowsmith.operations.updater import SoftDeleter, Updater
from rowsmith.operations.upserter import Upserter

__all__ = [
    "Aggregator",
    "BatchCreator",
    "BatchPurger",
    "BatchQuerier",
    "BatchResult",
    "BatchSoftDeleter",
    "BatchUpdater",
    "BatchUpserter",
    "Conflict",
    "Creator",
    "Entity",
    "Failure",
    "NextValue",
    "Operation",
    "PartialResult",
    "PurgeReport",
    "Purger",
    "Querier",
    "Rules",
    "SoftDelete",
    "SoftDeleter",
    "Stream",
    "Success",
    "Updater",
    "Upserted",
    "Upserter",
    "WherePurger",
    "make_entity",
]
