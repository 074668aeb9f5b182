"""A moving belt seen by a fixed calibrated camera: frames with exact, identity-keeping ground truth.

Packages are dropped and settled once, in belt coordinates; then the belt carries them past the camera at
constant speed. Lamps, textures, exposure and the depth camera's fixed pattern stay; noise is new per frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from perception_node.errors import PerceptionError
from perception_node.sim import environment, render, sample, scenarios, sensor
from perception_node.sim.meshes import Array, Mesh, rotation_from_wxyz
from perception_node.sim.packages import PackageSpec
from perception_node.sim.physics import Body, settle
from perception_node.types import CLASS_NAMES, CameraModel, Frame


@dataclass(frozen=True)
class PackageTruth:
    """What is true of one package in one frame.

    Attributes:
        package_id: its value in the label image; the same in all frames, 1 or more.
        class_name: one of `CLASS_NAMES`.
        T_cam_package: (4, 4) origin = centre of its box, z out of its upper face, optical frame, metres.
        size_m: (3,) length, width, height along x, y, z of that frame.
        velocity_m_s: (3,) in the optical frame.
        visible_area_px: pixels in the label image.
        visible_fraction: share of the package's whole outline that is seen, 0..1.
    """

    package_id: int
    class_name: str
    T_cam_package: Array
    size_m: Array
    velocity_m_s: Array
    visible_area_px: int
    visible_fraction: float


@dataclass(frozen=True)
class SimulatedFrame:
    """A camera frame with its ground truth.

    Attributes:
        frame: what the camera delivers (depth NaN = no reading).
        labels: (H, W) uint16 package ids, 0 = background, 65535 = slivers below 60 pixels.
        packages: all packages with at least one visible pixel.
        depth_true_m: (H, W) float32 exact depth, NaN = nothing.
        belt_plane: (4,) unit normal towards the camera and offset: n.X + d = 0, optical frame, metres.
        belt_velocity_m_s: (3,) in the optical frame.
    """

    frame: Frame
    labels: Array
    packages: tuple[PackageTruth, ...]
    depth_true_m: Array
    belt_plane: Array
    belt_velocity_m_s: Array


def _load_belt(
    rng: np.random.Generator, length_m: float, half_width_m: float, per_metre: float
) -> tuple[list[PackageSpec], Array, Array]:
    """Settled packages on a stretch of belt from x = 0 to -length: piles, flush rows and singles."""
    specs: list[PackageSpec] = []
    bodies: list[Body] = []
    wanted = int(round(length_m * per_metre))
    x = -0.12
    layout = scenarios.Layout("belt", 3.0, half_width_m, 0.0, 0.6)
    while len(specs) < wanted and x > -length_m:
        kind = rng.random()
        if kind < 0.35:
            more, dropped = scenarios.flush_block(rng, layout, 0.62)
            span = 0.42
        elif kind < 0.75:
            more = scenarios.random_specs(rng, int(rng.integers(4, 9)), 0.72)
            dropped = scenarios.drop(rng, more, 0.15, 0.6 * half_width_m, 0.02)
            span = 0.42
        else:
            more = scenarios.random_specs(rng, int(rng.integers(2, 4)), 0.72)
            more, dropped = scenarios.scatter(rng, more, 0.12, 0.75 * half_width_m)
            span = 0.34
        specs += more
        bodies += [replace(b, position_m=b.position_m + np.array([x - span / 2, 0, 0])) for b in dropped]
        x -= span
    far = np.array([1.0, 0, 0, 0])
    walls = [
        Body(np.array([2 * length_m + 4, 0.1, 3.0]), np.array([-length_m / 2, s * (half_width_m + 0.05), 1.5]), far)
        for s in (-1, 1)
    ]
    positions, quaternions = settle(bodies, walls, 0.6)
    return specs, positions, np.array([rotation_from_wxyz(q) for q in quaternions]).reshape(-1, 3, 3)


def _scrolled(item: render.Item, shift_m: float, half_x_m: float) -> render.Item:
    """The belt's surface with its texture moved along x."""
    mesh = item.mesh
    uv = mesh.uv.copy()
    uv[:, 0] -= np.float32(shift_m / (2 * half_x_m) * float(np.ptp(mesh.uv[:, 0])))
    return render.Item(Mesh(mesh.vertices, mesh.normals, uv, mesh.triangles, mesh.part), item.look)


def conveyor_sequence(
    seed: int,
    frames: int = 60,
    fps: float = 15.0,
    belt_speed_m_s: float = 0.25,
    width: int = 640,
    height: int = 480,
    packages_per_m: float = 13.0,
    with_depth: bool = True,
    start_ns: int = 1_700_000_000_000_000_000,
    frame_id: str = "camera_color_optical_frame",
) -> Iterator[SimulatedFrame]:
    """Yields the frames of one recording; 8 to 20 packages are in view with the defaults.

    Args:
        seed: the same seed gives the same frames.
        frames: number of frames.
        fps: frames per second.
        belt_speed_m_s: speed along the picture's x axis, to the right.
        width: picture width in pixels (1280x720 works as well).
        height: picture height in pixels.
        packages_per_m: how densely the belt is loaded.
        with_depth: also deliver measured depth.
        start_ns: stamp of the first frame, nanoseconds.
        frame_id: name of the optical frame.

    Raises:
        PerceptionError: when an argument is out of range.
    """
    if frames < 1 or fps <= 0 or width < 64 or height < 64:
        raise PerceptionError(f"expected frames >= 1, fps > 0 and 64 pixels or more, got {frames}, {fps}, {width}x{height}")
    rng = np.random.default_rng([seed, 77])
    half = float(rng.uniform(0.26, 0.33))
    focal = width * float(rng.uniform(0.92, 1.02))
    pose = environment.look_at(np.array([0.0, -0.13, float(rng.uniform(1.05, 1.15))]), np.array([0.0, 0.0, 0.0]), 0.0)
    view = render.View(np.array([focal, focal, (width - 1) / 2, (height - 1) / 2]), width, height, pose)
    reach = pose[2, 3] * width / focal / 2 + 0.25
    travel = belt_speed_m_s * (frames - 1) / fps
    specs, positions, rotations = _load_belt(rng, 2 * reach + abs(travel), half, packages_per_m)
    layout = scenarios.Layout("belt", 3.0, half, float(rng.choice([0.0, 0.05])), float(rng.uniform(0.4, 0.8)))
    around = environment.dress(rng, layout, np.zeros((0, 3)), on_surface=False)
    lighting = environment.random_lighting(rng)
    colour = sensor.ColourSensor(exposure=0.78, grain=2.0, blur_px=0.4, vignette=0.08, contrast=0.15)
    depth_camera = replace(
        sensor.random_depth_sensor(rng), noise_m=0.0009, dropout=0.001, blotches=0.8, coarse=1, filled=False, shift_px=(0.0, 0.0)
    )
    things = sample.package_items(specs, positions, rotations)
    camera = CameraModel(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
    to_camera = view.camera_to_world[:3, :3].T
    plane = np.append(to_camera @ np.array([0.0, 0.0, 1.0]), view.camera_to_world[2, 3])
    velocity = to_camera @ np.array([belt_speed_m_s, 0.0, 0.0])
    gain: float | None = None
    begin = reach if belt_speed_m_s >= 0 else reach + abs(travel)
    for n in range(frames):
        offset = np.array([begin + belt_speed_m_s * n / fps, 0.0, 0.0])
        moved = [render.Item(i.mesh.moved(np.eye(3), offset), i.look, i.instance) for i in things]
        scene = [_scrolled(i, float(offset[0]), layout.half_x_m) if m == 1 else i for m, i in enumerate(around)]
        drawn = render.render(render.pack([*moved, *scene]), lighting, view, np.zeros(3), 1.1)
        noise_rng = np.random.default_rng([seed, 78, n])
        gain = sensor.expose(drawn.colour, colour) if gain is None else gain
        rgb = sensor.colour_picture(drawn.colour, colour, noise_rng, gain)
        labels, records = sample.labels_and_truth(drawn, specs, positions + offset, rotations, view)
        depth = None
        if with_depth:
            pattern = np.random.default_rng([seed, 79])
            raw = sensor.depth_picture(drawn.depth_m, drawn.holes, depth_camera, noise_rng, sensor.brightest(rgb), pattern)
            depth = np.where(raw > 0, np.round(raw, 3), np.nan).astype(np.float32)
        truths = tuple(
            PackageTruth(
                r["id"], CLASS_NAMES[r["category_id"] - 1], np.array(r["pose_cam"]), np.array(r["obb_size_lwh_m"]),
                velocity, r["visible_area_px"], r["visible_fraction"],
            )
            for r in records
        )  # fmt: skip
        stamp = start_ns + round(n * 1e9 / fps)
        true_depth = np.where(drawn.depth_m > 0, drawn.depth_m, np.nan).astype(np.float32)
        yield SimulatedFrame(Frame(rgb, depth, camera, stamp, frame_id), labels, truths, true_depth, plane, velocity)
