"""What maintainers read is true: the files, tests and sessions that it names are there, and its Python can be read."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
TESTS = {
    name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
}


def named(page: Path, pattern: str) -> list[Any]:
    """What the page has between backticks, as the pattern says."""
    return re.findall(rf"`{pattern}`", page.read_text())


def absent(text: str, folder: Path) -> list[str]:
    """The files that a page refers to and that are not there; links go from its own folder."""
    paths = re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/.-]+)`", text)
    links = re.findall(r"\]\(((?!http)[\w/.-]+)\)", text)
    return [path for path in paths if not (ROOT / path).exists()] + [to for to in links if not (folder / to).exists()]


def test_there_is_a_page_for_each_question() -> None:
    """The pages of the folder are those of its table."""
    folder = ROOT / "docs" / "contributing"
    linked = re.findall(r"^\| \[[^\]]*\]\(([^)]*)\)", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted([*linked, "README.md"]) == sorted(path.name for path in folder.iterdir())


@EACH
def test_every_file_that_is_named_is_there(page: Path) -> None:
    """A module that moves takes its name in the pages with it."""
    assert absent(page.read_text(), page.parent) == []


def test_a_file_that_is_not_there_is_found() -> None:
    """The test above is able to fail, for a path and for a link."""
    assert absent("`src/rowsmith/nothing.py` and [a page](nothing.md)", ROOT) == [
        "src/rowsmith/nothing.py",
        "nothing.md",
    ]


@EACH
def test_every_test_that_is_named_is_there(page: Path) -> None:
    """What is said to fail is a test."""
    assert set(named(page, r"(test_\w+)")) <= TESTS


@EACH
def test_every_session_that_is_named_is_there(page: Path) -> None:
    """What is said to run is a session of nox."""
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    assert set(re.findall(r"nox -s (\w+)", page.read_text())) <= sessions


@EACH
def test_its_python_can_be_read(page: Path) -> None:
    """Each example is Python: statements, or an item of a dictionary."""
    for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        ast.parse(f"{{{code}}}" if code.startswith('"') else code)
