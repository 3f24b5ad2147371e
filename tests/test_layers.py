"""Imports point down: a module knows only the modules that stand before it in the list."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Lowest first. A package and its modules are one entry and may know each other.
ORDER = [
    "errors",
    "state",
    "conditions",
    "extent",
    "orders",
    "mapping",
    "scope",
    "pagination",
    "query",
    "filters",
    "execution",
    "operations",
    "unit_of_work",
    "database",
    "db_source",
    "cache",
    "resilience",
    "repository",
    "embedded",
    "testing",
]

spec = find_spec("rowsmith")
assert spec is not None
assert spec.origin is not None
ROOT = Path(spec.origin).parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def layer_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def imports_of(source: str) -> Iterator[str]:
    """Names of rowsmith's layers that the source imports; ``""`` for the package itself."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "rowsmith":
            names = [f"rowsmith.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (name.split(".")[1] if "." in name else "" for name in names if name.split(".")[0] == "rowsmith")


def upward_imports(module: Path, source: str) -> list[str]:
    """The imports that a module must not have."""
    allowed = ORDER[: ORDER.index(layer_of(module)) + 1]
    return [name for name in imports_of(source) if name not in allowed]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_from_layers_below_it(module: Path) -> None:
    """No module knows a layer above its own, nor the package's front."""
    assert layer_of(module) in ORDER or layer_of(module).startswith("_"), f"say in ORDER where {module} stands"
    if layer_of(module) in ORDER:
        assert upward_imports(module, (ROOT / module).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from rowsmith import Repository",
        "import rowsmith",
        "import rowsmith.database",
        "from rowsmith.testing import x",
    ],
)
def test_the_rule_itself_is_able_to_fail(source: str) -> None:
    """An import that points up, in whatever form, is found."""
    assert upward_imports(Path("errors.py"), f"def late():\n    {source}\n") != []
