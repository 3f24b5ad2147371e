"""Keys and columns as arrays on the wire."""

from __future__ import annotations
