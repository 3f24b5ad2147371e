"""The tests by operation are a layout to copy: they need nothing that rowsmith's own tests keep to themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OWN = {path.stem for path in TESTS.iterdir()}
FOLDERS = [TESTS / "examples" / name for name in ("domain", "group", "fair_share")]
COPIED = [TESTS / "examples" / "conftest.py", *sorted(file for folder in FOLDERS for file in folder.glob("*.py"))]


def imported(file: Path) -> set[str]:
    """Give the names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module)):
                names.add(module)
    return names


@pytest.mark.parametrize("file", COPIED, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_it_is_written_with_what_everybody_has(file: Path) -> None:
    """Of the tests' own modules it imports none, and of rowsmith only what is public."""
    modules = imported(file)
    assert [name for name in modules if name.split(".")[0] in OWN - {"examples"}] == []
    rowsmiths = {name for name in modules if name.split(".")[0] == "rowsmith"}
    assert rowsmiths <= {"rowsmith", "rowsmith.cache", "rowsmith.filters", "rowsmith.resilience", "rowsmith.testing"}


def test_helpers_of_ones_own_are_seen() -> None:
    """What finds them finds them, in files that nobody copies."""
    assert len(COPIED) > 30
    assert {"support", "standby"} <= OWN
    assert "support" in imported(TESTS / "test_lock.py") | imported(TESTS / "test_statement_counts.py")
