import numpy as np
import pytest

from perception_node.config import Config, from_flat
from perception_node.errors import PerceptionError
from perception_node.pipeline import Pipeline
from perception_node.types import Frame, Instance, Segmentation

BOXES = [(0.1, -0.05, 0.16, 0.12, 0.08, 0.4), (-0.15, 0.05, 0.1, 0.1, 0.15, 0.0)]


class Answers:
    """A segmenter that answers with what it was told."""

    model_id = "told 00000000"

    def __init__(self, segmentation):
        self.segmentation, self.planes = segmentation, []

    def segment(self, frame, belt_plane=None):
        self.planes.append(belt_plane)
        return self.segmentation


@pytest.fixture
def setup(cast_boxes, belt):
    frame, segmentation = cast_boxes(BOXES)
    answers = Answers(segmentation)
    return frame, answers, Pipeline(from_flat({"belt.plane": belt}), answers)


def test_a_scene_holds_everything(setup, belt):
    frame, answers, pipeline = setup
    scene = pipeline.process(frame)
    assert (scene.stamp_ns, scene.frame_id, scene.model_id) == (0, "cam_optical_frame", "told 00000000")
    assert [track.label for track in scene.tracks] == [1, 2]
    assert scene.pick_order == (2, 1)
    assert scene.depth_used
    assert scene.degraded == ""
    assert set(scene.timing_ms) == {"segment", "locate", "track", "grasp", "total"}
    assert {g.label for g in scene.grasps} == {1, 2}
    assert answers.planes[0] == pytest.approx(belt)


def test_the_same_frames_give_the_same_scenes(setup):
    frame, _, pipeline = setup
    first = pipeline.process(frame)
    pipeline.reset()
    second = pipeline.process(frame)
    assert [t.track_id for t in second.tracks] == [1, 2]
    for a, b in zip(first.grasps, second.grasps, strict=True):
        assert np.array_equal(a.T_cam_grasp, b.T_cam_grasp)
        assert (a.score, a.terms, a.deadline_ns) == (b.score, b.terms, b.deadline_ns)
    assert [dict(r.numbers) for r in first.rejections] == [dict(r.numbers) for r in second.rejections]


def test_inputs_are_not_changed(setup):
    frame, answers, pipeline = setup
    before = frame.depth_m.copy(), answers.segmentation.labels.copy()
    frame.depth_m.setflags(write=False)
    frame.rgb.setflags(write=False)
    answers.segmentation.labels.setflags(write=False)
    pipeline.process(frame)
    assert np.array_equal(frame.depth_m, before[0])
    assert np.array_equal(answers.segmentation.labels, before[1])


def test_degraded_is_said(setup, belt):
    frame, answers, pipeline = setup
    blind = pipeline.process(Frame(frame.rgb, None, frame.camera, 1, "cam"))
    assert not blind.depth_used
    assert blind.degraded.startswith("no depth")
    assert all(grasp.degraded for grasp in blind.grasps)
    lost = Pipeline(Config(), answers).process(Frame(frame.rgb, None, frame.camera, 1, "cam"))
    assert "neither calibrated nor found" in lost.degraded
    assert not lost.grasps
    assert {track.track_id for track in lost.tracks} == {0}


def test_a_backward_stamp_resets_and_is_counted(setup):
    frame, _, pipeline = setup
    pipeline.process(Frame(frame.rgb, frame.depth_m, frame.camera, 10**10, "cam"))
    pipeline.process(frame)
    assert pipeline.clock_jumps == 1


def test_packages_below_the_limits_are_not_reported(setup, belt):
    frame, answers, pipeline = setup
    low = tuple(Instance(i.label, i.class_name, 0.2 if i.label == 1 else 0.9, i.bbox_xyxy, i.area_px, 0.7, 0.1)
                for i in answers.segmentation.instances)
    answers.segmentation = Segmentation(answers.segmentation.labels, low)
    scene = pipeline.process(frame)
    assert len(scene.tracks) == 1
    assert scene.segmentation.labels.max() == 1
    kept, = scene.segmentation.instances
    assert (kept.score, kept.foreground, kept.seams) == (0.9, 0.7, 0.1)
    pipeline.update_config(from_flat({"belt.plane": belt, "segment.score_threshold": 0.1}))
    assert len(pipeline.process(frame).tracks) == 2


def test_live_parameters_are_taken_over_and_others_refused(setup, belt):
    _, _, pipeline = setup
    new = from_flat({"belt.plane": belt, "grasp.max_per_package": 1})
    pipeline.update_config(new)
    assert pipeline.config is new
    with pytest.raises(PerceptionError, match="segment.threads"):
        pipeline.update_config(from_flat({"segment.threads": 7}))


@pytest.mark.parametrize("velocity", [[0.1], [np.nan, 0, 0], [0, 0, 0, 0]])
def test_a_broken_belt_velocity_is_refused(setup, velocity):
    frame, _, pipeline = setup
    with pytest.raises(PerceptionError, match="three finite numbers"):
        pipeline.process(frame, velocity)


def test_an_empty_belt_is_an_empty_scene(cast_boxes, belt):
    frame, segmentation = cast_boxes([])
    scene = Pipeline(from_flat({"belt.plane": belt}), Answers(segmentation)).process(frame)
    assert (scene.tracks, scene.grasps, scene.rejections, scene.degraded) == ((), (), (), "")


def test_a_pipeline_is_made_from_a_file(tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text("/**:\n  ros__parameters:\n    segment:\n      model: /nowhere/model.onnx\n")
    with pytest.raises(PerceptionError, match="nowhere"):
        Pipeline.from_file(path)
