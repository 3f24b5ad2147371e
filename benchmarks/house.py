"""``python -m benchmarks.house [FOLDER]``: the figures of the source's own shape, read by its syntax alone."""

from __future__ import annotations

import argparse
import ast
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import StatisticsError, median, quantiles
from typing import TypeAlias

SOURCE = Path(__file__).parents[1] / "src" / "rowsmith"
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(path: Path, tree: ast.Module) -> set[int]:
    """Give the lines that hold code: no blank ones, no comments, no docstrings."""
    with path.open("rb") as file:
        skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        kept = [t for t in tokenize.tokenize(file.readline) if t.type not in (*skipped, tokenize.ENCODING)]
    lines = {line for token in kept if token.string for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def functions(tree: ast.AST) -> Iterator[Function]:
    """Give every function but the overloads, which repeat a signature."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and not any(ast.unparse(d) == "overload" for d in node.decorator_list):
            yield node


def arguments(function: Function) -> list[ast.arg]:
    """Give the parameters but ``self`` and ``cls``."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return [argument for argument in named if argument.arg not in ("self", "cls")]


def body_lines(function: Function) -> int:
    """Give the number of lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def hooks(trees: Iterable[ast.AST]) -> set[str]:
    """Give the names of methods that several classes have: what calls those often stands in another file."""
    classes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    found = Counter(name for each in classes for name in {f.name for f in each.body if isinstance(f, FUNCTIONS)})
    return {name for name, count in found.items() if count > 1}


def used_once(tree: ast.AST) -> list[Function]:
    """Give the private functions of a module that are mentioned once at most there: names come again in others."""
    mentions = Counter(
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name))
    )
    private = [each for each in functions(tree) if each.name.startswith("_") and not each.name.startswith("__")]
    return [each for each in private if mentions[each.name] <= 1]


def measure(folder: Path) -> dict[str, str]:
    """Give the figures of a folder's source.

    Raises:
        StatisticsError: it has fewer than two functions.
    """
    trees = {path: ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))}
    found = [function for tree in trees.values() for function in functions(tree)]
    once = [function for tree in trees.values() for function in used_once(tree)]
    several = hooks(trees.values())
    called = [function for function in once if function.name not in several]
    given = [argument for function in found for argument in arguments(function)]
    vague = [a for a in given if a.annotation is not None and "Any" in ast.unparse(a.annotation)]
    lines, parameters = [body_lines(f) for f in found], [len(arguments(f)) for f in found]
    return {
        "files": str(len(trees)),
        "lines of code": f"{sum(len(code_lines(path, tree)) for path, tree in trees.items()):,}",
        "functions": str(len(found)),
        "lines of a function, median / p90": f"{median(lines):g} / {quantiles(lines, n=10)[-1]:g}",
        "parameters, p90": f"{quantiles(parameters, n=10)[-1]:g}",
        "private functions used once": f"{len(once)}, {len(once) / len(found):.0%} of all",
        "without methods of several classes": f"{len(called)}, {len(called) / len(found):.0%} of all",
        "arguments with Any": f"{len(vague)}, {len(vague) / len(given):.0%}",
    }


def main(given: Sequence[str] | None = None) -> None:
    """Show the figures of the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="benchmarks.house", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=SOURCE, help="of Python; by default src/rowsmith")
    folder: Path = parser.parse_args(given).folder
    try:
        figures = measure(folder)
    except StatisticsError:
        parser.error(f"{folder} is no folder of Python files with functions to count: give one, such as src/rowsmith")
    for name, figure in figures.items():
        sys.stdout.write(f"{name:36} {figure}\n")


if __name__ == "__main__":
    main()
