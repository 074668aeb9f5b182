from pathlib import Path

import numpy as np
import pytest
import torch

from perception_node.learn.augment import Augmentation, augment, cast_shadow, replace_background
from perception_node.learn.cache import CACHE_IGNORE, CachedSet, cached
from perception_node.learn.targets import LossWeights, compute_loss, make_targets
from perception_node.segment.encode import OFFSET_UNIT_PX
from perception_node.segment.postprocess import group


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> CachedSet:
    return cached(dataset, tmp_path / "cache", progress=False)


def test_a_sample_depends_on_its_generator_only(data: CachedSet) -> None:
    one, two, other = (augment(data, 2, (352, 256), Augmentation(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])
    assert one[0].shape == (256, 352, 3)
    assert one[1].shape == (128, 176, 3)
    assert one[2].shape == (128, 176)
    assert np.isfinite(one[1]).all()


@pytest.mark.parametrize("lens", [0.0, 1.0])
def test_depth_and_labels_stay_on_the_packages(data: CachedSet, lens: float) -> None:
    how = Augmentation(drop_depth=0.0, colour=0.0, occluders=0.0, background=0.0, shadows=0.0, lens=lens)
    for seed in range(6):
        rgb, depth, labels, _ = augment(data, 0, (448, 352), how, np.random.default_rng(seed))
        package = (labels > 0) & (labels < CACHE_IGNORE)
        bright = rgb[::2, ::2].max(axis=2) > 100
        known = depth[..., 2] > 0
        assert (bright[package]).mean() > 0.95
        assert depth[..., 0][package & known].mean() > 0.5 + depth[..., 0][(labels == 0) & known].mean()


def test_another_background_and_shadows_leave_the_packages_alone() -> None:
    rgb = np.full((96, 128, 3), (90, 150, 60), np.uint8)
    background = np.ones((96, 128), bool)
    background[30:60, 40:90] = False
    for seed in range(12):
        rng = np.random.default_rng(seed)
        changed = replace_background(rgb.copy(), background, rng)
        assert np.array_equal(changed[~background], rgb[~background])
        assert (changed[background] != rgb[background]).any()
        shaded = cast_shadow(rgb.copy(), rng).astype(float) / rgb
        assert shaded.min() > 0.2
        assert shaded.max() < 1.75
        assert np.ptp(shaded, axis=2).max() < 0.03  # the colour stays


def test_depth_is_dropped_as_often_as_asked(data: CachedSet) -> None:
    kept = [augment(data, 0, (64, 64), Augmentation(drop_depth=0.5), np.random.default_rng(s))[1].any() for s in range(60)]
    assert 15 < sum(kept) < 45


def test_targets_lead_back_to_the_labels(data: CachedSet) -> None:
    labels, class_ids = np.ascontiguousarray(data.labels[0][::2, ::2]), data.class_ids[0]
    targets = make_targets(labels, class_ids)
    heads = np.zeros((8, *labels.shape), np.float32)
    for k in range(4):
        heads[k] = targets[0] == k
    heads[5], heads[6:] = np.maximum(targets[3], 0), targets[4:6] * OFFSET_UNIT_PX
    found = group(heads, (labels.shape[1], labels.shape[0]))
    assert len(found.instances) == 3
    for k in (1, 2, 3):
        mine = np.bincount(found.labels[labels == k]).argmax()
        assert ((found.labels == mine) & (labels == k)).sum() > 0.95 * (labels == k).sum()
        assert found.instances[mine - 1].class_name == ("box", "padded_mailer", "poly_bag")[k - 1]
    ignored = labels == CACHE_IGNORE
    assert not targets[1][ignored].any()
    assert not targets[6][ignored].any()
    assert (targets[3][ignored] == -1).all()


def test_loss_is_small_for_the_truth_and_blind_to_ignored_pixels(data: CachedSet) -> None:
    labels = np.ascontiguousarray(data.labels[0][::2, ::2])
    targets = torch.from_numpy(make_targets(labels, data.class_ids[0]))[None]
    heads = torch.zeros(1, 8, *labels.shape)
    for k in range(4):
        heads[:, k] = 20.0 * (targets[:, 0] == k)
    heads[:, 4] = 40.0 * targets[:, 2] - 20
    heat = targets[:, 3].clamp(1e-4, 1 - 1e-4)
    heads[:, 5], heads[:, 6:] = torch.log(heat / (1 - heat)), targets[:, 4:6]
    losses = compute_loss(heads, targets, LossWeights())
    assert losses["classes"] < 1e-3
    assert losses["offset"] < 1e-5
    assert losses["total"] < 0.2
    worse = heads.clone()
    worse[:, :, torch.from_numpy(labels == CACHE_IGNORE)] = 50.0
    assert torch.isclose(compute_loss(worse, targets, LossWeights())["total"], losses["total"], atol=1e-4)


def test_a_rare_class_counts_more(data: CachedSet) -> None:
    targets = torch.from_numpy(make_targets(np.ascontiguousarray(data.labels[0][::2, ::2]), data.class_ids[0]))[None]
    heads = torch.zeros(1, 9, *targets.shape[2:])
    heads[:, 1] = 4.0  # all is the first class
    alone, equal, three = (compute_loss(heads, targets, LossWeights(kinds=kinds))["kind"]
                           for kinds in ((1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 9.0, 1.0)))
    assert alone < 0.1 < equal < three < 4.1


def test_empty_picture_has_finite_targets_and_loss() -> None:
    targets = make_targets(np.zeros((32, 48), np.uint8), np.zeros(256, np.uint8))
    losses = compute_loss(torch.zeros(1, 8, 32, 48), torch.from_numpy(targets)[None], LossWeights())
    assert np.isfinite(targets).all()
    assert torch.isfinite(losses["total"])
