"""Operation objects: typed, generic, made once for a repository, usable with any AsyncSession."""

from rowsmith.operations.batch_querier import BatchQuerier
from rowsmith.operations.creator import Creator
from rowsmith.operations.entity import Entity, Operation, Rules, make_entity
from rowsmith.operations.purger import Purger
from rowsmith.operations.querier import Querier
from rowsmith.operations.soft_delete import SoftDelete
from rowsmith.operations.updater import SoftDeleter, Updater

__all__ = [
    "BatchQuerier",
    "Creator",
    "Entity",
    "Operation",
    "Purger",
    "Querier",
    "Rules",
    "SoftDelete",
    "SoftDeleter",
    "Updater",
    "make_entity",
]
