"""The tree of errors: what its docstring draws, what each error carries."""

from __future__ import annotations

import inspect
import re
from typing import Any, cast

import pytest

from rowsmith import errors
from rowsmith.errors import (
    EntityAlreadyExists,
    EntityNotFound,
    ErrorCode,
    ErrorFacts,
    InvalidValue,
    MappingError,
    RepositoryError,
)

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]


def drawn() -> dict[str, str]:
    """Give each name in the drawing with the name it hangs under."""
    path: list[tuple[int, str]] = []
    found: dict[str, str] = {}
    for line in (errors.__doc__ or "").split("The tree::")[1].split("\n\nNo message")[0].splitlines():
        if match := re.match(r"[\s│├└─]*([A-Z]\w+)", line):
            depth = match.start(1)
            path = [entry for entry in path if entry[0] < depth]
            found[match[1]] = path[-1][1] if path else ""
            path.append((depth, match[1]))
    return found


def test_the_drawing_is_the_tree() -> None:
    """Every error stands in the module's docstring, under its base."""
    tree = drawn()
    assert set(tree) == {kind.__name__ for kind in CLASSES}
    for kind in CLASSES:
        bases = {base.__name__ for base in kind.__bases__}
        assert tree[kind.__name__] in bases | {""}, kind


def test_all_are_repository_errors_with_a_detail_of_their_own() -> None:
    """One except clause catches all, and no two share the last part of the code."""
    assert all(issubclass(kind, RepositoryError) for kind in CLASSES)
    details = [kind.detail for kind in CLASSES]
    assert len(set(details)) == len(details)
    assert all(re.fullmatch(r"[a-z_]+", detail) for detail in details)


def test_every_error_goes_by_the_name_that_it_is_imported_by() -> None:
    """In tracebacks, spans and pickles, whichever module of the package it stands in."""
    assert {kind.__module__ for kind in CLASSES} == {errors.__name__}
    assert set(errors.__all__) >= {kind.__name__ for kind in CLASSES}


def test_all_can_be_made_without_arguments_and_teach() -> None:
    """An error class is its own factory: without a message it says what happened, with one it says that."""
    for kind in CLASSES:
        assert str(kind()) == kind.default_message
        assert str(kind("mine")) == "mine"


def test_error_code() -> None:
    """``{domain}_{operation}_{detail}``, with words in place of what is unknown; locating fills gaps only."""
    assert EntityNotFound().error_code == "repository_call_not-found"
    error = EntityNotFound(facts=ErrorFacts(domain="group"))
    error.locate("user", "get")
    assert error.error_code == "group_get_not-found"


def test_an_error_code_has_three_parts_that_are_read_again() -> None:
    """Words within a part are joined by hyphens, in whatever way the application writes them."""

    class NameTaken(EntityAlreadyExists):
        detail = "name_taken"

    code = NameTaken(facts=ErrorFacts("fair_share", "batch_create")).error_code
    assert code.split("_") == ["fair-share", "batch-create", "name-taken"]
    assert ErrorCode.read(code) == ErrorCode("fair_share", "batch_create", "name_taken")
    for kind in CLASSES:
        assert len(kind(facts=ErrorFacts("a_b", "_of_mine")).error_code.split("_")) == 3
    for strange in ("LookupError", "", "a_b", "a_b_", "a_b_c_d", None, 3):
        with pytest.raises(InvalidValue, match="three parts"):
            ErrorCode.read(cast("Any", strange))
    for parts in (("", "create", "taken"), ("group", "_", "taken"), ("group", "create", None)):
        with pytest.raises(InvalidValue, match="three parts"):
            ErrorCode(*cast("Any", parts))


def test_a_mapping_error_is_a_type_error() -> None:
    """A wrongly declared class is a programming mistake, and frameworks treat it as one."""
    with pytest.raises(TypeError):
        raise MappingError
