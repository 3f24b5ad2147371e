"""What pages show: the code between their fences, what runs it, and how long it is."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


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


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def lines_of_code(source: str) -> int:
    """Count the lines that hold code: none that is blank, a comment, a docstring or an import."""
    unseen: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if is_text(node) or isinstance(node, ast.Import | ast.ImportFrom):
            unseen |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    seen = {line for token in tokens if token.type not in LAYOUT for line in range(token.start[0], token.end[0] + 1)}
    return len(seen - unseen)
