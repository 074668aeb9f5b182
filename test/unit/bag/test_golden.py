"""The bundled recording gives what it gave before, and a pipeline that is broken on purpose is noticed.

Renew the golden file after a change that is meant (then look at the differences first, with --against):

    perception replay perception_node/data/demo --set segment.runtime=onnxruntime --set segment.threads=1 --no-film \
        --no-published --out out/golden --replace --golden test/data/demo.golden.jsonl.gz
"""

import copy
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from perception_node.bag.compare import Tolerances, compare
from perception_node.bag.reader import Recording
from perception_node.bag.replay import replay
from perception_node.bag.results import line_of_scene, read_results, reduced
from perception_node.config import from_flat
from perception_node.pipeline import Pipeline
from perception_node.types import Segmentation

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "test" / "data" / "demo.golden.jsonl.gz"
CONFIG = from_flat({"segment.runtime": "onnxruntime", "segment.threads": 1})
"""ONNX Runtime computes in single precision on every CPU; OpenVINO takes half of it where the CPU can (docs/replay.md)."""

PORTABLE = Tolerances(iou=0.95, position_m=0.01, angle_rad=0.15, size_m=0.01, score=0.05, velocity_m_s=0.03, allowed=0.01,
                      allowed_grasps=0.05)
"""What another CPU's rounding may change. Measured: noise of 1e-4 on the network's outputs changes less (test below)."""


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(CONFIG)


def replayed(pipeline, pictures):
    return [line_of_scene(step.scene) for step in replay(pictures, pipeline)]


@pytest.fixture(scope="module")
def lines(pipeline):
    with Recording(ROOT / "perception_node" / "data" / "demo") as recording:
        return replayed(pipeline, recording.pictures())


def test_the_bundled_recording_gives_what_it_gave(lines):
    result = compare(read_results(GOLDEN), lines, PORTABLE)
    said = "\n".join(words for change in result.changed for _, words in change.changes)
    assert result.frames == 60
    assert result.same, f"{result.kinds}\n{said}\nwhere this was meant: see the head of this file"


def test_the_golden_file_is_small():
    assert GOLDEN.stat().st_size < 300_000


class Noisy:
    """A segmenter whose network answers with a little noise, as another CPU's rounding does, only more."""

    def __init__(self, segmenter):
        self._segmenter, self._heads = segmenter, segmenter.heads
        self._random = np.random.default_rng(5)

    def heads(self, frame, belt_plane=None):
        heads = self._heads(frame, belt_plane)
        return heads + self._random.normal(0.0, 1e-4, heads.shape).astype(np.float32)


def test_rounding_is_tolerated(pipeline, lines, monkeypatch):
    monkeypatch.setattr(pipeline._segmenter, "heads", Noisy(pipeline._segmenter).heads)
    with Recording(ROOT / "perception_node" / "data" / "demo") as recording:
        noisy = replayed(pipeline, itertools.islice(recording.pictures(), 12))
    result = compare(lines[:12], noisy, PORTABLE)
    assert result.same, result.kinds


class Shrunk:
    """A segmenter that is broken: its masks lack their rims."""

    model_id = "broken 0"

    def __init__(self, segmenter):
        self._segmenter = segmenter

    def segment(self, frame, belt_plane=None):
        found = self._segmenter.segment(frame, belt_plane)
        labels = found.labels.copy()
        for shift in (-3, 3):
            for axis in (0, 1):
                labels[np.roll(found.labels, shift, axis) != found.labels] = 0
        return Segmentation(labels, found.instances)


@pytest.mark.parametrize("fault", ["shrunk masks", "depth 3 % too far"])
def test_a_broken_pipeline_is_noticed(pipeline, lines, fault):
    with Recording(ROOT / "perception_node" / "data" / "demo") as recording:
        pictures = list(itertools.islice(recording.pictures(), 6))
    if fault == "shrunk masks":
        pipeline = Pipeline(CONFIG, segmenter=Shrunk(pipeline._segmenter))
    else:
        pictures = [dataclasses.replace(picture, frame=dataclasses.replace(
            picture.frame, depth_m=picture.frame.depth_m * np.float32(1.03))) for picture in pictures]
    assert not compare(lines[:6], replayed(pipeline, pictures), PORTABLE).same


@pytest.mark.parametrize("fault", ["grasps 15 mm aside", "scores halved", "ids exchanged", "a package lost in every third frame",
                                   "classes exchanged", "velocities turned round", "jaws 12 mm wider", "nothing covers anything",
                                   "worst grasps first", "grasps without a reason gone", "a frame lost"])
def test_broken_results_are_noticed(lines, fault):
    bad = copy.deepcopy(lines)
    for number, line in enumerate(bad):
        packages, grasps = line["packages"], line["grasps"]
        if fault.startswith("grasps 15"):
            for grasp in grasps:
                grasp["position_m"][0] += 0.015
        elif fault.startswith("scores"):
            for grasp in grasps:
                grasp["score"] /= 2
        elif fault.startswith("ids") and number % 2 and len(packages) > 1:
            packages[0]["track_id"], packages[1]["track_id"] = packages[1]["track_id"], packages[0]["track_id"]
        elif fault.startswith("a package") and number % 3 == 0:
            line["packages"] = packages[1:]
        elif fault.startswith("classes"):
            packages[0]["class_name"] = "poly_bag" if packages[0]["class_name"] != "poly_bag" else "box"
        elif fault.startswith("velocities"):
            for package in packages:
                package["velocity_m_s"] = [-value for value in package["velocity_m_s"]]
        elif fault.startswith("jaws"):
            for grasp in grasps:
                grasp["width_m"] += 0.012 * (grasp["kind"] == "parallel_jaw")
        elif fault.startswith("nothing covers"):
            for package in packages:
                package["covered_by"] = []
        elif fault.startswith("worst"):
            line["grasps"] = sorted(grasps, key=lambda grasp: (grasp["label"], -grasp["score"]))
            if grasps:
                least = min(line["grasps"], key=lambda grasp: grasp["score"])["label"]
                line["grasps"].sort(key=lambda grasp: grasp["label"] != least)
        elif fault.startswith("grasps without"):
            line["grasps"] = [grasp for grasp in grasps if grasp["label"] != packages[0]["label"]]
    if fault == "a frame lost":
        del bad[7]
    result = compare(lines, bad, PORTABLE)
    assert not result.same
    assert result.changed


def test_the_same_results_are_the_same_also_when_reduced(lines):
    result = compare([reduced(line) for line in lines], lines, Tolerances())
    assert result.same
    assert result.packages_changed == 0
