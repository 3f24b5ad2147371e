"""The garbage collector, out of the way while many objects are made that all stay alive."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_pauses = 0


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the collector from looking through a growing batch again and again, which costs more than making it.

    Nothing leaks: reference counts free what they always free, and cycles wait for the end of the block.
    """
    global _pauses  # noqa: PLW0603 - the collector is one for the whole process, and so is the count
    if _pauses == 0 and not gc.isenabled():
        yield
        return
    _pauses += 1
    gc.disable()
    try:
        yield
    finally:
        _pauses -= 1
        if _pauses == 0:
            gc.enable()
