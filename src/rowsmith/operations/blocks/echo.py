"""What the database gives back for what was written, where that is certain without asking.

Only types that store every value exactly take part. A Numeric rounds to its scale, CHAR pads, JSON turns tuples
into lists, a TypeDecorator does what it likes: what was written there has to be read back.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.types import TypeEngine

from rowsmith.mapping.types import Echo, column_type


def echo_of(declared: TypeEngine[Any]) -> Echo | None:
    """Give the echo of a column type; None where only the database knows."""
    return column_type(declared).echo
