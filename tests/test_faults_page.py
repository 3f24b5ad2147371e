"""The page on faults is true: each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "faults.md").read_text())


@pytest.mark.parametrize("file, name", NAMED, ids=[name for _, name in NAMED])
def test_the_test_of_a_fault_is_there(file: str, name: str) -> None:
    """Under its name, in its file."""
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_the_page_names_some() -> None:
    """What finds them finds them."""
    assert len(NAMED) >= 25
