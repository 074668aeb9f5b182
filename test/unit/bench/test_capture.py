"""`perception bench capture` measures what it says."""

import json

from perception_node import cli
from perception_node.bench import capture


def test_what_keeping_costs_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(capture, "_EACH_TURN", 4)
    monkeypatch.setattr(capture, "TARGET_MS", 1e9)
    assert cli.main(["bench", "capture", "--turns", "2", "--json", str(tmp_path / "out.json")]) == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["frames"]["seen"] == 4
    assert figures["frames"]["kept"] >= 1
    assert 0 < figures["cost_ms"]["p50"] <= figures["cost_ms"]["p95"] < figures["frame_ms"]["with"]["p50"]
    assert "keeping frames costs" in capsys.readouterr().out
    monkeypatch.setattr(capture, "TARGET_MS", 0.0)
    assert cli.main(["bench", "capture", "--turns", "2"]) == 1
