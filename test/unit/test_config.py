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
                                             ("/perception:\n  ros__parameters: {}", "got '/perception': .* other keys are not"),
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


HEAD = "/**:\n  ros__parameters:\n"


@pytest.mark.parametrize(("cell", "gripper", "overrides", "words"), [
    ("    track: {gate_m: 7}", "", {}, "cell.yaml: track.gate_m: expected 0.005 to 1 m, got 7"),
    ("", "    gripper: {suction: {cup_radius_m: 15}}", {},
     "gripper.yaml: gripper.suction.cup_radius_m: expected 0.002 to 0.2 m, got 15"),
    ("", "    gripper: {suction: {cup_radius: 0.01}}", {}, "gripper.yaml: unknown parameter 'gripper.suction.cup_radius'"),
    ("", "    gripper: {suction: {rows: 2}}", {"gripper__suction__columns": 99},
     "gripper.suction.columns: expected 1 to 8, got 99"),
    ("    gripper: {suction: {rows: 99}}", "    gripper: {suction: {columns: 2}}", {}, "cell.yaml: gripper.suction.rows"),
    ("    gripper: {suction: {rows: 2}}", "    gripper: {suction: {rows: 3}}", {}, "cell.yaml: gripper.suction.rows is in "),
    ("    belt: {plane: [0, 0, -1, 1100]}", "", {}, "cell.yaml: belt.plane: expected d in metres, at most 20, got 1100"),
    ("    belt: {reach_min_m: 11.0}", "", {}, "cell.yaml: belt.reach_min_m: expected less than belt.reach_max_m"),
    ("", "    gripper: {parallel_jaw: {opening_min_m: 0.139}}", {},
     "gripper.yaml: gripper.parallel_jaw.opening_max_m: expected more"),
    ("    segment: {threads: 2}", "", {"segment__threads": "x"}, "segment.threads: expected int, got str 'x'"),
])
def test_what_is_wrong_in_a_file_names_the_file(tmp_path, cell, gripper, overrides, words):
    (tmp_path / "cell.yaml").write_text(HEAD + cell)
    (tmp_path / "gripper.yaml").write_text(HEAD + gripper)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "cell.yaml", **overrides)
    named = words.partition(": ")[0]
    start = f"{tmp_path / named}: {words.partition(': ')[2]}" if named.endswith(".yaml") else words
    assert str(caught.value).startswith(start)


def test_an_override_repairs_what_a_file_gets_wrong(tmp_path):
    (tmp_path / "cell.yaml").write_text(HEAD + "    belt: {reach_min_m: 11.0}")
    assert load(tmp_path / "cell.yaml", belt__reach_max_m=12.0).belt.reach_min_m == 11.0


def test_a_gripper_file_that_is_a_link_to_nothing_is_said(tmp_path):
    (tmp_path / "cell.yaml").write_text(HEAD)
    (tmp_path / "gripper.yaml").symlink_to(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match=r"gripper\.yaml: expected a readable file"):
        load(tmp_path / "cell.yaml")


def test_a_nodes_arguments_name_the_files_of_its_values(tmp_path):
    pytest.importorskip("rclpy")
    from perception_node.ros.params import origin
    cell, gripper, other = (tmp_path / name for name in ("cell.yaml", "gripper.yaml", "other.yaml"))
    cell.write_text(HEAD + "    track: {gate_m: 7.0}\n    belt.reach_min_m: 1.0\n    gripper: {suction: {rows: 2}}")
    gripper.write_text("/left:\n  perception:\n    ros__parameters:\n      gripper: {suction: {rows: 3}}")
    other.write_text("a: [")
    files = [word for file in (cell, gripper, other, tmp_path / "none.yaml") for word in ("--params-file", str(file))]
    found = origin(["node", "--ros-args", *files, "-p", "belt.reach_min_m:=0.2"])
    assert found == {"track.gate_m": cell, "gripper.suction.rows": gripper, "belt.reach_min_m": None}
