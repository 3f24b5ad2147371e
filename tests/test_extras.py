"""The extras serve code: each brings a package that rowsmith imports."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import packages_distributions

import pytest

from pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = packages_distributions()


def imported() -> set[str]:
    """Give the names of the distributions that the source imports, wherever in a module it does."""
    found: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.partition(".")[0] for name in names}
    return {dist.lower().replace("_", "-") for name in found for dist in MODULES.get(name, ())}


IMPORTED = imported()


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_an_extra_serves_code(extra: str) -> None:
    """What it installs is imported."""
    needs = {re.split(r"[\[>=]", need)[0].lower() for need in PROJECT["optional-dependencies"][extra]}
    assert needs & IMPORTED


def test_a_package_that_nothing_imports_is_found() -> None:
    """The test above is able to fail."""
    assert "httpx" not in IMPORTED
