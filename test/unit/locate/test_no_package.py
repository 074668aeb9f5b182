"""Masks that show no package: flat ones, and what was there in the empty cell."""

from dataclasses import replace

import numpy as np
import pytest

from perception_node.config import BeltConfig, from_flat
from perception_node.errors import ConfigError, DatasetError, FrameError
from perception_node.locate.empty_cell import EmptyCell, learn_empty_cell, load_empty_cell, save_empty_cell, unchanged_masks
from perception_node.locate.flat import flat_masks
from perception_node.locate.packages import locate_packages
from perception_node.pipeline import Pipeline
from perception_node.types import Segmentation

PATCH, BOX, THIN = (0.0, 0.0, 0.16, 0.12, 0.001, 0.3), (0.22, 0.05, 0.14, 0.1, 0.08, 0.4), (-0.22, -0.05, 0.16, 0.12, 0.006, 0.1)


def noisy(frame, seed, sigma_m=0.002):
    rng = np.random.default_rng(seed)
    depth_m = (frame.depth_m + rng.normal(0, sigma_m, frame.depth_m.shape)).astype(np.float32)
    depth_m[rng.random(depth_m.shape) < 0.1] = np.nan
    return replace(frame, depth_m=depth_m)


def judged(frame, segmentation, belt, limit_m=0.003):
    return flat_masks(frame, segmentation, locate_packages(frame, segmentation, BeltConfig(plane=belt)), limit_m)


@pytest.mark.parametrize("seed", range(5))
def test_a_patch_is_flat_and_a_thin_mailer_is_not(cast_boxes, belt, seed):
    frame, segmentation = cast_boxes([PATCH, BOX, THIN])
    flat = judged(noisy(frame, seed), segmentation, belt)
    assert set(flat) == {1}
    assert flat[1].step_m == pytest.approx(0.001, abs=0.0005)


def test_depth_that_is_wrong_everywhere_alike_changes_nothing(cast_boxes, belt):
    frame, segmentation = cast_boxes([PATCH, BOX, THIN])
    shifted = replace(frame, depth_m=frame.depth_m + np.float32(0.008))
    assert set(judged(shifted, segmentation, belt)) == {1}


def test_what_lies_flush_among_packages_is_not_judged(cast_boxes, belt):
    squares = [(x, 0.0, 0.1, 0.1, 0.02, 0.0) for x in (0.0, 0.1, -0.1)]
    frame, segmentation = cast_boxes([*squares, (0.0, 0.1, 0.3, 0.1, 0.02, 0.0), (0.0, -0.1, 0.3, 0.1, 0.02, 0.0)])
    assert judged(frame, segmentation, belt) == {}


def test_nothing_is_judged_without_depth_a_plane_or_a_limit(cast_boxes, belt):
    frame, segmentation = cast_boxes([PATCH])
    assert set(judged(frame, segmentation, belt)) == {1}
    assert judged(frame, segmentation, belt, 0.0) == {}
    assert judged(replace(frame, depth_m=None), segmentation, belt) == {}


def empty_cell(cast_boxes, depth=True, count=7):
    """Learned with a bracket (a box that the network takes for a package) and a random pattern over everything."""
    frame, segmentation = cast_boxes([BOX])
    pattern = np.random.default_rng(9).integers(40, 200, (*frame.rgb.shape[:2], 1)).repeat(3, 2).astype(np.uint8)
    frames = [noisy(replace(frame, rgb=pattern), seed) for seed in range(count)]
    if not depth:
        frames = [replace(one, depth_m=None) for one in frames]
    return learn_empty_cell((one, segmentation) for one in frames), pattern


@pytest.mark.parametrize("seed", range(3))
def test_the_bracket_of_the_empty_cell_is_known_again_and_a_package_is_not(cast_boxes, seed):
    empty, pattern = empty_cell(cast_boxes)
    frame, segmentation = cast_boxes([BOX, THIN])
    frame = noisy(replace(frame, rgb=pattern), 100 + seed)
    found = unchanged_masks(frame, segmentation, empty, 0.003)
    assert set(found) == {1}
    assert abs(found[1].change_m) < 0.003
    on_top, taller = cast_boxes([(*BOX[:4], BOX[4] + 0.01, BOX[5])])
    assert unchanged_masks(noisy(replace(on_top, rgb=pattern), seed), taller, empty, 0.003) == {}


def test_without_depth_the_same_pattern_at_the_same_place_is_known_again(cast_boxes):
    empty, pattern = empty_cell(cast_boxes, depth=False)
    frame, segmentation = cast_boxes([BOX, THIN])
    darker = replace(frame, rgb=(pattern * 0.7).astype(np.uint8), depth_m=None)
    found = unchanged_masks(darker, segmentation, empty, 0.003)
    assert set(found) == {1}  # the other place was never called a package
    assert found[1].correlation > 0.95
    covered = darker.rgb.copy()
    covered[segmentation.labels == 1] = np.random.default_rng(3).integers(40, 200, covered.shape)[segmentation.labels == 1]
    assert unchanged_masks(replace(darker, rgb=covered), segmentation, empty, 0.003) == {}
    plain = np.full_like(covered, 90)
    assert unchanged_masks(replace(darker, rgb=plain), segmentation, empty, 0.003) == {}


def test_places_without_steady_depth_are_unknown(cast_boxes):
    frame, segmentation = cast_boxes([BOX])
    frames = [noisy(frame, seed, 0.03) for seed in range(9)]
    empty = learn_empty_cell((one, segmentation) for one in frames)
    assert np.isfinite(empty.depth_m).mean() < 0.2
    assert unchanged_masks(noisy(frame, 20), segmentation, empty, 0.003) == {}


def test_the_file_holds_everything_and_broken_ones_are_refused(cast_boxes, tmp_path):
    empty, _ = empty_cell(cast_boxes)
    path = tmp_path / "deep" / "empty.npz"
    save_empty_cell(path, empty)
    again = load_empty_cell(path)
    for name in ("depth_m", "gray", "taken"):
        np.testing.assert_array_equal(getattr(again, name), getattr(empty, name))
    assert again.frames == empty.frames == 7
    assert [p.name for p in path.parent.iterdir()] == ["empty.npz"]
    with pytest.raises(ConfigError, match="does not exist"):
        load_empty_cell(tmp_path / "none.npz")
    data = path.read_bytes()
    for broken in (data[: len(data) // 2], b"", b"not an archive"):
        path.write_bytes(broken)
        with pytest.raises(ConfigError, match="cannot be read"):
            load_empty_cell(path)
    np.savez(path, version=1, depth_m=np.zeros((3, 4)), gray=np.zeros((3, 4), np.uint8), taken=np.zeros((3, 4), bool), frames=3)
    with pytest.raises(ConfigError, match="got another"):
        load_empty_cell(path)


def test_too_few_frames_or_another_size_are_said(cast_boxes):
    frame, segmentation = cast_boxes([BOX])
    with pytest.raises(DatasetError, match="expected 5 frames or more, got 4"):
        learn_empty_cell([(frame, segmentation)] * 4)
    empty = EmptyCell(np.zeros((10, 12), np.float32), np.zeros((10, 12), np.uint8), np.zeros((10, 12), np.bool_), 5)
    with pytest.raises(FrameError, match="learned with 12x10: learn it again"):
        unchanged_masks(frame, segmentation, empty, 0.003)


class Answers:
    model_id = "told 00000000"

    def __init__(self, segmentation):
        self.segmentation = segmentation

    def segment(self, frame, belt_plane=None):
        return self.segmentation


def test_the_pipeline_refuses_with_words_and_keeps_them_in_the_scene(cast_boxes, belt, tmp_path):
    empty, pattern = empty_cell(cast_boxes)
    path = tmp_path / "empty.npz"
    save_empty_cell(path, empty)
    frame, segmentation = cast_boxes([BOX, PATCH, (-0.22, 0.0, 0.16, 0.12, 0.09, 0.2)])
    frame = noisy(replace(frame, rgb=pattern), 50, 0.0005)
    plain = Pipeline(from_flat({"belt.plane": belt, "belt.min_height_m": 0.0}), Answers(segmentation)).process(frame)
    careful = Pipeline(from_flat({"belt.plane": belt, "belt.empty_cell": str(path)}), Answers(segmentation)).process(frame)
    assert {1, 3} <= {grasp.label for grasp in plain.grasps}
    assert {grasp.label for grasp in careful.grasps} == {3}
    assert [(g.label, g.score) for g in careful.grasps] == [(g.label, g.score) for g in plain.grasps if g.label == 3]
    assert len(careful.tracks) == len(careful.segmentation.instances) == 3
    reasons = {(r.label, r.kind): r for r in careful.rejections}
    for kind in ("parallel_jaw", "suction"):
        assert reasons[1, kind].reason.startswith("was there in the empty cell: stands out of it by")
        assert reasons[1, kind].numbers["limit_m"] == 0.003
        assert "empty cell" in reasons[2, kind].reason or "belt around it" in reasons[2, kind].reason
        assert reasons[1, kind].track_id == careful.tracks[0].track_id > 0


def test_the_pipeline_takes_another_empty_cell_while_it_runs(cast_boxes, belt, tmp_path):
    empty, pattern = empty_cell(cast_boxes)
    save_empty_cell(tmp_path / "empty.npz", empty)
    frame, segmentation = cast_boxes([BOX])
    frame = noisy(replace(frame, rgb=pattern), 50, 0.0005)
    pipeline = Pipeline(from_flat({"belt.plane": belt}), Answers(segmentation))
    assert pipeline.process(frame).grasps
    pipeline.update_config(from_flat({"belt.empty_cell": str(tmp_path / "empty.npz")}, pipeline.config))
    assert not pipeline.process(replace(frame, stamp_ns=10**8)).grasps
    pipeline.update_config(from_flat({"belt.empty_cell": ""}, pipeline.config))
    assert pipeline.process(replace(frame, stamp_ns=2 * 10**8)).grasps


def test_nothing_but_masks_of_the_segmentation_is_named(cast_boxes, belt):
    frame, _ = cast_boxes([BOX])
    nothing = Segmentation(np.zeros(frame.rgb.shape[:2], np.uint16), ())
    empty, _ = empty_cell(cast_boxes)
    assert judged(frame, nothing, belt) == {}
    assert unchanged_masks(frame, nothing, empty, 0.003) == {}
