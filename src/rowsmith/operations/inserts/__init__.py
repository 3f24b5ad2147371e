"""Inserts: one row, many rows, trees of rows, and the lanes that they go by."""

from __future__ import annotations
