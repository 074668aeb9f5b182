"""The comparison of adapted and bespoke networks: plan, tables, verdict, and that nothing is made twice."""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from perception_node.errors import DatasetError, PerceptionError
from perception_node.learn import adaptation
from perception_node.learn.adaptation import SCRATCH, SIMULATED, UNIVERSAL, Run, Setting, plan
from perception_node.learn.adaptation_report import MARKS, draw_plot, falls_short, tables, write_section


def judged(ap: float) -> dict[str, Any]:
    figures = {key: {"AP": ap, "AP50": ap + 0.1, "AP75": ap} for key in ("pickable_mask", "pickable_mask_by_class")}
    return {mode: {**figures, "touching_recall_75": 0.8, "merges_per_100": 1.0, "class_accuracy": 0.9,
                   "corrections": {"untouched_share": 0.5, "corrections_per_picture": 4.0}} for mode in ("depth", "colour")}


def result(start: str, images: int, seed: int, ap: float, memory: float | None = None, wall_s: float = 300.0) -> dict[str, Any]:
    training = {"steps": 200, "seconds": 290.0, "wall_s": wall_s, "cpu_s": 240.0} if images else {}
    return {"start": start, "images": images, "seed": seed, "training": training, "cell": judged(ap),
            "memory": None if memory is None else judged(memory)}


def results(adapted: float = 0.85, memory: float = 0.595, wall_s: float = 300.0) -> list[dict[str, Any]]:
    return [result(UNIVERSAL, 0, 0, 0.8, 0.6), result(UNIVERSAL, 20, 0, adapted - 0.01, memory, wall_s),
            result(UNIVERSAL, 20, 1, adapted + 0.01, memory), result(SCRATCH, 100, 0, 0.7), result(SIMULATED, 500, 0, 0.5)]


def test_the_plan_has_every_line_of_the_table() -> None:
    runs = plan(3, 1000, False)
    assert len({run.name for run in runs}) == len(runs)
    for start, images, seeds in ((UNIVERSAL, 0, 1), (UNIVERSAL, 5, 3), (UNIVERSAL, 20, 3), (UNIVERSAL, 80, 1), (SCRATCH, 5, 3),
                                 (SCRATCH, 20, 3), (SCRATCH, 80, 1), (SCRATCH, 100, 1), (SIMULATED, 500, 1)):
        assert sum((run.start, run.images) == (start, images) for run in runs) == seeds
    assert all(run.steps == 1000 for run in runs if run.start != UNIVERSAL)
    assert sum(run.steps or 0 for run in plan(3, 1000, True)) <= 100


def test_tables_show_means_and_spreads() -> None:
    text = tables(results())
    line = next(line for line in text.splitlines() if line.startswith("| universal, adapted | 20 | 0.850"))
    assert "0.850 ± 0.014" in line
    assert "| 0.500 ± 0.000 | 4.00 ± 0.00 |" in line
    assert "| universal, adapted | 20 | 2 | 200 | 5.0 ± 0.0 | 4.0 ± 0.0 | 0.595 (-0.5) |" in text
    assert "| from scratch, simulated | 500 | 1 |" in text
    assert text.count("| from scratch | 100 |") == 3


@pytest.mark.parametrize(("changes", "words"), [
    ({}, None), ({"adapted": 0.69}, "from scratch 100 give 0.700"), ({"memory": 0.585}, "falls by 1.5"),
    ({"wall_s": 1000.0}, "took 16.7 minutes")])
def test_verdict(changes: dict[str, float], words: str | None) -> None:
    missed = falls_short(results(**changes))
    assert (missed == []) if words is None else any(words in line for line in missed)


def test_plot_and_section_are_written(tmp_path: Path) -> None:
    draw_plot(results(), tmp_path / "images" / "adaptation.png")
    picture = cv2.imread(str(tmp_path / "images" / "adaptation.png"))
    assert picture is not None
    assert picture.std() > 10
    page = tmp_path / "results.md"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    write_section(page, tables(results()))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "0.850" in text
    page.write_text("no marks")
    with pytest.raises(DatasetError, match="expected the marks"):
        write_section(page, "x")


@pytest.fixture
def setting(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr("perception_node.learn.finetune.simulated_replay", lambda cache: cache)
    (tmp_path / "m.onnx").write_bytes(b"weights")
    return Setting(dataset, tmp_path / "out", tmp_path / "m.onnx", 4, 2, dataset, 3, tmp_path / "simulated")


class Commands:
    """Stands in for the processes: notes the words, writes the JSON that they ask for."""

    def __init__(self, fail_at: int = 99) -> None:
        self.calls: list[list[str]] = []
        self.fail_at = fail_at

    def __call__(self, words: Any, log: Path, children: Any) -> None:
        if len(self.calls) == self.fail_at:
            raise PerceptionError("perception finetune ended with status 2: disk full")
        self.calls.append([str(word) for word in words])
        answer = judged(0.5) if words[0] == "evaluate" else {"steps": 1, "seconds": 1, "wall_s": 1, "cpu_s": 1}
        Path(words[list(words).index("--json") + 1]).write_text(json.dumps(answer))


def test_runs_are_made_once_and_go_on_after_a_failure(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [Run(UNIVERSAL, 0), Run(UNIVERSAL, 2, 1), Run(SCRATCH, 3, steps=9), Run(SIMULATED, 25, steps=9)]
    monkeypatch.setattr(adaptation, "_command", Commands(fail_at=4))
    with pytest.raises(PerceptionError, match="disk full"):
        adaptation.compare(setting, runs, 1)
    commands = Commands()
    monkeypatch.setattr(adaptation, "_command", commands)
    made = adaptation.compare(setting, runs, 1)
    assert [call[0] for call in commands.calls] == ["evaluate", "finetune", "evaluate", "finetune", "evaluate"]
    scratch, simulated = commands.calls[1], commands.calls[3]
    assert "--scratch" in scratch
    assert scratch[scratch.index("--first") + 1] == "4"
    assert simulated[1] == str(setting.simulated)
    assert [r["cell"]["depth"]["pickable_mask"]["AP"] for r in made] == [0.5] * 4
    assert [r["memory"] is not None for r in made] == [True, True, False, False]
    monkeypatch.setattr(adaptation, "_command", Commands(fail_at=0))
    assert adaptation.compare(setting, runs, 2) == made
    assert adaptation.finished(setting, [*runs, Run(SCRATCH, 99)]) == made
    with pytest.raises(DatasetError, match="expected a finished run"):
        adaptation.finished(setting, [Run(SCRATCH, 99)])
    setting.init.write_bytes(b"other weights")
    with pytest.raises(DatasetError, match="a comparison of other weights or pictures"):
        adaptation.compare(setting, runs, 2)


def test_bad_input_is_one_line(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    adaptation.add_arguments(parser)
    for words in ([str(tmp_path / "none")], [str(dataset)], [str(dataset), "--quick", "--model", str(tmp_path / "m.onnx")]):
        assert adaptation.run(parser.parse_args([*words, "--out", str(tmp_path / "out")])) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "expected 100 pictures to draw from and 40 others to judge on, found 6" in lines[1]
    assert not (tmp_path / "out").exists()
