"""The laws are able to fail: each finds the repositories that break it, and says which verb does."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from contracts import Things, complaints, laws, of
from rowsmith import (
    BatchResult,
    CheckViolation,
    Conflict,
    EntityAlreadyExists,
    InvalidValue,
    NoPagination,
    OptionalState,
    PurgeReport,
    ReferenceNotFound,
    ScopeMismatch,
    Spec,
    StaleVersion,
    Unscoped,
    Upserted,
)
from rowsmith.testing import tables
from rowsmith.testing.contract.verbs import VERBS, Does
from tenants import GroupRepository, NameTaken, OwnedBy, ThingCreate, ThingData, ThingPatch, ThingRepository, ThingRow
from verbs import public_methods

ANY = Unscoped(reason="whoever asks")


@dataclass(frozen=True)
class Owned(Spec[ThingRow]):
    """A thing that says itself whose it is."""

    id: int
    tenant: str
    name: str


@pytest.fixture(scope="module")
async def db(with_tables):
    """Give a database with the table of things."""
    async with with_tables(ThingRow) as db:
        yield db


class TestThings(Things):
    """A repository that is whole breaks no law."""


def test_every_verb_is_called() -> None:
    """No method of a repository that reads or writes rows is left out."""
    assert set(VERBS) == public_methods()


@pytest.mark.parametrize(
    "law", [law for law in laws(Things) if re.search("_what_|_own_rows|_old_version|_order_of", law)]
)
async def test_they_hold_on_sqlite(sqlite_database, law) -> None:
    """As they do on PostgreSQL."""
    async with tables(sqlite_database, ThingRow) as db:
        assert await complaints(Things, law, db) == []


def blind(verb: str) -> Any:
    """Give a verb that minds no scope."""

    def call(self, *given, **options):
        others = [ANY if isinstance(each, OwnedBy) else each for each in given]
        return getattr(ThingRepository, verb)(self, *others, **options | ({"scope": ANY} if "scope" in options else {}))

    return call


OF_ROWS = [verb for verb in VERBS if VERBS[verb].does in Does.of_rows()]
Blind = type("Blind", (ThingRepository,), {verb: blind(verb) for verb in OF_ROWS})
STRANGERS, BATCHES = "test_another_tenants_row_is_an_absent_one", "test_a_batch_reaches_its_tenants_rows_alone"
OWN, MADE_FOR = "test_a_tenant_finds_its_own_rows", "test_nothing_is_made_for_another_tenant"


async def test_a_verb_that_minds_no_scope_is_found(db) -> None:
    """Whichever it is, alone or in a batch."""
    for law, verbs in ((STRANGERS, OF_ROWS), (BATCHES, [verb for verb in OF_ROWS if VERBS[verb].many])):
        assert {complaint.split()[0] for complaint in await complaints(of(Blind), law, db)} == {*verbs}, law


class Owners(Things):
    """Things whose specs say whose they are: what a scope's equalities stamp onto a row is no help."""

    def spec(self, n):
        return Owned(n, "ab"[n % 2], f"name {n}")


LIMITS = {
    STRANGERS: "get tells another tenant's row from one that is not there: it gives 1 rows",
    BATCHES: "batch_purge purges another tenant's row beside one's own",
    OWN: "search gives rows of another tenant",
    MADE_FOR: "create in the scope of one tenant makes a row of another",
}


@pytest.mark.parametrize("law", LIMITS)
async def test_a_scope_that_limits_nothing_is_found(db, monkeypatch, law) -> None:
    """By each of the laws of scopes."""
    monkeypatch.setattr(OwnedBy, "to_conditions", lambda _: [ThingRow.id >= 0])
    assert [each for each in await complaints(Owners, law, db) if each.startswith(LIMITS[law])]


@pytest.mark.parametrize("lets_through", [operator.ge, operator.le])
async def test_a_scope_that_lets_one_tenant_see_the_other_is_found(db, monkeypatch, lets_through) -> None:
    """Also where the other does not see the one."""
    monkeypatch.setattr(OwnedBy, "to_conditions", lambda self: [lets_through(ThingRow.tenant, self.tenant)])
    assert [each for each in await complaints(Owners, OWN, db) if each == LIMITS[OWN]]


class Elsewhere(CheckViolation):
    """An error of another kind than a unique key's."""


class Odd(NameTaken):
    detail = "Name Taken!"


class AlsoTaken(ScopeMismatch):
    detail = NameTaken.detail


class Loses(ThingRepository):
    def to_data(self, row):
        return ThingData(row.id, row.tenant, row.name, row.uses, None, row.version)


class Swaps(ThingRepository):
    def to_data(self, row):
        return ThingData(row.id, row.tenant, row.name, row.version, row.note, row.uses)


class LosesOnTheWayBack(ThingRepository):
    def to_data(self, row):
        return ThingData(row.id, row.tenant, row.name, row.uses, row.note, row.version)

    def to_row(self, entity):
        return ThingCreate(entity.id, entity.name, entity.uses, None)


class MakesLess(ThingRepository):
    async def create(self, spec, *, scope=None, idempotency_key=None):
        return await super().create(replace(spec, note=None), scope=scope)


class LoadsHalf(ThingRepository):
    async def load(self, specs, **options):
        return await super().load(specs[:1], **options)


class ForgetsToUpdate(ThingRepository):
    async def update(self, id, patch, *, scope=None, expected_version=None):
        return await self.get(id, scope)


class UpdatesAll(ThingRepository):
    async def update_where(self, filters, patch, *, scope=None, all_rows=False):
        return await super().update_where([ThingRow.id >= 0], patch, scope=scope)


class GivesTheOld(ThingRepository):
    async def update(self, id, patch, *, scope=None, expected_version=None):
        old = await self.get(id, scope)
        await super().update(id, patch, scope=scope)
        return old


class MindsNoVersion(ThingRepository):
    async def update(self, id, patch, *, scope=None, expected_version=None):
        return await super().update(id, patch, scope=scope)


class Purges(ThingRepository):
    async def delete(self, id, *, scope=None):
        return await self.purge(id, scope=scope)


class DeletesNothing(ThingRepository):
    async def batch_delete(self, ids, *, scope=None):
        return BatchResult([await self.get(id, scope) for id in ids], [])


class ShowsDeleted(ThingRepository):
    async def find(self, id, scope=None, **options):
        return await super().find(id, scope, include_deleted=True)


class RestoresNothing(ThingRepository):
    async def restore(self, id, *, scope=None):
        return await self.get(id, scope, include_deleted=True)


class OnlyMarks(ThingRepository):
    async def purge(self, id, *, scope=None):
        return await self.delete(id, scope=scope)


class RaisesAnother(ThingRepository):
    async def get(self, id, scope=None, **options):
        found = await self.find(id, scope, **options)
        if found is None:
            raise KeyError(id)
        return found


class GivesOneThatIsNot(ThingRepository):
    async def exists(self, scope=None, filters=None, **options):
        return True


class LeavesOut(ThingRepository):
    async def search(self, scope=None, filters=None, pagination=None, **options):
        return await super().search(scope, [ThingRow.uses != 2], pagination, **options)


class LastPageFirst(ThingRepository):
    async def search(self, scope=None, filters=None, pagination=None, **options):
        others = options if isinstance(pagination, NoPagination) else options | {"orders": ()}
        return await super().search(scope, filters, pagination, **others)


class Turns(ThingRepository):
    async def batch_get(self, ids, **options):
        return (await super().batch_get(ids, **options))[::-1]


class ProjectsNothing(ThingRepository):
    async def get(self, id, scope=None, *, into=None, **options):
        found = await super().get(id, scope, **options)
        return found if into is None else into(found.id + 1)


class Upserting(ThingRepository):
    """Things that are upserted by a key which is declared."""

    conflict = Conflict([ThingRow.id])


class UpsertsTwice(Upserting):
    async def upsert(self, spec, *, scope=None, conflict=None):
        return Upserted(await self.create(spec, scope=scope), True)


class InsertsInReverse(Upserting):
    async def upsert(self, spec, *, scope=None, conflict=None, **options):
        done = await super().upsert(spec, scope=scope, conflict=conflict, **options)
        return replace(done, inserted=not done.inserted)


class AllAreNew(Upserting):
    async def batch_upsert(self, specs, **options):
        done = await super().batch_upsert(specs, **options)
        return replace(done, succeeded=[replace(each, inserted=True) for each in done.succeeded])


def turned(result):
    """Give what a batch gives, the last one first."""
    if isinstance(result, list):
        return result[::-1]
    return replace(result, succeeded=result.succeeded[::-1])


def misplaced(result):
    """Give what a partial batch gives, the places of its rows exchanged."""
    places = [success.index for success in result.succeeded][::-1]
    moved = [replace(each, index=place) for each, place in zip(result.succeeded, places, strict=True)]
    return replace(result, succeeded=moved)


def more(result):
    """Give one row more than there are."""
    return replace(result, rows=result.rows + 1) if isinstance(result, PurgeReport) else result + 1


def otherwise(change: Any, *verbs: str) -> Any:
    """Give a repository of which some verbs answer something else."""

    def made(verb: str) -> Any:
        async def call(self, *given, **options):
            return change(await getattr(Upserting, verb)(self, *given, **options))

        return call

    return type("Otherwise", (Upserting,), {verb: made(verb) for verb in verbs})


def deaf(option: str, *verbs: str) -> Any:
    """Give a repository of which some verbs do not mind an option."""

    def made(verb: str) -> Any:
        def call(self, *given, **options):
            return getattr(ThingRepository, verb)(self, *given, **{k: v for k, v in options.items() if k != option})

        return call

    return type("Deaf", (ThingRepository,), {verb: made(verb) for verb in verbs})


MADE, CHANGED, UPSERTED = (
    "test_what_is_made_is_what_its_spec_says",
    "test_what_is_changed_is_what_the_patch_says",
    "test_an_upsert_finds_what_it_made",
)
DELETED, RESTORED = "test_what_is_deleted_is_hidden", "test_what_is_restored_is_there_again"
ORDER, PAGES = "test_a_batch_answers_in_the_order_of_its_input", "test_the_pages_together_are_the_whole"
VERSIONS, PURGED = "test_who_expects_an_old_version_is_refused", "test_what_is_purged_is_gone"

PARTIAL = ["batch_create_partial", "batch_upsert_partial"]
OF_IDS = ["batch_update", "batch_update_each", "batch_delete", "batch_restore", "batch_purge"]
PARTIAL_OF_IDS = ["batch_update_partial", "batch_purge_partial"]
READS = [verb for verb in VERBS if VERBS[verb].does is Does.READ]

ANSWERS = [
    (MADE, (turned, "batch_create", "batch_upsert", *PARTIAL), "gives rows in another order than their specs"),
    (MADE, (misplaced, *PARTIAL), "gives rows in another order than their specs"),
    (MADE, (more, "load"), "of 2 specs makes 2 rows: it gives 3"),
    (ORDER, (turned, *OF_IDS, *PARTIAL_OF_IDS), "gives rows in another order than their ids"),
    (ORDER, (misplaced, *PARTIAL_OF_IDS), "gives rows in another order than their ids"),
    (CHANGED, (more, "update_where"), "does not store what the patch says: it gives 2"),
    (DELETED, (more, "delete_where"), "does not delete: it gives 2"),
    (RESTORED, (more, "restore_where"), "does not restore: it gives 2"),
    (PURGED, (more, "purge_where"), "does not give what it purged: it gives 2"),
    (DELETED, ("include_deleted", *READS), "(include_deleted=True) does not give what delete deleted"),
    (PAGES, ("orders", "search", "stream", "first"), "minds no orders"),
    (VERSIONS, ("expected_versions", *OF_IDS[:2], PARTIAL_OF_IDS[0]), "is not refused"),
]


@pytest.mark.parametrize("law, wrong, complaint", ANSWERS)
async def test_what_answers_wrongly_is_found(db, law, wrong, complaint) -> None:
    """Each verb that does, though it reads and writes the right rows."""
    how, *verbs = wrong
    found = await complaints(of(deaf(*wrong) if isinstance(how, str) else otherwise(*wrong)), law, db)
    assert {re.split(r"\W", each)[0] for each in found if complaint in each} == {*verbs}, found


BROKEN = [
    ("test_data_shows_what_is_stored", Loses, "note is None where the row has 'note 0'"),
    ("test_data_shows_what_is_stored", Swaps, "uses is 1 where the row has 0"),
    ("test_what_is_made_is_what_its_spec_says", Loses, "create gives data whose note is None"),
    ("test_an_entity_leads_back_to_its_row", LosesOnTheWayBack, "note is 'note 0' where None was given"),
    ("test_what_is_made_is_what_its_spec_says", MakesLess, "create does not store"),
    ("test_what_is_made_is_what_its_spec_says", LoadsHalf, "load of 2 specs makes 1 rows"),
    ("test_what_is_changed_is_what_the_patch_says", ForgetsToUpdate, "update does not store"),
    ("test_what_is_changed_is_what_the_patch_says", UpdatesAll, "update_where of one row changes another one"),
    ("test_what_is_changed_is_what_the_patch_says", GivesTheOld, "update gives other data than find"),
    ("test_who_expects_an_old_version_is_refused", MindsNoVersion, "is not refused"),
    ("test_what_is_deleted_is_hidden", Purges, "does not give what delete deleted"),
    ("test_what_is_deleted_is_hidden", DeletesNothing, "get gives what batch_delete deleted"),
    ("test_what_is_deleted_is_hidden", ShowsDeleted, "find gives what delete deleted"),
    ("test_what_is_restored_is_there_again", RestoresNothing, "restore does not restore"),
    ("test_what_is_purged_is_gone", OnlyMarks, "purge leaves the row in the table"),
    ("test_what_is_not_there_is_not_found", RaisesAnother, "get of a row that is not there is to raise EntityNotFound"),
    ("test_what_is_not_there_is_not_found", GivesOneThatIsNot, "exists gives a row that is not there"),
    ("test_the_pages_together_are_the_whole", LeavesOut, "leaves rows out"),
    ("test_the_pages_together_are_the_whole", LastPageFirst, "are not the whole"),
    ("test_every_read_gives_the_row", Turns, "batch_get gives other rows"),
    ("test_projections_show_what_is_stored", ProjectsNothing, "get(into=Key)"),
    (UPSERTED, UpsertsTwice, "upsert of what is there does not find it"),
    (UPSERTED, InsertsInReverse, "upsert says inserted=False of a new row"),
    (UPSERTED, AllAreNew, "batch_upsert says inserted=True of a row that is there"),
]


@pytest.mark.parametrize("law", [UPSERTED, MADE, MADE_FOR])
async def test_upserts_break_no_law(db, law) -> None:
    """Where the key is declared that they go by."""
    assert await complaints(of(Upserting), law, db) == []


@pytest.mark.parametrize("law, repository, complaint", BROKEN, ids=[f"{each[1].__name__}-{each[0]}" for each in BROKEN])
async def test_what_breaks_a_law_is_found(db, law, repository, complaint) -> None:
    """And named, with the verb that does it."""
    found = await complaints(of(repository), law, db)
    assert [each for each in found if complaint in each], found


def declaring(**rules: Any) -> Any:
    """Give a repository of things with other declarations."""
    return type("Declares", (ThingRepository,), rules)


REFUSED, KINDS = "test_what_is_refused_is_refused_in_the_domains_words", "test_each_error_is_of_its_kind"
CODES = "test_each_error_has_a_code_of_its_own"
WRONG = [
    (REFUSED, {"violations": {}}, "create of what is to be refused with NameTaken: it raises EntityAlreadyExists"),
    (REFUSED, {"violations": {"uq_things_live": Elsewhere}}, "it raises Elsewhere"),
    (REFUSED, {"domain": "other"}, None),
    ("test_each_declared_violation_is_shown", {"violations": {"uq_things_live": Elsewhere}}, "to be Elsewhere"),
    (KINDS, {"violations": {"uq_things_live": Elsewhere}}, "have it inherit EntityAlreadyExists, not CheckViolation"),
    (KINDS, {"violations": {StaleVersion: NameTaken}}, "is declared for StaleVersion"),
    (KINDS, {"not_found": NameTaken}, "is declared for not_found"),
    (CODES, {"violations": {"uq_things_live": Odd}}, "small letters"),
    (CODES, {"violations": {"uq_things_live": NameTaken, ScopeMismatch: AlsoTaken}}, "both have the detail"),
]


@pytest.mark.parametrize("law, rules, complaint", WRONG)
async def test_a_declaration_that_is_wrong_is_found(db, law, rules, complaint) -> None:
    """And what is wrong with it is said."""
    found = await complaints(of(declaring(**rules)), law, db)
    assert [each for each in found if complaint and complaint in each] or (found, complaint) == ([], None), found


@pytest.mark.parametrize("name", ["fk_members_group", "members.fk_members_group"])
async def test_the_kind_of_what_still_refers_to_a_row(name) -> None:
    """A foreign key of another table is an error of who removes, not of who is missing something."""
    repository = type("Declares", (GroupRepository,), {"violations": {name: ReferenceNotFound}})
    tried = of(repository)()
    tried._trial = SimpleNamespace(entity=repository.entity)
    with pytest.raises(AssertionError, match=f"for {name}: have it inherit StillReferenced, not ReferenceNotFound"):
        await tried.test_each_error_is_of_its_kind()


async def test_what_is_not_refused_is_found(db) -> None:
    """Where the constraint is gone, or the hook gives what is no fault."""
    free = ThingCreate(99, "free", 1, None)
    refused = {NameTaken: free, InvalidValue: Things().patch(0), KeyError: lambda things: things.find(0, OwnedBy("a"))}
    given = {"refused": lambda self, n: refused}
    found = await complaints(of(ThingRepository, **given), REFUSED, db)
    assert [each for each in found if "create of what is to be refused with NameTaken: it gives" in each]
    assert [each for each in found if "update of what is to be refused with InvalidValue: it gives" in each]
    assert [each for each in found if "the call of what is to be refused with KeyError: it gives" in each]


async def test_a_patch_that_changes_nothing_is_found(db) -> None:
    """With it, no test could tell an update from none."""
    given = {"patch": lambda self, n: ThingPatch(uses=OptionalState.update(n))}
    found = await complaints(of(ThingRepository, **given), "test_what_is_changed_is_what_the_patch_says", db)
    assert found[0] == "patch(0) of OfOthers sets nothing that spec(0) does not: set something else"


async def test_rows_that_meet_are_named(db) -> None:
    """The error says which row it was."""
    given = {"spec": lambda self, n: ThingCreate(1, "name", 1, None)}
    with pytest.raises(EntityAlreadyExists) as met:
        await complaints(of(ThingRepository, **given), "test_every_read_gives_the_row", db)
    assert met.value.__notes__[0].startswith("This is row 2 of OfOthers: each row meets no other one")
