"""One seed to one finished sample: pile, look, view, picture, sensors, ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception_node.sim import drape, environment, goods, kernels, packages, render, scenarios, sensor
from perception_node.sim.cell import SimulatedCell
from perception_node.sim.dataset import IGNORE, SLIVER_PX, Sample
from perception_node.sim.meshes import Array, Mesh, cross, join
from perception_node.sim.packages import PackageSpec
from perception_node.types import CLASS_NAMES

VIEWS_PER_PILE = 3

_CASTERS_SHARE = 0.18
"""Share of pictures with shadows of things out of sight."""

_CASTERS_SHARE_EMPTY = 0.45
"""The same where there is no package."""


@dataclass(frozen=True)
class Picture:
    """Size, style and content of the scenes (`scenarios.CONTENTS`)."""

    width: int = 640
    height: int = 480
    style: str = "train"
    content: str = "mixed"


def package_items(specs: list[PackageSpec], positions_m: Array, rotations: Array) -> list[render.Item]:
    """Meshes of packages and goods in the world; ids count from 1. Twins share their textures."""
    looks: dict[tuple[int, int], Any] = {}
    items: list[render.Item] = []
    placed: list[Mesh] = []
    for n in np.argsort(positions_m[:, 2], kind="stable") if len(specs) else []:
        spec = specs[n]
        key = (spec.look_seed, spec.class_id)
        if spec.class_id == packages.ITEM:
            model = packages.build_good(spec)
        else:
            if key not in looks:
                looks[key] = packages.build_look(spec)
            model = packages.build_model(spec, *looks[key])
        outer = model.mesh.moved(rotations[n], positions_m[n])
        if spec.class_id in (packages.MAILER, packages.BAG) and abs(rotations[n][2, 2]) > 0.75:
            outer = drape.sag(outer, placed, model.limpness_per_m)
        more = [render.Item(mesh.moved(rotations[n], positions_m[n]), look, int(n) + 1) for mesh, look in model.more]
        placed.append(outer if spec.class_id != packages.ITEM else join([outer, *(item.mesh for item in more)]))
        items += [*more, render.Item(outer, model.look, int(n) + 1)]
    return items


def upright_box(size_m: tuple[float, float, float], rotation: Array) -> tuple[list[float], Array]:
    """Size (l, w, h) and axes of a package's box renamed so that z is its most upward axis and l >= w."""
    up = int(np.argmax(np.abs(rotation[2])))
    a, b = [i for i in range(3) if i != up]
    if size_m[a] < size_m[b]:
        a, b = b, a
    z = rotation[:, up] * np.sign(rotation[2, up])
    x = rotation[:, a]
    return [float(size_m[a]), float(size_m[b]), float(size_m[up])], np.stack([x, cross(z, x), z], 1)


def labels_and_truth(
    drawn: render.Rendering, specs: list[PackageSpec], positions_m: Array, rotations: Array, view: render.View
) -> tuple[Array, list[dict[str, Any]]]:
    """(H, W) uint16 labels and one record for each package with visible pixels."""
    labels = drawn.ids.astype(np.uint16)
    world_to_camera = np.linalg.inv(view.camera_to_world)
    area, box = np.zeros(len(specs) + 1, np.int64), np.zeros((len(specs) + 1, 4), np.int64)
    kernels.extents(drawn.ids, area, box)
    records = []
    for n, spec in enumerate(specs):
        label = n + 1
        if area[label] == 0:
            continue
        left, top, right, bottom = (int(v) for v in box[label])
        turned = rotations[n]
        if spec.class_id == packages.ITEM:
            turned = goods.resting_axes(goods.make(spec.form, spec.look_seed).symmetry, turned)
        size, axes = upright_box(spec.size_m, turned)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = axes, positions_m[n]
        whole, inside = (int(v) for v in drawn.counts[label]) if label < len(drawn.counts) else (0, 0)
        records.append(
            {
                "id": label,
                "category_id": spec.class_id,
                "class": CLASS_NAMES[spec.class_id - 1],
                "sku": f"{spec.class_id}_{spec.look_seed:08x}",
                "obb_size_lwh_m": [round(v, 5) for v in size],
                "pose_cam": np.round(world_to_camera @ pose, 6).tolist(),
                "visible_fraction": round(float(area[label]) / max(whole, int(area[label])), 4),
                "unoccluded_fraction": round(float(area[label]) / max(inside, int(area[label])), 4),
                "truncated": bool(whole > inside * 1.02 + 2),
                "visible_area_px": int(area[label]),
                "bbox_xywh": [left, top, right - left + 1, bottom - top + 1],
            }
        )
        if area[label] < SLIVER_PX:
            labels[drawn.ids == label] = IGNORE
    return labels, records


def meta_of(number: int, view: render.View, records: list[dict[str, Any]], extra: dict[str, Any]) -> dict[str, Any]:
    """The content of meta/NNNN.json."""
    fx, fy, cx, cy = (round(float(v), 4) for v in view.intrinsics)
    normal = view.camera_to_world[:3, :3].T @ np.array([0.0, 0.0, 1.0])
    return {
        "image": f"rgb/{number:04d}.jpg",
        "width": view.width,
        "height": view.height,
        "fx": fx,
        "fy": fy,
        "cx": cx,
        "cy": cy,
        "K": [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]],
        "pixel_convention": "integer (u,v) is the pixel centre; X=(u-cx)*Z/fx",
        "camera_to_world": np.round(view.camera_to_world, 7).tolist(),
        "belt_plane": {
            "normal": np.round(normal, 7).tolist(),
            "offset": round(float(view.camera_to_world[2, 3]), 7),
            "equation": "n.X+offset=0, n points to the camera, metres",
        },
        "depth_unit_m": 0.001,
        **extra,
        "instances": records,
    }


def footprints(specs: list[PackageSpec], positions_m: Array) -> Array:
    """(N, 3) x, y and radius that packages take up, metres."""
    if not specs:
        return np.zeros((0, 3))
    return np.array([[p[0], p[1], float(np.linalg.norm(s.size_m)) / 2] for s, p in zip(specs, positions_m, strict=True)])


def pile_samples(seed: int, group: int, numbers: list[int], picture: Picture, cell: SimulatedCell | None = None) -> list[Sample]:
    """Settles one pile and takes several differently dressed pictures of it; in a cell, place, view, light and sensors stay.

    Args:
        seed: of the data set.
        group: number of the pile.
        numbers: numbers of the pictures, one view each.
        picture: size.
        cell: what stays the same, None = nothing.
    """
    rng = np.random.default_rng([seed, group, 11])
    pile = scenarios.random_pile(rng, style=picture.style, content=picture.content) if cell is None else cell.pile(rng)
    things = package_items(pile.specs, pile.positions_m, pile.rotations)
    samples = []
    for number in numbers:
        own = np.random.default_rng([seed, number, 12])
        part: Callable[[str], np.random.Generator] = cell.rng if cell is not None else lambda _, own=own: own  # type: ignore[misc]
        around = environment.dress(part("place"), pile.layout, footprints(pile.specs, pile.positions_m), bare=pile.kind == "empty")
        aim = pile.positions_m if cell is None else np.zeros((0, 3))
        view = environment.random_view(part("view"), aim, pile.layout, picture.width, picture.height)
        lighting = environment.random_lighting(part("light"))
        centre = np.median(pile.positions_m, 0) if len(pile.specs) else np.zeros(3)
        casting = part("casters")
        share = _CASTERS_SHARE if pile.specs else _CASTERS_SHARE_EMPTY
        above = environment.shadow_casters(casting, lighting, centre) if casting.random() < share else []
        packed = render.pack([*things, *around, *above])
        drawn = render.render(packed, lighting, view, centre, 1.1)
        labels, records = labels_and_truth(drawn, pile.specs, pile.positions_m, pile.rotations, view)
        rgb = sensor.colour_picture(drawn.colour, sensor.random_colour_sensor(part("colour")), own)
        reader = sensor.random_depth_sensor(part("depth"))
        measured = sensor.depth_picture(drawn.depth_m, drawn.holes, reader, own, sensor.brightest(rgb))
        meta = meta_of(number, view, records, {"seed": seed, "pile": group, "scenario": pile.kind, "layout": pile.layout.kind})
        samples.append(Sample(rgb, measured, drawn.depth_m, labels, meta))
    return samples
