"""Reads: one row, many rows, streams, aggregates."""

from __future__ import annotations
