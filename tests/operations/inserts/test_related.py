"""What a scope says about rows of other classes: the rows below in a tree, the parents within which is counted."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    PUBLIC,
    AllOf,
    AnyOf,
    Condition,
    EmptyScope,
    InvalidValue,
    MappingError,
    NextValue,
    Not,
    OptionalState,
    PartialResult,
    Patch,
    ReferenceNotFound,
    Repository,
    RepositoryError,
    ScopeError,
    ScopeMismatch,
    ScopeRequired,
    SearchScope,
    Spec,
    Unscoped,
)
from rowsmith.testing import WithTables
from support import count_statements, share
from tenants import stored


class Base(DeclarativeBase):
    pass


class BoardRow(Base):
    __tablename__ = "boards"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("boards.id"))
    cards: Mapped[list[CardRow]] = relationship()
    boards: Mapped[list[BoardRow]] = relationship()


class CardRow(Base):
    __tablename__ = "cards"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    author: Mapped[str] = mapped_column(server_default="me")
    board_id: Mapped[int] = mapped_column(sa.ForeignKey("boards.id", name="fk_cards_board"))
    number: Mapped[int] = mapped_column(server_default="0")
    board: Mapped[BoardRow] = relationship(viewonly=True)
    labels: Mapped[list[LabelRow]] = relationship()


class LabelRow(Base):
    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    card_id: Mapped[int] = mapped_column(sa.ForeignKey("cards.id"))
    word: Mapped[str]


@dataclass(frozen=True)
class LabelCreate(Spec[LabelRow], filled={"card_id"}):
    word: str


@dataclass(frozen=True)
class CardBelow(Spec[CardRow], filled={"board_id"}):
    owner: str
    labels: tuple[LabelCreate, ...] = ()


@dataclass(frozen=True)
class BareCard(Spec[CardRow], filled={"board_id", "owner"}):
    """A card whose owner the scope supplies."""


@dataclass(frozen=True)
class BoardCreate(Spec[BoardRow]):
    tenant: str
    cards: tuple[Any, ...] = ()
    boards: tuple[Any, ...] = ()


@dataclass(frozen=True)
class CardPatch(Patch[CardRow]):
    owner: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class CardMove(Patch[CardRow]):
    board_id: OptionalState[int]


@dataclass(frozen=True)
class CardCreate(Spec[CardRow], filled={"number"}):
    owner: str
    board_id: int


@dataclass(frozen=True)
class CardAnywhere(Spec[CardRow], filled={"owner"}):
    """A card that is created by itself, or below its board."""

    board_id: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class BareBoard(Spec[BoardRow]):
    tenant: str


class Boards(Repository[BoardRow, BoardRow, int]):
    pass


class StrictBoards(Boards):
    scope_required = True


class Cards(Repository[CardRow, CardRow, int]):
    next_value = NextValue(CardRow.number, within=CardRow.board_id)


Related = Mapping[type, Sequence[Condition]]


@dataclass(frozen=True)
class Scope(SearchScope):
    """Conditions on the row itself, and what is said about others."""

    conditions: tuple[Condition, ...]
    related: Any

    def to_conditions(self) -> Sequence[Condition]:
        return self.conditions

    def to_related(self) -> Related:
        given: Related = self.related
        return given


def boards_of(tenant: str, related: Any = None) -> Scope:
    owned = {CardRow: [CardRow.owner == tenant]}
    return Scope((BoardRow.tenant == tenant,), owned if related is None else related)


def wide(related: Any = None) -> Scope:
    return boards_of("a", {CardRow: [CardRow.owner.in_(["a", "c"])], LabelRow: PUBLIC} if related is None else related)


A, B = boards_of("a"), boards_of("b")


@pytest.fixture
async def boards(any_tables: WithTables) -> AsyncIterator[Boards]:
    """Board 1 is a's, board 2 b's."""
    async with any_tables(BoardRow, CardRow, LabelRow) as db:
        made = Boards(db)
        await made.batch_create([BoardCreate("a"), BoardCreate("b")])
        yield made


async def below(boards: Boards) -> list[tuple[Any, ...]]:
    return await stored(boards.db, sa.select(CardRow.owner).order_by(CardRow.id))


async def answer(call: Awaitable[Any]) -> tuple[Any, ...]:
    with pytest.raises(RepositoryError) as caught:
        await call
    error = caught.value
    return type(error), str(error), repr(error), error.facts, error.__cause__, error.__context__


async def test_a_child_says_nothing_of_the_row_above(boards: Boards) -> None:
    """What is left out is left out in any form; another row's key is refused, whoever has that."""
    for create in (boards.create, lambda board, scope: boards.batch_create([board, board], scope=scope)):
        await create(BoardCreate("a", (CardAnywhere(), CardAnywhere())), scope=A)
        for other in (1, 2, 99):
            with pytest.raises(InvalidValue, match=r"CardRow.board_id is given by the row above: leave it out"):
                await create(BoardCreate("a", (CardAnywhere(OptionalState.update(other)),)), scope=A)
            one_of_two = [BoardCreate("a"), BoardCreate("a", (CardAnywhere(OptionalState.update(other)),))]
            with pytest.raises(InvalidValue, match=r"the spec at index 1: CardRow.board_id is given"):
                await boards.batch_create(one_of_two, scope=A)
    cards = await stored(boards.db, sa.select(CardRow.board_id).order_by(CardRow.board_id))
    assert [len({1, 2}.intersection(card)) for card in cards] == [0] * 6


async def test_what_is_said_about_a_child_is_stamped_and_held(boards: Boards) -> None:
    """Equalities are stamped, what cannot be is verified; a row that says otherwise undoes the whole tree."""
    await boards.create(BoardCreate("a", (BareCard(),)), scope=A)
    await boards.create(BoardCreate("a", (CardBelow("c", (LabelCreate("x"),)),)), scope=wide())
    assert await below(boards) == [("a",), ("c",)]
    for scope in (A, wide(), AllOf(wide(), A), AllOf(A, boards_of("a", {CardRow: PUBLIC}))):
        for specs in ([BoardCreate("a", (CardBelow("b"),))], [BoardCreate("a"), BoardCreate("a", (CardBelow("b"),))]):
            with pytest.raises(ScopeMismatch):
                await boards.batch_create(specs, scope=scope)
            (failure,) = (await boards.batch_create_partial(specs[-1:], scope=scope)).failed
            assert isinstance(failure.error, ScopeMismatch)
            with pytest.raises(ScopeMismatch):
                await boards.load(specs, scope=scope)
    assert await boards.count() == 4
    assert await below(boards) == [("a",), ("c",)]


async def test_children_of_the_same_class_are_under_the_scope_itself(boards: Boards) -> None:
    """A tree of one class needs no word more."""
    nested = (BoardCreate("a", boards=(BoardCreate("b"),)),)
    for scope in (boards_of("a", {}), boards_of("a", {BoardRow: PUBLIC})):
        with pytest.raises(ScopeMismatch):
            await boards.create(BoardCreate("a", boards=(BoardCreate("b"),)), scope=scope)
        with pytest.raises(ScopeMismatch):
            await boards.create(BoardCreate("a", boards=nested), scope=scope)
        await boards.create(BoardCreate("a", boards=(BoardCreate("a"),)), scope=scope)


@pytest.mark.parametrize(
    "given", [3, "ab", {}, (CardPatch(),), (CardBelow("a"), CardPatch()), (3,), iter(()), CardPatch]
)
async def test_what_is_below_is_known_to_be_specs_before_anything_is_sent(boards: Boards, given: Any) -> None:
    """A list of specs of the rows below, and not what changes one, however deep; nor what can be read only once.

    Of a spec that was given by itself no index is named.
    """
    spec = BoardCreate("a", given)
    for whole in (spec, BoardCreate("a", boards=(spec,))):
        with count_statements(boards.db) as sent, pytest.raises((MappingError, InvalidValue)) as caught:
            await boards.create(whole)
        assert "index" not in str(caught.value)
        assert getattr(caught.value, "index", None) is None
        assert sent == []
    alone: list[Any] = [lambda spec: failing(boards.batch_create_partial([spec]))]
    among: list[Any] = [boards.batch_create, boards.load]
    for last, first in ((spec, []), (BoardCreate("a", boards=(spec,)), [BoardCreate("a")])):
        for index, call in (
            *((0, verb(last)) for verb in alone),
            *((len(first), verb([*first, last])) for verb in among),
        ):
            refused = pytest.raises((MappingError, InvalidValue), match=f"the spec at index {index}: ")
            with count_statements(boards.db) as sent, refused:
                await call
            assert [statement for statement in sent if "SAVEPOINT" not in statement] == []
    with pytest.raises((MappingError, InvalidValue), match="the spec at index 1: "):
        await boards.load(iter([BoardCreate("a"), spec]))
    assert await boards.count() == 2


async def failing(call: Awaitable[PartialResult[BoardRow]]) -> None:
    """Have what failed in a partial batch undone, and raised."""
    for failure in (await call).failed:
        raise failure.error


@pytest.mark.parametrize("given", [3, {}, iter(())], ids=["number", "mapping", "iterator"])
async def test_what_is_no_list_below_is_the_fault_of_its_own_item(boards: Boards, given: Any) -> None:
    """In a partial batch the others are created, their rows below too."""
    good = BoardCreate("a", (CardBelow("x"),))
    result = await boards.batch_create_partial([good, BoardCreate("a", boards=(BoardCreate("a", given),)), good])
    assert [item.index for item in result.succeeded] == [0, 2]
    ((index, error),) = [(failure.index, failure.error) for failure in result.failed]
    assert isinstance(error, InvalidValue)
    assert (index, error.index) == (1, 1)
    assert "the spec at index 1: BoardCreate.cards holds a list of specs, not " in str(error)
    assert await below(boards) == [("x",), ("x",)]


async def test_a_tree_that_holds_itself_is_refused(boards: Boards) -> None:
    """Before anything is sent, with its index; one that holds another twice ends, and is created."""
    inner = list[BoardCreate]()
    endless = BoardCreate("a", boards=(BoardCreate("a", boards=cast("Any", inner)),))
    inner.append(endless)
    for call in (
        boards.create(endless),
        boards.create(inner[0].boards[0]),
        boards.batch_create([endless]),
        boards.load(iter([endless])),
    ):
        with (
            count_statements(boards.db) as sent,
            pytest.raises(InvalidValue, match="holds a spec that is below itself"),
        ):
            await call
        assert [statement for statement in sent if "SAVEPOINT" not in statement] == []
    twice = BoardCreate("a")
    result = await boards.batch_create_partial([endless, BoardCreate("a", boards=(twice, twice))])
    assert [(failure.index, type(failure.error)) for failure in result.failed] == [(0, InvalidValue)]
    assert await boards.count() == 2 + 3


async def test_a_tree_may_be_of_any_depth(boards: Boards) -> None:
    """Deeper than Python lets calls be within each other; a value far down is told by the index of its own tree."""

    def deep(name: Any) -> BoardCreate:
        tree = BoardCreate(name)
        for _ in range(sys.getrecursionlimit() + 100):
            tree = BoardCreate("a", boards=(tree,))
        return tree

    result = await boards.batch_create_partial([deep("a"), deep(5)])
    assert [failure.index for failure in result.failed] == [1]
    assert "the spec at index 1: BoardRow.tenant holds text" in str(result.failed[0].error)
    assert await boards.count() == 2 + sys.getrecursionlimit() + 101


async def test_silence_is_refused_where_a_scope_is_required(boards: Boards) -> None:
    """The message says what to write; PUBLIC rows are free, and so is a call that says it is unscoped."""
    strict = StrictBoards(boards.db)
    spec = BoardCreate("a", (CardBelow("b"),))
    with pytest.raises(ScopeRequired, match=r"Scope says nothing about CardRow: write Scope\.to_related\(\)"):
        await strict.create(spec, scope=boards_of("a", {}))
    deep = BoardCreate("a", (CardBelow("a", (LabelCreate("x"),)),))
    for call in (
        strict.create(deep, scope=A),
        strict.batch_create([deep, deep], scope=A),
        strict.load([deep], scope=A),
    ):
        with count_statements(boards.db) as sent, pytest.raises(ScopeRequired, match="nothing about LabelRow"):
            await call
        assert sent == []
    assert await below(boards) == []
    await strict.create(BoardCreate("a"), scope=boards_of("a", {}))
    await strict.create(deep, scope=wide())
    await strict.create(spec, scope=boards_of("a", {CardRow: PUBLIC}))
    await strict.create(spec, scope=Unscoped(reason="test"))
    await boards.create(spec, scope=boards_of("a", {}))
    await boards.create(spec)
    assert [owner for (owner,) in await below(boards)] == ["a", "b", "b", "b", "b"]


COMBINED: dict[str, tuple[SearchScope, set[str]]] = {
    "any of": (AnyOf(A, B), {"a"}),
    "any of, one silent": (AnyOf(A, boards_of("c", {})), {"a"}),
    "any of, a condition": (AnyOf(A, BoardRow.tenant == "c"), {"a"}),
    "any of, one public": (AnyOf(A, boards_of("c", {CardRow: PUBLIC})), {"a"}),
    "any of, this one public": (AnyOf(boards_of("a", {CardRow: PUBLIC}), B), {"a", "b", "c"}),
    "all of": (AllOf(wide(), boards_of("a", {CardRow: [CardRow.owner > "a"]})), {"c"}),
    "all of, one public": (AllOf(A, boards_of("a", {CardRow: PUBLIC})), {"a"}),
    "all of, all public": (AllOf(boards_of("a", {CardRow: PUBLIC}), BoardRow.tenant == "a"), {"a", "b", "c"}),
    "not": (Not(B), {"a", "c"}),
    "not public": (Not(boards_of("b", {CardRow: PUBLIC})), {"a", "b", "c"}),
    "nested": (AllOf(AnyOf(A, B), Not(B)), {"a"}),
}


@pytest.mark.parametrize("scope, owners", COMBINED.values(), ids=COMBINED)
async def test_scopes_are_combined_for_children_too(boards: Boards, scope: SearchScope, owners: set[str]) -> None:
    """Any, all and the complement, of those that the row above is in; a silent one adds nothing to what others say."""
    strict, made = StrictBoards(boards.db), set[str]()
    for owner in ("a", "b", "c"):
        try:
            await strict.create(BoardCreate("a", (CardBelow(owner),)), scope=scope)
        except ScopeMismatch:
            continue
        made.add(owner)
    assert made == owners


def whole_of(tenant: str) -> Scope:
    return boards_of(tenant, {CardRow: [CardRow.owner == tenant], LabelRow: [LabelRow.word == tenant]})


TREES: dict[str, Callable[[Boards, BoardCreate, SearchScope], Awaitable[Any]]] = {
    "create": lambda boards, spec, scope: boards.create(spec, scope=scope),
    "batch_create": lambda boards, spec, scope: boards.batch_create([BoardCreate("a"), spec], scope=scope),
    "load": lambda boards, spec, scope: boards.load([BoardCreate("b"), spec], scope=scope),
    "partial": lambda boards, spec, scope: one_failure(boards.batch_create_partial([spec], scope=scope)),
}
EITHER = AnyOf(whole_of("a"), whole_of("b"))


OF_BOTH: dict[str, SearchScope] = {
    "any": EITHER,
    "one silent": AnyOf(whole_of("a"), whole_of("b"), boards_of("c", {})),
    "a condition": AnyOf(whole_of("a"), whole_of("b"), BoardRow.tenant == "c"),
    "nested": AnyOf(AnyOf(whole_of("a"), whole_of("c")), whole_of("b")),
    "all": AllOf(EITHER, Scope((BoardRow.id > 0,), {CardRow: PUBLIC, LabelRow: PUBLIC})),
    "all, a condition": AllOf(EITHER, BoardRow.id > 0),
}


@pytest.mark.parametrize("create, name", share(product(TREES.values(), OF_BOTH), 5))
async def test_all_rows_of_a_tree_are_inside_the_same_one_of_several_scopes(
    boards: Boards, name: str, create: Any
) -> None:
    """Each and the one above it, whatever the verb and however deep; nothing of a tree that crosses is written."""
    scope = OF_BOTH[name]
    mine, theirs = CardBelow("a", (LabelCreate("a"),)), CardBelow("b", (LabelCreate("b"),))
    for crossing in (
        BoardCreate("a", (mine, theirs)),
        BoardCreate("b", (CardBelow("b", (LabelCreate("a"),)),)),
        BoardCreate("b", boards=(BoardCreate("a"),)),
        BoardCreate("a", boards=(BoardCreate("a", (theirs,)),)),
    ):
        with pytest.raises(ScopeMismatch):
            await create(boards, crossing, scope)
    assert (await boards.count(), await below(boards)) == (2, [])
    for tenant, card in (("a", mine), ("b", theirs)):
        await boards.batch_create([BoardCreate(tenant, (card, card), (BoardCreate(tenant, (card,)),))], scope=scope)
    assert (await boards.count(), await below(boards)) == (6, [("a",)] * 3 + [("b",)] * 3)


@pytest.mark.parametrize(
    "related, kind",
    [
        ({CardRow: []}, EmptyScope),
        ({CardRow: CardRow.owner == "a"}, ScopeError),
        ({CardRow: "owner"}, ScopeError),
        ({"CardRow": PUBLIC}, ScopeError),
        ([CardRow.owner == "a"], ScopeError),
    ],
)
async def test_what_says_nothing_is_refused(boards: Boards, related: Any, kind: type[ScopeError]) -> None:
    """An empty list is no PUBLIC, and what is no mapping of classes to conditions is said to be so."""
    for scope in (boards_of("a", related), AnyOf(boards_of("a", related), B)):
        with count_statements(boards.db) as sent, pytest.raises(kind, match=r"to_related\(\) (gave|gives|names)"):
            await boards.create(BoardCreate("a", (CardBelow("b"),)), scope=scope)
        assert sent == []
    assert await below(boards) == []


class Broken(Exception):
    pass


def breaking() -> Any:
    raise Broken


@dataclass(frozen=True)
class BrokenScope(Scope):
    """Raises as it is asked about other rows."""

    def to_related(self) -> Related:
        raise Broken


BROKEN: dict[str, tuple[SearchScope, SearchScope, type[Exception]]] = {
    "raises": (BrokenScope((BoardRow.tenant == "a",), None), BrokenScope((CardRow.owner == "a",), None), Broken),
    "has a condition that raises": (
        boards_of("a", {CardRow: [breaking]}),
        Scope((CardRow.owner == "a",), {BoardRow: [breaking]}),
        Broken,
    ),
    "has a value of another kind": (
        boards_of("a", {CardRow: [CardRow.owner == 5]}),
        Scope((CardRow.owner == "a",), {BoardRow: [BoardRow.tenant == 5]}),
        InvalidValue,
    ),
    "part of another": (
        AnyOf(A, BrokenScope((BoardRow.tenant == "a",), None)),
        AllOf(BrokenScope((CardRow.owner == "a",), None)),
        Broken,
    ),
}


@pytest.mark.parametrize("of_boards, of_cards, kind", BROKEN.values(), ids=BROKEN)
async def test_what_a_scope_raises_is_the_fault_of_no_item(
    boards: Boards, of_boards: SearchScope, of_cards: SearchScope, kind: type[Exception]
) -> None:
    """It ends a partial form as it ends the others, in a tree and where rows are numbered; nothing is kept."""
    cards, tree = Cards(boards.db), BoardCreate("a", (CardBelow("a"),))
    for specs in ([tree], [BoardCreate("a"), tree, BoardCreate("a")]):
        for create in (boards.batch_create, boards.batch_create_partial):
            with pytest.raises(kind):
                await create(specs, scope=of_boards)
    for size in (1, 2):
        for number in (cards.batch_create, cards.batch_create_partial):
            with pytest.raises(kind):
                await number([CardCreate("a", 1)] * size, scope=of_cards)
    assert await boards.count() == 2
    assert await below(boards) == []


async def test_what_is_created_by_itself_has_no_index(boards: Boards) -> None:
    """The row at the top of one tree, and one that is numbered: of neither is there another in the call."""
    cards, wide = Cards(boards.db), cards_of(OWNED, CardRow.id < 0, related={BoardRow: PUBLIC})
    calls: list[tuple[Callable[[], Awaitable[Any]], type[Any]]] = [
        (lambda: boards.create(BoardCreate("a", (CardBelow("b"),)), scope=A), ScopeMismatch),
        (lambda: boards.create(BoardCreate("a", (CardBelow(cast("Any", 5)),)), scope=A), InvalidValue),
        (lambda: cards.create(CardCreate("b", 1), scope=wide), ScopeMismatch),
        (lambda: cards.create(CardCreate("a", 1), scope=wide), ScopeMismatch),
        (lambda: cards.create(CardCreate("a", cast("Any", "x")), scope=wide), InvalidValue),
    ]
    for call, kind in calls:
        with pytest.raises(kind) as caught:
            await call()
        assert caught.value.index is None
        assert "index" not in str(caught.value)


def cards_of(*conditions: Condition, related: Any = None) -> Scope:
    return Scope(conditions, {} if related is None else related)


OWNED = CardRow.owner == "a"
PARENTS: dict[str, SearchScope] = {
    "said": cards_of(OWNED, related={BoardRow: [BoardRow.tenant == "a"]}),
    "said, verified": cards_of(CardRow.owner.in_(["a"]), related={BoardRow: [BoardRow.tenant.in_(["a", "c"])]}),
    "any of": AnyOf(
        cards_of(OWNED, related={BoardRow: [BoardRow.tenant == "a"]}),
        cards_of(CardRow.owner == "c", related={BoardRow: [BoardRow.tenant == "c"]}),
    ),
    "decided by a relationship": cards_of(CardRow.board.has(BoardRow.tenant == "a")),
    "decided by a subquery": cards_of(
        CardRow.board_id.in_(sa.select(BoardRow.id).where(BoardRow.tenant == "a")), CardRow.id > 0
    ),
    "decided by a value": cards_of(CardRow.board_id == 1),
}
Create = Callable[[Cards, CardCreate, SearchScope], Awaitable[Any]]


async def one_failure(call: Awaitable[Any]) -> None:
    raise (await call).failed[0].error


CREATES: dict[str, Create] = {
    "create": lambda cards, spec, scope: cards.create(spec, scope=scope),
    "batch_create": lambda cards, spec, scope: cards.batch_create([CardCreate("a", 1), spec], scope=scope),
    "load": lambda cards, spec, scope: cards.load([spec], scope=scope),
    "partial": lambda cards, spec, scope: one_failure(cards.batch_create_partial([spec], scope=scope)),
}


@pytest.mark.parametrize("create", CREATES.values(), ids=CREATES)
@pytest.mark.parametrize("scope", PARENTS.values(), ids=PARENTS)
async def test_a_foreign_parent_is_an_absent_one(boards: Boards, scope: SearchScope, create: Create) -> None:
    """Neither is counted within, and the answers are the same; the own parent is."""
    cards = Cards(boards.db)
    await cards.batch_create([CardCreate("b", 2)] * 3)
    absent = await answer(create(cards, CardCreate("a", 99), scope))
    assert absent[0] in (ReferenceNotFound, ScopeMismatch)
    assert await answer(create(cards, CardCreate("a", 2), scope)) == absent
    assert (await cards.create(CardCreate("a", 1), scope=scope)).number == 1
    assert await cards.count() == 4


async def test_a_row_is_counted_within_a_parent_of_the_same_one_of_several_scopes(boards: Boards) -> None:
    """A new one and one that is moved; another's parent is as an absent one."""
    cards, scope = Cards(boards.db), PARENTS["any of"]
    await boards.create(BoardCreate("c"))
    for create in CREATES.values():
        absent = await answer(create(cards, CardCreate("c", 99), scope))
        assert await answer(create(cards, CardCreate("c", 1), scope)) == absent
    made = await cards.create(CardCreate("c", 3), scope=scope)
    moved = CardMove(OptionalState.update(1))
    absent = await answer(cards.update(made.id, CardMove(OptionalState.update(99)), scope=scope))
    assert await answer(cards.update(made.id, moved, scope=scope)) == absent
    for call in (
        cards.batch_update([made.id], moved, scope=scope),
        cards.batch_update_each({made.id: moved}, scope=scope),
    ):
        assert (await answer(call))[0] is ReferenceNotFound
    assert [(card.owner, card.board_id, card.number) async for card in cards.stream()] == [("c", 3, 1)]


class ShelfRow(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]


class BookRow(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    shelf_id: Mapped[int] = mapped_column(sa.ForeignKey("shelves.id"))
    number: Mapped[int]


@dataclass(frozen=True)
class ShelfCreate(Spec[ShelfRow]):
    tenant: str


@dataclass(frozen=True)
class BookCreate(Spec[BookRow], filled={"number"}):
    tenant: str
    shelf_id: int


class Shelves(Repository[ShelfRow, ShelfRow, int]):
    pass


class Books(Repository[BookRow, BookRow, int]):
    next_value = NextValue(BookRow.number, within=BookRow.shelf_id)


async def test_equalities_hold_for_a_parents_columns_of_the_same_names(any_tables: WithTables) -> None:
    """A scope that says nothing about the parent's class still keeps to its tenant."""
    async with any_tables(ShelfRow, BookRow) as db:
        await Shelves(db).batch_create([ShelfCreate("a"), ShelfCreate("b")])
        books, scope = Books(db), Scope((BookRow.tenant == "a",), {})
        absent = await answer(books.create(BookCreate("a", 99), scope=scope))
        assert absent[0] is ReferenceNotFound
        assert await answer(books.create(BookCreate("a", 2), scope=scope)) == absent
        assert (await books.create(BookCreate("a", 1), scope=scope)).number == 1
        free = Scope((BookRow.tenant == "a",), {ShelfRow: PUBLIC})
        assert (await books.create(BookCreate("a", 2), scope=free)).number == 1
        assert (await books.create(BookCreate("b", 2), scope=Unscoped(reason="test"))).number == 2


async def test_a_scope_that_does_not_tell_whose_parents_are_meant_is_refused(boards: Boards) -> None:
    """Absent, foreign and own parents alike; the message says what to write."""
    cards = Cards(boards.db)
    answers = {(await answer(cards.create(CardCreate("a", board), scope=cards_of(OWNED))))[:3] for board in (1, 2, 99)}
    assert len(answers) == 1
    with pytest.raises(ScopeRequired, match="Scope says nothing about BoardRow"):
        await cards.create(CardCreate("a", 1), scope=cards_of(OWNED))
    assert (await cards.create(CardCreate("a", 1), scope=cards_of(OWNED, related={BoardRow: PUBLIC}))).number == 1


async def test_trees_are_loaded_among_other_rows(any_tables: WithTables) -> None:
    """In chunks of any size, whose statements follow each other as the rows below need it."""
    cards = (CardBelow("x"), CardBelow("y", (LabelCreate("w"),)))
    specs = [*map(BareBoard, "abcde"), BoardCreate("f", cards), *map(BareBoard, "gh"), BoardCreate("i", cards[:1])]
    async with any_tables(BoardRow, CardRow, LabelRow) as db:
        for rounds, size in enumerate((1, 2, 4, 99), start=1):
            told = list[int]()
            assert await Boards(db).load(iter(specs), chunk_size=size, progress=told.append) == 9
            assert told[-1] == 9
            held = await stored(db, sa.select(BoardRow.tenant, CardRow.owner).join(CardRow, isouter=True))
            pairs = [*((tenant, None) for tenant in "abcdegh"), ("f", "x"), ("f", "y"), ("i", "x")]
            assert sorted(held, key=repr) == sorted(pairs * rounds, key=repr)
