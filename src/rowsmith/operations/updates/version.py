"""What an update does to a row's version."""

from __future__ import annotations

from typing import Any

from sqlalchemy import types as sqltypes

from rowsmith.mapping import RowInfo


def next_version(info: RowInfo[object]) -> dict[str, Any]:
    """Give what an update writes into the version column: one more, or what the mapper's generator makes.

    SQLAlchemy counts versions up only when it flushes objects, not in statements like these.
    """
    generate = info.mapper.version_id_generator
    if info.version is None or not callable(generate):
        return {}
    if isinstance(info.columns[info.version].type, sqltypes.Integer):
        return {info.version: info.attribute(info.version) + 1}
    return {info.version: generate(None)}
