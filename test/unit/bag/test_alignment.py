"""Depth beside the colour picture: found where it is shifted or of another size, silent where it is right or cannot be told."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from perception_node.bag.alignment import Alignment
from perception_node.bag.depth_check import EVERY_NS, DepthCheck
from perception_node.bag.reader import Recording
from perception_node.bag.truth import load_truth
from perception_node.types import CameraModel, Frame

DEMO = Path(__file__).parents[3] / "perception_node" / "data" / "demo"
FLAT, TALL = 0.006, 0.12
CAMERA = CameraModel(fx=600.0, fy=600.0, cx=319.5, cy=239.5, width=640, height=480)


def belt(boxes, height_m=TALL, seed=3, shadow_px=0, side_px=0):
    """A noisy picture of boxes (x0, y0, x1, y1) on a belt, with the rail along it that every cell has; its labels."""
    rng = np.random.default_rng(seed)
    rgb, labels = np.full((480, 640, 3), 40, np.uint8), np.zeros((480, 640), np.uint16)
    depth_m = np.full((480, 640), 1.0, np.float32)
    depth_m[440:], rgb[440:470] = 1.7, 150
    for label, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        depth_m[y0:y1, max(0, x0 - shadow_px):x0] = np.nan  # where one of a stereo camera's eyes sees nothing
        depth_m[y0:y1, x0:x1], labels[y0:y1, x0:x1] = 1.0 - height_m, label
        rgb[y0:y1, x0:x1] = rng.integers(90, 200, 3)
        rgb[y0 + 20:y0 + 45, x0 + 10:x0 + 50] = 250  # a paper label, level with the rest
        ramp = np.linspace(1.0 - height_m, 1.0, side_px, dtype=np.float32)  # a side face on the right, part of the mask
        depth_m[y0:y1, x1 - side_px:x1] = ramp
        rgb[y0:y1, x1 - side_px:x1] //= 2
    depth_m += rng.normal(0.0, 0.002, depth_m.shape).astype(np.float32)
    noisy = np.clip(rgb + rng.normal(0.0, 4.0, rgb.shape), 0, 255).astype(np.uint8)
    return Frame(rgb=noisy, depth_m=depth_m, camera=CAMERA, stamp_ns=0, frame_id="camera_optical_frame"), labels


FIVE = [(40, 60, 130, 190), (180, 90, 300, 170), (350, 50, 430, 150), (480, 80, 600, 200), (210, 260, 330, 380)]


def moved(depth_m, dx=0, dy=0, scale=1.0):
    """Depth as another camera sees it: (dx, dy) px beside the picture, and of another scale."""
    height, width = depth_m.shape
    v, u = np.mgrid[:height, :width]
    x = np.rint((u - dx - width / 2) / scale + width / 2).astype(int)
    y = np.rint((v - dy - height / 2) / scale + height / 2).astype(int)
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(seen, depth_m[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], np.nan).astype(np.float32)


def masks(labels, **how):
    """As the network draws them: where depth steps."""
    return np.nan_to_num(moved(labels.astype(np.float32), **how)).astype(np.uint16)


def said(frame, labels, looks=10, **how):
    """What is said after some looks."""
    seen = dataclasses.replace(frame, depth_m=moved(frame.depth_m, **how))
    check = Alignment()
    for _ in range(looks):
        check.look(seen, masks(labels, **how))
    return check.words


def numbers(words):
    return [float(n) for n in re.findall(r"[+-]?\d+(?:\.\d+)?", words.partition(" px")[0])]


@pytest.mark.parametrize(("dx", "dy"), [(12, 0), (-12, 0), (0, 12), (0, -12), (25, 0), (-24, -20), (40, 8)])
def test_a_shift_is_said_with_what_would_undo_it(dx, dy):
    words = said(*belt(FIVE), dx=dx, dy=dy)
    assert words.startswith("depth fits the picture best when shifted by (")
    assert "aligned_depth_to_color, depth_registration" in words
    assert numbers(words) == pytest.approx([-dx, -dy], abs=3)


def test_words_come_within_two_seconds_not_at_once():
    frame, labels = belt(FIVE)
    assert not said(frame, labels, looks=3, dx=20)
    assert said(frame, labels, looks=4, dx=20)


@pytest.mark.parametrize(("scale", "dx"), [(0.63, 6), (0.8, -5), (1.25, 0)])
def test_another_scale_is_said(scale, dx):
    words = said(*belt(FIVE), scale=scale, dx=dx, looks=12)
    assert "times as large and shifted by" in words
    assert numbers(words)[0] == pytest.approx(1.0 / scale, rel=0.04)


@pytest.mark.parametrize("how", [{}, {"shadow_px": 14}, {"side_px": 24}, {"side_px": 40, "shadow_px": 20}, {"height_m": 0.4}],
                         ids=["plain", "shadows", "side faces", "both", "tall"])
@pytest.mark.parametrize("seed", range(3))
def test_aligned_depth_is_believed(how, seed):
    frame, labels = belt(FIVE, seed=seed, **how)
    assert said(frame, labels) == ""
    assert said(frame, labels, dx=3, dy=-3) == ""  # no calibration is better


@pytest.mark.parametrize(("boxes", "height_m"), [([], TALL), (FIVE, FLAT)], ids=["nothing", "flat mailers"])
def test_nothing_is_said_without_evidence(boxes, height_m):
    for dx in (0, 25):
        assert said(*belt(boxes, height_m), dx=dx) == ""


def test_what_was_put_right_is_not_said_any_longer():
    frame, labels = belt(FIVE)
    check = Alignment()
    for number in range(16):
        dx = 20 if number < 6 else 0
        check.look(dataclasses.replace(frame, depth_m=moved(frame.depth_m, dx)), masks(labels, dx=dx))
        assert number != 5 or check.words
    assert check.words == ""


def test_another_picture_size_needs_no_other_settings():
    frame, labels = belt(FIVE)
    rgb, depth_m, labels = (np.repeat(np.repeat(part, 2, 0), 2, 1) for part in (frame.rgb, frame.depth_m, labels))
    camera = CameraModel(fx=1200.0, fy=1200.0, cx=639.5, cy=479.5, width=1280, height=960)
    large = Frame(rgb=rgb, depth_m=depth_m, camera=camera, stamp_ns=0, frame_id="c")
    assert said(large, labels) == ""
    assert numbers(said(large, labels, dx=40)) == pytest.approx([-40, 0], abs=6)


def test_tiny_pictures_and_pictures_without_depth_say_nothing():
    check = Alignment()
    for depth_m in (None, np.ones((12, 16), np.float32)):
        check.look(Frame(rgb=np.zeros((12, 16, 3), np.uint8), depth_m=depth_m, camera=CameraModel(
            fx=16.0, fy=16.0, cx=7.5, cy=5.5, width=16, height=12), stamp_ns=0, frame_id="c"), np.zeros((12, 16), np.uint16))
    assert check.words == ""


@pytest.mark.parametrize("dx", [0, 25])
def test_the_depth_check_passes_it_on_and_a_wrong_unit_is_said_alone(dx):
    frame, labels = belt(FIVE)
    check = DepthCheck()
    for number in range(6):
        seen = dataclasses.replace(frame, depth_m=moved(frame.depth_m, dx), stamp_ns=number * EVERY_NS)
        check.look(seen, masks(labels, dx=dx), None)
    assert bool(check.alignment) == bool(dx)
    check.look(dataclasses.replace(seen, depth_m=1000 * seen.depth_m, stamp_ns=7 * EVERY_NS), labels, None)
    assert check.unit
    assert check.alignment == ""


def test_the_bundled_recording_is_aligned_and_with_depth_25_px_beside_it_is_not():
    truth = {frame.stamp_ns: frame.labels for frame in load_truth(DEMO / "truth.npz").frames}
    good, bad = Alignment(), Alignment()
    with Recording(DEMO) as recording:
        for picture in list(recording.pictures())[::8]:
            frame = picture.frame
            labels = np.where(truth[frame.stamp_ns] == 0xFFFF, 0, truth[frame.stamp_ns])
            good.look(frame, labels)
            bad.look(dataclasses.replace(frame, depth_m=moved(frame.depth_m, 25)), masks(labels, dx=25))
    assert good.words == ""
    assert numbers(bad.words) == pytest.approx([-25, 0], abs=3)
