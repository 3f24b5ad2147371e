"""The stage: runs each call, measures it, and prints a chapter as a table with its SQL below."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias, TypeVar, cast

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from examples.demo.sql import SqlLog, highlighted, laid_out
from rowsmith import BatchResult, Page, PartialResult, RepositoryError

T = TypeVar("T")
SqlStyle: TypeAlias = Callable[[str], str]
"""How a statement is laid out for reading."""


@dataclass
class Totals:
    """What the whole tour did."""

    calls: int = 0
    refused: int = 0


@dataclass
class Stage:
    """Where calls are performed: one table a chapter, its interesting statements below it."""

    console: Console
    log: SqlLog
    totals: Totals = field(default_factory=Totals)
    _table: Table = field(default_factory=Table)
    _below: list[RenderableType] = field(default_factory=list[RenderableType])
    _shown: set[str] = field(default_factory=set[str])

    def open(self, title: str, what: str) -> None:
        """Begin a chapter."""
        self.console.print()
        self.console.print(Rule(f"[bold]{title}[/]", align="left", style="cyan"))
        self.console.print(Padding(f"[dim]{what}[/]", (0, 0, 1, 0)))
        self._table, self._below, self._shown = _table(), [], set()

    def close(self) -> None:
        """Print the chapter."""
        self.console.print(self._table)
        for item in self._below:
            self.console.print(Padding(item, (1, 0, 0, 2)))

    async def act(
        self, call: str, work: Awaitable[T], tell: Callable[[T], str] | None = None, *, sql: SqlStyle | None = None
    ) -> T:
        """Perform a call and note what came of it; ``tell`` says it in words, ``sql`` shows its statements below."""
        mark, start = len(self.log.sent), time.perf_counter()
        result = await work
        spent = time.perf_counter() - start
        statements = self.log.since(mark)
        rows = rows_in(result)
        self.totals.calls += 1
        self._row(call, tell(result) if tell else told(result), rows, statements, spent)
        if sql:
            self._show(call, statements, sql)
        return result

    async def refuse(self, call: str, work: Awaitable[Any], expected: type[RepositoryError]) -> RepositoryError:
        """Perform a call that must fail, and note how."""
        mark, start = len(self.log.sent), time.perf_counter()
        try:
            await work
        except expected as exc:
            spent = time.perf_counter() - start
            self.totals.calls += 1
            self.totals.refused += 1
            text = f"[red]{type(exc).__name__}[/] [dim]{escape(exc.error_code)}[/]\n{escape(str(exc))}"
            self._row(call, text, None, self.log.since(mark), spent)
            return exc
        raise AssertionError(f"{call} was to be refused")

    def _show(self, call: str, statements: Sequence[str], style: SqlStyle) -> None:
        """Put statements below the table; in full only the first time that each is met."""
        full = style is laid_out
        fresh = [statement for statement in statements if not (full and statement in self._shown)]
        self._shown.update(statements)
        title = Text.assemble(("SQL of ", "dim"), (call.partition("\n")[0], "cyan"))
        sql = ("\n\n" if full else "\n").join(_collapsed(map(style, fresh)))
        if fresh:
            self.below(Group(title, Padding(highlighted(sql), (0, 0, 0, 2))))

    def below(self, item: RenderableType) -> None:
        """Put anything else below the table."""
        self._below.append(item)

    def _row(self, call: str, text: str, rows: int | None, statements: Sequence[str], spent: float) -> None:
        code = Syntax(call, "python", theme="ansi_dark", background_color="default", word_wrap=True)
        count = "" if rows is None else f"{rows:,}"
        self._table.add_row(code, text, count, str(len(statements)), f"{spent * 1000:,.1f}")


def rows_in(result: Any) -> int | None:
    """Give how many rows a result stands for; None where it is no rows at all."""
    match result:
        case list() | tuple() | Page():
            return len(cast("Sequence[Any]", result))
        case BatchResult() | PartialResult():
            return len(cast("BatchResult[Any]", result).succeeded)
        case bool() | int() | None:
            return None
        case _:
            return getattr(result, "rows", 1)


def told(result: Any) -> str:
    """Say a plain result in words."""
    match result:
        case None:
            return "[yellow]None[/]"
        case bool():
            return f"[green]{result}[/]"
        case int():
            return f"[green]{result:,}[/]"
        case _:
            return escape(str(result))


def _collapsed(lines: Iterable[str]) -> Iterator[str]:
    """Say how often, instead of saying it again and again."""
    for line, repeated in groupby(lines):
        times = sum(1 for _ in repeated)
        yield line if times == 1 else f"{line}  -- {times} times"


def _table() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("call", ratio=11)
    table.add_column("what came of it", ratio=9)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("SQL", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    return table
