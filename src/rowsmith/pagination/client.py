"""What a client may say of a page."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, Field, StringConstraints

from rowsmith.pagination.cursor import MAX_CURSOR_LENGTH
from rowsmith.pagination.modes import MAX_OFFSET

Size: TypeAlias = Annotated[int, Field(strict=True, ge=1)]
Offset: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=MAX_OFFSET)]
CursorText: TypeAlias = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=MAX_CURSOR_LENGTH)]


class PageFields(BaseModel):
    """What a client may say of a page: the fields of every mode in :data:`~rowsmith.pagination.modes.CLIENT_MODES`."""

    first: Annotated[Size | None, Field(description="This many rows from the start, or after a cursor.")] = None
    after: Annotated[CursorText | None, Field(description="The cursor to start after; needs first.")] = None
    last: Annotated[Size | None, Field(description="This many rows up to the end, or before a cursor.")] = None
    before: Annotated[CursorText | None, Field(description="The cursor to end before; needs last.")] = None
    limit: Annotated[Size | None, Field(description="This many rows, the offset skipped.")] = None
    offset: Annotated[
        Offset | None,
        Field(description="How many rows to skip; needs limit. Cursors do not slow down with depth."),
    ] = None
