"""What metrics and spans call the parts of an application; plain strings may stand in for all of it."""

from __future__ import annotations

import re
from enum import StrEnum


class DomainType(StrEnum):
    """What kind of thing is called: the label ``domain``."""

    REPOSITORY = "repository"
    CLIENT = "client"
    VALKEY = "valkey"
    REDIS = "redis"
    SERVICE = "service"


class LayerType(StrEnum):
    """Which layer of it: the label ``layer``, with the entity before it where there are several."""

    REPOSITORY = "repository"
    DB_SOURCE = "db_source"
    CACHE_SOURCE = "cache_source"
    STATEFUL_SOURCE = "stateful_source"
    CLIENT = "client"
    SERVICE = "service"

    def of(self, entity: str) -> str:
        """Give the layer's label for an entity: ``LayerType.DB_SOURCE.of("group")`` is ``"group_db_source"``."""
        return f"{entity}_{self}"


def cache_beside(layer: str) -> str:
    """Give the label of the cache in front of a layer: ``"group_cache_source"`` of ``"group_repository"``."""
    entity = re.sub(rf"(^|_)({LayerType.REPOSITORY}|{LayerType.DB_SOURCE})$", "", layer)
    return LayerType.CACHE_SOURCE.of(entity) if entity else LayerType.CACHE_SOURCE
