"""Figures of a live measurement from made-up records; the soak's slope; what a scene is without its pixels."""

import gc
import mmap
import os

import numpy as np
import pytest

from perception_node.bench import soak
from perception_node.bench.live_figures import Arrival, Run, Scenario, figures, lines, shortfalls
from perception_node.bench.usage import MachineUse, ProcessUse

MS = 1_000_000
SCENARIO = Scenario("test", 640, 480, 30.0, p50_ms=50.0, p95_ms=80.0, dropped=0.01, overhead_ms=8.0)


def recorded(count=100, latency_ms=40.0, pipeline_ms=34.0, drops=(), growth_mb=0.0, drift_ms=0.0, unaccounted=0):
    """Of `count` frames at 30 Hz the last ones were dropped, as `drops` say: (reason, number)."""
    stamps = [10**15 + round(k * 1e9 / 30) for k in range(count)]
    kept = count - sum(number for _, number in drops) - unaccounted
    arrivals, stages_ms = [], {"segment": pipeline_ms - 9.0, "grasp": 9.0, "total": pipeline_ms}
    for k, stamp in enumerate(stamps[:kept]):
        late_ms = latency_ms + drift_ms * k / count
        arrivals.append(Arrival(stamp, stamp + round((late_ms + 1) * MS), 1e-3 * late_ms, stages_ms, 20, True))
    memory = list(100.0 + growth_mb * np.linspace(0, 1, 41))
    return Run(stamps, arrivals, {"results": kept, "reset": 0, **dict(drops)}, memory, 2.0, 4.0, 0.001)


def test_figures_of_a_good_run():
    found = figures(recorded())
    assert found["BasicPerformanceMetrics.NUM_FRAMES_SENT"] == 100
    assert found["BasicPerformanceMetrics.NUM_MISSED_FRAMES"] == 0
    assert found["BasicPerformanceMetrics.MEAN_FRAME_RATE"] == pytest.approx(30.0, abs=1e-3)
    assert found["BasicPerformanceMetrics.MEAN_LATENCY"] == pytest.approx(41.0)
    assert found["BasicPerformanceMetrics.MAX_JITTER"] < 1e-3
    assert found["stamp_to_publish_ms"]["p50"] == pytest.approx(40.0)
    assert found["outside_of_pipeline_ms"]["p50"] == pytest.approx(7.0)
    assert found["node_cores"] == 0.5
    assert found["unaccounted"] == 0
    assert shortfalls(SCENARIO, found) == []
    assert [found["stages_ms"][stage]["p95"] for stage in ("segment", "grasp")] == [25.0, 9.0]
    assert "segment 25.0, grasp 9.0" in "\n".join(lines(found))
    assert len(lines(found)) == 9


@pytest.mark.parametrize(("change", "words"), [
    ({"latency_ms": 60.0}, ["50 ms at p50, got 60.0", "at most 8 ms outside of the pipeline at p50, got 27.0"]),
    ({"latency_ms": 90.0, "pipeline_ms": 85.0}, ["50 ms at p50", "80 ms at p95"]),
    ({"drops": (("superseded", 1), ("lost", 2))}, ["less than 1% dropped, got 3.0%"]),
    ({"unaccounted": 2}, ["2 of 100 are neither", "dropped, got 2.0%"]),
    ({"growth_mb": 40.0}, ["at most 10 MB gained, got 30.0 MB"]),
    ({"latency_ms": 5.0, "pipeline_ms": 5.0, "drift_ms": 70.0}, ["outside", "bounded latency"]),
    ({"drops": (("too_old", 100),)}, ["expected results of 100 frames, got none"]),
])
def test_each_shortfall_is_said(change, words):
    said = shortfalls(SCENARIO, figures(recorded(**change)))
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True)), said


def test_frames_of_other_runs_do_not_count():
    run = recorded()
    probe = Arrival(7, 8, 0.4, 1.0, 0, False)
    assert figures(Run(run.sent, [probe, *run.arrivals], run.counts, run.memory_mb, 1, 1, 0))["stamp_to_publish_ms"]["p99"] < 41


def test_use_of_this_process():
    gc.collect()  # what earlier tests left would be closed in between
    before = ProcessUse.of(os.getpid())
    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # not what earlier tests have given back to the allocator
    with open(os.devnull) as _, mmap.mmap(-1, 32_000_000, kind) as fresh:
        ballast = np.frombuffer(fresh, np.uint8)
        ballast[:] = 1
        after = ProcessUse.of(os.getpid())
        del ballast
    assert after.descriptors == before.descriptors + 1
    assert 25.0 < after.memory_mb - before.memory_mb < 40.0
    assert after.threads >= 1
    machine = MachineUse()
    while not machine.sample(0.02):
        pass
    assert 0.0 <= machine.samples[0] <= 100.0


@pytest.mark.parametrize(("width", "height", "frame_id"), [(640, 480, "c"), (1280, 720, "camera_optical_frame"), (64, 48, "ab")])
def test_a_scene_without_its_pixels_is_a_scene(width, height, frame_id):
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("perception_node_msgs.msg", reason="the overlay is not built: make build")
    from dataclasses import replace

    from rclpy.serialization import deserialize_message

    from perception_node.bag.cdr import SceneBytes
    from perception_node.bench.publish import full_scene
    from perception_node.ros.live_cell import without_pixels
    from perception_node_msgs.msg import PickScene

    scene = replace(full_scene(width, height, 6)[0], frame_id=frame_id)
    raw = SceneBytes(scene).scene(latency_s=0.25)
    short = without_pixels(raw)
    assert len(raw) - len(short) == width * height * 2
    whole, again = deserialize_message(raw, PickScene), deserialize_message(short, PickScene)
    assert (again.header, again.grasps, again.packages) == (whole.header, whole.grasps, whole.packages)
    assert again.latency_s == 0.25


def soaked(slope_mb=0.0, descriptors=0, threads=0, lost=0):
    """Two thousand frames whose memory starts with a step, jitters, and rises by `slope_mb` in each thousand."""
    rng, samples = np.random.default_rng(0), []
    for frames in range(0, 2001, 20):
        memory = 150.0 + (40.0 if frames > 200 else 0.0) + slope_mb * frames / 1000 + rng.normal(0, 0.3)
        late = frames > 1500
        samples.append((frames, ProcessUse(memory, 40 + late * descriptors, 12 + late * threads, 1.0)))
    return soak.figures(samples, {"results": 1900 - lost, "superseded": 100}, 2000)


def test_a_flat_soak():
    found = soaked()
    assert abs(found["slope_mb_per_1000"]) < 0.1
    assert soak.shortfalls(found) == []


@pytest.mark.parametrize(("change", "words"), [({"slope_mb": 0.8}, "0.5 MB gained in 1,000 frames, got 0."),
                                               ({"descriptors": 1}, "no descriptors gained, got 1"),
                                               ({"threads": 2}, "no threads gained, got 2"),
                                               ({"lost": 3}, "3 of 2000 are neither")])
def test_growth_is_said(change, words):
    said = soak.shortfalls(soaked(**change))
    assert len(said) == 1
    assert words in said[0]
