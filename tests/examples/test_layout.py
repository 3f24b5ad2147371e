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


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: Path, decorator: str = "") -> list[Function]:
    """Give the functions of a file, or those with such a decorator."""
    found = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, Function)]
    return [node for node in found if decorator in " ".join(map(ast.unparse, node.decorator_list))]


def fixtures(file: Path) -> set[str]:
    """Give the names of the fixtures that a file makes."""
    return {each.name for each in functions(file, "pytest.fixture")}


def asked_for(file: Path) -> set[str]:
    """Give the names of the fixtures that a file's tests and fixtures ask for, as parameters or in words."""
    drawn = {each.name for each in functions(file, "given")}
    tests = [each for each in functions(file) if each.name.startswith("test_") and each.name not in drawn]
    names = {each.arg for one in (*tests, *functions(file, "pytest.fixture")) for each in one.args.args}
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="getfixturevalue"), args=[ast.Constant(value=name)]):
                names.add(name)
            case ast.Call(func=ast.Attribute(attr="parametrize"), args=[ast.Constant(value=text), *_]):
                names -= {each.strip() for each in text.split(",")}
    return names - {"self"}


EVERYBODYS = {"with_tables", "database", "monkeypatch", "request", "tmp_path"}


@pytest.mark.parametrize("file", COPIED[1:], ids=lambda file: f"{file.parent.name}/{file.name}")
def test_its_fixtures_are_copied_with_it(file: Path) -> None:
    """They are its own, its folder's, those of all examples, pytest's or rowsmith's."""
    near = (file, file.with_name("conftest.py"), COPIED[0])
    assert asked_for(file) - EVERYBODYS - set().union(*map(fixtures, near)) == set()


OPERATIONS = (
    "create",
    "get",
    "search",
    "update",
    "delete",
    "purge",
    "batch_update",
    "batch_delete",
    "batch_purge",
    "scope",
)
BY_OPERATION = [folder / f"test_{name}.py" for folder in FOLDERS for name in OPERATIONS]


@pytest.mark.parametrize("file", BY_OPERATION, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_each_operation_is_tried_by_two_tenants_and_with_an_error(file: Path) -> None:
    """In a file of its own, for each of the three."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    tenants = {ast.unparse(call) for call in calls if ast.unparse(call.func).endswith("Scope")}
    assert len(tenants) >= 2
    assert "pytest.raises" in {ast.unparse(call.func) for call in calls}


LIMITS_NOTHING = "test_a_scope_that_limits_nothing_is_found"


def mutated(package: str) -> str:
    """Give the tests of an example in which a scope is replaced by one that limits nothing."""
    files = [*(TESTS / "examples" / package).glob("test_*.py"), TESTS / "examples" / f"test_{package}.py"]
    texts = [file.read_text() for file in files if file.exists()]
    return "".join(text for text in texts if LIMITS_NOTHING in text)


def scopes() -> list[tuple[str, str]]:
    """Give the scopes of the examples, each with its package; those that inherit one have its conditions."""
    return sorted(
        (file.parent.name, node.name)
        for file in (TESTS.parent / "examples").glob("*/*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and "SearchScope" in map(ast.unparse, node.bases)
    )


@pytest.mark.parametrize("package, scope", scopes())
def test_every_scope_is_replaced_by_one_that_limits_nothing(package: str, scope: str) -> None:
    """By a test that finds it: the tests of tenants fail then."""
    assert scope in mutated(package)


def test_helpers_of_ones_own_are_seen() -> None:
    """What finds them finds them, in files that nobody copies."""
    assert len(COPIED) > 30
    assert {("desk", "TeamScope"), ("fair_share", "DomainUsageScope"), ("metric_store", "UsageScope")} <= set(scopes())
    assert mutated("api") == ""
    assert {"support", "standby"} <= OWN
    assert {"with_tables", "client"} <= asked_for(TESTS / "examples" / "presence" / "test_presence.py")
    assert "support" in imported(TESTS / "test_lock.py") | imported(TESTS / "test_statement_counts.py")
