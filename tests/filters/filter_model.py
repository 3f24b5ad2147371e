"""The filter language, once more and plainly: over dicts, in Python, with three-valued logic.

Written from the language's description alone, it shares no code with ``rowsmith.filters``. A *tree* is what a
client sends, with Python values in place of their JSON forms. None, as a truth value, is SQL's unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Truth = bool | None
Tree = Mapping[str, Any]
Row = Mapping[str, Any]


def conjunction(truths: Iterable[Truth]) -> Truth:
    """AND of Kleene's logic: false if one is, else unknown if one is."""
    known = list(truths)
    if False in known:
        return False
    return None if None in known else True


def disjunction(truths: Iterable[Truth]) -> Truth:
    """OR of Kleene's logic: true if one is, else unknown if one is."""
    known = list(truths)
    if True in known:
        return True
    return None if None in known else False


def complement(truth: Truth) -> bool:
    """NOT of the filter language: whatever is not true."""
    return truth is not True


def _at(document: Any, path: Sequence[Any]) -> tuple[bool, Any]:
    for step in path:
        is_key = isinstance(step, str) and isinstance(document, dict) and step in document
        is_place = isinstance(step, int) and isinstance(document, list) and step < len(document)
        if not (is_key or is_place):
            return False, None
        document = document[step]
    return True, document


def _same_json(left: Any, right: Any) -> bool:
    """JSON knows true from 1, and 1 from 1.0 not."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _path_equals(document: Any, wanted: Mapping[str, Any]) -> bool:
    found, value = _at(document, wanted["path"])
    return found and _same_json(value, wanted["value"])


PLAIN: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda field, value: field == value,
    "in": lambda field, values: field in values,
    "contains": lambda field, text: text in field,
    "starts_with": lambda field, text: field.startswith(text),
    "ends_with": lambda field, text: field.endswith(text),
    "gt": lambda field, value: field > value,
    "gte": lambda field, value: field >= value,
    "lt": lambda field, value: field < value,
    "lte": lambda field, value: field <= value,
    "after": lambda field, value: field > value,
    "at_or_after": lambda field, value: field >= value,
    "before": lambda field, value: field < value,
    "at_or_before": lambda field, value: field <= value,
    "between": lambda field, ends: ends[0] <= field <= ends[1],
    "has_key": lambda field, key: isinstance(field, dict) and key in field,
    "path_equals": _path_equals,
}


@dataclass(frozen=True)
class Model:
    """The rows there are, and what the database's ``lower()`` makes of a character."""

    things: Sequence[Row]
    labels: Sequence[Row]
    lower: Mapping[str, str]

    def matching(self, tree: Tree) -> set[int]:
        """Give the ids of the things for which the tree is true."""
        return {row["id"] for row in self.things if self.truth(tree, row) is True}

    def truth(self, tree: Tree, row: Row) -> Truth:
        """Give what a tree is for a row."""
        return conjunction(self._part(name, given, row) for name, given in tree.items())

    def _part(self, name: str, given: Any, row: Row) -> Truth:
        match name:
            case "AND":
                return conjunction(self.truth(tree, row) for tree in given)
            case "OR":
                return disjunction(self.truth(tree, row) for tree in given)
            case "NOT":
                return complement(self.truth(given, row))
            case "parent" | "children" | "labels" | "thing":
                return conjunction(self._related(name, how, tree, row) for how, tree in given.items())
            case _:
                field = self._field(name, row)
                return conjunction(self._operator(operator, field, value) for operator, value in given.items())

    def _field(self, name: str, row: Row) -> Any:
        if name == "length":
            return None if row["text"] is None else len(row["text"])
        return row[name]

    def _related(self, name: str, how: str, tree: Tree, row: Row) -> bool:
        exists = any(self.truth(tree, other) is True for other in self._others(name, row))
        return exists if how == "exists" else not exists

    def _others(self, name: str, row: Row) -> list[Row]:
        match name:
            case "parent":
                return [other for other in self.things if other["id"] == row["parent_id"]]
            case "children":
                return [other for other in self.things if other["parent_id"] == row["id"]]
            case "labels":
                return [label for label in self.labels if label["thing_id"] == row["id"]]
            case _:
                return [other for other in self.things if other["id"] == row["thing_id"]]

    def _operator(self, name: str, field: Any, value: Any) -> Truth:
        if name == "is_null":
            return (field is None) is value
        if name.startswith("i_"):
            folded = None if field is None else self._fold(field)
            return self._operator(name.removeprefix("i_"), folded, self._fold(value))
        if name.startswith("not_"):
            return complement(self._operator(name.removeprefix("not_"), field, value))
        if name == "in" and not value:
            return False
        return None if field is None else PLAIN[name](field, value)

    def _fold(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._fold(text) for text in value]
        return "".join(self.lower.get(character, character) for character in value)
