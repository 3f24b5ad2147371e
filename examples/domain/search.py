"""What a client may search domains by."""

from __future__ import annotations

from examples.domain.rows import Continent, DomainRow
from rowsmith.filters import ArrayFilter, BoolFilter, EnumFilter, Filter, StringFilter


class DomainFilter(Filter[DomainRow]):
    name: StringFilter | None = None
    title: StringFilter | None = None
    continent: EnumFilter[Continent] | None = None
    languages: ArrayFilter[str] | None = None
    is_active: BoolFilter | None = None
