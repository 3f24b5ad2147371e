"""What pages show: the code between their fences, and what runs it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Give the language and the code of each block of a page, in its order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def python_of(page: str) -> list[str]:
    """Give the Python of a page, in its order."""
    return [code for language, code in blocks_of(page) if language == "python"]


async def run(code: str, module: ModuleType) -> None:
    """Run a block of a page in a module, ``await`` at its top level included."""
    compiled = compile(code, module.__name__, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(compiled, vars(module))  # noqa: S307 - our own pages
    if inspect.iscoroutine(result):
        await result
