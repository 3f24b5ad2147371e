"""The garbage collector, out of the way while many objects are made that all stay alive."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 5.0
"""Seconds after which a pause ends by itself: a batch may wait for locks while others make garbage."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the collector from looking through a growing batch again and again, which costs more than making it.

    Nothing leaks: reference counts free what they always free, and cycles wait for the end of the pause. Of batches
    at the same time the first owns the pause; so batches without end do not make a pause without end.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    end = asyncio.get_running_loop().call_later(LONGEST, gc.enable)
    try:
        yield
    finally:
        end.cancel()
        gc.enable()
