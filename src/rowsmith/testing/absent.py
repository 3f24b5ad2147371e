"""The fixtures where the extra ``testing`` is not installed: they say so when they are used."""

from __future__ import annotations

import pytest

from rowsmith.errors import MissingExtra


@pytest.fixture
def database() -> None:
    """Say what is missing."""
    raise MissingExtra('the fixtures of rowsmith need its extra: pip install "rowsmith[testing]"')


@pytest.fixture
def with_tables(database: None) -> None:
    """Say what is missing."""


@pytest.fixture
def with_faults(database: None) -> None:
    """Say what is missing."""
