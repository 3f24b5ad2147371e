"""The repository of domains: nothing but declarations."""

from __future__ import annotations

from examples.domain import errors
from examples.domain.rows import DomainRow
from examples.domain.types import DomainData, DomainName
from rowsmith import Repository, SoftDelete


class DomainRepository(Repository[DomainRow, DomainData, DomainName]):
    """Domains, soft-deleted: a deleted one's title is free again, its name is not."""

    not_found = errors.DomainNotFound
    violations = {
        "pk_domains": errors.DomainNameTaken,
        "uq_domains_title_live": errors.DomainTitleTaken,
        "ck_domains_name_is_upper_case": errors.DomainNameMalformed,
    }
    soft_delete = SoftDelete(DomainRow.deleted_at)
