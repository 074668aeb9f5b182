"""Simulated picks, logs of outcomes, and the fit: deterministic, refusing what is worse or broken."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.bench.ranking import order_figures
from perception_node.cli import main
from perception_node.config import Config, from_flat
from perception_node.errors import ConfigError, DatasetError
from perception_node.grasp.score import PRIOR_SUCTION, PRIORS, TERMS, RankingModel, load_ranking
from perception_node.learn.outcome_log import read_logs
from perception_node.learn.picks import Cell
from perception_node.learn.ranking import fit, measure, probabilities
from perception_node.learn.scenes import TrueMasks, Truth
from perception_node.pipeline import Pipeline

GRIPPER = Config().gripper
BOXES = [(0.05, 0.0, 0.2, 0.1, 0.08, 0.3), (-0.15, 0.0, 0.1, 0.1, 0.05, 0.0)]


def truth_of(frame, segmentation, boxes, belt, bottoms=None):
    poses = {}
    for number, (x, y, length, width, top, turn) in enumerate(boxes, start=1):
        bottom = bottoms[number - 1] if bottoms else 0.0
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(turn), np.sin(turn), 0], [np.sin(turn), -np.cos(turn), 0], [0, 0, -1]]
        pose[:3, 3] = x, y, 1.0 - (top + bottom) / 2
        poses[number] = (pose, np.array([length, width, top - bottom]))
    return Truth(frame.camera, segmentation.labels, frame.depth_m, dict.fromkeys(poses, "box"), poses, np.array(belt))


def world(cast_boxes, belt, boxes, bottoms=None):
    frame, segmentation = cast_boxes(boxes, bottoms=bottoms) if bottoms else cast_boxes(boxes)
    masks = TrueMasks()
    masks.next = segmentation
    scene = Pipeline(from_flat({"belt.plane": belt, "grasp.min_score": 0.0}), masks).process(frame)
    return scene, Cell(truth_of(frame, segmentation, boxes, belt, bottoms), GRIPPER)


def best(scene, kind, label):
    return next(g for g in scene.grasps if (g.kind, g.label) == (kind, label))


def moved(grasp, x=0.0, y=0.0, z=0.0):
    T = grasp.T_cam_grasp.copy()
    T[:3, 3] += T[:3, :3] @ [x, y, z]
    return dataclasses.replace(grasp, T_cam_grasp=T)


def share(cell, grasp, label, count=30):
    picks = [cell.pick(grasp, label, np.random.default_rng(seed)) for seed in range(count)]
    return np.mean([pick.success for pick in picks]), {pick.failure for pick in picks if not pick.success}


def test_good_grasps_pick_and_bad_ones_fail_for_their_reason(cast_boxes, belt):
    scene, cell = world(cast_boxes, belt, BOXES)
    for kind, label in (("suction", 1), ("suction", 2), ("parallel_jaw", 1), ("parallel_jaw", 2)):
        assert share(cell, best(scene, kind, label), label)[0] > 0.85, (kind, label)
    cup, jaw = best(scene, "suction", 1), best(scene, "parallel_jaw", 1)
    assert share(cell, moved(cup, z=-0.04), 1)[1] == {"not_gripped"}
    assert share(cell, moved(cup, z=0.04), 1)[1] == {"collision"}
    assert share(cell, moved(cup, x=0.3), 1)[1] == {"not_gripped"}
    assert share(cell, cup, 2)[1] == {"other"}
    assert share(cell, cup, 77)[1] == {"not_gripped"}
    assert share(cell, moved(jaw, x=0.03), 1)[1] == {"collision"}
    assert share(cell, moved(jaw, y=0.6), 1)[0] == 0.0


def test_weight_and_lever_decide_with_the_payload(cast_boxes, belt):
    scene, cell = world(cast_boxes, belt, [(0.0, 0.0, 0.4, 0.3, 0.25, 0.0)])
    middle = best(scene, "suction", 1)
    held, _ = share(cell, middle, 1, 60)
    cornered, why = share(cell, moved(middle, x=0.15, y=0.1), 1, 60)
    assert cornered < held
    assert "dropped" in why
    weak = Cell(cell.truth, from_flat({"gripper.suction.payload_kg": 0.05}).gripper)
    assert share(weak, middle, 1)[0] == 0.0


def test_what_lies_on_top_comes_along_and_what_lies_below_does_not(cast_boxes, belt):
    scene, cell = world(cast_boxes, belt, [(0.0, 0.0, 0.3, 0.2, 0.012, 0.0), (0.08, 0.02, 0.1, 0.08, 0.03, 0.3)], [0.0, 0.012])
    assert share(cell, best(scene, "suction", 1), 1)[1] >= {"several"}
    assert share(cell, best(scene, "suction", 1), 1)[0] == 0.0
    assert share(cell, best(scene, "suction", 2), 2)[0] > 0.85


NOTHING = dict.fromkeys(TERMS["suction"], 0.0)


def write_log(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(count, seed, flip=False):
    """Picks whose success follows a logistic law of two terms."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        seal, edge = rng.random(2)
        success = bool(rng.random() < 1 / (1 + np.exp(-(-3 + 5 * seal + 1 * edge))))
        yield {"kind": "suction", "success": success != flip, "failure": "" if success != flip else "dropped", "degraded": False,
               "score": 0.5, "label": 1 + k % 3, "scene_stamp_ns": k // 3 + 1000 * seed,
               "terms": {**NOTHING, "seal": seal, "edge": edge}}


def test_the_fit_finds_the_law_and_is_calibrated(tmp_path):
    outcomes = read_logs([write_log(tmp_path / "log.jsonl", rows_of(4000, 1))]).by_kind["suction"]
    model = fit(outcomes, PRIOR_SUCTION, "suction", "test")
    assert model.bias == pytest.approx(-3, abs=0.4)
    assert (model.weights["seal"], model.weights["edge"]) == (pytest.approx(5, abs=0.5), pytest.approx(1, abs=0.4))
    fresh = read_logs([write_log(tmp_path / "fresh.jsonl", rows_of(4000, 2))]).by_kind["suction"]
    judged = measure(probabilities(model, fresh), fresh.success)
    assert judged.calibration_error < 0.05
    assert judged.log_loss < measure(probabilities(PRIOR_SUCTION, fresh), fresh.success).log_loss
    assert judged.auc > 0.75


def test_refitting_writes_the_same_bytes_and_its_lineage_and_the_pipeline_reads_it(tmp_path, capsys):
    log = write_log(tmp_path / "log.jsonl", rows_of(600, 1))
    for name in ("a.json", "b.json"):
        assert main(["fit-ranking", str(log), "--base", "prior", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert "kept as it is" in capsys.readouterr().out  # no jaw picks in the log
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["logs"][0]["lines"] == 600
    assert len(document["logs"][0]["sha256"]) == 64
    assert document["base_logs"] == []
    more = write_log(tmp_path / "more.jsonl", rows_of(2000, 2))
    assert main(["fit-ranking", str(more), "--base", str(tmp_path / "a.json"), "--out", str(tmp_path / "c.json")]) == 0
    assert json.loads((tmp_path / "c.json").read_text())["base_logs"] == document["logs"]
    assert document["held_out"]["suction"]["after"]["log_loss"] < document["held_out"]["suction"]["before"]["log_loss"]
    masks = TrueMasks()
    ranking = str(tmp_path / "a.json")
    assert load_ranking(ranking)["parallel_jaw"].weights == PRIORS["parallel_jaw"].weights
    Pipeline(from_flat({"grasp.ranking": ranking}), masks)
    with pytest.raises(ConfigError, match=r"grasp\.ranking"):
        Pipeline(from_flat({"grasp.ranking": str(tmp_path / "missing.json")}), masks)


def test_what_would_be_worse_is_refused_and_nothing_is_written(tmp_path, capsys):
    good = write_log(tmp_path / "good.jsonl", rows_of(2000, 1))
    assert main(["fit-ranking", str(good), "--base", "prior", "--out", str(tmp_path / "good.json")]) == 0
    few = write_log(tmp_path / "few.jsonl", list(rows_of(20, 3)))
    out = tmp_path / "out.json"
    assert main(["fit-ranking", str(few), "--base", str(tmp_path / "good.json"), "--out", str(out)]) == 1
    # Scenes to learn from say the opposite of those that are kept for judging.
    rows = list(rows_of(1200, 5))
    log = read_logs([write_log(tmp_path / "mixed.jsonl", rows)])
    from perception_node.learn.ranking import held_out
    away = held_out(log, log.by_kind["suction"])
    for row, judged in zip(rows, away, strict=True):
        if not judged:
            row["success"], row["failure"] = not row["success"], "" if not row["success"] else "dropped"
    mixed = write_log(tmp_path / "mixed.jsonl", rows)
    assert main(["fit-ranking", str(mixed), "--base", str(tmp_path / "good.json"), "--out", str(out)]) == 1
    assert "refused: worse on held-out outcomes" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(("line", "words"), [
    ("{", "one JSON object"), ("[]", "one JSON object"), ("{}", "expected kind"),
    (json.dumps(next(rows_of(1, 1)) | {"kind": "magnet"}), "magnet"),
    (json.dumps(next(rows_of(1, 1)) | {"terms": {"seal": "good"}}), "finite number for the term seal"),
    (json.dumps(next(rows_of(1, 1)) | {"success": "yes"}), "expected success"),
    (json.dumps(next(rows_of(1, 1)) | {"score": float("nan")}), "finite number for the score"),
    (json.dumps(next(rows_of(1, 1)) | {"label": -1}), "label of 0 to 65535"),
    (json.dumps(next(rows_of(1, 1)) | {"score": 10**400}), "finite number for the score"),
    ("[" * 100_000, "one JSON object"), ("\udcff", "other bytes"), ("x" * (1 << 20), "below 1024 KiB"),
])
def test_broken_logs_are_one_line_with_its_number(tmp_path, capsys, line, words):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(next(rows_of(1, 1))) + "\n" + line + "\n", errors="surrogateescape")
    with pytest.raises(DatasetError, match=r"log\.jsonl:2: "):
        read_logs([path])
    assert main(["fit-ranking", str(path), "--out", str(tmp_path / "out.json")]) == 2
    assert words in capsys.readouterr().err
    assert main(["fit-ranking", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out.json")]) == 2


def test_picks_that_say_nothing_about_the_grasp_are_left_out(tmp_path):
    rows = [next(rows_of(1, 1)) | change for change in ({}, {"degraded": True}, {"success": False, "failure": "unreachable"})]
    log = read_logs([write_log(tmp_path / "log.jsonl", rows)])
    assert (len(log.by_kind["suction"]), log.left_out) == (1, 2)


def without(row, *names):
    return row | {"terms": {name: value for name, value in row["terms"].items() if name not in names}}


def test_outcomes_of_an_older_version_are_not_mixed_with_newer_ones(tmp_path, capsys):
    """What a line lacks is not 0: it was not looked at."""
    rows = list(rows_of(400, 1))
    old, out = [without(row, "ground", "shown") for row in rows], str(tmp_path / "out.json")
    for mixed, place, other in (([*old[:3], *rows[3:]], 1, 4), ([*rows[:3], *old[3:]], 4, 1)):
        log = write_log(tmp_path / "log.jsonl", mixed)
        assert main(["fit-ranking", str(log), "--base", "prior", "--out", out]) == 2
        said = capsys.readouterr().err
        assert f"log.jsonl:{place}: expected the suction terms that {log}:{other} has, ground, shown missing" in said
        assert "grep '\"ground\"'" in said
        assert said.count("\n") == 1
    log = write_log(tmp_path / "log.jsonl", old)
    assert main(["fit-ranking", str(log), "--base", "prior", "--out", out]) == 0  # nobody weighs what they lack
    assert not {"ground", "shown"} & set(json.loads((tmp_path / "out.json").read_text())["models"]["suction"]["weights"])


def test_outcomes_without_a_term_that_the_ranking_weighs_are_refused(tmp_path, capsys):
    """Counted as 0 it would make the ranking in force look bad, and any other one better."""
    log = write_log(tmp_path / "log.jsonl", [without(row, "mask", "free") for row in rows_of(400, 1)])
    assert main(["fit-ranking", str(log), "--base", "prior", "--out", str(tmp_path / "out.json")]) == 2
    assert "free, mask missing: logged by an older version?" in capsys.readouterr().err
    assert main(["bench", "ranking", str(log)]) == 2
    assert not (tmp_path / "out.json").exists()


def test_a_pick_that_was_logged_twice_counts_once(tmp_path, capsys):
    """A client's repeated call to an older node; the same log given twice."""
    rows = [row | {"stamp_ns": 7, "position_m": [0.1, 0.2, 1.0]} for row in rows_of(30, 1)]
    log = read_logs([write_log(tmp_path / "log.jsonl", [*rows, *(row | {"stamp_ns": 8} for row in rows[:5])])])
    assert (len(log.by_kind["suction"]), log.repeated) == (30, 5)
    moved = [row | {"position_m": [0.1, 0.3, 1.0]} for row in rows]
    assert read_logs([write_log(tmp_path / "other.jsonl", [*rows, *moved])]).repeated == 0
    assert read_logs([tmp_path / "log.jsonl", tmp_path / "log.jsonl"]).repeated == 40
    main(["fit-ranking", str(tmp_path / "log.jsonl"), "--base", "prior", "--out", str(tmp_path / "out.json")])
    assert "5 outcomes left out: the same as another one, reported again" in capsys.readouterr().out


@pytest.mark.parametrize(("document", "words"), [
    ("[]", "format 1"), ('{"format": 2, "models": {}}', "format 1"), ("{", "JSON"),
    ('{"format": 1, "models": {"suction": {"bias": 0, "weights": {"magic": 1}}}}', "magic"),
    ('{"format": 1, "models": {"suction": {"bias": 0, "weights": {"seal": -1}}}}', "at least 0"),
    ('{"format": 1, "models": {"suction": {"bias": "x", "weights": {}}}}', "finite number"),
    ('{"format": 1, "models": {"suction": {"bias": 0, "weights": {}}}}', "parallel_jaw"),
])
def test_files_that_are_no_ranking_are_refused(tmp_path, document, words):
    path = tmp_path / "ranking.json"
    path.write_text(document)
    with pytest.raises(ConfigError, match=words):
        load_ranking(str(path))


def test_the_shipped_ranking_knows_its_origin_and_uses_the_terms_there_are():
    models = load_ranking()
    for kind, model in models.items():
        assert set(model.weights) <= set(TERMS[kind])
        assert "fit-ranking" in model.source


def test_orders_are_judged_by_what_was_picked(tmp_path):
    rows = [{"kind": "suction", "success": success, "failure": "" if success else "several", "degraded": False, "score": 0.5,
             "label": label, "scene_stamp_ns": 1, "terms": {**NOTHING, "seal": seal, "free": free}}
            for label, seal, free, success in ((1, 1.0, 0.0, False), (2, 0.6, 1.0, True), (2, 0.2, 1.0, False))]
    log = read_logs([write_log(tmp_path / "log.jsonl", rows)])
    seal_only = {kind: RankingModel(0.0, {"seal": 1.0}, "test") for kind in PRIORS}
    figures = order_figures(log, seal_only)
    assert figures["learned"] == {"first": 1.0, "third": 0.5, "package": 0.5}
    assert figures["learned_anywhere"]["first"] == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_measures_stay_in_their_ranges(pairs):
    found = measure(np.array([p for p, _ in pairs]), np.array([s for _, s in pairs]))
    assert 0.0 <= found.calibration_error <= 1.0
    assert found.log_loss >= 0.0
    assert found.auc is None or 0.0 <= found.auc <= 1.0
