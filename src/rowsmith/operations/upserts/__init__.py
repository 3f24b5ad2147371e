"""Upserts: creating or changing rows by a unique key."""

from __future__ import annotations
