from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.config import BeltConfig, TrackConfig
from perception_node.geometry import ray_image
from perception_node.locate import locate_packages
from perception_node.track import Tracker
from perception_node.track.masks import grid_of, shared
from perception_node.types import CameraModel, Frame, Instance, Packages, Segmentation

NS = 1_000_000_000
CAMERA = CameraModel(600.0, 620.0, 310.0, 250.0, 640, 480)
BELT = BeltConfig(plane=(0.0, 0.0, -1.0, 1.0))


def located(*corners):
    """Packages on the belt plane of which each mask is a polygon; what comes first lies on top."""
    labels = np.zeros((480, 640), np.uint16)
    for label in range(len(corners), 0, -1):
        cv2.fillPoly(labels, [np.array(corners[label - 1], np.int32)], label)
    instances = []
    for label in range(1, len(corners) + 1):
        rows, columns = np.nonzero(labels == label)
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        instances.append(Instance(label, "box", 0.9, box, len(rows)))
    frame = Frame(np.zeros((480, 640, 3), np.uint8), None, CAMERA, 0, "camera")
    return locate_packages(frame, Segmentation(labels, tuple(instances)), BELT)


def rectangle(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def test_the_grid_shows_each_package_where_it_is_and_which_way_that_lies():
    packages = located(rectangle(100, 60, 219, 139), rectangle(300, 200, 379, 419))
    assert packages.label_grid.shape == packages.grid_rays.shape[:2] == (120, 160)
    assert np.bincount(packages.label_grid.ravel()).tolist()[1:] == [120 * 80 // 16, 80 * 220 // 16]
    rows, columns = np.nonzero(packages.label_grid == 2)
    x, y = packages.grid_rays[rows, columns].mean(axis=0)
    assert (x, y) == pytest.approx(((339.5 - 310) / 600, (309.5 - 250) / 620), abs=0.002)
    assert np.array_equal(packages.grid_rays[0, 0], ray_image(CAMERA)[2, 2])


def test_packages_without_a_grid_have_none():
    assert grid_of(Packages((), None, ()), ()) is None


def test_a_label_that_is_not_followed_is_nobodys():
    packages = located(rectangle(100, 60, 219, 139), rectangle(300, 200, 379, 419))
    grid = grid_of(packages, packages.items[1:])
    assert np.array_equal(grid.owner == 0, packages.label_grid == 2)
    assert (grid.owner[packages.label_grid != 2] == -1).all()
    assert np.array_equal(grid.of(0), np.argwhere(packages.label_grid == 2))


@settings(max_examples=30, deadline=None)
@given(st.integers(-90, 90), st.integers(-60, 60), st.floats(0.5, 2.0))
def test_carried_masks_share_what_they_would_share_in_the_picture(columns, rows, depth_m):
    packages = located(rectangle(240, 160, 399, 319), rectangle(420, 100, 519, 379))
    grid = grid_of(packages, packages.items)
    way_m = np.array([[columns * 4 / 600 * depth_m, rows * 4 / 620 * depth_m, 0.0]] * 2)
    found = shared([grid.of(0), grid.of(1)], np.full(2, depth_m), way_m, grid)
    for t in range(2):
        where = grid.of(t) + (rows, columns)
        inside = where[((where >= 0) & (where < (120, 160))).all(axis=1)]
        assert found.ours[t] == len(inside)
        assert found.both[t].tolist() == [int((grid.owner[tuple(inside.T)] == p).sum()) for p in range(2)]
    assert found.theirs.tolist() == [len(grid.of(0)), len(grid.of(1))]


def test_what_comes_nearer_grows_about_the_optical_axis():
    far, near = located(rectangle(330, 270, 389, 329)), located(rectangle(350, 290, 469, 409))
    grid = grid_of(near, near.items)
    found = shared([grid_of(far, far.items).of(0)], np.array([1.0]), np.array([[0.0, 0.0, -0.5]]), grid)  # twice as near
    assert found.both[0, 0] >= 0.95 * found.ours[0]


def band(offset, x):
    """A long package that leans: its bounds are nearly those of the next one."""
    return [(x + offset, 120), (x + offset + 60, 120), (x + offset + 260, 380), (x + offset + 200, 380)]


@pytest.mark.parametrize("with_masks", [True, False])
def test_ragged_masks_of_leaning_packages_are_told_apart_by_what_they_share(with_masks):
    follower, ids = Tracker(TrackConfig(), BELT), []
    for n in range(10):
        x = 120 + 6 * n
        first, second = band(0, x), band(70, x)
        if n == 8:  # the second is missed, and a strip of the first one's mask runs along where it should be
            first = [*first[:2], (x + 90, 150), (x + 330, 150), (x + 330, 154), (x + 100, 154), *first[2:]]
        packages = located(first) if n == 8 else located(first, second)
        packages = packages if with_masks else replace(packages, label_grid=None)
        tracks = follower.update(packages, n * NS // 15).tracks
        ids.append([track.track_id for track in tracks])
    assert (ids[8] == [1]) == with_masks, "bounds alone are taken for the second one's"
    if with_masks:
        assert ids[9] == [1, 2]


def test_a_mask_of_one_that_enters_and_its_neighbour_is_both_and_keeps_the_id_of_the_larger():
    follower, ids = Tracker(TrackConfig(), BELT), []
    for n in range(12):
        seam, right = 100 + 6 * n, 320 + 6 * n
        entering, ahead = rectangle(0, 100, seam, 299), rectangle(seam + 1, 100, right, 299)
        packages = located(rectangle(0, 100, right, 299)) if n in (8, 9) else located(entering, ahead)
        update = follower.update(packages, n * NS // 15)
        ids.append([track.track_id for track in update.tracks])
        if n in (8, 9):  # the middle of both is nobody's place
            middle = (seam + right + 1) / 2
            assert update.tracks[0].T_cam_package[0, 3] == pytest.approx((middle - 310) / 600, abs=0.005)
    assert ids[8] == ids[9] == [2]
    assert ids[7] == ids[10] == ids[11] == [1, 2]


def ids(follower, packages, n):
    """{label: id} of frame n at 15 Hz."""
    return {track.label: track.track_id for track in follower.update(packages, round(n / 15 * NS)).tracks}


def test_a_package_whose_mask_falls_apart_goes_on_as_the_larger_piece_and_keeps_its_id_when_whole_again():
    follower = Tracker(TrackConfig(), BELT)
    for n in range(8):
        whole = ids(follower, located(rectangle(200 + 8 * n, 100, 299 + 8 * n, 339)), n)
    for n in range(8, 11):  # the smaller piece comes first, and its middle is no further off
        left = 200 + 8 * n
        split = ids(follower, located(rectangle(left, 100, left + 99, 205), rectangle(left, 206, left + 99, 339)), n)
        assert split[2] == whole[1]
        assert split[1] not in whole.values()
    again = ids(follower, located(rectangle(288, 100, 387, 339)), 11)
    assert again == whole


def test_a_mask_that_holds_two_goes_by_the_one_that_was_that_mask_before():
    follower = Tracker(TrackConfig(), BELT)
    for n in range(8):
        whole = ids(follower, located(rectangle(200 + 8 * n, 100, 299 + 8 * n, 339)), n)
    for n in range(8, 20):  # long enough for the pieces to be their tracks' main shapes, and now the other one is the larger
        left = 200 + 8 * n
        at = 206 if n == 8 else 235
        split = ids(follower, located(rectangle(left, 100, left + 99, at - 1), rectangle(left, at, left + 99, 339)), n)
    assert split[2] == whole[1]
    again = ids(follower, located(rectangle(360, 100, 459, 339)), 20)
    assert again == whole


@pytest.mark.parametrize(("deeper_m", "same"), [(0.0, True), (0.06, False)])
def test_what_was_hidden_for_long_comes_back_only_where_it_was_along_the_optical_axis(deeper_m, same):
    def lowered(packages):
        poses = [package.T_cam_package + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, deeper_m], [0, 0, 0, 0]])
                 for package in packages.items]
        return replace(packages, items=tuple(replace(package, T_cam_package=pose)
                                             for package, pose in zip(packages.items, poses, strict=True)))

    follower = Tracker(TrackConfig(max_missed_s=1.0), BELT)
    for n in range(8):
        first = ids(follower, located(rectangle(200, 100, 299, 239), rectangle(400, 100, 499, 239)), n)
    for n in range(8, 20):
        ids(follower, located(rectangle(400, 100, 499, 239)), n)
    back = ids(follower, lowered(located(rectangle(200, 100, 299, 239))), 20)
    assert (back[1] == first[1]) == same
