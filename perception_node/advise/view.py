"""A scene as a person sees it: packages by number, with place, size, colour, weight, what lies on what, and their best grasps."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from perception_node.types import Grasp, Instance, Scene, Track

CLASS_WORDS = {"box": "box", "padded_mailer": "mailer", "poly_bag": "bag", "item": "item"}
_PLURAL = {"box": "boxes", "mailer": "mailers", "bag": "bags", "item": "items"}
_STEP_PX = 2


@dataclass(frozen=True, eq=False)
class Item:
    """One followed package.

    Attributes:
        track_id, label, class_name: as in the scene. u, v: middle of its mask's box, 0..1 from left and from top; half_u, half_v:
            half its size. size_m: (length, width, height), height 0 = unknown. weight_kg: None = unknown.
        covered_by, on: track ids. grasps: best by kind. reasons: why there is none, by kind. truncated: cut off by the border.
    """

    track_id: int
    label: int
    class_name: str
    u: float
    v: float
    half_u: float
    half_v: float
    size_m: tuple[float, float, float]
    weight_kg: float | None
    covered_by: tuple[int, ...]
    on: tuple[int, ...]
    grasps: Mapping[str, Grasp]
    reasons: Mapping[str, str]
    truncated: bool

    @property
    def area_m2(self) -> float:
        """Of its upper face."""
        return self.size_m[0] * self.size_m[1]

    @property
    def score(self) -> float:
        """Of its best grasp as proposed, 0 = none."""
        return max((grasp.score for grasp in self.grasps.values()), default=0.0)

    @property
    def name(self) -> str:
        """`7 (mailer)`."""
        return f"{self.track_id} ({CLASS_WORDS.get(self.class_name, self.class_name)})"


class View:
    """All packages of a scene that have a number.

    Args:
        scene: what the pipeline said. rgb: (H, W, 3) uint8, its picture, None = colours are not known. weights_kg: by track id.
    """

    def __init__(self, scene: Scene, rgb: Any = None, weights_kg: Mapping[int, float] = MappingProxyType({})) -> None:
        self.scene, self._rgb = scene, rgb
        height, width = scene.segmentation.labels.shape
        ids = {track.label: track.track_id for track in scene.tracks}
        on: dict[int, list[int]] = {}
        for track in scene.tracks:
            for label in track.package.covered_by:
                on.setdefault(label, []).append(track.track_id)
        grasps: dict[int, dict[str, Grasp]] = {}
        for grasp in scene.grasps:
            grasps.setdefault(grasp.label, {}).setdefault(grasp.kind, grasp)
        reasons: dict[int, dict[str, str]] = {}
        for rejection in scene.rejections:
            reasons.setdefault(rejection.label, {})[rejection.kind] = rejection.reason
        boxes: dict[int, Instance] = {instance.label: instance for instance in scene.segmentation.instances}
        self.items = {track.track_id: _item(
                          track, boxes[track.label], width, height, weights_kg.get(track.track_id),
                          tuple(ids.get(label, 0) for label in track.package.covered_by), tuple(on.get(track.label, ())),
                          grasps.get(track.label, {}), reasons.get(track.label, {}))
                      for track in scene.tracks if track.track_id > 0}

    @cached_property
    def colours(self) -> Mapping[int, frozenset[str]]:
        """Names of each package's colour by track id ("brown", "dark"); empty without a picture."""
        return MappingProxyType({}) if self._rgb is None else colours(self._rgb, self.scene, self.items.values())


def _item(track: Track, box: Instance, width: int, height: int, weight_kg: float | None, covered_by: tuple[int, ...],
          on: tuple[int, ...], grasps: Mapping[str, Grasp], reasons: Mapping[str, str]) -> Item:
    x0, y0, x1, y1 = box.bbox_xyxy
    return Item(track.track_id, track.label, track.class_name, (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / 2 / width,
                (y1 - y0) / 2 / height, track.size_m, weight_kg, covered_by, on, grasps, reasons, track.package.truncated)


def colours(rgb: Any, scene: Scene, items: Iterable[Item]) -> dict[int, frozenset[str]]:
    """Colour names of packages from the mean of their masks' pixels.

    Args:
        rgb: (H, W, 3) uint8, of the size of the scene's labels.
    """
    sparse = scene.segmentation.labels[::_STEP_PX, ::_STEP_PX].ravel()
    pixels = np.asarray(rgb)[::_STEP_PX, ::_STEP_PX].reshape(-1, 3)
    count = np.bincount(sparse, minlength=len(scene.segmentation.instances) + 1)
    sums = np.stack([np.bincount(sparse, weights=pixels[:, k], minlength=len(count)) for k in range(3)], axis=1)
    means = sums / np.maximum(count, 1)[:, None]
    return {item.track_id: colour_names(*means[item.label]) if count[item.label] else frozenset() for item in items}


def colour_names(red: float, green: float, blue: float) -> frozenset[str]:
    """What a person would call a colour, given as 0..255: one hue or grey name, and "dark" or "bright" where it is.

    Source: hue bands of the HSV wheel; limits of saturation and value: judgement on simulated and photographed packages.
    """
    hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    degrees = 360 * hue
    names = {"dark"} if value < 0.35 else {"bright"} if value > 0.75 else set()
    if value < 0.2 or (value < 0.28 and saturation < 0.4):
        return frozenset(names | {"black"})
    if saturation < 0.16:
        return frozenset(names | {"white" if value > 0.68 else "grey"})
    if 12 <= degrees < 48 and (saturation < 0.68 or value < 0.6):
        return frozenset(names | {"brown"})
    bands = ((14, "red"), (40, "orange"), (70, "yellow"), (165, "green"), (255, "blue"), (295, "purple"), (345, "pink"),
             (361, "red"))
    return frozenset(names | {next(name for limit, name in bands if degrees < limit)})


def counted(items: Iterable[Item]) -> str:
    """`3 boxes, 1 bag`."""
    tally: dict[str, int] = {}
    for item in items:
        word = CLASS_WORDS.get(item.class_name, item.class_name)
        tally[word] = tally.get(word, 0) + 1
    parts = [f"{number} {word if number == 1 else _PLURAL.get(word, word + 's')}" for word, number in sorted(tally.items())]
    return ", ".join(parts) if parts else "nothing"
