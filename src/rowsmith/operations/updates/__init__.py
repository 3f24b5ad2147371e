"""Updates: one row, many rows, soft deletion."""

from __future__ import annotations
