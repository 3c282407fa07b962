"""Every observation kind, generated from its own field types: what the wire carries comes back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import ObservationError
from devices.observations import KINDS, Observation
from devices.tables import TABLES


def _values(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.StrType(pattern=pattern) if pattern:
            return st.from_regex(pattern.replace("$", r"\Z"))
        case msgspec.inspect.StrType(min_length=low, max_length=high):
            return st.text(min_size=low or 0, max_size=high)
        case msgspec.inspect.BytesType(min_length=low):
            # whole 16-bit numbers, so that a blob suits kinds of either width
            return st.binary(min_size=low or 0, max_size=40).map(lambda blob: blob * 2)
        case msgspec.inspect.IntType(ge=low, le=high):
            return st.integers(low, high)
        case msgspec.inspect.FloatType(ge=low, le=high):
            return st.floats(low, high)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([_values(one) for one in types])
        case msgspec.inspect.Metadata(type=inner):
            return _values(inner)
        case _:
            raise NotImplementedError(f"no strategy for {kind}")


def observations(cls: type[Observation]) -> st.SearchStrategy[Observation]:
    """Instances whose every field its type allows."""
    fields = msgspec.inspect.type_info(cls).fields  # pyright: ignore[reportAttributeAccessIssue]
    return st.builds(cls, **{field.name: _values(field.type) for field in fields})


any_observation = st.one_of([observations(cls) for cls in KINDS.values()])


@given(any_observation)
def test_what_is_packed_comes_back(observation):
    packed = msgspec.msgpack.encode(observation)
    assert msgspec.msgpack.decode(packed, type=type(observation)) == observation


def _fault(observation: Observation) -> str | None:
    try:
        observation.check()
    except ObservationError as error:
        return str(error)
    return None


@given(any_observation)
def test_a_check_finds_fault_in_words_or_the_sample_makes_sense(observation):
    fault = _fault(observation)
    if fault is None:
        assert observation.sample_count >= 0
        assert observation.end_utc >= observation.start_utc
    else:
        assert len(fault.split()) > 2


@given(any_observation)
def test_the_registry_knows_every_instance(observation):
    assert KINDS[observation.kind] is type(observation)
    assert observation.kind in TABLES


@given(st.sampled_from(list(KINDS.values())).flatmap(observations), st.data())
def test_a_field_outside_its_type_is_refused(observation, data):
    position = data.draw(st.integers(0, len(observation.__struct_fields__) - 1))
    fields = list(msgspec.to_builtins(observation))
    fields[position] = [["no", "field", "is", "a", "list"]]
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=type(observation))


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_safe_as_folder_topic_and_table(kind):
    assert kind.replace("_", "").isascii()
    assert kind == kind.lower()
    assert kind.isidentifier()
