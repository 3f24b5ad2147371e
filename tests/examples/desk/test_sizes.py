"""How small the thirteen repositories are, lines of code counted as README does."""

from __future__ import annotations

import ast
import re

import pytest

from pages import ROOT, lines_of_code

FLAT = " ".join((ROOT / "README.md").read_text().split())
MODULES = {path.stem: path.read_text() for path in (ROOT / "examples/desk").glob("[a-z]*.py") if path.stem != "base"}


def repository_of(source: str) -> ast.ClassDef:
    (found,) = [each for each in ast.parse(source).body if isinstance(each, ast.ClassDef) and "Repository" in each.name]
    return found


def special_methods(source: str) -> list[ast.AsyncFunctionDef]:
    return [each for each in repository_of(source).body if isinstance(each, ast.AsyncFunctionDef)]


def test_there_are_thirteen() -> None:
    """Each has a method of its own, or several."""
    assert len(MODULES) == 13
    assert min(len(special_methods(source)) for source in MODULES.values()) == 1


@pytest.mark.parametrize("module", MODULES)
def test_each_special_method_is_a_line_or_two(module: str) -> None:
    """Its docstring not counted."""
    for method in special_methods(MODULES[module]):
        _, *body = method.body
        assert sum((each.end_lineno or 0) - each.lineno + 1 for each in body) <= 2, method.name


def test_they_are_as_small_as_readme_says() -> None:
    """All that one has, from the table to the repository, and the class of the repository alone."""
    every, alone = re.search(r"from (\d+ to \d+) lines each, of which the repository is (\d+ to \d+)", FLAT).groups()
    whole = [lines_of_code(source) for source in MODULES.values()]
    classes = [lines_of_code(ast.unparse(repository_of(source))) for source in MODULES.values()]
    assert f"{min(whole)} to {max(whole)}" == every
    assert f"{min(classes)} to {max(classes)}" == alone
