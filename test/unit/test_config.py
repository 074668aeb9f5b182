import contextlib
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception_node.config import Config, from_flat, load
from perception_node.errors import ConfigError
from perception_node.parameters import check_value, parameters, value_of

ALL = list(parameters(Config))
NUMBERS = [p for p in ALL if p.type in (int, float) and p.low is not None]


def test_defaults_are_valid_and_every_parameter_is_described():
    config = Config()
    for parameter in ALL:
        assert check_value(parameter, value_of(config, parameter.name)) == parameter.default
        assert len(parameter.words) > 5, parameter.name
    for parameter in ALL:
        if parameter.name.rsplit("_", 1)[-1] in ("m", "s", "px", "rad", "kg"):
            assert parameter.unit, parameter.name


@given(st.sampled_from(NUMBERS), st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_in_range_or_refused_with_its_name(parameter, value):
    if isinstance(value, int) or math.isfinite(value):
        value = parameter.type(value)
    if math.isfinite(value) and parameter.low <= value <= parameter.high:
        assert check_value(parameter, value) == value
    else:
        with pytest.raises(ConfigError, match=parameter.name):
            check_value(parameter, value)


@given(st.sampled_from(ALL), st.one_of(st.none(), st.text(), st.booleans(), st.integers(), st.lists(st.integers(), max_size=5)))
def test_any_value_is_taken_or_refused_but_never_a_traceback(parameter, value):
    with contextlib.suppress(ConfigError):
        check_value(parameter, value)


@given(st.text(max_size=30).filter(lambda name: name not in {p.name for p in ALL}))
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError, match="unknown parameter"):
        from_flat({name: 1})


def test_a_near_miss_gets_a_hint():
    with pytest.raises(ConfigError, match="did you mean gripper.suction.cup_radius_m"):
        from_flat({"suction.cup_radius_m": 0.02})


@pytest.mark.parametrize(("values", "words"), [
    ({"belt.plane": (0.0, 0.0, -2.0, 1.0)}, "unit normal"),
    ({"belt.plane": (0.0, 0.0, -1.0, -1.0)}, "d > 0"),
    ({"belt.direction": (1.0, 1.0, 0.0)}, "unit vector"),
    ({"belt.reach_min_m": 2.0, "belt.reach_max_m": 1.0}, "less than"),
    ({"gripper.parallel_jaw.opening_min_m": 0.2}, "less than"),
    ({"gripper.suction.rows": 2, "gripper.suction.spacing_m": 0.01}, "two radii"),
    ({"segment.runtime": "magic"}, "expected one of"),
    ({"segment.threads": True}, "expected int, got bool"),
])
def test_impossible_values_are_refused_in_words(values, words):
    with pytest.raises(ConfigError, match=words):
        from_flat(values)


def test_files_are_read_with_the_gripper_beside_them_and_overrides_win(tmp_path):
    head = "/**:\n  ros__parameters:\n"
    (tmp_path / "cell.yaml").write_text(head + "    segment:\n      threads: 3\n    track:\n      gate_m: 0.05\n")
    (tmp_path / "gripper.yaml").write_text(head + "    gripper:\n      suction:\n        rows: 2\n")
    config = load(tmp_path / "cell.yaml", segment__threads=1)
    assert (config.segment.threads, config.track.gate_m, config.gripper.suction.rows) == (1, 0.05, 2)
    assert dataclasses.replace(config) == config


@pytest.mark.parametrize(("text", "words"), [("a: [", "expected YAML"), ("segment: {}", "ros__parameters"),
                                             ("/**:\n  ros__parameters: 3", "mapping"),
                                             ("/**:\n  ros__parameters:\n    segment: 3", "mapping"),
                                             ("/**:\n  ros__parameters:\n    colour: 3", "unknown")])
def test_broken_files_are_one_clear_line(tmp_path, text, words):
    path = tmp_path / "cell.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no.yaml"):
        load(tmp_path / "no.yaml")
