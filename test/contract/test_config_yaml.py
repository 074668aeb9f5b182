"""The configuration files and the dataclasses say the same; wrong files are refused with one clear line."""

from pathlib import Path

import pytest
import yaml

from perception_node.beacon.config import BeaconConfig, load_beacon
from perception_node.config import Config, from_flat, load
from perception_node.config_yaml import FILES, beacon_yaml, describe, to_yaml
from perception_node.errors import ConfigError
from perception_node.parameters import parameters, value_of, with_values

ROOT = Path(__file__).parents[2]
BAD = sorted(Path(__file__).with_name("bad").glob("*.yaml"))


@pytest.mark.parametrize("group", FILES)
def test_files_are_the_classes(group):
    text = (ROOT / "config" / FILES[group]).read_text(encoding="utf-8")
    assert text == to_yaml(group), "run: python -m perception_node.config_yaml config"


def test_files_hold_each_parameter_once():
    found = []
    for name in FILES.values():
        tree = yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))["/**"]["ros__parameters"]
        found += list(_names(tree))
    assert sorted(found) == sorted(parameter.name for parameter in parameters(Config))


def test_the_beacons_file_is_its_class():
    text = (ROOT / "config" / "beacon.yaml").read_text(encoding="utf-8")
    assert text == beacon_yaml(), "run: python -m perception_node.config_yaml config"
    tree = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert list(_names(tree)) == [parameter.name for parameter in parameters(BeaconConfig)]


def test_load_gives_the_defaults():
    assert load(ROOT / "config" / "cell.yaml") == Config()
    assert load_beacon(ROOT / "config" / "beacon.yaml") == BeaconConfig()


def test_other_values_survive_the_beacons_file(tmp_path):
    config = with_values(BeaconConfig(), {"leds_m": [1e-5 * k for k in range(12)], "tracker.led_sigma_m": 1e-6,
                                          "tracker.max_roll_rad": 1 / 3, "node.autostart": False, "node.reliability": "reliable"})
    (tmp_path / "beacon.yaml").write_text(beacon_yaml(config), encoding="utf-8")
    assert load_beacon(tmp_path / "beacon.yaml") == config


def test_other_values_survive_the_file(tmp_path):
    config = from_flat({"cameras": ["left", "right"], "segment.model": 'a "quoted" \\ name', "belt.plane": [0.0, 0.0, -1.0, 0.9],
                        "node.autostart": False, "gripper.suction.rows": 2, "track.gate_m": 1 / 30})
    for group, name in FILES.items():
        (tmp_path / name).write_text(to_yaml(group, config), encoding="utf-8")
    assert load(tmp_path / "cell.yaml") == config


EACH = [(tree, parameter) for tree in (Config, BeaconConfig) for parameter in parameters(tree)]


@pytest.mark.parametrize(("tree", "parameter"), EACH, ids=lambda given: getattr(given, "name", ""))
def test_each_parameter_says_what_it_is(tree, parameter):
    assert len(parameter.words) > 8
    assert describe(parameter).startswith(parameter.words)
    suffixes = {"_m": "m", "_s": "s", "_px": "px", "_rad": "rad", "_kg": "kg", "_m_s": "m/s"}
    unit = next((unit for suffix, unit in sorted(suffixes.items(), key=lambda item: -len(item[0]))
                 if parameter.name.endswith(suffix)), None)
    if unit is not None:
        assert parameter.unit == unit
    if parameter.type in (int, float):
        assert parameter.low is not None
        assert parameter.high is not None
        assert parameter.low <= value_of(tree(), parameter.name) <= parameter.high
    for limit in (parameter.low, parameter.high):
        assert limit is None or parameter.type is float or limit == int(limit)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_wrong_files_are_refused_with_one_line(path):
    expected = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# expected: ")
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml: expected a readable file"):
        load(tmp_path / "nothing.yaml")


def _names(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{key}.")
        else:
            yield prefix + key
