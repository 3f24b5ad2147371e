"""Imports point down: a module knows its own room and the floors below it, in the package and in its large parts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest

# Lowest first. A package and its modules are one entry and may know each other.
ORDER = [
    "lazy",
    "signatures",
    "errors",
    "failures",
    "attempts",
    "outcome",
    "deadline",
    "state",
    "lock",
    "texts",
    "sql",
    "several",
    "reach",
    "conditions",
    "fallible",
    "ties",
    "mapped",
    "passed",
    "relations",
    "extent",
    "names",
    "orders",
    "mapping",
    "pagination",
    "identity",
    "references",
    "scope",
    "query",
    "filters",
    "touched",
    "flushed",
    "execution",
    "operations",
    "pool_watch",
    "homes",
    "unit_of_work",
    "hosts",
    "watched",
    "replicas",
    "sessions",
    "database",
    "resilience",
    "db_source",
    "idempotency",
    "redis_client",
    "cache",
    "stateful",
    "repository",
    "embedded",
    "testing",
    "strawberry",
]

EDGES = {"strawberry"}
"""Extras with a module of their own."""

# The floors inside a layer, lowest first. Rooms that share a line do not know each other.
FLOORS = {
    "mapping": [
        "annotations constraints frozen generated generics group_keys nested parts target types unchanged",
        "agreement builders row truth",
        "comparisons relationships",
        "expr loads writes",
        "fields",
        "layout statistics",
        "shape",
    ],
    "execution": [
        (
            "answers apart commits hearing isolation kinds origin parameters pooler position postgresql read_only "
            "returning standing triggers"
        ),
        "elsewhere",
        "broken endings refusals",
        "sqlite transaction_id",
        "transactions",
        "pool translate undone",
        "blame direct",
        "deferred execute native",
        "committing driver records replay",
        "own_rows within writing",
    ],
    "operations": [
        "results",
        "soft_delete",
        "conflict",
        "next_value",
        "entity",
        "touching",
        "arrays",
        "blocks",
        "given_rows",
        "arguments savepoints",
        "plans",
        "settled",
        "call",
        "faults",
        "contextual",
        "present",
        "unread",
        "once",
        "in_step",
        "ending",
        "rebinding",
        "held",
        "parents",
        "parts",
        "needs",
        "partial",
        "reads",
        "writes",
        "inserts updates",
        "deletes upserts",
    ],
}

spec = find_spec("rowsmith")
assert spec is not None
assert spec.origin is not None
ROOT = Path(spec.origin).parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def names_of(module: Path) -> tuple[str, str]:
    """The layer that a module stands in, and the room inside of that; a package's front is in none."""
    layer, *inner = module.with_suffix("").parts
    return layer, inner[0] if inner else "__init__"


def imports_of(source: str) -> Iterator[tuple[str, str]]:
    """The layer and the room of everything of rowsmith that the source imports; ``""`` where it names none."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for package, layer, room in ([*name.split("."), "", ""][:3] for name in names):
            if package == "rowsmith":
                yield layer, room


def reach(floors: list[str], own: str) -> set[str]:
    """What a module may import from: its own room, and every room of the floors below."""
    below = takewhile(lambda floor: own not in floor.split(), floors)
    return {own, *" ".join(below).split()}


def upward_imports(module: Path, source: str) -> list[str]:
    """The imports that a module must not have."""
    own_layer, own_room = names_of(module)
    layers, rooms = reach(ORDER, own_layer), reach(FLOORS.get(own_layer, []), own_room)
    is_inside = own_layer in FLOORS and own_room != "__init__"
    return [
        f"{layer}.{room}"
        for layer, room in imports_of(source)
        if layer not in layers or (is_inside and layer == own_layer and room not in rooms)
    ]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_from_layers_below_it(module: Path) -> None:
    """No module knows a layer above its own, nor the package's front; nor, in its layer, a room above or beside it."""
    layer, room = names_of(module)
    assert layer in ORDER or layer.startswith("_"), f"say in ORDER where {module} stands"
    if layer in FLOORS:
        assert room in {"__init__", *" ".join(FLOORS[layer]).split()}, f"say in FLOORS where {module} stands"
    if layer in ORDER:
        assert upward_imports(module, (ROOT / module).read_text()) == []


def test_extras_are_imported_at_the_edge() -> None:
    """What an extra brings is imported by the one module that is named after it, so that no other needs it."""
    for module in MODULES:
        found = set(re.findall(r"^ *(?:from|import) (\w+)", (ROOT / module).read_text(), re.MULTILINE))
        assert found & EDGES <= {names_of(module)[0]}, module


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


@pytest.mark.parametrize(
    "module, source",
    [
        ("operations/arrays/keys.py", "from rowsmith.operations.blocks.checks import quick_check"),
        ("operations/arrays/keys.py", "from rowsmith.operations import blocks"),
        ("operations/inserts/one.py", "from rowsmith.operations.updates.one import Updater"),
        ("operations/upserts/one.py", "import rowsmith.operations.deletes"),
        ("operations/held.py", "from rowsmith.operations.reads.one import Querier"),
        ("operations/deletes/one.py", "from rowsmith.operations import Purger"),
        ("operations/deletes/one.py", "import rowsmith.operations"),
        ("operations/results.py", "from rowsmith.database import Database"),
        ("execution/kinds.py", "from rowsmith.execution.native import fetch"),
        ("mapping/row.py", "from rowsmith.mapping.truth import check_boolean"),
    ],
)
def test_the_rule_is_able_to_fail_inside_a_layer(module: str, source: str) -> None:
    """An import of a higher floor, of a room on the same floor or of the layer's own front is found."""
    assert upward_imports(Path(module), f"def late():\n    {source}\n") != []


@pytest.mark.parametrize(
    "module, source",
    [
        ("operations/inserts/one.py", "from rowsmith.operations.inserts.tree import Creation"),
        ("operations/upserts/many.py", "from rowsmith.operations.inserts.many import gathered"),
        ("operations/held.py", "import rowsmith.operations.blocks.block, rowsmith.mapping"),
        ("execution/within.py", "from rowsmith.execution.refusals.read import unreadable"),
        ("operations/__init__.py", "from rowsmith.operations.upserts.one import Upserter"),
        ("repository.py", "from rowsmith.operations import Upserter"),
    ],
)
def test_the_rule_lets_pass_what_points_down(module: str, source: str) -> None:
    """A room knows itself and the floors below; the front, and the layers above, know every room."""
    assert upward_imports(Path(module), source) == []
