"""What the pages claim is held: the tests, classes and functions that they name are there, README has the claims."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pages import ROOT

PAGES = ["faults.md", "claims.md", "habits.md"]
README, CLAIMS = (ROOT / "README.md").read_text(), (ROOT / "docs" / "claims.md").read_text()


def named(page: str) -> set[tuple[str, str]]:
    """Give what a page names: files, and what is defined in them."""
    return set(re.findall(r"`([\w/]+\.py)::([\w.]+)`", (ROOT / "docs" / page).read_text()))


def files(page: str) -> set[str]:
    """Give the files of the project that a page names."""
    return set(re.findall(r"`((?:src|tests|examples)/[\w/]+\.\w+)", (ROOT / "docs" / page).read_text()))


@cache
def defined(file: str) -> set[str]:
    """Give what a file defines, members of classes with their classes' names; nothing of a file that is not there."""
    path = ROOT / file
    return set(names(ast.parse(path.read_text()).body)) if path.exists() else set()


def names(body: list[ast.stmt], inside: str = "") -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=members):
                yield f"{inside}{name}"
                yield from names(members, f"{inside}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield f"{inside}{name}"
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield f"{inside}{name}"


@pytest.mark.parametrize("page", PAGES)
def test_what_is_named_is_there(page: str) -> None:
    """Under its name, in its file."""
    assert [f"{file}::{name}" for file, name in sorted(named(page)) if name not in defined(file)] == []


@pytest.mark.parametrize(
    "page", sorted(page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")), ids=str
)
def test_the_files_that_are_named_are_there(page: Path) -> None:
    """Those that are named by themselves, too."""
    assert [file for file in sorted(files(str(page))) if not (ROOT / file).exists()] == []


def test_something_is_named() -> None:
    """What finds it finds it, and what is not there."""
    assert min(len(named(page)) for page in PAGES) >= 25
    assert {"tests/test_entities.py", "examples/graphql/schema.py"} <= files("habits.md")
    assert "test_something_is_named" in defined("tests/test_claims.py")
    assert {"GroupConditions.name_contains", "GroupConditions"} <= defined("examples/group/options.py")
    assert defined("tests/nothing.py") == set()


def flat(text: str) -> str:
    """Give a text without its line ends and marks."""
    return " ".join(text.replace("*", "").split())


def section_of(heading: str, text: str) -> str:
    """Give what stands below a heading; nothing where there is none."""
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


SECTIONS = [heading for heading in re.findall(r"^## (.*)$", README, re.MULTILINE) if heading != "Others"]


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_claims_what_is_held(heading: str) -> None:
    """Each claim of the page stands in this section of README, word for word; and there is one."""
    said = flat(f"{heading} {section_of(heading, README)}")
    claims = re.findall(r'^\| "(.*?)"', section_of(heading, CLAIMS), re.MULTILINE)
    assert claims, f"say in docs/claims.md what holds the section {heading!r} of README"
    assert [claim for claim in claims if flat(claim) not in said] == []


@pytest.mark.parametrize("point", re.findall(r"^- \*\*(.*?)\*\*", section_of("Why rowsmith", README), re.MULTILINE))
def test_each_reason_is_held(point: str) -> None:
    """Each bold point of "Why rowsmith" has a claim among its words."""
    rest = section_of("Why rowsmith", README).split(f"- **{point}**")[1].split("\n- **")[0]
    claims = re.findall(r'^\| "(.*?)"', section_of("Why rowsmith", CLAIMS), re.MULTILINE)
    assert [claim for claim in claims if flat(claim) in flat(f"{point} {rest}")]


def points(heading: str) -> list[str]:
    """Give the points of a section's lists, each as a line."""
    prose = re.sub(r"^```.*?^```$", "", section_of(heading, README), flags=re.MULTILINE | re.DOTALL)
    return [flat(point) for point in re.findall(r"^- (.*?)(?=\n- |\n\n|\Z)", prose, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("heading", [heading for heading in SECTIONS if heading != "What it does not do"])
def test_each_point_of_a_list_is_held(heading: str) -> None:
    """Each has a claim among its words."""
    claims = [flat(claim) for claim in re.findall(r'^\| "(.*?)"', section_of(heading, CLAIMS), re.MULTILINE)]
    assert [point for point in points(heading) if not any(claim in point for claim in claims)] == []


def test_points_are_found() -> None:
    """The test above is able to fail."""
    assert min(len(points(heading)) for heading in ("When things go wrong", "A cache in front")) >= 7


def test_each_claim_names_a_test() -> None:
    """No row of the tables is without one."""
    rows = [line for line in CLAIMS.splitlines() if line.startswith('| "')]
    assert len(rows) >= 40
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::test_\w+`", row)] == []
