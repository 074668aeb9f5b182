"""The demo's figures, table, shortfalls and pictures, from two made-up scenes; no ROS."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from perception_node.bag.truth import FrameTruth, TrueInstance, Truth
from perception_node.ros import demo_pictures, demo_report
from perception_node.types import CameraModel, Frame, Grasp, Instance, Package, Rejection, Scene, Segmentation, Track

WIDTH, HEIGHT = 96, 64
CAMERA = CameraModel(90.0, 90.0, 47.5, 31.5, WIDTH, HEIGHT)
EYE = tuple(tuple(float(v) for v in row) for row in np.eye(4))


def make_scene(index, found=True):
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[10:40, 10 + index:50 + index] = 1
    pose = np.eye(4)
    pose[2, 3] = 1.0
    package = Package(1, "poly_bag", 0.9, pose, (0.3, 0.2, 0.1), np.eye(6), 1.0, (), 1.0, True)
    track = Track(5, 1, "poly_bag", pose, (0.3, 0.2, 0.1), np.array([0.25, 0, 0]), index, np.eye(6), np.eye(3), package)
    instance = Instance(1, "poly_bag", 0.9, (10 + index, 10, 50 + index, 40), 1200)
    return Scene(
        stamp_ns=1000 + index, frame_id="cam", segmentation=Segmentation(labels if found else labels * 0, (instance,) * found),
        tracks=(track,) * found, grasps=(Grasp("suction", pose, 0.03, 0.8, 1, 5),) * found,
        rejections=(Rejection(1, "parallel_jaw", "too wide: 200 mm"),) * found, pick_order=(1,) * found,
        belt_velocity_m_s=np.array([0.25, 0.0, 0.0]), timing_ms={"segment": 20.0, "total": 30.0}, degraded="", depth_used=True,
        model_id="universal 0123")


def figures(count=4, found=True, processed=None, rate=1):
    scenes = [make_scene(index, found) for index in range(count)]
    package = TrueInstance(1, 7, "poly_bag", EYE, (0.3, 0.2, 0.1), 1.0)
    truth = Truth(tuple(FrameTruth(rate * index, make_scene(index).segmentation.labels, (package,)) for index in range(count)),
                  np.array([0.26, 0, 0]), np.zeros(4))
    received = [SimpleNamespace(scene=scene, receipt_latency_s=0.05, publish_latency_s=0.04) for scene in scenes[:processed]]
    sent = [(1000 + index, rate * index) for index in range(count)]
    diagnostics = {"perception: pipeline": {"message": "fine", "dropped_superseded": "1", "dropped_too_old": "0"},
                   "perception: camera": {"colour_received": str(count)}}
    made = demo_report.figures(received, sent, truth, first_scene_s=2.5, planner_lines=["would pick it"], diagnostics=diagnostics)
    return made, received


def test_figures_and_table(tmp_path):
    made, received = figures(processed=3)
    assert made["frames"] == {"sent": 4, "processed": 3, "dropped": 1, "reasons": {"superseded": 1}}
    assert made["masks"] == {"packages": 3, "mean_iou": 1.0, "found_50": 1.0, "found_75": 1.0, "merges": 0, "splits": 0}
    assert made["stamp_to_publish_ms"] == pytest.approx({"p50": 40.0, "p95": 40.0, "p99": 40.0})
    text = demo_report.table(made, [tmp_path / "a.png"])
    for words in ("4 sent, 3 processed, 1 dropped", "1 replaced by a newer one", "found 100.0% of packages",
                  "0.250 m/s, in truth 0.260", "p95 40 ms", "would pick it", "a.png", "universal 0123"):
        assert words in text
    assert demo_report.shortfalls(made) == []
    json.dumps(made)
    [path] = demo_report.write_scenes(tmp_path / "scenes.jsonl", received)
    assert [json.loads(line)["best"]["kind"] for line in path.read_text().splitlines()] == ["suction"] * 3


@pytest.mark.parametrize(("case", "words"), [({"processed": 1}, "of 4 frames processed, got 1"),
                                             ({"found": False}, "grasps in at least"),
                                             ({"found": False}, "found at IoU 0.5, got 0%")])
def test_shortfalls_say_what_was_expected(case, words):
    made, _ = figures(**case)
    assert any(words in sentence for sentence in demo_report.shortfalls(made))


def test_slow_results_fall_short():
    made, _ = figures()
    made["stamp_to_publish_ms"]["p95"] = 800.0
    assert demo_report.shortfalls(made) == ["expected stamp to publish below 500 ms at p95, got 800 ms"]


def test_a_belt_that_is_played_faster_moves_faster():
    assert figures(rate=3)[0]["belt_velocity_m_s"]["true"] == [0.78, 0.0, 0.0]


def test_no_scene_at_all():
    made, _ = figures(processed=0)
    assert "4 sent, 0 processed" in demo_report.table(made, [])
    assert demo_report.shortfalls(made)


@pytest.mark.parametrize("with_depth", [True, False])
def test_pictures(tmp_path, with_depth):
    depth = np.full((HEIGHT, WIDTH), 1.0, np.float32) if with_depth else None
    pairs = [(Frame(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), depth, CAMERA, index * 10**8, "cam"), make_scene(index))
             for index in range(5)]
    names = [path.name for path in demo_pictures.draw_all(tmp_path, pairs)]
    assert names[-3:] == ["contact_sheet.png", "grasps.png", "demo.png"]
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet.shape[1] == 4 * 400
    both = cv2.imread(str(tmp_path / "demo.png"))
    assert both.shape == (HEIGHT, 2 * WIDTH, 3)
    assert demo_pictures.draw_all(tmp_path, []) == []


def test_a_track_keeps_its_colour():
    frame = Frame(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), None, CAMERA, 0, "cam")
    a, b = demo_pictures.overlay(frame, make_scene(0)), demo_pictures.overlay(frame, make_scene(4))
    assert np.array_equal(a[12, 20], b[12, 20])
    assert not np.array_equal(a[12, 20], frame.rgb[12, 20])
