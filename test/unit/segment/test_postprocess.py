import cv2
import numpy as np
import pytest

from perception_node.compiled import steady
from perception_node.segment import kernels
from perception_node.segment.postprocess import Grouping, above_score, group


def heads_of(labels: np.ndarray, classes: dict[int, int]) -> np.ndarray:
    """What a perfect network says for a grid label picture."""
    height, width = labels.shape
    heads = np.zeros((8, height, width), np.float32)
    heads[0] = 0.98
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    for label, class_id in classes.items():
        mask = labels == label
        cx, cy = xs[mask].mean(), ys[mask].mean()
        heads[0][mask], heads[class_id][mask] = 0.02, 0.98
        heads[5] = np.maximum(heads[5], 0.9 * np.exp(-((xs - cx) ** 2 + (ys - cy) ** 2) / 18))
        heads[6][mask], heads[7][mask] = (cx - xs)[mask], (cy - ys)[mask]
    kernel, small = np.ones((3, 3), np.uint8), labels.astype(np.uint8)
    heads[4] = 0.95 * ((cv2.dilate(small, kernel) != cv2.erode(small, kernel)) & (labels > 0))
    return heads


@pytest.fixture
def scene() -> tuple[np.ndarray, dict[int, int]]:
    labels = np.zeros((90, 160), np.int32)
    labels[10:40, 10:50], labels[10:40, 50:90] = 1, 2  # flush twins
    labels[50:80, 20:120] = 3
    labels[55:75, 60:80] = 4  # lies on 3
    labels[20:30, 120:150] = 5
    return labels, {1: 1, 2: 1, 3: 2, 4: 3, 5: 3}


def test_groups_touching_nested_and_lone_packages(scene: tuple[np.ndarray, dict[int, int]]) -> None:
    labels, classes = scene
    heads = heads_of(labels, classes)
    heads[6][(labels == 3)] += 20.0  # 3's own centre lies under 4: its votes go beside
    heads[5, 65, 90] = 0.9
    found = group(heads, (320, 180))
    assert len(found.instances) == 5
    assert found.labels.shape == (180, 320)
    truth = labels.repeat(2, axis=0).repeat(2, axis=1)
    for label, class_id in classes.items():
        mine = np.bincount(found.labels[truth == label]).argmax()
        union = ((found.labels == mine) | (truth == label)).sum()
        assert ((found.labels == mine) & (truth == label)).sum() / union > 0.93
        assert found.instances[mine - 1].class_name == ("box", "padded_mailer", "poly_bag")[class_id - 1]


def test_classes_have_the_models_names(scene: tuple[np.ndarray, dict[int, int]]) -> None:
    labels, classes = scene
    heads = heads_of(labels, classes)
    more = np.insert(heads, 3, 0.0, axis=0)  # a class between the second and the third, which nothing is
    names = ("poly_bag", "box", "padded_mailer", "item")
    first, second = group(heads, (320, 180), classes=names[:3]), group(more, (320, 180), classes=names)
    assert np.array_equal(first.labels, second.labels)
    pairs = {(a.class_name, b.class_name) for a, b in zip(first.instances, second.instances, strict=True)}
    assert pairs == {("poly_bag", "poly_bag"), ("box", "box"), ("padded_mailer", "item")}


def test_instances_describe_their_labels(scene: tuple[np.ndarray, dict[int, int]]) -> None:
    found = group(heads_of(*scene), (333, 177))
    assert [i.score for i in found.instances] == sorted((i.score for i in found.instances), reverse=True)
    for instance in found.instances:
        ys, xs = np.nonzero(found.labels == instance.label)
        assert instance.area_px == len(xs)
        assert instance.bbox_xyxy == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_fragments_without_a_boundary_are_joined(scene: tuple[np.ndarray, dict[int, int]]) -> None:
    labels, classes = scene
    labels[labels == 4] = 3
    classes = {k: c for k, c in classes.items() if k != 4}
    parts = labels.copy()
    parts[10:40, 30:50] = 6  # the network is of two minds about package 1
    heads = heads_of(parts, {**classes, 6: 1})
    heads[4] = heads_of(labels, classes)[4]
    assert len(group(heads, (320, 180)).instances) == 4
    assert len(group(heads, (320, 180), Grouping(merge_boundary=0.0, merge_distance=0.0)).instances) == 5


def test_nothing_gives_nothing() -> None:
    heads = np.zeros((8, 90, 160), np.float32)
    heads[0] = 1.0
    found = group(heads, (320, 180))
    assert found.instances == ()
    assert not found.labels.any()


def test_specks_and_stray_votes_are_dropped() -> None:
    labels = np.zeros((90, 160), np.int32)
    labels[20:60, 20:80] = 1
    labels[80:83, 150:153] = 2
    heads = heads_of(labels, {1: 1, 2: 1})
    heads[0, 5:15, 100:130], heads[1, 5:15, 100:130] = 0.1, 0.9  # foreground whose votes miss every centre
    heads[6, 5:15, 100:130] = 5.0
    found = group(heads, (320, 180), Grouping())
    assert len(found.instances) == 1
    assert not found.labels[10:30, 200:260].any()


def test_calibration_moves_scores_not_masks(scene: tuple[np.ndarray, dict[int, int]]) -> None:
    plain = group(heads_of(*scene), (320, 180))
    shy = group(heads_of(*scene), (320, 180), Grouping(calibration=(1.0, -2.0)))
    assert np.array_equal(plain.labels, shy.labels)
    assert all(a.score > b.score for a, b in zip(plain.instances, shy.instances, strict=True))


def test_packages_below_a_score_are_left_out(scene: tuple[np.ndarray, dict[int, int]]) -> None:
    found = group(heads_of(*scene), (320, 180))
    limit = found.instances[1].score
    kept = above_score(found, limit)
    assert all(i.score >= limit for i in kept.instances)
    assert kept.labels.max() == len(kept.instances)
    assert above_score(found, 1.0).instances == ()


def test_any_heads_give_a_valid_segmentation() -> None:
    rng = np.random.default_rng(3)
    heads = rng.random((8, 96, 128), dtype=np.float32)
    heads[6:] = rng.normal(0, 200, (2, 96, 128))
    found = group(heads, (250, 190))
    assert found.labels.max() <= len(found.instances)


def test_heads_may_lie_in_memory_in_any_way_and_are_compiled_for_once(scene: tuple[np.ndarray, dict[int, int]]) -> None:
    heads = heads_of(*scene)
    fixed = heads.copy()
    fixed.setflags(write=False)
    first = group(heads, (320, 180))
    whole = Grouping(centre_window_px=11, min_area_px=24, max_vote_error_px=12, merge_distance=0, merge_boundary=0)
    for other, grouping in ((fixed, None), (np.asfortranarray(heads), None), (heads, whole)):
        assert np.array_equal(group(other, (320, 180), grouping).labels, first.labels)
    blank = np.zeros_like(heads)
    group(blank, (320, 180))
    for labels in (first.labels, fixed[0].astype(np.uint16), np.asfortranarray(first.labels)):
        kernels.renumbered(labels, np.zeros(1 << 16, np.uint16))
    loops = (kernels.peaks, kernels.settle_votes, kernels.merge_fragments, kernels.largest_pieces, kernels.seams, kernels.outline,
             kernels._renumbered)
    assert [len(loop.signatures) for loop in loops] == [1] * len(loops)


@pytest.mark.parametrize("seed", range(4))
def test_small_islands_go_large_ones_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((40, 60)) < 0.65).astype(np.uint8) * rng.choice(np.array([1, 2], np.uint8), (1, 60), p=[0.7, 0.3])
    expected = labels.copy()
    for label in (1, 2):
        count, pieces = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
        areas = np.bincount(pieces.ravel(), minlength=count)
        small = areas < max(0.2 * areas[1:].max(), min(24, areas[1:].max()))
        expected[(pieces > 0) & small[pieces]] = 0
        if areas[1:][~small[1:]].sum() < 24:
            expected[labels == label] = 0
    kept, certainty, votes = kernels.largest_pieces(labels, steady(np.full((8, 40, 60), 0.25, np.float32)), 3, 24.0)
    assert np.array_equal(labels, expected)
    assert kept.tolist() == [False, (expected == 1).any(), (expected == 2).any(), False]
    assert np.allclose(certainty[kept], 0.75)
    assert np.allclose(votes[0, 1], 0.25 * (expected[::2, ::2] == 1).sum())


@pytest.mark.parametrize("seed", range(3))
def test_seams_are_counted_where_a_mask_surrounds_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 4, (5, 7)), np.ones((9, 9))).astype(np.uint8)
    labels[-1], labels[-1, :2] = 0, 4  # a sliver has no inside
    heads = rng.random((8, *labels.shape), dtype=np.float32)
    around = np.zeros((5, 5), np.uint8)
    around[::2, ::2] = 1
    found = kernels.seams(labels, steady(heads), 4)
    for label in range(1, 5):
        mask = cv2.copyMakeBorder((labels == label).astype(np.uint8), 2, 2, 2, 2, cv2.BORDER_REPLICATE)
        inside, whole = np.zeros(labels.shape, bool), labels == label
        inside[::2, ::2] = cv2.erode(mask, around)[2:-2:2, 2:-2:2] > 0
        whole[1::2], whole[:, 1::2] = False, False
        assert (label < 4) == inside.any()
        assert found[label] == pytest.approx(heads[4][inside if inside.any() else whole].mean(), abs=1e-6)


def test_instances_say_how_sure_their_masks_are(scene: tuple[np.ndarray, dict[int, int]]) -> None:
    labels, classes = scene
    heads = heads_of(labels, classes)
    heads[0][labels == 5] = 0.3
    heads[4][18:32, 20:40] = 0.5  # a border through package 1, too weak to divide it
    found = group(heads, (320, 180))
    owner = {number: found.instances[int(np.bincount(found.labels[labels.repeat(2, 0).repeat(2, 1) == number]).argmax()) - 1]
             for number in classes}
    assert [round(owner[number].foreground, 2) for number in (1, 2, 3, 4, 5)] == [0.98, 0.98, 0.98, 0.98, 0.7]
    assert owner[1].seams == pytest.approx(0.5 * 14 * 20 / (26 * 36), rel=0.15)
    assert max(owner[number].seams for number in (2, 3, 4, 5)) < 0.1


@pytest.mark.parametrize("limit", [-1, 0, 40, 255])
@pytest.mark.parametrize("width", [5, 6, 7, 8, 9, 15, 16, 31, 32, 33])
def test_labels_of_the_full_picture_are_measured_as_they_are_drawn(width: int, limit: int) -> None:
    rng = np.random.default_rng(width)
    grown = np.kron(rng.integers(0, 4, (5, width)), np.ones((3, 1))).astype(np.uint8)
    soft = rng.integers(0, 256, grown.shape).astype(np.uint8)
    lookup, area_px, box = np.zeros(256, np.uint16), np.empty(256, np.int64), np.empty((256, 4), np.int64)
    lookup[1:4] = 3, 1, 2
    out = kernels.outline(grown, soft, limit, lookup, area_px, box)
    shown = np.where(soft.astype(int) > limit, grown, 0)
    assert np.array_equal(out, lookup[shown])
    for label in (1, 2, 3):
        rows, columns = np.nonzero(shown == label)
        assert area_px[label] == len(rows)
        assert limit == 255 or len(rows)
        assert not len(rows) or box[label].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
