"""Promotion: better for the mean and worse for nobody, or not at all; the intervals are those of COCO's own AP."""

import filecmp
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import perception_node
from perception_node.bag.results import read_results
from perception_node.cli import main
from perception_node.errors import ModelError
from perception_node.fleet import judging
from perception_node.fleet import promote as promotion
from perception_node.fleet.bootstrap import Change, SetAp, change
from perception_node.fleet.command import add_replay
from perception_node.fleet.judging import Contender, Judged, judge_replay, weigh
from perception_node.fleet.promote import check_classes, promote
from perception_node.fleet.registry import Cell, held, read_registry, write_registry
from perception_node.fleet.verdict import Decision, decide, table
from perception_node.learn.dataset import Entry
from perception_node.learn.judge import coco_ap, coco_matches, compare
from perception_node.segment.weights import default_weights, file_sha256, read_card
from perception_node.spread import Spread
from perception_node.types import Instance, Segmentation


def verdicts(seed, blur, pictures=12):
    """Squares of 60 px, and predictions that are moved by up to `blur` pixels, some left out."""
    rng, out = np.random.default_rng(seed), []
    for k in range(pictures):
        truth, found, instances = np.zeros((240, 320), np.uint16), np.zeros((240, 320), np.uint16), []
        for n in range(6):
            y, x = 10 + 110 * (n // 3), 10 + 100 * (n % 3)
            truth[y:y + 60, x:x + 60] = n + 1
            dy, dx = rng.integers(0, blur + 1, 2)
            if rng.random() < 0.9:
                found[y + dy:y + dy + 60, x + dx:x + dx + 60] = len(instances) + 1
                instances.append(Instance(len(instances) + 1, "box", float(rng.uniform(0.3, 1)), (x, y, 60, 60), 3600))
        labels = Segmentation(found, tuple(instances))
        out.append(compare(str(k), truth, dict.fromkeys(range(1, 7), 1), dict.fromkeys(range(1, 7), 1.0), labels))
    return out


@pytest.mark.parametrize("blur", [2, 10, 25])
def test_the_bootstraps_ap_is_cocos(blur):
    judged = verdicts(blur, blur)
    expected = coco_ap(judged, True, False)["AP"]
    assert SetAp(coco_matches(judged))(np.ones(len(judged))) == pytest.approx(expected, abs=1e-9)
    twice = SetAp(coco_matches(judged))(np.full(len(judged), 2.0))
    assert twice == pytest.approx(expected, abs=0.02)


def test_the_interval_holds_the_change_and_shrinks_with_pictures():
    few, many = ([coco_matches(verdicts(seed, blur, pictures)) for seed, blur in ((1, 12), (2, 6))] for pictures in (8, 80))
    (a, _), (b, _) = (change([before], [after], 300) for before, after in (few, many))
    for one in (a, b):
        assert one.low < one.gain < one.high
    assert b.high - b.low < 0.6 * (a.high - a.low)
    assert change([few[0]], [few[1]], 300)[0] == a
    nothing, draws = change([few[0]], [few[0]], 50)
    assert (nothing.gain, nothing.low, nothing.high) == (0, 0, 0)
    assert not draws.any()


def cell(name, before, after, tolerance=0.01, replays=(), resamples=100):
    entries = [Entry(verdict.name, Path(), None, None, None, (), ()) for verdict in before]
    return weigh(Cell(name, tolerance, (), ()), [Judged(entries, "colour", before, after)], resamples), replays


def test_one_cell_that_loses_refuses_what_the_mean_gains():
    good, bad = verdicts(1, 3, 30), verdicts(2, 12, 30)
    assert decide([cell("north", bad, good)]).promoted
    refused = decide([cell("north", bad, good), cell("east", bad, good), cell("south", good, bad)])
    assert refused.mean.gain > 0
    assert [reason.split(":")[0] for reason in refused.reasons] == ["south"]
    assert "loses" in table(refused)
    assert not decide([cell("north", good, good)]).promoted  # no gain
    assert not decide([cell("north", bad, good, replays=("monday: 9 of 10 packages changed",))]).promoted
    json.dumps(refused.to_json())


def test_the_worst_pictures_are_those_that_lost_most():
    good, bad = verdicts(1, 3, 8), verdicts(2, 25, 8)
    mixed = [*good[:3], bad[3], *good[4:]]
    found = cell("north", good, mixed)[0]
    assert found.worst[0][1].name == "3"
    assert found.worst[0][0] > found.worst[1][0] == 0


def test_strict_wants_chance_ruled_out():
    a, b = verdicts(1, 6, 6), verdicts(3, 6, 6)
    better, worse = (b, a) if coco_ap(b, True, False)["AP"] > coco_ap(a, True, False)["AP"] else (a, b)
    assert decide([cell("north", worse, better, resamples=200)]).promoted
    assert any("--strict" in reason for reason in decide([cell("north", worse, better, resamples=200)], True).reasons)


def test_a_worse_model_is_refused_with_pictures_and_a_better_one_is_crowned(two_cells, models, tmp_path, capsys):
    before = two_cells.read_text()
    out = tmp_path / "out"
    assert main(["promote", str(models["worse"]), str(two_cells), "--out", str(out), "--resamples", "50"]) == 1
    assert "refused: " in capsys.readouterr().out
    assert two_cells.read_text() == before
    assert (out / "north.png").stat().st_size > 10_000
    assert json.loads((out / "decision.json").read_text())["promoted"] is False

    data = read_registry(two_cells)
    write_registry(two_cells, {**data.data, "champion": {"model": str(models["worse"]), "sha256": file_sha256(models["worse"])}})
    assert main(["promote", str(models["near"]), str(two_cells), "--dry-run", "--resamples", "50"]) == 0
    assert "could be" in capsys.readouterr().out
    before = two_cells.read_bytes()
    with held(two_cells):
        assert main(["promote", str(models["near"]), str(two_cells), "--resamples", "50"]) == 2
        assert "another process is changing it" in capsys.readouterr().err
    two_cells.with_name(".fleet.yaml.part").symlink_to("/dev/full")  # where it is written aside, each byte meets a full disk
    assert main(["promote", str(models["near"]), str(two_cells), "--resamples", "50"]) == 2
    assert "fleet.yaml: cannot be written (No space left on device)" in capsys.readouterr().err
    assert two_cells.read_bytes() == before
    assert not list(two_cells.parent.glob("*.part"))
    assert main(["promote", str(models["near"]), str(two_cells), "--resamples", "50"]) == 0
    crowned = read_registry(two_cells)
    assert crowned.champion.resolve() == models["near"].resolve()
    assert crowned.data["promotions"][0]["instead_of"] == file_sha256(models["worse"])
    assert set(crowned.data["promotions"][0]["cells"]) == {"north", "south"}


def test_mixtures_are_judged_and_kept_with_their_lineage(two_cells, models, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["promote", str(models["worse"]), str(two_cells), "--mix", "--resamples", "50"]) == 2
    assert "--mix: expected a folder for the mixtures (--out), got none" in capsys.readouterr().err
    assert main(["promote", str(models["worse"]), str(two_cells), "--mix", "1", "--out", str(out), "--resamples", "50"]) == 2
    assert "--mix: expected shares of the candidate from 0.01 to 0.99, got [1.0]" in capsys.readouterr().err
    before = two_cells.read_bytes()
    assert main(["promote", str(models["worse"]), str(two_cells), "--mix", "0.5", "--out", str(out), "--resamples", "50"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("the candidate itself:")
    assert "50 % of it, the rest the champion: " in said
    assert two_cells.read_bytes() == before
    assert [one["share"] for one in json.loads((out / "decision.json").read_text())["others"]] == [0.5]
    ours, theirs, half = (load_file(path) for path in (
        models["worse"].with_suffix(".safetensors"), default_weights().with_suffix(".safetensors"), out / "worse-50.safetensors"))
    for name, value in half.items():
        middle = (ours[name].astype(np.float32) + theirs[name].astype(np.float32)) / 2
        assert np.abs(value - middle).max() <= np.abs(middle).max() / 64, name
    card = read_card(out / "worse-50.onnx")
    assert card.training["mixed"] == {"share": 0.5, "candidate_sha256": file_sha256(models["worse"]),
                                      "champion_sha256": file_sha256(default_weights())}
    assert set(read_card(default_weights()).training["data_sha256"]) <= set(card.training["data_sha256"])
    assert "worse-50.int8.onnx" in card.sha256


def test_the_mixture_that_gains_most_without_a_loser_becomes_the_champion(two_cells, models, tmp_path, monkeypatch, capsys):
    verdicts_of = {1.0: (0.05, ("south: loses 4.00 AP, allowed 2.00",)), 0.6: (0.01, ("no",)), 0.35: (0.02, ("no",)),
                   0.2: (-0.01, ("no",))}

    def attempt(registry, entries, old, new, share, *rest):
        gain, reasons = verdicts_of[share]
        return Decision((), Change(0.5, 0.5 + gain, 0.0, 0.1), False, reasons, new.path, share), new, ()

    monkeypatch.setattr(promotion, "_attempt", attempt)
    monkeypatch.setattr(promotion, "mixed", lambda candidate, card, champion, share, folder, *rest: shutil.copyfile(
        models["near"], tmp_path / f"{share}.onnx"))
    call = ["promote", str(models["near"]), str(two_cells), "--out", str(tmp_path / "out"), "--mix"]
    before = two_cells.read_bytes()
    assert main(call) == 1
    assert capsys.readouterr().out.startswith("the candidate itself:\n")
    assert two_cells.read_bytes() == before
    verdicts_of.update({0.6: (0.01, ()), 0.35: (0.02, ())})
    assert main(call) == 0
    said = capsys.readouterr().out
    assert said.startswith("best that no cell loses by: 35 % of it, the rest the champion\n")
    assert "the candidate itself: +5.00 AP on the mean; refused: south: loses 4.00 AP" in said
    assert read_registry(two_cells).data["champion"]["model"].endswith("0.35.onnx")


def test_what_cannot_be_judged_leaves_the_champion(two_cells, models, without_lineage, tmp_path, capsys):
    before = two_cells.read_text()

    def refused(words, *arguments):
        assert main(["promote", *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said
        assert two_cells.read_text() == before

    refused("expected another model than the champion", models["same"], two_cells)
    refused("expected a lineage", without_lineage, two_cells)
    refused("found none", tmp_path / "nothing.onnx", two_cells)
    refused("found none", models["near"], tmp_path / "nothing.yaml")
    without_lineage.write_bytes(models["near"].read_bytes()[:1000])
    refused("expected sha256", without_lineage, two_cells)
    card = json.loads(without_lineage.with_name("near.card.json").read_text())
    trained = {"data": ["x"], "seed": 0, "steps": 1, "data_sha256": [read_registry(two_cells).cells[0].sets[0].sha256]}
    without_lineage.write_bytes(models["near"].read_bytes())
    without_lineage.with_name("near.card.json").write_text(json.dumps({**card, "training": trained}))
    refused("was trained on", without_lineage, two_cells)
    ours = f"expected the champion's classes {', '.join(card['classes'])}, got"
    for classes, words in ((["box", "tin"], "expected classes among"),
                           ([name for name in card["classes"] if name != "padded_mailer"], f"{ours} without padded_mailer\n")):
        without_lineage.with_name("near.card.json").write_text(json.dumps({**card, "training": trained, "classes": classes}))
        refused(words, without_lineage, two_cells)
    for fields, words in (({"data_sha256": 7}, "a list data_sha256"), ({"parent": "champion"}, "mapping parent"),
                          ({"parent": {"sha256": "x"}}, "expected a lineage"), ({"data": []}, "expected a lineage")):
        training = {**trained, **fields}
        without_lineage.with_name("near.card.json").write_text(json.dumps({**card, "training": training}))
        refused(words, without_lineage, two_cells)


def test_a_class_more_is_taken_only_when_asked_for(models, without_lineage):
    champion = without_lineage.with_name("near.card.json")
    champion.write_text(json.dumps({**json.loads(champion.read_text()), "classes": ["box", "padded_mailer", "poly_bag"]}))
    card = replace(read_card(models["near"]), classes=("box", "padded_mailer", "poly_bag"))
    more = replace(card, classes=(*card.classes, "item"))
    check_classes(card, models["near"], without_lineage)
    check_classes(more, models["near"], without_lineage, new_classes=True)
    with pytest.raises(ModelError, match=r"got also item \(wanted\? --new-classes\)"):
        check_classes(more, models["near"], without_lineage)
    with pytest.raises(ModelError, match="got without poly_bag; also item"):
        check_classes(replace(card, classes=("box", "padded_mailer", "item")), models["near"], without_lineage)
    with pytest.raises(ModelError, match="got without padded_mailer, poly_bag"):
        check_classes(replace(card, classes=("box",)), models["near"], without_lineage, new_classes=True)


@pytest.mark.parametrize(("change", "words"), [
    (lambda root: (root / "south" / "judge" / "rgb" / "0001.png").unlink(), "south/judge"),
    (lambda root: (root / "south" / "judge" / "rgb" / "0001.png").write_bytes(b"no picture"), "0001.png"),
    (lambda root: shutil.rmtree(root / "north" / "train"), "north/train"),
    (lambda root: shutil.copyfile(root / "north" / "judge" / "rgb" / "0000.png", root / "north" / "train" / "rgb" / "0000.png"),
     "north/train: expected content "),
    (lambda root: (root / "champion.onnx").unlink(), "champion.onnx, found none"),
    (lambda root: (root / "champion.onnx").write_bytes(b"cut"), "champion.onnx: expected sha256 "),
    (lambda root: (root / "champion.card.json").unlink(), "champion.card.json"),
    (lambda root: (root / "monday.jsonl").write_text("{} "), "monday.jsonl: expected sha256 "),
    (lambda root: (root / "monday.jsonl").unlink(), "monday.jsonl: expected a recording and its golden replay, found none"),
])
def test_registered_files_that_are_missing_or_changed_stop_a_promotion(two_cells, models, capsys, change, words):
    """By the command, with real files; the champion stays."""
    root = two_cells.parent
    (root / "monday").symlink_to(Path(perception_node.__file__).parent / "data" / "demo")
    (root / "monday.jsonl").write_text('{"stamp_ns": 1, "failed": "one frame"}\n')
    add_replay(two_cells, "north", root / "monday", root / "monday.jsonl")
    shutil.copyfile(models["worse"], root / "champion.onnx")
    card = json.loads(models["worse"].with_name("worse.card.json").read_text())
    digest = file_sha256(root / "champion.onnx")
    (root / "champion.card.json").write_text(json.dumps({**card, "sha256": {"champion.onnx": digest}}))
    write_registry(two_cells, {**read_registry(two_cells).data, "champion": {"model": "champion.onnx", "sha256": digest}})
    before = two_cells.read_bytes()
    change(root)
    assert main(["promote", str(models["near"]), str(two_cells), "--resamples", "5", "--processes", "1"]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert "\n" not in said
    assert two_cells.read_bytes() == before


def test_golden_replays_judge_too(two_cells, models):
    recording = Path(perception_node.__file__).parent / "data" / "demo"
    golden = Path(__file__).parents[2] / "data" / "demo.golden.jsonl.gz"
    add_replay(two_cells, "south", recording, golden, 0.2)
    one = read_registry(two_cells).cells[1].replays[0]
    assert "packages changed" in judge_replay(one, models["worse"], "onnxruntime", 2)
    first = two_cells.parent / "first.jsonl"  # a golden replay of the first frames, `perception replay --frames`
    first.write_text("".join(json.dumps(line) + "\n" for line in list(read_results(golden))[:3]))
    add_replay(two_cells, "south", recording, first, 0.2)
    one = read_registry(two_cells).cells[1].replays[0]
    assert "0 frames missing" in judge_replay(one, models["worse"], "onnxruntime", 2)


def test_over_two_processes_the_decision_is_the_same(two_cells, models, tmp_path):
    """To the last bit; each process loads the models itself."""
    decisions = []
    for name, how in (("one", Spread()), ("two", Spread(processes=2))):
        decisions.append(promote(models["near"], two_cells, tmp_path / name, runtime="onnxruntime", threads=1, resamples=50,
                                 dry=True, progress=False, how=how))
    assert decisions[0].cells[0].change.before > 0
    assert decisions[0] == decisions[1]
    assert filecmp.cmp(tmp_path / "one" / "decision.json", tmp_path / "two" / "decision.json", shallow=False)


def test_machines_that_judge_differently_are_refused(two_cells, models, monkeypatch, capsys):
    """A worker with another runtime, and one that sees another file under the same name."""
    before = two_cells.read_text()
    runtimes = iter(("openvino", "openvino", "openvino int8", "openvino"))
    real = judging._loaded.__wrapped__

    def another(contender):
        model = real(replace(contender, runtime="onnxruntime"))
        model.runtime = next(runtimes)
        return model

    monkeypatch.setattr(judging, "_loaded", another)
    assert main(["promote", str(models["near"]), str(two_cells), "--resamples", "5", "--processes", "1"]) == 2
    assert "expected one version and one pair of runtimes" in capsys.readouterr().err
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"near.onnx: expected sha256 0000.*another file"):
        Contender(models["near"], 64 * "0").segmenter()
    assert two_cells.read_text() == before
