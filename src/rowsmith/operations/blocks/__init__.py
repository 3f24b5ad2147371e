"""Many rows as columns of values."""

from __future__ import annotations
