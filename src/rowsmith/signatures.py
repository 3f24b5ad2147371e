"""What can be known of a function before it is called."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature


def takes(function: Callable[..., object], *given: object, **named: object) -> bool:
    """Say whether a function can be called with these arguments.

    Of one of which nothing is known, as of some that are written in C, it is said that it can.
    """
    try:
        signature(function).bind(*given, **named)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
