"""The repository of groups: declarations, and one method of its own."""

from __future__ import annotations

from examples.group import errors
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import GroupData, GroupId, MemberCreate, UserId
from rowsmith import Conflict, Creator, Repository, SearchScope, SoftDelete


class GroupRepository(Repository[GroupRow, GroupData, GroupId]):
    """Groups, soft-deleted; no call without a scope."""

    not_found = errors.GroupNotFound
    violations = {
        "uq_groups_domain_name_name_live": errors.GroupNameTaken,
        "fk_groups_domain_name": errors.GroupDomainNotFound,
    }
    soft_delete = SoftDelete(GroupRow.deleted_at)
    conflict = Conflict([GroupRow.domain_name, GroupRow.name], where=GroupRow.deleted_at.is_(None))
    scope_required = True

    _members = Creator(GroupMemberRow)

    async def add_member(self, id: GroupId, user_id: UserId, *, scope: SearchScope) -> None:
        """Put a user into a group that the scope reaches."""
        async with self.db.unit_of_work() as unit:
            await self.get(id, scope)
            await self._members.create(unit.session, MemberCreate(id, user_id))
