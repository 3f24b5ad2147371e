"""What PostgreSQL's planner believes: an estimate of rows that costs no scan."""

from __future__ import annotations

import json
from typing import Any, cast

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.ext.compiler import compiles

from rowsmith.mapping.layout import AnySelect
from rowsmith.operations.call import Call


class Explain(Executable, ClauseElement):
    """``EXPLAIN (FORMAT JSON)`` of a statement; with ``analyze`` it is run, and what it took is told.

    Source: PostgreSQL's manual, "Using EXPLAIN".
    """

    inherit_cache = False

    def __init__(self, statement: AnySelect, *, analyze: bool = False) -> None:
        self.statement = statement
        self.analyze = analyze


def _compile(element: Explain, compiler: Any, **kw: Any) -> str:
    options = "ANALYZE, FORMAT JSON" if element.analyze else "FORMAT JSON"
    return f"EXPLAIN ({options}) {compiler.process(element.statement, **kw)}"


compiles(Explain, "postgresql")(_compile)


async def explain(call: Call[object, object], statement: AnySelect, *, analyze: bool = False) -> Any:
    """Give the plan of a statement, as PostgreSQL's JSON parsed: ``{"Plan": {...}, ...}``."""
    plan: Any = (await call.execute(Explain(statement, analyze=analyze))).scalar_one()
    return cast("list[Any]", json.loads(plan) if isinstance(plan, str) else plan)[0]


async def estimated_rows(call: Call[object, object], statement: AnySelect) -> int:
    """Give the planner's estimate of how many rows a statement gives; as good as the last ANALYZE."""
    return int((await explain(call, statement))["Plan"]["Plan Rows"])
