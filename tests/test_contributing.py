"""What the pages say is true: the files, tests and sessions that they name are there, and their Python can be read."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from company import LabelRow, ThingRow
from pages import ROOT, python_of
from rowsmith import BatchQuerier, InvalidPagination, InvalidValue, Repository, Spec
from rowsmith.mapping.types import table
from rowsmith.operations.reads import planned
from rowsmith.pagination import MAX_PAGE_SIZE
from rowsmith.testing import WithTables
from rowsmith.testing.contract import verbs as contract_verbs
from test_layers import FLOORS, ORDER

PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
TESTS = {
    name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
}

SESSIONS = set(re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.MULTILINE))


def named(page: Path, pattern: str) -> list[Any]:
    """What the page has between backticks, as the pattern says."""
    return re.findall(rf"`{pattern}`", page.read_text())


def absent(text: str, folder: Path) -> list[str]:
    """The files and headings that a page refers to and that are not there; links go from its own folder."""
    paths = re.findall(r"`((?:src|tests|docs|examples|benchmarks)/[\w/.-]+)`", text)
    links = re.findall(r"\]\(((?!http)[\w/.-]+|[\w/.-]*#[\w-]+)\)", text)
    return [path for path in paths if not (ROOT / path).exists()] + [to for to in links if not leads(to, text, folder)]


def leads(link: str, text: str, folder: Path) -> bool:
    """Say whether a link leads to a file, and to a heading of it; one without a file, to a heading of its own page."""
    name, _, heading = link.partition("#")
    if name and not (folder / name).exists():
        return False
    return not heading or heading in anchors((folder / name).read_text() if name else text)


def anchors(text: str) -> set[str]:
    """Give the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["contributing", "guides"])
def test_there_is_a_page_for_each_question(name: str) -> None:
    """The pages of a folder are those of its table."""
    folder = ROOT / "docs" / name
    linked = re.findall(r"^\| \[[^\]]*\]\(([^)]*)\)", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted([*linked, "README.md"]) == sorted(path.name for path in folder.iterdir())


@EACH
def test_every_file_that_is_named_is_there(page: Path) -> None:
    """A module that moves takes its name in the pages with it."""
    assert absent(page.read_text(), page.parent) == []


def test_a_file_that_is_not_there_is_found() -> None:
    """The test above is able to fail, for a path, a link, and a heading."""
    text = "## Here\n`src/rowsmith/nothing.py` [a page](nothing.md) [here](#here) [not](#there) [nor](README.md#there)"
    assert absent(text, ROOT) == ["src/rowsmith/nothing.py", "nothing.md", "#there", "README.md#there"]


@EACH
def test_every_test_that_is_named_is_there(page: Path) -> None:
    """What is said to fail is a test."""
    assert set(named(page, r"(test_\w+)")) <= TESTS


@EACH
def test_every_session_that_is_named_is_there(page: Path) -> None:
    """What is said to run is a session of nox."""
    assert set(re.findall(r"nox -s (\w+)", page.read_text())) <= SESSIONS


def test_every_session_is_told_of() -> None:
    """Whoever looks for what keeps something honest finds it on the first page."""
    assert SESSIONS - set(re.findall(r"nox -s (\w+)", PAGES[0].read_text())) == set()


@EACH
def test_its_python_can_be_read(page: Path) -> None:
    """Each example is Python: statements, or an item of a dictionary."""
    for code in map(dedent, python_of(str(page.relative_to(ROOT)))):
        ast.parse(f"{{{code}}}" if code.startswith('"') else code)


@pytest.mark.parametrize(
    "heading, order",
    [("# Floors", ORDER), *((f"## Inside `{layer}`", floors[::-1]) for layer, floors in FLOORS.items())],
)
def test_every_floor_is_on_the_page_of_floors(heading: str, order: list[str]) -> None:
    """Its tables name what the lists of ``tests/test_layers.py`` do, each once and in their order."""
    page = (ROOT / "docs" / "contributing" / "floors.md").read_text()
    section = page.split(f"{heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == " ".join(order).split()


# The examples, run


def examples(page: str) -> list[str]:
    """The Python of a page, in its order."""
    return python_of(f"docs/contributing/{page}")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Give what runs code as if it stood in a module of rowsmith's, in a copy, after its imports."""

    def run(module: str, code: str, **imports: Any) -> ModuleType:
        copy = ModuleType("example")
        vars(copy).update({**vars(importlib.import_module(module)), **imports, "__name__": "example"})
        monkeypatch.setitem(sys.modules, "example", copy)
        exec(compile(f"from __future__ import annotations\n{code}", "example", "exec"), vars(copy))  # noqa: S102
        return copy

    return run


async def test_the_example_of_a_filter_works(any_tables: WithTables, added: Callable[..., ModuleType]) -> None:
    """Its model and the field that it has in the tests, in a search on both databases."""
    from typing import Annotated, Literal

    from rowsmith.filters import Filter, On
    from rowsmith.filters.operators import IS_NULL, Operator

    model, field, *_ = examples("filter.md")
    tested = f"class SignedFilter(Filter[ThingRow]):\n    {field}"
    imports = {"func": sa.func, "Operator": Operator, "Literal": Literal, "IS_NULL": IS_NULL}
    there = {"Filter": Filter, "On": On, "ThingRow": ThingRow, "Annotated": Annotated}
    signed = added("rowsmith.filters.scalars", f"{model}\n{tested}", **imports, **there).SignedFilter
    async with any_tables(ThingRow, LabelRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all(ThingRow(id=id, small=small) for id, small in enumerate([-5, 0, 7, 9, None]))

        class Things(Repository[ThingRow, ThingRow, int]):
            pass

        for given, found in (({"equals": -1}, [0]), ({"equals": 1}, [2, 3]), ({"is_null": True}, [4])):
            wanted = signed.model_validate({"sign": given})
            assert [item.id for item in (await Things(db).search(None, wanted)).items] == found


def test_the_example_of_a_verb_is_that_verb() -> None:
    """Its operation and its method are those that are there, and its lines stand in the register."""
    operation, method, lines = examples("verb.md")
    for shown, real in ((operation, BatchQuerier.first), (method, Repository.first)):
        assert ast.dump(ast.parse(shown)) == ast.dump(ast.parse(dedent(inspect.getsource(real))))
    register = inspect.getsource(contract_verbs)
    assert [line for line in lines.splitlines() if line not in register] == []


@dataclass(frozen=True)
class Thing:
    id: int


class Things(Repository[ThingRow, Thing, int]):
    pass


async def test_the_example_of_a_mode_works(
    any_tables: WithTables, added: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives its pages on both databases: by the native lane, too, once that knows it for a mode."""
    (code,) = examples("pagination-mode.md")
    numbered = added("rowsmith.pagination.modes", code).NumberedPagination
    monkeypatch.setattr(planned, "MODES", (*planned.MODES, numbered))
    async with any_tables(ThingRow, LabelRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all(ThingRow(id=id) for id in range(5))
        pages = [await Things(db).search(None, None, numbered(2, number)) for number in (1, 2, 3)]
    assert [[item.id for item in page.items] for page in pages] == [[0, 1], [2, 3], [4]]
    assert [(page.has_previous_page, page.has_next_page) for page in pages] == [
        (False, True),
        (True, True),
        (True, False),
    ]
    for wrong in ((0, 1), (1, 0), (MAX_PAGE_SIZE + 1, 1), (2, 2**63)):
        with pytest.raises(InvalidPagination):
            numbered(*wrong)


class Bills(DeclarativeBase):
    pass


class BillRow(Bills):
    __tablename__ = "bills"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Any] = mapped_column(postgresql.MONEY)


@dataclass(frozen=True)
class Bill:
    id: int
    price: str


@dataclass(frozen=True)
class BillCreate(Spec[BillRow]):
    id: int
    price: Any


class BillRepository(Repository[BillRow, Bill, int]):
    pass


# SQLAlchemy's own MONEY does not say which operators it has, and warns of itself wherever columns are compared.
@pytest.mark.filterwarnings("ignore:Type object .*MONEY")
async def test_the_example_of_a_column_type_works(
    with_tables: WithTables, added: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record, in the table: what it holds goes in by every lane, what it does not is refused as it says."""
    (record,) = examples("column-type.md")
    (line,) = re.findall(
        r"in `ROWS`\*\* of the same module: `(.*?)`", (ROOT / "docs/contributing/column-type.md").read_text()
    )
    imports = {
        name: vars(table.unknown)[name]
        for name in ("ColumnType", "Comparison", "InCursor", "Quick", "Travel", "itself")
    }
    columns = vars(importlib.import_module("rowsmith.mapping.types.column_type"))
    made = added("rowsmith.mapping.types.unknown", f"{record}\nROW = {line}", **imports, never=columns["never"])
    monkeypatch.setattr(table, "TABLE", (made.ROW, *table.TABLE))
    table.column_type.cache_clear()
    try:
        async with with_tables(BillRow) as db:
            bills = BillRepository(db)
            assert await bills.create(BillCreate(1, "1.5")) == Bill(1, "$1.50")
            assert await bills.batch_create([BillCreate(3, "3"), BillCreate(2, "2")]) == [
                Bill(3, "$3.00"),
                Bill(2, "$2.00"),
            ]
            assert await bills.load([BillCreate(4, "4")]) == 1
            with pytest.raises(InvalidValue, match="holds money: give it as text"):
                await bills.create(BillCreate(5, 5))
    finally:
        table.column_type.cache_clear()
