"""Operation objects: typed, generic, made once for a repository, usable with any AsyncSession."""

from __future__ import annotations

from rowsmith.operations.call import Call, Operation, verb
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.deletes.many import BatchPurger
from rowsmith.operations.deletes.one import Purger
from rowsmith.operations.deletes.where import WherePurger
from rowsmith.operations.entity import Entity, Rules, make_entity
from rowsmith.operations.inserts.many import BatchCreator
from rowsmith.operations.inserts.one import Creator
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.reads.aggregate import Aggregator
from rowsmith.operations.reads.many import BatchQuerier
from rowsmith.operations.reads.one import Querier
from rowsmith.operations.reads.stream import Stream
from rowsmith.operations.results import BatchResult, Failure, PartialResult, PurgeReport, Success, Upserted
from rowsmith.operations.soft_delete import SoftDelete
from rowsmith.operations.updates.many import BatchUpdater
from rowsmith.operations.updates.one import Updater
from rowsmith.operations.updates.soft_delete import BatchSoftDeleter, SoftDeleter
from rowsmith.operations.upserts.many import BatchUpserter
from rowsmith.operations.upserts.one import Upserter

__all__ = [
    "Aggregator",
    "BatchCreator",
    "BatchPurger",
    "BatchQuerier",
    "BatchResult",
    "BatchSoftDeleter",
    "BatchUpdater",
    "BatchUpserter",
    "Call",
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
    "verb",
]
