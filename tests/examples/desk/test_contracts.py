"""What every repository promises, of the thirteen at the desk; and each method that one of them has besides."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from examples.desk.api_keys import ApiKeyCreate, ApiKeyPatch, ApiKeyRepository, ApiKeyRow, ApiKeyScope, DigestTaken
from examples.desk.attachments import (
    AttachmentCreate,
    AttachmentEmpty,
    AttachmentPatch,
    AttachmentRepository,
    AttachmentRow,
    AttachmentScope,
)
from examples.desk.audit_entries import AuditEntryCreate, AuditEntryRepository, AuditEntryRow, AuditEntryScope
from examples.desk.base import TeamScope
from examples.desk.comments import CommentCreate, CommentPatch, CommentRepository, CommentRow, CommentScope
from examples.desk.conversations import (
    ConversationCreate,
    ConversationPatch,
    ConversationRepository,
    ConversationRow,
    ConversationScope,
)
from examples.desk.labels import LabelCreate, LabelPatch, LabelRepository, LabelRow, LabelScope, LabelTaken
from examples.desk.messages import (
    MessageCreate,
    MessageKind,
    MessageNotFound,
    MessagePatch,
    MessageRepository,
    MessageRow,
    MessageScope,
)
from examples.desk.notifications import (
    NotificationCreate,
    NotificationPatch,
    NotificationRepository,
    NotificationRow,
    NotificationScope,
)
from examples.desk.settings import SettingCreate, SettingPatch, SettingRepository, SettingRow, SettingScope
from examples.desk.tasks import TaskCreate, TaskPatch, TaskRepository, TaskRow, TaskScope, TaskStatus
from examples.desk.teams import SlugTaken, TeamCreate, TeamPatch, TeamRepository, TeamRow
from examples.desk.tool_uses import (
    ToolUseCreate,
    ToolUsePatch,
    ToolUseRepository,
    ToolUseRow,
    ToolUseScope,
    ToolUseTaken,
)
from examples.desk.users import EmailTaken, UserCreate, UserPatch, UserRepository, UserRow, UserScope
from rowsmith import EntityNotFound, NoPagination, OptionalState, ReferenceNotFound, TriState
from rowsmith.testing import RepositoryContract

NOW = datetime(2024, 5, 1, tzinfo=UTC)
A_NAME, A_TEXT = OptionalState.update("another"), TriState.update("another")


class TestTeams(RepositoryContract):
    repository = TeamRepository
    tables = (TeamRow,)

    def spec(self, n):
        return TeamCreate(f"team-{n}", f"Team {n}")

    def patch(self, n):
        return TeamPatch(name=A_NAME)

    def refused(self, n):
        return {SlugTaken: self.spec(n)}

    async def test_by_slug(self):
        """A team is found by its address."""
        teams = TeamRepository(self.db)
        made = await teams.create(self.spec(0))
        assert await teams.get_by_slug("team-0") == made


class OfTeams(RepositoryContract):
    """What belongs to two teams, in each of which is one of all that a row may refer to."""

    async def prepare(self, db):
        self.teams, self.users, self.conversations, self.tasks, self.messages = [], [], [], [], []
        for _ in range(2):
            team = (await TeamRepository(db).create(TeamCreate(uuid4().hex, "A team"))).id
            user = await UserRepository(db).create(UserCreate("ada@example.com", "Ada"), scope=UserScope(team))
            conversation = await ConversationRepository(db).create(
                ConversationCreate(user.id, "Help"), scope=ConversationScope(team)
            )
            task = await TaskRepository(db).create(TaskCreate(conversation.id, "Look"), scope=TaskScope(team))
            message = await MessageRepository(db).create(
                MessageCreate(task.id, MessageKind.NOTE, "Well"), scope=MessageScope(team)
            )
            made = (team, user.id, conversation.id, task.id, message.id)
            kept = (self.teams, self.users, self.conversations, self.tasks, self.messages)
            for one, of_its_kind in zip(made, kept, strict=True):
                of_its_kind.append(one)

    def scope(self, n):
        return self.scopes(self.teams[n % 2])


class TestUsers(OfTeams):
    repository, tables, scopes = UserRepository, (UserRow, TeamRow), UserScope

    def spec(self, n):
        return UserCreate(f"user-{n}@example.com", f"User {n}")

    def patch(self, n):
        return UserPatch(name=A_NAME)

    def refused(self, n):
        return {EmailTaken: self.spec(n)}

    async def test_by_email(self):
        """A user is found by the address, which stays taken when the user is deleted."""
        users, mine, other = UserRepository(self.db), self.scope(0), self.scope(1)
        made = await users.create(self.spec(0), scope=mine)
        assert await users.get_by_email(made.email, mine) == made
        await users.delete(made.id, scope=mine)
        assert await users.email_exists(made.email, mine)
        assert not await users.email_exists(made.email, other)


class TestApiKeys(OfTeams):
    repository, tables, scopes = ApiKeyRepository, (ApiKeyRow, UserRow, TeamRow), ApiKeyScope

    def spec(self, n):
        return ApiKeyCreate(self.users[n % 2], b"%d" % n)

    def patch(self, n):
        return ApiKeyPatch(revoked_at=TriState.update(NOW))

    def refused(self, n):
        return {DigestTaken: self.spec(n)}

    async def test_by_digest(self):
        """A key is found by its digest, until it is revoked."""
        keys, mine = ApiKeyRepository(self.db), self.scope(0)
        made = await keys.create(self.spec(0), scope=mine)
        assert await keys.get_by_digest(b"0", mine) == made
        assert (await keys.revoke(made.id, mine)).revoked_at is not None
        with pytest.raises(EntityNotFound):
            await keys.get_by_digest(b"0", mine)


class TestConversations(OfTeams):
    repository, scopes = ConversationRepository, ConversationScope
    tables = (ConversationRow, UserRow, TeamRow)

    def spec(self, n):
        return ConversationCreate(self.users[n % 2], f"Subject {n}")

    def patch(self, n):
        return ConversationPatch(subject=A_NAME)

    async def test_the_latest(self):
        """Of all that a user has begun; and it can be closed."""
        conversations, mine = ConversationRepository(self.db), self.scope(0)
        for n in (0, 2):
            made = await conversations.create(self.spec(n), scope=mine)
        assert await conversations.find_latest(self.users[0], mine) == made
        assert await conversations.find_latest(self.users[0], self.scope(1)) is None
        assert (await conversations.close(made.id, mine)).closed_at is not None


class TestTasks(OfTeams):
    repository, scopes = TaskRepository, TaskScope
    tables = (TaskRow, ConversationRow, UserRow, TeamRow)

    def spec(self, n):
        return TaskCreate(self.conversations[n % 2], f"Task {n}")

    def patch(self, n):
        return TaskPatch(OptionalState.update(TaskStatus.RUNNING))

    def refused(self, n):
        return {ReferenceNotFound: TaskCreate(self.conversations[(n + 1) % 2], "of another team's conversation")}

    async def test_the_next(self):
        """An agent is given the first task that waits and that no other agent was given."""
        tasks, mine = TaskRepository(self.db), self.scope(0)
        first, second = [await tasks.create(self.spec(n), scope=mine) for n in (0, 2)]
        await tasks.update_where([TaskRow.title == "Look"], self.patch(0), scope=mine)
        assert await tasks.finish(first.id, mine) == replace(first, status=TaskStatus.DONE)
        async with self.db.unit_of_work():
            assert await tasks.find_next(mine) == second


class TestMessages(OfTeams):
    repository, scopes = MessageRepository, MessageScope
    tables = (MessageRow, TaskRow, ConversationRow, UserRow, TeamRow)

    def spec(self, n):
        return MessageCreate(self.tasks[n % 2], MessageKind.RESULT, f"Result {n}")

    def patch(self, n):
        return MessagePatch(text=A_NAME)

    async def test_the_result(self):
        """Of all messages of a task, the one that it came to."""
        messages, mine = MessageRepository(self.db), self.scope(0)
        await messages.create(replace(self.spec(0), kind=MessageKind.NOTE), scope=mine)
        with pytest.raises(MessageNotFound):
            await messages.get_result_message(self.tasks[0], mine)
        made = await messages.create(self.spec(2), scope=mine)
        assert await messages.get_result_message(self.tasks[0], mine) == made


class TestToolUses(OfTeams):
    repository, scopes = ToolUseRepository, ToolUseScope
    tables = (ToolUseRow, MessageRow, TaskRow, ConversationRow, UserRow, TeamRow)

    def spec(self, n):
        return ToolUseCreate(self.messages[n % 2], f"toolu_{n}", "search")

    def patch(self, n):
        return ToolUsePatch(output=A_TEXT)

    def refused(self, n):
        return {ToolUseTaken: self.spec(n)}

    async def test_by_the_id_of_the_model(self):
        """Each team has ids of its own."""
        uses, mine = ToolUseRepository(self.db), self.scope(0)
        made = await uses.create(self.spec(0), scope=mine)
        assert await uses.get_by_tool_use_id("toolu_0", mine) == made
        with pytest.raises(EntityNotFound):
            await uses.get_by_tool_use_id("toolu_0", self.scope(1))


class TestAttachments(OfTeams):
    repository, scopes = AttachmentRepository, AttachmentScope
    tables = (AttachmentRow, MessageRow, TaskRow, ConversationRow, UserRow, TeamRow)

    def spec(self, n):
        return AttachmentCreate(self.messages[n % 2], f"file {n}", n + 1)

    def patch(self, n):
        return AttachmentPatch(name=A_NAME)

    def refused(self, n):
        return {AttachmentEmpty: replace(self.spec(n), size=0)}

    async def test_their_volume(self):
        """Is that of the files of one message."""
        files, mine = AttachmentRepository(self.db), self.scope(0)
        assert await files.volume(self.messages[0], mine) == 0
        for n in (0, 2):
            await files.create(self.spec(n), scope=mine)
        assert await files.volume(self.messages[0], mine) == 4


class TestLabels(OfTeams):
    repository, tables, scopes = LabelRepository, (LabelRow, TeamRow), LabelScope

    def spec(self, n):
        return LabelCreate(f"label {n}", "red")

    def patch(self, n):
        return LabelPatch(colour=A_NAME)

    def refused(self, n):
        return {LabelTaken: self.spec(n)}

    async def test_painting(self):
        """A label that is there has another colour then, one that is not is made."""
        labels, mine = LabelRepository(self.db), self.scope(0)
        made = await labels.paint("urgent", "red", mine)
        assert await labels.paint("urgent", "blue", mine) == replace(made, colour="blue")


class TestComments(OfTeams):
    repository, scopes = CommentRepository, CommentScope
    tables = (CommentRow, ConversationRow, UserRow, TeamRow)

    def spec(self, n):
        return CommentCreate(self.conversations[n % 2], f"Comment {n}")

    def patch(self, n):
        return CommentPatch(text=A_NAME)

    async def test_the_newest(self):
        """Come first."""
        comments, mine = CommentRepository(self.db), self.scope(0)
        made = [await comments.create(self.spec(n), scope=mine) for n in (0, 2)]
        assert list(await comments.newest(self.conversations[0], mine)) == made[::-1]


class TestNotifications(OfTeams):
    repository, tables, scopes = NotificationRepository, (NotificationRow, UserRow, TeamRow), NotificationScope

    def spec(self, n):
        return NotificationCreate(self.users[n % 2], f"Notification {n}")

    def patch(self, n):
        return NotificationPatch(TriState.update(NOW))

    async def test_all_are_read(self):
        """At once, and then none is unread."""
        notifications, mine = NotificationRepository(self.db), self.scope(0)
        for n in (0, 1, 2):
            await notifications.create(self.spec(n), scope=self.scope(n))
        assert await notifications.unread_count(self.users[0], mine) == 2
        assert await notifications.mark_all_read(self.users[0], mine) == 2
        assert await notifications.unread_count(self.users[0], mine) == 0


class TestAuditEntries(OfTeams):
    repository, tables, scopes = AuditEntryRepository, (AuditEntryRow, UserRow, TeamRow), AuditEntryScope
    changes = False

    def spec(self, n):
        return AuditEntryCreate(self.users[n % 2], f"action {n}")

    async def test_what_is_old_is_purged(self):
        """And nothing of what came since, nor of another team."""
        entries, mine = AuditEntryRepository(self.db), self.scope(0)
        made, _ = [await entries.create(self.spec(n), scope=self.scope(n)) for n in (0, 1)]
        assert (await entries.purge_before(made.created_at, mine)).rows == 0
        assert (await entries.purge_before(datetime.max.replace(tzinfo=UTC), mine)).rows == 1


class TestSettings(OfTeams):
    repository, tables, scopes = SettingRepository, (SettingRow, TeamRow), SettingScope

    def spec(self, n):
        return SettingCreate(f"setting {n}", f"value {n}")

    def patch(self, n):
        return SettingPatch(value=A_NAME)

    async def test_what_is_chosen(self):
        """Holds for the team that chose it."""
        settings, mine, other = SettingRepository(self.db), self.scope(0), self.scope(1)
        for value in ("dark", "light"):
            await settings.choose("theme", value, mine)
        assert await settings.value("theme", "plain", mine) == "light"
        assert await settings.value("theme", "plain", other) == "plain"


@pytest.mark.parametrize("contract", OfTeams.__subclasses__())
async def test_a_scope_that_limits_nothing_is_found(with_tables, monkeypatch, contract):
    """A team sees none of what another has, until its scope's condition holds for all."""
    async with with_tables() as db:
        tried, repository = contract(), contract.repository(db)
        await tried.prepare(db)
        made = await repository.create(tried.spec(90), scope=tried.scope(0))  # 0 and the like are the contract's
        assert made in await repository.search(tried.scope(0))
        assert made not in await repository.search(tried.scope(1))
        monkeypatch.setattr(TeamScope, "to_conditions", lambda self: [self.row.team_id > UUID(int=0)])
        assert made in await repository.search(tried.scope(1), None, NoPagination())
