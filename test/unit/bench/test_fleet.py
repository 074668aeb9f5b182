"""What `perception bench fleet` makes of its figures."""

from dataclasses import asdict

import pytest

pytest.importorskip("torch", reason="pip install -r requirements/train.txt")

from perception_node.bench.fleet import Size, _claim, _verdict, draw, report  # noqa: E402
from perception_node.cli import main  # noqa: E402
from perception_node.errors import DatasetError  # noqa: E402

START = {"a": 0.5, "b": 0.4}


def result(*rows):
    steps = [{"joins": name, "fleet": fleet, "decision": {"promoted": True}} for name, fleet in zip("ab", rows, strict=True)]
    changes = {"a": {"before": 0.6, "after": 0.595}, "b": {"before": 0.38, "after": 0.5}}
    steps[1]["decision"]["cells"] = {name: {"change": change} for name, change in changes.items()}
    steps[1]["without_rehearsal"] = {"a": -0.1, "b": 0.13}
    return {"cells": {"a": {}, "b": {}}, "start": START, "steps": steps, **_verdict(START, steps)}


def test_a_fleet_that_rises_and_one_that_does_not(tmp_path):
    good = result({"a": 0.6, "b": 0.398}, {"a": 0.595, "b": 0.5})
    assert good["rises"]
    assert good["worst_fall"] == pytest.approx(0.005)
    assert good["means"] == pytest.approx([0.45, 0.499, 0.5475])
    assert "mean rises at each step: yes; a cell fell by at most 0.50 AP" in report(good)
    assert [line.split()[-3:] for line in report(good).splitlines() if "candidate" in line or "without" in line] == [
        ["-0.5", "12.0", "5.8"], ["-10.0", "13.0", "1.5"]]
    bad = result({"a": 0.6, "b": 0.4}, {"a": 0.5, "b": 0.5})
    assert not bad["rises"]
    assert bad["worst_fall"] == pytest.approx(0.1)
    assert result({"a": 0.6, "b": 0.3}, {"a": 0.6, "b": 0.5})["worst_fall"] == pytest.approx(0.1)  # it had not joined yet
    draw(good, tmp_path / "fleet.png")
    assert (tmp_path / "fleet.png").stat().st_size > 5000


def test_a_folder_of_something_else_or_another_run_is_left_alone(tmp_path, capsys):
    mine = tmp_path / "fleet.yaml"
    mine.write_text("format: 1")
    assert main(["bench", "fleet", "--quick", "--out", str(tmp_path)]) == 2
    assert "expected a folder that is new, empty or of a broken run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.yaml"]
    run = tmp_path / "run"
    for _ in range(2):
        _claim(run, {"seed": 11, **asdict(Size())})
    assert main(["bench", "fleet", "--quick", "--out", str(run)]) == 2
    said = capsys.readouterr().err.strip()
    assert "'train': 4" in said
    assert "'train': 20" in said
    assert "\n" not in said
    with pytest.raises(DatasetError, match="'seed': 12.*'seed': 11"):
        _claim(run, {"seed": 12, **asdict(Size())})
    assert [path.name for path in run.iterdir()] == ["bench-fleet.json"]
