"""States of a patch's field, alone and as pydantic reads them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticSerializationError
from sqlalchemy import column

from rowsmith.errors import InvalidValue
from rowsmith.state import UNSET, OptionalState, TriState


class Address(BaseModel):
    city: str


class ModelPatch(BaseModel):
    name: OptionalState[str] = OptionalState.nop()
    note: TriState[int] = TriState.nop()
    address: TriState[Address] = TriState.nop()


@dataclass(frozen=True)
class StdlibPatch:
    name: OptionalState[str] = OptionalState.nop()
    note: TriState[int] = TriState.nop()


@pydantic_dataclass(frozen=True)
class PydanticPatch:
    name: OptionalState[str] = OptionalState.nop()
    note: TriState[int] = TriState.nop()


PATCHES = [ModelPatch, StdlibPatch, PydanticPatch]


def increment() -> Any:
    return column("uses") + 1


STATES = [
    OptionalState.nop(),
    OptionalState.update(1),
    OptionalState.update(2),
    OptionalState.expression(increment),
    TriState.nop(),
    TriState.nullify(),
    TriState.update(1),
    TriState.expression(increment),
]


@pytest.mark.parametrize("left", range(len(STATES)))
@pytest.mark.parametrize("right", range(len(STATES)))
def test_equality_and_hash_go_by_class_kind_and_value(left: int, right: int) -> None:
    """Two states are equal exactly when class, kind and value are, and equal ones have equal hashes."""
    twin = copy.copy(STATES[right])
    assert (STATES[left] == twin) is (left == right)
    assert (left == right) <= (hash(STATES[left]) == hash(twin))


def test_a_state_of_an_unhashable_value_is_unhashable() -> None:
    """The hash is the value's hash, or there is none."""
    with pytest.raises(TypeError):
        hash(OptionalState.update([]))


@pytest.mark.parametrize("state", STATES)
def test_states_survive_pickle_and_copy(state: Any) -> None:
    """A state comes back equal from pickle and from a deep copy."""
    assert pickle.loads(pickle.dumps(state)) == copy.deepcopy(state) == state  # noqa: S301


@pytest.mark.parametrize("state", STATES)
def test_states_are_immutable(state: Any) -> None:
    """No attribute of a state can be set or deleted, not even a new one."""
    for name in ("_held", "anything"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(state, name, 1)
        with pytest.raises(AttributeError, match="immutable"):
            delattr(state, name)


def test_repr_names_the_kind_and_never_the_value() -> None:
    """A logged patch says what it does to a field, and nothing of the row."""
    shown = [repr(state) for state in (*STATES[:2], *STATES[3:6])]
    assert shown == [
        "OptionalState.nop()",
        "OptionalState.update(...)",
        "OptionalState.expression(...)",
        "TriState.nop()",
        "TriState.nullify()",
    ]
    assert "secret" not in repr(ModelPatch(name=OptionalState.update("secret")))


def test_what_a_state_says_to_write() -> None:
    """`to_value` is the value, None, UNSET or the expression, and the questions agree with it."""
    assert OptionalState.nop().to_value() is TriState.nop().to_value() is UNSET
    assert OptionalState.update("x").to_value() == OptionalState.update("x").value == "x"
    assert TriState.nullify().to_value() is TriState.nullify().value is None
    assert str(OptionalState.expression(increment).to_value()) == str(increment())
    assert [state.is_nop for state in STATES] == [True, False, False, False, True, False, False, False]
    assert [state.is_expression for state in STATES] == [False, False, False, True, False, False, False, True]
    assert TriState.nullify().is_nullify
    assert not TriState.nop().is_nullify
    assert not UNSET
    assert repr(UNSET) == "UNSET"


def test_the_value_of_an_expression_is_not_known() -> None:
    """Asking an expression for its value raises and names the call that works."""
    with pytest.raises(InvalidValue, match="to_value"):
        _ = TriState.expression(increment).value


def test_none_is_no_value_of_a_tristate() -> None:
    """NULL has one spelling."""
    with pytest.raises(InvalidValue, match="nullify"):
        TriState.update(None)


@pytest.mark.parametrize("patch", PATCHES)
def test_an_absent_field_is_a_nop(patch: type[Any]) -> None:
    """A field that the JSON body leaves out is left as it is."""
    assert TypeAdapter(patch).validate_json("{}") == patch(name=OptionalState.nop(), note=TriState.nop())


@pytest.mark.parametrize("patch", PATCHES)
def test_a_plain_value_is_an_update(patch: type[Any]) -> None:
    """A field of the body is validated as the state's type and becomes its update."""
    read = TypeAdapter(patch).validate_json('{"name": "x", "note": "3"}')
    assert read == patch(name=OptionalState.update("x"), note=TriState.update(3))


@pytest.mark.parametrize("patch", PATCHES)
def test_null_nullifies_a_tristate_only(patch: type[Any]) -> None:
    """`null` is NULL for a TriState and refused by an OptionalState."""
    assert TypeAdapter(patch).validate_json('{"note": null}').note == TriState.nullify()
    with pytest.raises(ValidationError):
        TypeAdapter(patch).validate_json('{"name": null}')


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("body", ['{"note": "x"}', '{"name": 1}', '{"name": {"kind": "nop"}}'])
def test_values_of_another_type_are_refused(patch: type[Any], body: str) -> None:
    """The value inside a state is validated like any field."""
    with pytest.raises(ValidationError):
        TypeAdapter(patch).validate_json(body)


def test_a_given_state_is_validated_inside() -> None:
    """A state handed over in Python has its value checked against the field's type."""
    with pytest.raises(ValidationError):
        ModelPatch.model_validate({"note": TriState.update("x")})
    counter = TriState.expression(increment)
    assert ModelPatch.model_validate({"note": counter}).note == counter
    with pytest.raises(ValidationError):
        ModelPatch.model_validate({"note": OptionalState.update(1)})


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_json_schema(patch: type[Any], mode: Any) -> None:
    """The schema shows the plain types, null for TriState only, nothing required, no default."""
    schema = TypeAdapter(patch).json_schema(mode=mode)
    assert schema["properties"]["name"] == {"title": "Name", "type": "string"}
    assert schema["properties"]["note"] == {"title": "Note", "anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert "required" not in schema


def test_json_schema_of_a_state_without_default_is_required() -> None:
    """A state that has no default must be given, and a model inside is a clean reference."""

    class Whole(BaseModel):
        address: OptionalState[Address]
        other: OptionalState[Address] = OptionalState.nop()

    schema = Whole.model_json_schema()
    assert schema["required"] == ["address"]
    assert schema["properties"]["other"] == {"allOf": [{"$ref": "#/$defs/Address"}]}
    assert "default" not in schema["$defs"]["Address"]


def test_dumping_leaves_nops_out() -> None:
    """What was not given is not sent: absent without defaults, UNSET in Python, an error rather than a null."""
    patch = ModelPatch(note=TriState.nullify(), address=TriState.update(Address(city="Rome")))
    assert patch.model_dump_json(exclude_defaults=True) == '{"note":null,"address":{"city":"Rome"}}'
    assert patch.model_dump_json(exclude_unset=True) == '{"note":null,"address":{"city":"Rome"}}'
    assert patch.model_dump() == {"name": UNSET, "note": None, "address": {"city": "Rome"}}
    assert ModelPatch.model_validate(patch.model_dump()) == patch
    with pytest.raises(PydanticSerializationError, match="exclude_defaults=True"):
        patch.model_dump_json()


def test_an_expression_has_no_json_form() -> None:
    """SQL is not sent to clients."""
    with pytest.raises(PydanticSerializationError, match="no JSON form"):
        ModelPatch(note=TriState.expression(increment)).model_dump_json(exclude_defaults=True)
