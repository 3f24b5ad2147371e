"""Deletes: one row, many rows, every row that matches."""

from __future__ import annotations
