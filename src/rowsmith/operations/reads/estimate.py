"""What PostgreSQL's planner believes: an estimate of rows that costs no scan."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.ext.compiler import compiles

from rowsmith.mapping.layout import AnySelect
from rowsmith.operations.call import Call


class Explain(Executable, ClauseElement):
    """``EXPLAIN (FORMAT JSON)`` of a statement.

    Source: PostgreSQL's manual, "Using EXPLAIN".
    """

    inherit_cache = False

    def __init__(self, statement: AnySelect) -> None:
        self.statement = statement


def _compile(element: Explain, compiler: Any, **kw: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **kw)}"


compiles(Explain, "postgresql")(_compile)


async def estimated_rows(call: Call[object, object], statement: AnySelect) -> int:
    """Give the planner's estimate of how many rows a statement gives; as good as the last ANALYZE."""
    told: Any = (await call.execute(Explain(statement))).scalar_one()
    (explained,) = json.loads(told) if isinstance(told, str) else told
    return int(explained["Plan"]["Plan Rows"])
