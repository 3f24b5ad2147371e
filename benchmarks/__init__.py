"""Benchmarks: rowsmith beside hand-written asyncpg and other toolkits, measured in one run (``nox -s bench``)."""

from __future__ import annotations
