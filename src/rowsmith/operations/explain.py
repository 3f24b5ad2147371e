"""What PostgreSQL's planner believes: an estimate of rows that costs no scan."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import Executable, ClauseElement

from rowsmith.execution import Origin, execute


class Explain(Executable, ClauseElement):
    """``EXPLAIN (FORMAT JSON)`` of a statement."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(Explain, "postgresql")
def _compile(element: Explain, compiler: Any, **kw: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **kw)}"


async def estimated_rows(db_sess: AsyncSession, statement: Select[Any], origin: Origin) -> int:
    """Give the planner's estimate of how many rows a statement gives.

    Source: PostgreSQL's manual, "Using EXPLAIN"; as good as the last ANALYZE.
    """
    plan = (await execute(db_sess, Explain(statement), origin)).scalar_one()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])
