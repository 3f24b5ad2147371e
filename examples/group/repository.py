"""The repository of groups: declarations, and one method of its own."""

from __future__ import annotations

from examples.group import errors
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import GroupData, GroupId, MemberCreate, UserId
from rowsmith import Conflict, Creator, Lock, Repository, SearchScope, SoftDelete


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
        async with self.db.begin_session() as db_sess:
            # Locked, so that the group is still there and in the scope when its member is.
            await self.get(id, scope, lock=Lock())
            await self._members.create(db_sess, MemberCreate(id, user_id))
